//! Replays what was recorded from a real kube-apiserver 1.36.3, in order, and compares the answers.
//!
//! Values that differ from run to run are masked by their place. All other differences must be on a list,
//! with the reason; an entry of the list that no longer occurs fails the test.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{Cluster, tests};

tests![;
    stand_in_only: answers_as_the_recorded_server_did = "the recording is of a real one"
];

const RECORDING: &str = include_str!("../../../../fixtures/kubernetes-recordings/api-server-1.36.3.json");

#[derive(Debug, Deserialize)]
struct Exchange {
    name: String,
    request: Asked,
    response: Answered,
    token_decoded: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    method: String,
    path: String,
    content_type: Option<String>,
    body: Value,
}

#[derive(Debug, Deserialize)]
struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// (exchange, place in the body, why it may differ). `*` in a place stands for any one step.
const ACCEPTED: &[(&str, &str, &str)] = &[
    ("version", "/gitCommit", "ours is not built from their commit"),
    ("version", "/goVersion", "not written in Go"),
    ("version", "/compiler", "not written in Go"),
    (
        "api groups",
        "/groups",
        "serves fewer groups, which the test compares one by one",
    ),
    (
        "watch with initial events and bookmark",
        "/2",
        "the recorded server had not caught up when the 3 s were over, so its bookmark is not in the recording",
    ),
];

/// Differs from run to run, wherever it stands.
const MASKED_FIELDS: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "expirationTimestamp",
    "continue",
    "serverAddress",
    "jwks_uri",
    "issuer",
    "iss",
    "kid",
    "n",
    "token",
    "ca.crt",
    "exp",
    "iat",
    "nbf",
    "jti",
    "platform",
];

async fn answers_as_the_recorded_server_did(cluster: Cluster) {
    let exchanges: Vec<Exchange> = serde_json::from_str(RECORDING).unwrap();
    assert_eq!(exchanges.len(), 34);
    prepare(&cluster, &exchanges).await;
    let mut unexpected = Vec::new();
    let mut used = BTreeSet::new();
    for exchange in &exchanges {
        if exchange.name == "delete namespace" {
            hold(&cluster).await;
        }
        let mut differences = replay(&cluster, exchange).await;
        differences.retain(|(place, _)| {
            let accepted = ACCEPTED
                .iter()
                .position(|(name, accepted, _)| *name == exchange.name && accepted == place);
            used.extend(accepted);
            accepted.is_none()
        });
        for (place, difference) in differences {
            unexpected.push(format!("{}: {place}: {difference}", exchange.name));
        }
        if exchange.name == "create namespace" {
            cluster
                .eventually("/api/v1/namespaces/rec-a/configmaps/kube-root-ca.crt", |answer| {
                    answer.status == 200
                })
                .await;
        }
    }
    let stale: Vec<_> = (0..ACCEPTED.len())
        .filter(|index| !used.contains(index))
        .map(|index| ACCEPTED[index])
        .collect();
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert!(stale.is_empty(), "no longer differs: {stale:?}");
}

/// What kubeadm leaves in kube-system: with `kube-root-ca.crt` eight maps, of which the first page shows one.
async fn prepare(cluster: &Cluster, exchanges: &[Exchange]) {
    let page = exchanges
        .iter()
        .find(|exchange| exchange.name == "list with limit and continue")
        .unwrap();
    let first = &page.response.body["items"][0];
    let names = [
        "coredns",
        "extension-apiserver-authentication",
        "kube-apiserver-legacy-service-account-token-tracking",
        "kube-proxy",
        "kubeadm-config",
        "kubelet-config",
        "zz-other",
    ];
    for name in names {
        let map = json!({ "metadata": { "name": name }, "data": first["data"] });
        let path = "/api/v1/namespaces/kube-system/configmaps?fieldManager=kubeadm";
        assert_eq!(cluster.post(path, &map).await.status, 201);
    }
}

/// A finalizer that nobody takes off, so that the namespace is still on its way out when the last
/// exchange asks: the real server takes seconds to empty one, ours a millisecond.
async fn hold(cluster: &Cluster) {
    let map = json!({ "metadata": { "name": "hold", "finalizers": ["mountproof.dev/hold"] } });
    let made = cluster.post("/api/v1/namespaces/rec-a/configmaps", &map).await;
    assert_eq!(made.status, 201, "{}", made.text);
}

