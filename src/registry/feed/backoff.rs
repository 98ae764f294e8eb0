//! How long to wait after a failure. Pure.

use super::wire::Fault;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

const FIRST: Duration = Duration::from_millis(100);
/// Where the server cannot be reached, a try costs it nothing, and every second counts: it is noticed when it is back.
const UNREACHABLE: Duration = Duration::from_secs(1);
/// Where it answers that it will not (rights, missing kinds), it will not change its mind soon.
const REFUSED: Duration = Duration::from_secs(5);
/// The least pause after a 429.
const TOO_MANY: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is waited for.
const LONGEST: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    seed: u64,
    failures: u32,
}

impl Backoff {
    /// `seed` sets this process and feed apart from others, which fail at the same moment.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, failures: 0 }
    }

    /// Something has worked.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The pause after one more failure.
    pub(super) fn failed(&mut self, fault: &Fault) -> Duration {
        let doubled = FIRST.saturating_mul(1 << self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        match fault {
            Fault::Refused { code: 429, retry_after, .. } => {
                TOO_MANY.max(retry_after.unwrap_or_default().min(LONGEST)) + self.jitter(TOO_MANY / 4)
            }
            Fault::Refused { code: 400..500, .. } => self.spread(doubled.min(REFUSED)),
            _ => self.spread(doubled.min(UNREACHABLE)),
        }
    }

    /// Between a half and the whole of it.
    fn spread(&self, pause: Duration) -> Duration {
        pause / 2 + self.jitter(pause / 2)
    }

    fn jitter(&self, most: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self.seed, self.failures).hash(&mut hasher);
        let share = u32::try_from(hasher.finish() % 1024).unwrap_or_default();
        most * share / 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, retry_after: Option<u64>) -> Fault {
        let retry_after = retry_after.map(Duration::from_secs);
        Fault::Refused { kind: "secrets".to_owned(), code, message: String::new(), retry_after }
    }

    fn silent() -> Fault {
        Fault::Silent { kind: "secrets".to_owned() }
    }

    #[test]
    fn f10_after_a_429_at_most_one_try_a_second_and_never_before_retry_after() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            assert!((0..20).all(|_| backoff.failed(&refused(429, None)) >= Duration::from_secs(1)));
            assert!(backoff.failed(&refused(429, Some(8))) >= Duration::from_secs(8));
            assert!(backoff.failed(&refused(429, Some(3600))) <= Duration::from_secs(61));
        }
    }

    #[test]
    fn an_unreachable_server_is_tried_at_least_once_a_second_and_never_in_a_hot_loop() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            let pauses: Vec<_> = (0..40).map(|_| backoff.failed(&silent())).collect();
            assert!(pauses.iter().all(|pause| (Duration::from_millis(50)..=Duration::from_secs(1)).contains(pause)), "{pauses:?}");
            assert!(pauses.iter().skip(5).all(|pause| *pause >= Duration::from_millis(500)));
        }
    }

    #[test]
    fn what_is_forbidden_is_tried_every_few_seconds() {
        let mut backoff = Backoff::new(7);
        let last = (0..40).map(|_| backoff.failed(&refused(403, None))).last().unwrap();
        assert!((Duration::from_millis(2_500)..=Duration::from_secs(5)).contains(&last));
        backoff.succeeded();
        assert!(backoff.failed(&refused(403, None)) <= Duration::from_millis(100));
    }

    #[test]
    fn two_feeds_do_not_try_at_the_same_moments() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        assert!((0..10).any(|_| one.failed(&silent()) != other.failed(&silent())));
    }
}
