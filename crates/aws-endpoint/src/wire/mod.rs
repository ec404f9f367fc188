//! The wire formats of AWS's protocols.

pub(crate) mod body;
pub mod xml;
