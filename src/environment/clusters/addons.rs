//! What add-ons put into a cluster.
//!
//! `aws-secrets-store-csi-driver-provider` brings what mountproof's own manifests of driver and provider do, in the
//! namespace that EKS puts it in, with tokens for both ways in. `eks-pod-identity-agent`, `vpc-cni` and `kube-proxy` bring
//! their `DaemonSet`; all others bring nothing. Objects are applied as `eks`, so that what somebody else has made is a conflict
//! (<https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-field-management.html>).
//!
//! Unverified: names of objects of the real add-ons but for their namespaces and those that their documentation has; the
//! words of a conflict.

use std::time::{Duration, Instant};

use mountproof_aws_endpoint::eks::{AddonWanted, BackendTrouble};
use mountproof_stand_ins::rest::{ApiClient, ApiError, PatchKind};
use serde_json::{Value, json};

use super::{super::installation, StandInCluster};
use crate::{kubernetes::ObjectRef, tenant::Marks};

/// As whom EKS acts.
const AGENT: &str = "eks-addon-manager mountproof-stand-in";
const MANAGER: &str = "eks";
/// Longest wait for the pods of an add-on.
const READY: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(50);

/// The add-on of driver and provider.
const SECRETS: &str = "aws-secrets-store-csi-driver-provider";
/// Where EKS puts it.
const SECRETS_NAMESPACE: &str = "aws-secrets-manager";

/// Has an add-on be as it is wanted; answers when its pods are ready on the nodes that there are.
pub(super) async fn install(cluster: &StandInCluster, wanted: &AddonWanted) -> Result<(), BackendTrouble> {
    let api = client(cluster)?;
    let objects = objects(&wanted.key.name, &wanted.key.cluster)
        .await
        .map_err(|because| trouble("InternalFailure", because))?;
    if !wanted.overwrite {
        unopposed(&api, &objects).await?;
    }
    for object in &objects {
        let path = format!("{}?fieldManager={MANAGER}&force=true", path_of(object));
        api.patch(&path, PatchKind::Apply, object)
            .await
            .map_err(|error| failed(&error))?;
    }
    let daemons = objects.iter().filter(|object| object["kind"] == "DaemonSet");
    for daemon in daemons {
        rolled_out(&api, daemon).await?;
    }
    Ok(())
}

/// Removes from a cluster what an add-on has put there.
pub(super) async fn uninstall(cluster: &StandInCluster, name: &str) {
    let Ok(api) = client(cluster) else { return };
    let objects = match objects(name, "").await {
        Ok(objects) => objects,
        Err(because) => return tracing::warn!(name, because, "what the add-on brought is not known"),
    };
    let options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" });
    for object in objects.iter().rev() {
        match api.delete(&path_of(object), &options).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(name, object = %ObjectRef::of(object), %error, "not removed");
            }
            _ => {}
        }
    }
}

fn client(cluster: &StandInCluster) -> Result<ApiClient, BackendTrouble> {
    ApiClient::new(&cluster.admin, AGENT).map_err(|error| trouble("InternalFailure", error.to_string()))
}

fn trouble(code: &str, message: String) -> BackendTrouble {
    BackendTrouble {
        code: code.to_owned(),
        message,
    }
}

fn failed(error: &ApiError) -> BackendTrouble {
    trouble("AdmissionRequestDenied", error.to_string())
}

