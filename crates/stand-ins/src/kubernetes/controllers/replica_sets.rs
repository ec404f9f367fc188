//! Keeps the number of pods that a `ReplicaSet` asks for.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::{
        cluster::{Cluster, Next},
        deletion::DeleteOptions,
        object::{child_mut, fields_mut},
        resource::{PODS, REPLICA_SETS},
        selector::Selectable as _,
        store::Change,
        stored::{Key, Stored},
    },
    Controller, WRITER, controller_key, note, pod_of_template,
};

/// Pods made or removed in one go, so that other requests are served in between.
const BURST: usize = 50;

pub(super) struct ReplicaSets {
    cluster: Arc<Cluster>,
}

impl ReplicaSets {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }
}

impl Controller for ReplicaSets {
    type Item = Key;

    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<Key>) {
        match change.table {
            REPLICA_SETS => drop(out_of_order.insert(change.object.key.clone())),
            PODS => out_of_order.extend(controller_key(&change.object, "ReplicaSet")),
            _ => {}
        }
    }

    fn reconcile(&self, key: &Key) -> bool {
        let Some(set) = self.cluster.store.get(REPLICA_SETS, key) else {
            return false;
        };
        if set.terminating {
            return false;
        }
        let value = set.value();
        let mut pods = active_pods(&self.cluster, &set.uid);
        let wanted = usize::try_from(value["spec"]["replicas"].as_i64().unwrap_or(1)).unwrap_or(0);
        let mut again = false;
        if pods.len() < wanted {
            let missing = wanted - pods.len();
            let template = pod_of_template(&set, "apps/v1", "ReplicaSet", &value["spec"]["template"]);
            let resource = self.cluster.built_in(PODS);
            let mut made = 0;
            for _ in 0..missing.min(BURST) {
                let pod = self
                    .cluster
                    .create(&resource, &key.namespace, template.clone(), WRITER);
                match note(pod, "create a replica", key) {
                    Some(pod) => pods.push(pod),
                    None => break,
                }
                made += 1;
            }
            again = made == BURST && missing > BURST;
        } else if pods.len() > wanted {
            let surplus = pods.len() - wanted;
            // Those that never ran go first, as with the real controller.
            pods.sort_by_key(|pod| (!pod.field("spec.nodeName").is_empty(), pod.ready));
            let resource = self.cluster.built_in(PODS);
            for pod in pods.drain(..surplus.min(BURST)) {
                let options = DeleteOptions {
                    uid: Some(pod.uid.clone()),
                    ..DeleteOptions::default()
                };
                note(
                    self.cluster.delete(&resource, &pod.key, &options),
                    "delete a replica",
                    key,
                );
            }
            again = surplus > BURST;
        }
        self.report(key, &value, &pods);
        again
    }
}

impl ReplicaSets {
    fn report(&self, key: &Key, set: &Value, pods: &[Arc<Stored>]) {
        let ready = pods.iter().filter(|pod| pod.ready).count();
        let mut status =
            json!({ "replicas": pods.len(), "observedGeneration": set["metadata"]["generation"] });
        for (field, count) in [
            ("fullyLabeledReplicas", pods.len()),
            ("readyReplicas", ready),
            ("availableReplicas", ready),
        ] {
            if count > 0 {
                status[field] = count.into();
            }
        }
        write_status(&self.cluster, REPLICA_SETS, key, &status);
    }
}

/// The pods that count as an owner's: not on their way out, and not over.
pub(super) fn active_pods(cluster: &Cluster, owner: &str) -> Vec<Arc<Stored>> {
    cluster
        .store
        .dependents(owner)
        .into_iter()
        .filter(|(table, pod)| {
            *table == PODS
                && !pod.terminating
                && pod.controller().is_some_and(|controller| controller.uid == owner)
                && !matches!(pod.field("status.phase"), "Succeeded" | "Failed")
        })
        .map(|(_, pod)| pod)
        .collect()
}

/// Writes the status of a workload if it says something new.
pub(super) fn write_status(
    cluster: &Cluster,
    table: super::super::resource::Table,
    key: &Key,
    status: &Value,
) {
    let resource = cluster.built_in(table);
    let written = cluster.modify(&resource, key, "status", WRITER, |old| {
        let mut new = old.clone();
        let fields = child_mut(fields_mut(&mut new), "status");
        fields.clone_from(status.as_object().expect("controllers write objects"));
        Ok(Next::Updated(new))
    });
    note(written, "write a status", key);
}
