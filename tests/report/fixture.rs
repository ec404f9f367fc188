//! Builds journals as runs would write them.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use jiff::Timestamp;
use mountproof::{
    journal::{
        Access, AccessChecked, CallCounted, CallsCounted, Capability, CaseFinished, CasePlan, CaseStarted,
        Component, EnvironmentReady, Event, EventKind, EvidenceCollected, Fact, Failure, FloorMeasured,
        FloorPart, HistogramRecorded, Interrupted, KnownIssue, LeftoverFound, Machine, MeasurementFinished,
        MeasurementStarted, MountFinished, MountOutcome, Phase, RefreshedBy, RunFinished, RunStarted,
        SCHEMA_VERSION, StepFinished, StepStarted, TeardownFinished, TenantReady, Verdict, WarningRaised,
    },
    load::histogram,
    tenant::Identity,
};

/// When every fixture's run started.
const STARTED: i64 = 1_764_025_331_020_000;

/// A journal in the making.
pub(crate) struct Builder {
    events: Vec<Event>,
    now_us: u64,
}

impl Builder {
    pub(crate) fn new(cases: &[(&str, &str)]) -> Self {
        let mut builder = Self {
            events: Vec::new(),
            now_us: 0,
        };
        builder.push(EventKind::RunStarted(RunStarted {
            schema: SCHEMA_VERSION,
            version: "0.1.0".to_owned(),
            run_id: "7f3k".to_owned(),
            seed: 41,
            environment: "embedded".to_owned(),
            command: ["mountproof", "run", "--seed", "41"].map(str::to_owned).to_vec(),
            machine: Machine {
                cpus: 2,
                memory_bytes: 8_321_499_136,
                kernel: "Linux 6.18.5".to_owned(),
            },
            tenants: vec!["team-red".to_owned(), "team-blue".to_owned()],
            cases: cases.iter().map(|(case, profile)| plan(case, profile)).collect(),
        }));
        builder
    }

    pub(crate) fn push(&mut self, event: EventKind) -> &mut Self {
        self.now_us += 1_700;
        let at = STARTED + i64::try_from(self.now_us).unwrap();
        self.events.push(Event {
            sequence: self.events.len() as u64,
            at: Timestamp::from_microsecond(at).unwrap(),
            elapsed_us: self.now_us,
            event,
        });
        self
    }

    pub(crate) fn pass_time(&mut self, us: u64) -> &mut Self {
        self.now_us += us;
        self
    }

