//! The environments on this machine: `embedded`, in which every part is ours and runs in this process, and `host`, in
//! which driver and provider are programs of a release.
//!
//! Each part listens on its own port or socket and is reached over its protocol, just as the real one
//! would be. Nothing but a scratch folder (kubelet's root, with its sockets and mounts) exists
//! outside the process's memory; in `host` that folder is in a confinement which goes with the process.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    driver::DriverConfig,
    kubelet::{Clock, Kubelet, KubeletConfig, KubeletHand, Timeline},
    programs::control_plane::ControlPlanePrograms,
    provider::ProviderConfig,
    rest::{ApiAccess, BearerToken},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    AwsOptions, Defect, DriverDefect, Environment, EnvironmentOptions, ExpiredTokens, Fault, KubeletPace,
    Node, Plant, Release, Republish, Struck, Trouble, WORKLOAD_IMAGE, access,
    aws_side::AwsSide,
    call_counts::LocalCounts,
    control_plane::{DRIVER, KubernetesPart, PROVIDER, SCHEDULER},
    described, fault,
    node::{DriverPart, ProviderPart},
    parts::{Parts, ProviderFolders},
    pod_identity::PodIdentityPart,
};
use crate::{
    generation::DriverGeneration,
    journal::EnvironmentReady,
    kubernetes::{Identity, Kubernetes, KubernetesAccess, KubernetesError, ObjectRef},
    provision::{KubernetesIn, Ledger, MARKER, Object},
    secret::Credential,
    tenant::{self, Marks},
};

/// A free port of the loopback interface.
pub(super) const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// The account, as the seed system's documents have it.
pub(super) const ACCOUNT: &str = "000000000000";
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

/// How to start an environment on this machine.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Defects to plant.
    pub plants: Vec<Plant>,
    /// Faults to cause.
    pub faults: Vec<Fault>,
    /// Where the Kubernetes API listens; port 0 takes a free one.
    pub kubernetes_listen: SocketAddr,
    /// Where the AWS endpoint listens; port 0 takes a free one.
    pub aws_listen: SocketAddr,
    /// What keeps the secrets.
    pub aws: AwsOptions,
    /// How many times faster than a real kubelet the stand-in waits.
    pub clock: f64,
    /// Requests per second that the provider allows itself to the Kubernetes API.
    pub provider_qps: f64,
    /// `--rotation-poll-interval`.
    pub rotation: Duration,
    /// Releases in the places of the stand-ins: the environment is `host` then, and this process is confined.
    pub programs: Option<Programs>,
    /// A real control plane in the place of the Kubernetes stand-in: this process is confined then, too, and the confinement
    /// ends its programs however this process ends.
    pub control_plane: Option<ControlPlanePrograms>,
    /// Whether it is to be a cluster of EKS's, for Pod Identity.
    pub pod_identity: bool,
    /// What else a report should say of this environment.
    pub notes: Vec<String>,
}

/// Driver and provider of a release, as programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Programs {
    /// The driver.
    pub driver: Release,
    /// The provider.
    pub provider: Release,
}

