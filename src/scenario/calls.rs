//! PURE: the names under which calls of driver and provider are counted.

/// The names that are known beforehand, of calls to AWS and of connections: what a provider of secrets can be seen to do.
pub const NAMED: &[&str] = &[
    "sts:AssumeRole",
    "sts:AssumeRoleWithWebIdentity",
    "eks-auth:AssumeRoleForPodIdentity",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "ssm:GetParameter",
    "ssm:GetParameters",
    "tls:aws",
    "tls:kubernetes",
];

/// What the name of a call to Kubernetes begins with.
pub const KUBERNETES: &str = "kubernetes:";
/// TLS handshakes with the AWS endpoint.
pub const TLS_AWS: &str = "tls:aws";
/// TLS handshakes with the Kubernetes API.
pub const TLS_KUBERNETES: &str = "tls:kubernetes";

/// Verbs of the Kubernetes API, as RBAC has them.
const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The name of a call to Kubernetes: `kubernetes:get serviceaccounts`.
#[must_use]
pub fn of_kubernetes(verb: &str, resource: &str) -> String {
    format!("{KUBERNETES}{verb} {resource}")
}

/// Whether anything could ever be counted under this name.
#[must_use]
pub fn is_call(name: &str) -> bool {
    match name.strip_prefix(KUBERNETES) {
        Some(request) => request
            .split_once(' ')
            .is_some_and(|(verb, resource)| VERBS.contains(&verb) && is_resource(resource)),
        None => NAMED.contains(&name),
    }
}

/// `pods`, `serviceaccounts/token`, `secretproviderclasses.secrets-store.csi.x-k8s.io`.
fn is_resource(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '/');
    text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_counted() {
        for (name, expected) in [
            ("sts:AssumeRoleWithWebIdentity", true),
            ("tls:aws", true),
            ("kubernetes:get serviceaccounts", true),
            ("kubernetes:create serviceaccounts/token", true),
            (
                "kubernetes:update secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io",
                true,
            ),
            ("sts:AssumeRoleWithWebIdentitty", false),
            ("kubernetes:get", false),
            ("kubernetes:get ", false),
            ("kubernetes:read pods", false),
            ("kubernetes:get Pods", false),
            ("tls:elsewhere", false),
            ("", false),
        ] {
            assert_eq!(is_call(name), expected, "{name}");
        }
        assert!(is_call(&of_kubernetes("watch", "pods")));
    }
}
