//! Tenants into the two worlds and out of them again, with everything on record.

pub mod ledger;
pub mod sweep;
mod teardown;
mod tenants;

pub use self::{
    ledger::{Ledger, LedgerError, Object},
    teardown::{MARKER, Teardown, scratch_removed},
    tenants::{Annotation, ProvisionError, Provisioner, Tenant, TenantRequest, TenantSecret},
};
