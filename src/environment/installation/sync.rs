//! Whether a driver may sync what it mounts into Secrets: `syncSecret.enabled` of its chart is nothing but a `ClusterRole` for
//! Secrets, bound to the driver's account. <https://secrets-store-csi-driver.sigs.k8s.io/topics/sync-as-kubernetes-secret>

use std::fmt;

use serde_json::Value;

use super::Placed;
use crate::{
    generation::DriverGeneration,
    kubernetes::{Kubernetes, KubernetesError},
};

const RBAC: &str = "rbac.authorization.k8s.io/v1";
/// What every driver does to Secrets that it syncs.
const VERBS: [&str; 5] = ["create", "get", "list", "patch", "watch"];
/// What those do beside that follow a new value by writing the Secret anew, with kubelet's republishing.
const WHEN_REPUBLISHED: &str = "update";

/// Why a driver syncs nothing, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSync {
    /// What it lacks.
    pub what: String,
}

impl NoSync {
    /// What to do about it.
    pub(in crate::environment) const HELP: &str = "set syncSecret.enabled=true in the values of its chart (of the EKS add-on: \
                                                   secrets-store-csi-driver.syncSecret.enabled)";
}

impl fmt::Display for NoSync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, Self::HELP)
    }
}

/// The account that a driver runs as.
#[derive(Debug, Clone, Copy)]
pub(in crate::environment) struct Account<'a> {
    /// Of the driver, which decides what it does.
    pub(in crate::environment) version: &'a str,
    pub(in crate::environment) namespace: &'a str,
    pub(in crate::environment) name: &'a str,
}

/// Why the driver that is on a cluster cannot sync Secrets; nothing where it can.
///
/// # Errors
///
/// When the API does not answer.
pub(in crate::environment) async fn no_sync(
    kubernetes: &Kubernetes,
    driver: &Placed,
) -> Result<Option<NoSync>, KubernetesError> {
    let bindings = kubernetes.list(RBAC, "ClusterRoleBinding", None, None).await?;
    let roles = kubernetes.list(RBAC, "ClusterRole", None, None).await?;
    let account = Account {
        version: &driver.version,
        namespace: driver.daemon_set.namespace.as_deref().unwrap_or_default(),
        name: &driver.account,
    };
    Ok(account.no_sync(&bindings, &roles))
}

impl Account<'_> {
    /// PURE. Likewise, by every `ClusterRole` and its bindings. A `RoleBinding` is of no use: tenants' namespaces are new.
    pub(in crate::environment) fn no_sync(self, bindings: &[Value], roles: &[Value]) -> Option<NoSync> {
        let given: Vec<&Value> = bindings
            .iter()
            .filter(|binding| each(&binding["subjects"]).any(|subject| self.is(subject)))
            .filter_map(|binding| {
                let named = &binding["roleRef"]["name"];
                roles.iter().find(|role| role["metadata"]["name"] == *named)
            })
            .flat_map(|role| each(&role["rules"]))
            .filter(|rule| is_of_secrets(rule))
            .collect();
        let republishes = DriverGeneration::of(self.version).republish;
        let needed = VERBS.into_iter().chain(republishes.then_some(WHEN_REPUBLISHED));
        let lacking: Vec<&str> = needed
            .filter(|verb| !given.iter().any(|rule| has(&rule["verbs"], verb)))
            .collect();
        (!lacking.is_empty()).then(|| NoSync {
            what: format!(
                "the driver's ServiceAccount {}/{} may not {} Secrets",
                self.namespace,
                self.name,
                lacking.join(", ")
            ),
        })
    }

    /// Whether a binding's subject is this account, or a group that it is in.
    /// <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-subjects>
    fn is(self, subject: &Value) -> bool {
        let name = subject["name"].as_str().unwrap_or_default();
        match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => name == self.name && subject["namespace"] == self.namespace,
            "User" => name == format!("system:serviceaccount:{}:{}", self.namespace, self.name),
            "Group" => {
                ["system:authenticated", "system:serviceaccounts"].contains(&name)
                    || name.strip_prefix("system:serviceaccounts:") == Some(self.namespace)
            }
            _ => false,
        }
    }
}

