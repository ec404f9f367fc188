//! PURE: `summary.md`, made for a job summary or a comment: at most 64 KiB.

use std::fmt::Write as _;

use super::{
    calls::{self, COLUMNS},
    exit::{self, ExitCode},
    figure, installed,
    nodes::{NODE_COLUMNS, node_row},
    pressure,
    summary::{CaseSummary, RunSummary, WatchedNode},
    upgrade,
};
use crate::{
    journal::{Access, Installed, Verdict},
    load::percentiles::needed,
};

/// Size limit in bytes; GitHub takes 1 MiB a step and 64 KiB a comment.
pub const LONGEST: usize = 64 * 1024;
/// Rows of the table of cases; those that did not pass come first when there are more.
const MOST_CASES: usize = 150;
/// Cases of one scenario that passed beyond which they share a row.
const MOST_ALIKE: usize = 6;
/// Failures told in full.
const MOST_FAILURES: usize = 25;

/// Renders `summary.md`.
#[must_use]
pub fn render(summary: &RunSummary) -> String {
    let mut text = String::new();
    header(summary, &mut text);
    known_isolation(summary, &mut text);
    upgrade(summary, &mut text);
    trouble(summary, &mut text);
    failures(summary, &mut text);
    known_issues(summary, &mut text);
    cases(summary, &mut text);
    isolation(summary, &mut text);
    latency(summary, &mut text);
    calls(summary, &mut text);
    environment(summary, &mut text);
    within(text, LONGEST)
}

/// The verdict in one line, as the HTML report and the terminal say it too.
#[must_use]
pub fn verdict_line(summary: &RunSummary) -> String {
    let counts = summary.counts();
    let parts: Vec<String> = [
        (counts.failed, "failed"),
        (counts.errored, "errored"),
        (counts.known_issues, "known to fail"),
        (counts.flaky, "flaky"),
        (counts.passed, "passed"),
        (counts.not_supported, "not supported"),
        (counts.skipped, "skipped"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| format!("{} {what}", figure::count(number as u64)))
    .collect();
    let cases = if parts.is_empty() {
        "no cases".to_owned()
    } else {
        parts.join(", ")
    };
    format!("{cases} in {}", figure::seconds(summary.took_us))
}

fn header(summary: &RunSummary, text: &mut String) {
    let run = &summary.run;
    let exit = exit::recorded(summary);
    let mark = if exit == ExitCode::Passed { "✅" } else { "❌" };
    let _ = writeln!(text, "# {mark} mountproof: {exit}\n");
    let _ = writeln!(
        text,
        "**{}** · exit code {}\n",
        verdict_line(summary),
        exit.code()
    );
    let _ = writeln!(
        text,
        "{} · run `{}` · seed `{}` · {} · started {} · mountproof {}\n",
        cell(&run.environment),
        cell(&run.run_id),
        run.seed,
        figure::counted(run.tenants.len(), "tenant"),
        summary.started_at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        cell(&run.version)
    );
}

/// What held before an upgrade and does not any more is what such a run is for.
fn upgrade(summary: &RunSummary, text: &mut String) {
    if summary.phases.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Upgrade\n");
    for broken in upgrade::broken_since(summary).iter().take(MOST_FAILURES) {
        let _ = writeln!(text, "- **{}**", cell(broken));
    }
    let _ = writeln!(
        text,
        "\n| phase | cases | on the nodes | longest time without a mount |\n|---|---|---|---|"
    );
    for row in upgrade::rows(summary) {
        let cases = if row.bad {
            format!("❌ **{}**", cell(&row.cases))
        } else {
            cell(&row.cases)
        };
        let _ = writeln!(
            text,
            "| {} | {cases} | {} | {} |",
            row.phase,
            cell(&row.what),
            cell(&row.gap)
        );
    }
    text.push('\n');
}

/// No failure of the run, and still the first thing to read.
fn known_isolation(summary: &RunSummary, text: &mut String) {
    for (case, known) in summary.known_isolation().take(MOST_FAILURES) {
        let headline = case.failure.as_ref().map_or("", |failure| &failure.headline);
        let _ = writeln!(
            text,
            "> **Isolation is broken in `{}`, which is a known issue:** {} ({})\n",
            cell(&case.plan.case),
            cell(headline),
            cell(&known.link)
        );
    }
}

/// Known issues that show, and those that no longer do.
fn known_issues(summary: &RunSummary, text: &mut String) {
    let known: Vec<_> = summary
        .cases
        .iter()
        .filter_map(|case| Some((case, case.known.as_ref()?)))
        .collect();
    if known.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "## Known issues\n\n| | case | issue | component | why | seen |\n|---|---|---|---|---|---|"
    );
    for (case, known) in known.iter().take(MOST_FAILURES) {
        let shows = if known.shows { "shows" } else { "fixed" };
        let _ = writeln!(
            text,
            "| {shows} | `{}` | [{}]({}): {} | {} {} (known of {}) | {} | {} |",
            cell(&case.plan.case),
            cell(&known.id),
            cell(&known.link),
            cell(&known.title),
            cell(&known.component),
            cell(&known.version),
            cell(&known.versions),
            cell(figure::first_line(&known.reason, 300)),
            cell(figure::first_line(&case.summary, 160)),
        );
    }
    if known.len() > MOST_FAILURES {
        let _ = writeln!(text, "| | … and {} more | | | | |", known.len() - MOST_FAILURES);
    }
    text.push('\n');
}

