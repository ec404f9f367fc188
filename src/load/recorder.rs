//! PURE: operations that ended, as counts, histogram slices and events.
//!
//! Slices are a second long and hold what *ended* in it. The main series is response time, from the
//! planned start, under the tags `warm-up` and `steady`; beside it, for the steady state only,
//! `service-time` (from sending) and `lateness` (from plan to sending). A timed-out operation is in
//! the histogram at its deadline: left out it would flatter the tail. A failed or denied one took
//! another way through the system and has its own tag, `failed` or `denied`.

use std::{collections::BTreeMap, time::Duration};

use super::{
    histogram::{self, Histogram},
    micros, nanos,
};
use crate::journal::{EventKind, HistogramRecorded, MeasurementFinished, MountOutcome};

/// Length of a slice.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// Sent so much after the plan, an operation counts as late.
const LATE: Duration = Duration::from_millis(1);
/// How long after its end a slice stays open, for results that are on their way.
const SETTLE: Duration = Duration::from_millis(250);
/// Different error texts that are told apart; a text that names its pod must not fill memory.
const DISTINCT_ERRORS: usize = 64;
/// Where further error texts are counted.
pub const OTHER_ERRORS: &str = "(other errors)";
/// Longest error text, in characters.
const ERROR_LENGTH: usize = 300;

/// An operation at its end. Times are from the start of the measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether it only warms the system up.
    pub warm_up: bool,
    /// When it should have started.
    pub planned: Duration,
    /// When it was sent; absent when it never was.
    pub sent: Option<Duration>,
    /// When it ended; absent when that was never known.
    pub done: Option<Duration>,
    /// How it ended.
    pub outcome: MountOutcome,
    /// Error text or code when it failed.
    pub error: Option<String>,
    /// Answers that said to slow down.
    pub throttled: u32,
    /// Retries that the client made by itself.
    pub retries: u32,
    /// The node that it was on, where there is more than one to tell apart.
    pub node: Option<String>,
}

/// Counts that do not add up. The run is invalid: something was lost, or counted twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{measurement}: {planned} operations were planned but {accounted} are accounted for")]
pub struct AccountingError {
    /// Which measurement.
    pub measurement: String,
    /// Planned.
    pub planned: u64,
    /// The sum of all ends.
    pub accounted: u64,
}

/// Collects what ended in one measurement. Memory is bounded by the slices that are open.
#[derive(Debug)]
pub struct Recorder {
    steady_from: Duration,
    open: BTreeMap<(u64, &'static str), Histogram>,
    tally: MeasurementFinished,
    first_planned: Option<Duration>,
    last_done: Duration,
}

/// A slice that nothing will be added to. Making the event deflates: best done outside of locks.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    measurement: String,
    tag: &'static str,
    start: Duration,
    length: Duration,
    histogram: Histogram,
}

impl Recorder {
    /// Starts with nothing. What is planned from `steady_from` on is the steady state.
    #[must_use]
    pub fn new(measurement: &str, steady_from: Duration) -> Self {
        Self {
            steady_from,
            open: BTreeMap::new(),
            tally: MeasurementFinished {
                measurement: measurement.to_owned(),
                planned: 0,
                ok: 0,
                denied: 0,
                failed: 0,
                timed_out: 0,
                dropped: 0,
                late: 0,
                throttled: 0,
                retries: 0,
                errors: BTreeMap::new(),
                took_us: 0,
            },
            first_planned: None,
            last_done: Duration::ZERO,
        }
    }

    /// Adds an operation that ended.
    pub fn record(&mut self, ended: &Ended) {
        let tally = &mut self.tally;
        *match ended.outcome {
            MountOutcome::Ok => &mut tally.ok,
            MountOutcome::DeniedAsExpected => &mut tally.denied,
            MountOutcome::Failed => &mut tally.failed,
            MountOutcome::TimedOut => &mut tally.timed_out,
            MountOutcome::Dropped => &mut tally.dropped,
        } += 1;
        tally.throttled += u64::from(ended.throttled);
        tally.retries += u64::from(ended.retries);
        if let Some(error) = &ended.error {
            count_error(&mut tally.errors, error);
        }
        self.first_planned = Some(
            self.first_planned
                .map_or(ended.planned, |first| first.min(ended.planned)),
        );
        let Some(sent) = ended.sent else { return };
        let lateness = sent.saturating_sub(ended.planned);
        if lateness > LATE {
            self.tally.late += 1;
        }
        let Some(done) = ended.done else { return };
        self.last_done = self.last_done.max(done);
        self.add(done, series(ended), done.saturating_sub(ended.planned));
        if matches!(ended.outcome, MountOutcome::Ok | MountOutcome::TimedOut) && !ended.warm_up {
            self.add(done, "service-time", done.saturating_sub(sent));
            self.add(done, "lateness", lateness);
        }
    }

