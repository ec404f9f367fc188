//! Refusals, as the `Status` objects that a kube-apiserver answers with.

use serde_json::{Value, json};

use super::{request::Place, resource::Resource};

/// Who sends no token.
const ANONYMOUS: &str = "system:anonymous";

/// A request that was refused: becomes a `Status` with the code, reason, message and details that a
/// real API server gives.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) code: u16,
    reason: &'static str,
    pub(super) message: String,
    details: Option<Value>,
}

/// One violated rule of an object, for [`Failure::invalid`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Violation {
    reason: &'static str,
    field: String,
    message: String,
}

impl Violation {
    /// A value that breaks a rule; `value` is shown as JSON.
    pub(super) fn invalid(field: impl Into<String>, value: &Value, rule: &str) -> Self {
        Self {
            reason: "FieldValueInvalid",
            field: field.into(),
            message: format!("Invalid value: {value}: {rule}"),
        }
    }

    /// A field that must be there.
    pub(super) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self {
            reason: "FieldValueRequired",
            field: field.into(),
            message,
        }
    }

    /// A change, or a value, that is never allowed.
    pub(super) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            field: field.into(),
            message: format!("Forbidden: {why}"),
        }
    }

    /// A reference that leads nowhere.
    pub(super) fn not_found(field: impl Into<String>, value: &str) -> Self {
        Self {
            reason: "FieldValueNotFound",
            field: field.into(),
            message: format!("Not found: {value:?}"),
        }
    }

    /// A value that occurs twice.
    pub(super) fn duplicate(field: impl Into<String>, value: &str) -> Self {
        Self {
            reason: "FieldValueDuplicate",
            field: field.into(),
            message: format!("Duplicate value: {value:?}"),
        }
    }
}

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Value>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }

    /// What is asked for without a token: nobody gives `system:anonymous` a right to an object.
    pub(super) fn anonymous(verb: &str, place: &Place<'_>) -> Self {
        let Place { group, plural, .. } = *place;
        let kind = if group.is_empty() {
            plural.to_owned()
        } else {
            format!("{plural}.{group}")
        };
        let mut details = json!({ "kind": plural });
        let mut named = kind;
        if !place.name.is_empty() {
            details["name"] = place.name.as_ref().into();
            named = format!("{named} {:?}", place.name);
        }
        if !group.is_empty() {
            details["group"] = group.into();
        }
        let mut resource = plural.to_owned();
        if !place.subresource.is_empty() {
            resource = format!("{resource}/{}", place.subresource);
        }
        // A namespace is in itself.
        let namespace = if plural == "namespaces" {
            &place.name
        } else {
            &place.namespace
        };
        let at = if namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {namespace:?}")
        };
        let message = format!(
            "{named} is forbidden: User {ANONYMOUS:?} cannot {verb} resource {resource:?} in API group {group:?} {at}"
        );
        Self::new(403, "Forbidden", message, Some(details))
    }

    /// The same of what is no object.
    pub(super) fn anonymous_at(verb: &str, path: &str) -> Self {
        let message = format!("forbidden: User {ANONYMOUS:?} cannot {verb} path {path:?}");
        Self::new(403, "Forbidden", message, Some(json!({})))
    }

    pub(super) fn forbidden(
        resource: &Resource,
        name: &str,
        why: impl std::fmt::Display,
        causes: Option<Value>,
    ) -> Self {
        let mut details = details(resource, name, &resource.plural);
        if let Some(causes) = causes {
            details["causes"] = causes;
        }
        let message = format!("{} {name:?} is forbidden: {why}", resource.qualified_plural());
        Self::new(403, "Forbidden", message, Some(details))
    }

    /// Creation where everything is being removed.
    pub(super) fn namespace_terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Self::forbidden(resource, name, why, Some(cause))
    }

    pub(super) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} {name:?} not found", resource.qualified_plural()),
            Some(details(resource, name, &resource.plural)),
        )
    }

    /// A namespace that an object of another kind asks for.
    pub(super) fn namespace_not_found(name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("namespaces {name:?} not found"),
            Some(json!({ "name": name, "kind": "namespaces" })),
        )
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
            Some(json!({})),
        )
    }

    pub(super) fn not_acceptable() -> Self {
        Self::new(
            406,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml",
            None,
        )
    }

    pub(super) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", resource.qualified_plural()),
            Some(details(resource, name, &resource.plural)),
        )
    }

    /// An update of something other than the latest version.
    pub(super) fn stale(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: the object has been modified; please apply your changes to the latest version and try again",
                resource.qualified_plural()
            ),
            Some(details(resource, name, &resource.plural)),
        )
    }

    /// A delete or update that names another object than the one stored.
    pub(super) fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                resource.qualified_kind()
            ),
            Some(details(resource, name, &resource.kind)),
        )
    }

    /// A conflict of another shape, such as [`stale`](Self::stale) for namespaces that still hold objects.
    pub(super) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} {name:?}: {why}",
                resource.qualified_plural()
            ),
            Some(details(resource, name, &resource.plural)),
        )
    }

    /// Server-side apply of fields that others own: `(manager as shown, field path)`.
    pub(super) fn apply_conflicts(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {manager}"),
                    "field": field,
                })
            })
            .collect();
        Self::new(
            409,
            "Conflict",
            apply_conflict_message(conflicts),
            Some(json!({ "causes": causes })),
        )
    }

    /// A watch or list from a version whose history is gone.
    pub(super) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message, None)
    }

    pub(super) fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
            None,
        )
    }

    /// An object that breaks rules of its kind.
    pub(super) fn invalid(group: &str, kind: &str, name: &str, violations: &[Violation]) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let listed: Vec<String> = violations
            .iter()
            .map(|violation| format!("{}: {}", violation.field, violation.message))
            .collect();
        let listed = match listed.as_slice() {
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes: Vec<Value> = violations
            .iter()
            .map(|violation| {
                json!({
                    "reason": violation.reason,
                    "message": violation.message,
                    "field": violation.field,
                })
            })
            .collect();
        let mut details = json!({ "kind": kind, "causes": causes });
        if !group.is_empty() {
            details["group"] = group.into();
        }
        if !name.is_empty() {
            details["name"] = name.into();
        }
        Self::new(
            422,
            "Invalid",
            format!("{qualified} {name:?} is invalid: {listed}"),
            Some(details),
        )
    }

    /// A patch that cannot be carried out on the object as it is.
    pub(super) fn unprocessable() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
            Some(json!({})),
        )
    }

    /// An eviction or similar that has to wait, or a fault of the stand-in's own.
    pub(super) fn internal(message: impl std::fmt::Display) -> Self {
        Self::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
            Some(json!({ "causes": [{ "message": message.to_string() }] })),
        )
    }

    /// A version that this server has not reached.
    pub(super) fn too_large_version(asked: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
            Some(json!({
                "causes": [{ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" }],
                "retryAfterSeconds": 1,
            })),
        )
    }

    /// The `Status` object.
    pub(super) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status
    }
}

fn details(resource: &Resource, name: &str, kind: &str) -> Value {
    let mut details = json!({ "name": name, "kind": kind });
    if !resource.group.is_empty() {
        details["group"] = resource.group.clone().into();
    }
    details
}

/// One conflict reads on one line, several as a list for each manager, as in the real server.
fn apply_conflict_message(conflicts: &[(String, String)]) -> String {
    if let [(manager, field)] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {field}");
    }
    let mut lines = Vec::new();
    let mut last = None;
    for (manager, field) in conflicts {
        if last != Some(manager) {
            lines.push(format!("conflicts with {manager}:"));
            last = Some(manager);
        }
        lines.push(format!("- {field}"));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}
