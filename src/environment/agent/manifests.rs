//! PURE. What puts the agent on nodes.

use serde_json::{Value, json};

use crate::kubernetes::ObjectRef;

/// A namespace of the agent's own, in a cluster that is the run's: who may reach it is then a matter of rights in this one.
pub(in crate::environment) const NAMESPACE: &str = "mountproof-agent";
/// Selects its pods.
pub(super) const SELECTOR: &str = "app=mountproof-agent";

const NAME: &str = "mountproof-agent";
/// Where the driver's socket is on a node, by the driver's chart.
const PLUGIN: &str = "/var/lib/kubelet/plugins/csi-secrets-store";
const KUBELET: &str = "/var/lib/kubelet";
const PODS: &str = "/var/lib/kubelet/pods";
/// Where providers have their sockets on a node, by the driver's chart.
const PROVIDERS: &str = "/var/run/secrets-store-csi-providers";
const SCRATCH: &str = "/scratch";

/// The `DaemonSet`.
pub(super) fn set(namespace: &str) -> ObjectRef {
    ObjectRef::new("apps/v1", "DaemonSet", Some(namespace), NAME)
}

/// Everything, in the order in which it is created.
///
/// The agent can do what it is for, and no more:
///
/// - Root, as the folders of kubelet's and the driver's socket are root's alone; without a single capability, for whose they are
///   is all that it needs. Nothing of it is privileged: it mounts nothing itself, and sees what the driver mounts by
///   `HostToContainer` propagation.
/// - The driver's folder with its socket, and kubelet's folder of pods, at the path that it has on the node, as paths in calls are
///   the driver's too: the volumes that it publishes are made there, and looked at. The folder of the providers' sockets, which it can only look at:
///   it tells when they go and come. Nothing else of the node; what `/proc` tells of it, it tells every container.
/// - No token of Kubernetes', no network of the node's, no port that anybody else reaches.
/// - On every node that takes pods which tolerate nothing, as the workloads of a run do: on those nodes figures are of use.
pub(super) fn all(image: &str, namespace: &str) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": namespace,
                // Paths of the node, and root: what only this level lets through.
                "labels": { "pod-security.kubernetes.io/enforce": "privileged" },
            },
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": NAME, "namespace": namespace },
            "automountServiceAccountToken": false,
        }),
        daemon_set(image, namespace),
    ]
}

fn daemon_set(image: &str, namespace: &str) -> Value {
    let container = json!({
        "name": "agent",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            format!("--socket={PLUGIN}/csi.sock"),
            format!("--kubelet-root={KUBELET}"),
            format!("--providers={PROVIDERS}"),
            format!("--scratch={SCRATCH}"),
            "--pod-uid=$(POD_UID)",
        ],
        "env": [{ "name": "POD_UID", "valueFrom": { "fieldRef": { "fieldPath": "metadata.uid" } } }],
        "resources": { "requests": { "cpu": "50m", "memory": "64Mi" } },
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": "plugin", "mountPath": PLUGIN },
            { "name": "pods", "mountPath": PODS, "mountPropagation": "HostToContainer" },
            { "name": "providers", "mountPath": PROVIDERS, "readOnly": true },
            { "name": "scratch", "mountPath": SCRATCH },
        ],
    });
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": NAME, "namespace": namespace, "labels": { "app": NAME } },
        "spec": {
            "selector": { "matchLabels": { "app": NAME } },
            "updateStrategy": { "type": "RollingUpdate" },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": {
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": false,
                    "enableServiceLinks": false,
                    "terminationGracePeriodSeconds": 2,
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                    "containers": [container],
                    "volumes": [
                        // Not made where it is not: without a driver there is nothing to call.
                        { "name": "plugin", "hostPath": { "path": PLUGIN, "type": "Directory" } },
                        { "name": "pods", "hostPath": { "path": PODS, "type": "Directory" } },
                        // As the driver's own manifests have it: there wherever a driver is, and no reason for an agent not to start.
                        { "name": "providers", "hostPath": { "path": PROVIDERS, "type": "DirectoryOrCreate" } },
                        { "name": "scratch", "emptyDir": { "medium": "Memory", "sizeLimit": "16Mi" } },
                    ],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Value {
        let objects = all("agent:1", NAMESPACE);
        let set = objects.iter().find(|object| object["kind"] == "DaemonSet");
        set.map(|set| set["spec"]["template"]["spec"].clone())
            .unwrap_or_default()
    }

    #[test]
    fn the_agent_has_no_power_that_it_does_not_need() {
        let spec = spec();
        let security = &spec["containers"][0]["securityContext"];
        assert_eq!(security["privileged"], false);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"], json!({ "drop": ["ALL"] }));
        assert_eq!(spec["automountServiceAccountToken"], false);
        for (field, what) in [
            ("hostNetwork", "network"),
            ("hostPID", "processes"),
            ("hostIPC", "memory"),
        ] {
            assert_eq!(spec[field], Value::Null, "the node's {what}");
        }
        let ports = &spec["containers"][0]["ports"];
        assert_eq!(*ports, Value::Null, "nobody reaches a port of it");
    }

    #[test]
    fn of_the_node_it_has_the_drivers_folder_and_that_of_pods_at_their_own_paths_and_looks_at_the_providers()
    {
        let spec = spec();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let paths: Vec<Value> = list(&spec["volumes"])
            .iter()
            .filter_map(|volume| volume.get("hostPath").map(|path| path["path"].clone()))
            .collect();
        assert_eq!(paths, [PLUGIN, PODS, PROVIDERS]);
        for volume in list(&spec["volumes"]) {
            let mounts = list(&spec["containers"][0]["volumeMounts"]);
            let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]);
            let at = mount.map(|mount| &mount["mountPath"]);
            assert!(at.is_some(), "{volume} is mounted");
            if let Some(path) = volume["hostPath"].get("path") {
                assert_eq!(at, Some(path), "paths in calls are the driver's too");
            }
        }
        let mounts = list(&spec["containers"][0]["volumeMounts"]);
        let providers = mounts.iter().find(|mount| mount["name"] == "providers");
        assert_eq!(providers.map(|mount| &mount["readOnly"]), Some(&json!(true)));
        let propagated = list(&spec["containers"][0]["volumeMounts"]);
        let propagated: Vec<&Value> = propagated
            .iter()
            .filter(|mount| mount.get("mountPropagation").is_some())
            .collect();
        assert_eq!(propagated.len(), 1);
        assert_eq!(
            propagated[0]["mountPropagation"], "HostToContainer",
            "it sees mounts and makes none"
        );
    }
}
