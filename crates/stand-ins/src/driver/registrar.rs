//! What node-driver-registrar does beside a driver: it tells kubelet where the driver serves.

use std::{
    io,
    path::{Path, PathBuf},
};

use mountproof_csi_protocol::registration::{
    InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
    registration_server::{Registration, RegistrationServer},
};
use tonic::{Request, Response, Status, service::Routes};

use crate::grpc;

/// A registration that lasts until it is stopped.
#[derive(Debug)]
pub(crate) struct Registrar {
    server: grpc::Server,
    socket: PathBuf,
}

impl Registrar {
    /// Registers the driver called `name`, which serves on `endpoint`, in kubelet's `folder`.
    pub(crate) fn start(name: &str, endpoint: &Path, folder: &Path) -> io::Result<Self> {
        let socket = folder.join(format!("{name}-reg.sock"));
        let service = Service {
            name: name.to_owned(),
            endpoint: endpoint.to_owned(),
        };
        let routes = Routes::new(RegistrationServer::new(service));
        let server = grpc::Server::start_for_go(&socket, routes)?;
        Ok(Self { server, socket })
    }

    /// Takes the driver away from kubelet.
    pub(crate) async fn stop(self) {
        let _ = std::fs::remove_file(self.socket);
        self.server.stop().await;
    }
}

#[derive(Debug)]
struct Service {
    name: String,
    endpoint: PathBuf,
}

#[tonic::async_trait]
impl Registration for Service {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: self.endpoint.display().to_string(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if !status.plugin_registered {
            tracing::error!(error = status.error, "registration failed");
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
