//! Kinds that a definition adds.

use serde_json::json;

use crate::support::{PODS, cluster, items, pod};

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

/// As the driver uses them: a class per pod, and a status object that goes with its pod.
#[tokio::test]
async fn both_kinds_of_the_secrets_store_work_as_the_driver_uses_them() {
    let cluster = cluster().await;
    let group = "secrets-store.csi.x-k8s.io";
    for (kind, plural) in [
        ("SecretProviderClass", "secretproviderclasses"),
        ("SecretProviderClassPodStatus", "secretproviderclasspodstatuses"),
    ] {
        let definition = json!({
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "listKind": format!("{kind}List") },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": { "type": "object" } } }],
            },
        });
        let made = cluster
            .post(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                &definition,
            )
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
    }
    let at = |plural: &str| format!("/apis/{group}/v1/namespaces/a/{plural}");
    let (classes, statuses) = (at("secretproviderclasses"), at("secretproviderclasspodstatuses"));
    let class = json!({ "metadata": { "name": "spc" }, "spec": { "provider": "aws", "parameters": { "objects": "- objectName: s\n" } } });
    let class = cluster.post(&classes, &class).await.json();
    assert_eq!(
        (&class["kind"], &class["apiVersion"]),
        (&json!("SecretProviderClass"), &json!(format!("{group}/v1")))
    );
    assert_eq!(class["spec"]["parameters"]["objects"], "- objectName: s\n");

    let pod = cluster.post(PODS, &pod("p")).await.json();
    let status = json!({
        "metadata": {
            "name": "p-a-spc",
            "labels": { "internal.secrets-store.csi.k8s.io/node-name": "n" },
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": pod["metadata"]["uid"] }],
        },
        "status": { "podName": "p", "mounted": true, "objects": [{ "id": "s", "version": "1" }] },
    });
    let made = cluster.post(&statuses, &status).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let mut made = made.json();
    let selected = format!("{statuses}?labelSelector=internal.secrets-store.csi.k8s.io/node-name%3Dn");
    assert_eq!(items(&cluster.get(&selected).await.json()), ["p-a-spc"]);
    let all = cluster
        .get(&format!("/apis/{group}/v1/secretproviderclasspodstatuses"))
        .await
        .json();
    assert_eq!(all["kind"], "SecretProviderClassPodStatusList");

    // A rotation writes a new version; whoever writes says which object it looked at.
    made["status"]["objects"][0]["version"] = json!("2");
    let put = async |object: &serde_json::Value| {
        let path = format!("{statuses}/p-a-spc");
        cluster
            .send("PUT", &path, Some("application/json"), object.to_string())
            .await
    };
    let updated = put(&made).await;
    assert_eq!(
        updated.json()["status"]["objects"][0]["version"],
        "2",
        "{}",
        updated.text
    );
    assert_eq!(put(&made).await.status, 409, "it changed meanwhile");
    made["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    assert_eq!(
        put(&made).await.status,
        422,
        "a custom resource is never written blindly"
    );

    cluster.delete(&format!("{PODS}/p"), &json!({})).await;
    cluster
        .eventually(&selected, |answer| items(&answer.json()).is_empty())
        .await;
    assert_eq!(
        items(&cluster.get(&classes).await.json()),
        ["spc"],
        "which nobody owns"
    );
}
