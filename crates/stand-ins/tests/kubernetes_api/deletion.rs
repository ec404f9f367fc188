//! Deletion in all its forms: grace, finalizers, owners, namespaces.

use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, PODS, cluster, items, pod};

#[tokio::test]
async fn a_running_pod_is_given_time_and_a_pending_one_is_not() {
    let cluster = cluster().await;
    for name in ["pending", "running"] {
        assert_eq!(cluster.post(PODS, &pod(name)).await.status, 201);
    }
    let binding = json!({ "metadata": { "name": "running" }, "target": { "kind": "Node", "name": "n" } });
    let bound = cluster.post(&format!("{PODS}/running/binding"), &binding).await;
    assert_eq!(bound.status, 201, "{}", bound.text);
    let again = cluster.post(&format!("{PODS}/running/binding"), &binding).await;
    assert_eq!(again.status, 409);

    let gone = cluster.delete(&format!("{PODS}/pending"), &json!({})).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["kind"].as_str()),
        (200, Some("Pod"))
    );
    assert_eq!(cluster.get(&format!("{PODS}/pending")).await.status, 404);

    let waiting = cluster
        .delete(&format!("{PODS}/running"), &json!({}))
        .await
        .json();
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 30);
    let there = cluster.get(&format!("{PODS}/running")).await.json();
    assert_eq!(there["spec"]["nodeName"], "n");
    assert!(there["metadata"]["deletionTimestamp"].is_string());
    // The kubelet's last word.
    let last = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": there["metadata"]["uid"] } });
    assert_eq!(
        cluster.delete(&format!("{PODS}/running"), &last).await.status,
        200
    );
    assert_eq!(cluster.get(&format!("{PODS}/running")).await.status, 404);
}

#[tokio::test]
async fn an_object_with_finalizers_goes_when_the_last_is_taken_off() {
    let cluster = cluster().await;
    let map = json!({ "metadata": { "name": "m", "finalizers": ["x/a", "x/b"] } });
    cluster.post(MAPS, &map).await;
    let path = format!("{MAPS}/m");
    let waiting = cluster.delete(&path, &json!({})).await.json();
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let added = json!({ "metadata": { "finalizers": ["x/a", "x/b", "x/c"] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &added).await.status, 422);
    let one = json!({ "metadata": { "finalizers": ["x/b"] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &one).await.status, 200);
    let none = json!({ "metadata": { "finalizers": [] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &none).await.status, 200);
    assert_eq!(cluster.get(&path).await.status, 404);
}

async fn owned_map(cluster: &Cluster, name: &str, owner: &Value) {
    let map = json!({ "metadata": { "name": name, "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
    }] } });
    let made = cluster.post(MAPS, &map).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

#[tokio::test]
async fn what_is_owned_follows_its_owner_as_asked() {
    let cluster = cluster().await;
    for (policy, dependent_stays) in [("Background", false), ("Foreground", false), ("Orphan", true)] {
        let owner = cluster
            .post(MAPS, &json!({ "metadata": { "name": "owner" } }))
            .await
            .json();
        owned_map(&cluster, "owned", &owner).await;
        let options = json!({ "propagationPolicy": policy });
        let deleted = cluster.delete(&format!("{MAPS}/owner"), &options).await;
        assert_eq!(deleted.status, 200, "{policy}: {}", deleted.text);
        cluster
            .eventually(&format!("{MAPS}/owner"), |answer| answer.status == 404)
            .await;
        if dependent_stays {
            let left = cluster.get(&format!("{MAPS}/owned")).await.json();
            assert!(left["metadata"]["ownerReferences"].is_null(), "{left}");
        } else {
            cluster
                .eventually(&format!("{MAPS}/owned"), |answer| answer.status == 404)
                .await;
        }
    }
    // Owned by what never was: garbage from the start.
    cluster.delete(&format!("{MAPS}/owned"), &json!({})).await;
    let nobody = json!({ "metadata": { "name": "x", "uid": "00000000-0000-0000-0000-000000000000" } });
    owned_map(&cluster, "lost", &nobody).await;
    cluster
        .eventually(&format!("{MAPS}/lost"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_empty() {
    let cluster = cluster().await;
    cluster.post(PODS, &pod("p")).await;
    cluster
        .post(
            &format!("{PODS}/p/binding"),
            &json!({ "target": { "name": "n" } }),
        )
        .await;
    let deleted = cluster.delete("/api/v1/namespaces/a", &json!({})).await.json();
    assert_eq!(deleted["status"]["phase"], "Terminating");
    // A bound pod waits for its kubelet, and the namespace for the pod.
    cluster
        .eventually(MAPS, |answer| items(&answer.json()).is_empty())
        .await;
    cluster
        .eventually(&format!("{PODS}/p"), |answer| {
            answer.json()["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    assert_eq!(cluster.get("/api/v1/namespaces/a").await.status, 200);
    let late = cluster
        .post(MAPS, &json!({ "metadata": { "name": "late" } }))
        .await;
    assert_eq!(
        late.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    cluster
        .delete(&format!("{PODS}/p"), &json!({ "gracePeriodSeconds": 0 }))
        .await;
    cluster
        .eventually("/api/v1/namespaces/a", |answer| answer.status == 404)
        .await;
    let forbidden = cluster.delete("/api/v1/namespaces/default", &json!({})).await;
    assert_eq!(forbidden.status, 403);
}
