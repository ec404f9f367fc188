//! PURE. The way from the provider's pods to an AWS that is not AWS, for which its chart has no value.

use serde_json::{Value, json};

use super::container::{Container, set_named};

/// Where the provider finds the authorities that it trusts for AWS.
const TRUST: &str = "/etc/mountproof";
/// Name of what holds them.
const CONFIG_MAP: &str = "mountproof-aws-trust";

/// The way from a pod to an AWS endpoint on the host.
#[derive(Debug, Clone)]
pub struct AwsWay {
    /// `HTTPS_PROXY`: the endpoint, which answers for AWS's own host names.
    pub proxy: String,
    /// Authorities to trust, as PEM.
    pub trust_pem: String,
    /// `AWS_REGION`.
    pub region: String,
}

impl AwsWay {
    /// How the seam's own line in a report says it.
    #[must_use]
    pub fn reached(&self) -> String {
        format!(
            "the provider reaches it as a proxy, {}, under AWS's own host names",
            self.proxy
        )
    }

    /// How a report says it.
    #[must_use]
    pub fn note(&self) -> String {
        format!(
            "reaches AWS's own host names through HTTPS_PROXY={} and trusts the run's authority (SSL_CERT_FILE): set in its \
             DaemonSet, for its chart has no value for that",
            self.proxy
        )
    }

    /// Shows it to a container in the template of a pod.
    pub(super) fn show(&self, spec: &mut Value, container: usize) {
        set_named(
            &mut spec["volumes"],
            json!({ "name": CONFIG_MAP, "configMap": { "name": CONFIG_MAP } }),
        );
        let mut container = Container(&mut spec["containers"][container]);
        container.set_env("AWS_REGION", &self.region);
        container.set_env("HTTPS_PROXY", &self.proxy);
        // Kubernetes itself is not behind it.
        container.set_env("NO_PROXY", "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local");
        container.set_env("SSL_CERT_FILE", &format!("{TRUST}/ca.pem"));
        container.mount(CONFIG_MAP, TRUST);
    }

    /// What has to be in the namespace of such a pod.
    pub(super) fn object(&self, namespace: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": CONFIG_MAP, "namespace": namespace },
            "data": { "ca.pem": self.trust_pem },
        })
    }
}
