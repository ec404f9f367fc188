//! The SDK's standard retries: which failures, how often, after what pause. Pure.

use std::time::Duration;

/// Attempts in all.
pub(super) const ATTEMPTS: u32 = 3;

const LONGEST_PAUSE: u32 = 20;

/// An error code that the SDK's model of an operation names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) code: &'static str,
    /// The caller's fault, which makes the provider give up at once with the real message.
    pub(super) client_fault: bool,
}

const fn client(code: &'static str) -> Known {
    Known {
        code,
        client_fault: true,
    }
}

/// The codes of `GetSecretValue`.
pub(super) const SECRETS_MANAGER_OWN: &[Known] = &[
    client("DecryptionFailure"),
    client("InvalidParameterException"),
    client("InvalidRequestException"),
    client("ResourceNotFoundException"),
    Known {
        code: "InternalServiceError",
        client_fault: false,
    },
];

/// The codes of `AssumeRoleWithWebIdentity`. `AccessDenied` is none of them.
pub(super) const STS_OWN: &[Known] = &[
    client("ExpiredTokenException"),
    client("IDPCommunicationError"),
    client("IDPRejectedClaim"),
    client("InvalidIdentityToken"),
    client("MalformedPolicyDocument"),
    client("PackedPolicyTooLarge"),
    client("RegionDisabledException"),
];

/// Codes that are tried again whatever their status.
const RETRYABLE: &[&str] = &[
    "BandwidthLimitExceeded",
    "EC2ThrottledException",
    "LimitExceededException",
    "PriorRequestNotComplete",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "RequestTimeout",
    "RequestTimeoutException",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
    "TransactionInProgressException",
];

/// Whether an answer is worth another attempt.
pub(super) fn is_retryable(status: u16, code: &str) -> bool {
    matches!(status, 500 | 502 | 503 | 504) || RETRYABLE.contains(&code)
}

/// Whether `AssumeRoleWithWebIdentity` tries again where the call that wants the credentials does not.
pub(super) fn is_retryable_by_sts(code: Option<&str>) -> bool {
    code == Some("InvalidIdentityToken")
}

/// The pause after the `attempt`-th attempt, from 1: up to twice as long each time, in `unit`s, for
/// a `jitter` from 0 to 1.
pub(super) fn pause(attempt: u32, jitter: f64, unit: Duration) -> Duration {
    let longest = 2_u32.saturating_pow(attempt).min(LONGEST_PAUSE);
    (unit * longest).mul_f64(jitter.clamp(0.0, 1.0))
}

/// How the SDK begins the error of its last attempt.
pub(super) fn exhausted() -> String {
    format!("exceeded maximum number of attempts, {ATTEMPTS}, ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_and_server_errors_are_tried_again_and_refusals_are_not() {
        for (status, code, expected) in [
            (400, "ThrottlingException", true),
            (400, "InvalidIdentityToken", false),
            (400, "IDPCommunicationError", false),
            (503, "UnknownError", true),
            (500, "InternalServiceError", true),
            (400, "AccessDeniedException", false),
            (403, "AccessDenied", false),
            (400, "ResourceNotFoundException", false),
            (501, "UnknownError", false),
        ] {
            assert_eq!(is_retryable(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn pauses_double_with_full_jitter_up_to_20_units() {
        let unit = Duration::from_secs(1);
        let longest: Vec<u64> = (1..7)
            .map(|attempt| pause(attempt, 1.0, unit).as_secs())
            .collect();
        assert_eq!(longest, [2, 4, 8, 16, 20, 20]);
        assert_eq!(pause(1, 0.0, unit), Duration::ZERO);
    }
}
