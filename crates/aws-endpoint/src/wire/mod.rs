//! The wire formats of AWS's protocols.

pub(crate) mod body;
pub(crate) mod json;
pub mod xml;
