//! EKS clusters of the AWS endpoint, each with an API server behind it: the Kubernetes stand-in, and with nodes: kubelet
//! stand-ins.
//!
//! ```text
//! CreateCluster ──► API server, scheduler     DeleteCluster ──► both end
//! CreateNodegroup ► kubelets that join it     DeleteNodegroup ► drained, then gone
//!                   └► what their pods run: driver, provider and registrar stand-ins, with what their containers are given
//! ```
//!
//! The API server signs its tokens in the name of the cluster's issuer and asks the endpoint about `k8s-aws-v1.` tokens. What
//! runs against EKS then finds here what it looks for: endpoint, authority, issuer, callers by access entry, nodes.
//!
//! Left out: the version asked for, as the stand-in is of one; access policies and RBAC, as it lets whoever is
//! authenticated do everything; what EKS puts into every cluster (`aws-node`, `kube-proxy`, `coredns`).

mod addons;
mod given;
mod groups;
mod identity;
mod node;
mod programs;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use mountproof_aws_endpoint::eks::{
    AddonWanted, BackendTrouble, ClusterBackend, ClusterCallers, ClusterParts, ClusterWanted, InstanceKeys,
    MemberKey, NodegroupWanted,
};
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    kubernetes::{ApiServer, ApiServerConfig, TokenWebhook, User},
    rest::{ApiAccess, BearerToken},
    scheduler::Scheduler,
};

use self::{groups::Groups, node::Scratch, programs::NodeLogs};

/// Group of everybody who is known: Kubernetes adds it.
const AUTHENTICATED: &str = "system:authenticated";
/// Who the scheduler is.
const SCHEDULER: &str = "system:kube-scheduler";

/// How nodes of clusters are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NodeOptions {
    /// Pods that each takes, in the place of what its instance type does.
    pub max_pods: Option<usize>,
    /// How many times faster than a real kubelet theirs wait.
    pub clock: f64,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            max_pods: None,
            clock: 1.0,
        }
    }
}

/// The clusters behind the endpoint. Dropping it ends them.
#[derive(Debug)]
pub struct StandInClusters {
    ca: Arc<RunCa>,
    options: NodeOptions,
    /// Where nodes reach AWS.
    endpoint: OnceLock<SocketAddr>,
    /// Folders of nodes, once there is one.
    scratch: Arc<Scratch>,
    /// By region and name.
    running: Mutex<BTreeMap<(String, String), Arc<StandInCluster>>>,
}

/// A cluster while it runs.
struct StandInCluster {
    /// As whom its own parts act.
    admin: ApiAccess,
    api: Mutex<Option<ApiServer>>,
    scheduler: Mutex<Option<Scheduler>>,
    groups: Groups,
    logs: Arc<NodeLogs>,
}

impl fmt::Debug for StandInCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandInCluster")
            .field("url", &self.admin.url)
            .finish_non_exhaustive()
    }
}

impl StandInClusters {
    /// None yet; `ca` signs their certificates.
    #[must_use]
    pub fn new(ca: &Arc<RunCa>, options: NodeOptions) -> Self {
        Self {
            ca: Arc::clone(ca),
            options,
            endpoint: OnceLock::new(),
            scratch: Arc::default(),
            running: Mutex::default(),
        }
    }

    /// Ends every cluster with its nodes, and removes what they had on disk.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running());
        for cluster in running.into_values() {
            cluster.stop().await;
        }
        self.scratch.remove();
    }

    /// Where the files of a node's kubelet are, in the place of `/var/lib/kubelet`.
    #[must_use]
    pub fn kubelet_root(&self, region: &str, cluster: &str, node: &str) -> Option<PathBuf> {
        self.cluster(region, cluster)?.logs.kubelet_root(node)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<(String, String), Arc<StandInCluster>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self, region: &str, name: &str) -> Option<Arc<StandInCluster>> {
        self.running().get(&(region.to_owned(), name.to_owned())).cloned()
    }

    fn cluster_of(&self, key: &MemberKey) -> Result<Arc<StandInCluster>, BackendTrouble> {
        self.cluster(&key.region, &key.cluster)
            .ok_or_else(|| BackendTrouble {
                code: "ClusterUnreachable".to_owned(),
                message: format!("Cluster {} has no API server", key.cluster),
            })
    }
}

