//! Every kind is served, with every verb.

use serde_json::{Value, json};

use crate::support::{Cluster, items, tests};

tests![
    every_kind_is_served_with_every_verb,
    namespaces_come_with_what_pods_need,
];

/// A collection, and an object that can be in it.
struct Collection {
    /// Where its objects are.
    path: String,
    api_version: &'static str,
    kind: &'static str,
    /// The object without its metadata.
    body: Value,
}

fn collections(cluster: &Cluster) -> Vec<Collection> {
    let kind = |path: &str, api_version, kind, body| Collection {
        path: path.to_owned(),
        api_version,
        kind,
        body,
    };
    let pod = json!({ "containers": [{ "name": "c", "image": "i" }] });
    let workload = json!({ "spec": {
        "selector": { "matchLabels": { "app": "x" } },
        "template": { "metadata": { "labels": { "app": "x" } }, "spec": pod },
    } });
    let role_ref = |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "r" });
    let rules = json!({ "rules": [{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }] });
    let event = json!({
        "involvedObject": { "kind": "Pod", "namespace": cluster.namespace, "name": "p" }, "reason": "FailedMount", "type": "Warning",
    });
    let definition = json!({ "spec": {
        "group": cluster.named("x.dev"), "scope": "Namespaced", "names": { "kind": "X", "plural": "objects" },
        "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
    } });
    let driver =
        json!({ "spec": { "podInfoOnMount": true, "tokenRequests": [{ "audience": "sts.amazonaws.com" }] } });
    let node_drivers =
        json!({ "spec": { "drivers": [{ "name": "d", "nodeID": "n", "topologyKeys": null }] } });
    let rbac = "rbac.authorization.k8s.io/v1";
    vec![
        kind("/api/v1/namespaces", "v1", "Namespace", json!({})),
        kind(&cluster.at("serviceaccounts"), "v1", "ServiceAccount", json!({})),
        kind(&cluster.at("pods"), "v1", "Pod", json!({ "spec": pod })),
        kind(&cluster.at("events"), "v1", "Event", event),
        kind(
            &cluster.at("secrets"),
            "v1",
            "Secret",
            json!({ "data": { "k": "dg==" } }),
        ),
        kind("/api/v1/nodes", "v1", "Node", json!({})),
        kind(
            &cluster.at("configmaps"),
            "v1",
            "ConfigMap",
            json!({ "data": { "k": "v" } }),
        ),
        kind(
            &cluster.at_group("apps/v1", "deployments"),
            "apps/v1",
            "Deployment",
            workload.clone(),
        ),
        kind(
            &cluster.at_group("apps/v1", "replicasets"),
            "apps/v1",
            "ReplicaSet",
            workload.clone(),
        ),
        kind(
            &cluster.at_group("apps/v1", "daemonsets"),
            "apps/v1",
            "DaemonSet",
            workload,
        ),
        kind(
            "/apis/storage.k8s.io/v1/csidrivers",
            "storage.k8s.io/v1",
            "CSIDriver",
            driver,
        ),
        kind(
            "/apis/storage.k8s.io/v1/csinodes",
            "storage.k8s.io/v1",
            "CSINode",
            node_drivers,
        ),
        kind(
            &cluster.at_group("rbac.authorization.k8s.io/v1", "roles"),
            rbac,
            "Role",
            rules.clone(),
        ),
        kind(
            &cluster.at_group("rbac.authorization.k8s.io/v1", "rolebindings"),
            rbac,
            "RoleBinding",
            json!({ "roleRef": role_ref("Role"), "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": cluster.namespace }] }),
        ),
        kind(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            rbac,
            "ClusterRole",
            rules,
        ),
        kind(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            rbac,
            "ClusterRoleBinding",
            json!({ "roleRef": role_ref("ClusterRole") }),
        ),
        kind(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            definition,
        ),
        kind(
            &cluster.at_group("coordination.k8s.io/v1", "leases"),
            "coordination.k8s.io/v1",
            "Lease",
            json!({ "spec": {} }),
        ),
    ]
}

/// The lines of a watch from `version` on.
async fn events_since(cluster: &Cluster, path: &str, version: &str) -> Vec<String> {
    let path = format!("{path}?watch=1&timeoutSeconds=1&labelSelector=test%3Dyes&resourceVersion={version}");
    let answer = cluster.get(&path).await;
    let kinds = answer.text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["type"].as_str().unwrap().to_owned()
    });
    kinds.collect()
}

async fn every_kind_is_served_with_every_verb(cluster: Cluster) {
    let all = collections(&cluster);
    // Side by side: each waits a second for a watch to end.
    let served = all.iter().map(|collection| is_served(&cluster, collection));
    futures::future::join_all(served).await;
}

