//! The scenarios that the binary carries, so that it runs without the repository.

use super::load::SourceFile;

/// Writes the list from paths below `scenarios/`. A test holds it to the folder.
macro_rules! embedded {
    ($($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!("../../scenarios/", $path)))),+]
    };
}

/// Paths below `scenarios/`, with `/`, and what the files hold.
pub const SHIPPED: &[(&str, &str)] = embedded![
    "conformance/class-formats.yaml",
    "conformance/class-permissions.yaml",
    "conformance/class-secret-twice.yaml",
    "conformance/deployment.yaml",
    "conformance/positive.yaml",
    "conformance/rotation.yaml",
    "conformance/synced-secret.yaml",
    "hazards/failover-keeps-denial.yaml",
    "hazards/mount-after-driver-kill.yaml",
    "hazards/mount-after-provider-move.yaml",
    "hazards/mount-after-timeout.yaml",
    "hazards/no-token-in-log.yaml",
    "hazards/poll-interval-kept.yaml",
    "hazards/synced-secret-kept.yaml",
    "hazards/synced-secret-republished.yaml",
    "isolation/annotation-names-other-role.yaml",
    "isolation/association-names-other-role.yaml",
    "isolation/association-of-other-namespace.yaml",
    "isolation/boundary-denied.yaml",
    "isolation/class-from-other-namespace.yaml",
    "isolation/cross-namespace-denied.yaml",
    "isolation/deployment-denied.yaml",
    "isolation/expired-token-refused.yaml",
    "isolation/impostor-refused.yaml",
    "isolation/no-association.yaml",
    "isolation/no-role-annotation.yaml",
    "isolation/own-class-names-other-arn.yaml",
    "isolation/resource-policy-denied.yaml",
    "isolation/role-trusts-other-cluster.yaml",
    "load/calls-per-mount.yaml",
    "load/fetch-throughput.yaml",
    "load/mount-latency.yaml",
];

/// The shipped scenarios as files to [`super::load`].
#[must_use]
pub fn shipped() -> Vec<SourceFile> {
    SHIPPED
        .iter()
        .map(|(path, text)| SourceFile {
            display: format!("scenarios/{path}"),
            below: (*path).to_owned(),
            folder: path.split_once('/').map(|(folder, _)| folder.to_owned()),
            bytes: text.as_bytes().to_vec(),
            size: text.len() as u64,
        })
        .collect()
}
