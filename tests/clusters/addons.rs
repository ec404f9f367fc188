//! What add-ons bring into a cluster, and what is in their way.

use mountproof::{
    kubernetes::ObjectRef,
    tenant::{CSI_DRIVER, Marks},
};
use serde_json::{Value, json};

use crate::{
    mounts::World,
    site::{ACCOUNT, REGION, Site},
};

const ADDONS: &str = "/clusters/demo/addons";
const SECRETS: &str = "aws-secrets-store-csi-driver-provider";

impl Site {
    /// A new add-on, once it has this status.
    async fn addon(&self, name: &str, more: &Value, status: &str) -> Value {
        let mut wanted = json!({ "addonName": name });
        for (key, value) in more.as_object().into_iter().flatten() {
            wanted[key] = value.clone();
        }
        let made = self.eks("POST", ADDONS, &wanted).await;
        assert_eq!(made["addon"]["status"], "CREATING");
        let path = format!("{ADDONS}/{name}");
        let addon = async || self.eks("GET", &path, &Value::Null).await["addon"].clone();
        self.until(status, async || addon().await["status"] != "CREATING")
            .await;
        let addon = addon().await;
        assert_eq!(addon["status"], status, "{addon}");
        addon
    }
}

#[tokio::test]
async fn the_secrets_add_on_mounts_secrets_and_leaves_nothing() {
    let world = World::with_nodes(1).await;
    let addon = world.site.addon(SECRETS, &json!({}), "ACTIVE").await;
    assert_eq!(addon["health"]["issues"], json!([]));
    world.registered(1).await;
    let driver = ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, CSI_DRIVER);
    let object = world.kubernetes.read(&driver).await.unwrap().unwrap();
    let audiences = object["spec"]["tokenRequests"].as_array().unwrap();
    assert_eq!(audiences.len(), 2, "{object}");
    world.tenant().await;
    world.pod("own", "app/own").await;
    world.runs("own").await;
    assert_eq!(
        std::fs::read_to_string(world.file("own").await).unwrap(),
        "the value of the pod's own secret"
    );

    let pod = ObjectRef::new("v1", "Pod", Some("default"), "own");
    world.kubernetes.delete(&pod).await.unwrap();
    world
        .site
        .until("the pod is gone", async || {
            world.kubernetes.is_gone(&pod).await.unwrap()
        })
        .await;
    let path = format!("{ADDONS}/{SECRETS}");
    world.site.eks("DELETE", &path, &Value::Null).await;
    world.site.is_gone(&path).await;
    world.registered(0).await;
    assert!(world.kubernetes.is_gone(&driver).await.unwrap());
    world
        .site
        .until("its namespace is gone", async || {
            let namespace = ObjectRef::new("v1", "Namespace", None, "aws-secrets-manager");
            world.kubernetes.is_gone(&namespace).await.unwrap()
        })
        .await;
    world.end().await;
}

#[tokio::test]
async fn an_add_on_does_not_take_over_what_somebody_else_has_made_unless_told_to() {
    let world = World::with_nodes(1).await;
    let theirs = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": CSI_DRIVER },
        "spec": { "podInfoOnMount": true, "attachRequired": false, "volumeLifecycleModes": ["Ephemeral"] },
    });
    let set = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "eks-pod-identity-agent", "namespace": "kube-system" },
        "spec": { "selector": { "matchLabels": { "app": "theirs" } }, "template": {
            "metadata": { "labels": { "app": "theirs" } }, "spec": { "containers": [{ "name": "theirs", "image": "theirs:1" }] },
        } },
    });
    world.kubernetes.create(&theirs).await.unwrap();
    world.kubernetes.create(&set).await.unwrap();
    let failed = world
        .site
        .addon("eks-pod-identity-agent", &json!({}), "CREATE_FAILED")
        .await;
    let issue = &failed["health"]["issues"][0];
    assert_eq!(issue["code"], "ConfigurationConflict");
    let message = issue["message"].as_str().unwrap();
    assert!(
        message.contains("Will not continue due to resolve conflicts mode")
            && message.contains("eks-pod-identity-agent"),
        "{message}"
    );
    let namespace = ObjectRef::new("v1", "Namespace", None, "aws-secrets-manager");
    // A CSIDriver that says the same is in nobody's way; a pod template that says something else is.
    let addon = world
        .site
        .addon(SECRETS, &json!({ "resolveConflicts": "OVERWRITE" }), "ACTIVE")
        .await;
    assert_eq!(addon["health"]["issues"], json!([]));
    assert!(!world.kubernetes.is_gone(&namespace).await.unwrap());
    world.registered(1).await;
    world.end().await;
}

#[tokio::test]
async fn a_pod_has_its_role_by_pod_identity_once_the_agent_is_on_its_node() {
    let world = World::with_nodes(1).await;
    world.site.addon(SECRETS, &json!({}), "ACTIVE").await;
    world.registered(1).await;
    world.tenant().await;
    let (aws, tags) = (world.site.aws(), Marks::of_run("clusters").tags());
    let trust = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Principal": { "Service": "pods.eks.amazonaws.com" },
        "Action": ["sts:AssumeRole", "sts:TagSession"],
    } });
    let policy = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "secretsmanager:GetSecretValue",
        "Resource": format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:app/*"),
    } });
    let policy = aws
        .provide_policy("by-pod-identity", &policy, &tags)
        .await
        .unwrap();
    let role = aws
        .provide_role("by-pod-identity", &trust, &policy, &tags)
        .await
        .unwrap();
    let association = json!({ "namespace": "default", "serviceAccount": "default", "roleArn": role });
    let associations = "/clusters/demo/pod-identity-associations";
    world.site.eks("POST", associations, &association).await;

    world
        .pod_as("own", "app/own", "default", &json!({ "usePodIdentity": "true" }))
        .await;
    world
        .site
        .until("the pod misses the agent", async || {
            let events = world
                .kubernetes
                .list("v1", "Event", Some("default"), None)
                .await
                .unwrap();
            events.iter().any(|event| event["reason"] == "FailedMount")
        })
        .await;
    world
        .site
        .addon("eks-pod-identity-agent", &json!({}), "ACTIVE")
        .await;
    world.runs("own").await;
    assert_eq!(
        std::fs::read_to_string(world.file("own").await).unwrap(),
        "the value of the pod's own secret"
    );
    world.end().await;
}
