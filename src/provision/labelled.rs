//! What runs have in the Kubernetes of a cluster that stays, by their labels, without any ledger.

use futures::{StreamExt as _, stream};
use jiff::Timestamp;

use super::{displaced::kept_by, ledger::Object};
use crate::{
    environment::installation::rank,
    kubernetes::{Kubernetes, KubernetesError, Marked, SECRETS_STORE},
};

/// Lists in flight.
const PARALLEL: usize = 4;

/// Kinds that runs make objects of.
pub(super) const LABELLED: [(&str, &str); 10] = [
    ("v1", "Namespace"),
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    (SECRETS_STORE, "SecretProviderClass"),
    ("storage.k8s.io/v1", "CSIDriver"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("v1", "ServiceAccount"),
    ("apps/v1", "DaemonSet"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
];

/// Kinds that a chart or manifests of somebody's may bring beside: whoever may not list one has made none.
pub(super) const BROUGHT: [(&str, &str); 9] = [
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "Service"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    ("scheduling.k8s.io/v1", "PriorityClass"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("batch/v1", "Job"),
];

/// Something of a run's in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Labelled {
    /// The run's id.
    pub(super) run: String,
    pub(super) object: Object,
    /// When it was made.
    pub(super) created: Option<Timestamp>,
}

/// What a look at a cluster came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Of each run in an order in which it could have been made.
    pub(super) found: Vec<Labelled>,
    /// Kinds that may not be listed.
    pub(super) refused: Vec<&'static str>,
}

/// Looks for what carries the label of a run, whichever run's it is.
///
/// # Errors
///
/// When the API does not answer, or lets nothing be listed at all.
pub(super) async fn look(kubernetes: &Kubernetes) -> Result<Look, KubernetesError> {
    let kinds = LABELLED.into_iter().chain(BROUGHT);
    let number = LABELLED.len() + BROUGHT.len();
    let mut listed = stream::iter(kinds)
        .map(|(version, kind)| async move { (kind, kubernetes.marked(version, kind, None).await) })
        .buffered(PARALLEL);
    let (mut all, mut refused, mut denied) = (Vec::new(), Vec::new(), 0);
    while let Some((kind, answer)) = listed.next().await {
        match answer {
            Ok(found) => all.extend(found),
            Err(error) if error.status == Some(403) => {
                denied += 1;
                if denied == number {
                    return Err(error);
                }
                // Kept from whoever sweeps on purpose: whoever may list them may read them.
                if kind != "Secret" {
                    refused.push(kind);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Look {
        found: classified(all),
        refused,
    })
}

/// PURE: what becomes of each, in an order in which a run could have made them: see [`Plan`](super::order::Plan).
///
/// What a tenant has, and pods wherever they are, is mounted; all else is what they mount by, and goes after it. What something
/// else makes goes with that.
fn classified(found: Vec<Marked>) -> Vec<Labelled> {
    let mut found = found;
    found.retain(|one| !one.controlled);
    let of_tenants: Vec<(String, String)> = found
        .iter()
        .filter(|one| one.object.kind == "Namespace" && one.of_tenant)
        .map(|one| (one.run.clone(), one.object.name.clone()))
        .collect();
    // By name last: what a run displaced has numbers.
    found.sort_by_key(|one| (rank(&one.object.kind), one.object.name.clone()));
    let labelled = found.into_iter().map(|one| {
        let is_tenants = |namespace: &str| {
            let mut of_tenants = of_tenants.iter();
            of_tenants.any(|(run, tenant)| *run == one.run && tenant == namespace)
        };
        let mounts = matches!(
            one.object.kind.as_str(),
            "Pod" | "Deployment" | "SecretProviderClass"
        );
        let own = match (&one.object.namespace, one.object.kind.as_str()) {
            (None, "Namespace") => is_tenants(&one.object.name),
            (Some(namespace), _) => is_tenants(namespace),
            (None, _) => false,
        };
        let object = match kept_by(&one) {
            Some(displaced) if !own => Object::Displaced {
                object: displaced.clone(),
                saved: None,
                kept: Some(one.object),
            },
            _ if own || mounts => Object::Kubernetes(one.object),
            _ => Object::Installed(one.object),
        };
        Labelled {
            run: one.run,
            object,
            created: one.created,
        }
    });
    labelled.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::ObjectRef;

    fn marked(kind: &str, namespace: Option<&str>, name: &str) -> Marked {
        Marked {
            object: ObjectRef::new("v1", kind, namespace, name),
            run: "r1".to_owned(),
            of_tenant: false,
            displaced: None,
            controlled: false,
            created: None,
        }
    }

    fn tenants(kind: &str, namespace: Option<&str>, name: &str) -> Marked {
        Marked {
            of_tenant: true,
            ..marked(kind, namespace, name)
        }
    }

    #[test]
    fn what_mounts_is_told_from_what_it_mounts_by() {
        let driver = ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), "theirs");
        let kept = Marked {
            displaced: Some(driver.clone()),
            ..marked("ConfigMap", Some("kube-system"), "mountproof-displaced-r1-00")
        };
        // Anybody can write that in a namespace of theirs.
        let pretended = Marked {
            displaced: Some(driver.clone()),
            ..marked("ConfigMap", Some("somebodys"), "mountproof-displaced-r1-01")
        };
        let of_a_deployment = Marked {
            controlled: true,
            ..tenants("Pod", Some("team-red"), "app-x")
        };
        let elsewhere = Marked {
            run: "r2".to_owned(),
            ..marked("ConfigMap", Some("team-red"), "c")
        };
        let found = classified(vec![
            marked("DaemonSet", Some("kube-system"), "driver"),
            kept.clone(),
            pretended.clone(),
            of_a_deployment,
            elsewhere.clone(),
            tenants("Pod", Some("team-red"), "app"),
            marked("Pod", Some("kube-system"), "pull"),
            tenants("ServiceAccount", Some("team-red"), "default"),
            marked("ServiceAccount", Some("kube-system"), "driver"),
            tenants("Namespace", None, "team-red"),
            marked("Namespace", None, "agent"),
        ]);
        let objects: Vec<Object> = found.into_iter().map(|one| one.object).collect();
        let object = |marked: Marked| marked.object;
        assert_eq!(
            objects,
            [
                Object::Installed(object(marked("Namespace", None, "agent"))),
                Object::Kubernetes(object(marked("Namespace", None, "team-red"))),
                Object::Kubernetes(object(marked("ServiceAccount", Some("team-red"), "default"))),
                Object::Installed(object(marked("ServiceAccount", Some("kube-system"), "driver"))),
                // Another run's, in a namespace that is not its own.
                Object::Installed(object(elsewhere)),
                Object::Displaced {
                    object: driver,
                    saved: None,
                    kept: Some(object(kept)),
                },
                Object::Installed(object(pretended)),
                Object::Kubernetes(object(marked("Pod", Some("team-red"), "app"))),
                Object::Kubernetes(object(marked("Pod", Some("kube-system"), "pull"))),
                Object::Installed(object(marked("DaemonSet", Some("kube-system"), "driver"))),
            ]
        );
    }
}
