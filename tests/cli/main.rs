//! The command line, through the built binary: what it prints, what it leaves, and how it ends.
//!
//! Holds invariants 5 and 7 of ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod account;
mod beginning;
mod canary;
mod cluster;
mod commands;
mod ending;
mod endpoint;
mod endpoint_faults;
mod endpoint_killed;
mod faults;
mod installation;
mod kind;
mod selection;
mod support;
