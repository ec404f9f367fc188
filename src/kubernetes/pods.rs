//! The run's pods, followed by one watch.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{sync::watch, task::JoinHandle};

use crate::tenant::{Marks, WORKLOAD_LABEL};

/// A pod, as far as verdicts and latencies need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodView {
    /// Its name.
    pub name: String,
    /// Its uid, which is part of its paths on the node.
    pub uid: String,
    /// When the watch first said that it is Ready; taken on arrival, as the API's own stamps are
    /// whole seconds.
    pub ready_at: Option<Instant>,
}

impl PodView {
    /// Whether it is, or was, Ready.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.ready_at.is_some()
    }
}

/// Pods by workload. Dropping it ends the watch.
pub struct Pods {
    workloads: Arc<Mutex<Workloads>>,
    watching: JoinHandle<()>,
}

/// Pods of each workload, by namespace and workload name.
type Workloads = HashMap<(String, String), watch::Sender<Vec<PodView>>>;

impl Pods {
    pub(super) fn follow(api: Api<Pod>, marks: &Marks) -> Self {
        let workloads = Arc::new(Mutex::new(Workloads::new()));
        let config = watcher::Config::default().labels(&marks.selector());
        let watching = tokio::spawn(watch_pods(api, config, Arc::clone(&workloads)));
        Self { workloads, watching }
    }

    /// The pods of a workload, now and whenever they change. May be called before the workload exists.
    #[must_use]
    pub fn of_workload(&self, namespace: &str, workload: &str) -> watch::Receiver<Vec<PodView>> {
        let key = (namespace.to_owned(), workload.to_owned());
        lock(&self.workloads).entry(key).or_insert_with(|| watch::Sender::new(Vec::new())).subscribe()
    }

    /// Forgets a workload that was removed.
    pub fn forget(&self, namespace: &str, workload: &str) {
        lock(&self.workloads).remove(&(namespace.to_owned(), workload.to_owned()));
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch_pods(api: Api<Pod>, config: watcher::Config, workloads: Arc<Mutex<Workloads>>) {
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => applied(&workloads, &pod),
            Ok(watcher::Event::Delete(pod)) => deleted(&workloads, &pod),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, "pod watch"),
        }
    }
}

fn applied(workloads: &Mutex<Workloads>, pod: &Pod) {
    let now = Instant::now();
    let (Some(key), Some(name), Some(uid)) = (key(pod), &pod.metadata.name, &pod.metadata.uid) else { return };
    let ready = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let mut workloads = lock(workloads);
    let pods = workloads.entry(key).or_insert_with(|| watch::Sender::new(Vec::new()));
    pods.send_if_modified(|pods| {
        if let Some(known) = pods.iter_mut().find(|known| known.uid == *uid) {
            let becomes_ready = ready && known.ready_at.is_none();
            if becomes_ready {
                known.ready_at = Some(now);
            }
            return becomes_ready;
        }
        pods.push(PodView { name: name.clone(), uid: uid.clone(), ready_at: ready.then_some(now) });
        true
    });
}

fn deleted(workloads: &Mutex<Workloads>, pod: &Pod) {
    let (Some(key), Some(uid)) = (key(pod), &pod.metadata.uid) else { return };
    if let Some(pods) = lock(workloads).get(&key) {
        pods.send_if_modified(|pods| {
            let before = pods.len();
            pods.retain(|known| known.uid != *uid);
            pods.len() != before
        });
    }
}

fn key(pod: &Pod) -> Option<(String, String)> {
    let workload = pod.metadata.labels.as_ref()?.get(WORKLOAD_LABEL)?;
    Some((pod.metadata.namespace.clone()?, workload.clone()))
}

fn lock(workloads: &Mutex<Workloads>) -> std::sync::MutexGuard<'_, Workloads> {
    workloads.lock().unwrap_or_else(PoisonError::into_inner)
}
