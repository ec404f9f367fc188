//! PURE. What a run may do in a cluster that is somebody else's, and nothing beyond it.

use serde_json::{Value, json};

/// Name of the role that grants a run all that it needs.
pub(super) const ROLE: &str = "mountproof";
/// Likewise, of a sweep without ledgers.
const SWEEPER: &str = "mountproof-sweep";

/// Verbs on one resource of the API, in any namespace: tenants' are made by the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// API group; empty is the core's.
    pub group: &'static str,
    /// The resource, with its subresource behind a `/`.
    pub resource: &'static str,
    /// What is done with it.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
    /// When it is needed.
    pub when: When,
}

/// When a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Always.
    Always,
    /// Where driver or provider are installed for the run.
    Installing,
    /// Where the agent is put on the nodes.
    Agent,
}

/// What a run does, as the API authorizes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Does {
    /// It installs driver or provider.
    pub installs: bool,
    /// It puts the agent on the nodes.
    pub agent: bool,
}

const READ: &[&str] = &["get", "list"];
const SEE: &[&str] = &["get", "list", "watch"];
const MAKE: &[&str] = &["get", "list", "create", "patch", "update", "delete"];
const RBAC: &str = "rbac.authorization.k8s.io";
const STORE: &str = "secrets-store.csi.x-k8s.io";

const fn right(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
    when: When,
) -> Right {
    Right {
        group,
        resource,
        verbs,
        why,
        when,
    }
}

/// Every right that a run may need, by what it is for.
const RIGHTS: &[Right] = &[
    right(
        "",
        "namespaces",
        &["get", "list", "create", "delete"],
        "a tenant is a namespace",
        When::Always,
    ),
    right(
        "",
        "serviceaccounts",
        &["get", "list", "create", "patch"],
        "a tenant's ServiceAccount is annotated with its role",
        When::Always,
    ),
    right(
        "",
        "serviceaccounts/token",
        &["create"],
        "tokens of tenants, for what impostors try and for fetches",
        When::Always,
    ),
    right(
        "",
        "pods",
        &["get", "list", "watch", "create", "delete"],
        "workloads that mount",
        When::Always,
    ),
    right(
        "",
        "pods/log",
        &["get"],
        "what driver and provider write",
        When::Always,
    ),
    right(
        "",
        "events",
        &["list", "watch"],
        "why a mount was refused",
        When::Always,
    ),
    right(
        "",
        "secrets",
        &["get"],
        "Secrets that the driver syncs, in tenants' namespaces",
        When::Always,
    ),
    right(
        "",
        "nodes",
        SEE,
        "where pods fit, and what befalls nodes",
        When::Always,
    ),
    right(
        "apps",
        "deployments",
        &["get", "list", "create", "patch", "delete"],
        "workloads that mount",
        When::Always,
    ),
    right(
        "apps",
        "daemonsets",
        READ,
        "driver and provider, as they are",
        When::Always,
    ),
    right(
        STORE,
        "secretproviderclasses",
        &["get", "list", "create", "delete"],
        "what a pod mounts",
        When::Always,
    ),
    right(
        STORE,
        "secretproviderclasspodstatuses",
        &["get", "list", "delete"],
        "what the driver says of it",
        When::Always,
    ),
    right(
        "storage.k8s.io",
        "csidrivers",
        READ,
        "what kubelet hands to the driver",
        When::Always,
    ),
    right(
        "storage.k8s.io",
        "csinodes",
        &["list"],
        "where kubelet knows the driver",
        When::Always,
    ),
    right(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        READ,
        "the driver's kinds",
        When::Always,
    ),
    right(
        RBAC,
        "clusterroles",
        READ,
        "the rights of driver and provider, for the report",
        When::Always,
    ),
    right(RBAC, "clusterrolebindings", READ, "likewise", When::Always),
    right(RBAC, "roles", READ, "likewise", When::Always),
    right(RBAC, "rolebindings", READ, "likewise", When::Always),
    right(
        "apps",
        "daemonsets",
        MAKE,
        "driver and provider",
        When::Installing,
    ),
    right("", "serviceaccounts", MAKE, "theirs", When::Installing),
    right(
        "",
        "configmaps",
        MAKE,
        "whom the provider trusts for AWS",
        When::Installing,
    ),
    right(
        "storage.k8s.io",
        "csidrivers",
        MAKE,
        "the driver's object",
        When::Installing,
    ),
    right(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        MAKE,
        "the driver's kinds",
        When::Installing,
    ),
    // Whoever makes a role must have what is in it, or may this.
    right(
        RBAC,
        "clusterroles",
        &["create", "update", "patch", "delete", "bind", "escalate"],
        "their rights",
        When::Installing,
    ),
    right(
        RBAC,
        "clusterrolebindings",
        MAKE,
        "their rights",
        When::Installing,
    ),
    right(
        RBAC,
        "roles",
        &["create", "update", "patch", "delete", "bind", "escalate"],
        "their rights",
        When::Installing,
    ),
    right(RBAC, "rolebindings", MAKE, "their rights", When::Installing),
    right(
        "apps",
        "daemonsets",
        &["get", "create", "delete"],
        "the agent",
        When::Agent,
    ),
    right(
        "",
        "pods/portforward",
        &["create", "get"],
        "the way to the agent",
        When::Agent,
    ),
];

