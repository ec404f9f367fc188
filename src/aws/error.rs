//! An AWS call that did not work, in AWS's own terms.

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

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
        Self { operation: operation.to_owned(), code, message, status }
    }

    /// Something on this side.
    pub(super) fn local(operation: &str, error: &dyn std::error::Error) -> Self {
        Self { operation: operation.to_owned(), code: None, message: chain(error), status: None }
    }

    /// AWS's error code; none when nothing answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
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
        matches!(self.code(), Some("EntityAlreadyExists" | "ResourceExistsException"))
    }

    /// Whether the answer said to slow down.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        matches!(self.code(), Some("ThrottlingException" | "Throttling" | "TooManyRequestsException"))
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
