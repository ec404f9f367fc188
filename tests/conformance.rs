//! The scenarios as tests, over the same engine as `mountproof run`, and the tester's own test.
//!
//! - One trial per case, by the name that the command line prints: `cargo test --test conformance
//!   positive`. All of them run in one embedded environment, when the first is asked for.
//! - `counts::calls-per-mount`: what a mount and a refresh of the stand-in pair ask, to the call.
//! - One trial per planted defect, `defect::<seam>:<name>`: of the scenario that must catch it exactly the
//!   cases go red that must, and the run ends with the exit code that it must.
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
    environment::{EnvironmentOptions, LocalOptions, Plant},
    journal::Verdict,
    known::KnownIssues,
    redact::Redactor,
    report::{RunSummary, outcome},
    scenario::{Case, bind::bind_through, load, model::Action, shipped},
    tenant::Identity,
};

/// Tenants of the trials, as of a run without arguments.
const TENANTS: [&str; 2] = ["team-red", "team-blue"];

/// Longest wait for a mount where a defect is planted.
const MOUNT: Duration = Duration::from_secs(20);

/// For each defect the cases that must turn red, and the exit code of the run: 4 where a tenant reaches what it must
/// not, 1 where a mount is spoilt.
const RED: [(&str, &[&str], u8); 37] = [
    (
        "endpoint:skip-token-signature",
        &["impostor-refused[with=forged-signature]"],
        4,
    ),
    (
        "endpoint:ignore-audience",
        &["impostor-refused[with=other-audience]"],
        4,
    ),
    (
        "endpoint:ignore-trust-policy",
        &["annotation-names-other-role"],
        4,
    ),
    ("endpoint:ignore-resource", &CROSS_NAMESPACE, 4),
    ("endpoint:prefix-match", &CROSS_NAMESPACE, 4),
    (
        "endpoint:skip-request-signature",
        &["impostor-refused[with=forged-request]"],
        4,
    ),
    ("endpoint:stale-after-put", &["rotation"], 1),
    ("endpoint:other-tenants-secret", &POSITIVE, 4),
    ("endpoint:ignore-resource-policy", &["resource-policy-denied"], 4),
    ("endpoint:ignore-boundary", &["boundary-denied"], 4),
    ("endpoint:accept-expired-token", &["expired-token-refused"], 4),
    (
        "endpoint:accept-any-region",
        &["impostor-refused[with=other-region]"],
        4,
    ),
    (
        "endpoint:any-association-counts",
        &["no-association[pod-identity]"],
        1,
    ),
    (
        "endpoint:ignore-source-cluster",
        &["role-trusts-other-cluster[pod-identity]"],
        4,
    ),
    (
        "endpoint:ignore-request-tags",
        &["association-names-other-role[pod-identity]"],
        4,
    ),
    (
        "agent:other-pods-credentials",
        &["association-of-other-namespace[pod-identity]"],
        4,
    ),
    ("driver:empty-mount", &POSITIVE, 1),
    ("driver:file-left-after-unmount", &POSITIVE, 1),
    ("driver:no-pod-status", &POSITIVE, 1),
    ("driver:never-answers", &POSITIVE, 1),
    ("driver:rewrites-synced-secret", &["synced-secret-kept"], 1),
    (
        "driver:rewrites-synced-at-every-publish",
        &["synced-secret-republished"],
        1,
    ),
    ("driver:unlimited-rotation", &["poll-interval-kept"], 1),
    ("driver:tokens-in-log", &["no-token-in-log"], 1),
    ("driver:stale-synced-secret", &["synced-secret"], 1),
    ("driver:fresh-folder-is-done", &["mount-after-timeout"], 1),
    (
        "driver:mounted-folder-is-done",
        &["mount-after-driver-kill[interval=off]"],
        1,
    ),
    (
        "driver:provider-socket-is-kept",
        &["mount-after-provider-move"],
        1,
    ),
    ("provider:wrong-mode", &POSITIVE, 1),
    ("provider:stale-after-rotation", &["rotation"], 1),
    ("provider:other-tenants-secret", &CROSS_NAMESPACE, 4),
    ("provider:ignores-denial", &CROSS_NAMESPACE, 4),
    ("provider:ignores-version", &["class-formats"], 1),
    ("provider:ignores-permission", &["class-permissions"], 1),
    ("provider:refuses-secret-twice", &["class-secret-twice"], 1),
    ("provider:failover-after-denial", &["failover-keeps-denial"], 4),
    ("provider:fetches-twice", &["calls-per-mount"], 1),
];

const POSITIVE: [&str; 2] = ["positive[team-blue]", "positive[team-red]"];

