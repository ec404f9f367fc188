//! What befalls nodes and what runs on them, as the watches tell: restarts, OOM kills, evictions, nodes that are not Ready.
//!
//! A latency that jumps at the very moment at which a driver was restarted is explained by that; so these are journalled beside
//! the measurements. Times are taken on arrival.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Event, Node, Pod};
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::Kubernetes;
use crate::journal::{IncidentKind, IncidentSeen};

/// Part of the path of the folder that driver and provider share on a node, in the manifests and charts of all releases.
const SHARED_FOLDER: &str = "secrets-store-csi-providers";
/// What Kubernetes calls a process that ran out of memory.
const OOM_KILLED: &str = "OOMKilled";
/// Conditions of a node that are trouble when they are `True`.
const PRESSURES: [&str; 3] = ["DiskPressure", "MemoryPressure", "PIDPressure"];
/// Reasons of a node's own events that are told: its kernel ended something.
const NODE_EVENTS: [&str; 2] = ["OOMKilling", "SystemOOM"];

/// Where incidents are found, and who hears of them.
pub(super) struct Incidents {
    tracker: Mutex<Tracker>,
    tell: mpsc::UnboundedSender<IncidentSeen>,
    told: Mutex<Option<mpsc::UnboundedReceiver<IncidentSeen>>>,
    watching: Mutex<Vec<AbortHandle>>,
}

impl Incidents {
    pub(super) fn new() -> Self {
        let (tell, told) = mpsc::unbounded_channel();
        Self {
            tracker: Mutex::default(),
            tell,
            told: Mutex::new(Some(told)),
            watching: Mutex::default(),
        }
    }

    /// A pod, whoever watches it.
    pub(super) fn pod(&self, pod: &Pod) {
        self.tell(|tracker| tracker.pod(pod));
    }

    fn tell(&self, found: impl FnOnce(&mut Tracker) -> Vec<IncidentSeen>) {
        let found = found(&mut self.tracker.lock().unwrap_or_else(PoisonError::into_inner));
        for incident in found {
            // Whoever does not listen any more has seen enough.
            let _ = self.tell.send(incident);
        }
    }
}

impl Drop for Incidents {
    fn drop(&mut self) {
        for watching in self
            .watching
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            watching.abort();
        }
    }
}

impl Kubernetes {
    /// Everything that happens from the first call on, of the run's own pods, and of what [`Self::watch_nodes`] looks at; none
    /// where somebody listens already.
    #[must_use]
    pub fn incidents(&self) -> Option<mpsc::UnboundedReceiver<IncidentSeen>> {
        self.incidents
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Watches nodes, and driver, provider and agents in these namespaces, until the connection is dropped.
    pub fn watch_nodes(&self, namespaces: &[&str]) {
        let mut watching = Vec::new();
        let weak = || Arc::downgrade(&self.incidents);
        for namespace in namespaces {
            let incidents = weak();
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            watching.push(tokio::spawn(async move {
                let mut events = watcher(pods, watcher::Config::default())
                    .default_backoff()
                    .boxed();
                while let Some(event) = events.next().await {
                    let Some(incidents) = incidents.upgrade() else {
                        return;
                    };
                    match event {
                        Ok(watcher::Event::InitApply(pod) | watcher::Event::Apply(pod)) if is_part(&pod) => {
                            incidents.pod(&pod);
                        }
                        Ok(watcher::Event::Delete(pod)) if is_part(&pod) => {
                            incidents.tell(|tracker| tracker.part_gone(&pod));
                        }
                        Ok(_) => {}
                        Err(error) => tracing::debug!(%error, "watch of the node's programs"),
                    }
                }
            }));
        }
        let (incidents, nodes): (_, Api<Node>) = (weak(), Api::all(self.client.clone()));
        watching.push(tokio::spawn(async move {
            let mut events = watcher(nodes, watcher::Config::default())
                .default_backoff()
                .boxed();
            while let Some(event) = events.next().await {
                let Some(incidents) = incidents.upgrade() else {
                    return;
                };
                match event {
                    Ok(watcher::Event::InitApply(node) | watcher::Event::Apply(node)) => {
                        incidents.tell(|tracker| tracker.node(&node));
                    }
                    Ok(watcher::Event::Delete(node)) => incidents.tell(|tracker| tracker.node_gone(&node)),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "node watch"),
                }
            }
        }));
        let (incidents, events): (_, Api<Event>) = (weak(), Api::all(self.client.clone()));
        watching.push(tokio::spawn(async move {
            let config = watcher::Config::default().fields("involvedObject.kind=Node");
            let mut events = watcher(events, config).default_backoff().boxed();
            let mut begun = false;
            while let Some(event) = events.next().await {
                let Some(incidents) = incidents.upgrade() else {
                    return;
                };
                match event {
                    Ok(watcher::Event::InitDone) => begun = true,
                    // What was there before is none of the run's.
                    Ok(watcher::Event::Apply(event)) if begun => incidents.tell(|_| node_event(&event)),
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "watch of node events"),
                }
            }
        }));
        let mut all = self
            .incidents
            .watching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.extend(watching.iter().map(tokio::task::JoinHandle::abort_handle));
    }
}

