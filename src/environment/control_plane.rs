//! The Kubernetes API of an environment on this machine: the stand-in in this process, or a real control plane's programs.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    kubernetes::{self as kubernetes_api, ApiServer, ApiServerConfig, RequestKind, Requests, User},
    programs::control_plane::{ControlPlane, ControlPlaneConfig},
};

use super::{LocalOptions, StartError};
use crate::{journal::Component, secret::Credential};

/// Who the scheduler is.
pub(super) const SCHEDULER: &str = "system:kube-scheduler";
/// Who the driver is, by its chart.
pub(super) const DRIVER: &str = "system:serviceaccount:kube-system:secrets-store-csi-driver";
/// Who the provider is, by its chart.
pub(super) const PROVIDER: &str = "system:serviceaccount:kube-system:csi-secrets-store-provider-aws";

/// What serves the Kubernetes API.
pub(super) enum KubernetesPart {
    StandIn(ApiServer),
    Real(Box<ControlPlane>),
}

/// What was asked of the Kubernetes API.
pub(super) struct RequestLog {
    /// All of it; none where it cannot be had.
    pub(super) look: Box<dyn Fn() -> Option<BTreeMap<RequestKind, Requests>> + Send + Sync>,
    /// Whether it tells handshakes too.
    pub(super) handshakes: bool,
}

impl KubernetesPart {
    /// Starts what the options name; a real one's files and output go into `folder`, which is made.
    pub(super) async fn start(
        options: &LocalOptions,
        ca: &Arc<RunCa>,
        node_user: &str,
        folder: &Path,
    ) -> Result<Self, StartError> {
        let Some(programs) = &options.control_plane else {
            return stand_in(options, ca).await.map(Self::StandIn);
        };
        std::fs::create_dir(folder).map_err(StartError::of("environment"))?;
        let user = |name: &str, groups: &[&str]| User {
            name: name.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        let accounts = ["system:serviceaccounts", "system:serviceaccounts:kube-system"];
        let config = ControlPlaneConfig {
            listen: options.kubernetes_listen,
            users: vec![
                user(node_user, &["system:nodes"]),
                user(SCHEDULER, &[]),
                user(DRIVER, &accounts),
                user(PROVIDER, &accounts),
            ],
            ..ControlPlaneConfig::new(programs.clone(), Arc::clone(ca), folder.to_owned())
        };
        let started = ControlPlane::start(config).await;
        started
            .map(|plane| Self::Real(Box::new(plane)))
            .map_err(StartError::of("control plane"))
    }

    pub(super) fn url(&self) -> String {
        match self {
            Self::StandIn(api) => api.url(),
            Self::Real(plane) => plane.url(),
        }
    }

    /// A token that may do everything.
    pub(super) fn admin_token(&self) -> Credential {
        Credential::new(match self {
            Self::StandIn(api) => api.admin_token().expose(),
            Self::Real(plane) => plane.admin_token().expose(),
        })
    }

    /// The token of the component that is this user.
    pub(super) fn component_token(&self, user: &str) -> Result<Credential, StartError> {
        match self {
            Self::StandIn(api) => Ok(Credential::new(api.component_token(user).expose())),
            Self::Real(plane) => plane
                .component_token(user)
                .map(|token| Credential::new(token.expose()))
                .ok_or_else(|| StartError::of("control plane")(format!("{user} has no token"))),
        }
    }

    /// A genuine token of a `ServiceAccount` whose time is over.
    pub(super) async fn expired_token(
        &self,
        namespace: &str,
        account: &str,
        audience: &str,
    ) -> Option<Credential> {
        let token = match self {
            Self::StandIn(api) => api.expired_token(namespace, account, audience)?,
            Self::Real(plane) => plane.expired_token(namespace, account, audience).await?,
        };
        Some(Credential::new(token.expose()))
    }

    /// Whether Deployments and their like get pods.
    pub(super) fn has_controllers(&self) -> bool {
        match self {
            Self::StandIn(_) => true,
            Self::Real(plane) => plane.has_controller_manager(),
        }
    }

    /// Looks at what it has been asked.
    pub(super) fn requests(&self) -> RequestLog {
        match self {
            Self::StandIn(api) => {
                let counts = api.requests();
                RequestLog {
                    look: Box::new(move || Some(counts.by_kind())),
                    handshakes: true,
                }
            }
            Self::Real(plane) => {
                let log = plane.requests();
                RequestLog {
                    look: Box::new(move || log.by_kind().ok()),
                    handshakes: false,
                }
            }
        }
    }

    /// What a report says of it.
    pub(super) fn component(&self) -> Component {
        let (name, version, notes) = match self {
            Self::StandIn(_) => (
                "Kubernetes API stand-in",
                "1.36",
                vec!["RBAC objects are stored, not enforced"],
            ),
            Self::Real(plane) => (
                "kube-apiserver and etcd",
                plane.version().trim_start_matches('v'),
                vec![
                    "RBAC, the Node authorizer and NodeRestriction enforced",
                    if plane.has_controller_manager() {
                        "kube-controller-manager beside it"
                    } else {
                        "no controller manager: namespaces are furnished and emptied for it"
                    },
                ],
            ),
        };
        Component {
            seam: "kubernetes".to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            stand_in: matches!(self, Self::StandIn(_)),
            notes: notes.into_iter().map(str::to_owned).collect(),
        }
    }

    pub(super) async fn stop(self) {
        match self {
            Self::StandIn(api) => api.stop().await,
            Self::Real(plane) => plane.stop().await,
        }
    }
}

async fn stand_in(options: &LocalOptions, ca: &Arc<RunCa>) -> Result<ApiServer, StartError> {
    ApiServer::start(ApiServerConfig {
        listen: options.kubernetes_listen,
        ..ApiServerConfig::on_loopback(Arc::clone(ca))
    })
    .await
    .map_err(|error| match &error {
        kubernetes_api::StartError::Listen { address, source } => {
            StartError::of_listener("Kubernetes API stand-in", "--kubernetes-listen", *address, source)
        }
        _ => StartError::of("Kubernetes API stand-in")(error),
    })
}
