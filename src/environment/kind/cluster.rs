//! A cluster while it stands.

use std::{
    collections::BTreeSet,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    KindOptions, Node, config,
    kept::{Hold, KeptClusters, KeptNode},
    program::{Kind, KindError, Load, docker},
};
use crate::environment::{
    installation::Installation,
    progress::{Stage, Told},
};

/// Longest wait for Docker to tell something.
const ANSWER: Duration = Duration::from_secs(20);
/// The network of Docker's that kind puts nodes on.
const NETWORK: &str = "kind";
/// Kubelet's root on a node.
const KUBELET: &str = "var/lib/kubelet";
/// Label of a node's container: the cluster that it is of.
const LABEL: &str = "io.x-k8s.kind.cluster";
/// Pause between two looks for what is left of a cluster: Docker may be about to make a container for somebody who is gone.
const LOOK: Duration = Duration::from_millis(500);
/// How often kind is asked to delete a cluster before that is given up.
const TRIES: u32 = 4;
/// Held by whoever makes a cluster where Docker has no network for clusters yet.
const NETWORK_LOCK: &str = ".network";
/// Longest wait for that: a first cluster of somebody else.
const NETWORK_WAIT: Duration = Duration::from_mins(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    name: String,
    kubeconfig: PathBuf,
    image: String,
    nodes: Vec<Node>,
    containers: Vec<KeptNode>,
    host: IpAddr,
}

impl Cluster {
    /// Creates it, and writes its `kubeconfig`; its configuration lies in `scratch`.
    pub(super) async fn create(
        kind: &Kind,
        name: &str,
        options: &KindOptions,
        scratch: &Path,
        kubeconfig: &Path,
        stage: &Stage,
    ) -> Result<Self, KindError> {
        let failed = |error: io::Error| KindError::Failed {
            what: "the cluster's configuration".to_owned(),
            said: error.to_string(),
            help: "",
        };
        let config = if let Some(config) = &options.config {
            config.clone()
        } else {
            let path = scratch.join("kind.yaml");
            let cluster = config::cluster(options.workers, options.max_pods);
            // JSON is YAML.
            fs::write(&path, cluster.to_string()).map_err(failed)?;
            path
        };
        let create = async || {
            let step = |step: &str| stage.goes_on(step);
            kind.create(name, options.image.as_deref(), &config, kubeconfig, &step)
                .await
        };
        // Whoever comes first makes the network that all clusters share: one at a time.
        let _alone = if network_is_there().await {
            None
        } else {
            alone().await.map_err(failed)?
        };
        match create().await {
            // The port of its API was free when kind looked, and another cluster was faster. kind has cleaned up.
            Err(error) if options.config.is_none() && error.is_taken_port() => create().await?,
            created => created?,
        }
        Self::standing(kind, name, kubeconfig).await
    }