    pub(crate) fn environment(&mut self) -> &mut Self {
        let component = |seam: &str, name: &str, version: &str, notes: &[&str]| Component {
            seam: seam.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            stand_in: true,
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        self.pass_time(400_000)
            .push(EventKind::EnvironmentReady(EnvironmentReady {
                took_us: 401_700,
                components: vec![
                    component(
                        "kubernetes",
                        "Kubernetes stand-in",
                        "1.36.3",
                        &["no admission webhooks"],
                    ),
                    component(
                        "kubelet",
                        "kubelet stand-in",
                        "1.36.3",
                        &["runs no containers", "clock factor 10"],
                    ),
                    component("driver", "driver stand-in", "1.6.0", &[]),
                    component("provider", "provider stand-in", "3.1.1", &["--qps=5 --burst=10"]),
                    component("aws", "AWS embedded", "(IAM enforced)", &[]),
                ],
                capabilities: vec![
                    capability("iam-enforcement", true, "a role without a policy was refused"),
                    capability("tmpfs", false, "mount(2): operation not permitted"),
                ],
                notes: vec!["Mounts are private folders, for tmpfs may not be mounted here.".to_owned()],
                installed: None,
            }))
    }

    pub(crate) fn tenants(&mut self) -> &mut Self {
        for tenant in ["team-red", "team-blue"] {
            self.push(EventKind::TenantReady(TenantReady {
                tenant: tenant.to_owned(),
                case: None,
                role_arn: format!("arn:aws:iam::000000000000:role/demo-{tenant}-secrets-manager-role"),
                secrets: 1,
                took_us: 41_000,
            }));
        }
        self
    }

    pub(crate) fn access(
        &mut self,
        case: &str,
        tenant: &str,
        owner: &str,
        expected: Access,
        seen: Access,
    ) -> &mut Self {
        self.push(EventKind::AccessChecked(AccessChecked {
            case: case.to_owned(),
            attempt: 1,
            tenant: tenant.to_owned(),
            owner: owner.to_owned(),
            secret: "secret".to_owned(),
            expected,
            seen,
        }))
    }

    /// One attempt with two steps, of which the last ends as the attempt does.
    pub(crate) fn attempt(
        &mut self,
        case: &str,
        attempt: u32,
        verdict: Verdict,
        summary: &str,
        failure: Option<Failure>,
        will_retry: bool,
    ) -> &mut Self {
        let started = self.now_us;
        self.push(EventKind::CaseStarted(CaseStarted {
            case: case.to_owned(),
            attempt,
        }));
        for (step, (title, ended)) in [
            ("team-blue mounts team-blue/secret", Verdict::Passed),
            ("team-blue is denied team-red/secret", verdict),
        ]
        .into_iter()
        .enumerate()
        {
            let step = u32::try_from(step).unwrap();
            let (case, title) = (case.to_owned(), title.to_owned());
            self.push(EventKind::StepStarted(StepStarted {
                case: case.clone(),
                attempt,
                step,
                title: title.clone(),
            }));
            self.pass_time(101_000);
            self.push(EventKind::StepFinished(StepFinished {
                case,
                attempt,
                step,
                title,
                verdict: ended,
                detail: if ended == Verdict::Passed {
                    "as expected".to_owned()
                } else {
                    summary.to_owned()
                },
                took_us: 102_700,
            }));
        }
        if failure.is_some() {
            self.push(EventKind::EvidenceCollected(EvidenceCollected {
                case: case.to_owned(),
                attempt,
                title: "pod events".to_owned(),
                text: "Warning FailedMount MountVolume.SetUp failed for volume \"secrets\"\n".to_owned(),
            }));
            self.push(EventKind::EvidenceCollected(EvidenceCollected {
                case: case.to_owned(),
                attempt,
                title: "AWS call log".to_owned(),
                text: "14:02:11.139 AssumeRoleWithWebIdentity 200\n14:02:11.144 GetSecretValue 200 <&>\u{1b}[31m\u{7}"
                    .to_owned(),
            }));
        }
        let took_us = self.now_us - started;
        self.push(EventKind::CaseFinished(CaseFinished {
            case: case.to_owned(),
            attempt,
            verdict,
            summary: summary.to_owned(),
            failure,
            known: None,
            will_retry,
            took_us,
        }))
    }

    /// What the case that ended last has to do with a known issue.
    pub(crate) fn known(&mut self, known: KnownIssue) -> &mut Self {
        if let Some(EventKind::CaseFinished(finished)) = self.events.last_mut().map(|event| &mut event.event)
        {
            finished.known = Some(known);
        }
        self
    }

    pub(crate) fn untried(&mut self, case: &str, verdict: Verdict, summary: &str) -> &mut Self {
        self.push(EventKind::CaseFinished(CaseFinished {
            case: case.to_owned(),
            attempt: 0,
            verdict,
            summary: summary.to_owned(),
            failure: None,
            known: None,
            will_retry: false,
            took_us: 0,
        }))
    }

    pub(crate) fn floor(&mut self) -> &mut Self {
        let part = |name: &str, p50_ns| FloorPart {
            name: name.to_owned(),
            p50_ns,
            p99_ns: p50_ns * 4,
            samples: 200,
        };
        self.push(EventKind::FloorMeasured(FloorMeasured {
            parts: vec![
                part("temporary file, fsync, rename", 20_000),
                part("gRPC call on a unix socket", 37_000),
                part("HTTPS request with a new TLS connection", 390_000),
            ],
            kept_alive_ns: 821_000,
            new_tls_ns: 1_700_000,
            tmpfs: false,
            csi_lens: Some(FloorPart {
                name: "csi lens, before a driver that answers at once".to_owned(),
                p50_ns: 90_000,
                p99_ns: 180_000,
                samples: 1_000,
            }),
            node: None,
        }))
    }

    /// `n` mounts at 50/s; every 400th is dropped, every 333rd times out, every 250th fails.
    pub(crate) fn mounts(&mut self, measurement: &str, case: &str, lens: &str, n: u32) -> &mut Self {
        self.push(EventKind::MeasurementStarted(MeasurementStarted {
            measurement: measurement.to_owned(),
            case: case.to_owned(),
            what: format!("{lens} lens, from the planned start"),
            lens: lens.to_owned(),
            parameters: [("arrival", "poisson"), ("rate", "50/s"), ("seed", "41")]
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }));
        let base_us = if lens == "pod" { 300_000 } else { 3_300 };
        let mut random = Random(41);
        let mut slice = histogram::empty();
        let mut sums = BTreeMap::<MountOutcome, u64>::new();
        for index in 0..n {
            let planned_us = u64::from(index) * 20_000;
            let latency_us = base_us
                + random.next() % (base_us / 2)
                + if random.next().is_multiple_of(50) {
                    base_us * 2
                } else {
                    0
                };
            let outcome = match index + 1 {
                n if n % 400 == 0 => MountOutcome::Dropped,
                n if n % 333 == 0 => MountOutcome::TimedOut,
                n if n % 250 == 0 => MountOutcome::Failed,
                _ => MountOutcome::Ok,
            };
            let took_us = if outcome == MountOutcome::TimedOut {
                2_000_000
            } else {
                latency_us
            };
            *sums.entry(outcome).or_default() += 1;
            let sent = outcome != MountOutcome::Dropped;
            if sent {
                slice.record(took_us * 1_000).unwrap();
            }
            self.push(EventKind::MountFinished(MountFinished {
                measurement: measurement.to_owned(),
                index,
                tenant: if index % 2 == 0 { "team-red" } else { "team-blue" }.to_owned(),
                planned_us,
                sent_us: sent.then_some(planned_us + 80),
                done_us: sent.then_some(planned_us + took_us),
                outcome,
                error: (outcome == MountOutcome::Failed).then(|| "rpc error: code = Unknown".to_owned()),
                node: None,
            }));
            if (index + 1) % 500 == 0 || index + 1 == n {
                let start_us = u64::from(index / 500) * 10_000_000;
                self.slice(measurement, "steady", start_us, &slice);
                slice = histogram::empty();
            }
        }
        let mut warm_up = histogram::empty();
        warm_up.record_n(base_us * 3_000, 10).unwrap();
        self.slice(measurement, "warm-up", 0, &warm_up);
        let sum = |outcome| sums.get(&outcome).copied().unwrap_or(0);
        self.push(EventKind::MeasurementFinished(MeasurementFinished {
            measurement: measurement.to_owned(),
            planned: u64::from(n),
            ok: sum(MountOutcome::Ok),
            denied: 0,
            failed: sum(MountOutcome::Failed),
            timed_out: sum(MountOutcome::TimedOut),
            dropped: sum(MountOutcome::Dropped),
            late: 1,
            throttled: 0,
            retries: 0,
            errors: BTreeMap::new(),
            took_us: u64::from(n) * 20_000,
        }))
    }

    pub(crate) fn fetches(&mut self, measurement: &str, case: &str) -> &mut Self {
        self.push(EventKind::MeasurementStarted(MeasurementStarted {
            measurement: measurement.to_owned(),
            case: case.to_owned(),
            what: "GetSecretValue over a kept connection".to_owned(),
            lens: "fetch".to_owned(),
            parameters: BTreeMap::from([
                ("duration".to_owned(), "10s".to_owned()),
                ("pace".to_owned(), "8 in flight".to_owned()),
            ]),
        }));
        let mut random = Random(7);
        let mut slice = histogram::empty();
        for _ in 0..20_000 {
            slice.record(600_000 + random.next() % 900_000).unwrap();
        }
        self.slice(measurement, "steady", 0, &slice);
        self.push(EventKind::MeasurementFinished(MeasurementFinished {
            measurement: measurement.to_owned(),
            planned: 20_000,
            ok: 20_000,
            denied: 0,
            failed: 0,
            timed_out: 0,
            dropped: 0,
            late: 0,
            throttled: 3,
            retries: 3,
            errors: BTreeMap::from([("ThrottlingException".to_owned(), 3)]),
            took_us: 10_000_000,
        }))
    }

    /// Ten mounts, one of which asked for its secret twice, and twenty refreshes.
    pub(crate) fn calls(&mut self, case: &str) -> &mut Self {
        let call = |call: &str, by: &str, on_mounts, on_refreshes| CallCounted {
            call: call.to_owned(),
            by: by.to_owned(),
            on_mounts,
            on_refreshes,
        };
        self.push(EventKind::CallsCounted(CallsCounted {
            case: case.to_owned(),
            attempt: 1,
            mounts: 10,
            refreshes: 20,
            refreshed_by: RefreshedBy::Kubelet,
            rotation_us: 120_000_000,
            calls: vec![
                call("kubernetes:get serviceaccounts", "provider", 10, 20),
                call("secretsmanager:GetSecretValue", "provider", 11, 0),
                call("tls:aws", "provider", 20, 40),
            ],
            uncounted: vec!["tls:kubernetes".to_owned()],
        }))
    }

    pub(crate) fn slice(&mut self, measurement: &str, tag: &str, start_us: u64, values: &Histogram<u64>) {
        self.push(EventKind::HistogramRecorded(HistogramRecorded {
            measurement: measurement.to_owned(),
            tag: tag.to_owned(),
            start_us,
            length_us: 10_000_000,
            payload: histogram::encode(values),
        }));
    }

    pub(crate) fn warn(&mut self, text: &str) -> &mut Self {
        self.push(EventKind::WarningRaised(WarningRaised {
            text: text.to_owned(),
        }))
    }

    pub(crate) fn interrupt(&mut self) -> &mut Self {
        self.push(EventKind::Interrupted(Interrupted {
            signal: "SIGINT".to_owned(),
        }))
    }

    pub(crate) fn leftover(&mut self, object: &str, because: &str) -> &mut Self {
        self.push(EventKind::LeftoverFound(LeftoverFound {
            object: object.to_owned(),
            because: because.to_owned(),
        }))
    }

    pub(crate) fn teardown(&mut self, left: u32) -> &mut Self {
        self.pass_time(90_000);
        self.push(EventKind::TeardownFinished(TeardownFinished {
            removed: 31,
            left,
            took_us: 90_000,
        }))
    }

    pub(crate) fn finish(&mut self, exit_code: u8) -> Vec<Event> {
        let took_us = self.now_us;
        self.push(EventKind::RunFinished(RunFinished {
            exit_code,
            outcome: "as the code says".to_owned(),
            took_us,
            peak_memory_bytes: 100_977_049,
        }));
        self.events.clone()
    }

    /// As a run that is killed now leaves it.
    pub(crate) fn killed(&self) -> Vec<Event> {
        self.events.clone()
    }
}

/// Enough for a latency that looks like one; the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

pub(crate) fn jsonl(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap() + "\n")
        .collect()
}

