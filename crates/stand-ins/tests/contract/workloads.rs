//! Deployments, daemon sets, and the events about their pods.

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Answer, Cluster, PATIENCE, items, tests};

tests![
    a_deployment_makes_pods_and_replaces_them,
    a_daemon_set_has_one_pod_on_each_node,
    both_event_groups_show_the_same_events,
];

async fn a_deployment_makes_pods_and_replaces_them(cluster: Cluster) {
    let pods = cluster.pods();
    let deployments = &cluster.at_group("apps/v1", "deployments");
    // Nobody binds them: the kubelet of a cluster would take back what is said of them below.
    let deployment = json!({
        "metadata": { "name": "d" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "d" } },
            "template": {
                "metadata": { "labels": { "app": "d" } },
                "spec": { "schedulerName": "none", "containers": [{ "name": "c", "image": "i:1" }] },
            },
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
        .eventually(&pods, |answer| images(&answer.json()) == ["i:1", "i:1", "i:1"])
        .await;
    // A pod that is deleted is replaced.
    let first = items(&cluster.get(&pods).await.json())[0].to_owned();
    cluster.delete(&format!("{pods}/{first}"), &json!({})).await;
    cluster
        .eventually(&pods, |answer| {
            let list = answer.json();
            images(&list).len() == 3 && !items(&list).contains(&first.as_str())
        })
        .await;
    make_ready(&cluster, &cluster.get(&pods).await.json()).await;
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
    let until = Instant::now() + PATIENCE;
    loop {
        let list = cluster.get(&pods).await.json();
        if images(&list) == ["i:2", "i:2", "i:2"] {
            break;
        }
        assert!(Instant::now() < until, "old pods stay: {list}");
        // The old ones go as the new ones become ready.
        make_ready(&cluster, &list).await;
    }
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
        .eventually(&pods, |answer| images(&answer.json()).len() == 1)
        .await;
    cluster
        .delete(
            &format!("{deployments}/d"),
            &json!({ "propagationPolicy": "Foreground" }),
        )
        .await;
    cluster
        .eventually(&pods, |answer| items(&answer.json()).is_empty())
        .await;
    cluster
        .eventually(&format!("{deployments}/d"), |answer| answer.status == 404)
        .await;
}

/// What kubelet says of pods whose containers run.
async fn make_ready(cluster: &Cluster, pods: &Value) {
    let ready =
        json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
    for name in items(pods) {
        let path = cluster.at(&format!("pods/{name}/status"));
        let patched = cluster.patch(&path, "strategic-merge-patch", &ready).await;
        // It may have gone meanwhile.
        assert!([200, 404].contains(&patched.status.as_u16()), "{}", patched.text);
    }
}

async fn a_daemon_set_has_one_pod_on_each_node(cluster: Cluster) {
    let pods = cluster.pods();
    let [one, two, three] = ["n1", "n2", "n3"].map(|name| cluster.named(name));
    let labels = json!({ "of": cluster.namespace });
    let node = |name: &str| json!({ "metadata": { "name": name, "labels": labels } });
    for name in [&one, &two] {
        cluster.post("/api/v1/nodes", &node(name)).await;
    }
    let set = json!({
        "metadata": { "name": "s" },
        "spec": {
            "selector": { "matchLabels": { "app": "s" } },
            "template": { "metadata": { "labels": { "app": "s" } }, "spec": {
                "nodeSelector": labels,
                // A new node is not ready, and here it stays so.
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "c", "image": "i" }],
            } },
        },
    });
    cluster
        .post(&cluster.at_group("apps/v1", "daemonsets"), &set)
        .await;
    let nodes = |answer: &Answer| -> Vec<String> {
        let list = answer.json();
        let mut nodes: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| meant_for(pod).to_owned())
            .collect();
        nodes.sort();
        nodes
    };
    cluster
        .eventually(&pods, |answer| nodes(answer) == [&*one, &*two])
        .await;
    cluster.post("/api/v1/nodes", &node(&three)).await;
    cluster
        .eventually(&pods, |answer| nodes(answer) == [&*one, &*two, &*three])
        .await;
}

/// The node that a daemon's pod asks the scheduler for.
fn meant_for(pod: &Value) -> &str {
    let required = &pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]
        .as_str()
        .unwrap_or_else(|| panic!("a pod for any node: {pod}"))
}

async fn both_event_groups_show_the_same_events(cluster: Cluster) {
    let event = json!({
        "metadata": { "name": "e" },
        "regarding": { "kind": "Pod", "name": "p", "namespace": cluster.namespace },
        "reason": "FailedMount", "note": "text", "type": "Warning",
        "reportingController": "kubelet", "reportingInstance": "n", "action": "x",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let made = cluster
        .post(&cluster.at_group("events.k8s.io/v1", "events"), &event)
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = &cluster.at("events?fieldSelector=involvedObject.name%3Dp,reason%3DFailedMount");
    let core = cluster.get(path).await.json();
    assert_eq!(core["items"][0]["message"], "text");
    assert_eq!(core["items"][0]["reportingComponent"], "kubelet");
    let again = cluster
        .get(&cluster.at_group("events.k8s.io/v1", "events/e"))
        .await
        .json();
    assert_eq!(again["note"], "text");
    assert_eq!(again["regarding"]["name"], "p");
}
