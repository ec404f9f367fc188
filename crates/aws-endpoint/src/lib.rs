//! An AWS endpoint that verifies signatures and tokens and evaluates IAM.

pub mod iam;
pub mod wire;
