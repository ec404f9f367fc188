//! Objects brought to another shape as a whole.

use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, Kubernetes, KubernetesError, ObjectRef, limited};

impl Kubernetes {
    /// Brings an object to this shape: what it had beyond that is gone, which no apply by another manager would do. One that
    /// is not there is created.
    pub async fn replace(&self, manifest: &Value) -> Result<(), KubernetesError> {
        let reference = ObjectRef::of(manifest);
        let Some(found) = self.read(&reference).await? else {
            return self.create(manifest).await;
        };
        let mut manifest = manifest.clone();
        manifest["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
        let action = || format!("replace {reference}");
        let object: DynamicObject =
            serde_json::from_value(json!(manifest)).map_err(|error| KubernetesError {
                action: action(),
                status: None,
                message: error.to_string(),
            })?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        limited(self.api(&reference).replace(&reference.name, &params, &object))
            .await
            .map(drop)
            .map_err(|error| KubernetesError::of(action(), error))
    }
}
