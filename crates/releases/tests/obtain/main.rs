//! From what a user names to a program that runs, or to a refusal that says what to do.

mod archives;
mod registry;
mod support;