impl LocalOptions {
    /// `embedded` or `host`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.programs {
            None => "embedded",
            Some(_) => "host",
        }
    }
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            plants: Vec::new(),
            faults: Vec::new(),
            kubernetes_listen: ANY_PORT,
            aws_listen: ANY_PORT,
            aws: AwsOptions::default(),
            clock: 20.0,
            provider_qps: 500.0,
            rotation: Duration::from_secs(1),
            programs: None,
            control_plane: None,
            pod_identity: false,
            notes: Vec::new(),
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
    pub(super) fn of<E: std::fmt::Display>(part: &'static str) -> impl Fn(E) -> Self + Copy {
        move |error| Self {
            part,
            because: error.to_string(),
        }
    }

    /// Of a part that listens, with the flag that gives it another address.
    pub(super) fn of_listener(
        part: &'static str,
        flag: &str,
        address: SocketAddr,
        source: &io::Error,
    ) -> Self {
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
/// sockets are. It must be on record before `start` makes it.
#[must_use]
pub fn scratch_folder(run_id: &str, options: &EnvironmentOptions) -> PathBuf {
    let folder = match options {
        // The confinement's own, which goes with it.
        EnvironmentOptions::Local(local) if local.programs.is_some() || local.control_plane.is_some() => {
            PathBuf::from("/run")
        }
        _ => std::env::temp_dir(),
    };
    folder.join(format!("mountproof-{run_id}"))
}

/// Where programs write what they say, below the scratch folder: a file each.
#[must_use]
pub fn logs_folder(scratch: &Path) -> PathBuf {
    scratch.join("logs")
}

/// Starts every part, in the order in which they need each other, for the run with these marks.
///
/// What the driver's chart would install (its kinds and the CSIDriver object) is put on record in
/// `ledger` and installed: the kinds before the driver starts, which waits for them, the object when its version is
/// known. `struck` hears of every fault
/// as it strikes.
pub(super) async fn start(
    options: &LocalOptions,
    scratch: &Path,
    region: &str,
    seed: u64,
    marks: &Marks,
    ledger: &Ledger,
    struck: Struck,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    options.aws.check().await?;
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
    let node_user = format!("system:node:{NODE}");
    let api = KubernetesPart::start(options, &ca, &node_user, &scratch.join("control-plane")).await?;
    let behind = options.aws.behind(marks, ledger).await?;
    let aws_side = AwsSide::start(behind, options.aws_listen, &ca, seed, &options.plants).await?;

    let access = |user: &str| -> Result<ApiAccess, StartError> {
        Ok(ApiAccess {
            url: api.url(),
            ca_pem: ca.certificate_pem().to_owned(),
            token: BearerToken::new(api.component_token(user)?.expose()),
        })
    };
    let root = scratch.join("kubelet");
    // As the chart has them: one below /var/run, and one below /etc that is looked in first.
    let folders = ProviderFolders {
        first: scratch.join("providers"),
        other: scratch.join("providers-additional"),
    };
    let logs = logs_folder(scratch);
    fs::create_dir(&logs).map_err(StartError::of("environment"))?;
    let kubelet_config = KubeletConfig::new(access(&node_user)?, NODE, root.clone());
    let silent = |plant: &Plant| plant.defect() == Defect::Driver(DriverDefect::NeverAnswers);
    let kubelet = Kubelet::start(KubeletConfig {
        scheduler: Some(access(SCHEDULER)?),
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
    let pod_identity = if options.pod_identity {
        Some(PodIdentityPart::start(options, &aws_side, &ca, region, marks).await?)
    } else {
        None
    };
    let provider_config = ProviderConfig::new(
        access(PROVIDER)?,
        folders.first.clone(),
        ca.certificate_pem().to_owned(),
    );
    let provider_config = ProviderConfig {
        region: Some(region.to_owned()),
        https_proxy: Some(aws_side.address()),
        qps: options.provider_qps,
        burst: whole(options.provider_qps).max(provider_config.burst),
        pod_identity_agents: pod_identity
            .as_ref()
            .map_or(provider_config.pod_identity_agents, PodIdentityPart::addresses),
        ..provider_config
    };
    let provider_limit = (provider_config.qps, provider_config.burst);
    let provider = ProviderPart::start(options, provider_config, &logs).await?;
    let kubernetes = Kubernetes::connect(
        &KubernetesAccess::new(
            api.url(),
            ca.certificate_pem(),
            Identity::Token(api.admin_token()),
        ),
        marks,
    )
    .await
    .map_err(StartError::of("Kubernetes client"))?;
    install(&kubernetes, &tenant::custom_resource_definitions(marks), ledger).await?;
    let driver_config = DriverConfig::new(access(DRIVER)?, NODE, &root, folders.first.clone());
    let driver_config = DriverConfig {
        additional_providers_dirs: vec![folders.other.clone()],
        rotation: Some(options.rotation),
        // A real driver has 20 a second whatever the provider has. They would be the only thing that a
        // load test of ours sees where that has more.
        qps: options.provider_qps.max(driver_config.qps),
        burst: whole(options.provider_qps).max(driver_config.burst),
        // Likewise, as kubelet's waits are.
        owners_every: driver_config
            .owners_every
            .div_f64(Clock::faster(options.clock).factor().max(1.0)),
        ..driver_config
    };
    let csi_socket = driver_config.csi_socket.clone();
    let driver_limit = (driver_config.qps, driver_config.burst);
    let driver = DriverPart::start(options, driver_config, &logs).await?;
    // Which chart it comes with depends on its version, and that is its own to tell.
    let generation = DriverGeneration::of(&driver.component(options).version);
    install(&kubernetes, &[tenant::csi_driver(marks, generation)], ledger).await?;
    await_registration(&kubernetes).await?;

    if options.kubernetes_listen.port() != 0 || options.aws_listen.port() != 0 {
        access::write(scratch, &api, &aws_side, region, &ca).map_err(StartError::of("environment"))?;
    }
    let aws = aws_side.administrator(&ca, region)?;
    let issuer = kubernetes
        .issuer()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    if let Some(pods) = &pod_identity {
        let at = (api.url(), ca.certificate_pem());
        pods.furnish(at, &kubernetes, &aws_side, &aws, marks, ledger)
            .await?;
    }
    let counts = LocalCounts {
        calls: aws_side.calls(),
        requests: api.requests(),
    };
    let ready = EnvironmentReady {
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        components: described::components(
            options,
            api.component(),
            &driver,
            &provider,
            pod_identity.as_ref(),
            &aws_side,
        ),
        capabilities: Vec::new(),
        notes: described::notes(options, driver.mount_kind()),
        installed: None,
    };
    let pace = Box::new(Pace {
        time: kubelet.time(),
        hurried: Clock::faster(options.clock),
    });
    let limits = vec![
        provider.bucket(options, provider_limit.0, provider_limit.1),
        driver.bucket(driver_limit.0, driver_limit.1),
    ];
    let kubelet_hand = Hand(kubelet.hand());
    let workload_controllers = api.has_controllers();
    let eks_cluster = pod_identity.as_ref().map(|pods| pods.cluster.clone());
    let pod_identity_agent = pod_identity
        .as_ref()
        .map(|_| "the agent stand-in on the node".to_owned());
    let parts = Parts::new(
        kubelet,
        driver,
        provider,
        pod_identity,
        Arc::clone(&aws_side),
        api,
        folders,
    );
    let expired = Box::new(Issuer(Arc::clone(&parts)));
    let striking = fault::strike(&parts, &options.faults, struck).await;
    Ok(Environment {
        programs: Some(Arc::clone(&parts) as _),
        control: Some(Arc::clone(&parts) as _),
        aws_faults: Some(Arc::clone(&aws_side) as _),
        ready,
        reach: options.aws.reach(region),
        kubernetes_in: KubernetesIn::Process,
        kubernetes,
        aws,
        logs: Some(Arc::clone(&parts) as _),
        node_logs: None,
        rotation: Some(options.rotation),
        republish: Some(Box::new(kubelet_hand)),
        failover_region: Some(failover_region(region).to_owned()),
        issuer,
        eks_cluster,
        pod_identity_agent,
        workload_image: WORKLOAD_IMAGE.to_owned(),
        nodes: vec![Node {
            name: NODE.to_owned(),
            csi_socket: Some(csi_socket),
            agent: None,
            kubelet_root: Some(root),
        }],
        no_agent: None,
        calls: Some(aws_side.log()),
        counts: Some(Arc::new(counts)),
        limits,
        pace: Some(pace),
        expired: Some(expired),
        workload_controllers,
        room: None,
        upgrade: None,
        lacks: Vec::new(),
        stop: Mutex::new(Some(Box::new(move || {
            Box::pin(async move {
                drop(striking);
                parts.stop().await;
            })
        }))),
    })
}

/// Makes what the driver's chart installs, once it is on record.
pub(super) async fn install(
    kubernetes: &Kubernetes,
    manifests: &[Value],
    ledger: &Ledger,
) -> Result<(), StartError> {
    let planned: Vec<Object> = manifests
        .iter()
        .map(|manifest| Object::Kubernetes(ObjectRef::of(manifest)))
        .collect();
    ledger.plan(&planned).map_err(StartError::of("driver"))?;
    for manifest in manifests {
        kubernetes
            .create(manifest)
            .await
            .map_err(StartError::of("driver"))?;
    }
    Ok(())
}

/// Waits until kubelet has the driver: pods that come before it see an event that is none of theirs.
async fn await_registration(kubernetes: &Kubernetes) -> Result<(), StartError> {
    let until = Instant::now() + REGISTRATION;
    loop {
        let nodes = kubernetes.nodes_with_driver(tenant::CSI_DRIVER).await;
        if !nodes
            .map_err(StartError::of::<KubernetesError>("driver"))?
            .is_empty()
        {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(StartError {
                part: "driver",
                because: format!("kubelet did not register it within {REGISTRATION:?}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes the scratch folder, with the marker that lets `sweep` remove it.
pub(super) fn prepare(scratch: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // Others on the machine have no business with tokens and secrets, mounted or not.
    fs::DirBuilder::new().mode(0o700).create(scratch)?;
    fs::write(
        scratch.join(MARKER),
        "a run of mountproof keeps its sockets and mounts here\n",
    )
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

/// Kubelet, told to publish again.
struct Hand(KubeletHand);

impl Republish for Hand {
    fn republish<'a>(&'a self, pod_uid: &'a str) -> BoxFuture<'a, Result<(), String>> {
        self.0.republish(pod_uid).boxed()
    }
}

/// The Kubernetes stand-in, which has the key that its tokens are signed with.
struct Issuer(Arc<Parts>);

impl ExpiredTokens for Issuer {
    fn token<'a>(&'a self, namespace: &'a str, audience: &'a str) -> BoxFuture<'a, Option<Credential>> {
        async move { self.0.expired_token(namespace, audience).await }.boxed()
    }
}

/// The second region of a run. The endpoint has every region that is asked for.
pub(super) fn failover_region(region: &str) -> &'static str {
    if region == "us-west-2" {
        "us-east-1"
    } else {
        "us-west-2"
    }
}

pub(super) fn whole(rate: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive, and the cast saturates"
    )]
    let whole = rate.ceil() as u32;
    whole
}
