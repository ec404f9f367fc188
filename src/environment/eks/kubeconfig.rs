//! PURE. A kubeconfig for a cluster of EKS, which asks the AWS CLI for its tokens, as `aws eks update-kubeconfig` writes it.

use serde_json::{Value, json};

use base64::{Engine as _, prelude::BASE64_STANDARD};

/// What it is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'a> {
    /// Of the cluster, which names everything in the file.
    pub(super) arn: &'a str,
    /// The cluster.
    pub(super) name: &'a str,
    /// URL of its API server.
    pub(super) endpoint: &'a str,
    /// The authority of that one's certificate.
    pub(super) certificate_authority_pem: &'a str,
    /// Where it is.
    pub(super) region: &'a str,
    /// The profile that the CLI is to use, where one was named.
    pub(super) profile: Option<&'a str>,
}

/// The file. It holds no secret.
#[must_use]
pub(super) fn text(written: Written<'_>) -> String {
    let Written {
        arn, name, region, ..
    } = written;
    let environment: Vec<Value> = written
        .profile
        .map(|profile| json!({ "name": "AWS_PROFILE", "value": profile }))
        .into_iter()
        .collect();
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": arn,
        "contexts": [{ "name": arn, "context": { "cluster": arn, "user": arn } }],
        "clusters": [{ "name": arn, "cluster": {
            "server": written.endpoint,
            "certificate-authority-data": BASE64_STANDARD.encode(written.certificate_authority_pem),
        } }],
        "users": [{ "name": arn, "user": { "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws",
            "args": ["--region", region, "eks", "get-token", "--cluster-name", name, "--output", "json"],
            "env": environment,
            "interactiveMode": "IfAvailable",
        } } }],
    });
    // JSON is YAML, and nothing in it depends on quoting.
    format!("{kubeconfig:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_is_told_to_ask_the_cli() {
        let text = text(Written {
            arn: "arn:aws:eks:eu-west-1:111122223333:cluster/prod",
            name: "prod",
            endpoint: "https://AAAA.gr7.eu-west-1.eks.amazonaws.com",
            certificate_authority_pem: "PEM",
            region: "eu-west-1",
            profile: Some("work"),
        });
        let read: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(read["current-context"], read["contexts"][0]["name"]);
        assert_eq!(read["contexts"][0]["context"]["user"], read["users"][0]["name"]);
        assert_eq!(
            read["clusters"][0]["cluster"]["certificate-authority-data"],
            "UEVN"
        );
        let exec = &read["users"][0]["user"]["exec"];
        assert_eq!(exec["args"][5], "prod");
        assert_eq!(exec["env"][0]["value"], "work");
    }
}