/// What is known of nodes and pods: incidents are what changes. PURE.
#[derive(Default)]
struct Tracker {
    /// By the pod's uid.
    pods: HashMap<String, Known>,
    /// By name.
    nodes: BTreeMap<String, KnownNode>,
}

#[derive(Default)]
struct Known {
    evicted: bool,
    /// Restarts of each container, and whether it lies where it ran out of memory.
    containers: BTreeMap<String, (i32, bool)>,
}

struct KnownNode {
    ready: bool,
    pressures: BTreeSet<String>,
}

impl Tracker {
    fn pod(&mut self, pod: &Pod) -> Vec<IncidentSeen> {
        let (Some(uid), Some(status)) = (&pod.metadata.uid, &pod.status) else {
            return Vec::new();
        };
        let first = !self.pods.contains_key(uid);
        let known = self.pods.entry(uid.clone()).or_default();
        let mut found = Vec::new();
        let evicted = status.reason.as_deref() == Some("Evicted");
        if evicted && !known.evicted {
            let because = status.message.clone().unwrap_or_default();
            found.push(incident(IncidentKind::Evicted, pod, named(pod), because));
        }
        known.evicted = evicted;
        for container in status.container_statuses.iter().flatten() {
            let (restarts, out_of_memory) = known
                .containers
                .get(&container.name)
                .copied()
                .unwrap_or((0, false));
            let what = || format!("container {} of {}", container.name, named(pod));
            let lies = ended(
                container
                    .state
                    .as_ref()
                    .and_then(|state| state.terminated.as_ref()),
            );
            let now_out = lies.as_ref().is_some_and(|(oom, _)| *oom);
            if container.restart_count > restarts && !first {
                let last = last_end(container);
                let oom = last.as_ref().is_some_and(|(oom, _)| *oom);
                let because =
                    last.map_or_else(|| "for no reason that is told".to_owned(), |(_, because)| because);
                let kind = if oom {
                    IncidentKind::OomKilled
                } else {
                    IncidentKind::Restarted
                };
                found.push(incident(kind, pod, what(), because));
            } else if now_out && !out_of_memory && !first {
                let because = lies.map(|(_, because)| because).unwrap_or_default();
                found.push(incident(IncidentKind::OomKilled, pod, what(), because));
            }
            known
                .containers
                .insert(container.name.clone(), (container.restart_count, now_out));
        }
        found
    }

    /// A driver, provider or agent that is there no more.
    fn part_gone(&mut self, pod: &Pod) -> Vec<IncidentSeen> {
        let known = pod.metadata.uid.as_ref().and_then(|uid| self.pods.remove(uid));
        let gone = || {
            incident(
                IncidentKind::Removed,
                pod,
                named(pod),
                "it was deleted".to_owned(),
            )
        };
        known.map(|_| gone()).into_iter().collect()
    }

