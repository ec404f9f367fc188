//! PURE: a measurement by node, as every report lists it.

use super::{figure, summary::OnNode};

/// What the figures of [`node_row`] are.
pub(super) const NODE_COLUMNS: [&str; 10] = [
    "mounts",
    "ok",
    "failed",
    "timed out",
    "dropped",
    "late",
    "p50",
    "max",
    "floor",
    "the lens's own p99",
];

/// A node's figures.
pub(super) fn node_row(on: &OnNode) -> [String; 10] {
    let none = || "\u{2013}".to_owned();
    let latency = |value: Option<u64>| value.map_or_else(none, figure::latency);
    let floor = on.floor.as_ref();
    let lens = floor.and_then(|floor| floor.csi_lens.as_ref());
    [
        figure::count(on.planned),
        figure::count(on.ok + on.denied),
        figure::count(on.failed),
        figure::count(on.timed_out),
        figure::count(on.dropped),
        figure::count(on.late),
        latency(on.latency.value("p50")),
        latency((on.latency.count() > 0).then_some(on.latency.percentiles.max_ns)),
        latency(floor.map(|floor| floor.new_tls_ns)),
        latency(lens.map(|lens| lens.p99_ns)),
    ]
}
