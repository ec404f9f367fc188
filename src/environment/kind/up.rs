//! A cluster that is made to be used by many runs, with driver and provider on its nodes.

use std::path::{Path, PathBuf};

use mountproof_run_tls::RunCa;
use serde_json::{Value, json};

use super::{
    KindOptions, access,
    cluster::Cluster,
    images_of, install, installed_of,
    kept::{Images, KeptClusters},
    life::{self, Kept, MARK, Obtained},
    manifests::AwsWay,
    program::Kind,
};
use crate::{
    environment::{
        StartError,
        progress::{Stage, Told},
    },
    kubernetes::Kubernetes,
    tenant::Marks,
};

/// Where the provider of a cluster that no run uses is sent: nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";
/// Annotation of the provider's pods with the run whose endpoint they are sent to: another one rolls them.
const ROLLED_FOR: &str = "mountproof.dev/rolled-for";

/// A cluster that is up.
#[derive(Debug, Clone)]
pub struct Up {
    /// Its name.
    pub name: String,
    /// Whether it was made just now.
    pub new: bool,
    /// Nodes.
    pub nodes: usize,
    /// What is on them.
    pub images: Images,
    /// Images that were there before, where they were others.
    pub instead_of: Option<Images>,
    /// The way in.
    pub kubeconfig: PathBuf,
}

/// Sees that a cluster of this name stands, with driver and provider on its nodes, and that it is on record.
///
/// # Errors
///
/// When it could not be had: one that was made for this is deleted again.
pub async fn up(name: &str, options: &KindOptions, region: &str, told: &Told) -> Result<Up, StartError> {
    let kind = Kind::find(options.program.as_deref())
        .await
        .map_err(StartError::of("kind cluster"))?;
    let clusters = KeptClusters::of_this_user();
    let is_on_record = || clusters.read(name).is_ok_and(|record| record.is_some());
    let was_there = is_on_record();
    let scratch = clusters.scratch(name).map_err(StartError::of("kind cluster"))?;
    let made = stand(&kind, name, options, region, scratch.path(), told).await;
    drop(scratch);
    if made.is_err() && !was_there && is_on_record() {
        // The first error is the one to be told.
        let _ = life::down(name, options.program.as_deref(), told).await;
    }
    made
}

async fn stand(
    kind: &Kind,
    name: &str,
    options: &KindOptions,
    region: &str,
    scratch: &Path,
    told: &Told,
) -> Result<Up, StartError> {
    let Obtained { cluster, kept } = life::obtain_kept(kind, name, options, None, scratch, told).await?;
    let Some(kept) = kept else {
        return Err(StartError::of("kind cluster")(format!("{name} is not kept")));
    };
    let ca = RunCa::generate(name).map_err(StartError::of("certificate authority"))?;
    let nowhere = AwsWay {
        proxy: NOWHERE.to_owned(),
        trust_pem: ca.certificate_pem().to_owned(),
        region: region.to_owned(),
    };
    let marks = Marks::of_run(name);
    let kubernetes = Kubernetes::connect(&access(&cluster)?, &marks)
        .await
        .map_err(StartError::of("Kubernetes client"))?;
    let had = kept.record.images.clone();
    let images = images_of(options, had.as_ref());
    if had.as_ref() != Some(&images) {
        // One that is used by runs has the way of the last.
        furnish(
            kind,
            &cluster,
            &kept,
            &kubernetes,
            options,
            nowhere,
            name,
            scratch,
            told,
        )
        .await?;
    }
    Ok(Up {
        name: name.to_owned(),
        new: kept.new,
        nodes: cluster.nodes().len(),
        instead_of: had.filter(|had| *had != images),
        images,
        kubeconfig: KeptClusters::of_this_user().kubeconfig(name),
    })
}

/// Puts driver and provider onto the nodes of a cluster that is kept, or brings those that are there to what is asked for, and
/// sends the provider this way to AWS on behalf of `run`. Says whose images of driver and provider are stand-ins'.
#[expect(clippy::too_many_arguments, reason = "each is another part of the cluster")]
pub(super) async fn furnish(
    kind: &Kind,
    cluster: &Cluster,
    kept: &Kept,
    kubernetes: &Kubernetes,
    options: &KindOptions,
    way: AwsWay,
    run: &str,
    scratch: &Path,
    told: &Told,
) -> Result<[bool; 2], StartError> {
    let images = images_of(options, kept.record.images.as_ref());
    let installed = installed_of(options, &images, way);
    let stand_ins = install::images(kind, cluster, &installed, scratch, told).await?;
    let name = cluster.name();
    let marks = Marks::of_run(name);
    let (namespace, mark) = MARK;
    let mark = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": mark, "namespace": namespace },
        "data": { "cluster": name, "version": env!("CARGO_PKG_VERSION") },
    });
    let mut objects = vec![mark];
    objects.extend(install::defined(&marks, &installed));
    objects.extend(rolled(install::placed(&installed), run));
    let stage = Stage::begin(told, "driver", "installing");
    for object in &objects {
        kubernetes.apply(object).await.map_err(StartError::of("driver"))?;
    }
    install::await_rollout(kubernetes, cluster.nodes().len(), stage).await?;
    life::has_images(&kept.record, images)?;
    Ok(stand_ins)
}

/// The same objects, with the pods of those `DaemonSet`s rolled that read what a run changes only when they start.
fn rolled(mut objects: Vec<Value>, run: &str) -> Vec<Value> {
    for object in &mut objects {
        let of_provider = object["metadata"]["name"] == super::manifests::PROVIDER;
        if object["kind"] == "DaemonSet" && of_provider {
            object["spec"]["template"]["metadata"]["annotations"] = json!({ ROLLED_FOR: run });
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_provider_is_rolled_for_a_run() {
        let set = |name: &str| {
            json!({ "kind": "DaemonSet", "metadata": { "name": name },
                    "spec": { "template": { "metadata": { "labels": {} } } } })
        };
        let objects = vec![
            set(super::super::manifests::DRIVER),
            set(super::super::manifests::PROVIDER),
        ];
        let rolled = rolled(objects.clone(), "7f3k");
        assert_eq!(rolled[0], objects[0]);
        let template = &rolled[1]["spec"]["template"]["metadata"];
        assert_eq!(template["annotations"], json!({ ROLLED_FOR: "7f3k" }));
        assert_eq!(template["labels"], json!({}));
    }
}
