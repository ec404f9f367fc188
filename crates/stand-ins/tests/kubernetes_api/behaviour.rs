//! What clients of a Kubernetes API rely on, over HTTPS: deletion in all its forms, namespaces,
//! watches, tokens, custom resources, workloads.

use crate::support::{Answer, Cluster, PATIENCE};
use bytes::Bytes;
use mountproof_stand_ins::kubernetes::Defects;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/a/pods";
const MAPS: &str = "/api/v1/namespaces/a/configmaps";

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } })
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace("a").await;
    cluster
}

fn items(list: &Value) -> Vec<&str> {
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect()
}

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

#[tokio::test]
async fn a_running_pod_is_given_time_and_a_pending_one_is_not() {
    let cluster = cluster().await;
    for name in ["pending", "running"] {
        assert_eq!(cluster.post(PODS, &pod(name)).await.status, 201);
    }
    let binding = json!({ "metadata": { "name": "running" }, "target": { "kind": "Node", "name": "n" } });
    let bound = cluster.post(&format!("{PODS}/running/binding"), &binding).await;
    assert_eq!(bound.status, 201, "{}", bound.text);
    let again = cluster.post(&format!("{PODS}/running/binding"), &binding).await;
    assert_eq!(again.status, 409);

    let gone = cluster.delete(&format!("{PODS}/pending"), &json!({})).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()["kind"].as_str()),
        (200, Some("Pod"))
    );
    assert_eq!(cluster.get(&format!("{PODS}/pending")).await.status, 404);

    let waiting = cluster
        .delete(&format!("{PODS}/running"), &json!({}))
        .await
        .json();
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 30);
    let there = cluster.get(&format!("{PODS}/running")).await.json();
    assert_eq!(there["spec"]["nodeName"], "n");
    assert!(there["metadata"]["deletionTimestamp"].is_string());
    // The kubelet's last word.
    let last = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": there["metadata"]["uid"] } });
    assert_eq!(
        cluster.delete(&format!("{PODS}/running"), &last).await.status,
        200
    );
    assert_eq!(cluster.get(&format!("{PODS}/running")).await.status, 404);
}

