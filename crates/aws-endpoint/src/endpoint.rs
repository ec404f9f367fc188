//! The handle: starts the endpoint, reads its log, breaks it on purpose, stops it.

use std::{io, net::SocketAddr, sync::Arc};

use mountproof_run_tls::{RunCa, TlsError};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    accept,
    calls::CallLog,
    credentials::{Keys, RootCredentials},
    defects::Defects,
    faults::Faults,
    iam::IamState,
    issuer::Issuers,
    quotas::Quotas,
    secrets::SecretStore,
    state::{Patience, State, World},
};

/// How to start an endpoint.
#[derive(Debug)]
pub struct EndpointConfig {
    /// Where to listen: an address of the loopback interface; port 0 takes a free one.
    pub listen: SocketAddr,
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
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A running endpoint. Dropping it ends it at once.
pub struct Endpoint {
    address: SocketAddr,
    root: RootCredentials,
    state: Arc<State>,
    shutdown: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Endpoint {
    /// Starts listening.
    pub async fn start(config: EndpointConfig) -> Result<Self, StartError> {
        let failed = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = config.ca.server_config(accept::is_aws)?;
        let world = World {
            iam: IamState::new(config.account.clone(), config.seed),
            keys: Keys::new(&config.root, &config.account),
            secrets: SecretStore::new(config.account.clone()),
        };
        let issuers = Issuers::new(&config.issuer_trust_pem)?;
        let state = State::new(config.account, world, issuers, config.seed);
        let shutdown = CancellationToken::new();
        let accepting = tokio::spawn(accept::serve(listener, tls, Arc::clone(&state), shutdown.clone()));
        Ok(Self {
            address,
            root: config.root,
            state,
            shutdown,
            accepting,
        })
    }

    /// Where it listens: TLS for every service, and HTTP `CONNECT` to `*.amazonaws.com:443`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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

    /// Everything that exists in the account now, for tests.
    #[must_use]
    pub fn leftovers(&self) -> Vec<String> {
        let world = self.state.world();
        let mut left = world.iam.objects();
        left.extend(world.secrets.names().map(|name| format!("secret {name}")));
        left
    }

    /// Stops accepting, gives requests under way half a second, closes every connection.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        // The only error is a panic in the accept loop, and stopping is what was wanted.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
