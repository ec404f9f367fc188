//! Driver and provider onto the nodes of a cluster.

use std::time::{Duration, Instant};

use super::manifests::{self, Installed, NAMESPACE};
use crate::{
    environment::{StartError, local::install},
    generation::DriverGeneration,
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    provision::Ledger,
    tenant::{self, Marks},
};

/// Longest wait for driver and provider to run on every node and for kubelet to know the driver, images to be pulled
/// included.
const READY: Duration = Duration::from_mins(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// What the driver's chart has a cluster know: its kinds and the `CSIDriver` object, on record.
pub(super) async fn definitions(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    marks: &Marks,
    generation: DriverGeneration,
) -> Result<(), StartError> {
    let mut objects = tenant::custom_resource_definitions(marks).to_vec();
    objects.push(tenant::csi_driver(marks, generation));
    install(kubernetes, &objects, ledger).await
}

/// The `DaemonSet`s and what they need. They are in no record of their own: they go with the cluster.
pub(super) async fn node_parts(kubernetes: &Kubernetes, installed: &Installed) -> Result<(), StartError> {
    create(kubernetes, &manifests::all(installed)).await
}

async fn create(kubernetes: &Kubernetes, objects: &[serde_json::Value]) -> Result<(), StartError> {
    for object in objects {
        kubernetes
            .create(object)
            .await
            .map_err(StartError::of("driver"))?;
    }
    Ok(())
}

/// Waits until kubelet of every node has the driver: pods that come before it see an event that is none of theirs. Until
/// the provider serves on each, too.
pub(super) async fn await_registration(kubernetes: &Kubernetes, nodes: usize) -> Result<(), StartError> {
    let until = Instant::now() + READY;
    loop {
        let failed = StartError::of::<KubernetesError>("driver");
        let registered = kubernetes
            .nodes_with_driver(tenant::CSI_DRIVER)
            .await
            .map_err(&failed)?
            .len();
        let mut waiting = Vec::new();
        if registered < nodes {
            waiting.push(format!("{registered} of {nodes} nodes have the driver"));
        }
        for name in [manifests::DRIVER, manifests::PROVIDER] {
            let ready = ready(kubernetes, name).await.map_err(&failed)?;
            if ready < nodes {
                waiting.push(format!("{name} is ready on {ready} of {nodes} nodes"));
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            let because = format!(
                "{} after {READY:?}; `kubectl -n {NAMESPACE} describe pods` tells why: an image that cannot be pulled above all",
                waiting.join(", ")
            );
            return Err(StartError::of("driver")(because));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// On how many nodes a `DaemonSet`'s pod is Ready.
async fn ready(kubernetes: &Kubernetes, name: &str) -> Result<usize, KubernetesError> {
    let reference = ObjectRef::new("apps/v1", "DaemonSet", Some(NAMESPACE), name);
    let object = kubernetes.read(&reference).await?.unwrap_or_default();
    let ready = object["status"]["numberReady"].as_u64().unwrap_or(0);
    Ok(usize::try_from(ready).unwrap_or(usize::MAX))
}
