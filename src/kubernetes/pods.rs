//! The run's pods, followed by one watch.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant as TokioInstant, timeout_at},
};

use super::incidents::Incidents;
use crate::tenant::{Marks, WORKLOAD_LABEL};

/// A pod, as far as verdicts and latencies need it. Times are taken on arrival, as the API's own
/// stamps are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its uid, which is part of its paths on the node.
    pub uid: String,
    /// The node that it is on, once it has one.
    pub node: Option<String>,
    /// When the watch first said that it is there.
    pub seen_at: Instant,
    /// When the watch first said that it has a node.
    pub scheduled_at: Option<Instant>,
    /// When the watch first said that it is Ready.
    pub ready_at: Option<Instant>,
}

impl PodView {
    /// Whether it is, or was, Ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready_at.is_some()
    }
}

/// A pod that has come to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedPod {
    /// The node.
    pub node: String,
    /// The pod's uid.
    pub uid: String,
}

/// Pods by workload. Dropping it ends the watch.
pub struct Pods {
    table: Arc<Table>,
    watching: JoinHandle<()>,
}

impl Pods {
    pub(super) fn follow(api: Api<Pod>, marks: &Marks, incidents: Arc<Incidents>) -> Self {
        let table = Arc::new(Table::default());
        let config = watcher::Config::default().labels(&marks.selector());
        let watching = tokio::spawn(follow(api, config, Arc::clone(&table), incidents));
        Self { table, watching }
    }

    /// The pods of a workload, now and whenever they change. May be called before the workload exists.
    #[must_use]
    pub fn of_workload(&self, namespace: &str, workload: &str) -> watch::Receiver<Vec<PodView>> {
        let key = (namespace.to_owned(), workload.to_owned());
        self.table
            .lock()
            .entry(key)
            .or_insert_with(|| watch::Sender::new(Vec::new()))
            .subscribe()
    }

    /// Every pod that has a node, now and as they come; whoever asked before hears no more.
    #[must_use]
    pub fn placed(&self) -> mpsc::UnboundedReceiver<PlacedPod> {
        let (tell, placed) = mpsc::unbounded_channel();
        let workloads = self.table.lock();
        for pods in workloads.values() {
            for pod in pods.borrow().iter() {
                if let Some(node) = &pod.node {
                    // Nobody has dropped it yet.
                    let _ = tell.send(PlacedPod {
                        node: node.clone(),
                        uid: pod.uid.clone(),
                    });
                }
            }
        }
        *self.table.placed.lock().unwrap_or_else(PoisonError::into_inner) = Some(tell);
        drop(workloads);
        placed
    }

    /// The pods of a workload as soon as `count` of them are Ready; nothing when they are not by
    /// `until`.
    pub async fn wait_ready(
        &self,
        namespace: &str,
        workload: &str,
        count: usize,
        until: Instant,
    ) -> Option<Vec<PodView>> {
        let ready = |pods: &Vec<PodView>| pods.iter().filter(|pod| pod.ready()).count() >= count;
        self.wait(namespace, workload, until, ready).await
    }

    /// Waits until the watch has no pod of a workload any more; false when it has by `until`.
    pub async fn wait_none(&self, namespace: &str, workload: &str, until: Instant) -> bool {
        self.wait(namespace, workload, until, Vec::is_empty)
            .await
            .is_some()
    }

    /// Forgets a workload that was removed.
    pub fn forget(&self, namespace: &str, workload: &str) {
        self.table
            .lock()
            .remove(&(namespace.to_owned(), workload.to_owned()));
    }

