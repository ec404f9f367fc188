//! Service accounts and their tokens.

use bytes::Bytes;
use mountproof_stand_ins::kubernetes::Defects;
use serde_json::{Value, json};

use crate::support::{PODS, cluster, pod};

#[tokio::test]
async fn tokens_name_who_they_are_bound_to() {
    let cluster = cluster().await;
    let node = cluster
        .post("/api/v1/nodes", &json!({ "metadata": { "name": "n" } }))
        .await
        .json();
    let pod_made = cluster.post(PODS, &pod("p")).await.json();
    cluster
        .post(
            &format!("{PODS}/p/binding"),
            &json!({ "target": { "name": "n" } }),
        )
        .await;
    let path = "/api/v1/namespaces/a/serviceaccounts/default/token";
    let request = |uid: &Value, audience: &str| {
        json!({ "spec": {
            "audiences": [audience],
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid },
        } })
    };
    let uid = &pod_made["metadata"]["uid"];
    let claims = |answer: &Value| -> Value {
        use base64::Engine as _;
        let token = answer["status"]["token"].as_str().unwrap();
        let part = token.split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(part)
            .unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let issued = cluster
        .post(path, &request(uid, "sts.amazonaws.com"))
        .await
        .json();
    let bound = claims(&issued)["kubernetes.io"].clone();
    assert_eq!(bound["pod"], json!({ "name": "p", "uid": uid }));
    assert_eq!(
        bound["node"],
        json!({ "name": "n", "uid": node["metadata"]["uid"] })
    );
    let other = cluster
        .post(path, &request(&"x".into(), "sts.amazonaws.com"))
        .await;
    assert_eq!(other.status, 409);

    // A token for STS is none for this server; one for this server is, until its pod is gone.
    let as_token = async |token: &Value| {
        let token = token["status"]["token"].as_str().unwrap().to_owned();
        cluster
            .send_as(&token, "GET", PODS, None, Bytes::new())
            .await
            .status
    };
    assert_eq!(as_token(&issued).await, 401);
    let own = cluster
        .post(path, &request(uid, cluster.server.issuer()))
        .await
        .json();
    assert_eq!(as_token(&own).await, 200);
    cluster
        .delete(&format!("{PODS}/p"), &json!({ "gracePeriodSeconds": 0 }))
        .await;
    assert_eq!(as_token(&own).await, 401);
    assert_eq!(
        cluster.send_as("", "GET", PODS, None, Bytes::new()).await.json()["reason"],
        "Unauthorized"
    );
    let node = cluster.server.component_token("system:node:n");
    assert_eq!(
        cluster
            .send_as(node.expose(), "GET", PODS, None, Bytes::new())
            .await
            .status,
        200
    );

    let mut defects = Defects::default();
    defects.token_ignores_audience = true;
    cluster.server.set_defects(defects);
    let wrong = cluster
        .post(path, &json!({ "spec": { "audiences": ["sts.amazonaws.com"] } }))
        .await
        .json();
    assert_eq!(claims(&wrong)["aud"], json!([cluster.server.issuer()]));
}

#[tokio::test]
async fn the_default_service_account_comes_back() {
    let cluster = cluster().await;
    let path = "/api/v1/namespaces/a/serviceaccounts/default";
    let first = cluster.get(path).await.json();
    assert_eq!(cluster.delete(path, &json!({})).await.status, 200);
    cluster
        .eventually(path, |answer| {
            answer.status == 200 && answer.json()["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await;
    let mut pod = pod("p");
    pod["spec"]["serviceAccountName"] = "missing".into();
    let refused = cluster.post(PODS, &pod).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"p\" is forbidden: error looking up service account a/missing: serviceaccount \"missing\" not found"
    );
}
