//! What a run makes in a cluster that stays: driver, provider and agent, each object on record before it is made.

use mountproof_releases::Part;
use serde_json::Value;

use super::{
    SharedOptions, far_nodes,
    judge::{Choice, Judgement},
    seen::{SeenPart, csi_driver},
};
use crate::{
    environment::{
        Node, StartError, agent,
        installation::{Installation, Placed},
        progress::{Stage, Told},
    },
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    provision::{Ledger, Object, displaced},
    report::figure,
    tenant::{Marks, RUN_LABEL},
};

/// What was found, as an installation of which nothing is made.
pub(super) fn found(judgement: &Judgement) -> Installation {
    let placed = |part| match judgement.of(part) {
        Choice::Found(seen) => placed(seen),
        Choice::Install | Choice::Replace(_) => unreachable!("nothing is installed"),
    };
    Installation::found(placed(Part::Driver), placed(Part::Provider))
}

/// What is to be installed of a plan for both parts, with the run's label: what is there already is none of ours to make.
pub(super) fn fitting(planned: Installation, judgement: &Judgement, marks: &Marks) -> Installation {
    let mut fitting = planned;
    for part in Part::ALL {
        if let Choice::Found(seen) = judgement.of(part) {
            fitting = fitting.without(part, placed(seen));
        }
    }
    for object in &mut fitting.objects {
        *object = labelled(std::mem::take(object), marks);
    }
    fitting
}

/// Makes the objects of an installation, in order, each on record before it is made.
///
/// # Errors
///
/// When one cannot be made, or is there already and is somebody else's.
pub(super) async fn install(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    installation: &Installation,
) -> Result<(), StartError> {
    for object in &installation.objects {
        make(kubernetes, ledger, object.clone()).await?;
    }
    Ok(())
}

/// Deletes what makes room for an installation, each object written down and on record before: the `DaemonSet`s that are
/// replaced, the `CSIDriver` object with the driver, and whatever else has the name of something that is to be made, at once or
/// in the middle of the run.
///
/// # Errors
///
/// When one cannot be written down, or does not go.
pub(super) async fn displace(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    judgement: &Judgement,
    (installation, then): (&Installation, Option<&Installation>),
    marks: &Marks,
) -> Result<(), StartError> {
    let failed = StartError::of::<KubernetesError>("installation");
    let mut places = Vec::new();
    for part in Part::ALL {
        if let Choice::Replace(found) = judgement.of(part) {
            places.extend(found.iter().map(|found| found.daemon_set.clone()));
        }
    }
    if places.is_empty() {
        return Ok(());
    }
    if matches!(judgement.driver, Choice::Replace(_)) {
        places.push(csi_driver());
    }
    let later = then.into_iter().flat_map(|then| &then.objects);
    let named = installation.objects.iter().chain(later).map(ObjectRef::of);
    // A definition takes every object of its kind along.
    let named =
        named.filter(|object| !matches!(object.kind.as_str(), "CustomResourceDefinition" | "Namespace"));
    // In reverse: what is needed by others comes back first.
    let mut named: Vec<ObjectRef> = named.collect();
    named.reverse();
    for object in named {
        if !places.contains(&object) {
            places.push(object);
        }
    }
    let mut namespaces = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let Some(there) = kubernetes.read(place).await.map_err(failed)? else {
            continue;
        };
        if there["metadata"]["labels"][RUN_LABEL] == marks.run() {
            continue;
        }
        displaced::displace(kubernetes, ledger, marks, &there, number)
            .await
            .map_err(StartError::of("installation"))?;
        if place.kind == "DaemonSet" {
            namespaces.extend(place.namespace.clone());
        }
    }
    for namespace in namespaces {
        displaced::daemons_gone(kubernetes, &namespace)
            .await
            .map_err(StartError::of("installation"))?;
    }
    Ok(())
}

