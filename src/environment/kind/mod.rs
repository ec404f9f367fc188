//! The environment `kind`: a real cluster in containers of this machine, made by `kind`, with driver and provider on its
//! nodes, and the AWS endpoint in this process, which pods reach at the address that Docker's network has on the host.
//!
//! ```text
//! pod ─► kubelet ─► driver ─► provider ──HTTPS_PROXY──► endpoint (this process) [─► LocalStack]
//! └─────────── containers of kind ──────────┘
//! ```
//!
//! What the cluster holds goes with it. The cluster is on record before it is made: `sweep` deletes what a killed run left.

mod cluster;
mod config;
mod program;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use mountproof_aws_endpoint::{Endpoint, EndpointConfig};
use mountproof_releases::Part;
use mountproof_run_tls::RunCa;

pub use self::program::KindError;
use self::{cluster::Cluster, program::Kind};
use super::{
    Environment, Node, StartError,
    call_log::EndpointLog,
    installation::{self, AwsWay, Installation, InstallationOptions},
    local::{ACCOUNT, administrator, failover_region, prepare},
};
use crate::{
    journal::{Component, EnvironmentReady},
    kubernetes::{Kubernetes, KubernetesAccess},
    provision::{Ledger, Object, Reach},
    tenant::Marks,
};

/// How to stand up a cluster.
#[derive(Debug, Clone)]
pub struct KindOptions {
    /// The program `kind`; `None` looks in `PATH`.
    pub program: Option<PathBuf>,
    /// Image of the nodes; `None` is kind's own choice.
    pub image: Option<String>,
    /// A configuration of kind's, in the place of one with a control plane and so many workers.
    pub config: Option<PathBuf>,
    /// Workers beside the control plane.
    pub workers: u32,
    /// Kubelet's limit of pods on a node; `None` is its own 110.
    pub max_pods: Option<u32>,
    /// Driver and provider.
    pub installation: InstallationOptions,
    /// What else a report should say of this environment.
    pub notes: Vec<String>,
}

/// Name of the cluster of a run, which is the name of its containers too.
pub(super) fn name(run_id: &str) -> String {
    format!("mountproof-{run_id}")
}

/// Stands up the cluster of the run with these marks, puts driver and provider on its nodes, and hands it over.
///
/// The cluster is put on record before it is made.
pub(super) async fn start(
    options: &KindOptions,
    scratch: &Path,
    region: &str,
    seed: u64,
    marks: &Marks,
    ledger: &Ledger,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    prepare(scratch).map_err(StartError::of("environment"))?;
    // What cannot be installed needs no cluster.
    let prepared = installation::prepare(&options.installation, scratch).await?;
    let kind = Kind::find(options.program.as_deref())
        .await
        .map_err(StartError::of("kind cluster"))?;
    let record = Object::KindCluster(name(marks.run()));
    ledger.plan(&[record]).map_err(StartError::of("kind cluster"))?;
    let cluster = Cluster::create(&kind, &name(marks.run()), options, scratch)
        .await
        .map_err(StartError::of("kind cluster"))?;

    let ca = RunCa::generate(marks.run()).map_err(StartError::of("certificate authority"))?;
    let endpoint = Endpoint::start(EndpointConfig {
        // The host's own address on the nodes' network: pods reach it, and nobody outside this machine.
        listen: SocketAddr::new(cluster.host_address(), 0),
        seed,
        ..EndpointConfig::new(ACCOUNT, &ca)
    })
    .await
    .map_err(StartError::of("AWS endpoint"))?;

    let kubernetes = Kubernetes::connect(&access(&cluster)?, marks)
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    let issuer = kubernetes
        .issuer()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    let keys = kubernetes
        .issuer_keys()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    // It has a name that only pods can resolve.
    endpoint.host_issuer(&issuer, &keys);

    let version = kubernetes
        .version()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    let way = AwsWay {
        proxy: format!("http://{}", endpoint.address()),
        trust_pem: ca.certificate_pem().to_owned(),
        region: region.to_owned(),
    };
    let installation = prepared.finish(&version, marks, Some(&way)).await?;
    let stand_ins = cluster
        .load_all(&kind, &installation, &prepared.archives)
        .await
        .map_err(StartError::of("kind cluster"))?;
    installation::install(&kubernetes, ledger, &installation).await?;
    installation::await_ready(&kubernetes, &installation).await?;
    let installed = installation::observed(&kubernetes, &installation).await;
    let installed = installed.map_err(StartError::of("Kubernetes client"))?;

    let aws = administrator(&endpoint, &ca, region)?;
    let log = Arc::new(EndpointLog::of(endpoint.calls()));
    let ready = EnvironmentReady {
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        components: components(&kind, &cluster, &version, &installation, &stand_ins),
        capabilities: Vec::new(),
        notes: notes(options, &cluster),
        installed: Some(installed),
    };
    let nodes = cluster.nodes().to_vec();
    Ok(Environment {
        programs: None,
        control: None,
        aws_faults: None,
        logs: None,
        rotation: Some(options.installation.rotation),
        republish: None,
        failover_region: Some(failover_region(region).to_owned()),
        counts: None,
        ready,
        reach: Reach::Embedded,
        kubernetes,
        aws,
        issuer,
        nodes,
        calls: Some(log),
        limits: Vec::new(),
        pace: None,
        expired: None,
        workload_controllers: true,
        stop: Mutex::new(Some(Box::new(move || {
            // The cluster is on record, and goes when everything in it has gone.
            Box::pin(endpoint.stop())
        }))),
    })
}

