//! The patch formats, and writes that come too late.

use serde_json::{Value, json};

use crate::support::{Cluster, pod, tests};

tests![
    each_format_changes_what_it_says,
    an_applier_owns_what_it_applies,
    a_write_that_comes_too_late_is_a_conflict,
    of_writes_at_the_same_time_none_is_lost,
];

async fn each_format_changes_what_it_says(cluster: Cluster) {
    let pods = cluster.pods();
    let mut made = pod("p");
    made["spec"]["containers"][0]["env"] =
        json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "1" }]);
    made["metadata"]["labels"] = json!({ "a": "1", "b": "1" });
    made["metadata"]["finalizers"] = json!(["x/one"]);
    let path = format!("{pods}/p");
    for (format, patch, place, expected) in [
        (
            "json-patch",
            json!([{ "op": "replace", "path": "/metadata/labels/a", "value": "2" }]),
            "/metadata/labels",
            json!({ "a": "2", "b": "1" }),
        ),
        (
            "json-patch",
            json!([{ "op": "remove", "path": "/metadata/labels/a" }]),
            "/metadata/labels",
            json!({ "b": "1" }),
        ),
        (
            "merge-patch",
            json!({ "metadata": { "labels": { "a": null, "c": "3" } } }),
            "/metadata/labels",
            json!({ "b": "1", "c": "3" }),
        ),
        // A merge patch knows lists as a whole only.
        (
            "merge-patch",
            json!({ "metadata": { "finalizers": ["x/two"] } }),
            "/metadata/finalizers",
            json!(["x/two"]),
        ),
        // A strategic one knows what they are made of.
        (
            "strategic-merge-patch",
            json!({ "metadata": { "finalizers": ["x/two"] } }),
            "/metadata/finalizers",
            json!(["x/two", "x/one"]),
        ),
        (
            "strategic-merge-patch",
            json!({ "metadata": { "$setElementOrder/finalizers": ["x/one", "x/two"], "finalizers": ["x/two"] } }),
            "/metadata/finalizers",
            json!(["x/one", "x/two"]),
        ),
        (
            "strategic-merge-patch",
            json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["x/one"], "finalizers": ["x/two"] } }),
            "/metadata/finalizers",
            json!(["x/two"]),
        ),
        (
            "strategic-merge-patch",
            json!({ "spec": { "containers": [{ "name": "c", "image": "i:2" }] } }),
            "/spec/containers/0/env",
            json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "1" }]),
        ),
    ] {
        assert_eq!(cluster.post(&pods, &made).await.status, 201);
        let patched = cluster.patch(&path, format, &patch).await;
        assert_eq!(patched.status, 200, "{format} {patch}: {}", patched.text);
        assert_eq!(patched.json().pointer(place), Some(&expected), "{format} {patch}");
        assert_eq!(
            cluster.get(&path).await.json().pointer(place),
            Some(&expected),
            "{format} {patch}"
        );
        cluster
            .patch(
                &path,
                "merge-patch",
                &json!({ "metadata": { "finalizers": null } }),
            )
            .await;
        cluster.delete(&path, &json!({})).await;
    }
}

async fn an_applier_owns_what_it_applies(cluster: Cluster) {
    let maps = cluster.maps();
    let path = |manager: &str, more: &str| format!("{maps}/c?fieldManager={manager}{more}");
    let map = |data: Value| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "c" }, "data": data });
    let one = cluster
        .patch(&path("one", ""), "apply", &map(json!({ "a": "1", "b": "1" })))
        .await;
    assert_eq!(one.status, 201, "{}", one.text);
    let managed = &one.json()["metadata"]["managedFields"];
    assert_eq!(
        (&managed[0]["manager"], &managed[0]["operation"]),
        (&json!("one"), &json!("Apply"))
    );
    assert_eq!(managed[0]["fieldsV1"]["f:data"], json!({ "f:a": {}, "f:b": {} }));

    let other = map(json!({ "b": "2" }));
    let refused = cluster.patch(&path("two", ""), "apply", &other).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["reason"]),
        (409, &json!("Conflict"))
    );
    assert_eq!(refused.json()["details"]["causes"][0]["field"], ".data.b");
    let forced = cluster
        .patch(&path("two", "&force=true"), "apply", &other)
        .await
        .json();
    assert_eq!(forced["data"], json!({ "a": "1", "b": "2" }));
    // What an applier no longer speaks about goes, but for what others own.
    let dropped = cluster
        .patch(&path("one", ""), "apply", &map(json!({})))
        .await
        .json();
    assert_eq!(dropped["data"], json!({ "b": "2" }));
    let nobody = cluster.patch(&format!("{maps}/c"), "apply", &other).await;
    assert_eq!(nobody.status, 422, "an applier has a name: {}", nobody.text);
}

async fn a_write_that_comes_too_late_is_a_conflict(cluster: Cluster) {
    let maps = cluster.maps();
    let first = cluster
        .post(
            &maps,
            &json!({ "metadata": { "name": "m" }, "data": { "turn": "1" } }),
        )
        .await
        .json();
    let path = format!("{maps}/m");
    let put = async |object: &Value| {
        cluster
            .send("PUT", &path, Some("application/json"), object.to_string())
            .await
    };
    let mut second = first.clone();
    second["data"]["turn"] = json!("2");
    assert_eq!(put(&second).await.status, 200);
    for late in [put(&second).await, cluster.patch(&path, "merge-patch", &json!({ "metadata": { "resourceVersion": first["metadata"]["resourceVersion"] }, "data": { "turn": "3" } })).await] {
        assert_eq!((late.status.as_u16(), &late.json()["reason"]), (409, &json!("Conflict")));
        let message = late.json()["message"].as_str().unwrap().to_owned();
        assert!(message.ends_with("the object has been modified; please apply your changes to the latest version and try again"), "{message}");
    }
    // Without a version the last one wins; under another uid it is another object.
    second["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    second["data"]["turn"] = json!("4");
    assert_eq!(put(&second).await.json()["data"]["turn"], "4");
    second["metadata"]["uid"] = json!("00000000-0000-0000-0000-000000000000");
    assert_eq!(put(&second).await.status, 409);
}

/// Thirty clients count up one number, each of them by reading, adding and writing until no other came between.
async fn of_writes_at_the_same_time_none_is_lost(cluster: Cluster) {
    let maps = cluster.maps();
    cluster
        .post(
            &maps,
            &json!({ "metadata": { "name": "m" }, "data": { "count": "0" } }),
        )
        .await;
    let path = format!("{maps}/m");
    let count_up = async || {
        loop {
            let mut map = cluster.get(&path).await.json();
            let count: u32 = map["data"]["count"].as_str().unwrap().parse().unwrap();
            map["data"]["count"] = (count + 1).to_string().into();
            let put = cluster
                .send("PUT", &path, Some("application/json"), map.to_string())
                .await;
            match put.status.as_u16() {
                200 => return,
                409 => {}
                other => panic!("{other}: {}", put.text),
            }
        }
    };
    futures::future::join_all((0..30).map(|_| count_up())).await;
    assert_eq!(cluster.get(&path).await.json()["data"]["count"], "30");
}