    /// Counts operations that were planned and will never be sent.
    pub fn drop_unsent(&mut self, count: u64) {
        self.tally.dropped += count;
    }

    /// Operations that ended so far.
    #[must_use]
    pub fn accounted(&self) -> u64 {
        accounted(&self.tally)
    }

    /// Removes the slices that are over at `now`.
    pub fn take_closed(&mut self, now: Duration) -> Vec<Slice> {
        let still_open = slot(now.saturating_sub(SETTLE));
        let later = self.open.split_off(&(still_open, ""));
        let closed = std::mem::replace(&mut self.open, later);
        closed
            .into_iter()
            .map(|(key, histogram)| self.slice(key, histogram, Duration::MAX))
            .collect()
    }

    /// The last slices, cut at the last end, and the counts.
    #[must_use]
    pub fn close(mut self, planned: u64) -> (Vec<Slice>, MeasurementFinished) {
        let open = std::mem::take(&mut self.open);
        let end = self.last_done;
        let slices = open
            .into_iter()
            .map(|(key, histogram)| self.slice(key, histogram, end))
            .collect();
        self.tally.planned = planned;
        self.tally.took_us = micros(end.saturating_sub(self.first_planned.unwrap_or(end)));
        (slices, self.tally)
    }

    fn add(&mut self, at: Duration, tag: &'static str, value: Duration) {
        self.open
            .entry((slot(at), tag))
            .or_insert_with(histogram::empty)
            .saturating_record(nanos(value));
    }

    fn slice(&self, (slot, tag): (u64, &'static str), histogram: Histogram, end: Duration) -> Slice {
        let begin = INTERVAL * u32::try_from(slot).unwrap_or(u32::MAX);
        // A steady slice that begins within the warm-up would be read as a slow one.
        let start = if tag == "warm-up" {
            begin
        } else {
            begin.max(self.steady_from.min(begin + INTERVAL))
        };
        let length = end.min(begin + INTERVAL).saturating_sub(start);
        Slice {
            measurement: self.tally.measurement.clone(),
            tag,
            start,
            length,
            histogram,
        }
    }
}

impl Slice {
    /// As the journal holds it.
    #[must_use]
    pub fn into_event(self) -> EventKind {
        EventKind::HistogramRecorded(HistogramRecorded {
            measurement: self.measurement,
            tag: self.tag.to_owned(),
            start_us: micros(self.start),
            length_us: micros(self.length),
            payload: histogram::encode(&self.histogram),
        })
    }
}

/// Whether the ends of a measurement sum to what was planned.
pub fn check_accounting(finished: &MeasurementFinished) -> Result<(), AccountingError> {
    let accounted = accounted(finished);
    if accounted == finished.planned {
        return Ok(());
    }
    Err(AccountingError {
        measurement: finished.measurement.clone(),
        planned: finished.planned,
        accounted,
    })
}

fn accounted(tally: &MeasurementFinished) -> u64 {
    tally.ok + tally.denied + tally.failed + tally.timed_out + tally.dropped
}

fn series(ended: &Ended) -> &'static str {
    match ended.outcome {
        MountOutcome::Failed => "failed",
        MountOutcome::DeniedAsExpected => "denied",
        _ if ended.warm_up => "warm-up",
        _ => "steady",
    }
}

fn slot(at: Duration) -> u64 {
    at.as_secs() / INTERVAL.as_secs()
}

