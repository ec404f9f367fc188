//! Mounted files in Kubernetes Secrets: `secretObjects` of a class, and the owners of those Secrets.
//!
//! The real one has a reconciler for each: one is woken by status objects that are made or change, the other comes by every
//! five seconds. A Secret is owned by what owns the pods that mount its class, or by the status object of a pod that nothing
//! owns, so that it goes when the last of them has gone.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Inner, status::Owner};
use crate::rest::{ApiError, PatchKind};

/// The label of Secrets that the driver made.
const MANAGED: &str = "secrets-store.csi.k8s.io/managed";

/// Attempts at one Secret, and the pause between them.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_millis(1);

/// One entry of a class's `secretObjects`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SecretObject {
    secret_name: String,
    #[serde(rename = "type")]
    kind: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    data: Vec<SecretData>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SecretData {
    /// Name of a mounted file.
    object_name: String,
    key: String,
}

/// What is synced for which mount.
#[derive(Debug, Default)]
pub(super) struct Synced {
    by_target: Mutex<HashMap<PathBuf, SyncedPod>>,
    /// Held by whoever writes Secrets.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone)]
struct SyncedPod {
    namespace: String,
    pod: String,
    secrets: Vec<String>,
    /// The status object as the owner of last resort.
    status: Value,
}

impl Synced {
    /// Forgets what was unmounted.
    pub(super) fn forget(&self, target: &Path) {
        self.lock().remove(target);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, SyncedPod>> {
        self.by_target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins to sync what is mounted at `target`, where its class asks for that.
pub(super) fn begin(driver: &Arc<Inner>, owner: Owner<'_>, target: &Path, status: &Value) {
    let Some(class) = driver.classes.find(owner.namespace, owner.class) else {
        return;
    };
    if class.secret_objects.is_empty() {
        return;
    }
    let pod = SyncedPod {
        namespace: owner.namespace.to_owned(),
        pod: owner.pod.to_owned(),
        secrets: class
            .secret_objects
            .iter()
            .map(|object| object.secret_name.trim().to_owned())
            .collect(),
        status: json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClassPodStatus",
            "name": status["metadata"]["name"],
            "uid": status["metadata"]["uid"],
        }),
    };
    driver.synced.lock().insert(target.to_owned(), pod.clone());
    let (driver, target) = (Arc::clone(driver), target.to_owned());
    tokio::spawn(async move {
        let _writing = driver.synced.writing.lock().await;
        for object in &class.secret_objects {
            if let Err(why) = sync(&driver, &pod.namespace, object, &target).await {
                tracing::warn!(
                    pod = pod.pod,
                    secret = object.secret_name,
                    why,
                    "failed to create Kubernetes secret"
                );
            }
        }
    });
}

/// Makes one Secret, or brings it up to date.
async fn sync(driver: &Inner, namespace: &str, object: &SecretObject, target: &Path) -> Result<(), String> {
    let wanted = secret(namespace, object, target)?;
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match write(driver, namespace, &wanted).await {
            Ok(()) => return Ok(()),
            Err(error) => last = error.to_string(),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(last)
}

async fn write(driver: &Inner, namespace: &str, wanted: &Value) -> Result<(), ApiError> {
    let collection = format!("/api/v1/namespaces/{namespace}/secrets");
    match driver.api.create(&collection, wanted).await {
        Err(error) if error.is_conflict() => {}
        other => return other.map(drop),
    }
    if driver.defects.shows(|defects| defects.stale_synced_secret) {
        return Ok(());
    }
    let path = format!(
        "{collection}/{}",
        wanted["metadata"]["name"].as_str().unwrap_or_default()
    );
    let rewrites = driver
        .defects
        .shows(|defects| defects.rewrites_synced_secret || defects.rewrites_synced_at_every_publish);
    if rewrites {
        return driver.api.update(&path, wanted).await.map(drop);
    }
    let found: Value = driver.api.fetch(&path, None).await?;
    let mut current = found.clone();
    for field in ["type", "data"] {
        current[field] = wanted[field].clone();
    }
    for field in ["labels", "annotations"] {
        for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
            current["metadata"][field][key] = value.clone();
        }
    }
    if current == found {
        return Ok(());
    }
    driver.api.update(&path, &current).await.map(drop)
}

/// The Secret that an entry asks for, of the files that are mounted.
fn secret(namespace: &str, object: &SecretObject, target: &Path) -> Result<Value, String> {
    let name = object.secret_name.trim();
    let kind = object.kind.trim();
    for (missing, why) in [
        (name.is_empty(), "secret name is empty"),
        (kind.is_empty(), "secret type is empty"),
        (object.data.is_empty(), "data is empty"),
    ] {
        if missing {
            return Err(why.to_owned());
        }
    }
    let mut data = BTreeMap::new();
    for entry in &object.data {
        let (file, key) = (entry.object_name.trim(), entry.key.trim());
        if file.is_empty() {
            return Err("object name in secretObjects.data".to_owned());
        }
        if key.is_empty() {
            return Err("key in secretObjects.data is empty".to_owned());
        }
        let content = fs::read(target.join(file))
            .map_err(|_| format!("file matching objectName {file} not found in the pod"))?;
        data.insert(key, STANDARD.encode(content));
    }
    let mut labels = object.labels.clone();
    labels.insert(MANAGED.to_owned(), "true".to_owned());
    let mut secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": kind,
        "data": data,
    });
    if !object.annotations.is_empty() {
        secret["metadata"]["annotations"] = json!(object.annotations);
    }
    Ok(secret)
}

