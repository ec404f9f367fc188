//! The open-loop runner of mounts: every planned mount is sent at its time, however slow the others
//! are, and comes to exactly one end.

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    task::{self, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Clock, Emit, MonotonicClock, micros,
    pacer::{Pacer, Start, Starts},
    recorder::{AccountingError, Ended, INTERVAL, Recorder, check_accounting},
    schedule::{Arrivals, ScheduleError, assign},
};
use crate::{
    journal::{EventKind, MeasurementFinished, MeasurementStarted, MountFinished, MountOutcome},
    scenario::model::{Lens, MountLoad},
};

/// From the start of the runner to the first planned start.
pub(crate) const LEAD: Duration = Duration::from_millis(20);
/// How long an interrupted measurement waits for what is under way.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);
/// Mounts under way beyond which further ones are dropped. Far above what a machine bears: it keeps
/// a target that answers nothing from eating all memory.
pub(crate) const MAX_IN_FLIGHT: usize = 20_000;

/// What to mount, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct MountPlan {
    /// [`MeasurementStarted`] as the journal gets it.
    pub measurement: MeasurementStarted,
    /// Planned start of each mount, from the start of the measurement, never falling.
    pub starts: Vec<Duration>,
    /// Names of the tenants.
    pub tenants: Vec<String>,
    /// Whose each mount is: indexes into `tenants`, as many as `starts`.
    pub owners: Vec<usize>,
    /// So many of the first mounts only warm up.
    pub warm_up: u32,
    /// Deadline of one mount, from sending.
    pub deadline: Duration,
    /// Mounts under way at once beyond which further ones are dropped, and counted so.
    pub max_in_flight: usize,
}

/// One planned mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountJob {
    /// Place in the schedule, from 0, warm-up first.
    pub index: u32,
    /// Whose it is: index into [`MountPlan::tenants`].
    pub tenant: usize,
    /// Whether it only warms up.
    pub warm_up: bool,
    /// Its time, from sending.
    pub deadline: Duration,
}

/// How a mount ended, as the target saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEnd {
    /// How.
    pub verdict: MountVerdict,
    /// The part that counts, when the target did more than that (checked files, say); by default all
    /// of [`MountTarget::mount`].
    pub took: Option<Duration>,
    /// Answers that said to slow down.
    pub throttled: u32,
    /// Retries made on the way.
    pub retries: u32,
    /// The node that it was on, where there is more than one to tell apart.
    pub node: Option<String>,
}

/// See [`MountEnd::verdict`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountVerdict {
    /// Mounted with the right bytes.
    Ok,
    /// Refused, as it should be.
    DeniedAsExpected,
    /// Refused or wrong where it should have worked, or the other way round; with the reason.
    Failed(String),
    /// The target ran into a deadline of its own.
    TimedOut,
}

impl From<MountVerdict> for MountEnd {
    fn from(verdict: MountVerdict) -> Self {
        Self {
            verdict,
            took: None,
            throttled: 0,
            retries: 0,
            node: None,
        }
    }
}

/// What mounts: the csi lens, the pod lens, or a script in tests.
pub trait MountTarget: Send + Sync + 'static {
    /// Mounts. What must not count (tokens, folders) belongs before the measurement, unmounting
    /// after it. The future is dropped when the deadline passes or the run is interrupted.
    fn mount(&self, job: MountJob) -> impl Future<Output = MountEnd> + Send;
}

