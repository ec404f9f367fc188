//! PURE. What puts driver and provider on the nodes of a cluster: accounts, rights and `DaemonSets`.
//!
//! They follow the charts of the releases (`secrets-store-csi-driver`, `secrets-store-csi-driver-provider-aws`), with what
//! a chart has no value for: the way to an AWS that is not AWS.

use std::time::Duration;

use serde_json::{Value, json};

/// Where the charts put both.
pub(super) const NAMESPACE: &str = "kube-system";
/// Name of the driver's `DaemonSet` and `ServiceAccount`.
pub(super) const DRIVER: &str = "csi-secrets-store";
/// Name of the provider's.
pub(super) const PROVIDER: &str = "csi-secrets-store-provider-aws";
/// Label that tells the pods of both apart.
const APP: &str = "app";

const PLUGIN: &str = "/var/lib/kubelet/plugins/csi-secrets-store";
const REGISTRY: &str = "/var/lib/kubelet/plugins_registry";
const PODS: &str = "/var/lib/kubelet/pods";
/// Where providers serve, since 1.0.0 and before.
const PROVIDERS: [&str; 2] = [
    "/var/run/secrets-store-csi-providers",
    "/etc/kubernetes/secrets-store-csi-providers",
];
/// Where the provider finds the authorities that it trusts for AWS.
const TRUST: &str = "/etc/mountproof";

/// What is put on the nodes.
#[derive(Debug, Clone)]
pub(super) struct Installed {
    /// Image of the driver.
    pub(super) driver: String,
    /// Image of the provider.
    pub(super) provider: String,
    /// Image of what registers the driver with kubelet.
    pub(super) registrar: String,
    /// `--rotation-poll-interval`.
    pub(super) rotation: Duration,
    /// `--qps` of the provider.
    pub(super) provider_qps: u32,
    /// Where the provider's requests to AWS go, and what it trusts there.
    pub(super) aws: AwsWay,
}

/// The way from a pod to an AWS endpoint on the host.
#[derive(Debug, Clone)]
pub(super) struct AwsWay {
    /// `HTTPS_PROXY`: the endpoint, which answers for AWS's own host names.
    pub(super) proxy: String,
    /// Authorities to trust, as PEM.
    pub(super) trust_pem: String,
    /// `AWS_REGION`.
    pub(super) region: String,
}

impl AwsWay {
    /// How the seam's own line in a report says it.
    pub(super) fn reached(&self) -> String {
        format!(
            "the provider reaches it as a proxy, {}, under AWS's own host names",
            self.proxy
        )
    }

    /// How a report says it.
    pub(super) fn note(&self) -> String {
        format!(
            "reaches AWS's own host names through HTTPS_PROXY={} and trusts the run's authority (SSL_CERT_FILE): set in its \
             DaemonSet, for its chart has no value for that",
            self.proxy
        )
    }
}

/// Everything, in the order in which it is created.
pub(super) fn all(installed: &Installed) -> Vec<Value> {
    let mut objects = driver(installed);
    objects.extend(provider(installed));
    objects
}

fn driver(installed: &Installed) -> Vec<Value> {
    let rules = json!([
        rule(
            "secrets-store.csi.x-k8s.io",
            &["secretproviderclasses"],
            &["get", "list", "watch"]
        ),
        rule(
            "secrets-store.csi.x-k8s.io",
            &[
                "secretproviderclasspodstatuses",
                "secretproviderclasspodstatuses/status"
            ],
            &["create", "delete", "get", "list", "patch", "update", "watch"],
        ),
        rule("storage.k8s.io", &["csidrivers"], &["get", "list", "watch"]),
        rule("", &["pods"], &["get", "list", "watch"]),
        rule("", &["events"], &["create", "patch"]),
        // Rotation and synced Secrets, as the chart grants them where these are on.
        rule(
            "",
            &["secrets"],
            &["create", "delete", "get", "list", "patch", "update", "watch"]
        ),
        rule("", &["serviceaccounts/token"], &["create"]),
    ]);
    let [new, old] = PROVIDERS;
    let container = json!({
        "name": "secrets-store",
        "image": installed.driver,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--endpoint=$(CSI_ENDPOINT)",
            "--nodeid=$(KUBE_NODE_NAME)",
            // So that its log says who mounts what.
            "-v=5",
            format!("--provider-volume={new}"),
            format!("--additional-provider-volume-paths={old}"),
            "--metrics-addr=:8095",
            "--enable-secret-rotation=true",
            format!("--rotation-poll-interval={}s", installed.rotation.as_secs_f64()),
        ],
        "env": [
            { "name": "CSI_ENDPOINT", "value": "unix:///csi/csi.sock" },
            { "name": "KUBE_NODE_NAME", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
        ],
        "securityContext": { "privileged": true },
        "volumeMounts": [
            { "name": "plugin-dir", "mountPath": "/csi" },
            // What it mounts shows on the node, and so in the pods.
            { "name": "mountpoint-dir", "mountPath": PODS, "mountPropagation": "Bidirectional" },
            { "name": "providers-dir", "mountPath": new },
            { "name": "providers-dir-old", "mountPath": old },
        ],
    });
    let registrar = json!({
        "name": "node-driver-registrar",
        "image": installed.registrar,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--v=5",
            "--csi-address=/csi/csi.sock",
            format!("--kubelet-registration-path={PLUGIN}/csi.sock"),
        ],
        "volumeMounts": [
            { "name": "plugin-dir", "mountPath": "/csi" },
            { "name": "registration-dir", "mountPath": "/registration" },
        ],
    });
    let volumes = json!([
        host_path("plugin-dir", PLUGIN),
        host_path("mountpoint-dir", PODS),
        host_path("registration-dir", REGISTRY),
        host_path("providers-dir", new),
        host_path("providers-dir-old", old),
    ]);
    let mut objects = account(DRIVER, &rules);
    objects.push(daemon_set(DRIVER, &json!([registrar, container]), &volumes));
    objects
}

