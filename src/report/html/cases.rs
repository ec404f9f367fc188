//! PURE: the cases, each with what it saw.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::{
    journal::{Failure, KnownIssue, Verdict},
    report::{
        figure,
        summary::{Attempt, CaseSummary, RunSummary, word},
    },
};

/// One piece of evidence in the page, in bytes; the file beside it has it all.
const LONGEST_EVIDENCE: usize = 16 * 1024;

/// What the page still has room for, in bytes, so that it stays below a megabyte however many cases
/// there are. Those that did not pass come first.
pub(super) struct Room {
    evidence: usize,
    /// Steps, facts and evidence of cases.
    bodies: usize,
    /// Lines of cases.
    rows: usize,
    /// Cases that there was no room for.
    hidden: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            evidence: 256 * 1024,
            bodies: 450 * 1024,
            rows: 150 * 1024,
            hidden: 0,
        }
    }
}

/// Cases of one scenario beyond which they are folded into one row.
const MOST_ALIKE: usize = 6;

/// What did not pass at once, in full; nothing where everything did.
pub(super) fn failures(summary: &RunSummary, room: &mut Room) -> Markup {
    html! {
        @if summary.cases.iter().any(needs_reading) {
            section {
                h2 { "What did not pass at once" }
                div class="card cases" {
                    @for case in summary.cases.iter().filter(|case| needs_reading(case)) { (one(case, room)) }
                }
                (hidden(room))
            }
        }
    }
}

/// How many cases are not shown, from here on none.
fn hidden(room: &mut Room) -> Markup {
    let hidden = std::mem::take(&mut room.hidden);
    html! {
        @if hidden > 0 {
            p class="small soft" { "And " (figure::counted(hidden, "more case")) "; results.json has them all." }
        }
    }
}

/// Everything else, by profile and scenario.
pub(super) fn others(summary: &RunSummary, room: &mut Room) -> Markup {
    let others: Vec<&CaseSummary> = summary.cases.iter().filter(|case| !needs_reading(case)).collect();
    let title = if others.len() == summary.cases.len() {
        "Cases"
    } else {
        "All other cases"
    };
    html! {
        @if !others.is_empty() {
            section {
                h2 { (title) }
                @for (profile, cases) in by(&others, |case| &case.plan.profile) {
                    div class="card cases" {
                        h3 { (profile) }
                        @for (scenario, cases) in by(&cases, |case| &case.plan.scenario) {
                            @if cases.len() > MOST_ALIKE { (folded(scenario, &cases, room)) }
                            @else { @for case in cases { (one(case, room)) } }
                        }
                    }
                }
                (hidden(room))
            }
        }
    }
}

fn needs_reading(case: &CaseSummary) -> bool {
    matches!(
        case.verdict,
        Verdict::Failed | Verdict::Errored | Verdict::KnownIssue | Verdict::Flaky
    )
}