/// Sends a recorded request; returns the places where the answer differs, and how.
async fn replay(cluster: &Cluster, exchange: &Exchange) -> Vec<(String, String)> {
    let body = match &exchange.request.body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => current_versions(cluster, exchange, other).await.to_string(),
    };
    let answer = cluster
        .send(
            &exchange.request.method,
            &exchange.request.path,
            exchange.request.content_type.as_deref(),
            body,
        )
        .await;
    let mut differences = Vec::new();
    if answer.status != exchange.response.status {
        differences.push((
            "status".to_owned(),
            format!(
                "{} for {}: {}",
                answer.status, exchange.response.status, answer.text
            ),
        ));
        return differences;
    }
    for (name, value) in &exchange.response.headers {
        let ours = answer.headers.get(name).map(|value| value.to_str().unwrap());
        if ours != Some(value) {
            differences.push((name.clone(), format!("{ours:?} for {value:?}")));
        }
    }
    assert!(answer.headers.contains_key("audit-id"));
    let ours = match &exchange.response.body {
        Value::String(_) => Value::String(answer.text.clone()),
        // A watch: one object a line.
        Value::Array(_) => answer
            .text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect(),
        _ => answer.json(),
    };
    if exchange.name == "api groups" {
        differences.extend(compare_groups(&exchange.response.body, &ours));
    }
    if let Some(decoded) = &exchange.token_decoded {
        let token = ours["status"]["token"].as_str().unwrap();
        let parts: Vec<Value> = token
            .split('.')
            .take(2)
            .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
            .collect();
        let ours = json!({ "header": parts[0], "claims": parts[1] });
        compare("/token", &masked(decoded), &masked(&ours), &mut differences);
    }
    let (theirs, ours) = (masked(&exchange.response.body), masked(&ours));
    compare("", &theirs, &ours, &mut differences);
    differences
}

/// Recorded bodies name uids and versions of their own cluster: ours takes their place.
async fn current_versions(cluster: &Cluster, exchange: &Exchange, body: &Value) -> Value {
    let mut body = body.clone();
    if exchange.name == "update with stale resourceVersion: 409" {
        let current = cluster.get(&exchange.request.path).await.json();
        body["metadata"]["uid"] = current["metadata"]["uid"].clone();
    }
    body
}

/// Every group that ours serves, theirs serves the same way.
fn compare_groups(theirs: &Value, ours: &Value) -> Vec<(String, String)> {
    let by_name = |groups: &Value| -> BTreeMap<String, Value> {
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| (group["name"].as_str().unwrap().to_owned(), group.clone()))
            .collect()
    };
    let theirs = by_name(theirs);
    by_name(ours)
        .into_iter()
        .filter(|(name, group)| theirs.get(name) != Some(group))
        .map(|(name, group)| (format!("/groups/{name}"), group.to_string()))
        .collect()
}

/// The value with what differs from run to run replaced by its type, and uids and versions taken out
/// of texts.
fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let varies = MASKED_FIELDS.contains(&name.as_str()) && !value.is_object() && !value.is_null();
                let value = if varies { kind_of(value) } else { masked(value) };
                (name.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::String(text) => Value::String(masked_text(text)),
        other => other.clone(),
    }
}

fn kind_of(value: &Value) -> Value {
    let kind = match value {
        Value::String(_) => "<text>",
        Value::Number(_) => "<number>",
        Value::Array(_) => "<list>",
        _ => "<other>",
    };
    kind.into()
}

/// Two texts vary inside: the oldest version that can be watched, and the uid a precondition met.
fn masked_text(text: &str) -> String {
    if let Some((before, _)) = text.split_once("too old resource version: 1 (") {
        return format!("{before}too old resource version: 1 (<version>)");
    }
    match (text.find("UID in record ("), text.find("). The object")) {
        (Some(from), Some(to)) => {
            format!("{}UID in record (<uid>{}", &text[..from], &text[to..])
        }
        _ => text.to_owned(),
    }
}

fn compare(place: &str, theirs: &Value, ours: &Value, differences: &mut Vec<(String, String)>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let place = format!("{place}/{name}");
                match (a.get(name), b.get(name)) {
                    (Some(a), Some(b)) => compare(&place, a, b, differences),
                    (a, b) => differences.push((place, format!("{b:?} for {a:?}"))),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if place != "/groups" => {
            for index in 0..a.len().max(b.len()) {
                let place = format!("{place}/{index}");
                match (a.get(index), b.get(index)) {
                    (Some(a), Some(b)) => compare(&place, a, b, differences),
                    (a, b) => differences.push((place, format!("{b:?} for {a:?}"))),
                }
            }
        }
        _ if theirs != ours => differences.push((place.to_owned(), format!("{ours} for {theirs}"))),
        _ => {}
    }
}
