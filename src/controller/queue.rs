//! What to look at, and when: every key at most once in the queue and never twice at the same time; failures back off with
//! jitter. Pure: the time is handed in as a monotonic [`Duration`].
//!
//! An API server that is busy or away is that for every key. One of those that wait for it then asks every [`PROBE`]; each that gets an
//! answer brings some others forward, so that what piled up is made up for in moments, without a rush (F10).

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
/// How often one of the keys that wait for the API server looks whether it answers again.
const PROBE: Duration = Duration::from_secs(2);
/// How many of them each answer brings forward. A look at a client may last for a second, because replicas are to report in between.
const BROUGHT_FORWARD: usize = 4;

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
    /// The same, and most likely the fate of every other key: the API server is busy or away.
    Busy,
}

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue<K> {
    due: BTreeSet<(Duration, K)>,
    when: HashMap<K, Duration>,
    running: HashSet<K>,
    failing: HashMap<K, Failing>,
    /// Of those that are due, the ones that wait for the API server.
    waiting: BTreeSet<(Duration, K)>,
    /// When another one of them may ask before its turn.
    probe_at: Duration,
}

/// What is remembered of a key whose last look failed.
#[derive(Debug, Clone, Copy, Default)]
struct Failing {
    times: u32,
    held_until: Duration,
    is_waiting: bool,
}

