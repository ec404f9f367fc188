//! The capabilities a scenario can ask for. Environments probe them; nothing here decides one.

/// The AWS endpoint verifies tokens and evaluates IAM: a denial means something.
pub const IAM_ENFORCEMENT: &str = "iam-enforcement";
/// The AWS endpoint's call log can be read.
pub const CALL_LOG: &str = "call-log";
/// Mounted files follow a secret's new value.
pub const ROTATION: &str = "rotation";
/// The driver's socket can be reached, so that the `csi` lens can look.
pub const CSI_SOCKET: &str = "csi-socket";
/// A token can be had that its issuer signed and whose time is over: Kubernetes gives out none for less than ten
/// minutes, so the issuer's key has to be at hand.
pub const EXPIRED_TOKENS: &str = "expired-tokens";

/// What driver and provider ask of AWS and of Kubernetes, and over how many connections, can be counted.
pub const CALL_COUNTS: &str = "call-counts";

/// All of them, with what they mean.
pub const KNOWN: &[(&str, &str)] = &[
    (
        IAM_ENFORCEMENT,
        "the AWS endpoint verifies tokens and evaluates IAM",
    ),
    (CALL_LOG, "the AWS endpoint's call log can be read"),
    (ROTATION, "mounted files follow a secret's new value"),
    (CSI_SOCKET, "the driver's socket can be reached"),
    (
        EXPIRED_TOKENS,
        "a genuine service-account token can be had whose time is over",
    ),
    (
        CALL_COUNTS,
        "what driver and provider ask of AWS and of Kubernetes can be counted",
    ),
];
