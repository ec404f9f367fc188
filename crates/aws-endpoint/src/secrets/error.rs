//! Errors of the Secrets Manager API, with AWS's codes and texts.

use crate::kms::KmsError;
use crate::operation::Unknown;
use crate::wire::body::{Malformed, VALIDATION};

/// What Secrets Manager refuses a call with; always HTTP status 400. `Display` is the message AWS sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SecretsError {
    /// Such as `ResourceNotFoundException`.
    pub code: &'static str,
    /// For the caller to read.
    pub message: String,
}

impl From<Unknown> for SecretsError {
    fn from(unknown: Unknown) -> Self {
        Self::new(Unknown::CODE, unknown.message())
    }
}

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

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(VALIDATION, message)
    }

    /// A parameter that breaks a constraint of the API's model; `at` is its name in lower camel case.
    pub(super) fn constraint(value: Option<&str>, at: &str, constraint: &str) -> Self {
        Malformed::constraint(value, at, constraint).into()
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

    /// A key that a secret cannot be put under.
    pub(super) fn invalid_key(error: &KmsError) -> Self {
        Self::parameter(format!(
            "The operation failed because of an invalid KMS key: {error}"
        ))
    }

    /// A value whose key is disabled or gone.
    pub(super) fn decryption(error: &KmsError) -> Self {
        Self::new(
            "DecryptionFailure",
            format!(
                "Secrets Manager can't decrypt the secret value: {}",
                error.repeated()
            ),
        )
    }

    /// A new value for a key that is disabled or gone.
    pub(super) fn encryption(error: &KmsError) -> Self {
        Self::new(
            "EncryptionFailure",
            format!(
                "Secrets Manager can't encrypt the secret value: {}",
                error.repeated()
            ),
        )
    }

    pub(super) fn on_replica() -> Self {
        Self::parameter(
            "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
        )
    }

    pub(super) fn access_denied(message: impl Into<String>) -> Self {
        Self::new("AccessDeniedException", message)
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

impl From<Malformed> for SecretsError {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code, malformed.message)
    }
}
