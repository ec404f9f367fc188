//! Events of pods, followed by one watch.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinHandle;

/// One event, with how often it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventView {
    /// The pod.
    pub pod: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// Such as `FailedMount`.
    pub reason: String,
    /// What is said.
    pub message: String,
    /// How often.
    pub count: i32,
}

/// Events of every pod, by namespace. Dropping it ends the watch.
pub struct Events {
    seen: Arc<Mutex<Seen>>,
    watching: JoinHandle<()>,
}

/// By namespace, then by pod and the event's own name, which keeps a pod's events together.
type Seen = HashMap<String, BTreeMap<(String, String), EventView>>;

impl Events {
    pub(super) fn follow(api: Api<Event>) -> Self {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let config = watcher::Config::default().fields("involvedObject.kind=Pod");
        let watching = tokio::spawn(watch_events(api, config, Arc::clone(&seen)));
        Self { seen, watching }
    }

    /// Events of the pod named `workload`, or of a Deployment's pods, whose names begin with it.
    #[must_use]
    pub fn of_workload(&self, namespace: &str, workload: &str) -> Vec<EventView> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(namespace) = seen.get(namespace) else { return Vec::new() };
        namespace
            .range((workload.to_owned(), String::new())..)
            .take_while(|((pod, _), _)| pod.starts_with(workload))
            .filter(|((pod, _), _)| pod[workload.len()..].is_empty() || pod[workload.len()..].starts_with('-'))
            .map(|(_, event)| event.clone())
            .collect()
    }

    /// Messages of a workload's `FailedMount` events.
    #[must_use]
    pub fn failed_mounts(&self, namespace: &str, workload: &str) -> Vec<String> {
        let events = self.of_workload(namespace, workload).into_iter();
        events.filter(|event| event.reason == "FailedMount").map(|event| event.message).collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

async fn watch_events(api: Api<Event>, config: watcher::Config, seen: Arc<Mutex<Seen>>) {
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => record(&seen, event),
            Ok(watcher::Event::Delete(event)) => forget(&seen, event),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, "event watch"),
        }
    }
}

fn record(seen: &Mutex<Seen>, event: Event) {
    let (Some(pod), Some(name), Some(namespace)) =
        (event.involved_object.name, event.metadata.name, event.metadata.namespace)
    else {
        return;
    };
    let view = EventView {
        pod: pod.clone(),
        kind: event.type_.unwrap_or_default(),
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        count: event.count.unwrap_or(1),
    };
    seen.lock().unwrap_or_else(PoisonError::into_inner).entry(namespace).or_default().insert((pod, name), view);
}

fn forget(seen: &Mutex<Seen>, event: Event) {
    let (Some(pod), Some(name), Some(namespace)) =
        (event.involved_object.name, event.metadata.name, event.metadata.namespace)
    else {
        return;
    };
    if let Some(pods) = seen.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&namespace) {
        pods.remove(&(pod, name));
    }
}
