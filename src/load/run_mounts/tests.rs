#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    future::pending,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use tokio::task::yield_now;

use super::*;
use crate::{
    journal::HistogramRecorded,
    load::histogram::{Histogram, merge},
    scenario::model::Arrival,
};

/// A clock that only a script moves.
#[derive(Debug, Default)]
struct ScriptedClock(AtomicU64);

impl ScriptedClock {
    fn advance(&self, millis: u64) {
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ScriptedClock {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// Fires each start when all tasks before it have run as far as they can, late if the clock is ahead.
struct ScriptedStarts {
    clock: Arc<ScriptedClock>,
    starts: Vec<Duration>,
    next: usize,
}

impl Starts for ScriptedStarts {
    async fn next(&mut self) -> Option<Start> {
        yield_now().await;
        let planned = *self.starts.get(self.next)?;
        let wait = planned.saturating_sub(self.clock.elapsed());
        self.clock.advance(u64::try_from(wait.as_millis()).unwrap());
        let index = u32::try_from(self.next).unwrap();
        self.next += 1;
        Some(Start { index, planned })
    }
}

/// A target that does what a function of the job says.
struct Scripted<F>(F);

impl<F, R> MountTarget for Scripted<F>
where
    F: Fn(MountJob) -> R + Send + Sync + 'static,
    R: Future<Output = MountEnd> + Send,
{
    fn mount(&self, job: MountJob) -> impl Future<Output = MountEnd> + Send {
        self.0(job)
    }
}

fn plan(pods: u32, warm_up: u32) -> MountPlan {
    let load = MountLoad {
        pods,
        warm_up,
        rate: 100.0,
        pod_rate: None,
        arrival: Arrival::Constant,
        lenses: vec![Lens::Csi],
        deadline: Duration::from_secs(5),
    };
    let tenants = ["team-red".to_owned(), "team-blue".to_owned()];
    MountPlan::of(&load, Lens::Csi, &tenants, 41, ("mount-latency", "mount-latency")).unwrap()
}

struct Outcome {
    result: Result<MeasurementFinished, AccountingError>,
    events: Vec<EventKind>,
}

impl Outcome {
    fn mounts(&self) -> Vec<&MountFinished> {
        self.events
            .iter()
            .filter_map(|event| {
                if let EventKind::MountFinished(mount) = event {
                    Some(mount)
                } else {
                    None
                }
            })
            .collect()
    }

    fn series(&self, tag: &str) -> Histogram {
        let slices: Vec<&HistogramRecorded> = self
            .events
            .iter()
            .filter_map(|event| {
                if let EventKind::HistogramRecorded(slice) = event {
                    Some(slice)
                } else {
                    None
                }
            })
            .collect();
        merge(slices).unwrap().remove(tag).unwrap()
    }

    /// Every index once, the sum right, and the events in agreement with the counts.
    fn assert_accounted(&self, plan: &MountPlan) -> &MeasurementFinished {
        let finished = self.result.as_ref().unwrap();
        let mut indexes: Vec<_> = self.mounts().iter().map(|mount| mount.index as usize).collect();
        indexes.sort_unstable();
        assert_eq!(indexes, (0..plan.starts.len()).collect::<Vec<_>>());
        let count = |outcome| {
            self.mounts()
                .iter()
                .filter(|mount| mount.outcome == outcome)
                .count() as u64
        };
        assert_eq!(
            [
                finished.ok,
                finished.denied,
                finished.failed,
                finished.timed_out,
                finished.dropped
            ],
            [
                count(MountOutcome::Ok),
                count(MountOutcome::DeniedAsExpected),
                count(MountOutcome::Failed),
                count(MountOutcome::TimedOut),
                count(MountOutcome::Dropped),
            ]
        );
        finished
    }
}

async fn scripted<F, R>(
    plan: &MountPlan,
    clock: &Arc<ScriptedClock>,
    stop: &CancellationToken,
    target: F,
) -> Outcome
where
    F: Fn(MountJob) -> R + Send + Sync + 'static,
    R: Future<Output = MountEnd> + Send + 'static,
{
    let events = Mutex::new(Vec::new());
    let emit = |event| events.lock().unwrap().push(event);
    let starts = ScriptedStarts {
        clock: Arc::clone(clock),
        starts: plan.starts.clone(),
        next: 0,
    };
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let accounts = Accounts::new(plan, &emit, &|_, _| {});
    let result = drive(accounts, Arc::new(Scripted(target)), starts, clock, stop).await;
    Outcome {
        result,
        events: events.into_inner().unwrap(),
    }
}

#[tokio::test]
async fn a_stalled_target_shows_in_response_time_and_not_in_service_time() {
    let (plan, clock) = (plan(30, 0), Arc::new(ScriptedClock::default()));
    let target = {
        let clock = Arc::clone(&clock);
        move |job: MountJob| {
            // One mount stops the whole machine for 150 ms; the others take 1 ms.
            clock.advance(if job.index == 5 { 150 } else { 1 });
            async { MountEnd::from(MountVerdict::Ok) }
        }
    };
    let outcome = scripted(&plan, &clock, &CancellationToken::new(), target).await;
    let finished = outcome.assert_accounted(&plan);
    assert_eq!(finished.ok, 30);
    let slow = |histogram: Histogram| histogram.count_between(20_000_000, 600_000_000_000);
    assert_eq!(
        slow(outcome.series("service-time")),
        1,
        "only the stalled mount itself"
    );
    // Planned every 10 ms, so those of the next 150 ms waited: a closed loop would not have sent them.
    assert!(
        slow(outcome.series("steady")) >= 13,
        "{}",
        slow(outcome.series("steady"))
    );
    assert!(finished.late >= 13);
}

#[tokio::test]
async fn every_kind_of_end_is_accounted_for() {
    let (mut plan, clock) = (plan(20, 4), Arc::new(ScriptedClock::default()));
    plan.deadline = Duration::from_millis(5);
    let outcome = scripted(
        &plan,
        &clock,
        &CancellationToken::new(),
        |job: MountJob| async move {
            match job.index % 5 {
                0 => MountEnd {
                    took: Some(Duration::from_millis(3)),
                    retries: 2,
                    ..MountVerdict::Ok.into()
                },
                1 => MountVerdict::DeniedAsExpected.into(),
                2 => MountEnd {
                    throttled: 1,
                    ..MountVerdict::Failed("Unknown: no".into()).into()
                },
                3 => pending().await,
                _ => panic!("a defect of the harness"),
            }
        },
    )
    .await;
    let finished = outcome.assert_accounted(&plan);
    assert_eq!((finished.planned, finished.ok, finished.denied), (24, 5, 5));
    assert_eq!(
        (finished.failed, finished.timed_out, finished.dropped),
        (5 + 4, 5, 0)
    );
    assert_eq!((finished.throttled, finished.retries), (5, 10));
    assert_eq!(finished.errors["the harness panicked in this mount"], 4);

    // Timeouts are in the histograms, at the deadline.
    let censored: Vec<_> = outcome
        .mounts()
        .into_iter()
        .filter(|mount| mount.outcome == MountOutcome::TimedOut)
        .cloned()
        .collect();
    assert!(
        censored
            .iter()
            .all(|mount| mount.done_us.unwrap() - mount.sent_us.unwrap() == 5_000)
    );
    let service = outcome.series("service-time");
    assert_eq!(
        service.len(),
        finished.ok + finished.timed_out - 2,
        "less one of each that warmed up"
    );
    assert_eq!(service.max() / 10_000, 500);
    assert_eq!(outcome.series("warm-up").len(), 2);
    assert_eq!(outcome.series("failed").len(), 9);
}

#[tokio::test]
async fn an_interrupted_run_accounts_for_every_mount() {
    let (plan, clock) = (plan(50, 0), Arc::new(ScriptedClock::default()));
    let stop = CancellationToken::new();
    let target = {
        let stop = stop.clone();
        move |job: MountJob| {
            let stop = stop.clone();
            async move {
                match job.index {
                    // Never answers, not even when asked to stop.
                    7 => pending().await,
                    // Answers within the grace.
                    8 => {
                        stop.cancelled().await;
                        MountVerdict::Ok.into()
                    }
                    20 => {
                        stop.cancel();
                        MountVerdict::Ok.into()
                    }
                    _ => MountVerdict::Ok.into(),
                }
            }
        }
    };
    let outcome = scripted(&plan, &clock, &stop, target).await;
    let finished = outcome.assert_accounted(&plan);
    assert_eq!((finished.ok, finished.dropped), (20, 30));
    let cut_off = outcome
        .mounts()
        .into_iter()
        .find(|mount| mount.index == 7)
        .unwrap();
    assert_eq!(
        (cut_off.outcome, cut_off.sent_us),
        (MountOutcome::Dropped, Some(70_000))
    );
    assert_eq!(cut_off.error.as_deref(), Some("interrupted while under way"));
    let unsent = outcome
        .mounts()
        .into_iter()
        .find(|mount| mount.index == 21)
        .unwrap();
    assert_eq!((unsent.sent_us, unsent.done_us), (None, None));
    assert!(matches!(
        outcome.events.last(),
        Some(EventKind::MeasurementFinished(_))
    ));
}

#[tokio::test]
async fn an_interrupt_before_the_first_start_drops_everything() {
    let (plan, clock) = (plan(10, 2), Arc::new(ScriptedClock::default()));
    let stop = CancellationToken::new();
    stop.cancel();
    let outcome = scripted(&plan, &clock, &stop, |_| async { MountVerdict::Ok.into() }).await;
    assert_eq!(outcome.assert_accounted(&plan).dropped, 12);
}

#[tokio::test]
async fn mounts_beyond_the_cap_are_dropped_and_counted() {
    let (mut plan, clock) = (plan(40, 0), Arc::new(ScriptedClock::default()));
    plan.max_in_flight = 10;
    plan.deadline = Duration::from_millis(50);
    let highest = Arc::new(AtomicUsize::new(0));
    let target = {
        let (highest, now) = (Arc::clone(&highest), Arc::new(AtomicUsize::new(0)));
        move |_| {
            highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            async { pending().await }
        }
    };
    // Starts come as fast as the script runs, so at least the first 40 find 10 that never answer.
    let outcome = scripted(&plan, &clock, &CancellationToken::new(), target).await;
    let finished = outcome.assert_accounted(&plan);
    assert_eq!(finished.timed_out + finished.dropped, 40);
    assert!(finished.dropped > 0);
    assert_eq!(finished.errors["more than 10 mounts under way"], finished.dropped);
    assert_eq!(
        finished.timed_out,
        highest.load(Ordering::SeqCst) as u64,
        "what was sent, and nothing else"
    );
}

#[tokio::test]
async fn the_real_pacer_and_clock_account_for_every_mount_too() {
    let mut plan = plan(300, 10);
    plan.starts = Arrivals::Poisson {
        rate: 3_000.0,
        seed: 41,
    }
    .starts()
    .take(310)
    .collect();
    let events = Mutex::new(Vec::new());
    let emit = |event| events.lock().unwrap().push(event);
    let target = Arc::new(Scripted(|_| async {
        yield_now().await;
        MountVerdict::Ok.into()
    }));
    let finished = run_mounts(&plan, target, &emit, &CancellationToken::new())
        .await
        .unwrap();
    let outcome = Outcome {
        result: Ok(finished),
        events: events.into_inner().unwrap(),
    };
    assert_eq!(outcome.assert_accounted(&plan).ok, 310);
    assert_eq!(outcome.series("steady").len(), 300);
    assert!(matches!(
        outcome.events.first(),
        Some(EventKind::MeasurementStarted(_))
    ));
}

#[test]
fn a_plan_is_a_function_of_its_seed_and_shares_tenants_fairly() {
    let planned = plan(100, 10);
    assert_eq!(planned, plan(100, 10));
    assert_eq!(planned.measurement.measurement, "mount-latency.csi");
    let jobs: Vec<_> = planned.jobs().collect();
    assert_eq!(jobs.len(), 110);
    assert_eq!(jobs.iter().filter(|job| job.tenant == 0).count(), 55);
    assert_eq!(jobs.iter().filter(|job| job.warm_up).count(), 10);
}
