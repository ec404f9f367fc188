//! Tenant.