/// Groups of cases, in the order in which each group first occurs.
fn by<'a>(
    cases: &[&'a CaseSummary],
    key: impl Fn(&'a CaseSummary) -> &'a str,
) -> Vec<(&'a str, Vec<&'a CaseSummary>)> {
    let mut groups: Vec<(&str, Vec<&CaseSummary>)> = Vec::new();
    for case in cases {
        let name = key(case);
        match groups.iter_mut().find(|(there, _)| *there == name) {
            Some((_, group)) => group.push(case),
            None => groups.push((name, vec![case])),
        }
    }
    groups
}

/// Many cases of one scenario: a row that opens.
fn folded(scenario: &str, cases: &[&CaseSummary], room: &mut Room) -> Markup {
    let verdicts: BTreeSet<Verdict> = cases.iter().map(|case| case.verdict).collect();
    let number = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
    let counts: Vec<String> = verdicts
        .iter()
        .map(|verdict| format!("{} {verdict}", figure::count(number(*verdict) as u64)))
        .collect();
    let mut took: Vec<u64> = cases.iter().map(|case| case.took_us).collect();
    took.sort_unstable();
    let description = cases.first().map_or("", |case| case.plan.description.as_str());
    html! {
        details class="case folded" {
            summary {
                (badge(verdicts.last().copied()))
                strong { (scenario) }
                span class="seen" { (counts.join(", ")) ". " (description) }
                span class="took" { "median " (figure::seconds(took[took.len() / 2])) }
            }
            @for case in cases { (one(case, room)) }
        }
    }
}

pub(super) fn badge(verdict: Option<Verdict>) -> Markup {
    let class = match verdict {
        Some(Verdict::Passed) => "badge good-tone",
        Some(Verdict::Flaky | Verdict::KnownIssue) => "badge warn-tone",
        Some(Verdict::Failed | Verdict::Errored) | None => "badge bad-tone",
        Some(Verdict::NotSupported | Verdict::Skipped) => "badge",
    };
    html! { span class=(class) { (word(verdict)) } }
}

/// A case's name, which may break before its bindings.
fn name(case: &str) -> Markup {
    let (scenario, binding) = case.split_at(case.find('[').unwrap_or(case.len()));
    html! { (scenario) wbr; (binding) }
}

/// A case: a line that opens, a line alone, or nothing, as there is room.
fn one(case: &CaseSummary, room: &mut Room) -> Markup {
    let row = row(case);
    if row.0.len() > room.rows {
        room.hidden += 1;
        return html! {};
    }
    room.rows -= row.0.len();
    let body = body(case, &mut room.evidence);
    if body.0.len() > room.bodies {
        return html! { details class="case" { summary { (row) } } };
    }
    room.bodies -= body.0.len();
    let bad = matches!(
        case.verdict,
        Verdict::Failed | Verdict::Errored | Verdict::KnownIssue
    );
    html! {
        details class="case" open[bad] {
            summary { (row) }
            div class="body" { (body) }
        }
    }
}

fn row(case: &CaseSummary) -> Markup {
    let bad = matches!(
        case.verdict,
        Verdict::Failed | Verdict::Errored | Verdict::KnownIssue
    );
    let seen = case
        .failure
        .as_ref()
        .filter(|_| bad)
        .map_or(&case.summary, |failure| &failure.headline);
    html! {
        (badge(Some(case.verdict)))
        strong { (name(&case.plan.case)) }
        span class="seen" { @if let Some(known) = &case.known { (figure::known(known)) ": " } (seen) }
        span class="took" { @if !case.attempts.is_empty() { (figure::seconds(case.took_us)) } }
    }
}

/// `room` is what there is for evidence.
fn body(case: &CaseSummary, room: &mut usize) -> Markup {
    html! {
        @if !case.plan.description.is_empty() { p { (case.plan.description) } }
        p class="small soft" {
            @if !case.plan.file.is_empty() { code { (case.plan.file) } }
            @for (name, tenant) in &case.plan.tenants { " · " (name) " is " code { (tenant) } }
            @for capability in &case.plan.requires { " · needs " code { (capability) } }
        }
        @if let Some(known) = &case.known { (self::known(known)) }
        @for attempt in &case.attempts { (self::attempt(case, attempt, room)) }
    }
}

fn known(known: &KnownIssue) -> Markup {
    html! {
        dl class="facts" {
            dt { @if known.shows { "known issue" } @else { "fixed" } }
            dd { (known.id) ", of " (known.component) " " (known.versions) ": " (known.title) }
            dt { "link" }
            dd class="mono" { (known.link) }
            dt { "why" }
            dd { (known.reason) }
        }
    }
}

fn attempt(case: &CaseSummary, attempt: &Attempt, room: &mut usize) -> Markup {
    html! {
        @if case.attempts.len() > 1 {
            h3 { "Attempt " (attempt.number) " " (badge(attempt.verdict)) }
        }
        @if let Some(failure) = &attempt.failure { (facts(failure)) }
        @if !attempt.steps.is_empty() {
            ol class="steps" {
                @for step in &attempt.steps {
                    li {
                        (badge(step.verdict))
                        span {
                            (step.title)
                            @if !step.detail.is_empty() { span class="soft" { ": " (step.detail) } }
                        }
                        span class="took num" { (figure::seconds(step.took_us)) }
                    }
                }
            }
        }
        @if !attempt.evidence.is_empty() {
            p class="small soft" { "All that was kept is in " code { "evidence/" (case.folder) "/" } "." }
        }
        @for evidence in &attempt.evidence {
            @let text = figure::printable(&evidence.text);
            @let shown = take(&text, room);
            details class="more" {
                summary { "Evidence: " (evidence.title) }
                pre { (shown) }
                @if shown.len() < text.len() {
                    p class="small soft" { "Cut here." }
                }
            }
        }
    }
}

/// The part of `text` that there is room for; the rest of the page has so much less.
fn take<'a>(text: &'a str, room: &mut usize) -> &'a str {
    let shown = &text[..text.floor_char_boundary(LONGEST_EVIDENCE.min(*room))];
    *room -= shown.len();
    shown
}

fn facts(failure: &Failure) -> Markup {
    html! {
        p class="headline" {
            @if failure.isolation { span class="badge bad-tone" { "isolation" } " " }
            (failure.headline)
        }
        dl class="facts" {
            @for fact in &failure.facts { dt { (fact.label) } dd class="mono" { (fact.text) } }
        }
    }
}
