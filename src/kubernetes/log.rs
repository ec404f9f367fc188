//! What a container has written.

use kube::{Api, api::LogParams};

use k8s_openapi::api::core::v1::Pod;

use super::{Kubernetes, KubernetesError, limited};

/// A container of a pod.
#[derive(Debug, Clone, Copy)]
pub struct ContainerRef<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container.
    pub container: &'a str,
}

impl Kubernetes {
    /// The last lines that a container has written: the one that ended before it where `previous`, else the one there is.
    pub async fn last_lines(
        &self,
        of: ContainerRef<'_>,
        previous: bool,
        lines: u16,
    ) -> Result<String, KubernetesError> {
        let params = LogParams {
            container: Some(of.container.to_owned()),
            previous,
            tail_lines: Some(lines.into()),
            ..LogParams::default()
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), of.namespace);
        limited(pods.logs(of.pod, &params)).await.map_err(|error| {
            KubernetesError::of(
                format!("read the log of {}/{}/{}", of.namespace, of.pod, of.container),
                error,
            )
        })
    }
}
