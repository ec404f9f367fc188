//! A measurement on several nodes, and what befell them meanwhile.

use mountproof::{
    journal::{Event, EventKind, FloorMeasured, IncidentKind, IncidentSeen, Verdict},
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
