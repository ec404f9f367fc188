//! A port in a pod, reached through the API server: who may is RBAC's to say (`create` on `pods/portforward`), and the port is open
//! to nobody else, for the program in the pod listens on the pod's loopback.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{ListParams, Portforwarder},
};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::{Kubernetes, KubernetesError, limited};

/// A port of whichever pod a label selects on one node.
#[derive(Clone)]
pub struct PodPort {
    client: Client,
    namespace: String,
    selector: String,
    node: String,
    port: u16,
}

impl Kubernetes {
    /// The port `port` of the running pod that `selector` selects on `node`. Asks for nothing yet.
    #[must_use]
    pub fn pod_port(&self, namespace: &str, selector: &str, node: &str, port: u16) -> PodPort {
        PodPort {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            selector: selector.to_owned(),
            node: node.to_owned(),
            port,
        }
    }
}

impl PodPort {
    /// A new connection to it. That the port refuses it shows as a connection that ends at once.
    ///
    /// # Errors
    ///
    /// When there is no such pod, or the API server does not forward.
    pub async fn open(&self) -> Result<Forwarded, KubernetesError> {
        let action = || {
            format!(
                "reach port {} of the pod {} on {}",
                self.port, self.selector, self.node
            )
        };
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default()
            .labels(&self.selector)
            .fields(&format!("spec.nodeName={}", self.node));
        let found = limited(pods.list(&params))
            .await
            .map_err(|error| KubernetesError::of(action(), error))?;
        let running = found.into_iter().find(|pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
        });
        let name = running
            .and_then(|pod| pod.metadata.name)
            .ok_or_else(|| KubernetesError {
                action: action(),
                status: None,
                message: "there is none that runs".to_owned(),
            })?;
        let mut forwarder = limited(pods.portforward(&name, &[self.port]))
            .await
            .map_err(|error| KubernetesError::of(action(), error))?;
        let stream = forwarder.take_stream(self.port);
        let stream = stream.ok_or_else(|| KubernetesError {
            action: action(),
            status: None,
            message: "the client has no stream for it".to_owned(),
        })?;
        Ok(Forwarded { stream, forwarder })
    }
}

/// A connection to a port of a pod; it ends when dropped, whatever is under way.
pub struct Forwarded {
    stream: DuplexStream,
    forwarder: Portforwarder,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

impl AsyncRead for Forwarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Forwarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
