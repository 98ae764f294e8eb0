//! The CAs and the serving certificate of a release that has no certificate of the platform's.
//!
//! Read order, as in rotation.md: the serving certificate's Secret first, then that of the CAs, and so no `ca.crt` loses a CA by the
//! write of a leader that was frozen: where the former holds one already, the latter names it; where it does not yet, the
//! resourceVersion refuses a late write. Whoever copies `ca.crt` elsewhere does the same with the serving certificate's Secret.

use super::{ATTEMPTS, Release, StoreError, Stored, orders::Orders};
use crate::{
    api::ANNOTATION_AUTHORITIES,
    domain::key_rotation::{Need, Plan, Rules, Slots, Stage, Step, plan},
    keys::{
        certificate::{
            Authorities, Authority, CA, CertificateError, ServedName, ServingCertificate,
            serving::{Renewal, renewal},
        },
        secret::Data,
    },
};
use jiff::Timestamp;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// The type of both Secrets.
const TLS: &str = "kubernetes.io/tls";
/// Most writes of one call.
const MOST_WRITES: usize = 16;

/// Which certificate a release has to have.
pub struct Wanted<'a> {
    /// The names that it is for.
    pub names: &'a BTreeSet<ServedName>,
    /// When CAs change.
    pub rules: Rules,
}

/// What was done, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The first CA was made. It signs at once.
    Made,
    /// The CA was gone, or a hand has replaced it: what it signed stays in use, and another one signs later.
    Lost,
    /// A step, and the fingerprints of CAs that were made for it.
    Step(Step<()>, Vec<String>),
    /// There is no CA of a name that is to be revoked.
    NothingToRevoke(BTreeSet<String>),
    /// The serving certificate was made anew.
    Renewed(Renewal),
}

/// Where CAs and certificate stand, after [`advance`].
#[derive(Debug)]
pub struct Advanced {
    /// The resourceVersion of the CA's Secret.
    pub version: String,
    /// The UID of the CA's Secret.
    pub uid: String,
    /// Whether the next step waits until [`Advanced::bundle`] is in every `ca.crt`: then to be called again, with that version.
    pub waits_for_copies: bool,
    /// What clients have to trust (PEM).
    pub bundle: String,
    /// When to call again at the latest.
    pub wake_at: Option<Timestamp>,
    /// Names that the CA may not sign for: they wait until the next one signs.
    pub refused: BTreeSet<ServedName>,
    /// What was done.
    pub done: Vec<Done>,
}

/// Makes the CA and a serving certificate where there are none, and takes every step that is due. Writes nothing where nothing is.
/// `seen`: a resourceVersion of the CA's Secret whose bundle is in every `ca.crt`. The leader's alone.
///
/// # Errors
/// [`StoreError`]; after each of them it may be called again.
pub async fn advance(
    client: &Client,
    release: &Release,
    wanted: &Wanted<'_>,
    seen: Option<&str>,
    now: Timestamp,
) -> Result<Advanced, StoreError> {
    let stored = |name| Stored::new(client, release, name);
    let owner = format!("{}/{}", release.namespace, release.name);
    let leader = Leader { authorities: stored(release.authority()), serving: stored(release.serving()), owner, wanted, now };
    let (mut done, mut contended) = (Vec::new(), 0);
    for _ in 0..MOST_WRITES {
        let serving = leader.serving.read().await?;
        let shown = serving.as_ref().and_then(|secret| ServingCertificate::parse(secret.data.as_ref()?).ok());
        let Some(secret) = leader.authorities.read().await? else {
            done.extend(leader.create(shown.as_ref()).await?);
            continue;
        };
        let look = leader.look(secret, serving, shown)?;
        let written = match leader.next(&look, seen) {
            Next::Write(write) => leader.write(look, write).await?,
            Next::Settled(wake_at, waits_for_copies) => return leader.settled(&look, done, wake_at, waits_for_copies),
        };
        match written {
            Some(written) => done.extend(written.0),
            None if contended < ATTEMPTS => contended += 1,
            None => break,
        }
    }
    Err(StoreError::Contended(leader.authorities.name))
}

struct Leader<'a> {
    authorities: Stored,
    serving: Stored,
    owner: String,
    wanted: &'a Wanted<'a>,
    now: Timestamp,
}

/// Both Secrets, as they were read.
struct Look {
    secret: Secret,
    serving: Option<Secret>,
    shown: Option<ServingCertificate>,
    authorities: Authorities,
    orders: Orders,
}

/// What follows from a look.
enum Next {
    Write(Write),
    /// Nothing to write, until then; and whether the next step waits for copies of `ca.crt`.
    Settled(Option<Timestamp>, bool),
}

