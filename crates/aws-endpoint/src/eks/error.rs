//! Errors of the EKS API, with AWS's codes, statuses and texts.

use serde_json::{Map, Value, json};

/// What EKS refuses a call with. `Display` is the message that AWS sends.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct EksError {
    /// Such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// HTTP status of the code.
    pub status: u16,
    /// For the caller to read.
    pub message: String,
    /// What else the answer's body says: `clusterName`, `nodegroupName`, `addonName`.
    pub details: Map<String, Value>,
}

impl EksError {
    /// The answer's body.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = self.details.clone();
        body.insert("message".to_owned(), json!(self.message));
        Value::Object(body)
    }

    pub(super) fn with(mut self, key: &str, value: &str) -> Self {
        self.details.insert(key.to_owned(), json!(value));
        self
    }

    pub(super) fn no_cluster(name: &str) -> Self {
        Self::missing(format!("No cluster found for name: {name}."))
    }

    pub(super) fn no_nodegroup(cluster: &str, name: &str) -> Self {
        let error = Self::missing(format!("No node group found for name: {name}."));
        error.with("clusterName", cluster).with("nodegroupName", name)
    }

    pub(super) fn no_addon(cluster: &str, name: &str) -> Self {
        let error = Self::missing(format!("No addon: {name} found in cluster: {cluster}"));
        error.with("clusterName", cluster).with("addonName", name)
    }

    pub(super) fn no_access_entry() -> Self {
        Self::missing(
            "The specified principalArn could not be found. You can view your available access entries with \
             'list-access-entries'.",
        )
    }

    pub(super) fn no_association(id: &str) -> Self {
        Self::missing(format!("No association found with associationId: {id}"))
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", 404, message)
    }

    pub(super) fn in_use(message: impl Into<String>) -> Self {
        Self::new("ResourceInUseException", 409, message)
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", 400, message)
    }

    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", 400, message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new("ResourceLimitExceededException", 400, message)
    }

    /// Of the operations on tags, which have codes of their own.
    pub(super) fn no_resource(arn: &str) -> Self {
        Self::new(
            "NotFoundException",
            404,
            format!("No resource found for ARN: {arn}"),
        )
    }

    /// Of the operations on tags.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new("BadRequestException", 400, message)
    }

    pub(super) fn unknown_operation(method: &str, path: &str) -> Self {
        let message = format!("{method} {path} is not an operation of this endpoint");
        Self::new("UnknownOperationException", 404, message)
    }

    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", 400, message)
    }

    fn new(code: &'static str, status: u16, message: impl Into<String>) -> Self {
        Self {
            code,
            status,
            message: message.into(),
            details: Map::new(),
        }
    }
}
