//! The runner of fetches: a closed loop with so many in flight, or an open loop with so many a second.
//!
//! A closed loop measures capacity: it sends the next request when one has answered, so its response
//! time is its service time, and a stall hides the requests that it kept from being sent. An open loop
//! measures what callers would see at a given rate.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Clock, Emit, MonotonicClock,
    pacer::{Pacer, Starts as _},
    recorder::{Ended, INTERVAL, Recorder, check_accounting},
    run_mounts::RunError,
    schedule::{Arrivals, ScheduleError},
};
use crate::{
    journal::{EventKind, MeasurementFinished, MeasurementStarted, MountOutcome},
    scenario::model::{Arrival, FetchLoad, Pace},
};

/// From the start of the runner to the first planned start.
const LEAD: Duration = Duration::from_millis(20);
/// How long an interrupted measurement waits for what is under way.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);
/// Fetches under way in an open loop beyond which further ones are dropped.
const MAX_IN_FLIGHT: usize = 10_000;

/// What to fetch, how fast and how long.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchPlan {
    /// [`MeasurementStarted`] as the journal gets it.
    pub measurement: MeasurementStarted,
    /// Closed or open loop.
    pub pace: Pace,
    /// What is sent before this only warms up.
    pub warm_up: Duration,
    /// Nothing is sent from this on, warm-up included.
    pub until: Duration,
    /// Deadline of one fetch, from sending.
    pub deadline: Duration,
}

/// How a fetch ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchEnd {
    /// Nothing, or the error's code, such as `ThrottlingException`. Codes are counted, so they must
    /// be few: no request ids.
    pub result: Result<(), String>,
    /// Answers that said to slow down, those that a retry made good included.
    pub throttled: u32,
    /// Retries made on the way.
    pub retries: u32,
}

impl FetchEnd {
    /// The value arrived at the first try.
    pub const OK: Self = Self {
        result: Ok(()),
        throttled: 0,
        retries: 0,
    };
}

/// What fetches a secret: an AWS client with tenants' credentials, or a script in tests.
pub trait FetchTarget: Send + Sync + 'static {
    /// Fetches once. `worker` counts the loops of a closed loop from 0, and the requests of an open
    /// one: take it modulo the number of tenants. Dropped when the deadline passes.
    fn fetch(&self, worker: usize) -> impl Future<Output = FetchEnd> + Send;
}

impl FetchPlan {
    /// Plans `load` as the measurement `name` of `case`, with a deadline for each fetch.
    pub fn of(
        load: &FetchLoad,
        deadline: Duration,
        (name, case): (&str, &str),
    ) -> Result<Self, ScheduleError> {
        let (pace, what) = match load.pace {
            Pace::InFlight(workers) => (
                format!("closed loop, {workers} in flight"),
                "from sending to the answer",
            ),
            Pace::PerSecond(rate) => {
                let arrivals = Arrivals::of(Arrival::Constant, rate, 0)?;
                (
                    format!("open loop, {}", arrivals.describe()),
                    "from the planned start to the answer",
                )
            }
        };
        let parameters = [
            ("deadline", format!("{deadline:?}")),
            ("duration", format!("{:?}", load.duration)),
            ("pace", pace),
            ("warm-up", format!("{:?}", load.warm_up)),
        ];
        Ok(Self {
            measurement: MeasurementStarted {
                measurement: name.to_owned(),
                case: case.to_owned(),
                what: format!("GetSecretValue, {what}"),
                lens: "fetch".to_owned(),
                parameters: parameters.map(|(key, value)| (key.to_owned(), value)).into(),
            },
            pace: load.pace,
            warm_up: load.warm_up,
            until: load.warm_up + load.duration,
            deadline,
        })
    }
}