#[tokio::test]
async fn an_object_with_finalizers_goes_when_the_last_is_taken_off() {
    let cluster = cluster().await;
    let map = json!({ "metadata": { "name": "m", "finalizers": ["x/a", "x/b"] } });
    cluster.post(MAPS, &map).await;
    let path = format!("{MAPS}/m");
    let waiting = cluster.delete(&path, &json!({})).await.json();
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    let added = json!({ "metadata": { "finalizers": ["x/a", "x/b", "x/c"] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &added).await.status, 422);
    let one = json!({ "metadata": { "finalizers": ["x/b"] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &one).await.status, 200);
    let none = json!({ "metadata": { "finalizers": [] } });
    assert_eq!(cluster.patch(&path, "merge-patch", &none).await.status, 200);
    assert_eq!(cluster.get(&path).await.status, 404);
}

async fn owned_map(cluster: &Cluster, name: &str, owner: &Value) {
    let map = json!({ "metadata": { "name": name, "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true,
    }] } });
    let made = cluster.post(MAPS, &map).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

#[tokio::test]
async fn what_is_owned_follows_its_owner_as_asked() {
    let cluster = cluster().await;
    for (policy, dependent_stays) in [("Background", false), ("Foreground", false), ("Orphan", true)] {
        let owner = cluster
            .post(MAPS, &json!({ "metadata": { "name": "owner" } }))
            .await
            .json();
        owned_map(&cluster, "owned", &owner).await;
        let options = json!({ "propagationPolicy": policy });
        let deleted = cluster.delete(&format!("{MAPS}/owner"), &options).await;
        assert_eq!(deleted.status, 200, "{policy}: {}", deleted.text);
        cluster
            .eventually(&format!("{MAPS}/owner"), |answer| answer.status == 404)
            .await;
        if dependent_stays {
            let left = cluster.get(&format!("{MAPS}/owned")).await.json();
            assert!(left["metadata"]["ownerReferences"].is_null(), "{left}");
        } else {
            cluster
                .eventually(&format!("{MAPS}/owned"), |answer| answer.status == 404)
                .await;
        }
    }
    // Owned by what never was: garbage from the start.
    cluster.delete(&format!("{MAPS}/owned"), &json!({})).await;
    let nobody = json!({ "metadata": { "name": "x", "uid": "00000000-0000-0000-0000-000000000000" } });
    owned_map(&cluster, "lost", &nobody).await;
    cluster
        .eventually(&format!("{MAPS}/lost"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn a_namespace_goes_when_it_is_empty() {
    let cluster = cluster().await;
    cluster.post(PODS, &pod("p")).await;
    cluster
        .post(
            &format!("{PODS}/p/binding"),
            &json!({ "target": { "name": "n" } }),
        )
        .await;
    let deleted = cluster.delete("/api/v1/namespaces/a", &json!({})).await.json();
    assert_eq!(deleted["status"]["phase"], "Terminating");
    // A bound pod waits for its kubelet, and the namespace for the pod.
    cluster
        .eventually(MAPS, |answer| items(&answer.json()).is_empty())
        .await;
    cluster
        .eventually(&format!("{PODS}/p"), |answer| {
            answer.json()["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    assert_eq!(cluster.get("/api/v1/namespaces/a").await.status, 200);
    let late = cluster
        .post(MAPS, &json!({ "metadata": { "name": "late" } }))
        .await;
    assert_eq!(
        late.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    cluster
        .delete(&format!("{PODS}/p"), &json!({ "gracePeriodSeconds": 0 }))
        .await;
    cluster
        .eventually("/api/v1/namespaces/a", |answer| answer.status == 404)
        .await;
    let forbidden = cluster.delete("/api/v1/namespaces/default", &json!({})).await;
    assert_eq!(forbidden.status, 403);
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

#[tokio::test]
async fn a_watch_resumes_where_a_list_ended() {
    let cluster = cluster().await;
    let label = |name: &str, on: &str| json!({ "metadata": { "name": name, "labels": { "on": on } } });
    cluster.post(MAPS, &label("one", "yes")).await;
    let list = cluster
        .get(&format!("{MAPS}?labelSelector=on%3Dyes"))
        .await
        .json();
    assert_eq!(items(&list), ["one"]);
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    cluster.post(MAPS, &label("two", "no")).await;
    cluster
        .patch(&format!("{MAPS}/two"), "merge-patch", &label("two", "yes"))
        .await;
    cluster
        .patch(&format!("{MAPS}/one"), "merge-patch", &label("one", "no"))
        .await;
    cluster.delete(&format!("{MAPS}/two"), &json!({})).await;
    let event = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&labelSelector=on%3Dyes&resourceVersion={version}");
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
        "{MAPS}?watch=1&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&fieldSelector=metadata.name%3Done"
    );
    assert_eq!(
        watched(&cluster, &path).await,
        [event("ADDED", "one"), event("BOOKMARK", "")]
    );
}

#[tokio::test]
async fn a_live_watch_sees_what_happens() {
    let cluster = cluster().await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=2&resourceVersion=0&fieldSelector=metadata.name%3Dm");
    let (events, ()) = tokio::join!(watched(&cluster, &path), async {
        // The watch may begin before or after any of these: it sees them all the same.
        for turn in 0..3 {
            let map = json!({ "metadata": { "name": "m" }, "data": { "turn": turn.to_string() } });
            assert_eq!(cluster.post(MAPS, &map).await.status, 201);
            cluster
                .post(MAPS, &json!({ "metadata": { "name": format!("other-{turn}") } }))
                .await;
            if turn < 2 {
                assert_eq!(cluster.delete(&format!("{MAPS}/m"), &json!({})).await.status, 200);
            }
        }
    });
    assert_eq!(events.last(), Some(&("ADDED".to_owned(), "m".to_owned())));
    assert!(events.iter().all(|(_, name)| name == "m"), "{events:?}");
}

#[tokio::test]
async fn pages_show_one_moment() {
    let cluster = cluster().await;
    let secrets = "/api/v1/namespaces/a/secrets";
    for name in ["a", "b", "c", "d"] {
        cluster
            .post(secrets, &json!({ "metadata": { "name": name } }))
            .await;
    }
    let first = cluster.get(&format!("{secrets}?limit=2")).await.json();
    assert_eq!(items(&first), ["a", "b"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 2);
    cluster.delete(&format!("{secrets}/c"), &json!({})).await;
    cluster
        .post(secrets, &json!({ "metadata": { "name": "e" } }))
        .await;
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
    let all = cluster.get("/api/v1/secrets?limit=1").await.json();
    let token = all["metadata"]["continue"].as_str().unwrap();
    let rest = cluster
        .get(&format!("/api/v1/secrets?continue={token}"))
        .await
        .json();
    assert_eq!(items(&rest), ["b", "d", "e"]);
}

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
async fn custom_resources_come_and_go_with_their_definition() {
    let cluster = cluster().await;
    let version = |name: &str, storage: bool| json!({ "name": name, "served": true, "storage": storage, "schema": { "openAPIV3Schema": { "type": "object" } } });
    let definition = json!({
        "metadata": { "name": "secretproviderclasses.secrets-store.csi.x-k8s.io" },
        "spec": {
            "group": "secrets-store.csi.x-k8s.io",
            "scope": "Namespaced",
            "names": { "kind": "SecretProviderClass", "plural": "secretproviderclasses" },
            "versions": [version("v1", true), version("v1alpha1", false)],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let path = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/a/secretproviderclasses";
    assert_eq!(cluster.get(path).await.status, 404);
    let made = cluster.post(definitions, &definition).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let established = made.json()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    assert!(established);

    let class = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
        "metadata": { "name": "spc" }, "spec": { "provider": "aws" }, "status": { "byPod": [] },
    });
    let made = cluster.post(path, &class).await.json();
    // Without a status subresource, status is a field like others.
    assert_eq!(made["status"], json!({ "byPod": [] }));
    assert_eq!(made["metadata"]["generation"], 1);
    let applied = json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
        "metadata": { "name": "spc" }, "spec": { "provider": "aws", "parameters": { "region": "eu-west-1" } },
    });
    let changed = cluster
        .patch(
            &format!("{path}/spc?fieldManager=m&force=true"),
            "apply",
            &applied,
        )
        .await
        .json();
    assert_eq!(changed["metadata"]["generation"], 2);
    let strategic = cluster
        .patch(&format!("{path}/spc"), "strategic-merge-patch", &json!({}))
        .await;
    assert_eq!(strategic.status, 415);
    let old = cluster.get(&path.replace("/v1/", "/v1alpha1/")).await.json();
    assert_eq!(old["kind"], "SecretProviderClassList");
    assert_eq!(
        old["items"][0]["apiVersion"],
        "secrets-store.csi.x-k8s.io/v1alpha1"
    );

    let resources = cluster.get("/apis/secrets-store.csi.x-k8s.io/v1").await.json();
    assert_eq!(resources["resources"][0]["kind"], "SecretProviderClass");
    let definition = format!("{definitions}/secretproviderclasses.secrets-store.csi.x-k8s.io");
    assert_eq!(cluster.delete(&definition, &json!({})).await.status, 200);
    assert_eq!(cluster.get(path).await.status, 404);
}

#[tokio::test]
async fn a_deployment_makes_pods_and_replaces_them() {
    let cluster = cluster().await;
    let deployments = "/apis/apps/v1/namespaces/a/deployments";
    let deployment = json!({
        "metadata": { "name": "d" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": { "containers": [{ "name": "c", "image": "i:1" }] } },
        },
    });
    let made = cluster.post(deployments, &deployment).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let images = |answer: &Value| -> Vec<String> {
        answer["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
            .collect()
    };
    cluster
        .eventually(PODS, |answer| images(&answer.json()) == ["i:1", "i:1", "i:1"])
        .await;
    // A pod that is deleted is replaced.
    let pods = cluster.get(PODS).await.json();
    let first = items(&pods)[0].to_owned();
    cluster.delete(&format!("{PODS}/{first}"), &json!({})).await;
    cluster
        .eventually(PODS, |answer| {
            let list = answer.json();
            images(&list).len() == 3 && !items(&list).contains(&first.as_str())
        })
        .await;
    let pods = cluster.get(PODS).await.json();
    for name in items(&pods) {
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        let patched = cluster
            .patch(&format!("{PODS}/{name}/status"), "strategic-merge-patch", &ready)
            .await;
        assert_eq!(patched.status, 200, "{}", patched.text);
    }
    let complete = |answer: &Answer| {
        let status = &answer.json()["status"];
        status["readyReplicas"] == 3 && status["conditions"][1]["reason"] == "NewReplicaSetAvailable"
    };
    cluster.eventually(&format!("{deployments}/d"), complete).await;
    // A new image: new pods, and none of the old.
    let image =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "i:2" }] } } } });
    cluster
        .patch(&format!("{deployments}/d"), "strategic-merge-patch", &image)
        .await;
    cluster
        .eventually(PODS, |answer| images(&answer.json()) == ["i:2", "i:2", "i:2"])
        .await;
    let scaled = cluster
        .patch(
            &format!("{deployments}/d/scale"),
            "merge-patch",
            &json!({ "spec": { "replicas": 1 } }),
        )
        .await
        .json();
    assert_eq!(
        (scaled["kind"].as_str(), scaled["spec"]["replicas"].as_i64()),
        (Some("Scale"), Some(1))
    );
    cluster
        .eventually(PODS, |answer| images(&answer.json()).len() == 1)
        .await;
    cluster
        .delete(
            &format!("{deployments}/d"),
            &json!({ "propagationPolicy": "Foreground" }),
        )
        .await;
    cluster
        .eventually(PODS, |answer| items(&answer.json()).is_empty())
        .await;
    cluster
        .eventually(&format!("{deployments}/d"), |answer| answer.status == 404)
        .await;
}

#[tokio::test]
async fn a_daemon_set_has_one_pod_on_each_node() {
    let cluster = cluster().await;
    for name in ["n1", "n2"] {
        cluster
            .post("/api/v1/nodes", &json!({ "metadata": { "name": name } }))
            .await;
    }
    let set = json!({
        "metadata": { "name": "s" },
        "spec": {
            "selector": { "matchLabels": { "app": "s" } },
            "template": { "metadata": { "labels": { "app": "s" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    cluster.post("/apis/apps/v1/namespaces/a/daemonsets", &set).await;
    let nodes = |answer: &Answer| -> Vec<String> {
        let list = answer.json();
        let mut nodes: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap().to_owned())
            .collect();
        nodes.sort();
        nodes
    };
    cluster
        .eventually(PODS, |answer| nodes(answer) == ["n1", "n2"])
        .await;
    cluster
        .post("/api/v1/nodes", &json!({ "metadata": { "name": "n3" } }))
        .await;
    cluster
        .eventually(PODS, |answer| nodes(answer) == ["n1", "n2", "n3"])
        .await;
}

#[tokio::test]
async fn both_event_groups_show_the_same_events() {
    let cluster = cluster().await;
    let event = json!({
        "metadata": { "name": "e" },
        "regarding": { "kind": "Pod", "name": "p", "namespace": "a" },
        "reason": "FailedMount", "note": "text", "type": "Warning",
        "reportingController": "kubelet", "reportingInstance": "n", "action": "x",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let made = cluster
        .post("/apis/events.k8s.io/v1/namespaces/a/events", &event)
        .await;
    assert_eq!(made.status, 201, "{}", made.text);
    let path = "/api/v1/namespaces/a/events?fieldSelector=involvedObject.name%3Dp,reason%3DFailedMount";
    let core = cluster.get(path).await.json();
    assert_eq!(core["items"][0]["message"], "text");
    assert_eq!(core["items"][0]["reportingComponent"], "kubelet");
    let again = cluster
        .get("/apis/events.k8s.io/v1/namespaces/a/events/e")
        .await
        .json();
    assert_eq!(again["note"], "text");
    assert_eq!(again["regarding"]["name"], "p");
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let cluster = cluster().await;
    cluster.post(PODS, &pod("p")).await;
    let path = format!("{PODS}/p");
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

#[tokio::test]
async fn dry_runs_leave_nothing() {
    let cluster = cluster().await;
    let made = cluster.post(&format!("{PODS}?dryRun=All"), &pod("p")).await;
    assert_eq!(made.status, 201);
    assert_eq!(cluster.get(&format!("{PODS}/p")).await.status, 404);
    cluster.post(PODS, &pod("p")).await;
    let path = format!("{PODS}/p?dryRun=All");
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    assert_eq!(
        cluster.patch(&path, "merge-patch", &label).await.json()["metadata"]["labels"]["a"],
        "b"
    );
    assert_eq!(cluster.delete(&path, &json!({})).await.status, 200);
    assert!(cluster.get(&format!("{PODS}/p")).await.json()["metadata"]["labels"].is_null());
}

#[tokio::test]
async fn generated_names_and_collections() {
    let cluster = cluster().await;
    for _ in 0..3 {
        let map = json!({ "metadata": { "generateName": "g-", "labels": { "g": "1" } } });
        let name = cluster.post(MAPS, &map).await.json()["metadata"]["name"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(name.len(), 7, "{name}");
    }
    let deleted = cluster
        .delete(&format!("{MAPS}?labelSelector=g"), &json!({}))
        .await
        .json();
    assert_eq!(items(&deleted).len(), 3);
    assert_eq!(items(&cluster.get(MAPS).await.json()), ["kube-root-ca.crt"]);
}

#[tokio::test]
async fn metadata_alone_can_be_asked_for() {
    let cluster = cluster().await;
    let token = cluster.server.admin_token().expose().to_owned();
    let request = http::Request::get(format!("{}{MAPS}", cluster.server.url()))
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

#[tokio::test]
async fn stopping_ends_watches_and_counts_are_kept() {
    let cluster = cluster().await;
    cluster.get(PODS).await;
    let counted: u64 = cluster
        .server
        .requests()
        .iter()
        .filter(|(kind, _)| {
            kind.verb == "list" && kind.resource == "pods" && kind.user_agent.starts_with("Python")
        })
        .map(|(_, count)| count)
        .sum();
    assert_eq!(counted, 1);
    let Cluster { server, client } = cluster;
    let request = http::Request::get(format!("{}{PODS}?watch=1", server.url()))
        .header(
            "authorization",
            format!("Bearer {}", server.admin_token().expose()),
        )
        .body(http_body_util::Full::new(Bytes::new()))
        .unwrap();
    let response = client.send(request).await.unwrap();
    tokio::time::timeout(PATIENCE, server.stop())
        .await
        .expect("the server stops");
    let rest = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap();
    assert!(rest.to_bytes().is_empty());
}