const CLEAN: &[&str] = &["get", "list", "delete"];
const RESTORE: &[&str] = &["get", "list", "create", "delete"];
/// Whoever puts a role back must have what is in it, or may this.
const RESTORE_RIGHTS: &[&str] = &["get", "list", "create", "delete", "bind", "escalate"];

/// What a sweep without ledgers needs: it looks for all that a run may have made, removes it, and puts back what made room for
/// it. Not for Secrets: nobody lists them by name alone, and runs make none but what manifests of somebody's bring.
const OF_SWEEPS: &[Right] = &[
    right("", "namespaces", CLEAN, "tenants", When::Always),
    right("", "pods", CLEAN, "workloads", When::Always),
    right("apps", "deployments", CLEAN, "workloads", When::Always),
    right(
        STORE,
        "secretproviderclasses",
        CLEAN,
        "what pods mounted",
        When::Always,
    ),
    right(
        STORE,
        "secretproviderclasspodstatuses",
        &["list"],
        "whether a definition has objects of others",
        When::Always,
    ),
    right("", "serviceaccounts", RESTORE, "theirs", When::Always),
    right(
        "",
        "configmaps",
        RESTORE,
        "what keeps what was displaced",
        When::Always,
    ),
    right("", "services", CLEAN, "what manifests bring", When::Always),
    right("apps", "daemonsets", RESTORE, "driver and provider", When::Always),
    right("batch", "jobs", CLEAN, "what manifests bring", When::Always),
    right("policy", "poddisruptionbudgets", CLEAN, "likewise", When::Always),
    right(
        "networking.k8s.io",
        "networkpolicies",
        CLEAN,
        "likewise",
        When::Always,
    ),
    right(
        "scheduling.k8s.io",
        "priorityclasses",
        CLEAN,
        "likewise",
        When::Always,
    ),
    right(
        "storage.k8s.io",
        "csidrivers",
        RESTORE,
        "the driver's object",
        When::Always,
    ),
    right(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        CLEAN,
        "the driver's kinds",
        When::Always,
    ),
    right(RBAC, "clusterroles", RESTORE_RIGHTS, "their rights", When::Always),
    right(RBAC, "clusterrolebindings", RESTORE, "their rights", When::Always),
    right(RBAC, "roles", RESTORE_RIGHTS, "their rights", When::Always),
    right(RBAC, "rolebindings", RESTORE, "their rights", When::Always),
];

/// The documents of the issuer of tokens, which are no resources.
const PATHS: [&str; 3] = ["/.well-known/openid-configuration", "/openid/v1/jwks", "/version"];

/// The rights that a run needs that does this.
#[must_use]
pub fn required_rights(does: Does) -> Vec<Right> {
    let needed = |right: &&Right| match right.when {
        When::Always => true,
        When::Installing => does.installs,
        When::Agent => does.agent,
    };
    RIGHTS.iter().filter(needed).copied().collect()
}

/// The `ClusterRole` of a sweep without ledgers.
#[must_use]
pub fn role_of_sweeps() -> Value {
    role(SWEEPER, OF_SWEEPS, &["/version"])
}

/// The `ClusterRole` that grants a run these, and no more.
#[must_use]
pub fn cluster_role(rights: &[Right]) -> Value {
    role(ROLE, rights, &PATHS)
}

fn role(name: &str, rights: &[Right], paths: &[&str]) -> Value {
    let mut rules: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for right in rights {
        let rule = rules
            .iter_mut()
            .find(|(group, resource, _)| (*group, *resource) == (right.group, right.resource));
        let verbs = if let Some((_, _, verbs)) = rule {
            verbs
        } else {
            rules.push((right.group, right.resource, Vec::new()));
            &mut rules.last_mut().expect("it has just been pushed").2
        };
        for verb in right.verbs {
            if !verbs.contains(verb) {
                verbs.push(verb);
            }
        }
    }
    let mut written: Vec<Value> = rules
        .iter()
        .map(|(group, resource, verbs)| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs }))
        .collect();
    written.push(json!({ "nonResourceURLs": paths, "verbs": ["get"] }));
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name },
        "rules": written,
    })
}

