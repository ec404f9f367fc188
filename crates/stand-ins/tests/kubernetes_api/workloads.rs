//! Deployments, daemon sets, and the events about their pods.

use serde_json::{Value, json};

use crate::support::{Answer, PODS, cluster, items};

#[tokio::test]
async fn a_deployment_makes_pods_and_replaces_them() {
    let cluster = cluster().await;
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    let deployment = json!({
        "metadata": { "name": "d" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } },
        },
    });
    let made = cluster.post(deployments, &deployment).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let images = |answer: &Value| -> Vec<String> {
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
            .collect()
    };
    cluster
        .eventually(PODS, |answer| images(&answer.json()) == ["i:1", "i:1", "i:1"])
        .await;
    // A pod that is deleted is replaced.
    let pods = cluster.get(PODS).await.json();
    let first = items(&pods)[0].to_owned();
    cluster.delete(&format!("{PODS}/{first}"), &json!({})).await;
    cluster
        .eventually(PODS, |answer| {
            let list = answer.json();
            images(&list).len() == 3 && !items(&list).contains(&first.as_str())
        })
        .await;
    let pods = cluster.get(PODS).await.json();
    for name in items(&pods) {
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        let patched = cluster
            .patch(&format!("{PODS}/{name}/status"), "strategic-merge-patch", &ready)
            .await;
        assert_eq!(patched.status, 200, "{}", patched.text);
    }
    let complete = |answer: &Answer| {
        let status = &answer.json()["status"];
        status["readyReplicas"] == 3 && status["conditions"][1]["reason"] == "NewReplicaSetAvailable"
    };
    cluster.eventually(&format!("{deployments}/d"), complete).await;
    // A new image: new pods, and none of the old.
    let image =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "i:2" }] } } } });
    cluster
        .patch(&format!("{deployments}/d"), "strategic-merge-patch", &image)
        .await;
    cluster
        .eventually(PODS, |answer| images(&answer.json()) == ["i:2", "i:2", "i:2"])
        .await;
    let scaled = cluster
        .patch(
            &format!("{deployments}/d/scale"),
            "merge-patch",
            &json!({ "spec": { "replicas": 1 } }),
        )
        .await
        .json();
    assert_eq!(
        (scaled["kind"].as_str(), scaled["spec"]["replicas"].as_i64()),
        (Some("Scale"), Some(1))
    );
    cluster
        .eventually(PODS, |answer| images(&answer.json()).len() == 1)
        .await;
    cluster
        .delete(
            &format!("{deployments}/d"),
            &json!({ "propagationPolicy": "Foreground" }),
        )
        .await;
    cluster
        .eventually(PODS, |answer| items(&answer.json()).is_empty())
        .await;
    cluster
        .eventually(&format!("{deployments}/d"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn a_daemon_set_has_one_pod_on_each_node() {
    let cluster = cluster().await;
    for name in ["n1", "n2"] {
        cluster
            .post("/api/v1/nodes", &json!({ "metadata": { "name": name } }))
            .await;
    }
    let set = json!({
        "metadata": { "name": "s" },
        "spec": {
            "selector": { "matchLabels": { "app": "s" } },
            "template": { "metadata": { "labels": { "app": "s" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    cluster.post("/apis/apps/v1/namespaces/a/daemonsets", &set).await;
    let nodes = |answer: &Answer| -> Vec<String> {
        let list = answer.json();
        let mut nodes: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned())
            .collect();
        nodes.sort();
        nodes
    };
    cluster
        .eventually(PODS, |answer| nodes(answer) == ["n1", "n2"])
        .await;
    cluster
        .post("/api/v1/nodes", &json!({ "metadata": { "name": "n3" } }))
        .await;
    cluster
        .eventually(PODS, |answer| nodes(answer) == ["n1", "n2", "n3"])
        .await;
}

#[tokio::test]
async fn both_event_groups_show_the_same_events() {
    let cluster = cluster().await;
    let event = json!({
        "metadata": { "name": "e" },
        "regarding": { "kind": "Pod", "name": "p", "namespace": "a" },
        "reason": "FailedMount", "note": "text", "type": "Warning",
        "reportingController": "kubelet", "reportingInstance": "n", "action": "x",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let made = cluster
        .post("/apis/events.k8s.io/v1/namespaces/a/events", &event)
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = "/api/v1/namespaces/a/events?fieldSelector=involvedObject.name%3Dp,reason%3DFailedMount";
    let core = cluster.get(path).await.json();
    assert_eq!(core["items"][0]["message"], "text");
    assert_eq!(core["items"][0]["reportingComponent"], "kubelet");
    let again = cluster
        .get("/apis/events.k8s.io/v1/namespaces/a/events/e")
        .await
        .json();
    assert_eq!(again["note"], "text");
    assert_eq!(again["regarding"]["name"], "p");
}
