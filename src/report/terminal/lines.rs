//! PURE: one line, or a few, for an event.

use anstyle::{AnsiColor, Style};

use super::Display;
use crate::{
    journal::{
        CallsCounted, CaseFinished, Component, EnvironmentReady, Failure, MeasurementFinished, RunStarted,
        Verdict,
    },
    load::percentiles::needed,
    report::{calls, figure, summary::MeasurementSummary},
};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const RED: Style = AnsiColor::Red.on_default();
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(super) const BLUE: Style = AnsiColor::Cyan.on_default();

impl Display {
    pub(super) fn header(&self, started: &RunStarted) -> String {
        let name = self.paint(BOLD, &format!("mountproof {}", started.version));
        let tenants = figure::counted(started.tenants.len(), "tenant");
        format!(
            "{name} · {} · run {} · seed {} · {tenants}",
            started.environment, started.run_id, started.seed
        )
    }

    /// Stand-ins are named as what they stand in for, the real parts before them.
    pub(super) fn environment(&self, ready: &EnvironmentReady) -> String {
        let named = |stand_in: bool| {
            let parts = ready.components.iter();
            let parts = parts.filter(move |component| component.stand_in == stand_in);
            let parts: Vec<String> = parts.map(part).collect();
            parts.join(" · ")
        };
        let (real, stand_ins) = (named(false), named(true));
        let stand_ins = if stand_ins.is_empty() {
            stand_ins
        } else {
            format!("stand-ins: {stand_ins}")
        };
        let parts: Vec<String> = [real, stand_ins]
            .into_iter()
            .filter(|parts| !parts.is_empty())
            .collect();
        let took = format!("ready in {}", figure::seconds(ready.took_us));
        format!(
            "  environment   {took:<17} {}",
            self.paint(DIM, &parts.join(" · "))
        )
    }

    pub(super) fn tenants(&self) -> Vec<String> {
        if self.ready_tenants.len() != self.shared_tenants {
            return Vec::new();
        }
        let mut names: Vec<&str> = self.ready_tenants.iter().map(|(name, _)| name.as_str()).collect();
        // They are ready in any order; a reader looks for them by name.
        names.sort_unstable();
        let shown = match names.as_slice() {
            [first, .., last] if names.len() > 6 => format!("{first} … {last}"),
            _ => names.join(" "),
        };
        let secrets: u32 = self.ready_tenants.iter().map(|(_, secrets)| secrets).sum();
        let ready = format!("{} ready", names.len());
        let detail = format!("{shown} · {}", figure::counted(secrets as usize, "secret"));
        vec![
            format!("  tenants       {ready:<17} {}", self.paint(DIM, &detail)),
            String::new(),
        ]
    }

    pub(super) fn case(&self, finished: &CaseFinished) -> Vec<String> {
        let retried = finished.verdict == Verdict::Passed && finished.attempt > 1;
        let known = finished.known.as_ref().filter(|_| !finished.will_retry);
        let excused = known.is_some_and(|known| known.excused);
        let isolation = finished.failure.as_ref().is_some_and(|failure| failure.isolation);
        let (color, word) = match finished.verdict {
            _ if finished.will_retry => (YELLOW, "RETRY"),
            _ if retried => (YELLOW, "FLAKY"),
            _ if excused && isolation => (RED, "KNOWN"),
            _ if excused => (YELLOW, "KNOWN"),
            Verdict::Passed | Verdict::Flaky => (GREEN, "PASS"),
            Verdict::NotSupported => (BLUE, "N/A"),
            Verdict::Skipped => (BLUE, "SKIP"),
            Verdict::KnownIssue => (YELLOW, "KNOWN"),
            Verdict::Errored => (RED, "ERROR"),
            Verdict::Failed => (RED, "FAIL"),
        };
        let bad = matches!(finished.verdict, Verdict::Failed | Verdict::Errored);
        if self.options.quiet && !bad && !retried && finished.known.is_none() {
            return Vec::new();
        }
        let name = format!("{:<width$}", finished.case, width = self.case_width);
        let tried = finished.attempt > 0;
        let took = if tried {
            figure::seconds(finished.took_us)
        } else {
            String::new()
        };
        let attempt = if retried || finished.will_retry {
            format!("attempt {}: ", finished.attempt)
        } else {
            String::new()
        };
        let headline = finished.failure.as_ref().map(|failure| failure.headline.as_str());
        // A failure's own block says what was seen; the line of a retry must say it itself.
        let seen = match headline {
            Some(headline) if finished.will_retry => headline,
            Some(_) if bad => "",
            _ => finished.summary.as_str(),
        };
        let line = format!(
            "  {}  {name} {took:>9}   {attempt}{seen}",
            self.paint(color.bold(), &format!("{word:<5}"))
        );
        let mut lines = vec![line.trim_end().to_owned()];
        lines.extend(known.map(|known| format!("         {}", self.paint(YELLOW, &figure::known(known)))));
        if bad && !finished.will_retry {
            match &finished.failure {
                Some(failure) => lines.extend(self.failure(&finished.case, failure)),
                None => lines.push(format!("         {}", finished.summary)),
            }
        }
        lines
    }

