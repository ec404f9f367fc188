//! What happens on the nodes, as the agents there see it: in the journal, in the timeline of a case that fails, beside the curve.

use std::{fs, path::PathBuf, time::Duration};

use mountproof::{environment::eks::PROVIDER_ADDON, kubernetes::ObjectRef};
use mountproof_aws_endpoint::Defects;
use serde_json::{Value, json};

use crate::{
    site::{Site, USE},
    support::files_below,
};

/// Longest wait for something of a measurement, and for the run's end.
const PATIENCE: Duration = Duration::from_mins(3);

/// What agents told, by the journal of the only run: node and sight.
fn told(site: &Site) -> Vec<(String, Value)> {
    let journal = site.place.journal();
    let events = journal
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter_map(|event| {
            let saw = &event["event"]["node-saw"];
            Some((saw["node"].as_str()?.to_owned(), saw["what"].clone()))
        })
        .collect()
}

/// The file with this in its name, of what was kept of a case of a scenario.
fn evidence(site: &Site, scenario: &str, named: &str) -> String {
    let results = site.place.results();
    let cases = results["cases"].as_array().unwrap();
    let mut of_it = cases.iter().filter(|case| case["scenario"] == scenario);
    let folder = of_it.find_map(|case| case["evidence"].as_str()).unwrap();
    let folder = site.place.only_run().join(folder);
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains(named);
    let found = files_below(&folder).into_iter().find(is_it);
    fs::read_to_string(found.unwrap()).unwrap()
}

/// The reports are made of the journal, and are so again.
fn assert_reproducible(site: &Site) {
    let run = site.place.only_run();
    let journal = run.join("journal.jsonl").display().to_string();
    site.place.run(&["report", &journal, "--out", "again"]).exits(0);
    for file in ["results.json", "summary.md", "report.html", "junit.xml"] {
        let again = fs::read(site.place.path("again").join(file)).unwrap();
        assert!(fs::read(run.join(file)).unwrap() == again, "{file} is another");
    }
}

#[test]
fn what_its_nodes_saw_is_in_the_timeline_of_a_case_that_fails() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    site.endpoint().set_defects(Defects {
        ignore_resource: true,
        ..Defects::default()
    });
    site.run(&[&USE[..], &["positive", "cross-namespace-denied"]].concat())
        .exits(4)
        .says(&["nothing left behind"]);

    let told = told(&site);
    let watching = told.iter().filter(|(_, what)| what["watching"].is_object());
    for (node, what) in watching.clone() {
        let sockets = what["watching"]["sockets"].as_array().unwrap();
        assert!(sockets.contains(&json!("driver csi.sock")), "{node}: {what}");
        assert!(sockets.contains(&json!("provider aws.sock")), "{node}: {what}");
    }
    assert_eq!(watching.count(), 2, "each node once: {told:#?}");
    let timeline = evidence(&site, "cross-namespace-denied", "timeline");
    let seen = |what: &str| {
        let mut lines = timeline.lines();
        lines.any(|line| line.contains("agent on ip-10-0-") && line.contains(what))
    };
    assert!(seen("volume") && seen("is mounted"), "{timeline}");
    // Nothing is told of pods that are none of the run's, such as those that bring the image onto nodes.
    let results = site.place.results();
    let watched = results["watched"].as_array().unwrap();
    assert_eq!(watched.len(), 2, "{watched:#?}");
    let sum = |field: &str| {
        watched
            .iter()
            .map(|node| node[field].as_u64().unwrap())
            .sum::<u64>()
    };
    let of = |kind: &str| told.iter().filter(|(_, what)| what[kind].is_object()).count() as u64;
    assert!(
        sum("mounted") > 0 && sum("mounted") == of("mounted"),
        "{watched:#?}"
    );
    assert_eq!((sum("breaks"), of("lost")), (0, 0));
    assert_reproducible(&site);
}

