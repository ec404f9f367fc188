//! The wire formats of AWS's protocols.

pub mod xml;
