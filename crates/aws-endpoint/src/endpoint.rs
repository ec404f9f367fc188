//! The handle: starts the endpoint, reads its log, breaks it on purpose, stops it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::SignedDuration;
use mountproof_run_tls::{RunCa, TlsError};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    accept::{self, PlainHttp},
    calls::CallLog,
    credentials::{Keys, RootCredentials},
    defects::Defects,
    eks::{self, ClusterBackend, EksIdentity, EksStore},
    eks_calls::{self, EksTokenError},
    eks_follow,
    faults::Faults,
    gateway::{Backend, Gateway},
    issuer::Issuers,
    pod_identity::{self, ServiceAccountToken},
    quotas::Quotas,
    saved::RestoreError,
    state::{Patience, State, World},
};

/// How to start an endpoint. Made by [`EndpointConfig::new`], so that what a caller has no opinion about
/// need not be said.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Where to listen for TLS, and HTTP `CONNECT` to AWS's names: by default a free port of 127.0.0.1. Who
    /// gives an address of another interface lets in whoever reaches it.
    pub listen: SocketAddr,
    /// Where to listen for plain HTTP, beside TLS and `CONNECT`; nowhere by default.
    pub plain_listen: Option<SocketAddr>,
    /// Account id, 12 digits.
    pub account: String,
    /// Authority for its certificates.
    pub ca: Arc<RunCa>,
    /// The account's root key.
    pub root: RootCredentials,
    /// Authorities to trust, as PEM, when the keys of a token issuer are fetched.
    pub issuer_trust_pem: String,
    /// Seed of the ids of what is made, and of the dice that faults throw.
    pub seed: u64,
    /// What keeps secrets and parameters in the endpoint's place, decided on here all the same.
    pub backend: Option<Backend>,
    /// What [`Endpoint::saved`] said of an earlier one, to go on from.
    pub saved: Option<Value>,
    /// How long EKS clusters and what belongs to them are on their way between two states: to be gone, for clusters, and
    /// without a backend for everything else.
    pub cluster_settling: Duration,
    /// What stands behind EKS clusters: without one they are described, and nothing answers at their endpoints.
    pub cluster_backend: Option<Arc<dyn ClusterBackend>>,
    /// Where to give pods their credentials, as the EKS Pod Identity Agent does at 169.254.170.23; nowhere by
    /// default. Whoever reaches it and has a pod's token gets what that pod would get.
    pub pod_identity_listen: Option<SocketAddr>,
    /// Answer `POST /moto-api/reset`, unsigned, by forgetting everything but the root key: moto's tests ask for it
    /// between two of them. Never for an endpoint that others reach.
    pub moto_reset: bool,
    /// Let the root key assume roles, which AWS refuses: for programs that have no other identity to begin with.
    pub root_assumes_roles: bool,
    /// Most connections at a time over each way in; further ones are closed at once. By default 4096, or a quarter
    /// of the files that the process may have open.
    pub connections: usize,
}

impl EndpointConfig {
    /// An endpoint for `account` (12 digits) on a free port of 127.0.0.1, with certificates of `ca`, which is
    /// also trusted when a token issuer's keys are fetched, and with a random root key.
    #[must_use]
    pub fn new(account: impl Into<String>, ca: &Arc<RunCa>) -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            plain_listen: None,
            account: account.into(),
            ca: Arc::clone(ca),
            root: RootCredentials::random(),
            issuer_trust_pem: ca.certificate_pem().to_owned(),
            seed: 0,
            backend: None,
            saved: None,
            cluster_settling: Duration::from_secs(1),
            cluster_backend: None,
            pod_identity_listen: None,
            moto_reset: false,
            root_assumes_roles: false,
            connections: accept::affordable(),
        }
    }
}