fn trouble(summary: &RunSummary, text: &mut String) {
    let mut lines = Vec::new();
    if summary.killed() {
        lines.push(
            "The run was killed: its journal has no end. `mountproof sweep` removes what it left.".to_owned(),
        );
    }
    if let Some(interrupted) = &summary.interrupted {
        lines.push(format!("{} ended the run early.", interrupted.signal));
    }
    lines.extend(
        summary
            .problems
            .iter()
            .map(|problem| format!("Invalid: {problem}")),
    );
    lines.extend(
        summary
            .leftovers
            .iter()
            .map(|left| format!("Left behind: {}: {}", left.object, left.because)),
    );
    lines.extend(
        summary
            .warnings
            .iter()
            .map(|warning| format!("Warning: {warning}")),
    );
    for line in lines.iter().take(50) {
        let _ = writeln!(text, "- {}", cell(line));
    }
    if lines.len() > 50 {
        let _ = writeln!(text, "- … and {} more", lines.len() - 50);
    }
    if !lines.is_empty() {
        text.push('\n');
    }
}

fn failures(summary: &RunSummary, text: &mut String) {
    let failing: Vec<&CaseSummary> = summary
        .cases
        .iter()
        .filter(|case| matches!(case.verdict, Verdict::Failed | Verdict::Errored | Verdict::Flaky))
        .collect();
    if failing.is_empty() {
        return;
    }
    let _ = writeln!(text, "## What did not pass at once\n");
    for case in failing.iter().take(MOST_FAILURES) {
        let _ = writeln!(text, "### {} `{}`\n", word(case.verdict), cell(&case.plan.case));
        let Some(failure) = &case.failure else {
            let _ = writeln!(text, "{}\n", cell(&case.summary));
            continue;
        };
        let isolation = if failure.isolation { "**Isolation.** " } else { "" };
        let _ = writeln!(text, "{isolation}{}\n", cell(&failure.headline));
        let width = figure::label_width(failure);
        // A fence longer than any in the text cannot be closed by it.
        let _ = writeln!(text, "````text");
        for fact in &failure.facts {
            let fact_text = figure::first_line(&fact.text, 1_000).replace("````", "'''");
            let _ = writeln!(text, "{:<width$} {fact_text}", fact.label);
        }
        if case.attempts.iter().any(|attempt| !attempt.evidence.is_empty()) {
            let _ = writeln!(text, "{:<width$} evidence/{}/", "evidence", case.folder);
        }
        let _ = writeln!(text, "````\n");
    }
    if failing.len() > MOST_FAILURES {
        let _ = writeln!(
            text,
            "… and {} more; see report.html.\n",
            failing.len() - MOST_FAILURES
        );
    }
}

