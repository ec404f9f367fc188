//! The endpoint over real HTTPS, asked by a client that signs with AWS's own library, with tokens of an
//! issuer that publishes its keys as a cluster does.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod client;
mod connections;
mod defects;
mod issuer;
mod secrets;
mod sessions;
mod signatures;
mod support;
mod tokens;
