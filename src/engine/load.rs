//! The step `load`: mounts through both lenses, and fetches with the tenants' own credentials.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    case::Attempt,
    step::{StepError, StepResult},
    world::World,
};
use crate::{
    aws::Session,
    generation,
    journal::{EventKind, FloorMeasured, FloorPart, MeasurementFinished},
    kubernetes::{Kubernetes, ObjectRef},
    load::{
        csi_lens::{CsiClient, CsiLens, PodIdentity, PublishJob, ServiceAccountTokens},
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
    tenant::{self, Marks, WorkloadManifest},
    verdict::{failure, files::differences},
};

/// Deadline of one fetch.
const FETCH: Duration = Duration::from_secs(10);
/// Deadline of one unmount after a measurement.
const UNMOUNT: Duration = Duration::from_secs(30);
/// More of it for every pod of a measurement.
const UNMOUNT_EACH: Duration = Duration::from_millis(50);
/// A wait for a limit that is worth a word.
const QUEUE_SHOWS: Duration = Duration::from_millis(100);
/// Unmounts and preparations at a time.
const PARALLEL: usize = 32;
/// Audiences of kubelet's tokens, as the CSIDriver asks for them.
const AUDIENCES: [&str; 2] = [tenant::AUDIENCE, "pods.eks.amazonaws.com"];

/// What the step says it does.
pub(super) fn title(planned: &Load) -> String {
    match planned {
        Load::Mounts(mounts) => format!("{} mounts at {}/s", mounts.pods, mounts.rate),
        Load::Fetch(fetch) => match fetch.pace {
            Pace::InFlight(workers) => format!("fetch for {:?}, {workers} in flight", fetch.duration),
            Pace::PerSecond(rate) => format!("fetch for {:?} at {rate}/s", fetch.duration),
        },
    }
}

/// Measures, and says what came of it. A mount that fails makes the case fail: a figure of mounts
/// that did not work is worth nothing.
pub(super) async fn measure(attempt: &Attempt<'_>, planned: &Load, _until: Instant) -> StepResult {
    match planned {
        Load::Mounts(mounts) => {
            measure_floor(attempt.world).await;
            let mut said = Vec::new();
            for lens in &mounts.lenses {
                if *lens == Lens::Csi && !attempt.world.has(CSI_SOCKET) {
                    attempt.world.warn(
                        "the csi lens needs the driver's socket, which this environment does not reach",
                    );
                    continue;
                }
                said.push(mount_load(attempt, mounts, *lens).await?.detail);
            }
            Ok(said.join("; ").into())
        }
        Load::Fetch(fetch) => fetch_load(attempt, fetch).await,
    }
}

/// Measures what a mount costs at least on this machine; figures are given as multiples of it.
async fn measure_floor(world: &World) {
    match floor::measure(&world.scratch).await {
        Ok(floor) => world.record(floor_measured(&floor)),
        Err(error) => world.warn(error.to_string()),
    }
}

async fn mount_load(attempt: &Attempt<'_>, load: &MountLoad, lens: Lens) -> StepResult {
    let world = attempt.world;
    let names: Vec<String> = world.shared.iter().map(|tenant| tenant.name.clone()).collect();
    let scenario = &attempt.case.scenario.name;
    let plan = MountPlan::of(
        load,
        lens,
        &names,
        world.seed,
        (scenario, &attempt.case.plan.case),
    )
    .map_err(|error| StepError::trouble(error.to_string()))?;
    let emit = |event| world.record(event);
    let finished = match lens {
        Lens::Csi => {
            let target = Arc::new(csi_target(world, &plan).await?);
            let measured = run_mounts(&plan, Arc::clone(&target), &emit, &attempt.cancelled).await;
            for leftover in target.unpublish_all(PARALLEL, UNMOUNT).await {
                world.warn(leftover.to_string());
            }
            remove_statuses(world, &plan).await;
            measured
        }
        Lens::Pod => {
            let target = Arc::new(PodTarget::new(world, &plan));
            // All at once and beforehand: a write to the disk before each would be measured too.
            world.provisioner.plan(&target.objects())?;
            // Until the pods are gone: thousands that republish in a hurry would be in the way of that.
            let _pace = world.environment.at_real_pace();
            let measured = run_mounts(&plan, Arc::clone(&target), &emit, &attempt.cancelled).await;
            target.remove_all(world).await?;
            measured
        }
    };
    if let Some(ceiling) = ceiling(&plan, &world.environment.limits) {
        world.warn(ceiling);
    }
    judge(
        world,
        &finished.map_err(|error| StepError::trouble(error.to_string()))?,
    )
    .await
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

/// A job for every planned mount, with the tokens minted beforehand: kubelet keeps them too.
async fn csi_target(world: &World, plan: &MountPlan) -> Result<CsiLens, StepError> {
    let among_secrets = tokens_in_secrets(world).await?;
    let minting: Vec<_> = world
        .shared
        .iter()
        .map(|tenant| tokens(world, &tenant.name, among_secrets))
        .collect();
    let tokens: Vec<ServiceAccountTokens> = stream::iter(minting).buffered(PARALLEL).try_collect().await?;
    let mut attributes = std::collections::BTreeMap::new();
    if generation::region_from_node(world.environment.version("provider")) {
        // It would look for the pod to find the node's, and this lens makes no pods.
        attributes.insert("region".to_owned(), world.options.region.clone());
    }
    let measurement = tenant::fingerprint_of(&plan.measurement.measurement);
    let jobs: Vec<PublishJob> = plan
        .jobs()
        .map(|job| {
            let tenant = &world.shared[job.tenant];
            PublishJob {
                pod: PodIdentity {
                    name: format!("load-csi-{}", job.index),
                    namespace: tenant.name.clone(),
                    // Shaped like a uid, and never one that a cluster would give out.
                    uid: format!("00000000-{}-4000-8000-{:012}", &measurement[..4], job.index),
                    service_account: "default".to_owned(),
                },
                class: tenant.class.clone(),
                attributes: attributes.clone(),
                tokens: tokens[job.tenant].clone(),
            }
        })
        .collect();
    let expected: std::collections::BTreeMap<String, Tenant> = world
        .shared
        .iter()
        .map(|tenant| (tenant.name.clone(), tenant.clone()))
        .collect();
    let check = move |job: &PublishJob, target: &Path| {
        let tenant = expected.get(&job.pod.namespace).ok_or("no such tenant")?;
        check_files(tenant, target)
    };
    let mut nodes = world.environment.nodes.iter();
    let (socket, root) = nodes
        .find_map(|node| Some((node.csi_socket.as_deref()?, node.kubelet_root.as_path())))
        .ok_or_else(|| StepError::trouble("the driver's socket is on no node that is reached from here"))?;
    let lens = CsiLens::new(CsiClient::new(socket, root), jobs, Arc::new(check));
    lens.warm_up(FETCH)
        .await
        .map_err(|status| StepError::trouble(format!("cannot reach the driver: {status}")))?;
    Ok(lens)
}

/// Whether `target` holds exactly the tenant's own secret.
fn check_files(tenant: &Tenant, target: &Path) -> Result<(), String> {
    let seen = super::mount_point::MountPoint::at(target)
        .files()
        .map_err(|error| error.to_string())?;
    let expected = super::workload::own_files(tenant);
    match differences(&expected, &seen).first() {
        Some(difference) => Err(difference.0.clone()),
        None => Ok(()),
    }
}

/// Where kubelet hands tokens to the driver: its `CSIDriver` object says.
async fn tokens_in_secrets(world: &World) -> Result<bool, StepError> {
    let driver = ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, tenant::CSI_DRIVER);
    let object = world
        .environment
        .kubernetes
        .read(&driver)
        .await
        .map_err(|error| StepError::trouble(error.to_string()))?;
    Ok(object.is_some_and(|object| object["spec"]["serviceAccountTokenInSecrets"] == true))
}

async fn tokens(
    world: &World,
    namespace: &str,
    among_secrets: bool,
) -> Result<ServiceAccountTokens, StepError> {
    let mut minted = Vec::new();
    for audience in AUDIENCES {
        minted.push((audience, world.token(namespace, audience).await?));
    }
    let expires = Timestamp::now() + jiff::SignedDuration::from_hours(1);
    let minted = minted
        .iter()
        .map(|(audience, token)| (*audience, token.expose(), expires));
    Ok(ServiceAccountTokens::new(minted).among_secrets(among_secrets))
}

/// Removes the pod status objects of the csi lens: there is no pod whose going would take them along.
async fn remove_statuses(world: &World, plan: &MountPlan) {
    let kubernetes = &world.environment.kubernetes;
    stream::iter(plan.jobs())
        .for_each_concurrent(PARALLEL, |job| async move {
            let tenant = &world.shared[job.tenant];
            let name = format!("load-csi-{}-{}-{}", job.index, tenant.name, tenant.class);
            let status = ObjectRef::new(
                crate::kubernetes::SECRETS_STORE,
                "SecretProviderClassPodStatus",
                Some(&tenant.name),
                &name,
            );
            if let Err(error) = kubernetes.delete(&status).await {
                world.warn(error.to_string());
            }
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
    fn new(world: &World, plan: &MountPlan) -> Self {
        Self {
            environment: Arc::clone(&world.environment),
            tenants: world.shared.clone(),
            marks: world.marks.clone(),
            image: world.options.image.clone(),
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

    async fn attempt(&self, job: &MountJob) -> Result<(), String> {
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
        pods.wait_for(|pods| pods.iter().any(crate::kubernetes::PodView::ready))
            .await
            .map(drop)
            .map_err(|_| "the pod watch ended".to_owned())
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
            Ok(()) => MountVerdict::Ok.into(),
            Err(because) => MountVerdict::Failed(because).into(),
        }
    }
}

async fn fetch_load(attempt: &Attempt<'_>, load: &FetchLoad) -> StepResult {
    let world = attempt.world;
    let plan = FetchPlan::of(
        load,
        FETCH,
        (&attempt.case.scenario.name, &attempt.case.plan.case),
    )
    .map_err(|error| StepError::trouble(error.to_string()))?;
    let opening: Vec<_> = world.shared.iter().map(|tenant| session(world, tenant)).collect();
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

fn floor_measured(floor: &floor::Floor) -> EventKind {
    let part = |part: &floor::FloorPart| FloorPart {
        name: part.name.to_owned(),
        p50_ns: part.p50_ns,
        p99_ns: part.p99_ns,
        samples: part.samples,
    };
    EventKind::FloorMeasured(FloorMeasured {
        parts: floor.parts.iter().map(part).collect(),
        csi_lens: Some(part(&floor.lens)),
        kept_alive_ns: floor.kept_alive_ns,
        new_tls_ns: floor.new_tls_ns,
        tmpfs: floor.tmpfs,
    })
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
