//! What is asked of objects and their subresources.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    App,
    answer::Answer,
    asked::{Asked, parse_json, parse_yaml},
};
use crate::kubernetes::{
    deletion::Deleted,
    failure::{Failure, Violation},
    object::{child_mut, fields_mut},
    patch::Format,
    render, request,
    resource::{PODS, Resource, SERVICE_ACCOUNTS},
    stored::Stored,
};

impl App {
    pub(super) fn on_object(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        match *method {
            Method::GET => Ok(asked.answer(StatusCode::OK, &*self.cluster.get(resource, &key)?)),
            Method::PUT => {
                let object = asked.object()?;
                let stored = self.cluster.update(resource, &key, "", object, asked.writer())?;
                Ok(asked.answer(StatusCode::OK, &stored))
            }
            Method::PATCH => self.patch(asked),
            Method::DELETE => {
                let options = request::delete_options(&asked.query, &asked.delete_body()?)?;
                Ok(match self.cluster.delete(resource, &key, &options)? {
                    Deleted::Gone(stored) if !matches!(resource.table, PODS | SERVICE_ACCOUNTS) => {
                        Answer::json(StatusCode::OK, &success(resource, &stored))
                    }
                    Deleted::Gone(stored) | Deleted::Waiting(stored) => asked.answer(StatusCode::OK, &stored),
                })
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn patch(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key, subresource) = (&asked.resource, asked.key(), asked.place.subresource);
        let custom = resource.custom;
        let media_type = request::media_type(asked.content_type.as_deref());
        let format = Format::of_media_type(media_type)
            .filter(|format| !(custom && *format == Format::Strategic))
            .ok_or_else(|| {
                let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
                if !custom {
                    accepted.push("application/strategic-merge-patch+json");
                }
                accepted.push("application/apply-patch+yaml");
                Failure::unsupported_media_type(&accepted)
            })?;
        if format == Format::Apply {
            let manager = asked.query.text("fieldManager");
            if manager.is_empty() {
                let violation = Violation::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid("meta.k8s.io", "PatchOptions", "", &[violation]));
            }
            let config = asked.checked(parse_yaml(&asked.body)?)?;
            let force = asked.query.flag("force");
            let (stored, created) =
                self.cluster
                    .apply(resource, &key, subresource, config, force, asked.writer())?;
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            return Ok(asked.answer(status, &stored));
        }
        let mut patch = parse_json(&asked.body)?;
        if format != Format::Json {
            patch = render::stored_form_of_patch(resource, patch);
        }
        let stored = self
            .cluster
            .patch(resource, &key, subresource, format, &patch, asked.writer())?;
        Ok(asked.answer(StatusCode::OK, &stored))
    }

    pub(super) fn on_subresource(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        match (asked.place.subresource, method.as_str()) {
            ("status", "GET") => Ok(asked.answer(StatusCode::OK, &*self.cluster.get(resource, &key)?)),
            ("status" | "finalize", "PUT") => {
                let object = asked.object()?;
                let stored =
                    self.cluster
                        .update(resource, &key, asked.place.subresource, object, asked.writer())?;
                Ok(asked.answer(StatusCode::OK, &stored))
            }
            ("status", "PATCH") => self.patch(asked),
            ("log", "GET") => self.log(asked),
            ("token", "POST") => {
                let request = asked.parsed()?;
                let (kind, version) = (&request["kind"], &request["apiVersion"]);
                if let Some(kind) = kind.as_str().filter(|&kind| kind != "TokenRequest") {
                    let version = version.as_str().unwrap_or_default();
                    return Err(Failure::bad_request(format!(
                        "{kind} in version {version:?} cannot be handled as a TokenRequest: converting ({kind}) to \
                         (v1.TokenRequest): unknown conversion"
                    )));
                }
                let token = self.cluster.issue_token(&key, &request, asked.writer().manager)?;
                Ok(Answer::json(StatusCode::CREATED, &token))
            }
            ("binding", "POST") => {
                self.cluster.bind(&key, &asked.parsed()?)?;
                Ok(Answer::created())
            }
            ("eviction", "POST") => {
                let eviction = asked.parsed()?;
                let options = request::delete_options(&asked.query, &eviction["deleteOptions"])?;
                self.cluster.delete(resource, &key, &options)?;
                Ok(Answer::created())
            }
            ("scale", _) => self.scale(method, asked),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// The `Scale` of a Deployment or `ReplicaSet`.
    fn scale(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        let wanted = match *method {
            Method::GET => None,
            Method::PUT | Method::PATCH => Some(parse_json(&asked.body)?["spec"]["replicas"].clone()),
            _ => return Err(Failure::method_not_allowed()),
        };
        let stored = match wanted {
            None => self.cluster.get(resource, &key)?,
            Some(replicas) => {
                let patch = json!({ "spec": { "replicas": replicas } });
                self.cluster
                    .patch(resource, &key, "scale", Format::Merge, &patch, asked.writer())?
            }
        };
        let object = stored.value();
        let metadata = &object["metadata"];
        let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
            .collect();
        Ok(Answer::json(
            StatusCode::OK,
            &json!({
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                    "creationTimestamp": metadata["creationTimestamp"],
                },
                "spec": { "replicas": object["spec"]["replicas"] },
                "status": {
                    "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
                    "selector": selector.join(","),
                },
            }),
        ))
    }
}

/// The answer to a deletion that is done.
fn success(resource: &Resource, stored: &Stored) -> Value {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": { "name": stored.key.name, "kind": resource.plural, "uid": stored.uid },
    });
    if !resource.group.is_empty() {
        child_mut(fields_mut(&mut status), "details")
            .insert("group".to_owned(), resource.group.clone().into());
    }
    status
}
