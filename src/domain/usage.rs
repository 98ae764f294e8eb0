//! When a credential was used, as one replica has seen it. Noted on every token request, so without a lock.

use jiff::{SignedDuration, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// The uses of one credential since this process began.
#[derive(Debug, Default)]
pub struct Usage {
    /// Seconds since 1970; 0: none yet.
    last: AtomicI64,
    /// Seconds.
    longest_gap: AtomicI64,
}

/// The uses of one credential, as they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The last one.
    pub last: Timestamp,
    /// The longest time between two of them.
    pub longest_gap: SignedDuration,
}

impl Usage {
    /// It was used just now.
    pub fn note(&self, now: Timestamp) {
        let now = now.as_second();
        let before = self.last.load(Relaxed);
        // Of several requests in a second, and of several at a time, one counts.
        if now > before && self.last.compare_exchange(before, now, Relaxed, Relaxed).is_ok() && before > 0 {
            self.longest_gap.fetch_max(now - before, Relaxed);
        }
    }

    /// What was seen; `None`: it was not used.
    #[must_use]
    pub fn seen(&self) -> Option<Use> {
        let last = Some(self.last.load(Relaxed)).filter(|second| *second > 0)?;
        let longest_gap = SignedDuration::from_secs(self.longest_gap.load(Relaxed));
        Some(Use { last: Timestamp::from_second(last).ok()?, longest_gap })
    }
}

impl Use {
    /// What two replicas have seen of one credential.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { last: self.last.max(other.last), longest_gap: self.longest_gap.max(other.longest_gap) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_and_the_longest_gap_are_kept() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let usage = Usage::default();
        assert_eq!(usage.seen(), None);
        for (second, last, gap) in [(100, 100, 0), (100, 100, 0), (130, 130, 30), (90, 130, 30), (150, 150, 30), (250, 250, 100)] {
            usage.note(at(second));
            assert_eq!(usage.seen(), Some(Use { last: at(last), longest_gap: SignedDuration::from_secs(gap) }), "{second}");
        }
    }
}
