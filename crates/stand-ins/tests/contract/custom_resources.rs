//! Kinds that a definition adds.

use serde_json::{Value, json};

use crate::support::{Answer, Cluster, items, pod, tests};

tests![
    custom_resources_come_and_go_with_their_definition,
    both_kinds_of_the_secrets_store_work_as_the_driver_uses_them,
];

async fn custom_resources_come_and_go_with_their_definition(cluster: Cluster) {
    let group = &cluster.named("secrets-store.csi.x-k8s.io");
    let schema = any_fields();
    let version = |name: &str, storage: bool| json!({ "name": name, "served": true, "storage": storage, "schema": schema });
    let definition = json!({
        "metadata": { "name": format!("secretproviderclasses.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": "SecretProviderClass", "plural": "secretproviderclasses" },
            "versions": [version("v1", true), version("v1alpha1", false)],
        },
    });
    let path = &cluster.at_group(&format!("{group}/v1"), "secretproviderclasses");
    assert_eq!(cluster.get(path).await.status, 404);
    let made = cluster.post(DEFINITIONS, &definition).await;
    assert_eq!(made.status, 201, "{}", made.text);
    // Its names are accepted a moment later.
    let status = &made.json()["status"];
    assert_eq!(status["conditions"], json!(null), "{status}");
    assert_eq!(status["acceptedNames"]["kind"], "", "{status}");
    assert_eq!(status["storedVersions"], json!(["v1"]), "{status}");
    established(&cluster, &format!("secretproviderclasses.{group}")).await;

    let class = json!({
        "apiVersion": format!("{group}/v1"), "kind": "SecretProviderClass",
        "metadata": { "name": "spc" }, "spec": { "provider": "aws" }, "status": { "byPod": [] },
    });
    let made = cluster.post(path, &class).await.json();
    // Without a status subresource, status is a field like others.
    assert_eq!(made["status"], json!({ "byPod": [] }));
    assert_eq!(made["metadata"]["generation"], 1);
    let applied = json!({
        "apiVersion": format!("{group}/v1"), "kind": "SecretProviderClass",
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
    assert_eq!(old["items"][0]["apiVersion"], format!("{group}/v1alpha1"));

    let resources = cluster.get(&format!("/apis/{group}/v1")).await.json();
    assert_eq!(resources["resources"][0]["kind"], "SecretProviderClass");
    let definition = format!("{DEFINITIONS}/secretproviderclasses.{group}");
    assert_eq!(cluster.delete(&definition, &json!({})).await.status, 200);
    cluster.eventually(path, |answer| answer.status == 404).await;
}

/// A schema that keeps every field: the real server drops what a schema does not know.
fn any_fields() -> Value {
    json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } })
}

pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Waits until what is defined is served.
pub(crate) async fn established(cluster: &Cluster, name: &str) {
    let is_true = |answer: &Answer, kind: &str| {
        answer.json()["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    let path = format!("{DEFINITIONS}/{name}");
    let answer = cluster
        .eventually(&path, |answer| {
            is_true(answer, "NamesAccepted") && is_true(answer, "Established")
        })
        .await
        .json();
    assert_eq!(
        answer["status"]["acceptedNames"]["plural"],
        answer["spec"]["names"]["plural"]
    );
    let spec = &answer["spec"];
    let (group, version) = (
        spec["group"].as_str().unwrap(),
        spec["versions"][0]["name"].as_str().unwrap(),
    );
    let plural = spec["names"]["plural"].as_str().unwrap();
    cluster
        .eventually(&format!("/apis/{group}/{version}/{plural}"), |answer| {
            answer.status == 200
        })
        .await;
}

/// As the driver uses them: a class per pod, and a status object that goes with its pod.
async fn both_kinds_of_the_secrets_store_work_as_the_driver_uses_them(cluster: Cluster) {
    let pods = cluster.pods();
    let group = &cluster.named("secrets-store.csi.x-k8s.io");
    let schema = any_fields();
    for (kind, plural) in [
        ("SecretProviderClass", "secretproviderclasses"),
        ("SecretProviderClassPodStatus", "secretproviderclasspodstatuses"),
    ] {
        let definition = json!({
            "metadata": { "name": format!("{plural}.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural, "listKind": format!("{kind}List") },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }],
            },
        });
        let made = cluster.post(DEFINITIONS, &definition).await;
        assert_eq!(made.status, 201, "{}", made.text);
        established(&cluster, &format!("{plural}.{group}")).await;
    }
    let at = |plural: &str| cluster.at_group(&format!("{group}/v1"), plural);
    let (classes, statuses) = (at("secretproviderclasses"), at("secretproviderclasspodstatuses"));
    let class = json!({ "apiVersion": format!("{group}/v1"), "kind": "SecretProviderClass", "metadata": { "name": "spc" }, "spec": { "provider": "aws", "parameters": { "objects": "- objectName: s\n" } } });
    let mut without = class.clone();
    for (field, message) in [
        (
            "apiVersion",
            format!("the API version in the data () does not match the expected API version ({group}/v1)"),
        ),
        ("kind", "Object 'Kind' is missing in".to_owned()),
    ] {
        without.as_object_mut().unwrap().remove(field);
        let refused = cluster.post(&classes, &without).await;
        assert_eq!(refused.status, 400, "without {field}: {}", refused.text);
        assert!(
            refused.text.contains(&message),
            "without {field}: {}",
            refused.text
        );
    }
    let class = cluster.post(&classes, &class).await.json();
    assert_eq!(
        (&class["kind"], &class["apiVersion"]),
        (&json!("SecretProviderClass"), &json!(format!("{group}/v1")))
    );
    assert_eq!(class["spec"]["parameters"]["objects"], "- objectName: s\n");

    let pod = cluster.post(&pods, &pod("p")).await.json();
    let status = json!({
        "apiVersion": format!("{group}/v1"), "kind": "SecretProviderClassPodStatus",
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
    let put = async |object: &Value| {
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

    cluster.delete(&format!("{pods}/p"), &json!({})).await;
    cluster
        .eventually(&selected, |answer| items(&answer.json()).is_empty())
        .await;
    assert_eq!(
        items(&cluster.get(&classes).await.json()),
        ["spc"],
        "which nobody owns"
    );
}
