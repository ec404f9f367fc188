//! Clusters from beginning to end: kept ones, and those around which something breaks. Whatever happens, the verdict is honest
//! and nothing is left.

use std::{path::Path, process::Command, time::Duration};

use rustix::process::Signal;

use crate::{
    Case,
    support::{Ended, HELD, Place, Running, held_for_ever, verdicts},
    world::{Before, containers, ended, kubectl, node, of_cluster, said, start},
};

pub(crate) const CASES: &[Case] = &[
    ("a_kept_cluster_serves_many_runs_until_it_is_deleted", kept),
    ("a_cluster_is_kept_as_a_failed_run_left_it", kept_after_failure),
    ("a_node_that_dies_is_no_verdict", node_dies),
    (
        "a_cluster_that_is_deleted_under_a_run_is_no_verdict",
        cluster_dies,
    ),
    ("a_provider_that_is_killed_is_no_verdict", provider_dies),
    ("a_driver_that_ends_at_once_is_no_environment", driver_ends),
    ("runs_that_are_interrupted_take_everything_down", interrupted),
    (
        "a_killed_run_is_finished_by_sweep_beside_another_that_lives",
        killed,
    ),
];

/// A mount that is held, long enough to kill something meanwhile, and another one after that.
fn held() -> String {
    HELD.replace("within: 10s", "within: 1m")
        .replace("holds: 3s", "holds: 15s")
        .replace(
            "  - update: { secret: red/rotating }\n  - expect: { workload: app, files: current, eventually: 10s }\n",
            "  - mount: { as: again, tenant: red, secret: red/rotating, within: 2m }\n",
        )
}

/// `run` of a scenario that holds a mount, in a cluster of its own.
fn holding(place: &Place, arguments: &[&str]) -> Running {
    let mut all = vec!["--scenarios", "scenarios"];
    all.extend(arguments);
    start(place, &all)
}

/// Another command of ours in `place`, with that place's own record of clusters.
fn command(place: &Place, arguments: &[&str]) -> Ended {
    ended(Running::start(place.command(arguments)))
}

/// The cluster of the only run in `place`.
fn cluster(place: &Place) -> String {
    let id = place
        .only_run()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    format!("mountproof-{id}")
}

