//! A signing key's life, as the entries of the key Secret that each step writes: made with the Secret, or prepared and then
//! activated; the one that signed before is retired.

use super::{DIGEST_KEY, Data, KeyFile, State, StoredKey, entry};
use crate::{
    domain::resource::Algorithm,
    keys::{SigningKey, signing::SigningError},
};
use jiff::Timestamp;
use k8s_openapi::ByteString;

/// The data of a first key Secret: a digest key and one active signing key.
///
/// # Errors
/// [`SigningError`] where the key cannot be made.
pub fn first(digest_key: &[u8; 32], algorithm: Algorithm, now: Timestamp) -> Result<Data, SigningError> {
    let key = SigningKey::generate(algorithm)?;
    let known = StoredKey { key, state: State::Active, created_at: now, activated_at: Some(now) };
    Ok(Data::from([(DIGEST_KEY.to_owned(), ByteString(digest_key.to_vec())), entry(&known)?]))
}

/// The entry of a new key that is published and does not sign yet.
///
/// # Errors
/// [`SigningError`] where the key cannot be made.
pub fn prepared(algorithm: Algorithm, now: Timestamp) -> Result<(String, ByteString), SigningError> {
    let key = SigningKey::generate(algorithm)?;
    entry(&StoredKey { key, state: State::Prepared, created_at: now, activated_at: None })
}

/// The entries that change when the prepared key `kid` begins to sign: its own, and that of the key that signed until now.
/// `None` where no such key is prepared.
///
/// # Errors
/// [`SigningError::Failed`] where the library does not give a key.
pub fn activated(file: KeyFile, kid: &str, now: Timestamp) -> Result<Option<Data>, SigningError> {
    let Some(algorithm) = file.prepared().find(|known| known.key.kid() == kid).map(|known| known.key.algorithm()) else {
        return Ok(None);
    };
    let mut changed = Data::new();
    for mut known in file.keys {
        if known.key.kid() == kid {
            (known.state, known.activated_at) = (State::Active, Some(now));
        } else if known.state == State::Active && known.key.algorithm() == algorithm {
            known.state = State::Retired;
        } else {
            continue;
        }
        changed.extend([entry(&known)?]);
    }
    Ok(Some(changed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{
        DigestKey,
        secret::{
            entry_name,
            tests::{DIGEST, at, data, es256},
        },
    };
    use std::collections::BTreeSet;

    #[test]
    fn the_first_secret_has_a_digest_key_and_one_active_key() {
        for algorithm in Algorithm::ALL {
            let file = KeyFile::parse(&first(&DIGEST, algorithm, at(9)).unwrap()).unwrap();
            assert_eq!(file.digest.name(), DigestKey::new(&DIGEST).name());
            assert_eq!((file.keys.len(), file.problems.len()), (1, 0));
            assert_eq!((file.keys[0].state, file.keys[0].activated_at), (State::Active, Some(at(9))));
            let set = file.into_key_set();
            assert_eq!(set.active.keys().copied().collect::<Vec<_>>(), [algorithm]);
        }
    }

    /// The patch has the two entries that change and no other.
    #[test]
    fn an_activated_key_retires_the_one_that_signed() {
        let (old, new, rsa) =
            (es256(State::Active, Some(at(1))), es256(State::Prepared, None), first(&DIGEST, Algorithm::Rs256, at(1)).unwrap());
        let mut before = data(&[&old, &new]);
        before.extend(rsa);
        let changed = activated(KeyFile::parse(&before).unwrap(), new.key.kid(), at(5)).unwrap().unwrap();
        assert_eq!(
            changed.keys().cloned().collect::<BTreeSet<_>>(),
            BTreeSet::from([entry_name(old.key.kid()), entry_name(new.key.kid())])
        );
        before.extend(changed);
        let after = KeyFile::parse(&before).unwrap();
        assert!(after.problems.is_empty());
        let state =
            |kid: &str| after.keys.iter().find(|known| known.key.kid() == kid).map(|known| (known.state, known.activated_at)).unwrap();
        assert_eq!(state(old.key.kid()), (State::Retired, Some(at(1))));
        assert_eq!(state(new.key.kid()), (State::Active, Some(at(5))));
    }

    #[test]
    fn only_a_prepared_key_is_activated() {
        for state in [State::Active, State::Retired] {
            let known = es256(state, Some(at(1)));
            assert!(activated(KeyFile::parse(&data(&[&known])).unwrap(), known.key.kid(), at(5)).unwrap().is_none());
        }
        assert!(activated(KeyFile::parse(&data(&[])).unwrap(), "unknown", at(5)).unwrap().is_none());
    }
}
