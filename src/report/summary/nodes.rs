//! PURE: a measurement by the nodes that its mounts were on.

use std::collections::BTreeMap;

use super::MeasurementSummary;
use crate::{
    journal::{FloorMeasured, MountFinished, MountOutcome},
    load::histogram,
    report::latency::Latency,
};

/// Sent so much after the plan, a mount counts as late.
const LATE_US: u64 = 1_000;

/// What one node had of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct OnNode {
    /// Its name.
    pub node: String,
    /// Mounts of the measurement's, its warm-up among them.
    pub planned: u64,
    /// Ended well.
    pub ok: u64,
    /// Refused as they should be.
    pub denied: u64,
    /// Failed.
    pub failed: u64,
    /// Ran out of time.
    pub timed_out: u64,
    /// Never sent.
    pub dropped: u64,
    /// Sent more than a millisecond after the plan.
    pub late: u64,
    /// Response time after the warm-up, as of the whole.
    pub latency: Latency,
    /// What a mount costs at least on it, where an agent measured that.
    pub floor: Option<FloorMeasured>,
}

impl MeasurementSummary {
    /// The measurement by node; nothing where nodes are not told apart. Mounts that came to no node are nobody's.
    #[must_use]
    pub fn by_node(&self) -> Vec<OnNode> {
        let warm_up = self.started.parameters.get("warm-up");
        let warm_up: u32 = warm_up.and_then(|count| count.parse().ok()).unwrap_or(0);
        let mut nodes: BTreeMap<&str, Vec<&MountFinished>> = BTreeMap::new();
        for mount in &self.mounts {
            if let Some(node) = &mount.node {
                nodes.entry(node).or_default().push(mount);
            }
        }
        nodes
            .into_iter()
            .map(|(node, mounts)| OnNode {
                floor: self
                    .floors
                    .iter()
                    .find(|floor| floor.node.as_deref() == Some(node))
                    .cloned(),
                ..of(node, &mounts, warm_up)
            })
            .collect()
    }
}

fn of(node: &str, mounts: &[&MountFinished], warm_up: u32) -> OnNode {
    let count = |outcome| mounts.iter().filter(|mount| mount.outcome == outcome).count() as u64;
    let mut values = histogram::empty();
    for mount in mounts {
        let counts = matches!(mount.outcome, MountOutcome::Ok | MountOutcome::TimedOut);
        if let Some(done_us) = mount.done_us.filter(|_| counts && mount.index >= warm_up) {
            values.saturating_record(done_us.saturating_sub(mount.planned_us).saturating_mul(1_000));
        }
    }
    let late = |mount: &&&MountFinished| {
        mount
            .sent_us
            .is_some_and(|sent_us| sent_us.saturating_sub(mount.planned_us) > LATE_US)
    };
    OnNode {
        node: node.to_owned(),
        planned: mounts.len() as u64,
        ok: count(MountOutcome::Ok),
        denied: count(MountOutcome::DeniedAsExpected),
        failed: count(MountOutcome::Failed),
        timed_out: count(MountOutcome::TimedOut),
        dropped: count(MountOutcome::Dropped),
        late: mounts.iter().filter(late).count() as u64,
        latency: Latency::of(&values),
        floor: None,
    }
}
