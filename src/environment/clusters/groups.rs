//! The node groups of a cluster: as many kubelets as each is to have, that come and go one by one.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use mountproof_aws_endpoint::eks::{BackendTrouble, InstanceKeys, NodegroupWanted};
use mountproof_stand_ins::rest::{ApiClient, ApiError, PatchKind, query_value};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    StandInCluster, StandInClusters,
    node::{Node, NodeWanted},
};

/// As whom EKS acts on nodes.
const AGENT: &str = "eks-nodegroup-manager mountproof-stand-in";
/// How long the pods of a node may take to leave it before it is ended.
const DRAIN: Duration = Duration::from_secs(15);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// All node groups, by name. Whoever changes them waits for who does.
#[derive(Default)]
pub(super) struct Groups(Mutex<State>);

#[derive(Default)]
struct State {
    groups: BTreeMap<String, Group>,
    /// Nodes that there were: no two ever have the same address.
    nodes: usize,
}

#[derive(Default)]
struct Group {
    nodes: Vec<Node>,
    /// Those that it was told to give its nodes.
    labels: BTreeSet<String>,
}

impl Groups {
    /// Has the group be as it is wanted; answers when its nodes are registered.
    pub(super) async fn provide(
        &self,
        cluster: &StandInCluster,
        wanted: &NodegroupWanted,
        keys: &InstanceKeys,
        site: &StandInClusters,
    ) -> Result<(), BackendTrouble> {
        let mut state = self.0.lock().await;
        let State {
            groups,
            nodes: number,
        } = &mut *state;
        let group = groups.entry(wanted.key.name.clone()).or_default();
        let api = client(cluster)?;
        relabelled(&api, group, &wanted.labels)
            .await
            .map_err(|error| failed(&error))?;
        let missing = wanted.desired.saturating_sub(group.nodes.len());
        let first = *number;
        *number += missing;
        let joining = (first..first + missing).map(|number| {
            let wanted = NodeWanted::new(wanted, number, site.options);
            Node::join(cluster, wanted, keys, site)
        });
        group
            .nodes
            .extend(try_join_all(joining).await.map_err(|error| failed(&error))?);
        // The newest go first.
        let leaving = group.nodes.split_off(wanted.desired.min(group.nodes.len()));
        join_all(leaving.into_iter().map(|node| leave(&api, node))).await;
        Ok(())
    }

    /// Drains and ends all nodes of a group.
    pub(super) async fn remove(&self, cluster: &StandInCluster, name: &str) {
        let mut state = self.0.lock().await;
        let Some(group) = state.groups.remove(name) else {
            return;
        };
        match client(cluster) {
            Ok(api) => drop(join_all(group.nodes.into_iter().map(|node| leave(&api, node))).await),
            Err(_) => drop(join_all(group.nodes.into_iter().map(Node::stop)).await),
        }
    }

    /// Ends all nodes with their cluster, in which nobody looks any more.
    pub(super) async fn stop(&self) {
        let groups = std::mem::take(&mut self.0.lock().await.groups);
        let nodes = groups.into_values().flat_map(|group| group.nodes);
        join_all(nodes.map(Node::stop)).await;
    }
}

fn client(cluster: &StandInCluster) -> Result<ApiClient, BackendTrouble> {
    ApiClient::new(&cluster.admin, AGENT).map_err(|error| failed(&error))
}

fn failed(error: &dyn std::fmt::Display) -> BackendTrouble {
    BackendTrouble {
        code: "NodeCreationFailure".to_owned(),
        message: format!("Instances failed to join the kubernetes cluster: {error}"),
    }
}

/// Gives the nodes that there are the labels that the group is to have from now on.
async fn relabelled(
    api: &ApiClient,
    group: &mut Group,
    labels: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    let mut changes: BTreeMap<&str, Option<&str>> =
        group.labels.iter().map(|gone| (gone.as_str(), None)).collect();
    changes.extend(
        labels
            .iter()
            .map(|(label, value)| (label.as_str(), Some(value.as_str()))),
    );
    let patch = json!({ "metadata": { "labels": changes } });
    for node in &group.nodes {
        api.patch(&node_path(node.name()), PatchKind::Merge, &patch)
            .await?;
    }
    group.labels = labels.keys().cloned().collect();
    Ok(())
}

/// Ends a node in order: nothing new comes to it, its pods leave it, then it goes.
async fn leave(api: &ApiClient, node: Node) {
    let name = node.name().to_owned();
    if let Err(error) = drained(api, &name).await {
        tracing::warn!(node = name, %error, "not drained; it is ended all the same");
    }
    node.stop().await;
    if let Err(error) = forgotten(api, &name).await {
        tracing::warn!(node = name, %error, "not removed from its cluster");
    }
}

/// Cordons a node and evicts its pods, but for those of daemons.
async fn drained(api: &ApiClient, node: &str) -> Result<(), ApiError> {
    let cordon = json!({ "spec": { "unschedulable": true } });
    api.patch(&node_path(node), PatchKind::Merge, &cordon).await?;
    let until = Instant::now() + DRAIN;
    loop {
        let pods = pods_on(api, node).await?;
        let leaving: Vec<&Value> = pods.iter().filter(|pod| !is_daemon(pod)).collect();
        if leaving.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        for pod in leaving
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        {
            let (namespace, name) = names(pod);
            let eviction = json!({
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": { "name": name, "namespace": namespace },
            });
            let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/eviction");
            match api.create(&path, &eviction).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Removes the node's objects, and those of pods that went with it.
async fn forgotten(api: &ApiClient, node: &str) -> Result<(), ApiError> {
    let now = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
    // First of all the node: a daemon's pod would be made again on it.
    let mut paths = vec![
        node_path(node),
        format!("/apis/storage.k8s.io/v1/csinodes/{node}"),
    ];
    for pod in pods_on(api, node).await? {
        let (namespace, name) = names(&pod);
        paths.push(format!("/api/v1/namespaces/{namespace}/pods/{name}"));
    }
    for path in paths {
        match api.delete(&path, &now).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn pods_on(api: &ApiClient, node: &str) -> Result<Vec<Value>, ApiError> {
    let selector = query_value(&format!("spec.nodeName={node}"));
    let list: Value = api
        .fetch(&format!("/api/v1/pods?fieldSelector={selector}"), None)
        .await?;
    Ok(list["items"].as_array().cloned().unwrap_or_default())
}

fn is_daemon(pod: &Value) -> bool {
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let mut owners = owners.into_iter().flatten();
    owners.any(|owner| owner["kind"] == "DaemonSet" && owner["controller"] == true)
}

fn names(pod: &Value) -> (&str, &str) {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

fn node_path(node: &str) -> String {
    format!("/api/v1/nodes/{node}")
}
