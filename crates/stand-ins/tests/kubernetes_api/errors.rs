//! Errors are `Status` objects, with the codes and reasons that clients act on.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::support::{Cluster, MAPS, PODS, cluster, pod};

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

#[tokio::test]
async fn every_refusal_is_a_status() {
    let cluster = cluster().await;
    cluster.post(PODS, &pod("p")).await;
    let json_type = Some("application/json");
    let token = |rv: u64| {
        use base64::Engine as _;
        let token = json!({ "v": "meta.k8s.io/v1", "rv": rv, "start": "/a\u{0}" }).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(token)
    };
    let expired = format!("{MAPS}?limit=1&continue={}", token(1));
    let future = format!("{MAPS}?resourceVersion=999999999");
    let other_kind = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "x" } }).to_string();
    let other_name = json!({ "metadata": { "name": "other" } }).to_string();
    let mismatch = json!({ "preconditions": { "uid": "x" } }).to_string();
    let unset = json!({ "metadata": { "name": "p" }, "spec": { "containers": [] } }).to_string();
    let pod_at = format!("{PODS}/p");
    for (method, path, content_type, body, code, reason) in [
        ("POST", MAPS, json_type, "{", 400, "BadRequest"),
        ("POST", MAPS, json_type, other_kind.as_str(), 400, "BadRequest"),
        ("PUT", &pod_at, json_type, &other_name, 400, "BadRequest"),
        ("GET", &format!("{MAPS}?limit=x"), None, "", 400, "BadRequest"),
        (
            "GET",
            &format!("{MAPS}?labelSelector=a%3D%3D%3Db"),
            None,
            "",
            400,
            "BadRequest",
        ),
        (
            "GET",
            &format!("{MAPS}?fieldSelector=data.k%3D1"),
            None,
            "",
            400,
            "BadRequest",
        ),
        (
            "GET",
            &format!("{MAPS}?continue=abc"),
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
        ("GET", "/api/v1/namespaces/a/pods/none", None, "", 404, "NotFound"),
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
            &format!("{PODS}/p/status"),
            json_type,
            "{}",
            405,
            "MethodNotAllowed",
        ),
        ("DELETE", &pod_at, json_type, &mismatch, 409, "Conflict"),
        ("GET", &expired, None, "", 410, "Expired"),
        (
            "POST",
            MAPS,
            Some("application/vnd.kubernetes.protobuf"),
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

#[tokio::test]
async fn who_may_not_and_what_cannot_be_had() {
    let cluster = cluster().await;
    for token in ["", "made-up", "a.b.c"] {
        let answer = cluster.send_as(token, "GET", PODS, None, Bytes::new()).await;
        assert_eq!(
            refusal(answer.status.as_u16(), &answer.json()),
            (401, "Unauthorized"),
            "{token:?}"
        );
    }
    let admin = cluster.server.admin_token().expose().to_owned();
    for (accept, status) in [
        ("application/vnd.kubernetes.protobuf", 406),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", 406),
        ("application/vnd.kubernetes.protobuf,application/json", 200),
        (
            "application/json;as=Table;g=meta.k8s.io;v=v1,application/json",
            200,
        ),
        ("*/*", 200),
    ] {
        let (given, body) = accepting(&cluster, &admin, accept).await;
        assert_eq!(given, status, "{accept}: {body}");
        if status == 406 {
            assert_eq!(refusal(given, &body), (406, "NotAcceptable"), "{accept}");
        }
    }
}

/// A list, asked for in some form.
async fn accepting(cluster: &Cluster, token: &str, accept: &str) -> (u16, Value) {
    let request = Request::get(format!("{}{PODS}", cluster.server.url()))
        .header("authorization", format!("Bearer {token}"))
        .header("accept", accept)
        .body(Full::new(Bytes::new()))
        .unwrap();
    let (head, body) = cluster.client.send(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), serde_json::from_slice(&body).unwrap())
}
