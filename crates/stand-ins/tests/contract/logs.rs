//! `pods/log`, as far as it is the API server's own to answer.

use serde_json::{Value, json};

use crate::support::{Cluster, tests};

tests![whose_log_is_asked_for_is_checked_before_any_node_is_asked];

fn pod(name: &str, containers: &[&str]) -> Value {
    let containers = containers
        .iter()
        .map(|name| json!({ "name": name, "image": "i:1" }));
    json!({ "metadata": { "name": name }, "spec": {
        "schedulerName": "none", "containers": containers.collect::<Vec<_>>(),
    } })
}

async fn whose_log_is_asked_for_is_checked_before_any_node_is_asked(cluster: Cluster) {
    for pod in [pod("one", &["c"]), pod("two", &["a", "b"])] {
        assert_eq!(cluster.post(&cluster.pods(), &pod).await.status, 201);
    }
    for (asked, status, message) in [
        ("none/log", 404, "pods \"none\" not found"),
        ("one/log?container=x", 400, "container x is not valid for pod one"),
        (
            "two/log",
            400,
            "a container name must be specified for pod two, choose one of: [a b]",
        ),
        (
            "one/log?sinceSeconds=0",
            422,
            "PodLogOptions \"one\" is invalid: sinceSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "one/log?limitBytes=0",
            422,
            "PodLogOptions \"one\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
    ] {
        let answer = cluster.get(&format!("{}/{asked}", cluster.pods())).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["message"]),
            (status, &json!(message)),
            "{asked}"
        );
    }
    // On no node nothing was written.
    for asked in ["one/log", "two/log?container=a"] {
        let answer = cluster.get(&format!("{}/{asked}", cluster.pods())).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (204, ""),
            "{asked}"
        );
    }
    cluster.stop().await;
}
