//! The step `load: calls`: what mounts ask of AWS and of Kubernetes, call by call.
//!
//! Everything is done for a tenant that nobody else uses, one thing after another, and only its calls count; time decides
//! nothing, so that a figure which changes is a change of the product. A first mount, of another tenant, opens the
//! connections that driver and provider keep.

use std::time::{Duration, Instant};

use super::{
    case::Attempt,
    load::{LensPod, PARALLEL, UNMOUNT, csi_target},
    step::{StepError, StepResult},
    workload,
    world::{CaseTenant, World},
};
use crate::{
    environment::{CallCounts, Calls},
    generation::DriverGeneration,
    journal::{CallCounted, CallsCounted, EventKind, Failure, RefreshedBy},
    kubernetes::ObjectRef,
    load::{
        calls,
        csi_lens::CsiLens,
        run_mounts::{MountJob, MountTarget as _, MountVerdict},
    },
    provision::Tenant,
    report::figure,
    scenario::model::{CallCount, Class, Mount, Workload, WorkloadKind},
    tenant::{self, WorkloadManifest},
    verdict::failure,
};

/// Longest time of one mount.
const MOUNT: Duration = Duration::from_secs(30);
/// The node of pods that no kubelet is to run.
pub(super) const NOWHERE: &str = "mountproof-nowhere";
/// Permission bits of the tenant's own class.
const MODE: u32 = 0o644;
/// Beyond the rotation interval: files' times are as coarse as the kernel's tick.
const BEYOND_ROTATION: Duration = Duration::from_millis(100);
/// How long nothing new must be asked for a phase to be over: parts may ask for something after their answer.
const QUIET: Duration = Duration::from_millis(250);
/// Fewest looks of a driver that must be alike.
const LEAST_LOOKS: u32 = 2;
/// How often counts are looked at.
const LOOK: Duration = Duration::from_millis(25);
/// Longest wait for something to begin or to settle, beyond the rotation interval.
const SETTLED: Duration = Duration::from_secs(10);

/// What the step says it does.
pub(super) fn title(planned: &CallCount) -> String {
    format!(
        "count the calls of {}",
        phases(planned.mounts, planned.mounts * planned.refreshes)
    )
}

/// Counts, and holds the counts to the scenario's limits.
pub(super) async fn count(attempt: &mut Attempt<'_>, planned: &CallCount, until: Instant) -> StepResult {
    let world = attempt.world;
    let tenant = attempt
        .tenants
        .get(planned.tenant)
        .map(CaseTenant::whole)
        .cloned()
        .ok_or_else(StepError::bad_reference)?;
    let counts = world.environment.counts.as_deref().ok_or_else(|| {
        StepError::trouble("nobody here counts calls; the scenario must require `call-counts`")
    })?;
    let limited = planned
        .limits_of_mount
        .keys()
        .chain(planned.limits_of_refresh.keys());
    if let Some(uncounted) = limited
        .into_iter()
        .find(|&call| counts.uncounted().contains(&call.as_str()))
    {
        return Err(StepError::trouble(format!(
            "{uncounted} has a limit and cannot be counted here"
        )));
    }
    let counter = Counter {
        world,
        counts,
        tenant: &tenant,
        cursor: attempt.calls_from,
        rotation: world.options.environment.rotation(),
    };
    let (mounts, mut refreshes) = through_the_lens(&counter, attempt, planned, until).await?;
    let by = counter.refreshed_by();
    let mut number = planned.mounts * planned.refreshes;
    if by == RefreshedBy::Driver && planned.refreshes > 0 {
        number = planned.refreshes.max(LEAST_LOOKS);
        refreshes = of_a_pod(&counter, attempt, planned.tenant, number, until).await?;
    }
    let event = CallsCounted {
        case: attempt.case.plan.case.clone(),
        attempt: attempt.number,
        mounts: planned.mounts,
        refreshes: number,
        refreshed_by: by,
        rotation_us: super::micros(counter.rotation),
        calls: joined(&mounts, &refreshes),
        uncounted: counts.uncounted().iter().map(|&call| call.to_owned()).collect(),
    };
    world.record(EventKind::CallsCounted(event.clone()));
    let above = above_limits(&event, planned);
    if above.is_empty() {
        return Ok(calls_of_a_mount(&event).into());
    }
    Err(world.blame(judged(&above)).await)
}

