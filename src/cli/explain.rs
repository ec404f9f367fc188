//! The command `explain`.
