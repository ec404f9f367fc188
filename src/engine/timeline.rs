//! PURE. What happened around a case, told by everybody who saw it, in the order of time.

use std::fmt::Write as _;

use jiff::{Timestamp, civil, tz::TimeZone};

/// Most steps of a timeline in one line.
const STEPS: usize = 9;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// When, by the clock of whoever saw it.
    pub(super) at: Timestamp,
    /// Who saw it, such as `driver on node-1`.
    pub(super) source: String,
    /// What, in a line.
    pub(super) text: String,
    /// What, in a word or two, where it belongs into a timeline of one line.
    pub(super) brief: Option<String>,
}

/// What stands in the lines of a program's log, each with its time, from a moment on. A line without a time of its own
/// belongs to the one before it. `year` is that of times without one.
pub(super) fn lines(log: &str, from: Timestamp) -> Vec<(Timestamp, &str)> {
    let mut last = None;
    let mut found = Vec::new();
    for line in log.lines() {
        let (at, text) = stamp(line, from).map_or((last, line), |(at, text)| (Some(at), text));
        last = at;
        if let Some(at) = at
            && at >= from
            && !text.trim().is_empty()
        {
            found.push((at, text));
        }
    }
    found
}

/// The part of a log that was written from a moment on, as it stands there.
pub(super) fn window(log: &str, from: Timestamp) -> String {
    let mut inside = false;
    let mut kept = String::new();
    let mut stamped = false;
    for line in log.lines() {
        if let Some((at, _)) = stamp(line, from) {
            inside = at >= from;
            stamped = true;
        }
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    // Of a log without any time nobody can tell.
    if stamped { kept } else { log.to_owned() }
}

/// When a line was written, and the rest of it: RFC 3339 in front of it, as the API and journald have it, or klog's header,
/// which stays.
fn stamp(line: &str, near: Timestamp) -> Option<(Timestamp, &str)> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    if first.len() >= 20
        && first.as_bytes()[4] == b'-'
        && let Ok(at) = first.parse()
    {
        return Some((at, rest));
    }
    klog(line, near).map(|at| (at, line))
}