/// The endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not allowed.
    #[error("cannot listen on {address}: {source}; give port 0 for a free port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The backend does not answer as one.
    #[error("the backend at {url} cannot be used: {because}")]
    Backend {
        /// Where it should be.
        url: String,
        /// What was seen.
        because: String,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was saved cannot be gone on from.
    #[error("the saved state cannot be taken over: {0}")]
    Saved(#[from] RestoreError),
}

/// A running endpoint. Dropping it ends it at once.
pub struct Endpoint {
    address: SocketAddr,
    plain_address: Option<SocketAddr>,
    pod_identity_address: Option<SocketAddr>,
    root: RootCredentials,
    bereaved: Vec<(String, String)>,
    state: Arc<State>,
    shutdown: CancellationToken,
    accepting: Vec<JoinHandle<()>>,
}

impl Endpoint {
    /// Starts listening.
    pub async fn start(config: EndpointConfig) -> Result<Self, StartError> {
        let listener = listen(config.listen).await?;
        let plain_listener = match config.plain_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let elsewhere = Some(config.listen.ip()).filter(|ip| !ip.is_unspecified());
        let tls = config.ca.server_config_at(elsewhere, accept::is_aws)?;
        let keys = Keys::new(&config.root, &config.account);
        let eks = EksStore::new(
            config.account.clone(),
            config.ca.certificate_pem(),
            SignedDuration::try_from(config.cluster_settling).unwrap_or_default(),
        );
        let mut world = World::new(&config.account, config.seed, eks);
        if config.cluster_backend.is_some() {
            world.eks.expect_backend();
        }
        let mut bereaved = Vec::new();
        if let Some(saved) = config.saved {
            world.restore(&config.account, saved)?;
            bereaved = eks::bereaved(&mut world.eks);
        }
        let issuers = Issuers::new(&config.issuer_trust_pem)?;
        for (issuer, keys) in world.eks.issuers() {
            issuers.host(issuer, &keys);
        }
        let gateway = match &config.backend {
            Some(backend) => Some(before(backend, &config.account).await?),
            None => None,
        };
        let state = State::new(config.account, keys, world, issuers, config.seed, gateway);
        state.moto_reset.store(config.moto_reset, Ordering::Relaxed);
        let root_assumes = config.root_assumes_roles;
        state.root_assumes_roles.store(root_assumes, Ordering::Relaxed);
        if let Some(backend) = config.cluster_backend {
            backend.served_at(bound(&listener, config.listen)?);
            // It was empty until now.
            let _ = state.clusters.set(backend);
            for (region, name) in &bereaved {
                eks_follow::start(Arc::clone(&state), region.clone(), name.clone());
            }
        }
        let shutdown = CancellationToken::new();
        let mut agents = Vec::new();
        let mut pod_identity_address = None;
        if let Some(asked) = config.pod_identity_listen {
            let listener = listen(asked).await?;
            pod_identity_address = Some(bound(&listener, asked)?);
            let agent = pod_identity::serve(listener, Arc::clone(&state), shutdown.clone());
            agents.push(tokio::spawn(agent));
        }
        let address = bound(&listener, config.listen)?;
        let plain_address = match (&plain_listener, config.plain_listen) {
            (Some(listener), Some(asked)) => Some(bound(listener, asked)?),
            _ => None,
        };
        let ways_in = [
            Some((listener, PlainHttp::Refused)),
            plain_listener.map(|listener| (listener, PlainHttp::Served)),
        ];
        let accepting = ways_in.into_iter().flatten().map(|(listener, plain)| {
            let (tls, state) = (Arc::clone(&tls), Arc::clone(&state));
            let (places, shutdown) = (config.connections, shutdown.clone());
            tokio::spawn(accept::serve(listener, tls, plain, state, places, shutdown))
        });
        Ok(Self {
            address,
            plain_address,
            pod_identity_address,
            root: config.root,
            accepting: accepting.chain(agents).collect(),
            bereaved,
            state,
            shutdown,
        })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Where it listens: TLS for every service, and HTTP `CONNECT` to `*.amazonaws.com:443`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for plain HTTP, if it does.
    #[must_use]
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain_address
    }

    /// Where pods get their credentials, if they do: the value for `AWS_CONTAINER_CREDENTIALS_FULL_URI` is
    /// `http://<address>/v1/credentials`.
    #[must_use]
    pub fn pod_identity_address(&self) -> Option<SocketAddr> {
        self.pod_identity_address
    }

    /// Clusters of the saved state that lost their API server with the endpoint that it is of, as region and name.
    /// With a backend each gets a new one, which knows nothing of what was in the other.
    #[must_use]
    pub fn bereaved_clusters(&self) -> &[(String, String)] {
        &self.bereaved
    }

    /// Who the bearer of a `k8s-aws-v1.` token is for a cluster, as EKS would tell its API server.
    pub fn authenticate_eks_token(
        &self,
        region: &str,
        cluster: &str,
        token: &str,
    ) -> Result<EksIdentity, EksTokenError> {
        eks_calls::authenticate(&self.state, region, cluster, token)
    }

    /// The credentials that a pod with this token gets from the EKS Pod Identity Agent, as JSON; the error is what
    /// the agent answers with.
    pub async fn pod_identity_credentials(&self, token: &str) -> Result<Value, (u16, String)> {
        let from = (Ipv4Addr::LOCALHOST, 0).into();
        pod_identity::credentials(&self.state, token, from).await
    }

    /// A token of a cluster's issuer for a `ServiceAccount`. `None` when there is no such cluster, or another API
    /// server stands behind it and signs.
    #[must_use]
    pub fn service_account_token(
        &self,
        region: &str,
        cluster: &str,
        wanted: &ServiceAccountToken<'_>,
    ) -> Option<String> {
        let world = self.state.world();
        let now = self.state.now();
        let issuer = eks::issuer_of(&world.eks, region, cluster)?;
        eks::sign(&world.eks, region, cluster, &wanted.claims(issuer, now))
    }

    /// From now on tokens of `issuer`, an HTTPS URL, are verified with the keys in `jwks`, which are asked for nowhere: for
    /// a cluster whose issuer cannot be reached from outside, as kind's.
    pub fn host_issuer(&self, issuer: &str, jwks: &Value) {
        self.state.issuers.host(issuer, jwks);
    }

    /// Deactivates STS in these regions, as AWS does with those that an account has to opt into; activates it in
    /// all others.
    pub fn deactivate_sts(&self, regions: &[&str]) {
        *self.state.sts_off.write() = regions.iter().map(|region| (*region).to_owned()).collect();
    }

    /// The account's root key.
    #[must_use]
    pub fn root_credentials(&self) -> &RootCredentials {
        &self.root
    }

    /// The account's id.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.state.account
    }

    /// The call log.
    #[must_use]
    pub fn calls(&self) -> CallLog {
        self.state.calls.clone()
    }

    /// How often a call had to wait for a lock that every call takes: the call log's, and any other. For
    /// measurements.
    #[must_use]
    pub fn waits(&self) -> (u64, u64) {
        self.state.waits()
    }

    /// Plants defects, or with the default removes them.
    pub fn set_defects(&self, defects: Defects) {
        self.state.set_defects(defects);
    }

    /// Causes trouble, or with the default ends it.
    pub fn set_faults(&self, faults: Faults) {
        self.state.set_faults(faults);
    }

    /// How long clients may take, from the next connection on.
    pub fn set_patience(&self, patience: Patience) {
        self.state.set_patience(patience);
    }

    /// Limits the rate of calls as AWS does, or with the default no more.
    pub fn set_quotas(&self, quotas: Quotas) {
        self.state.set_quotas(quotas);
    }

    /// Everything in the account, values and private keys included, for [`EndpointConfig::saved`]. Sessions are
    /// not in it: their keys end with the endpoint.
    #[must_use]
    pub fn saved(&self) -> Value {
        self.state.world().saved(&self.state.account)
    }

    /// Stops as [`Self::stop`] does, and says what there is then: nothing changes it any more.
    pub async fn stopped(self) -> Value {
        let state = Arc::clone(&self.state);
        self.stop().await;
        state.world().saved(&state.account)
    }

    /// Everything that exists in the account now, for tests.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let world = self.state.world();
        let mut left = world.iam.objects();
        left.extend(world.eks.objects());
        left.extend(world.secrets.names().map(|name| format!("secret {name}")));
        left
    }

    /// Stops accepting, gives requests under way half a second, closes every connection.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        for accepting in &mut self.accepting {
            // The only error is a panic in the accept loop, and stopping is what was wanted.
            let _ = accepting.await;
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

/// The gate before a backend that answers.
async fn before(backend: &Backend, account: &str) -> Result<Gateway, StartError> {
    let gateway = Gateway::new(backend, account);
    let checked = gateway.check().await;
    checked.map_err(|because| StartError::Backend {
        url: backend.url(),
        because,
    })?;
    Ok(gateway)
}

/// The address a listener got where it asked for any port.
fn bound(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    let failed = |source| StartError::Listen { address, source };
    listener.local_addr().map_err(failed)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen { address, source };
    TcpListener::bind(address).await.map_err(failed)
}
