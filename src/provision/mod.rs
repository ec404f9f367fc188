//! Tenants into the two worlds and out of them again, with everything on record.

mod account;
mod aged;
pub mod displaced;
mod eks;
mod flights;
mod labelled;
pub mod ledger;
mod order;
mod owned;
mod removal;
mod scratch;
mod settled;
mod strays;
pub mod sweep;
mod teardown;
mod tenants;
#[cfg(test)]
mod tests;
mod ways;
mod worlds;

pub use self::{
    account::{AccountTrouble, finish_account},
    aged::{
        Aged, AgedError, AgedObject, AgedOutcome, AgedSweep, Aging, PassedOver, sweep_account, sweep_cluster,
    },
    flights::UnderWay,
    ledger::{ClusterReach, KubernetesIn, Ledger, LedgerError, Object, Process, Reach},
    scratch::{MARKER, Owned, abandoned, owned_by_process, scratch_removed},
    teardown::{Going, Teardown, Went},
    tenants::{Annotation, ProvisionError, Provisioner, Tenant, TenantRequest, TenantSecret},
    ways::Way,
};
