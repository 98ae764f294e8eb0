//! When a credential was used, as one replica has seen it. Noted on every token request, so without a lock.

use jiff::{SignedDuration, Timestamp};
use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// The uses of one credential since this process began.
#[derive(Debug, Default)]
pub struct Usage {
    /// Seconds since 1970; 0: none yet.
    last: AtomicI64,
    /// Seconds.
    longest_gap: AtomicI64,
    /// The two halves of an IPv6 address.
    from: [AtomicU64; 2],
}

/// The uses of one credential, as they are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// The last one.
    pub last: Timestamp,
    /// The longest time between two of them.
    pub longest_gap: SignedDuration,
    /// Where the last one came from, as far as the replica could see.
    pub from: IpAddr,
}

impl Usage {
    /// It was used just now, from there.
    pub fn note(&self, now: Timestamp, from: IpAddr) {
        let now = now.as_second();
        let before = self.last.load(Relaxed);
        // Of several requests in a second, and of several at a time, one counts.
        if now <= before || self.last.compare_exchange(before, now, Relaxed, Relaxed).is_err() {
            return;
        }
        if before > 0 {
            self.longest_gap.fetch_max(now - before, Relaxed);
        }
        let bits = match from {
            IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
            IpAddr::V6(address) => address.to_bits(),
        };
        for (half, shift) in self.from.iter().zip([64, 0]) {
            half.store(u64::try_from((bits >> shift) & u128::from(u64::MAX)).unwrap_or_default(), Relaxed);
        }
    }

    /// What was seen; `None`: it was not used.
    #[must_use]
    pub fn seen(&self) -> Option<Use> {
        let last = Some(self.last.load(Relaxed)).filter(|second| *second > 0)?;
        let longest_gap = SignedDuration::from_secs(self.longest_gap.load(Relaxed));
        let bits = self.from.iter().fold(0_u128, |bits, half| (bits << 64) | u128::from(half.load(Relaxed)));
        let from = IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical();
        Some(Use { last: Timestamp::from_second(last).ok()?, longest_gap, from })
    }
}

impl Use {
    /// What two replicas have seen of one credential.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let latest = if other.last > self.last { other } else { self };
        Self { longest_gap: self.longest_gap.max(other.longest_gap), ..latest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_last_use_and_the_longest_gap_are_kept() {
        let usage = Usage::default();
        assert_eq!(usage.seen(), None);
        let from: IpAddr = "10.1.2.3".parse().unwrap();
        for (second, last, gap) in [(100, 100, 0), (100, 100, 0), (130, 130, 30), (90, 130, 30), (150, 150, 30), (250, 250, 100)] {
            usage.note(at(second), from);
            assert_eq!(usage.seen(), Some(Use { last: at(last), longest_gap: SignedDuration::from_secs(gap), from }), "{second}");
        }
    }

    #[test]
    fn addresses_of_both_families_are_kept() {
        let usage = Usage::default();
        for (second, text) in [(1, "192.0.2.7"), (2, "2001:db8:1:2:3:4:5:6"), (3, "::1")] {
            usage.note(at(second), text.parse().unwrap());
            assert_eq!(usage.seen().unwrap().from.to_string(), text);
        }
    }

    #[test]
    fn what_two_replicas_have_seen_is_the_later_use_and_the_longer_gap() {
        let seen =
            |second, gap, from: &str| Use { last: at(second), longest_gap: SignedDuration::from_secs(gap), from: from.parse().unwrap() };
        let (early, late) = (seen(5, 9, "10.0.0.1"), seen(7, 3, "10.0.0.2"));
        assert_eq!(early.and(late), seen(7, 9, "10.0.0.2"));
        assert_eq!(late.and(early), seen(7, 9, "10.0.0.2"));
    }
}
