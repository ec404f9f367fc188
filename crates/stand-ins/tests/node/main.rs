//! The node's stand-ins: kubelet, driver and provider, each over its protocol, and all of them together.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod cluster;
mod driver;
mod fakes;
mod kubelet;
mod observed;
mod pod_identity;
mod provider;
#[expect(dead_code, reason = "when calls come is the contract's to compare")]
#[path = "../support/scripted.rs"]
mod scripted;
