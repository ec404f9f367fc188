//! The embedded environment: every part is ours and runs in this process.
//!
//! Each part listens on its own port or socket and is reached over its protocol, just as the real one
//! would be. Nothing but a scratch folder (kubelet's root, with its sockets and mounts) exists
//! outside the process's memory.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_aws_endpoint::{self as aws_endpoint, CallRecord, CallVerdict, Endpoint, EndpointConfig};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    driver::{Driver, DriverConfig, MountKind},
    kubelet::{Clock, Kubelet, KubeletConfig, Timeline},
    kubernetes::{self as kubernetes_api, ApiServer, ApiServerConfig},
    provider::{Provider, ProviderConfig},
    rest::{ApiAccess, BearerToken},
};

use super::{
    CallLog, Defect, DriverDefect, Environment, ExpiredTokens, Fault, KubeletPace, Node, Plant, Trouble,
    access,
    parts::{Parts, Struck},
    planted,
};
use crate::{
    aws::{AdminKey, Aws, AwsAccess},
    generation::DriverGeneration,
    journal::{Component, EnvironmentReady},
    kubernetes::{Kubernetes, KubernetesAccess, KubernetesError, ObjectRef},
    provision::{Ledger, MARKER, Object, Reach},
    secret::Credential,
    tenant::{self, Marks},
};

/// A free port of the loopback interface.
const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// The account, as the seed system's documents have it.
const ACCOUNT: &str = "000000000000";
/// Name of the one node.
const NODE: &str = "mountproof-node";
/// Longest wait for kubelet to register the driver.
const REGISTRATION: Duration = Duration::from_secs(10);
/// Kubelet's deadline of a publish where the driver is planted never to answer one: a real one's 2 minutes
/// would only lengthen the wait for what is known.
const NO_ANSWER: Duration = Duration::from_secs(5);
/// Longest path of a unix socket (`sockaddr_un`), with the final NUL.
const LONGEST_SOCKET: usize = 108;
/// The part of a socket's path below kubelet's root, at its longest.
const SOCKET_BELOW_ROOT: usize = 64;

/// How to start the embedded environment.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Defects to plant.
    pub plants: Vec<Plant>,
    /// Faults to cause.
    pub faults: Vec<Fault>,
    /// Where the Kubernetes API listens; port 0 takes a free one.
    pub kubernetes_listen: SocketAddr,
    /// Where the AWS endpoint listens; port 0 takes a free one.
    pub aws_listen: SocketAddr,
    /// How many times faster than a real kubelet the stand-in waits.
    pub clock: f64,
    /// Requests per second that the provider allows itself to the Kubernetes API.
    pub provider_qps: f64,
    /// `--rotation-poll-interval`.
    pub rotation: Duration,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            plants: Vec::new(),
            faults: Vec::new(),
            kubernetes_listen: ANY_PORT,
            aws_listen: ANY_PORT,
            clock: 20.0,
            provider_qps: 500.0,
            rotation: Duration::from_secs(1),
        }
    }
}

/// The environment could not be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the {part}: {because}")]
pub struct StartError {
    part: &'static str,
    because: String,
}

impl StartError {
    fn of<E: std::fmt::Display>(part: &'static str) -> impl Fn(E) -> Self {
        move |error| Self {
            part,
            because: error.to_string(),
        }
    }

    /// Of a part that listens, with the flag that gives it another address.
    fn of_listener(part: &'static str, flag: &str, address: SocketAddr, source: &io::Error) -> Self {
        let because = match source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{address} is in use; end what listens there (`ss -ltnp` names it), or give another \
                 address with {flag}, such as 127.0.0.1:0 for any free port"
            ),
            _ => format!("{address} cannot be listened on: {source}; give another address with {flag}"),
        };
        Self { part, because }
    }
}

/// Where the embedded environment of a run keeps its sockets and mounts: short, as the paths of
/// sockets are. It must be on record before [`start`] makes it.
#[must_use]
pub fn scratch_folder(run_id: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mountproof-{run_id}"))
}