/// Puts on record what an upgrade will make.
///
/// # Errors
///
/// When it cannot be written down, or something has a name already that it will need.
pub(super) async fn record(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    to: &Installation,
    marks: &Marks,
) -> Result<(), StartError> {
    let failed = StartError::of::<KubernetesError>("installation");
    let references: Vec<ObjectRef> = to.objects.iter().map(ObjectRef::of).collect();
    for reference in &references {
        // A definition stays as it is.
        let there = kubernetes.read(reference).await.map_err(failed)?;
        let is_ours = |there: &Value| there["metadata"]["labels"][RUN_LABEL] == marks.run();
        if there.is_some_and(|there| !is_ours(&there)) && reference.kind != "CustomResourceDefinition" {
            return Err(StartError::of("installation")(format!(
                "--then brings {reference}, which is there already and is somebody else's; remove it, or leave --then out"
            )));
        }
    }
    let objects: Vec<Object> = references.into_iter().map(Object::Installed).collect();
    ledger.plan(&objects).map_err(StartError::of("installation"))
}

async fn make(kubernetes: &Kubernetes, ledger: &Ledger, object: Value) -> Result<(), StartError> {
    let record = Object::Installed(ObjectRef::of(&object));
    ledger.plan(&[record]).map_err(StartError::of("installation"))?;
    let kubernetes = kubernetes.clone();
    let making = async move { kubernetes.create(&object).await };
    ledger
        .landed(making)
        .await
        .map_err(StartError::of("installation"))
}

/// An object with the run's label on it, which tells ours from others'. Not on what it makes: pods of a `DaemonSet` are none
/// of a run's workloads.
pub(super) fn labelled(mut object: Value, marks: &Marks) -> Value {
    for (label, value) in marks.labels() {
        object["metadata"]["labels"][label] = value;
    }
    object
}

fn placed(seen: &SeenPart) -> Placed {
    Placed {
        origin: seen.origin(),
        version: seen.version.clone(),
        image: seen.image.clone(),
        daemon_set: seen.daemon_set.clone(),
        container: seen.container.clone(),
        account: seen.account.clone(),
        remarks: Vec::new(),
        chart: None,
    }
}

/// Puts the agent on the nodes, where it has an image; the nodes, and why there is none on them. No run fails for that: the
/// `pod` lens needs no agent.
pub(super) async fn agent(
    kubernetes: &Kubernetes,
    ledger: &Ledger,
    options: &SharedOptions,
    marks: &Marks,
    told: &Told,
) -> Result<(Vec<Node>, Option<String>), StartError> {
    let failed = StartError::of::<KubernetesError>("nodes");
    let mut nodes = far_nodes(kubernetes).await.map_err(failed)?;
    let Some(image) = &options.agent else {
        let because = "no agent is on the nodes: give its image with --agent-image (Dockerfile)";
        return Ok((nodes, Some(because.to_owned())));
    };
    let stage = Stage::begin(told, "agent", "onto the nodes");
    let namespace = format!("mountproof-agent-{}", marks.run());
    let objects: Vec<Value> = agent::objects(image, &namespace)
        .into_iter()
        .map(|object| labelled(object, marks))
        .collect();
    for object in objects {
        let record = Object::Kubernetes(ObjectRef::of(&object));
        ledger.plan(&[record]).map_err(StartError::of("agent"))?;
        let making = kubernetes.clone();
        if let Err(error) = ledger.landed(async move { making.create(&object).await }).await {
            return Ok((
                nodes,
                Some(format!("the agent cannot be put on the nodes: {error}")),
            ));
        }
    }
    match agent::answering(kubernetes, &namespace, &mut nodes).await {
        Ok(number) => {
            stage.ends(format!("answers on {}", figure::counted(number, "node")));
            Ok((nodes, None))
        }
        Err(because) => {
            stage.ends("does not answer");
            let because = format!(
                "there is no agent of the image {image} on the nodes: {because}; give one of this version with --agent-image"
            );
            Ok((nodes, Some(because)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_label_is_on_what_is_made_and_not_on_its_pods() {
        let set = json!({ "kind": "DaemonSet", "metadata": { "labels": { "app": "d" } }, "spec": { "template": {} } });
        let marked = labelled(set, &Marks::of_run("r1"));
        assert_eq!(marked["metadata"]["labels"]["mountproof.dev/run"], "r1");
        assert_eq!(marked["metadata"]["labels"]["app"], "d");
        assert_eq!(marked["spec"]["template"], json!({}));
    }
}