async fn is_served(cluster: &Cluster, kind: &Collection) {
    let [one, two] = &match kind.kind {
        // Named after what it defines.
        "CustomResourceDefinition" => {
            ["objects", "others"].map(|plural| format!("{plural}.{}", cluster.named("x.dev")))
        }
        _ => ["one", "two"].map(|name| cluster.named(name)),
    };
    let path = &kind.path;
    let object = |name: &str| {
        let mut object = kind.body.clone();
        object["metadata"] = json!({ "name": name, "labels": { "test": "yes" } });
        if name.starts_with("others.") {
            object["spec"]["names"] = json!({ "kind": "Other", "plural": "others" });
        }
        object
    };
    let selected = format!("{path}?labelSelector=test%3Dyes");
    let before = cluster.get(path).await.json();
    assert_eq!(before["kind"], format!("{}List", kind.kind), "{path}");
    assert_eq!(before["apiVersion"], kind.api_version, "{path}");
    let version = before["metadata"]["resourceVersion"].as_str().unwrap().to_owned();

    let made = cluster.post(path, &object(one)).await;
    assert_eq!(made.status, 201, "create {path}: {}", made.text);
    let made = made.json();
    assert_eq!(
        (made["kind"].as_str(), made["apiVersion"].as_str()),
        (Some(kind.kind), Some(kind.api_version))
    );
    for (field, value) in kind.body.as_object().unwrap() {
        assert!(contains(&made[field], value), "{path} keeps {field}: {made}");
    }
    let twice = cluster.post(path, &object(one)).await;
    assert_eq!(
        (twice.status.as_u16(), &twice.json()["reason"]),
        (409, &json!("AlreadyExists")),
        "{path}"
    );
    assert_eq!(cluster.post(path, &object(two)).await.status, 201, "{path}");

    let at = format!("{path}/{one}");
    let read = cluster.get(&at).await;
    assert_eq!(read.status, 200, "get {at}: {}", read.text);
    assert_eq!(
        items(&cluster.get(&selected).await.json()),
        [one, two],
        "list {path}"
    );

    let updated = loop {
        let mut changed = cluster.get(&at).await.json();
        changed["metadata"]["annotations"] = json!({ "by": "update" });
        let updated = cluster
            .send("PUT", &at, Some("application/json"), changed.to_string())
            .await;
        // Its controller may have come first.
        if updated.status != 409 {
            break updated;
        }
    };
    assert_eq!(updated.status, 200, "update {at}: {}", updated.text);
    let annotation = json!({ "metadata": { "annotations": { "by": "patch" } } });
    let patched = cluster.patch(&at, "merge-patch", &annotation).await;
    assert_eq!(
        patched.json()["metadata"]["annotations"]["by"],
        "patch",
        "patch {at}"
    );

    let options = json!({ "gracePeriodSeconds": 0 });
    assert_eq!(cluster.delete(&at, &options).await.status, 200, "delete {at}");
    cluster.eventually(&at, |answer| answer.status == 404).await;
    let seen = events_since(cluster, path, &version).await;
    assert_eq!(seen.first().map(String::as_str), Some("ADDED"), "{path}");
    assert!(seen.contains(&"MODIFIED".to_owned()), "{path}: {seen:?}");
    assert!(seen.contains(&"DELETED".to_owned()), "{path}: {seen:?}");

    if kind.kind == "Namespace" {
        // As in the real server, there is no deletion of all namespaces.
        return;
    }
    let collection = cluster.delete(&selected, &options).await;
    assert_eq!(
        collection.status, 200,
        "deletecollection {path}: {}",
        collection.text
    );
    cluster
        .eventually(&selected, |answer| items(&answer.json()).is_empty())
        .await;
}

/// Whether `object` has everything that `part` has.
fn contains(object: &Value, part: &Value) -> bool {
    match (object, part) {
        (Value::Object(object), Value::Object(part)) => part.iter().all(|(name, part)| {
            part.is_null() || object.get(name).is_some_and(|object| contains(object, part))
        }),
        (Value::Array(object), Value::Array(part)) => {
            object.len() == part.len()
                && object
                    .iter()
                    .zip(part)
                    .all(|(object, part)| contains(object, part))
        }
        _ => object == part,
    }
}

async fn namespaces_come_with_what_pods_need(cluster: Cluster) {
    for namespace in [
        &cluster.namespace,
        "default",
        "kube-system",
        "kube-public",
        "kube-node-lease",
    ] {
        let path = format!("/api/v1/namespaces/{namespace}");
        assert_eq!(
            cluster.get(&path).await.json()["status"]["phase"],
            "Active",
            "{namespace}"
        );
        let account = cluster.get(&format!("{path}/serviceaccounts/default")).await;
        assert_eq!(account.status, 200, "{namespace}: {}", account.text);
        let root = cluster
            .get(&format!("{path}/configmaps/kube-root-ca.crt"))
            .await
            .json();
        assert_eq!(root["data"]["ca.crt"], cluster.server().ca_pem(), "{namespace}");
    }
}