/// Starts every part, in the order in which they need each other, for the run with these marks.
///
/// What the driver's chart would install (its kinds and the CSIDriver object) is put on record in
/// `ledger` and installed before the driver starts, which waits for it. `struck` hears of every fault
/// as it strikes.
pub async fn start(
    options: &EmbeddedOptions,
    scratch: &Path,
    region: &str,
    seed: u64,
    marks: &Marks,
    ledger: &Ledger,
    struck: Struck,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    prepare(scratch).map_err(|error| StartError {
        part: "environment",
        because: format!(
            "{}: {error}; set TMPDIR to a folder that you can write",
            scratch.display()
        ),
    })?;
    if scratch.as_os_str().len() + SOCKET_BELOW_ROOT > LONGEST_SOCKET {
        return Err(StartError {
            part: "environment",
            because: format!(
                "{} is too long for the sockets below it; set TMPDIR to a shorter one",
                scratch.display()
            ),
        });
    }
    let ca = RunCa::generate(marks.run()).map_err(StartError::of("certificate authority"))?;
    let api = ApiServer::start(ApiServerConfig {
        listen: options.kubernetes_listen,
        ..ApiServerConfig::on_loopback(Arc::clone(&ca))
    })
    .await
    .map_err(|error| match &error {
        kubernetes_api::StartError::Listen { address, source } => {
            StartError::of_listener("Kubernetes API stand-in", "--kubernetes-listen", *address, source)
        }
        _ => StartError::of("Kubernetes API stand-in")(error),
    })?;
    let endpoint = Endpoint::start(EndpointConfig {
        listen: options.aws_listen,
        seed,
        ..EndpointConfig::new(ACCOUNT, &ca)
    })
    .await
    .map_err(|error| match &error {
        aws_endpoint::StartError::Listen { address, source } => {
            StartError::of_listener("AWS endpoint", "--aws-listen", *address, source)
        }
        _ => StartError::of("AWS endpoint")(error),
    })?;
    endpoint.set_defects(planted::endpoint_defects(&options.plants));

    let access = |user: &str| ApiAccess {
        url: api.url(),
        ca_pem: ca.certificate_pem().to_owned(),
        token: BearerToken::new(api.component_token(user).expose()),
    };
    let root = scratch.join("kubelet");
    let providers = scratch.join("providers");
    let kubelet_config = KubeletConfig::new(access(&format!("system:node:{NODE}")), NODE, root.clone());
    let silent = |plant: &Plant| plant.defect() == Defect::Driver(DriverDefect::NeverAnswers);
    let kubelet = Kubelet::start(KubeletConfig {
        region: region.to_owned(),
        clock: Clock::faster(options.clock),
        publish_deadline: if options.plants.iter().any(silent) {
            NO_ANSWER
        } else {
            kubelet_config.publish_deadline
        },
        no_images: options
            .faults
            .iter()
            .any(|fault| fault.trouble == Trouble::KubeletNoImages),
        ..kubelet_config
    })
    .await
    .map_err(StartError::of("kubelet stand-in"))?;
    let provider_config = ProviderConfig::new(
        access("system:serviceaccount:kube-system:csi-secrets-store-provider-aws"),
        providers.clone(),
        ca.certificate_pem().to_owned(),
    );
    let provider = Provider::start(ProviderConfig {
        region: Some(region.to_owned()),
        https_proxy: Some(endpoint.address()),
        qps: options.provider_qps,
        burst: whole(options.provider_qps).max(provider_config.burst),
        ..provider_config
    })
    .map_err(StartError::of("provider stand-in"))?;
    provider.defects().set_for(
        planted::provider_defects(&options.plants),
        planted::times(&options.plants, |defect| matches!(defect, Defect::Provider(_))),
    );
    let kubernetes = Kubernetes::connect(
        &KubernetesAccess {
            url: api.url(),
            trust_pem: ca.certificate_pem().to_owned(),
            token: Credential::new(api.admin_token().expose()),
        },
        marks,
    )
    .await
    .map_err(StartError::of("Kubernetes client"))?;
    install(&kubernetes, marks, ledger).await?;
    let driver_config = DriverConfig::new(
        access("system:serviceaccount:kube-system:secrets-store-csi-driver"),
        NODE,
        &root,
        providers,
    );
    let driver = Driver::start(DriverConfig {
        rotation: Some(options.rotation),
        // A real driver has 20 a second whatever the provider has. They would be the only thing that a
        // load test of ours sees where that has more.
        qps: options.provider_qps.max(driver_config.qps),
        burst: whole(options.provider_qps).max(driver_config.burst),
        ..driver_config
    })
    .await
    .map_err(StartError::of("driver stand-in"))?;
    driver.defects().set_for(
        planted::driver_defects(&options.plants),
        planted::times(&options.plants, |defect| matches!(defect, Defect::Driver(_))),
    );
    await_registration(&kubernetes).await?;

    let aws_access = AwsAccess {
        region: region.to_owned(),
        account: ACCOUNT.to_owned(),
        endpoint: format!("https://{}", endpoint.address()),
        trust_pem: ca.certificate_pem().to_owned(),
        proxy: Some(format!("http://{}", endpoint.address())),
    };
    let root_key = endpoint.root_credentials();
    let key = AdminKey::new(&root_key.access_key_id, root_key.secret_access_key());
    if options.kubernetes_listen.port() != 0 || options.aws_listen.port() != 0 {
        access::write(scratch, &api, &endpoint, region, &ca).map_err(StartError::of("environment"))?;
    }
    let aws = Aws::connect(aws_access, key).map_err(StartError::of("AWS client"))?;
    let issuer = kubernetes
        .issuer()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    let log = Arc::new(EndpointLog {
        calls: endpoint.calls(),
        panics: AtomicBool::new(false),
    });
    let ready = EnvironmentReady {
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        components: components(),
        capabilities: Vec::new(),
        notes: notes(options, driver.mount_kind()),
    };
    let csi_socket = driver.csi_socket().to_owned();
    let pace = Box::new(Pace {
        time: kubelet.time(),
        hurried: Clock::faster(options.clock),
    });
    let parts = Parts::new(kubelet, driver, provider, endpoint, api, Arc::clone(&log));
    let expired = Box::new(Issuer(Arc::clone(&parts)));
    let striking = parts.strike(&options.faults, struck).await;
    Ok(Environment {
        ready,
        reach: Reach::Embedded,
        kubernetes,
        aws,
        issuer,
        node: Node {
            name: NODE.to_owned(),
            csi_socket,
            kubelet_root: root,
        },
        calls: Some(log),
        pace: Some(pace),
        expired: Some(expired),
        stop: Mutex::new(Some(Box::new(move || {
            Box::pin(async move {
                drop(striking);
                parts.stop().await;
            })
        }))),
    })
}