/// Whose calls are counted, and by whom.
struct Counter<'a> {
    world: &'a World,
    counts: &'a dyn CallCounts,
    tenant: &'a Tenant,
    /// Of the AWS call log, from before anything of the tenant's.
    cursor: u64,
    rotation: Duration,
}

impl Counter<'_> {
    /// Who sees to it that a running pod's files are refreshed.
    fn refreshed_by(&self) -> RefreshedBy {
        if DriverGeneration::of(&self.world.version("driver")).republish {
            RefreshedBy::Kubelet
        } else {
            RefreshedBy::Driver
        }
    }

    fn so_far(&self) -> Result<Calls, StepError> {
        self.counts.of(self.tenant, self.cursor).ok_or_else(|| {
            StepError::trouble("the call log no longer holds every call that was to be counted")
        })
    }

    /// What has been asked, when nothing new is asked any more.
    async fn settled(&self) -> Result<Calls, StepError> {
        let until = Instant::now() + SETTLED;
        let mut seen = self.so_far()?;
        let mut since = Instant::now();
        while since.elapsed() < QUIET {
            tokio::time::sleep(LOOK).await;
            let now = self.so_far()?;
            if now == seen {
                continue;
            }
            if Instant::now() >= until {
                return Err(StepError::trouble(format!(
                    "driver and provider were not quiet for {QUIET:?} within {SETTLED:?}: whose calls are whose cannot be told"
                )));
            }
            (seen, since) = (now, Instant::now());
        }
        Ok(seen)
    }

    /// The same, when something new was asked first.
    async fn settled_beyond(&self, before: &Calls) -> Result<Calls, StepError> {
        let within = self.rotation + SETTLED;
        let until = Instant::now() + within;
        while self.so_far()? == *before {
            if Instant::now() >= until {
                return Err(StepError::trouble(format!(
                    "the driver did not look for new values within {within:?}, at a rotation interval of {:?}",
                    self.rotation
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
        self.settled().await
    }

    /// Mounts, or republishes what is mounted, and looks at the files.
    async fn mount(&self, lens: &CsiLens, index: u32) -> Result<(), StepError> {
        let job = MountJob {
            index,
            tenant: 0,
            warm_up: index == 0,
            deadline: MOUNT,
        };
        let broken = match lens.mount(job).await.verdict {
            MountVerdict::Ok => return Ok(()),
            MountVerdict::TimedOut => format!("no answer within {MOUNT:?}"),
            MountVerdict::Failed(because) => because,
            MountVerdict::DeniedAsExpected => "denied".to_owned(),
        };
        let broken = failure(format!("mount {index} did not work: {broken}"));
        Err(self.world.blame(broken).await)
    }
}

/// Calls of the mounts, and of the refreshes where kubelet's republishing makes them, which this lens does in its place.
async fn through_the_lens(
    counter: &Counter<'_>,
    attempt: &Attempt<'_>,
    planned: &CallCount,
    until: Instant,
) -> Result<(Calls, Calls), StepError> {
    let world = attempt.world;
    let warm_up = world.shared(attempt.case.plan.identity).first();
    let warm_up = warm_up.ok_or_else(StepError::bad_reference)?;
    let mut pods = vec![unplaced_pod(attempt, warm_up, 0).await?];
    for index in 1..=planned.mounts {
        pods.push(unplaced_pod(attempt, counter.tenant, index).await?);
    }
    let lens = csi_target(world, &pods).await?;
    let phases = tokio::time::timeout_at(until.into(), of_mounts(counter, planned, &lens)).await;
    for leftover in lens.unpublish_all(PARALLEL, UNMOUNT).await {
        world.warn(leftover.to_string());
    }
    for pod in &pods {
        world.delete(&pod_reference(&pod.tenant.name, &pod.name)).await;
    }
    phases.unwrap_or_else(|_| {
        Err(StepError::trouble(
            "mounts and refreshes took longer than the step may",
        ))
    })
}

/// A pod that no kubelet runs, so that this lens alone asks for its mount. It has to be there: what the driver writes about
/// a mount belongs to its pod, and would go where there is none.
async fn unplaced_pod<'a>(
    attempt: &Attempt<'_>,
    tenant: &'a Tenant,
    index: u32,
) -> Result<LensPod<'a>, StepError> {
    let world = attempt.world;
    let workload = format!("counted-{index}");
    let name = tenant::workload_name(
        // Not what measurements are called after: with more in it the number would be cut off.
        &attempt.case.scenario.name,
        &workload,
        &attempt.case.plan.case,
        attempt.number,
    );
    let marks = world.marks.of_tenant(&tenant.name);
    let manifest = WorkloadManifest {
        namespace: &tenant.name,
        name: &name,
        class: &tenant.class,
        image: world.image(),
        command: &[],
        marks: &marks,
    };
    let mut manifest = manifest.pod();
    manifest["spec"]["nodeName"] = NOWHERE.into();
    // No kubelet would say that it has ended.
    manifest["spec"]["terminationGracePeriodSeconds"] = 0.into();
    world.create(&manifest).await?;
    let made = world
        .environment
        .kubernetes
        .read(&pod_reference(&tenant.name, &name))
        .await?;
    let uid = made.as_ref().and_then(|pod| pod["metadata"]["uid"].as_str());
    let uid =
        uid.ok_or_else(|| StepError::trouble(format!("the pod {name} is gone though nobody removed it")))?;
    Ok(LensPod {
        uid: uid.to_owned(),
        name,
        tenant,
    })
}

fn pod_reference(namespace: &str, name: &str) -> ObjectRef {
    ObjectRef::new("v1", "Pod", Some(namespace), name)
}

async fn of_mounts(
    counter: &Counter<'_>,
    planned: &CallCount,
    lens: &CsiLens,
) -> Result<(Calls, Calls), StepError> {
    counter.mount(lens, 0).await?;
    let before = counter.settled().await?;
    for index in 1..=planned.mounts {
        counter.mount(lens, index).await?;
    }
    let mounted = counter.settled().await?;
    let mounts = between(&before, &mounted);
    if counter.refreshed_by() == RefreshedBy::Driver {
        return Ok((mounts, Calls::new()));
    }
    for _ in 0..planned.refreshes {
        tokio::time::sleep(counter.rotation + BEYOND_ROTATION).await;
        for index in 1..=planned.mounts {
            counter.mount(lens, index).await?;
        }
    }
    Ok((mounts, between(&mounted, &counter.settled().await?)))
}

/// Calls of the looks that the driver takes by itself, which are at pods that it finds: a pod is run for it.
///
/// A look is what comes between two times of quiet. Those count that come in a row and ask the same: not the first one, at
/// which the driver asks for the pod's tokens and keeps them for as long as they last, nor one that a busy machine drew out
/// until it looked like two.
async fn of_a_pod(
    counter: &Counter<'_>,
    attempt: &mut Attempt<'_>,
    tenant: usize,
    looks: u32,
    until: Instant,
) -> Result<Calls, StepError> {
    let mount = Mount {
        workload: Workload {
            name: "watched".to_owned(),
            tenant,
            class: Class::TenantOwn { tenant },
            kind: WorkloadKind::Pod,
        },
        mode: MODE,
        pod_status: false,
    };
    workload::mount(attempt, &mount, until).await?;
    let alike = tokio::time::timeout_at(until.into(), looks_alike(counter, looks)).await;
    alike.unwrap_or_else(|_| {
        Err(StepError::trouble(format!(
            "no {looks} looks of the driver in a row asked the same within the step's time"
        )))
    })
}

async fn looks_alike(counter: &Counter<'_>, wanted: u32) -> Result<Calls, StepError> {
    let mut seen = counter.settled().await?;
    let (mut last, mut in_a_row) = (Calls::new(), 0);
    while in_a_row < wanted {
        let now = counter.settled_beyond(&seen).await?;
        let look = between(&seen, &now);
        in_a_row = if look == last { in_a_row + 1 } else { 1 };
        (seen, last) = (now, look);
    }
    Ok(last
        .into_iter()
        .map(|(counted, times)| (counted, times * u64::from(wanted)))
        .collect())
}

/// PURE: what was asked after `before`, of what was asked until `after`.
fn between(before: &Calls, after: &Calls) -> Calls {
    after
        .iter()
        .map(|(counted, total)| (counted.clone(), total - before.get(counted).copied().unwrap_or(0)))
        .filter(|&(_, times)| times > 0)
        .collect()
}

/// PURE: both phases, call by call.
fn joined(mounts: &Calls, refreshes: &Calls) -> Vec<CallCounted> {
    let mut all = mounts.clone();
    all.extend(refreshes.clone());
    all.into_keys()
        .map(|counted| CallCounted {
            on_mounts: mounts.get(&counted).copied().unwrap_or(0),
            on_refreshes: refreshes.get(&counted).copied().unwrap_or(0),
            call: counted.call,
            by: counted.by.to_owned(),
        })
        .collect()
}

/// PURE: every figure that is above its limit, as phase and line. A limit is one on driver and provider together.
fn above_limits(seen: &CallsCounted, planned: &CallCount) -> Vec<(&'static str, String)> {
    type Of = fn(&CallCounted) -> u64;
    let phases: [(_, _, _, Of); 2] = [
        ("mount", &planned.limits_of_mount, seen.mounts, |call| {
            call.on_mounts
        }),
        ("refresh", &planned.limits_of_refresh, seen.refreshes, |call| {
            call.on_refreshes
        }),
    ];
    let mut above = Vec::new();
    for (phase, limits, number, of) in phases {
        for (name, &limit) in limits {
            let total: u64 = seen.calls.iter().filter(|call| call.call == *name).map(of).sum();
            if total > limit * u64::from(number) {
                let each = calls::each(total, number).0;
                above.push((
                    phase,
                    format!("{name}: {each} each ({total} in {number}), and {limit} at most"),
                ));
            }
        }
    }
    above
}

fn judged(above: &[(&'static str, String)]) -> Failure {
    let first = above
        .first()
        .map(|(phase, text)| format!("calls of a {phase}: {text}"));
    let mut broken = failure(first.unwrap_or_default());
    for (phase, text) in above {
        broken = broken.fact(phase, text);
    }
    broken
}

fn calls_of_a_mount(event: &CallsCounted) -> String {
    format!("calls of {} counted", phases(event.mounts, event.refreshes))
}

fn phases(mounts: u32, refreshes: u32) -> String {
    let plural = if refreshes == 1 { "" } else { "es" };
    format!(
        "{} and {refreshes} refresh{plural}",
        figure::counted(mounts as usize, "mount")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Counted;

    fn calls(calls: &[(&str, &'static str, u64)]) -> Calls {
        calls
            .iter()
            .map(|&(call, by, times)| {
                (
                    Counted {
                        call: call.to_owned(),
                        by,
                    },
                    times,
                )
            })
            .collect()
    }

    #[test]
    fn a_phase_is_what_was_asked_between_two_looks() {
        let before = calls(&[("a", "driver", 2), ("b", "driver", 1)]);
        let after = calls(&[("a", "driver", 5), ("a", "provider", 4), ("b", "driver", 1)]);
        assert_eq!(
            between(&before, &after),
            calls(&[("a", "driver", 3), ("a", "provider", 4)])
        );
    }

    #[test]
    fn limits_hold_for_driver_and_provider_together_in_each_phase() {
        let mounts = calls(&[
            ("secretsmanager:GetSecretValue", "provider", 11),
            ("tls:kubernetes", "driver", 5),
            ("tls:kubernetes", "provider", 5),
        ]);
        let refreshes = calls(&[("tls:kubernetes", "driver", 20)]);
        let seen = CallsCounted {
            case: "c".to_owned(),
            attempt: 1,
            mounts: 10,
            refreshes: 20,
            refreshed_by: RefreshedBy::Kubelet,
            rotation_us: 1_000_000,
            calls: joined(&mounts, &refreshes),
            uncounted: Vec::new(),
        };
        let above = |mount: &[(&str, u64)], refresh: &[(&str, u64)]| {
            let limits = |limits: &[(&str, u64)]| {
                limits
                    .iter()
                    .map(|&(name, limit)| (name.to_owned(), limit))
                    .collect()
            };
            let planned = CallCount {
                tenant: 0,
                mounts: 10,
                refreshes: 2,
                limits_of_mount: limits(mount),
                limits_of_refresh: limits(refresh),
            };
            let above = above_limits(&seen, &planned).into_iter();
            above
                .map(|(phase, text)| format!("{phase}: {text}"))
                .collect::<Vec<_>>()
        };
        let kept = above(
            &[
                ("tls:kubernetes", 1),
                ("secretsmanager:DescribeSecret", 0),
                ("secretsmanager:GetSecretValue", 2),
            ],
            &[("tls:kubernetes", 1), ("secretsmanager:GetSecretValue", 0)],
        );
        assert_eq!(kept, [""; 0]);
        let broken = above(&[("secretsmanager:GetSecretValue", 1)], &[("tls:kubernetes", 0)]);
        assert_eq!(
            broken,
            [
                "mount: secretsmanager:GetSecretValue: 1.1 each (11 in 10), and 1 at most",
                "refresh: tls:kubernetes: 1 each (20 in 20), and 0 at most",
            ]
        );
    }
}