fn cases(summary: &RunSummary, text: &mut String) {
    let _ = writeln!(
        text,
        "## Cases\n\n| verdict | case | time | seen |\n|---|---|--:|---|"
    );
    let passed = |case: &CaseSummary| case.verdict == Verdict::Passed;
    let mut alike: Vec<(String, usize)> = Vec::new();
    for case in summary.cases.iter().filter(|case| passed(case)) {
        let name = case.plan.measured_as();
        match alike.iter_mut().find(|(scenario, _)| *scenario == name) {
            Some((_, number)) => *number += 1,
            None => alike.push((name, 1)),
        }
    }
    alike.retain(|(_, number)| *number > MOST_ALIKE);
    let folded = |case: &CaseSummary| {
        let name = case.plan.measured_as();
        passed(case) && alike.iter().any(|(scenario, _)| *scenario == name)
    };
    for (scenario, number) in &alike {
        let number = figure::count(*number as u64);
        let _ = writeln!(
            text,
            "| {} | `{}` × {number} | | |",
            word(Verdict::Passed),
            cell(scenario)
        );
    }
    let mut rows: Vec<&CaseSummary> = summary.cases.iter().filter(|case| !folded(case)).collect();
    if rows.len() > MOST_CASES {
        rows.sort_by_key(|case| std::cmp::Reverse(case.verdict));
    }
    for case in rows.iter().take(MOST_CASES) {
        let seen = figure::first_line(&case.summary, 160);
        let _ = writeln!(
            text,
            "| {} | `{}` | {} | {} |",
            word(case.verdict),
            cell(&case.plan.case),
            if case.attempts.is_empty() {
                String::new()
            } else {
                figure::seconds(case.took_us)
            },
            cell(&seen)
        );
    }
    if rows.len() > MOST_CASES {
        let _ = writeln!(text, "| | … and {} more | | |", rows.len() - MOST_CASES);
    }
    text.push('\n');
}

fn isolation(summary: &RunSummary, text: &mut String) {
    let of = |expected: Access| {
        let checked = summary
            .accesses
            .iter()
            .filter(move |access| access.expected == expected);
        (
            checked.clone().filter(|access| access.seen == expected).count(),
            checked.count(),
        )
    };
    let ((allowed, own), (denied, foreign)) = (of(Access::Allowed), of(Access::Denied));
    if own + foreign == 0 {
        return;
    }
    let _ = writeln!(
        text,
        "## Isolation\n\n{allowed} of {own} permitted reads were allowed; {denied} of {foreign} forbidden reads were denied.\n"
    );
}