fn plan(case: &str, profile: &str) -> CasePlan {
    let (bound, phase) = case.split_once('@').unwrap_or((case, ""));
    let scenario = bound.split('[').next().unwrap();
    CasePlan {
        case: case.to_owned(),
        scenario: scenario.to_owned(),
        profile: profile.to_owned(),
        description: format!("The claim of {scenario} in one sentence."),
        file: format!("{profile}/{scenario}.yaml"),
        tenants: BTreeMap::from([
            ("blue".to_owned(), "team-blue".to_owned()),
            ("red".to_owned(), "team-red".to_owned()),
        ]),
        requires: if profile == "isolation" {
            vec!["iam-enforcement".to_owned()]
        } else {
            Vec::new()
        },
        phase: Phase::ALL.into_iter().find(|known| known.to_string() == phase),
        identity: Identity::Irsa,
    }
}

fn capability(name: &str, present: bool, evidence: &str) -> Capability {
    Capability {
        name: name.to_owned(),
        present,
        evidence: evidence.to_owned(),
    }
}

pub(crate) fn failure(headline: &str, isolation: bool) -> Failure {
    let fact = |label: &str, text: &str| Fact {
        label: label.to_owned(),
        text: text.to_owned(),
    };
    Failure {
        headline: headline.to_owned(),
        isolation,
        facts: vec![
            fact(
                "who",
                "arn:aws:sts::000000000000:assumed-role/demo-team-blue-secrets-manager-role/1764025331",
            ),
            fact(
                "asked",
                "secretsmanager:GetSecretValue on arn:aws:secretsmanager:us-east-1:000000000000:secret:demo/team-red/secret-Ab3dEf",
            ),
            fact(
                "allowed",
                "by statement 1 of demo-team-blue-secrets-manager-policy: Resource *:secret:demo/*",
            ),
            fact(
                "timeline",
                ".020 pod created · .131 NodePublishVolume · .139 AssumeRole ok · .151 published",
            ),
        ],
    }
}

