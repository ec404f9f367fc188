//! A measurement on several nodes, and what befell them meanwhile.

use mountproof::{
    journal::{
        Event, EventKind, FloorMeasured, IncidentKind, IncidentSeen, Missed, NodePressed, NodeSaw, NodeSight,
        Pressure, PressureShare, Verdict,
    },
    report::{Format, RunSummary, render},
};
use serde_json::Value;

use crate::fixture::Builder;

fn restarted() -> EventKind {
    EventKind::IncidentSeen(IncidentSeen {
        kind: IncidentKind::OomKilled,
        node: "worker".to_owned(),
        what: "container secrets-store of pod kube-system/csi-secrets-store-x".to_owned(),
        because: "OOMKilled, exit code 137".to_owned(),
    })
}

/// Mounts on two nodes in turn. What befalls one of them is seen before the measurement, in its middle, and after it.
fn on_two_nodes() -> Vec<Event> {
    let mut builder = Builder::new(&[("mount-latency", "load")]);
    builder.environment().tenants();
    builder.push(restarted());
    builder.mounts("mount-latency.csi", "mount-latency", "csi", 400);
    builder.push(restarted());
    builder.attempt("mount-latency", 1, Verdict::Passed, "fine", None, false);
    let mut events = builder.teardown(0).finish(0);
    let mut ended = 0;
    let mut middle = None;
    for (place, event) in events.iter_mut().enumerate() {
        if let EventKind::MountFinished(mount) = &mut event.event {
            let node = if mount.index % 2 == 0 { "worker" } else { "worker2" };
            mount.node = Some(node.to_owned());
            ended += 1;
            if ended == 200 {
                middle = Some(place);
            }
        }
    }
    let middle = middle.unwrap();
    let within = Event {
        event: restarted(),
        ..events[middle].clone()
    };
    events.insert(middle + 1, within);
    for (sequence, event) in (0..).zip(&mut events) {
        event.sequence = sequence;
    }
    events
}

fn text(events: &[Event], format: Format) -> String {
    let summary = RunSummary::of(events).unwrap();
    render(&summary, &[format]).remove(0).text
}

