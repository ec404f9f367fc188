//! Objects of somebody else's that make room for the run's, and are put back as they were.
//!
//! Each is written down whole before it is deleted, and on record as displaced: whoever finishes the run, a killed one too,
//! puts it back from there. What the API gives an object itself (uid, version, status) is new then, and nothing else.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::Object;
use crate::kubernetes::{Kubernetes, ObjectRef};

/// Folder of the run's that they are in.
const FOLDER: &str = "displaced";
/// Longest wait for the pods of a `DaemonSet` that is gone to be gone too.
const PODS: Duration = Duration::from_mins(2);
/// Longest wait for what was put back to be Ready.
const READY: Duration = Duration::from_mins(3);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Writes an object down, as it is, in the folder of a run; what to put on record.
///
/// # Errors
///
/// When it cannot be written: it is not to be touched then.
pub fn save(run: &Path, object: &Value) -> io::Result<Object> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let reference = ObjectRef::of(object);
    let namespace = reference.namespace.as_deref().unwrap_or("cluster");
    let name = format!("{}-{namespace}-{}.json", reference.kind, reference.name).replace(['/', ':'], "-");
    let saved = std::path::absolute(folder.join(name))?;
    let mut file = fs::File::create(&saved)?;
    file.write_all(&serde_json::to_vec_pretty(object)?)?;
    file.sync_all()?;
    Ok(Object::Displaced {
        object: reference,
        saved,
    })
}

/// Waits until no pod is left of a `DaemonSet` that is gone: it would take the sockets of the next one with it.
///
/// # Errors
///
/// When one is there still, or the API does not answer.
pub async fn daemons_gone(kubernetes: &Kubernetes, namespace: &str) -> Result<(), String> {
    let until = Instant::now() + PODS;
    loop {
        let said = |error: crate::kubernetes::KubernetesError| error.to_string();
        let sets = kubernetes
            .list("apps/v1", "DaemonSet", Some(namespace), None)
            .await;
        let pods = kubernetes.list("v1", "Pod", Some(namespace), None).await;
        let left = orphans(&sets.map_err(said)?, &pods.map_err(said)?);
        let Some(left) = left.first() else { return Ok(()) };
        if Instant::now() >= until {
            return Err(format!("pod {namespace}/{left} is there still after {PODS:?}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Puts an object back, and waits until it is Ready where that means something.
///
/// # Errors
///
/// Why it is not back, in words, with where it is written down.
pub(super) async fn put_back(kubernetes: &Kubernetes, saved: &Path) -> Result<(), String> {
    let said = |because: String| format!("{because}; as it was, it is in {}", saved.display());
    let text = fs::read(saved).map_err(|error| said(error.to_string()))?;
    let was: Value = serde_json::from_slice(&text).map_err(|error| said(error.to_string()))?;
    let reference = ObjectRef::of(&was);
    let is_daemon = reference.kind == "DaemonSet";
    if is_daemon {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        daemons_gone(kubernetes, namespace).await.map_err(said)?;
    }
    let made = kubernetes.create(&restorable(was)).await;
    made.map_err(|error| said(error.to_string()))?;
    if !is_daemon {
        return Ok(());
    }
    let until = Instant::now() + READY;
    loop {
        let now = kubernetes.read(&reference).await;
        let now = now.map_err(|error| said(error.to_string()))?.unwrap_or_default();
        let number = |field: &str| now["status"][field].as_u64();
        let (ready, wanted) = (number("numberReady"), number("desiredNumberScheduled"));
        let looked_at = now["status"]["observedGeneration"] == now["metadata"]["generation"];
        if looked_at && wanted.is_some() && ready >= wanted {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!(
                "{reference} is back, and Ready on {} of {} nodes after {READY:?}",
                ready.unwrap_or(0),
                wanted.unwrap_or(0)
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// PURE: an object as it is made anew: without what the API gives it.
fn restorable(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for given in [
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "selfLink",
        ] {
            metadata.remove(given);
        }
    }
    object
}

/// PURE: names of the pods whose `DaemonSet` is not there.
fn orphans(sets: &[Value], pods: &[Value]) -> Vec<String> {
    let there = |name: &Value| sets.iter().any(|set| set["metadata"]["name"] == *name);
    let orphaned = pods.iter().filter(|pod| {
        let mut owners = pod["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten();
        owners.any(|owner| owner["kind"] == "DaemonSet" && !there(&owner["name"]))
    });
    orphaned
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_down_is_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "driver", "namespace": "kube-system", "uid": "u", "resourceVersion": "7",
                "labels": { "helm.sh/chart": "c" }, "annotations": { "a": "b" }, "ownerReferences": [] },
            "spec": { "template": {} }, "status": { "numberReady": 2 },
        });
        let Object::Displaced {
            object: reference,
            saved,
        } = save(folder.path(), &object).unwrap()
        else {
            panic!("it is displaced");
        };
        assert_eq!(reference, ObjectRef::of(&object));
        let read: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
        assert_eq!(read, object);
        assert_eq!(
            restorable(read),
            json!({
                "apiVersion": "apps/v1", "kind": "DaemonSet",
                "metadata": { "name": "driver", "namespace": "kube-system", "labels": { "helm.sh/chart": "c" },
                    "annotations": { "a": "b" }, "ownerReferences": [] },
                "spec": { "template": {} },
            })
        );
    }

    #[test]
    fn a_pod_whose_daemon_is_gone_is_waited_for_and_no_other() {
        let pod = |name: &str, kind: &str, owner: &str| json!({ "metadata": { "name": name, "ownerReferences": [{ "kind": kind, "name": owner }] } });
        let sets = [json!({ "metadata": { "name": "there" } })];
        let pods = [
            pod("a", "DaemonSet", "there"),
            pod("b", "DaemonSet", "gone"),
            pod("c", "ReplicaSet", "gone"),
            json!({ "metadata": { "name": "d" } }),
        ];
        assert_eq!(orphans(&sets, &pods), ["b"]);
    }
}
