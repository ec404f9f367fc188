//! The steps that play kubelet (`publish`), and those that disturb what mounts need (`aws`, `restart`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tonic::Code;

use super::{
    as_kubelet::{self, DriverSocket, Handed},
    case::Attempt,
    step::{StepError, StepResult},
    world::World,
};
use crate::{
    load::csi_lens::{PodIdentity, PublishError, PublishJob},
    provision::Tenant,
    scenario::{
        duration,
        model::{Interruption, Publish, Restart, Rotation},
    },
    tenant,
    verdict::{Finding, failure},
};

/// Kubelet's pause before it tries a volume again for the first time; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest time until a volume is gone when its case has ended.
const UNPUBLISH: Duration = Duration::from_secs(20);

/// A volume that the harness published, or tried to.
pub(super) struct LiveVolume {
    name: String,
    job: PublishJob,
    tenant: Tenant,
    /// How each call ended.
    calls: Vec<String>,
    /// When kubelet would call again, and its pause after that call.
    next: Instant,
    pause: Duration,
}

/// Publishes a volume until the driver reports success, and looks at it then; or once, interrupted.
pub(super) async fn publish(attempt: &mut Attempt<'_>, planned: &Publish, until: Instant) -> StepResult {
    let world = attempt.world;
    let client = DriverSocket::of(world)?;
    if !planned.again {
        let live = LiveVolume::new(attempt, planned).await?;
        // On record before the first call: whatever ends this step, the case's clean-up finds it.
        attempt.volumes.insert(planned.volume.clone(), live);
    }
    let live = attempt.volumes.get_mut(&planned.volume);
    let live = live.ok_or_else(StepError::bad_reference)?;
    match planned.interruption {
        None => live.done(world, &client, planned.deadline, until).await,
        Some(Interruption::Deadline) => live.timed_out(&client, planned.deadline, until).await,
        Some(Interruption::DriverKilled) => live.killed(world, &client, planned.deadline, until).await,
    }
}

impl LiveVolume {
    async fn new(attempt: &Attempt<'_>, planned: &Publish) -> Result<Self, StepError> {
        let tenant = attempt.tenants.get(planned.tenant);
        let tenant = tenant.ok_or_else(StepError::bad_reference)?.tenant().clone();
        let (case, number) = (&attempt.case.plan.case, attempt.number);
        let print = tenant::fingerprint_of(&format!("{case} {number} {}", planned.volume));
        let handed = Handed::of(attempt.world).await?;
        let job = PublishJob {
            pod: PodIdentity {
                name: format!("publish-{}", &print[..8]),
                namespace: tenant.name.clone(),
                // Shaped like a uid, and never one that a cluster would give out.
                uid: format!("00000000-0000-4000-9000-{}", &print[..12]),
                service_account: "default".to_owned(),
            },
            class: tenant.class.clone(),
            tokens: handed.tokens(attempt.world, &tenant).await?,
            attributes: handed.attributes,
        };
        Ok(Self {
            name: planned.volume.clone(),
            job,
            tenant,
            calls: Vec::new(),
            next: Instant::now(),
            pause: FIRST_PAUSE,
        })
    }

    /// Calls until the driver reports success; then every file must be there.
    async fn done(
        &mut self,
        world: &World,
        client: &DriverSocket,
        deadline: Duration,
        until: Instant,
    ) -> StepResult {
        let began = Instant::now();
        loop {
            match self.call(client, deadline, until).await {
                Ok(_) => return self.judged(client).await,
                Err(error) if self.next >= until => {
                    let broken = failure(format!(
                        "the volume {} was not mounted within {:.1} s: {error}",
                        self.name,
                        began.elapsed().as_secs_f64()
                    ));
                    return Err(world.blame(broken.fact("calls", self.calls.join("; "))).await);
                }
                Err(_) => {}
            }
        }
    }

