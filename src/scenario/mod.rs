//! Scenarios: what is proved, as data.

pub mod model;
