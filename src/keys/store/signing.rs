//! The key Secret: made with a digest key and a first signing key; a key for each further algorithm that is needed.

use super::{ATTEMPTS, Release, StoreError, Stored};
use crate::{
    ambient,
    domain::resource::Algorithm,
    keys::secret::{KeyFile, Problem, life},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Client, ResourceExt as _};
use std::collections::BTreeSet;

/// Which keys a release has to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What its first key signs with: the installation's default.
    pub first: Algorithm,
    /// What the APIs' tokens are signed with.
    pub needed: BTreeSet<Algorithm>,
}

/// What the key Secret holds, after [`ensure`].
#[derive(Debug)]
pub struct Ensured {
    /// Its resourceVersion. The keys in [`Ensured::prepared`] are in the JWKS of every replica whose watch has reached it.
    pub version: String,
    /// The `kid`s that wait for [`activate`].
    pub prepared: Vec<String>,
    /// What a hand has spoilt. While there is something, no key is added.
    pub problems: Vec<Problem>,
}

/// Makes the key Secret where there is none, and adds a key, prepared, for each algorithm that is needed and has none. Writes
/// nothing where nothing is missing. The leader's alone.
///
/// # Errors
/// [`StoreError`]; after each of them it may be called again.
pub async fn ensure(client: &Client, release: &Release, wanted: &Wanted, now: Timestamp) -> Result<Ensured, StoreError> {
    let stored = Stored::new(client, release, release.keys());
    for _ in 0..ATTEMPTS {
        let Some(secret) = stored.read().await? else {
            create(&stored, wanted.first, now).await?;
            continue;
        };
        let file = parse(&stored, &secret)?;
        let missing = if file.problems.is_empty() { file.missing(&wanted.needed) } else { BTreeSet::new() };
        if missing.is_empty() {
            let prepared = file.prepared().map(|known| known.key.kid().to_owned()).collect();
            return Ok(Ensured { version: secret.resource_version().unwrap_or_default(), prepared, problems: file.problems });
        }
        prepare(&stored, &secret, missing, now).await?;
    }
    Err(StoreError::Contended(stored.name))
}

/// Lets the prepared key `kid` sign, and retires the one that signed before. Only after every replica that may be serving has the
/// key in its JWKS: the gate for the kind `Keys` and the version that [`ensure`] gave. `false`: there is no such prepared key (any more).
///
/// # Errors
/// [`StoreError`]; after each of them it may be called again.
pub async fn activate(client: &Client, release: &Release, kid: &str, now: Timestamp) -> Result<bool, StoreError> {
    let stored = Stored::new(client, release, release.keys());
    for _ in 0..ATTEMPTS {
        let Some(secret) = stored.read().await? else { return Ok(false) };
        let changed = life::activated(parse(&stored, &secret)?, kid, now);
        let Some(changed) = changed.map_err(|error| StoreError::Signing(stored.name.clone(), error))? else { return Ok(false) };
        if stored.patch(&secret, &changed).await?.is_some() {
            return Ok(true);
        }
    }
    Err(StoreError::Contended(stored.name))
}

async fn create(stored: &Stored, first: Algorithm, now: Timestamp) -> Result<(), StoreError> {
    let data = stored.draw(move || life::first(&zeroize::Zeroizing::new(ambient::random()), first, now)).await?;
    let data = data.map_err(|error| StoreError::Signing(stored.name.clone(), error))?;
    stored.create("Opaque", data).await.map(drop)
}

async fn prepare(stored: &Stored, secret: &Secret, missing: BTreeSet<Algorithm>, now: Timestamp) -> Result<(), StoreError> {
    let entries = stored.draw(move || missing.into_iter().map(|algorithm| life::prepared(algorithm, now)).collect()).await?;
    let entries: Result<_, _> = entries;
    stored.patch(secret, &entries.map_err(|error| StoreError::Signing(stored.name.clone(), error))?).await.map(drop)
}

fn parse(stored: &Stored, secret: &Secret) -> Result<KeyFile, StoreError> {
    let empty = Default::default();
    KeyFile::parse(secret.data.as_ref().unwrap_or(&empty)).map_err(|error| StoreError::Keys(stored.name.clone(), error))
}
