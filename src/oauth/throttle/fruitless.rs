//! Connections per address of which nothing comes (S14): no answer, or what HTTP/2 can be abused for. They are cheap to make and
//! cost a handshake, so an address that has many gets its next ones more slowly. None is refused: many may share an address, and a
//! short wait is all that one of them can do to the others.

use super::{Rate, nanoseconds, network, sketch::Sketch};
use std::{net::IpAddr, time::Duration};

/// Those of one address that make no other wait: one each 10 ms, and 20 in a burst.
const FREE: Rate = Rate { interval: 10_000_000, tolerance: 200_000_000 };
/// After more of them: the longest wait of a connection, once it is established and before a byte of it is read.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What one replica counts of them.
#[derive(Default)]
pub struct Fruitless {
    sketch: Sketch,
}

impl Fruitless {
    /// Counts a connection that ended so.
    pub fn count(&self, address: IpAddr, now: Duration) {
        let (cells, now) = (self.sketch.cells(network(address)), nanoseconds(now));
        let next = cells.value().max(now).saturating_add(FREE.interval);
        cells.raise(next.min(now.saturating_add(FREE.tolerance).saturating_add(nanoseconds(LONGEST_WAIT))));
    }

    /// How long the next connection of this address waits: until these are no more than a hundred a second, and a second at most.
    #[must_use]
    pub fn wait(&self, address: IpAddr, now: Duration) -> Duration {
        let free_until = nanoseconds(now).saturating_add(FREE.tolerance);
        Duration::from_nanos(self.sketch.cells(network(address)).value().saturating_sub(free_until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(1_000 + count)
    }

    fn address(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + last).into()
    }

    /// S14: who makes as many as it can at once, each as soon as one of its others is over, soon gets no more than the rate; and is forgiven
    /// within the longest wait.
    #[test]
    fn who_floods_over_few_connections_is_slowed_down_to_the_rate_and_others_are_not() {
        let fruitless = Fruitless::default();
        let mut free_at = [seconds(0); 8];
        let mut ends = Vec::new();
        while let Some(turn) = free_at.iter_mut().min()
            && *turn < seconds(20)
        {
            *turn += fruitless.wait(address(1), *turn) + Duration::from_micros(100);
            fruitless.count(address(1), *turn);
            ends.push(*turn);
        }
        let second = |from: u64| ends.iter().filter(|end| (seconds(from)..seconds(from + 1)).contains(*end)).count();
        assert!(second(0) < 150, "{}", second(0));
        assert!((10..20).all(|from| (90..=110).contains(&second(from))), "{:?}", (10..20).map(second).collect::<Vec<_>>());
        let longest = fruitless.wait(address(1), seconds(20));
        assert!(longest < Duration::from_millis(100), "{longest:?}");
        assert_eq!(fruitless.wait(address(2), seconds(20)), Duration::ZERO);
        assert_eq!(fruitless.wait(address(1), seconds(21)), Duration::ZERO);
    }

    /// Those who share the address of a flood wait for a moment, however large it is.
    #[test]
    fn nobody_waits_longer_than_the_longest_wait() {
        let fruitless = Fruitless::default();
        (0..100_000).for_each(|_| fruitless.count(address(1), seconds(0)));
        assert_eq!(fruitless.wait(address(1), seconds(0)), LONGEST_WAIT);
        assert_eq!(fruitless.wait(address(1), seconds(0) + LONGEST_WAIT), Duration::ZERO);
    }

    /// A scan of ports, or a health check that only connects.
    #[test]
    fn a_few_connections_of_which_nothing_comes_make_nobody_wait() {
        let fruitless = Fruitless::default();
        for tenth in 0..1_000 {
            let now = seconds(0) + Duration::from_millis(100) * tenth;
            assert_eq!(fruitless.wait(address(1), now), Duration::ZERO);
            (0..10).for_each(|_| fruitless.count(address(1), now));
        }
    }
}
