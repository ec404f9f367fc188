//! Events on pods: written one after another in the background, repeated ones counted up on the
//! same object, as client-go's recorder does.
//!
//! Left out: the recorder's aggregation of more than ten similar texts and its limit of 25 events
//! for one object at once; kubelet's backoff keeps below both.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use tokio::sync::mpsc;

use super::{now_rfc3339, pod::Pod};
use crate::rest::{ApiClient, PatchKind};

/// Events wait in so many queues, of which each pod has its own; they are written in parallel.
const QUEUES: usize = 4;

/// A full queue drops events, as client-go's does.
const QUEUE_LENGTH: usize = 4096;

/// Whom an event comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    Kubelet,
    Scheduler,
}

/// What happened to a pod.
#[derive(Debug)]
pub(crate) struct Happening {
    pub(crate) pod: Arc<Pod>,
    pub(crate) from: From,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The container it is about.
    pub(crate) container: Option<String>,
}

enum Note {
    Write(Happening),
    Forget(String),
}

/// Takes events and returns at once.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<[mpsc::Sender<Note>]>);

impl Recorder {
    /// Starts the writers; they end when the last clone is dropped.
    pub(crate) fn start(api: &ApiClient, node: &str) -> Self {
        let senders = (0..QUEUES).map(|_| {
            let (sender, receiver) = mpsc::channel(QUEUE_LENGTH);
            tokio::spawn(write(api.clone(), node.to_owned(), receiver));
            sender
        });
        Self(senders.collect())
    }

    pub(crate) fn record(&self, happening: Happening) {
        let uid = happening.pod.metadata.uid.clone();
        self.send(&uid, Note::Write(happening));
    }

    /// The pod is gone; its events will not repeat.
    pub(crate) fn forget(&self, uid: &str) {
        self.send(uid, Note::Forget(uid.to_owned()));
    }

    fn send(&self, uid: &str, note: Note) {
        let mut hasher = DefaultHasher::new();
        uid.hash(&mut hasher);
        let queue = usize::try_from(hasher.finish() % QUEUES as u64).unwrap_or_default();
        if self.0[queue].try_send(note).is_err() {
            tracing::warn!(uid, "event dropped: its queue is full");
        }
    }
}

/// An event that was written, to be counted up.
struct Written {
    reason: &'static str,
    message: String,
    container: Option<String>,
    name: String,
    count: u32,
}

async fn write(api: ApiClient, node: String, mut notes: mpsc::Receiver<Note>) {
    let mut written: HashMap<String, Vec<Written>> = HashMap::new();
    while let Some(note) = notes.recv().await {
        match note {
            Note::Forget(uid) => {
                written.remove(&uid);
            }
            Note::Write(happening) => {
                let before = written.entry(happening.pod.metadata.uid.clone()).or_default();
                if let Err(error) = write_one(&api, &node, happening, before).await {
                    tracing::debug!(%error, "event not written");
                }
            }
        }
    }
}

async fn write_one(
    api: &ApiClient,
    node: &str,
    happening: Happening,
    before: &mut Vec<Written>,
) -> Result<(), crate::rest::ApiError> {
    let meta = &happening.pod.metadata;
    let events = format!("/api/v1/namespaces/{}/events", meta.namespace);
    let now = now_rfc3339();
    let same = before.iter_mut().find(|written| {
        written.reason == happening.reason
            && written.message == happening.message
            && written.container == happening.container
    });
    if let Some(same) = same {
        same.count += 1;
        let patch = json!({"count": same.count, "lastTimestamp": now});
        let patched = api
            .patch(&format!("{events}/{}", same.name), PatchKind::Strategic, &patch)
            .await;
        match patched {
            Err(error) if error.is_not_found() => {}
            other => return other.map(drop),
        }
    }
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    let name = format!("{}.{nanos:x}", meta.name);
    let mut object = json!({
        "kind": "Pod", "apiVersion": "v1", "namespace": meta.namespace, "name": meta.name,
        "uid": meta.uid, "resourceVersion": meta.resource_version,
    });
    if let Some(container) = &happening.container {
        object["fieldPath"] = format!("spec.containers{{{container}}}").into();
    }
    let (source, component, instance) = match happening.from {
        From::Kubelet => (json!({"component": "kubelet", "host": node}), "kubelet", node),
        From::Scheduler => (json!({"component": "default-scheduler"}), "default-scheduler", ""),
    };
    let event = json!({
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": meta.namespace},
        "involvedObject": object,
        "reason": happening.reason,
        "message": happening.message,
        "source": source,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "type": if happening.warning { "Warning" } else { "Normal" },
        "eventTime": null,
        "reportingComponent": component,
        "reportingInstance": instance,
    });
    api.create(&events, &event).await?;
    before.retain(|written| {
        written.reason != happening.reason
            || written.message != happening.message
            || written.container != happening.container
    });
    before.push(Written {
        reason: happening.reason,
        message: happening.message,
        container: happening.container,
        name,
        count: 1,
    });
    Ok(())
}
