//! A cluster while it stands.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::installation::Installation,
    KindOptions, Node, config,
    program::{Kind, KindError, Load, docker},
};

/// Longest wait for Docker to tell something.
const ANSWER: Duration = Duration::from_secs(20);
/// The network of Docker's that kind puts nodes on.
const NETWORK: &str = "kind";
/// Kubelet's root on a node.
const KUBELET: &str = "var/lib/kubelet";

/// See the module.
#[derive(Debug)]
pub(super) struct Cluster {
    name: String,
    kubeconfig: PathBuf,
    image: String,
    nodes: Vec<Node>,
    host: IpAddr,
}

impl Cluster {
    /// Creates it; its kubeconfig and its configuration lie in `scratch`.
    pub(super) async fn create(
        kind: &Kind,
        name: &str,
        options: &KindOptions,
        scratch: &Path,
    ) -> Result<Self, KindError> {
        let kubeconfig = scratch.join("kubeconfig");
        let failed = |error: std::io::Error| KindError::Failed {
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
        kind.create(name, options.image.as_deref(), &config, &kubeconfig)
            .await?;
        let mut nodes = Vec::new();
        for node in kind.nodes(name).await? {
            let pid = docker(["inspect", "--format", "{{.State.Pid}}", &node], ANSWER).await?;
            nodes.push(Node {
                // The node's own file system, its mounts included, as root on this machine may see it.
                kubelet_root: Path::new("/proc").join(pid).join("root").join(KUBELET),
                csi_socket: None,
                name: node,
            });
        }
        let first = nodes.first().map_or("", |node| &node.name);
        let image = docker(["inspect", "--format", "{{.Config.Image}}", first], ANSWER).await?;
        Ok(Self {
            name: name.to_owned(),
            kubeconfig,
            image,
            nodes,
            host: host_address().await?,
        })
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
    ) -> Result<BTreeSet<String>, KindError> {
        for (_, archive) in archives {
            kind.load(&self.name, Load::Archive(archive)).await?;
        }
        let mut stand_ins = BTreeSet::new();
        for image in installation.images() {
            // A digest is a registry's: what Docker would save of it has no name that a node could find it by.
            let brought = archives.iter().any(|(name, _)| name == image);
            if !brought && !image.contains('@') && self.load_if_here(kind, image).await? {
                stand_ins.insert(image.to_owned());
            }
        }
        Ok(stand_ins)
    }

    /// Brings an image into every node that Docker has here. Says whether it is a stand-in's.
    async fn load_if_here(&self, kind: &Kind, image: &str) -> Result<bool, KindError> {
        let format = "{{index .Config.Labels \"mountproof.stand-in\"}}";
        match docker(["image", "inspect", "--format", format, image], ANSWER).await {
            Ok(label) => {
                kind.load(&self.name, Load::Image(image)).await?;
                Ok(label == "true")
            }
            Err(KindError::Failed { .. }) => Ok(false),
            Err(error) => Err(error),
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