fn latency(summary: &RunSummary, text: &mut String) {
    if summary.measurements.is_empty() {
        return;
    }
    let _ = writeln!(text, "## Latency\n");
    let _ = writeln!(
        text,
        "| measurement | lens | series | n | p50 | p90 | p95 | p99 | p99.9 | max |"
    );
    let _ = writeln!(text, "|---|---|---|--:|--:|--:|--:|--:|--:|--:|");
    for measurement in &summary.measurements {
        for series in &measurement.series {
            let latency = &series.latency;
            let _ = write!(
                text,
                "| `{}` | {} | {} | {} |",
                cell(&measurement.started.measurement),
                cell(&measurement.started.lens),
                cell(&series.tag),
                figure::count(latency.count()),
            );
            for name in ["p50", "p90", "p95", "p99", "p99.9"] {
                let _ = write!(
                    text,
                    " {} |",
                    latency
                        .value(name)
                        .map_or_else(|| "–".to_owned(), figure::latency)
                );
            }
            let _ = writeln!(text, " {} |", figure::latency(latency.percentiles.max_ns));
        }
    }
    let (p99, p999) = (figure::count(needed(0.99)), figure::count(needed(0.999)));
    let _ = writeln!(
        text,
        "\n–: too few samples (p99 needs {p99}, p99.9 {p999}). Lenses must not be compared.\n"
    );
    let _ = writeln!(
        text,
        "| measurement | planned | ok | denied | failed | timed out | dropped | late | throttled | rate |"
    );
    let _ = writeln!(text, "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for measurement in &summary.measurements {
        let name = cell(&measurement.started.measurement);
        let Some(f) = &measurement.finished else {
            let _ = writeln!(text, "| `{name}` | never ended | | | | | | | | |");
            continue;
        };
        let _ = write!(text, "| `{name}` |");
        for number in [
            f.planned,
            f.ok,
            f.denied,
            f.failed,
            f.timed_out,
            f.dropped,
            f.late,
            f.throttled,
        ] {
            let _ = write!(text, " {} |", figure::count(number));
        }
        let _ = writeln!(
            text,
            " {} |",
            measurement.per_second().map(figure::rate).unwrap_or_default()
        );
    }
    text.push('\n');
    by_node(summary, text);
    if let Some(floor) = &summary.floor {
        let (kept, new) = (
            figure::latency(floor.kept_alive_ns),
            figure::latency(floor.new_tls_ns),
        );
        let _ = writeln!(
            text,
            "Local floor: a mount's primitives alone take {kept} on kept connections and {new} on new ones on this machine.\n"
        );
        if let Some(lens) = &floor.csi_lens {
            let (p50, p99) = (figure::latency(lens.p50_ns), figure::latency(lens.p99_ns));
            let _ = writeln!(
                text,
                "Of what the csi lens times, {p50} (p50) and {p99} (p99) are its own: calls to a driver that answers at once.\n"
            );
        }
    }
}

fn by_node(summary: &RunSummary, text: &mut String) {
    for measurement in &summary.measurements {
        let name = cell(&measurement.started.measurement);
        let nodes = measurement.by_node();
        if nodes.len() > 1 {
            let rule = "--:|".repeat(NODE_COLUMNS.len());
            let _ = writeln!(
                text,
                "`{name}` by node:\n\n| node | {} |\n|---|{rule}",
                NODE_COLUMNS.join(" | ")
            );
            for on in &nodes {
                let figures = node_row(on).map(|figure| cell(&figure));
                let _ = writeln!(text, "| `{}` | {} |", cell(&on.node), figures.join(" | "));
            }
            text.push('\n');
        }
        if !measurement.pressed.is_empty() {
            let rule = "--:|".repeat(pressure::COLUMNS.len());
            let _ = writeln!(
                text,
                "How hard pressed nodes were under `{name}` ({}):\n\n| node | {} |\n|---|{rule}",
                pressure::CAPTION,
                pressure::COLUMNS.join(" | ")
            );
            for pressed in &measurement.pressed {
                let shares = pressure::row(pressed).map(|share| cell(&share));
                let _ = writeln!(text, "| `{}` | {} |", cell(&pressed.node), shares.join(" | "));
            }
            text.push('\n');
        }
        if !measurement.incidents.is_empty() {
            let _ = writeln!(
                text,
                "While `{name}` was under way:\n\n| after | node | what | why |\n|--:|---|---|---|"
            );
            for (at_us, incident) in &measurement.incidents {
                let what = format!("{}: {}", incident.what, incident.kind);
                let cells = [&figure::seconds(*at_us), &incident.node, &what, &incident.because];
                let _ = writeln!(text, "| {} |", cells.map(String::as_str).map(cell).join(" | "));
            }
            text.push('\n');
        }
    }
}

fn calls(summary: &RunSummary, text: &mut String) {
    for counted in &summary.calls {
        let _ = writeln!(text, "## Calls: `{}`\n", cell(&counted.case));
        let _ = writeln!(text, "{}\n", cell(calls::caption(counted)));
        let _ = writeln!(text, "| {} |\n|---|---|--:|--:|--:|", COLUMNS.join(" | "));
        for [call, figures @ ..] in calls::rows(counted) {
            let _ = writeln!(text, "| `{}` | {} |", cell(call), figures.map(cell).join(" | "));
        }
        text.push('\n');
    }
}