/// A run in which everything is well, with `pods` mounts through each lens.
pub(crate) fn green(pods: u32) -> Vec<Event> {
    let mut builder = Builder::new(&[
        ("positive[team-red]", "conformance"),
        ("positive[team-blue]", "conformance"),
        ("cross-namespace-denied", "isolation"),
        ("mount-latency", "load"),
        ("fetch-throughput", "load"),
    ]);
    builder.environment().tenants();
    for tenant in ["team-red", "team-blue"] {
        let case = format!("positive[{tenant}]");
        builder.access(&case, tenant, tenant, Access::Allowed, Access::Allowed);
        builder.attempt(
            &case,
            1,
            Verdict::Passed,
            "file byte-exact, 0644, pod status written",
            None,
            false,
        );
    }
    builder
        .access("cross-namespace-denied", "team-blue", "team-blue", Access::Allowed, Access::Allowed)
        .access("cross-namespace-denied", "team-blue", "team-red", Access::Denied, Access::Denied)
        .access("cross-namespace-denied", "team-red", "team-blue", Access::Denied, Access::Denied)
        .attempt(
            "cross-namespace-denied",
            1,
            Verdict::Passed,
            "denied as ..team-blue-secrets-manager-role: no identity-based policy allows; held 3 s; control positive",
            None,
            false,
        )
        .floor()
        .mounts("mount-latency.csi", "mount-latency", "csi", pods)
        .mounts("mount-latency.pod", "mount-latency", "pod", pods)
        .attempt("mount-latency", 1, Verdict::Passed, "every mount accounted for", None, false)
        .fetches("fetch-throughput", "fetch-throughput")
        .attempt("fetch-throughput", 1, Verdict::Passed, "20,000 fetches", None, false)
        .teardown(0)
        .finish(0)
}

