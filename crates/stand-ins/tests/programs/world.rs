//! A node whose driver and provider are programs.

use std::{
    ffi::CStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    driver::{DriverConfig, NAME, unmount_below},
    kubelet::{Clock, Kubelet, KubeletConfig},
    kubernetes::{ApiServer, ApiServerConfig},
    programs::{
        AccountPlace, DriverOptions, DriverProgram, ProgramSpec, ProviderOptions, ProviderProgram,
        SharedFolder,
    },
    provider::ProviderConfig,
    rest::{ApiAccess, ApiClient, BearerToken, PatchKind},
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::aws::{ACCOUNT, Admin, REGION};

/// Longest time for anything to happen.
const PATIENCE: Duration = Duration::from_mins(2);

/// The word with which this program is called in a `/run` of its own.
pub(crate) const IN_OWN_RUN: &str = "in-own-run";

/// What a denied mount says in an Event of the pod.
const DENIED: &str = "Failed to fetch secret from all regions";

/// How the programs are started.
struct Setup {
    account: AccountPlace,
    provider: ProgramSpec,
    driver: ProgramSpec,
}

impl Setup {
    fn new(account: AccountPlace) -> Self {
        Self {
            account,
            provider: standin("provider", &[]),
            driver: standin("driver", &[]),
        }
    }
}

/// This very program, as a stand-in.
fn standin(part: &str, more: &[&str]) -> ProgramSpec {
    let words = ["standin", part].into_iter().chain(more.iter().copied());
    ProgramSpec {
        program: std::env::current_exe().unwrap(),
        arguments: words.map(str::to_owned).collect(),
    }
}

struct World {
    root: TempDir,
    api: ApiClient,
    server: ApiServer,
    endpoint: Endpoint,
    kubelet: Kubelet,
    driver: DriverProgram,
    provider: ProviderProgram,
    _shared: SharedFolder,
}

impl World {
    async fn start(setup: Setup) -> Self {
        let ca = RunCa::generate("programs").unwrap();
        let server = ApiServer::start(ApiServerConfig::on_loopback(Arc::clone(&ca)))
            .await
            .unwrap();
        let endpoint = Endpoint::start(EndpointConfig::new(ACCOUNT, &ca)).await.unwrap();
        let access = |user: &str| ApiAccess {
            url: server.url(),
            ca_pem: ca.certificate_pem().to_owned(),
            token: BearerToken::new(server.component_token(user).expose()),
        };
        let api = ApiClient::new(&access("admin"), "test").unwrap();
        for kind in ["SecretProviderClass", "SecretProviderClassPodStatus"] {
            let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            api.create(crds, &crd(kind)).await.unwrap();
        }
        let object = json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": NAME}, "spec": {
            "podInfoOnMount": true, "attachRequired": false, "requiresRepublish": true,
            "volumeLifecycleModes": ["Ephemeral"], "tokenRequests": [{"audience": "sts.amazonaws.com"}]}});
        api.create("/apis/storage.k8s.io/v1/csidrivers", &object)
            .await
            .unwrap();
        let (at, key) = (endpoint.address(), endpoint.root_credentials());
        let aws = Admin::new(&ca, at, key, server.issuer()).await;
        for tenant in ["red", "blue"] {
            let role = aws.role(tenant).await;
            namespace(&api, tenant, &role).await;
            let secret =
                json!({"Name": format!("{tenant}/secret"), "SecretString": format!("value of {tenant}")});
            aws.secrets("CreateSecret", secret).await;
        }

        let root = tempfile::tempdir().unwrap();
        let shared = SharedFolder::mount(root.path()).unwrap();
        let mut config = KubeletConfig::new(access("system:node:node"), "node", root.path().to_owned());
        config.clock = Clock::faster(10.0);
        let kubelet = Kubelet::start(config).await.unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        for folder in [&old, &new] {
            fs::create_dir(folder).unwrap();
        }
        let mut config =
            ProviderConfig::new(access("provider"), old.clone(), ca.certificate_pem().to_owned());
        config.region = Some(REGION.to_owned());
        config.https_proxy = Some(endpoint.address());
        config.qps = 500.0;
        let options = ProviderOptions::new(setup.account);
        let log = root.path().join("provider.log");
        let provider = ProviderProgram::start(&setup.provider, &config, &options, &log)
            .await
            .unwrap();
        let mut config = DriverConfig::new(access("driver"), "node", root.path(), new);
        config.additional_providers_dirs = vec![old];
        let log = root.path().join("driver.log");
        let driver = DriverProgram::start(&setup.driver, &config, &DriverOptions::default(), &log)
            .await
            .unwrap();
        let world = Self {
            root,
            api,
            server,
            endpoint,
            kubelet,
            driver,
            provider,
            _shared: shared,
        };
        until("the driver is registered", async || {
            world.kubelet.has_driver(NAME)
        })
        .await;
        world
    }

    /// A pod of red's that mounts `secret`.
    async fn pod(&self, name: &str, secret: &str) {
        let class = json!({"apiVersion": "secrets-store.csi.x-k8s.io/v1", "kind": "SecretProviderClass",
            "metadata": {"name": name}, "spec": {"provider": "aws", "parameters": {
                "objects": format!("- {{objectName: {secret}, objectType: secretsmanager, objectAlias: file}}")}}});
        let classes = "/apis/secrets-store.csi.x-k8s.io/v1/namespaces/red/secretproviderclasses";
        self.api.create(classes, &class).await.unwrap();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", "csi": {"driver": NAME, "readOnly": true,
                "volumeAttributes": {"secretProviderClass": name}}}]}});
        self.api
            .create("/api/v1/namespaces/red/pods", &pod)
            .await
            .unwrap();
    }

    async fn runs(&self, name: &str) -> bool {
        let pod: Value = self
            .api
            .fetch(&format!("/api/v1/namespaces/red/pods/{name}"), None)
            .await
            .unwrap();
        pod["status"]["phase"] == "Running"
    }

    /// The pod's file, once it runs.
    async fn mounted(&self, name: &str) -> PathBuf {
        until(name, async || self.runs(name).await).await;
        let path = format!("/api/v1/namespaces/red/pods/{name}");
        let pod: Value = self.api.fetch(&path, None).await.unwrap();
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let volume = format!("pods/{uid}/volumes/kubernetes.io~csi/v/mount/file");
        self.root.path().join(volume)
    }

    async fn is_denied(&self, name: &str) -> bool {
        let events: Value = self
            .api
            .fetch("/api/v1/namespaces/red/events", None)
            .await
            .unwrap();
        events["items"].as_array().unwrap().iter().any(|event| {
            let told = event["message"]
                .as_str()
                .or_else(|| event["note"].as_str())
                .unwrap_or_default();
            let of = |field: &str| event[field]["name"] == name;
            (of("involvedObject") || of("regarding")) && told.contains(DENIED)
        })
    }

    async fn stop(self) {
        self.driver.stop().await;
        self.provider.stop().await;
        self.kubelet.stop().await;
        let _ = unmount_below(self.root.path());
        self.endpoint.stop().await;
        self.server.stop().await;
    }
}

