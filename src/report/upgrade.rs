//! PURE: an upgrade in the middle of a run, as every form of a report shows it.

use super::{
    figure,
    summary::{PhaseSummary, RunSummary},
};
use crate::journal::{GapMeasured, Phase, Verdict};

/// One phase.
pub(super) struct Row {
    pub(super) phase: Phase,
    /// How its cases ended.
    pub(super) cases: String,
    /// Whether any failed or errored.
    pub(super) bad: bool,
    /// What was on the nodes.
    pub(super) what: String,
    /// How long mounting did not work in the roll-out before it.
    pub(super) gap: String,
}

/// The phases that began.
pub(super) fn rows(summary: &RunSummary) -> Vec<Row> {
    summary
        .phases
        .iter()
        .map(|phase| {
            let of = |verdict: Verdict| {
                let cases = summary.cases.iter();
                let cases = cases.filter(|case| case.plan.phase == Some(phase.began.phase));
                cases.filter(|case| case.verdict == verdict).count()
            };
            let parts: Vec<String> = [
                (Verdict::Failed, "failed"),
                (Verdict::Errored, "errored"),
                (Verdict::KnownIssue, "known to fail"),
                (Verdict::Flaky, "flaky"),
                (Verdict::Passed, "passed"),
                (Verdict::NotSupported, "not supported"),
                (Verdict::Skipped, "skipped"),
            ]
            .into_iter()
            .map(|(verdict, word)| (of(verdict), word))
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
            Row {
                phase: phase.began.phase,
                cases: parts.join(", "),
                bad: of(Verdict::Failed) + of(Verdict::Errored) > 0,
                what: phase.began.said.clone(),
                gap: longest(phase).map_or_else(String::new, told),
            }
        })
        .collect()
}

/// Cases that held before the upgrade and do not any more, each in words.
pub(super) fn broken_since(summary: &RunSummary) -> Vec<String> {
    let base = |name: &str| name.rsplit_once('@').map_or(name, |(base, _)| base).to_owned();
    let held_before = |name: &str| {
        summary.cases.iter().any(|case| {
            case.plan.phase == Some(Phase::Before)
                && matches!(case.verdict, Verdict::Passed | Verdict::Flaky)
                && base(&case.plan.case) == name
        })
    };
    summary
        .cases
        .iter()
        .filter(|case| matches!(case.verdict, Verdict::Failed | Verdict::Errored))
        .filter_map(|case| {
            let phase = case.plan.phase.filter(|phase| *phase != Phase::Before)?;
            let name = base(&case.plan.case);
            held_before(&name).then(|| {
                let headline = case
                    .failure
                    .as_ref()
                    .map_or(&case.summary, |failure| &failure.headline);
                format!(
                    "{name} passed before the upgrade and {} {phase} it: {headline}",
                    case.verdict
                )
            })
        })
        .collect()
}

/// What was measured on the node where mounting did not work for longest.
fn longest(phase: &PhaseSummary) -> Option<&GapMeasured> {
    phase.gaps.iter().max_by_key(|gap| gap.longest_gap_us)
}

/// In words, with what is usual and how fine the measure is.
pub(super) fn told(gap: &GapMeasured) -> String {
    let missed = gap.started.saturating_sub(gap.mounted);
    let missed = if missed > 0 {
        format!("{missed} of {} never had their secret", gap.started)
    } else {
        format!("all {} had their secret in the end", gap.started)
    };
    let usual = if gap.usual_gap_us == 0 {
        "none before, either".to_owned()
    } else {
        format!("usually {}", figure::seconds(gap.usual_gap_us))
    };
    let longest = figure::seconds(gap.longest_gap_us);
    let longest = if gap.lasting {
        format!("at least {longest}, to the end,")
    } else {
        longest
    };
    format!(
        "no mount for {longest} on {} ({usual}; a pod every {}, {missed})",
        gap.node,
        figure::seconds(gap.every_us),
    )
}
