//! Errors of the Secrets Manager API, with AWS's codes and texts.

/// What Secrets Manager refuses a call with; always HTTP status 400. `Display` is the message AWS sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SecretsError {
    /// Such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// For the caller to read.
    pub message: String,
}

const VALIDATION: &str = "ValidationException";

impl SecretsError {
    /// The key of the message in the answer's body: as recorded from AWS, it depends on the code.
    #[must_use]
    pub fn message_key(&self) -> &'static str {
        if self.code == VALIDATION {
            "message"
        } else {
            "Message"
        }
    }

    pub(super) fn unknown_operation(operation: &str) -> Self {
        Self::new(
            "UnknownOperationException",
            format!("{operation} is not an operation of this endpoint"),
        )
    }

    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(VALIDATION, message)
    }

    /// A parameter that breaks a constraint of the API's model; `at` is its name in lower camel case.
    pub(super) fn constraint(value: Option<&str>, at: &str, constraint: &str) -> Self {
        let value = value.map_or_else(String::new, |value| format!(" '{value}'"));
        Self::validation(format!(
            "1 validation error detected: Value{value} at '{at}' failed to satisfy constraint: {constraint}"
        ))
    }

    pub(super) fn not_found() -> Self {
        Self::missing("Secrets Manager can't find the specified secret.")
    }

    pub(super) fn no_version(id: &str) -> Self {
        Self::missing(format!(
            "Secrets Manager can't find the specified secret value for VersionId: {id}"
        ))
    }

    pub(super) fn no_stage(stage: &str) -> Self {
        Self::missing(format!(
            "Secrets Manager can't find the specified secret value for staging label: {stage}"
        ))
    }

    pub(super) fn marked_for_deletion() -> Self {
        Self::request("You can't perform this operation on the secret because it was marked for deletion.")
    }

    pub(super) fn exists(message: impl Into<String>) -> Self {
        Self::new("ResourceExistsException", message)
    }

    pub(super) fn request(message: impl Into<String>) -> Self {
        Self::new("InvalidRequestException", message)
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new("LimitExceededException", message)
    }

    pub(super) fn next_token() -> Self {
        Self::new("InvalidNextTokenException", "The NextToken value is invalid.")
    }

    pub(super) fn malformed_policy(message: impl Into<String>) -> Self {
        Self::new("MalformedPolicyDocumentException", message)
    }

    pub(super) fn public_policy() -> Self {
        Self::new(
            "PublicPolicyException",
            "You can't use BlockPublicPolicy with a resource policy that gives broad access to the secret.",
        )
    }

    fn missing(message: impl Into<String>) -> Self {
        Self::new("ResourceNotFoundException", message)
    }

    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
