//! An AWS endpoint that lets in who should be let in, and nobody else.
//!
//! IAM, STS, Secrets Manager, SSM parameters, KMS keys, EKS and its pod identities on one loopback port:
//! request signatures are verified, service-account tokens are verified against their issuer's published keys,
//! trust policies and permission policies are evaluated on the stored ARN for every call, and a log says who
//! asked for what, with which role, and which statement decided. Before a backend that keeps the secrets
//! ([`EndpointConfig::backend`]) it is an enforcing gateway.
//!
//! Everything is reached through [`Endpoint`]. A request goes one way:
//!
//! ```text
//! accept ─► route ─► service ─► dispatch ─► signature ─► authorisation ─► the service ─► answer
//! (TLS, CONNECT)     (which)    (a call)    or token     on the stored ARN │
//!                                                                          └► call log
//! ```
//!
//! Each service is a module without HTTP, whose documentation says what it leaves out; operations that are not
//! there are refused as AWS refuses unknown ones. KMS keys decide who may read; nothing is encrypted at rest.

mod accept;
mod answer;
pub mod authorisation;
mod call;
mod caller;
mod calls;
mod credentials;
mod cut;
mod defects;
mod dispatch;
pub mod eks;
mod eks_calls;
mod eks_follow;
mod endpoint;
mod faults;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
pub mod iam;
mod issuer;
pub mod kms;
mod lock;
mod operation;
mod pod_identity;
pub mod quotas;
mod region;
mod resource_policy;
mod route;
mod saved;
pub mod secrets;
mod service;
mod signature;
pub mod sigv4;
pub mod ssm;
mod standing;
mod state;
mod sts;
mod token;
pub mod wire;

pub use authorisation::Authorisation;
pub use calls::{CallLog, CallRecord, CallVerdict};
pub use credentials::RootCredentials;
pub use defects::Defects;
pub use eks_calls::EksTokenError;
pub use endpoint::{Endpoint, EndpointConfig, StartError};
pub use faults::{
    Fate, Fault, FaultError, FaultInLine, Faults, Latency, Made, Reach, Recorded, ResetAt, Share,
};
pub use gateway::{Backend, BadAddress};
pub use pod_identity::ServiceAccountToken;
pub use quotas::Quotas;
pub use saved::RestoreError;
pub use standing::InstanceCredentials;
pub use state::Patience;
