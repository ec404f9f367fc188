//! PURE. Which nodes a pod may be on, as <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/> and
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/> have it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The taint of a node that is not Ready, or was not a moment ago.
const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// The taint of a node that takes no new pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Where a pod says which nodes it may be on.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// What of a pod decides where it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes<'a> {
    pub(crate) node_selector: &'a BTreeMap<String, String>,
    pub(crate) affinity: &'a Value,
    pub(crate) tolerations: &'a [Value],
    /// The pods of a `DaemonSet` are on cordoned nodes too.
    pub(crate) of_daemon: bool,
}

/// What of a node decides which pods it takes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Offer {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Value>,
    pub(crate) cordoned: bool,
}

/// Why a node does not take a pod, in the scheduler's words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unfit {
    Cordoned,
    Affinity,
    Taint(String),
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cordoned => f.write_str("node(s) were unschedulable"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Taint(taint) => write!(f, "node(s) had untolerated taint(s): {taint}"),
        }
    }
}

impl Offer {
    /// Of a `Node` object.
    pub(crate) fn of(node: &Value) -> Self {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
        // An API server puts it on every new node, and the controller of nodes takes it off as soon as the node is Ready. That one
        // may not run here.
        let is_over = |taint: &&Value| is_ready && taint["key"] == NOT_READY;
        let taints = node["spec"]["taints"].as_array();
        let labels = node["metadata"]["labels"].as_object();
        let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        Self {
            name: node["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            labels: labels.into_iter().flatten().filter_map(label).collect(),
            taints: taints
                .into_iter()
                .flatten()
                .filter(|taint| !is_over(taint))
                .cloned()
                .collect(),
            cordoned: node["spec"]["unschedulable"] == true,
        }
    }
}

/// Whether a node takes a pod, but for its room.
pub(crate) fn fits(pod: Wishes<'_>, node: &Offer) -> Result<(), Unfit> {
    let cordon = serde_json::json!({ "key": UNSCHEDULABLE, "effect": "NoSchedule" });
    if node.cordoned && !pod.of_daemon && !tolerated(&cordon, pod.tolerations) {
        return Err(Unfit::Cordoned);
    }
    let mut selector = pod.node_selector.iter();
    let selected = selector.all(|(key, value)| node.labels.get(key) == Some(value));
    if !selected || !wanted_by(&pod.affinity["nodeAffinity"][REQUIRED], node) {
        return Err(Unfit::Affinity);
    }
    let keeps_out = |taint: &&Value| {
        matches!(taint["effect"].as_str(), Some("NoSchedule" | "NoExecute"))
            // The cordon is told by the field that it stands for.
            && taint["key"] != UNSCHEDULABLE
            && !tolerated(taint, pod.tolerations)
    };
    match node.taints.iter().find(keeps_out) {
        Some(taint) => Err(Unfit::Taint(shown(taint))),
        None => Ok(()),
    }
}

/// `{key: value}`, as the scheduler names a taint.
fn shown(taint: &Value) -> String {
    let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
    format!("{{{}: {}}}", text("key"), text("value"))
}

fn tolerated(taint: &Value, tolerations: &[Value]) -> bool {
    tolerations.iter().any(|toleration| {
        let text = |field: &str| toleration[field].as_str().unwrap_or_default();
        let effect = text("effect").is_empty() || taint["effect"] == text("effect");
        let key = match text("key") {
            "" => text("operator") == "Exists",
            key => taint["key"] == key,
        };
        let value =
            text("operator") == "Exists" || taint["value"].as_str().unwrap_or_default() == text("value");
        effect && key && value
    })
}

/// Whether one of the terms of an affinity holds of a node; every node is wanted where there is none.
fn wanted_by(required: &Value, node: &Offer) -> bool {
    let Some(terms) = required["nodeSelectorTerms"].as_array() else {
        return true;
    };
    terms.iter().any(|term| {
        let list = |field: &str| term[field].as_array().into_iter().flatten();
        // A term without any expression matches nothing.
        let mut all = list("matchFields").chain(list("matchExpressions")).peekable();
        all.peek().is_some()
            && list("matchFields").all(|field| {
                let name = (field["key"] == "metadata.name").then_some(node.name.as_str());
                holds(field, name)
            })
            && list("matchExpressions").all(|expression| {
                let key = expression["key"].as_str().unwrap_or_default();
                holds(expression, node.labels.get(key).map(String::as_str))
            })
    })
}

fn holds(expression: &Value, is: Option<&str>) -> bool {
    let values = || {
        expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
    };
    let number = |text: &str| text.parse::<i64>().ok();
    let than = || values().next().and_then(number).zip(is.and_then(number));
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => is.is_some_and(|is| values().any(|value| value == is)),
        "NotIn" => is.is_none_or(|is| values().all(|value| value != is)),
        "Exists" => is.is_some(),
        "DoesNotExist" => is.is_none(),
        "Gt" => than().is_some_and(|(than, is)| is > than),
        "Lt" => than().is_some_and(|(than, is)| is < than),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(spec: &Value) -> Offer {
        Offer::of(&json!({
            "metadata": { "name": "n1", "labels": { "zone": "a", "cores": "4" } },
            "spec": spec,
        }))
    }

    fn taken(pod: &Value, node: &Offer) -> Result<(), String> {
        let selector = serde_json::from_value(pod["nodeSelector"].clone()).unwrap_or_default();
        let tolerations: Vec<Value> = serde_json::from_value(pod["tolerations"].clone()).unwrap_or_default();
        let wishes = Wishes {
            node_selector: &selector,
            affinity: &pod["affinity"],
            tolerations: &tolerations,
            of_daemon: pod["daemon"] == true,
        };
        fits(wishes, node).map_err(|unfit| unfit.to_string())
    }

    #[test]
    fn a_node_that_is_ready_again_takes_pods_whoever_left_the_taint() {
        let node = |ready: &str| {
            Offer::of(&json!({
                "metadata": { "name": "n1" },
                "spec": { "taints": [{ "key": NOT_READY, "effect": "NoSchedule" }] },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
        };
        assert_eq!(taken(&json!({}), &node("True")), Ok(()));
        assert!(taken(&json!({}), &node("False")).is_err());
    }

    #[test]
    fn a_node_is_chosen_by_its_labels_and_its_name() {
        let terms = |terms: Value| json!({ "affinity": { "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": terms } } } });
        let expression = |key: &str, operator: &str, values: &[&str]| {
            terms(json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]))
        };
        let named = |name: &str| {
            terms(
                json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }]),
            )
        };
        for (pod, taken_by) in [
            (json!({}), true),
            (json!({ "nodeSelector": { "zone": "a" } }), true),
            (json!({ "nodeSelector": { "zone": "b" } }), false),
            (json!({ "nodeSelector": { "disk": "a" } }), false),
            (named("n1"), true),
            (named("n2"), false),
            (expression("zone", "In", &["a", "b"]), true),
            (expression("zone", "NotIn", &["a"]), false),
            (expression("disk", "NotIn", &["a"]), true),
            (expression("zone", "Exists", &[]), true),
            (expression("zone", "DoesNotExist", &[]), false),
            (expression("cores", "Gt", &["3"]), true),
            (expression("cores", "Lt", &["3"]), false),
            (terms(json!([{}])), false),
            (
                terms(json!([{}, { "matchExpressions": [{ "key": "zone", "operator": "Exists" }] }])),
                true,
            ),
        ] {
            assert_eq!(taken(&pod, &node(&json!({}))).is_ok(), taken_by, "{pod}");
        }
    }

    #[test]
    fn a_tainted_node_takes_who_tolerates_it() {
        let tainted = node(&json!({ "taints": [{ "key": "team", "value": "x", "effect": "NoSchedule" }] }));
        for (toleration, taken_by) in [
            (json!({ "operator": "Exists" }), true),
            (json!({ "key": "team", "operator": "Exists" }), true),
            (
                json!({ "key": "team", "operator": "Equal", "value": "x", "effect": "NoSchedule" }),
                true,
            ),
            (json!({ "key": "team", "value": "x" }), true),
            (json!({ "key": "team", "value": "y" }), false),
            (
                json!({ "key": "team", "operator": "Exists", "effect": "NoExecute" }),
                false,
            ),
            (json!({ "key": "other", "operator": "Exists" }), false),
            (json!({ "value": "x" }), false),
        ] {
            let pod = json!({ "tolerations": [toleration] });
            assert_eq!(taken(&pod, &tainted).is_ok(), taken_by, "{pod}");
        }
        let refused = "node(s) had untolerated taint(s): {team: x}".to_owned();
        assert_eq!(taken(&json!({}), &tainted), Err(refused));
        let soft = node(&json!({ "taints": [{ "key": "team", "effect": "PreferNoSchedule" }] }));
        assert_eq!(taken(&json!({}), &soft), Ok(()));
    }

    #[test]
    fn a_cordoned_node_takes_pods_of_daemons_alone() {
        let cordoned = node(&json!({ "unschedulable": true,
            "taints": [{ "key": UNSCHEDULABLE, "effect": "NoSchedule" }] }));
        assert_eq!(
            taken(&json!({}), &cordoned),
            Err("node(s) were unschedulable".to_owned())
        );
        assert_eq!(taken(&json!({ "daemon": true }), &cordoned), Ok(()));
        let tolerant = json!({ "tolerations": [{ "key": UNSCHEDULABLE, "operator": "Exists", "effect": "NoSchedule" }] });
        assert_eq!(taken(&tolerant, &cordoned), Ok(()));
    }
}