    /// One that stands already.
    pub(super) async fn standing(kind: &Kind, name: &str, kubeconfig: &Path) -> Result<Self, KindError> {
        let (mut nodes, mut containers) = (Vec::new(), Vec::new());
        for node in kind.nodes(name).await? {
            let said = docker(["inspect", "--format", "{{.State.Pid}} {{.Id}}", &node], ANSWER).await?;
            let (pid, id) = said.split_once(' ').unwrap_or((&said, ""));
            nodes.push(Node {
                // The node's own file system, its mounts included, as root on this machine may see it.
                kubelet_root: Some(Path::new("/proc").join(pid).join("root").join(KUBELET)),
                csi_socket: None,
                agent: None,
                name: node.clone(),
            });
            containers.push(KeptNode {
                name: node,
                id: id.to_owned(),
            });
        }
        let first = nodes.first().map_or("", |node| &node.name);
        let image = docker(["inspect", "--format", "{{.Config.Image}}", first], ANSWER).await?;
        Ok(Self {
            name: name.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            image,
            nodes,
            containers,
            host: host_address().await?,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Image of its nodes.
    pub(super) fn image(&self) -> &str {
        &self.image
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The containers that its nodes are.
    pub(super) fn containers(&self) -> &[KeptNode] {
        &self.containers
    }

    /// The address at which its pods reach this machine.
    pub(super) fn host_address(&self) -> IpAddr {
        self.host
    }

    /// Brings the images of an installation into every node, archives first and then what Docker has here; any other is
    /// kubelet's to pull. Says which are stand-ins', by their label.
    pub(super) async fn load_all(
        &self,
        kind: &Kind,
        installation: &Installation,
        archives: &[(String, PathBuf)],
        scratch: &Path,
        told: &Told,
    ) -> Result<BTreeSet<String>, KindError> {
        let stage = Stage::begin(told, "images", "loading");
        for (name, archive) in archives {
            stage.goes_on(format!("loading {name}"));
            kind.load(&self.name, Load::Archive(archive), scratch).await?;
        }
        let images = installation.images();
        let mut stand_ins = BTreeSet::new();
        for image in &images {
            stage.goes_on(format!("loading {image}"));
            // A digest is a registry's: what Docker would save of it has no name that a node could find it by.
            let brought = archives.iter().any(|(name, _)| name == image);
            if !brought && !image.contains('@') && self.load_if_here(kind, image, scratch).await? {
                stand_ins.insert((*image).to_owned());
            }
        }
        let nodes = match self.nodes.len() {
            1 => "1 node".to_owned(),
            nodes => format!("{nodes} nodes"),
        };
        stage.ends(format!("{} images for {nodes}", images.len()));
        Ok(stand_ins)
    }

    /// Brings an image into every node that Docker has here; any other is kubelet's to pull. Says whether it is a
    /// stand-in's, by its label.
    pub(super) async fn load_if_here(
        &self,
        kind: &Kind,
        image: &str,
        scratch: &Path,
    ) -> Result<bool, KindError> {
        let format = "{{index .Config.Labels \"mountproof.stand-in\"}}";
        match docker(["image", "inspect", "--format", format, image], ANSWER).await {
            Ok(label) => {
                kind.load(&self.name, Load::Image(image), scratch).await?;
                Ok(label == "true")
            }
            Err(KindError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Brings the images of an archive into every node.
    pub(super) async fn load_archive(&self, kind: &Kind, archive: &Path) -> Result<(), KindError> {
        kind.load_archive(&self.name, archive).await
    }
}

/// Containers of a cluster, as Docker has them now, whether they run or not.
pub(super) async fn containers_of(cluster: &str) -> Result<Vec<KeptNode>, KindError> {
    let filter = format!("label={LABEL}={cluster}");
    let format = "{{.Names}} {{.ID}}";
    let said = docker(
        [
            "ps",
            "--all",
            "--no-trunc",
            "--filter",
            &filter,
            "--format",
            format,
        ],
        ANSWER,
    )
    .await?;
    let mut nodes: Vec<KeptNode> = said
        .lines()
        .filter_map(|line| {
            let (name, id) = line.split_once(' ')?;
            Some(KeptNode {
                name: name.to_owned(),
                id: id.to_owned(),
            })
        })
        .collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

/// Deletes a cluster, and sees that nothing of it is left; one that is not there is no error.
pub(super) async fn delete(kind: &Kind, cluster: &str) -> Result<(), KindError> {
    // kind takes the cluster out of a kubeconfig: of none here, for it was in none but our own.
    let nowhere = std::env::temp_dir().join(format!("{cluster}.kubeconfig"));
    let (mut tries, mut clean) = (0, 0);
    loop {
        let gone = if clean == 0 {
            tries += 1;
            let gone = kind.delete(cluster, &nowhere).await;
            let _ = fs::remove_file(&nowhere);
            gone
        } else {
            Ok(())
        };
        if containers_of(cluster).await?.is_empty() {
            clean += 1;
        } else {
            clean = 0;
        }
        // Twice, as a creation that was cut off may still be under way in Docker.
        if clean == 2 {
            return Ok(());
        }
        if clean == 0 && tries == TRIES {
            gone?;
            return Err(KindError::Failed {
                what: "kind delete cluster".to_owned(),
                said: format!("containers of {cluster} are there still"),
                help: "; `docker ps --all` shows them",
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn network_is_there() -> bool {
    docker(["network", "inspect", NETWORK], ANSWER).await.is_ok()
}

/// Waits until no other process of this user's makes a first cluster, and keeps them waiting.
async fn alone() -> io::Result<Option<Hold>> {
    let kept = KeptClusters::of_this_user();
    let until = Instant::now() + NETWORK_WAIT;
    loop {
        match kept.take(NETWORK_LOCK)? {
            Some(hold) => return Ok(Some(hold)),
            // Then side by side: kind itself mends a network that was made twice.
            None if Instant::now() >= until => return Ok(None),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// This machine's address on the nodes' network: IPv4, as the endpoint's certificate and kind's default are.
async fn host_address() -> Result<IpAddr, KindError> {
    let format = "{{range .IPAM.Config}}{{.Gateway}} {{end}}";
    let said = docker(["network", "inspect", NETWORK, "--format", format], ANSWER).await?;
    let addresses = said.split_whitespace().filter_map(|text| text.parse().ok());
    let found = addresses.into_iter().find(IpAddr::is_ipv4);
    found.ok_or_else(|| KindError::Failed {
        what: format!("docker network inspect {NETWORK}"),
        said: format!("it has no IPv4 gateway: {said:?}"),
        help: "; the endpoint is to be reached there",
    })
}
