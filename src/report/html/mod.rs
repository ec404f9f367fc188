//! PURE: `report.html`, one file for people: no script, no network, light and dark.

mod cases;
mod charts;
mod matrix;
mod measurements;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    exit::{self, ExitCode},
    figure, installed,
    markdown::verdict_line,
    pressure,
    summary::{RunSummary, WatchedNode},
    upgrade,
};
use crate::journal::Installed;

const STYLE: &str = include_str!("style.css");

/// Notes that stand first, at most.
const MOST_NOTES: usize = 100;

/// Lets the page load nothing at all, whatever text ends up in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Renders `report.html`.
#[must_use]
pub fn render(summary: &RunSummary) -> String {
    let exit = exit::recorded(summary);
    let title = format!("mountproof {}: {exit}", summary.run.run_id);
    let mut room = cases::Room::default();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(summary, exit))
                main {
                    (upgraded(summary))
                    (trouble(summary))
                    (cases::failures(summary, &mut room))
                    (matrix::section(summary))
                    (measurements::section(summary))
                    (measurements::calls(summary))
                    (cases::others(summary, &mut room))
                    (environment(summary))
                    footer {
                        "Made from " code { "journal.jsonl" } " of run " code { (summary.run.run_id) }
                        "; " code { "mountproof report" } " makes it again, to the byte."
                    }
                }
            }
        }
    };
    page.into_string()
}

fn header(summary: &RunSummary, exit: ExitCode) -> Markup {
    let run = &summary.run;
    let counts = summary.counts();
    let chips = [
        (counts.failed, "failed", "chip bad-tone"),
        (counts.errored, "errored", "chip bad-tone"),
        (counts.known_issues, "known to fail", "chip warn-tone"),
        (counts.flaky, "flaky", "chip warn-tone"),
        (counts.passed, "passed", "chip good-tone"),
        (counts.not_supported, "not supported", "chip"),
        (counts.skipped, "skipped", "chip"),
    ];
    let left = match (summary.leftovers.len(), &summary.teardown) {
        (0, Some(done)) => (
            "chip good-tone",
            format!("nothing left behind ({} removed)", done.removed),
        ),
        (0, None) => ("chip warn-tone", "teardown never ended".to_owned()),
        (number, _) => (
            "chip bad-tone",
            format!("{} left behind", figure::counted(number, "object")),
        ),
    };
    let mut meta = vec![
        ("environment", run.environment.clone()),
        ("run", run.run_id.clone()),
        ("seed", run.seed.to_string()),
        ("tenants", run.tenants.len().to_string()),
        (
            "started",
            summary.started_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        ),
        ("took", figure::seconds(summary.took_us)),
    ];
    if let Some(finished) = &summary.finished {
        meta.push(("peak memory", figure::bytes(finished.peak_memory_bytes)));
    }
    html! {
        header class=(if exit == ExitCode::Passed { "good" } else { "bad" }) {
            div {
                div class="brand" { "mountproof " (run.version) }
                h1 { (headline(exit)) }
                p class="lead" { (verdict_line(summary)) " · exit code " (exit.code()) }
                ul class="chips" {
                    @for (number, word, class) in chips {
                        @if number > 0 { li class=(class) { (figure::count(number as u64)) " " (word) } }
                    }
                    li class=(left.0) { (left.1) }
                }
                dl class="meta" {
                    @for (name, value) in meta { div { dt { (name) } dd { (value) } } }
                }
            }
        }
    }
}

fn upgraded(summary: &RunSummary) -> Markup {
    html! {
        @if !summary.phases.is_empty() {
            section {
                h2 { "Upgrade" }
                @for broken in upgrade::broken_since(summary).iter().take(MOST_NOTES) { p class="note bad" { (broken) } }
                div class="card scroll" {
                    table {
                        thead { tr { th { "Phase" } th { "Cases" } th { "On the nodes" } th { "Longest time without a mount" } } }
                        tbody {
                            @for row in upgrade::rows(summary) {
                                tr {
                                    td { (row.phase) }
                                    td { span class=(if row.bad { "badge bad-tone" } else { "badge good-tone" }) { (row.cases) } }
                                    td { (row.what) }
                                    td class="small" { (row.gap) }
                                }
                            }
                        }
                    }
                }
                @for phase in &summary.phases {
                    @if let Some(installed) = &phase.began.installed { (installation(installed)) }
                }
            }
        }
    }
}

fn installation(installed: &Installed) -> Markup {
    html! {
        div class="card" {
            details {
                summary {
                    "What is installed: "
                    @for part in &installed.parts { span class="badge" { (part.part) " " (part.version) } " " }
                }
                dl class="facts" {
                    @for (what, said) in installed::rows(installed) {
                        dt { (what) }
                        dd class="small" { (said) }
                    }
                }
            }
        }
    }
}

