//! PURE: `results.json`, the machine-readable result.
//!
//! [`Results::schema`] is raised when a field goes or changes its meaning; new fields may come
//! without. The JSON Schema of these types is committed as `schemas/results.json`.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    exit,
    latency::Latency,
    summary::{Attempt, CaseSummary, MeasurementSummary, OnNode, RunSummary, WatchedNode},
};
use crate::{
    journal::{
        AccessChecked, CallCounted, CallsCounted, Capability, Component, Failure, FloorMeasured, GapMeasured,
        IncidentKind, IncidentSeen, Installed, KnownIssue, LeftoverFound, Machine, MeasurementFinished,
        NodePressed, PhaseBegan, RefreshedBy, Verdict,
    },
    load::calls,
};

/// Version of this format.
pub const RESULTS_SCHEMA: u32 = 1;

/// A run's result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Version of this format; 1.
    pub schema: u32,
    /// Version of mountproof that ran.
    pub mountproof: String,
    /// Short random id that every object of the run carried.
    pub run_id: String,
    /// Seed of everything random in the run.
    pub seed: u64,
    /// The command line.
    pub command: Vec<String>,
    /// When it started, in RFC 3339.
    pub started_at: String,
    /// Time taken, in microseconds.
    pub took_us: u64,
    /// The process's exit code; for a run that was killed, what it had come to.
    pub exit_code: u8,
    /// The exit code in words.
    pub outcome: String,
    /// Whether the run came to its end by itself: neither killed nor interrupted.
    pub complete: bool,
    /// What ended it early: a signal's name, `deadline` or `killed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<String>,
    /// Peak resident memory of the harness, in bytes; absent when the run was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    /// Where it ran.
    pub machine: Machine,
    /// What it ran against.
    pub environment: Environment,
    /// The parts of an upgrade in the middle of the run; none without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The run's tenants.
    pub tenants: Vec<Tenant>,
    /// How many cases ended how.
    pub counts: Counts,
    /// Every planned case, in the order of the plan.
    pub cases: Vec<Case>,
    /// Which tenant reached which secret.
    pub accesses: Vec<AccessChecked>,
    /// What a mount costs at least on that machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorMeasured>,
    /// The same of each node that agents measured on, where there are such: `floor` is the slowest's then.
    #[serde(default)]
    pub floors: Vec<FloorMeasured>,
    /// Every measurement.
    pub measurements: Vec<Measurement>,
    /// What was seen on nodes and of what runs there: restarts, OOM kills, evictions, nodes that are not Ready, sockets that go and
    /// come, agents that are not heard.
    #[serde(default)]
    pub incidents: Vec<Incident>,
    /// Nodes whose agents told what happens there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<WatchedNode>,
    /// What mounts asked of AWS and of Kubernetes, counted call by call: exact, and so the same in every run of the
    /// same programs.
    #[serde(default)]
    pub calls: Vec<Calls>,
    /// What a reader should know that is no verdict.
    pub warnings: Vec<String>,
    /// What does not add up. Empty in a valid run.
    pub problems: Vec<String>,
    /// How clean-up went.
    pub teardown: Teardown,
}

/// What the run ran against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// `embedded`, `host`, `kind`, `eks` or `cluster`.
    pub name: String,
    /// Whether it answered and was probed.
    pub ready: bool,
    /// Time to make it, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_us: Option<u64>,
    /// What stands at each seam.
    pub components: Vec<Component>,
    /// What was probed.
    pub capabilities: Vec<Capability>,
    /// Facts that change how figures are read.
    pub notes: Vec<String>,
    /// What was put on the nodes of a cluster; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
}

/// A part of an upgrade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// What was on the nodes, and since when.
    pub began: PhaseBegan,
    /// How long mounting did not work in the roll-out before it, by node.
    pub gaps: Vec<GapMeasured>,
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its name, which is its namespace too.
    pub name: String,
    /// The case it was made for; absent for a shared tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Role of its `default` `ServiceAccount`.
    pub role_arn: String,
    /// Number of secrets.
    pub secrets: u32,
    /// Time to provision it, in microseconds.
    pub took_us: u64,
}