    fn node(&mut self, node: &Node) -> Vec<IncidentSeen> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        let mut now = KnownNode {
            ready: false,
            pressures: BTreeSet::new(),
        };
        let mut because = BTreeMap::new();
        for condition in conditions {
            let is = condition.status == "True";
            if condition.type_ == "Ready" {
                now.ready = is;
            } else if is && PRESSURES.contains(&condition.type_.as_str()) {
                now.pressures.insert(condition.type_.clone());
            }
            because.insert(
                condition.type_.clone(),
                condition.message.clone().unwrap_or_default(),
            );
        }
        let of = |kind, what: &str, why: &str| IncidentSeen {
            kind,
            node: name.clone(),
            what: what.to_owned(),
            because: because.get(why).cloned().unwrap_or_default(),
        };
        let mut found = Vec::new();
        if let Some(known) = self.nodes.get(&name) {
            if known.ready && !now.ready {
                found.push(of(IncidentKind::NodeNotReady, "the node is not Ready", "Ready"));
            } else if !known.ready && now.ready {
                found.push(of(IncidentKind::NodeReady, "the node is Ready again", "Ready"));
            }
            for pressure in now.pressures.difference(&known.pressures) {
                found.push(of(
                    IncidentKind::NodePressure,
                    &format!("the node has {pressure}"),
                    pressure,
                ));
            }
        }
        self.nodes.insert(name, now);
        found
    }

    fn node_gone(&mut self, node: &Node) -> Vec<IncidentSeen> {
        let name = node.metadata.name.clone().unwrap_or_default();
        let gone = self.nodes.remove(&name).map(|_| IncidentSeen {
            kind: IncidentKind::NodeGone,
            node: name,
            what: "the node is gone".to_owned(),
            because: "it was deleted".to_owned(),
        });
        gone.into_iter().collect()
    }
}

fn node_event(event: &Event) -> Vec<IncidentSeen> {
    let reason = event.reason.as_deref().unwrap_or_default();
    if !NODE_EVENTS.contains(&reason) {
        return Vec::new();
    }
    vec![IncidentSeen {
        kind: IncidentKind::OomKilled,
        node: event.involved_object.name.clone().unwrap_or_default(),
        what: "a process of the node's".to_owned(),
        because: format!("{reason}: {}", event.message.as_deref().unwrap_or_default()),
    }]
}

/// Whether a pod is a driver's, a provider's or an agent's.
fn is_part(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut paths = volumes.filter_map(|volume| Some(volume.host_path.as_ref()?.path.as_str()));
    let labels = pod.metadata.labels.as_ref();
    let is_agent =
        labels.is_some_and(|labels| labels.get("app").is_some_and(|app| app == "mountproof-agent"));
    is_agent || paths.any(|path| path.contains(SHARED_FOLDER))
}

fn named(pod: &Pod) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    format!(
        "pod {}/{}",
        text(&pod.metadata.namespace),
        text(&pod.metadata.name)
    )
}

fn incident(kind: IncidentKind, pod: &Pod, what: String, because: String) -> IncidentSeen {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    IncidentSeen {
        kind,
        node: node.unwrap_or_default(),
        what,
        because,
    }
}

fn last_end(container: &ContainerStatus) -> Option<(bool, String)> {
    ended(container.last_state.as_ref()?.terminated.as_ref())
}

