//! The controllers of a cluster, each a small reconciler over the store.
//!
//! A controller sleeps until something changes that concerns it, collects the keys of all that has
//! changed by then, and brings each into order once: a thousand changes of the pods of one
//! `ReplicaSet` are a few looks at it.

mod daemon_sets;
mod deployments;
mod garbage;
mod namespaces;
mod replica_sets;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(super) use namespaces::furnish;

use super::{
    cluster::{Cluster, Writer},
    object::{child_mut, fields_mut},
    store::Change,
    stored::{Key, Stored},
};

/// As whom controllers write.
const WRITER: Writer<'static> = Writer {
    manager: "kube-controller-manager",
    dry_run: false,
};

/// One controller.
trait Controller: Send + 'static {
    /// What it brings into order.
    type Item: Ord + Send;

    /// Names what `change` puts out of order.
    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<Self::Item>);

    /// Brings `item` into order; true if it has to be looked at again soon.
    fn reconcile(&self, item: &Self::Item) -> bool;
}

/// Starts all controllers; they end when `stopping` is cancelled.
pub(super) fn start(cluster: &Arc<Cluster>, ca_pem: &str, stopping: &CancellationToken) -> JoinSet<()> {
    let mut running = JoinSet::new();
    let changes = || cluster.store.watch_everything();
    let cluster = || Arc::clone(cluster);
    let stopping = || stopping.clone();
    let namespaces = namespaces::Namespaces::new(cluster(), ca_pem);
    running.spawn(run(namespaces, changes(), stopping()));
    running.spawn(run(garbage::Garbage::new(cluster()), changes(), stopping()));
    running.spawn(run(
        deployments::Deployments::new(cluster()),
        changes(),
        stopping(),
    ));
    running.spawn(run(
        replica_sets::ReplicaSets::new(cluster()),
        changes(),
        stopping(),
    ));
    running.spawn(run(
        daemon_sets::DaemonSets::new(cluster()),
        changes(),
        stopping(),
    ));
    running
}

async fn run<C: Controller>(
    controller: C,
    mut changes: UnboundedReceiver<Arc<Change>>,
    stopping: CancellationToken,
) {
    let mut out_of_order = BTreeSet::new();
    loop {
        if out_of_order.is_empty() {
            tokio::select! {
                () = stopping.cancelled() => return,
                change = changes.recv() => match change {
                    Some(change) => controller.concerns(&change, &mut out_of_order),
                    None => return,
                },
            }
        }
        while let Ok(change) = changes.try_recv() {
            controller.concerns(&change, &mut out_of_order);
        }
        if stopping.is_cancelled() {
            return;
        }
        if let Some(item) = out_of_order.pop_first()
            && controller.reconcile(&item)
        {
            out_of_order.insert(item);
        }
        // One item at a time, so that requests are served between them.
        tokio::task::yield_now().await;
    }
}

/// The metadata and spec of a pod by `template`, owned by `owner`.
fn pod_of_template(owner: &Stored, api_version: &str, kind: &str, template: &Value) -> Value {
    let mut pod = json!({
        "metadata": template["metadata"],
        "spec": template["spec"],
    });
    let metadata = child_mut(fields_mut(&mut pod), "metadata");
    metadata.remove("name");
    metadata.remove("creationTimestamp");
    metadata.insert("generateName".to_owned(), format!("{}-", owner.key.name).into());
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([controller_reference(owner, api_version, kind)]),
    );
    pod
}

/// The owner reference of what `owner` controls.
fn controller_reference(owner: &Stored, api_version: &str, kind: &str) -> Value {
    json!({
        "apiVersion": api_version,
        "kind": kind,
        "name": owner.key.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The key of the controller of `object`, if it is of this kind.
fn controller_key(object: &Stored, kind: &str) -> Option<Key> {
    let owner = object.controller().filter(|owner| owner.kind == kind)?;
    Some(Key::new(object.key.namespace.clone(), owner.name.clone()))
}

/// A stable hash of a pod template, in the characters of generated names.
fn template_hash(template: &Value) -> String {
    // FNV-1a; serde_json writes equal values equally.
    let hash = template.to_string().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
        .bytes()
        .map(|digit| char::from(b"bcdfghjklm"[usize::from(digit - b'0')]))
        .collect()
}

/// Logs a failure that the next change will put right, or that nobody can.
fn note<T>(result: Result<T, super::failure::Failure>, doing: &str, key: &Key) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(failure) => {
            tracing::debug!(
                namespace = key.namespace,
                name = key.name,
                message = failure.message,
                "{doing}"
            );
            None
        }
    }
}
