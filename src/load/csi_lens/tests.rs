#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use mountproof_csi_protocol::csi::{
    NodeExpandVolumeRequest, NodeExpandVolumeResponse, NodeGetCapabilitiesRequest,
    NodeGetCapabilitiesResponse, NodeGetInfoResponse, NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse,
    NodePublishVolumeResponse, NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnpublishVolumeResponse,
    NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
    node_server::{Node, NodeServer},
};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::mpsc};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Response, transport::Server};

use super::*;
use crate::{
    journal::{EventKind, MountOutcome},
    load::run_mounts::{MountPlan, run_mounts},
    scenario::model::{Arrival, Lens, MountLoad},
};

const UID: &str = "626ea22a-18c1-460b-b11f-16518162d482";

/// What the driver does with a pod, by its name.
fn behaviour(pod: &str, target: &Path) -> Result<(), Status> {
    std::fs::create_dir_all(target).unwrap();
    match pod {
        "denied" => Err(Status::unknown(
            "failed to mount secrets store objects for pod demo/denied",
        )),
        "in-doubt" => Err(Status::unavailable("connection refused")),
        "empty" => Ok(()),
        _ => {
            std::fs::write(target.join("secret"), "value").unwrap();
            Ok(())
        }
    }
}

struct Driver {
    seen: mpsc::UnboundedSender<NodePublishVolumeRequest>,
}

#[tonic::async_trait]
impl Node for Driver {
    async fn node_publish_volume(
        &self,
        request: Request<NodePublishVolumeRequest>,
    ) -> Result<Response<NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let pod = request.volume_context["csi.storage.k8s.io/pod.name"].clone();
        let target = PathBuf::from(&request.target_path);
        let _ = self.seen.send(request);
        if pod == "slow" {
            std::future::pending::<()>().await;
        }
        behaviour(&pod, &target)?;
        Ok(Response::new(NodePublishVolumeResponse {}))
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<NodeUnpublishVolumeRequest>,
    ) -> Result<Response<NodeUnpublishVolumeResponse>, Status> {
        let target = request.into_inner().target_path;
        let busy = Path::new(&target).join("busy");
        if std::fs::exists(&busy).unwrap() {
            std::fs::remove_file(busy).unwrap();
            return Err(Status::internal("target is busy"));
        }
        if std::fs::exists(Path::new(&target).join("stuck")).unwrap() {
            return Ok(Response::new(NodeUnpublishVolumeResponse {}));
        }
        let _ = std::fs::remove_dir_all(target);
        Ok(Response::new(NodeUnpublishVolumeResponse {}))
    }

    async fn node_get_info(
        &self,
        _: Request<NodeGetInfoRequest>,
    ) -> Result<Response<NodeGetInfoResponse>, Status> {
        Ok(Response::new(NodeGetInfoResponse::default()))
    }

    async fn node_stage_volume(
        &self,
        _: Request<NodeStageVolumeRequest>,
    ) -> Result<Response<NodeStageVolumeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn node_unstage_volume(
        &self,
        _: Request<NodeUnstageVolumeRequest>,
    ) -> Result<Response<NodeUnstageVolumeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn node_get_volume_stats(
        &self,
        _: Request<NodeGetVolumeStatsRequest>,
    ) -> Result<Response<NodeGetVolumeStatsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn node_expand_volume(
        &self,
        _: Request<NodeExpandVolumeRequest>,
    ) -> Result<Response<NodeExpandVolumeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn node_get_capabilities(
        &self,
        _: Request<NodeGetCapabilitiesRequest>,
    ) -> Result<Response<NodeGetCapabilitiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// Serves a driver at `socket` that does with a pod what its name says; what it was asked.
pub(crate) fn driver_at(socket: &Path) -> mpsc::UnboundedReceiver<NodePublishVolumeRequest> {
    let (sender, seen) = mpsc::unbounded_channel();
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(
        Server::builder()
            .add_service(NodeServer::new(Driver { seen: sender }))
            .serve_with_incoming(UnixListenerStream::new(listener)),
    );
    seen
}

struct Fixture {
    folder: TempDir,
    client: CsiClient,
    seen: mpsc::UnboundedReceiver<NodePublishVolumeRequest>,
}

