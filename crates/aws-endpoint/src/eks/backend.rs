//! What stands behind a cluster: another Kubernetes API server, its nodes and what add-ons put on them, which someone
//! else starts and ends.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use serde_json::Value;

use super::EksIdentity;
use crate::standing::InstanceCredentials;

/// Starts and ends the API servers of clusters. Given to [`crate::EndpointConfig`] by whoever has some; this
/// crate knows no Kubernetes.
pub trait ClusterBackend: fmt::Debug + Send + Sync {
    /// Starts the API server of a new cluster. The text of a failure is told in the cluster's
    /// health, and makes it `FAILED`. What the server asks about the bearers of `k8s-aws-v1.` tokens is `callers`.
    fn create(
        &self,
        wanted: ClusterWanted,
        callers: ClusterCallers,
    ) -> BoxFuture<'_, Result<ClusterParts, String>>;

    /// Ends the API server of a cluster that is being deleted.
    fn delete(&self, region: &str, name: &str) -> BoxFuture<'_, ()>;

    /// The endpoint listens here, before it asks for anything else: the nodes of clusters reach AWS there.
    fn served_at(&self, _endpoint: SocketAddr) {}

    /// Has the cluster's node group be as it is wanted: called when it is made and when it is changed, and answered
    /// when its nodes are registered. A failure makes a new one `CREATE_FAILED`. Without nodes behind them, groups are
    /// records.
    /// Its instances have the credentials of `keys`.
    fn provide_nodes(
        &self,
        _wanted: NodegroupWanted,
        _keys: InstanceKeys,
    ) -> BoxFuture<'_, Result<(), BackendTrouble>> {
        Box::pin(async { Ok(()) })
    }

    /// Drains and ends the nodes of a group that is being deleted.
    fn remove_nodes(&self, _group: MemberKey) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Installs an add-on in its cluster, or another version of it. A failure makes a new one `CREATE_FAILED`.
    fn install(&self, _wanted: AddonWanted) -> BoxFuture<'_, Result<(), BackendTrouble>> {
        Box::pin(async { Ok(()) })
    }

    /// Removes from its cluster what an add-on has put there.
    fn uninstall(&self, _addon: MemberKey) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// The credentials that an instance of a node group has by its role, as its metadata service gives them, by the id of the
/// instance; `None` where the role is gone, or the endpoint.
pub type InstanceKeys = Arc<dyn Fn(&str) -> Option<InstanceCredentials> + Send + Sync>;

/// A node group or an add-on of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberKey {
    /// Such as `eu-west-1`.
    pub region: String,
    /// The cluster.
    pub cluster: String,
    /// Unique among those of its kind in the cluster.
    pub name: String,
}

/// A node group as somebody wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct NodegroupWanted {
    /// Whose it is.
    pub key: MemberKey,
    /// How many nodes.
    pub desired: usize,
    /// The first of its instance types.
    pub instance_type: String,
    /// Its capacity type: `ON_DEMAND` or `SPOT`.
    pub capacity: String,
    /// The role of its instances, as an ARN.
    pub role: String,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Labels that its nodes are to have.
    pub labels: BTreeMap<String, String>,
    /// Taints that its nodes are to have, as EKS writes them: `key`, `value` and `effect` (such as `NO_SCHEDULE`).
    pub taints: Vec<Value>,
}

/// An add-on as somebody wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonWanted {
    /// Whose it is.
    pub key: MemberKey,
    /// Such as `v3.1.0-eksbuild.1`.
    pub version: String,
    /// Its `configurationValues`.
    pub configuration: Option<String>,
    /// Whether what is there already may be taken over: `resolveConflicts` is `OVERWRITE`.
    pub overwrite: bool,
    /// Whether it is there, and is to be changed.
    pub update: bool,
}

/// Why something is not as it was wanted, as the health of a node group or an add-on tells it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct BackendTrouble {
    /// One of those that `Issue` or `AddonIssue` of the API reference lists, such as `NodeCreationFailure`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// Who the bearer of a `k8s-aws-v1.` token is for one cluster, as the webhook says that EKS gives to its API
/// servers; `None` for one who may not come in, and once the cluster or the endpoint is gone.
pub type ClusterCallers = Arc<dyn Fn(&str) -> Option<EksIdentity> + Send + Sync>;

/// The cluster that somebody asked EKS for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterWanted {
    /// Such as `eu-west-1`.
    pub region: String,
    /// Unique in its region.
    pub name: String,
    /// Such as `1.36`.
    pub version: String,
    /// The URL that EKS would give its token issuer. An API server that can be told so signs in this name, and
    /// its keys are served there.
    pub issuer: String,
}

/// What EKS tells about a cluster that has been started.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterParts {
    /// URL of the API server.
    pub endpoint: String,
    /// The authority of its certificate, as PEM.
    pub certificate_authority_pem: String,
    /// `iss` of its tokens.
    pub issuer: String,
    /// The keys of its tokens: a JWK set.
    pub jwks: Value,
}
