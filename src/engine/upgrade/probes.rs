//! Whether mounting works while driver and provider are replaced: a pod on every node, again and again.
//!
//! What is measured is the time without a mount that came about. While a driver is away none comes about, and the first pod
//! that is started after it is back has its secret at once: so nothing shorter than the time between two starts, and the time
//! that a mount takes, shows. Where mounting does not work any more at all, the time goes up to the last start.

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
            let stopped = self.began.elapsed();
            self.stop.cancel();
            (rolling, stopped, worked)
        };
        let (_, (rolling, stopped, worked)) = future::join(probing, working).await;
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let gaps = nodes.iter().map(|node| {
            let seen = seen.get(node).cloned().unwrap_or_default();
            let Gaps {
                usual,
                longest,
                lasting,
            } = gaps(seen.mounted.clone(), rolling, stopped);
            GapMeasured {
                phase: self.phase,
                node: node.clone(),
                every_us: micros(EVERY),
                started: seen.started,
                mounted: u32::try_from(seen.mounted.len()).unwrap_or(u32::MAX),
                usual_gap_us: micros(usual),
                longest_gap_us: micros(longest),
                lasting,
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
        let Some(tenant) = self.world.shared.values().find_map(|tenants| tenants.first()) else {
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

/// Times without a mount.
#[derive(Debug, PartialEq, Eq)]
struct Gaps {
    usual: Duration,
    longest: Duration,
    lasting: bool,
}

/// PURE. The longest time without a mount that came about, from the first start on: up to where `rolling` began, and from
/// then on to where the starts `stopped`.
fn gaps(mut mounted: Vec<Duration>, rolling: Duration, stopped: Duration) -> Gaps {
    mounted.sort();
    let mut gaps = Gaps {
        usual: Duration::ZERO,
        longest: Duration::ZERO,
        lasting: false,
    };
    let mut last = Duration::ZERO;
    for at in mounted {
        let gap = at.saturating_sub(last);
        if at <= rolling {
            gaps.usual = gaps.usual.max(gap);
        } else {
            gaps.longest = gaps.longest.max(gap);
        }
        last = at;
    }
    let open = stopped.saturating_sub(last);
    if open > gaps.longest {
        gaps.longest = open;
        gaps.lasting = true;
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_between_mounts_and_belongs_to_where_it_ends() {
        let second = Duration::from_secs;
        for (mounted, usual, longest, lasting) in [
            (&[1, 3, 5, 12, 13, 15, 21][..], 2, 7, false),
            // They come about in any order.
            (&[5, 1, 3, 21], 2, 16, false),
            // Before the first there was none, too.
            (&[9, 21], 0, 12, false),
            // None any more since then.
            (&[1, 3, 5, 8], 2, 12, true),
            (&[], 0, 20, true),
        ] {
            let seen = gaps(
                mounted.iter().copied().map(second).collect(),
                second(6),
                second(20),
            );
            let expected = Gaps {
                usual: second(usual),
                longest: second(longest),
                lasting,
            };
            assert_eq!(seen, expected, "{mounted:?}");
        }
    }
}
