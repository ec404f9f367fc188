//! Requests that were read as far as their resource.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use super::answer::Answer;
use crate::kubernetes::{
    cluster::Writer,
    failure::Failure,
    protobuf, render,
    request::{self, Place, Query, Shape},
    resource::{Resource, SECRETS},
    selector::Selector,
    store::Scope,
    stored::{Key, Stored},
};

const OBJECT_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// A request that was read as far as its resource.
pub(super) struct Asked<'a> {
    pub(super) resource: Arc<Resource>,
    pub(super) place: Place<'a>,
    pub(super) query: Query,
    pub(super) shape: Shape,
    pub(super) content_type: Option<String>,
    pub(super) body: Bytes,
    /// Field manager by user agent.
    pub(super) agent: String,
}

impl Asked<'_> {
    pub(super) fn key(&self) -> Key {
        Key::new(self.place.namespace.as_ref(), self.place.name.as_ref())
    }

    pub(super) fn writer(&self) -> Writer<'_> {
        let manager = self.query.text("fieldManager");
        Writer {
            manager: if manager.is_empty() { &self.agent } else { manager },
            dry_run: self.query.text("dryRun") == "All",
        }
    }

    pub(super) fn selector(&self) -> Result<Selector, Failure> {
        Selector::parse(
            &self.resource,
            self.query.text("labelSelector"),
            self.query.text("fieldSelector"),
        )
        .map_err(Failure::bad_request)
    }

    /// The smallest scope that holds everything the selector can match.
    pub(super) fn scope(&self, selector: &Selector) -> Scope {
        let namespace = match self.place.namespace.as_ref() {
            "" => selector.pinned("metadata.namespace").unwrap_or_default(),
            namespace => namespace,
        };
        match selector.pinned("metadata.name") {
            Some(name) if !namespace.is_empty() || !self.resource.namespaced => {
                Scope::Object(Key::new(namespace, name))
            }
            _ if namespace.is_empty() => Scope::All,
            _ => Scope::Namespace(namespace.to_owned()),
        }
    }

    /// The body, in one of the media types of objects.
    pub(super) fn parsed(&self) -> Result<Value, Failure> {
        match request::media_type(self.content_type.as_deref()) {
            "" | "application/json" => parse_json(&self.body),
            "application/yaml" => parse_yaml(&self.body),
            "application/vnd.kubernetes.protobuf"
                if self.resource.table == SECRETS || self.place.subresource == "token" =>
            {
                let object = if self.body.is_empty() {
                    Err("empty data (<empty>)".to_owned())
                } else {
                    protobuf::object(&self.body)
                };
                object.map_err(|why| Failure::bad_request(self.unrecognized(&why)))
            }
            _ => Err(Failure::unsupported_media_type(OBJECT_TYPES)),
        }
    }

    /// What is said of a body that is no object, without the beginning of it that the real server adds.
    fn unrecognized(&self, why: &str) -> String {
        let kind = match self.place.subresource {
            "token" => "TokenRequest",
            _ => &self.resource.kind,
        };
        format!("the object provided is unrecognized (must be of type {kind}): {why}")
    }

    /// The body as an object of the resource, in the form it is stored.
    pub(super) fn object(&self) -> Result<Value, Failure> {
        self.checked(self.parsed()?)
    }

    pub(super) fn checked(&self, object: Value) -> Result<Value, Failure> {
        let (kind, api_version) = (
            object["kind"].as_str().unwrap_or_default(),
            object["apiVersion"].as_str().unwrap_or_default(),
        );
        if !object.is_object() {
            return Err(Failure::bad_request(
                self.unrecognized("couldn't get version/kind"),
            ));
        }
        // What a built-in object is follows from its place; a custom one has to say it.
        if self.resource.custom && kind.is_empty() {
            return Err(Failure::bad_request(format!(
                "Object 'Kind' is missing in '{}'",
                String::from_utf8_lossy(&self.body)
            )));
        }
        if !kind.is_empty() && kind != self.resource.kind {
            let version = if api_version.is_empty() {
                &self.resource.version
            } else {
                api_version
            };
            return Err(Failure::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {0}: converting ({kind}) to ({0}): unknown conversion",
                self.resource.kind
            )));
        }
        let expected = self.resource.api_version();
        if (self.resource.custom || !api_version.is_empty()) && api_version != expected {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        Ok(render::stored_form(&self.resource, object))
    }

    pub(super) fn delete_body(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            Ok(Value::Null)
        } else {
            self.parsed()
        }
    }

    pub(super) fn answer(&self, status: StatusCode, stored: &Stored) -> Answer {
        Answer::bytes(status, render::object(&self.resource, self.shape, stored))
    }
}

pub(super) fn parse_json(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
    })
}

pub(super) fn parse_yaml(body: &Bytes) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))
}
