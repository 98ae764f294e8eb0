//! The release's own keys and certificate: made on first start, added to and renewed by the leader alone.

use super::{Controller, Fault, queue::Outcome};
use crate::{
    ambient,
    domain::{names::ObjectName, resource::Algorithm},
    keys::{
        certificate::ServedName,
        secret::entry_name,
        store::{self, StoreError, signing::Wanted},
    },
    replica::{Watched, gate::Passage},
};
use jiff::Timestamp;
use std::{collections::BTreeSet, time::Duration};

/// How soon a key that waits for the replicas is looked at again.
const SOON: Duration = Duration::from_millis(500);
/// How often keys and certificate are looked at when nothing is due.
const EVERY: Duration = Duration::from_secs(3600);

/// What the installation's own keys and certificate are to be.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The algorithm of the first signing key, and of APIs that name none.
    pub algorithm: Algorithm,
    /// Whether the endpoint has a certificate at all.
    pub tls: bool,
    /// The names of the self-signed serving certificate; `None`: the certificate is given, or TLS is off.
    pub self_signed: Option<BTreeSet<ServedName>>,
}

impl Controller {
    /// Makes what is missing and renews what is due.
    pub(super) async fn provision(&self) -> Result<Outcome, Fault> {
        let (keys, certificate) = (self.provision_keys().await, self.provision_certificate().await);
        Ok(Outcome::Again(keys?.min(certificate?)))
    }

    /// A new key signs once every replica that may be serving publishes it.
    async fn provision_keys(&self) -> Result<Duration, Fault> {
        let release = self.installation.release();
        let wanted = Wanted { first: self.settings.algorithm, needed: self.registry.with_index(|index| index.algorithms()) };
        let now = ambient::now();
        let ensured = store::signing::ensure(&self.kube, &release, &wanted, now).await.map_err(|error| failed(&release.keys(), &error))?;
        for problem in &ensured.problems {
            tracing::error!(entry = problem.entry, why = %problem.why, "an entry of the key Secret cannot be used");
        }
        if ensured.prepared.is_empty() {
            return Ok(EVERY);
        }
        let version = ensured.version.parse().unwrap_or(u64::MAX);
        let mut next = EVERY;
        for kid in &ensured.prepared {
            let passage = self.gate.pass(Watched::Keys, version, &entry_name(kid)).await;
            match passage.map_err(|error| Fault::Read { kind: "replica Leases", object: release.keys(), why: error.to_string() })? {
                Passage::Passed => {
                    store::signing::activate(&self.kube, &release, kid, now).await.map_err(|error| failed(&release.keys(), &error))?;
                }
                Passage::Blocked { .. } => next = SOON,
            }
        }
        Ok(next)
    }

    async fn provision_certificate(&self) -> Result<Duration, Fault> {
        let Some(names) = &self.settings.self_signed else { return Ok(EVERY) };
        let release = self.installation.release();
        let now = ambient::now();
        let issued = store::certificate::ensure(&self.kube, &release, names, now).await;
        let issued = issued.map_err(|error| failed(&release.serving(), &error))?;
        if let Some(why) = issued.renewed {
            tracing::info!(?why, "renewed the serving certificate");
        }
        Ok(until(issued.renew_at, now).min(EVERY))
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
