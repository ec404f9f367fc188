//! Where the cluster of a run comes from: made for it, or kept for many.

use std::{fs, io, path::Path};

use super::{
    KindError, KindOptions,
    cluster::{Cluster, containers_of, delete},
    kept::{Asked, Hold, Images, KeptCluster, KeptClusters, KeptNode, Stage as MadeStage, Why},
    program::{Kind, docker},
};
use crate::{
    environment::{
        StartError,
        progress::{Stage, Told},
    },
    kubernetes::{Kubernetes, KubernetesAccess, ObjectRef},
    provision::{KubernetesIn, Ledger, Object, Process},
    tenant::{Marks, RUN_LABEL},
};

/// The part that an error is about.
const PART: &str = "kind cluster";

/// What becomes of the cluster of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stay {
    /// It is the run's own, and goes with it.
    #[default]
    Never,
    /// Likewise, but it stays as it is when the run does not pass.
    AfterFailure,
    /// It has this name and stays, for other runs too.
    Always(String),
}

impl Stay {
    /// Where what a run has in Kubernetes is.
    pub(super) fn kubernetes_in(&self) -> KubernetesIn {
        match self {
            Self::Never | Self::AfterFailure => KubernetesIn::OwnCluster,
            Self::Always(name) => KubernetesIn::KeptCluster(name.clone()),
        }
    }
}

/// A cluster, and what is known of it.
pub(super) struct Obtained {
    pub(super) cluster: Cluster,
    /// Of one that is kept.
    pub(super) kept: Option<Kept>,
}

/// A cluster that is kept, in our hands.
pub(super) struct Kept {
    pub(super) record: KeptCluster,
    /// Whether it was made just now.
    pub(super) new: bool,
    #[expect(dead_code, reason = "it is held, and never looked at")]
    pub(super) hold: Hold,
}

/// The cluster of a run: made for it, and on record before; or the one that is kept.
pub(super) async fn obtain(
    kind: &Kind,
    options: &KindOptions,
    run_id: &str,
    ledger: &Ledger,
    scratch: &Path,
    told: &Told,
) -> Result<Obtained, StartError> {
    let name = match &options.stay {
        Stay::Always(name) => return obtain_kept(kind, name, options, Some(ledger), scratch, told).await,
        Stay::Never | Stay::AfterFailure => super::name(run_id),
    };
    ledger
        .plan(&[Object::KindCluster(name.clone())])
        .map_err(StartError::of(PART))?;
    let cluster = create(kind, &name, options, scratch, &scratch.join("kubeconfig"), told).await?;
    Ok(Obtained { cluster, kept: None })
}

/// The cluster of this name that is kept; made where there is none.
pub(super) async fn obtain_kept(
    kind: &Kind,
    name: &str,
    options: &KindOptions,
    ledger: Option<&Ledger>,
    scratch: &Path,
    told: &Told,
) -> Result<Obtained, StartError> {
    let failed = StartError::of::<io::Error>(PART);
    let refused = StartError::of::<String>(PART);
    let clusters = KeptClusters::of_this_user();
    let hold = clusters.take(name).map_err(failed)?.ok_or_else(|| {
        refused(format!(
            "{name} is in use by another command; wait for it, or give another name"
        ))
    })?;
    let standing = containers_of(name).await.map_err(StartError::of(PART))?;
    match clusters.read(name).map_err(failed)? {
        // It was deleted by other means.
        Some(record) if record.stage == MadeStage::Standing && standing.is_empty() => {}
        Some(record) => {
            usable(&record, options, &standing).map_err(refused)?;
            let stage = Stage::begin(told, "cluster", format!("{name} is kept"));
            running(name, &standing).await.map_err(refused)?;
            let cluster = Cluster::standing(kind, name, &clusters.kubeconfig(name))
                .await
                .map_err(StartError::of(PART))?;
            stage.ends(said(&cluster));
            return Ok(Obtained {
                cluster,
                kept: Some(Kept {
                    record,
                    new: false,
                    hold,
                }),
            });
        }
        None if standing.is_empty() => {}
        None => {
            return Err(refused(format!(
                "there is a cluster {name} that is not on record as ours; give another name"
            )));
        }
    }
    let mut record = KeptCluster {
        name: name.to_owned(),
        stage: MadeStage::Making,
        why: Why::ToReuse,
        maker: Process::this().map_err(failed)?,
        asked: asked(options),
        nodes: Vec::new(),
        images: None,
        objects: Vec::new(),
    };
    let object = Object::KindCluster(name.to_owned());
    // Until it stands it is the run's.
    if let Some(ledger) = ledger {
        ledger
            .plan(std::slice::from_ref(&object))
            .map_err(StartError::of(PART))?;
    }
    clusters.write(&record).map_err(failed)?;
    let kubeconfig = scratch.join("kubeconfig");
    let cluster = create(kind, name, options, scratch, &kubeconfig, told).await?;
    let way_in = fs::read(&kubeconfig).map_err(failed)?;
    clusters.write_kubeconfig(name, &way_in).map_err(failed)?;
    record.stage = MadeStage::Standing;
    record.nodes = cluster.containers().to_vec();
    clusters.write(&record).map_err(failed)?;
    if let Some(ledger) = ledger {
        ledger.kept(&[object]).map_err(StartError::of(PART))?;
    }
    Ok(Obtained {
        cluster,
        kept: Some(Kept {
            record,
            new: true,
            hold,
        }),
    })
}

