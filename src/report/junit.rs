//! PURE: `JUnit` XML, within the subset that every common consumer reads.
//!
//! One suite a profile (and phase of an upgrade) and one, `mountproof.run`, for the run itself; no nested suites; unique
//! `classname` + `name`; seconds with three decimals; times with a zone; one failure element whose
//! message is one line under 200 characters; no control characters. Properties belong to suites, and
//! no attribute stands where the strict schema of Jenkins' xUnit plugin has none: what cases have
//! beyond that is in their `system-out`, cut at 64 KiB with a pointer to the evidence folder (GitLab
//! refuses files over 30 MB).

use std::{fmt::Write as _, time::Duration};

use chrono::{DateTime, FixedOffset};
use jiff::Timestamp;
use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::{
    figure,
    summary::{Attempt, CaseSummary, MeasurementSummary, RunSummary, word},
};
use crate::{
    journal::{Failure, Verdict},
    load::calls,
};

/// Longest message attribute, in characters.
const LONGEST_MESSAGE: usize = 199;
/// Longest `system-out` of a case, in bytes.
const LONGEST_OUTPUT: usize = 64 * 1024;
/// All of them together, in bytes, whatever did not pass: each then has its share.
const MOST_OUTPUT: usize = 16 * 1024 * 1024;

/// Renders `junit.xml`.
#[must_use]
pub fn render(summary: &RunSummary) -> String {
    let mut report = Report::new("mountproof");
    report.set_time(duration(summary.took_us));
    let suite_of = |case: &CaseSummary| match case.plan.phase {
        Some(phase) => format!("mountproof.{}@{phase}", case.plan.profile),
        None => format!("mountproof.{}", case.plan.profile),
    };
    let mut suites: Vec<String> = Vec::new();
    for case in &summary.cases {
        let name = suite_of(case);
        if !suites.contains(&name) {
            suites.push(name);
        }
    }
    for name in suites {
        let cases = summary.cases.iter().filter(|case| suite_of(case) == name);
        let mut suite = TestSuite::new(figure::printable(&name));
        suite.set_time(duration(cases.clone().map(|case| case.took_us).sum()));
        let measured = cases.clone().flat_map(|case| measured(summary, case));
        suite.add_properties(measured.map(property));
        add_suite(
            &mut report,
            summary,
            suite,
            cases.map(|case| test_case(summary, case)).collect(),
        );
    }
    let mut own = TestSuite::new("mountproof.run");
    own.set_time(duration(summary.took_us));
    add_suite(
        &mut report,
        summary,
        own,
        vec![completed(summary), accounting(summary), teardown(summary)],
    );
    let text = report
        .to_string()
        .expect("strings that quick-junit cleans itself are UTF-8, and writing to memory does not fail");
    // An extension that strict readers refuse; every suite counts its own.
    text.replacen(&format!(" skipped=\"{}\"", report.skipped), "", 1)
}

fn add_suite(report: &mut Report, summary: &RunSummary, mut suite: TestSuite, cases: Vec<TestCase>) {
    suite.set_timestamp(time(summary.started_at));
    suite.add_properties(properties(summary).into_iter().map(property));
    suite.add_test_cases(cases);
    report.add_test_suite(suite);
}

fn test_case(summary: &RunSummary, case: &CaseSummary) -> TestCase {
    let mut status = match case.verdict {
        Verdict::Passed | Verdict::Flaky => TestCaseStatus::success(),
        Verdict::NotSupported | Verdict::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(message(&format!("{}: {}", case.verdict, case.summary)));
            status
        }
        Verdict::KnownIssue => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(message(&known_line(case)));
            status
        }
        Verdict::Errored => non_success(NonSuccessKind::Error, case),
        Verdict::Failed => non_success(NonSuccessKind::Failure, case),
    };
    if let Some((_, earlier)) = case.attempts.split_last() {
        status.add_reruns(earlier.iter().map(rerun));
    }
    let mut test = TestCase::new(figure::printable(&case.plan.case), status);
    test.set_classname(figure::printable(&format!(
        "mountproof.{}.{}",
        case.plan.profile, case.plan.scenario
    )));
    test.set_time(duration(case.took_us));
    test.set_system_out(output(summary, case));
    test
}

/// The link stands before the title: a long message is cut at its end.
fn known_line(case: &CaseSummary) -> String {
    let isolation = case.failure.as_ref().is_some_and(|failure| failure.isolation);
    let isolation = if isolation { " of isolation" } else { "" };
    match &case.known {
        Some(known) => format!("known issue{isolation}: {} {}", known.link, known.title),
        None => case.summary.clone(),
    }
}

fn non_success(kind: NonSuccessKind, case: &CaseSummary) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    let headline = case
        .failure
        .as_ref()
        .map_or(&case.summary, |failure| &failure.headline);
    status
        .set_message(message(headline))
        .set_type(kind_of(case.verdict, case.failure.as_ref()));
    if let Some(failure) = &case.failure {
        status.set_description(figure::printable(&facts(failure)));
    }
    status
}

