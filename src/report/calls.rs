//! PURE: counted calls as rows and in a line, for every report that people read.

use std::{fmt::Write as _, time::Duration};

use super::figure;
use crate::{
    journal::{CallCounted, CallsCounted},
    load::calls,
};

/// Heads of the columns of [`rows`].
pub(super) const COLUMNS: [&str; 5] = ["call", "by", "a mount", "a refresh", "a pod-hour"];

/// One row a kind of call.
pub(super) fn rows(counted: &CallsCounted) -> Vec<[String; 5]> {
    counted
        .calls
        .iter()
        .map(|call| {
            let hour = calls::a_pod_hour(call, counted);
            [
                call.call.clone(),
                call.by.clone(),
                each(call.on_mounts, counted.mounts, "mount"),
                each(call.on_refreshes, counted.refreshes, "refresh"),
                range(hour),
            ]
        })
        .collect()
}

/// What the rows are of, what is missing, and what is assumed of the hour.
pub(super) fn caption(counted: &CallsCounted) -> String {
    let rotation = Duration::from_micros(counted.rotation_us);
    let mut caption = format!(
        "Exact counts over {}, one after another",
        figure::counted(counted.mounts as usize, "mount")
    );
    if counted.refreshes > 0 {
        let _ = write!(
            caption,
            ", and {} refreshes of their files. A pod-hour is computed: {} refreshes, where {}",
            figure::count(u64::from(counted.refreshes)),
            range(calls::refreshes_an_hour(counted.refreshed_by, rotation)),
            calls::assumption(counted.refreshed_by, rotation),
        );
    }
    if !counted.uncounted.is_empty() {
        let _ = write!(caption, ". Not counted here: {}", counted.uncounted.join(", "));
    }
    caption.push('.');
    caption
}

/// All of it in one line.
pub(super) fn line(counted: &CallsCounted) -> String {
    let phase = |what: &str, number: u32, of: fn(&CallCounted) -> u64| {
        let parts: Vec<String> = calls::in_short(counted, of)
            .into_iter()
            .map(|(name, total)| format!("{name} {}", each(total, number, what)))
            .collect();
        format!("a {what}: {}", parts.join(", "))
    };
    let mut line = phase("mount", counted.mounts, |call| call.on_mounts);
    if counted.refreshes > 0 {
        line.push_str("  ");
        line.push_str(&phase("refresh", counted.refreshes, |call| call.on_refreshes));
    }
    line
}

/// A whole number, or what does not divide with its total beside it.
fn each(total: u64, number: u32, what: &str) -> String {
    match calls::each(total, number) {
        _ if number == 0 => "–".to_owned(),
        (_, true) => figure::count(total / u64::from(number)),
        (each, false) => format!("{each:.2} ({total} in {number}: not every {what} the same)"),
    }
}

fn range(range: calls::Range) -> String {
    let (least, most) = (format!("{:.0}", range.least), format!("{:.0}", range.most));
    if least == most {
        least
    } else {
        format!("{least} to {most}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_divide_shows_its_total() {
        assert_eq!(each(20, 10, "mount"), "2");
        assert_eq!(each(11, 10, "mount"), "1.10 (11 in 10: not every mount the same)");
        assert_eq!(each(0, 0, "refresh"), "–");
    }
}
