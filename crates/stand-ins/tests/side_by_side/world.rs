//! A node: the API server, AWS, and one driver and one provider, each real or a stand-in.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    defects::{DriverDefects, ProviderDefects, Shared},
    driver::{Driver, DriverConfig},
    kubernetes::{ApiServer, ApiServerConfig},
    programs::{
        AccountPlace, DriverOptions, DriverProgram, ProgramSpec, ProviderOptions, ProviderProgram,
        SharedFolder,
    },
    provider::{LogLevel, Provider, ProviderConfig},
    rest::{ApiAccess, ApiClient, BearerToken, PatchKind},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    aws::{ACCOUNT, Admin, REGION},
    recorder::{ApiRecorder, AwsRecorder},
};

pub(crate) const CLASSES: &str = "/apis/secrets-store.csi.x-k8s.io/v1";

/// The programs to compare with.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) driver: PathBuf,
    pub(crate) provider: PathBuf,
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The real driver, if any.
    pub(crate) driver: Option<PathBuf>,
    /// The real provider, if any.
    pub(crate) provider: Option<PathBuf>,
    pub(crate) rotation: Option<Duration>,
    pub(crate) driver_writes_secrets: bool,
    /// `AWS_REGION`.
    pub(crate) region: bool,
    /// The provider's limit on requests.
    pub(crate) qps: f64,
    pub(crate) burst: u32,
    /// Whether requests are recorded on their way.
    pub(crate) recorded: bool,
}

enum AnyDriver {
    StandIn(Box<Driver>),
    Real(Box<DriverProgram>),
}

enum AnyProvider {
    StandIn(Box<Provider>),
    Real(Box<ProviderProgram>),
}

pub(crate) struct World {
    pub(crate) root: TempDir,
    pub(crate) admin: ApiClient,
    pub(crate) aws: Admin,
    pub(crate) api_log: ApiRecorder,
    pub(crate) aws_log: AwsRecorder,
    pub(crate) endpoint: Endpoint,
    pub(crate) server: ApiServer,
    driver: Option<AnyDriver>,
    provider: Option<AnyProvider>,
    /// Of providers that were stopped.
    earlier_log: Vec<String>,
    setup: Setup,
    driver_config: DriverConfig,
    provider_config: ProviderConfig,
    _shared: SharedFolder,
}

