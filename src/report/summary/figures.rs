//! PURE: whether a measurement adds up, and how far its figures can be relied on.

use std::collections::BTreeSet;

use super::MeasurementSummary;
use crate::{
    journal::MountOutcome,
    load::statistics::State,
    report::{figure, latency::Latency, pressure},
};

/// Share of a figure that the generator's lateness may make up before it is worth a warning.
const LATENESS_MATTERS: f64 = 0.25;
/// Lateness below this is the machine's timer, in nanoseconds.
const LATENESS_SHOWS_NS: u64 = 500_000;

/// See [`MeasurementSummary::warnings`].
pub(super) fn warnings(measurement: &MeasurementSummary) -> Vec<String> {
    [lateness(measurement), drift(measurement), befallen(measurement)]
        .into_iter()
        .flatten()
        .chain(measurement.pressed.iter().filter_map(pressure::telling))
        .collect()
}

/// Response time runs from the planned start, so that a stalled target hides no wait. Where the wait
/// is the generator's own it belongs to the machine that measures: the reader must know.
fn lateness(measurement: &MeasurementSummary) -> Option<String> {
    let steady = measurement.steady()?;
    let service = &measurement.tagged("service-time")?.latency;
    let (name, response_ns, service_ns) = moved(steady, service)?;
    let done = measurement.finished.as_ref()?;
    Some(format!(
        "{}: this machine was too busy to start on time: {} of {} starts came late, so that {name} is {} from the \
         planned start where the target itself took {}; lower --rate, or run less beside it",
        measurement.started.measurement,
        figure::count(done.late),
        figure::count(done.planned),
        figure::latency(response_ns),
        figure::latency(service_ns),
    ))
}

/// The lowest percentile that the generator's lateness moved.
#[expect(clippy::cast_precision_loss, reason = "a share is wanted")]
fn moved(response: &Latency, service: &Latency) -> Option<(&'static str, u64, u64)> {
    response.percentiles.listed.iter().find_map(|listed| {
        let response_ns = listed.estimate?.value_ns;
        let service_ns = service.value(listed.name)?;
        let late_ns = response_ns.saturating_sub(service_ns);
        let matters = late_ns > LATENESS_SHOWS_NS && late_ns as f64 > LATENESS_MATTERS * response_ns as f64;
        matters.then_some((listed.name, response_ns, service_ns))
    })
}

/// What befell nodes meanwhile: a figure may be of that.
fn befallen(measurement: &MeasurementSummary) -> Option<String> {
    const SHOWN: usize = 3;
    let incidents = &measurement.incidents;
    let each = incidents.iter().take(SHOWN).map(|(at_us, incident)| {
        format!(
            "after {} {} on {}: {} ({})",
            figure::seconds(*at_us),
            incident.what,
            incident.node,
            incident.kind,
            incident.because
        )
    });
    let more = incidents.len().saturating_sub(SHOWN);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    (!incidents.is_empty()).then(|| {
        format!(
            "{}: {} while it was under way: {}{more}",
            measurement.started.measurement,
            figure::counted(incidents.len(), "incident"),
            each.collect::<Vec<_>>().join("; "),
        )
    })
}

fn drift(measurement: &MeasurementSummary) -> Option<String> {
    let found = measurement.stationarity()?;
    let because = match found.state {
        State::Rising => "a queue grows, so that figures depend on how long it runs; lower --rate",
        State::Falling => "it was still warming up; give it a longer warm-up",
        State::Steady | State::TooFew => return None,
    };
    Some(format!(
        "{}: not steady: the median went from {} in the first fifth of the window to {} in the last: {because}",
        measurement.started.measurement,
        figure::latency(found.medians.first()? * 1_000),
        figure::latency(found.medians.last()? * 1_000),
    ))
}

/// What does not add up in a measurement.
pub(super) fn accounting_problems(measurement: &MeasurementSummary) -> Vec<String> {
    let name = &measurement.started.measurement;
    let Some(finished) = &measurement.finished else {
        return vec![format!(
            "{name}: it never ended, so its operations cannot be accounted for"
        )];
    };
    let mut problems = Vec::new();
    let parts = finished.ok + finished.denied + finished.failed + finished.timed_out + finished.dropped;
    if parts != finished.planned {
        problems.push(format!(
            "{name}: {} planned, but {parts} accounted for ({} ok, {} denied, {} failed, {} timed out, {} dropped)",
            finished.planned, finished.ok, finished.denied, finished.failed, finished.timed_out, finished.dropped
        ));
    }
    // Fetches are counted, not listed; mounts are both.
    if measurement.started.lens == "fetch" && measurement.mounts.is_empty() {
        return problems;
    }
    for (outcome, what, counted) in [
        (MountOutcome::Ok, "ok", finished.ok),
        (MountOutcome::DeniedAsExpected, "denied", finished.denied),
        (MountOutcome::Failed, "failed", finished.failed),
        (MountOutcome::TimedOut, "timed out", finished.timed_out),
        (MountOutcome::Dropped, "dropped", finished.dropped),
    ] {
        let listed = measurement
            .mounts
            .iter()
            .filter(|mount| mount.outcome == outcome)
            .count() as u64;
        if listed != counted {
            problems.push(format!(
                "{name}: {counted} mounts counted as {what}, but {listed} listed"
            ));
        }
    }
    let distinct: BTreeSet<u32> = measurement.mounts.iter().map(|mount| mount.index).collect();
    if distinct.len() != measurement.mounts.len() {
        let twice = measurement.mounts.len() - distinct.len();
        problems.push(format!("{name}: {twice} mounts ended more than once"));
    }
    problems
}