fn rerun(attempt: &Attempt) -> TestRerun {
    let kind = match attempt.verdict {
        Some(Verdict::Failed) => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    };
    let mut rerun = TestRerun::new(kind);
    let headline = attempt
        .failure
        .as_ref()
        .map_or(&attempt.summary, |failure| &failure.headline);
    rerun.set_message(message(headline)).set_type(kind_of(
        attempt.verdict.unwrap_or(Verdict::Errored),
        attempt.failure.as_ref(),
    ));
    if let Some(failure) = &attempt.failure {
        rerun.set_description(figure::printable(&facts(failure)));
    }
    rerun
}

fn kind_of(verdict: Verdict, failure: Option<&Failure>) -> String {
    if failure.is_some_and(|failure| failure.isolation) {
        "isolation".to_owned()
    } else {
        verdict.to_string()
    }
}

/// Whether the run came to its end.
fn completed(summary: &RunSummary) -> TestCase {
    let trouble = if summary.killed() {
        Some("the run was killed: its journal has no end".to_owned())
    } else {
        summary
            .interrupted
            .as_ref()
            .map(|interrupted| format!("{} ended the run early", interrupted.signal))
    };
    let status = trouble.map_or_else(TestCaseStatus::success, |trouble| {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(message(&trouble)).set_type("errored");
        status
    });
    own_case("completed", status, summary.took_us, &summary.warnings.join("\n"))
}

/// Whether everything adds up.
fn accounting(summary: &RunSummary) -> TestCase {
    let status = match summary.problems.as_slice() {
        [] => TestCaseStatus::success(),
        problems => failed(&problems[0], problems),
    };
    let sums: Vec<String> = summary.measurements.iter().map(accounting_line).collect();
    own_case("accounting", status, 0, &sums.join("\n"))
}

/// Whether anything is left behind.
fn teardown(summary: &RunSummary) -> TestCase {
    let left: Vec<String> = summary
        .leftovers
        .iter()
        .map(|left| format!("{}: {}", left.object, left.because))
        .collect();
    let status = match (left.first(), &summary.teardown) {
        (Some(first), _) => failed(
            &format!(
                "{} left behind; first: {first}",
                figure::counted(left.len(), "object")
            ),
            &left,
        ),
        (None, Some(_)) => TestCaseStatus::success(),
        (None, None) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status
                .set_message("teardown never ended; `mountproof sweep` removes what is left")
                .set_type("errored");
            status
        }
    };
    let done = summary.teardown.as_ref();
    let output = done
        .map(|done| format!("{} removed, {} left", done.removed, done.left))
        .unwrap_or_default();
    own_case("teardown", status, done.map_or(0, |done| done.took_us), &output)
}

fn failed(headline: &str, lines: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    status
        .set_message(message(headline))
        .set_type("invalid")
        .set_description(figure::printable(&lines.join("\n")));
    status
}

fn own_case(name: &str, status: TestCaseStatus, took_us: u64, output: &str) -> TestCase {
    let mut test = TestCase::new(name, status);
    test.set_classname("mountproof.run").set_time(duration(took_us));
    if !output.is_empty() {
        test.set_system_out(figure::printable(output));
    }
    test
}

/// What identifies the run, for every suite: consumers show suites apart from each other.
fn properties(summary: &RunSummary) -> Vec<(String, String)> {
    let run = &summary.run;
    let mut list = vec![
        ("mountproof.version".to_owned(), run.version.clone()),
        ("run.id".to_owned(), run.run_id.clone()),
        ("run.seed".to_owned(), run.seed.to_string()),
        ("run.command".to_owned(), run.command.join(" ")),
        ("run.tenants".to_owned(), run.tenants.join(" ")),
        ("environment".to_owned(), run.environment.clone()),
        ("machine.cpus".to_owned(), run.machine.cpus.to_string()),
        (
            "machine.memory_bytes".to_owned(),
            run.machine.memory_bytes.to_string(),
        ),
        ("machine.kernel".to_owned(), run.machine.kernel.clone()),
    ];
    if let Some(environment) = &summary.environment {
        for component in &environment.components {
            let text = format!("{} {}", component.name, component.version);
            list.push((format!("component.{}", component.seam), text));
        }
        for capability in &environment.capabilities {
            list.push((
                format!("capability.{}", capability.name),
                capability.present.to_string(),
            ));
        }
    }
    list
}

