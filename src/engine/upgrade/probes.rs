//! Whether mounting works while driver and provider are replaced: a pod on every node, again and again.
//!
//! What is measured is the time between two mounts that came about. While a driver is away no mount comes about, and the
//! first pod that is started after it is back has its secret at once: so nothing shorter than the time between two starts, and
//! the time that a mount takes, shows.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future, stream::FuturesUnordered};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::super::{micros, world::World};
use crate::{
    journal::{GapMeasured, Phase},
    kubernetes::ObjectRef,
    tenant::WorkloadManifest,
};

/// Time between two starts on a node.
const EVERY: Duration = Duration::from_secs(2);
/// Starts before the roll-out, to know what is usual, and after it.
const AROUND: u32 = 4;
/// Longest time for one to have its secret.
const MOUNTED: Duration = Duration::from_secs(90);

/// See the module.
pub(super) struct Probes<'a> {
    world: &'a World,
    phase: Phase,
    began: Instant,
    stop: CancellationToken,
    seen: Arc<Mutex<BTreeMap<String, Seen>>>,
}

/// What was seen on a node.
#[derive(Debug, Clone, Default)]
struct Seen {
    started: u32,
    /// When mounts came about, since the first start.
    mounted: Vec<Duration>,
}

impl<'a> Probes<'a> {
    pub(super) fn start(world: &'a World, phase: Phase) -> Self {
        Self {
            world,
            phase,
            began: Instant::now(),
            stop: CancellationToken::new(),
            seen: Arc::default(),
        }
    }

    /// Starts pods before, during and after `work`, and says what it came to on each node.
    pub(super) async fn around<T>(self, work: impl Future<Output = T>) -> (T, Vec<GapMeasured>) {
        let nodes: Vec<String> = self
            .world
            .environment
            .nodes
            .iter()
            .map(|node| node.name.clone())
            .collect();
        let probing = future::join_all(nodes.iter().enumerate().map(|(index, node)| self.on(index, node)));
        let working = async {
            tokio::time::sleep(EVERY * AROUND).await;
            let rolling = self.began.elapsed();
            let worked = work.await;
            tokio::time::sleep(EVERY * AROUND).await;
            self.stop.cancel();
            (rolling, worked)
        };
        let (_, (rolling, worked)) = future::join(probing, working).await;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = nodes.iter().map(|node| {
            let seen = seen.get(node).cloned().unwrap_or_default();
            let (usual, longest) = gaps(seen.mounted.clone(), rolling);
            GapMeasured {
                phase: self.phase,
                node: node.clone(),
                every_us: micros(EVERY),
                started: seen.started,
                mounted: u32::try_from(seen.mounted.len()).unwrap_or(u32::MAX),
                usual_gap_us: micros(usual),
                longest_gap_us: micros(longest),
            }
        });
        (worked, gaps.collect())
    }

    /// Starts pods on one node until it is asked to stop, and waits for the last of them.
    async fn on(&self, index: usize, node: &str) {
        let mut under_way = FuturesUnordered::new();
        let mut number = 0_u32;
        while !self.stop.is_cancelled() {
            self.saw(node, |seen| seen.started += 1);
            under_way.push(self.one(format!("mount-probe-{}-{index}-{number}", self.phase), node));
            number += 1;
            // By the plan, not by when the last one came about.
            let next = tokio::time::Instant::from_std(self.began + EVERY * number);
            let pause = tokio::time::sleep_until(next);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.stop.cancelled() => break,
                    Some(()) = under_way.next(), if !under_way.is_empty() => {}
                }
            }
        }
        while under_way.next().await.is_some() {}
    }

    /// One pod: started, seen with its secret or not, removed.
    async fn one(&self, name: String, node: &str) {
        let Some(tenant) = self.world.shared.first() else {
            return;
        };
        let marks = self.world.marks.of_tenant(&tenant.name);
        let mut pod = WorkloadManifest {
            namespace: &tenant.name,
            name: &name,
            class: &tenant.class,
            image: self.world.image(),
            command: &[],
            marks: &marks,
        }
        .pod();
        // Past the scheduler, which gives no pods to some of the nodes that the driver is on.
        pod["spec"]["nodeName"] = json!(node);
        if let Err(error) = self.world.create(&pod).await {
            return self
                .world
                .warn(format!("a probe could not be started: {error:?}"));
        }
        let pods = self.world.environment.kubernetes.pods();
        let until = Instant::now() + MOUNTED;
        let ready = pods.wait_ready(&tenant.name, &name, 1, until).await;
        let ready_at = ready.and_then(|pods| pods.first()?.ready_at);
        if let Some(at) = ready_at {
            let since = at.saturating_duration_since(self.began);
            self.saw(node, |seen| seen.mounted.push(since));
        }
        self.world
            .delete(&ObjectRef::new("v1", "Pod", Some(&tenant.name), &name))
            .await;
        pods.forget(&tenant.name, &name);
    }

    fn saw(&self, node: &str, change: impl FnOnce(&mut Seen)) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        change(seen.entry(node.to_owned()).or_default());
    }
}

/// PURE. The longest time between two mounts that came about, before `rolling` began and from then on.
fn gaps(mut mounted: Vec<Duration>, rolling: Duration) -> (Duration, Duration) {
    mounted.sort();
    let (mut usual, mut longest) = (Duration::ZERO, Duration::ZERO);
    for pair in mounted.windows(2) {
        let gap = pair[1].saturating_sub(pair[0]);
        if pair[1] <= rolling {
            usual = usual.max(gap);
        } else {
            longest = longest.max(gap);
        }
    }
    (usual, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_mounts_and_belongs_to_where_it_ends() {
        let seconds = |list: &[u64]| list.iter().map(|second| Duration::from_secs(*second)).collect();
        for (mounted, rolling, usual, longest) in [
            (&[1, 3, 5, 12, 13][..], 6, 2, 7),
            // They come about in any order.
            (&[5, 1, 3], 10, 2, 0),
            (&[1], 1, 0, 0),
            (&[], 1, 0, 0),
            // One that begins before and ends after is the roll-out's.
            (&[1, 20], 5, 0, 19),
        ] {
            let seen = gaps(seconds(mounted), Duration::from_secs(rolling));
            assert_eq!(
                seen,
                (Duration::from_secs(usual), Duration::from_secs(longest)),
                "{mounted:?}"
            );
        }
    }
}
