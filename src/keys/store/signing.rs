//! The key Secret: made with a digest key and first signing keys, and moved on step by step as `domain::key_rotation` plans it.

use super::{ATTEMPTS, Release, StoreError, Stored, orders::Orders};
use crate::{
    ambient,
    api::ANNOTATION_SIGNING_KEYS,
    domain::{
        key_rotation::{Key, Need, Plan, Rules, Slots, Step, plan},
        resource::Algorithm,
    },
    keys::{
        KeySet,
        secret::{
            Data, KeyFile, Problem, entry_name,
            life::{self, Change},
            summary,
        },
        signing::SigningError,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt as _};
use std::collections::{BTreeMap, BTreeSet};

/// Most writes of one call. A rotation has five, most of them a day or more apart.
const MOST_WRITES: usize = 16;

/// Which keys a release has to have.
pub struct Wanted<'a> {
    /// Per algorithm: whether tokens are signed with it.
    pub needs: BTreeMap<Algorithm, Need>,
    /// When keys change.
    pub rules: Rules,
    /// What this replica knows of the keys: where somebody deleted the Secret, it is made again from this.
    pub known: Option<&'a KeySet>,
}

/// What was done to the keys, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The Secret was made, with new keys that sign at once.
    Made,
    /// The Secret was gone, and was made again with the keys that it had.
    Restored,
    /// A step, and the `kid`s of the keys that were drawn for it.
    Step(Step<Algorithm>, Vec<String>),
    /// There is no key of a name that is to be revoked.
    NothingToRevoke(BTreeSet<String>),
}

/// Where the keys stand, after [`advance`].
#[derive(Debug)]
pub struct Advanced {
    /// The resourceVersion of the Secret.
    pub version: String,
    /// The UID of the Secret.
    pub uid: String,
    /// Whether the next step waits until every replica that may be serving has seen that version: then to be called again, with it.
    pub waits_for_replicas: bool,
    /// The entries that each of them has to have read besides.
    pub awaited: Vec<String>,
    /// When to call again at the latest.
    pub wake_at: Option<Timestamp>,
    /// What a hand has spoilt. While there is something, nothing is done but what revokes.
    pub problems: Vec<Problem>,
    /// What was done.
    pub done: Vec<Done>,
}

/// Makes the key Secret where there is none, and takes every step that is due. Writes nothing where nothing is. `seen`: a
/// resourceVersion that every replica that may be serving has seen, by the gate for the kind `Keys`. The leader's alone.
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
    let leader = Leader { stored: Stored::new(client, release, release.keys()), wanted, now };
    let (mut done, mut contended) = (Vec::new(), 0);
    for _ in 0..MOST_WRITES {
        let Some(secret) = leader.stored.read().await? else {
            done.extend(leader.create().await?);
            continue;
        };
        let file = leader.parse(&secret)?;
        let orders = Orders::of(&secret);
        let version = secret.resource_version().unwrap_or_default();
        let written = match leader.plan(&file, &orders, seen == Some(&version)) {
            Plan { step: Some(step), .. } if step != Step::Gate => leader.take(&secret, file, &orders, &step).await?,
            _ if orders.revocation_is_new() => leader.answer_revocation(&secret, &orders).await?,
            Plan { step, wake_at } => {
                let (uid, awaited) = (secret.uid().unwrap_or_default(), file.lives().iter().map(|life| entry_name(&life.id)).collect());
                return Ok(Advanced { version, uid, waits_for_replicas: step.is_some(), awaited, wake_at, problems: file.problems, done });
            }
        };
        match written {
            Some(written) => done.push(written),
            None if contended < ATTEMPTS => contended += 1,
            None => break,
        }
    }
    Err(StoreError::Contended(leader.stored.name))
}

struct Leader<'a> {
    stored: Stored,
    wanted: &'a Wanted<'a>,
    now: Timestamp,
}

