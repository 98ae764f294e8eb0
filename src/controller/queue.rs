//! What to look at, and when: every key at most once in the queue and never twice at the same time; failures back off with
//! jitter. Pure: the time is handed in as a monotonic [`Duration`].

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

/// First wait after a failure; doubled by each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// First wait where somebody else wrote to the object meanwhile; doubled likewise.
const FIRST_REREAD: Duration = Duration::from_millis(250);
/// Longest wait after a failure.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How a look at a key ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Settled until something changes.
    Settled,
    /// Look again after this long.
    Again(Duration),
    /// Somebody else wrote meanwhile: read again, soon at first.
    Contended,
    /// The world's fault: back off.
    Failed,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    due: BTreeSet<(Duration, K)>,
    when: HashMap<K, Duration>,
    running: HashSet<K>,
    failing: HashMap<K, Failing>,
}

/// What is remembered of a key whose last look failed.
#[derive(Debug, Clone, Copy, Default)]
struct Failing {
    times: u32,
    held_until: Duration,
}

impl<K: Clone + Ord + Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeSet::new(), when: HashMap::new(), running: HashSet::new(), failing: HashMap::new() }
    }

    /// Asks for a look at `key` at `at`, or earlier if one is planned already; after a failure not within its first wait.
    pub(crate) fn add(&mut self, key: K, at: Duration) {
        let at = self.failing.get(&key).map_or(at, |failing| at.max(failing.held_until));
        match self.when.get(&key) {
            Some(planned) if *planned <= at => return,
            Some(planned) => {
                self.due.remove(&(*planned, key.clone()));
            }
            None => {}
        }
        self.when.insert(key.clone(), at);
        self.due.insert((at, key));
    }

    /// When the next look is due, of those that nobody is at.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.due.iter().find(|(_, key)| !self.running.contains(key)).map(|(at, _)| *at)
    }

    /// Takes a key that is due and that nobody is at.
    pub(crate) fn take(&mut self, now: Duration) -> Option<K> {
        let found = self.due.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| !self.running.contains(key)).cloned()?;
        self.due.remove(&found);
        self.when.remove(&found.1);
        self.running.insert(found.1.clone());
        Some(found.1)
    }

    /// The look at `key` ended. What was added meanwhile stays planned; for a key that failed, not before its first retry.
    pub(crate) fn finished(&mut self, key: K, outcome: Outcome, now: Duration) {
        self.running.remove(&key);
        match outcome {
            Outcome::Settled => {
                self.failing.remove(&key);
            }
            Outcome::Again(after) => {
                self.failing.remove(&key);
                self.add(key, now.saturating_add(after));
            }
            Outcome::Contended => self.back_off(key, FIRST_REREAD, now),
            Outcome::Failed => self.back_off(key, FIRST_RETRY, now),
        }
    }

    fn back_off(&mut self, key: K, first: Duration, now: Duration) {
        let failing = self.failing.entry(key.clone()).or_default();
        failing.times = failing.times.saturating_add(1);
        failing.held_until = now.saturating_add(first);
        let retry = now.saturating_add(backoff(&key, first, failing.times));
        if let Some(planned) = self.when.remove(&key) {
            self.due.remove(&(planned, key.clone()));
            self.add(key.clone(), planned);
        }
        self.add(key, retry);
    }
}

/// The first wait, twice, four times that … up to a minute, each longer by up to a quarter, by the key's hash, so that retries of many
/// keys spread out.
fn backoff<K: Hash>(key: &K, first: Duration, failures: u32) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10))).min(LONGEST_RETRY);
    let mut hasher = DefaultHasher::new();
    (key, failures).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 256).unwrap_or_default();
    full + full / 4 * share / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_earlier_of_two_times_counts() {
        let mut queue = Queue::new();
        queue.add("a", seconds(9));
        queue.add("a", seconds(3));
        queue.add("a", seconds(5));
        assert_eq!(queue.next_due(), Some(seconds(3)));
        assert_eq!(queue.take(seconds(2)), None);
        assert_eq!(queue.take(seconds(3)), Some("a"));
        assert_eq!(queue.take(seconds(99)), None);
    }

    #[test]
    fn nobody_looks_at_a_key_twice_at_the_same_time() {
        let mut queue = Queue::new();
        queue.add("a", seconds(0));
        assert_eq!(queue.take(seconds(0)), Some("a"));
        queue.add("a", seconds(0));
        assert_eq!(queue.take(seconds(1)), None);
        assert_eq!(queue.next_due(), None);
        queue.finished("a", Outcome::Settled, seconds(1));
        assert_eq!(queue.take(seconds(1)), Some("a"));
    }

    /// F10: at most one retry a second and object, however often it changes meanwhile.
    #[test]
    fn a_failing_key_backs_off_whatever_else_asks_for_it() {
        let mut queue = Queue::new();
        queue.add("a", Duration::ZERO);
        for failure in 1..=9_u32 {
            let now = queue.next_due().unwrap();
            assert_eq!(queue.take(now), Some("a"));
            queue.add("a", now);
            queue.finished("a", Outcome::Failed, now);
            queue.add("a", now);
            assert_eq!(queue.next_due().unwrap() - now, FIRST_RETRY, "failure {failure}");
        }
    }

    fn waits(outcome: Outcome) -> Vec<u128> {
        let mut queue = Queue::new();
        queue.add("a", Duration::ZERO);
        let looks = (1..=11).map(|_| {
            let now = queue.next_due().unwrap();
            queue.take(now);
            queue.finished("a", outcome, now);
            (queue.next_due().unwrap() - now).as_millis()
        });
        looks.collect()
    }

    #[test]
    fn a_key_that_keeps_failing_is_tried_once_a_minute() {
        for (outcome, first) in [(Outcome::Failed, 1000), (Outcome::Contended, 250)] {
            let waits = waits(outcome);
            assert!(waits[..6].is_sorted() && (first..first * 2).contains(&waits[0]), "{waits:?}");
            assert!((60_000..=75_000).contains(&waits[10]), "{waits:?}");
        }
    }

    #[test]
    fn what_was_settled_once_backs_off_from_the_beginning() {
        let mut queue = Queue::new();
        queue.add("a", Duration::ZERO);
        for outcome in [Outcome::Contended, Outcome::Contended, Outcome::Settled, Outcome::Contended] {
            let now = queue.next_due().unwrap_or(seconds(9));
            queue.add("a", now);
            queue.take(now);
            queue.finished("a", outcome, now);
        }
        assert!(queue.next_due().unwrap() - seconds(9) < 2 * FIRST_REREAD);
    }
}
