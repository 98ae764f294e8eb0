//! What becomes of the keys by each step.

use super::{Key, Stage};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// The keys after [`super::Step::Activate`].
#[must_use]
pub fn activated<L: Copy + Eq>(keys: &[Key<L>], id: &str, now: Timestamp) -> Vec<Key<L>> {
    let line = keys.iter().find(|key| key.id == id).map(|key| key.line);
    let change = |key: &Key<L>| {
        if key.id == id {
            let published_at = key.published_at.or(Some(now));
            Key { stage: Stage::Active, activated_at: Some(now), published_at, unused_since: None, ..key.clone() }
        } else if key.stage == Stage::Active && Some(key.line) == line {
            Key { stage: Stage::Retired, unused_since: None, ..key.clone() }
        } else {
            key.clone()
        }
    };
    keys.iter().map(change).collect()
}

/// The keys after [`super::Step::Retire`].
#[must_use]
pub fn retired<L: Copy>(keys: &[Key<L>], id: &str) -> Vec<Key<L>> {
    let change = |key: &Key<L>| if key.id == id { Key { stage: Stage::Retired, unused_since: None, ..key.clone() } } else { key.clone() };
    keys.iter().map(change).collect()
}

/// The keys after [`super::Step::Confirm`].
#[must_use]
pub fn confirmed<L: Copy>(keys: &[Key<L>], now: Timestamp) -> Vec<Key<L>> {
    let change = |key: &Key<L>| match key.stage {
        Stage::Prepared => Key { published_at: key.published_at.or(Some(now)), ..key.clone() },
        Stage::Retired => Key { unused_since: key.unused_since.or(Some(now)), ..key.clone() },
        Stage::Active => key.clone(),
    };
    keys.iter().map(change).collect()
}

/// The keys after [`super::Step::Remove`].
#[must_use]
pub fn removed<L: Copy>(keys: &[Key<L>], ids: &BTreeSet<String>) -> Vec<Key<L>> {
    keys.iter().filter(|key| !ids.contains(&key.id)).cloned().collect()
}

/// The keys after [`super::Step::Revoke`], and the lines in which nothing signs then: for them a new key is drawn that signs at
/// once, in the same write. A key that was prepared takes over, however long it is known.
#[must_use]
pub fn revoked<L: Copy + Ord>(keys: &[Key<L>], ids: &BTreeSet<String>, now: Timestamp) -> (Vec<Key<L>>, BTreeSet<L>) {
    let bereft: BTreeSet<L> = keys.iter().filter(|key| key.stage == Stage::Active && ids.contains(&key.id)).map(|key| key.line).collect();
    let mut left = removed(keys, ids);
    let mut empty = BTreeSet::new();
    for line in bereft {
        let prepared = left.iter().filter(|key| key.line == line && key.stage == Stage::Prepared);
        match prepared.min_by_key(|key| (key.published_at.is_none(), key.published_at, key.created_at)).map(|key| key.id.clone()) {
            Some(id) => left = activated(&left, &id, now),
            None => drop(empty.insert(line)),
        }
    }
    (left, empty)
}
