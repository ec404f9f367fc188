//! What lists leave out: label and field selectors.

use serde_json::json;

use crate::support::{PODS, cluster, items, pod};

#[tokio::test]
async fn selectors_choose_by_label_and_by_field() {
    let cluster = cluster().await;
    cluster.namespace("b").await;
    for (namespace, name, labels) in [
        ("a", "red", json!({ "team": "red", "tier": "web" })),
        ("a", "blue", json!({ "team": "blue" })),
        ("a", "none", json!({})),
        ("b", "red", json!({ "team": "red" })),
    ] {
        let mut pod = pod(name);
        pod["metadata"]["labels"] = labels;
        let made = cluster
            .post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod)
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let binding = json!({ "target": { "kind": "Node", "name": "n" } });
    cluster.post(&format!("{PODS}/red/binding"), &binding).await;
    let running = json!({ "status": { "phase": "Running" } });
    cluster
        .patch(&format!("{PODS}/red/status"), "merge-patch", &running)
        .await;

    for (query, expected) in [
        ("labelSelector=team%3Dred", &["red"][..]),
        ("labelSelector=team%3D%3Dred,tier%3Dweb", &["red"]),
        ("labelSelector=team!%3Dred", &["blue", "none"]),
        ("labelSelector=team%20in%20(red,blue)", &["blue", "red"]),
        ("labelSelector=team%20notin%20(red)", &["blue", "none"]),
        ("labelSelector=tier", &["red"]),
        ("labelSelector=!team", &["none"]),
        ("fieldSelector=metadata.name%3Dblue", &["blue"]),
        ("fieldSelector=metadata.name!%3Dblue", &["none", "red"]),
        ("fieldSelector=spec.nodeName%3Dn", &["red"]),
        ("fieldSelector=spec.nodeName%3D", &["blue", "none"]),
        (
            "fieldSelector=status.phase%3DPending,spec.serviceAccountName%3Ddefault",
            &["blue", "none"],
        ),
        (
            "labelSelector=team%3Dblue&fieldSelector=status.phase%3DRunning",
            &[],
        ),
        ("", &["blue", "none", "red"]),
    ] {
        let list = cluster.get(&format!("{PODS}?{query}")).await.json();
        assert_eq!(items(&list), expected, "{query}");
    }
    let everywhere = cluster.get("/api/v1/pods?labelSelector=team%3Dred").await.json();
    assert_eq!(items(&everywhere), ["red", "red"]);
    let elsewhere = cluster
        .get("/api/v1/pods?fieldSelector=metadata.namespace%3Db")
        .await
        .json();
    assert_eq!(items(&elsewhere), ["red"]);
}
