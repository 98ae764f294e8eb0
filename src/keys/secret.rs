//! The form in which the key Secret `<release>-keys` holds the keys; pure.
//!
//! ```text
//! digest-key           32 bytes
//! signing-<kid>.json   {"algorithm": "RS256", "state": "active", "createdAt": …, "activatedAt": …, "pkcs8": <base64 of the DER>}
//! ```
//! One data key per signing key, so that a patch that adds or changes one cannot harm another, and so that one that a human edit
//! spoilt is told from those that are whole. What cannot be read is reported and stays as it is: keys are never replaced silently.

pub mod life;

use super::{DigestKey, KeySet, SigningKey, signing::SigningError};
use crate::domain::resource::Algorithm;
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
/// Most signing keys; a rotation has at most three per algorithm.
pub const MAX_SIGNING_KEYS: usize = 32;
/// Most bytes of one signing key; RSA of 4096 bits needs about 3,400.
const MAX_BYTES: usize = 8 * 1024;
const PREFIX: &str = "signing-";
const SUFFIX: &str = ".json";

/// Where a signing key is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Signs.
    Active,
    /// Published, does not sign yet.
    Prepared,
    /// Published, does not sign any more.
    Retired,
}

/// One signing key of the Secret.
#[derive(Debug)]
pub struct StoredKey {
    /// The key.
    pub key: SigningKey,
    /// Where it is in its life.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
}

/// Why nothing can be made of a key Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySecretError {
    /// The digest key is not there, or has not 32 bytes.
    #[error(
        "its entry digest-key is missing or has not 32 bytes: restore the Secret from a backup, or delete it, then every client \
         gets a new credential"
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
    state: State,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    activated_at: Option<Timestamp>,
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
        keys.sort_by_key(|known| (known.state, known.key.algorithm(), std::cmp::Reverse((known.activated_at, known.created_at))));
        report_superseded(&mut keys, &mut problems);
        Ok(Self { digest, keys, problems })
    }

    /// What a replica signs, publishes and compares with.
    #[must_use]
    pub fn into_key_set(self) -> KeySet {
        let (active, published): (Vec<_>, Vec<_>) = self.keys.into_iter().partition(|known| known.state == State::Active);
        let keys = |known: Vec<StoredKey>| known.into_iter().map(|known| known.key).collect::<Vec<_>>();
        KeySet::new(keys(active), &keys(published), self.digest)
    }

    /// The algorithms of `needed` that no key is there for, prepared or active.
    #[must_use]
    pub fn missing(&self, needed: &BTreeSet<Algorithm>) -> BTreeSet<Algorithm> {
        let usable = |known: &&StoredKey| known.state != State::Retired;
        let present: BTreeSet<_> = self.keys.iter().filter(usable).map(|known| known.key.algorithm()).collect();
        needed.difference(&present).copied().collect()
    }

    /// The entries that are not part of the key set, because they cannot be read.
    pub fn unread(&self) -> impl Iterator<Item = &str> {
        self.problems.iter().filter(|problem| problem.why != Fault::Superseded).map(|problem| problem.entry.as_str())
    }

    /// The keys that wait for their activation.
    pub fn prepared(&self) -> impl Iterator<Item = &StoredKey> {
        self.keys.iter().filter(|known| known.state == State::Prepared)
    }
}