/// Cases by verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Counts {
    /// The claim holds.
    pub passed: usize,
    /// Passed after an attempt that did not.
    pub flaky: usize,
    /// The claim does not hold.
    pub failed: usize,
    /// The harness or its infrastructure could not say.
    pub errored: usize,
    /// Does not hold, for a reason that is known, and the run is not strict.
    #[serde(default)]
    pub known_issue: usize,
    /// A capability is missing.
    pub not_supported: usize,
    /// Selected, but not tried.
    pub skipped: usize,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Unique in the run.
    pub case: String,
    /// The scenario's name.
    pub scenario: String,
    /// The scenario's profile.
    pub profile: String,
    /// The claim in one sentence.
    pub description: String,
    /// The scenario's file.
    pub file: String,
    /// The tenants it was bound to, by the scenario's names for them.
    pub tenants: BTreeMap<String, String>,
    /// The verdict over all attempts.
    pub verdict: Verdict,
    /// What was seen, in one line.
    pub summary: String,
    /// Set when it failed or errored, or did so before it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The known issue that shows, or that was expected to and did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_issue: Option<KnownIssue>,
    /// Time of all attempts, in microseconds.
    pub took_us: u64,
    /// Attempts in order.
    pub attempts: Vec<CaseAttempt>,
    /// Folder of its evidence beside this file; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// One attempt at a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaseAttempt {
    /// From 1.
    pub number: u32,
    /// Absent when it never ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// From the start of the run, in microseconds.
    pub started_us: u64,
    /// In microseconds.
    pub took_us: u64,
    /// Set when it failed or errored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Steps in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does.
    pub title: String,
    /// Absent when it never ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What was seen.
    pub detail: String,
    /// In microseconds.
    pub took_us: u64,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Unique in the run; its files beside this one are `<measurement>.hlog` and `.hgrm`.
    pub measurement: String,
    /// The case that measured.
    pub case: String,
    /// What one value is.
    pub what: String,
    /// `csi`, `pod` or `fetch`. Figures of different lenses must not be compared.
    pub lens: String,
    /// How it was driven.
    pub parameters: BTreeMap<String, String>,
    /// The sums; absent when it never ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounting: Option<MeasurementFinished>,
    /// Completed operations per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Figures by tag: `steady` is what the measurement is quoted by.
    pub latency: BTreeMap<String, Figures>,
    /// What each node had of it, where nodes are told apart. Figures of the whole are of one histogram, and no mean of these.
    #[serde(default)]
    pub nodes: Vec<NodeShare>,
    /// What nodes were short of meanwhile, as far as agents told: of the whole node, whoever kept it busy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pressed: Vec<NodePressed>,
}

/// What one node had of a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeShare {
    /// Its name.
    pub node: String,
    /// Mounts of the measurement's, its warm-up among them.
    pub planned: u64,
    /// Ended well.
    pub ok: u64,
    /// Refused as they should be.
    pub denied: u64,
    /// Failed.
    pub failed: u64,
    /// Ran out of time.
    pub timed_out: u64,
    /// Never sent.
    pub dropped: u64,
    /// Sent more than a millisecond after the plan.
    pub late: u64,
    /// Response time after the warm-up.
    pub latency: Figures,
}

/// Something that befell a node, or what runs on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When it was seen, from the start of the run, in microseconds: by the harness, or by the agent on the node.
    pub at_us: u64,
    /// The measurements that were under way.
    pub measurements: Vec<String>,
    /// What it is.
    pub kind: IncidentKind,
    /// The node.
    pub node: String,
    /// What it befell.
    pub what: String,
    /// Why, in Kubernetes' words or in the agent's.
    pub because: String,
}

/// Latency figures, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Number of samples.
    pub samples: u64,
    /// Smallest.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: u64,
    /// Largest.
    pub max_ns: u64,
    /// Percentiles by name, such as `p99`; one is left out where the sample is too small for it.
    pub percentiles: BTreeMap<String, Percentile>,
}

/// A percentile and the interval that holds the true one with 95 % confidence, in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Percentile {
    /// Of the sample.
    pub value_ns: u64,
    /// Lower bound.
    pub low_ns: u64,
    /// Upper bound.
    pub high_ns: u64,
}

/// What mounts, and refreshes of their files, asked of AWS and of Kubernetes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calls {
    /// The case that counted.
    pub case: String,
    /// Its attempt, from 1.
    pub attempt: u32,
    /// Mounts, one after another.
    pub mounts: u32,
    /// How often the files of something mounted were refreshed afterwards, all together.
    pub refreshes: u32,
    /// What is assumed of an hour in the life of a pod.
    pub hour: Hour,
    /// Every call that was seen, in the order of its name.
    pub calls: Vec<Call>,
    /// Names of calls that could not be counted: that they are not among those says nothing.
    pub uncounted: Vec<String>,
}

/// An hour in the life of a running pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hour {
    /// The assumption, in words.
    pub assumes: String,
    /// Who sees to it that the driver asks the provider anew.
    pub refreshed_by: RefreshedBy,
    /// The driver's rotation interval, in microseconds.
    pub rotation_us: u64,
    /// Fewest and most refreshes.
    pub refreshes: [f64; 2],
}

