//! Provision.
