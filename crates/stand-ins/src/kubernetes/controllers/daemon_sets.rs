//! Keeps one pod of each `DaemonSet` on every node that takes it: by selector, affinity and taints.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::scheduler::fit::{Offer, Wishes, fits};

use super::{
    super::{
        cluster::Cluster,
        deletion::DeleteOptions,
        object::{child_mut, fields_mut},
        resource::{DAEMON_SETS, NODES, PODS},
        selector::Selectable as _,
        store::{Change, Scope},
        stored::{Key, Stored},
    },
    Controller, WRITER, controller_key, note, pod_of_template,
    replica_sets::{active_pods, write_status},
    template_hash,
};

/// Where a pod says which nodes it may be on.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

const HASH_LABEL: &str = "controller-revision-hash";

pub(super) struct DaemonSets {
    cluster: Arc<Cluster>,
}

impl DaemonSets {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self { cluster }
    }

    fn list(&self, table: super::super::resource::Table) -> Vec<Arc<Stored>> {
        self.cluster
            .store
            .list(table, &Scope::All, None)
            .expect("the latest state is never too old")
            .1
    }
}

impl Controller for DaemonSets {
    type Item = Key;

    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<Key>) {
        match change.table {
            DAEMON_SETS => drop(out_of_order.insert(change.object.key.clone())),
            PODS => out_of_order.extend(controller_key(&change.object, "DaemonSet")),
            // A node came, went, or changed its labels; a heartbeat costs one look at each set.
            NODES => out_of_order.extend(self.list(DAEMON_SETS).iter().map(|set| set.key.clone())),
            _ => {}
        }
    }

    fn reconcile(&self, key: &Key) -> bool {
        let Some(set) = self.cluster.store.get(DAEMON_SETS, key) else {
            return false;
        };
        if set.terminating {
            return false;
        }
        let value = set.value();
        let template = &value["spec"]["template"];
        let hash = template_hash(template);
        let nodes: Vec<Arc<Stored>> = self
            .list(NODES)
            .into_iter()
            .filter(|node| takes(&template["spec"], node))
            .collect();
        let resource = self.cluster.built_in(PODS);
        let mut kept: Vec<Arc<Stored>> = Vec::new();
        let mut covered: BTreeSet<String> = BTreeSet::new();
        for pod in active_pods(&self.cluster, &set.uid) {
            let node = node_of(&pod);
            let wanted = nodes.iter().any(|known| known.key.name == node)
                && pod.label(HASH_LABEL) == Some(&hash)
                && !covered.contains(&node);
            if wanted {
                covered.insert(node);
                kept.push(pod);
                continue;
            }
            let options = DeleteOptions {
                uid: Some(pod.uid.clone()),
                ..DeleteOptions::default()
            };
            note(
                self.cluster.delete(&resource, &pod.key, &options),
                "delete a daemon's pod",
                key,
            );
        }
        // One that is ending has its node until it is gone: two of a daemon would be in each other's way.
        covered.extend(self.ending(&set.uid));
        for node in nodes.iter().filter(|node| !covered.contains(&node.key.name)) {
            let mut pod = pod_of_template(&set, "apps/v1", "DaemonSet", template);
            let fields = fields_mut(&mut pod);
            let labels = child_mut(child_mut(fields, "metadata"), "labels");
            labels.insert(HASH_LABEL.to_owned(), hash.clone().into());
            labels.insert("pod-template-generation".to_owned(), "1".into());
            let affinity = child_mut(child_mut(child_mut(fields, "spec"), "affinity"), "nodeAffinity");
            affinity.insert(REQUIRED.to_owned(), only_on(&node.key.name));
            let made = self.cluster.create(&resource, &key.namespace, pod, WRITER);
            kept.extend(note(made, "create a daemon's pod", key));
        }
        self.report(key, &value, nodes.len(), &kept);
        false
    }
}

impl DaemonSets {
    /// The nodes on which pods of a set are ending.
    fn ending(&self, set: &str) -> Vec<String> {
        let pods = self.cluster.store.dependents(set).into_iter();
        pods.filter(|(table, pod)| {
            let of_set = pod.controller().is_some_and(|controller| controller.uid == set);
            *table == PODS && pod.terminating && of_set
        })
        .map(|(_, pod)| node_of(&pod))
        .collect()
    }

    fn report(&self, key: &Key, set: &Value, desired: usize, pods: &[Arc<Stored>]) {
        let ready = pods.iter().filter(|pod| pod.ready).count();
        let mut status = json!({
            "currentNumberScheduled": pods.len(),
            "numberMisscheduled": 0,
            "desiredNumberScheduled": desired,
            "numberReady": ready,
            "observedGeneration": set["metadata"]["generation"],
            "updatedNumberScheduled": pods.len(),
        });
        if ready > 0 {
            status["numberAvailable"] = ready.into();
        }
        if desired > ready {
            status["numberUnavailable"] = (desired - ready).into();
        }
        write_status(&self.cluster, DAEMON_SETS, key, &status);
    }
}

/// What has the scheduler bind a pod to this node and no other, as the real controller says it.
fn only_on(node: &str) -> Value {
    let field = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
    json!({ "nodeSelectorTerms": [{ "matchFields": [field] }] })
}

/// The node that a pod is on, or is meant for.
fn node_of(pod: &Stored) -> String {
    let bound = pod.field("spec.nodeName");
    if !bound.is_empty() {
        return bound.to_owned();
    }
    let pod = pod.value();
    let required = &pod["spec"]["affinity"]["nodeAffinity"][REQUIRED];
    let meant = &required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
    meant.as_str().unwrap_or_default().to_owned()
}

/// Whether a node takes the daemon's pods: only there is one wanted.
fn takes(spec: &Value, node: &Stored) -> bool {
    let node_selector = serde_json::from_value(spec["nodeSelector"].clone()).unwrap_or_default();
    let wishes = Wishes {
        node_selector: &node_selector,
        affinity: &spec["affinity"],
        tolerations: spec["tolerations"].as_array().map_or(&[], Vec::as_slice),
        of_daemon: true,
    };
    fits(wishes, &Offer::of(&node.value())).is_ok()
}