    fn failure(&self, case: &str, failure: &Failure) -> Vec<String> {
        let indent = " ".repeat(9);
        let width = figure::label_width(failure);
        let mut lines = vec![format!("{indent}{}", self.paint(BOLD, &failure.headline))];
        for fact in &failure.facts {
            let mut label = fact.label.as_str();
            for line in fact.text.lines() {
                lines.push(format!(
                    "{indent}{} {line}",
                    self.paint(DIM, &format!("{label:<width$}"))
                ));
                label = "";
            }
        }
        if let Some(folder) = self.folders.get(case) {
            let label = self.paint(DIM, &format!("{:<width$}", "evidence"));
            lines.push(format!(
                "{indent}{label} {}/evidence/{folder}/",
                self.options.folder
            ));
        }
        lines
    }

    pub(super) fn load(&self, measured: &MeasurementSummary) -> String {
        let name = format!(
            "{:<width$}",
            measured.started.measurement,
            width = self.case_width
        );
        let Some(done) = &measured.finished else {
            return String::new();
        };
        let mut what = vec![planned(measured, done)];
        if measured.started.lens == "fetch" {
            // An open loop has said the rate that it aims at.
            let open = what[0].contains("open loop");
            let reached = if open { "reached " } else { "" };
            let rate = measured.per_second().map(figure::rate);
            what.extend(rate.map(|rate| format!("{reached}{rate}")));
        }
        what.extend(figures(measured));
        if let Some(times) = measured.times_floor(self.fold.floor()) {
            what.push(format!("{times:.1} x local floor"));
        }
        let lens = self.fold.floor().and_then(|floor| floor.csi_lens.as_ref());
        if let Some(lens) = lens.filter(|_| measured.started.lens == "csi") {
            what.push(format!("the lens's own p99 {}", figure::latency(lens.p99_ns)));
        }
        let bad = done.failed + done.timed_out + done.dropped;
        let color = if bad > 0 { RED } else { BLUE };
        format!(
            "  {}  {name} {}  {}",
            self.paint(color.bold(), "LOAD "),
            what.join("  "),
            self.paint(DIM, &ends(measured, done))
        )
    }

    pub(super) fn calls(&self, counted: &CallsCounted) -> String {
        let name = format!("{:<width$}", counted.case, width = self.case_width);
        let line = calls::line(counted);
        format!("  {}  {name} {line}", self.paint(BLUE.bold(), "CALLS"))
    }

    pub(super) fn labelled(&self, color: Style, word: &str, text: &str) -> String {
        format!("  {}  {text}", self.paint(color.bold(), &format!("{word:<5}")))
    }

    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        if self.options.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

/// A component's name and version; that it is a stand-in is said once for all of them.
fn part(component: &Component) -> String {
    let name = component
        .name
        .strip_suffix(" stand-in")
        .unwrap_or(&component.name);
    format!("{name} {}", component.version).trim().to_owned()
}

/// What was planned: `110 mounts (10 to warm up) at 50/s`.
fn planned(measured: &MeasurementSummary, done: &MeasurementFinished) -> String {
    let parameter = |name: &str| measured.started.parameters.get(name).map(String::as_str);
    if measured.started.lens == "fetch" {
        let how: Vec<&str> = ["duration", "pace"].into_iter().filter_map(parameter).collect();
        return how.join(", ");
    }
    let mounts = figure::counted(usize::try_from(done.planned).unwrap_or(usize::MAX), "mount");
    let warm_up = parameter("warm-up")
        .filter(|count| *count != "0")
        .map(|count| format!(" ({count} to warm up)"))
        .unwrap_or_default();
    let rate = parameter("rate")
        .map(|rate| format!(" at {rate}"))
        .unwrap_or_default();
    format!("{mounts}{warm_up}{rate}")
}

/// Median, tail, maximum and count. The tail is the highest of p95 and p99 that the sample bears.
fn figures(measured: &MeasurementSummary) -> Vec<String> {
    let Some(steady) = measured.steady() else {
        return vec!["no steady-state samples".to_owned()];
    };
    let given = |name: &'static str| {
        steady
            .value(name)
            .map(|ns| format!("{name} {}", figure::latency(ns)))
    };
    let mut figures: Vec<String> = given("p50").into_iter().collect();
    figures.extend(given("p99").or_else(|| given("p95")));
    figures.push(format!("max {}", figure::latency(steady.percentiles.max_ns)));
    let count = figure::count(steady.count());
    figures.push(if steady.value("p99").is_some() {
        format!("n {count}")
    } else {
        format!("n {count}, p99 needs {}", needed(0.99))
    });
    figures
}

/// How the operations ended that did not end well, and how late they started.
fn ends(measured: &MeasurementSummary, done: &MeasurementFinished) -> String {
    let fetch = measured.started.lens == "fetch";
    let late = measured.tagged("lateness").filter(|_| done.late > 0);
    let late = late.map(|late| figure::latency(late.latency.percentiles.max_ns));
    let late = late.map(|most| format!(" by up to {most}")).unwrap_or_default();
    let mut ends = Vec::new();
    for (number, word, always) in [
        (done.failed, "failed", false),
        (done.timed_out, "timed out", false),
        (done.throttled, "throttled", fetch),
        // A closed loop starts when it can: nothing is late, or left out.
        (done.late, "late", !fetch),
        (done.dropped, "dropped", !fetch),
    ] {
        if number > 0 || always {
            let by = if word == "late" { late.as_str() } else { "" };
            ends.push(format!("{} {word}{by}", figure::count(number)));
        }
    }
    ends.join(", ")
}