impl<K: Clone + Ord + Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        Self {
            due: BTreeSet::new(),
            when: HashMap::new(),
            running: HashSet::new(),
            failing: HashMap::new(),
            waiting: BTreeSet::new(),
            probe_at: Duration::ZERO,
        }
    }

    /// Asks for a look at `key` at `at`, or earlier if one is planned already; after a failure not within its first wait.
    pub(crate) fn add(&mut self, key: K, at: Duration) {
        let at = self.failing.get(&key).map_or(at, |failing| at.max(failing.held_until));
        match self.when.get(&key) {
            Some(planned) if *planned <= at => return,
            Some(_) => self.forget_plan(&key),
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
        self.forget_plan(&found.1);
        self.running.insert(found.1.clone());
        Some(found.1)
    }

    /// The look at `key` ended. What was added meanwhile stays planned; for a key that failed, not before its first retry.
    pub(crate) fn finished(&mut self, key: K, outcome: Outcome, now: Duration) {
        self.running.remove(&key);
        if outcome != Outcome::Busy && self.failing.get(&key).is_some_and(|failing| failing.is_waiting) {
            self.bring_others_forward(now);
        }
        match outcome {
            Outcome::Settled => {
                self.failing.remove(&key);
            }
            Outcome::Again(after) => {
                self.failing.remove(&key);
                self.add(key, now.saturating_add(after));
            }
            Outcome::Contended => self.back_off(&key, FIRST_REREAD, now),
            Outcome::Failed => self.back_off(&key, FIRST_RETRY, now),
            Outcome::Busy => self.wait_for_the_api_server(&key, now),
        }
    }

    fn back_off(&mut self, key: &K, first: Duration, now: Duration) {
        let times = self.failing.get(key).map_or(1, |failing| failing.times.saturating_add(1));
        self.failing.insert(key.clone(), Failing { times, held_until: now.saturating_add(first), is_waiting: false });
        if let Some(planned) = self.when.get(key).copied() {
            self.forget_plan(key);
            self.add(key.clone(), planned);
        }
        self.add(key.clone(), now.saturating_add(backoff(key, first, times)));
    }

    fn wait_for_the_api_server(&mut self, key: &K, now: Duration) {
        self.back_off(key, FIRST_RETRY, now);
        if now >= self.probe_at {
            self.probe_at = now.saturating_add(PROBE);
            self.add(key.clone(), self.probe_at);
        }
        if let (Some(failing), Some(planned)) = (self.failing.get_mut(key), self.when.get(key)) {
            failing.is_waiting = true;
            self.waiting.insert((*planned, key.clone()));
        }
    }

    /// The API server has answered one that waited for it.
    fn bring_others_forward(&mut self, now: Duration) {
        for _ in 0..BROUGHT_FORWARD {
            let Some((_, other)) = self.waiting.pop_first() else { return };
            self.add(other, now);
        }
    }

    fn forget_plan(&mut self, key: &K) {
        if let Some(planned) = self.when.remove(key) {
            let plan = (planned, key.clone());
            self.due.remove(&plan);
            self.waiting.remove(&plan);
        }
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

    /// Many keys, what was tried of them, and an API server that is busy until a moment.
    struct Busy {
        queue: Queue<u32>,
        until: Duration,
        tried: HashMap<u32, Vec<Duration>>,
        settled: Vec<Duration>,
        /// Every third one: somebody else wrote to it meanwhile.
        contended: HashSet<u32>,
    }

    impl Busy {
        fn new(keys: u32, until: Duration) -> Self {
            let mut queue = Queue::new();
            (0..keys).for_each(|key| queue.add(key, Duration::ZERO));
            Self { queue, until, tried: HashMap::new(), settled: Vec::new(), contended: HashSet::new() }
        }

        /// Tries whatever is due, a hundred at a time, each of which takes 10 ms, until nothing is due any more.
        fn run(mut self) -> Self {
            let mut now = Duration::ZERO;
            while let Some(due) = self.queue.next_due() {
                now = now.max(due);
                let taken: Vec<u32> = (0..100).map_while(|_| self.queue.take(now)).collect();
                taken.iter().for_each(|key| self.tried.entry(*key).or_default().push(now));
                now += Duration::from_millis(10);
                for key in taken {
                    let answers = if key % 3 == 0 && self.contended.insert(key) { Outcome::Contended } else { Outcome::Settled };
                    let outcome = if now < self.until { Outcome::Busy } else { answers };
                    self.settled.extend((outcome == Outcome::Settled).then_some(now));
                    self.queue.finished(key, outcome, now);
                }
            }
            self
        }
    }

    /// F10: at most one try a second and key, fewer in all the longer it lasts, and moments after its end none is left.
    #[test]
    fn what_waits_for_the_api_server_is_made_up_for_when_it_answers_again() {
        for (keys, lasts, made_up_within) in [(1, 20, 3), (20, 20, 3), (20, 1_800, 3), (10_000, 20, 6), (10_000, 600, 6)] {
            let done = Busy::new(keys, seconds(lasts)).run();
            assert_eq!(done.settled.len(), usize::try_from(keys).unwrap());
            let last = done.settled.iter().max().copied().unwrap();
            assert!(last <= seconds(lasts + made_up_within), "{keys} keys after {lasts} s: {last:?}");
            let spaced = |times: &[Duration]| times.windows(2).all(|pair| pair[1] - pair[0] >= FIRST_RETRY || pair[1] > seconds(lasts));
            assert!(done.tried.values().all(|times| spaced(times)));
            let late = done.tried.values().flatten().filter(|at| **at > seconds(300) && **at < seconds(lasts)).count();
            // Each once a minute, and one every two seconds.
            let most = u64::from(keys) * (lasts / 60 + 1) + lasts / 2;
            assert!(u64::try_from(late).unwrap() <= most, "{late} tries by {keys} keys in {lasts} s");
        }
    }

    /// What fails by itself is nobody else's business.
    #[test]
    fn only_what_waits_for_the_api_server_is_brought_forward() {
        let mut queue = Queue::new();
        for (key, outcome) in [("first", Outcome::Busy), ("second", Outcome::Busy), ("own", Outcome::Failed)] {
            for _ in 0..6 {
                queue.add(key, Duration::ZERO);
                let now = queue.next_due().unwrap();
                assert_eq!(queue.take(now), Some(key));
                queue.finished(key, outcome, now);
                queue.forget_plan(&key);
            }
        }
        let now = seconds(1_000);
        for key in ["first", "second", "own"] {
            queue.add(key, now);
            queue.take(now);
        }
        queue.finished("own", Outcome::Failed, now);
        queue.finished("second", Outcome::Busy, now);
        queue.finished("first", Outcome::Settled, now);
        assert_eq!(queue.next_due(), Some(now + FIRST_RETRY));
        assert_eq!(queue.take(now + FIRST_RETRY), Some("second"));
        queue.finished("second", Outcome::Settled, now + FIRST_RETRY);
        assert!(queue.next_due().unwrap() >= now + seconds(60));
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
