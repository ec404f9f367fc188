//! Durations as people write them: `250ms`, `3s`, `2m`, `1h`.

use std::time::Duration;

/// Why a text is no duration. Completes the sentence "`x` is no duration: ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No number at the start.
    #[error("it must start with a number")]
    NoNumber,
    /// A number without a unit.
    #[error("it has no unit; write `{0}s` for seconds")]
    NoUnit(u64),
    /// A unit we do not know.
    #[error("`{0}` is no unit; units are ms, s, m and h")]
    UnknownUnit(String),
    /// More than a day.
    #[error("it is longer than a day")]
    TooLong,
}

/// The longest duration that can be written.
pub const LONGEST: Duration = Duration::from_hours(24);

/// Reads a whole number with a unit.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(DurationError::NoNumber);
    }
    let number: u64 = number.parse().map_err(|_| DurationError::TooLong)?;
    let milliseconds = match unit.trim_start() {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "" => return Err(DurationError::NoUnit(number)),
        other => return Err(DurationError::UnknownUnit(other.to_owned())),
    };
    milliseconds
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or(DurationError::TooLong)
}

/// Writes a duration in the largest unit that keeps it whole, so that [`parse`] reads it back to the
/// millisecond.
#[must_use]
pub fn print(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if milliseconds >= size && milliseconds.is_multiple_of(size) {
            return format!("{}{unit}", milliseconds / size);
        }
    }
    format!("{milliseconds}ms")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        let cases = [
            ("3s", Ok(Duration::from_secs(3))),
            ("250ms", Ok(Duration::from_millis(250))),
            ("2m", Ok(Duration::from_mins(2))),
            ("1h", Ok(Duration::from_hours(1))),
            ("24h", Ok(LONGEST)),
            ("0s", Ok(Duration::ZERO)),
            (" 3 s ", Ok(Duration::from_secs(3))),
            ("", Err(DurationError::NoNumber)),
            ("s", Err(DurationError::NoNumber)),
            ("-3s", Err(DurationError::NoNumber)),
            ("3", Err(DurationError::NoUnit(3))),
            ("3 seconds", Err(DurationError::UnknownUnit("seconds".to_owned()))),
            ("1.5s", Err(DurationError::UnknownUnit(".5s".to_owned()))),
            ("25h", Err(DurationError::TooLong)),
            ("99999999999999999999s", Err(DurationError::TooLong)),
            ("18446744073709551615h", Err(DurationError::TooLong)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trips(milliseconds in 0_u64..=86_400_000) {
            let duration = Duration::from_millis(milliseconds);
            prop_assert_eq!(parse(&print(duration)), Ok(duration));
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = parse(&text);
        }
    }
}