/// Every verdict, a warning and two leftovers; isolation failed.
pub(crate) fn mixed() -> Vec<Event> {
    let mut builder = Builder::new(&[
        ("positive[team-red]", "conformance"),
        ("rotation", "conformance"),
        ("pod-status", "conformance"),
        ("skipped-one", "conformance"),
        ("cross-namespace-denied", "isolation"),
        ("needs-sessions", "isolation"),
    ]);
    builder
        .environment()
        .tenants()
        .access("positive[team-red]", "team-red", "team-red", Access::Allowed, Access::Allowed)
        .attempt("positive[team-red]", 1, Verdict::Passed, "file byte-exact | 0644 <b>", None, false)
        .attempt("rotation", 1, Verdict::Failed, "stale", Some(failure("the file still holds the old value after 5 s", false)), true)
        .attempt("rotation", 2, Verdict::Passed, "file followed in 1.2 s", None, false)
        .attempt("pod-status", 1, Verdict::Errored, "the API went away", Some(failure("the Kubernetes API answered nothing for 5 s", false)), false)
        .untried("skipped-one", Verdict::Skipped, "after the first failure (--fail-fast)")
        .access("cross-namespace-denied", "team-blue", "team-red", Access::Denied, Access::Allowed)
        .attempt(
            "cross-namespace-denied",
            1,
            Verdict::Failed,
            "mounted",
            Some(failure("team-blue read team-red's secret: the mount succeeded and the file holds another tenant's value", true)),
            false,
        )
        .untried("needs-sessions", Verdict::NotSupported, "needs `session-tags`, which this environment lacks")
        .warn("the clock stepped by 3 s")
        .leftover("iam role demo-team-red-secrets-manager-role", "DeleteConflict: detach the policies first")
        .leftover("namespace team-blue", "finalizers: kubernetes")
        .teardown(2)
        .finish(4)
}

