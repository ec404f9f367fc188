//! The Kubernetes API stand-in, as its clients see it.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod custom_resources;
mod deletion;
mod discovery;
mod errors;
mod kinds;
mod objects;
mod patches;
mod protobuf;
mod replay;
mod selectors;
mod support;
mod tokens;
mod watches;
mod workloads;
