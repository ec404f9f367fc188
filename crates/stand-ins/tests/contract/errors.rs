//! Errors are `Status` objects, with the codes and reasons that clients act on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Cluster, pod, tests};

tests![
    every_refusal_is_a_status,
    who_may_not,
    what_forms_can_be_had;
    stand_in_only:
        a_list_that_is_too_old_is_expired = "a real store forgets after five minutes, and the tests are over by then"
];

/// Code and reason of a refusal, which has to be a whole `Status`.
fn refusal(status: u16, body: &Value) -> (u16, &str) {
    assert_eq!(
        (&body["kind"], &body["apiVersion"]),
        (&json!("Status"), &json!("v1")),
        "{body}"
    );
    assert_eq!(
        (&body["status"], &body["code"]),
        (&json!("Failure"), &json!(status)),
        "{body}"
    );
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{body}"
    );
    (status, body["reason"].as_str().unwrap_or_default())
}

async fn every_refusal_is_a_status(cluster: Cluster) {
    let pods = cluster.pods();
    let maps = cluster.maps();
    cluster.post(&pods, &pod("p")).await;
    let json_type = Some("application/json");
    let future = format!("{maps}?resourceVersion=999999999");
    let other_kind = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "x" } }).to_string();
    let other_name = json!({ "metadata": { "name": "other" } }).to_string();
    let mismatch = json!({ "preconditions": { "uid": "x" } }).to_string();
    let unset = json!({ "metadata": { "name": "p" }, "spec": { "containers": [] } }).to_string();
    let pod_at = format!("{pods}/p");
    for (method, path, content_type, body, code, reason) in [
        ("POST", maps.as_str(), json_type, "{", 400, "BadRequest"),
        ("POST", &maps, json_type, other_kind.as_str(), 400, "BadRequest"),
        ("PUT", &pod_at, json_type, &other_name, 400, "BadRequest"),
        ("GET", &format!("{maps}?limit=x"), None, "", 400, "BadRequest"),
        (
            "GET",
            &format!("{maps}?labelSelector=a%3D%3D%3Db"),
            None,
            "",
            400,
            "BadRequest",
        ),
        (
            "GET",
            &format!("{maps}?fieldSelector=data.k%3D1"),
            None,
            "",
            400,
            "BadRequest",
        ),
        (
            "GET",
            &format!("{maps}?continue=abc"),
            None,
            "",
            400,
            "BadRequest",
        ),
        (
            "PATCH",
            &pod_at,
            Some("application/merge-patch+json"),
            "[",
            400,
            "BadRequest",
        ),
        ("DELETE", "/api/v1/namespaces/default", None, "", 403, "Forbidden"),
        ("GET", &format!("{pods}/none"), None, "", 404, "NotFound"),
        (
            "POST",
            "/api/v1/namespaces/none/configmaps",
            json_type,
            &other_name,
            404,
            "NotFound",
        ),
        (
            "PUT",
            "/api/v1/namespaces",
            json_type,
            "{}",
            405,
            "MethodNotAllowed",
        ),
        ("DELETE", "/api/v1/namespaces", None, "", 405, "MethodNotAllowed"),
        (
            "POST",
            "/api/v1/configmaps",
            json_type,
            &other_name,
            405,
            "MethodNotAllowed",
        ),
        (
            "POST",
            &format!("{pods}/p/status"),
            json_type,
            "{}",
            405,
            "MethodNotAllowed",
        ),
        ("DELETE", &pod_at, json_type, &mismatch, 409, "Conflict"),
        (
            "POST",
            &maps,
            Some("text/plain"),
            "x",
            415,
            "UnsupportedMediaType",
        ),
        ("PATCH", &pod_at, json_type, "{}", 415, "UnsupportedMediaType"),
        ("PUT", &pod_at, json_type, &unset, 422, "Invalid"),
        (
            "PATCH",
            &pod_at,
            Some("application/json-patch+json"),
            r#"[{"op":"remove","path":"/none"}]"#,
            422,
            "Invalid",
        ),
        ("GET", &future, None, "", 504, "Timeout"),
    ] {
        let answer = cluster.send(method, path, content_type, body.to_owned()).await;
        let given = refusal(answer.status.as_u16(), &answer.json()).0;
        assert_eq!(given, code, "{method} {path}: {}", answer.text);
        assert_eq!(
            answer.json()["reason"],
            reason,
            "{method} {path}: {}",
            answer.text
        );
    }
    // The controls: nothing of this changed anything.
    assert_eq!(cluster.get(&pod_at).await.status, 200);
}

async fn a_list_that_is_too_old_is_expired(cluster: Cluster) {
    let maps = cluster.maps();
    let token = json!({ "v": "meta.k8s.io/v1", "rv": 1, "start": "/a\u{0}" }).to_string();
    let token = URL_SAFE_NO_PAD.encode(token);
    let answer = cluster.get(&format!("{maps}?limit=1&continue={token}")).await;
    assert_eq!(refusal(answer.status.as_u16(), &answer.json()), (410, "Expired"));
}

async fn who_may_not(cluster: Cluster) {
    let pods = cluster.pods();
    for token in ["made-up", "a.b.c"] {
        let answer = cluster.send_as(token, "GET", &pods, None, Bytes::new()).await;
        assert_eq!(
            refusal(answer.status.as_u16(), &answer.json()),
            (401, "Unauthorized"),
            "{token:?}"
        );
    }
    let namespace = &cluster.namespace;
    let deployments = cluster.at_group("apps/v1", "deployments/d/status");
    for (method, path, what) in [
        (
            "GET",
            &*pods,
            format!(r#"pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" in the namespace "{namespace}""#),
        ),
        (
            "PUT",
            &deployments,
            format!(r#"deployments.apps "d" is forbidden: User "system:anonymous" cannot update resource "deployments/status" in API group "apps" in the namespace "{namespace}""#),
        ),
        (
            "DELETE",
            "/api/v1/nodes",
            r#"nodes is forbidden: User "system:anonymous" cannot deletecollection resource "nodes" in API group "" at the cluster scope"#.to_owned(),
        ),
        (
            "GET",
            "/api/v1/namespaces/default",
            r#"namespaces "default" is forbidden: User "system:anonymous" cannot get resource "namespaces" in API group "" in the namespace "default""#.to_owned(),
        ),
        ("GET", "/apis", r#"forbidden: User "system:anonymous" cannot get path "/apis""#.to_owned()),
    ] {
        let answer = cluster.send_as("", method, path, None, Bytes::new()).await;
        let body = answer.json();
        assert_eq!(refusal(answer.status.as_u16(), &body), (403, "Forbidden"), "{method} {path}");
        assert_eq!(body["message"], what, "{method} {path}");
    }
    let details = cluster
        .send_as("", "PUT", &deployments, None, Bytes::new())
        .await
        .json()["details"]
        .clone();
    assert_eq!(
        details,
        json!({ "name": "d", "group": "apps", "kind": "deployments" })
    );
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        let answer = cluster.send_as("", "GET", path, None, Bytes::new()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    }
}

async fn what_forms_can_be_had(cluster: Cluster) {
    let pods = cluster.pods();
    for accept in [
        "application/json",
        "application/yaml;q=0.5,application/json",
        "*/*",
    ] {
        let (given, body) = cluster.accepting(&pods, accept).await;
        assert_eq!(
            (given, &body["kind"]),
            (200, &json!("PodList")),
            "{accept}: {body}"
        );
    }
    let (given, body) = cluster.accepting(&pods, "text/html").await;
    assert_eq!(refusal(given, &body), (406, "NotAcceptable"), "{body}");
}
