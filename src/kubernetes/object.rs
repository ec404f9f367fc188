//! Objects by name, and what can be read off them.

use std::fmt;

use kube::{api::ApiResource, core::GroupVersionKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tenant::RUN_LABEL;

/// One object, by what it takes to find it again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// Absent for cluster-wide kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

impl ObjectRef {
    /// What `manifest` describes.
    #[must_use]
    pub fn of(manifest: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            api_version: text(&manifest["apiVersion"]),
            kind: text(&manifest["kind"]),
            namespace: manifest["metadata"]["namespace"].as_str().map(str::to_owned),
            name: text(&manifest["metadata"]["name"]),
        }
    }

    /// An object of `api_version` and `kind`.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        Self {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Whether objects of the kind are one for a whole cluster, so that a run uses one that is there
    /// whoever made it: the driver's kinds and its `CSIDriver`.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.kind.as_str(), "CustomResourceDefinition" | "CSIDriver")
    }

    pub(super) fn resource(&self) -> ApiResource {
        let (group, version) = self
            .api_version
            .split_once('/')
            .unwrap_or(("", &self.api_version));
        let kind = GroupVersionKind::gvk(group, version, &self.kind);
        ApiResource::from_gvk(&kind)
    }
}

/// The run whose label an object carries.
pub(super) fn run_of(object: &Value) -> Option<&str> {
    object["metadata"]["labels"][RUN_LABEL].as_str()
}

/// What keeps an object that should be gone, in one line.
pub(super) fn held_by(object: &Value) -> String {
    let finalizers = [&object["metadata"]["finalizers"], &object["spec"]["finalizers"]];
    let mut reasons: Vec<String> = finalizers
        .iter()
        .filter_map(|list| list.as_array())
        .flatten()
        .filter_map(Value::as_str)
        .map(|finalizer| format!("finalizer {finalizer}"))
        .collect();
    // A namespace says what it still holds.
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let pressing = conditions.filter(|condition| {
        let kind = condition["type"].as_str().unwrap_or_default();
        condition["status"] == "True" && kind.starts_with("Namespace")
    });
    reasons.extend(pressing.filter_map(|condition| condition["message"].as_str().map(str::to_owned)));
    if object["metadata"]["deletionTimestamp"].is_null() {
        reasons.push("it is not marked for deletion".to_owned());
    }
    if reasons.is_empty() {
        "still there, held by no finalizer".to_owned()
    } else {
        format!("still there, held by {}", reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plurals_are_those_of_the_api() {
        for (api_version, kind, plural) in [
            ("v1", "Namespace", "namespaces"),
            ("v1", "Pod", "pods"),
            ("apps/v1", "Deployment", "deployments"),
            ("storage.k8s.io/v1", "CSIDriver", "csidrivers"),
            ("storage.k8s.io/v1", "CSINode", "csinodes"),
            (
                "apiextensions.k8s.io/v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
            ),
            (
                super::super::SECRETS_STORE,
                "SecretProviderClass",
                "secretproviderclasses",
            ),
            (
                super::super::SECRETS_STORE,
                "SecretProviderClassPodStatus",
                "secretproviderclasspodstatuses",
            ),
        ] {
            assert_eq!(
                ObjectRef::new(api_version, kind, None, "x").resource().plural,
                plural
            );
        }
    }

    #[test]
    fn what_holds_an_object_back_is_named() {
        let namespace = json!({
            "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "conditions": [
                { "type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances" },
                { "type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "none" },
            ] },
        });
        assert_eq!(
            held_by(&namespace),
            "still there, held by finalizer kubernetes; pods. has 1 resource instances"
        );
        assert_eq!(
            held_by(&json!({ "metadata": {} })),
            "still there, held by it is not marked for deletion"
        );
    }
}