/// Deletes the cluster of a run that is on record; one that is not there is no error. `program` is `kind`, where it is not
/// in `PATH`.
///
/// # Errors
///
/// When `kind` cannot, with what to do.
pub async fn remove(cluster: &str, program: Option<&Path>) -> Result<(), KindError> {
    let kind = Kind::find(program).await?;
    // kind takes the cluster out of a kubeconfig: of none here, for it was in none but the run's own.
    let nowhere = std::env::temp_dir().join(format!("{cluster}.kubeconfig"));
    let gone = kind.delete(cluster, &nowhere).await;
    let _ = std::fs::remove_file(nowhere);
    gone
}

/// Writes the logs of a cluster's nodes into `folder`.
///
/// # Errors
///
/// When `kind` cannot.
pub(super) async fn export_logs(
    cluster: &str,
    program: Option<&Path>,
    folder: &Path,
) -> Result<(), KindError> {
    Kind::find(program).await?.logs(cluster, folder).await
}

fn access(cluster: &Cluster) -> Result<KubernetesAccess, StartError> {
    let text = std::fs::read_to_string(cluster.kubeconfig()).map_err(StartError::of("kind cluster"))?;
    KubernetesAccess::of_kubeconfig(&text).map_err(|because| {
        StartError::of("kind cluster")(format!("kind's kubeconfig is of no use: {because}"))
    })
}

/// What stands at each seam; `stand_ins` has the images of our own.
fn components(
    kind: &Kind,
    cluster: &Cluster,
    version: &str,
    installation: &Installation,
    stand_ins: &BTreeSet<String>,
) -> Vec<Component> {
    let component = |seam: &str, name: &str, version: &str, notes: Vec<String>| Component {
        seam: seam.to_owned(),
        name: name.to_owned(),
        version: version.trim_start_matches('v').to_owned(),
        stand_in: false,
        notes,
    };
    let part = |part: Part| {
        let placed = installation.of(part);
        let mut notes = vec![format!("by {}", placed.origin)];
        notes.extend(placed.remarks.iter().cloned());
        Component {
            stand_in: stand_ins.contains(&placed.image),
            ..component(part.name(), &placed.image, &placed.version, notes)
        }
    };
    vec![
        component(
            "kubernetes",
            "kind",
            version,
            vec![format!("kind {}, image {}", kind.version(), cluster.image())],
        ),
        component(
            "kubelet",
            "kubelet",
            version,
            vec![format!("{} nodes", cluster.nodes().len())],
        ),
        part(Part::Driver),
        part(Part::Provider),
        Component {
            stand_in: true,
            ..component(
                "aws",
                "AWS endpoint",
                env!("CARGO_PKG_VERSION"),
                vec!["IAM enforced".to_owned(), "IAM, STS, Secrets Manager".to_owned()],
            )
        },
    ]
}

fn notes(options: &KindOptions, cluster: &Cluster) -> Vec<String> {
    let mut notes = vec![
        format!(
            "the endpoint is at the host's address on Docker's network, {}",
            cluster.host_address()
        ),
        format!("rotation poll interval {:?}", options.installation.rotation),
    ];
    notes.extend(options.notes.iter().cloned());
    notes
}
