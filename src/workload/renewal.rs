//! When to ask again. Pure: chance is handed in.

use std::time::Duration;

/// First pause after a failure; doubled by each further one.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause after a failure, also where the endpoint asks for more.
const LONGEST: Duration = Duration::from_secs(60);
/// No token is renewed more often.
const LEAST: Duration = Duration::from_secs(5);

/// The pause after a token of this lifetime: between 60 and 70 hundredths of it, so that the pods of one rollout do not all come at
/// once, and that a third remains for an outage.
pub(super) fn after_success(lifetime: Duration, chance: u8) -> Duration {
    (lifetime / 5 * 3 + lifetime / 10 / 255 * u32::from(chance)).max(LEAST)
}

/// The pause after this many failures in a row: from a half to the whole of a doubling one, and no less than was asked for.
pub(super) fn after_failure(failures: u32, asked: Option<Duration>, chance: u8) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST);
    let spread = doubled / 2 + doubled / 2 * u32::from(chance) / 255;
    spread.max(asked.unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_token_is_renewed_after_about_two_thirds_of_its_life() {
        for (lifetime, least, most) in [(900, 540, 630), (60, 36, 42), (3_600, 2_160, 2_520)] {
            for chance in [0, 1, 100, 255] {
                let pause = after_success(SECOND * lifetime, chance);
                assert!((SECOND * least..=SECOND * most).contains(&pause), "{lifetime} {chance}: {pause:?}");
            }
        }
        assert_ne!(after_success(SECOND * 900, 0), after_success(SECOND * 900, 255));
        assert_eq!(after_success(SECOND, 0), LEAST);
        assert!(after_success(Duration::MAX, 255) > SECOND);
    }

    #[test]
    fn failures_back_off_to_a_minute_and_never_try_at_once() {
        let pauses: Vec<_> = (1..12).map(|failures| after_failure(failures, None, 255)).collect();
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 32, 60].map(Duration::from_secs));
        assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        for failures in [0, 1, 5, u32::MAX] {
            assert!(after_failure(failures, None, 0) >= SECOND / 2);
        }
    }

    #[test]
    fn what_the_endpoint_asks_for_is_kept_within_reason() {
        assert_eq!(after_failure(1, Some(SECOND * 10), 0), SECOND * 10);
        assert_eq!(after_failure(1, Some(SECOND * 3_600), 0), LONGEST);
        assert!(after_failure(7, Some(SECOND), 0) >= SECOND * 30);
    }
}