fn environment(summary: &RunSummary, text: &mut String) {
    let machine = &summary.run.machine;
    let _ = writeln!(
        text,
        "## Environment\n\n| seam | what | version | ours | notes |\n|---|---|---|---|---|"
    );
    if let Some(ready) = &summary.environment {
        for c in &ready.components {
            let ours = if c.stand_in { "stand-in" } else { "" };
            let notes = figure::first_line(&c.notes.join("; "), 300);
            let cells = [&c.seam, &c.name, &c.version, ours, &notes].map(cell);
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    } else {
        let _ = writeln!(text, "| | never answered | | | |");
    }
    let _ = writeln!(
        text,
        "| machine | {} CPUs, {} | {} | | |\n",
        machine.cpus,
        figure::bytes(machine.memory_bytes),
        cell(&machine.kernel)
    );
    if let Some(ready) = &summary.environment {
        for capability in &ready.capabilities {
            let has = if capability.present { "has" } else { "lacks" };
            let _ = writeln!(
                text,
                "- {has} `{}`: {}",
                cell(&capability.name),
                cell(&capability.evidence)
            );
        }
        for note in &ready.notes {
            let _ = writeln!(text, "- {}", cell(note));
        }
        if let Some(installed) = &ready.installed {
            text.push_str(&installation(installed));
        }
    }
    if !summary.watched.is_empty() {
        text.push_str(&watched(&summary.watched));
    }
    let _ = writeln!(text, "\nAgain: `{}`", cell(summary.run.command.join(" ")));
}

/// What is on the nodes, folded away: most readers want to know it only when something is wrong.
fn installation(installed: &Installed) -> String {
    let versions: Vec<String> = installed
        .parts
        .iter()
        .map(|part| format!("{} {}", part.part, part.version))
        .collect();
    let mut text = format!(
        "\n<details><summary>What is installed: {}</summary>\n\n| | driver and provider |\n|---|---|\n",
        cell(versions.join(", "))
    );
    for (what, said) in installed::rows(installed) {
        let _ = writeln!(text, "| {} | {} |", cell(what), cell(said));
    }
    text.push_str("\n</details>\n");
    text
}

/// What agents told of their nodes, in sums.
fn watched(nodes: &[WatchedNode]) -> String {
    let rule = "--:|".repeat(pressure::WATCHED.len());
    let mut text = format!(
        "\nWatched by agents on the nodes:\n\n| node | {} |\n|---|{rule}\n",
        pressure::WATCHED.join(" | ")
    );
    for node in nodes {
        let said = pressure::watched(node).map(|said| cell(&said));
        let _ = writeln!(text, "| `{}` | {} |", cell(&node.node), said.join(" | "));
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "✅ passed",
        Verdict::Flaky => "⚠️ flaky",
        Verdict::NotSupported => "➖ not supported",
        Verdict::Skipped => "➖ skipped",
        Verdict::KnownIssue => "⚠️ known issue",
        Verdict::Errored => "❗ errored",
        Verdict::Failed => "❌ failed",
    }
}

/// Text that can neither leave its cell nor become markup.
fn cell(text: impl AsRef<str>) -> String {
    let flat = figure::printable(text.as_ref()).replace(['\n', '\t'], " ");
    flat.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('`', "'")
}

fn within(text: String, limit: usize) -> String {
    if text.len() <= limit {
        return text;
    }
    let note = "\n\n… cut here; the whole of it is in report.html.\n";
    let end = text.floor_char_boundary(limit - note.len());
    let line = text[..end].rfind('\n').unwrap_or(end);
    // An open fence would swallow the note.
    let fence = if text[..line].matches("````").count() % 2 == 1 {
        "\n````"
    } else {
        ""
    };
    let line = text[..line.saturating_sub(fence.len())]
        .rfind('\n')
        .unwrap_or(line);
    format!("{}{fence}{note}", &text[..line])
}
