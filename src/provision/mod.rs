//! Tenants into the two worlds and out of them again, with everything on record.

mod account;
mod aged;
pub mod displaced;
mod eks;
pub mod ledger;
mod order;
mod scratch;
mod settled;
mod strays;
pub mod sweep;
mod teardown;
mod tenants;
#[cfg(test)]
mod tests;
mod ways;

pub use self::{
    account::{AccountTrouble, finish_account},
    aged::{AccountSwept, Aged, AgedOutcome, sweep_account},
    ledger::{ClusterReach, KubernetesIn, Ledger, LedgerError, Object, Process, Reach},
    scratch::{MARKER, scratch_removed},
    teardown::{Going, Teardown, Went},
    tenants::{Annotation, ProvisionError, Provisioner, Tenant, TenantRequest, TenantSecret},
    ways::Way,
};
