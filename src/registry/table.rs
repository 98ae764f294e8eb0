//! A hash map that is cheap to copy: the copies share what has not changed since.
//!
//! Every event makes a new snapshot. A plain map of 10,000 clients takes a hundred times as long to copy (measured); here a copy
//! shares all shards, and a change copies the one shard that it touches. `imbl` does this as well, but under the MPL.
//!
//! A key is hashed once, whatever its shard holds: a std map does not even hash what it is asked for while it is empty, and so
//! the time would say which client ids exist (S6).

use hashbrown::{HashTable, hash_table::Entry};
use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
};

/// How many shards: of 10,000 entries each has 40, and the list of shards is as cheap to copy as one of them.
const SHARDS: usize = 256;

/// A part of the entries.
type Shard<K, V> = HashTable<(K, V)>;

/// The map.
pub struct Table<K, V> {
    hasher: RandomState,
    shards: Arc<[Arc<Shard<K, V>>]>,
    len: usize,
}

impl<K, V> Table<K, V> {
    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(key, value)| (key, value))
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Which shard. Of the middle bits: a shard's own table takes the lowest and the highest ones.
fn place(hash: u64) -> usize {
    usize::try_from(hash >> 32).unwrap_or_default() % SHARDS
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        self.shards.get(place(hash))?.find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Table<K, V> {
    /// Sets the value of a key; the former one, if there was one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.hash(&key);
        let shard = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(place(hash))?);
        match shard.entry(hash, |(known, _)| *known == key, |(known, _)| self.hasher.hash_one(known)) {
            Entry::Occupied(mut known) => Some(std::mem::replace(&mut known.get_mut().1, value)),
            Entry::Vacant(vacant) => {
                vacant.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Forgets a key; its value, if there was one.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // A copy of the shards is made only where something goes.
        self.get(key)?;
        let hash = self.hash(key);
        let shard = Arc::make_mut(Arc::make_mut(&mut self.shards).get_mut(place(hash))?);
        let known = shard.find_entry(hash, |(known, _)| known.borrow() == key).ok()?;
        self.len -= 1;
        let ((_, former), _) = known.remove();
        Some(former)
    }
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self { hasher: self.hasher.clone(), shards: Arc::clone(&self.shards), len: self.len }
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Arc::new(HashTable::new())).collect();
        Self { hasher: RandomState::new(), shards, len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::default();
        entries.into_iter().for_each(|(key, value)| drop(table.insert(key, value)));
        table
    }
}

impl<K: Hash + Eq + Clone, V: Clone, const N: usize> From<[(K, V); N]> for Table<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_is_a_map_and_earlier_copies_stay_as_they_were(
            changes in proptest::collection::vec((0_u16..40, proptest::option::of(any::<u8>())), 0..200),
        ) {
            let mut table = Table::default();
            let mut map = HashMap::new();
            let mut copies = Vec::new();
            for (key, value) in changes {
                let (from_table, from_map) = match value {
                    Some(value) => (table.insert(key, value), map.insert(key, value)),
                    None => (table.remove(&key), map.remove(&key)),
                };
                prop_assert_eq!(from_table, from_map);
                copies.push((table.clone(), map.clone()));
            }
            for (table, map) in copies {
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.is_empty(), map.is_empty());
                prop_assert_eq!(table.iter().map(|(key, value)| (*key, *value)).collect::<HashMap<_, _>>(), map.clone());
                for key in 0..40 {
                    prop_assert_eq!(table.get(&key), map.get(&key));
                }
            }
        }
    }

    #[test]
    fn a_change_copies_one_shard_and_no_more() {
        let mut table: Table<u32, u32> = (0..10_000).map(|number| (number, number)).collect();
        let copy = table.clone();
        table.insert(10_000, 0);
        let shared = table.shards.iter().zip(copy.shards.iter()).filter(|(one, other)| Arc::ptr_eq(one, other)).count();
        assert_eq!(shared, SHARDS - 1);
    }
}
