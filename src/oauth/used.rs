//! The assertions that were used: each is good for one token request (RFC 7523 §3, `jti`).
//!
//! The memory is this process's: an assertion is accepted at most once by each replica, and once more by one that restarts, within
//! its life of at most five minutes. A stronger bound would cost a write to the API server for every token.
//!
//! It is bounded, and a few clients cannot fill it: of one client at most [`PER_CLIENT`] assertions are live at a time, of all clients
//! [`MOST`], wherever they are kept. What does not fit is refused, never forgotten before its time.

use crate::domain::names::ClientId;
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Live assertions of one client: 13 token requests a second, all the time.
pub const PER_CLIENT: usize = 4_096;
/// Live assertions of all clients. Not so many for each shard: two clients that share one could keep all others out of it.
pub const MOST: usize = 524_288;
/// How many shards, which are locked one at a time.
const SHARDS: usize = 64;

/// How many seconds longer than its life an assertion is remembered: a clock that is set back may let it live again.
const LONGER: i64 = 60;

/// Why an assertion is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was used before.
    Used,
    /// There is no room to remember it.
    TooMany,
}

/// The memory. Keyed hashes stand for client ids and `jti`s: nobody outside can make two that are the same.
pub struct UsedAssertions {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    most: usize,
    /// In all shards. Many that come at once may exceed `most` by one each.
    remembered: AtomicUsize,
}

#[derive(Default)]
struct Shard {
    used: HashSet<u64>,
    /// When each is forgotten, whose it is, and its hash.
    ends: BinaryHeap<Reverse<(i64, u64, u64)>>,
    by_client: HashMap<u64, usize>,
}

/// How many: nothing of what they are.
impl fmt::Debug for UsedAssertions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsedAssertions").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Default for UsedAssertions {
    fn default() -> Self {
        Self::with_room_for(MOST)
    }
}

impl UsedAssertions {
    fn with_room_for(most: usize) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { hasher: RandomState::new(), shards, most, remembered: AtomicUsize::default() }
    }

    /// Notes the first use of the assertion `id` of `client`, which nobody accepts any more from the second `ends_at` on.
    ///
    /// # Errors
    /// [`Refused`]; then nothing is noted.
    pub fn note(&self, client: &ClientId, id: &str, ends_at: i64, now: i64) -> Result<(), Refused> {
        let owner = self.hasher.hash_one(client);
        let used = self.hasher.hash_one((client, id));
        let place = usize::try_from(owner % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(place) else { return Err(Refused::TooMany) };
        if self.len() >= self.most {
            // Some that have ended may be in shards that nobody has come to since.
            self.shards.iter().for_each(|shard| self.forget(&mut shard.lock().unwrap_or_else(PoisonError::into_inner), now));
        }
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut shard, now);
        shard.note(owner, used, ends_at.saturating_add(LONGER), self.len() < self.most)?;
        self.remembered.fetch_add(1, Relaxed);
        Ok(())
    }

    fn forget(&self, shard: &mut Shard, now: i64) {
        self.remembered.fetch_sub(shard.forget(now), Relaxed);
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.remembered.load(Relaxed)
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shard {
    fn note(&mut self, owner: u64, used: u64, until: i64, has_room: bool) -> Result<(), Refused> {
        if self.used.contains(&used) {
            return Err(Refused::Used);
        }
        if !has_room || self.by_client.get(&owner).is_some_and(|count| *count >= PER_CLIENT) {
            return Err(Refused::TooMany);
        }
        self.used.insert(used);
        self.ends.push(Reverse((until, owner, used)));
        *self.by_client.entry(owner).or_default() += 1;
        Ok(())
    }

    /// How many have ended.
    fn forget(&mut self, now: i64) -> usize {
        let before = self.used.len();
        while let Some(Reverse((_, owner, used))) = self.ends.peek().filter(|Reverse((until, ..))| *until <= now).copied() {
            self.ends.pop();
            self.used.remove(&used);
            if let Some(count) = self.by_client.get_mut(&owner) {
                *count -= 1;
                if *count == 0 {
                    self.by_client.remove(&owner);
                }
            }
        }
        before.saturating_sub(self.used.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    /// J09, J10.
    #[test]
    fn an_assertion_is_accepted_once_while_it_lives() {
        let used = UsedAssertions::default();
        assert_eq!(used.note(&client("a.b"), "x", 300, 0), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 300, 0), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "x", 400, 299), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "y", 300, 299), Ok(()));
        assert_eq!(used.note(&client("a.c"), "x", 300, 299), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 700, 360), Ok(()));
    }

    #[test]
    fn what_has_ended_takes_no_room() {
        let used = UsedAssertions::default();
        for number in 0..1_000 {
            used.note(&client("a.b"), &number.to_string(), number, 0).unwrap();
        }
        assert_eq!(used.len(), 1_000);
        used.note(&client("a.b"), "last", 2_000, 1_500).unwrap();
        assert_eq!(used.len(), 1);
        let shards = used.shards.iter().map(|shard| shard.lock().unwrap());
        assert_eq!(shards.map(|shard| shard.ends.len() + shard.by_client.len()).sum::<usize>(), 2);
    }

    /// S16: one client fills its own part, and neither the memory nor the shard that it shares with others.
    #[test]
    fn a_client_that_floods_is_refused_and_others_are_not() {
        let used = UsedAssertions::default();
        for number in 0..PER_CLIENT {
            assert_eq!(used.note(&client("a.b"), &number.to_string(), 300, 0), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "more", 300, 0), Err(Refused::TooMany));
        assert_eq!(used.note(&client("a.b"), "0", 300, 0), Err(Refused::Used));
        for number in 0..1_000 {
            assert_eq!(used.note(&client(&format!("c.{number}")), "x", 300, 0), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "more", 700, 360), Ok(()));
    }

    /// S16: nor can two that happen to be kept beside each other.
    #[test]
    fn clients_that_flood_do_not_keep_others_out_of_the_shard_that_they_share() {
        let used = UsedAssertions::default();
        let place = |client: &ClientId| used.hasher.hash_one(client) % SHARDS as u64;
        let first = client("a.b");
        let beside: Vec<_> =
            (0..).map(|number| client(&format!("c.{number}"))).filter(|other| place(other) == place(&first)).take(2).collect();
        for flooding in &beside {
            (0..PER_CLIENT).for_each(|number| used.note(flooding, &number.to_string(), 300, 0).unwrap());
            assert_eq!(used.note(flooding, "more", 300, 0), Err(Refused::TooMany));
        }
        assert_eq!(used.note(&first, "x", 300, 0), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_refused_until_something_has_ended_anywhere() {
        let used = UsedAssertions::with_room_for(100);
        for number in 0..100 {
            assert_eq!(used.note(&client(&format!("c.{number}")), "x", 300, 0), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "x", 300, 0), Err(Refused::TooMany));
        assert_eq!(used.note(&client("c.0"), "x", 300, 0), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "x", 700, 360), Ok(()));
        assert_eq!(used.len(), 1);
    }

    #[test]
    fn of_many_uses_at_once_one_is_the_first() {
        let used = UsedAssertions::default();
        let first = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| used.note(&client("a.b"), "x", 300, 0).is_ok())).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|accepted| *accepted).count()
        });
        assert_eq!(first, 1);
    }
}
