#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::collections::BTreeMap;

use super::{super::load::SourceFile, *};
use crate::scenario::{
    load,
    model::{
        Action, Arrival, Because, CallCount, Class, Condition, Content, Denied, Interruption, Lens, Load,
        NameForm, Pace, Part, Publish, Restart, RoleAnnotation, Rotation, SecretRef, Stage, Step, Synced,
        When, WorkloadKind,
    },
};

fn one(body: &str) -> Scenario {
    let text = format!(
        "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: it, profile: p }}\n\
             description: It.\n{body}"
    );
    let file = SourceFile {
        display: "it.yaml".to_owned(),
        below: "p/it.yaml".to_owned(),
        folder: Some("p".to_owned()),
        size: text.len() as u64,
        bytes: text.into_bytes(),
    };
    let mut loaded = load(&[file]);
    assert_eq!(loaded.diagnostics, []);
    loaded.scenarios.remove(0)
}

#[test]
fn defaults_are_filled_in() {
    let scenario = one("tenants: { red: }\nsteps:\n  - mount: { tenant: red, secret: red/secret }\n");
    assert_eq!(scenario.each, Each::Once);
    assert_eq!(scenario.retries, 0);
    assert_eq!(
        scenario.catch,
        [
            Evidence::Timeline,
            Evidence::Pods,
            Evidence::Events,
            Evidence::Classes,
            Evidence::CallLog,
            Evidence::Logs
        ]
    );
    assert_eq!(scenario.matrix, BTreeMap::new());
    assert!(!scenario.tenants[0].own);
    assert_eq!(scenario.tenants[0].annotation, RoleAnnotation::Own);
    let [
        Step {
            action: Action::Mount(mount),
            within,
            line: 7,
        },
    ] = scenario.steps.as_slice()
    else {
        panic!("{:?}", scenario.steps);
    };
    assert_eq!(scenario.deadline, *within + SLACK);
    assert_eq!((mount.mode, mount.pod_status), (0o644, true));
    assert_eq!(
        (mount.workload.name.as_str(), mount.workload.kind),
        ("mount-1", WorkloadKind::Pod)
    );
    let Class::Made { objects, .. } = &mount.workload.class else {
        panic!("{mount:?}")
    };
    assert_eq!(
        objects[0].secret,
        SecretRef {
            tenant: 0,
            secret: "secret".to_owned()
        }
    );
    assert_eq!(objects[0].by, NameForm::Name);
}

