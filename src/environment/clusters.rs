//! EKS clusters of the AWS endpoint, each with an API server behind it: the Kubernetes stand-in.
//!
//! `CreateCluster` starts one, whose tokens are signed in the name of the cluster's issuer and which asks the
//! endpoint about `k8s-aws-v1.` tokens; `DeleteCluster` ends it. What runs against EKS then finds here what it
//! looks for: endpoint, authority, issuer, callers by access entry.
//!
//! Left out: the version asked for, as the stand-in is of one; access policies and RBAC, as it lets whoever is
//! authenticated do everything; nodes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_aws_endpoint::eks::{ClusterBackend, ClusterCallers, ClusterParts, ClusterWanted};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::kubernetes::{ApiServer, ApiServerConfig, TokenWebhook, User};

/// Group of everybody who is known: Kubernetes adds it.
const AUTHENTICATED: &str = "system:authenticated";

/// The API servers of all clusters. Dropping it ends them.
#[derive(Debug)]
pub struct StandInClusters {
    ca: Arc<RunCa>,
    /// By region and name.
    running: Mutex<BTreeMap<(String, String), ApiServer>>,
}

impl StandInClusters {
    /// None yet; `ca` signs their certificates.
    #[must_use]
    pub fn new(ca: &Arc<RunCa>) -> Self {
        Self {
            ca: Arc::clone(ca),
            running: Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), ApiServer>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClusterBackend for StandInClusters {
    fn create(
        &self,
        wanted: ClusterWanted,
        callers: ClusterCallers,
    ) -> BoxFuture<'_, Result<ClusterParts, String>> {
        async move {
            let api = ApiServer::start(ApiServerConfig {
                issuer: Some(wanted.issuer.clone()),
                webhook: Some(webhook(callers)),
                ..ApiServerConfig::on_loopback(Arc::clone(&self.ca))
            })
            .await
            .map_err(|error| error.to_string())?;
            let parts = ClusterParts {
                endpoint: api.url(),
                certificate_authority_pem: api.ca_pem().to_owned(),
                issuer: wanted.issuer,
                jwks: api.key_set(),
            };
            self.running().insert((wanted.region, wanted.name), api);
            Ok(parts)
        }
        .boxed()
    }

    fn delete(&self, region: &str, name: &str) -> BoxFuture<'_, ()> {
        let api = self.running().remove(&(region.to_owned(), name.to_owned()));
        async move {
            if let Some(api) = api {
                api.stop().await;
            }
        }
        .boxed()
    }
}

/// What EKS says of a caller, as Kubernetes wants it.
fn webhook(callers: ClusterCallers) -> TokenWebhook {
    Arc::new(move |token| {
        let identity = callers(token)?;
        let mut groups = identity.groups;
        groups.push(AUTHENTICATED.to_owned());
        Some(User {
            name: identity.username,
            groups,
        })
    })
}
