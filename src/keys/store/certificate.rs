//! The CA and the serving certificate of a release that has no certificate of the platform's.

use super::{ATTEMPTS, Release, StoreError, Stored};
use crate::keys::certificate::{
    Authority, ServedName,
    serving::{Renewal, renewal},
};
use jiff::Timestamp;
use kube::Client;
use std::collections::{BTreeMap, BTreeSet};

/// The type of both Secrets.
const TLS: &str = "kubernetes.io/tls";

/// The serving certificate, after [`ensure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// When to call again at the latest.
    pub renew_at: Timestamp,
    /// What clients have to trust (PEM).
    pub ca: String,
    /// Why it was made anew by this call; `None` where it was there or made for the first time.
    pub renewed: Option<Renewal>,
}

/// Makes the CA and a serving certificate for `names` where there are none, and renews the certificate where its time, its names
/// or the CA ask for it. The CA is never replaced. Writes nothing where nothing is due. The leader's alone.
///
/// # Errors
/// [`StoreError`]; after each of them it may be called again.
pub async fn ensure(client: &Client, release: &Release, names: &BTreeSet<ServedName>, now: Timestamp) -> Result<Issued, StoreError> {
    let authority = authority(client, release, names, now).await?;
    let stored = Stored::new(client, release, release.serving());
    let unusable = |error| StoreError::Certificate(stored.name.clone(), error);
    let mut renewed = None;
    for _ in 0..ATTEMPTS {
        let Some(secret) = stored.read().await? else {
            stored.create(TLS, authority.issue(names, now).map_err(unusable)?, BTreeMap::new()).await?;
            continue;
        };
        let data = secret.data.clone().unwrap_or_default();
        let due = match renewal(&data, &authority, names, now) {
            Ok((_, renew_at)) => return Ok(Issued { renew_at, ca: authority.certificate_pem(), renewed }),
            Err(due) => due,
        };
        let issued = authority.issue(names, now).map_err(unusable)?.into_iter().map(|(name, bytes)| (name, Some(bytes))).collect();
        if stored.patch(&secret, &issued, &BTreeMap::new()).await?.is_some() {
            renewed = Some(due);
        }
    }
    Err(StoreError::Contended(stored.name))
}

/// The CA that is there, or a new one; one that can sign for `names` at `now`.
async fn authority(client: &Client, release: &Release, names: &BTreeSet<ServedName>, now: Timestamp) -> Result<Authority, StoreError> {
    let stored = Stored::new(client, release, release.authority());
    let unusable = |error| StoreError::Certificate(stored.name.clone(), error);
    for _ in 0..ATTEMPTS {
        let Some(secret) = stored.read().await? else {
            let made = Authority::generate(&format!("{}/{}", release.namespace, release.name), names, now).map_err(unusable)?;
            stored.create(TLS, made.to_data(), BTreeMap::new()).await?;
            continue;
        };
        let found = Authority::parse(&secret.data.unwrap_or_default()).map_err(unusable)?;
        let end = found.not_after().map_err(unusable)?;
        if now >= end {
            return Err(StoreError::Expired(stored.name, end));
        }
        return match found.refuses(names).map_err(unusable)? {
            Some(name) => Err(StoreError::Name(stored.name, name.clone())),
            None => Ok(found),
        };
    }
    Err(StoreError::Contended(stored.name))
}
