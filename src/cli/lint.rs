//! The command `lint`.
