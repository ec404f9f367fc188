//! The scheduler of a cluster: one program for all its nodes, as in a real one.
//!
//! Every pod without a node is bound to one that takes it (`fit`), each exactly once, of those that do to the one with the
//! fewest pods of the same controller, and then with the fewest pods. One that no node takes gets the event that the real scheduler
//! writes, and is tried again when a pod goes or a node changes.
//!
//! What it leaves out: resources but `pods`; affinity to other pods, topology spread, preferences, priorities and preemption;
//! scheduling gates; the condition `PodScheduled: False`.

pub(crate) mod fit;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use mountproof_run_tls::TlsError;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::fit::{Offer, Wishes};
use crate::{
    kubelet::{
        events::{From, Happening, Recorder},
        pod::Pod,
    },
    rest::{ApiAccess, ApiClient, Change},
};

/// Pods that name another scheduler are not ours.
const NAME: &str = "default-scheduler";

const AGENT: &str = "kube-scheduler/v1.36.3 (linux/amd64) mountproof-stand-in";

/// A pod that could not be bound is tried again after this.
const BIND_AGAIN: Duration = Duration::from_secs(1);

/// How long [`Scheduler::stop`] waits for its tasks.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running scheduler. Dropping it ends it.
#[derive(Debug)]
pub struct Scheduler {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Scheduler {
    /// Begins to bind the pods of the cluster that `access` reaches, as `system:kube-scheduler` may.
    ///
    /// # Errors
    ///
    /// When the API server's certificate authority is not usable.
    pub fn start(access: &ApiAccess) -> Result<Self, TlsError> {
        let api = ApiClient::new(access, AGENT)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let hands = Hands {
            recorder: Recorder::start(&api, ""),
            api,
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        let (again, unbound) = mpsc::unbounded_channel();
        let (following, ended) = (follow(hands, again, unbound), stop.clone());
        tasks.spawn(async move {
            ended.run_until_cancelled(following).await;
        });
        Ok(Self { stop, tasks })
    }

    /// Ends it, within 5 s.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_DEADLINE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.tasks.len(),
                "the scheduler's tasks did not end in time"
            );
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What it acts by.
struct Hands {
    api: ApiClient,
    recorder: Recorder,
    tasks: TaskTracker,
    stop: CancellationToken,
}

async fn follow(
    hands: Hands,
    again: mpsc::UnboundedSender<Arc<Pod>>,
    mut unbound: mpsc::UnboundedReceiver<Arc<Pod>>,
) {
    let mut nodes = hands.api.watch::<Value>("/api/v1/nodes");
    let mut pods = hands.api.watch::<Pod>("/api/v1/pods");
    let mut known = Known::default();
    // Who comes before the nodes are known would be told that there are none.
    let first = nodes.next().await;
    known.nodes_change(first);
    loop {
        let mut told = Vec::new();
        tokio::select! {
            change = nodes.next() => {
                known.nodes_change(change);
                known.retry(&mut told);
            }
            change = pods.next() => match change {
                Change::Listed(all) => known.relist(all, &mut told),
                Change::Applied(pod) => known.apply(pod, &mut told),
                Change::Deleted(pod) => known.remove(&pod.metadata.uid, &mut told),
            },
            Some(pod) = unbound.recv() => {
                known.give_back(&pod.metadata.uid);
                known.place(pod, &mut told);
            }
        }
        for (pod, decision) in told {
            hands.carry_out(pod, decision, &again);
        }
    }
}

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Bound to this node.
    Bind(String),
    /// None takes it, for this reason.
    Wait(String),
}

/// The pods that a node takes, at most.
#[derive(Debug, Clone, Default, PartialEq)]
struct Room {
    offer: Offer,
    most_pods: usize,
}

impl Room {
    /// Of a `Node` that says how many pods it takes, by its name.
    fn of(node: &Value) -> Option<(String, Self)> {
        let most = count(node["status"]["allocatable"]["pods"].as_str()?)?;
        let offer = Offer::of(node);
        Some((
            offer.name.clone(),
            Self {
                offer,
                most_pods: most,
            },
        ))
    }
}

/// A whole quantity: an API server writes 5,000 as `5k`.
fn count(quantity: &str) -> Option<usize> {
    let (digits, times) = match quantity.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => (quantity, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(times)
}

/// Where a pod is, or is going to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    node: String,
    /// Uid of its controller.
    owner: Option<String>,
}

/// What the scheduler knows.
#[derive(Debug, Default)]
struct Known {
    nodes: BTreeMap<String, Room>,
    /// Pods that are on a node or being bound to one, by uid.
    placed: HashMap<String, Place>,
    /// The same, counted: by node, and by node and controller.
    on: HashMap<String, usize>,
    kin: HashMap<(String, String), usize>,
    /// Pods that no node took, oldest first.
    waiting: VecDeque<Arc<Pod>>,
}

impl Known {
    fn nodes_change(&mut self, change: Change<Value>) {
        match change {
            Change::Listed(all) => self.nodes = all.iter().filter_map(Room::of).collect(),
            Change::Applied(node) => self.node(&node),
            Change::Deleted(node) => {
                self.nodes
                    .remove(node["metadata"]["name"].as_str().unwrap_or_default());
            }
        }
    }