/// Comes by `every` so often and adds the owners that synced Secrets lack.
pub(super) async fn add_owners(driver: &Inner, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let _writing = driver.synced.writing.lock().await;
        let pods: Vec<SyncedPod> = driver.synced.lock().values().cloned().collect();
        let mut owners: BTreeMap<(String, String), Vec<Value>> = BTreeMap::new();
        for pod in pods {
            let Ok(of_pod) = owners_of(driver, &pod).await else {
                tracing::warn!(pod = pod.pod, "failed to fetch pod during patching");
                continue;
            };
            for secret in pod.secrets {
                let secret = owners.entry((pod.namespace.clone(), secret)).or_default();
                secret.extend(of_pod.iter().cloned());
            }
        }
        for ((namespace, secret), owners) in owners {
            let path = format!("/api/v1/namespaces/{namespace}/secrets/{secret}");
            if let Err(error) = own(driver, &path, &owners).await
                && !error.is_not_found()
            {
                tracing::warn!(secret, %error, "failed to set owner ref for secret");
            }
        }
    }
}

async fn owners_of(driver: &Inner, pod: &SyncedPod) -> Result<Vec<Value>, ApiError> {
    let path = format!("/api/v1/namespaces/{}/pods/{}", pod.namespace, pod.pod);
    let found: Value = driver.api.fetch(&path, None).await?;
    let owners = found["metadata"]["ownerReferences"].as_array();
    let plain = |owner: &Value| {
        json!({
            "apiVersion": owner["apiVersion"], "kind": owner["kind"],
            "name": owner["name"], "uid": owner["uid"],
        })
    };
    Ok(match owners {
        Some(owners) if !owners.is_empty() => owners.iter().map(plain).collect(),
        _ => vec![pod.status.clone()],
    })
}

async fn own(driver: &Inner, path: &str, owners: &[Value]) -> Result<(), ApiError> {
    let found: Value = driver.api.fetch(path, None).await?;
    let mut all = found["metadata"]["ownerReferences"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let before = all.len();
    for owner in owners {
        if !all.iter().any(|known| known["name"] == owner["name"]) {
            all.push(owner.clone());
        }
    }
    if all.len() == before {
        return Ok(());
    }
    let owned = json!({"metadata": {
        "resourceVersion": found["metadata"]["resourceVersion"], "ownerReferences": all,
    }});
    driver.api.patch(path, PatchKind::Merge, &owned).await.map(drop)
}
