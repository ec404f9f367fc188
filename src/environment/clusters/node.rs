//! A node of a cluster: a kubelet stand-in that stands for an EC2 instance.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use mountproof_aws_endpoint::eks::{InstanceKeys, NodegroupWanted};
use mountproof_stand_ins::{
    driver::unmount_below,
    kubelet::{Clock, Kubelet, KubeletConfig},
};
use serde_json::{Value, json};

use crate::provision::{Owned, owned_by_process};

use super::{
    NodeOptions, StandInCluster, StandInClusters,
    identity::Instance,
    programs::{NodeLogs, Programs, Site},
};

/// Longest path of a unix socket (`sockaddr_un`), with the final NUL.
const LONGEST_SOCKET: usize = 108;
/// The part of a socket's path below a node's folder, at its longest: that of a provider in the older of its folders.
const SOCKET_BELOW: usize = 56;

/// Pods that instances of EKS take, by their network interfaces (<https://github.com/awslabs/amazon-eks-ami>,
/// `eni-max-pods.txt`); all others have kubelet's own 110 here.
const MOST_PODS: &[(&str, usize)] = &[
    ("t3.nano", 4),
    ("t3.micro", 4),
    ("t3.small", 11),
    ("t3.medium", 17),
    ("t3.large", 35),
    ("t3.xlarge", 58),
    ("t3.2xlarge", 58),
    ("t3a.medium", 17),
    ("t3a.large", 35),
    ("m5.large", 29),
    ("m5.xlarge", 58),
    ("m5.2xlarge", 58),
    ("m5.4xlarge", 234),
    ("m6i.large", 29),
    ("m6i.xlarge", 58),
    ("m7i.large", 29),
    ("c5.large", 29),
    ("c5.xlarge", 58),
    ("r5.large", 29),
];

/// What a new node is to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NodeWanted {
    /// Its private DNS name.
    pub(super) name: String,
    region: String,
    address: String,
    instance: String,
    zone: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Value>,
    options: NodeOptions,
    max_pods: usize,
}

impl NodeWanted {
    /// The node with this number in its cluster, of a group.
    pub(super) fn new(group: &NodegroupWanted, number: usize, options: NodeOptions) -> Self {
        let region = group.key.region.clone();
        let subnet = number % group.subnets.len().max(1);
        let (third, fourth) = (subnet * 32 + number / 200, 10 + number % 200);
        let domain = if region == "us-east-1" {
            "ec2.internal".to_owned()
        } else {
            format!("{region}.compute.internal")
        };
        let zone = format!("{region}{}", ["a", "b", "c"][subnet % 3]);
        let mut labels = BTreeMap::new();
        for (label, value) in [
            ("eks.amazonaws.com/nodegroup", group.key.name.as_str()),
            ("eks.amazonaws.com/capacityType", group.capacity.as_str()),
            ("node.kubernetes.io/instance-type", group.instance_type.as_str()),
            ("beta.kubernetes.io/instance-type", group.instance_type.as_str()),
            ("topology.kubernetes.io/zone", zone.as_str()),
        ] {
            labels.insert(label.to_owned(), value.to_owned());
        }
        labels.extend(group.labels.clone());
        let known = MOST_PODS.iter().find(|(name, _)| *name == group.instance_type);
        Self {
            name: format!("ip-10-0-{third}-{fourth}.{domain}"),
            address: format!("10.0.{third}.{fourth}"),
            // Seventeen hexadecimal digits, as EC2 has them.
            instance: format!("i-{:.17}", uuid::Uuid::new_v4().simple().to_string()),
            zone,
            labels,
            taints: group.taints.iter().map(of_kubernetes).collect(),
            max_pods: options
                .max_pods
                .unwrap_or_else(|| known.map_or(110, |(_, pods)| *pods)),
            options,
            region,
        }
    }
}

/// A taint as Kubernetes writes it: EKS has `NO_SCHEDULE` where Kubernetes has `NoSchedule`.
fn of_kubernetes(taint: &Value) -> Value {
    let effect = match taint["effect"].as_str() {
        Some("NO_SCHEDULE") => "NoSchedule",
        Some("NO_EXECUTE") => "NoExecute",
        Some("PREFER_NO_SCHEDULE") => "PreferNoSchedule",
        other => other.unwrap_or_default(),
    };
    let mut of_kubernetes = json!({ "key": taint["key"], "effect": effect });
    if let Some(value) = taint["value"].as_str() {
        of_kubernetes["value"] = value.into();
    }
    of_kubernetes
}