/// Figures and sums of what a case measured, under the measurement's name.
fn measured(summary: &RunSummary, case: &CaseSummary) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for measurement in measurements_of(summary, case) {
        let name = &measurement.started.measurement;
        if let Some(steady) = measurement.steady() {
            list.push((format!("{name}.samples"), steady.count().to_string()));
            for (figure, value) in steady.figures() {
                list.push((format!("{name}.{figure}_ns"), value.to_string()));
            }
        }
        if let Some(finished) = &measurement.finished {
            for (what, value) in [
                ("planned", finished.planned),
                ("ok", finished.ok),
                ("denied", finished.denied),
                ("failed", finished.failed),
                ("timed_out", finished.timed_out),
                ("dropped", finished.dropped),
            ] {
                list.push((format!("{name}.{what}"), value.to_string()));
            }
        }
    }
    // Of attempts, the last one stands.
    let counted = summary
        .calls
        .iter()
        .rev()
        .find(|counted| counted.case == case.plan.case);
    if let Some(counted) = counted {
        for call in &counted.calls {
            let name = format!("{}.{}.{}", counted.case, call.by, call.call);
            let (a_mount, _) = calls::each(call.on_mounts, counted.mounts);
            list.push((format!("{name}.per_mount"), a_mount.to_string()));
            if counted.refreshes > 0 {
                let (a_refresh, _) = calls::each(call.on_refreshes, counted.refreshes);
                list.push((format!("{name}.per_refresh"), a_refresh.to_string()));
            }
        }
    }
    list
}

fn measurements_of<'a>(
    summary: &'a RunSummary,
    case: &'a CaseSummary,
) -> impl Iterator<Item = &'a MeasurementSummary> {
    summary
        .measurements
        .iter()
        .filter(|measurement| measurement.started.case == case.plan.case)
}

/// What was tried with whom, the step log, key figures and evidence.
fn output(summary: &RunSummary, case: &CaseSummary) -> String {
    let plan = &case.plan;
    let tenants = plan.tenants.iter();
    let tenants: Vec<String> = tenants
        .map(|(name, tenant)| format!("{name} is {tenant}"))
        .collect();
    let head = [case.verdict.to_string(), plan.file.clone(), tenants.join(", ")];
    let head = head.into_iter().filter(|part| !part.is_empty());
    let mut text = format!("{}\n", head.collect::<Vec<_>>().join(" · "));
    if let Some(known) = &case.known {
        let _ = writeln!(text, "{}", figure::known(known));
    }
    if let Some(failure) = case
        .failure
        .as_ref()
        .filter(|_| case.verdict == Verdict::KnownIssue)
    {
        let _ = writeln!(text, "{}", facts(failure));
    }
    for attempt in &case.attempts {
        if case.attempts.len() > 1 {
            let (number, verdict, at) = (attempt.number, word(attempt.verdict), attempt.started_at);
            let took = figure::seconds(attempt.took_us);
            let _ = writeln!(text, "attempt {number}: {verdict} in {took}, started {at}");
        }
        for step in &attempt.steps {
            let verdict = word(step.verdict);
            let detail = if step.detail.is_empty() {
                String::new()
            } else {
                format!(": {}", step.detail)
            };
            let (number, title, took) = (step.number + 1, &step.title, figure::seconds(step.took_us));
            let _ = writeln!(text, "{number}. {verdict:<8} {took:>8}  {title}{detail}");
        }
    }
    for measurement in measurements_of(summary, case) {
        let _ = writeln!(text, "{}", accounting_line(measurement));
    }
    if !matches!(case.verdict, Verdict::Passed) {
        for evidence in case.attempts.iter().flat_map(|attempt| &attempt.evidence) {
            let _ = write!(
                text,
                "\n--- {} ---\n{}\n",
                evidence.title,
                evidence.text.trim_end()
            );
        }
    }
    let text = figure::printable(&text);
    let longest = LONGEST_OUTPUT.min(MOST_OUTPUT / summary.cases.len().max(1));
    if text.len() <= longest {
        return text;
    }
    let cut = text.floor_char_boundary(longest);
    format!(
        "{}\n... cut here; the whole of it is in evidence/{}/\n",
        &text[..cut],
        case.folder
    )
}

fn accounting_line(measurement: &MeasurementSummary) -> String {
    let name = &measurement.started.measurement;
    measurement.finished.as_ref().map_or_else(
        || format!("{name}: never ended"),
        |done| {
            format!(
                "{name}: {} planned = {} ok + {} denied + {} failed + {} timed out + {} dropped; {} late",
                done.planned, done.ok, done.denied, done.failed, done.timed_out, done.dropped, done.late
            )
        },
    )
}

fn facts(failure: &Failure) -> String {
    let width = figure::label_width(failure);
    failure
        .facts
        .iter()
        .fold(failure.headline.clone(), |mut text, fact| {
            let _ = write!(text, "\n{:<width$}  {}", fact.label, fact.text);
            text
        })
}

fn message(text: &str) -> String {
    figure::first_line(&figure::printable(text), LONGEST_MESSAGE)
}

fn property((name, value): (String, String)) -> Property {
    Property::new(figure::printable(&name), figure::printable(&value))
}

fn duration(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn time(at: Timestamp) -> DateTime<FixedOffset> {
    DateTime::from_timestamp_micros(at.as_microsecond())
        .unwrap_or_default()
        .fixed_offset()
}