impl Leader<'_> {
    /// What is due. On what is not understood nothing is built: beside an entry that cannot be read only revocations are followed,
    /// which also take out such an entry.
    fn plan(&self, file: &KeyFile, orders: &Orders, seen: bool) -> Plan<Algorithm> {
        let revoked = orders.revoked();
        let is_spoilt = |id: &&String| file.problems.iter().any(|problem| problem.entry == entry_name(id));
        let spoilt: BTreeSet<String> = revoked.iter().filter(is_spoilt).cloned().collect();
        let (needs, ordered) = (self.wanted.needs.clone(), orders.asks_for_rotation());
        let planned = plan(&Slots { keys: file.lives(), needs, ordered, revoked, seen }, &self.wanted.rules, self.now);
        match planned.step {
            Some(Step::Revoke(ids)) => Plan { step: Some(Step::Revoke(&ids | &spoilt)), wake_at: None },
            _ if !spoilt.is_empty() => Plan { step: Some(Step::Revoke(spoilt)), wake_at: None },
            _ if !file.problems.is_empty() => Plan { step: None, wake_at: None },
            _ => planned,
        }
    }

    /// Of a release that is new nobody has cached a JWKS, so its first keys sign at once. Where a replica still knows the keys
    /// of a Secret that is gone, they come back: no token of theirs, and no client's secret, is lost.
    async fn create(&self) -> Result<Option<Done>, StoreError> {
        let (data, done) = match self.wanted.known.and_then(|known| known.recovery.as_ref()) {
            Some(recovery) => (recovery.data(), Done::Restored),
            None => (self.drawn(life::first).await?, Done::Made),
        };
        let lives = KeyFile::parse(&data).map(|file| file.lives()).unwrap_or_default();
        Ok(self.stored.create("Opaque", data, annotations(&lives)).await?.map(|_| done))
    }

    async fn drawn(
        &self,
        draw: impl FnOnce(&[u8; 32], &BTreeSet<Algorithm>, Timestamp) -> Result<Data, SigningError> + Send + 'static,
    ) -> Result<Data, StoreError> {
        let (needed, now) = (self.needed(), self.now);
        let data = self.stored.draw(move || draw(&zeroize::Zeroizing::new(ambient::random()), &needed, now)).await?;
        data.map_err(|error| self.failed(error))
    }

    /// Makes one step. `None`: somebody else wrote first.
    async fn take(&self, secret: &Secret, file: KeyFile, orders: &Orders, step: &Step<Algorithm>) -> Result<Option<Done>, StoreError> {
        let (planned, needed, now) = (step.clone(), self.needed(), self.now);
        let change = self.stored.draw(move || life::change(&file, &planned, &needed, now)).await?;
        let Change { mut data, lives, drawn } = change.map_err(|error| self.failed(error))?;
        let mut annotations = annotations(&lives);
        match step {
            Step::Prepare { .. } | Step::Acknowledge => annotations.extend(orders.rotation_handled()),
            Step::Revoke(ids) => {
                annotations.extend(orders.revocation_handled());
                // Also entries that cannot be read.
                data.extend(ids.iter().map(|id| (entry_name(id), None)));
            }
            _ => {}
        }
        Ok(self.stored.patch(secret, &data, &annotations).await?.map(|_| Done::Step(step.clone(), drawn)))
    }

    async fn answer_revocation(&self, secret: &Secret, orders: &Orders) -> Result<Option<Done>, StoreError> {
        let written = self.stored.patch(secret, &BTreeMap::new(), &orders.revocation_handled()).await?;
        Ok(written.map(|_| Done::NothingToRevoke(orders.revoked())))
    }

    fn needed(&self) -> BTreeSet<Algorithm> {
        self.wanted.needs.iter().filter(|(_, need)| **need == Need::Needed).map(|(algorithm, _)| *algorithm).collect()
    }

    fn parse(&self, secret: &Secret) -> Result<KeyFile, StoreError> {
        let empty = Data::new();
        let parsed = KeyFile::parse(secret.data.as_ref().unwrap_or(&empty));
        parsed.map_err(|error| StoreError::Keys(self.stored.name.clone(), error))
    }

    fn failed(&self, error: SigningError) -> StoreError {
        StoreError::Signing(self.stored.name.clone(), error)
    }
}

fn annotations(lives: &[Key<Algorithm>]) -> BTreeMap<String, String> {
    BTreeMap::from([(ANNOTATION_SIGNING_KEYS.to_owned(), summary(lives))])
}
