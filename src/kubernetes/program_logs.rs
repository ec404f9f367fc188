//! What the pods of a `DaemonSet` have written, over the API (`pods/log`), whichever cluster it is.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ContainerStatus, Pod},
};
use kube::{
    Api, Client,
    api::{ListParams, LogParams},
};

use super::{Kubernetes, KubernetesError, limited};

/// Reads logs, for as long as somebody keeps it.
#[derive(Clone)]
pub struct PodLogs {
    client: Client,
}

/// A `DaemonSet`, as far as it tells what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonView {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The node's folders that its pods have.
    pub host_folders: Vec<String>,
    /// Its containers, in order.
    pub containers: Vec<DaemonContainer>,
    /// Of its pods, `key=value,...`.
    pub selector: String,
}

/// A container of a `DaemonSet`'s pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonContainer {
    /// Its name.
    pub name: String,
    /// `command` and `args`, as its manifest has them.
    pub arguments: Vec<String>,
}

/// What one container has written.
pub struct ContainerLog {
    /// The node that it runs on.
    pub node: String,
    /// Its pod.
    pub pod: String,
    /// Whether it is of the container before this one, which has ended.
    pub previous: bool,
    /// Everything that the node still has of it.
    pub text: String,
}

impl Kubernetes {
    /// A reader of logs.
    #[must_use]
    pub fn pod_logs(&self) -> PodLogs {
        PodLogs {
            client: self.client.clone(),
        }
    }
}

impl PodLogs {
    /// Every `DaemonSet` of the cluster.
    pub async fn daemons(&self) -> Result<Vec<DaemonView>, KubernetesError> {
        let api: Api<DaemonSet> = Api::all(self.client.clone());
        let found = limited(api.list(&ListParams::default()))
            .await
            .map_err(|error| KubernetesError::of("list DaemonSet objects".to_owned(), error))?;
        Ok(found.into_iter().filter_map(view).collect())
    }

    /// What a container of a `DaemonSet`'s has written on each of these nodes, or on each that there is; of one that was started anew, what
    /// came before it first. Of the last `since_seconds`, or all that there is. With `stamped`, each line begins with when it
    /// was written (RFC 3339), as the container's runtime saw it.
    pub async fn read(
        &self,
        daemon: &DaemonView,
        container: &str,
        nodes: Option<&[String]>,
        since_seconds: Option<i64>,
        stamped: bool,
    ) -> Result<Vec<ContainerLog>, KubernetesError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &daemon.namespace);
        let params = ListParams::default().labels(&daemon.selector);
        let found = limited(pods.list(&params)).await.map_err(|error| {
            KubernetesError::of(
                format!("list the pods of DaemonSet {}/{}", daemon.namespace, daemon.name),
                error,
            )
        })?;
        let mut logs = Vec::new();
        for pod in found {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
                continue;
            };
            if nodes.is_some_and(|nodes| !nodes.contains(&node)) {
                continue;
            }
            for previous in lives(&pod, container) {
                let params = LogParams {
                    container: Some(container.to_owned()),
                    previous,
                    since_seconds,
                    timestamps: stamped,
                    ..LogParams::default()
                };
                let text = match limited(pods.logs(&name, &params)).await {
                    Ok(text) => text,
                    // The node has thrown it away.
                    Err(kube::Error::Api(status)) if previous && matches!(status.code, 400 | 404) => continue,
                    Err(error) => {
                        let action = format!("read the log of pod {}/{name}", daemon.namespace);
                        return Err(KubernetesError::of(action, error));
                    }
                };
                logs.push(ContainerLog {
                    node: node.clone(),
                    pod: name.clone(),
                    previous,
                    text,
                });
            }
        }
        Ok(logs)
    }
}

/// Which lives of a container have a log: the one before this one, where there was one, and this one, where it has begun.
fn lives(pod: &Pod, container: &str) -> Vec<bool> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let status = statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == container);
    let began = |status: &ContainerStatus| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let mut lives = Vec::new();
    if status.is_some_and(|status| status.restart_count > 0) {
        lives.push(true);
    }
    if status.is_some_and(began) {
        lives.push(false);
    }
    lives
}

fn view(set: DaemonSet) -> Option<DaemonView> {
    let spec = set.spec?;
    let pod = spec.template.spec?;
    let labels = spec.selector.match_labels.unwrap_or_default();
    let selector: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let volumes = pod.volumes.into_iter().flatten();
    Some(DaemonView {
        namespace: set.metadata.namespace?,
        name: set.metadata.name?,
        host_folders: volumes
            .filter_map(|volume| Some(volume.host_path?.path))
            .collect(),
        containers: pod
            .containers
            .into_iter()
            .map(|container| DaemonContainer {
                name: container.name,
                arguments: [container.command, container.args]
                    .into_iter()
                    .flatten()
                    .flatten()
                    .collect(),
            })
            .collect(),
        selector: selector.join(","),
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_has_a_log_of_each_life_that_it_began() {
        let running = json!({ "running": {} });
        let waiting = json!({ "waiting": { "reason": "ContainerCreating" } });
        for (status, expected) in [
            (
                json!({ "name": "driver", "restartCount": 0, "state": running }),
                vec![false],
            ),
            (
                json!({ "name": "driver", "restartCount": 2, "state": running }),
                vec![true, false],
            ),
            (
                json!({ "name": "driver", "restartCount": 2, "state": waiting }),
                vec![true],
            ),
            (
                json!({ "name": "driver", "restartCount": 0, "state": waiting }),
                vec![],
            ),
            (
                json!({ "name": "another", "restartCount": 0, "state": running }),
                vec![],
            ),
        ] {
            let mut status = status;
            for (field, value) in [("image", "x"), ("imageID", "x")] {
                status[field] = json!(value);
            }
            status["ready"] = json!(true);
            let pod: Pod = serde_json::from_value(json!({
                "metadata": { "name": "driver-x" },
                "status": { "containerStatuses": [status] },
            }))
            .unwrap();
            assert_eq!(lives(&pod, "driver"), expected, "{status}");
        }
    }

    #[test]
    fn a_daemon_is_seen_with_its_pods_its_folders_and_its_arguments() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "name": "driver", "namespace": "kube-system" },
            "spec": {
                "selector": { "matchLabels": { "app": "driver", "tier": "node" } },
                "template": { "spec": {
                    "containers": [
                        { "name": "registrar" },
                        { "name": "store", "command": ["/driver"], "args": ["-v=5"] },
                    ],
                    "volumes": [
                        { "name": "providers", "hostPath": { "path": "/var/run/providers" } },
                        { "name": "empty", "emptyDir": {} },
                    ],
                } },
            },
        }))
        .unwrap();
        let seen = view(set).unwrap();
        assert_eq!(
            (seen.namespace.as_str(), seen.name.as_str()),
            ("kube-system", "driver")
        );
        assert_eq!(seen.host_folders, ["/var/run/providers"]);
        assert_eq!(seen.containers[1].arguments, ["/driver", "-v=5"]);
        assert_eq!(seen.selector, "app=driver,tier=node");
    }
}
