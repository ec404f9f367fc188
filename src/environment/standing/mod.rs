//! What `cluster` and `eks` share once a cluster is there: driver and provider found or installed, problems named before
//! anything runs, everything on record, the agent, and the [`Environment`] of all that.
//!
//! ```text
//! prepare ─► (a cluster, whoever made it) ─► preflight ─► environment
//! files and charts at hand                   look, judge   found: used as it is, or installed, on record one by one
//! ```
//!
//! The cluster stays, with everything in it that is not the run's. What is found there is never changed unless that was asked
//! for. What the run makes carries its label, is on record before it is made, and goes after everything that mounts by it.

mod asked;
mod doctor;
mod judge;
mod look;
mod made;
mod programs;
mod region;
mod rights;
mod seen;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mountproof_releases::Part;

pub(super) use self::{doctor::doctor, look::look, region::tell as tell_region};
pub use self::{
    judge::{Choice, Judgement, Problem, Wanted, judge},
    rights::{Does, Right, cluster_role, required_rights, role_of_sweeps},
    seen::{Managed, SeenCsiDriver, SeenNode, SeenPart, Sighting},
};
use super::{
    Environment, Fault, Heard, Needs, Node, Plant, StartError, WORKLOAD_IMAGE,
    aws_side::AwsSide,
    control::{Control, Processes},
    daemon_logs::DaemonLogs,
    described, fault,
    installation::{self, AwsWay, InstallationOptions, Placed, Prepared, Upgrade},
    placement, progress,
};
use crate::{
    aws::Aws,
    journal::{Component, EnvironmentReady},
    kubernetes::{Kubernetes, KubernetesError, sandbox_image},
    provision::{KubernetesIn, Ledger, Reach},
    report::figure,
    scenario::capability::SECRET_SYNC,
    tenant::Marks,
};

/// What is asked of any cluster that is there.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
pub struct SharedOptions {
    /// Driver and provider, where they are installed.
    pub installation: InstallationOptions,
    /// Whether what is missing is installed: with `--install`, or a flag that says what.
    pub install: bool,
    /// Whether what is there may be replaced for the run, and is put back after it.
    pub replace_driver: bool,
    /// What comes in the place of both in the middle of the run, where both are the run's.
    pub then: Option<InstallationOptions>,
    /// Image of the agent; without one there is none on the nodes.
    pub agent: Option<String>,
    /// Image of workloads; `None` is that of the nodes' own sandboxes, or a pause image that they can pull.
    pub workload_image: Option<String>,
    /// What the run's cases need of the nodes.
    pub needs: Needs,
    /// Namespaces that the run will make: none of them may be there.
    pub namespaces: Vec<String>,
    /// Whether credentials are to come by IAM roles for `ServiceAccount`s.
    pub irsa: bool,
    /// Whether they are to come by Pod Identity.
    pub pod_identity: bool,
    /// Defects to plant, of an AWS that is the run's.
    pub plants: Vec<Plant>,
    /// Faults to cause, likewise.
    pub faults: Vec<Fault>,
    /// What else a report should say of this environment.
    pub notes: Vec<String>,
}

impl SharedOptions {
    /// Driver and provider, where they are installed.
    #[must_use]
    pub fn installs(&self) -> Option<&InstallationOptions> {
        (self.install || self.replace_driver).then_some(&self.installation)
    }

    /// The driver's rotation interval, as far as it is known before anybody has looked.
    #[must_use]
    pub fn rotation(&self) -> Duration {
        if self.install || self.replace_driver {
            self.installation.rotation
        } else {
            judge::OWN_INTERVAL
        }
    }

    /// As the cluster is judged by; `aws_is_ours` where AWS is an endpoint of the run's.
    #[must_use]
    pub fn wanted(&self, aws_is_ours: bool) -> Wanted {
        Wanted {
            install: self.install,
            replace: self.replace_driver,
            driver_named: self.installation.driver.asked,
            provider_named: self.installation.provider.asked,
            aws_is_ours,
            irsa: self.irsa,
            pod_identity: self.pod_identity,
            then_driver: self.upgrades(Part::Driver),
            then_provider: self.upgrades(Part::Provider),
        }
    }

    /// Whether another one comes in a part's place in the middle of the run.
    fn upgrades(&self, part: Part) -> bool {
        let image = |of: &InstallationOptions| of.of(part).image.clone();
        self.then
            .as_ref()
            .is_some_and(|then| image(then) != image(&self.installation))
    }
}

