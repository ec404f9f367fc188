//! `pods/portforward`, as far as it is the API server's own to answer.

use serde_json::json;

use crate::support::{Cluster, pod, tests};

tests![whose_ports_are_asked_for_is_checked_before_any_node_is_asked];

async fn whose_ports_are_asked_for_is_checked_before_any_node_is_asked(cluster: Cluster) {
    let waiting = pod("waiting");
    assert_eq!(cluster.post(&cluster.pods(), &waiting).await.status, 201);
    for (asked, status, message) in [
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
