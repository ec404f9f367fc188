//! A real control plane in the place of the Kubernetes stand-in: etcd and kube-apiserver as programs on loopback, as
//! envtest of controller-runtime runs them (<https://book.kubebuilder.io/reference/envtest>).
//!
//! What the stand-in only keeps is enforced here: RBAC with the rights that the charts give (`rights`), the Node authorizer
//! and `NodeRestriction`. envtest has no controller manager. Where `kube-controller-manager` stands beside the other two it
//! runs too; where not, `keeper` does for namespaces what nothing works without.
//!
//! Everything is in one folder: certificates of the run's authority, the key of `ServiceAccount` tokens, data, output. The
//! programs are killed when the handle goes; a caller that is killed takes down only what it confined.

mod audit;
mod keeper;
mod rights;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mountproof_run_tls::{RunCa, TlsError};
use serde_json::{Value, json};
use tokio::task::JoinSet;

pub use audit::AuditLog;

use super::{
    LastWords, StartError as ProgramError,
    process::{Process, clean},
    write_private,
};
use crate::{
    kubernetes::{BearerToken, Key, Signer, SigningKeyError, User, expired_claims},
    rest::{ApiAccess, ApiClient, ApiError, BearerToken as ClientToken},
};

/// How long the programs may take until the API server is ready, if not said otherwise. It takes 4 s, and on a
/// machine that others use too sometimes more than a minute.
const READY: Duration = Duration::from_mins(2);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Whose token may do everything.
const ADMIN: &str = "mountproof-admin";

const AGENT: &str = "mountproof-control-plane";

/// The controllers that pods and namespaces need; none that judges nodes, for the kubelet stand-in sends no heartbeats.
const CONTROLLERS: &str = "namespace-controller,serviceaccount-controller,root-ca-certificate-publisher-controller,\
                           deployment-controller,replicaset-controller,daemonset-controller,\
                           garbage-collector-controller,pod-garbage-collector-controller";

/// The programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlPlanePrograms {
    /// `etcd`.
    pub etcd: PathBuf,
    /// `kube-apiserver`.
    pub kube_apiserver: PathBuf,
    /// `kube-controller-manager`, if there is one.
    pub controller_manager: Option<PathBuf>,
}

impl ControlPlanePrograms {
    /// These two, with the controller manager where one stands beside the API server.
    #[must_use]
    pub fn new(etcd: PathBuf, kube_apiserver: PathBuf) -> Self {
        let beside = kube_apiserver.with_file_name("kube-controller-manager");
        Self {
            etcd,
            kube_apiserver,
            controller_manager: beside.is_file().then_some(beside),
        }
    }

    /// Those in a folder that `KUBEBUILDER_ASSETS` names, by the names that envtest gives them.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self::new(folder.join("etcd"), folder.join("kube-apiserver"))
    }
}

/// What to run and for whom.
#[derive(Debug, Clone)]
pub struct ControlPlaneConfig {
    /// The programs.
    pub programs: ControlPlanePrograms,
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Signs the certificates.
    pub ca: Arc<RunCa>,
    /// An existing folder that is only ours.
    pub folder: PathBuf,
    /// Users beside the admin, each with a token. What they may do is bound to their names: see `rights` for those of the
    /// driver's and the provider's charts.
    pub users: Vec<User>,
    /// How long it may take.
    pub ready: Duration,
}

impl ControlPlaneConfig {
    /// On a free port of 127.0.0.1, for nobody but the admin.
    #[must_use]
    pub fn new(programs: ControlPlanePrograms, ca: Arc<RunCa>, folder: PathBuf) -> Self {
        Self {
            programs,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ca,
            folder,
            users: Vec::new(),
            ready: READY,
        }
    }
}

