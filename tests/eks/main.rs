//! `run --env eks` through the built binary, as its users have it, against the endpoint's EKS, IAM, STS and Secrets Manager.
//!
//! Clusters are API servers of the Kubernetes stand-in, and their nodes kubelets of ours, on which what the harness installs
//! runs as stand-ins of driver and provider. What only a real account can settle is in `docs/eks.md`.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

#[expect(dead_code, reason = "most of it is for the tests of the endpoint's clusters")]
#[path = "../clusters/site.rs"]
mod account;
mod addons;
mod catalogue;
mod charts;
mod context;
mod created;
mod credentials;
mod ending;
mod existing;
mod nodes;
mod safety;
mod site;
#[expect(dead_code, reason = "most of it is for the tests of the command line")]
#[path = "../cli/support.rs"]
mod support;
mod swept;
mod trouble;
mod upgrade;
