//! Driver and provider onto the nodes of a cluster, whoever made the cluster.
//!
//! ```text
//! own manifests, chart, files ─► prepare ─► plan ─► install ─► await_ready ─► observed
//!            (before there is a cluster)   (pure)   (objects)   (or why not)   (what is there, for reports)
//! ```
//!
//! What a run needs is set in the manifests after they were parsed, wherever they come from: rotation, limits on requests,
//! images that were asked for and the way to an AWS that is not AWS. What that changes in somebody else's manifests, reports
//! say. Objects are made by us, one by one: a chart is rendered, never installed.

mod builtin;
mod chart;
mod container;
pub mod manifest;
mod observed;
mod options;
mod plan;
mod planned;
mod prepare;
mod ready;
mod rendered;
mod sync;
mod upgrade;
mod way;

pub use self::{
    builtin::{NoManifests, default_images},
    observed::observed,
    options::{ChartSource, ImageSource, InstallationOptions, ManifestSource, PartOptions, PartSource},
    plan::{Installation, Placed, PlanError},
    planned::charts,
    prepare::{Prepared, prepare},
    sync::NoSync,
    upgrade::{Rolled, Upgrade},
    way::AwsWay,
};

pub(super) use self::{
    container::{Container, arguments, flag, is_registrar, part_of, position},
    plan::version_of,
    ready::{pods, ready},
    sync::{Account, no_sync},
};
pub(crate) use self::{plan::rank, ready::await_ready};
use super::local::{StartError, install as recorded};
use crate::{kubernetes::Kubernetes, provision::Ledger};

/// Makes the objects of an installation in a cluster that is on record itself, and goes with all it holds. What a cluster
/// has once is on record beside it, as in any other environment.
///
/// # Errors
///
/// When one cannot be made.
pub async fn install(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    installation: &Installation,
) -> Result<(), StartError> {
    let (once, others): (Vec<_>, Vec<_>) = installation
        .objects
        .iter()
        .cloned()
        .partition(plan::is_one_for_all);
    recorded(kubernetes, &once, ledger).await?;
    for object in &others {
        kubernetes
            .create(object)
            .await
            .map_err(StartError::of("installation"))?;
    }
    Ok(())
}
