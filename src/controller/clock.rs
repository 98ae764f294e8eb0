//! Whether somebody has set the wall clock: schedules follow it, and what waits for a time waits by the monotonic clock. Pure.

use crate::replica::contact::Moment;
use jiff::SignedDuration;

/// What a clock may be off by without anybody having set it.
const SLEW: SignedDuration = SignedDuration::from_secs(1);

/// Compares the two clocks.
#[derive(Debug)]
pub(crate) struct Clock(Moment);

impl Clock {
    pub(crate) fn new(now: Moment) -> Self {
        Self(now)
    }

    /// By how much the wall clock was set since the last look; `None`: it was not.
    pub(crate) fn step(&mut self, now: Moment) -> Option<SignedDuration> {
        let before = std::mem::replace(&mut self.0, now);
        let monotonic = SignedDuration::try_from(now.boot.saturating_sub(before.boot)).unwrap_or(SignedDuration::ZERO);
        let step = now.wall.duration_since(before.wall) - monotonic;
        (step.abs() > SLEW).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use std::time::Duration;

    #[test]
    fn f13_a_clock_that_is_set_is_noticed_once_and_one_that_is_slewed_is_not() {
        let at = |boot: u64, wall: i64| Moment { boot: Duration::from_millis(boot), wall: Timestamp::from_millisecond(wall).unwrap() };
        let mut clock = Clock::new(at(0, 500_000));
        assert_eq!(clock.step(at(1_000, 501_100)), None);
        assert_eq!(clock.step(at(2_000, 802_100)), Some(SignedDuration::from_secs(300)));
        assert_eq!(clock.step(at(3_000, 803_100)), None);
        assert_eq!(clock.step(at(4_000, 504_100)), Some(SignedDuration::from_secs(-300)));
    }
}
