//! Objects and lists as the bytes of an answer.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde_json::{Map, Value, json};

use super::{
    object::fields_mut,
    request::Shape,
    resource::{Form, Resource},
    stored::Stored,
};

/// One object, with its kind.
pub(super) fn object(resource: &Resource, shape: Shape, stored: &Stored) -> Bytes {
    let mut into = BytesMut::with_capacity(stored.json().len() + 64);
    write_object(&mut into, resource, shape, stored, true);
    into.freeze()
}

/// A list of objects.
pub(super) fn list(
    resource: &Resource,
    shape: Shape,
    objects: &[Arc<Stored>],
    revision: u64,
    more: Option<(String, Option<u64>)>,
) -> Bytes {
    let size: usize = objects.iter().map(|object| object.json().len() + 1).sum();
    let mut into = BytesMut::with_capacity(size + 256);
    let (kind, api_version) = match shape {
        Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
        _ => (resource.list_kind.as_str(), resource.api_version()),
    };
    let mut metadata = json!({ "resourceVersion": revision.to_string() });
    if let Some((token, remaining)) = more {
        metadata["continue"] = token.into();
        if let Some(remaining) = remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    into.put_slice(
        format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#)
            .as_bytes(),
    );
    for (index, stored) in objects.iter().enumerate() {
        if index > 0 {
            into.put_u8(b',');
        }
        // The items of built-in lists do not repeat their kind.
        write_object(
            &mut into,
            resource,
            shape,
            stored,
            resource.custom || shape == Shape::Metadata,
        );
    }
    into.put_slice(b"]}");
    into.freeze()
}

/// One line of a watch.
pub(super) fn event(into: &mut BytesMut, kind: &str, resource: &Resource, shape: Shape, stored: &Stored) {
    into.put_slice(format!(r#"{{"type":"{kind}","object":"#).as_bytes());
    write_object(into, resource, shape, stored, true);
    into.put_slice(b"}\n");
}

/// A bookmark of a watch: everything up to `revision` was sent.
pub(super) fn bookmark(
    into: &mut BytesMut,
    resource: &Resource,
    shape: Shape,
    revision: u64,
    initial_end: bool,
) {
    let (kind, api_version) = match shape {
        Shape::Metadata => ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned()),
        _ => (resource.kind.as_str(), resource.api_version()),
    };
    let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
    if initial_end {
        metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    let mut object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
    // Typed clients cannot read these kinds without their required fields.
    if !resource.custom && shape == Shape::Whole {
        for (field, empty) in required(&resource.kind) {
            object[*field] = serde_json::from_str(empty).expect("constants are JSON");
        }
    }
    into.put_slice(
        json!({ "type": "BOOKMARK", "object": object })
            .to_string()
            .as_bytes(),
    );
    into.put_u8(b'\n');
}

/// The error that ends a watch.
pub(super) fn watch_error(into: &mut BytesMut, status: &Value) {
    into.put_slice(
        json!({ "type": "ERROR", "object": status })
            .to_string()
            .as_bytes(),
    );
    into.put_u8(b'\n');
}

fn write_object(into: &mut BytesMut, resource: &Resource, shape: Shape, stored: &Stored, with_kind: bool) {
    if shape == Shape::Metadata {
        let partial = json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": stored.value()["metadata"],
        });
        into.put_slice(partial.to_string().as_bytes());
        return;
    }
    if with_kind {
        into.put_slice(
            format!(
                r#"{{"kind":"{}","apiVersion":"{}","#,
                resource.kind,
                resource.api_version()
            )
            .as_bytes(),
        );
    } else {
        into.put_u8(b'{');
    }
    match resource.form {
        // Every object has metadata, so there is always something after the brace.
        Form::Stored => into.put_slice(&stored.json()[1..]),
        Form::RegardingEvents => {
            let mut event = stored.value();
            rename(fields_mut(&mut event), EVENT_FIELDS, false);
            into.put_slice(&event.to_string().as_bytes()[1..]);
        }
    }
}

/// Core name and `events.k8s.io` name of the fields of events that differ.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// An object as clients of `resource` write it, in the form it is stored.
pub(super) fn stored_form(resource: &Resource, mut object: Value) -> Value {
    if resource.form == Form::RegardingEvents
        && let Some(fields) = object.as_object_mut()
    {
        rename(fields, EVENT_FIELDS, true);
        fields
            .entry("involvedObject")
            .or_insert_with(|| Value::Object(Map::new()));
    }
    object
}

/// A merge patch as clients of `resource` write it, in the form its objects are stored.
pub(super) fn stored_form_of_patch(resource: &Resource, mut patch: Value) -> Value {
    if resource.form == Form::RegardingEvents
        && let Some(fields) = patch.as_object_mut()
    {
        rename(fields, EVENT_FIELDS, true);
    }
    patch
}

fn rename(fields: &mut Map<String, Value>, names: &[(&str, &str)], back: bool) {
    for (core, other) in names {
        let (from, to) = if back { (other, core) } else { (core, other) };
        if let Some(value) = fields.remove(*from) {
            fields.insert((*to).to_owned(), value);
        }
    }
}

/// Fields that k8s-openapi requires of a kind, with an empty value.
fn required(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "Event" => &[("involvedObject", "{}")],
        "RoleBinding" | "ClusterRoleBinding" => &[("roleRef", r#"{"apiGroup":"","kind":"","name":""}"#)],
        "CSIDriver" => &[("spec", "{}")],
        "CSINode" => &[("spec", r#"{"drivers":null}"#)],
        "CustomResourceDefinition" => &[(
            "spec",
            r#"{"group":"","names":{"kind":"","plural":""},"scope":"","versions":null}"#,
        )],
        _ => &[],
    }
}
