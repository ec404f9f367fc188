//! Driver and provider onto the nodes of a cluster.

use std::time::{Duration, Instant};

use std::path::Path;

use serde_json::Value;

use super::{
    cluster::Cluster,
    manifests::{self, Installed, NAMESPACE},
    program::Kind,
    version_of,
};
use crate::{
    environment::{
        StartError,
        local::install,
        progress::{Stage, Told},
    },
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

/// Brings the images that Docker has here into the nodes. Says of driver and provider whether they are stand-ins.
pub(super) async fn images(
    kind: &Kind,
    cluster: &Cluster,
    installed: &Installed,
    scratch: &Path,
    told: &Told,
) -> Result<[bool; 2], StartError> {
    let stage = Stage::begin(told, "images", "loading");
    let load = async |image: &str| {
        stage.goes_on(format!("loading {image}"));
        let loaded = cluster.load_if_here(kind, image, scratch).await;
        loaded.map_err(StartError::of("kind cluster"))
    };
    let stand_ins = [load(&installed.driver).await?, load(&installed.provider).await?];
    load(&installed.registrar).await?;
    stage.ends(match cluster.nodes().len() {
        1 => "3 images for 1 node".to_owned(),
        nodes => format!("3 images for {nodes} nodes"),
    });
    Ok(stand_ins)
}

/// What the driver's chart has a cluster know: its kinds and the `CSIDriver` object, on record.
pub(super) async fn definitions(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    marks: &Marks,
    installed: &Installed,
) -> Result<(), StartError> {
    install(kubernetes, &defined(marks, installed), ledger).await
}

/// Those objects.
pub(super) fn defined(marks: &Marks, installed: &Installed) -> Vec<Value> {
    let generation = DriverGeneration::of(version_of(&installed.driver));
    let mut objects = tenant::custom_resource_definitions(marks).to_vec();
    objects.push(tenant::csi_driver(marks, generation));
    objects
}

/// The `DaemonSet`s and what they need.
pub(super) fn placed(installed: &Installed) -> Vec<Value> {
    manifests::all(installed)
}

/// Makes them. They are in no record of their own: they go with the cluster.
pub(super) async fn node_parts(kubernetes: &Kubernetes, installed: &Installed) -> Result<(), StartError> {
    for object in placed(installed) {
        kubernetes
            .create(&object)
            .await
            .map_err(StartError::of("driver"))?;
    }
    Ok(())
}

/// Waits until kubelet of every node has the driver: pods that come before it see an event that is none of theirs. Until
/// driver and provider are the ones that were asked for, and serve, on each node, too.
pub(super) async fn await_rollout(
    kubernetes: &Kubernetes,
    nodes: usize,
    stage: Stage,
) -> Result<(), StartError> {
    let until = Instant::now() + READY;
    let mut said = String::new();
    loop {
        let failed = StartError::of::<KubernetesError>("driver");
        let registered = kubernetes
            .nodes_with_driver(tenant::CSI_DRIVER)
            .await
            .map_err(failed)?
            .len();
        let mut waiting = Vec::new();
        if registered < nodes {
            waiting.push(format!("{registered} of {nodes} nodes have the driver"));
        }
        for name in [manifests::DRIVER, manifests::PROVIDER] {
            let reference = ObjectRef::new("apps/v1", "DaemonSet", Some(NAMESPACE), name);
            let object = kubernetes.read(&reference).await.map_err(failed)?;
            let ready = rolled_out(&object.unwrap_or_default());
            if ready < nodes {
                waiting.push(format!("{name} is ready on {ready} of {nodes} nodes"));
            }
        }
        if waiting.is_empty() {
            stage.ends(format!("registered on {registered} of {nodes} nodes"));
            return Ok(());
        }
        let says = waiting.join(", ");
        if Instant::now() >= until {
            let because = format!(
                "{says} after {READY:?}; `kubectl -n {NAMESPACE} describe pods` tells why: an image that cannot be pulled above all"
            );
            return Err(StartError::of("driver")(because));
        }
        if says != said {
            stage.goes_on(says.as_str());
            said = says;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// PURE: on how many nodes a `DaemonSet`'s pod is Ready, and of its newest shape.
fn rolled_out(object: &Value) -> usize {
    let status = &object["status"];
    // Of a shape that was not yet looked at none is.
    if status["observedGeneration"] != object["metadata"]["generation"] {
        return 0;
    }
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    let unavailable = number("numberUnavailable");
    let updated = number("updatedNumberScheduled").saturating_sub(unavailable);
    usize::try_from(updated.min(number("numberReady"))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_being_rolled_is_not_yet_ready() {
        let set = |generation: u64, updated: u64, ready: u64, unavailable: u64| {
            json!({
                "metadata": { "generation": 2 },
                "status": { "observedGeneration": generation, "updatedNumberScheduled": updated,
                    "numberReady": ready, "numberUnavailable": unavailable },
            })
        };
        for (object, nodes) in [
            (set(2, 3, 3, 0), 3),
            (set(2, 1, 3, 0), 1),
            (set(2, 2, 2, 1), 1),
            (set(1, 3, 3, 0), 0),
            (Value::Null, 0),
        ] {
            assert_eq!(rolled_out(&object), nodes, "{object}");
        }
    }
}
