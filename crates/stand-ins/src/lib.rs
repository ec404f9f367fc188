//! Stand-ins for what a pod's secret passes through on a node: kubelet, the Secrets Store CSI driver
//! and its AWS provider, each reached only over the protocol that the real one speaks.

pub mod defects;
pub mod driver;
mod grpc;
pub mod kubelet;
pub mod provider;
pub mod rest;
