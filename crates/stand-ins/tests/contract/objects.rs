//! What can be done with any object: written in parts, tried out, named, asked for in part.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Cluster, items, pod, tests};

tests![
    status_and_spec_are_written_apart,
    dry_runs_leave_nothing,
    generated_names_and_collections,
    metadata_alone_can_be_asked_for,
];

async fn status_and_spec_are_written_apart(cluster: Cluster) {
    let pods = cluster.pods();
    cluster.post(&pods, &pod("p")).await;
    let path = format!("{pods}/p");
    let both = json!({ "metadata": { "labels": { "l": "1" } }, "status": { "phase": "Running" } });
    let main = cluster.patch(&path, "merge-patch", &both).await.json();
    assert_eq!(
        (&main["status"]["phase"], &main["metadata"]["labels"]["l"]),
        (&json!("Pending"), &json!("1"))
    );
    let status = json!({ "spec": { "nodeName": "n" }, "status": { "phase": "Running" } });
    let status = cluster
        .patch(&format!("{path}/status"), "merge-patch", &status)
        .await
        .json();
    assert_eq!(status["status"]["phase"], "Running");
    assert!(status["spec"]["nodeName"].is_null());
    assert_eq!(status["metadata"]["generation"], 1);
    let moved = cluster
        .patch(&path, "merge-patch", &json!({ "spec": { "nodeName": "n" } }))
        .await;
    assert_eq!(moved.status, 422);
    // Nothing changed, so nothing is written.
    let same = cluster.patch(&path, "merge-patch", &both).await.json();
    assert_eq!(
        same["metadata"]["resourceVersion"],
        status["metadata"]["resourceVersion"]
    );
}

async fn dry_runs_leave_nothing(cluster: Cluster) {
    let pods = cluster.pods();
    let made = cluster.post(&format!("{pods}?dryRun=All"), &pod("p")).await;
    assert_eq!(made.status, 201);
    assert_eq!(cluster.get(&format!("{pods}/p")).await.status, 404);
    cluster.post(&pods, &pod("p")).await;
    let path = format!("{pods}/p?dryRun=All");
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(
        cluster.patch(&path, "merge-patch", &label).await.json()["metadata"]["labels"]["a"],
        "b"
    );
    assert_eq!(cluster.delete(&path, &json!({})).await.status, 200);
    assert!(cluster.get(&format!("{pods}/p")).await.json()["metadata"]["labels"].is_null());
}

async fn generated_names_and_collections(cluster: Cluster) {
    let maps = cluster.maps();
    for _ in 0..3 {
        let map = json!({ "metadata": { "generateName": "g-", "labels": { "g": "1" } } });
        let name = cluster.post(&maps, &map).await.json()["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(name.len(), 7, "{name}");
    }
    let deleted = cluster
        .delete(&format!("{maps}?labelSelector=g"), &json!({}))
        .await
        .json();
    assert_eq!(items(&deleted).len(), 3);
    assert_eq!(items(&cluster.get(&maps).await.json()), ["kube-root-ca.crt"]);
}

async fn metadata_alone_can_be_asked_for(cluster: Cluster) {
    let maps = cluster.maps();
    let token = cluster.server().admin_token().to_owned();
    let request = http::Request::get(format!("{}{maps}", cluster.server().url()))
        .header("authorization", format!("Bearer {token}"))
        .header(
            "accept",
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        )
        .body(http_body_util::Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let list: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!(list["items"][0]["kind"], "PartialObjectMetadata");
    assert!(list["items"][0]["data"].is_null());
}