/// What the driver's chart installs.
async fn install(kubernetes: &Kubernetes, marks: &Marks, ledger: &Ledger) -> Result<(), StartError> {
    let mut manifests = tenant::custom_resource_definitions(marks).to_vec();
    manifests.push(tenant::csi_driver(
        marks,
        DriverGeneration::of(mountproof_stand_ins::driver::VERSION),
    ));
    let planned: Vec<Object> = manifests
        .iter()
        .map(|manifest| Object::Kubernetes(ObjectRef::of(manifest)))
        .collect();
    ledger.plan(&planned).map_err(StartError::of("driver stand-in"))?;
    for manifest in &manifests {
        kubernetes
            .create(manifest)
            .await
            .map_err(StartError::of("driver stand-in"))?;
    }
    Ok(())
}

/// Waits until kubelet has the driver: pods that come before it see an event that is none of theirs.
async fn await_registration(kubernetes: &Kubernetes) -> Result<(), StartError> {
    let until = Instant::now() + REGISTRATION;
    loop {
        let nodes = kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await;
        if !nodes
            .map_err(StartError::of::<KubernetesError>("driver stand-in"))?
            .is_empty()
        {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(StartError {
                part: "driver stand-in",
                because: format!("kubelet did not register it within {REGISTRATION:?}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the scratch folder, with the marker that lets `sweep` remove it.
fn prepare(scratch: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Others on the machine have no business with tokens and secrets, mounted or not.
    fs::DirBuilder::new().mode(0o700).create(scratch)?;
    fs::write(
        scratch.join(MARKER),
        "a run of mountproof keeps its sockets and mounts here\n",
    )
}

/// What stands at each seam.
fn components() -> Vec<Component> {
    let part = |seam: &str, name: &str, version: &str, notes: &[&str]| Component {
        seam: seam.to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
        stand_in: true,
        notes: notes.iter().map(|&note| note.to_owned()).collect(),
    };
    vec![
        part(
            "kubernetes",
            "Kubernetes API stand-in",
            "1.36",
            &["RBAC objects are stored, not enforced"],
        ),
        part(
            "kubelet",
            "kubelet stand-in",
            "1.36",
            &["binds pods itself", "containers do not run"],
        ),
        part(
            "driver",
            "driver stand-in",
            "1.6.0",
            &["secretObjects are not synced"],
        ),
        part(
            "provider",
            "provider stand-in",
            "3.1.1",
            &["no SSM parameters", "no Pod Identity"],
        ),
        part(
            "aws",
            "AWS endpoint",
            env!("CARGO_PKG_VERSION"),
            &["IAM enforced", "IAM, STS, Secrets Manager"],
        ),
    ]
}

fn notes(options: &EmbeddedOptions, mount: MountKind) -> Vec<String> {
    let mut notes = vec![
        format!(
            "kubelet's own waits pass {} times faster than a real kubelet's, and at its pace while mounts are measured",
            options.clock
        ),
        match mount {
            MountKind::Tmpfs => "secrets are mounted on tmpfs".to_owned(),
            _ => "secrets are in a private folder: mounting tmpfs is not allowed here".to_owned(),
        },
        format!(
            "the provider allows itself {} requests a second to the Kubernetes API, a real one 5; the driver as many, \
             but no less than a real one's 20",
            options.provider_qps
        ),
        format!("rotation poll interval {:?}", options.rotation),
    ];
    notes.extend(
        options
            .plants
            .iter()
            .map(|plant| format!("planted defect {plant}: {}", plant.what())),
    );
    notes.extend(
        options
            .faults
            .iter()
            .map(|fault| format!("fault {fault}: {}", fault.trouble.what())),
    );
    notes
}

/// The endpoint's log in the words of verdicts.
pub(super) struct EndpointLog {
    calls: aws_endpoint::CallLog,
    panics: AtomicBool,
}

/// The kubelet stand-in's clock.
struct Pace {
    time: Timeline,
    hurried: Clock,
}

impl KubeletPace for Pace {
    fn set_real(&self, real: bool) {
        self.time
            .run_at(if real { Clock::default() } else { self.hurried });
    }
}

/// The Kubernetes stand-in, which has the key that its tokens are signed with.
struct Issuer(Arc<Parts>);

impl ExpiredTokens for Issuer {
    fn token<'a>(&'a self, namespace: &'a str, audience: &'a str) -> BoxFuture<'a, Option<Credential>> {
        async move { self.0.expired_token(namespace, audience).await }.boxed()
    }
}

impl EndpointLog {
    /// From now on reading it panics: see [`Trouble::HarnessPanics`].
    pub(super) fn panic_from_now_on(&self) {
        self.panics.store(true, Ordering::SeqCst);
    }

    fn calls(&self) -> &aws_endpoint::CallLog {
        assert!(
            !self.panics.load(Ordering::SeqCst),
            "the fault {} was asked for",
            Trouble::HarnessPanics.name()
        );
        &self.calls
    }
}

impl CallLog for EndpointLog {
    fn cursor(&self) -> u64 {
        self.calls().cursor()
    }

    fn since(&self, cursor: u64) -> Vec<crate::verdict::denial::Call> {
        self.calls().since(cursor).into_iter().map(call).collect()
    }

    fn forgotten(&self) -> u64 {
        self.calls().forgotten()
    }
}

fn call(record: CallRecord) -> crate::verdict::denial::Call {
    crate::verdict::denial::Call {
        allowed: record.verdict == CallVerdict::Allowed,
        action: record.action(),
        role: record.role.as_deref().map(str::to_owned),
        principal: record.principal.as_deref().map(str::to_owned),
        subject: record.subject,
        asked: record.asked,
        resource: record.resource,
        error: record.error,
        statement: record.statement.map(|statement| statement.to_string()),
        reason: record.reason,
    }
}

fn whole(rate: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and the cast saturates"
    )]
    let whole = rate.ceil() as u32;
    whole
}