impl World {
    pub(crate) async fn start(setup: Setup) -> Self {
        let ca = RunCa::generate("side by side").unwrap();
        let server = ApiServer::start(ApiServerConfig::on_loopback(Arc::clone(&ca)))
            .await
            .unwrap();
        let endpoint = Endpoint::start(EndpointConfig::new(ACCOUNT, &ca)).await.unwrap();
        let api_log = ApiRecorder::start(&ca, &server.url()).await;
        let aws_log = AwsRecorder::start(&ca, endpoint.address()).await;
        let access = |user: &str, url: &str| ApiAccess {
            url: url.to_owned(),
            ca_pem: ca.certificate_pem().to_owned(),
            token: BearerToken::new(server.component_token(user).expose()),
        };
        let admin = ApiAccess {
            token: BearerToken::new(server.admin_token().expose()),
            ..access("admin", &server.url())
        };
        let admin = ApiClient::new(&admin, "test").unwrap();
        for kind in ["SecretProviderClass", "SecretProviderClassPodStatus"] {
            let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            admin.create(crds, &crd(kind)).await.unwrap();
        }
        let node = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "node", "labels": {"topology.kubernetes.io/region": REGION}}});
        admin.create("/api/v1/nodes", &node).await.unwrap();

        let root = tempfile::tempdir().unwrap();
        let shared = SharedFolder::mount(root.path()).unwrap();
        let url = if setup.recorded {
            api_log.url.clone()
        } else {
            server.url()
        };
        let providers = root.path().join("providers");
        std::fs::create_dir(&providers).unwrap();
        let user = |name: &str| format!("system:serviceaccount:kube-system:{name}");
        let mut provider_config = ProviderConfig::new(
            access(&user("csi-secrets-store-provider-aws"), &url),
            providers.clone(),
            ca.certificate_pem().to_owned(),
        );
        provider_config.region = setup.region.then(|| REGION.to_owned());
        provider_config.https_proxy = Some(if setup.recorded {
            aws_log.proxy
        } else {
            endpoint.address()
        });
        provider_config.driver_writes_secrets = setup.driver_writes_secrets;
        // The release is what they are compared with, its hazards included.
        provider_config.defects = Shared::new(ProviderDefects::as_released());
        (provider_config.qps, provider_config.burst) = (setup.qps, setup.burst);
        let driver_access = access(&user("secrets-store-csi-driver"), &url);
        let mut driver_config = DriverConfig::new(driver_access, "node", root.path(), providers);
        driver_config.registration = None;
        driver_config.rotation = setup.rotation;
        driver_config.defects = Shared::new(DriverDefects::as_released());
        let aws = Admin::new(
            &ca,
            endpoint.address(),
            endpoint.root_credentials(),
            server.issuer(),
        )
        .await;
        let mut world = Self {
            root,
            admin,
            aws,
            api_log,
            aws_log,
            endpoint,
            server,
            driver: None,
            provider: None,
            earlier_log: Vec::new(),
            setup,
            driver_config,
            provider_config,
            _shared: shared,
        };
        for namespace in ["red", "blue"] {
            world.tenant(namespace).await;
        }
        world.start_provider().await;
        world.start_driver().await;
        world
    }

    async fn tenant(&self, namespace: &str) {
        let role = self.aws.role(namespace).await;
        self.namespace(namespace, Some(&role)).await;
        for (name, value) in [
            (
                "secret",
                json!({"SecretString": format!("value of {namespace}\nin two lines")}),
            ),
            (
                "json",
                json!({"SecretString": "{\"user\":\"u\",\"db\":{\"password\":\"p\"},\"port\":5432,\"list\":[\"a\"]}"}),
            ),
            ("binary", json!({"SecretBinary": "AAH/"})),
            ("versions", json!({"SecretString": "old"})),
            ("rotating", json!({"SecretString": "one"})),
        ] {
            let mut body = value;
            body["Name"] = format!("{namespace}/{name}").into();
            self.aws.secrets("CreateSecret", body).await;
        }
        let newer = json!({"SecretId": format!("{namespace}/versions"), "SecretString": "new"});
        self.aws.secrets("PutSecretValue", newer).await;
    }

    /// A namespace, its default account annotated.
    pub(crate) async fn namespace(&self, name: &str, role: Option<&str>) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.admin.create("/api/v1/namespaces", &namespace).await.unwrap();
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        let annotations = role.map_or_else(|| json!({}), |role| json!({"eks.amazonaws.com/role-arn": role}));
        let change = json!({"metadata": {"annotations": annotations}});
        let patched = async {
            while self
                .admin
                .patch(&account, PatchKind::Merge, &change)
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), patched)
            .await
            .unwrap();
    }

    pub(crate) async fn start_driver(&mut self) {
        let started = match &self.setup.driver {
            None => AnyDriver::StandIn(Box::new(Driver::start(self.driver_config.clone()).await.unwrap())),
            Some(program) => {
                let log = self.log("driver");
                let (spec, options) = (ProgramSpec::new(program), DriverOptions::default());
                let started = DriverProgram::start(&spec, &self.driver_config, &options, &log).await;
                AnyDriver::Real(Box::new(started.unwrap()))
            }
        };
        self.driver = Some(started);
    }

    pub(crate) async fn stop_driver(&mut self) {
        match self.driver.take() {
            // Stopped in order, it would unmount everything, which the real one does not.
            Some(AnyDriver::StandIn(driver)) => drop(driver),
            Some(AnyDriver::Real(driver)) => driver.stop().await,
            None => {}
        }
    }

    pub(crate) async fn start_provider(&mut self) {
        let started = match &self.setup.provider {
            None => AnyProvider::StandIn(Box::new(Provider::start(self.provider_config.clone()).unwrap())),
            Some(program) => {
                let log = self.log("provider");
                let options = ProviderOptions::new(AccountPlace::OwnMountNamespace);
                let spec = ProgramSpec::new(program);
                let started = ProviderProgram::start(&spec, &self.provider_config, &options, &log).await;
                AnyProvider::Real(Box::new(started.unwrap()))
            }
        };
        self.provider = Some(started);
    }

    pub(crate) async fn stop_provider(&mut self) {
        match self.provider.take() {
            Some(AnyProvider::StandIn(provider)) => {
                self.earlier_log.extend(lines_of(&provider));
                provider.stop().await;
            }
            Some(AnyProvider::Real(provider)) => provider.stop().await,
            None => {}
        }
    }

    /// What the provider wrote to its log, as far as it warns or worse: without klog's head.
    pub(crate) async fn provider_log(&self) -> Vec<String> {
        match (&self.setup.provider, &self.provider) {
            (None, Some(AnyProvider::StandIn(provider))) => {
                let mut lines = self.earlier_log.clone();
                lines.extend(lines_of(provider));
                lines
            }
            (None, _) => self.earlier_log.clone(),
            (_, provider) => {
                if let Some(AnyProvider::Real(provider)) = provider {
                    provider.settle_log().await;
                }
                let text = std::fs::read_to_string(self.log("provider")).unwrap_or_default();
                let lines = text.lines().filter_map(|line| {
                    let (head, text) = line.split_once("] ")?;
                    Some(format!("{} {text}", head.chars().next()?))
                });
                lines.collect()
            }
        }
    }

    fn log(&self, of: &str) -> PathBuf {
        // Kept where it can be read afterwards, if there is such a place.
        match std::env::var_os("MOUNTPROOF_REAL_LOGS") {
            Some(folder) => {
                let name = self.root.path().file_name().unwrap().to_owned();
                Path::new(&folder).join(format!("{}-{of}.log", name.display()))
            }
            None => self.root.path().join(format!("{of}.log")),
        }
    }

    pub(crate) fn csi_socket(&self) -> &Path {
        &self.driver_config.csi_socket
    }

    pub(crate) fn provider_socket(&self) -> PathBuf {
        self.provider_config.socket_dir.join("aws.sock")
    }

    pub(crate) async fn stop(mut self) {
        self.stop_driver().await;
        self.stop_provider().await;
        let _ = mountproof_stand_ins::driver::unmount_below(self.root.path());
        self.endpoint.stop().await;
        self.server.stop().await;
    }
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

fn lines_of(provider: &Provider) -> Vec<String> {
    let lines = provider.log().into_iter();
    lines
        .map(|line| {
            let level = match line.level {
                LogLevel::Info => 'I',
                LogLevel::Warning => 'W',
                LogLevel::Error => 'E',
            };
            format!("{level} {}", line.text)
        })
        .collect()
}