impl SharedOptions {
    /// What would be made in a cluster, besides tenants: a line each.
    #[must_use]
    pub fn planned(&self) -> Vec<String> {
        let installed = self.installation.named();
        let programs = match (self.install, self.replace_driver) {
            (false, false) => "driver and provider: those that are there, as they are".to_owned(),
            (true, false) => format!(
                "driver and provider: those that are there; for what is missing {installed}, removed at the end"
            ),
            (_, true) => format!(
                "driver and provider: {installed} in the place of what is there, which is put back at the end"
            ),
        };
        let agent = match &self.agent {
            Some(image) => format!(
                "agent: {image} on every node that takes pods, in a namespace of the run's, removed at the end"
            ),
            None => "agent: none (--agent-image), so that nobody looks at what pods mount".to_owned(),
        };
        let then = self.then.as_ref();
        let then = then.map(|then| format!("in the middle of the run: {} in their place", then.named()));
        std::iter::once(programs).chain(then).chain([agent]).collect()
    }
}

/// What has nothing to do with a cluster, at hand before there is one.
pub(super) struct AtHand {
    installation: Prepared,
    then: Option<Prepared>,
}

/// Reads, fetches and tries what is to be installed: what is wrong with it needs no cluster.
///
/// # Errors
///
/// When something cannot be had, or is of no use.
pub(super) async fn prepare(options: &SharedOptions, scratch: &Path) -> Result<AtHand, StartError> {
    let installation = installation::prepare(&options.installation, scratch).await?;
    let then = match &options.then {
        Some(then) => Some(installation::prepare(then, scratch).await?),
        None => None,
    };
    Ok(AtHand { installation, then })
}

/// Looks at a cluster, and whether a run can be there. Nothing is made.
///
/// # Errors
///
/// With every problem that is in the way, and what to do about each.
pub(super) async fn preflight(
    kubernetes: &Kubernetes,
    options: &SharedOptions,
    aws_is_ours: bool,
) -> Result<(Sighting, Judgement), StartError> {
    let failed = StartError::of::<KubernetesError>("cluster");
    let does = Does {
        installs: options.install || options.replace_driver,
        agent: options.agent.is_some(),
    };
    // Who may not even look is told what else is lacking, too.
    if let Some(problem) = asked::rights(kubernetes, does).await.map_err(&failed)? {
        return Err(StartError::of("cluster")(problem));
    }
    let seen = look(kubernetes).await.map_err(&failed)?;
    let mut judgement = judge(&seen, &options.wanted(aws_is_ours));
    let taken = asked::namespaces(kubernetes, &options.namespaces).await;
    judgement.problems.extend(taken.map_err(&failed)?);
    match judgement.fatal() {
        Some(fatal) => Err(StartError::of("cluster")(fatal)),
        None => Ok((seen, judgement)),
    }
}

/// What the caller has of an environment whose cluster stands.
pub(super) struct Stands {
    /// When its standing up began.
    pub(super) began: Instant,
    /// The cluster.
    pub(super) kubernetes: Kubernetes,
    /// AWS, as the administrator of the account.
    pub(super) aws: Aws,
    /// AWS, where it is an endpoint of the run's: its log is read, it can be made slow, it ends with the environment.
    pub(super) aws_side: Option<Arc<AwsSide>>,
    /// How the provider gets there, likewise.
    pub(super) way: Option<AwsWay>,
    /// What stands at the seams `kubernetes`, `kubelet` and `aws`.
    pub(super) components: Vec<Component>,
    /// What else a report should say.
    pub(super) notes: Vec<String>,
    /// Issuer of service-account tokens: an HTTPS URL.
    pub(super) issuer: String,
    /// The region that secrets can be replicated to, where there is one.
    pub(super) failover_region: Option<String>,
    /// How what is made is reached without this process.
    pub(super) reach: Reach,
    /// Where what is in Kubernetes is.
    pub(super) kubernetes_in: KubernetesIn,
}

/// The run that an environment is for.
pub(super) struct Run<'a> {
    pub(super) marks: &'a Marks,
    pub(super) ledger: &'a Ledger,
    pub(super) heard: Heard,
}