/// A known issue of the provider's, as it shows in a run that is not strict, or as a run tells that it is fixed.
pub(crate) fn known_issue(shows: bool, excused: bool) -> KnownIssue {
    KnownIssue {
        id: "failover-answers-a-denial".to_owned(),
        title: "a denial in the primary region is answered from the failover region".to_owned(),
        link: "https://example.com/issues/1".to_owned(),
        component: "provider".to_owned(),
        version: "3.1.1".to_owned(),
        versions: ">=2.0.0, <=3.1.1".to_owned(),
        reason: "Only errors that the SDK models are fatal.".to_owned(),
        shows,
        excused,
    }
}

/// One known issue that shows and breaks isolation, one that is fixed, one case that just passes.
pub(crate) fn known() -> Vec<Event> {
    let mut builder = Builder::new(&[
        ("positive", "conformance"),
        ("failover-denied", "isolation"),
        ("socket-moves", "conformance"),
    ]);
    builder
        .environment()
        .tenants()
        .attempt("positive", 1, Verdict::Passed, "file byte-exact", None, false)
        .attempt(
            "failover-denied",
            1,
            Verdict::Failed,
            "mounted",
            Some(failure(
                "team-blue read team-red's secret from the failover region",
                true,
            )),
            false,
        )
        .known(known_issue(true, true))
        .attempt("socket-moves", 1, Verdict::Passed, "mounts went on", None, false)
        .known(known_issue(false, false))
        .teardown(0)
        .finish(0)
}

/// Killed in the middle of its second case.
pub(crate) fn killed() -> Vec<Event> {
    let mut builder = Builder::new(&[
        ("positive", "conformance"),
        ("cross-namespace-denied", "isolation"),
        ("rotation", "conformance"),
    ]);
    builder
        .environment()
        .tenants()
        .attempt("positive", 1, Verdict::Passed, "file byte-exact", None, false);
    builder.push(EventKind::CaseStarted(CaseStarted {
        case: "cross-namespace-denied".to_owned(),
        attempt: 1,
    }));
    builder.push(EventKind::StepStarted(StepStarted {
        case: "cross-namespace-denied".to_owned(),
        attempt: 1,
        step: 0,
        title: "team-blue mounts team-blue/secret".to_owned(),
    }));
    builder.killed()
}