/// `I1126 14:02:11.020131   1 server.go:42] ...`: no year, and the time of a machine whose clock is set to UTC.
fn klog(line: &str, near: Timestamp) -> Option<Timestamp> {
    let level = line.bytes().next()?;
    if !b"IWEF".contains(&level) {
        return None;
    }
    let mut words = line.get(1..)?.split_whitespace();
    let (date, time) = (words.next()?, words.next()?);
    if date.len() != 4 || time.len() < 8 {
        return None;
    }
    let (month, day): (i8, i8) = (date.get(..2)?.parse().ok()?, date.get(2..)?.parse().ok()?);
    let time: civil::Time = time.parse().ok()?;
    let near = near.to_zoned(TimeZone::UTC);
    // Around New Year the other year is the nearer one.
    let year = match (near.month(), month) {
        (12, 1) => near.year() + 1,
        (1, 12) => near.year() - 1,
        _ => near.year(),
    };
    let at = civil::Date::new(year, month, day).ok()?.to_datetime(time);
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// All of it as a text, in the order of time.
pub(super) fn text(mut entries: Vec<Entry>) -> String {
    let Some(first) = entries.iter().map(|entry| entry.at).min() else {
        return "nothing was seen\n".to_owned();
    };
    entries.sort_by_key(|entry| entry.at);
    let width = entries.iter().map(|entry| entry.source.len()).max().unwrap_or(0);
    let mut text = format!(
        "{} UTC. Pods and events are timed as they arrived here, calls by the endpoint, lines by the program's or the node's \
         clock.\n\n",
        first.strftime("%Y-%m-%d")
    );
    for entry in entries {
        let _ = writeln!(
            text,
            "{}  {:<width$}  {}",
            entry.at.strftime("%H:%M:%S.%3f"),
            entry.source,
            entry.text
        );
    }
    text
}

/// The steps that are worth a word, in one line: the first in full, and of later ones of the same second only what differs.
pub(super) fn brief(entries: &[Entry]) -> Option<String> {
    let mut steps: Vec<(Timestamp, String, u32)> = Vec::new();
    let mut told: Vec<&Entry> = entries.iter().filter(|entry| entry.brief.is_some()).collect();
    told.sort_by_key(|entry| entry.at);
    for entry in told {
        let what = entry.brief.clone().unwrap_or_default();
        match steps.iter_mut().find(|(_, known, _)| *known == what) {
            Some((_, _, times)) => *times += 1,
            None => steps.push((entry.at, what, 1)),
        }
    }
    let left_out = steps.len().saturating_sub(STEPS);
    // How it began and how it ended tell most.
    if left_out > 0 {
        steps.drain(STEPS / 2..STEPS / 2 + left_out);
    }
    let mut second = None;
    let mut said = Vec::new();
    for (place, (at, what, times)) in steps.iter().enumerate() {
        if left_out > 0 && place == STEPS / 2 {
            said.push(format!(".. {left_out} more"));
        }
        let this = Some(at.as_second());
        let when = at.strftime(if second == this { ".%3f" } else { "%H:%M:%S.%3f" });
        second = this;
        said.push(match times {
            1 => format!("{when} {what}"),
            _ => format!("{when} {what} x{times}"),
        });
    }
    (!said.is_empty()).then(|| said.join(" \u{b7} "))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-26T{text}Z").parse().unwrap()
    }

    #[test]
    fn a_line_is_timed_as_its_writer_timed_it() {
        let from = at("11:00:00");
        for (line, time, rest) in [
            (
                "2026-11-26T11:25:54.646409646Z mounting",
                Some("11:25:54.646409646"),
                "mounting",
            ),
            (
                "2026-11-26T12:25:54.6+01:00 node kubelet[1]: x",
                Some("11:25:54.6"),
                "node kubelet[1]: x",
            ),
            (
                "I1126 11:25:54.646409       1 nodeserver.go:85] x",
                Some("11:25:54.646409"),
                "I1126 11:25:54.646409       1 nodeserver.go:85] x",
            ),
            (
                "E1126 11:25:54.646409 1 x",
                Some("11:25:54.646409"),
                "E1126 11:25:54.646409 1 x",
            ),
            ("Info: nothing of the kind", None, ""),
            ("I1426 11:25:54.646409 there is no such month", None, ""),
            ("2026 is a year", None, ""),
            ("2026-11-26T nonsense it is, and long", None, ""),
            ("", None, ""),
            ("\u{e9}1126 11:25:54 x", None, ""),
        ] {
            let found = stamp(line, from);
            assert_eq!(found, time.map(|time| (at(time), rest)), "{line}");
        }
        let new_year: Timestamp = "2027-01-01T00:00:01Z".parse().unwrap();
        let eve = klog("I1231 23:59:59.5 1 x", new_year).unwrap();
        assert_eq!(eve.to_string(), "2026-12-31T23:59:59.5Z");
    }

    #[test]
    fn a_window_begins_with_its_first_line_and_keeps_what_belongs_to_it() {
        let log = "I1126 10:59:59.0 1 before\n  of before\nI1126 11:00:00.5 1 inside\n  of inside\n\nI1126 11:00:01.0 1 last\n";
        let from = at("11:00:00");
        assert_eq!(
            window(log, from),
            "I1126 11:00:00.5 1 inside\n  of inside\n\nI1126 11:00:01.0 1 last\n"
        );
        let texts: Vec<&str> = lines(log, from).into_iter().map(|(_, text)| text).collect();
        assert_eq!(
            texts,
            [
                "I1126 11:00:00.5 1 inside",
                "  of inside",
                "I1126 11:00:01.0 1 last"
            ]
        );
        assert_eq!(window("no times\nat all\n", from), "no times\nat all\n");
    }

    #[test]
    fn everybodys_entries_stand_in_the_order_of_time() {
        let entry = |time: &str, source: &str, text: &str, brief: Option<&str>| Entry {
            at: at(time),
            source: source.to_owned(),
            text: text.to_owned(),
            brief: brief.map(str::to_owned),
        };
        let entries = vec![
            entry(
                "14:02:11.139",
                "AWS",
                "sts:AssumeRole: allowed",
                Some("AssumeRole ok"),
            ),
            entry("14:02:11.02", "pod", "red/app: created", Some("pod created")),
            entry("14:02:12.5", "event", "FailedMount: no", Some("FailedMount")),
            entry("14:02:13.5", "event", "FailedMount: no", Some("FailedMount")),
            entry("14:02:11.131", "driver on n", "mounts", None),
        ];
        assert_eq!(
            brief(&entries).unwrap(),
            "14:02:11.020 pod created \u{b7} .139 AssumeRole ok \u{b7} 14:02:12.500 FailedMount x2"
        );
        let told = text(entries);
        let (head, body) = told.split_once("\n\n").unwrap();
        assert!(head.starts_with("2026-11-26 UTC"), "{head}");
        assert_eq!(
            body,
            "14:02:11.020  pod          red/app: created\n14:02:11.131  driver on n  mounts\n\
             14:02:11.139  AWS          sts:AssumeRole: allowed\n14:02:12.500  event        FailedMount: no\n\
             14:02:13.500  event        FailedMount: no\n"
        );
        assert_eq!(
            (brief(&[]), text(Vec::new()).as_str()),
            (None, "nothing was seen\n")
        );
        let many: Vec<Entry> = (10..40)
            .map(|second| {
                entry(
                    &format!("14:02:{second}"),
                    "AWS",
                    "",
                    Some(&format!("call {second}")),
                )
            })
            .collect();
        let told = brief(&many).unwrap();
        assert!(
            told.contains("call 10 ") && told.contains(".. 21 more") && told.ends_with("call 39"),
            "{told}"
        );
        assert_eq!(told.split('\u{b7}').count(), STEPS + 1);
    }
}
