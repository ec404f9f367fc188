//! Errors of the KMS API, with AWS's codes and texts.

use crate::operation::Unknown;
use crate::wire::body::Malformed;

/// What KMS refuses a call with; always HTTP status 400. `Display` is the message AWS sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KmsError {
    /// Such as `NotFoundException`.
    pub code: &'static str,
    /// For the caller to read.
    pub message: String,
}

impl From<Unknown> for KmsError {
    fn from(unknown: Unknown) -> Self {
        Self::new(Unknown::CODE, unknown.message())
    }
}

impl KmsError {
    pub(super) fn no_key(arn: &str) -> Self {
        Self::new("NotFoundException", format!("Key '{arn}' does not exist"))
    }

    pub(super) fn no_alias(arn: &str) -> Self {
        Self::new("NotFoundException", format!("Alias {arn} is not found."))
    }

    pub(super) fn no_key_id(id: &str) -> Self {
        Self::new("NotFoundException", format!("Invalid keyId {id}"))
    }

    /// The ARN of another service, account or region, or none at all.
    pub(super) fn invalid_arn(arn: &str) -> Self {
        Self::new("InvalidArnException", format!("Invalid arn {arn}"))
    }

    pub(super) fn disabled(arn: &str) -> Self {
        Self::new("DisabledException", format!("{arn} is disabled."))
    }

    pub(super) fn pending_deletion(arn: &str) -> Self {
        Self::state(format!("{arn} is pending deletion."))
    }

    pub(super) fn state(message: impl Into<String>) -> Self {
        Self::new("KMSInvalidStateException", message)
    }

    pub(super) fn exists(arn: &str) -> Self {
        Self::new(
            "AlreadyExistsException",
            format!("An alias with the name {arn} already exists"),
        )
    }

    pub(super) fn malformed_policy(message: impl Into<String>) -> Self {
        Self::new("MalformedPolicyDocumentException", message)
    }

    pub(super) fn unsupported(message: impl Into<String>) -> Self {
        Self::new("UnsupportedOperationException", message)
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new("ValidationException", message)
    }

    /// An alias that only AWS makes.
    pub(super) fn reserved_alias() -> Self {
        Self::new("NotAuthorizedException", "")
    }

    pub(super) fn marker() -> Self {
        Self::new("InvalidMarkerException", "Could not decode the marker.")
    }

    /// How another service repeats what KMS told it.
    pub(crate) fn repeated(&self) -> String {
        repeated(self.code, &self.message)
    }

    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// How another service repeats an error of KMS.
pub(crate) fn repeated(code: &str, message: &str) -> String {
    let request = uuid::Uuid::new_v4();
    format!(
        "{message} (Service: AWSKMS; Status Code: 400; Error Code: {code}; Request ID: {request}; Proxy: null)"
    )
}

impl From<Malformed> for KmsError {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code, malformed.message)
    }
}