impl Fixture {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("csi.sock");
        let seen = driver_at(&socket);
        let client = CsiClient::new(&socket, &folder.path().join("kubelet"));
        Self { folder, client, seen }
    }

    fn pods(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("kubelet/pods")) else {
            return Vec::new();
        };
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn job(pod: &str, uid: &str) -> PublishJob {
    let expiry = "2026-11-23T15:26:13.5Z".parse().unwrap();
    PublishJob {
        pod: PodIdentity {
            name: pod.to_owned(),
            namespace: "default".to_owned(),
            uid: uid.to_owned(),
            service_account: "default".to_owned(),
        },
        class: "team-red-secret".to_owned(),
        attributes: BTreeMap::new(),
        tokens: ServiceAccountTokens::new([
            ("sts.amazonaws.com", "t1", expiry),
            ("pods.eks.amazonaws.com", "t2", expiry),
        ]),
    }
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_request_is_what_kubelet_1_36_sent() {
    let mut fixture = Fixture::start();
    fixture.client.publish(&job("ok-1", UID), SOON).await.unwrap();
    let request = fixture.seen.recv().await.unwrap();
    // As recorded from a real kubelet for this uid and volume.
    assert_eq!(
        request.volume_id,
        "csi-1df4fcab8af22afdca039891268897efea7b4bf26313c12ffe0ee493b4b5a492"
    );
    let below_root = format!("kubelet/pods/{UID}/volumes/kubernetes.io~csi/secrets-store-inline/mount");
    assert_eq!(
        Path::new(&request.target_path),
        fixture.folder.path().join(below_root)
    );
    assert!(request.readonly && request.staging_target_path.is_empty());
    assert!(request.publish_context.is_empty() && request.secrets.is_empty());
    let capability = request.volume_capability.unwrap();
    assert_eq!(capability.access_mode.unwrap().mode, 1);
    assert_eq!(
        capability.access_type,
        Some(AccessType::Mount(MountVolume::default()))
    );
    let context: BTreeMap<_, _> = request
        .volume_context
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        context,
        BTreeMap::from([
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/pod.name", "ok-1"),
            ("csi.storage.k8s.io/pod.namespace", "default"),
            ("csi.storage.k8s.io/pod.uid", UID),
            ("csi.storage.k8s.io/serviceAccount.name", "default"),
            (
                "csi.storage.k8s.io/serviceAccount.tokens",
                r#"{"pods.eks.amazonaws.com":{"token":"t2","expirationTimestamp":"2026-11-23T15:26:13Z"},"sts.amazonaws.com":{"token":"t1","expirationTimestamp":"2026-11-23T15:26:13Z"}}"#
            ),
            ("secretProviderClass", "team-red-secret"),
        ])
    );
}

#[tokio::test]
async fn tokens_are_where_the_csi_driver_object_wants_them() {
    const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
    for among_secrets in [false, true] {
        let mut fixture = Fixture::start();
        let mut job = job("ok-1", UID);
        job.tokens = job.tokens.among_secrets(among_secrets);
        fixture.client.publish(&job, SOON).await.unwrap();
        let request = fixture.seen.recv().await.unwrap();
        let places = (
            request.volume_context.contains_key(TOKENS),
            request.secrets.contains_key(TOKENS),
        );
        assert_eq!(places, (!among_secrets, among_secrets));
    }
}

#[tokio::test]
async fn a_pods_attributes_cannot_overrule_kubelets() {
    let mut fixture = Fixture::start();
    let mut job = job("ok-1", UID);
    job.attributes = BTreeMap::from([
        (
            "csi.storage.k8s.io/pod.namespace".to_owned(),
            "kube-system".to_owned(),
        ),
        ("region".to_owned(), "eu-west-1".to_owned()),
    ]);
    fixture.client.publish(&job, SOON).await.unwrap();
    let context = fixture.seen.recv().await.unwrap().volume_context;
    assert_eq!(context["csi.storage.k8s.io/pod.namespace"], "default");
    assert_eq!(context["region"], "eu-west-1");
}

#[tokio::test]
async fn a_connection_that_breaks_or_cannot_be_had_is_unavailable_and_so_not_final() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("csi.sock");
    let client = CsiClient::new(&socket, folder.path());
    let unavailable = |error: PublishError| {
        assert!(!error.is_final(), "{error}");
        assert!(error.to_string().starts_with("Unavailable: "), "{error}");
    };
    unavailable(client.publish(&job("ok-1", UID), SOON).await.unwrap_err());
    let listener = UnixListener::bind(&socket).unwrap();
    let accepting = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    unavailable(client.publish(&job("ok-1", UID), SOON).await.unwrap_err());
    accepting.abort();
}