/// One kind of call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// `sts:AssumeRoleWithWebIdentity`, `kubernetes:get serviceaccounts`, `tls:aws` (a handshake) and so on.
    pub call: String,
    /// Who made it: `driver` or `provider`.
    pub by: String,
    /// Over all mounts.
    pub on_mounts: u64,
    /// Of one mount: a whole number, unless `same_each` is false.
    pub per_mount: f64,
    /// Over all refreshes.
    pub on_refreshes: u64,
    /// Of one refresh: likewise.
    pub per_refresh: f64,
    /// Fewest and most of one running pod in an hour: computed, from `per_refresh` and `hour`.
    pub per_pod_hour: [f64; 2],
    /// Whether the totals divide by mounts and refreshes. Where they do not, mounts of the same kind asked
    /// differently, which is a finding.
    pub same_each: bool,
}

/// How clean-up went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Teardown {
    /// Whether it ended.
    pub done: bool,
    /// Objects removed.
    pub removed: u32,
    /// What is still there.
    pub leftovers: Vec<LeftoverFound>,
}

/// Renders `results.json`.
#[must_use]
pub fn render(summary: &RunSummary) -> String {
    let mut text = serde_json::to_string_pretty(&Results::of(summary))
        .expect("the keys are strings and the numbers finite");
    text.push('\n');
    text
}

/// Renders `schemas/results.json`.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Results);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

impl Results {
    /// The result of a run.
    #[must_use]
    pub fn of(summary: &RunSummary) -> Self {
        let run = &summary.run;
        let exit = exit::recorded(summary);
        let signal = summary
            .interrupted
            .as_ref()
            .map(|interrupted| interrupted.signal.clone());
        let counts = summary.counts();
        Self {
            schema: RESULTS_SCHEMA,
            mountproof: run.version.clone(),
            run_id: run.run_id.clone(),
            seed: run.seed,
            command: run.command.clone(),
            started_at: summary.started_at.to_string(),
            took_us: summary.took_us,
            exit_code: exit.code(),
            outcome: exit.to_string(),
            complete: !summary.killed() && signal.is_none(),
            ended_by: signal.or_else(|| summary.killed().then(|| "killed".to_owned())),
            peak_memory_bytes: summary
                .finished
                .as_ref()
                .map(|finished| finished.peak_memory_bytes),
            machine: run.machine.clone(),
            environment: environment(summary),
            phases: summary
                .phases
                .iter()
                .map(|phase| Phase {
                    began: phase.began.clone(),
                    gaps: phase.gaps.clone(),
                })
                .collect(),
            tenants: summary
                .tenants
                .iter()
                .map(|tenant| Tenant {
                    name: tenant.tenant.clone(),
                    case: tenant.case.clone(),
                    role_arn: tenant.role_arn.clone(),
                    secrets: tenant.secrets,
                    took_us: tenant.took_us,
                })
                .collect(),
            counts: Counts {
                passed: counts.passed,
                flaky: counts.flaky,
                failed: counts.failed,
                errored: counts.errored,
                known_issue: counts.known_issues,
                not_supported: counts.not_supported,
                skipped: counts.skipped,
            },
            cases: summary.cases.iter().map(case).collect(),
            accesses: summary.accesses.clone(),
            floor: summary.floor.clone(),
            floors: summary.floors.clone(),
            incidents: summary
                .incidents
                .iter()
                .map(|(at_us, seen)| incident(summary, *at_us, seen))
                .collect(),
            watched: summary.watched.clone(),
            measurements: summary.measurements.iter().map(measurement).collect(),
            calls: summary.calls.iter().map(counted).collect(),
            warnings: summary.warnings.clone(),
            problems: summary.problems.clone(),
            teardown: Teardown {
                done: summary.teardown.is_some(),
                removed: summary.teardown.as_ref().map_or(0, |teardown| teardown.removed),
                leftovers: summary.leftovers.clone(),
            },
        }
    }
}

fn environment(summary: &RunSummary) -> Environment {
    let ready = summary.environment.clone();
    Environment {
        name: summary.run.environment.clone(),
        ready: ready.is_some(),
        took_us: ready.as_ref().map(|ready| ready.took_us),
        components: ready
            .as_ref()
            .map(|ready| ready.components.clone())
            .unwrap_or_default(),
        capabilities: ready
            .as_ref()
            .map(|ready| ready.capabilities.clone())
            .unwrap_or_default(),
        notes: ready
            .as_ref()
            .map(|ready| ready.notes.clone())
            .unwrap_or_default(),
        installed: ready.and_then(|ready| ready.installed),
    }
}

