//! Durations as users write them: a whole number and one unit, `90s`, `15m`, `24h`, `30d`.

use jiff::{SignedDuration, Timestamp};

/// The grammar, as CRD schemas carry it.
pub const PATTERN: &str = "^[1-9][0-9]{0,4}(s|m|h|d)$";

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number from 1 to 99999 and one unit, as in 90s, 15m, 24h or 30d")]
pub struct DurationError;

/// Reads a duration.
///
/// # Errors
/// [`DurationError`] where the text does not match [`PATTERN`].
pub fn parse(text: &str) -> Result<SignedDuration, DurationError> {
    let unit = text.chars().next_back().ok_or(DurationError)?;
    let digits = text.strip_suffix(unit).ok_or(DurationError)?;
    let well_formed = (1..=5).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds_per_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(DurationError),
    };
    match digits.parse::<i64>() {
        Ok(count) if well_formed => Ok(SignedDuration::from_secs(count * seconds_per_unit)),
        _ => Err(DurationError),
    }
}

/// A duration as users write it, in the largest unit that says it exactly; seconds below one second are left out.
#[must_use]
pub fn text(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds != 0 && seconds % size == 0).unwrap_or((1, 's'));
    format!("{}{unit}", seconds / size)
}

/// About how long, as kubectl says it: whole seconds, minutes, hours or days, so that at least two of them have passed.
#[must_use]
pub fn rough(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let (size, unit) = units.into_iter().find(|(size, _)| seconds >= 2 * size).unwrap_or((1, 's'));
    format!("{}{unit}", seconds / size)
}

/// How far `time` is from `now`: `in 14m`, `3d ago`.
#[must_use]
pub fn relative(time: Timestamp, now: Timestamp) -> String {
    let left = time.duration_since(now);
    if left.is_negative() { format!("{} ago", rough(-left)) } else { format!("in {}", rough(left)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_and_one_unit() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("24h", 86_400), ("30d", 2_592_000), ("99999s", 99_999)] {
            assert_eq!(parse(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "0s", "01s", "1", "1w", "1.5h", "1h30m", "-1s", "+1s", "100000s", " 1s", "1s ", "١s", "1é"] {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["1s", "90s", "15m", "25h", "1d", "30d"] {
            assert_eq!(super::text(parse(text).unwrap()), text);
        }
        assert_eq!(super::text(SignedDuration::from_secs(7_200)), "2h");
        assert_eq!(super::text(SignedDuration::ZERO), "0s");
    }

    #[test]
    fn people_are_told_about_how_long() {
        for (seconds, text) in [
            (-5, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7_199, "119m"),
            (7_200, "2h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (2_592_000, "30d"),
        ] {
            assert_eq!(rough(SignedDuration::from_secs(seconds)), text);
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(relative(at(1_000), at(100)), "in 15m");
        assert_eq!(relative(at(100), at(1_000)), "15m ago");
        assert_eq!(relative(at(100), at(100)), "in 0s");
    }
}