fn count_error(errors: &mut BTreeMap<String, u64>, text: &str) {
    let text: String = text.chars().take(ERROR_LENGTH).collect();
    let known = errors.len() < DISTINCT_ERRORS || errors.contains_key(&text);
    *errors
        .entry(if known { text } else { OTHER_ERRORS.to_owned() })
        .or_default() += 1;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn ok(planned: u64, sent: u64, done: u64) -> Ended {
        Ended {
            warm_up: false,
            planned: ms(planned),
            sent: Some(ms(sent)),
            done: Some(ms(done)),
            outcome: MountOutcome::Ok,
            error: None,
            throttled: 0,
            retries: 0,
            node: None,
        }
    }

    fn tags(slices: &[Slice]) -> Vec<(&'static str, u64, u64, u64)> {
        let as_ms = |duration: Duration| micros(duration) / 1_000;
        slices
            .iter()
            .map(|slice| {
                (
                    slice.tag,
                    as_ms(slice.start),
                    as_ms(slice.length),
                    slice.histogram.len(),
                )
            })
            .collect()
    }

    #[test]
    fn response_time_runs_from_the_plan_and_service_time_from_sending() {
        let mut recorder = Recorder::new("m", Duration::ZERO);
        recorder.record(&ok(0, 40, 50));
        let (slices, finished) = recorder.close(1);
        let max = |tag| {
            slices
                .iter()
                .find(|slice| slice.tag == tag)
                .unwrap()
                .histogram
                .max()
                / 1_000_000
        };
        assert_eq!(
            (max("steady"), max("service-time"), max("lateness")),
            (50, 10, 40)
        );
        assert_eq!((finished.late, finished.took_us), (1, 50_000));
    }

    #[test]
    fn slices_close_a_moment_after_their_second_and_are_cut_where_it_ends() {
        let mut recorder = Recorder::new("m", ms(400));
        recorder.record(&Ended {
            warm_up: true,
            ..ok(0, 0, 100)
        });
        recorder.record(&ok(400, 400, 900));
        recorder.record(&ok(500, 500, 1_100));
        assert_eq!(recorder.take_closed(ms(1_200)), []);
        let closed = recorder.take_closed(ms(1_250));
        assert_eq!(
            tags(&closed),
            [
                ("lateness", 400, 600, 1),
                ("service-time", 400, 600, 1),
                ("steady", 400, 600, 1),
                ("warm-up", 0, 1_000, 1)
            ]
        );
        let (rest, finished) = recorder.close(3);
        assert_eq!(
            tags(&rest),
            [
                ("lateness", 1_000, 100, 1),
                ("service-time", 1_000, 100, 1),
                ("steady", 1_000, 100, 1)
            ]
        );
        assert_eq!(check_accounting(&finished), Ok(()));
    }

    #[test]
    fn every_end_is_counted_where_it_belongs() {
        let mut recorder = Recorder::new("m", Duration::ZERO);
        recorder.record(&ok(0, 0, 5));
        recorder.record(&Ended {
            outcome: MountOutcome::DeniedAsExpected,
            ..ok(0, 0, 5)
        });
        recorder.record(&Ended {
            outcome: MountOutcome::Failed,
            error: Some("Unknown: no".into()),
            retries: 2,
            ..ok(0, 0, 5)
        });
        recorder.record(&Ended {
            outcome: MountOutcome::TimedOut,
            ..ok(0, 0, 3_000)
        });
        recorder.record(&Ended {
            outcome: MountOutcome::Dropped,
            sent: None,
            done: None,
            ..ok(0, 0, 0)
        });
        recorder.drop_unsent(4);
        assert_eq!(recorder.accounted(), 9);
        let (slices, finished) = recorder.close(9);
        assert_eq!(
            (
                finished.ok,
                finished.denied,
                finished.failed,
                finished.timed_out,
                finished.dropped,
                finished.retries
            ),
            (1, 1, 1, 1, 5, 2)
        );
        assert_eq!(finished.errors, BTreeMap::from([("Unknown: no".to_owned(), 1)]));
        let count = |tag| {
            slices
                .iter()
                .filter(|slice| slice.tag == tag)
                .map(|slice| slice.histogram.len())
                .sum::<u64>()
        };
        assert_eq!(
            (count("steady"), count("failed"), count("denied")),
            (2, 1, 1),
            "the timed-out one is censored, not lost"
        );
        assert_eq!(check_accounting(&finished), Ok(()));
    }

    #[test]
    fn a_lost_operation_is_found() {
        let mut recorder = Recorder::new("mount-latency.csi", Duration::ZERO);
        recorder.record(&ok(0, 0, 5));
        let (_, finished) = recorder.close(2);
        let error = check_accounting(&finished).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mount-latency.csi: 2 operations were planned but 1 are accounted for"
        );
    }

    #[test]
    fn error_texts_cannot_fill_memory() {
        let mut recorder = Recorder::new("m", Duration::ZERO);
        for pod in 0..1_000 {
            let error = Some(format!("pod {pod} {}", "x".repeat(10_000)));
            recorder.record(&Ended {
                outcome: MountOutcome::Failed,
                error,
                ..ok(0, 0, 1)
            });
        }
        let (_, finished) = recorder.close(1_000);
        assert!(finished.errors.len() <= DISTINCT_ERRORS + 1);
        assert_eq!(finished.errors.values().sum::<u64>(), 1_000);
        assert!(
            finished
                .errors
                .keys()
                .all(|text| text.chars().count() <= ERROR_LENGTH)
        );
    }
}
