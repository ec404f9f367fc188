//! What is decided, without a cluster.

use serde_json::json;

use super::*;

fn node(name: &str, most_pods: usize) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": { "allocatable": { "pods": most_pods.to_string() } },
    })
}

fn pod(name: &str, owner: Option<(&str, &str)>, spec: &Value) -> Pod {
    let owners: Vec<Value> = owner
        .into_iter()
        .map(|(kind, uid)| json!({ "kind": kind, "uid": uid, "controller": true }))
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "a", "uid": format!("uid-{name}"), "ownerReferences": owners },
        "spec": spec,
    }))
    .expect("a pod")
}

/// What was decided of each pod.
fn said(told: &[(Arc<Pod>, Decision)]) -> Vec<(&str, &str)> {
    let texts = told.iter().map(|(pod, decision)| {
        let (Decision::Bind(text) | Decision::Wait(text)) = decision;
        (pod.metadata.name.as_str(), text.as_str())
    });
    texts.collect()
}

fn with_nodes(nodes: &[(&str, usize)]) -> Known {
    let mut known = Known::default();
    for (name, most) in nodes {
        known.node(&node(name, *most));
    }
    known
}

#[test]
fn pods_are_spread_over_nodes_and_those_of_a_controller_first_of_all() {
    let mut known = with_nodes(&[("n1", 10), ("n2", 10)]);
    let mut told = Vec::new();
    for (name, owner) in [
        ("alone-1", None),
        ("alone-2", None),
        ("alone-3", None),
        // n1 has two pods, n2 one.
        ("set-1", Some(("ReplicaSet", "s"))),
        ("set-2", Some(("ReplicaSet", "s"))),
        ("set-3", Some(("ReplicaSet", "s"))),
    ] {
        known.apply(pod(name, owner, &json!({})), &mut told);
    }
    let nodes: Vec<&str> = said(&told).into_iter().map(|(_, node)| node).collect();
    assert_eq!(nodes, ["n1", "n2", "n1", "n2", "n1", "n2"]);
}

#[test]
fn a_pod_is_decided_once_however_often_it_changes() {
    let mut known = with_nodes(&[("n1", 10), ("n2", 10)]);
    let mut told = Vec::new();
    for _ in 0..3 {
        known.apply(pod("p", None, &json!({})), &mut told);
    }
    known.apply(pod("p", None, &json!({ "nodeName": "n1" })), &mut told);
    known.relist(vec![pod("p", None, &json!({ "nodeName": "n1" }))], &mut told);
    assert_eq!(said(&told), [("p", "n1")]);
    assert_eq!(known.pods_on("n1"), 1);
}

#[test]
fn the_pods_of_another_scheduler_are_left_to_it() {
    let mut known = with_nodes(&[("n1", 10)]);
    let mut told = Vec::new();
    for name in ["none", NAME] {
        known.apply(pod(name, None, &json!({ "schedulerName": name })), &mut told);
    }
    assert_eq!(said(&told), [(NAME, "n1")]);
}

#[test]
fn who_finds_no_room_waits_for_it() {
    let mut known = with_nodes(&[("n1", 1)]);
    let mut told = Vec::new();
    for name in ["p", "q", "r"] {
        known.apply(pod(name, None, &json!({})), &mut told);
    }
    let full = "0/1 nodes are available: 1 Too many pods.";
    assert_eq!(said(&told), [("p", "n1"), ("q", full), ("r", full)]);
    told.clear();
    known.remove("uid-p", &mut told);
    assert_eq!(said(&told), [("q", "n1")]);
    told.clear();
    known.node(&node("n2", 1));
    known.retry(&mut told);
    assert_eq!(said(&told), [("r", "n2")]);
}

#[test]
fn why_no_node_takes_a_pod_is_said_of_all_together() {
    let mut known = with_nodes(&[("n1", 10), ("n2", 0), ("n3", 10)]);
    known.node(&json!({
        "metadata": { "name": "n3", "labels": { "kubernetes.io/hostname": "n3" } },
        "spec": { "taints": [{ "key": "team", "value": "x", "effect": "NoSchedule" }] },
        "status": { "allocatable": { "pods": "10" } },
    }));
    let mut told = Vec::new();
    known.apply(
        pod(
            "p",
            None,
            &json!({ "nodeSelector": { "kubernetes.io/hostname": "n9" } }),
        ),
        &mut told,
    );
    known.apply(
        pod(
            "q",
            None,
            &json!({ "nodeSelector": { "kubernetes.io/hostname": "n3" } }),
        ),
        &mut told,
    );
    known.apply(
        pod(
            "r",
            None,
            &json!({ "nodeSelector": { "kubernetes.io/hostname": "n2" } }),
        ),
        &mut told,
    );
    let affinity = "node(s) didn't match Pod's node affinity/selector";
    assert_eq!(
        said(&told),
        [
            ("p", format!("0/3 nodes are available: 3 {affinity}.").as_str()),
            (
                "q",
                format!(
                    "0/3 nodes are available: 1 node(s) had untolerated taint(s): {{team: x}}, 2 {affinity}."
                )
                .as_str()
            ),
            (
                "r",
                format!("0/3 nodes are available: 1 Too many pods, 2 {affinity}.").as_str()
            ),
        ]
    );
    let mut none = Vec::new();
    Known::default().apply(pod("p", None, &json!({})), &mut none);
    assert_eq!(said(&none), [("p", "no nodes available to schedule pods")]);
}

#[test]
fn a_daemons_pod_goes_to_its_node_even_when_that_is_cordoned() {
    let mut known = with_nodes(&[("n1", 10), ("n2", 10)]);
    let mut cordoned = node("n2", 10);
    cordoned["spec"] = json!({ "unschedulable": true });
    known.node(&cordoned);
    let only_n2 = json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n2"] }] }],
    } } } });
    let mut told = Vec::new();
    known.apply(pod("d", Some(("DaemonSet", "d")), &only_n2), &mut told);
    known.apply(pod("p", None, &json!({})), &mut told);
    assert_eq!(said(&told), [("d", "n2"), ("p", "n1")]);
}

#[test]
fn a_node_takes_as_many_pods_as_its_quantity_says() {
    for (quantity, pods) in [
        ("17", Some(17)),
        ("5k", Some(5_000)),
        ("", None),
        ("1.5k", None),
        ("many", None),
    ] {
        assert_eq!(count(quantity), pods, "{quantity:?}");
    }
}
