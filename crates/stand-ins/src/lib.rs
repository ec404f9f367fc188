//! Stand-ins for what a pod's secrets pass through: the Kubernetes API, the kubelet, the CSI driver and
//! the AWS provider, each reached over its real protocol only.

pub mod defects;
pub mod driver;
mod go;
mod go_authority;
pub mod grpc;
pub mod kubelet;
pub mod kubernetes;
mod log;
pub mod pod_identity_agent;
pub mod programs;
pub mod provider;
pub mod rest;
pub mod scheduler;
mod signing;

pub use log::ProgramLog;
