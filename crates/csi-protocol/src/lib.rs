//! gRPC types of the three protocols on a node's unix sockets.
//!
//! - [`csi`]: `csi.v1`, between kubelet and the driver
//!   (<https://github.com/container-storage-interface/spec>).
//! - [`provider`]: `v1alpha1`, between the driver and its provider
//!   (<https://secrets-store-csi-driver.sigs.k8s.io/providers>).
//! - [`registration`]: `pluginregistration`, between kubelet and node-driver-registrar.
//!
//! The types are generated from `proto/` at build time; [`connect`] opens a channel to a socket.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// `csi.v1`: Identity and Node.
pub mod csi {
    tonic::include_proto!("csi.v1");
}

/// The provider protocol, `v1alpha1`.
pub mod provider {
    tonic::include_proto!("v1alpha1");
}

/// Kubelet's plugin registration.
pub mod registration {
    tonic::include_proto!("pluginregistration");
}

/// A lazy channel to the gRPC server behind the unix socket at `path`.
///
/// Nothing is dialled before the first call. The authority is `localhost`, as gRPC's own unix
/// resolver sends it and as the drivers' mock provider checks.
#[must_use]
pub fn connect(path: &Path) -> Channel {
    let path: PathBuf = path.to_owned();
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}