/// Whether nobody else has a say in what is to be applied; who has is named.
async fn unopposed(api: &ApiClient, objects: &[Value]) -> Result<(), BackendTrouble> {
    let mut conflicts = Vec::new();
    for object in objects {
        let path = format!("{}?fieldManager={MANAGER}&dryRun=All", path_of(object));
        match api.patch(&path, PatchKind::Apply, object).await {
            Err(error) if error.is_conflict() => {
                conflicts.push(format!("{} - {error}", ObjectRef::of(object)));
            }
            // Its namespace, or its kind, is among the objects.
            Err(error) if !error.is_not_found() => return Err(failed(&error)),
            _ => {}
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(trouble(
        "ConfigurationConflict",
        format!(
            "Conflicts found when trying to apply. Will not continue due to resolve conflicts mode. Conflicts:\n{}",
            conflicts.join("\n")
        ),
    ))
}

/// Waits until the pods of a `DaemonSet` are ready, and of its newest shape.
async fn rolled_out(api: &ApiClient, daemon: &Value) -> Result<(), BackendTrouble> {
    let path = path_of(daemon);
    let until = Instant::now() + READY;
    loop {
        let found: Value = api.fetch(&path, None).await.map_err(|error| failed(&error))?;
        let status = &found["status"];
        let number = |field: &str| status[field].as_u64().unwrap_or(0);
        let wanted = number("desiredNumberScheduled");
        if status["observedGeneration"] == found["metadata"]["generation"]
            && number("numberReady") >= wanted
            && number("updatedNumberScheduled") >= wanted
        {
            return Ok(());
        }
        if Instant::now() >= until {
            let message = "The add-on is unhealthy because it doesn't have the desired number of replicas.";
            return Err(trouble("InsufficientNumberOfReplicas", message.to_owned()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Everything that an add-on brings, in the order in which it is made.
async fn objects(addon: &str, cluster: &str) -> Result<Vec<Value>, String> {
    Ok(match addon {
        SECRETS => secrets().await?,
        "eks-pod-identity-agent" => vec![daemon(
            "eks-pod-identity-agent",
            &["--port", "80", "--cluster-name", cluster, "--probe-port", "2703"],
            &["/go-runner", "/eks-pod-identity-agent", "server"],
        )],
        "vpc-cni" => vec![daemon("aws-node", &[], &[])],
        "kube-proxy" => vec![daemon("kube-proxy", &[], &[])],
        _ => Vec::new(),
    })
}

/// Driver and provider, by our own manifests, in the add-on's namespace.
async fn secrets() -> Result<Vec<Value>, String> {
    // It is not ours in this place, and nothing of it has a run's label.
    let marks = Marks::of_run("eks");
    let scratch = std::env::temp_dir();
    let prepared = installation::prepare(&installation::InstallationOptions::default(), &scratch).await;
    let installation = match prepared {
        Ok(prepared) => prepared.finish("v1.36.0", &marks, None).await,
        Err(error) => Err(error),
    };
    let installation = installation.map_err(|error| error.to_string())?;
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SECRETS_NAMESPACE },
    })];
    objects.extend(installation.objects.into_iter().map(|mut object| {
        for label in marks.labels().keys() {
            if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
                labels.remove(label);
            }
        }
        if !object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(SECRETS_NAMESPACE);
        }
        for subject in object["subjects"].as_array_mut().into_iter().flatten() {
            subject["namespace"] = json!(SECRETS_NAMESPACE);
        }
        if object["kind"] == "CSIDriver" {
            let audiences = ["sts.amazonaws.com", "pods.eks.amazonaws.com"];
            object["spec"]["tokenRequests"] =
                json!(audiences.map(|audience| json!({ "audience": audience })));
        }
        object
    }));
    Ok(objects)
}

/// A `DaemonSet` in `kube-system` with one container, on every node.
fn daemon(name: &str, arguments: &[&str], command: &[&str]) -> Value {
    let labels = json!({ "app.kubernetes.io/name": name });
    let mut container = json!({ "name": name, "image": format!("eks/{name}"), "args": arguments });
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": "kube-system", "labels": labels },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "hostNetwork": true,
                    "priorityClassName": "system-node-critical",
                    "tolerations": [{ "operator": "Exists" }],
                    "containers": [container],
                },
            },
        },
    })
}

/// Where an object is in the API.
fn path_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
    let base = if version == "v1" {
        "/api/v1".to_owned()
    } else {
        format!("/apis/{version}")
    };
    // All the kinds of add-ons have regular plurals.
    let plural = format!("{}s", kind.to_lowercase());
    let name = text(&object["metadata"]["name"]);
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}/{name}"),
        None => format!("{base}/{plural}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[tokio::test]
    async fn the_secrets_add_on_is_in_its_own_namespace_and_marked_by_nobody() {
        let objects = objects(SECRETS, "demo").await.unwrap();
        let namespaces: Vec<&str> = objects
            .iter()
            .filter_map(|object| object["metadata"]["namespace"].as_str())
            .collect();
        assert!(!namespaces.is_empty() && namespaces.iter().all(|found| *found == SECRETS_NAMESPACE));
        let kinds: Vec<&str> = objects
            .iter()
            .filter_map(|object| object["kind"].as_str())
            .collect();
        for kind in [
            "Namespace",
            "CustomResourceDefinition",
            "CSIDriver",
            "DaemonSet",
            "ServiceAccount",
        ] {
            assert!(kinds.contains(&kind), "{kind}: {kinds:?}");
        }
        let marks = Marks::of_run("eks");
        for label in marks.labels().keys() {
            assert!(
                objects
                    .iter()
                    .all(|object| object["metadata"]["labels"][label].is_null()),
                "{label}"
            );
        }
    }

    #[test]
    fn objects_are_where_the_api_has_them() {
        for (object, path) in [
            (
                daemon("aws-node", &[], &[]),
                "/apis/apps/v1/namespaces/kube-system/daemonsets/aws-node",
            ),
            (
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "a" } }),
                "/api/v1/namespaces/a",
            ),
            (
                json!({ "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": { "name": "d" } }),
                "/apis/storage.k8s.io/v1/csidrivers/d",
            ),
        ] {
            assert_eq!(path_of(&object), path);
        }
    }
}
