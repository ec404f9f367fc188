//! The Kubernetes API stand-in, as its clients see it.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod behaviour;
mod replay;
mod support;