#[test]
fn a_driver_that_is_rolled_in_the_middle_of_a_measurement_is_seen_from_its_nodes() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    let measuring = ["mount-latency", "--pods", "150", "--rate", "10"];
    let mut running = site.start_run(&[&USE[..], &measuring].concat());
    site.place.await_line_within(
        &mut running,
        &["\"measurement-started\"", "mount-latency.csi"],
        PATIENCE,
    );
    roll_driver(&site);
    site.place
        .await_line_within(&mut running, &["\"socket-there\"", "driver csi.sock"], PATIENCE);
    // What does not work meanwhile fails, as it should.
    running.end_within(PATIENCE);

    let results = site.place.results();
    let incidents = results["incidents"].as_array().unwrap();
    for kind in ["socket-gone", "socket-there"] {
        let found = incidents.iter().find(|incident| {
            incident["kind"] == kind
                && incident["what"] == "socket driver csi.sock"
                && incident["measurements"] == json!(["mount-latency.csi"])
        });
        assert!(found.is_some(), "{kind}: {incidents:#?}");
    }
    let measurement = &results["measurements"][0];
    let pressed = measurement["pressed"].as_array().unwrap();
    assert_eq!(pressed.len(), 2, "each node: {measurement:#?}");
    for node in pressed {
        assert!(node["samples"].as_u64() > Some(0), "{node:#?}");
        let shares = node["shares"].as_array().unwrap();
        assert!(shares.iter().any(|share| share["of"] == "cpu-busy"), "{node:#?}");
    }
    let summary = fs::read_to_string(site.place.only_run().join("summary.md")).unwrap();
    for said in [
        "How hard pressed nodes were under `mount-latency.csi`",
        "socket driver csi.sock: gone",
        "Watched by agents on the nodes",
    ] {
        assert!(summary.contains(said), "{said}: {summary}");
    }
    assert_reproducible(&site);
}

#[test]
fn an_agent_that_ends_in_the_middle_is_heard_again_and_what_nobody_saw_is_on_record() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    let measuring = ["mount-latency", "--pods", "60", "--rate", "10"];
    let mut running = site.start_run(&[&USE[..], &measuring].concat());
    // No mount of the pod lens needs an agent.
    site.place.await_line_within(
        &mut running,
        &["\"measurement-started\"", "mount-latency.pod"],
        PATIENCE,
    );
    end_agents(&site);
    site.place
        .await_line_within(&mut running, &["\"heard\"", "\"missed\":\"unknown\""], PATIENCE);
    running
        .end_within(PATIENCE)
        .exits(0)
        .says(&["nothing left behind"]);
    let results = site.place.results();
    let incidents = results["incidents"].as_array().unwrap();
    for kind in ["agent-unheard", "agent-heard"] {
        assert!(
            incidents.iter().any(|incident| incident["kind"] == kind),
            "{kind}: {incidents:#?}"
        );
    }
    let watched = results["watched"].as_array().unwrap();
    assert!(
        watched.iter().any(|node| node["unheard_us"].as_u64() > Some(0)),
        "{watched:#?}"
    );
    assert_reproducible(&site);
}

/// Deletes the pods of all agents; others come in their places.
fn end_agents(site: &Site) {
    let ending = async {
        let kubernetes = site.teams_kubernetes().await;
        for pod in kubernetes.list("v1", "Pod", None, None).await.unwrap() {
            if pod["metadata"]["labels"]["app"] == "mountproof-agent" {
                kubernetes.delete(&ObjectRef::of(&pod)).await.unwrap();
            }
        }
    };
    site.runtime.block_on(ending);
}

/// Has the pods of the team's driver replaced, as whoever upgrades it does.
fn roll_driver(site: &Site) {
    let rolling = async {
        let kubernetes = site.teams_kubernetes().await;
        let sets = kubernetes.list("apps/v1", "DaemonSet", None, None).await.unwrap();
        let is_driver = |set: &&Value| {
            let containers = set["spec"]["template"]["spec"]["containers"].as_array().unwrap();
            containers
                .iter()
                .any(|container| container["name"] == "secrets-store")
        };
        let driver = ObjectRef::of(sets.iter().find(is_driver).unwrap());
        let rolled =
            json!({ "spec": { "template": { "metadata": { "annotations": { "rolled": "yes" } } } } });
        kubernetes.merge(&driver, &rolled).await.unwrap();
    };
    site.runtime.block_on(rolling);
}
