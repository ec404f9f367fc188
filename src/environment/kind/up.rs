//! A cluster that is made to be used by many runs, with driver and provider on its nodes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use mountproof_run_tls::RunCa;
use serde_json::{Value, json};

use super::{
    KindOptions, access,
    cluster::Cluster,
    kept::{Images, KeptClusters},
    life::{self, Kept, MARK, Obtained},
    program::Kind,
};
use crate::{
    environment::{
        StartError,
        installation::{self, AwsWay, Installation},
        progress::{Stage, Told},
    },
    kubernetes::{Kubernetes, ObjectRef},
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
    // What cannot be installed needs no cluster.
    let mut prepared = installation::prepare(&options.installation, scratch).await?;
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
    let version = kubernetes.version().await;
    let version = version.map_err(StartError::of("Kubernetes client"))?;
    let had = kept.record.images.clone();
    if let Some(had) = &had {
        prepared = installation::prepare(&had.unless_asked(&options.installation), scratch).await?;
    }
    let installation = prepared.finish(&version, &marks, Some(&nowhere)).await?;
    let images = Images::of(&installation);
    // One that is used by runs has the way of the last.
    if had.as_ref() != Some(&images) || kept.record.objects != references(&installation) {
        let nodes = Nodes {
            kind,
            cluster: &cluster,
            kubernetes: &kubernetes,
            kept: &kept,
        };
        nodes
            .furnish(&installation, &prepared.archives, name, scratch, told)
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

/// The nodes of a cluster that is kept.
pub(super) struct Nodes<'a> {
    pub(super) kind: &'a Kind,
    pub(super) cluster: &'a Cluster,
    pub(super) kubernetes: &'a Kubernetes,
    pub(super) kept: &'a Kept,
}

impl Nodes<'_> {
    /// Puts driver and provider onto them, or brings those that are there to this installation, which sends the provider its
    /// way to AWS on behalf of `run`. What another installation had besides goes. Says whose images are stand-ins'.
    pub(super) async fn furnish(
        &self,
        installation: &Installation,
        archives: &[(String, PathBuf)],
        run: &str,
        scratch: &Path,
        told: &Told,
    ) -> Result<BTreeSet<String>, StartError> {
        let failed = StartError::of("driver");
        let stand_ins = self
            .cluster
            .load_all(self.kind, installation, archives, scratch, told)
            .await
            .map_err(StartError::of("kind cluster"))?;
        let record = &self.kept.record;
        let references = references(installation);
        let former: Vec<&ObjectRef> = record
            .objects
            .iter()
            .filter(|object| !references.contains(object))
            .collect();
        let both = former.iter().copied().chain(&references).cloned().collect();
        life::has(record, record.images.clone(), both)?;
        let name = self.cluster.name();
        let (namespace, mark) = MARK;
        let mark = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": mark, "namespace": namespace },
            "data": { "cluster": name, "version": env!("CARGO_PKG_VERSION") },
        });
        let stage = Stage::begin(told, "driver", "installing");
        let objects = rolled(
            installation.objects.clone(),
            &installation.provider.daemon_set.name,
            run,
        );
        for object in std::iter::once(&mark).chain(&objects) {
            self.kubernetes.apply(object).await.map_err(failed)?;
        }
        for object in former {
            self.kubernetes.delete(object).await.map_err(failed)?;
        }
        installation::await_ready(self.kubernetes, installation, stage).await?;
        life::has(record, Some(Images::of(installation)), references)?;
        Ok(stand_ins)
    }
}

fn references(installation: &Installation) -> Vec<ObjectRef> {
    installation.objects.iter().map(ObjectRef::of).collect()
}

/// The same objects, with the pods of that `DaemonSet` rolled that read what a run changes only when they start.
fn rolled(mut objects: Vec<Value>, provider: &str, run: &str) -> Vec<Value> {
    for object in &mut objects {
        if object["kind"] == "DaemonSet" && object["metadata"]["name"] == provider {
            object["spec"]["template"]["metadata"]["annotations"][ROLLED_FOR] = json!(run);
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
        let objects = vec![set("driver"), set("provider")];
        let rolled = rolled(objects.clone(), "provider", "7f3k");
        assert_eq!(rolled[0], objects[0]);
        let template = &rolled[1]["spec"]["template"]["metadata"];
        assert_eq!(template["annotations"], json!({ ROLLED_FOR: "7f3k" }));
        assert_eq!(template["labels"], json!({}));
    }
}