fn provider(installed: &Installed) -> Vec<Value> {
    let rules = json!([
        rule("", &["serviceaccounts/token"], &["create"]),
        rule("", &["serviceaccounts", "pods", "nodes"], &["get"]),
    ]);
    let way = &installed.aws;
    let [new, old] = PROVIDERS;
    let container = json!({
        "name": "provider-aws-installer",
        "image": installed.provider,
        "imagePullPolicy": "IfNotPresent",
        "args": [format!("--provider-volume={new}"), format!("--qps={}", installed.provider_qps), format!("--burst={}", installed.provider_qps)],
        "env": [
            { "name": "AWS_REGION", "value": way.region },
            { "name": "HTTPS_PROXY", "value": way.proxy },
            // Kubernetes itself is not behind it.
            { "name": "NO_PROXY", "value": "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local" },
            { "name": "SSL_CERT_FILE", "value": format!("{TRUST}/ca.pem") },
        ],
        "volumeMounts": [
            { "name": "providervol", "mountPath": new },
            { "name": "providervol-old", "mountPath": old },
            // Releases that write the files themselves see the driver's mounts.
            { "name": "mountpoint-dir", "mountPath": PODS, "mountPropagation": "HostToContainer" },
            { "name": "trust", "mountPath": TRUST, "readOnly": true },
        ],
    });
    let volumes = json!([
        host_path("providervol", new),
        host_path("providervol-old", old),
        host_path("mountpoint-dir", PODS),
        { "name": "trust", "configMap": { "name": PROVIDER } },
    ]);
    let mut objects = account(PROVIDER, &rules);
    objects.push(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": PROVIDER, "namespace": NAMESPACE },
        "data": { "ca.pem": way.trust_pem },
    }));
    objects.push(daemon_set(PROVIDER, &json!([container]), &volumes));
    objects
}

/// A `ServiceAccount` with these rights in the whole cluster.
fn account(name: &str, rules: &Value) -> Vec<Value> {
    vec![
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": name, "namespace": NAMESPACE },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": { "name": name },
            "rules": rules,
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "kind": "ServiceAccount", "name": name, "namespace": NAMESPACE }],
        }),
    ]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

/// On every node, the control plane's too: a cluster of one node has no other.
fn daemon_set(name: &str, containers: &Value, volumes: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": { APP: name } },
        "spec": {
            "selector": { "matchLabels": { APP: name } },
            "updateStrategy": { "type": "RollingUpdate" },
            "template": {
                "metadata": { "labels": { APP: name } },
                "spec": {
                    "serviceAccountName": name,
                    "containers": containers,
                    "volumes": volumes,
                    "tolerations": [{ "operator": "Exists" }],
                    "nodeSelector": { "kubernetes.io/os": "linux" },
                },
            },
        },
    })
}

fn host_path(name: &str, path: &str) -> Value {
    json!({ "name": name, "hostPath": { "path": path, "type": "DirectoryOrCreate" } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed() -> Installed {
        Installed {
            driver: "driver:v1.6.0".to_owned(),
            provider: "provider:3.1.1".to_owned(),
            registrar: "registrar:v2.16.0".to_owned(),
            rotation: Duration::from_secs(2),
            provider_qps: 500,
            aws: AwsWay {
                proxy: "http://172.18.0.1:4000".to_owned(),
                trust_pem: "PEM".to_owned(),
                region: "eu-west-1".to_owned(),
            },
        }
    }

    fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
        let found = objects
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or(&Value::Null)
    }

    #[test]
    fn every_volume_that_is_mounted_is_there_and_every_one_there_is_mounted() {
        let objects = all(&installed());
        for name in [DRIVER, PROVIDER] {
            let spec = &find(&objects, "DaemonSet", name)["spec"]["template"]["spec"];
            let names = |list: &Value| -> Vec<String> {
                let mut names: Vec<String> = list
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(|entry| Some(entry["name"].as_str()?.to_owned()))
                    .collect();
                names.sort();
                names.dedup();
                names
            };
            let mounts: Vec<Value> = spec["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|container| container["volumeMounts"].as_array().cloned().unwrap_or_default())
                .collect();
            assert_eq!(names(&json!(mounts)), names(&spec["volumes"]), "{name}");
        }
    }

    #[test]
    fn an_account_comes_before_the_pods_that_run_as_it() {
        let objects = all(&installed());
        for name in [DRIVER, PROVIDER] {
            let at = |kind: &str| {
                objects
                    .iter()
                    .position(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            };
            assert!(
                at("ServiceAccount").is_some() && at("ServiceAccount") < at("DaemonSet"),
                "{name}"
            );
            let spec = &find(&objects, "DaemonSet", name)["spec"]["template"]["spec"];
            assert_eq!(spec["serviceAccountName"], name);
        }
    }

    #[test]
    fn only_the_driver_is_privileged() {
        let objects = all(&installed());
        let privileged = |name: &str| {
            find(&objects, "DaemonSet", name)
                .to_string()
                .contains("\"privileged\":true")
        };
        assert!(privileged(DRIVER));
        assert!(!privileged(PROVIDER));
    }
}