/// A measurement that is worth nothing.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system gives no further thread.
    #[error("start the pacing thread: {0}")]
    Pacer(#[from] io::Error),
    /// See [`AccountingError`].
    #[error(transparent)]
    Accounting(#[from] AccountingError),
}

impl MountPlan {
    /// Plans `load` for one lens: the measurement `name.lens` of `case`, over `tenants` in a shuffled
    /// order. The same seed plans the same mounts.
    pub fn of(
        load: &MountLoad,
        lens: Lens,
        tenants: &[String],
        seed: u64,
        (name, case): (&str, &str),
    ) -> Result<Self, ScheduleError> {
        let arrivals = Arrivals::of(load.arrival, load.rate_of(lens), seed)?;
        let count = load.warm_up as usize + load.pods as usize;
        let of = lens;
        let (lens, what) = match of {
            Lens::Csi => ("csi", "NodePublishVolume, from the planned start to its answer"),
            Lens::Pod => ("pod", "pod, from the planned creation to Ready"),
        };
        let parameters = [
            ("arrival", arrivals.describe()),
            ("deadline", format!("{:?}", load.deadline)),
            ("pods", load.pods.to_string()),
            ("rate", format!("{}/s", load.rate_of(of))),
            ("seed", seed.to_string()),
            ("tenants", tenants.len().to_string()),
            ("warm-up", load.warm_up.to_string()),
        ];
        Ok(Self {
            measurement: MeasurementStarted {
                measurement: format!("{name}.{lens}"),
                case: case.to_owned(),
                what: what.to_owned(),
                lens: lens.to_owned(),
                parameters: parameters.map(|(key, value)| (key.to_owned(), value)).into(),
            },
            starts: arrivals.starts().take(count).collect(),
            tenants: tenants.to_vec(),
            owners: assign(count, tenants.len(), Some(seed))?,
            warm_up: load.warm_up,
            deadline: load.deadline,
            max_in_flight: MAX_IN_FLIGHT,
        })
    }

    /// The planned mounts in order, for targets that prepare them.
    pub fn jobs(&self) -> impl Iterator<Item = MountJob> + '_ {
        (0..)
            .zip(&self.owners)
            .map(|(index, owner)| self.job(index, *owner))
    }

    fn job(&self, index: u32, tenant: usize) -> MountJob {
        MountJob {
            index,
            tenant,
            warm_up: index < self.warm_up,
            deadline: self.deadline,
        }
    }

    fn planned(&self) -> u64 {
        self.starts.len() as u64
    }
}

/// Runs `plan` against `target` and reports through `emit`: [`MeasurementStarted`], a [`MountFinished`]
/// for every planned mount, histogram slices as seconds pass, and [`MeasurementFinished`].
///
/// Ends after the last mount, at the latest one mount's deadline after the last start. When `interrupt`
/// is cancelled, unsent mounts are dropped, and those under way get a second to finish. A mount still
/// under way then is dropped too, and says so.
pub async fn run_mounts<T: MountTarget>(
    plan: &MountPlan,
    target: Arc<T>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) -> Result<MeasurementFinished, RunError> {
    let clock = MonotonicClock::starting_in(LEAD);
    let pacer = Pacer::start(clock.origin(), plan.starts.clone().into_iter())?;
    let accounts = Accounts::new(plan, emit, &|_, _| {});
    Ok(drive(accounts, target, pacer, Arc::new(clock), interrupt).await?)
}

/// The same for whoever keeps the accounts elsewhere: `tell` hears of every end, by its place in the plan.
pub async fn run_share<T: MountTarget>(
    plan: &MountPlan,
    target: Arc<T>,
    tell: Tell<'_>,
    interrupt: &CancellationToken,
) -> Result<MeasurementFinished, RunError> {
    let clock = MonotonicClock::starting_in(LEAD);
    let pacer = Pacer::start(clock.origin(), plan.starts.clone().into_iter())?;
    let accounts = Accounts::new(plan, &|_| {}, tell);
    Ok(drive(accounts, target, pacer, Arc::new(clock), interrupt).await?)
}

/// The runner, with time and starts from outside.
async fn drive<T: MountTarget>(
    accounts: Accounts<'_>,
    target: Arc<T>,
    mut starts: impl Starts,
    clock: Arc<dyn Clock>,
    interrupt: &CancellationToken,
) -> Result<MeasurementFinished, AccountingError> {
    let mut run = Run::new(accounts);
    let mut seconds = interval(INTERVAL);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);

    // Sends. Cancellation comes first, then starts: late results cost nothing, late starts do.
    loop {
        tokio::select! {
            biased;
            () = interrupt.cancelled() => break,
            start = starts.next() => match start {
                Some(start) => {
                    run.send(start, &target, &clock);
                    // Two for each that is sent: results keep up even when starts never pause.
                    run.reap(2, &clock);
                }
                None => break,
            },
            Some(joined) = run.under_way.join_next_with_id() => run.finish(joined, clock.elapsed()),
            _ = seconds.tick() => run.accounts.flush(clock.elapsed()),
        }
    }
    drop(starts);

    // Waits for what is under way; each has its own deadline.
    let interrupted = async {
        interrupt.cancelled().await;
        sleep_until(tokio::time::Instant::now() + INTERRUPT_GRACE).await;
    };
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            biased;
            joined = run.under_way.join_next_with_id() => match joined {
                Some(joined) => run.finish(joined, clock.elapsed()),
                None => break,
            },
            () = &mut interrupted => break,
            _ = seconds.tick() => run.accounts.flush(clock.elapsed()),
        }
    }
    run.close().await
}

