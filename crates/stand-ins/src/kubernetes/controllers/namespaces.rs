//! Furnishes new namespaces and empties those that are being removed.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::json;

use super::{
    super::{
        cluster::{Cluster, Next},
        deletion::DeleteOptions,
        object::{child_mut, fields_mut},
        resource::{CONFIG_MAPS, NAMESPACES, PODS, Registry, Resource, SERVICE_ACCOUNTS},
        selector::Selector,
        store::{Change, Happened, Scope},
        stored::Key,
    },
    Controller, WRITER, note,
};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const ROOT_CA_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

pub(super) struct Namespaces {
    cluster: Arc<Cluster>,
    ca_pem: String,
}

impl Namespaces {
    pub(super) fn new(cluster: Arc<Cluster>, ca_pem: &str) -> Self {
        Self {
            cluster,
            ca_pem: ca_pem.to_owned(),
        }
    }
}

impl Controller for Namespaces {
    type Item = String;

    fn concerns(&self, change: &Change, out_of_order: &mut BTreeSet<String>) {
        let Key { namespace, name } = &change.object.key;
        let concerned = match (change.table, change.happened) {
            (NAMESPACES, Happened::Deleted) => return,
            (NAMESPACES, _) => name,
            // Something left: it may have been the last, or what every namespace has.
            (_, Happened::Deleted) if !namespace.is_empty() => {
                match self.cluster.store.namespace(namespace) {
                    Some((0, true)) => namespace,
                    // The last pod, for which the rest waits.
                    Some((_, true)) if change.table == PODS => namespace,
                    Some((_, false))
                        if (change.table, name.as_str()) == (SERVICE_ACCOUNTS, ACCOUNT)
                            || (change.table, name.as_str()) == (CONFIG_MAPS, ROOT_CA) =>
                    {
                        namespace
                    }
                    _ => return,
                }
            }
            _ => return,
        };
        out_of_order.insert(concerned.clone());
    }

    fn reconcile(&self, name: &String) -> bool {
        match self.cluster.store.namespace(name) {
            None => {}
            Some((_, false)) => furnish(&self.cluster, name, &self.ca_pem),
            Some((0, true)) => finalize(&self.cluster, name),
            Some((_, true)) => empty(&self.cluster, name),
        }
        false
    }
}

/// Makes what every namespace has, where it is missing.
pub(in super::super) fn furnish(cluster: &Cluster, namespace: &str, ca_pem: &str) {
    let key = |name| Key::new(namespace, name);
    if cluster.store.get(SERVICE_ACCOUNTS, &key(ACCOUNT)).is_none() {
        let account = json!({ "metadata": { "name": ACCOUNT } });
        let made = cluster.create(&cluster.built_in(SERVICE_ACCOUNTS), namespace, account, WRITER);
        note(made, "create the default service account", &key(ACCOUNT));
    }
    if cluster.store.get(CONFIG_MAPS, &key(ROOT_CA)).is_none() {
        let map = json!({
            "metadata": {
                "name": ROOT_CA,
                "annotations": { "kubernetes.io/description": ROOT_CA_DESCRIPTION },
            },
            "data": { "ca.crt": ca_pem },
        });
        let made = cluster.create(&cluster.built_in(CONFIG_MAPS), namespace, map, WRITER);
        note(made, "create the root certificate map", &key(ROOT_CA));
    }
}

/// Deletes everything in a namespace: the pods first, and the rest, which they may need to end, when they are gone
/// (<https://kep.k8s.io/5080>). What waits for a kubelet or a finalizer keeps the namespace until it goes.
fn empty(cluster: &Cluster, namespace: &str) {
    let scope = Scope::Namespace(namespace.to_owned());
    let delete = |resource: &Resource| {
        let deleted =
            cluster.delete_collection(resource, &scope, &Selector::default(), &DeleteOptions::default());
        note(deleted, "empty a namespace", &Key::new("", namespace));
    };
    delete(&cluster.built_in(PODS));
    let (_, left) = cluster
        .store
        .list(PODS, &scope, None)
        .expect("the latest state is never too old");
    if left.is_empty() {
        for resource in cluster.registry(Registry::namespaced_tables) {
            delete(&resource);
        }
    }
}

fn finalize(cluster: &Cluster, namespace: &str) {
    let key = Key::new("", namespace);
    let done = cluster.modify(&cluster.built_in(NAMESPACES), &key, "finalize", WRITER, |old| {
        let mut new = old.clone();
        child_mut(fields_mut(&mut new), "spec").remove("finalizers");
        Ok(Next::Internal(new))
    });
    note(done, "finalize a namespace", &key);
}
