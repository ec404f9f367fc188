//! Objects of somebody else's that make room for the run's, and are put back as they were.
//!
//! Each is written down whole before it is deleted, and on record as displaced: whoever finishes the run, a killed one too,
//! puts it back from there. It is kept in the cluster too, in a `ConfigMap` of `kube-system` with the run's label: a scheduled
//! clean-up on another machine has no ledger. One that is anywhere else is not believed, as whoever may write there could have a
//! clean-up make what they may not make themselves. A Secret is not kept: whoever may read a `ConfigMap` may not read that. What
//! the API gives an object itself (uid, version, status) is new then, and nothing else.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Ledger, LedgerError, Object};
use crate::{
    kubernetes::{Kubernetes, KubernetesError, Marked, ObjectRef},
    tenant::{DISPLACED_LABEL, Marks},
};

/// Folder of the run's that they are in.
const FOLDER: &str = "displaced";
/// Where it is in what keeps it.
const KEY: &str = "object.json";
/// Where what keeps them is: whoever may write there is an administrator.
const NAMESPACE: &str = "kube-system";
/// Longest wait for an object that makes room to be gone.
const GONE: Duration = Duration::from_mins(1);
/// Longest wait for the pods of a `DaemonSet` that is gone to be gone too.
const PODS: Duration = Duration::from_mins(2);
/// Longest wait for what was put back to be Ready.
const READY: Duration = Duration::from_mins(3);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);

/// Why an object makes no room; it is there still, or on record as displaced.
#[derive(Debug, thiserror::Error)]
pub enum DisplaceError {
    /// It cannot be written down.
    #[error("write {object} down before it makes room: {source}")]
    Unsaved {
        /// Which.
        object: ObjectRef,
        /// Why.
        source: io::Error,
    },
    /// It cannot be put on record.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Kubernetes said no.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
}

/// Deletes an object that is `there` and waits until it is gone, once it is written down in the folder of the run, on record, and
/// kept in the cluster. `number` tells the objects of one run apart, in the order in which they go.
///
/// # Errors
///
/// When it cannot be kept, or does not go.
pub async fn displace(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    marks: &Marks,
    there: &Value,
    number: usize,
) -> Result<(), DisplaceError> {
    let object = ObjectRef::of(there);
    let unsaved = |source| DisplaceError::Unsaved {
        object: object.clone(),
        source,
    };
    let keeper = keeper(there, marks, number);
    let record = Object::Displaced {
        object: object.clone(),
        saved: Some(save(ledger.folder(), there).map_err(unsaved)?),
        kept: keeper.as_ref().map(ObjectRef::of),
    };
    ledger.plan(&[record])?;
    if let Some(keeper) = keeper {
        let making = kubernetes.clone();
        ledger.landed(async move { making.create(&keeper).await }).await?;
    }
    kubernetes.delete(&object).await?;
    Ok(kubernetes.wait_gone(&object, Instant::now() + GONE).await?)
}

/// PURE: what keeps an object in the cluster; nothing for a Secret.
fn keeper(there: &Value, marks: &Marks, number: usize) -> Option<Value> {
    let object = ObjectRef::of(there);
    if object.kind == "Secret" {
        return None;
    }
    let mut labels = marks.labels();
    labels.insert(DISPLACED_LABEL.to_owned(), json!("true"));
    Some(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": format!("{}{number:02}", keepers(marks.run())),
            "namespace": NAMESPACE,
            "labels": labels,
            "annotations": { DISPLACED_LABEL: json!(object).to_string() },
        },
        "data": { KEY: restorable(there.clone()).to_string() },
    }))
}

/// What the names of a run's keepers begin with.
fn keepers(run: &str) -> String {
    format!("mountproof-displaced-{run}-")
}

/// PURE: what this keeps, where it is a keeper of its run's.
pub(super) fn kept_by(marked: &Marked) -> Option<&ObjectRef> {
    let ObjectRef {
        kind,
        namespace,
        name,
        ..
    } = &marked.object;
    let is_keeper = kind == "ConfigMap"
        && namespace.as_deref() == Some(NAMESPACE)
        && name.starts_with(&keepers(&marked.run));
    marked.displaced.as_ref().filter(|_| is_keeper)
}

/// Writes an object down, as it is, in the folder of a run; where.
fn save(run: &Path, object: &Value) -> io::Result<PathBuf> {
    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder)?;
    let reference = ObjectRef::of(object);
    let namespace = reference.namespace.as_deref().unwrap_or("cluster");
    let name = format!("{}-{namespace}-{}.json", reference.kind, reference.name).replace(['/', ':'], "-");
    let saved = std::path::absolute(folder.join(name))?;
    let mut file = fs::File::create(&saved)?;
    file.write_all(&serde_json::to_vec_pretty(object)?)?;
    file.sync_all()?;
    Ok(saved)
}

