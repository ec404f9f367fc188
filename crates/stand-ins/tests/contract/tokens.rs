//! Service accounts and their tokens.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use mountproof_stand_ins::kubernetes::Defects;
use serde_json::{Value, json};

use crate::support::{Cluster, NODE, PATIENCE, pod, tests};

tests![
    tokens_name_who_they_are_bound_to,
    the_default_service_account_comes_back;
    stand_in_only: a_token_that_ignores_its_audience_can_be_planted = "no defect can be planted in a real one"
];

async fn tokens_name_who_they_are_bound_to(cluster: Cluster) {
    let pods = cluster.pods();
    let node = cluster
        .post("/api/v1/nodes", &json!({ "metadata": { "name": NODE } }))
        .await
        .json();
    let pod_made = cluster.post(&pods, &pod("p")).await.json();
    cluster
        .post(
            &format!("{pods}/p/binding"),
            &json!({ "metadata": { "name": "p" }, "target": { "name": NODE } }),
        )
        .await;
    let path = &cluster.at("serviceaccounts/default/token");
    let request = |uid: &Value, audience: &str| {
        json!({ "spec": {
            "audiences": [audience],
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid },
        } })
    };
    let uid = &pod_made["metadata"]["uid"];
    let issued = cluster
        .post(path, &request(uid, "sts.amazonaws.com"))
        .await
        .json();
    let bound = claims(&issued)["kubernetes.io"].clone();
    assert_eq!(bound["pod"], json!({ "name": "p", "uid": uid }));
    assert_eq!(
        bound["node"],
        json!({ "name": NODE, "uid": node["metadata"]["uid"] })
    );
    let other = cluster
        .post(path, &request(&"x".into(), "sts.amazonaws.com"))
        .await;
    assert_eq!(other.status, 409);

    // A token for STS is none for this server; one for this server is, until its pod is gone.
    // What everybody may see who is known.
    let as_token = async |token: &Value| {
        let token = token["status"]["token"].as_str().unwrap().to_owned();
        cluster
            .send_as(&token, "GET", "/api", None, Bytes::new())
            .await
            .status
    };
    assert_eq!(as_token(&issued).await, 401);
    let own = cluster
        .post(path, &request(uid, &cluster.server().issuer()))
        .await
        .json();
    assert_eq!(as_token(&own).await, 200);
    cluster
        .delete(&format!("{pods}/p"), &json!({ "gracePeriodSeconds": 0 }))
        .await;
    // The real server remembers for ten seconds whose a token is.
    let until = Instant::now() + PATIENCE;
    while as_token(&own).await != 401 {
        assert!(Instant::now() < until, "it outlives its pod");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A node may see its own pods, wherever they are.
    let node = cluster.server().component_token(&format!("system:node:{NODE}"));
    let own = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}");
    let answer = cluster.send_as(&node, "GET", &own, None, Bytes::new()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// What a token says.
fn claims(answer: &Value) -> Value {
    let token = answer["status"]["token"].as_str().unwrap();
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

async fn a_token_that_ignores_its_audience_can_be_planted(cluster: Cluster) {
    let path = &cluster.at("serviceaccounts/default/token");
    let mut defects = Defects::default();
    defects.token_ignores_audience = true;
    cluster.stand_in().set_defects(defects);
    let wrong = cluster
        .post(path, &json!({ "spec": { "audiences": ["sts.amazonaws.com"] } }))
        .await
        .json();
    assert_eq!(claims(&wrong)["aud"], json!([cluster.server().issuer()]));
}

async fn the_default_service_account_comes_back(cluster: Cluster) {
    let pods = cluster.pods();
    let path = &cluster.at("serviceaccounts/default");
    let first = cluster.get(path).await.json();
    assert_eq!(cluster.delete(path, &json!({})).await.status, 200);
    cluster
        .eventually(path, |answer| {
            answer.status == 200 && answer.json()["metadata"]["uid"] != first["metadata"]["uid"]
        })
        .await;
    let mut pod = pod("p");
    pod["spec"]["serviceAccountName"] = "missing".into();
    let refused = cluster.post(&pods, &pod).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["message"],
        format!(
            "pods \"p\" is forbidden: error looking up service account {}/missing: serviceaccount \"missing\" not found",
            cluster.namespace
        )
    );
}