impl ClusterBackend for StandInClusters {
    fn create(
        &self,
        wanted: ClusterWanted,
        callers: ClusterCallers,
    ) -> BoxFuture<'_, Result<ClusterParts, String>> {
        async move {
            let logs = Arc::new(NodeLogs::default());
            let api = ApiServer::start(ApiServerConfig {
                logs: Some(Arc::clone(&logs) as _),
                ports: Some(Arc::clone(&logs) as _),
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
            let cluster = StandInCluster::furnished(api, logs).map_err(|error| error.to_string())?;
            self.running()
                .insert((wanted.region, wanted.name), Arc::new(cluster));
            Ok(parts)
        }
        .boxed()
    }

    fn delete(&self, region: &str, name: &str) -> BoxFuture<'_, ()> {
        let cluster = self.running().remove(&(region.to_owned(), name.to_owned()));
        async move {
            if let Some(cluster) = cluster {
                cluster.stop().await;
            }
        }
        .boxed()
    }

    fn served_at(&self, endpoint: SocketAddr) {
        // It listens once.
        let _ = self.endpoint.set(endpoint);
    }

    fn provide_nodes(
        &self,
        wanted: NodegroupWanted,
        keys: InstanceKeys,
    ) -> BoxFuture<'_, Result<(), BackendTrouble>> {
        async move {
            let cluster = self.cluster_of(&wanted.key)?;
            cluster.groups.provide(&cluster, &wanted, &keys, self).await
        }
        .boxed()
    }

    fn remove_nodes(&self, group: MemberKey) -> BoxFuture<'_, ()> {
        async move {
            if let Some(cluster) = self.cluster(&group.region, &group.cluster) {
                cluster.groups.remove(&cluster, &group.name).await;
            }
        }
        .boxed()
    }

    fn install(&self, wanted: AddonWanted) -> BoxFuture<'_, Result<(), BackendTrouble>> {
        async move { addons::install(&*self.cluster_of(&wanted.key)?, &wanted).await }.boxed()
    }

    fn uninstall(&self, addon: MemberKey) -> BoxFuture<'_, ()> {
        async move {
            if let Some(cluster) = self.cluster(&addon.region, &addon.cluster) {
                addons::uninstall(&cluster, &addon.name).await;
            }
        }
        .boxed()
    }
}

impl StandInCluster {
    /// A cluster around its API server.
    fn furnished(api: ApiServer, logs: Arc<NodeLogs>) -> Result<Self, mountproof_run_tls::TlsError> {
        let access = |token: &str| ApiAccess {
            url: api.url(),
            ca_pem: api.ca_pem().to_owned(),
            token: BearerToken::new(token),
        };
        let scheduler = Scheduler::start(&access(api.component_token(SCHEDULER).expose()))?;
        let admin = access(api.admin_token().expose());
        Ok(Self {
            groups: Groups::default(),
            logs,
            admin,
            api: Mutex::new(Some(api)),
            scheduler: Mutex::new(Some(scheduler)),
        })
    }

    /// The way to its API server for one of its components.
    fn access(&self, user: &str) -> Option<ApiAccess> {
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ApiAccess {
            token: BearerToken::new(api.as_ref()?.component_token(user).expose()),
            ..self.admin.clone()
        })
    }

    /// Ends it, nodes first.
    async fn stop(&self) {
        self.groups.stop().await;
        let scheduler = self
            .scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(scheduler) = scheduler {
            scheduler.stop().await;
        }
        let api = self.api.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(api) = api {
            api.stop().await;
        }
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