fn case(case: &CaseSummary) -> Case {
    let has_evidence = case.attempts.iter().any(|attempt| !attempt.evidence.is_empty());
    Case {
        case: case.plan.case.clone(),
        scenario: case.plan.scenario.clone(),
        profile: case.plan.profile.clone(),
        description: case.plan.description.clone(),
        file: case.plan.file.clone(),
        tenants: case.plan.tenants.clone(),
        verdict: case.verdict,
        summary: case.summary.clone(),
        failure: case.failure.clone(),
        known_issue: case.known.clone(),
        took_us: case.took_us,
        attempts: case.attempts.iter().map(attempt).collect(),
        evidence: has_evidence.then(|| format!("evidence/{}", case.folder)),
    }
}

fn attempt(attempt: &Attempt) -> CaseAttempt {
    CaseAttempt {
        number: attempt.number,
        verdict: attempt.verdict,
        started_us: attempt.started_us,
        took_us: attempt.took_us,
        failure: attempt.failure.clone(),
        steps: attempt
            .steps
            .iter()
            .map(|step| Step {
                title: step.title.clone(),
                verdict: step.verdict,
                detail: step.detail.clone(),
                took_us: step.took_us,
            })
            .collect(),
    }
}

fn counted(counted: &CallsCounted) -> Calls {
    let rotation = Duration::from_micros(counted.rotation_us);
    let pair = |range: calls::Range| [thousandths(range.least), thousandths(range.most)];
    let call = |call: &CallCounted| {
        let (per_mount, mounts_alike) = calls::each(call.on_mounts, counted.mounts);
        let (per_refresh, refreshes_alike) = calls::each(call.on_refreshes, counted.refreshes);
        Call {
            call: call.call.clone(),
            by: call.by.clone(),
            on_mounts: call.on_mounts,
            per_mount: thousandths(per_mount),
            on_refreshes: call.on_refreshes,
            per_refresh: thousandths(per_refresh),
            per_pod_hour: pair(calls::a_pod_hour(call, counted)),
            same_each: mounts_alike && refreshes_alike,
        }
    };
    Calls {
        case: counted.case.clone(),
        attempt: counted.attempt,
        mounts: counted.mounts,
        refreshes: counted.refreshes,
        hour: Hour {
            assumes: calls::assumption(counted.refreshed_by, rotation),
            refreshed_by: counted.refreshed_by,
            rotation_us: counted.rotation_us,
            refreshes: pair(calls::refreshes_an_hour(counted.refreshed_by, rotation)),
        },
        calls: counted.calls.iter().map(call).collect(),
        uncounted: counted.uncounted.clone(),
    }
}

fn thousandths(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

fn measurement(measurement: &MeasurementSummary) -> Measurement {
    let started = &measurement.started;
    Measurement {
        measurement: started.measurement.clone(),
        case: started.case.clone(),
        what: started.what.clone(),
        lens: started.lens.clone(),
        parameters: started.parameters.clone(),
        accounting: measurement.finished.clone(),
        per_second: measurement.per_second().map(thousandths),
        latency: measurement
            .series
            .iter()
            .map(|series| (series.tag.clone(), figures(&series.latency)))
            .collect(),
        nodes: measurement.by_node().iter().map(node_share).collect(),
        pressed: measurement.pressed.clone(),
    }
}

fn node_share(on: &OnNode) -> NodeShare {
    NodeShare {
        node: on.node.clone(),
        planned: on.planned,
        ok: on.ok,
        denied: on.denied,
        failed: on.failed,
        timed_out: on.timed_out,
        dropped: on.dropped,
        late: on.late,
        latency: figures(&on.latency),
    }
}

fn incident(summary: &RunSummary, at_us: u64, seen: &IncidentSeen) -> Incident {
    let under_way = summary.measurements.iter().filter(|measurement| {
        let during = measurement.started_us..=measurement.finished_us.unwrap_or(u64::MAX);
        during.contains(&at_us)
    });
    Incident {
        at_us,
        measurements: under_way
            .map(|measurement| measurement.started.measurement.clone())
            .collect(),
        kind: seen.kind,
        node: seen.node.clone(),
        what: seen.what.clone(),
        because: seen.because.clone(),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of positive whole numbers"
)]
fn figures(latency: &Latency) -> Figures {
    let figures = &latency.percentiles;
    Figures {
        samples: figures.count,
        min_ns: figures.min_ns,
        mean_ns: figures.mean_ns.round() as u64,
        max_ns: figures.max_ns,
        percentiles: figures
            .listed
            .iter()
            .filter_map(|listed| {
                let estimate = listed.estimate?;
                let (value_ns, low_ns, high_ns) = (estimate.value_ns, estimate.low_ns, estimate.high_ns);
                Some((
                    listed.name.to_owned(),
                    Percentile {
                        value_ns,
                        low_ns,
                        high_ns,
                    },
                ))
            })
            .collect(),
    }
}
