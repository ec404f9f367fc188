//! Our driver against a scripted provider: every step of a publish, over real gRPC.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use mountproof_csi_protocol::{
    connect,
    csi::{NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability, node_client::NodeClient},
    provider::{
        Error, File, MountRequest, MountResponse, ObjectVersion, VersionRequest, VersionResponse,
        csi_driver_provider_server::{CsiDriverProvider, CsiDriverProviderServer},
    },
};
use mountproof_stand_ins::{
    defects::{DriverDefects, Shared},
    driver::{Driver, DriverConfig, MountKind},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, transport::Channel};

use crate::fakes::{FakeApi, eventually};

type Script = dyn Fn(&MountRequest) -> Result<MountResponse, Status> + Send + Sync;

#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Arc<Script>>>,
    /// Attributes of every call.
    asked: Arc<Mutex<Vec<Value>>>,
    /// Ends its server.
    ends: CancellationToken,
}

impl Scripted {
    /// Serves at `socket` until `ends` is cancelled.
    fn serve(&self, socket: &Path) {
        let listener = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        let mut server = tonic::transport::Server::builder();
        let server = server.add_service(CsiDriverProviderServer::new(self.clone()));
        let ends = self.ends.clone().cancelled_owned();
        tokio::spawn(server.serve_with_incoming_shutdown(listener, ends));
    }
}

#[tonic::async_trait]
impl CsiDriverProvider for Scripted {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse::default()))
    }

    async fn mount(&self, request: Request<MountRequest>) -> Result<Response<MountResponse>, Status> {
        let request = request.into_inner();
        assert_eq!(request.permission, "420");
        self.asked
            .lock()
            .unwrap()
            .push(serde_json::from_str(&request.attributes).unwrap());
        let slow = request.attributes.contains("slow-class-parameter");
        if slow && self.asked.lock().unwrap().len() == 1 {
            std::future::pending::<()>().await;
        }
        let script = Arc::clone(&self.script.lock().unwrap());
        script(&request).map(Response::new)
    }
}

/// A driver, its provider, and the target of one pod.
pub(crate) struct Bench {
    pub(crate) api: FakeApi,
    pub(crate) driver: Driver,
    provider: Scripted,
    root: TempDir,
}

/// A provider that writes one file itself.
fn writes(contents: &'static str) -> impl Fn(&MountRequest) -> Result<MountResponse, Status> + Send + Sync {
    move |request| {
        fs::write(Path::new(&request.target_path).join("secret"), contents).unwrap();
        Ok(MountResponse {
            object_version: vec![version("secret")],
            ..MountResponse::default()
        })
    }
}

pub(crate) fn version(id: &str) -> ObjectVersion {
    ObjectVersion {
        id: id.to_owned(),
        version: "v1".to_owned(),
    }
}

impl Bench {
    pub(crate) async fn start(change: impl FnOnce(&mut DriverConfig)) -> Self {
        let api = FakeApi::start().await;
        let classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/red/secretproviderclasses";
        for (name, spec) in [
            (
                "class",
                json!({"provider": "aws", "parameters": {"objects": "o", "region": "r"}}),
            ),
            (
                "slow",
                json!({"provider": "aws", "parameters": {"objects": "slow-class-parameter"}}),
            ),
            ("no-provider", json!({"parameters": {"objects": "o"}})),
            ("no-parameters", json!({"provider": "aws"})),
            (
                "elsewhere",
                json!({"provider": "azure", "parameters": {"objects": "o"}}),
            ),
        ] {
            api.create(classes, json!({"metadata": {"name": name}, "spec": spec}));
        }
        let root = tempfile::tempdir().unwrap();
        let providers = root.path().join("providers");
        fs::create_dir(&providers).unwrap();
        let mut config = DriverConfig::new(api.access(), "node", root.path(), providers.clone());
        config.mount = MountKind::Directory;
        change(&mut config);
        let driver = Driver::start(config).await.unwrap();
        let script: Arc<Script> = Arc::new(writes("value"));
        let provider = Scripted {
            script: Arc::new(Mutex::new(script)),
            asked: Arc::default(),
            ends: CancellationToken::new(),
        };
        provider.serve(&providers.join("aws.sock"));
        Self {
            api,
            driver,
            provider,
            root,
        }
    }

