//! What kubelet reads of a pod, and the statuses it writes. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::containers::Crashed;

/// The part of a pod that this kubelet reads.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Pod {
    pub(crate) metadata: Meta,
    #[serde(default)]
    pub(crate) spec: Spec,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) resource_version: String,
    #[serde(default)]
    pub(crate) generation: Option<i64>,
    #[serde(default)]
    pub(crate) deletion_timestamp: Option<String>,
    #[serde(default)]
    pub(crate) owner_references: Vec<Owner>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Owner {
    pub(crate) kind: String,
    pub(crate) uid: String,
    #[serde(default)]
    pub(crate) controller: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) node_name: Option<String>,
    /// Whose it is to bind, and to which nodes.
    pub(crate) scheduler_name: String,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) affinity: Value,
    pub(crate) tolerations: Vec<Value>,
    pub(crate) service_account_name: Option<String>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) containers: Vec<Container>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Volume {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) csi: Option<CsiSource>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CsiSource {
    pub(crate) driver: String,
    pub(crate) read_only: bool,
    pub(crate) fs_type: Option<String>,
    pub(crate) volume_attributes: BTreeMap<String, String>,
    pub(crate) node_publish_secret_ref: Option<SecretRef>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct SecretRef {
    pub(crate) name: String,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) volume_mounts: Vec<VolumeMount>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct VolumeMount {
    pub(crate) name: String,
    pub(crate) mount_path: String,
    #[serde(default)]
    pub(crate) read_only: bool,
}

/// How far a pod has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Seen; its volumes are not there yet.
    Creating,
    /// Its sandbox stands.
    Sandboxed,
    /// Its containers count as started.
    Running,
}

/// When a pod reached its stages, as RFC 3339 in whole seconds.
#[derive(Debug, Clone)]
pub(crate) struct Milestones {
    pub(crate) seen: String,
    pub(crate) sandboxed: Option<String>,
    pub(crate) running: Option<String>,
}

impl Pod {
    /// `namespace/name`.
    pub(crate) fn key(&self) -> String {
        format!("{}/{}", self.metadata.namespace, self.metadata.name)
    }

    pub(crate) fn path(&self) -> String {
        let Meta { namespace, name, .. } = &self.metadata;
        format!("/api/v1/namespaces/{namespace}/pods/{name}")
    }

    /// What keeps it up, if anything does.
    pub(crate) fn controller(&self) -> Option<&Owner> {
        self.metadata
            .owner_references
            .iter()
            .find(|owner| owner.controller)
    }

    pub(crate) fn service_account(&self) -> &str {
        self.spec.service_account_name.as_deref().unwrap_or("default")
    }

    /// The merge patch of `status` at `stage`, with conditions in kubelet's order.
    /// On a node with this address.
    pub(super) fn status(&self, stage: Stage, times: &Milestones, host: &str, crashed: &Crashed) -> Value {
        let running = times.running.as_deref().filter(|_| stage == Stage::Running);
        let sandboxed = times.sandboxed.as_deref().filter(|_| stage >= Stage::Sandboxed);
        // It runs, and is ready once all of its containers do.
        let ready = running.filter(|_| crashed.is_empty());
        let unready = |container: &&Container| running.is_none() || crashed.contains_key(&container.name);
        let names = self.spec.containers.iter().filter(unready);
        let names: Vec<&str> = names.map(|container| container.name.as_str()).collect();
        let waiting = format!("containers with unready status: [{}]", names.join(" "));
        let condition = |kind: &str, since: Option<&str>| {
            let mut condition = json!({
                "type": kind,
                "status": if since.is_some() { "True" } else { "False" },
                "lastProbeTime": null,
                "lastTransitionTime": since.unwrap_or(&times.seen),
            });
            if let Some(generation) = self.metadata.generation {
                condition["observedGeneration"] = generation.into();
            }
            if since.is_none() && kind.ends_with("Ready") {
                condition["reason"] = "ContainersNotReady".into();
                condition["message"] = waiting.as_str().into();
            }
            condition
        };
        let containers = self.spec.containers.iter();
        let containers: Vec<Value> = containers
            .map(|container| match crashed.get(&container.name) {
                None => container.status(running),
                Some(crash) => {
                    let mut status = container.status(None);
                    (status["state"], status["lastState"]) =
                        crash.states(&self.metadata.name, &container.name);
                    status["restartCount"] = crash.restarts.into();
                    status
                }
            })
            .collect();
        json!({"status": {
            "phase": if running.is_some() { "Running" } else { "Pending" },
            "conditions": [
                condition("PodReadyToStartContainers", sandboxed),
                condition("Initialized", Some(&times.seen)),
                condition("Ready", ready),
                condition("ContainersReady", ready),
                condition("PodScheduled", Some(&times.seen)),
            ],
            "hostIP": host,
            "startTime": times.seen,
            "containerStatuses": containers,
        }})
    }
}

impl Container {
    fn status(&self, running: Option<&str>) -> Value {
        let mounts: Vec<Value> = self
            .volume_mounts
            .iter()
            .map(|mount| {
                let mut status = json!({"name": mount.name, "mountPath": mount.mount_path});
                if mount.read_only {
                    status["readOnly"] = true.into();
                    status["recursiveReadOnly"] = "Disabled".into();
                }
                status
            })
            .collect();
        json!({
            "name": self.name,
            "state": match running {
                Some(since) => json!({"running": {"startedAt": since}}),
                None => json!({"waiting": {"reason": "ContainerCreating"}}),
            },
            "lastState": {},
            "ready": running.is_some(),
            "started": running.is_some(),
            "restartCount": 0,
            "image": self.image,
            "imageID": "",
            "volumeMounts": mounts,
        })
    }
}