type Joined = Result<(task::Id, Ended), task::JoinError>;

/// A measurement under way.
struct Run<'a> {
    plan: &'a MountPlan,
    accounts: Accounts<'a>,
    under_way: JoinSet<Ended>,
    sent: HashMap<task::Id, (u32, Duration)>,
}

impl<'a> Run<'a> {
    fn new(accounts: Accounts<'a>) -> Self {
        Self {
            plan: accounts.plan,
            accounts,
            under_way: JoinSet::new(),
            sent: HashMap::new(),
        }
    }

    fn send<T: MountTarget>(&mut self, start: Start, target: &Arc<T>, clock: &Arc<dyn Clock>) {
        let Some(owner) = self.plan.owners.get(start.index as usize) else {
            return;
        };
        if self.under_way.len() >= self.plan.max_in_flight {
            self.reap(usize::MAX, clock);
        }
        if self.under_way.len() >= self.plan.max_in_flight {
            let why = format!("more than {} mounts under way", self.plan.max_in_flight);
            self.accounts.record(
                start.index,
                &Ended {
                    error: Some(why),
                    ..dropped(self.plan, start.index)
                },
            );
            return;
        }
        let job = self.plan.job(start.index, *owner);
        let (target, clock, planned) = (Arc::clone(target), Arc::clone(clock), start.planned);
        let handed_over = clock.elapsed();
        let handle = self.under_way.spawn(async move {
            let sent = clock.elapsed();
            let (warm_up, deadline) = (job.warm_up, job.deadline);
            let end = timeout(deadline, target.mount(job)).await;
            let took = clock.elapsed().saturating_sub(sent);
            ended(end.ok(), warm_up, planned, sent, took, deadline)
        });
        self.sent.insert(handle.id(), (start.index, handed_over));
    }

    /// Takes up to `most` results that are there.
    fn reap(&mut self, most: usize, clock: &Arc<dyn Clock>) {
        for _ in 0..most {
            let Some(joined) = self.under_way.try_join_next_with_id() else {
                return;
            };
            self.finish(joined, clock.elapsed());
        }
    }

    fn finish(&mut self, joined: Joined, now: Duration) {
        let (id, ended) = match joined {
            Ok((id, ended)) => (id, Some(ended)),
            Err(error) => (error.id(), None),
        };
        let Some((index, sent)) = self.sent.remove(&id) else {
            return;
        };
        // Only a panic ends a task without a result: nothing is aborted while results are taken.
        let ended = ended.unwrap_or_else(|| Ended {
            sent: Some(sent),
            done: Some(now),
            outcome: MountOutcome::Failed,
            error: Some("the harness panicked in this mount".to_owned()),
            ..dropped(self.plan, index)
        });
        self.accounts.record(index, &ended);
    }

    async fn close(mut self) -> Result<MeasurementFinished, AccountingError> {
        self.under_way.shutdown().await;
        let mut cut_off: Vec<_> = std::mem::take(&mut self.sent).into_values().collect();
        cut_off.sort_unstable();
        for (index, sent) in cut_off {
            let error = Some("interrupted while under way".to_owned());
            self.accounts.record(
                index,
                &Ended {
                    sent: Some(sent),
                    error,
                    ..dropped(self.plan, index)
                },
            );
        }
        self.accounts.close()
    }
}

/// What hears of every end: the mount's place in the plan, and how it ended.
pub type Tell<'a> = &'a (dyn Fn(u32, &Ended) + Sync);