fn kept() {
    let before = Before::look();
    let place = Place::with(&[("held-for-ever", &held_for_ever())]);
    let up = |more: &[&str]| {
        let mut all = vec!["up", "mountproof-kept"];
        all.extend(of_cluster());
        all.extend(more);
        command(&place, &all)
    };
    up(&[]).exits(0).prints(&[
        "mountproof-kept is up: 1 node",
        "--reuse=mountproof-kept",
        "mountproof down mountproof-kept",
    ]);
    up(&[]).exits(0).prints(&["mountproof-kept was up already"]);
    up(&["--workers", "2"]).exits(3).says(&[
        "was made with another --workers",
        "mountproof down mountproof-kept",
    ]);

    let node = node("mountproof-kept");
    let namespaces = || kubectl(&node, &["get", "namespaces", "--output=name"]);
    let run = || {
        let flags = ["--out", "others", "--reuse=mountproof-kept"];
        let run = start(
            &place,
            &[&flags[..], &["positive", "cross-namespace-denied"]].concat(),
        );
        ended(run).exits(0).says(&["nothing left behind"]);
    };
    run();
    // With what is there for every run.
    let empty = namespaces();
    assert!(!empty.contains("team-"), "{empty}");
    run();
    assert_eq!(namespaces(), empty, "only what the run made is removed");

    // One that is killed leaves its tenants, which the next would clash with.
    let mut running = holding(&place, &["--reuse=mountproof-kept"]);
    place.await_hold(&mut running);
    let another = || {
        ended(start(
            &place,
            &["--out", "others", "--reuse=mountproof-kept", "positive"],
        ))
    };
    another()
        .exits(3)
        .says(&["mountproof-kept is in use by another command"]);
    running.signal(Signal::KILL);
    drop(ended(running));
    assert_ne!(namespaces(), empty);
    another()
        .exits(3)
        .says(&["still holds what run", "`mountproof sweep` removes that"]);
    command(&place, &["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["  removed  Namespace team-red"]);
    assert_eq!(namespaces(), empty);
    place.assert_nothing_left();
    another().exits(0);
    assert_eq!(namespaces(), empty);

    command(&place, &["down", "mountproof-kept"])
        .exits(0)
        .prints(&["mountproof-kept is deleted"]);
    command(&place, &["down", "mountproof-kept"])
        .exits(0)
        .prints(&["there is no cluster mountproof-kept"]);
    unchanged(&before, &place);
}

fn kept_after_failure() {
    let before = Before::look();
    // A claim that does not hold: a new value is not there at once.
    let wrong = HELD
        .replace("  - expect: { workload: app, files: current, holds: 3s }\n", "")
        .replace("eventually: 10s", "holds: 1s");
    let place = Place::with(&[("held", &wrong)]);
    let run = ended(holding(&place, &["--keep-on-failure"]));
    let cluster = cluster(&place);
    let run = run.says(&[
        &format!("kept as it is: the cluster {cluster}"),
        &format!("`mountproof down {cluster}` deletes it"),
    ]);
    assert!(run.err.contains("FAIL"), "{run}");
    place.assert_nothing_left();
    let namespaces = kubectl(&node(&cluster), &["get", "namespaces", "--output=name"]);
    assert!(namespaces.contains("namespace/team-red"), "{namespaces}");
    command(&place, &["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["left nothing but what is kept", &cluster]);
    assert_eq!(containers(&place), [node(&cluster)]);
    command(&place, &["down", "--list"])
        .exits(0)
        .prints(&[&cluster, "as run"]);
    command(&place, &["down", &cluster]).exits(0);
    unchanged(&before, &place);
}

fn node_dies() {
    let before = Before::look();
    let place = Place::with(&[("held", &held())]);
    let mut running = holding(&place, &[]);
    place.await_hold(&mut running);
    said("docker", ["kill", &node(&cluster(&place))]);
    ended(running)
        .exits(6)
        .says(&["the node ended by itself", "nothing left behind"]);
    errored(&place);
    unchanged(&before, &place);
}

fn cluster_dies() {
    let before = Before::look();
    let place = Place::with(&[("held", &held())]);
    let mut running = holding(&place, &[]);
    place.await_hold(&mut running);
    let kind = std::env::var("MOUNTPROOF_KIND").unwrap_or_else(|_| "kind".to_owned());
    let nowhere = place.path("nowhere");
    let deleted = Command::new(kind)
        .args(["delete", "cluster", "--name", &cluster(&place), "--kubeconfig"])
        .arg(&nowhere)
        .status();
    assert!(deleted.unwrap().success());
    ended(running)
        .exits(6)
        .says(&["the node ended by itself", "nothing left behind"]);
    errored(&place);
    unchanged(&before, &place);
}

/// Kubelet restarts it: what comes of that may be any verdict but that the product is wrong.
fn provider_dies() {
    let before = Before::look();
    let place = Place::with(&[("held", &held())]);
    let mut running = holding(&place, &[]);
    place.await_hold(&mut running);
    let node = node(&cluster(&place));
    place.await_line(&mut running, &["\"step-started\"", "\"step\":2"]);
    // In the middle of the mount, and while kubelet starts it anew.
    for _ in 0..4 {
        let killed = ["exec", &node, "pkill", "-KILL", "-f", "standin provider"];
        drop(Command::new("docker").args(killed).status());
        std::thread::sleep(Duration::from_millis(400));
    }
    let run = ended(running).says(&["nothing left behind"]);
    let [(_, verdict)] = &verdicts(&place.results())[..] else {
        panic!("one case{run}");
    };
    assert!(
        ["passed", "flaky", "errored"].contains(&verdict.as_str()),
        "{verdict}{run}"
    );
    unchanged(&before, &place);
}

fn driver_ends() {
    let before = Before::look();
    let place = Place::new();
    let driver = "localhost/mountproof-test-ends:1.6.0";
    ends_at_once(&place.path("context"), driver);
    ended(start(&place, &["--driver-image", driver, "positive"]))
        .exits(3)
        .says(&["cannot start the driver", "nothing left behind"]);
    unchanged(&before, &place);
}

/// An image whose program says something and ends.
fn ends_at_once(folder: &Path, name: &str) {
    let flags = of_cluster();
    let driver = flags.iter().position(|flag| *flag == "--driver-image").unwrap() + 1;
    std::fs::create_dir(folder).unwrap();
    let text = format!(
        "FROM {}\nENTRYPOINT [\"/mountproof\", \"standin\", \"driver\", \"--no-such-flag\"]\n",
        flags[driver]
    );
    std::fs::write(folder.join("Dockerfile"), text).unwrap();
    let folder = folder.to_string_lossy();
    said("docker", ["build", "--quiet", "--tag", name, &folder]);
}

fn interrupted() {
    let before = Before::look();
    // While the cluster is made.
    let place = Place::new();
    let mut running = start(&place, &["positive"]);
    place.await_line(&mut running, &["\"progress-made\"", "Starting control-plane"]);
    running.signal(Signal::INT);
    ended(running).exits(130).says(&["SIGINT", "nothing left behind"]);
    unchanged(&before, &place);
    // In the middle of a case.
    let place = Place::with(&[("held-for-ever", &held_for_ever())]);
    let mut running = holding(&place, &[]);
    place.await_hold(&mut running);
    running.signal(Signal::TERM);
    ended(running)
        .exits(130)
        .says(&["SIGTERM", "nothing left behind"]);
    unchanged(&before, &place);
}

fn killed() {
    let before = Before::look();
    let scenario = held_for_ever();
    let (place, other) = (
        Place::with(&[("held-for-ever", &scenario)]),
        Place::with(&[("held", &held())]),
    );
    // Side by side.
    let mut running = holding(&place, &[]);
    let mut beside = holding(&other, &[]);
    place.await_hold(&mut running);
    other.await_hold(&mut beside);
    running.signal(Signal::KILL);
    drop(ended(running));
    let left = containers(&place);
    assert!(left.contains(&node(&cluster(&place))), "{left:?}");
    command(&place, &["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["  removed  kind cluster mountproof-"]);
    ended(beside).exits(0).says(&["nothing left behind"]);
    unchanged(&before, &place);
    unchanged(&before, &other);
}

/// Nothing is left of the runs in `place`, and no cluster is on record as kept.
#[track_caller]
fn unchanged(before: &Before, place: &Place) {
    before.is_as_it_was(place);
    command(place, &["down", "--list"])
        .exits(0)
        .prints(&["no cluster is kept"]);
}

#[track_caller]
fn errored(place: &Place) {
    for (case, verdict) in verdicts(&place.results()) {
        assert_eq!(verdict, "errored", "{case}");
    }
}