/// Waits until no pod is left of a `DaemonSet` that is gone: it would take the sockets of the next one with it.
///
/// # Errors
///
/// When one is there still, or the API does not answer.
pub async fn daemons_gone(kubernetes: &Kubernetes, namespace: &str) -> Result<(), String> {
    let until = Instant::now() + PODS;
    loop {
        let said = |error: KubernetesError| error.to_string();
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

/// Puts an object back, waits until it is Ready where that means something, and removes what kept it.
///
/// # Errors
///
/// Why it is not back, in words, with where it is written down.
pub(super) async fn put_back(
    kubernetes: &Kubernetes,
    object: &ObjectRef,
    saved: Option<&Path>,
    kept: Option<&ObjectRef>,
) -> Result<(), String> {
    let places = saved.map(|saved| saved.display().to_string());
    let places: Vec<String> = places
        .into_iter()
        .chain(kept.map(|kept| format!("{kept} of the cluster")))
        .collect();
    let said = |because: String| format!("{because}; as it was, it is in {}", places.join(" and in "));
    let was = as_it_was(kubernetes, saved, kept).await.map_err(said)?;
    if ObjectRef::of(&was) != *object {
        return Err(said(format!(
            "what is written down of {object} is {}",
            ObjectRef::of(&was)
        )));
    }
    restored(kubernetes, was).await.map_err(said)?;
    match kept {
        Some(kept) => kubernetes.delete(kept).await.map_err(|error| error.to_string()),
        None => Ok(()),
    }
}

/// From its file, or from what keeps it in the cluster.
async fn as_it_was(
    kubernetes: &Kubernetes,
    saved: Option<&Path>,
    kept: Option<&ObjectRef>,
) -> Result<Value, String> {
    let of_file = saved.map(fs::read);
    let text = match (of_file, kept) {
        (Some(Ok(text)), _) => text,
        (_, Some(kept)) => {
            let keeper = kubernetes.read(kept).await.map_err(|error| error.to_string())?;
            let text = keeper.as_ref().and_then(|keeper| keeper["data"][KEY].as_str());
            let text = text.ok_or_else(|| format!("{kept} is gone, or keeps nothing"))?;
            text.as_bytes().to_vec()
        }
        (Some(Err(error)), None) => return Err(error.to_string()),
        (None, None) => return Err("nothing says how it was".to_owned()),
    };
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

/// Makes an object anew.
async fn restored(kubernetes: &Kubernetes, was: Value) -> Result<(), String> {
    let reference = ObjectRef::of(&was);
    let is_daemon = reference.kind == "DaemonSet";
    if is_daemon {
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        daemons_gone(kubernetes, namespace).await?;
    }
    let made = kubernetes.create(&restorable(was)).await;
    made.map_err(|error| error.to_string())?;
    if !is_daemon {
        return Ok(());
    }
    let until = Instant::now() + READY;
    loop {
        let now = kubernetes.read(&reference).await;
        let now = now.map_err(|error| error.to_string())?.unwrap_or_default();
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
        let saved = save(folder.path(), &object).unwrap();
        let read: Value = serde_json::from_slice(&fs::read(&saved).unwrap()).unwrap();
        assert_eq!(read, object);
        let anew = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": { "name": "driver", "namespace": "kube-system", "labels": { "helm.sh/chart": "c" },
                "annotations": { "a": "b" }, "ownerReferences": [] },
            "spec": { "template": {} },
        });
        assert_eq!(restorable(read), anew);

        let kept = keeper(&object, &Marks::of_run("r1"), 3).unwrap();
        let metadata = &kept["metadata"];
        assert_eq!(
            (&metadata["namespace"], &metadata["name"]),
            (&json!("kube-system"), &json!("mountproof-displaced-r1-03"))
        );
        let said = metadata["annotations"][DISPLACED_LABEL].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<ObjectRef>(said).unwrap(),
            ObjectRef::of(&object)
        );
        let text = kept["data"][KEY].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), anew);
    }

    #[test]
    fn a_keeper_is_believed_where_administrators_write_and_nowhere_else() {
        let driver = ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), "driver");
        let keeper = |kind: &str, namespace: &str, name: &str| Marked {
            object: ObjectRef::new("v1", kind, Some(namespace), name),
            run: "r1".to_owned(),
            of_tenant: false,
            displaced: Some(driver.clone()),
            controlled: false,
            created: None,
        };
        for (marked, believed) in [
            (
                keeper("ConfigMap", "kube-system", "mountproof-displaced-r1-00"),
                true,
            ),
            (
                keeper("ConfigMap", "team-red", "mountproof-displaced-r1-00"),
                false,
            ),
            (
                keeper("ConfigMap", "kube-system", "mountproof-displaced-r2-00"),
                false,
            ),
            (keeper("ConfigMap", "kube-system", "anything"), false),
            (
                keeper("Secret", "kube-system", "mountproof-displaced-r1-00"),
                false,
            ),
        ] {
            let kept = kept_by(&marked);
            assert_eq!(kept, believed.then_some(&driver), "{}", marked.object);
        }
    }

    #[test]
    fn a_secret_is_kept_nowhere_but_in_the_folder_of_the_run() {
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "n" } });
        assert_eq!(keeper(&secret, &Marks::of_run("r1"), 0), None);
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
