//! PURE. The order of removal: whatever depends on something goes before it, and what does not depend on each other goes
//! together.
//!
//! Pods and namespaces go first: mounts need everything else. Then driver and provider, where they are the run's own in a
//! cluster that stays, the last made first. Then what the tenants have in AWS; then add-ons, node groups and the cluster; and
//! last what those needed. EKS deletes no cluster with node groups, and takes a cluster down by its role, so that the roles
//! that were on record before cluster or node group stay until those are gone.
//!
//! Of a cluster of the run's own, only its node groups are removed beside itself. Its namespaces and pods go with its nodes: the
//! run makes nothing in them that has a thing in AWS of its own (no load balancer, no volume), and hundreds of namespaces take
//! longer than the nodes. Its associations and add-ons go with it too: without `vpc-cni` nodes leave their network interfaces
//! behind.

use std::collections::BTreeMap;

use super::ledger::Object;
use crate::kubernetes::ObjectRef;

/// What is removed when.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Objects in namespaces that are not on record.
    pub(super) loose: Vec<Object>,
    pub(super) namespaces: Vec<Object>,
    /// Objects by the namespace, on record, that they go with.
    pub(super) inside: BTreeMap<Object, Vec<Object>>,
    /// Groups, one after the other; what is in one goes together.
    pub(super) after: Vec<Vec<Object>>,
    /// What clusters and node groups were made with, which goes when those are gone.
    pub(super) of_clusters: Vec<Vec<Object>>,
    /// Objects by the EKS cluster, on record, that they go with.
    pub(super) with_cluster: BTreeMap<Object, Vec<Object>>,
}

/// Groups after namespaces and what is installed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Associations,
    /// Before the policies attached to them.
    RolesAndSecrets,
    Policies,
    ClusterWide,
    Addons,
    Nodegroups,
    Clusters,
}

impl Plan {
    /// The order for what is on record, which is in the order of planning.
    pub(super) fn of(standing: Vec<Object>) -> Self {
        let mut plan = Self::default();
        let own: Vec<Object> = standing
            .iter()
            .filter(|object| matches!(object, Object::EksCluster(_)))
            .cloned()
            .collect();
        plan.with_cluster = own.iter().map(|cluster| (cluster.clone(), Vec::new())).collect();
        // What was on record before them is what they were made with.
        let clusters_end = standing
            .iter()
            .rposition(|object| matches!(object, Object::EksCluster(_) | Object::Nodegroup { .. }))
            .unwrap_or(0);
        let mut inner = Vec::new();
        let mut installed = Vec::new();
        let mut displaced = Vec::new();
        let (mut roles, mut policies) = (Vec::new(), Vec::new());
        let mut groups: BTreeMap<Group, Vec<Object>> = BTreeMap::new();
        for (position, object) in standing.into_iter().enumerate().rev() {
            if let Some(cluster) = goes_with(&object, &own) {
                plan.with_cluster.entry(cluster).or_default().push(object);
                continue;
            }
            let of_cluster = position < clusters_end;
            let group = match &object {
                Object::Kubernetes(_) if namespace_of(&object).is_some() => {
                    inner.push(object);
                    continue;
                }
                Object::Kubernetes(reference) if reference.kind == "Namespace" => {
                    plan.namespaces.push(object);
                    continue;
                }
                Object::Installed(_) => {
                    installed.push(vec![object]);
                    continue;
                }
                // Back again once nothing of the run's is in its place.
                Object::Displaced { .. } => {
                    displaced.push(vec![object]);
                    continue;
                }
                Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_) => continue,
                Object::PodIdentityAssociation { .. } => Group::Associations,
                Object::Role(_) if of_cluster => {
                    roles.push(object);
                    continue;
                }
                Object::Role(_) | Object::Secret(_) => Group::RolesAndSecrets,
                Object::Policy(_) if of_cluster => {
                    policies.push(object);
                    continue;
                }
                Object::Policy(_) | Object::OidcProvider(_) => Group::Policies,
                Object::Kubernetes(_) => Group::ClusterWide,
                Object::Addon { .. } => Group::Addons,
                Object::Nodegroup { .. } => Group::Nodegroups,
                Object::EksCluster(_) => Group::Clusters,
            };
            groups.entry(group).or_default().push(object);
        }
        plan.inside = plan
            .namespaces
            .iter()
            .map(|namespace| (namespace.clone(), Vec::new()))
            .collect();
        for object in inner {
            let namespace = namespace_of(&object).and_then(|namespace| plan.inside.get_mut(&namespace));
            match namespace {
                Some(objects) => objects.push(object),
                None => plan.loose.push(object),
            }
        }
        plan.of_clusters = vec![roles, policies];
        plan.of_clusters.retain(|group| !group.is_empty());
        plan.after = installed
            .into_iter()
            .chain(displaced)
            .chain(groups.into_values())
            .collect();
        plan
    }

    /// The same order for those objects only that can be reached. What goes with a cluster need not be.
    pub(super) fn keeping(mut self, reached: &dyn Fn(&Object) -> bool) -> Self {
        self.loose.retain(reached);
        self.namespaces.retain(reached);
        self.inside.retain(|namespace, _| reached(namespace));
        for groups in [&mut self.after, &mut self.of_clusters] {
            for group in groups.iter_mut() {
                group.retain(reached);
            }
            groups.retain(|group| !group.is_empty());
        }
        self
    }
}

