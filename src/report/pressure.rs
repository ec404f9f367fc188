//! PURE: how hard pressed nodes were while something was measured, and how they were watched, as every report tells it.

use super::{figure, summary::WatchedNode};
use crate::journal::{NodePressed, Pressure};

/// What is said above [`rows`].
pub(super) const CAPTION: &str = "of the time, mean and worst second; of the whole node, whoever kept it busy, and so no figure of \
    the driver's: where it is high, a tail may be the node's";

/// What the shares of a node are, by kind.
pub(super) const COLUMNS: [&str; 5] = [
    "waited for a processor",
    "for storage",
    "for memory",
    "processors busy",
    "stolen",
];

/// From these means on, in thousandths, a figure may be the node's.
const TELLING: [(Pressure, u32, &str); 5] = [
    (Pressure::CpuWaited, 500, "something waited for a processor"),
    (Pressure::IoWaited, 300, "something waited for storage"),
    (Pressure::MemoryWaited, 100, "something waited for memory"),
    (Pressure::CpuBusy, 950, "all its processors were busy"),
    (
        Pressure::CpuStolen,
        50,
        "processors were taken away by the hypervisor",
    ),
];

/// The shares of one node.
pub(super) fn row(pressed: &NodePressed) -> [String; 5] {
    Pressure::ALL.map(|of| match pressed.share(of) {
        Some(share) => format!(
            "{} / {}",
            figure::permille(share.mean_permille),
            figure::permille(share.peak_permille)
        ),
        None => "\u{2013}".to_owned(),
    })
}

/// That a node was so hard pressed that figures may be of that, in words.
pub(super) fn telling(pressed: &NodePressed) -> Option<String> {
    let waits_are_told = pressed.share(Pressure::CpuWaited).is_some();
    let found = TELLING.iter().filter_map(|(of, from, what)| {
        let share = pressed.share(*of)?;
        // Processors that are all busy are no trouble while nothing waits for one.
        let counts = *of != Pressure::CpuBusy || !waits_are_told;
        (counts && share.mean_permille >= *from).then(|| {
            format!(
                "for {} of the time {what} (in the worst second {})",
                figure::permille(share.mean_permille),
                figure::permille(share.peak_permille)
            )
        })
    });
    let found: Vec<String> = found.collect();
    (!found.is_empty()).then(|| {
        format!(
            "{}: the node {} was hard pressed meanwhile: {}; that is the whole node's, whoever kept it busy: a long tail may be of it",
            pressed.measurement,
            pressed.node,
            found.join(", ")
        )
    })
}

/// What the figures of [`watched`] are.
pub(super) const WATCHED: [&str; 5] = [
    "volumes mounted",
    "gone",
    "sockets went or came",
    "not heard",
    "what it did not see",
];

/// What the agent of a node told of it.
pub(super) fn watched(node: &WatchedNode) -> [String; 5] {
    let unheard = match (node.breaks, node.lost) {
        (0, _) => "\u{2013}".to_owned(),
        (breaks, lost) => {
            let ever = if lost { ", and at the end" } else { "" };
            format!(
                "{} for {}{ever}",
                figure::counted(breaks, "time"),
                figure::seconds(node.unheard_us)
            )
        }
    };
    [
        figure::count(node.mounted),
        figure::count(node.unmounted),
        figure::count(node.sockets),
        unheard,
        node.blind.join("; "),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::PressureShare;

    fn pressed(shares: &[(Pressure, u32, u32)]) -> NodePressed {
        NodePressed {
            measurement: "m.csi".to_owned(),
            node: "n1".to_owned(),
            samples: 3,
            took_us: 3_000_000,
            shares: shares
                .iter()
                .map(|(of, mean_permille, peak_permille)| PressureShare {
                    of: *of,
                    mean_permille: *mean_permille,
                    peak_permille: *peak_permille,
                })
                .collect(),
        }
    }

    #[test]
    fn a_node_is_called_hard_pressed_where_a_tail_may_be_of_that() {
        for (shares, told) in [
            (
                &[(Pressure::CpuWaited, 499, 1000), (Pressure::CpuBusy, 1000, 1000)][..],
                None,
            ),
            (
                &[(Pressure::CpuWaited, 500, 1000)],
                Some("for 50.0 % of the time something waited for a processor (in the worst second 100.0 %)"),
            ),
            (&[(Pressure::CpuBusy, 949, 1000)], None),
            (
                &[(Pressure::CpuBusy, 950, 1000)],
                Some("all its processors were busy"),
            ),
            (
                &[(Pressure::CpuStolen, 50, 80)],
                Some("taken away by the hypervisor"),
            ),
            (&[], None),
        ] {
            let found = telling(&pressed(shares));
            assert_eq!(found.is_some(), told.is_some(), "{shares:?}: {found:?}");
            let found = found.unwrap_or_default();
            assert!(found.contains(told.unwrap_or_default()), "{found}");
        }
    }

    #[test]
    fn what_a_node_does_not_tell_is_no_zero() {
        let row = row(&pressed(&[(Pressure::CpuBusy, 0, 125)]));
        assert_eq!(
            row,
            ["\u{2013}", "\u{2013}", "\u{2013}", "0.0 % / 12.5 %", "\u{2013}"]
        );
    }
}
