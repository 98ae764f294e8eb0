//! The life of the signing keys, as the entries of the key Secret that each step writes.

use super::{DIGEST_KEY, Data, KeyFile, StoredKey, entry, entry_name};
use crate::{
    domain::{
        key_rotation::{Key, Step, activated, confirmed, removed, retired, revoked},
        resource::Algorithm,
    },
    keys::{SigningKey, signing::SigningError},
};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use std::collections::{BTreeMap, BTreeSet};

/// What one write changes.
#[derive(Debug, Default)]
pub struct Change {
    /// Entries of the Secret's data; `None`: it goes.
    pub data: BTreeMap<String, Option<ByteString>>,
    /// The lives of all keys after it.
    pub lives: Vec<Key<Algorithm>>,
    /// The `kid`s of new keys.
    pub drawn: Vec<String>,
}

/// The data of a first key Secret: a digest key and one active signing key of each algorithm. Nobody can have cached another JWKS.
///
/// # Errors
/// [`SigningError`] where a key cannot be made.
pub fn first(digest_key: &[u8; 32], algorithms: &BTreeSet<Algorithm>, now: Timestamp) -> Result<Data, SigningError> {
    let mut data = Data::from([(DIGEST_KEY.to_owned(), ByteString(digest_key.to_vec()))]);
    for algorithm in algorithms {
        let StoredKey { key, life } = drawn(*algorithm, Key::active, now)?;
        data.extend([entry(&key, &life)?]);
    }
    Ok(data)
}

/// What a step writes. `needed`: the algorithms that something has to be signed with.
///
/// # Errors
/// [`SigningError`] where a key cannot be made, or the library does not give one.
pub fn change(file: &KeyFile, step: &Step<Algorithm>, needed: &BTreeSet<Algorithm>, now: Timestamp) -> Result<Change, SigningError> {
    let lives = file.lives();
    let fresh = |lines: BTreeSet<Algorithm>, life: fn(String, Algorithm, Timestamp) -> Key<Algorithm>| {
        lines.into_iter().map(|line| drawn(line, life, now)).collect::<Result<Vec<_>, _>>()
    };
    match step {
        Step::Prepare { lines, .. } => difference(file, lives, fresh(lines.clone(), Key::prepared)?),
        Step::Activate(id) => difference(file, activated(&lives, id, now), Vec::new()),
        Step::Retire(id) => difference(file, retired(&lives, id), Vec::new()),
        Step::Confirm => difference(file, confirmed(&lives, now), Vec::new()),
        Step::Remove(ids) => difference(file, removed(&lives, ids), Vec::new()),
        Step::Revoke(ids) => {
            let (left, bereft) = revoked(&lives, ids, now);
            difference(file, left, fresh(bereft.intersection(needed).copied().collect(), Key::active)?)
        }
        Step::Acknowledge | Step::Gate => difference(file, lives, Vec::new()),
    }
}

fn drawn(
    algorithm: Algorithm,
    life: fn(String, Algorithm, Timestamp) -> Key<Algorithm>,
    now: Timestamp,
) -> Result<StoredKey, SigningError> {
    let key = SigningKey::generate(algorithm)?;
    let life = life(key.kid().to_owned(), algorithm, now);
    Ok(StoredKey { key, life })
}

