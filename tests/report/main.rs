//! Reports are a function of the journal.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod forms;
mod journal;
mod judging;
mod nodes;
mod scale;
mod upgrade;
