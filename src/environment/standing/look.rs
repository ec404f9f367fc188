//! Reads off a cluster what a [`Sighting`] is of.

use super::seen::{Objects, Sighting, csi_driver};
use crate::{
    kubernetes::{Kubernetes, KubernetesError},
    tenant,
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";

/// Looks at a cluster. Nothing is changed.
///
/// # Errors
///
/// When the API does not answer, or does not let us look.
pub(in crate::environment) async fn look(kubernetes: &Kubernetes) -> Result<Sighting, KubernetesError> {
    let daemon_sets = kubernetes.list("apps/v1", "DaemonSet", None, None).await?;
    let kubernetes_version = kubernetes.version().await?;
    let mut objects = Objects {
        csi_driver: kubernetes.read(&csi_driver()).await?,
        definitions: kubernetes
            .list("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, None)
            .await?,
        roles: kubernetes.list(RBAC, "ClusterRole", None, None).await?,
        bindings: kubernetes.list(RBAC, "ClusterRoleBinding", None, None).await?,
        nodes: kubernetes.list("v1", "Node", None, None).await?,
        registered: kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await?,
        kubernetes: kubernetes_version,
        daemon_sets,
        pods: Vec::new(),
    };
    // Only where a part is: a cluster may have very many pods.
    let seen = Sighting::of(&objects);
    let parts = seen.drivers.iter().chain(&seen.providers);
    let mut namespaces: Vec<&str> = parts
        .filter_map(|part| part.daemon_set.namespace.as_deref())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for namespace in namespaces {
        let pods = kubernetes.list("v1", "Pod", Some(namespace), None).await?;
        objects.pods.extend(pods);
    }
    Ok(Sighting::of(&objects))
}
