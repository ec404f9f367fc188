//! Deletion in all its forms: grace, finalizers, owners, namespaces.

use serde_json::{Value, json};

use crate::support::{Cluster, items, pod, tests};

tests![
    a_running_pod_is_given_time_and_a_pending_one_is_not,
    an_object_with_finalizers_goes_when_the_last_is_taken_off,
    what_is_owned_follows_its_owner_as_asked,
    a_namespace_goes_when_it_is_empty,
];

async fn a_running_pod_is_given_time_and_a_pending_one_is_not(cluster: Cluster) {
    let pods = cluster.pods();
    let node = cluster.named("node");
    for name in ["pending", "running"] {
        assert_eq!(cluster.post(&pods, &pod(name)).await.status, 201);
    }
    let binding = json!({ "metadata": { "name": "running" }, "target": { "kind": "Node", "name": node } });
    let bound = cluster.post(&format!("{pods}/running/binding"), &binding).await;
    assert_eq!(bound.status, 201, "{}", bound.text);
    let again = cluster.post(&format!("{pods}/running/binding"), &binding).await;
    assert_eq!(again.status, 409);

    let gone = cluster.delete(&format!("{pods}/pending"), &json!({})).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["kind"].as_str()),
        (200, Some("Pod"))
    );
    assert_eq!(cluster.get(&format!("{pods}/pending")).await.status, 404);

    let waiting = cluster
        .delete(&format!("{pods}/running"), &json!({}))
        .await
        .json();
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 30);
    let there = cluster.get(&format!("{pods}/running")).await.json();
    assert_eq!(there["spec"]["nodeName"], node);
    assert!(there["metadata"]["deletionTimestamp"].is_string());
    // The kubelet's last word.
    let last = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": there["metadata"]["uid"] } });
    assert_eq!(
        cluster.delete(&format!("{pods}/running"), &last).await.status,
        200
    );
    assert_eq!(cluster.get(&format!("{pods}/running")).await.status, 404);
}

async fn an_object_with_finalizers_goes_when_the_last_is_taken_off(cluster: Cluster) {
    let maps = cluster.maps();
    let map = json!({ "metadata": { "name": "m", "finalizers": ["x/a", "x/b"] } });
    cluster.post(&maps, &map).await;
    let path = format!("{maps}/m");
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
    let maps = cluster.maps();
    let map = json!({ "metadata": { "name": name, "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
    }] } });
    let made = cluster.post(&maps, &map).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

async fn what_is_owned_follows_its_owner_as_asked(cluster: Cluster) {
    let maps = cluster.maps();
    for (policy, dependent_stays) in [("Background", false), ("Foreground", false), ("Orphan", true)] {
        let owner = cluster
            .post(&maps, &json!({ "metadata": { "name": "owner" } }))
            .await
            .json();
        owned_map(&cluster, "owned", &owner).await;
        let options = json!({ "propagationPolicy": policy });
        let deleted = cluster.delete(&format!("{maps}/owner"), &options).await;
        assert_eq!(deleted.status, 200, "{policy}: {}", deleted.text);
        cluster
            .eventually(&format!("{maps}/owner"), |answer| answer.status == 404)
            .await;
        if dependent_stays {
            let left = cluster.get(&format!("{maps}/owned")).await.json();
            assert!(left["metadata"]["ownerReferences"].is_null(), "{left}");
        } else {
            cluster
                .eventually(&format!("{maps}/owned"), |answer| answer.status == 404)
                .await;
        }
    }
    // Owned by what never was: garbage from the start.
    cluster.delete(&format!("{maps}/owned"), &json!({})).await;
    let nobody = json!({ "metadata": { "name": "x", "uid": "00000000-0000-0000-0000-000000000000" } });
    owned_map(&cluster, "lost", &nobody).await;
    cluster
        .eventually(&format!("{maps}/lost"), |answer| answer.status == 404)
        .await;
}

async fn a_namespace_goes_when_it_is_empty(cluster: Cluster) {
    let pods = cluster.pods();
    let maps = cluster.maps();
    cluster.post(&pods, &pod("p")).await;
    cluster
        .post(
            &format!("{pods}/p/binding"),
            &json!({ "metadata": { "name": "p" }, "target": { "name": cluster.named("node") } }),
        )
        .await;
    cluster.post(&pods, &pod("unbound")).await;
    cluster
        .post(&maps, &json!({ "metadata": { "name": "kept" } }))
        .await;
    let deleted = cluster.delete(&cluster.itself(), &json!({})).await.json();
    assert_eq!(deleted["status"]["phase"], "Terminating");
    // A bound pod waits for its kubelet, the rest for the pod, and the namespace for all of it.
    cluster
        .eventually(&format!("{pods}/p"), |answer| {
            answer.json()["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    cluster
        .eventually(&format!("{pods}/unbound"), |answer| answer.status == 404)
        .await;
    assert_eq!(
        items(&cluster.get(&maps).await.json()),
        ["kept", "kube-root-ca.crt"]
    );
    assert_eq!(cluster.get(&cluster.itself()).await.status, 200);
    let late = cluster
        .post(&maps, &json!({ "metadata": { "name": "late" } }))
        .await;
    assert_eq!(
        late.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    cluster
        .delete(&format!("{pods}/p"), &json!({ "gracePeriodSeconds": 0 }))
        .await;
    cluster
        .eventually(&cluster.itself(), |answer| answer.status == 404)
        .await;
    let forbidden = cluster.delete("/api/v1/namespaces/default", &json!({})).await;
    assert_eq!(forbidden.status, 403);
}
