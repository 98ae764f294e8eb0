//! The release's own keys and certificate: made on first start, rotated and renewed by the leader alone. `trust` says where its CAs have
//! to be known before another one signs.

mod certificate;
mod notices;
mod trust;

use super::{Controller, Fault, events::Notice, queue::Outcome};
use crate::{
    ambient,
    domain::{
        key_rotation::{Need, Rules},
        names::ObjectName,
        resource::Algorithm,
    },
    keys::{
        certificate::ServedName,
        store::{
            self, StoreError,
            signing::{Advanced, Wanted},
        },
    },
    replica::{Change, Watched, gate::Passage},
};
use futures::future::join_all;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How soon keys that wait for the replicas are looked at again.
const SOON: Duration = Duration::from_millis(500);
/// The same, once they have waited for [`WORTH_A_WORD`].
const LATER: Duration = Duration::from_secs(5);
/// A wait of this is worth an event.
const WORTH_A_WORD: Duration = Duration::from_secs(30);
/// How often keys and certificate are looked at when nothing is due.
const EVERY: Duration = Duration::from_secs(3600);
/// Most gates that one look passes: the last step of one rotation and the first of the next.
const MOST_GATES: usize = 4;

/// What the installation's own keys and certificate are to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The algorithm of APIs that name none: there is always a key of it.
    pub algorithm: Algorithm,
    /// When signing keys change.
    pub signing_keys: Rules,
    /// The Secret with the endpoint's certificate, in the release's namespace; `None`: it has none.
    pub certificate: Option<String>,
    /// The names of the self-signed serving certificate; `None`: the certificate is given, or TLS is off.
    pub self_signed: Option<BTreeSet<ServedName>>,
    /// Whether workloads that ask for it are restarted for a new credential.
    pub restart_workloads: bool,
}

/// What the leader remembers of its looks. Nothing is lost with it but time.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<Looks>);

#[derive(Debug, Default)]
struct Looks {
    /// Since when nothing has to be signed with an algorithm.
    unneeded: BTreeMap<Algorithm, Timestamp>,
    /// Since when the replicas keep a gate shut.
    keys_blocked: Blocked,
    /// Since when something keeps a CA from signing.
    authority_blocked: Blocked,
}

/// A gate that stays shut: since when, by the monotonic clock, and whether that was said.
#[derive(Debug, Default)]
struct Blocked(Option<(Duration, bool)>);

impl Blocked {
    fn open(&mut self) {
        self.0 = None;
    }

    /// It is shut now. When to look again, and whether it is time to say so.
    fn shut(&mut self, now: Duration) -> (Duration, bool) {
        let (since, said) = *self.0.get_or_insert((now, false));
        let long = now.saturating_sub(since) >= WORTH_A_WORD;
        self.0 = Some((since, said || long));
        (if long { LATER } else { SOON }, long && !said)
    }
}

impl Memory {
    /// The Lease is lost.
    pub(super) fn clear(&self) {
        *self.lock() = Looks::default();
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    /// Makes what is missing, moves on what is due.
    pub(super) async fn provision(&self) -> Result<Outcome, Fault> {
        let (keys, certificate) = (self.provision_keys().await, self.provision_certificate().await);
        Ok(Outcome::Again(keys?.min(certificate?)))
    }

    /// Every step of the signing keys that is due. Where one waits for the replicas, it is looked at again soon.
    async fn provision_keys(&self) -> Result<Duration, Fault> {
        let release = self.installation.release();
        let mut seen = None;
        for _ in 0..MOST_GATES {
            let (now, known) = (ambient::now(), self.keys());
            let wanted = Wanted { needs: self.needs(now), rules: self.settings.signing_keys, known: known.as_deref() };
            let advanced = store::signing::advance(&self.kube, &release, &wanted, seen.as_deref(), now).await;
            let advanced = advanced.map_err(|error| failed(&release.keys(), &error))?;
            self.tell_of_keys(&release.keys(), &advanced);
            if !advanced.waits_for_replicas {
                self.memory.lock().keys_blocked.open();
                return Ok(advanced.wake_at.map_or(EVERY, |at| until(at, now).min(EVERY)));
            }
            match self.gate_of_keys(&release.keys(), &advanced).await? {
                Some(wait) => return Ok(wait),
                None => seen = Some(advanced.version),
            }
        }
        Ok(SOON)
    }

    /// Whether every replica that may be serving has seen the keys: publishes those that wait to sign, and does not sign with those
    /// that wait to go. `Some`: not yet, and when to look again.
    async fn gate_of_keys(&self, secret: &ObjectName, keys: &Advanced) -> Result<Option<Duration>, Fault> {
        let version = keys.version.parse().unwrap_or(u64::MAX);
        let change = Change { kind: Watched::Keys, namespace: &secret.namespace, version };
        let mut late = BTreeSet::new();
        // At the same time: they share one look at the replicas.
        for passage in join_all(keys.awaited.iter().map(|entry| self.gate.pass(change, entry))).await {
            let passage =
                passage.map_err(|error| Fault::Read { kind: "replica Leases", object: secret.clone(), why: error.to_string() })?;
            if let Passage::Blocked { replicas } = passage {
                late.extend(replicas);
            }
        }
        if late.is_empty() {
            self.memory.lock().keys_blocked.open();
            return Ok(None);
        }
        let (wait, is_worth_a_word) = self.memory.lock().keys_blocked.shut(ambient::boot_time());
        if is_worth_a_word {
            let names: Vec<String> = late.into_iter().collect();
            let why = format!("the signing keys wait until these replicas have seen and read them: {}", names.join(", "));
            self.events.of_release(secret, &keys.uid, &Notice::warning("RotationBlocked", why));
        }
        Ok(Some(wait))
    }

    /// The default algorithm is always needed: an API that names none is served at once.
    fn needs(&self, now: Timestamp) -> BTreeMap<Algorithm, Need> {
        let mut used = self.registry.with_index(|index| index.algorithms());
        used.insert(self.settings.algorithm);
        let mut looks = self.memory.lock();
        looks.unneeded.retain(|algorithm, _| !used.contains(algorithm));
        let mut need = |algorithm| match used.contains(&algorithm) {
            true => Need::Needed,
            false => Need::UnneededSince(*looks.unneeded.entry(algorithm).or_insert(now)),
        };
        Algorithm::ALL.map(|algorithm| (algorithm, need(algorithm))).into()
    }

    fn tell_of_keys(&self, secret: &ObjectName, advanced: &Advanced) {
        for problem in &advanced.problems {
            tracing::error!(entry = problem.entry, why = %problem.why, "an entry of the key Secret cannot be used");
        }
        for notice in advanced.done.iter().filter_map(notices::of_signing_keys) {
            tracing::info!(secret = %secret, reason = notice.reason, note = notice.note, "signing keys");
            self.events.of_release(secret, &advanced.uid, &notice);
        }
    }
}

fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default().max(SOON)
}

fn failed(secret: &ObjectName, error: &StoreError) -> Fault {
    match error {
        StoreError::Contended(_) => Fault::Contended { kind: "Secret", object: secret.clone() },
        other => Fault::Write { kind: "own Secrets", object: secret.clone(), why: other.to_string() },
    }
}
