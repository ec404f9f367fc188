//! PURE. Bodies of requests in Kubernetes's protobuf, as far as the clients here send any: controller-runtime's client,
//! and so the driver, creates and updates Secrets in it; client-go's own since 0.33, and so provider 2.1 and 2.2, asks for
//! tokens in it. Answers are JSON, which those clients take.
//!
//! A body is four bytes of magic, then a `runtime.Unknown` that holds the object
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>). Numbers of fields are those of the
//! API's `generated.proto` files.
//!
//! What it leaves out: every kind but Secret and `TokenRequest`, and of metadata what the server sets or does not take from a client:
//! times, generation, managed fields.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use prost::Message;
use serde_json::{Map, Value, json};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The object in `body`, as JSON would have it. The error is for the client, and holds nothing of the body.
pub(super) fn object(body: &[u8]) -> Result<Value, String> {
    let Some(rest) = body.strip_prefix(MAGIC) else {
        return Err(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .to_owned(),
        );
    };
    let unknown = Unknown::decode(rest).map_err(|error| error.to_string())?;
    let types = unknown.type_meta.unwrap_or_default();
    let mut object = json!({"apiVersion": types.api_version, "kind": types.kind});
    let raw = unknown.raw.as_slice();
    let decoded = match types.kind.as_str() {
        "Secret" => Secret::decode(raw).map(|secret| secret.into_fields(&mut object)),
        "TokenRequest" => TokenRequest::decode(raw).map(|request| request.into_fields(&mut object)),
        // Of another kind the fields mean something else: who checks the kind says so.
        _ => Ok(()),
    };
    decoded.map_err(|error| error.to_string())?;
    Ok(object)
}

#[derive(Clone, PartialEq, Message)]
struct Unknown {
    #[prost(message, optional, tag = "1")]
    type_meta: Option<TypeMeta>,
    #[prost(bytes = "vec", tag = "2")]
    raw: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeMeta {
    #[prost(string, tag = "1")]
    api_version: String,
    #[prost(string, tag = "2")]
    kind: String,
}

/// Without `Debug` of its values: it is never shown.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Secret {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ObjectMeta>,
    #[prost(map = "string, bytes", tag = "2")]
    data: HashMap<String, Vec<u8>>,
    #[prost(string, tag = "3")]
    kind: String,
    #[prost(map = "string, string", tag = "4")]
    string_data: HashMap<String, String>,
    #[prost(bool, optional, tag = "5")]
    immutable: Option<bool>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Message)]
struct ObjectMeta {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    generate_name: String,
    #[prost(string, tag = "3")]
    namespace: String,
    #[prost(string, tag = "5")]
    uid: String,
    #[prost(string, tag = "6")]
    resource_version: String,
    #[prost(map = "string, string", tag = "11")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "12")]
    annotations: HashMap<String, String>,
    #[prost(message, repeated, tag = "13")]
    owner_references: Vec<OwnerReference>,
    #[prost(string, repeated, tag = "14")]
    finalizers: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct OwnerReference {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    uid: String,
    #[prost(string, tag = "5")]
    api_version: String,
    #[prost(bool, optional, tag = "6")]
    controller: Option<bool>,
    #[prost(bool, optional, tag = "7")]
    block_owner_deletion: Option<bool>,
}

/// Its metadata and its status are not read: no client sends any.
#[derive(Clone, PartialEq, Message)]
struct TokenRequest {
    #[prost(message, optional, tag = "2")]
    spec: Option<TokenRequestSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct TokenRequestSpec {
    #[prost(string, repeated, tag = "1")]
    audiences: Vec<String>,
    #[prost(message, optional, tag = "3")]
    bound_object: Option<BoundObject>,
    #[prost(int64, optional, tag = "4")]
    expiration_seconds: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct BoundObject {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, tag = "2")]
    api_version: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    uid: String,
}

impl TokenRequest {
    fn into_fields(self, object: &mut Value) {
        let asked = self.spec.unwrap_or_default();
        let spec = &mut object["spec"];
        *spec = json!({});
        set(spec, "audiences", asked.audiences);
        if let Some(seconds) = asked.expiration_seconds {
            spec["expirationSeconds"] = seconds.into();
        }
        if let Some(bound) = asked.bound_object {
            spec["boundObjectRef"] = json!({
                "kind": bound.kind, "apiVersion": bound.api_version, "name": bound.name, "uid": bound.uid,
            });
        }
    }
}

impl Secret {
    fn into_fields(self, object: &mut Value) {
        object["metadata"] = self.metadata.unwrap_or_default().into_value();
        let encoded = |(key, value): (String, Vec<u8>)| (key, Value::from(STANDARD.encode(value)));
        set(
            object,
            "data",
            self.data.into_iter().map(encoded).collect::<Map<_, _>>(),
        );
        set(object, "stringData", texts(self.string_data));
        set(object, "type", self.kind);
        if let Some(immutable) = self.immutable {
            object["immutable"] = immutable.into();
        }
    }
}

impl ObjectMeta {
    fn into_value(self) -> Value {
        let mut object = json!({});
        set(&mut object, "name", self.name);
        set(&mut object, "generateName", self.generate_name);
        set(&mut object, "namespace", self.namespace);
        set(&mut object, "uid", self.uid);
        set(&mut object, "resourceVersion", self.resource_version);
        set(&mut object, "labels", texts(self.labels));
        set(&mut object, "annotations", texts(self.annotations));
        let owners = self.owner_references.into_iter().map(OwnerReference::into_value);
        set(&mut object, "ownerReferences", owners.collect::<Vec<_>>());
        set(&mut object, "finalizers", self.finalizers);
        object
    }
}

impl OwnerReference {
    fn into_value(self) -> Value {
        let mut object = json!({
            "apiVersion": self.api_version, "kind": self.kind, "name": self.name, "uid": self.uid,
        });
        for (name, value) in [
            ("controller", self.controller),
            ("blockOwnerDeletion", self.block_owner_deletion),
        ] {
            if let Some(value) = value {
                object[name] = value.into();
            }
        }
        object
    }
}

fn texts(map: HashMap<String, String>) -> Map<String, Value> {
    map.into_iter().map(|(key, value)| (key, value.into())).collect()
}

/// Sets a field, unless it is empty: protobuf does not tell what is empty from what is not there.
fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if !empty {
        object[name] = value;
    }
}
