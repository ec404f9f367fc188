//! Tenants into the two worlds and out of them again, with everything on record.

pub mod ledger;
mod scratch;
pub mod sweep;
mod teardown;
mod tenants;
#[cfg(test)]
mod tests;
mod ways;

pub use self::{
    ledger::{ClusterReach, KubernetesIn, Ledger, LedgerError, Object, Process, Reach},
    scratch::{MARKER, scratch_removed},
    teardown::{Teardown, Went},
    tenants::{Annotation, ProvisionError, Provisioner, Tenant, TenantRequest, TenantSecret},
    ways::Way,
};