/// A namespace whose default account names `role`.
pub(crate) async fn namespace(api: &ApiClient, name: &str, role: &str) {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    api.create("/api/v1/namespaces", &object).await.unwrap();
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    let change = json!({"metadata": {"annotations": {"eks.amazonaws.com/role-arn": role}}});
    // The controller makes the account a moment after the namespace.
    until("the account is there", async || {
        api.patch(&account, PatchKind::Merge, &change).await.is_ok()
    })
    .await;
}

fn crd(kind: &str) -> Value {
    let plural = format!("{}es", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.secrets-store.csi.x-k8s.io")},
        "spec": {
            "group": "secrets-store.csi.x-k8s.io", "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    })
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether what mounts can be tested here.
pub(crate) fn may_mount() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let may = mount(
        "tmpfs",
        folder.path(),
        "tmpfs",
        MountFlags::empty(),
        None::<&CStr>,
    )
    .is_ok();
    if may {
        let _ = unmount(folder.path(), UnmountFlags::DETACH);
    }
    may
}

pub(crate) async fn a_mount_works_and_a_denial_is_one(account: AccountPlace) {
    let world = World::start(Setup::new(account)).await;
    assert_eq!(world.driver.version(), Some("1.6.0"));
    assert_eq!(world.provider.version(), Some("3.1.1"));
    assert!(world.driver.flags().contains(&"--nodeid=node".to_owned()));
    assert!(world.provider.flags().contains(&"--qps=500".to_owned()));
    assert!(world.driver.left_out().is_empty() && world.provider.left_out().is_empty());
    world.pod("own", "red/secret").await;
    world.pod("foreign", "blue/secret").await;
    let file = world.mounted("own").await;
    assert_eq!(fs::read_to_string(file).unwrap(), "value of red");
    until("foreign is denied", async || world.is_denied("foreign").await).await;
    assert!(!world.runs("foreign").await);
    assert!(!world.is_denied("own").await);
    world.provider.settle_log().await;
    let log = fs::read_to_string(world.provider.log()).unwrap();
    assert!(log.contains("AccessDeniedException"), "{log}");
    let left = [world.driver.pid(), world.provider.pid()];
    world.stop().await;
    for pid in left {
        assert!(
            !Path::new("/proc").join(pid.to_string()).exists(),
            "{pid} still runs"
        );
    }
}

/// The same where the provider's account lies in the place itself, in a `/run` that is ours.
pub(crate) async fn in_own_run() {
    let own = "mount -t tmpfs tmpfs /run && { [ \"$(readlink -f /var/run)\" = /run ] || mount --bind /run /var/run; } && exec \"$0\" \"$1\"";
    let ran = tokio::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", own])
        .arg(std::env::current_exe().unwrap())
        .arg(IN_OWN_RUN)
        .kill_on_drop(true)
        .output();
    let ran = tokio::time::timeout(2 * PATIENCE, ran)
        .await
        .expect("an end")
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

pub(crate) async fn killed() {
    let mut world = World::start(Setup::new(AccountPlace::OwnMountNamespace)).await;
    world.pod("before", "red/secret").await;
    let before = world.mounted("before").await;
    assert_eq!(world.driver.exited(), None);
    world.driver.kill().await;
    assert_eq!(world.driver.exited().as_deref(), Some("signal: 9 (SIGKILL)"));
    assert_eq!(world.driver.died(), None, "it was asked to");
    assert_eq!(fs::read_to_string(&before).unwrap(), "value of red");
    let dead = world.driver.pid();
    let rotating = |world: &World| world.driver.flags().iter().any(|flag| flag.contains("rotation"));
    assert!(!rotating(&world));
    let hourly = Some(Duration::from_hours(1));
    world.driver.restart_rotating(hourly).await.unwrap();
    assert!(rotating(&world) && world.driver.rotation() == hourly);
    assert_eq!(world.driver.exited(), None);
    assert_ne!(world.driver.pid(), dead);
    world.pod("after", "red/secret").await;
    let after = world.mounted("after").await;
    assert_eq!(fs::read_to_string(after).unwrap(), "value of red");
    assert_eq!(fs::read_to_string(before).unwrap(), "value of red");
    world.driver.settle_log().await;
    let log = fs::read_to_string(world.driver.log()).unwrap();
    assert_eq!(log.matches("serves on").count(), 2, "{log}");
    assert!(!log.contains("eyJ"), "{log}");
    world.stop().await;
}

pub(crate) async fn moved() {
    let mut world = World::start(Setup::new(AccountPlace::OwnMountNamespace)).await;
    world.pod("before", "red/secret").await;
    world.mounted("before").await;
    let (old, new) = (world.provider.socket(), world.root.path().join("new"));
    world.provider.restart_in(&new, false).await.unwrap();
    assert_eq!(world.provider.socket(), new.join("aws.sock"));
    assert!(!old.exists() && !old.with_file_name("account").exists());
    // The driver keeps to the folder that it found first, until it is started anew.
    world.driver.restart().await.unwrap();
    world.pod("after", "red/secret").await;
    let file = world.mounted("after").await;
    assert_eq!(fs::read_to_string(file).unwrap(), "value of red");
    world.stop().await;
}

pub(crate) async fn old() {
    let program = std::env::current_exe().unwrap();
    let old = format!(
        "case \"$1\" in --help) printf 'Usage of old:\\n  -provider-volume string\\n    \\tfolder\\n'; exit 2;; esac; \
         exec '{}' standin provider \"$@\"",
        program.display()
    );
    let setup = Setup {
        provider: ProgramSpec {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), old, "old".to_owned()],
        },
        ..Setup::new(AccountPlace::OwnMountNamespace)
    };
    let world = World::start(setup).await;
    let left_out: Vec<String> = world
        .provider
        .left_out()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        left_out,
        ["this version has no --qps=500: client-go's 5 requests a second hold"]
    );
    assert_eq!(world.provider.flags().len(), 1);
    // The first SDK looks for its authorities there.
    let environment = fs::read(format!("/proc/{}/environ", world.provider.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let names: Vec<&str> = environment
        .split('\0')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "AWS_CA_BUNDLE",
            "AWS_REGION",
            "AWS_STS_REGIONAL_ENDPOINTS",
            "HTTPS_PROXY",
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_SERVICE_PORT",
            "NO_PROXY",
            "PATH",
            "SSL_CERT_FILE"
        ]
    );
    // Drivers below 1.6 have a reconciler for rotation, which looks for its way to the API server there.
    let environment = fs::read(format!("/proc/{}/environ", world.driver.pid())).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let mut pairs = environment.split('\0').filter_map(|pair| pair.split_once('='));
    let (_, kubeconfig) = pairs.find(|(name, _)| *name == "KUBECONFIG").unwrap();
    let kubeconfig = fs::read_to_string(kubeconfig).unwrap();
    assert!(kubeconfig.contains("current-context"), "{kubeconfig}");

    world.pod("own", "red/secret").await;
    world.mounted("own").await;
    world.stop().await;
}

pub(crate) async fn defects() {
    let setup = Setup {
        provider: standin("provider", &["--defect", "ignores-denial"]),
        driver: standin("driver", &["--defect=tokens-in-log"]),
        ..Setup::new(AccountPlace::OwnMountNamespace)
    };
    let world = World::start(setup).await;
    world.pod("foreign", "blue/secret").await;
    let file = world.mounted("foreign").await;
    assert_eq!(fs::read_to_string(file).unwrap(), "");
    world.driver.settle_log().await;
    let log = fs::read_to_string(world.driver.log()).unwrap();
    assert!(log.contains("eyJ"), "{log}");
    world.stop().await;
}
