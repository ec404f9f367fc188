//! What stands behind a cluster: another Kubernetes API server, which someone else starts and ends.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;
use serde_json::Value;

use super::EksIdentity;

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
