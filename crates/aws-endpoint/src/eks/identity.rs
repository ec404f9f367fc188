//! Who somebody is for a cluster: a caller of its API server by access entry, a pod by association.

use serde_json::Value;

use super::{
    EksStore,
    store::{Association, AuthenticationMode, Cluster, Phase},
};

/// Who a caller of a cluster's API server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EksIdentity {
    /// The caller as STS names it; a session for a session.
    pub arn: String,
    /// In Kubernetes.
    pub username: String,
    /// In Kubernetes.
    pub groups: Vec<String>,
    /// What EKS itself authorises, beside the cluster's RBAC.
    pub policies: Vec<AccessPolicy>,
}

/// An access policy of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessPolicy {
    /// Such as `arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy`.
    pub arn: String,
    /// Empty for the whole cluster.
    pub namespaces: Vec<String>,
}

/// Who `arn` (of a session, a user or an account's root) is for a cluster; `None` for one who may not come in.
/// `principal` is the same as IAM has it: the role of a session.
#[must_use]
pub fn identify(
    store: &EksStore,
    region: &str,
    cluster: &str,
    arn: &str,
    principal: &str,
) -> Option<EksIdentity> {
    let cluster = store.find(region, cluster)?;
    if cluster.mode == AuthenticationMode::ConfigMap {
        // Without entries there is the one who made it; the ConfigMap `aws-auth` is the API server's.
        return (cluster.creator.as_deref() == Some(principal)).then(|| EksIdentity {
            arn: arn.to_owned(),
            username: "kubernetes-admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            policies: Vec::new(),
        });
    }
    let entry = cluster.access.get(principal)?;
    let session = arn.rsplit('/').next().unwrap_or_default();
    let account = arn.split(':').nth(4).unwrap_or_default();
    // `SessionName` has no `@`, as Kubernetes' user names had none once.
    let username = entry
        .username
        .replace("{{SessionNameRaw}}", session)
        .replace("{{SessionName}}", &session.replace('@', "-"))
        .replace("{{AccountID}}", account);
    let policies = entry.policies.iter().map(|(arn, policy)| AccessPolicy {
        arn: arn.clone(),
        namespaces: policy.namespaces.clone(),
    });
    Some(EksIdentity {
        arn: arn.to_owned(),
        username,
        groups: entry.groups.clone(),
        policies: policies.collect(),
    })
}

/// What a `ServiceAccount` of a cluster gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodIdentity {
    pub(crate) cluster_arn: String,
    pub(crate) association_id: String,
    pub(crate) association_arn: String,
    pub(crate) role: String,
    pub(crate) session_tags: bool,
}

/// The association of a `ServiceAccount`; the error says whether there is such a cluster.
pub(crate) fn pod_identity(
    store: &EksStore,
    region: &str,
    cluster: &str,
    namespace: &str,
    service_account: &str,
) -> Option<PodIdentity> {
    let cluster = store.find(region, cluster)?;
    let association = cluster.association(namespace, service_account)?;
    Some(described(cluster, association))
}

/// The first association of a `ServiceAccount` of this name in any namespace: nobody should ask.
pub(crate) fn pod_identity_of_any_namespace(
    store: &EksStore,
    region: &str,
    cluster: &str,
    service_account: &str,
) -> Option<PodIdentity> {
    let cluster = store.find(region, cluster)?;
    let mut all = cluster.associations.values();
    let association = all.find(|one| one.service_account == service_account)?;
    Some(described(cluster, association))
}

fn described(cluster: &Cluster, association: &Association) -> PodIdentity {
    PodIdentity {
        cluster_arn: cluster.record.arn.clone(),
        association_id: association.id.clone(),
        association_arn: association.arn.clone(),
        role: association.role.clone(),
        session_tags: association.session_tags,
    }
}

/// Region and name of the cluster whose tokens have this `iss`.
pub(crate) fn cluster_of_issuer(store: &EksStore, issuer: &str) -> Option<(String, String)> {
    let (region, cluster) = store.of_issuer(issuer)?;
    Some((region.to_owned(), cluster.name.clone()))
}

/// The issuer of a cluster that is there.
pub(crate) fn issuer_keys(store: &EksStore, issuer: &str) -> Option<Value> {
    let (_, cluster) = store.of_issuer(issuer)?;
    let there = !matches!(cluster.record.phase, Phase::Starting | Phase::Failed);
    there.then(|| cluster.keys.published())
}
