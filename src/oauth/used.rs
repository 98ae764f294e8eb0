//! The assertions that were used: each is good for one token request (RFC 7523 §3, `jti`).
//!
//! The memory is this process's: an assertion is accepted at most once by each replica, and once more by one that restarts, within
//! its life of at most five minutes. A stronger bound would cost a write to the API server for every token.
//!
//! It is bounded, and a few clients cannot fill it: of one client at most [`PER_CLIENT`] assertions are live at a time, of all clients
//! [`MOST`], wherever they are kept. What does not fit is refused, never forgotten before its time.
//!
//! Nor is a wall clock that leaps believed (F13): an assertion is forgotten only when it has ended by that clock, and by the boot clock,
//! which nobody can set, as much time has passed as it had left. So a leap that is soon put right forgets none that lives. Where the
//! clock was ahead when an assertion came, both may say so too early: what may have been forgotten is refused for half an hour.

use crate::{domain::names::ClientId, replica::contact::Moment};
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

/// How many seconds longer than its life an assertion is remembered: a clock that is set back by less keeps nobody out.
const LONGER: i64 = 60;
/// For how many seconds of the boot clock what ends no later than one that was forgotten is refused: an assertion, which lives for 330
/// seconds at most, has ended for good within them as long as the clock is never off by more than twelve minutes. Not for ever: a clock
/// that was years ahead would keep everybody out for years.
const AFTERWARDS: u64 = 1_800;

/// Why an assertion is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It was used before, or may have been.
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
    /// Those that live by the boot clock, and until when.
    lasting: BinaryHeap<Reverse<(u64, Entry)>>,
    /// Those that live by the wall clock alone. The boot clock does not go back, so that none of them returns.
    ending: BinaryHeap<Reverse<Entry>>,
    by_client: HashMap<u64, usize>,
    forgotten: Option<Forgotten>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// By the wall clock.
    until: i64,
    owner: u64,
    used: u64,
}

/// The latest end of those that were forgotten, and when the last of them was, by the boot clock.
#[derive(Clone, Copy)]
struct Forgotten {
    until: i64,
    at: u64,
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
    pub fn note(&self, client: &ClientId, id: &str, ends_at: i64, now: Moment) -> Result<(), Refused> {
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
        shard.note(Entry { until: ends_at.saturating_add(LONGER), owner, used }, now, self.len() < self.most)?;
        self.remembered.fetch_add(1, Relaxed);
        Ok(())
    }

