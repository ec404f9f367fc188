//! Load.
pub mod histogram;
pub mod percentiles;