/// Whether a rule is about any Secret: one with names is not, as a run's are new.
fn is_of_secrets(rule: &Value) -> bool {
    has(&rule["apiGroups"], "")
        && has(&rule["resources"], "secrets")
        && each(&rule["resourceNames"]).next().is_none()
}

fn has(list: &Value, wanted: &str) -> bool {
    each(list).any(|entry| entry == wanted || entry == "*")
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(version: &str) -> Account<'_> {
        Account {
            version,
            namespace: "kube-system",
            name: "driver",
        }
    }

    fn binding(role: &str, subject: &Value) -> Value {
        json!({ "roleRef": { "kind": "ClusterRole", "name": role }, "subjects": [subject] })
    }

    fn role(name: &str, rule: &Value) -> Value {
        json!({ "metadata": { "name": name }, "rules": [rule] })
    }

    #[test]
    fn whoever_may_do_all_of_it_to_every_secret_syncs() {
        let own = json!({ "kind": "ServiceAccount", "namespace": "kube-system", "name": "driver" });
        let all = ["create", "delete", "get", "list", "patch", "update", "watch"];
        let chart = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": all });
        let with = |field: &str, value: Value| {
            let mut rule = chart.clone();
            rule[field] = value;
            rule
        };
        let group = |name: &str| json!({ "kind": "Group", "name": name });
        let older = json!(["create", "get", "list", "patch", "watch"]);
        for (case, version, subject, rule, lacking) in [
            ("as the chart has it", "1.6.0", own.clone(), chart.clone(), None),
            (
                "everything",
                "1.6.0",
                own.clone(),
                json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] }),
                None,
            ),
            (
                "by its group",
                "1.6.0",
                group("system:serviceaccounts:kube-system"),
                chart.clone(),
                None,
            ),
            (
                "as a user",
                "1.6.0",
                json!({ "kind": "User", "name": "system:serviceaccount:kube-system:driver" }),
                chart.clone(),
                None,
            ),
            (
                "of another namespace's group",
                "1.6.0",
                group("system:serviceaccounts:default"),
                chart.clone(),
                Some("create, get"),
            ),
            (
                "another account",
                "1.6.0",
                json!({ "kind": "ServiceAccount", "namespace": "default", "name": "driver" }),
                chart.clone(),
                Some("create, get"),
            ),
            (
                "of other things",
                "1.6.0",
                own.clone(),
                with("resources", json!(["pods"])),
                Some("create, get"),
            ),
            (
                "of another group's",
                "1.6.0",
                own.clone(),
                with("apiGroups", json!(["apps"])),
                Some("create, get"),
            ),
            (
                "of one Secret",
                "1.6.0",
                own.clone(),
                with("resourceNames", json!(["one"])),
                Some("create, get"),
            ),
            (
                "only to read",
                "1.6.0",
                own.clone(),
                with("verbs", json!(["get", "list", "watch"])),
                Some("not create, patch, update Secrets"),
            ),
            (
                "without writing anew, which none did before",
                "1.5.6",
                own.clone(),
                with("verbs", older.clone()),
                None,
            ),
            (
                "without writing anew",
                "1.6.0",
                own,
                with("verbs", older),
                Some("not update Secrets"),
            ),
        ] {
            let found = account(version).no_sync(&[binding("sync", &subject)], &[role("sync", &rule)]);
            let found = found.map(|lacking| lacking.what);
            match (lacking, found) {
                (None, found) => assert_eq!(found, None, "{case}"),
                (Some(lacking), Some(found)) => assert!(found.contains(lacking), "{case}: {found}"),
                (Some(_), None) => panic!("{case}: it is said to sync"),
            }
        }
    }

    #[test]
    fn what_to_set_is_said() {
        let said = account("1.6.0").no_sync(&[], &[]);
        let said = said.map(|lacking| lacking.to_string()).unwrap_or_default();
        assert!(said.contains("kube-system/driver"), "{said}");
        assert!(said.contains("syncSecret.enabled=true"), "{said}");
    }
}