const CROSS_NAMESPACE: [&str; 2] = [
    "cross-namespace-denied[team-blue]",
    "cross-namespace-denied[team-red]",
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let cases = cases();
    let shared = Arc::new(Shared {
        cases: cases.clone(),
        summary: OnceLock::new(),
    });
    let mut trials: Vec<Trial> = Vec::new();
    for case in &cases {
        let (name, shared) = (case.plan.case.clone(), Arc::clone(&shared));
        trials.push(Trial::test(name.clone(), move || {
            case_passed(shared.with(&name)?, &name)
        }));
    }
    trials.push(Trial::test("counts::calls-per-mount", move || {
        calls_are_exact(shared.with("calls-per-mount")?)
    }));
    for plant in Plant::all() {
        trials.push(Trial::test(format!("defect::{plant}"), move || {
            defect_is_caught(plant)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The one run that trials of cases look at.
struct Shared {
    cases: Vec<Case>,
    summary: OnceLock<Result<RunSummary, String>>,
}

impl Shared {
    /// It, with the case of this name at least.
    fn with(&self, name: &str) -> Result<&RunSummary, Failed> {
        let alone = std::env::var_os("NEXTEST").is_some();
        let wanted = |case: &&Case| !alone || case.plan.case == name;
        let summary = self.summary.get_or_init(|| {
            let cases = self.cases.iter().filter(wanted).cloned().collect();
            summary_of(cases, Vec::new())
        });
        summary.as_ref().map_err(Failed::from)
    }
}

/// The stand-ins ask what driver 1.6.0 and provider 3.1.1 do (docs/real-releases.md), whatever else has run before.
fn calls_are_exact(summary: &RunSummary) -> Result<(), Failed> {
    let statuses = "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io";
    let expected = [
        (format!("kubernetes:create {statuses}"), "driver", 10, 20),
        ("kubernetes:get serviceaccounts".to_owned(), "provider", 10, 20),
        (format!("kubernetes:update {statuses}"), "driver", 0, 20),
        ("secretsmanager:GetSecretValue".to_owned(), "provider", 10, 20),
        ("sts:AssumeRoleWithWebIdentity".to_owned(), "provider", 10, 20),
        ("tls:aws".to_owned(), "provider", 20, 40),
    ];
    let mut counted = summary.calls.iter();
    let Some(counted) = counted.find(|counted| counted.case == "calls-per-mount") else {
        return Err("calls were not counted".into());
    };
    let seen: Vec<_> = counted
        .calls
        .iter()
        .map(|call| (call.call.clone(), &*call.by, call.on_mounts, call.on_refreshes))
        .collect();
    if (counted.mounts, counted.refreshes) == (10, 20) && seen == expected {
        return Ok(());
    }
    Err(format!(
        "{} mounts, {} refreshes: {seen:#?}",
        counted.mounts, counted.refreshes
    )
    .into())
}

/// The shipped scenarios bound to two tenants, with loads cut to what proves that they work.
fn cases() -> Vec<Case> {
    let loaded = load(&shipped());
    assert!(
        !loaded.has_errors(),
        "the shipped scenarios are in order: {:?}",
        loaded.diagnostics
    );
    let binding = bind_through(&loaded.scenarios, &TENANTS.map(str::to_owned), &Identity::ALL);
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
        // One way in is enough to see a defect, unless the scenario is about the other.
        .filter(|case| case.plan.identity == Identity::Irsa || case.scenario.identity.is_some())
        .map(impatient)
        .collect();
    if cases.is_empty() {
        return Err(format!("there is no scenario {}", plant.caught_by()).into());
    }
    let (_, expected, exit) = RED
        .into_iter()
        .find(|(name, ..)| *name == plant.name())
        .ok_or("it has no row in the table of this file")?;
    let summary = summary_of(cases, vec![plant])?;
    let mut red: Vec<&str> = summary
        .cases
        .iter()
        .filter(|case| case.verdict == Verdict::Failed)
        .map(|case| case.plan.case.as_str())
        .collect();
    red.sort_unstable();
    let ended = outcome(&summary).code();
    if red == expected && ended == exit {
        return Ok(());
    }
    let seen: Vec<String> = summary
        .cases
        .iter()
        .map(|case| format!("{} {}: {}", case.verdict, case.plan.case, case.summary))
        .collect();
    Err(format!(
        "{plant} ({}) was to turn {expected:?} red and to end with {exit}, not {ended}:\n{}",
        plant.what(),
        seen.join("\n")
    )
    .into())
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
        end: None,
        cases,
        tenants: TENANTS.map(str::to_owned).to_vec(),
        identities: Identity::ALL.to_vec(),
        cluster: None,
        region: "us-east-1".to_owned(),
        image: Some("registry.k8s.io/pause:3.10".to_owned()),
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
        // A planted defect is nobody's known issue.
        known: KnownIssues::default(),
        command: vec!["conformance".to_owned()],
        environment: EnvironmentOptions::Local(Box::new(LocalOptions {
            plants,
            pod_identity: true,
            ..LocalOptions::default()
        })),
    }
}