/// What agents told of their nodes, in sums.
fn watched(nodes: &[WatchedNode]) -> Markup {
    html! {
        @if !nodes.is_empty() {
            div class="card" {
                details {
                    summary { "Watched by agents on " (figure::counted(nodes.len(), "node")) }
                    div class="scroll" {
                        table {
                            thead { tr { th { "Node" } @for head in pressure::WATCHED { th { (head) } } } }
                            tbody {
                                @for node in nodes {
                                    tr { td class="mono" { (node.node) } @for said in pressure::watched(node) { td { (said) } } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn headline(exit: ExitCode) -> &'static str {
    match exit {
        ExitCode::Passed => "Passed",
        ExitCode::ConformanceFailed => "Conformance failed",
        ExitCode::Usage => "Not run",
        ExitCode::EnvironmentUnavailable => "Environment unavailable",
        ExitCode::IsolationFailed => "Isolation failed",
        ExitCode::ThresholdMissed => "Threshold missed",
        ExitCode::Inconclusive => "Inconclusive",
        ExitCode::InvalidRun => "Invalid run",
        ExitCode::Interrupted => "Interrupted",
    }
}

fn trouble(summary: &RunSummary) -> Markup {
    let mut notes: Vec<(&str, String)> = Vec::new();
    if summary.killed() {
        let text = "The run was killed: its journal has no end. `mountproof sweep` removes what it left.";
        notes.push(("note bad", text.to_owned()));
    }
    if let Some(interrupted) = &summary.interrupted {
        notes.push(("note bad", format!("{} ended the run early.", interrupted.signal)));
    }
    notes.extend(
        summary
            .problems
            .iter()
            .map(|problem| ("note bad", format!("Invalid: {problem}"))),
    );
    notes.extend(summary.leftovers.iter().map(|left| {
        (
            "note bad",
            format!("Left behind: {}: {}", left.object, left.because),
        )
    }));
    notes.extend(
        summary
            .warnings
            .iter()
            .map(|warning| ("note", format!("Warning: {warning}"))),
    );
    html! {
        @if !notes.is_empty() {
            section aria-label="What to know first" {
                h2 { "Know first" }
                @for (class, text) in notes.iter().take(MOST_NOTES) { p class=(class) { (text) } }
                @if notes.len() > MOST_NOTES {
                    p class="note" { "And " (figure::count((notes.len() - MOST_NOTES) as u64)) " more; results.json has them all." }
                }
            }
        }
    }
}

fn environment(summary: &RunSummary) -> Markup {
    let run = &summary.run;
    html! {
        section {
            h2 { "Environment" }
            div class="card" {
                @if let Some(ready) = &summary.environment {
                    p class="small soft" { (run.environment) ", ready in " (figure::seconds(ready.took_us)) ". Each part speaks the real protocol, so each can be the real one." }
                    div class="scroll" {
                        table {
                            thead { tr { th { "Seam" } th { "What stands there" } th { "Version" } th { "" } th { "Notes" } } }
                            tbody {
                                @for component in &ready.components {
                                    tr {
                                        td { (component.seam) }
                                        td { (component.name) }
                                        td class="mono" { (component.version) }
                                        td {
                                            @if component.stand_in { span class="badge" { "stand-in" } }
                                            @else { span class="badge good-tone" { "real" } }
                                        }
                                        td class="small soft" { (component.notes.join("; ")) }
                                    }
                                }
                            }
                        }
                    }
                    @for note in &ready.notes { p class="small" { (note) } }
                } @else {
                    p class="headline" { (run.environment) " never answered." }
                }
            }
            @if let Some(ready) = &summary.environment {
                @if !ready.capabilities.is_empty() {
                    div class="card" {
                        h3 { "Capabilities, as probed" }
                        table class="tight" {
                            tbody {
                                @for capability in &ready.capabilities {
                                    tr {
                                        td {
                                            @if capability.present { span class="badge good-tone" { "has" } }
                                            @else { span class="badge warn-tone" { "lacks" } }
                                        }
                                        td { code { (capability.name) } }
                                        td class="small soft" { (capability.evidence) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            @if let Some(installed) = summary.environment.as_ref().and_then(|ready| ready.installed.as_ref()) {
                (installation(installed))
            }
            (watched(&summary.watched))
            div class="card" {
                h3 { "Machine and command" }
                dl class="facts" {
                    dt { "machine" }
                    dd { (run.machine.cpus) " CPUs, " (figure::bytes(run.machine.memory_bytes)) ", " (run.machine.kernel) }
                    dt { "again" }
                    dd { code { (run.command.join(" ")) } }
                    dt { "tenants" }
                    dd { (tenants(summary)) }
                }
            }
        }
    }
}

fn tenants(summary: &RunSummary) -> String {
    let shared: Vec<&str> = summary.run.tenants.iter().map(String::as_str).collect();
    match shared.as_slice() {
        [] => "none".to_owned(),
        [first, .., last] if shared.len() > 12 => format!("{} ({first} … {last})", shared.len()),
        _ => shared.join(", "),
    }
}