    fn node(&mut self, node: &Value) {
        match Room::of(node) {
            Some((name, room)) => drop(self.nodes.insert(name, room)),
            None => drop(
                self.nodes
                    .remove(node["metadata"]["name"].as_str().unwrap_or_default()),
            ),
        }
    }

    fn relist(&mut self, pods: Vec<Pod>, told: &mut Vec<(Arc<Pod>, Decision)>) {
        let present: HashSet<&str> = pods.iter().map(|pod| pod.metadata.uid.as_str()).collect();
        let gone = self.placed.keys().filter(|uid| !present.contains(uid.as_str()));
        for uid in gone.cloned().collect::<Vec<_>>() {
            self.give_back(&uid);
        }
        self.waiting
            .retain(|pod| present.contains(pod.metadata.uid.as_str()));
        let has_node = |pod: &Pod| pod.spec.node_name.as_deref().is_some_and(|node| !node.is_empty());
        // Those that have a place first: the others find out how much is left.
        let (bound, unbound): (Vec<Pod>, Vec<Pod>) = pods.into_iter().partition(has_node);
        for pod in bound.into_iter().chain(unbound) {
            self.apply(pod, told);
        }
        self.retry(told);
    }

    fn apply(&mut self, pod: Pod, told: &mut Vec<(Arc<Pod>, Decision)>) {
        let uid = &pod.metadata.uid;
        match pod.spec.node_name.as_deref() {
            None | Some("") if !matches!(pod.spec.scheduler_name.as_str(), "" | NAME) => {}
            None | Some("") => {
                let waits = self.waiting.iter().any(|waiting| waiting.metadata.uid == *uid);
                let ends = pod.metadata.deletion_timestamp.is_some();
                if !ends && !waits && !self.placed.contains_key(uid) {
                    self.place(Arc::new(pod), told);
                }
            }
            Some(node) => {
                if self.placed.get(uid).is_none_or(|place| place.node != node) {
                    let node = node.to_owned();
                    self.give_back(&pod.metadata.uid);
                    self.waiting
                        .retain(|waiting| waiting.metadata.uid != pod.metadata.uid);
                    self.take(&pod, node);
                }
            }
        }
    }

    fn remove(&mut self, uid: &str, told: &mut Vec<(Arc<Pod>, Decision)>) {
        self.waiting.retain(|pod| pod.metadata.uid != uid);
        if self.give_back(uid) {
            self.retry(told);
        }
    }

    /// Tries those that wait again; who still finds no room is told nothing more.
    fn retry(&mut self, told: &mut Vec<(Arc<Pod>, Decision)>) {
        let full = |known: &Self| {
            known
                .nodes
                .iter()
                .all(|(name, room)| known.pods_on(name) >= room.most_pods)
        };
        let mut still = VecDeque::new();
        while let Some(pod) = self.waiting.pop_front() {
            // Thousands may wait for the room of one.
            if full(self) {
                still.push_back(pod);
                still.append(&mut self.waiting);
                break;
            }
            match self.choose(&pod) {
                Ok(node) => {
                    self.take(&pod, node.clone());
                    told.push((pod, Decision::Bind(node)));
                }
                Err(_) => still.push_back(pod),
            }
        }
        self.waiting = still;
    }

    fn place(&mut self, pod: Arc<Pod>, told: &mut Vec<(Arc<Pod>, Decision)>) {
        match self.choose(&pod) {
            Ok(node) => {
                self.take(&pod, node.clone());
                told.push((pod, Decision::Bind(node)));
            }
            Err(why) => {
                self.waiting.push_back(Arc::clone(&pod));
                told.push((pod, Decision::Wait(why)));
            }
        }
    }