/// Finds or installs driver and provider on the nodes, puts the agent beside them, and hands everything over.
///
/// # Errors
///
/// When the cluster is not fit for a run, or something does not come up; what was made until then is on record.
pub(super) async fn environment(
    stands: Stands,
    options: &SharedOptions,
    at_hand: AtHand,
    run: Run<'_>,
) -> Result<Environment, StartError> {
    let Run { marks, ledger, heard } = run;
    let Heard { struck, told } = heard;
    let told = &told;
    let Stands {
        began,
        kubernetes,
        aws,
        aws_side,
        way,
        components,
        mut notes,
        issuer,
        failover_region,
        reach,
        kubernetes_in,
    } = stands;
    let stage = progress::Stage::begin(told, "cluster", "looked at");
    let (seen, judgement) = preflight(&kubernetes, options, way.is_some()).await?;
    stage.ends(told_of(&seen, &judgement));
    notes.extend(judgement.problems.iter().map(ToString::to_string));

    let (installation, upgrade) = if judgement.installs() {
        let version = &seen.kubernetes;
        let planned = at_hand.installation.finish(version, marks, way.as_ref()).await?;
        let installation = made::fitting(planned, &judgement, marks);
        let then = match &at_hand.then {
            None => None,
            Some(then) => {
                let planned = then.finish(version, marks, way.as_ref()).await?;
                Some(made::fitting(planned, &judgement, marks))
            }
        };
        let stage = progress::Stage::begin(told, "driver", "installing");
        made::displace(
            &kubernetes,
            ledger,
            &judgement,
            (&installation, then.as_ref()),
            marks,
        )
        .await?;
        made::install(&kubernetes, ledger, &installation).await?;
        installation::await_ready(&kubernetes, &installation, stage).await?;
        let upgrade = match then {
            None => None,
            Some(to) => {
                made::record(&kubernetes, ledger, &to, marks).await?;
                Some(Upgrade::new(installation.clone(), to))
            }
        };
        (installation, upgrade)
    } else {
        (made::found(&judgement), None)
    };
    let problem = region::problem(&kubernetes, &installation.provider, &aws.access().region).await;
    if let Some(problem) = problem.map_err(StartError::of("Kubernetes client"))? {
        return Err(StartError::of("cluster")(problem));
    }
    let installed = installation::observed(&kubernetes, &installation).await;
    let installed = installed.map_err(StartError::of("Kubernetes client"))?;
    let mut lacks = judgement.lacks.clone();
    // Of one that was found it is known.
    if !matches!(judgement.driver, Choice::Found(_)) {
        let no_sync = installation::no_sync(&kubernetes, &installation.driver).await;
        let no_sync = no_sync.map_err(StartError::of("Kubernetes client"))?;
        lacks.extend(no_sync.map(|lacking| (SECRET_SYNC, lacking.to_string())));
    }

    let (workload_image, room) = workload_image(&kubernetes, options, (marks, ledger)).await?;
    let (nodes, no_agent) = made::agent(&kubernetes, ledger, options, marks, told).await?;
    let mut namespaces: Vec<&str> = Part::ALL
        .iter()
        .filter_map(|part| installation.of(*part).daemon_set.namespace.as_deref())
        .collect();
    namespaces.dedup();
    kubernetes.watch_nodes(&namespaces);

    let mut all = components;
    let nodes_are_ours = all
        .iter()
        .any(|component| component.seam == "kubelet" && component.stand_in);
    let at = all
        .iter()
        .position(|component| component.seam == "aws")
        .unwrap_or(all.len());
    all.splice(
        at..at,
        Part::ALL.map(|part| component(installation.of(part), part, nodes_are_ours)),
    );
    notes.extend(options.notes.iter().cloned());
    notes.extend(described::trouble(&options.plants, &options.faults));
    let striking = match &aws_side {
        Some(side) => Some(fault::strike(side, &options.faults, struck).await),
        None => None,
    };
    // What is a team's is never disturbed.
    let is_ours = matches!(kubernetes_in, KubernetesIn::OwnCluster);
    let control = is_ours.then(|| Control::of(&kubernetes, &installation, Processes::Far));
    Ok(Environment {
        ready: EnvironmentReady {
            took_us: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
            components: all,
            capabilities: Vec::new(),
            notes,
            installed: Some(installed),
        },
        logs: Some(Arc::new(DaemonLogs::of(kubernetes.pod_logs()))),
        node_logs: None,
        rotation: rotation(options, &judgement),
        republish: None,
        failover_region,
        issuer,
        eks_cluster: None,
        pod_identity_agent: None,
        workload_image,
        nodes,
        no_agent,
        calls: aws_side.as_ref().map(|side| side.log() as _),
        counts: None,
        programs: Some(Arc::new(programs::DaemonPrograms)),
        control: control.map(|control| Arc::new(control) as _),
        aws_faults: aws_side.as_ref().map(|side| Arc::clone(side) as _),
        limits: Vec::new(),
        pace: None,
        expired: None,
        workload_controllers: true,
        room: Some(room),
        upgrade,
        reach,
        kubernetes_in,
        kubernetes,
        aws,
        lacks,
        stop: Mutex::new(Some(Box::new(move || {
            Box::pin(async move {
                drop(striking);
                if let Some(side) = aws_side {
                    side.stop().await;
                }
            })
        }))),
    })
}

/// What our own kubelet says that its node runs on.
const STAND_IN: &str = "mountproof stand-in";

