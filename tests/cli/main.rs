//! The command line as its users meet it: the built binary, its output, its files, its exit code.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod canary;
mod commands;
mod disk;
mod endings;
mod fixture;
mod rights;
mod selection;