/// Of two active keys of one algorithm the one that was activated later signs, on every replica; the other one stays published.
fn report_superseded(keys: &mut [StoredKey], problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for known in keys.iter_mut().filter(|known| known.state == State::Active) {
        if !seen.insert(known.key.algorithm()) {
            known.state = State::Retired;
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
    Ok(StoredKey { key, state: entry.state, created_at: entry.created_at, activated_at: entry.activated_at })
}

/// The data key and value of a signing key.
///
/// # Errors
/// [`SigningError::Failed`] where the library does not give the key.
pub fn entry(known: &StoredKey) -> Result<(String, ByteString), SigningError> {
    let failed = SigningError::Failed(known.key.algorithm().as_str());
    let entry = Entry {
        algorithm: known.key.algorithm().as_str().to_owned(),
        state: known.state,
        created_at: known.created_at,
        activated_at: known.activated_at,
        pkcs8: STANDARD.encode(&*known.key.to_pkcs8()?),
    };
    let json = serde_json::to_vec(&entry).map_err(|_| failed)?;
    Ok((entry_name(known.key.kid()), ByteString(json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const DIGEST: [u8; 32] = [7; 32];

    pub(super) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    pub(super) fn es256(state: State, activated_at: Option<Timestamp>) -> StoredKey {
        StoredKey { key: SigningKey::generate(Algorithm::Es256).unwrap(), state, created_at: at(1), activated_at }
    }

    pub(super) fn data(keys: &[&StoredKey]) -> Data {
        let mut data = Data::from([(DIGEST_KEY.to_owned(), ByteString(DIGEST.to_vec()))]);
        data.extend(keys.iter().map(|known| entry(known).unwrap()));
        data
    }

    fn edit(data: &mut Data, kid: &str, change: impl FnOnce(&mut serde_json::Value)) {
        let bytes = data.get_mut(&entry_name(kid)).unwrap();
        let mut json = serde_json::from_slice(&bytes.0).unwrap();
        change(&mut json);
        bytes.0 = json.to_string().into_bytes();
    }

    /// A09, W06: a prepared and a retired key are published and do not sign.
    #[test]
    fn keys_that_do_not_sign_are_published_after_those_that_do() {
        let (old, new) = (es256(State::Retired, Some(at(1))), es256(State::Prepared, None));
        let active = es256(State::Active, Some(at(2)));
        let set = KeyFile::parse(&data(&[&old, &new, &active])).unwrap().into_key_set();
        assert_eq!(set.active[&Algorithm::Es256].kid(), active.key.kid());
        let jwks: serde_json::Value = serde_json::from_slice(&set.jwks).unwrap();
        let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|jwk| jwk["kid"].as_str().unwrap()).collect();
        assert_eq!(kids, [active.key.kid(), new.key.kid(), old.key.kid()]);
    }

    #[test]
    fn an_algorithm_is_missing_until_a_key_of_it_is_prepared_or_active() {
        let needed = BTreeSet::from([Algorithm::Rs256, Algorithm::Es256]);
        let missing = |known: &StoredKey| KeyFile::parse(&data(&[known])).unwrap().missing(&needed);
        assert_eq!(missing(&es256(State::Prepared, None)), BTreeSet::from([Algorithm::Rs256]));
        assert_eq!(missing(&es256(State::Active, None)), BTreeSet::from([Algorithm::Rs256]));
        assert_eq!(missing(&es256(State::Retired, None)), needed);
    }

    /// S16: without a digest key there is nothing to compare with, and a new one is never made here.
    #[test]
    fn a_digest_key_of_another_length_is_refused() {
        for bytes in [None, Some(vec![]), Some(vec![7; 31]), Some(vec![7; 33])] {
            let mut data = data(&[]);
            data.remove(DIGEST_KEY);
            data.extend(bytes.map(|bytes| (DIGEST_KEY.to_owned(), ByteString(bytes))));
            assert_eq!(KeyFile::parse(&data).unwrap_err(), KeySecretError::DigestKey);
        }
    }

    /// What one bad entry holds harms no other one, and is named.
    #[test]
    fn an_entry_that_cannot_be_read_is_reported_and_left_out() {
        let (good, bad) = (es256(State::Active, Some(at(1))), es256(State::Prepared, None));
        let other = STANDARD.encode(&*SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap());
        let edits: [(&str, serde_json::Value, Fault); 7] = [
            ("pkcs8", "rubbish".into(), Fault::Key("ES256")),
            ("pkcs8", STANDARD.encode(b"rubbish").into(), Fault::Key("ES256")),
            ("pkcs8", other.into(), Fault::Name),
            ("algorithm", "RS256".into(), Fault::Key("RS256")),
            ("algorithm", "none".into(), Fault::Algorithm),
            ("state", "shiny".into(), Fault::Form),
            ("padding", "x".repeat(MAX_BYTES).into(), Fault::TooLong),
        ];
        for (member, value, why) in edits {
            let mut data = data(&[&good, &bad]);
            edit(&mut data, bad.key.kid(), |json| json[member] = value);
            let file = KeyFile::parse(&data).unwrap();
            assert_eq!(file.problems, [Problem { entry: entry_name(bad.key.kid()), why }]);
            assert_eq!(file.keys.iter().map(|known| known.key.kid()).collect::<Vec<_>>(), [good.key.kid()]);
        }
    }

    #[test]
    fn of_two_active_keys_the_one_activated_later_signs() {
        let (older, newer) = (es256(State::Active, Some(at(1))), es256(State::Active, Some(at(2))));
        let file = KeyFile::parse(&data(&[&older, &newer])).unwrap();
        assert_eq!(file.problems, [Problem { entry: entry_name(older.key.kid()), why: Fault::Superseded }]);
        assert_eq!(file.into_key_set().active[&Algorithm::Es256].kid(), newer.key.kid());
    }

    /// S16.
    #[test]
    fn too_many_keys_are_refused() {
        let known = es256(State::Retired, None);
        let (_, bytes) = entry(&known).unwrap();
        let mut data = data(&[]);
        data.extend((0..=MAX_SIGNING_KEYS).map(|number| (entry_name(&number.to_string()), bytes.clone())));
        assert_eq!(KeyFile::parse(&data).unwrap_err(), KeySecretError::TooManyKeys);
    }

    /// S12: neither a problem nor a key prints what the Secret holds.
    #[test]
    fn no_message_holds_key_material() {
        let known = es256(State::Active, None);
        let mut data = data(&[&known]);
        edit(&mut data, known.key.kid(), |json| json["algorithm"] = "RS256".into());
        let pkcs8 = STANDARD.encode(&*known.key.to_pkcs8().unwrap());
        let problems = KeyFile::parse(&data).unwrap().problems;
        let printed = format!("{problems:?} {} {known:?}", problems[0]);
        assert!(!pkcs8.as_bytes().chunks(12).any(|part| printed.contains(std::str::from_utf8(part).unwrap())), "{printed}");
        assert_eq!(
            problems[0].to_string(),
            format!("its entry signing-{}.json holds no RS256 key: restore the entry from a backup, or remove it", known.key.kid())
        );
    }
}