    pub(crate) fn script(
        &self,
        script: impl Fn(&MountRequest) -> Result<MountResponse, Status> + Send + Sync + 'static,
    ) {
        *self.provider.script.lock().unwrap() = Arc::new(script);
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.root
            .path()
            .join("pods/uid/volumes/kubernetes.io~csi/v/mount")
    }

    pub(crate) fn client(&self) -> NodeClient<Channel> {
        NodeClient::new(connect(self.driver.csi_socket()))
    }

    fn request(&self, class: &str) -> NodePublishVolumeRequest {
        let context = [
            ("csi.storage.k8s.io/pod.name", "p"),
            ("csi.storage.k8s.io/pod.namespace", "red"),
            ("csi.storage.k8s.io/pod.uid", "uid"),
            ("csi.storage.k8s.io/serviceAccount.tokens", "{}"),
            ("secretProviderClass", class),
        ];
        NodePublishVolumeRequest {
            volume_id: "csi-1".to_owned(),
            target_path: self.target().display().to_string(),
            volume_capability: Some(VolumeCapability::default()),
            readonly: true,
            volume_context: context
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..NodePublishVolumeRequest::default()
        }
    }

    pub(crate) async fn publish(&self, class: &str) -> Result<(), Status> {
        let request = self.request(class);
        self.client().node_publish_volume(request).await.map(drop)
    }

    async fn unpublish(&self) {
        let request = NodeUnpublishVolumeRequest {
            volume_id: "csi-1".to_owned(),
            target_path: self.target().display().to_string(),
        };
        self.client().node_unpublish_volume(request).await.unwrap();
    }

    fn read(&self) -> String {
        fs::read_to_string(self.target().join("secret")).unwrap()
    }
}

#[tokio::test]
async fn a_mount_leaves_files_and_a_status_object_and_an_unmount_leaves_nothing() {
    let bench = Bench::start(|_| {}).await;
    bench.publish("class").await.unwrap();
    assert_eq!(bench.read(), "value");
    let asked = bench.provider.asked.lock().unwrap()[0].clone();
    assert_eq!(asked["region"], "r");
    assert_eq!(asked["csi.storage.k8s.io/pod.uid"], "uid");
    let path =
        "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/red/secretproviderclasspodstatuses/p-red-class";
    let status = bench.api.object(path).unwrap();
    assert_eq!(status["status"]["mounted"], true);
    assert_eq!(
        status["status"]["objects"],
        json!([{"id": "secret", "version": "v1"}])
    );
    assert_eq!(status["status"]["targetPath"], json!(bench.target()));

    // Without rotation a second publish does nothing.
    bench.script(writes("newer"));
    bench.publish("class").await.unwrap();
    assert_eq!(bench.read(), "value");
    bench.unpublish().await;
    assert!(!bench.target().exists());
    bench.unpublish().await;
}

#[tokio::test]
async fn refusals_have_the_real_drivers_texts_and_codes() {
    let bench = Bench::start(|_| {}).await;
    let good = bench.request("class");
    let mut cases = Vec::new();
    let mut case = |change: &dyn Fn(&mut NodePublishVolumeRequest), text: &'static str| {
        let mut request = good.clone();
        change(&mut request);
        cases.push((request, text));
    };
    case(
        &|r| r.volume_capability = None,
        "Volume capability missing in request",
    );
    case(&|r| r.volume_id.clear(), "Volume ID missing in request");
    case(&|r| r.target_path.clear(), "Target path missing in request");
    case(
        &|r| r.volume_context = HashMap::new(),
        "Volume attributes missing in request",
    );
    case(&|r| r.readonly = false, "Readonly is not true in request");
    for (request, text) in cases {
        let status = bench.client().node_publish_volume(request).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    }
    for (class, text) in [
        ("", "secretProviderClass is not set"),
        (
            "none",
            "failed to get secretproviderclass red/none, error: SecretProviderClass.secrets-store.csi.x-k8s.io \"none\" not found",
        ),
        ("no-provider", "provider not set in red/no-provider"),
        ("no-parameters", "parameters not set in red/no-parameters"),
        (
            "elsewhere",
            "failed to mount secrets store objects for pod red/p, err: error connecting to provider \"azure\": provider not found: provider \"azure\"",
        ),
    ] {
        let status = bench.publish(class).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unknown, text));
        assert_eq!(
            fs::read_dir(bench.target()).unwrap().count(),
            0,
            "the folder stays, empty"
        );
    }
    for (answer, code, text) in [
        (
            Err(Status::unknown("boom")),
            Code::Unknown,
            "rpc error: code = Unknown desc = boom",
        ),
        (
            Err(Status::permission_denied("no")),
            Code::PermissionDenied,
            "rpc error: code = PermissionDenied desc = no",
        ),
        (
            Ok(MountResponse::default()),
            Code::Unknown,
            "missing object versions",
        ),
        (
            Ok(MountResponse {
                error: Some(Error { code: "X".to_owned() }),
                ..MountResponse::default()
            }),
            Code::Unknown,
            "mount request failed with provider error code X",
        ),
        (
            Ok(MountResponse {
                object_version: vec![version("a")],
                files: vec![File {
                    path: "../a".to_owned(),
                    ..File::default()
                }],
                ..MountResponse::default()
            }),
            Code::Unknown,
            "invalid path: must not contain '..': ../a",
        ),
    ] {
        bench.script(move |_| answer.clone());
        let status = bench.publish("class").await.unwrap_err();
        let text = format!("failed to mount secrets store objects for pod red/p, err: {text}");
        assert_eq!((status.code(), status.message()), (code, text.as_str()));
    }
    assert!(bench.api.objects("podstatuses").is_empty());
}

