//! The step `load`: mounts through both lenses, and fetches with the tenants' own credentials.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    as_kubelet::{self, Handed},
    calls,
    case::Attempt,
    machine,
    step::{StepError, StepResult},
    world::World,
};
use crate::{
    agent::{Agent, NodeShare, Shared, SharesError, dealt, run_shares},
    aws::Session,
    environment::EnvironmentOptions,
    journal::{EventKind, MeasurementFinished},
    kubernetes::{Kubernetes, ObjectRef},
    load::{
        csi_lens::{CsiLens, PodIdentity, PublishJob, ServiceAccountTokens},
        fetch::{FetchEnd, FetchPlan, FetchTarget, run_fetches},
        floor,
        limiter::{self, Bucket},
        recorder::OTHER_ERRORS,
        run_mounts::{MountEnd, MountJob, MountPlan, MountTarget, MountVerdict, run_mounts},
    },
    provision::{Object, Tenant},
    report::figure,
    scenario::{
        capability::CSI_SOCKET,
        model::{FetchLoad, Lens, Load, MountLoad, Pace},
    },
    tenant::{self, Identity, Marks, WorkloadManifest},
    verdict::failure,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

/// Deadline of one fetch.
const FETCH: Duration = Duration::from_secs(10);
/// Deadline of one unmount after a measurement.
pub(super) const UNMOUNT: Duration = Duration::from_secs(30);
/// More of it for every pod of a measurement.
const UNMOUNT_EACH: Duration = Duration::from_millis(50);
/// Share of the time that waits for a processor take where processors are the limit.
const CROWDED: f64 = 0.5;
/// A wait for a limit that is worth a word.
const QUEUE_SHOWS: Duration = Duration::from_millis(100);
/// Unmounts and preparations at a time.
pub(super) const PARALLEL: usize = 32;

/// What the step says it does.
pub(super) fn title(planned: &Load) -> String {
    match planned {
        Load::Mounts(mounts) => {
            let slower = mounts.pod_rate.filter(|_| mounts.lenses.contains(&Lens::Pod));
            let slower = slower.map_or_else(String::new, |rate| format!(", pods at {rate}/s"));
            format!("{} mounts at {}/s{slower}", mounts.pods, mounts.rate)
        }
        Load::Calls(count) => calls::title(count),
        Load::Fetch(fetch) => match fetch.pace {
            Pace::InFlight(workers) => format!("fetch for {:?}, {workers} in flight", fetch.duration),
            Pace::PerSecond(rate) => format!("fetch for {:?} at {rate}/s", fetch.duration),
        },
    }
}

/// Measures, and says what came of it. A mount that fails makes the case fail: a figure of mounts
/// that did not work is worth nothing.
pub(super) async fn measure(attempt: &mut Attempt<'_>, planned: &Load, until: Instant) -> StepResult {
    match planned {
        Load::Mounts(mounts) => {
            measure_floor(attempt.world).await;
            let mut said = Vec::new();
            for lens in &mounts.lenses {
                if *lens == Lens::Csi && !attempt.world.has(CSI_SOCKET) {
                    let because = attempt.world.evidence_of(CSI_SOCKET);
                    attempt.world.warn(format!(
                        "the csi lens is left out, for nobody reaches the driver's socket: {because}"
                    ));
                    continue;
                }
                said.push(mount_load(attempt, mounts, *lens).await?.detail);
            }
            Ok(said.join("; ").into())
        }
        Load::Fetch(fetch) => fetch_load(attempt, fetch).await,
        Load::Calls(count) => calls::count(attempt, count, until).await,
    }
}

/// Measures what a mount costs at least on this machine; figures are given as multiples of it.
async fn measure_floor(world: &World) {
    let agents = as_kubelet::agents(world);
    // Where agents measure, their machines' floors are what figures can be held to.
    for agent in &agents {
        match agent.floor().await {
            Ok(floor) => world.record(EventKind::FloorMeasured(floor)),
            Err(error) => world.warn(error.to_string()),
        }
    }
    if agents.is_empty() {
        match floor::measure(&world.scratch).await {
            Ok(floor) => world.record(EventKind::FloorMeasured(floor.into_event())),
            Err(error) => world.warn(error.to_string()),
        }
    }
}

async fn mount_load(attempt: &Attempt<'_>, load: &MountLoad, lens: Lens) -> StepResult {
    let world = attempt.world;
    let tenants = world.shared(attempt.case.plan.identity);
    let names: Vec<String> = tenants.iter().map(|tenant| tenant.name.clone()).collect();
    let scenario = &attempt.case.plan.measured_as();
    let plan = MountPlan::of(
        load,
        lens,
        &names,
        world.seed,
        (scenario, &attempt.case.plan.case),
    )
    .map_err(|error| StepError::trouble(error.to_string()))?;
    let emit = |event| world.record(event);
    let (began, waited) = (Instant::now(), machine::waited_for_processors());
    let crowded;
    let finished = match lens {
        Lens::Csi => {
            let pods = imagined_pods(tenants, &plan);
            let agents = as_kubelet::agents(world);
            let measured = if agents.is_empty() {
                let target = Arc::new(csi_target(world, &pods).await?);
                let measured = run_mounts(&plan, Arc::clone(&target), &emit, &attempt.cancelled).await;
                for leftover in target.unpublish_all(PARALLEL, UNMOUNT).await {
                    world.warn(leftover.to_string());
                }
                measured.map_err(|error| StepError::trouble(error.to_string()))
            } else {
                let shares = shares(world, tenants, &plan, &pods, agents).await?;
                through_agents(world, run_shares(&plan, shares, &emit, &attempt.cancelled).await)
            };
            crowded = shared_processors(world, began, waited);
            remove_statuses(world, &pods).await;
            measured
        }
        Lens::Pod => {
            let target = Arc::new(PodTarget::new(world, tenants, &plan));
            // All at once and beforehand: a write to the disk before each would be measured too.
            world.provisioner.plan(&target.objects())?;
            // Until the pods are gone: thousands that republish in a hurry would be in the way of that.
            let _pace = world.environment.at_real_pace();
            let measured = run_mounts(&plan, Arc::clone(&target), &emit, &attempt.cancelled).await;
            crowded = shared_processors(world, began, waited);
            target.remove_all(world).await?;
            measured.map_err(|error| StepError::trouble(error.to_string()))
        }
    };
    if let Some(ceiling) = ceiling(&plan, &world.environment.limits) {
        world.warn(ceiling);
    }
    if let Some(share) = crowded {
        world.warn(format!("{}: {share}", plan.measurement.measurement));
    }
    judge(world, &finished?).await
}

/// Where the nodes are containers of this machine, its processors are all that they have: whether these were the limit, in words.
fn shared_processors(world: &World, began: Instant, waited: Option<Duration>) -> Option<String> {
    if !matches!(world.options.environment, EnvironmentOptions::Kind(_)) {
        return None;
    }
    let waited = machine::waited_for_processors()?.checked_sub(waited?)?;
    let share = waited.as_secs_f64() / began.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    (share >= CROWDED).then(|| {
        format!(
            "the limit was this machine's processors, {} for all nodes and everything else here: {:.0} % of the time something \
             waited for one; the figures are of that, lower --rate to measure less of it",
            machine::this().cpus,
            share.min(1.0) * 100.0
        )
    })
}

/// What the agents are to mount, dealt out to their nodes.
async fn shares(
    world: &World,
    tenants: &[Tenant],
    plan: &MountPlan,
    pods: &[LensPod<'_>],
    agents: Vec<Agent>,
) -> Result<Vec<NodeShare>, StepError> {
    let handed = &Handed::of(world).await?;
    let minting: Vec<_> = tenants
        .iter()
        .map(|tenant| async move {
            let job = PublishJob {
                // Name and uid are the mount's own.
                pod: identity("", "", tenant),
                class: tenant.class.clone(),
                attributes: handed.attributes.clone(),
                tokens: handed.tokens(world, tenant).await?,
            };
            Ok::<_, StepError>((job, as_kubelet::expected_prints(tenant)))
        })
        .collect();
    let whose: Vec<_> = stream::iter(minting).buffered(PARALLEL).try_collect().await?;
    let pod = |index: u32| {
        let pod = &pods[index as usize];
        (pod.name.clone(), pod.uid.clone())
    };
    let dealt = dealt(plan.starts.len(), agents.len());
    let shares = agents.into_iter().zip(dealt);
    Ok(shares
        .map(|(agent, indexes)| NodeShare::new(agent, plan, &indexes, &whose, pod))
        .collect())
}

/// What agents measured is worth nothing where one of them went away.
fn through_agents(
    world: &World,
    measured: Result<Shared, SharesError>,
) -> Result<MeasurementFinished, StepError> {
    let shared = measured.map_err(|error| StepError::trouble(error.to_string()))?;
    for left in shared.left {
        world.warn(left);
    }
    let lost: Vec<String> = shared.lost.iter().map(ToString::to_string).collect();
    if lost.is_empty() {
        return Ok(shared.finished);
    }
    Err(StepError::trouble(format!(
        "{} lost an agent in its middle, so that its figures are worth nothing: {}",
        shared.finished.measurement,
        lost.join("; ")
    )))
}

/// A pod that runs as its tenant's `default` `ServiceAccount`.
fn identity(name: &str, uid: &str, tenant: &Tenant) -> PodIdentity {
    PodIdentity {
        name: name.to_owned(),
        namespace: tenant.name.clone(),
        uid: uid.to_owned(),
        service_account: "default".to_owned(),
    }
}

/// Says which limit on requests the mounts of this plan queue at, if any does: their figures are its figures then.
fn ceiling(plan: &MountPlan, limits: &[Bucket]) -> Option<String> {
    let predicted = limiter::predict(limits, &plan.starts, plan.deadline);
    let bucket = predicted.binding?;
    (predicted.longest_wait >= QUEUE_SHOWS).then(|| {
        format!(
            "{}: mounts queue at a limit on requests to the Kubernetes API, that of the {}: it lets {} \
             through, and one waits up to {:.1} s for that alone; lower --rate, or take the figures for the limit's",
            plan.measurement.measurement,
            bucket.name,
            figure::rate(bucket.qps / bucket.per_mount),
            predicted.longest_wait.as_secs_f64(),
        )
    })
}

/// Every operation must have ended well; otherwise the most frequent error says why not.
async fn judge(world: &World, finished: &MeasurementFinished) -> StepResult {
    // What nodes were short of meanwhile belongs beside the figures, and is told when they have said it.
    world.nodes.settled().await;
    let bad = finished.failed + finished.timed_out;
    if bad > 0 {
        // An example says more than how many others there are.
        let named = finished.errors.iter().filter(|(text, _)| *text != OTHER_ERRORS);
        let worst = named.max_by_key(|(_, count)| **count);
        let broken = failure(format!(
            "{}: {bad} of {} did not work",
            finished.measurement, finished.planned
        ))
        .fact("failed", finished.failed.to_string())
        .fact("timed out", finished.timed_out.to_string())
        .fact(
            "error",
            worst
                .map(|(text, count)| format!("{count} x {text}"))
                .unwrap_or_default(),
        );
        return Err(world.blame(broken).await);
    }
    if finished.dropped > 0 {
        return Err(StepError::trouble(format!(
            "{}: {} of {} were never sent",
            finished.measurement, finished.dropped, finished.planned
        )));
    }
    // `mount-latency.csi` is a lens of its scenario, `fetch-throughput` its scenario's only one.
    let lens = finished.measurement.rsplit_once('.');
    let lens = lens.map_or_else(String::new, |(_, lens)| format!("{lens} lens "));
    let (ok, planned) = (figure::count(finished.ok), figure::count(finished.planned));
    Ok(format!("{lens}{ok} of {planned} ok").into())
}

/// A pod whose volume the csi lens mounts. Kubelet knows nothing of it.
pub(super) struct LensPod<'a> {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) tenant: &'a Tenant,
}

/// The pods of a measurement, which exist in the requests to the driver only.
fn imagined_pods<'a>(tenants: &'a [Tenant], plan: &MountPlan) -> Vec<LensPod<'a>> {
    let measurement = tenant::fingerprint_of(&plan.measurement.measurement);
    plan.jobs()
        .map(|job| LensPod {
            name: format!("load-csi-{}", job.index),
            // Shaped like a uid, and never one that a cluster would give out.
            uid: format!("00000000-{}-4000-8000-{:012}", &measurement[..4], job.index),
            tenant: &tenants[job.tenant],
        })
        .collect()
}