/// Puts on record what is on the nodes of a cluster that is kept, or about to be.
pub(super) fn has(
    record: &KeptCluster,
    images: Option<Images>,
    objects: Vec<ObjectRef>,
) -> Result<(), StartError> {
    let record = KeptCluster {
        images,
        objects,
        ..record.clone()
    };
    KeptClusters::of_this_user()
        .write(&record)
        .map_err(StartError::of(PART))
}

/// Refuses a cluster that has tenants of a run in it: those of the next would have the same names.
pub(super) async fn vacant(kubernetes: &Kubernetes, name: &str) -> Result<(), StartError> {
    let namespaces = kubernetes
        .list("v1", "Namespace", None, None)
        .await
        .map_err(StartError::of(PART))?;
    let occupied = namespaces
        .iter()
        .find_map(|namespace| namespace["metadata"]["labels"][RUN_LABEL].as_str());
    match occupied {
        None => Ok(()),
        Some(run) => Err(StartError::of(PART)(format!(
            "{name} still holds what run {run} made; `mountproof sweep` removes that, `mountproof down {name}` all of it"
        ))),
    }
}

/// Keeps the cluster of a run that did not pass, as it is; whether there is one.
///
/// # Errors
///
/// Why that cannot be, in words: it is the run's then, as before.
pub(crate) async fn keep(
    name: &str,
    run_id: &str,
    options: &KindOptions,
    scratch: &Path,
) -> Result<bool, String> {
    let nodes = containers_of(name).await.map_err(|error| error.to_string())?;
    if nodes.is_empty() {
        return Ok(false);
    }
    let clusters = KeptClusters::of_this_user();
    let kept = || -> io::Result<()> {
        let way_in = fs::read(scratch.join("kubeconfig"))?;
        clusters.write(&KeptCluster {
            name: name.to_owned(),
            stage: MadeStage::Standing,
            why: Why::AfterFailure(run_id.to_owned()),
            maker: Process::this()?,
            asked: asked(options),
            nodes,
            images: None,
            objects: Vec::new(),
        })?;
        clusters.write_kubeconfig(name, &way_in)
    };
    kept().map(|()| true).map_err(|error| error.to_string())
}

/// The way into a cluster that is kept, to remove what a run that is gone has in it, for as long as the answer lives; `None`
/// where there is no such cluster any more.
///
/// # Errors
///
/// Why there is none, in words.
pub async fn reach_kept(name: &str, marks: &Marks) -> Result<Option<(Kubernetes, Hold)>, String> {
    let clusters = KeptClusters::of_this_user();
    let record = clusters.read(name).map_err(|error| error.to_string())?;
    let standing = containers_of(name).await.map_err(|error| error.to_string())?;
    let Some(record) = record.filter(|record| !standing.is_empty() && is_of(record, &standing)) else {
        return Ok(None);
    };
    let hold = clusters.take(&record.name).map_err(|error| error.to_string())?;
    let hold = hold.ok_or_else(|| format!("{name} is in use by another command; try again later"))?;
    running(name, &standing).await?;
    let text = fs::read_to_string(clusters.kubeconfig(name)).map_err(|error| error.to_string())?;
    let access = KubernetesAccess::of_kubeconfig(&text)?;
    let kubernetes = Kubernetes::connect(&access, marks).await;
    kubernetes
        .map(|kubernetes| Some((kubernetes, hold)))
        .map_err(|error| error.to_string())
}

