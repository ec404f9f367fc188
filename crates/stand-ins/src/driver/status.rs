//! `SecretProviderClassPodStatus`: what the driver says it mounted for a pod.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Inner;
use crate::rest::ApiError;

const NODE_LABEL: &str = "internal.secrets-store.csi.k8s.io/node-name";

/// The pod that owns a status object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) uid: &'a str,
    pub(super) class: &'a str,
}

/// Creates the object, or updates it where there is one, as at every republish. Answers with the object where that changed
/// anything, as a watch would tell.
pub(super) async fn write(
    driver: &Inner,
    owner: Owner<'_>,
    target: &Path,
    versions: &BTreeMap<String, String>,
    deadline: Option<Instant>,
) -> Result<Option<Value>, ApiError> {
    let collection = format!(
        "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{}/secretproviderclasspodstatuses",
        owner.namespace
    );
    let object = object(&driver.node_id, owner, target, versions);
    match driver.api.create(&collection, &object).await {
        Err(error) if error.is_conflict() => {}
        other => {
            let made = other?;
            driver.written.keep(target, made.clone());
            return Ok(Some(made));
        }
    }
    let path = format!(
        "{collection}/{}",
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    let mut found: Value = match driver.written.take(target) {
        Some(known) => known,
        None => driver.api.fetch(&path, deadline).await?,
    };
    found["metadata"]["labels"][NODE_LABEL] = driver.node_id.as_str().into();
    found["metadata"]["ownerReferences"] = object["metadata"]["ownerReferences"].clone();
    found["status"] = object["status"].clone();
    let updated = driver.api.update(&path, &found).await?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let changed = (version(&updated) != version(&found)).then(|| updated.clone());
    driver.written.keep(target, updated);
    Ok(changed)
}

/// The objects as the API server last answered, by target. The real driver has them in a cache that a
/// watch feeds, and so asks for none of them before it updates it.
#[derive(Debug, Default)]
pub(super) struct Written(Mutex<HashMap<PathBuf, Value>>);

impl Written {
    fn keep(&self, target: &Path, object: Value) {
        self.lock().insert(target.to_owned(), object);
    }

    /// The object as it is known.
    pub(super) fn known(&self, target: &Path) -> Option<Value> {
        self.lock().get(target).cloned()
    }

    /// The object; whoever takes it and cannot update it reads it anew the next time.
    fn take(&self, target: &Path) -> Option<Value> {
        self.lock().remove(target)
    }

    /// Forgets what was unmounted.
    pub(super) fn forget(&self, target: &Path) {
        self.lock().remove(target);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object(node: &str, owner: Owner<'_>, target: &Path, versions: &BTreeMap<String, String>) -> Value {
    let Owner {
        namespace,
        pod,
        uid,
        class,
    } = owner;
    let objects: Vec<Value> = versions
        .iter()
        .map(|(id, version)| json!({"id": id, "version": version}))
        .collect();
    json!({
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClassPodStatus",
        "metadata": {
            "name": format!("{pod}-{namespace}-{class}"),
            "namespace": namespace,
            "labels": {NODE_LABEL: node},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}],
        },
        "status": {
            "mounted": true,
            "podName": pod,
            "secretProviderClassName": class,
            "targetPath": target.display().to_string(),
            "objects": objects,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_names_pod_class_node_and_versions() {
        let owner = Owner {
            namespace: "red",
            pod: "p",
            uid: "u",
            class: "c",
        };
        let versions = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let object = object("n", owner, Path::new("/t"), &versions);
        assert_eq!(object["metadata"]["name"], "p-red-c");
        assert_eq!(object["metadata"]["labels"][NODE_LABEL], "n");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u");
        assert_eq!(
            object["status"]["objects"],
            json!([{"id": "a", "version": "1"}, {"id": "b", "version": "2"}])
        );
    }
}
