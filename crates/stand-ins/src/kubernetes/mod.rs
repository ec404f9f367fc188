//! A stand-in for the Kubernetes API server, version 1.36.
//!
//! [`ApiServer`] serves HTTPS on loopback and keeps its objects in memory. It is written from the API's
//! conventions and from recordings of a real server, and held to those by a test that replays them. Clients
//! made for Kubernetes work unchanged: list, get, create, update, the four patch formats, delete and
//! watch over the resources of `resource`, `CustomResourceDefinitions`, `ServiceAccount` tokens, and
//! the controllers that pods and namespaces need.
//!
//! # What it leaves out
//!
//! - Authorization: RBAC objects are stored, and every authenticated user may do everything, whoever
//!   authenticated it ([`ApiServerConfig::webhook`]). Who has no token is `system:anonymous`, and may read health, version and
//!   the issuer's documents.
//! - Protobuf bodies of other objects than Secrets, CBOR bodies (both 415), answers in either and as `Table` unless JSON is
//!   accepted too, `OpenAPI`.
//! - Validation of custom resources by their schema, pruning and defaulting by it, conversion webhooks;
//!   unknown fields of built-in kinds are kept, whatever `fieldValidation` says.
//! - Admission but for namespaces, service accounts, priority and the default tolerations; no
//!   `kube-api-access` volume is added to pods.
//! - Exec, attach, proxies; port-forward over SPDY, and of more than one port at a time; following a log (`follow`: it ends where it is); `PodDisruptionBudgets` on eviction.
//! - Rolling updates in steps: a Deployment scales its new `ReplicaSet` up and the old ones down at once.
//! - Events expire by their number, not by the hour. Status conditions of namespaces are not written.
//! - There is no scheduler: who binds pods is whoever posts `pods/binding`.

mod account;
mod cluster;
mod controllers;
mod counts;
mod defaults;
mod deletion;
mod discovery;
mod failure;
mod fields;
mod handlers;
mod managed;
mod object;
mod page;
mod patch;
mod protobuf;
mod render;
mod request;
mod resource;
mod schema;
mod selector;
mod server;
mod store;
mod stored;
mod token;
mod validate;
mod watch;

pub(crate) use account::expired_claims;
pub use account::{TokenWebhook, User};
pub use counts::{RequestCounts, RequestKind, Requests};
pub use handlers::{ContainerLogs, PodPorts, PodStream, WrittenLine};
pub use server::{ApiServer, ApiServerConfig, StartError};
pub(crate) use stored::Key;
pub(crate) use token::Signer;
pub use token::{BearerToken, SigningKeyError};

/// Planted defects, all off by default: each makes the server wrong in a way that some scenario must notice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defects {
    /// `TokenRequest` ignores the audiences asked for and issues tokens for the API server itself.
    pub token_ignores_audience: bool,
}

/// What the server no longer keeps, so that no run fills the memory, for [`ApiServer::forgotten`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forgotten {
    /// Changes too old for a watch to begin there: the newest 8,192 of each resource are kept.
    pub changes: u64,
    /// Events beyond the 20,000 that changed last. The real server keeps each for an hour.
    pub events: u64,
    /// Watches ended because their client left 8,192 changes unread. It can begin anew from where it was.
    pub watches: u64,
}
