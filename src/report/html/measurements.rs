//! PURE: the measurements, each lens by itself.

use maud::{Markup, html};

use super::charts;
use crate::{
    journal::FloorMeasured,
    load::statistics::State,
    report::{
        calls::{self, COLUMNS},
        figure,
        latency::Latency,
        nodes::{NODE_COLUMNS, node_row},
        pressure,
        summary::{MeasurementSummary, RunSummary},
    },
};

/// What mounts asked, call by call.
pub(super) fn calls(summary: &RunSummary) -> Markup {
    html! {
        @for counted in &summary.calls {
            section {
                h2 { "Calls: " (counted.case) }
                p class="small soft" { (calls::caption(counted)) }
                table {
                    thead { tr {
                        @for (index, head) in COLUMNS.iter().enumerate() { th class=[(index > 1).then_some("num")] { (head) } }
                    } }
                    tbody {
                        @for [call, by, figures @ ..] in calls::rows(counted) {
                            tr {
                                td { code { (call) } }
                                td { (by) }
                                @for figure in figures { td class="num" { (figure) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn section(summary: &RunSummary) -> Markup {
    if summary.measurements.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Load" }
            @for measurement in &summary.measurements { (one(measurement, summary.floor.as_ref())) }
            @if let Some(floor) = &summary.floor { (self::floor(floor)) }
        }
    }
}

/// The class that gives a lens its colour.
pub(super) fn lens_class(lens: &str) -> &'static str {
    match lens {
        "pod" => "pod",
        "fetch" => "fetch",
        _ => "csi",
    }
}

fn one(measurement: &MeasurementSummary, floor: Option<&FloorMeasured>) -> Markup {
    let started = &measurement.started;
    html! {
        div class={ "card " (lens_class(&started.lens)) } {
            h3 { (started.measurement) }
            p class="small soft" {
                (started.what)
                @for (name, value) in &started.parameters { " · " (name) " " (value) }
            }
            (figures(measurement, floor))
            div class="charts" {
                (charts::percentiles(measurement, floor))
                (charts::timeline(measurement))
            }
            (incidents(measurement))
            (accounting(measurement))
            (nodes(measurement))
            (pressed(measurement))
            (series(measurement))
        }
    }
}

fn figures(measurement: &MeasurementSummary, floor: Option<&FloorMeasured>) -> Markup {
    let Some(steady) = measurement.steady() else {
        return html! { p class="headline" { "No steady-state samples." } };
    };
    let times = measurement.times_floor(floor);
    html! {
        div class="figures" {
            @for (name, value) in steady.figures() {
                div { b { (figure::latency(value)) } span { (name) } }
            }
            @if let Some(rate) = measurement.per_second() { div { b { (figure::rate(rate)) } span { "completed" } } }
            @if let Some(times) = times { div { b { (format!("{times:.1} ×")) } span { "local floor at p50" } } }
            div { b { (figure::count(steady.count())) } span { "samples" @if let Some(lacking) = lacking(steady) { ", " (lacking) } } }
        }
    }
}

/// Which percentiles are not given, and why.
fn lacking(steady: &Latency) -> Option<String> {
    let listed = steady.percentiles.listed.iter();
    let first = listed.clone().find(|listed| listed.estimate.is_none())?;
    Some(format!("{} needs {}", first.name, figure::count(first.needed)))
}

/// Whether it was steady, where there are enough mounts to say.
fn steadiness(measurement: &MeasurementSummary) -> Option<String> {
    let found = measurement.stationarity()?;
    let (first, last) = (found.medians.first()?, found.medians.last()?);
    let word = match found.state {
        State::Steady => "no trend",
        State::Rising => "rising",
        State::Falling => "falling",
        State::TooFew => return None,
    };
    Some(format!(
        "{word}: median {} in the first fifth, {} in the last",
        figure::latency(first * 1_000),
        figure::latency(last * 1_000)
    ))
}

fn accounting(measurement: &MeasurementSummary) -> Markup {
    let Some(done) = &measurement.finished else {
        return html! { p class="headline" { "It never ended, so its operations cannot be accounted for." } };
    };
    let parts = [
        (done.ok, "ok", "i-ok"),
        (done.denied, "denied as expected", "i-denied"),
        (done.failed, "failed", "i-failed"),
        (done.timed_out, "timed out", "i-timed-out"),
        (done.dropped, "dropped", "i-dropped"),
    ];
    let late = measurement.tagged("lateness").filter(|_| done.late > 0);
    let late = late.map_or_else(
        || "late".to_owned(),
        |late| {
            format!(
                "late, by up to {}",
                figure::latency(late.latency.percentiles.max_ns)
            )
        },
    );
    let beside = [
        (done.late, late.as_str()),
        (done.throttled, "throttled"),
        (done.retries, "retried by clients"),
    ];
    html! {
        div class="bar" aria-hidden="true" {
            @for (number, _, class) in parts {
                @if number > 0 { i class=(class) style={ "flex-grow:" (number) } {} }
            }
        }
        ul class="legend" {
            li { strong { (figure::count(done.planned)) } " planned" }
            @for (number, word, class) in parts {
                @if number > 0 || word == "ok" { li { i class=(class) {} (figure::count(number)) " " (word) } }
            }
            @for (number, word) in beside { li { (figure::count(number)) " " (word) } }
            @if let Some(steadiness) = steadiness(measurement) { li { (steadiness) } }
        }
        @if !done.errors.is_empty() {
            details class="more" {
                summary { "Errors" }
                table { tbody { @for (error, times) in &done.errors { tr { td class="num" { (figure::count(*times)) } td class="mono" { (error) } } } } }
            }
        }
    }
}

/// What befell nodes meanwhile, by the time that the timeline has.
fn incidents(measurement: &MeasurementSummary) -> Markup {
    html! {
        @if !measurement.incidents.is_empty() {
            table {
                thead { tr { th class="num" { "After" } th { "Node" } th { "What" } th { "Why" } } }
                tbody {
                    @for (at_us, incident) in &measurement.incidents {
                        tr {
                            td class="num" { (figure::seconds(*at_us)) }
                            td class="mono" { (incident.node) }
                            td { (incident.what) ": " strong { (incident.kind) } }
                            td { (incident.because) }
                        }
                    }
                }
            }
        }
    }
}

/// What each node had of it, where there is more than one.
fn nodes(measurement: &MeasurementSummary) -> Markup {
    let nodes = measurement.by_node();
    html! {
        @if nodes.len() > 1 {
            div class="scroll" {
                table {
                    thead { tr {
                        th { "Node" }
                        @for head in NODE_COLUMNS { th class="num" { (head) } }
                    } }
                    tbody {
                        @for on in &nodes {
                            tr {
                                td class="mono" { (on.node) }
                                @for figure in node_row(on) { td class="num" { (figure) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What nodes were short of meanwhile.
fn pressed(measurement: &MeasurementSummary) -> Markup {
    html! {
        @if !measurement.pressed.is_empty() {
            p class="small soft" { "How hard pressed nodes were: " (pressure::CAPTION) "." }
            div class="scroll" {
                table {
                    thead { tr {
                        th { "Node" }
                        @for head in pressure::COLUMNS { th class="num" { (head) } }
                    } }
                    tbody {
                        @for pressed in &measurement.pressed {
                            tr {
                                td class="mono" { (pressed.node) }
                                @for share in pressure::row(pressed) { td class="num" { (share) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn series(measurement: &MeasurementSummary) -> Markup {
    html! {
        details class="more" {
            summary { "All figures, with 95 % confidence intervals" }
            div class="scroll" {
                table {
                    thead { tr { th { "Series" } th class="num" { "n" } th { "Percentile" } th class="num" { "Value" } th class="num" { "95 % interval" } } }
                    tbody {
                        @for series in &measurement.series {
                            @for listed in &series.latency.percentiles.listed {
                                tr {
                                    td { (series.tag) }
                                    td class="num" { (figure::count(series.latency.count())) }
                                    td { (listed.name) }
                                    @if let Some(estimate) = listed.estimate {
                                        td class="num" { (figure::latency(estimate.value_ns)) }
                                        td class="num" { (figure::latency(estimate.low_ns)) " to " (figure::latency(estimate.high_ns)) }
                                    } @else {
                                        td class="num soft" { "–" }
                                        td class="num soft" { "needs " (figure::count(listed.needed)) " samples" }
                                    }
                                }
                            }
                            tr {
                                td { (series.tag) }
                                td class="num" { (figure::count(series.latency.count())) }
                                td { "max" }
                                td class="num" { (figure::latency(series.latency.percentiles.max_ns)) }
                                td {}
                            }
                        }
                    }
                }
            }
        }
    }
}

fn floor(floor: &FloorMeasured) -> Markup {
    html! {
        div class="card" {
            h3 { "Local floor" }
            p class="small soft" {
                "What a mount's primitives alone take on " (floor.node.as_deref().unwrap_or("this machine")) ", re-measured in this run: "
                strong { (figure::latency(floor.kept_alive_ns)) } " on kept connections, "
                strong { (figure::latency(floor.new_tls_ns)) } " with new TLS connections for every mount, as the AWS provider makes them."
                @if !floor.tmpfs { " Without tmpfs, which may not be mounted here." }
                @if let Some(lens) = &floor.csi_lens {
                    " Of what the csi lens times, " strong { (figure::latency(lens.p50_ns)) } " (p50) and "
                    strong { (figure::latency(lens.p99_ns)) } " (p99) are its own: calls to a driver that answers at once."
                }
            }
            table {
                thead { tr { th { "Primitive" } th class="num" { "p50" } th class="num" { "p99" } th class="num" { "n" } } }
                tbody {
                    @for part in &floor.parts {
                        tr {
                            td { (part.name) }
                            td class="num" { (figure::latency(part.p50_ns)) }
                            td class="num" { (figure::latency(part.p99_ns)) }
                            td class="num" { (figure::count(u64::from(part.samples))) }
                        }
                    }
                }
            }
        }
    }
}
