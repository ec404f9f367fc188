//! The command `sweep`.
