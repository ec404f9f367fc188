//! Events of pods, followed by one watch.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use kube::{
    Api,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant as TokioInstant, timeout_at},
};

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
    /// When the watch first said so: the API's own stamps are whole seconds.
    pub seen_at: Instant,
    /// When it last did.
    pub last_seen_at: Instant,
}

/// Events of every pod, by namespace. Dropping it ends the watch.
pub struct Events {
    seen: Arc<Seen>,
    watching: JoinHandle<()>,
}

impl Events {
    pub(super) fn follow(api: Api<Event>) -> Self {
        let seen = Arc::new(Seen::default());
        let config = watcher::Config::default().fields("involvedObject.kind=Pod");
        let watching = tokio::spawn(watch_events(api, config, Arc::clone(&seen)));
        Self { seen, watching }
    }

    /// Events of the pod named `workload`, or of the pods of a Deployment of that name.
    #[must_use]
    pub fn of_workload(&self, namespace: &str, workload: &str) -> Vec<EventView> {
        self.seen.of_workload(namespace, workload)
    }

    /// Messages of a workload's `FailedMount` events.
    #[must_use]
    pub fn failed_mounts(&self, namespace: &str, workload: &str) -> Vec<String> {
        let events = self.of_workload(namespace, workload).into_iter();
        events
            .filter(|event| event.reason == "FailedMount")
            .map(|event| event.message)
            .collect()
    }

    /// The first event of a workload's that `wanted` accepts, as soon as it is there; nothing when
    /// there is none by `until`.
    pub async fn wait_for(
        &self,
        namespace: &str,
        workload: &str,
        until: Instant,
        wanted: impl Fn(&EventView) -> bool,
    ) -> Option<EventView> {
        let mut changes = self.seen.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let events = self.of_workload(namespace, workload);
            if let Some(found) = events.into_iter().find(|event| wanted(event)) {
                return Some(found);
            }
            let change = timeout_at(TokioInstant::from_std(until), changes.changed()).await;
            change.ok()?.ok()?;
        }
    }

    /// Forgets the events of a workload that was removed.
    pub fn forget(&self, namespace: &str, workload: &str) {
        let mut namespaces = self.seen.lock();
        if let Some(pods) = namespaces.get_mut(namespace) {
            pods.retain(|(pod, _), _| !is_of(workload, pod));
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[derive(Default)]
struct Seen {
    namespaces: Mutex<Namespaces>,
    changes: watch::Sender<u64>,
}

/// By namespace, then by pod and the event's own name, which keeps a pod's events together.
type Namespaces = HashMap<String, BTreeMap<(String, String), EventView>>;

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Namespaces> {
        self.namespaces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_workload(&self, namespace: &str, workload: &str) -> Vec<EventView> {
        let namespaces = self.lock();
        let Some(pods) = namespaces.get(namespace) else {
            return Vec::new();
        };
        pods.range((workload.to_owned(), String::new())..)
            .take_while(|((pod, _), _)| pod.starts_with(workload))
            .filter(|((pod, _), _)| is_of(workload, pod))
            .map(|(_, event)| event.clone())
            .collect()
    }

    fn record(&self, event: Event) {
        let now = Instant::now();
        let (Some(pod), Some(name), Some(namespace)) = (
            event.involved_object.name,
            event.metadata.name,
            event.metadata.namespace,
        ) else {
            return;
        };
        let view = EventView {
            pod: pod.clone(),
            kind: event.type_.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
            count: event.count.unwrap_or(1),
            seen_at: now,
            last_seen_at: now,
        };
        let mut namespaces = self.lock();
        match namespaces.entry(namespace).or_default().entry((pod, name)) {
            Entry::Vacant(new) => drop(new.insert(view)),
            Entry::Occupied(mut known) => {
                let seen_at = known.get().seen_at;
                known.insert(EventView { seen_at, ..view });
            }
        }
        drop(namespaces);
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn remove(&self, event: Event) {
        let (Some(pod), Some(name), Some(namespace)) = (
            event.involved_object.name,
            event.metadata.name,
            event.metadata.namespace,
        ) else {
            return;
        };
        let mut namespaces = self.lock();
        if let Some(pods) = namespaces.get_mut(&namespace) {
            pods.remove(&(pod, name));
            if pods.is_empty() {
                namespaces.remove(&namespace);
            }
        }
    }
}

async fn watch_events(api: Api<Event>, config: watcher::Config, seen: Arc<Seen>) {
    let mut events = watcher(api, config).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => seen.record(event),
            Ok(watcher::Event::Delete(event)) => seen.remove(event),
            Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
            Err(error) => tracing::debug!(%error, "event watch"),
        }
    }
}

/// Whether a pod is the one named `workload`, or one of that Deployment's: its name, the hash of the
/// pod template, and five random characters. A longer name that only begins alike is neither.
fn is_of(workload: &str, pod: &str) -> bool {
    let Some(rest) = pod.strip_prefix(workload) else {
        return false;
    };
    let generated = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    rest.is_empty()
        || rest
            .strip_prefix('-')
            .and_then(|rest| rest.split_once('-'))
            .is_some_and(|(hash, random)| generated(hash, 5..=10) && generated(random, 5..=5))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    fn event(pod: &str, name: &str, reason: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "team-red" },
            "involvedObject": { "kind": "Pod", "name": pod },
            "type": "Warning",
            "reason": reason,
            "message": format!("{reason} of {pod}"),
            "count": 2,
        }))
        .unwrap()
    }

    #[test]
    fn pods_belong_to_one_workload() {
        for (workload, pod, belongs) in [
            ("app", "app", true),
            ("app", "app-7d9f8b6c5-x2x9k", true),
            ("app", "app-two", false),
            ("app", "app-two-7d9f8b6c5-x2x9k", false),
            ("app", "apple", false),
            ("app-two", "app", false),
        ] {
            assert_eq!(is_of(workload, pod), belongs, "{workload} {pod}");
        }
    }

    #[test]
    fn events_are_kept_by_workload_until_they_are_forgotten() {
        let seen = Seen::default();
        seen.record(event("app", "app.1", "Scheduled"));
        seen.record(event("app-two", "app-two.1", "FailedMount"));
        seen.record(event("app", "app.2", "FailedMount"));
        seen.record(event("app", "app.2", "FailedMount"));
        let reasons: Vec<String> = seen
            .of_workload("team-red", "app")
            .into_iter()
            .map(|event| event.reason)
            .collect();
        assert_eq!(reasons, ["Scheduled", "FailedMount"]);
        let again = seen.of_workload("team-red", "app").pop().unwrap();
        assert!(again.last_seen_at > again.seen_at, "it came twice");
        assert!(seen.of_workload("team-blue", "app").is_empty());
        for (pod, name) in [("app", "app.1"), ("app", "app.2"), ("app-two", "app-two.1")] {
            seen.remove(event(pod, name, ""));
        }
        assert!(seen.lock().is_empty());
    }
}