/// The accounts of a measurement: every planned mount comes to exactly one end here, wherever it is mounted.
pub(crate) struct Accounts<'a> {
    plan: &'a MountPlan,
    emit: Emit<'a>,
    tell: Tell<'a>,
    recorder: Recorder,
    ended: Vec<bool>,
}

impl<'a> Accounts<'a> {
    /// Opens them: the measurement begins.
    pub(crate) fn new(plan: &'a MountPlan, emit: Emit<'a>, tell: Tell<'a>) -> Self {
        emit(EventKind::MeasurementStarted(plan.measurement.clone()));
        let steady_from = plan
            .starts
            .get(plan.warm_up as usize)
            .copied()
            .unwrap_or_default();
        Self {
            plan,
            emit,
            tell,
            recorder: Recorder::new(&plan.measurement.measurement, steady_from),
            ended: vec![false; plan.starts.len()],
        }
    }

    /// Enters an end; of a mount that has one already a second is not heard.
    pub(crate) fn record(&mut self, index: u32, ended: &Ended) {
        let Some(seen) = self.ended.get_mut(index as usize).filter(|seen| !**seen) else {
            return;
        };
        *seen = true;
        self.recorder.record(ended);
        (self.tell)(index, ended);
        (self.emit)(EventKind::MountFinished(MountFinished {
            measurement: self.plan.measurement.measurement.clone(),
            index,
            tenant: self.plan.tenants[self.plan.owners[index as usize]].clone(),
            planned_us: micros(ended.planned),
            sent_us: ended.sent.map(micros),
            done_us: ended.done.map(micros),
            outcome: ended.outcome,
            error: ended.error.clone(),
            node: ended.node.clone(),
        }));
    }

    /// Whether a mount has come to its end.
    pub(crate) fn has_ended(&self, index: u32) -> bool {
        self.ended.get(index as usize).copied().unwrap_or(true)
    }

    /// Hands over the slices that are full at `now`.
    pub(crate) fn flush(&mut self, now: Duration) {
        for slice in self.recorder.take_closed(now) {
            (self.emit)(slice.into_event());
        }
    }

    /// Closes them: what has not ended by now was never sent.
    pub(crate) fn close(mut self) -> Result<MeasurementFinished, AccountingError> {
        for index in (0..self.ended.len()).filter_map(|index| u32::try_from(index).ok()) {
            if !self.ended[index as usize] {
                self.record(index, &dropped(self.plan, index));
            }
        }
        let (slices, finished) = self.recorder.close(self.plan.planned());
        for slice in slices {
            (self.emit)(slice.into_event());
        }
        (self.emit)(EventKind::MeasurementFinished(finished.clone()));
        check_accounting(&finished)?;
        Ok(finished)
    }
}

/// A mount of which nothing is known but its plan.
pub(crate) fn dropped(plan: &MountPlan, index: u32) -> Ended {
    Ended {
        warm_up: index < plan.warm_up,
        planned: plan.starts[index as usize],
        sent: None,
        done: None,
        outcome: MountOutcome::Dropped,
        error: None,
        throttled: 0,
        retries: 0,
        node: None,
    }
}

fn ended(
    end: Option<MountEnd>,
    warm_up: bool,
    planned: Duration,
    sent: Duration,
    took: Duration,
    deadline: Duration,
) -> Ended {
    // No end before the deadline: censored there.
    let end = end.unwrap_or(MountEnd {
        verdict: MountVerdict::TimedOut,
        took: Some(deadline),
        throttled: 0,
        retries: 0,
        node: None,
    });
    let (outcome, error) = match end.verdict {
        MountVerdict::Ok => (MountOutcome::Ok, None),
        MountVerdict::DeniedAsExpected => (MountOutcome::DeniedAsExpected, None),
        MountVerdict::Failed(reason) => (MountOutcome::Failed, Some(reason)),
        MountVerdict::TimedOut => (MountOutcome::TimedOut, None),
    };
    Ended {
        warm_up,
        planned,
        sent: Some(sent),
        done: Some(sent + end.took.unwrap_or(took)),
        outcome,
        error,
        throttled: end.throttled,
        retries: end.retries,
        node: end.node,
    }
}

#[cfg(test)]
mod tests;