/// The control plane could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A program or a file of its.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// It ended before the API was ready.
    #[error(
        "{program} ended with {how} before the API was ready; {last_words}; all of its output is in {log}"
    )]
    Ended {
        /// Which.
        program: PathBuf,
        /// Its exit status or signal.
        how: String,
        /// The end of its output.
        last_words: LastWords,
        /// What it wrote.
        log: PathBuf,
    },
    /// The API was not ready in time.
    #[error("the API is not ready after {waited:?}: {because}; the API server's output is in {log}")]
    NotReady {
        /// How long it was waited for.
        waited: Duration,
        /// What it said last.
        because: String,
        /// What the API server wrote.
        log: PathBuf,
    },
    /// The rights of the components could not be given.
    #[error("give the components their rights: {0}")]
    Rights(#[source] ApiError),
    /// No free port.
    #[error("find a free port: {0}")]
    Port(#[source] std::io::Error),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key of `ServiceAccount` tokens.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
}

/// A running control plane. Its programs are killed when this goes.
pub struct ControlPlane {
    address: SocketAddr,
    version: String,
    signer: Signer,
    admin: BearerToken,
    tokens: Vec<(User, BearerToken)>,
    client: ApiClient,
    /// In the order in which they end.
    programs: Vec<Process>,
    has_controller_manager: bool,
    audit: AuditLog,
    keeping: JoinSet<()>,
}

impl fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlPlane")
            .field("url", &self.url())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    /// Starts etcd, the API server and, where there is one, the controller manager, and waits until the API is ready and
    /// everybody has their rights.
    pub async fn start(config: ControlPlaneConfig) -> Result<Self, StartError> {
        let address = match config.listen.port() {
            0 => free_port()?,
            _ => config.listen,
        };
        let signer = Signer::generate()?;
        let tokens: Vec<(User, BearerToken)> = [User {
            name: ADMIN.to_owned(),
            groups: vec!["system:masters".to_owned()],
        }]
        .into_iter()
        .chain(config.users.iter().cloned())
        .map(|user| (user, BearerToken::random()))
        .collect();
        let files = Files::write(&config, &signer, &tokens)?;
        let admin = tokens[0].1.clone();
        let access = ApiAccess {
            url: format!("https://{address}"),
            ca_pem: config.ca.certificate_pem().to_owned(),
            token: ClientToken::new(admin.expose()),
        };
        let client = ApiClient::new(&access, AGENT)?;
        let until = Instant::now() + config.ready;
        let store = free_port()?;
        let mut programs = vec![etcd(&config, &files, store)?];
        programs.insert(0, kube_apiserver(&config, &files, store, address)?);
        let version = ready(&client, &programs, &config, until).await?;
        rights::give(&client).await.map_err(StartError::Rights)?;
        let mut keeping = JoinSet::new();
        let has_controller_manager = config.programs.controller_manager.is_some();
        match &config.programs.controller_manager {
            Some(program) => programs.insert(0, controller_manager(program, &files, &access)?),
            None => drop(keeping.spawn(keeper::keep(client.clone(), access.ca_pem))),
        }
        Ok(Self {
            address,
            version,
            signer,
            admin,
            tokens,
            client,
            programs,
            has_controller_manager,
            audit: AuditLog::at(&files.audit_log),
            keeping,
        })
    }

    /// `https://127.0.0.1:<port>`, which is the issuer of `ServiceAccount` tokens too: its documents are served without a
    /// token.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The API server's version, such as `v1.36.3`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether the real controllers run.
    #[must_use]
    pub fn has_controller_manager(&self) -> bool {
        self.has_controller_manager
    }

    /// What [`ControlPlaneConfig::users`] ask.
    #[must_use]
    pub fn requests(&self) -> AuditLog {
        self.audit.clone()
    }

    /// A token that may do everything.
    #[must_use]
    pub fn admin_token(&self) -> &BearerToken {
        &self.admin
    }

    /// The token of one of [`ControlPlaneConfig::users`].
    #[must_use]
    pub fn component_token(&self, name: &str) -> Option<&BearerToken> {
        let found = self.tokens.iter().find(|(user, _)| user.name == name);
        found.map(|(_, token)| token)
    }

    /// A token that this issuer signed for a `ServiceAccount` and whose time has been over for an hour: what a stolen
    /// one becomes. None where there is no such account.
    pub async fn expired_token(&self, namespace: &str, account: &str, audience: &str) -> Option<BearerToken> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}");
        let found: Value = self.client.fetch(&path, None).await.ok()?;
        let uid = found["metadata"]["uid"].as_str()?;
        let claims = expired_claims(&Key::new(namespace, account), uid, &self.url(), audience);
        Some(BearerToken::signed(self.signer.sign(&claims)))
    }

    /// Ends the programs, the store last.
    pub async fn stop(mut self) {
        self.keeping.shutdown().await;
        // None has anything to save, and an API server that is asked takes its time for watches.
        for program in &self.programs {
            program.kill().await;
        }
    }
}

/// Files that the programs read.
struct Files {
    folder: PathBuf,
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    accounts: PathBuf,
    tokens: PathBuf,
    audit_policy: PathBuf,
    audit_log: PathBuf,
}