#[test]
fn everything_written_arrives() {
    let scenario = one(r#"
each: tenant
requires: [iam-enforcement, rotation]
deadline: 30m
retries: 2
catch: [events, pods]
tenants:
  red:
    secrets:
      login: { json: [user, pass] }
      key: { binary: 16 }
    resourcePolicies:
      key: { deny: [thief] }
  thief: { own: true, role: red, boundary: [secret] }
steps:
  - mount:
      as: app
      tenant: red
      replicas: 2
      mode: "0400"
      podStatus: false
      within: 90s
      parameters: { pathTranslation: "-" }
      objects:
        - { secret: red/login, by: arn, alias: login, filePermission: "0440", jmesPath: [{ path: user, alias: user, filePermission: "0600" }] }
        - { secret: red/key, versionLabel: AWSCURRENT }
  - mount: { as: plain, tenant: red, secret: red/secret }
  - deny:
      tenant: thief
      secret: red/secret
      control: plain
      because: { error: AccessDenied, action: "sts:AssumeRoleWithWebIdentity", reason: no role trust policy allows }
      hold: 2s
      within: 20s
  - update: { secret: red/login }
  - expect: { workload: app, files: previous, holds: 1s }
  - expect: { workload: app, files: current, eventually: 4m }
  - expect: { workload: app, event: { reason: Pulled, contains: image }, now: true }
  - delete: { workload: app }
  - expect: { workload: app, files: none, now: true }
  - load: { mounts: { pods: 10, warmUp: 5, rate: 2.5, arrival: constant, lenses: [pod, csi], deadline: 20s } }
  - load: { fetch: { duration: 4s, warmUp: 1s, perSecond: 100 } }
  - load: { calls: { tenant: thief, mounts: 3, atMost: { refresh: { "kubernetes:get pods": 2 } } } }
"#);
    assert_eq!((scenario.each, scenario.retries), (Each::Tenant, 2));
    assert_eq!(scenario.deadline, Duration::from_mins(30));
    assert_eq!(scenario.catch, [Evidence::Pods, Evidence::Events]);
    assert_eq!(
        scenario.tenants[0]
            .secrets
            .iter()
            .map(|secret| secret.content.clone())
            .collect::<Vec<_>>(),
        [
            Content::Json(vec!["user".to_owned(), "pass".to_owned()]),
            Content::Binary(16)
        ]
    );
    assert_eq!(
        scenario.tenants[1].annotation,
        RoleAnnotation::Of("red".to_owned())
    );
    assert_eq!(
        scenario.tenants[0].denied_by_secret,
        BTreeMap::from([(
            "key".to_owned(),
            Denied {
                tenants: vec![1],
                primary_region_only: false
            }
        )])
    );
    let within = |index: usize| scenario.tenants[index].boundary.clone();
    assert_eq!((within(0), within(1)), (None, Some(vec!["secret".to_owned()])));
    let steps = &scenario.steps;
    let Action::Mount(mount) = &steps[0].action else {
        panic!("{:?}", steps[0])
    };
    assert_eq!(
        (mount.mode, mount.pod_status, steps[0].within),
        (0o400, false, Duration::from_secs(90))
    );
    assert_eq!(mount.workload.kind, WorkloadKind::Deployment(2));
    let Class::Made {
        objects, parameters, ..
    } = &mount.workload.class
    else {
        panic!("{mount:?}")
    };
    assert_eq!(parameters["pathTranslation"], "-");
    let part = Part {
        path: "user".to_owned(),
        alias: "user".to_owned(),
        file_permission: Some("0600".to_owned()),
    };
    assert_eq!(objects[0].jmes_path, [part]);
    assert_eq!(objects[0].file_permission.as_deref(), Some("0440"));
    assert_eq!(objects[1].version_label, Some(Stage::Current));
    let Action::Deny(deny) = &steps[2].action else {
        panic!("{:?}", steps[2])
    };
    assert_eq!(
        (deny.control.as_str(), deny.hold),
        ("plain", Duration::from_secs(2))
    );
    assert_eq!(deny.workload.name, "deny-3");
    assert_eq!(
        deny.because,
        Because::Aws {
            error: "AccessDenied".to_owned(),
            action: "sts:AssumeRoleWithWebIdentity".to_owned(),
            reason: Some("no role trust policy allows".to_owned()),
        }
    );
    let expected = |step: &Step| match &step.action {
        Action::Expect(expect) => Some((expect.condition.clone(), expect.when)),
        _ => None,
    };
    assert_eq!(
        expected(&steps[4]),
        Some((Condition::FilesPrevious, When::HoldsFor(Duration::from_secs(1))))
    );
    assert_eq!(
        expected(&steps[5]),
        Some((Condition::FilesCurrent, When::Eventually))
    );
    assert_eq!(steps[5].within, Duration::from_mins(4));
    assert_eq!(expected(&steps[8]), Some((Condition::Unmounted, When::Now)));
    let Action::Load(Load::Mounts(mounts)) = &steps[9].action else {
        panic!("{:?}", steps[9])
    };
    assert_eq!(
        (mounts.arrival, mounts.lenses.as_slice()),
        (Arrival::Constant, [Lens::Pod, Lens::Csi].as_slice())
    );
    assert_eq!(mounts.planned(), Duration::from_secs(6));
    let Action::Load(Load::Fetch(fetch)) = &steps[10].action else {
        panic!("{:?}", steps[10])
    };
    assert_eq!(fetch.pace, Pace::PerSecond(100.0));
    let counted = CallCount {
        tenant: 1,
        mounts: 3,
        refreshes: 1,
        limits_of_mount: BTreeMap::new(),
        limits_of_refresh: BTreeMap::from([("kubernetes:get pods".to_owned(), 2)]),
    };
    assert_eq!(steps[11].action, Action::Load(Load::Calls(counted)));
}

/// A default never reaches beyond a deadline that the file states, and a stated time is kept.
#[test]
fn a_deadline_bounds_the_defaults() {
    let scenario = one("deadline: 40s\ntenants: { red: {} }\nsteps:\n\
             \x20 - mount: { tenant: red, secret: red/secret }\n\
             \x20 - delete: { workload: mount-1, within: 5s }\n");
    let times: Vec<Duration> = scenario.steps.iter().map(|step| step.within).collect();
    assert_eq!(times, [Duration::from_secs(40), Duration::from_secs(5)]);
}

#[test]
fn a_matrix_reaches_every_text() {
    let text = "matrix: { form: [name, arn], hold: [1s, 2s] }\ntenants: { red: {} }\nsteps:\n\
                    \x20 - mount: { as: \"by-${matrix.form}\", tenant: red, secret: red/secret, by: \"${matrix.form}\" }\n\
                    \x20 - expect: { workload: \"by-${matrix.form}\", files: current, holds: \"${matrix.hold}\" }\n";
    let scenario = one(text);
    assert_eq!(scenario.matrix.get("form").unwrap(), "name");
    let Action::Expect(expect) = &scenario.steps[1].action else {
        panic!("{:?}", scenario.steps)
    };
    assert_eq!(
        (expect.workload.as_str(), expect.when),
        ("by-name", When::HoldsFor(Duration::from_secs(1)))
    );
}

#[test]
fn replicas_synced_secrets_and_what_is_expected_of_them_are_read() {
    let scenario = one("\
requires: [failover-region, secret-sync, republish, call-log, program-logs]
tenants:
  red:
    secrets: { there: { text: 8 } }
    replicated: [there]
    resourcePolicies: { there: { deny: [blue], primaryRegionOnly: true } }
  blue: {}
steps:
  - mount: { as: app, tenant: red, secret: red/there, failover: true, sync: true, replicas: 1 }
  - expect: { workload: app, synced: settled, eventually: 1m }
  - scale: { workload: app, replicas: 3 }
  - republish: { workload: app }
  - republish: { workload: app, times: 9, due: true }
  - expect: { workload: app, synced: unchanged, holds: 1s }
  - expect: { workload: app, fetches: limited, now: true }
  - expect: { workload: app, logs: clean, now: true }
");
    assert_eq!(
        scenario.tenants[0].replicated,
        BTreeSet::from(["there".to_owned()])
    );
    let denied = Denied {
        tenants: vec![1],
        primary_region_only: true,
    };
    assert_eq!(scenario.tenants[0].denied_by_secret["there"], denied);
    let Action::Mount(mount) = &scenario.steps[0].action else {
        panic!("{:?}", scenario.steps)
    };
    assert!(matches!(
        mount.workload.class,
        Class::Made {
            failover: true,
            sync: true,
            ..
        }
    ));
    let app = || "app".to_owned();
    let republish = |times, due| Action::Republish {
        workload: app(),
        times,
        due,
    };
    let scale = Action::Scale {
        workload: app(),
        replicas: 3,
    };
    let steps: Vec<&Action> = scenario.steps[2..5].iter().map(|step| &step.action).collect();
    assert_eq!(steps, [&scale, &republish(1, false), &republish(9, true)]);
    let expected = |index: usize| match &scenario.steps[index].action {
        Action::Expect(expect) => expect.condition.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [1, 5, 6, 7].map(expected),
        [
            Condition::Synced(Synced::Settled),
            Condition::Synced(Synced::Unchanged),
            Condition::FetchesLimited,
            Condition::LogsClean,
        ]
    );
}

#[test]
fn what_disturbs_the_node_is_read_and_runs_alone() {
    let publishing = "\
requires: [csi-socket, aws-faults, program-control]
tenants: { red: {} }
steps:
  - publish: { as: app, tenant: red, deadline: 1s, interruptedBy: deadline }
  - publish: { volume: app }
";
    let alone = |scenario: &Scenario| scenario.steps.iter().any(|step| step.action.needs_quiet());
    let scenario = one(publishing);
    assert!(!alone(&scenario), "calls for a volume disturb nobody");
    let actions: Vec<&Action> = scenario.steps.iter().map(|step| &step.action).collect();
    let first = Publish {
        volume: "app".to_owned(),
        tenant: 0,
        again: false,
        deadline: Duration::from_secs(1),
        interruption: Some(Interruption::Deadline),
    };
    let again = Publish {
        again: true,
        deadline: Duration::from_mins(2),
        interruption: None,
        ..first.clone()
    };
    assert_eq!(actions, [&Action::Publish(first), &Action::Publish(again)]);

    let restarts = |rotation| Action::Restart(Restart::Driver { rotation });
    let hour = Duration::from_hours(1);
    for (step, action) in [
        ("aws: { latency: 1h }", Action::Aws { latency: Some(hour) }),
        ("aws: { well: true }", Action::Aws { latency: None }),
        ("restart: { program: driver }", restarts(None)),
        (
            "restart: { program: driver, rotation: off }",
            restarts(Some(Rotation::Off)),
        ),
        (
            "restart: { program: driver, rotation: 1h }",
            restarts(Some(Rotation::Every(hour))),
        ),
        (
            "restart: { program: provider, moves: true }",
            Action::Restart(Restart::Provider {
                moves: true,
                driver_writes_secrets: false,
            }),
        ),
        (
            "restart: { program: provider, driverWritesSecrets: true }",
            Action::Restart(Restart::Provider {
                moves: false,
                driver_writes_secrets: true,
            }),
        ),
    ] {
        let scenario = one(&format!("{publishing}  - {step}\n"));
        assert_eq!(scenario.steps[2].action, action, "{step}");
        assert!(alone(&scenario), "{step}");
    }
}
