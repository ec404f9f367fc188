//! A cluster while it stands.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    KindOptions, Node, config,
    program::{Kind, KindError, docker},
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
                agent: None,
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

    /// Brings an image into every node that Docker has here; any other is kubelet's to pull. Says whether it is a
    /// stand-in's, by its label.
    pub(super) async fn load_if_here(&self, kind: &Kind, image: &str) -> Result<bool, KindError> {
        let format = "{{index .Config.Labels \"mountproof.stand-in\"}}";
        match docker(["image", "inspect", "--format", format, image], ANSWER).await {
            Ok(label) => {
                kind.load(&self.name, image).await?;
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