#[tokio::test]
async fn rotation_fetches_again_after_its_interval_and_masks_errors() {
    let bench = Bench::start(|config| config.rotation = Some(Duration::from_millis(300))).await;
    bench.publish("class").await.unwrap();
    bench.script(writes("newer"));
    bench.publish("class").await.unwrap();
    assert_eq!(bench.read(), "value", "too early");
    tokio::time::sleep(Duration::from_millis(350)).await;
    bench.script(|_| Err(Status::unknown("boom")));
    bench.publish("class").await.expect("the error is masked");
    assert_eq!(bench.read(), "value", "and what is mounted stays");
    bench.script(writes("newer"));
    bench.publish("class").await.unwrap();
    assert_eq!(bench.read(), "newer");
}

/// The hazard of driver 1.6.0: a mount that timed out is reported as done, empty, while rotation
/// is on; without rotation the same sequence recovers, and so it does with a driver without the hazard.
#[tokio::test]
async fn a_retry_after_a_timeout_reports_an_empty_mount_only_with_rotation_and_as_released() {
    let (on, released) = (Some(Duration::from_mins(1)), DriverDefects::as_released());
    for (rotation, defects, files) in [
        (on, released, 0),
        (None, released, 1),
        (on, DriverDefects::default(), 1),
    ] {
        let bench = Bench::start(|config| {
            config.rotation = rotation;
            config.defects = Shared::new(defects);
        })
        .await;
        let mut late = Request::new(bench.request("slow"));
        late.set_timeout(Duration::from_millis(200));
        assert!(bench.client().node_publish_volume(late).await.is_err());
        let target = bench.target();
        eventually("the timed-out mount is undone", || {
            fs::read_dir(&target).is_ok_and(|mut left| left.next().is_none())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.publish("slow").await.expect("reported as mounted");
        assert_eq!(
            fs::read_dir(bench.target()).unwrap().count(),
            files,
            "{rotation:?} {defects:?}"
        );
    }
}

/// The other hazard: a driver that was killed in the middle of a mount leaves an empty one, which the next reports as done,
/// with rotation for its youth, and without because something is mounted.
#[tokio::test]
async fn what_a_killed_driver_left_is_made_good_unless_as_released() {
    for rotation in [Some(Duration::from_hours(1)), None] {
        for (defects, files) in [(DriverDefects::as_released(), 0), (DriverDefects::default(), 1)] {
            let mut bench = Bench::start(|config| {
                config.rotation = rotation;
                config.defects = Shared::new(defects);
            })
            .await;
            let (mut client, request) = (bench.client(), bench.request("slow"));
            let call = tokio::spawn(async move { client.node_publish_volume(request).await });
            let asked = Arc::clone(&bench.provider.asked);
            eventually("the provider is asked", || !asked.lock().unwrap().is_empty()).await;
            bench.driver.kill().await;
            assert!(bench.driver.is_down() && call.await.unwrap().is_err());
            bench.driver.restart(rotation).await.unwrap();
            bench.publish("slow").await.expect("reported as mounted");
            let found = fs::read_dir(bench.target()).unwrap().count();
            assert_eq!(found, files, "{rotation:?} {defects:?}");
        }
    }
}

/// The hazard of every driver so far: the socket of a provider that was found once is dialled for ever.
#[tokio::test]
async fn a_provider_that_moves_is_followed_unless_as_released() {
    for (defects, follows) in [
        (DriverDefects::default(), true),
        (DriverDefects::as_released(), false),
    ] {
        let moved = tempfile::tempdir().unwrap();
        let bench = Bench::start(|config| {
            config.additional_providers_dirs = vec![moved.path().to_owned()];
            config.defects = Shared::new(defects);
        })
        .await;
        bench.publish("class").await.unwrap();
        bench.unpublish().await;
        // Where it was nobody answers any more; the connection that stands goes with its server.
        let old = bench.root.path().join("providers/aws.sock");
        bench.provider.ends.cancel();
        fs::remove_file(old).unwrap();
        let elsewhere = Scripted {
            ends: CancellationToken::new(),
            ..bench.provider.clone()
        };
        elsewhere.serve(&moved.path().join("aws.sock"));
        let mut request = Request::new(bench.request("class"));
        request.set_timeout(Duration::from_secs(2));
        let published = bench.client().node_publish_volume(request).await;
        assert_eq!(published.is_ok(), follows, "{defects:?} {published:?}");
    }
}

#[tokio::test]
async fn a_provider_that_is_down_is_waited_for() {
    let bench = Bench::start(|_| {}).await;
    let socket = bench.root.path().join("providers/late.sock");
    let classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/red/secretproviderclasses";
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let class =
        json!({"metadata": {"name": "late"}, "spec": {"provider": "late", "parameters": {"objects": "o"}}});
    bench.api.create(classes, class);
    let starting = {
        let provider = bench.provider.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            fs::remove_file(&socket).unwrap();
            let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
            let server = CsiDriverProviderServer::new(provider);
            let serving = tonic::transport::Server::builder().add_service(server);
            serving.serve_with_incoming(listener).await
        })
    };
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench.publish("late").await.unwrap();
    assert_eq!(bench.read(), "value");
    starting.abort();
}

