//! PURE: the pictures, as inline SVG that CSS colours.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::{
    journal::{FloorMeasured, MountFinished, MountOutcome},
    load::histogram,
    report::{figure, latency::Series, summary::MeasurementSummary},
};

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 508.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 226.0;
/// Mounts of one outcome drawn at most.
const MOST_DOTS: usize = 4_000;
/// Probability beyond a 95 % interval, on either side.
const TAIL: f64 = 0.025;

/// Latency by percentile, on the axis on which every step right leaves a tenth of the samples.
pub(super) fn percentiles(measurement: &MeasurementSummary, floor: Option<&FloorMeasured>) -> Markup {
    let steady = measurement.steady();
    let drawn: Vec<&Series> = ["steady", "service-time", "warm-up"]
        .iter()
        .filter_map(|tag| measurement.tagged(tag))
        .filter(|series| series.latency.count() > 0)
        // In a closed loop the two are one.
        .filter(|series| series.tag == "steady" || Some(&series.latency) != steady)
        .collect();
    let (Some(main), Some(steady)) = (drawn.first(), steady) else {
        return html! {};
    };
    let decades = decades(
        drawn
            .iter()
            .map(|series| series.latency.count())
            .max()
            .unwrap_or(1),
    );
    let x = |quantile: f64| LEFT + (RIGHT - LEFT) * (-(1.0 - quantile).log10()).min(decades) / decades;
    let max_ns = drawn
        .iter()
        .map(|series| series.latency.percentiles.max_ns)
        .max()
        .unwrap_or(1);
    let axis = Axis::for_curve(main, max_ns);
    // Right of here a percentile would be the maximum under another name.
    let supported = x((TAIL.ln() / float(steady.count())).exp());
    let name = &measurement.started.measurement;
    let floor = measurement.times_floor(floor).and(floor);
    let entries = drawn
        .iter()
        .map(|series| (series_name(&series.tag).to_owned(), style(&series.tag)));
    let floored = floor.map(|floor| (format!("floor {}", figure::latency(floor.new_tls_ns)), "floor"));
    let entries: Vec<(String, &str)> = entries.chain(floored).collect();
    html! {
        figure {
            figcaption {
                "Latency by percentile"
                @if !measurement.mounts.is_empty() { ": response time runs from the planned start, service time from sending" }
            }
            svg viewBox=(view_box()) role="img" aria-label={ "Percentile plot of " (name) ": " (described(measurement)) } {
                title { (name) ": " (described(measurement)) }
                @if supported < RIGHT - 1.0 {
                    rect class="shade" x=(n(supported)) y=(n(TOP)) width=(n(RIGHT - supported)) height=(n(BOTTOM - TOP)) {}
                    @if RIGHT - supported > 80.0 {
                        text x=(n(RIGHT - 4.0)) y=(n(TOP + 12.0)) text-anchor="end" { "too few samples" }
                    }
                }
                (axis.markup())
                @for decade in 0..=whole(decades) {
                    @let quantile = 1.0 - 10_f64.powi(-i32::from(decade));
                    @let at = x(quantile);
                    line class="grid" x1=(n(at)) y1=(n(TOP)) x2=(n(at)) y2=(n(BOTTOM)) {}
                    text x=(n(at)) y=(n(BOTTOM + 16.0)) text-anchor=(anchor(at)) { (percent(decade)) }
                }
                @if let Some(floor) = floor {
                    @let y = axis.at(float(floor.new_tls_ns));
                    line class="floor" x1=(n(LEFT)) y1=(n(y)) x2=(n(RIGHT)) y2=(n(y)) {}
                }
                @for series in drawn.iter().rev() {
                    path class=(style(&series.tag)) d=(curve(series, &x, &axis)) {}
                }
                @for (figure_name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)] {
                    @if let Some(value) = main.latency.value(figure_name) {
                        circle class="mark" cx=(n(x(quantile))) cy=(n(axis.at(float(value)))) r="4.5" {
                            title { (figure_name) " " (figure::latency(value)) }
                        }
                    }
                }
                (legend(entries.iter().map(|(name, class)| (name.as_str(), *class))))
            }
        }
    }
}

/// Every mount at the moment it was planned for; for fetches, each slice's median and largest.
pub(super) fn timeline(measurement: &MeasurementSummary) -> Markup {
    if measurement.mounts.is_empty() {
        slices(measurement)
    } else {
        mounts(measurement)
    }
}

