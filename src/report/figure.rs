//! PURE: figures as people read them. One place, so that every report writes them alike.

use crate::journal::{Failure, KnownIssue};

/// A duration given in microseconds: `0.21 s`, `3 min 04 s`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub fn seconds(us: u64) -> String {
    let whole = us / 1_000_000;
    match whole {
        0..10 => format!("{:.2} s", us as f64 / 1e6),
        10..100 => format!("{:.1} s", us as f64 / 1e6),
        _ => format!("{} min {:02} s", whole / 60, whole % 60),
    }
}

/// A latency given in nanoseconds, with two or three digits: `412 µs`, `3.92 ms`, `14.0 ms`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub fn latency(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (ns as f64 / 1e3, "µs"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value < 9.995 {
        2
    } else {
        usize::from(value < 99.95)
    };
    format!("{value:.digits$} {unit}")
}

/// A whole number with thousands separated: `10,240`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share in thousandths: `12.5 %`.
#[must_use]
pub fn permille(share: u32) -> String {
    format!("{}.{} %", share / 10, share % 10)
}

/// A rate per second: `9,812/s`, `49.8/s`.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is positive and small"
)]
pub fn rate(per_second: f64) -> String {
    if per_second < 100.0 {
        format!("{per_second:.1}/s")
    } else {
        format!("{}/s", count(per_second.round() as u64))
    }
}

/// Bytes: `812 B`, `96.3 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

/// `1 case`, `2 cases`.
#[must_use]
pub fn counted(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", count(number as u64))
}

/// Columns that the labels of a failure's facts take, that of its evidence too.
#[must_use]
pub fn label_width(failure: &Failure) -> usize {
    let labels = failure.facts.iter().map(|fact| fact.label.chars().count());
    labels.max().unwrap_or(0).max("evidence".len())
}

/// What a known issue is, in one line, or that it is fixed.
#[must_use]
pub fn known(known: &KnownIssue) -> String {
    let KnownIssue {
        title,
        link,
        component,
        version,
        versions,
        ..
    } = known;
    if known.shows {
        format!("known issue of {component} {version}: {title}, {link}")
    } else {
        format!("fixed: {component} {version} no longer shows a known issue of {versions}: {title}, {link}")
    }
}

/// The first `limit` characters of the first line, with `…` for what was cut.
#[must_use]
pub fn first_line(text: &str, limit: usize) -> String {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    if line.chars().count() <= limit {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(limit - 1).collect();
    cut.push('…');
    cut
}

/// `text` without terminal colours and control characters (line ends and tabs stay), nor anything
/// that XML forbids.
#[must_use]
pub fn printable(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => !character.is_control(),
    };
    // Nearly every text, and evidence is long.
    if text.chars().all(shown) {
        return text.to_owned();
    }
    let plain = anstream::adapter::strip_str(text).to_string();
    plain.chars().filter(|character| shown(*character)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 µs"),
            (41_260, "41.3 µs"),
            (412_000, "412 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (3_917_000, "3.92 ms"),
            (14_000_000, "14.0 ms"),
            (99_960_000, "100 ms"),
            (1_500_000_000, "1.50 s"),
            (600_000_000_000, "600 s"),
        ] {
            assert_eq!(latency(ns), text, "{ns}");
        }
        for (us, text) in [
            (0, "0.00 s"),
            (210_000, "0.21 s"),
            (11_840_000, "11.8 s"),
            (184_000_000, "3 min 04 s"),
        ] {
            assert_eq!(seconds(us), text);
        }
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!(rate(49.84), "49.8/s");
        assert_eq!(rate(9_811.7), "9,812/s");
        assert_eq!(bytes(100_977_049), "96.3 MiB");
    }

    #[test]
    fn what_no_report_may_hold_is_taken_out() {
        assert_eq!(
            printable("\u{1b}[31mred\u{1b}[0m\r\n\ttab\u{7}\u{0}\u{ffff}é"),
            "red\n\ttabé"
        );
    }

    #[test]
    fn a_first_line_keeps_within_its_limit() {
        assert_eq!(first_line("\n  one\ntwo", 10), "one");
        assert_eq!(first_line(&"é".repeat(300), 199).chars().count(), 199);
        assert_eq!(first_line("", 10), "");
    }
}