/// The EKS cluster of the run's own that an object goes with.
fn goes_with(object: &Object, own: &[Object]) -> Option<Object> {
    let cluster = match object {
        Object::Addon { cluster, .. } | Object::PodIdentityAssociation { cluster, .. } => {
            Object::EksCluster(cluster.clone())
        }
        // A run has one Kubernetes.
        Object::Kubernetes(_) | Object::Installed(_) | Object::Displaced { .. } => {
            return own.first().cloned();
        }
        _ => return None,
    };
    own.contains(&cluster).then_some(cluster)
}

fn namespace_of(object: &Object) -> Option<Object> {
    match object {
        Object::Kubernetes(ObjectRef {
            namespace: Some(namespace),
            ..
        }) => Some(Object::Kubernetes(ObjectRef::new(
            "v1",
            "Namespace",
            None,
            namespace,
        ))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubernetes(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Object {
        Object::Kubernetes(ObjectRef::new(api_version, kind, namespace, name))
    }

    fn installed(kind: &str, name: &str) -> Object {
        Object::Installed(ObjectRef::new("v1", kind, None, name))
    }

    fn role(name: &str) -> Object {
        Object::Role(name.to_owned())
    }

    fn policy(name: &str) -> Object {
        Object::Policy(name.to_owned())
    }

    fn nodegroup(cluster: &str) -> Object {
        Object::Nodegroup {
            cluster: cluster.to_owned(),
            name: "nodes".to_owned(),
        }
    }

    fn addon(cluster: &str) -> Object {
        Object::Addon {
            cluster: cluster.to_owned(),
            name: "coredns".to_owned(),
        }
    }

    fn association(cluster: &str) -> Object {
        Object::PodIdentityAssociation {
            cluster: cluster.to_owned(),
            namespace: "a".to_owned(),
            service_account: "default".to_owned(),
        }
    }

    #[test]
    fn what_depends_on_something_goes_before_it() {
        let namespace = kubernetes("v1", "Namespace", None, "a");
        let inner = kubernetes("v1", "Pod", Some("a"), "p");
        let loose = kubernetes("v1", "Pod", Some("elsewhere"), "p");
        let driver = kubernetes("storage.k8s.io/v1", "CSIDriver", None, "d");
        let secret = Object::Secret("s".into());
        let provider = Object::OidcProvider("o".into());
        let plan = Plan::of(vec![
            driver.clone(),
            provider.clone(),
            policy("p"),
            role("r"),
            inner.clone(),
            namespace.clone(),
            loose.clone(),
            secret.clone(),
            Object::Scratch("/nowhere".into()),
        ]);
        assert_eq!(
            plan,
            Plan {
                loose: vec![loose],
                namespaces: vec![namespace.clone()],
                inside: BTreeMap::from([(namespace, vec![inner])]),
                after: vec![vec![secret, role("r")], vec![policy("p"), provider], vec![driver]],
                of_clusters: Vec::new(),
                with_cluster: BTreeMap::new(),
            }
        );
    }

    /// What is made in an account, in the order of making, and the groups that it goes in behind namespaces.
    #[test]
    fn what_is_in_an_account_goes_in_the_order_of_what_needs_what() {
        let own = Object::EksCluster("own".to_owned());
        let namespace = || kubernetes("v1", "Namespace", None, "a");
        for (what, made, after, of_clusters, with_cluster) in [
            (
                "a cluster that stays: installation backwards and before what tenants have, add-on after it",
                vec![
                    installed("CustomResourceDefinition", "c"),
                    installed("DaemonSet", "d"),
                    addon("theirs"),
                    policy("tenant"),
                    role("tenant"),
                    association("theirs"),
                ],
                vec![
                    vec![installed("DaemonSet", "d")],
                    vec![installed("CustomResourceDefinition", "c")],
                    vec![association("theirs")],
                    vec![role("tenant")],
                    vec![policy("tenant")],
                    vec![addon("theirs")],
                ],
                vec![],
                vec![],
            ),
            (
                "a cluster of the run's own: its roles outlive it, tenants' do not, and what is in it goes with it",
                vec![
                    role("cluster"),
                    own.clone(),
                    role("node"),
                    nodegroup("own"),
                    addon("own"),
                    installed("DaemonSet", "d"),
                    namespace(),
                    association("own"),
                    policy("tenant"),
                    role("tenant"),
                ],
                vec![
                    vec![role("tenant")],
                    vec![policy("tenant")],
                    vec![nodegroup("own")],
                    vec![own.clone()],
                ],
                vec![vec![role("node"), role("cluster")]],
                vec![
                    association("own"),
                    namespace(),
                    installed("DaemonSet", "d"),
                    addon("own"),
                ],
            ),
            (
                "a cluster that was hardly begun",
                vec![role("cluster"), own.clone()],
                vec![vec![own.clone()]],
                vec![vec![role("cluster")]],
                vec![],
            ),
            (
                "a role before there is a cluster",
                vec![role("cluster")],
                vec![vec![role("cluster")]],
                vec![],
                vec![],
            ),
        ] {
            let plan = Plan::of(made);
            assert_eq!(plan.after, after, "{what}");
            assert_eq!(plan.of_clusters, of_clusters, "{what}");
            let went: Vec<Object> = plan.with_cluster.into_values().flatten().collect();
            assert_eq!(went, with_cluster, "{what}");
        }
    }
}