/// A job for every pod, with the tokens minted beforehand: kubelet keeps them too.
pub(super) async fn csi_target(world: &World, pods: &[LensPod<'_>]) -> Result<CsiLens, StepError> {
    let handed = &Handed::of(world).await?;
    let expected: BTreeMap<String, Tenant> = pods
        .iter()
        .map(|pod| (pod.tenant.name.clone(), pod.tenant.clone()))
        .collect();
    let minting: Vec<_> = expected
        .iter()
        .map(|(name, tenant)| async move {
            Ok::<_, StepError>((name.clone(), handed.tokens(world, tenant).await?))
        })
        .collect();
    let tokens: BTreeMap<String, ServiceAccountTokens> =
        stream::iter(minting).buffered(PARALLEL).try_collect().await?;
    let jobs: Vec<PublishJob> = pods
        .iter()
        .map(|pod| PublishJob {
            pod: identity(&pod.name, &pod.uid, pod.tenant),
            class: pod.tenant.class.clone(),
            attributes: handed.attributes.clone(),
            tokens: tokens[&pod.tenant.name].clone(),
        })
        .collect();
    let check = move |job: &PublishJob, target: &Path| {
        let tenant = expected.get(&job.pod.namespace).ok_or("no such tenant")?;
        as_kubelet::check_files(tenant, target)
    };
    let lens = CsiLens::new(as_kubelet::csi_client(world)?, jobs, Arc::new(check));
    lens.warm_up(FETCH)
        .await
        .map_err(|status| StepError::trouble(format!("cannot reach the driver: {status}")))?;
    Ok(lens)
}

/// Removes the pod status objects of the csi lens: there is no pod whose going would take them along.
async fn remove_statuses(world: &World, pods: &[LensPod<'_>]) {
    stream::iter(pods)
        .for_each_concurrent(PARALLEL, |pod| async move {
            as_kubelet::remove_status(world, &pod.name, pod.tenant).await;
        })
        .await;
}

/// The pod lens: from creating a pod to hearing that it is Ready.
struct PodTarget {
    environment: Arc<crate::environment::Environment>,
    tenants: Vec<Tenant>,
    marks: Marks,
    image: String,
    prefix: String,
    count: usize,
    owners: Vec<usize>,
}

impl PodTarget {
    fn new(world: &World, tenants: &[Tenant], plan: &MountPlan) -> Self {
        Self {
            environment: Arc::clone(&world.environment),
            tenants: tenants.to_vec(),
            marks: world.marks.clone(),
            image: world.image().to_owned(),
            prefix: "load-pod".to_owned(),
            count: plan.starts.len(),
            owners: plan.owners.clone(),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("{}-{index}", self.prefix)
    }

    fn pod(&self, index: usize) -> ObjectRef {
        ObjectRef::new(
            "v1",
            "Pod",
            Some(&self.tenants[self.owners[index]].name),
            &self.name(index),
        )
    }

    fn objects(&self) -> Vec<Object> {
        (0..self.count)
            .map(|index| Object::Kubernetes(self.pod(index)))
            .collect()
    }

    /// Creates the pod and waits until it is Ready; the node that it is on, where there is more than one.
    async fn attempt(&self, job: &MountJob) -> Result<Option<String>, String> {
        let tenant = &self.tenants[job.tenant];
        let name = self.name(job.index as usize);
        let marks = self.marks.of_tenant(&tenant.name);
        let manifest = WorkloadManifest {
            namespace: &tenant.name,
            name: &name,
            class: &tenant.class,
            image: &self.image,
            command: &[],
            marks: &marks,
        };
        let kubernetes: &Kubernetes = &self.environment.kubernetes;
        let mut pods = kubernetes.pods().of_workload(&tenant.name, &name);
        kubernetes
            .create(&manifest.pod())
            .await
            .map_err(|error| error.to_string())?;
        let ready = pods
            .wait_for(|pods| pods.iter().any(crate::kubernetes::PodView::ready))
            .await
            .map_err(|_| "the pod watch ended".to_owned())?;
        let node = ready.iter().find_map(|pod| pod.node.clone());
        Ok(node.filter(|_| self.environment.nodes.len() > 1))
    }

    /// Removes every pod of the measurement and waits until they are gone.
    async fn remove_all(&self, world: &World) -> Result<(), StepError> {
        let kubernetes = &self.environment.kubernetes;
        // All are asked to go before any is waited for: a pod takes its time to go, and they go side by side.
        stream::iter(0..self.count)
            .map(|index| async move { kubernetes.delete(&self.pod(index)).await })
            .buffer_unordered(PARALLEL)
            .for_each(|result| async move {
                if let Err(error) = result {
                    world.warn(error.to_string());
                }
            })
            .await;
        let until = Instant::now() + UNMOUNT + UNMOUNT_EACH * u32::try_from(self.count).unwrap_or(u32::MAX);
        stream::iter(0..self.count)
            .map(|index| async move {
                let pod = self.pod(index);
                let gone = kubernetes.wait_gone(&pod, until).await;
                if gone.is_ok() {
                    world.provisioner.ledger().removed(&Object::Kubernetes(pod));
                }
                kubernetes
                    .pods()
                    .forget(&self.tenants[self.owners[index]].name, &self.name(index));
                gone
            })
            .buffer_unordered(PARALLEL)
            .for_each(|result| async move {
                if let Err(error) = result {
                    world.warn(error.to_string());
                }
            })
            .await;
        Ok(())
    }
}

impl MountTarget for PodTarget {
    async fn mount(&self, job: MountJob) -> MountEnd {
        match self.attempt(&job).await {
            Ok(node) => MountEnd {
                node,
                ..MountVerdict::Ok.into()
            },
            Err(because) => MountVerdict::Failed(because).into(),
        }
    }
}

async fn fetch_load(attempt: &Attempt<'_>, load: &FetchLoad) -> StepResult {
    let world = attempt.world;
    let plan = FetchPlan::of(
        load,
        FETCH,
        (&attempt.case.plan.measured_as(), &attempt.case.plan.case),
    )
    .map_err(|error| StepError::trouble(error.to_string()))?;
    let tenants = world.shared(Identity::Irsa).iter();
    let opening: Vec<_> = tenants.map(|tenant| session(world, tenant)).collect();
    let sessions: Vec<(Session, String)> = stream::iter(opening).buffered(PARALLEL).try_collect().await?;
    let emit = |event| world.record(event);
    let target = Arc::new(Sessions(sessions));
    let finished = run_fetches(&plan, target, &emit, &attempt.cancelled)
        .await
        .map_err(|error| StepError::trouble(error.to_string()))?;
    judge(world, &finished).await
}

/// A session with the tenant's own credentials, and the name of its secret.
async fn session(world: &World, tenant: &Tenant) -> Result<(Session, String), StepError> {
    let token = world.token(&tenant.name, tenant::AUDIENCE).await?;
    let session = world.environment.aws.assume(&tenant.role_arn, &token).await?;
    let secret = tenant
        .secrets
        .get(tenant::TENANT_SECRET)
        .ok_or_else(StepError::bad_reference)?;
    Ok((session, secret.path.clone()))
}

/// Tenants' own sessions, taken in turn.
struct Sessions(Vec<(Session, String)>);

impl FetchTarget for Sessions {
    async fn fetch(&self, worker: usize) -> FetchEnd {
        let (session, path) = &self.0[worker % self.0.len()];
        match session.read(path).await {
            Ok(_) => FetchEnd::OK,
            Err(error) => FetchEnd {
                throttled: u32::from(error.is_throttled()),
                result: Err(error.code().unwrap_or("no answer").to_owned()),
                retries: 0,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    /// So many mounts at so many a second.
    fn plan(pods: u32, rate: f64) -> MountPlan {
        let load = MountLoad {
            pods,
            warm_up: 0,
            rate,
            pod_rate: None,
            arrival: crate::scenario::model::Arrival::Constant,
            lenses: vec![Lens::Csi],
            deadline: Duration::from_secs(30),
        };
        MountPlan::of(
            &load,
            Lens::Csi,
            &["red".to_owned()],
            1,
            ("mount-latency", "mount-latency"),
        )
        .unwrap()
    }

    #[test]
    fn the_limit_that_mounts_queue_at_is_named() {
        let path = [limiter::provider(500.0, 500.0, true), limiter::driver()];
        assert_eq!(
            ceiling(&plan(110, 50.0), &path).unwrap(),
            "mount-latency.csi: mounts queue at a limit on requests to the Kubernetes API, that of the driver \
             (controller-runtime 20/s, burst 30): it lets 20.0/s through, and one waits up to 1.8 s for that alone; \
             lower --rate, or take the figures for the limit's"
        );
        assert_eq!(ceiling(&plan(110, 15.0), &path), None, "the driver keeps up");
        assert_eq!(ceiling(&plan(20, 50.0), &path), None, "its burst holds them");
        let defaults = [limiter::provider(5.0, 10.0, true), limiter::driver()];
        let slow = ceiling(&plan(110, 15.0), &defaults).unwrap();
        assert!(slow.contains("that of the provider --qps=5 --burst=10"), "{slow}");
    }
}