    /// One call whose deadline passes.
    async fn timed_out(&mut self, client: &DriverSocket, deadline: Duration, until: Instant) -> StepResult {
        match self.call(client, deadline, until).await {
            Err(PublishError::TimedOut(_)) => Ok(interrupted(format!(
                "the call for {} passed its deadline of {}",
                self.name,
                duration::print(deadline)
            ))),
            Err(PublishError::Refused { status, .. }) if status.code() == Code::DeadlineExceeded => {
                Ok(interrupted(format!(
                    "the call for {} ended with its deadline of {}",
                    self.name,
                    duration::print(deadline)
                )))
            }
            Err(error) => Err(StepError::trouble(format!(
                "{}: the deadline was to pass, and the call failed before: {error}",
                self.name
            ))),
            Ok(_) => Err(self.too_soon(client, "before its deadline passed").await),
        }
    }

    /// One call in whose middle the driver is killed.
    async fn killed(
        &mut self,
        world: &World,
        client: &DriverSocket,
        deadline: Duration,
        until: Instant,
    ) -> StepResult {
        let Some(control) = &world.environment.control else {
            return Err(StepError::trouble("nobody can kill the driver here"));
        };
        let uid = self.job.pod.uid.clone();
        let (killed, ended) = {
            let mut call = std::pin::pin!(self.call(client, deadline, until));
            let too_soon = tokio::select! {
                biased;
                ended = &mut call => Some(ended),
                () = client.begun(&uid, deadline) => None,
            };
            match too_soon {
                Some(ended) => (false, ended),
                None => (true, tokio::join!(control.kill_driver(), call).1),
            }
        };
        match ended {
            Err(error) if killed => Ok(interrupted(format!(
                "the driver was killed in the middle of the call for {}: {error}",
                self.name
            ))),
            Err(error) => Err(StepError::trouble(format!(
                "{}: the call failed before the driver was killed: {error}",
                self.name
            ))),
            Ok(_) => Err(self.too_soon(client, "before the driver was killed").await),
        }
    }

    /// One call, no sooner than kubelet would make it.
    async fn call(
        &mut self,
        client: &DriverSocket,
        deadline: Duration,
        until: Instant,
    ) -> Result<Duration, PublishError> {
        tokio::time::sleep_until(self.next.min(until).into()).await;
        let left = until.saturating_duration_since(Instant::now());
        let deadline = deadline.min(Duration::from_millis(
            left.as_millis().try_into().unwrap_or(u64::MAX),
        ));
        let sent = Instant::now();
        let ended = client.publish(&self.job, deadline).await;
        let after = format!("after {:.2} s", sent.elapsed().as_secs_f64());
        self.calls.push(match &ended {
            Ok(_) => format!("OK {after}"),
            Err(error) => format!("{error} {after}"),
        });
        self.next = Instant::now() + self.pause;
        self.pause *= 2;
        ended
    }

    /// What is mounted, now that the driver says that it is.
    async fn judged(&self, client: &DriverSocket) -> StepResult {
        let looked = client.look(&self.job.pod.uid).await?;
        let empty = looked.trouble.is_none() && looked.files.is_empty();
        let Err(wrong) = as_kubelet::check_look(&self.tenant, &looked) else {
            let brief = match self.calls.len() {
                1 => "file byte-exact".to_owned(),
                number => format!("call {number} for the volume: file byte-exact"),
            };
            return Ok(Finding {
                detail: format!("{}: {brief}", self.name),
                brief,
            });
        };
        let broken = if empty {
            let mounted = if looked.mounted {
                "a file system without a file"
            } else {
                "nothing: the folder is kubelet's own disk"
            };
            failure(format!(
                "the volume {} was reported as mounted, and its folder is empty",
                self.name
            ))
            .fact("mounted", mounted)
        } else {
            failure(format!(
                "the volume {} was reported as mounted: {wrong}",
                self.name
            ))
        };
        let secret = format!("{}/{}", self.tenant.name, tenant::TENANT_SECRET);
        let broken = broken.fact("secret", secret).fact("calls", self.calls.join("; "));
        Err(StepError::Broken(broken))
    }