/// Runs `plan` against `target` and reports through `emit`: [`MeasurementStarted`], histogram slices as
/// seconds pass, and [`MeasurementFinished`].
///
/// Ends at the latest one deadline after [`FetchPlan::until`]. When `interrupt` is cancelled nothing
/// more is sent, and what is under way gets a second; what an open loop had planned beyond is dropped.
pub async fn run_fetches<T: FetchTarget>(
    plan: &FetchPlan,
    target: Arc<T>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) -> Result<MeasurementFinished, RunError> {
    let clock = MonotonicClock::starting_in(LEAD);
    emit(EventKind::MeasurementStarted(plan.measurement.clone()));
    let shared = Arc::new(Shared {
        target,
        clock: Arc::new(clock),
        recorder: Mutex::new(Recorder::new(&plan.measurement.measurement, plan.warm_up)),
        sent: AtomicU64::new(0),
        warm_up: plan.warm_up,
        deadline: plan.deadline,
    });
    let planned = match plan.pace {
        Pace::InFlight(workers) => {
            sleep(LEAD).await;
            closed_loop(workers, plan.until, &shared, emit, interrupt).await;
            shared.sent.load(Ordering::Relaxed)
        }
        Pace::PerSecond(rate) => {
            let until = plan.until;
            let starts = move || {
                Arrivals::Constant(rate)
                    .starts()
                    .take_while(move |start| *start < until)
            };
            let pacer = Pacer::start(clock.origin(), starts())?;
            open_loop(pacer, &shared, emit, interrupt).await;
            starts().count() as u64
        }
    };
    let (slices, finished) = {
        let mut recorder = lock(&shared.recorder);
        let mut recorder = std::mem::replace(&mut *recorder, Recorder::new("", Duration::ZERO));
        recorder.drop_unsent(planned.saturating_sub(recorder.accounted()));
        recorder.close(planned)
    };
    for slice in slices {
        emit(slice.into_event());
    }
    emit(EventKind::MeasurementFinished(finished.clone()));
    check_accounting(&finished)?;
    Ok(finished)
}

/// What the tasks of a measurement share.
struct Shared<T> {
    target: Arc<T>,
    clock: Arc<dyn Clock>,
    /// Locked for some nanoseconds a fetch: a channel would wake its reader for each.
    recorder: Mutex<Recorder>,
    sent: AtomicU64,
    warm_up: Duration,
    deadline: Duration,
}

impl<T: FetchTarget> Shared<T> {
    async fn fetch(&self, worker: usize, planned: Option<Duration>) {
        let sent = self.clock.elapsed();
        self.sent.fetch_add(1, Ordering::Relaxed);
        let end = timeout(self.deadline, self.target.fetch(worker)).await;
        let done = self.clock.elapsed();
        let planned = planned.unwrap_or(sent);
        let (outcome, error, end) = match end {
            Ok(FetchEnd {
                result: Ok(()),
                throttled,
                retries,
            }) => (MountOutcome::Ok, None, (throttled, retries)),
            Ok(FetchEnd {
                result: Err(code),
                throttled,
                retries,
            }) => (MountOutcome::Failed, Some(code), (throttled, retries)),
            Err(_) => (MountOutcome::TimedOut, None, (0, 0)),
        };
        let done = if outcome == MountOutcome::TimedOut {
            sent + self.deadline
        } else {
            done
        };
        lock(&self.recorder).record(&Ended {
            warm_up: planned < self.warm_up,
            planned,
            sent: Some(sent),
            done: Some(done),
            outcome,
            error,
            throttled: end.0,
            retries: end.1,
            node: None,
        });
    }

    fn drop_one(&self, planned: Duration) {
        lock(&self.recorder).record(&Ended {
            warm_up: planned < self.warm_up,
            planned,
            sent: None,
            done: None,
            outcome: MountOutcome::Dropped,
            error: Some(format!("more than {MAX_IN_FLIGHT} fetches under way")),
            throttled: 0,
            retries: 0,
            node: None,
        });
    }

