//! Node groups: kubelets that join their cluster, and leave it.

use std::{collections::BTreeSet, sync::Arc};

use mountproof::{
    environment::{NodeOptions, StandInClusters},
    kubernetes::Kubernetes,
    tenant::Marks,
};
use serde_json::{Value, json};

use crate::site::{CLUSTERS, Site, token};

const GROUPS: &str = "/clusters/demo/node-groups";
const GROUP: &str = "/clusters/demo/node-groups/workers";

/// A cluster, and a client of its API server.
pub(crate) async fn cluster() -> (Site, Kubernetes) {
    let options = NodeOptions {
        clock: 20.0,
        ..NodeOptions::default()
    };
    let site = Site::start(|ca| Arc::new(StandInClusters::new(ca, options))).await;
    let cluster = site.cluster("demo", "ACTIVE").await;
    let kubernetes = site.connect(&cluster, &token(&site.root(), "demo")).await;
    (site, kubernetes)
}

impl Site {
    /// A node group, once it has this status.
    pub(crate) async fn nodegroup(&self, size: usize, more: &Value, status: &str) -> Value {
        let trust = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": { "Service": "ec2.amazonaws.com" }, "Action": "sts:AssumeRole",
        } });
        let mut wanted = json!({
            "nodegroupName": "workers",
            "nodeRole": self.node_role(&trust).await,
            "subnets": ["subnet-1", "subnet-2"],
            "scalingConfig": { "minSize": 0, "maxSize": 5, "desiredSize": size },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            wanted[key] = value.clone();
        }
        let made = self.eks("POST", GROUPS, &wanted).await;
        assert_eq!(made["nodegroup"]["status"], "CREATING");
        self.nodegroup_once(status).await
    }

    /// A role that may what `AmazonEKSWorkerNodePolicy` lets nodes do for the pods that ask them.
    async fn node_role(&self, trust: &Value) -> String {
        let (aws, tags) = (self.aws(), Marks::of_run("clusters").tags());
        let policy = json!({ "Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "eks-auth:AssumeRoleForPodIdentity", "Resource": "*",
        } });
        let policy = aws.provide_policy("node", &policy, &tags).await.unwrap();
        aws.provide_role("node", trust, &policy, &tags).await.unwrap()
    }

    pub(crate) async fn nodegroup_once(&self, status: &str) -> Value {
        let group = async || self.eks("GET", GROUP, &Value::Null).await["nodegroup"].clone();
        self.until(status, async || group().await["status"] == status)
            .await;
        group().await
    }

    pub(crate) async fn is_gone(&self, path: &str) {
        self.until(&format!("{path} is gone"), async || {
            self.ask("GET", CLUSTERS, path, &Value::Null).await.0 == 404
        })
        .await;
    }
}

async fn nodes(kubernetes: &Kubernetes) -> Vec<Value> {
    kubernetes.list("v1", "Node", None, None).await.unwrap()
}

/// On which nodes the pods of the namespace `default` run; a pod that does not run yet is on `None`.
async fn places(kubernetes: &Kubernetes) -> Vec<Option<String>> {
    let pods = kubernetes.list("v1", "Pod", Some("default"), None).await.unwrap();
    let runs =
        |pod: &Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let place = |pod: &Value| {
        pod["spec"]["nodeName"]
            .as_str()
            .filter(|_| runs(pod))
            .map(str::to_owned)
    };
    pods.iter().map(place).collect()
}

fn deployment(replicas: usize) -> Value {
    let labels = json!({ "app": "app" });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "app", "namespace": "default" },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
        } },
    })
}

fn daemon_set() -> Value {
    let labels = json!({ "app": "daemon" });
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "daemon", "namespace": "kube-system" },
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "daemon", "image": "daemon:1" }] },
        } },
    })
}