/// The entries that differ, and no other.
fn difference(file: &KeyFile, lives: Vec<Key<Algorithm>>, fresh: Vec<StoredKey>) -> Result<Change, SigningError> {
    let mut change = Change { lives, ..Change::default() };
    for known in &file.keys {
        match change.lives.iter().find(|life| life.id == known.life.id) {
            None => drop(change.data.insert(entry_name(&known.life.id), None)),
            Some(life) if *life != known.life => {
                let (name, bytes) = entry(&known.key, life)?;
                change.data.insert(name, Some(bytes));
            }
            Some(_) => {}
        }
    }
    for StoredKey { key, life } in fresh {
        let (name, bytes) = entry(&key, &life)?;
        change.data.insert(name, Some(bytes));
        change.drawn.push(life.id.clone());
        change.lives.push(life);
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::key_rotation::{Cause, Stage},
        keys::{
            DigestKey,
            secret::{
                Recovery,
                tests::{DIGEST, at, data, es256},
            },
        },
    };

    const BOTH: [Algorithm; 2] = [Algorithm::Rs256, Algorithm::Es256];

    fn parsed(data: &Data) -> KeyFile {
        KeyFile::parse(data).unwrap()
    }

    /// The data after a step, and the change.
    fn after(before: &Data, step: &Step<Algorithm>, now: i64) -> (Data, Change) {
        let change = change(&parsed(before), step, &BOTH.into(), at(now)).unwrap();
        let mut data = before.clone();
        for (name, bytes) in &change.data {
            match bytes {
                Some(bytes) => drop(data.insert(name.clone(), bytes.clone())),
                None => drop(data.remove(name)),
            }
        }
        (data, change)
    }

    #[test]
    fn the_first_secret_has_a_digest_key_and_active_keys() {
        let file = parsed(&first(&DIGEST, &BOTH.into(), at(9)).unwrap());
        assert_eq!(file.digest.name(), DigestKey::new(&DIGEST).name());
        assert_eq!(file.problems, []);
        assert!(file.keys.iter().all(|known| known.life.stage == Stage::Active && known.life.activated_at == Some(at(9))));
        assert_eq!(file.into_key_set().active.keys().copied().collect::<Vec<_>>(), BOTH);
    }

    /// The patch has the two entries that change and no other.
    #[test]
    fn an_activated_key_retires_the_one_that_signed() {
        let (old, new) = (es256(Stage::Active, Some(at(1))), es256(Stage::Prepared, None));
        let mut before = data(&[&old, &new]);
        before.extend(first(&DIGEST, &[Algorithm::Rs256].into(), at(1)).unwrap());
        let (data, change) = after(&before, &Step::Activate(new.life.id.clone()), 5);
        let changed: BTreeSet<_> = change.data.keys().cloned().collect();
        assert_eq!(changed, BTreeSet::from([entry_name(old.key.kid()), entry_name(new.key.kid())]));
        let file = parsed(&data);
        assert_eq!(file.problems, []);
        let stage = |kid: &str| file.lives().into_iter().find(|life| life.id == kid).map(|life| (life.stage, life.activated_at)).unwrap();
        assert_eq!(stage(old.key.kid()), (Stage::Retired, Some(at(1))));
        assert_eq!(stage(new.key.kid()), (Stage::Active, Some(at(5))));
    }

    /// S23: dropped, and replaced in the same write where something has to be signed.
    #[test]
    fn a_revoked_key_is_gone_and_another_one_signs() {
        let old = es256(Stage::Active, Some(at(1)));
        let revoke = Step::Revoke([old.life.id.clone()].into());
        let (left, change) = after(&data(&[&old]), &revoke, 5);
        assert_eq!(change.drawn.len(), 1);
        let set = parsed(&left).into_key_set();
        assert_eq!(set.active[&Algorithm::Es256].kid(), change.drawn[0]);
        assert!(!std::str::from_utf8(&set.jwks).unwrap().contains(old.key.kid()));

        let nothing_needed = super::change(&parsed(&data(&[&old])), &revoke, &BTreeSet::new(), at(5)).unwrap();
        assert_eq!(nothing_needed.drawn, Vec::<String>::new());
        let successor = es256(Stage::Prepared, None);
        let (left, change) = after(&data(&[&old, &successor]), &revoke, 5);
        assert_eq!(change.drawn, Vec::<String>::new());
        assert_eq!(parsed(&left).into_key_set().active[&Algorithm::Es256].kid(), successor.key.kid());
    }

    #[test]
    fn a_prepared_key_is_published_and_does_not_sign() {
        let old = es256(Stage::Active, Some(at(1)));
        let (data, change) = after(&data(&[&old]), &Step::Prepare { lines: [Algorithm::Es256].into(), cause: Cause::Due }, 5);
        let set = parsed(&data).into_key_set();
        assert_eq!(set.active[&Algorithm::Es256].kid(), old.key.kid());
        assert!(std::str::from_utf8(&set.jwks).unwrap().contains(&change.drawn[0]));
        let (data, confirmed) = after(&data, &Step::Confirm, 7);
        assert_eq!(confirmed.data.len(), 1);
        let (data, _) = after(&data, &Step::Remove([old.life.id.clone()].into()), 8);
        assert_eq!(parsed(&data).lives().len(), 1);
    }

    #[test]
    fn a_recovered_secret_is_what_it_was() {
        let mut before = data(&[&es256(Stage::Active, Some(at(1)))]);
        let recovery = Recovery::of(&before);
        assert_eq!(recovery.data(), before);
        before.insert("note".to_owned(), ByteString(b"of a hand".to_vec()));
        assert_eq!(Recovery::of(&before).data(), recovery.data());
    }
}
