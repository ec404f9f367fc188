//! Runs whose ledger is lost with the machine that they were on: `sweep --env eks` and `sweep --env cluster` find what they left in
//! a cluster that stays, by labels and tags, and the cluster and the account are object for object as they were.

use std::fs;

use mountproof::{environment::eks::PROVIDER_ADDON, tenant::RUN_LABEL};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    context::{OURS, USE, Way},
    site::{ACCOUNT, Site, TEAMS, USE as RUN},
    support::{Ended, Running},
};

/// On another machine, where there is no ledger of any run. Nothing is too young for it.
const SWEEP: [&str; 7] = ["sweep", "--env", "eks", "--older-than", "0s", "--reports", "none"];
/// Likewise, by the kubeconfig.
const SWEEP_CLUSTER: [&str; 11] = [
    "sweep",
    "--env",
    "cluster",
    "--kubeconfig",
    "kubeconfig",
    "--allow-context",
    TEAMS,
    "--older-than",
    "0s",
    "--reports",
    "none",
];
/// A scenario whose pod stands until somebody ends it, or for as long as a sweep takes.
const HELD: &str = "\
apiVersion: mountproof.dev/v1alpha1
kind: Scenario
metadata: { name: held, profile: faults }
description: A pod keeps its mount while somebody looks.
tenants:
  red: {}
steps:
  - mount: { as: app, tenant: red, secret: red/secret, within: 30s }
  - expect: { workload: app, files: current, holds: HOLDS }
";
/// Objects that such runs put on record, at least.
const FEWEST: usize = 25;

/// Objects that look like a run's and are not: other keys, the label alone, no label at all.
fn lookalikes(site: &Site, way: &Way) {
    let named = |kind: &str, namespace: Option<&str>, name: &str, labels: Value| {
        let mut object =
            json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name, "labels": labels } });
        if let Some(namespace) = namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        object
    };
    let objects = [
        named("Namespace", None, "mountproof-agent-7f3k", json!({})),
        named(
            "Namespace",
            None,
            "team-green",
            json!({ "example.com/run": "7f3k" }),
        ),
        named("Namespace", None, "team-grey", json!({ "run": "7f3k" })),
        named("Namespace", None, "team-gold", json!({ RUN_LABEL: "7f3k" })),
        named(
            "ConfigMap",
            Some("team-gold"),
            "mountproof-displaced-7f3k-00",
            json!({ RUN_LABEL: "7f3k", "mountproof.dev/displaced": "true" }),
        ),
        named(
            "ServiceAccount",
            Some("team-green"),
            "managed",
            json!({ "app.kubernetes.io/managed-by": "mountproof" }),
        ),
    ];
    site.runtime.block_on(async {
        let kubernetes = way.connect().await;
        for object in objects {
            kubernetes.create(&object).await.unwrap();
        }
    });
}

/// Runs, killed at one of their objects after the other, until one comes to its end. After each the ledger is thrown away and `swept`.
/// It is every third object, or as `MOUNTPROOF_EKS_EVERY` says: 1 takes some minutes.
fn killed_at_each(site: &Site, arguments: &[&str], swept: impl Fn(&str, Ended)) {
    let every = std::env::var("MOUNTPROOF_EKS_EVERY").ok();
    let every = every.map_or(3, |text| text.parse().unwrap());
    let mut killed = 0;
    for objects in (1..).step_by(every) {
        let end = format!("kill@{objects}");
        let run = site.run(&[arguments, &["--end", &end, "--out", "lost"]].concat());
        if run.status().code() == Some(0) {
            break;
        }
        assert_eq!(run.status().code(), None, "it was killed: {run}");
        fs::remove_dir_all(site.place.path("lost")).unwrap();
        swept(&end, run);
        killed = objects;
    }
    assert!(killed >= FEWEST, "only {killed} objects were seen");
}

/// A run of that scenario, once its pod has mounted.
fn holding(site: &Site, holds: &str, arguments: &[&str]) -> Running {
    let scenarios = site.place.path("scenarios/faults");
    fs::create_dir_all(&scenarios).unwrap();
    fs::write(scenarios.join("held.yaml"), HELD.replace("HOLDS", holds)).unwrap();
    let held = ["held", "--scenarios", "scenarios"];
    let mut running = site.start_run(&[&RUN[..], &held, arguments].concat());
    site.place.await_hold(&mut running);
    running
}

/// The same, killed then, and its ledger lost.
fn killed_in_the_middle(site: &Site, arguments: &[&str]) {
    let running = holding(site, "10m", arguments);
    running.signal(Signal::KILL);
    assert_eq!(running.end().status().code(), None);
    fs::remove_dir_all(site.place.path("out")).unwrap();
}

#[test]
fn a_run_that_is_killed_at_any_object_in_a_teams_cluster_is_swept_without_its_ledger() {
    let site = Site::start();
    site.teams_cluster(&[]);
    lookalikes(&site, &Way::to(&site));
    let before = (site.everything(), site.objects());
    killed_at_each(
        &site,
        &[&RUN[..], &["positive", "--install"]].concat(),
        |end, _| {
            let sweep = site.run(&SWEEP).exits(0);
            assert_eq!((site.everything(), site.objects()), before, "{end}{sweep}");
        },
    );
    site.run(&SWEEP).exits(0).prints(&["nothing of any run"]);
}