#[tokio::test]
async fn a_node_group_has_nodes_as_eks_names_them_and_pods_are_spread_over_them() {
    let (site, kubernetes) = cluster().await;
    let labels = json!({ "labels": { "team": "x" } });
    let group = site.nodegroup(2, &labels, "ACTIVE").await;
    assert_eq!(group["health"]["issues"], json!([]));
    let found = nodes(&kubernetes).await;
    assert_eq!(found.len(), 2);
    for node in &found {
        let name = node["metadata"]["name"].as_str().unwrap();
        assert!(
            name.starts_with("ip-10-0-") && name.ends_with(".eu-west-1.compute.internal"),
            "{name}"
        );
        let labels = &node["metadata"]["labels"];
        for (label, value) in [
            ("eks.amazonaws.com/nodegroup", "workers"),
            ("node.kubernetes.io/instance-type", "t3.medium"),
            ("topology.kubernetes.io/region", "eu-west-1"),
            ("team", "x"),
        ] {
            assert_eq!(labels[label], value, "{label}");
        }
        assert_eq!(node["status"]["allocatable"]["pods"], "17");
    }

    kubernetes.create(&daemon_set()).await.unwrap();
    kubernetes.create(&deployment(6)).await.unwrap();
    site.until("all pods run", async || {
        let places = places(&kubernetes).await;
        places.len() == 6 && places.iter().all(Option::is_some)
    })
    .await;
    let places = places(&kubernetes).await;
    for node in &found {
        let here = places
            .iter()
            .flatten()
            .filter(|place| node["metadata"]["name"] == place.as_str());
        assert_eq!(here.count(), 3, "{places:?}");
    }
    site.until("the daemon is on both nodes", async || {
        let pods = kubernetes
            .list("v1", "Pod", Some("kube-system"), None)
            .await
            .unwrap();
        let running = pods.iter().filter(|pod| pod["status"]["phase"] == "Running");
        let nodes: BTreeSet<&str> = running
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        pods.len() == 2 && nodes.len() == 2
    })
    .await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_node_group_is_scaled_relabelled_and_drained() {
    let (site, kubernetes) = cluster().await;
    site.nodegroup(2, &json!({ "labels": { "team": "x" } }), "ACTIVE")
        .await;
    kubernetes.create(&daemon_set()).await.unwrap();
    kubernetes.create(&deployment(4)).await.unwrap();

    let change = json!({
        "scalingConfig": { "minSize": 1, "maxSize": 5, "desiredSize": 3 },
        "labels": { "addOrUpdateLabels": { "tier": "a" }, "removeLabels": ["team"] },
    });
    let begun = site.eks("POST", &format!("{GROUP}/update-config"), &change).await;
    site.nodegroup_once("ACTIVE").await;
    let update = format!(
        "/clusters/demo/updates/{}",
        begun["update"]["id"].as_str().unwrap()
    );
    let done = site
        .eks("GET", &format!("{update}?nodegroupName=workers"), &Value::Null)
        .await;
    assert_eq!(done["update"]["status"], "Successful");
    let found = nodes(&kubernetes).await;
    let labels = |node: &Value| {
        (
            node["metadata"]["labels"]["team"].clone(),
            node["metadata"]["labels"]["tier"].clone(),
        )
    };
    let all: Vec<_> = found.iter().map(labels).collect();
    assert_eq!(all, vec![(Value::Null, json!("a")); 3]);

    let change = json!({ "scalingConfig": { "desiredSize": 1 } });
    site.eks("POST", &format!("{GROUP}/update-config"), &change).await;
    site.nodegroup_once("ACTIVE").await;
    let found = nodes(&kubernetes).await;
    assert_eq!(found.len(), 1);
    let left = found[0]["metadata"]["name"].as_str().unwrap().to_owned();
    site.until("the pods have moved to the node that is left", async || {
        let places = places(&kubernetes).await;
        places.len() == 4 && places.iter().all(|place| *place == Some(left.clone()))
    })
    .await;

    let (status, answer) = site.ask("DELETE", CLUSTERS, "/clusters/demo", &Value::Null).await;
    assert_eq!(
        (status, answer["message"].as_str()),
        (409, Some("Cluster has nodegroups attached"))
    );
    site.eks("DELETE", GROUP, &Value::Null).await;
    site.is_gone(GROUP).await;
    assert_eq!(nodes(&kubernetes).await, Vec::<Value>::new());
    let pods = kubernetes
        .list("v1", "Pod", Some("kube-system"), None)
        .await
        .unwrap();
    assert_eq!(pods, Vec::<Value>::new(), "of the daemon none is left");
    site.eks("DELETE", "/clusters/demo", &Value::Null).await;
    site.is_gone("/clusters/demo").await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_node_takes_pods_that_tolerate_its_taints() {
    let (site, kubernetes) = cluster().await;
    let taint = json!({ "taints": [{ "key": "team", "value": "x", "effect": "NO_SCHEDULE" }] });
    site.nodegroup(1, &taint, "ACTIVE").await;
    let pod = |name: &str, tolerations: Value| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "default" },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }], "tolerations": tolerations },
        })
    };
    kubernetes.create(&pod("picky", json!([]))).await.unwrap();
    kubernetes
        .create(&pod("tolerant", json!([{ "key": "team", "operator": "Exists" }])))
        .await
        .unwrap();
    site.until("the tolerant pod runs", async || {
        places(&kubernetes).await.iter().flatten().count() == 1
    })
    .await;
    site.until("why the other waits is said", async || {
        let events = kubernetes
            .list("v1", "Event", Some("default"), None)
            .await
            .unwrap();
        let why = "0/1 nodes are available: 1 node(s) had untolerated taint(s): {team: x}.";
        events
            .iter()
            .any(|event| event["message"] == why && event["involvedObject"]["name"] == "picky")
    })
    .await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn a_node_group_of_a_saved_state_gets_new_nodes() {
    let (site, kubernetes) = cluster().await;
    site.nodegroup(2, &json!({}), "ACTIVE").await;
    assert_eq!(nodes(&kubernetes).await.len(), 2);
    let saved = site.endpoint.stopped().await;

    let options = NodeOptions::default();
    let site = Site::going_on_from(Some(saved), |ca| Arc::new(StandInClusters::new(ca, options))).await;
    let cluster = site.once("demo", "ACTIVE").await;
    site.nodegroup_once("ACTIVE").await;
    let kubernetes = site.connect(&cluster, &token(&site.root(), "demo")).await;
    assert_eq!(nodes(&kubernetes).await.len(), 2);
    site.endpoint.stop().await;
}