    fn flush(&self, emit: Emit<'_>) {
        // Deflating takes a third of a millisecond a slice: not under the lock.
        let slices = lock(&self.recorder).take_closed(self.clock.elapsed());
        for slice in slices {
            emit(slice.into_event());
        }
    }
}

async fn closed_loop<T: FetchTarget>(
    workers: u32,
    until: Duration,
    shared: &Arc<Shared<T>>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) {
    let mut loops = JoinSet::new();
    for worker in 0..workers as usize {
        let (shared, interrupt) = (Arc::clone(shared), interrupt.clone());
        loops.spawn(async move {
            while !interrupt.is_cancelled() && shared.clock.elapsed() < until {
                shared.fetch(worker, None).await;
                // A target that answers without waiting must not keep its thread for ever.
                tokio::task::consume_budget().await;
            }
        });
    }
    drain(loops, shared, emit, interrupt).await;
}

async fn open_loop<T: FetchTarget>(
    mut pacer: Pacer,
    shared: &Arc<Shared<T>>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) {
    let mut fetches = JoinSet::new();
    let mut seconds = seconds();
    loop {
        tokio::select! {
            biased;
            () = interrupt.cancelled() => break,
            start = pacer.next() => {
                let Some(start) = start else { break };
                if fetches.len() >= MAX_IN_FLIGHT {
                    shared.drop_one(start.planned);
                    continue;
                }
                let shared = Arc::clone(shared);
                fetches.spawn(async move { shared.fetch(start.index as usize, Some(start.planned)).await });
            }
            Some(_) = fetches.join_next() => {}
            _ = seconds.tick() => shared.flush(emit),
        }
    }
    drop(pacer);
    drain(fetches, shared, emit, interrupt).await;
}

/// Waits for `tasks`, which end by themselves, or for a second after an interrupt.
async fn drain<T: FetchTarget>(
    mut tasks: JoinSet<()>,
    shared: &Arc<Shared<T>>,
    emit: Emit<'_>,
    interrupt: &CancellationToken,
) {
    let interrupted = async {
        interrupt.cancelled().await;
        sleep(INTERRUPT_GRACE).await;
    };
    tokio::pin!(interrupted);
    let mut seconds = seconds();
    loop {
        tokio::select! {
            biased;
            joined = tasks.join_next() => match joined {
                // A panic left its fetch without an end: it is counted as dropped.
                Some(Err(error)) => tracing::error!(%error, "a fetch"),
                Some(Ok(())) => {}
                None => break,
            },
            () = &mut interrupted => break,
            _ = seconds.tick() => shared.flush(emit),
        }
    }
    // What is cut off here was sent and has no end: it is counted as dropped.
    tasks.shutdown().await;
}

