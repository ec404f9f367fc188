//! A driver that answers every publish at once, so that what is timed is the one who asks.

use std::{io, path::Path};

use mountproof_csi_protocol::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
    NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse, NodeStageVolumeRequest,
    NodeStageVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
    node_server::{Node, NodeServer},
};
use tokio::{net::UnixListener, task::JoinHandle};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// The driver; it ends when dropped.
#[derive(Debug)]
pub(super) struct IdleDriver(JoinHandle<()>);

impl IdleDriver {
    /// Serves at `socket`, on the runtime of whoever calls.
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let incoming = UnixListenerStream::new(UnixListener::bind(socket)?);
        Ok(Self(tokio::spawn(async move {
            let serving = tonic::transport::Server::builder()
                .add_service(NodeServer::new(Idle))
                .serve_with_incoming(incoming);
            if let Err(error) = serving.await {
                tracing::warn!(%error, "idle driver");
            }
        })))
    }
}

impl Drop for IdleDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Idle;

type Answer<T> = Result<Response<T>, Status>;

#[expect(clippy::unnecessary_wraps, reason = "what every method returns")]
fn nothing<T: Default>() -> Answer<T> {
    Ok(Response::new(T::default()))
}

#[tonic::async_trait]
impl Node for Idle {
    async fn node_publish_volume(
        &self,
        _: Request<NodePublishVolumeRequest>,
    ) -> Answer<NodePublishVolumeResponse> {
        nothing()
    }

    async fn node_unpublish_volume(
        &self,
        _: Request<NodeUnpublishVolumeRequest>,
    ) -> Answer<NodeUnpublishVolumeResponse> {
        nothing()
    }

    async fn node_stage_volume(&self, _: Request<NodeStageVolumeRequest>) -> Answer<NodeStageVolumeResponse> {
        nothing()
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Answer<NodeUnstageVolumeResponse> {
        nothing()
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Answer<NodeGetVolumeStatsResponse> {
        nothing()
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Answer<NodeExpandVolumeResponse> {
        nothing()
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Answer<NodeGetCapabilitiesResponse> {
        nothing()
    }

    async fn node_get_info(&self, _: Request<NodeGetInfoRequest>) -> Answer<NodeGetInfoResponse> {
        nothing()
    }
}
