//! Lists in pages, and watches that go on where a list ended.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, items, tests};

tests![
    a_watch_resumes_where_a_list_ended,
    a_live_watch_sees_what_happens,
    pages_show_one_moment;
    stand_in_only:
        requests_are_counted_by_user_namespace_and_connection = "a real server counts in its audit log, and no handshakes",
        requests_are_counted_by_who_sends_them = "a real server does not count by user agent",
        stopping_ends_watches = "the real one serves other tests too, and is killed"
];

/// The events of a watch that ends by itself, as (type, name).
async fn watched(cluster: &Cluster, path: &str) -> Vec<(String, String)> {
    let answer = cluster.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer
        .text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
        })
        .collect()
}

async fn a_watch_resumes_where_a_list_ended(cluster: Cluster) {
    let maps = cluster.maps();
    let label = |name: &str, on: &str| json!({ "metadata": { "name": name, "labels": { "on": on } } });
    cluster.post(&maps, &label("one", "yes")).await;
    let list = cluster
        .get(&format!("{maps}?labelSelector=on%3Dyes"))
        .await
        .json();
    assert_eq!(items(&list), ["one"]);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.post(&maps, &label("two", "no")).await;
    cluster
        .patch(&format!("{maps}/two"), "merge-patch", &label("two", "yes"))
        .await;
    cluster
        .patch(&format!("{maps}/one"), "merge-patch", &label("one", "no"))
        .await;
    cluster.delete(&format!("{maps}/two"), &json!({})).await;
    let event = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let path = format!("{maps}?watch=1&timeoutSeconds=1&labelSelector=on%3Dyes&resourceVersion={version}");
    assert_eq!(
        watched(&cluster, &path).await,
        [
            event("ADDED", "two"),
            event("DELETED", "one"),
            event("DELETED", "two")
        ]
    );
    // From now on: the state comes first, and a bookmark ends it.
    let path = format!(
        "{maps}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Done"
    );
    assert_eq!(
        watched(&cluster, &path).await,
        [event("ADDED", "one"), event("BOOKMARK", "")]
    );
}

async fn a_live_watch_sees_what_happens(cluster: Cluster) {
    let maps = cluster.maps();
    let path = format!("{maps}?watch=1&timeoutSeconds=2&resourceVersion=0&fieldSelector=metadata.name%3Dm");
    let (events, ()) = tokio::join!(watched(&cluster, &path), async {
        // The watch may begin before or after any of these: it sees them all the same.
        for turn in 0..3 {
            let map = json!({ "metadata": { "name": "m" }, "data": { "turn": turn.to_string() } });
            assert_eq!(cluster.post(&maps, &map).await.status, 201);
            cluster
                .post(&maps, &json!({ "metadata": { "name": format!("other-{turn}") } }))
                .await;
            if turn < 2 {
                assert_eq!(cluster.delete(&format!("{maps}/m"), &json!({})).await.status, 200);
            }
        }
    });
    assert_eq!(events.last(), Some(&("ADDED".to_owned(), "m".to_owned())));
    assert!(events.iter().all(|(_, name)| name == "m"), "{events:?}");
}

async fn pages_show_one_moment(cluster: Cluster) {
    let secrets = &cluster.at("secrets");
    let secret = |name: &str| json!({ "metadata": { "name": name, "labels": { "of": cluster.namespace } } });
    for name in ["a", "b", "c", "d"] {
        cluster.post(secrets, &secret(name)).await;
    }
    let first = cluster.get(&format!("{secrets}?limit=2")).await.json();
    assert_eq!(items(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    cluster.delete(&format!("{secrets}/c"), &json!({})).await;
    cluster.post(secrets, &secret("e")).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = cluster
        .get(&format!("{secrets}?limit=5&continue={token}"))
        .await
        .json();
    assert_eq!(items(&second), ["c", "d"]);
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
    assert!(second["metadata"]["continue"].is_null());
    let all = cluster
        .get(&format!(
            "/api/v1/secrets?labelSelector=of%3D{}&limit=1",
            cluster.namespace
        ))
        .await
        .json();
    let token = all["metadata"]["continue"].as_str().unwrap();
    let rest = cluster
        .get(&format!(
            "/api/v1/secrets?labelSelector=of%3D{}&continue={token}",
            cluster.namespace
        ))
        .await
        .json();
    assert_eq!(items(&rest), ["b", "d", "e"]);
}

async fn requests_are_counted_by_user_namespace_and_connection(cluster: Cluster) {
    let pods = &cluster.pods();
    let server = cluster.stand_in();
    let token = server.component_token("system:serviceaccount:a:b");
    let get = |path: String| {
        let cluster = &cluster;
        let token = token.expose();
        async move { cluster.send_as(token, "GET", &path, None, Bytes::new()).await }
    };
    for path in [
        pods.clone(),
        pods.clone(),
        "/api/v1/namespaces/other/pods".to_owned(),
        "/api/v1/pods".to_owned(),
        "/version".to_owned(),
    ] {
        get(path).await;
    }
    cluster.get(pods).await;
    cluster
        .over_another_connection()
        .send_as(token.expose(), "GET", pods, None, Bytes::new())
        .await;

    let counts = server.requests().by_kind();
    let mut of_user: Vec<(&str, u64, u64)> = counts
        .iter()
        .filter(|(kind, _)| kind.user == "system:serviceaccount:a:b" && kind.resource == "pods")
        .map(|(kind, requests)| (kind.namespace.as_str(), requests.number, requests.handshakes))
        .collect();
    of_user.sort_unstable();
    // The first connection was there already: the admin had made it.
    assert_eq!(
        of_user,
        [("", 1, 0), ("other", 1, 0), (cluster.namespace.as_str(), 3, 1)]
    );
}

async fn requests_are_counted_by_who_sends_them(cluster: Cluster) {
    let pods = cluster.pods();
    cluster.get(&pods).await;
    let counted: u64 = cluster
        .stand_in()
        .requests()
        .by_kind()
        .iter()
        .filter(|(kind, _)| {
            kind.verb == "list" && kind.resource == "pods" && kind.user_agent.starts_with("Python")
        })
        .map(|(_, requests)| requests.number)
        .sum();
    assert_eq!(counted, 1);
}

async fn stopping_ends_watches(cluster: Cluster) {
    let pods = cluster.pods();
    let server = cluster.server();
    let request = http::Request::get(format!("{}{pods}?watch=1", server.url()))
        .header("authorization", format!("Bearer {}", server.admin_token()))
        .body(http_body_util::Full::new(Bytes::new()))
        .unwrap();
    let response = cluster.client.send(request).await.unwrap();
    tokio::time::timeout(PATIENCE, cluster.stop())
        .await
        .expect("the server stops");
    let rest = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap();
    assert!(rest.to_bytes().is_empty());
}
