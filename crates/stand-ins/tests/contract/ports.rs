//! `pods/portforward`, as far as it is the API server's own to answer.

use bytes::Bytes;
use http::{
    Request,
    header::{
        AUTHORIZATION, CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
    },
};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

use crate::support::{Cluster, pod, tests};

tests![
    whose_ports_are_asked_for_is_checked_before_any_node_is_asked;
    stand_in_only:
        a_pod_that_does_not_run_is_refused_as_a_kubelet_refuses_it = "the real server asks the kubelet of a node",
        requests_for_ports_are_counted = "the real server counts in its audit log"
];

async fn whose_ports_are_asked_for_is_checked_before_any_node_is_asked(cluster: Cluster) {
    let waiting = pod("waiting");
    assert_eq!(cluster.post(&cluster.pods(), &waiting).await.status, 201);
    let bound = on_a_node(&cluster, "bound").await;
    assert_eq!(cluster.post(&cluster.pods(), &bound).await.status, 201);
    for (asked, status, message) in [
        ("bound/portforward?ports=80", 400, "Upgrade request required"),
        (
            "bound/portforward?ports=x",
            400,
            "cannot convert to []int32: strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
        (
            "bound/portforward?ports=80,70000",
            400,
            "cannot convert to []int32: strconv.ParseUint: parsing \"70000\": value out of range",
        ),
        ("none/portforward?ports=80", 404, "pods \"none\" not found"),
        (
            "waiting/portforward?ports=80",
            400,
            "pod waiting does not have a host assigned",
        ),
    ] {
        let answer = cluster.get(&format!("{}/{asked}", cluster.pods())).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["message"]),
            (status, &json!(message)),
            "{asked}"
        );
    }
    cluster.stop().await;
}

/// A pod on a node of the test's own, which has an address and no kubelet.
async fn on_a_node(cluster: &Cluster, name: &str) -> Value {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": cluster.named("node") },
        "status": { "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }] },
    });
    assert_eq!(cluster.post("/api/v1/nodes", &node).await.status, 201);
    let mut bound = pod(name);
    bound["spec"]["nodeName"] = json!(cluster.named("node"));
    bound
}

/// Asks as a client does that speaks WebSocket.
async fn upgrading(cluster: &Cluster, pod: &str, ports: &str) -> (u16, String) {
    let path = format!("{}/{pod}/portforward{ports}", cluster.pods());
    let request = Request::get(format!("{}{path}", cluster.server().url()))
        .header(
            AUTHORIZATION,
            format!("Bearer {}", cluster.server().admin_token()),
        )
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
        .header(SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let (head, body) = cluster.client.send(request).await.unwrap().into_parts();
    let text = if head.status == 101 {
        String::new()
    } else {
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    (head.status.as_u16(), text)
}

async fn a_pod_that_does_not_run_is_refused_as_a_kubelet_refuses_it(cluster: Cluster) {
    let bound = on_a_node(&cluster, "bound").await;
    assert_eq!(cluster.post(&cluster.pods(), &bound).await.status, 201);
    let unknown = format!("pod not found (\"bound_{}\")", cluster.namespace);
    for (phase, ports, status, text) in [
        ("Pending", "?ports=80", 500, unknown.as_str()),
        ("Succeeded", "?ports=80", 500, &unknown),
        ("Running", "", 400, "query parameter \"port\" is required"),
        ("Running", "?ports=80,0", 400, "port \"80,0\" must be > 0"),
        ("Running", "?ports=80,81", 101, ""),
    ] {
        let status_of = format!("{}/bound/status", cluster.pods());
        let patch = json!({ "status": { "phase": phase } });
        assert_eq!(cluster.patch(&status_of, "merge-patch", &patch).await.status, 200);
        let answer = upgrading(&cluster, "bound", ports).await;
        assert_eq!(answer, (status, text.to_owned()), "{phase} {ports}");
    }
    cluster.stop().await;
}

async fn requests_for_ports_are_counted(cluster: Cluster) {
    cluster
        .get(&format!("{}/none/portforward?ports=80", cluster.pods()))
        .await;
    let counted = cluster.stand_in().requests().by_kind();
    let of_ports: Vec<_> = counted
        .iter()
        .filter(|(kind, _)| kind.resource == "pods/portforward")
        .map(|(kind, requests)| (kind.verb, kind.namespace.as_str(), requests.number))
        .collect();
    assert_eq!(of_ports, [("get", cluster.namespace.as_str(), 1)]);
    cluster.stop().await;
}
