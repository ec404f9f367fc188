//! An AWS call that did not work, in AWS's own terms.

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Codes that say to slow down, over all services.
const THROTTLING: [&str; 5] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
];

/// An AWS call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {}{message}", code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default())]
pub struct AwsError {
    /// `service:Operation`.
    operation: String,
    /// AWS's error code; none when nothing answered.
    code: Option<String>,
    /// AWS's message, or what went wrong on the way.
    message: String,
    /// HTTP status; none when nothing answered.
    status: Option<u16>,
}

impl AwsError {
    /// Takes what is of use from an SDK error.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers map an error that they have no further use for"
    )]
    pub(super) fn of<E>(operation: &str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.code().map(str::to_owned);
        let message = match error.message() {
            Some(message) => message.to_owned(),
            None => chain(&error),
        };
        Self {
            operation: operation.to_owned(),
            code,
            message,
            status,
        }
    }

    /// Something on this side.
    pub(super) fn local(operation: &str, error: &dyn std::error::Error) -> Self {
        Self::because(operation, chain(error))
    }

    /// An answer that cannot be worked with, for a reason of the harness's own.
    pub(super) fn because(operation: &str, message: String) -> Self {
        Self {
            operation: operation.to_owned(),
            code: None,
            message,
            status: None,
        }
    }

    /// Something stands where a thing of the run's was to be.
    pub(super) fn foreign(operation: &str, what: &str) -> Self {
        Self::because(
            operation,
            format!(
                "{what} exists and does not carry this run's tag; remove it, or use another cluster name"
            ),
        )
    }

    /// `service:Operation` that was tried.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// AWS's error code; none when nothing answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// AWS's message, or what went wrong on the way.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// HTTP status; none when nothing answered.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether AWS answered at all.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.status.is_some()
    }

    /// Whether what was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.code(), Some("NoSuchEntity" | "ResourceNotFoundException"))
    }

    /// Whether what was to be made exists already.
    #[must_use]
    pub fn already_exists(&self) -> bool {
        matches!(
            self.code(),
            Some("EntityAlreadyExists" | "ResourceExistsException")
        )
    }

    /// Whether the principal may not do this.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self.code(), Some("AccessDenied" | "AccessDeniedException"))
    }

    /// Whether the signature of a request, or its key, was not taken for genuine.
    #[must_use]
    pub fn is_bad_signature(&self) -> bool {
        matches!(
            self.code(),
            Some(
                "InvalidSignatureException"
                    | "SignatureDoesNotMatch"
                    | "UnrecognizedClientException"
                    | "InvalidClientTokenId"
            )
        )
    }

    /// Whether STS did not take a web identity's token.
    #[must_use]
    pub fn is_bad_token(&self) -> bool {
        matches!(
            self.code(),
            Some("InvalidIdentityToken" | "ExpiredTokenException" | "IDPRejectedClaim")
        )
    }

    /// Whether the answer said to slow down.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.status == Some(429) || self.code().is_some_and(|code| THROTTLING.contains(&code))
    }

    /// Whether the same call may work later: nothing answered, throttling, a server's own error.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.status.is_none_or(|status| status >= 500) || self.is_throttled()
    }

    /// Whether a secret, or one of that name, is marked for deletion.
    pub(super) fn is_pending_deletion(&self) -> bool {
        self.code() == Some("InvalidRequestException") && self.message.contains("deletion")
    }
}

/// Nothing where what was asked for does not exist.
pub(super) fn absent_is_fine(result: Result<(), AwsError>) -> Result<(), AwsError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// An error and its causes on one line: the SDK's own text is only "dispatch failure".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: &str, status: u16) -> AwsError {
        AwsError {
            operation: "iam:CreateRole".to_owned(),
            code: Some(code.to_owned()),
            message: "why".to_owned(),
            status: Some(status),
        }
    }

    #[test]
    fn codes_are_sorted() {
        assert!(answered("NoSuchEntity", 404).is_not_found());
        assert!(answered("ResourceNotFoundException", 400).is_not_found());
        assert!(answered("AccessDeniedException", 400).is_denied());
        assert!(answered("AccessDenied", 403).is_denied());
        assert!(answered("EntityAlreadyExists", 409).already_exists());
        assert!(answered("InvalidIdentityToken", 400).is_bad_token());
        let throttled = answered("ThrottlingException", 400);
        assert!(throttled.is_throttled() && throttled.is_retryable());
        assert!(answered("InternalServiceError", 500).is_retryable());
        assert!(!answered("AccessDenied", 403).is_retryable());
        let silent = AwsError::because("iam:CreateRole", "nothing answered".to_owned());
        assert!(silent.is_retryable() && !silent.is_answer() && !silent.is_denied());
    }

    #[test]
    fn messages_name_the_call() {
        assert_eq!(
            answered("NoSuchEntity", 404).to_string(),
            "iam:CreateRole: NoSuchEntity: why"
        );
    }
}