    /// A call that should not have come to its end: what it left may be wrong all the same.
    async fn too_soon(&self, client: &DriverSocket, when: &str) -> StepError {
        match self.judged(client).await {
            Err(broken) => broken,
            Ok(_) => StepError::trouble(format!(
                "{} was mounted {when}: what was to be in its way was not",
                self.name
            )),
        }
    }
}

fn interrupted(detail: String) -> Finding {
    Finding {
        brief: String::new(),
        detail,
    }
}

/// Unpublishes the volumes of a case, which kubelet would do until it works.
pub(super) async fn remove_all(world: &World, volumes: BTreeMap<String, LiveVolume>) {
    // Without a socket nothing was published.
    let Ok(client) = DriverSocket::of(world) else {
        return;
    };
    for live in volumes.into_values() {
        let until = Instant::now() + UNPUBLISH;
        while let Err(leftover) = client.unpublish(&live.job.pod.uid, UNPUBLISH).await {
            if Instant::now() + FIRST_PAUSE >= until {
                world.warn(leftover);
                break;
            }
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        as_kubelet::remove_status(world, &live.job.pod.name, &live.tenant).await;
    }
}

/// Makes AWS slow, or well again.
pub(super) async fn aws(world: &World, latency: Option<Duration>) -> StepResult {
    let Some(aws) = &world.environment.aws_faults else {
        return Err(StepError::trouble("nobody can make AWS slow here"));
    };
    aws.set_latency(latency).await;
    Ok(interrupted(aws_title(latency)))
}

/// Starts the driver or the provider anew.
pub(super) async fn restart(world: &World, restart: &Restart) -> StepResult {
    let Some(control) = &world.environment.control else {
        return Err(StepError::trouble("nobody can start programs anew here"));
    };
    let restarted = match restart {
        Restart::Driver { rotation } => control.restart_driver(*rotation).await,
        Restart::Provider {
            moves,
            driver_writes_secrets,
        } => control.restart_provider(*moves, *driver_writes_secrets).await,
    };
    restarted
        .map_err(|because| StepError::trouble(format!("cannot {}: {because}", restart_title(restart))))?;
    Ok(interrupted(restart_title(restart)))
}

/// What the step says it does.
pub(super) fn title(planned: &Publish, tenant: &str) -> String {
    let verb = if planned.again { "again publish" } else { "publish" };
    let how = match planned.interruption {
        None => String::new(),
        Some(Interruption::Deadline) => format!(" until {} have passed", duration::print(planned.deadline)),
        Some(Interruption::DriverKilled) => " until the driver is killed".to_owned(),
    };
    format!("{verb} {} of {tenant}{how}", planned.volume)
}

/// What the step `aws` says it does.
pub(super) fn aws_title(latency: Option<Duration>) -> String {
    match latency {
        Some(latency) => format!("AWS takes {} for an answer", duration::print(latency)),
        None => "AWS is well again".to_owned(),
    }
}

/// What the step `restart` says it does.
pub(super) fn restart_title(restart: &Restart) -> String {
    match restart {
        Restart::Driver { rotation: None } => "start the driver anew".to_owned(),
        Restart::Driver {
            rotation: Some(Rotation::Off),
        } => "start the driver anew, without rotation".to_owned(),
        Restart::Driver {
            rotation: Some(Rotation::Every(interval)),
        } => format!(
            "start the driver anew, rotating every {}",
            duration::print(*interval)
        ),
        Restart::Provider {
            moves,
            driver_writes_secrets,
        } => format!(
            "start the provider anew{}{}",
            if *moves { " in another folder" } else { "" },
            if *driver_writes_secrets {
                " with --driver-writes-secrets"
            } else {
                ""
            }
        ),
    }
}