    fn forget(&self, shard: &mut Shard, now: Moment) {
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
    fn note(&mut self, entry: Entry, now: Moment, has_room: bool) -> Result<(), Refused> {
        let Entry { until, owner, used } = entry;
        let boot = now.boot.as_secs();
        if self.used.contains(&used) || self.barred_until(boot).is_some_and(|barred| until <= barred) {
            return Err(Refused::Used);
        }
        if !has_room || self.by_client.get(&owner).is_some_and(|count| *count >= PER_CLIENT) {
            return Err(Refused::TooMany);
        }
        let left = u64::try_from(until.saturating_sub(now.wall.as_second())).unwrap_or_default();
        self.used.insert(used);
        self.lasting.push(Reverse((boot.saturating_add(left), entry)));
        *self.by_client.entry(owner).or_default() += 1;
        Ok(())
    }

    /// Up to which end an assertion may have been forgotten, and live again because the wall clock was set back.
    fn barred_until(&self, boot: u64) -> Option<i64> {
        self.forgotten.filter(|forgotten| boot < forgotten.at.saturating_add(AFTERWARDS)).map(|forgotten| forgotten.until)
    }

    /// How many have ended by both clocks.
    fn forget(&mut self, now: Moment) -> usize {
        let (boot, wall) = (now.boot.as_secs(), now.wall.as_second());
        while let Some(Reverse((_, entry))) = self.lasting.peek().filter(|Reverse((until, _))| *until <= boot).copied() {
            self.lasting.pop();
            self.ending.push(Reverse(entry));
        }
        let before = self.used.len();
        while let Some(Reverse(entry)) = self.ending.peek().filter(|Reverse(entry)| entry.until <= wall).copied() {
            self.ending.pop();
            self.forget_one(entry, boot);
        }
        before.saturating_sub(self.used.len())
    }

    fn forget_one(&mut self, Entry { until, owner, used }: Entry, boot: u64) {
        let latest = self.barred_until(boot).map_or(until, |barred| barred.max(until));
        self.forgotten = Some(Forgotten { until: latest, at: boot });
        self.used.remove(&used);
        if let Some(count) = self.by_client.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;
    use std::time::Duration;

    fn second(boot: u64) -> Moment {
        at(boot, i64::try_from(boot).unwrap())
    }

    /// Both clocks, in seconds since an arbitrary start.
    fn at(boot: u64, wall: i64) -> Moment {
        Moment { boot: Duration::from_secs(1_000_000 + boot), wall: Timestamp::from_second(wall).unwrap() }
    }

    fn client(name: &str) -> ClientId {
        ClientId::parse(name).unwrap()
    }

    /// J09, J10.
    #[test]
    fn an_assertion_is_accepted_once_while_it_lives() {
        let used = UsedAssertions::default();
        assert_eq!(used.note(&client("a.b"), "x", 300, second(0)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 300, second(0)), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "x", 400, second(299)), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "y", 300, second(299)), Ok(()));
        assert_eq!(used.note(&client("a.c"), "x", 300, second(299)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 700, second(360)), Ok(()));
    }

    #[test]
    fn what_has_ended_takes_no_room() {
        let used = UsedAssertions::default();
        for number in 0..1_000 {
            used.note(&client("a.b"), &number.to_string(), number, second(0)).unwrap();
        }
        assert_eq!(used.len(), 1_000);
        used.note(&client("a.b"), "last", 2_000, second(1_500)).unwrap();
        assert_eq!(used.len(), 1);
        let shards = used.shards.iter().map(|shard| shard.lock().unwrap());
        assert_eq!(shards.map(|shard| shard.lasting.len() + shard.ending.len() + shard.by_client.len()).sum::<usize>(), 2);
    }