fn mounts(measurement: &MeasurementSummary) -> Markup {
    let mounts = &measurement.mounts;
    let last_us = mounts
        .iter()
        .map(|mount| mount.planned_us)
        .max()
        .unwrap_or(0)
        .max(1);
    let x = |us: u64| LEFT + (RIGHT - LEFT) * float(us) / float(last_us);
    let latencies: Vec<u64> = mounts.iter().filter_map(latency_ns).collect();
    let axis = Axis::logarithmic(
        latencies.iter().copied().min().unwrap_or(1_000),
        latencies.iter().copied().max().unwrap_or(1_000_000),
    );
    let ended = |outcome| {
        mounts
            .iter()
            .filter(move |mount: &&MountFinished| mount.outcome == outcome)
    };
    let every = |outcome| ended(outcome).count().div_ceil(MOST_DOTS).max(1);
    let points = |outcome| -> Vec<(f64, f64)> {
        ended(outcome)
            .step_by(every(outcome))
            .map(|mount| {
                (
                    x(mount.planned_us),
                    latency_ns(mount).map_or(TOP, |ns| axis.at(float(ns))),
                )
            })
            .collect()
    };
    let name = &measurement.started.measurement;
    let said = format!(
        "{} over {}",
        figure::counted(mounts.len(), "mount"),
        figure::seconds(last_us)
    );
    html! {
        figure {
            figcaption {
                "Every mount by its planned start"
                @if every(MountOutcome::Ok) > 1 { " (one successful mount in " (every(MountOutcome::Ok)) " drawn)" }
            }
            svg viewBox=(view_box()) role="img" aria-label={ "Timeline of " (name) ": " (said) } {
                title { (name) ": " (said) }
                (axis.markup())
                (seconds_axis(last_us))
                @for (at_us, incident) in &measurement.incidents {
                    @let at = x((*at_us).min(last_us));
                    line class="incident" x1=(n(at)) y1=(n(TOP)) x2=(n(at)) y2=(n(BOTTOM)) {
                        title { (incident.what) " on " (incident.node) ": " (incident.kind) }
                    }
                }
                path class="dots" d=(draw(&points(MountOutcome::Ok), "h0")) {}
                path class="denied" d=(draw(&points(MountOutcome::DeniedAsExpected), "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0")) {}
                path class="timed-out" d=(draw(&points(MountOutcome::TimedOut), "m-4.5 4h9l-4.5-8z")) {}
                path class="failed" d=(draw(&points(MountOutcome::Failed), "m-3.5-3.5l7 7m0-7l-7 7")) {}
                path class="dropped" d=(draw(&points(MountOutcome::Dropped), "v9")) {}
                (outcomes(measurement))
            }
        }
    }
}

/// The signs of [`mounts`] that occur, explained.
fn outcomes(measurement: &MeasurementSummary) -> Markup {
    let count = |outcome| {
        measurement
            .mounts
            .iter()
            .filter(|mount| mount.outcome == outcome)
            .count()
    };
    let signs = [
        (MountOutcome::Ok, "ok", "dots", "h0"),
        (
            MountOutcome::DeniedAsExpected,
            "denied",
            "denied",
            "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
        ),
        (MountOutcome::Failed, "failed", "failed", "m-3.5-3.5l7 7m0-7l-7 7"),
        (
            MountOutcome::TimedOut,
            "timed out",
            "timed-out",
            "m-4.5 4h9l-4.5-8z",
        ),
        (MountOutcome::Dropped, "dropped", "dropped", "m0-4.5v9"),
    ];
    let present = signs.into_iter().filter(|(outcome, ..)| count(*outcome) > 0);
    html! {
        @for (place, (_, word, class, sign)) in present.enumerate() {
            @let at = LEFT + 6.0 + 88.0 * float(place as u64);
            path class=(class) d={ "M" (n(at)) " " (n(HEIGHT - 10.0)) (sign) } {}
            text x=(n(at + 10.0)) y=(n(HEIGHT - 6.0)) { (word) }
        }
    }
}

