//! The form in which the key Secret `<release>-keys` holds the keys; pure.
//!
//! ```text
//! digest-key           32 bytes
//! signing-<kid>.json   {"algorithm": "RS256", "state": "active", "createdAt": …, "publishedAt": …, "activatedAt": …,
//!                       "pkcs8": <base64 of the DER>}
//! ```
//! One data key per signing key, so that a patch that adds or changes one cannot harm another, and so that one that a human edit
//! spoilt is told from those that are whole. What cannot be read is reported and stays as it is: keys are never replaced silently.

pub mod life;
mod recovery;
#[cfg(test)]
mod tests;

pub use recovery::Recovery;

use super::{DigestKey, KeySet, SigningKey, signing::SigningError};
use crate::domain::{
    key_rotation::{Key, Stage},
    resource::Algorithm,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use zeroize::{Zeroize as _, Zeroizing};

/// The data of a Secret.
pub type Data = BTreeMap<String, ByteString>;

/// The data key of the digest key.
pub const DIGEST_KEY: &str = "digest-key";
/// Most signing keys; a rotation has at most three per algorithm, and orders end at twice as many.
pub const MAX_SIGNING_KEYS: usize = 32;
/// Most bytes of one signing key; RSA of 4096 bits needs about 3,400.
const MAX_BYTES: usize = 8 * 1024;
const PREFIX: &str = "signing-";
const SUFFIX: &str = ".json";

/// One signing key of the Secret.
#[derive(Debug)]
pub struct StoredKey {
    /// The key.
    pub key: SigningKey,
    /// Where it is in its life.
    pub life: Key<Algorithm>,
}

/// Why nothing can be made of a key Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySecretError {
    /// The digest key is not there, or has not 32 bytes.
    #[error(
        "its entry digest-key is missing or has not 32 bytes: restore the Secret from a backup, or delete it, then every client \
         gets a new credential unless a replica still knows the key"
    )]
    DigestKey,
    /// More than [`MAX_SIGNING_KEYS`].
    #[error("it holds more than {MAX_SIGNING_KEYS} signing keys: remove those that are retired")]
    TooManyKeys,
}

/// A signing key that cannot be read. It neither signs nor is published, and while it is there no key is added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its entry {entry} {why}: restore the entry from a backup, or remove it")]
pub struct Problem {
    /// The data key.
    pub entry: String,
    /// What is wrong with it.
    pub why: Fault,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Over the limit.
    #[error("is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Not our JSON.
    #[error("is not the JSON of a signing key")]
    Form,
    /// An algorithm that this version does not know.
    #[error("is of an algorithm that this version does not know")]
    Algorithm,
    /// Not a key of its algorithm.
    #[error("holds no {0} key")]
    Key(&'static str),
    /// The key has another thumbprint.
    #[error("holds another key than its name says")]
    Name,
    /// Another key of the same algorithm was activated later.
    #[error("is active beside a key of its algorithm that was activated later")]
    Superseded,
}

/// A key Secret that was read.
#[derive(Debug)]
pub struct KeyFile {
    /// The key of the digests.
    pub digest: DigestKey,
    /// The signing keys, active ones first, then by algorithm and age.
    pub keys: Vec<StoredKey>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    algorithm: String,
    state: Stage,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    published_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unused_since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pkcs8: String,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

impl KeyFile {
    /// Reads the data of a key Secret.
    ///
    /// # Errors
    /// [`KeySecretError`] where it has no digest key or too many signing keys; a signing key that cannot be read is one of
    /// [`KeyFile::problems`].
    pub fn parse(data: &Data) -> Result<Self, KeySecretError> {
        let digest = data.get(DIGEST_KEY).and_then(|bytes| <&[u8; 32]>::try_from(bytes.0.as_slice()).ok());
        let digest = DigestKey::new(digest.ok_or(KeySecretError::DigestKey)?);
        let entries: Vec<_> = data.iter().filter(|(name, _)| is_signing_key(name)).collect();
        if entries.len() > MAX_SIGNING_KEYS {
            return Err(KeySecretError::TooManyKeys);
        }
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        for (name, bytes) in entries {
            match read(name, &bytes.0) {
                Ok(key) => keys.push(key),
                Err(why) => problems.push(Problem { entry: name.clone(), why }),
            }
        }
        let place = |life: &Key<Algorithm>| (life.stage, life.line, std::cmp::Reverse((life.activated_at, life.created_at)));
        keys.sort_by_key(|known: &StoredKey| place(&known.life));
        report_superseded(&mut keys, &mut problems);
        Ok(Self { digest, keys, problems })
    }

