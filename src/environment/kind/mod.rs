//! The environment `kind`: a real cluster in containers of this machine, made by `kind`, with driver and provider on its
//! nodes, and the AWS endpoint in this process, which pods reach at the address that Docker's network has on the host.
//!
//! ```text
//! pod ─► kubelet ─► driver ─► provider ──HTTPS_PROXY──► endpoint (this process) [─► LocalStack]
//! └─────────── containers of kind ──────────┘
//! ```
//!
//! What the cluster holds goes with it. The cluster is on record before it is made: `sweep` deletes what a killed run left.

mod agent;
mod cluster;
mod config;
mod doctor;
mod kept;
mod life;
mod node_logs;
mod planned;
mod program;
mod room;
mod up;
mod watch;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use mountproof_releases::Part;
use mountproof_run_tls::RunCa;

pub(super) use self::life::keep;
use self::{cluster::Cluster, life::Obtained, node_logs::KindNodeLogs, program::Kind, watch::Watch};
pub use self::{
    doctor::{Found, look},
    kept::{DEFAULT_NAME, Images, KeptCluster, KeptClusters, Stage, Why, checked_name},
    life::{Down, DownError, Stay, down, reach_kept},
    program::KindError,
    up::{Up, up},
};
use super::{
    AwsOptions, Environment, Fault, Heard, Needs, Node, Plant, StartError,
    aws_side::AwsSide,
    control::{Control, Processes},
    daemon_logs::DaemonLogs,
    described, fault,
    installation::{self, AwsWay, Installation, InstallationOptions, Upgrade},
    local::{failover_region, prepare},
    progress, standing,
};
use crate::{
    journal::{Component, EnvironmentReady},
    kubernetes::{Kubernetes, KubernetesAccess},
    provision::{KubernetesIn, Ledger},
    scenario::capability::SECRET_SYNC,
    tenant::Marks,
};