#[tokio::test]
async fn folders_go_after_a_final_error_and_stay_after_one_in_doubt() {
    let fixture = Fixture::start();
    let denied = fixture
        .client
        .publish(&job("denied", "uid-denied"), SOON)
        .await
        .unwrap_err();
    assert!(denied.is_final());
    assert_eq!(
        denied.to_string(),
        "Unknown: failed to mount secrets store objects for pod demo/denied"
    );
    let in_doubt = fixture
        .client
        .publish(&job("in-doubt", "uid-in-doubt"), SOON)
        .await
        .unwrap_err();
    assert!(!in_doubt.is_final());
    let slow = fixture
        .client
        .publish(&job("slow", "uid-slow"), Duration::from_millis(20))
        .await
        .unwrap_err();
    assert!(!slow.is_final(), "{slow}");
    assert_eq!(fixture.pods(), ["uid-in-doubt", "uid-slow"]);
}

#[tokio::test]
async fn unpublishing_leaves_nothing_and_says_so_when_it_does() {
    let fixture = Fixture::start();
    fixture.client.publish(&job("ok-1", UID), SOON).await.unwrap();
    let stuck = fixture.client.target(UID).join("stuck");
    std::fs::write(&stuck, "").unwrap();
    let leftover = fixture.client.unpublish(UID, SOON).await.unwrap_err();
    assert!(leftover.to_string().contains("left it"), "{leftover}");
    std::fs::remove_file(stuck).unwrap();
    fixture.client.unpublish(UID, SOON).await.unwrap();
    assert_eq!(fixture.pods(), Vec::<String>::new());
}

#[tokio::test]
async fn a_driver_that_is_not_there_is_no_hang() {
    let folder = tempfile::tempdir().unwrap();
    let client = CsiClient::new(&folder.path().join("none.sock"), folder.path());
    assert!(client.warm_up(SOON).await.is_err());
    let error = client.publish(&job("ok-1", UID), SOON).await.unwrap_err();
    assert!(!error.is_final(), "{error}");
}

#[tokio::test]
async fn a_measurement_checks_files_and_is_undone() {
    let fixture = Fixture::start();
    let load = MountLoad {
        pods: 12,
        warm_up: 0,
        rate: 500.0,
        pod_rate: None,
        arrival: Arrival::Constant,
        lenses: vec![Lens::Csi],
        deadline: Duration::from_secs(5),
    };
    let plan = MountPlan::of(
        &load,
        Lens::Csi,
        &["team-red".to_owned()],
        41,
        ("mount-latency", "mount-latency"),
    )
    .unwrap();
    let pods = ["ok-1", "denied", "in-doubt", "empty"];
    let jobs = plan.jobs().map(|planned| {
        job(
            pods[planned.index as usize % 4],
            &format!("uid-{}", planned.index),
        )
    });
    let check = |_: &PublishJob, target: &Path| match std::fs::read(target.join("secret")) {
        Ok(bytes) if bytes == b"value" => Ok(()),
        Ok(_) => Err("secret: other bytes".to_owned()),
        Err(error) => Err(format!("secret: {}", error.kind())),
    };
    let lens = Arc::new(CsiLens::new(fixture.client, jobs.collect(), Arc::new(check)));
    lens.warm_up(SOON).await.unwrap();
    let ends = Mutex::new(Vec::new());
    let emit = |event| {
        if let EventKind::MountFinished(mount) = event {
            ends.lock()
                .unwrap()
                .push((mount.index % 4, mount.outcome, mount.error));
        }
    };
    let finished = run_mounts(&plan, Arc::clone(&lens), &emit, &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((finished.ok, finished.failed), (3, 9));
    for (kind, outcome, error) in ends.into_inner().unwrap() {
        match kind {
            0 => assert_eq!((outcome, error), (MountOutcome::Ok, None)),
            3 => assert_eq!(error.as_deref(), Some("secret: entity not found")),
            _ => assert_eq!(outcome, MountOutcome::Failed),
        }
    }
    // A driver that finds a mount busy, as a real one was seen to do, is asked again.
    std::fs::write(lens.client.target("uid-0").join("busy"), "").unwrap();
    assert_eq!(lens.unpublish_all(4, SOON).await, []);
    assert_eq!(lens.published().len(), 0);
    assert!(
        std::fs::read_dir(fixture.folder.path().join("kubelet/pods"))
            .unwrap()
            .next()
            .is_none()
    );
}

#[test]
fn tokens_are_never_shown() {
    let job = job("ok-1", UID);
    assert!(!format!("{job:?}").contains("t1"), "{job:?}");
}
