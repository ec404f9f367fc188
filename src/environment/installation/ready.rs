//! Waits until driver and provider serve on the nodes, and says early why they never will.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use mountproof_releases::Part;
use serde_json::Value;

use super::{
    super::{local::StartError, progress::Stage},
    plan::{Installation, Placed},
};
use crate::{
    kubernetes::{ContainerRef, Kubernetes, KubernetesError, ObjectRef},
    tenant,
};

/// Longest wait, images to be pulled included.
const READY: Duration = Duration::from_mins(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long something that may pass by itself may last: kubelet tries a pull again after ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Restarts after which a container is taken not to come up at all.
const RESTARTS: u64 = 2;
/// Last lines of a log that are told.
const LINES: u16 = 5;

/// Waits until both parts are Ready on every node that their `DaemonSet`s choose, and kubelet there knows the driver: pods
/// that come before it see an event that is none of theirs.
///
/// # Errors
///
/// When they are not in time, or it is known before that they never will be; with the container's state and its last lines.
pub(crate) async fn await_ready(
    kubernetes: &Kubernetes,
    installation: &Installation,
    stage: Stage,
) -> Result<(), StartError> {
    let until = Instant::now() + READY;
    let mut patience = Patience::default();
    let mut said = String::new();
    loop {
        let mut waiting = Vec::new();
        let mut troubles = Vec::new();
        for part in Part::ALL {
            let failed = StartError::of::<KubernetesError>(part.name());
            let placed = installation.of(part);
            let (ready, wanted) = ready(kubernetes, &placed.daemon_set).await.map_err(failed)?;
            if wanted == 0 {
                waiting.push(format!("no node was chosen for {}", placed.daemon_set));
            } else if ready < wanted {
                waiting.push(format!(
                    "{} is ready on {ready} of {wanted} nodes",
                    placed.daemon_set
                ));
                let pods = pods(kubernetes, &placed.daemon_set).await.map_err(failed)?;
                troubles.extend(pods.iter().flat_map(troubles_of).map(|trouble| (part, trouble)));
            }
            if part == Part::Driver && wanted > 0 {
                let registered = kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await;
                let registered = registered.map_err(failed)?.len() as u64;
                if registered < wanted {
                    waiting.push(format!(
                        "kubelet knows the driver on {registered} of {wanted} nodes"
                    ));
                }
            }
        }
        if waiting.is_empty() {
            stage.ends("serves on every node");
            return Ok(());
        }
        let says = waiting.join(", ");
        if says != said {
            stage.goes_on(says.as_str());
            said = says;
        }
        if let Some((part, trouble)) = patience.lasting(&troubles) {
            let because = told(kubernetes, *part, installation.of(*part), trouble).await;
            return Err(StartError::of(part.name())(because));
        }
        if Instant::now() >= until {
            let mut because = format!("{} after {READY:?}", waiting.join(", "));
            if let Some((part, trouble)) = troubles.first() {
                because.push_str("; ");
                because.push_str(&told(kubernetes, *part, installation.of(*part), trouble).await);
            }
            return Err(StartError::of("driver")(because));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Since when each trouble lasts.
#[derive(Debug, Default)]
struct Patience(BTreeMap<String, Instant>);

impl Patience {
    /// The first that will not pass by itself, or lasts too long for that.
    fn lasting<'a>(&mut self, troubles: &'a [(Part, Stuck)]) -> Option<&'a (Part, Stuck)> {
        let now = Instant::now();
        self.0
            .retain(|key, _| troubles.iter().any(|(_, trouble)| trouble.key() == *key));
        troubles.iter().find(|(_, trouble)| {
            let began = *self.0.entry(trouble.key()).or_insert(now);
            !trouble.passes || now.duration_since(began) >= PATIENCE
        })
    }
}

/// Waits until new pods of these parts are Ready on a node, in the place of `former`, and kubelet there knows the driver.
///
/// # Errors
///
/// As [`await_ready`].
pub(super) async fn await_new(
    kubernetes: &Kubernetes,
    installation: &Installation,
    (node, parts): (&str, &[Part]),
    former: &BTreeSet<String>,
) -> Result<(), StartError> {
    let until = Instant::now() + READY;
    let mut patience = Patience::default();
    loop {
        let mut waiting = Vec::new();
        let mut troubles = Vec::new();
        for &part in parts {
            let failed = StartError::of::<KubernetesError>(part.name());
            let mut pods = pods(kubernetes, &installation.of(part).daemon_set)
                .await
                .map_err(failed)?;
            pods.retain(|pod| {
                let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
                pod["spec"]["nodeName"] == node && !former.contains(uid)
            });
            if !pods.iter().any(is_ready) {
                waiting.push(format!("the new {part} is not ready on {node}"));
                troubles.extend(pods.iter().flat_map(troubles_of).map(|trouble| (part, trouble)));
            }
        }
        let registered = kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await;
        let registered = registered.map_err(StartError::of::<KubernetesError>("driver"))?;
        if !registered.iter().any(|name| name == node) {
            waiting.push(format!("kubelet of {node} does not know the driver"));
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if let Some((part, trouble)) = patience.lasting(&troubles) {
            let because = told(kubernetes, *part, installation.of(*part), trouble).await;
            return Err(StartError::of(part.name())(because));
        }
        if Instant::now() >= until {
            let because = format!("{} after {READY:?}", waiting.join(", "));
            return Err(StartError::of("driver")(because));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// PURE: whether a pod is Ready and stays.
fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    pod["metadata"]["deletionTimestamp"].is_null()
        && conditions
            .into_iter()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// On how many nodes a `DaemonSet`'s pods are Ready and of its newest shape, of how many that it is for.
pub(in crate::environment) async fn ready(
    kubernetes: &Kubernetes,
    daemon_set: &ObjectRef,
) -> Result<(u64, u64), KubernetesError> {
    let object = kubernetes.read(daemon_set).await?.unwrap_or_default();
    let wanted = object["status"]["desiredNumberScheduled"].as_u64().unwrap_or(0);
    Ok((rolled_out(&object), wanted))
}

/// PURE: on how many nodes a `DaemonSet`'s pod is Ready, and of its newest shape.
fn rolled_out(object: &Value) -> u64 {
    let status = &object["status"];
    // Of a shape that was not yet looked at none is.
    if status["observedGeneration"] != object["metadata"]["generation"] {
        return 0;
    }
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    let updated = number("updatedNumberScheduled").saturating_sub(number("numberUnavailable"));
    updated.min(number("numberReady"))
}

/// The pods of a `DaemonSet`.
pub(in crate::environment) async fn pods(
    kubernetes: &Kubernetes,
    daemon_set: &ObjectRef,
) -> Result<Vec<Value>, KubernetesError> {
    let namespace = daemon_set.namespace.as_deref();
    let mut pods = kubernetes.list("v1", "Pod", namespace, None).await?;
    pods.retain(|pod| {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        owners
            .into_iter()
            .flatten()
            .any(|owner| owner["kind"] == "DaemonSet" && owner["name"] == daemon_set.name.as_str())
    });
    Ok(pods)
}

/// Something that keeps a pod from being Ready.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stuck {
    pod: String,
    node: String,
    container: String,
    image: String,
    what: What,
    /// Kubelet's reason and words.
    reason: String,
    /// Whether it may pass by itself.
    passes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Image,
    Ends,
    NotStarted,
    NotScheduled,
}

impl Stuck {
    fn key(&self) -> String {
        format!("{}/{}/{:?}", self.pod, self.container, self.what)
    }
}

/// PURE. What keeps a pod from being Ready, by its status.
fn troubles_of(pod: &Value) -> Vec<Stuck> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let stuck = |container: &Value, what, reason: String, passes| Stuck {
        pod: text(&pod["metadata"]["name"]),
        node: text(&pod["spec"]["nodeName"]),
        container: text(&container["name"]),
        image: text(&container["image"]),
        what,
        reason,
        passes,
    };
    let words = |state: &Value| {
        let (reason, message) = (text(&state["reason"]), text(&state["message"]));
        let message = message.lines().next().unwrap_or_default();
        if message.is_empty() {
            reason
        } else {
            format!("{reason}: {message}")
        }
    };
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let mut unscheduled =
        conditions.filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False");
    if let Some(condition) = unscheduled.next() {
        return vec![stuck(&Value::Null, What::NotScheduled, words(condition), true)];
    }
    let lists = ["initContainerStatuses", "containerStatuses"];
    let statuses = lists
        .into_iter()
        .flat_map(|list| pod["status"][list].as_array().into_iter().flatten());
    let mut found = Vec::new();
    for status in statuses.filter(|status| status["ready"] != true) {
        let (waiting, ended) = (&status["state"]["waiting"], &status["state"]["terminated"]);
        let reason = text(&waiting["reason"]);
        let restarts = status["restartCount"].as_u64().unwrap_or(0);
        let last = &status["lastState"]["terminated"];
        let crashed = || {
            let ended = if ended.is_null() { last } else { ended };
            format!(
                "it ended {} times, last with exit code {} ({})",
                restarts + u64::from(reason != "CrashLoopBackOff"),
                ended["exitCode"],
                words(ended)
            )
        };
        found.extend(match reason.as_str() {
            "InvalidImageName" => Some(stuck(status, What::Image, words(waiting), false)),
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "RegistryUnavailable" => {
                Some(stuck(status, What::Image, words(waiting), true))
            }
            "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff" => {
                let down = !ended.is_null() || reason == "CrashLoopBackOff";
                if down && restarts >= RESTARTS {
                    Some(stuck(status, What::Ends, crashed(), false))
                } else {
                    None
                }
            }
            _ => Some(stuck(status, What::NotStarted, words(waiting), true)),
        });
    }
    found
}

/// A trouble in words, with the last lines of the container that has it.
async fn told(kubernetes: &Kubernetes, part: Part, placed: &Placed, stuck: &Stuck) -> String {
    let Stuck {
        pod,
        node,
        container,
        image,
        reason,
        ..
    } = stuck;
    let on = format!("{container} of {pod} on {node}");
    match stuck.what {
        What::Image => {
            let flag = if *container == placed.container {
                format!("--{part}-image")
            } else {
                format!("the manifests of the {part} (--registrar-image for what registers it)")
            };
            format!(
                "the image {image} of {on} cannot be pulled ({reason}); name one that the nodes can have with {flag}, or have \
                 it in Docker here, from where it is loaded"
            )
        }
        What::NotScheduled => format!("{pod} is on no node: {reason}"),
        What::NotStarted => format!("{on} does not start: {reason}"),
        What::Ends => {
            let namespace = placed.daemon_set.namespace.as_deref().unwrap_or_default();
            let of = ContainerRef {
                namespace,
                pod,
                container,
            };
            let mut lines = String::new();
            for previous in [false, true] {
                if let Ok(log) = kubernetes.last_lines(of, previous, LINES).await {
                    lines = log.lines().map(str::trim).collect::<Vec<_>>().join(" | ");
                }
                if !lines.is_empty() {
                    break;
                }
            }
            let wrote = if lines.is_empty() {
                "it wrote nothing".to_owned()
            } else {
                format!("its last lines: {lines}")
            };
            format!("{on} does not stay up: {reason}; {wrote}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Value {
        json!({
            "metadata": { "name": "driver-x" },
            "spec": { "nodeName": "n1" },
            "status": { "containerStatuses": [status] },
        })
    }

    fn seen(status: Value) -> Option<(What, bool, String)> {
        let mut status = status;
        status["name"] = json!("secrets-store");
        status["image"] = json!("driver:v1.6.0");
        let found = troubles_of(&pod(&status)).into_iter().next();
        found.map(|stuck| (stuck.what, stuck.passes, stuck.reason))
    }

    #[test]
    fn what_is_being_rolled_is_not_yet_ready() {
        let set = |generation: u64, updated: u64, ready: u64, unavailable: u64| {
            json!({
                "metadata": { "generation": 2 },
                "status": { "observedGeneration": generation, "updatedNumberScheduled": updated,
                    "numberReady": ready, "numberUnavailable": unavailable },
            })
        };
        for (object, nodes) in [
            (set(2, 3, 3, 0), 3),
            (set(2, 1, 3, 0), 1),
            (set(2, 2, 2, 1), 1),
            (set(2, 3, 2, 0), 2),
            (set(1, 3, 3, 0), 0),
            (Value::Null, 0),
        ] {
            assert_eq!(rolled_out(&object), nodes, "{object}");
        }
    }

    #[test]
    fn what_keeps_a_pod_is_read_off_its_status() {
        let pull = json!({ "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ErrImagePull", "message": "not found\nmore" } } });
        assert_eq!(
            seen(pull),
            Some((What::Image, true, "ErrImagePull: not found".to_owned()))
        );
        let name = json!({ "ready": false, "state": { "waiting": { "reason": "InvalidImageName" } } });
        assert_eq!(
            seen(name),
            Some((What::Image, false, "InvalidImageName".to_owned()))
        );
        let config = json!({ "ready": false, "state": { "waiting": { "reason": "CreateContainerConfigError", "message": "no secret" } } });
        assert_eq!(
            seen(config),
            Some((
                What::NotStarted,
                true,
                "CreateContainerConfigError: no secret".to_owned()
            ))
        );
    }

    #[test]
    fn a_container_that_comes_up_again_and_again_is_given_up() {
        let crashed = |restarts: u64, state: Value| {
            seen(json!({ "ready": false, "restartCount": restarts, "state": state,
                "lastState": { "terminated": { "exitCode": 2, "reason": "Error" } } }))
        };
        let back_off = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } });
        assert_eq!(crashed(1, back_off.clone()), None);
        assert_eq!(
            crashed(2, back_off),
            Some((
                What::Ends,
                false,
                "it ended 2 times, last with exit code 2 (Error)".to_owned()
            ))
        );
        // While it runs it may yet become Ready.
        assert_eq!(crashed(5, json!({ "running": {} })), None);
    }

    #[test]
    fn what_is_on_its_way_is_no_trouble() {
        for state in [
            json!({ "waiting": { "reason": "ContainerCreating" } }),
            json!({ "running": { "startedAt": "now" } }),
        ] {
            assert_eq!(seen(json!({ "ready": false, "state": state })), None);
        }
        let waits = json!({ "status": { "conditions": [
            { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" } ] } });
        let found = troubles_of(&waits);
        assert_eq!(found[0].reason, "Unschedulable: 0/1 nodes");
    }
}