    /// What a replica signs, publishes and compares with.
    #[must_use]
    pub fn into_key_set(self) -> KeySet {
        let lives = self.lives();
        let (active, published): (Vec<_>, Vec<_>) = self.keys.into_iter().partition(|known| known.life.stage == Stage::Active);
        let keys = |known: Vec<StoredKey>| known.into_iter().map(|known| known.key).collect::<Vec<_>>();
        KeySet { lives, ..KeySet::new(keys(active), &keys(published), self.digest) }
    }

    /// The entries that are not part of the key set, because they cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter(|problem| problem.why != Fault::Superseded).map(|problem| problem.entry.as_str())
    }

    /// The lives of the keys, for a plan.
    #[must_use]
    pub fn lives(&self) -> Vec<Key<Algorithm>> {
        self.keys.iter().map(|known| known.life.clone()).collect()
    }
}

/// Of two active keys of one algorithm the one that was activated later signs, on every replica; the other one stays published.
fn report_superseded(keys: &mut [StoredKey], problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for known in keys.iter_mut().filter(|known| known.life.stage == Stage::Active) {
        if !seen.insert(known.life.line) {
            known.life.stage = Stage::Retired;
            problems.push(Problem { entry: entry_name(known.key.kid()), why: Fault::Superseded });
        }
    }
}

fn is_signing_key(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// The data key of a signing key.
#[must_use]
pub fn entry_name(kid: &str) -> String {
    format!("{PREFIX}{kid}{SUFFIX}")
}

fn read(name: &str, bytes: &[u8]) -> Result<StoredKey, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Fault::TooLong);
    }
    let entry: Entry = serde_json::from_slice(bytes).map_err(|_| Fault::Form)?;
    let algorithm = Algorithm::named(&entry.algorithm).ok_or(Fault::Algorithm)?;
    let unreadable = Fault::Key(algorithm.as_str());
    let der = Zeroizing::new(STANDARD.decode(entry.pkcs8.as_bytes()).map_err(|_| unreadable.clone())?);
    let key = SigningKey::from_pkcs8(algorithm, &der).map_err(|_| unreadable)?;
    if name != entry_name(key.kid()) {
        return Err(Fault::Name);
    }
    let life = Key {
        id: key.kid().to_owned(),
        line: algorithm,
        stage: entry.state,
        created_at: entry.created_at,
        published_at: entry.published_at,
        activated_at: entry.activated_at,
        unused_since: entry.unused_since,
        signs_until: None,
    };
    Ok(StoredKey { key, life })
}

/// The data key and value of a signing key.
///
/// # Errors
/// [`SigningError::Failed`] where the library does not give the key.
pub fn entry(key: &SigningKey, life: &Key<Algorithm>) -> Result<(String, ByteString), SigningError> {
    let mut entry = Entry::of(life);
    entry.pkcs8 = STANDARD.encode(&*key.to_pkcs8()?);
    let json = serde_json::to_vec(&entry).map_err(|_| SigningError::Failed(key.algorithm().as_str()))?;
    Ok((entry_name(key.kid()), ByteString(json)))
}

impl Entry {
    /// All but the key itself.
    fn of(life: &Key<Algorithm>) -> Self {
        Self {
            algorithm: life.line.as_str().to_owned(),
            state: life.stage,
            created_at: life.created_at,
            published_at: life.published_at,
            activated_at: life.activated_at,
            unused_since: life.unused_since,
            pkcs8: String::new(),
        }
    }
}

/// What people may read of the keys without reading the Secret's data: the lives by `kid`, as JSON.
#[must_use]
pub fn summary(lives: &[Key<Algorithm>]) -> String {
    let lines: BTreeMap<&str, Entry> = lives.iter().map(|life| (life.id.as_str(), Entry::of(life))).collect();
    serde_json::to_string(&lines).unwrap_or_default()
}