/// One question to the API: may this caller do that?
#[must_use]
pub(super) fn question(right: &Right, verb: &str) -> Value {
    let (resource, subresource) = right.resource.split_once('/').unwrap_or((right.resource, ""));
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "group": right.group, "resource": resource, "subresource": subresource, "verb": verb,
        } },
    })
}

/// What is lacking, in words, with the role that grants it; nothing where nothing is.
#[must_use]
pub(super) fn lacking(refused: &[(Right, &'static str)]) -> Option<String> {
    if refused.is_empty() {
        return None;
    }
    let mut said: Vec<String> = Vec::new();
    let mut named: Vec<(Right, Vec<&str>)> = Vec::new();
    for (right, verb) in refused {
        match named.iter_mut().find(|(known, _)| known == right) {
            Some((_, verbs)) => verbs.push(verb),
            None => named.push((*right, vec![verb])),
        }
    }
    for (right, verbs) in named {
        let group = if right.group.is_empty() {
            String::new()
        } else {
            format!(".{}", right.group)
        };
        said.push(format!(
            "{} {}{group} ({})",
            verbs.join(", "),
            right.resource,
            right.why
        ));
    }
    Some(format!(
        "this user may not do in the cluster what a run does:\n  - {}\nhave the ClusterRole {ROLE} of `mountproof doctor \
         --print-policy` bound to it",
        said.join("\n  - ")
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn verbs<'a>(role: &'a Value, group: &str, resource: &str) -> Vec<&'a str> {
        let rules = role["rules"].as_array().unwrap();
        let mut found = rules
            .iter()
            .filter(|rule| rule["apiGroups"][0] == group && rule["resources"][0] == resource);
        let granted = found.next().unwrap_or_else(|| panic!("no rule for {resource}"));
        assert!(found.next().is_none(), "two rules for {resource}");
        granted["verbs"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect()
    }

    #[test]
    fn a_run_that_makes_nothing_of_the_driver_may_not_touch_it() {
        let role = cluster_role(&required_rights(Does::default()));
        assert_eq!(verbs(&role, "apps", "daemonsets"), ["get", "list"]);
        assert_eq!(verbs(&role, "storage.k8s.io", "csidrivers"), ["get", "list"]);
        assert_eq!(verbs(&role, RBAC, "clusterroles"), ["get", "list"]);
        assert_eq!(verbs(&role, "", "secrets"), ["get"]);
        let whole = role.to_string();
        assert!(
            !whole.contains("escalate") && !whole.contains("portforward") && !whole.contains('*'),
            "{whole}"
        );
    }

    #[test]
    fn one_that_installs_may_make_and_remove_what_it_installs() {
        let role = cluster_role(&required_rights(Does {
            installs: true,
            agent: true,
        }));
        let set = verbs(&role, "apps", "daemonsets");
        assert!(
            ["create", "update", "delete"]
                .iter()
                .all(|verb| set.contains(verb)),
            "{set:?}"
        );
        assert!(verbs(&role, RBAC, "clusterroles").contains(&"escalate"));
        assert_eq!(verbs(&role, "", "pods/portforward"), ["create", "get"]);
    }

    #[test]
    fn whoever_sweeps_may_look_for_what_runs_make_and_reads_no_secret() {
        let role = role_of_sweeps();
        for (group, resource) in [
            ("", "namespaces"),
            ("apps", "daemonsets"),
            (STORE, "secretproviderclasses"),
            (RBAC, "clusterroles"),
        ] {
            let granted = verbs(&role, group, resource);
            assert!(
                granted.contains(&"list") && granted.contains(&"delete"),
                "{resource}"
            );
        }
        let text = role.to_string();
        assert!(!text.contains("\"secrets\"") && !text.contains("watch"), "{text}");
    }

    #[test]
    fn all_that_is_lacking_is_said_at_once_with_what_it_is_for() {
        assert_eq!(lacking(&[]), None);
        let of = |resource: &str| *RIGHTS.iter().find(|right| right.resource == resource).unwrap();
        let said = lacking(&[
            (of("pods/log"), "get"),
            (of("secretproviderclasses"), "create"),
            (of("secretproviderclasses"), "delete"),
        ])
        .unwrap();
        assert!(
            said.contains("get pods/log (what driver and provider write)"),
            "{said}"
        );
        assert!(
            said.contains(
                "create, delete secretproviderclasses.secrets-store.csi.x-k8s.io (what a pod mounts)"
            ),
            "{said}"
        );
        assert!(said.contains("ClusterRole mountproof"), "{said}");
    }

    #[test]
    fn a_subresource_is_asked_about_as_such() {
        let right = *RIGHTS.iter().find(|right| right.resource == "pods/log").unwrap();
        let asked = &question(&right, "get")["spec"]["resourceAttributes"];
        assert_eq!(
            (&asked["resource"], &asked["subresource"]),
            (&json!("pods"), &json!("log"))
        );
    }
}
