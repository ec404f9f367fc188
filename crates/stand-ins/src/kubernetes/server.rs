//! The running server.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::Router;
use mountproof_run_tls::{RunCa, Server, TlsError};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    BearerToken, ContainerLogs, Defects, Forgotten, PodPorts, RequestCounts, SigningKeyError,
    account::{StaticTokens, TokenWebhook, User},
    cluster::{Cluster, Writer},
    controllers,
    failure::Failure,
    handlers::App,
    resource::NAMESPACES,
    stored::Key,
    token::Signer,
};

/// Namespaces that every cluster has.
const NAMESPACES_AT_START: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// Where and as whom to serve.
#[derive(Clone)]
pub struct ApiServerConfig {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Signs the server's certificate; clients trust [`RunCa::certificate_pem`].
    pub ca: Arc<RunCa>,
    /// `--service-account-issuer`: in whose name `ServiceAccount` tokens are signed; by default the server's own
    /// URL. Who gives another publishes [`ApiServer::key_set`] there.
    pub issuer: Option<String>,
    /// `--authentication-token-webhook-config-file`: who the bearers of other tokens are.
    pub webhook: Option<TokenWebhook>,
    /// What containers have written, for `pods/log`: what the kubelets of a real cluster are asked for. Without it no
    /// container has written anything.
    pub logs: Option<Arc<dyn ContainerLogs>>,
    /// Who listens on the ports of pods, for `pods/portforward`: likewise. Without it nobody does.
    pub ports: Option<Arc<dyn PodPorts>>,
}

impl fmt::Debug for ApiServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServerConfig")
            .field("listen", &self.listen)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl ApiServerConfig {
    /// On a free port of 127.0.0.1.
    #[must_use]
    pub fn on_loopback(ca: Arc<RunCa>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ca,
            issuer: None,
            webhook: None,
            logs: None,
            ports: None,
        }
    }
}

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not allowed.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The server's certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The key of `ServiceAccount` tokens.
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
}

/// A running API server. Dropping it without [`stop`](Self::stop) ends it at once.
pub struct ApiServer {
    server: Server,
    controllers: JoinSet<()>,
    app: Arc<App>,
    admin: BearerToken,
    ca_pem: String,
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

impl ApiServer {
    /// Starts the server with its controllers and the namespaces every cluster has.
    pub async fn start(config: ApiServerConfig) -> Result<Self, StartError> {
        let address = config.listen;
        let listening = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let tls = config.ca.server_config(|_| false)?;
        let ca_pem = config.ca.certificate_pem().to_owned();
        let cluster = Arc::new(Cluster::new(
            Signer::generate()?,
            config.issuer.unwrap_or_else(|| format!("https://{address}")),
        ));
        let stopping = CancellationToken::new();
        let controllers = controllers::start(&cluster, &ca_pem, &stopping);
        for name in NAMESPACES_AT_START {
            found_namespace(&cluster, name, &ca_pem);
        }
        let app = Arc::new(App {
            cluster,
            tokens: StaticTokens::default(),
            webhook: config.webhook,
            logs: config.logs,
            ports: config.ports,
            requests: RequestCounts::default(),
            address: address.to_string(),
            stopping,
        });
        let admin = app.tokens.issue(User {
            name: "mountproof-admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
        });
        let answering = Arc::clone(&app);
        let router = Router::new().fallback(move |request| Arc::clone(&answering).answer(request));
        let server = Server::start(listener, tls, router).map_err(listening)?;
        Ok(Self {
            server,
            controllers,
            app,
            admin,
            ca_pem,
        })
    }

    /// `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.server.address())
    }

    /// The certificate authority to trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A token that may do everything.
    #[must_use]
    pub fn admin_token(&self) -> &BearerToken {
        &self.admin
    }

    /// A token for a component, whose user is `name`: `system:node:<node>`, or
    /// `system:serviceaccount:kube-system:<name>`.
    #[must_use]
    pub fn component_token(&self, name: &str) -> BearerToken {
        self.app.tokens.issue(User {
            name: name.to_owned(),
            groups: vec!["system:authenticated".to_owned()],
        })
    }

    /// A token that this issuer signed for a `ServiceAccount` and whose time has been over for an hour: what a stolen
    /// one becomes. None where there is no such account.
    #[must_use]
    pub fn expired_token(&self, namespace: &str, account: &str, audience: &str) -> Option<BearerToken> {
        let key = Key::new(namespace, account);
        let token = self.app.cluster.expired_token(&key, audience).ok()?;
        Some(BearerToken::signed(token))
    }

    /// The `OpenID` issuer of `ServiceAccount` tokens. Its documents are served without a token, and
    /// verify with [`ca_pem`](Self::ca_pem).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.app.cluster.issuer
    }

    /// The public keys of `ServiceAccount` tokens, as a JWK set.
    #[must_use]
    pub fn key_set(&self) -> Value {
        self.app.cluster.signer.key_set()
    }

    /// How many requests came in: of whom, for what, and over how many connections.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.app.requests.clone()
    }

    /// What is no longer kept since the start.
    #[must_use]
    pub fn forgotten(&self) -> Forgotten {
        self.app.cluster.store.forgotten()
    }

    /// Plants defects, or takes them out.
    pub fn set_defects(&self, defects: Defects) {
        self.app.cluster.set_defects(defects);
    }

    /// Ends watches and controllers, then the server.
    pub async fn stop(mut self) {
        self.app.stopping.cancel();
        while self.controllers.join_next().await.is_some() {}
        self.server.stop().await;
    }
}

/// Makes a namespace with what belongs into it, before anyone can ask.
fn found_namespace(cluster: &Cluster, name: &str, ca_pem: &str) {
    let namespaces = cluster.built_in(NAMESPACES);
    let writer = Writer {
        manager: "kube-apiserver",
        dry_run: false,
    };
    let made: Result<_, Failure> =
        cluster.create(&namespaces, "", json!({ "metadata": { "name": name } }), writer);
    if let Err(failure) = made {
        tracing::warn!(name, message = failure.message, "create a namespace");
    }
    controllers::furnish(cluster, name, ca_pem);
}