    /// What is wrong with the watch, while it is: a deadline that passes meanwhile says nothing about
    /// the pods.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.table
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn wait(
        &self,
        namespace: &str,
        workload: &str,
        until: Instant,
        condition: impl Fn(&Vec<PodView>) -> bool,
    ) -> Option<Vec<PodView>> {
        let mut pods = self.of_workload(namespace, workload);
        let reached = timeout_at(TokioInstant::from_std(until), pods.wait_for(condition)).await;
        // The inner error is a workload that was forgotten while waited for.
        reached.ok()?.ok().map(|pods| pods.clone())
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

/// Pods of each workload, by namespace and workload name.
type Workloads = HashMap<(String, String), watch::Sender<Vec<PodView>>>;

#[derive(Default)]
struct Table {
    workloads: Mutex<Workloads>,
    /// Who hears of pods that have come to a node. Locked while `workloads` is, never the other way round.
    placed: Mutex<Option<mpsc::UnboundedSender<PlacedPod>>>,
    trouble: Mutex<Option<String>>,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Workloads> {
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn applied(&self, pod: &Pod, now: Instant) {
        let (Some(key), Some(name), Some(uid)) = (key(pod), &pod.metadata.name, &pod.metadata.uid) else {
            return;
        };
        let (scheduled, ready) = (is_scheduled(pod), is_ready(pod));
        let mut workloads = self.lock();
        let pods = workloads
            .entry(key)
            .or_insert_with(|| watch::Sender::new(Vec::new()));
        pods.send_if_modified(|pods| {
            let new = !pods.iter().any(|known| known.uid == *uid);
            if new {
                pods.push(PodView {
                    name: name.clone(),
                    uid: uid.clone(),
                    node: None,
                    seen_at: now,
                    scheduled_at: None,
                    ready_at: None,
                });
            }
            let Some(known) = pods.iter_mut().find(|known| known.uid == *uid) else {
                return new;
            };
            let scheduled = scheduled && known.scheduled_at.is_none();
            let ready = ready && known.ready_at.is_none();
            if scheduled {
                known.scheduled_at = Some(now);
                known.node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
                self.tell_placed(known);
            }
            if ready {
                known.ready_at = Some(now);
            }
            new || scheduled || ready
        });
    }

    fn tell_placed(&self, pod: &PodView) {
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(tell), Some(node)) = (&*placed, &pod.node) {
            // Whoever does not listen any more has left.
            let _ = tell.send(PlacedPod {
                node: node.clone(),
                uid: pod.uid.clone(),
            });
        }
    }

    fn deleted(&self, pod: &Pod) {
        let (Some(key), Some(uid)) = (key(pod), &pod.metadata.uid) else {
            return;
        };
        self.retain(Some(&key), |known| known.uid != *uid);
    }

    /// After the watch had to begin anew: what was deleted meanwhile is only missing from the list.
    fn listed(&self, uids: &HashSet<String>) {
        self.retain(None, |known| uids.contains(&known.uid));
    }

    /// Keeps some pods, of one workload or of all. A workload without pods that nobody follows goes
    /// too, so that the table does not grow with the run.
    fn retain(&self, only: Option<&(String, String)>, keep: impl Fn(&PodView) -> bool) {
        let shrink = |pods: &mut watch::Sender<Vec<PodView>>| {
            pods.send_if_modified(|pods| {
                let before = pods.len();
                pods.retain(&keep);
                pods.len() != before
            });
            !(pods.borrow().is_empty() && pods.receiver_count() == 0)
        };
        let mut workloads = self.lock();
        match only {
            Some(key) => {
                if workloads.get_mut(key).is_some_and(|pods| !shrink(pods)) {
                    workloads.remove(key);
                }
            }
            None => workloads.retain(|_, pods| shrink(pods)),
        }
    }
}

async fn follow(api: Api<Pod>, config: watcher::Config, table: Arc<Table>, incidents: Arc<Incidents>) {
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        let now = Instant::now();
        match event {
            Ok(event) => {
                table.note(None);
                match event {
                    watcher::Event::Init => listed.clear(),
                    watcher::Event::InitApply(pod) => {
                        incidents.pod(&pod);
                        table.applied(&pod, now);
                        listed.extend(pod.metadata.uid);
                    }
                    watcher::Event::InitDone => {
                        table.listed(&listed);
                        listed = HashSet::new();
                    }
                    watcher::Event::Apply(pod) => {
                        table.applied(&pod, now);
                        incidents.pod(&pod);
                    }
                    watcher::Event::Delete(pod) => table.deleted(&pod),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "pod watch");
                table.note(Some(super::error::chain(&error)));
            }
        }
    }
}

fn is_scheduled(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn is_ready(pod: &Pod) -> bool {
    pod.status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn key(pod: &Pod) -> Option<(String, String)> {
    let workload = pod.metadata.labels.as_ref()?.get(WORKLOAD_LABEL)?;
    Some((pod.metadata.namespace.clone()?, workload.clone()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    fn pod(uid: &str, ready: bool) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": format!("app-{uid}"),
                "namespace": "team-red",
                "uid": uid,
                "labels": { WORKLOAD_LABEL: "app" },
            },
            "spec": { "containers": [], "nodeName": if ready { Some("node") } else { None } },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    }

    fn uids(table: &Table) -> Vec<String> {
        let workloads = table.lock();
        let pods = workloads.get(&("team-red".to_owned(), "app".to_owned()));
        pods.map(|pods| pods.borrow().iter().map(|pod| pod.uid.clone()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn the_first_arrival_is_what_counts() {
        let table = Table::default();
        let (first, later) = (Instant::now(), Instant::now() + std::time::Duration::from_secs(1));
        table.applied(&pod("a", false), first);
        table.applied(&pod("a", true), later);
        table.applied(&pod("a", true), later + std::time::Duration::from_secs(1));
        let workloads = table.lock();
        let pods = workloads.values().next().unwrap().borrow().clone();
        assert_eq!(pods.len(), 1);
        assert_eq!((pods[0].seen_at, pods[0].ready_at), (first, Some(later)));
        assert_eq!(pods[0].scheduled_at, Some(later));
    }

    #[tokio::test]
    async fn a_pod_is_told_of_once_when_it_has_come_to_a_node() {
        let table = Arc::new(Table::default());
        table.applied(&pod("before", true), Instant::now());
        let pods = Pods {
            table: Arc::clone(&table),
            watching: tokio::spawn(async {}),
        };
        let mut placed = pods.placed();
        for (uid, ready) in [
            ("waits", false),
            ("waits", true),
            ("waits", true),
            ("never", false),
        ] {
            table.applied(&pod(uid, ready), Instant::now());
        }
        let told: Vec<String> = std::iter::from_fn(|| placed.try_recv().ok())
            .map(|pod| format!("{} on {}", pod.uid, pod.node))
            .collect();
        assert_eq!(told, ["before on node", "waits on node"]);
    }

    #[test]
    fn pods_that_a_new_list_lacks_are_gone() {
        let table = Table::default();
        for uid in ["a", "b", "c"] {
            table.applied(&pod(uid, false), Instant::now());
        }
        table.listed(&HashSet::from(["a".to_owned(), "c".to_owned()]));
        assert_eq!(uids(&table), ["a", "c"]);
        table.deleted(&pod("a", false));
        table.deleted(&pod("c", false));
        assert!(table.lock().is_empty(), "nobody follows it");
    }
}
