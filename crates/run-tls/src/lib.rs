//! The HTTPS plumbing that every local part of a run shares.
//!
//! A run has one certificate authority of its own ([`RunCa`]), made in memory and trusted by nothing
//! else on the machine. Servers get certificates from it, one per name that clients ask for
//! ([`RunCa::server_config`]); [`Server`] serves an [`axum::Router`] with them; [`HttpsClient`]
//! trusts exactly the authorities it is given, never the machine's.

mod ca;
mod client;
mod server;

pub use ca::{PemPair, RunCa, TlsError};
pub use client::{HttpsClient, RequestError};
pub use server::{FirstOfConnection, Server, accept, serve_connection, serve_connection_within};