/// A class that syncs its file, with rotation at every publish, and a pod that a ReplicaSet owns.
async fn syncing(defects: DriverDefects) -> Bench {
    let bench = Bench::start(|config| {
        config.rotation = Some(Duration::ZERO);
        config.owners_every = Duration::from_millis(20);
        config.defects = Shared::new(defects);
    })
    .await;
    let classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/red/secretproviderclasses";
    let class = json!({"metadata": {"name": "syncs"}, "spec": {
        "provider": "aws", "parameters": {"objects": "o"},
        "secretObjects": [{"secretName": "synced", "type": "Opaque", "labels": {"team": "red"},
            "data": [{"objectName": "secret", "key": "key"}]}],
    }});
    bench.api.create(classes, class);
    let owner =
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true});
    let pod = json!({"metadata": {"name": "p", "ownerReferences": [owner]}});
    bench.api.create("/api/v1/namespaces/red/pods", pod);
    eventually_published(&bench, "syncs").await;
    bench
}

/// A class that was made just now may be missed at first.
async fn eventually_published(bench: &Bench, class: &str) {
    for _ in 0..500 {
        if bench.publish(class).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the class {class} is not found");
}

impl Bench {
    fn synced(&self) -> Value {
        let path = "/api/v1/namespaces/red/secrets/synced";
        self.api.object(path).unwrap_or_default()
    }

    async fn owned(&self) {
        eventually("the Secret has an owner", || {
            self.synced()["metadata"]["ownerReferences"][0]["name"] == "r"
        })
        .await;
    }
}

#[tokio::test]
async fn files_are_synced_into_a_secret_that_follows_them_and_is_else_left_alone() {
    let bench = syncing(DriverDefects::default()).await;
    bench.owned().await;
    let secret = bench.synced();
    assert_eq!(
        (&secret["type"], &secret["data"]),
        (&json!("Opaque"), &json!({"key": "dmFsdWU="}))
    );
    let labels = json!({"team": "red", "secrets-store.csi.k8s.io/managed": "true"});
    assert_eq!(secret["metadata"]["labels"], labels);
    for _ in 0..5 {
        bench.publish("syncs").await.unwrap();
    }
    bench.script(writes("other"));
    bench.publish("syncs").await.unwrap();
    eventually("the Secret follows", || {
        bench.synced()["data"]["key"] == "b3RoZXI="
    })
    .await;
    let owners = &bench.synced()["metadata"]["ownerReferences"];
    assert_eq!(
        *owners,
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1"}])
    );
    let kinds: Vec<String> = bench
        .api
        .changes("/secrets/")
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(kinds, ["ADDED", "MODIFIED", "MODIFIED"], "made, owned, changed");
}

#[tokio::test]
async fn a_synced_secret_is_written_again_or_never_where_that_is_the_defect() {
    let released = syncing(DriverDefects::as_released()).await;
    released.owned().await;
    released.publish("syncs").await.unwrap();
    eventually("the Secret is written again without its owners", || {
        let mut changes = released.api.changes("/secrets/").into_iter();
        changes.any(|(kind, object)| kind == "MODIFIED" && object["metadata"]["ownerReferences"].is_null())
    })
    .await;
    released.owned().await;

    let stale = syncing(DriverDefects {
        stale_synced_secret: true,
        ..DriverDefects::default()
    })
    .await;
    stale.owned().await;
    stale.script(writes("other"));
    stale.publish("syncs").await.unwrap();
    // What comes after it has been written would have followed it.
    stale.unpublish().await;
    stale.publish("syncs").await.unwrap();
    stale.owned().await;
    assert_eq!(stale.synced()["data"]["key"], "dmFsdWU=");
}

/// Where the driver writes the files and they are unchanged, the release has no clock for its poll interval.
#[tokio::test]
async fn the_poll_interval_limits_files_that_the_driver_writes_unless_as_released() {
    let interval = Duration::from_millis(400);
    for (defects, asked) in [(DriverDefects::default(), 2), (DriverDefects::as_released(), 7)] {
        let bench = Bench::start(|config| {
            config.rotation = Some(interval);
            config.defects = Shared::new(defects);
        })
        .await;
        bench.script(|_| {
            Ok(MountResponse {
                object_version: vec![version("secret")],
                files: vec![File {
                    path: "secret".to_owned(),
                    mode: 0o644,
                    contents: b"value".to_vec(),
                }],
                ..MountResponse::default()
            })
        });
        bench.publish("class").await.unwrap();
        tokio::time::sleep(interval).await;
        let due = std::time::Instant::now();
        for _ in 0..6 {
            bench.publish("class").await.unwrap();
        }
        // On a machine that is too slow for it nothing is shown.
        if due.elapsed() < interval {
            assert_eq!(bench.provider.asked.lock().unwrap().len(), asked, "{defects:?}");
        }
    }
}

#[tokio::test]
async fn tokens_are_in_the_log_where_that_is_the_defect() {
    for leaks in [false, true] {
        let bench = Bench::start(|config| {
            config.defects = Shared::new(DriverDefects {
                tokens_in_log: leaks,
                ..DriverDefects::default()
            });
        })
        .await;
        bench.publish("class").await.unwrap();
        let log = bench.driver.log_text();
        assert!(
            log.contains("pods/uid/volumes") && log.contains("volumeId=\"csi-1\""),
            "{log}"
        );
        assert_eq!(log.contains("serviceAccount.tokens"), leaks, "{log}");
    }
}

#[tokio::test]
async fn planted_defects_do_their_harm() {
    let bench = Bench::start(|_| {}).await;
    let defects = bench.driver.defects().clone();
    defects.set(DriverDefects {
        empty_mount: true,
        ..DriverDefects::default()
    });
    bench.publish("class").await.unwrap();
    assert_eq!(fs::read_dir(bench.target()).unwrap().count(), 0);
    bench.unpublish().await;

    defects.set(DriverDefects {
        no_pod_status: true,
        file_left_after_unmount: true,
        ..DriverDefects::default()
    });
    bench.publish("class").await.unwrap();
    bench.unpublish().await;
    assert_eq!(bench.read(), "value", "left behind");
    let (target, driver) = (bench.target(), bench.driver);
    driver.stop().await;
    assert!(!target.exists(), "a stopping driver cleans up all the same");
}

/// Where we may mount, the files are in a tmpfs of their own.
#[tokio::test]
async fn mounts_are_tmpfs_where_that_is_allowed() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::start(|config| config.mount = MountKind::Auto).await;
    if bench.driver.mount_kind() == MountKind::Directory {
        return;
    }
    bench.publish("class").await.unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(device(&bench.target()), device(bench.target().parent().unwrap()));
    assert_eq!(bench.read(), "value");
    let target = bench.target();
    bench.driver.stop().await;
    assert!(!target.exists());
}
