//! PURE: which files a report is made of, and what is in them.

use std::fmt::Write as _;

use super::{
    figure, html, junit, markdown, results,
    summary::{CaseSummary, MeasurementSummary, RunSummary, file_name, word},
};
use crate::load::histogram;

/// One file of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    /// Below the report's folder, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A form of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Format {
    /// `report.html`, one file for people.
    Html,
    /// `junit.xml`, for CI systems.
    Junit,
    /// `summary.md`, for job summaries and comments.
    Markdown,
    /// `results.json`, for programs.
    Results,
    /// `*.hlog` and `*.hgrm`, for `HdrHistogram` tools.
    Histograms,
    /// `evidence/<case>/`, what was collected when a case did not pass.
    Evidence,
}

impl Format {
    /// Every form, in the order in which the terminal names their files.
    pub const ALL: [Self; 6] = [
        Self::Html,
        Self::Junit,
        Self::Markdown,
        Self::Results,
        Self::Histograms,
        Self::Evidence,
    ];
}

/// Renders `formats` of a run: the same summary gives the same bytes.
#[must_use]
pub fn render(summary: &RunSummary, formats: &[Format]) -> Vec<RenderedFile> {
    let mut files = Vec::new();
    for format in Format::ALL.into_iter().filter(|format| formats.contains(format)) {
        match format {
            Format::Html => push(&mut files, "report.html", html::render(summary)),
            Format::Junit => push(&mut files, "junit.xml", junit::render(summary)),
            Format::Markdown => push(&mut files, "summary.md", markdown::render(summary)),
            Format::Results => push(&mut files, "results.json", results::render(summary)),
            Format::Histograms => {
                summary
                    .measurements
                    .iter()
                    .for_each(|measurement| histograms(measurement, &mut files));
            }
            Format::Evidence => summary.cases.iter().for_each(|case| evidence(case, &mut files)),
        }
    }
    files
}

fn push(files: &mut Vec<RenderedFile>, path: &str, text: String) {
    files.push(RenderedFile {
        path: path.to_owned(),
        text,
    });
}

/// The measurement's log with all its slices, and one percentile spectrum a tag: `<name>.hgrm` for
/// the steady state, `<name>.<tag>.hgrm` for the others. Nothing when a slice cannot be read: the
/// summary names that as a problem.
fn histograms(measurement: &MeasurementSummary, files: &mut Vec<RenderedFile>) {
    let started = &measurement.started;
    let name = file_name(&started.measurement);
    let log = histogram::hlog(&started.measurement, measurement.started_at, &measurement.slices);
    let (Ok(log), Ok(merged)) = (log, histogram::merge(&measurement.slices)) else {
        return;
    };
    push(files, &format!("{name}.hlog"), log);
    for (tag, merged) in &merged {
        let path = if tag == "steady" {
            format!("{name}.hgrm")
        } else {
            format!("{name}.{}.hgrm", file_name(tag))
        };
        push(files, &path, histogram::hgrm(merged));
    }
}

fn evidence(case: &CaseSummary, files: &mut Vec<RenderedFile>) {
    let folder = format!("evidence/{}", case.folder);
    if let Some(failure) = &case.failure {
        let mut text = format!(
            "{}\n{}\n\n{}\n",
            case.plan.case, case.plan.description, failure.headline
        );
        for fact in &failure.facts {
            let _ = writeln!(text, "{}: {}", fact.label, fact.text);
        }
        for attempt in &case.attempts {
            let _ = writeln!(text, "\nattempt {}", attempt.number);
            for step in &attempt.steps {
                let verdict = word(step.verdict);
                let took = figure::seconds(step.took_us);
                let _ = writeln!(
                    text,
                    "  {}. {} ({verdict}, {took}) {}",
                    step.number + 1,
                    step.title,
                    step.detail
                );
            }
        }
        push(files, &format!("{folder}/failure.txt"), text);
    }
    for attempt in &case.attempts {
        for (place, evidence) in attempt.evidence.iter().enumerate() {
            let name = format!(
                "{folder}/{}-{:02}-{}.txt",
                attempt.number,
                place + 1,
                file_name(&evidence.title)
            );
            let end = if evidence.text.ends_with('\n') { "" } else { "\n" };
            push(files, &name, format!("{}{end}", evidence.text));
        }
    }
}