fn seconds() -> tokio::time::Interval {
    let mut seconds = interval(INTERVAL);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    seconds
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::{future::pending, sync::atomic::AtomicUsize};

    use super::*;
    use crate::{
        journal::HistogramRecorded,
        load::histogram::{merge, per_second},
    };

    struct Scripted<F>(F);

    impl<F, R> FetchTarget for Scripted<F>
    where
        F: Fn(usize) -> R + Send + Sync + 'static,
        R: Future<Output = FetchEnd> + Send,
    {
        fn fetch(&self, worker: usize) -> impl Future<Output = FetchEnd> + Send {
            self.0(worker)
        }
    }

    fn plan(pace: Pace) -> FetchPlan {
        let load = FetchLoad {
            duration: Duration::from_millis(200),
            warm_up: Duration::from_millis(50),
            pace,
        };
        FetchPlan::of(
            &load,
            Duration::from_millis(20),
            ("fetch-throughput", "fetch-throughput"),
        )
        .unwrap()
    }

    async fn run<F, R>(
        plan: &FetchPlan,
        stop: &CancellationToken,
        target: F,
    ) -> (MeasurementFinished, Vec<HistogramRecorded>)
    where
        F: Fn(usize) -> R + Send + Sync + 'static,
        R: Future<Output = FetchEnd> + Send + 'static,
    {
        let slices = Mutex::new(Vec::new());
        let emit = |event| {
            if let EventKind::HistogramRecorded(slice) = event {
                slices.lock().unwrap().push(slice);
            }
        };
        let finished = run_fetches(plan, Arc::new(Scripted(target)), &emit, stop)
            .await
            .unwrap();
        (finished, slices.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_closed_loop_keeps_its_number_in_flight_and_sums_up() {
        let (now, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let target = {
            let (now, highest) = (Arc::clone(&now), Arc::clone(&highest));
            move |worker| {
                let (now, highest) = (Arc::clone(&now), Arc::clone(&highest));
                async move {
                    assert!(worker < 4);
                    highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(Duration::from_millis(1)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    FetchEnd::OK
                }
            }
        };
        let (finished, slices) = run(&plan(Pace::InFlight(4)), &CancellationToken::new(), target).await;
        assert_eq!(highest.load(Ordering::SeqCst), 4);
        let merged = merge(&slices).unwrap();
        assert_eq!(
            merged["warm-up"].len() + merged["steady"].len(),
            finished.ok + finished.timed_out
        );
        assert!(per_second(&slices, "steady").unwrap().unwrap() > 0.0);
    }

    #[tokio::test]
    async fn an_open_loop_sends_what_it_planned() {
        let (finished, slices) = run(
            &plan(Pace::PerSecond(1_000.0)),
            &CancellationToken::new(),
            |_| async { FetchEnd::OK },
        )
        .await;
        assert_eq!((finished.planned, finished.ok), (250, 250));
        let merged = merge(&slices).unwrap();
        assert_eq!((merged["warm-up"].len(), merged["steady"].len()), (50, 200));
    }

    #[tokio::test]
    async fn errors_throttling_and_timeouts_are_counted_by_code() {
        let (finished, _) = run(
            &plan(Pace::PerSecond(400.0)),
            &CancellationToken::new(),
            |index| async move {
                match index % 4 {
                    0 => FetchEnd {
                        throttled: 1,
                        retries: 1,
                        ..FetchEnd::OK
                    },
                    1 => FetchEnd {
                        result: Err("ThrottlingException".into()),
                        throttled: 3,
                        retries: 2,
                    },
                    2 => FetchEnd {
                        result: Err("AccessDeniedException".into()),
                        ..FetchEnd::OK
                    },
                    _ => pending().await,
                }
            },
        )
        .await;
        assert_eq!((finished.ok, finished.failed, finished.timed_out), (25, 50, 25));
        assert_eq!((finished.throttled, finished.retries), (100, 75));
        assert_eq!(finished.errors["ThrottlingException"], 25);
        assert_eq!(finished.errors["AccessDeniedException"], 25);
    }

    #[tokio::test]
    async fn an_interrupted_loop_of_either_kind_still_sums_up() {
        for pace in [Pace::InFlight(3), Pace::PerSecond(500.0)] {
            let stop = CancellationToken::new();
            let (seen, trigger) = (AtomicUsize::new(0), stop.clone());
            let mut plan = plan(pace);
            // Longer than the grace.
            plan.deadline = Duration::from_mins(1);
            let (finished, _) = run(&plan, &stop, move |_| {
                let count = seen.fetch_add(1, Ordering::SeqCst);
                if count == 10 {
                    trigger.cancel();
                }
                async move { if count == 5 { pending().await } else { FetchEnd::OK } }
            })
            .await;
            assert!(finished.dropped >= 1, "{pace:?}: {finished:?}");
            assert_eq!(finished.ok + finished.dropped, finished.planned);
        }
    }

    #[test]
    fn an_impossible_rate_is_refused() {
        let load = FetchLoad {
            duration: Duration::ZERO,
            warm_up: Duration::ZERO,
            pace: Pace::PerSecond(0.0),
        };
        assert!(FetchPlan::of(&load, Duration::from_secs(1), ("f", "f")).is_err());
    }
}