    /// The node for a pod, or why there is none.
    fn choose(&self, pod: &Pod) -> Result<String, String> {
        let owner = pod.controller();
        let wishes = Wishes {
            node_selector: &pod.spec.node_selector,
            affinity: &pod.spec.affinity,
            tolerations: &pod.spec.tolerations,
            of_daemon: owner.is_some_and(|owner| owner.kind == "DaemonSet"),
        };
        let mut refused: BTreeMap<String, usize> = BTreeMap::new();
        let mut best = None;
        for (name, room) in &self.nodes {
            let pods = self.pods_on(name);
            let why = match fit::fits(wishes, &room.offer) {
                Err(unfit) => unfit.to_string(),
                Ok(()) if pods >= room.most_pods => "Too many pods".to_owned(),
                Ok(()) => {
                    let kin = owner.and_then(|owner| self.kin.get(&(name.clone(), owner.uid.clone())));
                    let load = (kin.copied().unwrap_or(0), pods);
                    if best.is_none_or(|(least, _)| load < least) {
                        best = Some((load, name));
                    }
                    continue;
                }
            };
            *refused.entry(why).or_default() += 1;
        }
        if let Some((_, node)) = best {
            return Ok(node.clone());
        }
        if self.nodes.is_empty() {
            return Err("no nodes available to schedule pods".to_owned());
        }
        let reasons: BTreeSet<String> = refused
            .iter()
            .map(|(why, nodes)| format!("{nodes} {why}"))
            .collect();
        let reasons: Vec<String> = reasons.into_iter().collect();
        Err(format!(
            "0/{} nodes are available: {}.",
            self.nodes.len(),
            reasons.join(", ")
        ))
    }

    fn pods_on(&self, node: &str) -> usize {
        self.on.get(node).copied().unwrap_or(0)
    }

    fn take(&mut self, pod: &Pod, node: String) {
        let owner = pod.controller().map(|owner| owner.uid.clone());
        *self.on.entry(node.clone()).or_default() += 1;
        if let Some(owner) = &owner {
            *self.kin.entry((node.clone(), owner.clone())).or_default() += 1;
        }
        self.placed
            .insert(pod.metadata.uid.clone(), Place { node, owner });
    }

    /// Whether it had a place.
    fn give_back(&mut self, uid: &str) -> bool {
        let Some(Place { node, owner }) = self.placed.remove(uid) else {
            return false;
        };
        if let Some(owner) = owner {
            let key = (node.clone(), owner);
            if let Some(kin) = self.kin.get_mut(&key) {
                *kin -= 1;
                if *kin == 0 {
                    self.kin.remove(&key);
                }
            }
        }
        if let Some(pods) = self.on.get_mut(&node) {
            *pods -= 1;
            if *pods == 0 {
                self.on.remove(&node);
            }
        }
        true
    }
}

impl Hands {
    fn carry_out(&self, pod: Arc<Pod>, decision: Decision, again: &mpsc::UnboundedSender<Arc<Pod>>) {
        let node = match decision {
            Decision::Bind(node) => node,
            Decision::Wait(why) => return record(&self.recorder, &pod, true, "FailedScheduling", why),
        };
        let (api, recorder) = (self.api.clone(), self.recorder.clone());
        let (again, stop) = (again.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(bind(&api, &recorder, pod, &node, &again))
                .await;
        });
    }
}

async fn bind(
    api: &ApiClient,
    recorder: &Recorder,
    pod: Arc<Pod>,
    node: &str,
    again: &mpsc::UnboundedSender<Arc<Pod>>,
) {
    let meta = &pod.metadata;
    let binding: Value = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
        "target": {"kind": "Node", "name": node},
    });
    match api.create(&format!("{}/binding", pod.path()), &binding).await {
        Ok(_) => {
            let message = format!("Successfully assigned {} to {node}", pod.key());
            record(recorder, &pod, false, "Scheduled", message);
        }
        Err(error) if error.is_not_found() || error.is_conflict() => {
            tracing::debug!(pod = pod.key(), %error, "not bound");
        }
        Err(error) => {
            tracing::warn!(pod = pod.key(), %error, "not bound; trying again");
            tokio::time::sleep(BIND_AGAIN).await;
            let _ = again.send(pod);
        }
    }
}

fn record(recorder: &Recorder, pod: &Arc<Pod>, warning: bool, reason: &'static str, message: String) {
    recorder.record(Happening {
        pod: Arc::clone(pod),
        from: From::Scheduler,
        warning,
        reason,
        message,
        container: None,
    });
}

#[cfg(test)]
mod tests;