    /// S16: one client fills its own part, and neither the memory nor the shard that it shares with others.
    #[test]
    fn a_client_that_floods_is_refused_and_others_are_not() {
        let used = UsedAssertions::default();
        for number in 0..PER_CLIENT {
            assert_eq!(used.note(&client("a.b"), &number.to_string(), 300, second(0)), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "more", 300, second(0)), Err(Refused::TooMany));
        assert_eq!(used.note(&client("a.b"), "0", 300, second(0)), Err(Refused::Used));
        for number in 0..1_000 {
            assert_eq!(used.note(&client(&format!("c.{number}")), "x", 300, second(0)), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "more", 700, second(360)), Ok(()));
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
            (0..PER_CLIENT).for_each(|number| used.note(flooding, &number.to_string(), 300, second(0)).unwrap());
            assert_eq!(used.note(flooding, "more", 300, second(0)), Err(Refused::TooMany));
        }
        assert_eq!(used.note(&first, "x", 300, second(0)), Ok(()));
    }

    #[test]
    fn what_does_not_fit_is_refused_until_something_has_ended_anywhere() {
        let used = UsedAssertions::with_room_for(100);
        for number in 0..100 {
            assert_eq!(used.note(&client(&format!("c.{number}")), "x", 300, second(0)), Ok(()));
        }
        assert_eq!(used.note(&client("a.b"), "x", 300, second(0)), Err(Refused::TooMany));
        assert_eq!(used.note(&client("c.0"), "x", 300, second(0)), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "x", 700, second(360)), Ok(()));
        assert_eq!(used.len(), 1);
    }

    #[test]
    fn of_many_uses_at_once_one_is_the_first() {
        let used = UsedAssertions::default();
        let first = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| used.note(&client("a.b"), "x", 300, second(0)).is_ok())).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|accepted| *accepted).count()
        });
        assert_eq!(first, 1);
    }

    /// F13, J09: whoever has seen an assertion cannot wait for the clock to leap ahead and be put right.
    #[test]
    fn a_leap_that_is_put_right_forgets_no_assertion_that_lives() {
        let used = UsedAssertions::default();
        assert_eq!(used.note(&client("a.b"), "x", 300, second(0)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "y", 900, at(10, 610)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 300, second(20)), Err(Refused::Used));
        // Nor is anybody kept out by it.
        assert_eq!(used.note(&client("a.b"), "z", 60, second(20)), Ok(()));
        // What was noted during the leap is kept until both clocks are past it.
        used.note(&client("a.b"), "later", 2_000, second(959)).unwrap();
        assert_eq!(used.len(), 2);
        used.note(&client("a.b"), "last", 2_000, second(960)).unwrap();
        assert_eq!(used.len(), 2);
    }

    /// A clock that was ahead for longer than assertions live, and is put back: what was forgotten may live again.
    #[test]
    fn what_may_have_been_forgotten_is_refused_for_half_an_hour() {
        let used = UsedAssertions::default();
        assert_eq!(used.note(&client("a.b"), "x", 900, at(0, 600)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "y", 1_200, at(400, 1_000)), Ok(()));
        assert_eq!(used.note(&client("a.b"), "x", 900, at(601, 601)), Err(Refused::Used));
        assert_eq!(used.note(&client("a.b"), "new", 961, at(601, 700)), Ok(()));
        // Ended long ago by the clock that cannot be set: a clock that was years ahead does not keep clients out for years.
        assert_eq!(used.note(&client("a.b"), "another", 700, at(5_000, 600)), Ok(()));
    }

    /// What happens to a replica.
    #[derive(Debug, Clone)]
    enum Step {
        Pass {
            seconds: u64,
        },
        /// The wall clock is so far ahead of, or behind, the true time from now on.
        Leap {
            ahead: i64,
        },
        /// A new assertion comes that has so long to live, or as it is.
        Make {
            life: i64,
        },
        /// One of those that were made comes again.
        Again(prop::sample::Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            2 => (0_u64..30).prop_map(|seconds| Step::Pass { seconds }),
            2 => (0_u64..700).prop_map(|seconds| Step::Pass { seconds }),
            3 => (-600_i64..=600).prop_map(|ahead| Step::Leap { ahead }),
            3 => (1_i64..=330).prop_map(|life| Step::Make { life }),
            6 => any::<prop::sample::Index>().prop_map(Step::Again),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        /// F13, J09: the law. An assertion comes only while it is timely by the wall clock.
        #[test]
        fn whatever_the_clock_does_an_assertion_is_accepted_once(steps in steps()) {
            let (used, mut made) = (UsedAssertions::default(), Vec::<(i64, u32)>::new());
            let (mut boot, mut ahead) = (10_000_u64, 0_i64);
            for step in steps {
                let wall = i64::try_from(boot).unwrap() + ahead;
                let which = match step {
                    Step::Pass { seconds } => {
                        boot += seconds;
                        continue;
                    }
                    Step::Leap { ahead: to } => {
                        ahead = to;
                        continue;
                    }
                    Step::Make { life } => {
                        made.push((wall + life, 0));
                        made.len() - 1
                    }
                    Step::Again(_) if made.is_empty() => continue,
                    Step::Again(index) => index.index(made.len()),
                };
                let (ends_at, accepted) = &mut made[which];
                let is_timely = wall < *ends_at && *ends_at <= wall + 330;
                if is_timely && used.note(&client("a.b"), &which.to_string(), *ends_at, at(boot, wall)).is_ok() {
                    *accepted += 1;
                }
                prop_assert!(*accepted <= 1, "number {which} at boot {boot}, wall {wall}");
            }
        }
    }
}