#[test]
fn what_befalls_nodes_while_it_is_measured_stands_beside_the_figures_and_nothing_else_does() {
    let events = on_two_nodes();
    let summary = RunSummary::of(&events).unwrap();
    assert_eq!(summary.incidents.len(), 3);
    assert_eq!(summary.measurements[0].incidents.len(), 1);
    let warned = |warning: &String| {
        warning.contains("1 incident while it was under way") && warning.contains("OOM-killed")
    };
    assert_eq!(
        summary.warnings.iter().filter(|warning| warned(warning)).count(),
        1,
        "{:?}",
        summary.warnings
    );

    let results: Value = serde_json::from_str(&text(&events, Format::Results)).unwrap();
    let during: Vec<&Value> = results["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|incident| &incident["measurements"])
        .collect();
    assert_eq!(
        during,
        [
            &Value::from(Vec::<String>::new()),
            &Value::from(vec!["mount-latency.csi"]),
            &Value::from(Vec::<String>::new())
        ]
    );

    let html = text(&events, Format::Html);
    assert_eq!(
        html.matches("class=\"incident\"").count(),
        1,
        "one line in the chart"
    );
    let markdown = text(&events, Format::Markdown);
    assert!(
        markdown.contains("While `mount-latency.csi` was under way"),
        "{markdown}"
    );
}

#[test]
fn a_measurement_is_listed_by_node_where_there_is_more_than_one() {
    let events = on_two_nodes();
    let summary = RunSummary::of(&events).unwrap();
    let nodes = summary.measurements[0].by_node();
    let counted: Vec<(&str, u64)> = nodes.iter().map(|on| (on.node.as_str(), on.planned)).collect();
    assert_eq!(counted, [("worker", 200), ("worker2", 200)]);
    for on in &nodes {
        let ends = on.ok + on.denied + on.failed + on.timed_out + on.dropped;
        assert_eq!(ends, on.planned, "{on:?}");
    }
    let of_whole = summary.measurements[0].finished.as_ref().unwrap();
    assert_eq!(nodes.iter().map(|on| on.ok).sum::<u64>(), of_whole.ok);
    assert!(text(&events, Format::Markdown).contains("`mount-latency.csi` by node"));
    assert!(text(&events, Format::Html).contains("worker2"));

    let mut alone = events;
    for event in &mut alone {
        if let EventKind::MountFinished(mount) = &mut event.event {
            mount.node = Some("worker".to_owned());
        }
    }
    assert!(
        !text(&alone, Format::Markdown).contains("by node"),
        "one node is the whole"
    );
}

#[test]
fn figures_of_many_nodes_are_held_to_the_floor_of_the_slowest() {
    let floor = |node: &str, new_tls_ns: u64| {
        EventKind::FloorMeasured(FloorMeasured {
            parts: Vec::new(),
            kept_alive_ns: 1,
            new_tls_ns,
            tmpfs: false,
            csi_lens: None,
            node: Some(node.to_owned()),
        })
    };
    let mut builder = Builder::new(&[("mount-latency", "load")]);
    // Measured twice on one of them: the later counts.
    for (node, ns) in [("worker", 9), ("worker", 3), ("worker2", 5)] {
        builder.push(floor(node, ns));
    }
    let summary = RunSummary::of(&builder.killed()).unwrap();
    assert_eq!(summary.floor.unwrap().node.as_deref(), Some("worker2"));
    assert_eq!(summary.floors.len(), 2);
}

fn saw(what: NodeSight, ago_us: u64) -> EventKind {
    EventKind::NodeSaw(NodeSaw {
        node: "worker".to_owned(),
        at: Some("2025-11-24T18:28:51.5Z".parse().unwrap()),
        ago_us,
        what,
    })
}

fn socket() -> String {
    "driver csi.sock".to_owned()
}

/// A measurement of 0.7 s, in which an agent was not heard and told later what it had seen, and how hard pressed its node was.
fn watched() -> Vec<Event> {
    let mut builder = Builder::new(&[("mount-latency", "load")]);
    builder.environment().tenants();
    let blind = vec!["what waits: the kernel has no /proc/pressure".to_owned()];
    let sockets = vec![socket()];
    builder.push(saw(NodeSight::Watching { sockets, blind }, 0));
    builder.push(saw(NodeSight::SocketGone { socket: socket() }, 0));
    builder.mounts("mount-latency.csi", "mount-latency", "csi", 400);
    builder.push(EventKind::NodePressed(NodePressed {
        measurement: "mount-latency.csi".to_owned(),
        node: "worker".to_owned(),
        samples: 1,
        took_us: 700_000,
        shares: vec![PressureShare {
            of: Pressure::CpuStolen,
            mean_permille: 123,
            peak_permille: 456,
        }],
    }));
    builder.pass_time(1_000_000);
    let because = "the connection broke".to_owned();
    builder.push(saw(
        NodeSight::Lost {
            because,
            for_good: false,
        },
        1_200_000,
    ));
    let missed = Missed::AtMost(3);
    builder.push(saw(
        NodeSight::Heard {
            away_us: 900_000,
            missed,
        },
        0,
    ));
    let away_us = Some(1_000);
    builder.push(saw(
        NodeSight::SocketThere {
            socket: socket(),
            away_us,
        },
        1_150_000,
    ));
    for number in ["1", "2"] {
        let (pod, volume) = (format!("uid-{number}"), "secrets".to_owned());
        builder.push(saw(NodeSight::Mounted { pod, volume }, 0));
    }
    builder.attempt("mount-latency", 1, Verdict::Passed, "fine", None, false);
    builder.teardown(0).finish(0)
}

#[test]
fn what_an_agent_saw_stands_where_it_happened_however_late_it_was_told() {
    let events = watched();
    let summary = RunSummary::of(&events).unwrap();
    assert_eq!(summary.problems, Vec::<String>::new());
    let kinds = |incidents: &[(u64, IncidentSeen)]| -> Vec<IncidentKind> {
        incidents.iter().map(|(_, incident)| incident.kind).collect()
    };
    let all = [
        IncidentKind::SocketGone,
        IncidentKind::AgentUnheard,
        IncidentKind::SocketThere,
        IncidentKind::AgentHeard,
    ];
    assert_eq!(
        kinds(&summary.incidents),
        all,
        "in the order in which they happened"
    );
    assert_eq!(
        kinds(&summary.measurements[0].incidents),
        [IncidentKind::AgentUnheard, IncidentKind::SocketThere]
    );
    let results: Value = serde_json::from_str(&text(&events, Format::Results)).unwrap();
    let watched = &results["watched"][0];
    for (field, value) in [
        ("node", Value::from("worker")),
        ("mounted", 2.into()),
        ("unmounted", 0.into()),
        ("sockets", 2.into()),
        ("breaks", 1.into()),
        ("unheard_us", 900_000.into()),
        ("lost", false.into()),
    ] {
        assert_eq!(watched[field], value, "{field} of {watched:#}");
    }
    let markdown = text(&events, Format::Markdown);
    for said in [
        "socket driver csi.sock: there",
        "after 1 ms, as the node's agent saw it",
        "1 time for 0.90 s",
        "no /proc/pressure",
    ] {
        assert!(markdown.contains(said), "{said}: {markdown}");
    }
    assert!(text(&events, Format::Html).contains("Watched by agents on 1 node"));
}

#[test]
fn a_node_that_was_hard_pressed_stands_beside_the_figures_as_the_nodes_own() {
    let events = watched();
    let summary = RunSummary::of(&events).unwrap();
    let warned = summary
        .warnings
        .iter()
        .find(|warning| warning.contains("hard pressed"));
    let warned = warned.unwrap();
    for said in [
        "mount-latency.csi: the node worker",
        "12.3 %",
        "45.6 %",
        "whole node's, whoever kept it busy",
    ] {
        assert!(warned.contains(said), "{said}: {warned}");
    }
    for format in [Format::Markdown, Format::Html] {
        let report = text(&events, format);
        assert!(report.contains("12.3 % / 45.6 %"), "{report}");
        assert!(report.contains("no figure of the driver"), "{report}");
    }
    let mut well = events;
    for event in &mut well {
        if let EventKind::NodePressed(pressed) = &mut event.event {
            pressed.shares[0].mean_permille = 49;
        }
    }
    let summary = RunSummary::of(&well).unwrap();
    assert!(
        !summary
            .warnings
            .iter()
            .any(|warning| warning.contains("hard pressed"))
    );
    assert_eq!(summary.measurements[0].pressed.len(), 1);
}