#[test]
fn what_made_room_for_a_killed_run_is_put_back_without_its_ledger() {
    let site = Site::start();
    site.teams_cluster(&[]);
    let way = Way::to(&site);
    way.installs(&site);
    lookalikes(&site, &way);
    let before = (site.everything(), way.theirs(&site));
    let run = [&USE[..], &OURS[..], &["--replace-driver"]].concat();
    killed_at_each(&site, &run, |end, _| {
        let sweep = site.run(&SWEEP_CLUSTER).exits(0);
        assert_eq!((site.everything(), way.theirs(&site)), before, "{end}{sweep}");
    });
    site.run(&SWEEP_CLUSTER)
        .exits(0)
        .prints(&["nothing of any run in context prod"]);
}

#[test]
fn what_would_be_removed_is_said_and_a_run_that_is_too_young_is_left_alone() {
    let site = Site::start();
    site.teams_cluster(&[]);
    Way::to(&site);
    killed_in_the_middle(&site, &["--install"]);
    let after = (site.everything(), site.objects());
    // Nobody has to agree to a look.
    let look = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command.env_remove("MOUNTPROOF_ALLOW_ACCOUNT");
        Running::start(command).end()
    };
    look(&[&SWEEP[..], &["--dry-run"]].concat()).exits(0).prints(&[
        "would remove  DaemonSet kube-system/csi-secrets-store in EKS cluster prod",
        "would remove  CSIDriver secrets-store.csi.k8s.io in EKS cluster prod",
    ]);
    look(&SWEEP).exits(2).says(&["--allow-account 000000000000"]);
    for environment in [&SWEEP[..], &SWEEP_CLUSTER] {
        let young: Vec<&str> = environment
            .iter()
            .map(|word| if *word == "0s" { "6h" } else { word })
            .collect();
        site.run(&young).exits(0).prints(&["0m old", "left alone"]);
    }
    let other: Vec<&str> = SWEEP_CLUSTER
        .iter()
        .map(|word| if *word == TEAMS { "other" } else { word })
        .collect();
    site.run(&other).exits(2).says(&["--allow-context"]);
    for (arguments, words) in [
        (
            &[&SWEEP[..], &["--context", TEAMS]].concat()[..],
            "--context is for --env cluster",
        ),
        (
            &[&SWEEP_CLUSTER[..], &["--cluster-name", TEAMS]].concat(),
            "--cluster-name is for --env eks",
        ),
    ] {
        site.run(arguments).exits(2).says(&[words]);
    }
    assert_eq!((site.everything(), site.objects()), after);
}

#[test]
fn a_run_that_is_going_on_keeps_all_that_it_uses() {
    let site = Site::start();
    site.teams_cluster(&[]);
    Way::to(&site);
    let before = (site.everything(), site.objects());
    // Its driver and its identity provider are the other's too.
    killed_in_the_middle(&site, &["--install"]);
    let going = holding(&site, "30s", &["--tenants", "team-green,team-blue2"]);
    let ours: Vec<&str> = SWEEP
        .iter()
        .map(|word| if *word == "none" { "out" } else { word })
        .collect();
    site.run(&ours).exits(0).prints(&[
        "removed  Namespace team-red in EKS cluster prod",
        "stays for now  DaemonSet kube-system/csi-secrets-store",
        "stays for now  iam OIDC provider",
        "still running here; left alone",
    ]);
    going.end().exits(0).says(&["nothing left behind"]);
    site.run(&SWEEP).exits(0);
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn whoever_sweeps_has_the_printed_rights_and_clusters_that_do_not_let_it_in_are_passed_over() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    Way::to(&site);
    let policy = ["doctor", "--env", "eks", "--sweep", "--print-policy", "iam"];
    let policy = site.run(&policy).exits(0).out;
    let key = site.session_of("sweeper", &policy);
    let before = (site.everything(), site.objects());
    killed_in_the_middle(&site, &["--identity", "both"]);
    let sweep = |arguments: &[&str]| {
        let mut command = site.command(&[&SWEEP[..], arguments].concat());
        command
            .env("AWS_ACCESS_KEY_ID", &key[0])
            .env("AWS_SECRET_ACCESS_KEY", &key[1])
            .env("AWS_SESSION_TOKEN", &key[2]);
        Running::start(command).end()
    };
    let in_cluster = site.objects();
    assert_ne!(in_cluster, before.1);
    sweep(&["--cluster-name", TEAMS])
        .exits(3)
        .says(&["EKS cluster prod was not looked into", "Unauthorized"]);
    sweep(&["--cluster-name", "other"]).exits(3).says(&[
        "EKS cluster other was not looked into",
        "there is none of this name",
    ]);
    sweep(&[])
        .exits(0)
        .says(&["not looked into  EKS cluster prod"])
        .prints(&["removed  iam role"]);
    assert_eq!(
        (site.everything(), site.objects()),
        (before.0.clone(), in_cluster)
    );
    site.lets_in(&format!("arn:aws:iam::{ACCOUNT}:role/sweeper"));
    let entry = site.everything();
    sweep(&[])
        .exits(0)
        .prints(&["removed  Namespace team-red in EKS cluster prod"]);
    assert_eq!((site.everything(), site.objects()), (entry, before.1));
}
