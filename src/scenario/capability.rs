//! The capabilities a scenario can ask for. Environments probe them; nothing here decides one.

/// The AWS endpoint verifies tokens and evaluates IAM: a denial means something.
pub const IAM_ENFORCEMENT: &str = "iam-enforcement";
/// The AWS endpoint's call log can be read.
pub const CALL_LOG: &str = "call-log";
/// Mounted files follow a secret's new value.
pub const ROTATION: &str = "rotation";
/// The driver's socket can be reached, so that the `csi` lens can look.
pub const CSI_SOCKET: &str = "csi-socket";
/// What pods have mounted can be looked at on their nodes. Whatever mounts, or proves that nothing is mounted, needs it and
/// does not have to say so.
pub const MOUNTED_FILES: &str = "mounted-files";
/// A token can be had that its issuer signed and whose time is over: Kubernetes gives out none for less than ten
/// minutes, so the issuer's key has to be at hand.
pub const EXPIRED_TOKENS: &str = "expired-tokens";
/// Deployments get pods: a control plane without its controller manager has none of the controllers.
pub const WORKLOADS: &str = "workload-controllers";

/// AWS can be made slow, and well again, while a scenario runs: the endpoint is ours.
pub const AWS_FAULTS: &str = "aws-faults";
/// Driver and provider can be killed and started anew: they are this environment's own.
pub const PROGRAM_CONTROL: &str = "program-control";

/// The provider gives files the permissions that a class asks for.
pub const FILE_PERMISSION: &str = "file-permission";
/// One secret can be several objects of a class.
pub const SECRET_TWICE: &str = "secret-twice";

/// Secrets can be replicated to a second region, which a class can name beside its own.
pub const FAILOVER_REGION: &str = "failover-region";

/// The driver syncs mounted files into Kubernetes Secrets.
pub const SECRET_SYNC: &str = "secret-sync";
/// Kubelet asks the driver again for what is mounted, and can be told to do it now.
pub const REPUBLISH: &str = "republish";

/// What driver (at `-v=5`) and provider write to their logs can be read.
pub const PROGRAM_LOGS: &str = "program-logs";
/// What driver and provider ask of AWS and of Kubernetes, and over how many connections, can be counted.
pub const CALL_COUNTS: &str = "call-counts";

/// Pods get roles by EKS Pod Identity: the cluster is one of EKS's, the agent runs on its nodes, the provider knows of it and is
/// handed the token for it. Cases that come in that way require it by themselves.
pub const POD_IDENTITY: &str = "pod-identity";

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
        MOUNTED_FILES,
        "what pods have mounted can be looked at on their nodes",
    ),
    (
        FILE_PERMISSION,
        "the provider gives files the permissions that a class asks for",
    ),
    (SECRET_TWICE, "one secret can be several objects of a class"),
    (
        EXPIRED_TOKENS,
        "a genuine service-account token can be had whose time is over",
    ),
    (WORKLOADS, "Deployments get pods"),
    (
        SECRET_SYNC,
        "the driver syncs mounted files into Kubernetes Secrets",
    ),
    (
        REPUBLISH,
        "kubelet asks the driver again for what is mounted, and can be told to do it now",
    ),
    (
        PROGRAM_LOGS,
        "what the driver, at -v=5, and the provider write to their logs can be read",
    ),
    (
        FAILOVER_REGION,
        "secrets can be replicated to a second region, for a class's failoverRegion",
    ),
    (AWS_FAULTS, "AWS can be made slow, and well again"),
    (
        PROGRAM_CONTROL,
        "driver and provider can be killed and started anew",
    ),
    (
        POD_IDENTITY,
        "pods get roles by EKS Pod Identity, through the agent on their node",
    ),
    (
        CALL_COUNTS,
        "what driver and provider ask of AWS and of Kubernetes can be counted",
    ),
];