fn slices(measurement: &MeasurementSummary) -> Markup {
    let mut steps: Vec<(u64, u64, u64, u64)> = measurement
        .slices
        .iter()
        .filter(|slice| matches!(slice.tag.as_str(), "warm-up" | "steady"))
        .filter_map(|slice| {
            let values = histogram::decode(&slice.payload)
                .ok()
                .filter(|values| !values.is_empty())?;
            let end_us = slice.start_us + slice.length_us;
            Some((
                slice.start_us,
                end_us,
                values.value_at_quantile(0.5),
                values.max(),
            ))
        })
        .collect();
    steps.sort_unstable();
    // The slice in which the warm-up ends is there twice: each part is drawn for its own time.
    for place in 1..steps.len() {
        steps[place - 1].1 = steps[place - 1].1.min(steps[place].0);
    }
    let last_us = steps
        .iter()
        .map(|(_, end_us, ..)| *end_us)
        .max()
        .unwrap_or(0)
        .max(1);
    let x = |us: u64| LEFT + (RIGHT - LEFT) * float(us) / float(last_us);
    let lowest = steps
        .iter()
        .map(|(_, _, median, _)| *median)
        .min()
        .unwrap_or(1_000);
    let highest = steps.iter().map(|(.., max)| *max).max().unwrap_or(1_000_000);
    let axis = Axis::logarithmic(lowest, highest);
    let line = |value: fn(&(u64, u64, u64, u64)) -> u64| {
        steps
            .iter()
            .enumerate()
            .fold(String::new(), |mut path, (place, step)| {
                let y = axis.at(float(value(step)));
                let start = if place == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{start}{} {}H{}", n(x(step.0)), n(y), n(x(step.1)));
                path
            })
    };
    let name = &measurement.started.measurement;
    let said = format!(
        "median and largest of {}",
        figure::counted(steps.len(), "interval")
    );
    html! {
        figure {
            figcaption { "Latency over time" }
            svg viewBox=(view_box()) role="img" aria-label={ "Timeline of " (name) ": " (said) } {
                title { (name) ": " (said) }
                (axis.markup())
                (seconds_axis(last_us))
                path class="line thin" d=(line(|step| step.3)) {}
                path class="line" d=(line(|step| step.2)) {}
                (legend([("median", "line"), ("largest", "line thin")].into_iter()))
            }
        }
    }
}

/// A vertical axis of latencies.
struct Axis {
    low: f64,
    high: f64,
    logarithmic: bool,
    /// Values with a line and a label.
    ticks: Vec<f64>,
}

impl Axis {
    /// Linear, unless a few large values would press the curve onto the ground.
    fn for_curve(main: &Series, max_ns: u64) -> Self {
        let smallest = main.latency.percentiles.min_ns;
        match main.latency.value("p90").or_else(|| main.latency.value("p50")) {
            Some(typical) if max_ns > typical.saturating_mul(12) => Self::logarithmic(smallest, max_ns),
            _ => Self::linear(max_ns),
        }
    }

    fn linear(max_ns: u64) -> Self {
        let step = nice_step(float(max_ns.max(1)) / 5.0);
        let steps = (float(max_ns) / step).ceil().max(1.0);
        let ticks = (0..=whole(steps)).map(|tick| f64::from(tick) * step).collect();
        Self {
            low: 0.0,
            high: steps * step,
            logarithmic: false,
            ticks,
        }
    }

    fn logarithmic(min_ns: u64, max_ns: u64) -> Self {
        let low = float(min_ns.max(100)) * 0.8;
        let high = (float(max_ns) * 1.25).max(low * 4.0);
        let mut ticks: Vec<f64> = (2..13)
            .flat_map(|exponent| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(exponent)))
            .filter(|tick| (low..=high).contains(tick))
            .collect();
        if ticks.len() > 7 {
            ticks.retain(|tick| (tick.log10() - tick.log10().round()).abs() < 1e-9);
        }
        Self {
            low,
            high,
            logarithmic: true,
            ticks,
        }
    }

    fn at(&self, ns: f64) -> f64 {
        let share = if self.logarithmic {
            (ns.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (ns - self.low) / (self.high - self.low)
        };
        BOTTOM - (BOTTOM - TOP) * share
    }

    fn markup(&self) -> Markup {
        html! {
            @for tick in &self.ticks {
                @let y = self.at(*tick);
                line class="grid" x1=(n(LEFT)) y1=(n(y)) x2=(n(RIGHT)) y2=(n(y)) {}
                text x=(n(LEFT - 7.0)) y=(n(y + 4.0)) text-anchor="end" { (tick_label(*tick)) }
            }
            line class="axis" x1=(n(LEFT)) y1=(n(BOTTOM)) x2=(n(RIGHT)) y2=(n(BOTTOM)) {}
        }
    }
}

