//! An AWS call that did not work, in AWS's own terms.

use aws_credential_types::provider::error::CredentialsError;
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

/// Codes that say that credentials were good once.
const EXPIRED: [&str; 4] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
];

/// Codes that say that the account has as many of something as it may have.
const QUOTA: [&str; 5] = [
    "LimitExceeded",
    "LimitExceededException",
    "ResourceLimitExceededException",
    "ServiceQuotaExceededException",
    "QuotaExceeded",
];

/// What to do about credentials that are no longer good.
const RENEW: &str = "renew them (`aws sso login` for a profile of IAM Identity Center, else where they came from), then \
                     `mountproof sweep` finishes what was begun";

/// An AWS call that did not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {}{message}{}", code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default(), self.advice())]
pub struct AwsError {
    /// `service:Operation`.
    operation: String,
    /// AWS's error code; none when nothing answered.
    code: Option<String>,
    /// AWS's message, or what went wrong on the way.
    message: String,
    /// HTTP status; none when nothing answered.
    status: Option<u16>,
    /// Whether there were credentials to ask with.
    credentials: Credentials,
}

/// Whether there were credentials to ask with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Credentials {
    /// There were, as far as is known.
    #[default]
    There,
    /// There were none.
    Absent,
    /// There were, and they are no longer good.
    Expired,
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
            credentials: of_cause(&error),
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
            credentials: Credentials::There,
        }
    }

    /// The chain gave no credentials, or none that are good.
    pub(super) fn credentials(credentials: Credentials, message: String) -> Self {
        Self {
            credentials,
            ..Self::because("find AWS credentials", message)
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
        ) || (self.is_in_use() && self.message.contains("already exists"))
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

    /// Whether it is of credentials that were good once: the run's own, not a tenant's token.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.credentials == Credentials::Expired
            || (self.operation != "sts:AssumeRoleWithWebIdentity"
                && self.code().is_some_and(|code| EXPIRED.contains(&code)))
    }

    /// Whether there were no credentials to ask with.
    #[must_use]
    pub fn is_without_credentials(&self) -> bool {
        self.credentials == Credentials::Absent
    }

    /// Whether the account has as many of it as it may have.
    #[must_use]
    pub fn is_quota(&self) -> bool {
        self.code().is_some_and(|code| QUOTA.contains(&code))
    }

    /// Whether something is in a state, or has something in it, that does not allow it yet.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.code() == Some("ResourceInUseException")
    }

    /// Whether the answer said to slow down.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.status == Some(429) || self.code().is_some_and(|code| THROTTLING.contains(&code))
    }

    /// Whether the same call may work later: nothing answered, throttling, a server's own error.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.credentials == Credentials::There
            && (self.status.is_none_or(|status| status >= 500) || self.is_throttled())
    }

    /// What to do next, where AWS does not say it.
    fn advice(&self) -> String {
        if self.is_expired() {
            format!("; {RENEW}")
        } else if self.is_quota() {
            "; ask for more in Service Quotas, or delete what is not needed".to_owned()
        } else {
            String::new()
        }
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

/// Whether a chain of causes ends in credentials.
fn of_cause(error: &(dyn std::error::Error + 'static)) -> Credentials {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<CredentialsError>() {
            return of_credentials(error);
        }
        cause = error.source();
    }
    Credentials::There
}

/// What a failure of the chain says about credentials. The SDK has no kind of its own for those that were good once.
pub(super) fn of_credentials(error: &CredentialsError) -> Credentials {
    let text = chain(error);
    let expired = text.contains("expired") || EXPIRED.iter().any(|code| text.contains(code));
    // A profile that is not as it should be, or whose source does not answer, is nothing to ask with either.
    if expired {
        Credentials::Expired
    } else {
        Credentials::Absent
    }
}

/// An error and its causes on one line: the SDK's own text is only "dispatch failure".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
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
            credentials: Credentials::There,
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
    fn credentials_and_quotas_are_told_from_refusals() {
        for code in EXPIRED {
            let expired = answered(code, 400);
            assert!(expired.is_expired() && !expired.is_denied(), "{code}");
            assert!(expired.to_string().contains("aws sso login"), "{expired}");
        }
        let of_tenant = AwsError {
            operation: "sts:AssumeRoleWithWebIdentity".to_owned(),
            ..answered("ExpiredTokenException", 400)
        };
        assert!(of_tenant.is_bad_token() && !of_tenant.is_expired());
        for code in QUOTA {
            assert!(answered(code, 409).is_quota(), "{code}");
        }
        let none = AwsError::credentials(Credentials::Absent, "none".to_owned());
        assert!(none.is_without_credentials() && !none.is_expired() && !none.is_retryable());
        let stale = AwsError::credentials(Credentials::Expired, "the SSO token has expired".to_owned());
        assert!(stale.is_expired() && !stale.is_retryable());
    }

    #[test]
    fn what_the_chain_says_is_read() {
        for (error, expected) in [
            (
                CredentialsError::not_loaded("no providers in chain provided credentials"),
                Credentials::Absent,
            ),
            (
                CredentialsError::provider_error("the SSO token has expired and cannot be refreshed"),
                Credentials::Expired,
            ),
            (
                CredentialsError::provider_error("ExpiredTokenException: no"),
                Credentials::Expired,
            ),
            (
                CredentialsError::invalid_configuration("profile `x` was not defined"),
                Credentials::Absent,
            ),
        ] {
            assert_eq!(of_credentials(&error), expected, "{error:?}");
        }
    }

    #[test]
    fn something_that_is_there_is_told_from_something_that_is_busy() {
        let in_use = |message: &str| AwsError {
            message: message.to_owned(),
            ..answered("ResourceInUseException", 409)
        };
        assert!(in_use("Cluster already exists with name: demo").already_exists());
        let busy = in_use("Cluster has nodegroups attached");
        assert!(busy.is_in_use() && !busy.already_exists());
    }

    #[test]
    fn messages_name_the_call() {
        assert_eq!(
            answered("NoSuchEntity", 404).to_string(),
            "iam:CreateRole: NoSuchEntity: why"
        );
    }
}