/// What became of a cluster that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// It was there and is gone.
    Deleted,
    /// It was not there.
    Absent,
}

/// Why a cluster was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// It is somebody else's.
    #[error(
        "{0} is no cluster of mountproof's: it is not on record, and does not carry its mark; `kind delete cluster --name {0}` \
         deletes it all the same"
    )]
    Foreign(String),
    /// It is in use.
    #[error("{0} is in use by another command; end that first")]
    InUse(String),
    /// The record.
    #[error("cannot read or write its record: {0}")]
    Record(#[from] io::Error),
    /// kind or Docker.
    #[error(transparent)]
    Kind(#[from] KindError),
}

/// Deletes a cluster that is kept, with everything in it. One that is not there is no error.
///
/// # Errors
///
/// When it is not ours, is in use, or cannot be deleted.
pub async fn down(name: &str, program: Option<&Path>, told: &Told) -> Result<Down, DownError> {
    let clusters = KeptClusters::of_this_user();
    let kind = Kind::find(program).await?;
    let hold = clusters
        .take(name)?
        .ok_or_else(|| DownError::InUse(name.to_owned()))?;
    let nodes = containers_of(name).await?;
    let record = clusters.read(name)?;
    if !nodes.is_empty()
        && !record.as_ref().is_some_and(|record| is_of(record, &nodes))
        && !marked(&nodes).await
    {
        // What is on record is another one of that name, which is gone.
        drop(hold);
        clusters.forget(name)?;
        return Err(DownError::Foreign(name.to_owned()));
    }
    let stage = Stage::begin(told, "cluster", format!("deleting {name}"));
    delete(&kind, name).await?;
    clusters.forget(name)?;
    if nodes.is_empty() && record.is_none() {
        return Ok(Down::Absent);
    }
    stage.ends(format!("{name} deleted"));
    Ok(Down::Deleted)
}

/// Whether containers are the nodes of the cluster on record. One that was being made has none on record yet: nothing had its
/// name before.
fn is_of(record: &KeptCluster, nodes: &[KeptNode]) -> bool {
    record.stage == MadeStage::Making || nodes.iter().all(|node| record.nodes.contains(node))
}

/// Namespace and name of the mark in a cluster of ours: a `ConfigMap`.
pub(super) const MARK: (&str, &str) = ("kube-system", "mountproof");

/// Whether a cluster carries our mark, by its own control plane's word.
async fn marked(nodes: &[KeptNode]) -> bool {
    let Some(first) = nodes.iter().find(|node| node.name.ends_with("-control-plane")) else {
        return false;
    };
    let (namespace, name) = MARK;
    let asked = [
        "exec",
        &first.id,
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "--request-timeout=10s",
        "--namespace",
        namespace,
        "get",
        "configmap",
        name,
    ];
    docker(asked, std::time::Duration::from_secs(20)).await.is_ok()
}

/// Whether a cluster can be used as it is asked for.
fn usable(record: &KeptCluster, options: &KindOptions, standing: &[KeptNode]) -> Result<(), String> {
    let name = &record.name;
    let down = format!("`mountproof down {name}` deletes it");
    if record.stage == MadeStage::Making {
        return Err(format!("{name} was never finished; {down}"));
    }
    if let Why::AfterFailure(run) = &record.why {
        return Err(format!("{name} is kept as run {run} left it; {down}"));
    }
    if !is_of(record, standing) {
        return Err(format!(
            "the cluster {name} that is there is another one than that on record; give another name"
        ));
    }
    let (had, wanted) = (&record.asked, asked(options));
    let differs = [
        (
            wanted.image.is_some() && wanted.image != had.image,
            "--kind-image",
        ),
        (
            wanted.config.is_some() && wanted.config != had.config,
            "--kind-config",
        ),
        (wanted.workers > 0 && wanted.workers != had.workers, "--workers"),
        (
            wanted.max_pods.is_some() && wanted.max_pods != had.max_pods,
            "--max-pods",
        ),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        None => Ok(()),
        Some((_, flag)) => Err(format!(
            "{name} was made with another {flag}, which cannot be changed; {down}, or give another name"
        )),
    }
}

/// Whether every node runs: Docker does not start them again with the machine.
async fn running(name: &str, nodes: &[KeptNode]) -> Result<(), String> {
    for node in nodes {
        let said = docker(
            ["inspect", "--format", "{{.State.Running}}", &node.name],
            std::time::Duration::from_secs(20),
        )
        .await
        .map_err(|error| error.to_string())?;
        if said != "true" {
            return Err(format!(
                "the node {0} does not run; `docker start {0}` starts it, `mountproof down {name}` deletes the cluster",
                node.name
            ));
        }
    }
    Ok(())
}

async fn create(
    kind: &Kind,
    name: &str,
    options: &KindOptions,
    scratch: &Path,
    kubeconfig: &Path,
    told: &Told,
) -> Result<Cluster, StartError> {
    let stage = Stage::begin(told, "cluster", format!("{name}: asking kind"));
    let cluster = Cluster::create(kind, name, options, scratch, kubeconfig, &stage)
        .await
        .map_err(StartError::of(PART))?;
    stage.ends(said(&cluster));
    Ok(cluster)
}

fn said(cluster: &Cluster) -> String {
    let nodes = cluster.nodes().len();
    let nodes = if nodes == 1 {
        "1 node".to_owned()
    } else {
        format!("{nodes} nodes")
    };
    format!("{}: {nodes} of {}", cluster.name(), cluster.image())
}

fn asked(options: &KindOptions) -> Asked {
    Asked {
        image: options.image.clone(),
        config: options.config.clone(),
        workers: options.workers,
        max_pods: options.max_pods,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::kept::tests::cluster, *};

    fn wanted(image: Option<&str>, workers: u32) -> KindOptions {
        KindOptions {
            image: image.map(str::to_owned),
            workers,
            ..KindOptions::default()
        }
    }

    #[test]
    fn a_cluster_is_used_again_where_it_is_what_is_asked_for() {
        let mut record = cluster("c");
        record.asked.image = Some("node:1".to_owned());
        record.asked.workers = 2;
        let standing = record.nodes.clone();
        for (image, workers, refused) in [
            (None, 0, None),
            (Some("node:1"), 2, None),
            (Some("node:2"), 2, Some("another --kind-image")),
            (None, 3, Some("another --workers")),
        ] {
            let said = usable(&record, &wanted(image, workers), &standing);
            match refused {
                None => assert_eq!(said, Ok(())),
                Some(words) => {
                    assert!(said.is_err_and(|said| said.contains(words) && said.contains("down c")));
                }
            }
        }
    }

    #[test]
    fn a_cluster_that_is_not_the_one_on_record_is_not_used() {
        let record = cluster("c");
        let other = [KeptNode {
            name: "c-control-plane".to_owned(),
            id: "4567".to_owned(),
        }];
        let options = KindOptions::default();
        assert!(usable(&record, &options, &other).is_err_and(|said| said.contains("another one")));
        let unfinished = KeptCluster {
            stage: MadeStage::Making,
            ..record.clone()
        };
        assert!(
            usable(&unfinished, &options, &record.nodes).is_err_and(|said| said.contains("never finished"))
        );
        let failed = KeptCluster {
            why: Why::AfterFailure("7f3k".to_owned()),
            ..record.clone()
        };
        assert!(usable(&failed, &options, &record.nodes).is_err_and(|said| said.contains("run 7f3k")));
    }

    #[test]
    fn the_nodes_of_a_cluster_are_told_by_their_containers() {
        let record = cluster("c");
        assert!(is_of(&record, &record.nodes));
        let mut foreign = record.nodes.clone();
        foreign[0].id = "4567".to_owned();
        assert!(!is_of(&record, &foreign));
        let making = KeptCluster {
            stage: MadeStage::Making,
            ..record
        };
        assert!(is_of(&making, &foreign), "none is on record yet");
    }
}