/// One write.
enum Write {
    /// A hand's CA goes beside what clients trust.
    PutBeside(Authorities),
    Step(Step<()>),
    AnswerRevocation,
    /// The annotation alone.
    Describe,
    /// A serving certificate, for the first time or for a reason.
    Issue(BTreeSet<ServedName>, Option<Renewal>),
    /// `ca.crt` alone.
    Spread,
}

/// A write that was made, and what is worth saying of it.
struct Written(Option<Done>);

impl Leader<'_> {
    /// Beside what clients trust, where a serving certificate says so; else the first one.
    async fn create(&self, shown: Option<&ServingCertificate>) -> Result<Option<Done>, StoreError> {
        let beside = match shown {
            Some(shown) => self.of(Authorities::beside(shown, self.made()?, self.now))?,
            None => None,
        };
        let (made, done) = match beside {
            Some(beside) => (beside, Done::Lost),
            None => (self.of(Authorities::first(self.made()?, self.now))?, Done::Made),
        };
        Ok(self.authorities.create(TLS, made.to_data(), annotations(&made)).await?.map(|_| done))
    }

    fn made(&self) -> Result<Authority, StoreError> {
        self.of(Authority::generate(&self.owner, self.wanted.names, self.now))
    }

    fn look(&self, secret: Secret, serving: Option<Secret>, shown: Option<ServingCertificate>) -> Result<Look, StoreError> {
        let annotation = secret.annotations().get(ANNOTATION_AUTHORITIES).map(String::as_str);
        let authorities = self.of(Authorities::parse(secret.data.as_ref().unwrap_or(&Data::new()), annotation))?;
        Ok(Look { orders: Orders::of(&secret), authorities, secret, serving, shown })
    }

    fn next(&self, look: &Look, seen: Option<&str>) -> Next {
        if let Ok(Some(beside)) = look.authorities.put_beside(look.shown.as_ref(), self.now) {
            return Next::Write(Write::PutBeside(beside));
        }
        let serving = self.serving(look);
        let seen = seen.is_some() && seen == look.secret.resource_version().as_deref() && serving.is_ok();
        let planned = self.plan(look, seen);
        match (planned, serving) {
            (Plan { step: Some(step), .. }, _) if step != Step::Gate => Next::Write(Write::Step(step)),
            _ if look.orders.revocation_is_new() => Next::Write(Write::AnswerRevocation),
            _ if look.secret.annotations().get(ANNOTATION_AUTHORITIES) != Some(&look.authorities.summary()) => Next::Write(Write::Describe),
            (_, Err(write)) => Next::Write(write),
            (Plan { step, wake_at }, Ok(renew_at)) => Next::Settled([wake_at, renew_at].into_iter().flatten().min(), step.is_some()),
        }
    }

    /// What is due. A CA that may not sign for all names, or has no key, needs a next one; a next one that may not either is no use.
    fn plan(&self, look: &Look, seen: bool) -> Plan<()> {
        let refuses = |authority: &Authority| authority.permits(self.wanted.names).is_ok_and(|(_, refused)| !refused.is_empty());
        let next = look.authorities.next();
        if let Some((id, _)) = next.filter(|(_, next)| refuses(next)) {
            return Plan { step: Some(Step::Remove([id.to_owned()].into())), wake_at: None };
        }
        let is_short = next.is_none() && look.authorities.signer().is_none_or(refuses);
        let mut keys = look.authorities.lives(look.shown.as_ref(), self.now);
        if look.shown.is_none() && self.names(look).is_none() {
            // Nothing that it signed is in use, and it can sign nothing.
            keys.iter_mut().filter(|key| key.stage == Stage::Active).for_each(|key| key.signs_until = Some(self.now));
        }
        let slots = Slots {
            keys,
            needs: [((), Need::Needed)].into(),
            ordered: look.orders.asks_for_rotation() || is_short,
            // As they are shown by openssl, too.
            revoked: look.orders.revoked().into_iter().map(|name| name.replace(':', "").to_ascii_lowercase()).collect(),
            seen,
        };
        plan(&slots, &self.wanted.rules, self.now)
    }

    /// Those names that the CA signs for; `None`: it signs for none.
    fn names(&self, look: &Look) -> Option<BTreeSet<ServedName>> {
        let (permitted, _) = look.authorities.signer()?.permits(self.wanted.names).ok()?;
        (!permitted.is_empty()).then_some(permitted)
    }

    /// What the serving certificate needs; `Ok`: nothing, until then. One whose CA has lost its key stays as it is.
    fn serving(&self, look: &Look) -> Result<Option<Timestamp>, Write> {
        let due = match (self.names(look), look.authorities.active()) {
            (Some(names), Some(active)) => renewal(look.shown.as_ref(), active, &names, self.now).map(Some).map_err(|why| (names, why)),
            _ => Ok(None),
        };
        match due {
            Err((names, _)) if look.serving.is_none() => Err(Write::Issue(names, None)),
            Err((names, why)) => Err(Write::Issue(names, Some(why))),
            Ok(_) if look.shown.as_ref().is_some_and(|shown| shown.ca.as_ref() != Some(&look.authorities.bundle())) => Err(Write::Spread),
            Ok(renew_at) => Ok(renew_at),
        }
    }

    /// `None`: somebody else wrote first.
    async fn write(&self, look: Look, write: Write) -> Result<Option<Written>, StoreError> {
        let done = match write {
            Write::PutBeside(beside) => self.store(&look.secret, &beside, annotations(&beside)).await?.map(|()| Some(Done::Lost)),
            Write::Step(step) => self.take(look, step).await?.map(Some),
            Write::AnswerRevocation => {
                let handled = look.orders.revocation_handled();
                let written = self.authorities.patch(&look.secret, &BTreeMap::new(), &handled).await?;
                written.map(|_| Some(Done::NothingToRevoke(look.orders.revoked())))
            }
            Write::Describe => {
                let written = self.authorities.patch(&look.secret, &BTreeMap::new(), &annotations(&look.authorities)).await?;
                written.map(|_| None)
            }
            Write::Issue(names, why) => self.issue(&look, &names).await?.map(|()| why.map(Done::Renewed)),
            Write::Spread => {
                let bundle = ByteString(look.authorities.bundle().into_bytes());
                self.write_serving(&look, Data::from([(CA.to_owned(), bundle)])).await?.map(|()| None)
            }
        };
        Ok(done.map(Written))
    }

    async fn take(&self, look: Look, step: Step<()>) -> Result<Option<Done>, StoreError> {
        let Look { secret, authorities, orders, .. } = look;
        let fresh = if authorities.draws(&step, self.now) { Some(self.made()?) } else { None };
        let drawn = fresh.iter().map(Authority::fingerprint).collect();
        let after = self.of(authorities.after(&step, fresh, self.now))?;
        let mut annotations = annotations(&after);
        match step {
            Step::Prepare { .. } | Step::Acknowledge => annotations.extend(orders.rotation_handled()),
            Step::Revoke(_) => annotations.extend(orders.revocation_handled()),
            _ => {}
        }
        Ok(self.store(&secret, &after, annotations).await?.map(|()| Done::Step(step, drawn)))
    }

    async fn store(&self, found: &Secret, after: &Authorities, annotations: BTreeMap<String, String>) -> Result<Option<()>, StoreError> {
        let changes = after.changes(found.data.as_ref().unwrap_or(&Data::new()));
        Ok(self.authorities.patch(found, &changes, &annotations).await?.map(drop))
    }

    async fn issue(&self, look: &Look, names: &BTreeSet<ServedName>) -> Result<Option<()>, StoreError> {
        let Some(signer) = look.authorities.signer() else { return Ok(None) };
        let issued = signer.issue(names, &look.authorities.bundle(), self.now);
        let issued = issued.map_err(|error| StoreError::Certificate(self.serving.name.clone(), error))?;
        self.write_serving(look, issued).await
    }

    async fn write_serving(&self, look: &Look, data: Data) -> Result<Option<()>, StoreError> {
        let Some(found) = &look.serving else {
            return Ok(self.serving.create(TLS, data, BTreeMap::new()).await?.map(drop));
        };
        let data = data.into_iter().map(|(name, bytes)| (name, Some(bytes))).collect();
        Ok(self.serving.patch(found, &data, &BTreeMap::new()).await?.map(drop))
    }

    fn settled(&self, look: &Look, done: Vec<Done>, wake_at: Option<Timestamp>, waits_for_copies: bool) -> Result<Advanced, StoreError> {
        let refused = look.authorities.signer().map(|signer| self.of(signer.permits(self.wanted.names))).transpose()?;
        Ok(Advanced {
            version: look.secret.resource_version().unwrap_or_default(),
            uid: look.secret.uid().unwrap_or_default(),
            bundle: look.authorities.bundle(),
            refused: refused.unwrap_or_default().1,
            waits_for_copies,
            wake_at,
            done,
        })
    }

    fn of<T>(&self, made: Result<T, CertificateError>) -> Result<T, StoreError> {
        made.map_err(|error| StoreError::Certificate(self.authorities.name.clone(), error))
    }
}

fn annotations(authorities: &Authorities) -> BTreeMap<String, String> {
    BTreeMap::from([(ANNOTATION_AUTHORITIES.to_owned(), authorities.summary())])
}