/// Whether it ran out of memory, and how it ended in words.
fn ended(terminated: Option<&ContainerStateTerminated>) -> Option<(bool, String)> {
    let terminated = terminated?;
    let reason = terminated.reason.as_deref().unwrap_or("ended");
    Some((
        reason == OOM_KILLED,
        format!("{reason}, exit code {}", terminated.exit_code),
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "csi-secrets-store-x", "namespace": "kube-system", "uid": "u1" },
            "spec": {
                "nodeName": "worker",
                "containers": [],
                "volumes": [{ "name": "p", "hostPath": { "path": "/var/run/secrets-store-csi-providers" } }],
            },
            "status": status,
        }))
        .unwrap()
    }

    fn container(restarts: i32, state: &Value, last: &Value) -> Value {
        json!({ "containerStatuses": [{
            "name": "secrets-store", "image": "", "imageID": "", "ready": true, "restartCount": restarts,
            "state": state, "lastState": last,
        }] })
    }

    fn ends(reason: &str, code: i32) -> Value {
        json!({ "terminated": { "reason": reason, "exitCode": code } })
    }

    fn kinds(found: &[IncidentSeen]) -> Vec<IncidentKind> {
        found.iter().map(|incident| incident.kind).collect()
    }

    #[test]
    fn what_was_so_at_first_sight_is_no_incident_and_what_changes_is_one_once() {
        let mut tracker = Tracker::default();
        let running = json!({ "running": {} });
        let table = [
            ("first sight", container(3, &running, &ends("Error", 1)), vec![]),
            ("nothing new", container(3, &running, &ends("Error", 1)), vec![]),
            (
                "restarted",
                container(4, &running, &ends("Error", 137)),
                vec![IncidentKind::Restarted],
            ),
            ("told again", container(4, &running, &ends("Error", 137)), vec![]),
            (
                "out of memory",
                container(5, &running, &ends("OOMKilled", 137)),
                vec![IncidentKind::OomKilled],
            ),
            (
                "lies where it fell",
                container(5, &ends("OOMKilled", 137), &json!({})),
                vec![IncidentKind::OomKilled],
            ),
            (
                "still lies",
                container(5, &ends("OOMKilled", 137), &json!({})),
                vec![],
            ),
            (
                "evicted",
                json!({ "reason": "Evicted", "message": "low on memory" }),
                vec![IncidentKind::Evicted],
            ),
        ];
        for (what, status, expected) in table {
            let found = tracker.pod(&pod(&status));
            assert_eq!(kinds(&found), expected, "{what}: {found:?}");
            assert!(found.iter().all(|incident| incident.node == "worker"), "{what}");
        }
        let gone = tracker.part_gone(&pod(&Value::Null));
        assert_eq!(kinds(&gone), [IncidentKind::Removed]);
        assert!(tracker.part_gone(&pod(&Value::Null)).is_empty());
    }

    #[test]
    fn a_node_is_told_of_when_its_conditions_change() {
        let mut tracker = Tracker::default();
        let mut see = |ready: &str, pressure: &str| {
            let node: Node = serde_json::from_value(json!({
                "metadata": { "name": "worker" },
                "status": { "conditions": [
                    { "type": "Ready", "status": ready, "message": "kubelet stopped posting" },
                    { "type": "MemoryPressure", "status": pressure },
                ] },
            }))
            .unwrap();
            kinds(&tracker.node(&node))
        };
        assert_eq!(see("True", "False"), []);
        assert_eq!(see("Unknown", "False"), [IncidentKind::NodeNotReady]);
        assert_eq!(see("Unknown", "False"), []);
        assert_eq!(
            see("True", "True"),
            [IncidentKind::NodeReady, IncidentKind::NodePressure]
        );
    }

    #[test]
    fn only_driver_provider_and_agent_are_parts() {
        let with = |volumes: Value, labels: Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "labels": labels }, "spec": { "containers": [], "volumes": volumes },
            }))
            .unwrap()
        };
        let host = |path: &str| json!([{ "name": "v", "hostPath": { "path": path } }]);
        assert!(is_part(&with(
            host("/var/run/secrets-store-csi-providers"),
            json!({})
        )));
        assert!(is_part(&with(json!([]), json!({ "app": "mountproof-agent" }))));
        assert!(!is_part(&with(host("/lib/modules"), json!({ "app": "kindnet" }))));
    }
}
