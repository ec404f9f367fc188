//! The run's nodes, as their agents see them: followed from before the first tenant on, journalled, and kept for evidence.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::future::join_all;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    agent::{FollowTold, Followed},
    environment::Environment,
    journal::{EventKind, Journal, NodeSaw, NodeSight, WarningRaised},
};

/// Most things that are kept for evidence: cases ask for those of their own time.
const KEPT: usize = 20_000;
/// Longest wait for an agent to tell what has happened by now.
const SETTLE: Duration = Duration::from_secs(3);

/// See the module. Nodes are followed until it is dropped.
pub(super) struct FollowedNodes {
    nodes: Arc<Vec<Followed>>,
    seen: Arc<Mutex<VecDeque<Seen>>>,
    _feeding: Option<AbortOnDropHandle<()>>,
}

/// Something that an agent saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// When it was, by this machine's monotonic clock.
    pub(super) at: Instant,
    pub(super) saw: NodeSaw,
}

impl FollowedNodes {
    /// Follows every node that has an agent.
    pub(super) fn begin(environment: &Environment, journal: &Journal) -> Self {
        let seen = Arc::new(Mutex::new(VecDeque::new()));
        let told = {
            let (seen, journal) = (Arc::clone(&seen), journal.clone());
            Arc::new(move |told| match told {
                FollowTold::Saw(saw, at) => {
                    if let Some(warning) = warning(&saw) {
                        journal.record(warning);
                    }
                    journal.record(EventKind::NodeSaw(saw.clone()));
                    let mut seen: MutexGuard<'_, VecDeque<Seen>> =
                        seen.lock().unwrap_or_else(PoisonError::into_inner);
                    if seen.len() == KEPT {
                        seen.pop_front();
                    }
                    seen.push_back(Seen { at, saw });
                }
                FollowTold::Pressed(pressed) => journal.record(EventKind::NodePressed(pressed)),
            })
        };
        let agents = environment.nodes.iter().filter_map(|node| node.agent.clone());
        let nodes: Vec<Followed> = agents
            .map(|agent| Followed::begin(agent, Arc::clone(&told) as _))
            .collect();
        let nodes = Arc::new(nodes);
        let feeding = (!nodes.is_empty()).then(|| feed(environment, Arc::clone(&nodes)));
        Self {
            nodes,
            seen,
            _feeding: feeding,
        }
    }

    /// Every event of the run passes here on its way into the journal: nodes are looked at more closely while something is measured.
    pub(super) fn heed(&self, event: &EventKind) {
        for node in self.nodes.iter() {
            match event {
                EventKind::MeasurementStarted(started) => node.measuring(&started.measurement),
                EventKind::MeasurementFinished(finished) => node.measured(&finished.measurement),
                _ => {}
            }
        }
    }

    /// Waits until everything has been told that has happened by now, as far as agents answer.
    pub(super) async fn settled(&self) {
        join_all(self.nodes.iter().map(|node| node.settled(SETTLE))).await;
    }

    /// What was seen from a moment on.
    pub(super) fn since(&self, began: Instant) -> Vec<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.at >= began).cloned().collect()
    }
}

/// Tells each node of the run's pods that are placed on it.
fn feed(environment: &Environment, nodes: Arc<Vec<Followed>>) -> AbortOnDropHandle<()> {
    let mut placed = environment.kubernetes.pods().placed();
    AbortOnDropHandle::new(tokio::spawn(async move {
        while let Some(pod) = placed.recv().await {
            if let Some(node) = nodes.iter().find(|node| node.node() == pod.node) {
                node.pod(pod.uid);
            }
        }
    }))
}

/// What a reader has to know at once: that nobody watches a node for the rest of the run.
fn warning(saw: &NodeSaw) -> Option<EventKind> {
    match &saw.what {
        NodeSight::Lost {
            because,
            for_good: true,
        } => Some(EventKind::WarningRaised(WarningRaised {
            text: format!(
                "what happens on the node {} is not told from here on: its agent is not followed any more: {because}",
                saw.node
            ),
        })),
        _ => None,
    }
}
