//! AWS Identity and Access Management: policies, their evaluation, and the service that stores them.
//!
//! Evaluation is pure: [`policy`] parses documents strictly (what it does not know is an error, so
//! that nothing is granted by accident), [`evaluate()`] decides one request and says which statement
//! decided, and no part of it reads a clock or a socket. [`store`] holds the roles, policies and
//! providers of one account; [`service`] is the IAM API over that store, without HTTP.

mod aws_managed;
pub mod condition;
pub mod context;
pub mod decision;
mod document;
pub mod error;
pub mod evaluate;
mod keys;
pub mod params;
pub mod pattern;
pub mod policy;
mod policy_error;
pub mod principal;
pub mod service;
pub mod store;

pub use context::{Context, Facts};
pub use decision::{DecidingStatement, Decision, NearMiss, Obstacle, PolicyKind, Reason};
pub use error::IamError;
pub use evaluate::{NamedPolicy, PolicySet, Request, Rules, evaluate};
pub use params::Params;
pub use policy::{Document, Policy, PolicyError};
pub use principal::Principal;
pub use store::IamState;