impl Files {
    fn write(
        config: &ControlPlaneConfig,
        signer: &Signer,
        tokens: &[(User, BearerToken)],
    ) -> Result<Self, StartError> {
        let at = |name: &str| config.folder.join(name);
        let files = Self {
            folder: config.folder.clone(),
            ca: at("ca.pem"),
            certificate: at("loopback.pem"),
            key: at("loopback.key"),
            accounts: at("service-accounts.key"),
            tokens: at("tokens.csv"),
            audit_policy: at("audit-policy.json"),
            audit_log: at("audit.log"),
        };
        let pair = config.ca.loopback_pair()?;
        write_private(&files.ca, config.ca.certificate_pem())?;
        write_private(&files.certificate, &pair.certificate)?;
        write_private(&files.key, &pair.key)?;
        write_private(&files.accounts, &signer.to_pem()?)?;
        // https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file
        let lines = tokens.iter().map(|(user, token)| {
            let groups = user.groups.join(",");
            format!("{},{},{},\"{groups}\"\n", token.expose(), user.name, user.name)
        });
        write_private(&files.tokens, &lines.collect::<String>())?;
        write_private(&files.audit_policy, &audit::policy(&config.users).to_string())?;
        Ok(files)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

fn free_port() -> Result<SocketAddr, StartError> {
    // It is closed again and may be taken before the program listens there; nothing can hand it over.
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(StartError::Port)
}

/// A flag whose value is a path.
fn flag(name: &str, path: &Path) -> std::ffi::OsString {
    let mut flag = std::ffi::OsString::from(format!("--{name}="));
    flag.push(path);
    flag
}

fn etcd(config: &ControlPlaneConfig, files: &Files, store: SocketAddr) -> Result<Process, StartError> {
    let program = &config.programs.etcd;
    let mut command = clean(program);
    command
        .arg(flag("data-dir", &files.folder.join("etcd")))
        // Nothing here is to survive.
        .arg("--unsafe-no-fsync")
        .arg(format!("--listen-client-urls=https://{store}"))
        .arg(format!("--advertise-client-urls=https://{store}"))
        .arg("--listen-peer-urls=http://127.0.0.1:0")
        // Whoever reaches it has everything: it is for holders of the run's certificate only.
        .arg("--client-cert-auth")
        .arg(flag("trusted-ca-file", &files.ca))
        .arg(flag("cert-file", &files.certificate))
        .arg(flag("key-file", &files.key));
    Ok(Process::spawn(command, program, &files.log("etcd"))?)
}

fn kube_apiserver(
    config: &ControlPlaneConfig,
    files: &Files,
    store: SocketAddr,
    address: SocketAddr,
) -> Result<Process, StartError> {
    let program = &config.programs.kube_apiserver;
    let mut command = clean(program);
    command
        .arg(format!("--etcd-servers=https://{store}"))
        .arg(flag("etcd-cafile", &files.ca))
        .arg(flag("etcd-certfile", &files.certificate))
        .arg(flag("etcd-keyfile", &files.key))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--secure-port={}", address.port()))
        // Without it an address of the host is looked for, and a confinement has none.
        .arg(format!("--advertise-address={}", address.ip()))
        .arg("--endpoint-reconciler-type=none")
        .arg(flag("cert-dir", &files.folder))
        .arg(flag("tls-cert-file", &files.certificate))
        .arg(flag("tls-private-key-file", &files.key))
        .arg(flag("token-auth-file", &files.tokens))
        .arg(format!("--service-account-issuer=https://{address}"))
        .arg(flag("service-account-key-file", &files.accounts))
        .arg(flag("service-account-signing-key-file", &files.accounts))
        .arg("--service-cluster-ip-range=10.0.0.0/24")
        .arg("--allow-privileged=true")
        .arg("--authorization-mode=Node,RBAC")
        .arg("--enable-admission-plugins=NodeRestriction")
        .arg(flag("audit-policy-file", &files.audit_policy))
        .arg(flag("audit-log-path", &files.audit_log))
        // In MiB, where 0 means 100: it is never to begin anew.
        .arg("--audit-log-maxsize=65536");
    Ok(Process::spawn(command, program, &files.log("kube-apiserver"))?)
}

fn controller_manager(program: &Path, files: &Files, access: &ApiAccess) -> Result<Process, StartError> {
    let kubeconfig = files.folder.join("controller-manager.kubeconfig");
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {
            "server": access.url,
            "certificate-authority-data": STANDARD.encode(&access.ca_pem),
        }}],
        "users": [{"name": "it", "user": {"token": access.token.expose()}}],
    });
    write_private(&kubeconfig, &text.to_string())?;
    let mut command = clean(program);
    command
        .arg(flag("kubeconfig", &kubeconfig))
        .arg(flag("root-ca-file", &files.ca))
        .arg(format!("--controllers={CONTROLLERS}"))
        .arg("--leader-elect=false")
        // It serves metrics only.
        .arg("--secure-port=0");
    Ok(Process::spawn(
        command,
        program,
        &files.log("kube-controller-manager"),
    )?)
}

/// Waits until the API is ready and has the namespaces that it makes itself; answers its version.
async fn ready(
    client: &ApiClient,
    programs: &[Process],
    config: &ControlPlaneConfig,
    until: Instant,
) -> Result<String, StartError> {
    loop {
        let because = match ask(client).await {
            Ok(version) => return Ok(version),
            Err(error) => error.to_string(),
        };
        let named = [&config.programs.kube_apiserver, &config.programs.etcd];
        for (process, program) in programs.iter().zip(named) {
            if let Some(how) = process.exited() {
                process.output().settle().await;
                return Err(StartError::Ended {
                    program: program.clone(),
                    how,
                    last_words: process.output().last_words(),
                    log: process.output().path().to_owned(),
                });
            }
        }
        if Instant::now() > until {
            return Err(StartError::NotReady {
                waited: config.ready,
                because,
                log: config.folder.join("kube-apiserver.log"),
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

async fn ask(client: &ApiClient) -> Result<String, ApiError> {
    // /readyz answers with text; what it waits for beyond the API itself are the roles and namespaces asked for here.
    for path in [
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:service-account-issuer-discovery",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/api/v1/namespaces/kube-system",
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-node-lease",
    ] {
        drop(client.fetch::<Value>(path, None).await?);
    }
    client.ready("/readyz").await?;
    let version: Value = client.fetch("/version", None).await?;
    Ok(version["gitVersion"].as_str().unwrap_or("unknown").to_owned())
}
