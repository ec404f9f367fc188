//! Keeps one `ReplicaSet` for the current template of a Deployment, and none of the old ones scaled up.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::{
        cluster::{Cluster, Next},
        object::{self, child_mut, fields_mut, metadata_mut},
        resource::{DEPLOYMENTS, REPLICA_SETS},
        store::Change,
        stored::{Key, Stored},
    },
    Controller, WRITER, controller_key, controller_reference, note,
    replica_sets::write_status,
    template_hash,
};

const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

pub(super) struct Deployments {
    cluster: Arc<Cluster>,
}

impl Deployments {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }
}

impl Controller for Deployments {
    type Item = Key;

    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<Key>) {
        match change.table {
            DEPLOYMENTS => drop(out_of_order.insert(change.object.key.clone())),
            REPLICA_SETS => out_of_order.extend(controller_key(&change.object, "Deployment")),
            _ => {}
        }
    }

    fn reconcile(&self, key: &Key) -> bool {
        let Some(deployment) = self.cluster.store.get(DEPLOYMENTS, key) else {
            return false;
        };
        if deployment.terminating {
            return false;
        }
        let value = deployment.value();
        let hash = template_hash(&value["spec"]["template"]);
        let current = Key::new(key.namespace.clone(), format!("{}-{hash}", key.name));
        let owned: Vec<Arc<Stored>> = self
            .cluster
            .store
            .dependents(&deployment.uid)
            .into_iter()
            .filter(|(table, _)| *table == REPLICA_SETS)
            .map(|(_, set)| set)
            .collect();
        let replicas = &value["spec"]["replicas"];
        let paused = value["spec"]["paused"] == true;
        match owned.iter().find(|set| set.key == current) {
            Some(_) => self.scale(&current, replicas),
            None if paused => {}
            None => self.make(&deployment, &value, &hash, &current, owned.len() + 1),
        }
        for set in owned.iter().filter(|set| set.key != current && !paused) {
            self.scale(&set.key, &json!(0));
        }
        self.report(key, &value, &deployment, &current);
        false
    }
}

impl Deployments {
    fn make(&self, deployment: &Stored, value: &Value, hash: &str, key: &Key, revision: usize) {
        let spec = &value["spec"];
        let mut template = spec["template"].clone();
        let labels = child_mut(child_mut(fields_mut(&mut template), "metadata"), "labels");
        labels.insert(HASH_LABEL.to_owned(), hash.into());
        let labels = labels.clone();
        let mut selector = spec["selector"].clone();
        child_mut(fields_mut(&mut selector), "matchLabels").insert(HASH_LABEL.to_owned(), hash.into());
        let set = json!({
            "metadata": {
                "name": key.name,
                "labels": labels,
                "annotations": {
                    REVISION: revision.to_string(),
                    "deployment.kubernetes.io/desired-replicas": spec["replicas"].to_string(),
                    "deployment.kubernetes.io/max-replicas": spec["replicas"].to_string(),
                },
                "ownerReferences": [controller_reference(deployment, "apps/v1", "Deployment")],
            },
            "spec": { "replicas": spec["replicas"], "selector": selector, "template": template },
        });
        let resource = self.cluster.built_in(REPLICA_SETS);
        let made = self.cluster.create(&resource, &key.namespace, set, WRITER);
        note(made, "create a replica set", key);
        let deployments = self.cluster.built_in(DEPLOYMENTS);
        let annotated = self
            .cluster
            .modify(&deployments, &deployment.key, "", WRITER, |old| {
                let mut new = old.clone();
                child_mut(metadata_mut(&mut new), "annotations")
                    .insert(REVISION.to_owned(), revision.to_string().into());
                Ok(Next::Updated(new))
            });
        note(annotated, "annotate a deployment", &deployment.key);
    }

    fn scale(&self, set: &Key, replicas: &Value) {
        let resource = self.cluster.built_in(REPLICA_SETS);
        let scaled = self.cluster.modify(&resource, set, "", WRITER, |old| {
            let mut new = old.clone();
            new["spec"]["replicas"] = replicas.clone();
            Ok(Next::Updated(new))
        });
        note(scaled, "scale a replica set", set);
    }

    fn report(&self, key: &Key, value: &Value, deployment: &Stored, current: &Key) {
        let wanted = value["spec"]["replicas"].as_i64().unwrap_or(1);
        let (mut total, mut updated, mut ready) = (0, 0, 0);
        for (table, set) in self.cluster.store.dependents(&deployment.uid) {
            if table == REPLICA_SETS {
                let set_value = set.value();
                let count = |field: &str| set_value["status"][field].as_i64().unwrap_or(0);
                total += count("replicas");
                ready += count("readyReplicas");
                if set.key == *current {
                    updated = count("replicas");
                }
            }
        }
        let mut status = json!({ "observedGeneration": value["metadata"]["generation"] });
        for (field, count) in [
            ("replicas", total),
            ("updatedReplicas", updated),
            ("readyReplicas", ready),
            ("availableReplicas", ready),
            ("unavailableReplicas", (wanted - ready).max(0)),
        ] {
            if count > 0 {
                status[field] = count.into();
            }
        }
        let complete = updated == wanted && total == wanted && ready >= wanted;
        let (progress, text) = if complete {
            ("NewReplicaSetAvailable", "has successfully progressed.")
        } else {
            ("ReplicaSetUpdated", "is progressing.")
        };
        let progress_text = format!("ReplicaSet \"{}\" {text}", current.name);
        let (available, reason, text) = if ready >= wanted {
            (
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        status["conditions"] = json!([
            condition(value, "Available", available, reason, text),
            condition(value, "Progressing", "True", progress, &progress_text),
        ]);
        write_status(&self.cluster, DEPLOYMENTS, key, &status);
    }
}

/// A condition that keeps its times where nothing changed.
fn condition(object: &Value, kind: &str, status: &str, reason: &str, message: &str) -> Value {
    let now = object::now();
    let known = object["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    let same = |field: &str, value: &str| known.is_some_and(|known| known[field] == value);
    let time = |field: &str, keep: bool| match known {
        Some(known) if keep => known[field].clone(),
        _ => now.clone().into(),
    };
    let unchanged = same("status", status) && same("reason", reason) && same("message", message);
    json!({
        "type": kind,
        "status": status,
        "lastUpdateTime": time("lastUpdateTime", unchanged),
        "lastTransitionTime": time("lastTransitionTime", same("status", status)),
        "reason": reason,
        "message": message,
    })
}
