//! What lists leave out: label and field selectors.

use serde_json::json;

use crate::support::{Cluster, items, pod, tests};

tests![selectors_choose_by_label_and_by_field,];

async fn selectors_choose_by_label_and_by_field(cluster: Cluster) {
    let pods = cluster.pods();
    let (here, other, node) = (&cluster.namespace, &cluster.named("b"), &cluster.named("n"));
    cluster.furnish(other).await;
    for (namespace, name, labels) in [
        (here, "red", json!({ "team": "red", "tier": "web" })),
        (here, "blue", json!({ "team": "blue" })),
        (here, "none", json!({})),
        (other, "red", json!({ "team": "red" })),
    ] {
        let mut pod = pod(name);
        pod["metadata"]["labels"] = labels;
        let made = cluster
            .post(&format!("/api/v1/namespaces/{namespace}/pods"), &pod)
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let binding = json!({ "metadata": { "name": "red" }, "target": { "kind": "Node", "name": node } });
    cluster.post(&format!("{pods}/red/binding"), &binding).await;
    let running = json!({ "status": { "phase": "Running" } });
    cluster
        .patch(&format!("{pods}/red/status"), "merge-patch", &running)
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
        (&format!("fieldSelector=spec.nodeName%3D{node}"), &["red"]),
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
        let list = cluster.get(&format!("{pods}?{query}")).await.json();
        assert_eq!(items(&list), expected, "{query}");
    }
    let everywhere = cluster.get("/api/v1/pods?labelSelector=team%3Dred").await.json();
    assert_eq!(items(&everywhere), ["red", "red"]);
    let elsewhere = cluster
        .get(&format!(
            "/api/v1/pods?fieldSelector=metadata.namespace%3D{other}"
        ))
        .await
        .json();
    assert_eq!(items(&elsewhere), ["red"]);
}
