//! What the components may do, by RBAC: what their charts give them, and not more. A real run shows a right that is missing.

use serde_json::{Value, json};

use crate::rest::{ApiClient, ApiError};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Gives everybody their rights.
pub(super) async fn give(client: &ApiClient) -> Result<(), ApiError> {
    for (collection, object) in objects() {
        match client
            .create(&format!("/apis/{GROUP}/v1/{collection}"), &object)
            .await
        {
            // One of the store's, from a start before.
            Err(error) if error.is_conflict() => {}
            other => drop(other?),
        }
    }
    Ok(())
}

fn objects() -> Vec<(&'static str, Value)> {
    let driver = account("secrets-store-csi-driver");
    let provider = account("csi-secrets-store-provider-aws");
    vec![
        // The keys of tokens are for everybody, as those of EKS are.
        binding(
            "mountproof-issuer-discovery",
            "system:service-account-issuer-discovery",
            &json!({"kind": "Group", "apiGroup": GROUP, "name": "system:unauthenticated"}),
        ),
        // charts/secrets-store-csi-driver: role.yaml, and with syncSecret, rotation and tokenRequests their own.
        role(
            "secretproviderclasses-role",
            &[
                (&[""], &["events"], &["create", "patch"]),
                (&[""], &["pods"], &["get", "list", "watch"]),
                (
                    &["secrets-store.csi.x-k8s.io"],
                    &["secretproviderclasses"],
                    &["get", "list", "watch"],
                ),
                (
                    &["secrets-store.csi.x-k8s.io"],
                    &["secretproviderclasspodstatuses"],
                    &["create", "delete", "get", "list", "patch", "update", "watch"],
                ),
                (
                    &["secrets-store.csi.x-k8s.io"],
                    &["secretproviderclasspodstatuses/status"],
                    &["get", "patch", "update"],
                ),
                (&["storage.k8s.io"], &["csidrivers"], &["get", "list", "watch"]),
                (
                    &[""],
                    &["secrets"],
                    &["create", "delete", "get", "list", "patch", "update", "watch"],
                ),
                (&[""], &["serviceaccounts/token"], &["create"]),
            ],
        ),
        binding(
            "secretproviderclasses-rolebinding",
            "secretproviderclasses-role",
            &driver,
        ),
        // charts/secrets-store-csi-driver-provider-aws: rbac.yaml.
        role(
            "csi-secrets-store-provider-aws-cluster-role",
            &[
                (&[""], &["serviceaccounts/token"], &["create"]),
                (&[""], &["serviceaccounts"], &["get"]),
                (&[""], &["pods"], &["get"]),
                (&[""], &["nodes"], &["get"]),
            ],
        ),
        binding(
            "csi-secrets-store-provider-aws-cluster-rolebinding",
            "csi-secrets-store-provider-aws-cluster-role",
            &provider,
        ),
    ]
}

type Rule<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);

fn role(name: &str, rules: &[Rule<'_>]) -> (&'static str, Value) {
    let rules: Vec<Value> = rules
        .iter()
        .map(
            |(groups, resources, verbs)| json!({"apiGroups": groups, "resources": resources, "verbs": verbs}),
        )
        .collect();
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": rules,
    });
    ("clusterroles", object)
}

fn binding(name: &str, role: &str, subject: &Value) -> (&'static str, Value) {
    let object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    });
    ("clusterrolebindings", object)
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": "kube-system", "name": name})
}