/// How to stand up a cluster.
#[derive(Debug, Clone, Default)]
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
    /// What comes in the place of both in the middle of the run.
    pub then: Option<InstallationOptions>,
    /// What keeps the secrets.
    pub aws: AwsOptions,
    /// Defects to plant, of AWS.
    pub plants: Vec<Plant>,
    /// Faults to cause, of AWS.
    pub faults: Vec<Fault>,
    /// Image of the agent; `None` makes one of this program.
    pub agent: Option<String>,
    /// What becomes of the cluster.
    pub stay: Stay,
    /// Image of workloads; `None` is that of the nodes' own sandboxes.
    pub workload_image: Option<String>,
    /// What the run's cases need of the nodes.
    pub needs: Needs,
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
    heard: Heard,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    let Heard { struck, told } = heard;
    let told = &told;
    let options = &room::enough(options)?;
    options.aws.check().await?;
    prepare(scratch).map_err(StartError::of("environment"))?;
    // What cannot be installed needs no cluster.
    let mut prepared = installation::prepare(&options.installation, scratch).await?;
    let then = match &options.then {
        Some(then) => Some(installation::prepare(then, scratch).await?),
        None => None,
    };
    let kind = Kind::find(options.program.as_deref())
        .await
        .map_err(StartError::of("kind cluster"))?;
    // Made while the cluster comes up.
    let agent = agent::Preparing::begin(options, scratch);
    // Both to their ends, whichever fails: what is half made is removed by its name.
    let (obtained, behind) = tokio::join!(
        life::obtain(&kind, options, marks.run(), ledger, scratch, told),
        options.aws.behind(marks, ledger)
    );
    let (Obtained { cluster, kept }, behind) = (obtained?, behind?);
    let kubernetes_in = options.stay.kubernetes_in();
    if let KubernetesIn::KeptCluster(name) = &kubernetes_in {
        ledger.within(name).map_err(StartError::of("kind cluster"))?;
    }
    // From here on its nodes should be there.
    let watch = Watch::begin(cluster.name(), cluster.nodes());

    let ca = RunCa::generate(marks.run()).map_err(StartError::of("certificate authority"))?;
    // The host's own address on the nodes' network: pods reach it, and nobody outside this machine.
    let listen = SocketAddr::new(cluster.host_address(), 0);
    let aws_side = AwsSide::start(behind, listen, &ca, seed, &options.plants).await?;

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
    aws_side.host_issuer(&issuer, &keys);

    let way = AwsWay {
        proxy: format!("http://{}", aws_side.address()),
        trust_pem: ca.certificate_pem().to_owned(),
        region: region.to_owned(),
    };
    // Providers before 1.0.0 find it nowhere else.
    standing::tell_region(&kubernetes, cluster.nodes(), region)
        .await
        .map_err(StartError::of("kind cluster"))?;
    let version = kubernetes
        .version()
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    if let Some(had) = kept.as_ref().and_then(|kept| kept.record.images.as_ref()) {
        let installation = had.unless_asked(&options.installation);
        prepared = installation::prepare(&installation, scratch).await?;
    }
    let (installation, stand_ins) = if let Some(kept) = &kept {
        life::vacant(&kubernetes, cluster.name()).await?;
        let marks = Marks::of_run(cluster.name());
        let installation = prepared.finish(&version, &marks, Some(&way)).await?;
        let nodes = up::Nodes {
            kind: &kind,
            cluster: &cluster,
            kubernetes: &kubernetes,
            kept,
        };
        let stand_ins = nodes
            .furnish(&installation, &prepared.archives, marks.run(), scratch, told)
            .await?;
        (installation, stand_ins)
    } else {
        let installation = prepared.finish(&version, marks, Some(&way)).await?;
        let stand_ins = cluster
            .load_all(&kind, &installation, &prepared.archives, scratch, told)
            .await
            .map_err(StartError::of("kind cluster"))?;
        let stage = progress::Stage::begin(told, "driver", "installing");
        installation::install(&kubernetes, ledger, &installation).await?;
        installation::await_ready(&kubernetes, &installation, stage).await?;
        (installation, stand_ins)
    };
    let upgrade = match &then {
        None => None,
        Some(then) => {
            let to = then.finish(&version, marks, Some(&way)).await?;
            let loaded = cluster.load_all(&kind, &to, &then.archives, scratch, told).await;
            loaded.map_err(StartError::of("kind cluster"))?;
            Some(Upgrade::new(installation.clone(), to))
        }
    };
    let installed = installation::observed(&kubernetes, &installation).await;
    let installed = installed.map_err(StartError::of("Kubernetes client"))?;
    let no_sync = installation::no_sync(&kubernetes, &installation.driver).await;
    let no_sync = no_sync.map_err(StartError::of("Kubernetes client"))?;
    let lacks = no_sync.map(|lacking| (SECRET_SYNC, lacking.to_string()));
    let workload_image = room::made(&kubernetes, &kind, &cluster, options, (marks, ledger), scratch).await?;
    let mut nodes = cluster.nodes().to_vec();
    let no_agent = agent
        .install(&kubernetes, &kind, &cluster, &mut nodes, scratch, told)
        .await;

    let control = Control::of(&kubernetes, &installation, Processes::Here);
    let mut namespaces: Vec<&str> = Part::ALL
        .iter()
        .filter_map(|part| installation.of(*part).daemon_set.namespace.as_deref())
        .collect();
    namespaces.push(super::agent::NAMESPACE);
    namespaces.dedup();
    kubernetes.watch_nodes(&namespaces);

    let aws = aws_side.administrator(&ca, region)?;
    let ready = EnvironmentReady {
        took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
        components: components(
            &kind,
            &cluster,
            &version,
            &installation,
            &stand_ins,
            (&aws_side, &way),
        ),
        capabilities: Vec::new(),
        notes: notes(options, &cluster),
        installed: Some(installed),
    };
    let striking = fault::strike(&aws_side, &options.faults, struck).await;
    Ok(Environment {
        programs: Some(Arc::new(watch)),
        control: Some(Arc::new(control)),
        aws_faults: Some(Arc::clone(&aws_side) as _),
        logs: Some(Arc::new(DaemonLogs::of(kubernetes.pod_logs()))),
        node_logs: Some(Arc::new(KindNodeLogs)),
        rotation: Some(options.installation.rotation),
        republish: None,
        failover_region: Some(failover_region(region).to_owned()),
        counts: None,
        ready,
        reach: options.aws.reach(region),
        kubernetes_in,
        kubernetes,
        aws,
        issuer,
        eks_cluster: None,
        pod_identity_agent: None,
        workload_image,
        nodes,
        no_agent,
        calls: Some(aws_side.log()),
        limits: Vec::new(),
        pace: None,
        expired: None,
        workload_controllers: true,
        room: None,
        upgrade,
        lacks: lacks.into_iter().collect(),
        stop: Mutex::new(Some(Box::new(move || {
            // The cluster is on record, and goes as a whole; or it is kept, and is somebody else's to use from then on.
            Box::pin(async move {
                drop(striking);
                aws_side.stop().await;
                drop(kept);
            })
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
    cluster::delete(&Kind::find(program).await?, cluster).await?;
    // One that was to be kept and never stood.
    let forgotten = KeptClusters::of_this_user().forget(cluster);
    forgotten.map_err(|error| KindError::Failed {
        what: "forgetting the cluster".to_owned(),
        said: error.to_string(),
        help: "",
    })
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
    (aws, way): (&AwsSide, &AwsWay),
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
        aws.component(Some(way.reached())),
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
    notes.extend(described::trouble(&options.plants, &options.faults));
    notes
}