/// Why a node cannot be.
#[derive(Debug, thiserror::Error)]
pub(super) enum NodeError {
    #[error("{path}: {source}")]
    Folder { path: PathBuf, source: io::Error },
    #[error("{path} is too long for the sockets below it; set TMPDIR to a shorter one")]
    TooLong { path: PathBuf },
    #[error(transparent)]
    Kubelet(#[from] mountproof_stand_ins::kubelet::StartError),
    #[error(transparent)]
    Tls(#[from] mountproof_run_tls::TlsError),
    #[error("the cluster has ended")]
    Ended,
}

/// A node that is registered in its cluster.
pub(super) struct Node {
    name: String,
    kubelet: Kubelet,
    programs: Arc<Programs>,
    logs: Arc<NodeLogs>,
    folder: NodeFolder,
}

impl Node {
    /// Starts it and has it join its cluster.
    pub(super) async fn join(
        cluster: &StandInCluster,
        wanted: NodeWanted,
        keys: &InstanceKeys,
        site: &StandInClusters,
    ) -> Result<Self, NodeError> {
        let folder = site.scratch.of_node()?;
        let user = format!("system:node:{}", wanted.name);
        let access = cluster.access(&user).ok_or(NodeError::Ended)?;
        let programs = Programs::new(Site {
            folder: folder.0.clone(),
            kubelet: folder.kubelet(),
            endpoint: site.endpoint.get().copied(),
            trust_pem: site.ca.certificate_pem().to_owned(),
            api: access.clone(),
            instance: Instance {
                id: wanted.instance.clone(),
                region: wanted.region.clone(),
                keys: Arc::clone(keys),
            },
        })?;
        cluster.logs.joined(&wanted.name, &programs);
        let config = KubeletConfig {
            scheduler: None,
            labels: wanted.labels,
            taints: wanted.taints,
            provider_id: Some(format!("aws:///{}/{}", wanted.zone, wanted.instance)),
            address: wanted.address,
            images: vec![format!(
                "602401143452.dkr.ecr.{}.amazonaws.com/eks/pause:3.10",
                wanted.region
            )],
            region: wanted.region,
            max_pods: wanted.max_pods,
            clock: Clock::faster(wanted.options.clock),
            containers: Some(Arc::clone(&programs) as _),
            ..KubeletConfig::new(access, &wanted.name, folder.kubelet())
        };
        let kubelet = Kubelet::start(config).await?;
        Ok(Self {
            name: wanted.name,
            kubelet,
            programs,
            logs: Arc::clone(&cluster.logs),
            folder,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Ends it where it stands, with all that it has on disk.
    pub(super) async fn stop(self) {
        self.kubelet.stop().await;
        self.programs.stop_all().await;
        self.logs.left(&self.name);
        let folder = self.folder;
        // It unmounts and removes.
        let _ = tokio::task::spawn_blocking(move || drop(folder)).await;
    }
}

/// The folder that all nodes' folders are in. It is made with the first, and goes when it is told to, or dropped.
#[derive(Debug, Default)]
pub(super) struct Scratch(Mutex<Made>);

#[derive(Debug, Default)]
struct Made {
    folder: Option<PathBuf>,
    owned: Option<Owned>,
    nodes: usize,
    closed: bool,
}

impl Scratch {
    /// A new folder for a node, with a short name: its sockets have to fit.
    fn of_node(&self) -> Result<NodeFolder, NodeError> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if made.closed {
            return Err(NodeError::Ended);
        }
        let folder = if let Some(folder) = &made.folder {
            folder.clone()
        } else {
            let id = uuid::Uuid::new_v4().simple().to_string();
            let folder = std::env::temp_dir().join(format!("mountproof-nodes-{id:.8}"));
            private(&folder)?;
            // Of no run: whoever comes after a killed process finds it by that.
            let owned = owned_by_process(&folder).map_err(|source| NodeError::Folder {
                path: folder.clone(),
                source,
            })?;
            made.owned = Some(owned);
            made.folder.insert(folder).clone()
        };
        let node = folder.join(format!("{:x}", made.nodes));
        if node.as_os_str().len() + SOCKET_BELOW > LONGEST_SOCKET {
            return Err(NodeError::TooLong { path: folder });
        }
        made.nodes += 1;
        private(&node)?;
        Ok(NodeFolder(node))
    }

    /// Removes it, and lets no further node be; of nodes that still run, it unmounts what they have mounted.
    pub(super) fn remove(&self) {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.closed = true;
        if let Some(folder) = made.folder.take() {
            removed(&folder);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A node's own folder, which stands for its root. It goes when dropped.
#[derive(Debug)]
pub(super) struct NodeFolder(PathBuf);

impl NodeFolder {
    /// In the place of `/var/lib/kubelet`.
    pub(super) fn kubelet(&self) -> PathBuf {
        self.0.join("k")
    }
}

impl Drop for NodeFolder {
    fn drop(&mut self) {
        removed(&self.0);
    }
}

/// Secrets are below it: it is its owner's alone.
fn private(folder: &Path) -> Result<(), NodeError> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .map_err(|source| NodeError::Folder {
            path: folder.to_owned(),
            source,
        })
}

fn removed(folder: &Path) {
    let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match unmount_below(folder).and_then(|_| fs::remove_dir_all(folder)) {
        Err(error) if !gone(&error) => tracing::warn!(?folder, %error, "not removed"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use mountproof_aws_endpoint::eks::MemberKey;

    use super::*;

    fn group(region: &str, instance: &str) -> NodegroupWanted {
        NodegroupWanted {
            key: MemberKey {
                region: region.to_owned(),
                cluster: "demo".to_owned(),
                name: "workers".to_owned(),
            },
            desired: 1,
            instance_type: instance.to_owned(),
            capacity: "ON_DEMAND".to_owned(),
            role: "arn:aws:iam::000000000000:role/node".to_owned(),
            subnets: vec!["subnet-1".to_owned(), "subnet-2".to_owned()],
            labels: BTreeMap::from([("team".to_owned(), "x".to_owned())]),
            taints: vec![json!({ "key": "team", "value": "x", "effect": "NO_SCHEDULE" })],
        }
    }

    #[test]
    fn nodes_are_named_and_labelled_as_those_of_eks() {
        let node = NodeWanted::new(&group("eu-west-1", "t3.medium"), 1, NodeOptions::default());
        assert_eq!(node.name, "ip-10-0-32-11.eu-west-1.compute.internal");
        assert_eq!(node.address, "10.0.32.11");
        assert_eq!(node.max_pods, 17);
        assert_eq!(node.instance.len(), 19, "{}", node.instance);
        for (label, value) in [
            ("eks.amazonaws.com/nodegroup", "workers"),
            ("node.kubernetes.io/instance-type", "t3.medium"),
            ("topology.kubernetes.io/zone", "eu-west-1b"),
            ("team", "x"),
        ] {
            assert_eq!(node.labels.get(label).map(String::as_str), Some(value), "{label}");
        }
        assert_eq!(
            node.taints,
            [json!({ "key": "team", "value": "x", "effect": "NoSchedule" })]
        );
        let other = NodeWanted::new(&group("us-east-1", "x9.large"), 0, NodeOptions::default());
        assert_eq!(
            (other.name.as_str(), other.max_pods),
            ("ip-10-0-0-10.ec2.internal", 110)
        );
    }

    #[test]
    fn no_two_nodes_of_a_cluster_have_a_name() {
        let of = |number| NodeWanted::new(&group("eu-west-1", "t3.medium"), number, NodeOptions::default());
        let names: std::collections::BTreeSet<String> = (0..1000).map(|number| of(number).name).collect();
        assert_eq!(names.len(), 1000);
    }

    #[test]
    fn folders_of_nodes_go_with_them() {
        let scratch = Scratch::default();
        let (one, other) = (scratch.of_node().unwrap(), scratch.of_node().unwrap());
        let (path, all) = (one.0.clone(), one.0.parent().unwrap().to_owned());
        fs::create_dir_all(one.kubelet()).unwrap();
        drop(one);
        assert!(!path.exists() && other.0.is_dir());
        drop(other);
        drop(scratch);
        assert!(!all.exists());
    }
}