/// What stands at the seams `kubernetes` and `kubelet` of a cluster; `reached` says how it is reached.
///
/// # Errors
///
/// When the API does not answer.
pub(super) async fn components(
    kubernetes: &Kubernetes,
    reached: String,
) -> Result<Vec<Component>, KubernetesError> {
    let version = kubernetes.version().await?;
    let nodes = kubernetes.list("v1", "Node", None, None).await?;
    let mut kubelets: BTreeMap<String, usize> = BTreeMap::new();
    for node in &nodes {
        let version = node["status"]["nodeInfo"]["kubeletVersion"].as_str();
        *kubelets
            .entry(version.unwrap_or("unknown").trim_start_matches('v').to_owned())
            .or_default() += 1;
    }
    let all_ours = !nodes.is_empty()
        && nodes.iter().all(|node| {
            let system = node["status"]["nodeInfo"]["osImage"].as_str();
            system.is_some_and(|system| system.starts_with(STAND_IN))
        });
    let newest = kubelets.keys().next_back().cloned().unwrap_or_default();
    let on = kubelets
        .iter()
        .map(|(version, nodes)| format!("{version} on {}", figure::counted(*nodes, "node")));
    let component = |seam: &str, name: &str, version: &str, note: String| Component {
        seam: seam.to_owned(),
        name: name.to_owned(),
        version: version.trim_start_matches('v').to_owned(),
        stand_in: false,
        notes: vec![note],
    };
    Ok(vec![
        component("kubernetes", "Kubernetes", &version, reached),
        Component {
            stand_in: all_ours,
            ..component("kubelet", "kubelet", &newest, on.collect::<Vec<_>>().join(", "))
        },
    ])
}

/// PURE: what a look came to, on one line.
fn told_of(seen: &Sighting, judgement: &Judgement) -> String {
    let of = |part: Part| match judgement.of(part) {
        Choice::Found(found) => format!("{part} {} found ({})", found.version, found.managed),
        Choice::Install => format!("no {part}"),
        Choice::Replace(found) => {
            let versions: Vec<&str> = found.iter().map(|found| found.version.as_str()).collect();
            format!("{part} {} to be replaced", versions.join(", "))
        }
    };
    let nodes = seen.nodes.iter().filter(|node| node.is_of_use()).count();
    format!(
        "{} of {} nodes take pods, {}, {}",
        nodes,
        seen.nodes.len(),
        of(Part::Driver),
        of(Part::Provider)
    )
}

/// The driver's rotation interval, whoever set it; none where it does not rotate.
fn rotation(options: &SharedOptions, judgement: &Judgement) -> Option<Duration> {
    match judgement.driver {
        Choice::Found(_) => judgement.rotation,
        Choice::Install | Choice::Replace(_) => Some(options.installation.rotation),
    }
}

/// On nodes of ours, driver and provider are ours, whatever image they are of.
fn component(placed: &Placed, part: Part, stand_in: bool) -> Component {
    let mut notes = vec![format!("by {}", placed.origin)];
    notes.extend(placed.remarks.iter().cloned());
    Component {
        seam: part.name().to_owned(),
        name: placed.image.clone(),
        version: placed.version.clone(),
        stand_in,
        notes,
    }
}

/// An image for workloads that every node has or can pull, and how many pods there is room for.
async fn workload_image(
    kubernetes: &Kubernetes,
    options: &SharedOptions,
    (marks, ledger): (&Marks, &Ledger),
) -> Result<(String, usize), StartError> {
    let failed = StartError::of::<KubernetesError>("nodes");
    let nodes = kubernetes.nodes().await.map_err(failed)?;
    let room = placement::room(&nodes);
    let takers: Vec<_> = nodes
        .iter()
        .filter(|node| node.takes_pods && node.ready)
        .cloned()
        .collect();
    let image = match &options.workload_image {
        Some(named) => named.clone(),
        None => match sandbox_image(&takers) {
            Some(there) => return Ok((there, room)),
            None => WORKLOAD_IMAGE.to_owned(),
        },
    };
    placement::pulled(kubernetes, (marks, ledger), &takers, &image).await?;
    Ok((image, room))
}

/// The nodes of a cluster, as far as nobody stands on them.
async fn far_nodes(kubernetes: &Kubernetes) -> Result<Vec<Node>, KubernetesError> {
    let nodes = kubernetes.nodes().await?;
    let of_use = nodes.into_iter().filter(|node| node.takes_pods && node.ready);
    Ok(of_use
        .map(|node| Node {
            name: node.name,
            kubelet_root: None,
            csi_socket: None,
            agent: None,
        })
        .collect())
}
