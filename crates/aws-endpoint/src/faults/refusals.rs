//! Refusals that are not deserved, worded and numbered as each protocol does.
//!
//! Imitated: the "Common Errors" page that every AWS API reference has (`ThrottlingException` 400,
//! `InternalFailure` 500, `ServiceUnavailable` 503), and for restJson services the status of each error in their
//! models (`ThrottlingException` 429 for EKS Auth).

use crate::answer::{Protocol, Refusal};

/// The refusal of a call with `code`.
pub(crate) fn refusal(protocol: Protocol, code: &str) -> Refusal {
    let mut refusal = Refusal::new(status(protocol, code), code, message(code));
    // As Coral, AWS's own framework, writes what no model of a service has.
    refusal.message_key = "message";
    refusal
}

/// What the log says of a call whose connection was cut.
pub(crate) fn unanswered() -> Refusal {
    Refusal::new(0, "", "")
}

/// The refusal of a call above a quota: the code is `Throttling` in Query services.
pub(crate) fn throttled(protocol: Protocol) -> Refusal {
    let code = match protocol {
        Protocol::Query(_) => "Throttling",
        _ => "ThrottlingException",
    };
    refusal(protocol, code)
}

fn status(protocol: Protocol, code: &str) -> u16 {
    let query = matches!(protocol, Protocol::Query(_));
    let rest = protocol == Protocol::Rest;
    match code {
        "InternalFailure"
        | "InternalError"
        | "InternalServiceError"
        | "InternalServerError"
        | "InternalServerException"
        | "ServerException" => 500,
        "ServiceUnavailable" | "ServiceUnavailableException" | "RequestLimitExceeded" | "SlowDown" => 503,
        "ThrottlingException" | "Throttling" | "TooManyRequestsException" if rest => 429,
        "ResourceNotFoundException" if rest => 404,
        "AccessDeniedException" | "ExpiredTokenException" if rest => 403,
        "AccessDenied"
        | "InvalidClientTokenId"
        | "SignatureDoesNotMatch"
        | "ExpiredToken"
        | "RegionDisabledException"
            if query =>
        {
            403
        }
        _ => 400,
    }
}

fn message(code: &str) -> &'static str {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown" => "Rate exceeded",
        "ServiceUnavailable" | "ServiceUnavailableException" => "Service is unavailable",
        _ => "We encountered an internal error. Please try again.",
    }
}
