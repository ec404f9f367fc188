//! The scenarios as tests, over the same engine as `mountproof run`, and the tester's own test.
//!
//! - One trial per case, by the name that the command line prints: `cargo test --test conformance
//!   positive`. All of them run in one embedded environment, when the first is asked for.
//! - One trial per planted defect, `defect::<seam>:<name>`: the scenario that must catch it goes red,
//!   and for the right reason.
//!
//! Under nextest every trial is a process of its own, which then runs its own case alone.

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use mountproof::{
    engine::{LoadOverrides, RunEnd, RunOptions, run},
    environment::{LocalOptions, Plant},
    journal::Verdict,
    redact::Redactor,
    report::RunSummary,
    scenario::{Case, bind, load, model::Action, shipped},
};

/// Tenants of the trials, as of a run without arguments.
const TENANTS: [&str; 2] = ["team-red", "team-blue"];

/// Longest wait for a mount where a defect is planted.
const MOUNT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = cases();
    let alone = std::env::var_os("NEXTEST").is_some();
    let shared = Arc::new(OnceLock::new());
    let mut trials: Vec<Trial> = Vec::new();
    for case in &cases {
        let (name, shared, all) = (case.plan.case.clone(), Arc::clone(&shared), cases.clone());
        trials.push(Trial::test(name.clone(), move || {
            let wanted = if alone {
                all.iter()
                    .filter(|case| case.plan.case == name)
                    .cloned()
                    .collect()
            } else {
                all
            };
            let summary: &Result<RunSummary, String> = shared.get_or_init(|| summary_of(wanted, Vec::new()));
            case_passed(summary.as_ref().map_err(Failed::from)?, &name)
        }));
    }
    for plant in Plant::all() {
        trials.push(Trial::test(format!("defect::{plant}"), move || {
            defect_is_caught(plant)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The shipped scenarios bound to two tenants, with loads cut to what proves that they work.
fn cases() -> Vec<Case> {
    let loaded = load(&shipped());
    assert!(
        !loaded.has_errors(),
        "the shipped scenarios are in order: {:?}",
        loaded.diagnostics
    );
    let binding = bind(&loaded.scenarios, &TENANTS.map(str::to_owned));
    assert!(binding.unbound.is_empty());
    binding.cases
}

fn case_passed(summary: &RunSummary, name: &str) -> Result<(), Failed> {
    let case = summary
        .cases
        .iter()
        .find(|case| case.plan.case == name)
        .ok_or("the run does not know this case")?;
    if case.verdict == Verdict::Passed {
        return Ok(());
    }
    let facts = case.failure.iter().flat_map(|failure| &failure.facts);
    let facts: Vec<String> = facts
        .map(|fact| format!("{}: {}", fact.label, fact.text))
        .collect();
    Err(format!("{}: {}\n{}", case.verdict, case.summary, facts.join("\n")).into())
}

/// Runs the scenario that must catch `plant` with it planted, and without it.
fn defect_is_caught(plant: Plant) -> Result<(), Failed> {
    let cases: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.scenario.name == plant.caught_by())
        .map(impatient)
        .collect();
    if cases.is_empty() {
        return Err(format!("there is no scenario {}", plant.caught_by()).into());
    }
    let summary = summary_of(cases, vec![plant])?;
    let red: Vec<_> = summary
        .cases
        .iter()
        .filter(|case| case.verdict == Verdict::Failed)
        .collect();
    if red.is_empty() {
        let seen: Vec<String> = summary
            .cases
            .iter()
            .map(|case| format!("{} {}: {}", case.verdict, case.plan.case, case.summary))
            .collect();
        return Err(format!(
            "{plant} ({}) turned nothing red:\n{}",
            plant.what(),
            seen.join("\n")
        )
        .into());
    }
    Ok(())
}

/// The case with less time for its mounts: where the defect is that nothing ever comes, waiting longer
/// shows nothing more.
fn impatient(mut case: Case) -> Case {
    let mut scenario = (*case.scenario).clone();
    for step in &mut scenario.steps {
        if matches!(step.action, Action::Mount(_)) {
            step.within = step.within.min(MOUNT);
        }
    }
    case.scenario = Arc::new(scenario);
    case
}

fn summary_of(cases: Vec<Case>, plants: Vec<Plant>) -> Result<RunSummary, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let end = runtime
        .block_on(run(
            options(cases, plants, folder.path()),
            Redactor::default(),
            |_| Vec::new(),
            Box::new(|_, _| {}),
        ))
        .map_err(|error| error.to_string())?;
    sound(end)
}

/// A run whose own record is in order: nothing left behind, nothing unaccounted for.
fn sound(end: RunEnd) -> Result<RunSummary, String> {
    let summary = end.summary.ok_or("the journal is lost")?;
    if !summary.problems.is_empty() || !summary.leftovers.is_empty() || !end.trouble.is_empty() {
        return Err(format!(
            "{:?} {:?} {:?}",
            summary.problems, summary.leftovers, end.trouble
        ));
    }
    Ok(summary)
}

fn options(cases: Vec<Case>, plants: Vec<Plant>, out: &Path) -> RunOptions {
    RunOptions {
        cases,
        tenants: TENANTS.map(str::to_owned).to_vec(),
        cluster: None,
        region: "us-east-1".to_owned(),
        image: "registry.k8s.io/pause:3.10".to_owned(),
        load: LoadOverrides {
            pods: Some(40),
            rate: Some(20.0),
            duration: Some(Duration::from_secs(1)),
            ..LoadOverrides::default()
        },
        jobs: 8,
        retries: None,
        fail_fast: false,
        shuffle: false,
        seed: Some(41),
        deadline: Duration::from_mins(10),
        out: out.to_owned(),
        command: vec!["conformance".to_owned()],
        environment: LocalOptions {
            plants,
            ..LocalOptions::default()
        },
    }
}
