//! PURE: what counted calls come to: of a mount, of a refresh, and of a running pod in an hour.

use std::time::Duration;

use crate::{
    journal::{CallCounted, CallsCounted, RefreshedBy},
    scenario::calls::{KUBERNETES, TLS_AWS, TLS_KUBERNETES},
};

/// Shortest and longest time between two looks of kubelet at a running pod whose volume asks to be republished, as
/// observed of kubelet 1.36: its `syncFrequency` of a minute, with jitter, and up to a round of its loops.
pub const KUBELET: (Duration, Duration) = (Duration::from_mins(1), Duration::from_secs(85));

/// Fewest and most, over what is assumed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// Fewest.
    pub least: f64,
    /// Most.
    pub most: f64,
}

/// How often in an hour the provider is asked anew for a running pod, at most and at least.
///
/// Where kubelet republishes, it asks every 60 to 85 s. The driver answers by itself while the rotation interval has not
/// passed since the last time that came through, so that the next is the first look after the interval: less than one look
/// later. A driver that looks by itself does so every rotation interval.
#[must_use]
pub fn refreshes_an_hour(by: RefreshedBy, rotation: Duration) -> Range {
    let (shortest, longest) = KUBELET;
    let (least_gap, most_gap) = match by {
        RefreshedBy::Driver => (rotation, rotation),
        RefreshedBy::Kubelet if rotation <= shortest => (shortest, longest),
        RefreshedBy::Kubelet => (rotation, rotation + longest),
    };
    let hour = Duration::from_hours(1).as_secs_f64();
    Range {
        least: hour / most_gap.as_secs_f64(),
        most: hour / least_gap.as_secs_f64(),
    }
}

/// Calls of each of `number`, and whether every one can have had the same: they divide.
#[must_use]
pub fn each(total: u64, number: u32) -> (f64, bool) {
    if number == 0 {
        return (0.0, true);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of a few thousand at most")]
    let each = total as f64 / f64::from(number);
    (each, total.is_multiple_of(u64::from(number)))
}

/// Calls of a running pod in an hour: those of a refresh, so often.
#[must_use]
pub fn a_pod_hour(call: &CallCounted, counted: &CallsCounted) -> Range {
    let (each, _) = each(call.on_refreshes, counted.refreshes);
    let hour = refreshes_an_hour(counted.refreshed_by, Duration::from_micros(counted.rotation_us));
    Range {
        least: each * hour.least,
        most: each * hour.most,
    }
}

/// What is assumed of an hour, in words.
#[must_use]
pub fn assumption(by: RefreshedBy, rotation: Duration) -> String {
    match by {
        RefreshedBy::Driver => format!("the driver looks by itself, every rotation interval of {rotation:?}"),
        RefreshedBy::Kubelet => {
            let (shortest, longest) = KUBELET;
            format!(
                "kubelet asks every {} to {} s, as observed, and the driver asks the provider no sooner than after its \
                 rotation interval of {rotation:?}",
                shortest.as_secs(),
                longest.as_secs()
            )
        }
    }
}

/// Totals for one line: each call to AWS by its operation, then Kubernetes and TLS in sums.
#[must_use]
pub fn in_short(counted: &CallsCounted, of: impl Fn(&CallCounted) -> u64) -> Vec<(String, u64)> {
    let mut short: Vec<(String, u64)> = Vec::new();
    let (mut kubernetes, mut tls) = (0, 0);
    for call in &counted.calls {
        let name = call.call.as_str();
        if name == TLS_AWS || name == TLS_KUBERNETES {
            tls += of(call);
        } else if name.starts_with(KUBERNETES) {
            kubernetes += of(call);
        } else if of(call) > 0 {
            let operation = name.split_once(':').map_or(name, |(_, operation)| operation);
            short.push((operation.to_owned(), of(call)));
        }
    }
    short.push(("Kubernetes".to_owned(), kubernetes));
    short.push(("TLS".to_owned(), tls));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refreshes_come_at_kubelets_looks_no_sooner_than_the_interval_or_at_the_drivers_own() {
        use RefreshedBy::{Driver, Kubelet};

        for (by, rotation, slowest, fastest) in [
            // Every look comes through.
            (Kubelet, 1, 85.0, 60.0),
            (Kubelet, 60, 85.0, 60.0),
            // The look at 70 s may come just before the interval's end, the next one up to 85 s later.
            (Kubelet, 70, 155.0, 70.0),
            (Kubelet, 120, 205.0, 120.0),
            (Driver, 1, 1.0, 1.0),
            (Driver, 120, 120.0, 120.0),
        ] {
            let hour = refreshes_an_hour(by, Duration::from_secs(rotation));
            for (seen, gap) in [(hour.least, slowest), (hour.most, fastest)] {
                assert!((seen - 3_600.0 / gap).abs() < 1e-9, "{by:?} {rotation}: {hour:?}");
            }
        }
    }

    #[test]
    fn what_does_not_divide_is_told() {
        assert_eq!(each(20, 10), (2.0, true));
        assert_eq!(each(0, 10), (0.0, true));
        assert_eq!(each(11, 10), (1.1, false));
        assert_eq!(each(5, 0), (0.0, true));
    }
}
