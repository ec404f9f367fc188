//! Room for the run's pods in a cluster of kind, and their image on every node, before any clock starts.

use std::path::Path;

use super::{KindOptions, cluster::Cluster, program::Kind};
use crate::{
    environment::{StartError, placement},
    kubernetes::{Kubernetes, KubernetesError, sandbox_image},
    provision::Ledger,
    tenant::Marks,
};

/// The same options, with a limit of pods on each node that the run's pods fit under.
///
/// # Errors
///
/// When they cannot; with a configuration of the user's own the nodes themselves tell, once they stand.
pub(super) fn enough(options: &KindOptions) -> Result<KindOptions, StartError> {
    let mut options = options.clone();
    if options.config.is_none() {
        let nodes = options.workers.max(1) as usize;
        let limit = placement::limit(options.needs.pods, nodes, options.max_pods)
            .map_err(StartError::of("kind cluster"))?;
        if let Some(limit) = limit.filter(|_| options.max_pods.is_none()) {
            options.notes.push(format!(
                "kubelet's limit of pods is raised to {limit} for this run's"
            ));
        }
        options.max_pods = limit;
    }
    Ok(options)
}

/// Sees to it that the pods fit and that each node has their image, which it names.
///
/// # Errors
///
/// When they do not, or a node cannot have it, with what to do.
pub(super) async fn made(
    kubernetes: &Kubernetes,
    kind: &Kind,
    cluster: &Cluster,
    options: &KindOptions,
    (marks, ledger): (&Marks, &Ledger),
    scratch: &Path,
) -> Result<String, StartError> {
    let failed = StartError::of::<KubernetesError>("nodes");
    let nodes = kubernetes.nodes().await.map_err(&failed)?;
    placement::fits(options.needs.pods, &nodes).map_err(StartError::of("nodes"))?;
    let Some(named) = options.workload_image.clone() else {
        return sandbox_image(&nodes).ok_or_else(|| {
            StartError::of("image of the workloads")(
                "the nodes have no image in common that does nothing; name one with --image",
            )
        });
    };
    let loaded = cluster.load_if_here(kind, &named, scratch).await;
    loaded.map_err(StartError::of("image of the workloads"))?;
    placement::pulled(kubernetes, (marks, ledger), &nodes, &named).await?;
    Ok(named)
}