fn seconds_axis(last_us: u64) -> Markup {
    let seconds = float(last_us) / 1e6;
    let step = nice_step(seconds / 6.0);
    let ticks = whole((seconds / step + 1e-9).floor());
    html! {
        @for tick in 0..=ticks {
            @let value = f64::from(tick) * step;
            @let at = LEFT + (RIGHT - LEFT) * value / seconds;
            line class="axis" x1=(n(at)) y1=(n(BOTTOM)) x2=(n(at)) y2=(n(BOTTOM + 4.0)) {}
            text x=(n(at)) y=(n(BOTTOM + 16.0)) text-anchor=(anchor(at)) { (short(value)) " s" }
        }
    }
}

fn legend<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> Markup {
    html! {
        @for (place, (name, class)) in entries.enumerate() {
            @let at = LEFT + 116.0 * float(place as u64);
            path class=(class) d={ "M" (n(at)) " " (n(HEIGHT - 10.0)) "h22" } {}
            text x=(n(at + 28.0)) y=(n(HEIGHT - 6.0)) { (name) }
        }
    }
}

fn curve(series: &Series, x: &impl Fn(f64) -> f64, axis: &Axis) -> String {
    let mut path = String::new();
    let mut last = (String::new(), String::new());
    for point in &series.latency.curve {
        let place = (n(x(point.quantile)), n(axis.at(float(point.value_ns))));
        if place == last {
            continue;
        }
        let _ = write!(
            path,
            "{}{} {}",
            if path.is_empty() { 'M' } else { 'L' },
            place.0,
            place.1
        );
        last = place;
    }
    path
}

/// One `sign` at each point.
fn draw(points: &[(f64, f64)], sign: &str) -> String {
    points.iter().fold(String::new(), |mut path, (x, y)| {
        let _ = write!(path, "M{} {}{sign}", n(*x), n(*y));
        path
    })
}

fn described(measurement: &MeasurementSummary) -> String {
    let Some(steady) = measurement.steady() else {
        return "no samples".to_owned();
    };
    let figures: Vec<String> = steady
        .figures()
        .map(|(name, value)| format!("{name} {}", figure::latency(value)))
        .collect();
    format!(
        "{} of {} samples",
        figures.join(", "),
        figure::count(steady.count())
    )
}

fn series_name(tag: &str) -> &str {
    match tag {
        "steady" => "response time",
        "service-time" => "service time",
        other => other,
    }
}

fn style(tag: &str) -> &'static str {
    match tag {
        "steady" => "line",
        "service-time" => "line thin",
        _ => "line faint",
    }
}

/// From the planned start: what a stalled generator hides is part of it.
fn latency_ns(mount: &MountFinished) -> Option<u64> {
    mount
        .done_us
        .map(|done_us| done_us.saturating_sub(mount.planned_us).max(1) * 1_000)
}

/// Decades that `count` samples fill, at least to 99 %.
fn decades(count: u64) -> f64 {
    float(count).log10().ceil().clamp(2.0, 6.0)
}

fn percent(decade: u8) -> String {
    match decade {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        nines => format!("99.{} %", "9".repeat(usize::from(nines) - 2)),
    }
}

/// Keeps a label at the right edge within the picture.
fn anchor(x: f64) -> &'static str {
    if x > RIGHT - 12.0 { "end" } else { "middle" }
}

/// The 1, 2 or 5 times a power of ten at or above `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-9).log10().floor());
    let digit = step / power;
    power
        * if digit <= 1.0 {
            1.0
        } else if digit <= 2.0 {
            2.0
        } else if digit <= 5.0 {
            5.0
        } else {
            10.0
        }
}

fn tick_label(ns: f64) -> String {
    let (value, unit) = if ns >= 1e9 {
        (ns / 1e9, "s")
    } else if ns >= 1e6 {
        (ns / 1e6, "ms")
    } else if ns >= 1e3 {
        (ns / 1e3, "µs")
    } else if ns > 0.0 {
        (ns, "ns")
    } else {
        return "0".to_owned();
    };
    format!("{} {unit}", short(value))
}

/// Up to two decimals, without zeros at the end.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A coordinate: a tenth of a unit is finer than a pixel.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn view_box() -> String {
    format!("0 0 {WIDTH} {HEIGHT}")
}

#[expect(clippy::cast_precision_loss, reason = "for drawing")]
fn float(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of ticks, at most a dozen"
)]
fn whole(value: f64) -> u8 {
    value as u8
}
