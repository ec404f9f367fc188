//! PURE: the cases, each with what it saw.

use maud::{Markup, html};

use crate::{
    journal::{Failure, Verdict},
    report::{
        figure,
        summary::{Attempt, CaseSummary, RunSummary, word},
    },
};

/// One piece of evidence in the page, in bytes; the file beside it has it all.
const LONGEST_EVIDENCE: usize = 16 * 1024;
/// All evidence in the page, in bytes.
const MOST_EVIDENCE: usize = 256 * 1024;

pub(super) fn section(summary: &RunSummary) -> Markup {
    let mut profiles: Vec<&str> = Vec::new();
    for case in &summary.cases {
        if !profiles.contains(&case.plan.profile.as_str()) {
            profiles.push(&case.plan.profile);
        }
    }
    let mut room = MOST_EVIDENCE;
    html! {
        section {
            h2 { "Cases" }
            @for profile in profiles {
                div class="card cases" {
                    h3 { (profile) }
                    @for case in summary.cases.iter().filter(|case| case.plan.profile == profile) {
                        (one(case, &mut room))
                    }
                }
            }
        }
    }
}

pub(super) fn badge(verdict: Option<Verdict>) -> Markup {
    let class = match verdict {
        Some(Verdict::Passed) => "badge good-tone",
        Some(Verdict::Flaky) => "badge warn-tone",
        Some(Verdict::Failed | Verdict::Errored) | None => "badge bad-tone",
        Some(Verdict::NotSupported | Verdict::Skipped) => "badge",
    };
    html! { span class=(class) { (word(verdict)) } }
}

fn one(case: &CaseSummary, room: &mut usize) -> Markup {
    let bad = matches!(case.verdict, Verdict::Failed | Verdict::Errored);
    let seen = case
        .failure
        .as_ref()
        .filter(|_| bad)
        .map_or(&case.summary, |failure| &failure.headline);
    html! {
        details class="case" open[bad] {
            summary {
                (badge(Some(case.verdict)))
                strong { (case.plan.case) }
                span class="seen" { (seen) }
                span class="took" { @if !case.attempts.is_empty() { (figure::seconds(case.took_us)) } }
            }
            div class="body" {
                @if !case.plan.description.is_empty() { p { (case.plan.description) } }
                p class="small soft" {
                    @if !case.plan.file.is_empty() { code { (case.plan.file) } }
                    @for (name, tenant) in &case.plan.tenants { " · " (name) " is " code { (tenant) } }
                    @for capability in &case.plan.requires { " · needs " code { (capability) } }
                }
                @for attempt in &case.attempts { (self::attempt(case, attempt, room)) }
            }
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
        @for evidence in &attempt.evidence {
            @let text = figure::printable(&evidence.text);
            @let shown = take(&text, room);
            details class="more" {
                summary { "Evidence: " (evidence.title) }
                pre { (shown) }
                @if shown.len() < text.len() {
                    p class="small soft" { "Cut here; the whole of it is in " code { "evidence/" (case.folder) "/" } "." }
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
