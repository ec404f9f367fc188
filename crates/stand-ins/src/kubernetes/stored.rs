//! One version of one object, as the store keeps it.

use bytes::Bytes;
use serde_json::Value;

use super::{
    object,
    resource::{EVENTS, NAMESPACES, NODES, PODS, REPLICA_SETS, SECRETS, Table},
    selector::Selectable,
};

/// Namespace (empty for cluster-wide objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    pub(super) fn of(object: &Value) -> Self {
        Self::new(object::meta(object, "namespace"), object::meta(object, "name"))
    }
}

/// One version of an object: its JSON, and beside it only what lists, watches and controllers ask of
/// every object. A tree of JSON values would take some ten times the memory.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: Key,
    pub(super) uid: String,
    pub(super) revision: u64,
    labels: Box<[(String, String)]>,
    /// Selectable fields other than `metadata.*` that are set.
    fields: Box<[(&'static str, String)]>,
    pub(super) owners: Box<[Owner]>,
    pub(super) has_finalizers: bool,
    pub(super) terminating: bool,
    /// Of pods: whether the condition `Ready` holds.
    pub(super) ready: bool,
    /// The object without `kind` and `apiVersion`, which depend on who asks.
    json: Bytes,
}

/// An entry of `metadata.ownerReferences`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Owner {
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) controller: bool,
    pub(super) blocks: bool,
}

impl Stored {
    /// Stores `object` as `revision` of itself.
    pub(super) fn new(table: Table, revision: u64, mut object: Value) -> Self {
        let fields = object::fields_mut(&mut object);
        fields.remove("kind");
        fields.remove("apiVersion");
        object::metadata_mut(&mut object).insert("resourceVersion".to_owned(), revision.to_string().into());
        let metadata = &object["metadata"];
        Self {
            key: Key::of(&object),
            uid: object::meta(&object, "uid").to_owned(),
            revision,
            labels: metadata["labels"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect(),
            fields: selectable(table, &object),
            owners: metadata["ownerReferences"]
                .as_array()
                .into_iter()
                .flatten()
                .map(owner)
                .collect(),
            has_finalizers: metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty()),
            terminating: object::terminating(&object),
            ready: table == PODS && condition(&object, "Ready") == Some("True"),
            json: Bytes::from(serde_json::to_vec(&object).expect("a JSON value serializes")),
        }
    }

    /// The object, without `kind` and `apiVersion`.
    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the store wrote it")
    }

    /// The JSON of the object, without `kind` and `apiVersion`.
    pub(super) fn json(&self) -> &Bytes {
        &self.json
    }

    pub(super) fn controller(&self) -> Option<&Owner> {
        self.owners.iter().find(|owner| owner.controller)
    }
}

impl Selectable for Stored {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    fn field(&self, name: &str) -> &str {
        match name {
            "metadata.name" => &self.key.name,
            "metadata.namespace" => &self.key.namespace,
            _ => self
                .fields
                .iter()
                .find(|(known, _)| *known == name)
                .map_or("", |(_, value)| value),
        }
    }
}

/// The status of a condition.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a str> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|condition| condition["type"] == kind)?["status"]
        .as_str()
}

fn owner(reference: &Value) -> Owner {
    let text = |field: &str| reference[field].as_str().unwrap_or_default().to_owned();
    Owner {
        uid: text("uid"),
        name: text("name"),
        kind: text("kind"),
        api_version: text("apiVersion"),
        controller: reference["controller"] == true,
        blocks: reference["blockOwnerDeletion"] == true,
    }
}

fn selectable(table: Table, object: &Value) -> Box<[(&'static str, String)]> {
    let mut found = Vec::new();
    let mut add = |name: &'static str, value: &Value| match value {
        Value::String(text) if !text.is_empty() => found.push((name, text.clone())),
        Value::Bool(flag) => found.push((name, flag.to_string())),
        Value::Number(number) => found.push((name, number.to_string())),
        _ => {}
    };
    let (spec, status) = (&object["spec"], &object["status"]);
    match table {
        PODS => {
            add("spec.nodeName", &spec["nodeName"]);
            add("spec.restartPolicy", &spec["restartPolicy"]);
            add("spec.schedulerName", &spec["schedulerName"]);
            add("spec.serviceAccountName", &spec["serviceAccountName"]);
            add("spec.hostNetwork", &Value::Bool(spec["hostNetwork"] == true));
            add("status.phase", &status["phase"]);
            add("status.podIP", &status["podIP"]);
            add("status.nominatedNodeName", &status["nominatedNodeName"]);
        }
        EVENTS => {
            let involved = &object["involvedObject"];
            add("involvedObject.kind", &involved["kind"]);
            add("involvedObject.namespace", &involved["namespace"]);
            add("involvedObject.name", &involved["name"]);
            add("involvedObject.uid", &involved["uid"]);
            add("involvedObject.apiVersion", &involved["apiVersion"]);
            add("involvedObject.resourceVersion", &involved["resourceVersion"]);
            add("involvedObject.fieldPath", &involved["fieldPath"]);
            add("reason", &object["reason"]);
            add("reportingComponent", &object["reportingComponent"]);
            add(
                "source",
                if object["source"]["component"].is_string() {
                    &object["source"]["component"]
                } else {
                    &object["reportingComponent"]
                },
            );
            add("type", &object["type"]);
        }
        SECRETS => add("type", &object["type"]),
        NODES => add("spec.unschedulable", &Value::Bool(spec["unschedulable"] == true)),
        NAMESPACES => add("status.phase", &status["phase"]),
        REPLICA_SETS => add("status.replicas", &status["replicas"]),
        _ => {}
    }
    found.into_boxed_slice()
}
