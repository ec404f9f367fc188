//! Load in a real cluster: both lenses, every mount accounted for whatever befalls the nodes meanwhile, and what befell them
//! said beside the figures.

use std::time::Duration;

use serde_json::Value;

use crate::{
    Case,
    support::{Ended, Place, Running, verdicts},
    world::{Before, ended, run, said, start},
};

pub(crate) const CASES: &[Case] = &[
    (
        "both_lenses_measure_on_every_node_and_what_befalls_them_is_accounted_for",
        load_on_two_workers,
    ),
    (
        "more_pods_than_nodes_can_take_are_refused_before_there_is_a_cluster",
        too_many_pods,
    ),
];

/// Longest time for a cluster to stand and a measurement to begin.
const BEGINS: Duration = Duration::from_mins(4);

/// Both lenses; then one that loses an agent, and one whose driver is restarted in its middle.
const SCENARIOS: [(&str, &str); 3] = [
    (
        "both-lenses",
        "{ pods: 30, warmUp: 4, rate: 5, arrival: poisson, lenses: [csi, pod], deadline: 60s }",
    ),
    (
        "agent-dies",
        "{ pods: 200, warmUp: 2, rate: 10, arrival: constant, lenses: [csi], deadline: 20s }",
    ),
    (
        "driver-restarts",
        "{ pods: 12, warmUp: 1, rate: 1, arrival: constant, lenses: [pod], deadline: 90s }",
    ),
];

fn scenario(name: &str, mounts: &str) -> String {
    format!(
        "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: {name}, profile: faults }}\n\
         description: Mounts are measured.\nsteps:\n  - load: {{ mounts: {mounts} }}\n"
    )
}

fn load_on_two_workers() {
    let before = Before::look();
    let scenarios = SCENARIOS.map(|(name, mounts)| (name, scenario(name, mounts)));
    let scenarios: Vec<(&str, &str)> = scenarios
        .iter()
        .map(|(name, text)| (*name, text.as_str()))
        .collect();
    let place = Place::with(&scenarios);
    // The pace of pods is the scenarios'.
    let arguments = [
        "--scenarios",
        "scenarios",
        "--workers",
        "2",
        "both-lenses",
        "agent-dies",
        "driver-restarts",
    ];
    let mut running = start(&place, &arguments);

    under_way(&place, &mut running, "agent-dies.csi");
    kubectl(
        &place,
        &[
            "-n",
            "mountproof-agent",
            "delete",
            "pods",
            "--all",
            "--force",
            "--grace-period=0",
        ],
    );
    under_way(&place, &mut running, "driver-restarts.pod");
    for worker in ["worker", "worker2"] {
        // Kubelet starts it anew, as after any crash.
        in_node(&place, worker, &["pkill", "-KILL", "-f", "standin driver"]);
    }
    let ended = ended(running).exits(6);
    let results = place.results();

    let verdicts = verdicts(&results);
    let verdict = |name: &str| {
        verdicts
            .iter()
            .find(|(case, _)| case == name)
            .map(|(_, verdict)| verdict.as_str())
    };
    assert_eq!(verdict("both-lenses"), Some("passed"), "{ended}");
    assert_eq!(
        verdict("agent-dies"),
        Some("errored"),
        "that says nothing about the product{ended}"
    );
    for name in [
        "both-lenses.csi",
        "both-lenses.pod",
        "agent-dies.csi",
        "driver-restarts.pod",
    ] {
        accounted(&results, name, &ended);
    }
    for name in ["both-lenses.csi", "both-lenses.pod"] {
        let nodes = measurement(&results, name)["nodes"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let counts: Vec<u64> = nodes
            .iter()
            .map(|node| node["planned"].as_u64().unwrap())
            .collect();
        assert_eq!(
            (counts.len(), counts.iter().sum::<u64>()),
            (2, 34),
            "{name}: {counts:?}"
        );
    }
    assert_eq!(
        results["floors"].as_array().map(Vec::len),
        Some(2),
        "of each node"
    );
    let incidents = results["incidents"].as_array().cloned().unwrap_or_default();
    let during = |name: &str, kind: &str| {
        incidents.iter().any(|incident| {
            let measurements = incident["measurements"].as_array().cloned().unwrap_or_default();
            incident["kind"] == kind && measurements.iter().any(|measurement| measurement == name)
        })
    };
    assert!(during("agent-dies.csi", "removed"), "{incidents:#?}");
    assert!(during("driver-restarts.pod", "restarted"), "{incidents:#?}");
    before.is_as_it_was(&place);
}

fn too_many_pods() {
    let place = Place::new();
    let arguments = ["mount-latency", "--pods", "300", "--max-pods", "120"];
    run(&place, &arguments)
        .exits(3)
        .says(&["310 pods", "1 node takes 120", "--max-pods", "--workers"]);
}

/// Waits until mounts of a measurement come to their ends.
fn under_way(place: &Place, running: &mut Running, measurement: &str) {
    let named = format!("\"measurement\":\"{measurement}\"");
    place.await_line_within(running, &["\"mount-finished\"", &named], BEGINS);
}

/// Every planned mount came to one end, and is listed.
#[track_caller]
fn accounted(results: &Value, name: &str, ended: &Ended) {
    let accounting = &measurement(results, name)["accounting"];
    let count = |part: &str| accounting[part].as_u64().unwrap();
    let ends = ["ok", "denied", "failed", "timed_out", "dropped"].map(count);
    assert_eq!(
        ends.iter().sum::<u64>(),
        count("planned"),
        "{name}: {ends:?}{ended}"
    );
    assert_eq!(
        results["problems"].as_array().map(Vec::len),
        Some(0),
        "{}",
        results["problems"]
    );
}

fn measurement<'a>(results: &'a Value, name: &str) -> &'a Value {
    let all = results["measurements"].as_array().unwrap();
    all.iter()
        .find(|measurement| measurement["measurement"] == name)
        .unwrap_or_else(|| panic!("{name} is not among {all:#?}"))
}

fn in_node(place: &Place, node: &str, command: &[&str]) -> String {
    let run = place.only_run();
    let id = run.file_name().unwrap().to_string_lossy();
    let container = format!("mountproof-{id}-{node}");
    said("docker", ["exec", &container].iter().chain(command))
}

fn kubectl(place: &Place, arguments: &[&str]) -> String {
    let command = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
    in_node(place, "control-plane", &[&command, arguments].concat())
}
