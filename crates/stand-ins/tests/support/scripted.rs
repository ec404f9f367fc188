//! A CSI driver whose calls end as a test says, on its own sockets below kubelet's root, with a record of every call.
//!
//! Kubelet may live in other namespaces than the test: it calls its root by one name, the test by another.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mountproof_csi_protocol::{
    csi::{
        NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
        NodeGetCapabilitiesResponse, NodeGetInfoRequest, NodeGetInfoResponse, NodeGetVolumeStatsRequest,
        NodeGetVolumeStatsResponse, NodePublishVolumeRequest, NodePublishVolumeResponse,
        NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeRequest,
        NodeUnpublishVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
        node_server::{Node, NodeServer},
    },
    registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse,
        registration_server::{Registration, RegistrationServer},
    },
};
use mountproof_stand_ins::grpc::Server;
use tonic::{Request, Response, Status, service::Routes};

/// What a call found at its target, and what it was.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) pod: String,
    pub(crate) target_exists: bool,
    pub(crate) at: Instant,
    pub(crate) request: Option<NodePublishVolumeRequest>,
}

/// How a call to publish ends.
pub(crate) enum Ending {
    /// At once, and with a file at the target.
    Mounted,
    /// The same, after a while.
    After(Duration),
    /// Not at all.
    Never,
    /// In this error; the target is there.
    Refused(Status),
}

/// Of the pod's name, and which call for it this is, from 1 on.
type Script = dyn Fn(&str, usize) -> Ending + Send + Sync;

/// Kubelet's root, by the name that kubelet has for it and by ours.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) kubelets: PathBuf,
    pub(crate) ours: PathBuf,
}

impl Root {
    /// A path of kubelet's, as we reach it.
    pub(crate) fn reach(&self, path: &str) -> PathBuf {
        let below = Path::new(path).strip_prefix(&self.kubelets).unwrap();
        self.ours.join(below)
    }
}

/// The driver.
#[derive(Clone)]
pub(crate) struct Scripted(Arc<Inner>);

struct Inner {
    name: String,
    node: String,
    root: Root,
    script: Box<Script>,
    calls: Mutex<Vec<Call>>,
    targets: Mutex<HashMap<String, String>>,
}

/// Its sockets, while they are served.
pub(crate) struct Sockets {
    _csi: Server,
    _registration: Server,
    /// What was put below kubelet's root.
    folder: PathBuf,
    registered: PathBuf,
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.registered);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Scripted {
    pub(crate) fn new(
        name: &str,
        node: &str,
        root: Root,
        script: impl Fn(&str, usize) -> Ending + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            node: node.to_owned(),
            root,
            script: Box::new(script),
            calls: Mutex::default(),
            targets: Mutex::default(),
        }))
    }

    /// Every call for a pod until now.
    pub(crate) fn of(&self, pod: &str) -> Vec<Call> {
        let calls = self.0.calls.lock().unwrap();
        calls.iter().filter(|call| call.pod == pod).cloned().collect()
    }

    /// Serves, and has kubelet find it, as plugins do: by a socket in `plugins_registry`.
    pub(crate) fn registered(&self) -> Sockets {
        let Root { kubelets, ours } = &self.0.root;
        let folder = ours.join("plugins").join(&self.0.name);
        let csi = folder.join("csi.sock");
        let driver = Routes::new(NodeServer::new(self.clone()));
        let serving = Server::start_for_go(&csi, driver).unwrap();
        let endpoint = kubelets.join("plugins").join(&self.0.name).join("csi.sock");
        let registered = ours
            .join("plugins_registry")
            .join(format!("{}-reg.sock", self.0.name));
        let registrar = Registrar {
            name: self.0.name.clone(),
            endpoint: endpoint.display().to_string(),
        };
        let registration = Routes::new(RegistrationServer::new(registrar));
        Sockets {
            _csi: serving,
            _registration: Server::start_for_go(&registered, registration).unwrap(),
            folder,
            registered,
        }
    }
}

#[tonic::async_trait]
impl Node for Scripted {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let pod = request.volume_context["csi.storage.k8s.io/pod.name"].clone();
        let target = self.0.root.reach(&request.target_path);
        self.0
            .targets
            .lock()
            .unwrap()
            .insert(request.target_path.clone(), pod.clone());
        let call = Call {
            method: "NodePublishVolume",
            pod: pod.clone(),
            target_exists: target.exists(),
            at: Instant::now(),
            request: Some(request),
        };
        let number = {
            let mut calls = self.0.calls.lock().unwrap();
            calls.push(call);
            calls.iter().filter(|call| call.pod == pod).count()
        };
        fs::create_dir_all(&target).unwrap();
        match (self.0.script)(&pod, number) {
            Ending::Mounted => {}
            Ending::After(pause) => tokio::time::sleep(pause).await,
            Ending::Never => std::future::pending().await,
            Ending::Refused(status) => return Err(status),
        }
        fs::write(target.join("secret"), "mounted").unwrap();
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let pod = self.0.targets.lock().unwrap()[&request.target_path].clone();
        let target = self.0.root.reach(&request.target_path);
        self.0.calls.lock().unwrap().push(Call {
            method: "NodeUnpublishVolume",
            pod,
            target_exists: target.exists(),
            at: Instant::now(),
            request: None,
        });
        // It may be asked twice.
        match fs::remove_dir_all(target) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Status::internal(error.to_string()))
            }
            _ => Ok(Response::new(NodeUnpublishVolumeResponse {})),
        }
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse {
            node_id: self.0.node.clone(),
            ..NodeGetInfoResponse::default()
        }))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Ok(Response::new(NodeGetCapabilitiesResponse::default()))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }
}

struct Registrar {
    name: String,
    endpoint: String,
}

#[tonic::async_trait]
impl Registration for Registrar {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let RegistrationStatus {
            plugin_registered,
            error,
            ..
        } = request.into_inner();
        assert!(plugin_registered, "{error}");
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
