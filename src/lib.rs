//! mountproof proves that pods can mount the AWS secrets they should, cannot mount the ones they
//! should not, and how fast.
//!
//! Data flows one way: [`scenario`] → plan → [`engine`] → [`journal`] → [`report`]. `ARCHITECTURE.md`
//! has the map and the invariants.

pub mod agent;
pub mod aws;
pub mod cli;
mod command;
pub mod engine;
pub mod environment;
pub mod generation;
pub mod journal;
pub mod known;
pub mod kubernetes;
pub mod load;
pub mod localstack;
mod mount_point;
pub mod provision;
pub mod redact;
pub mod report;
pub mod scenario;
pub mod secret;
pub mod tenant;
pub mod verdict;
