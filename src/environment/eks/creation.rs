//! A cluster of the run's own: roles, cluster, nodes, add-ons, each on record before it is made, and waited for.
//!
//! What is half made when this is left off is removed by its name: see [`provision`](crate::provision).

use std::time::{Duration, Instant};

use super::{
    super::{
        StartError,
        progress::{Stage, Told},
    },
    options::{AddonWanted, Creation},
};
use crate::{
    aws::{AddonRequest, Aws, ClusterRequest, ClusterView, NodegroupRequest, service_trust},
    provision::{Ledger, Object},
    tenant::Marks,
};

/// The part that an error is about.
pub(super) const PART: &str = "EKS cluster";

/// Longest wait for a cluster, which takes about ten minutes, and for nodes and add-ons, which take a few.
const CLUSTER: Duration = Duration::from_mins(30);
const NODES: Duration = Duration::from_mins(20);
const ADDON: Duration = Duration::from_mins(15);

/// What a cluster does in its owner's name ("Amazon EKS cluster IAM role").
const CLUSTER_POLICIES: &[&str] = &["AmazonEKSClusterPolicy"];
/// What its nodes do ("Amazon EKS node IAM role").
const NODE_POLICIES: &[&str] = &[
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKS_CNI_Policy",
];

/// What makes something in EKS for a run.
pub(super) struct Making<'a> {
    pub(super) aws: &'a Aws,
    /// The cluster's name.
    pub(super) name: &'a str,
    pub(super) marks: &'a Marks,
    pub(super) ledger: &'a Ledger,
    pub(super) told: &'a Told,
}

/// Name of the role of a run for its cluster or its nodes.
fn role_name(marks: &Marks, whose: &str) -> String {
    format!("mountproof-{}-{whose}", marks.run())
}

/// Name of the one node group.
fn nodegroup_name(marks: &Marks) -> String {
    format!("mountproof-{}", marks.run())
}

impl Making<'_> {
    /// Makes the cluster, with nodes.
    pub(super) async fn create(&self, creation: &Creation) -> Result<ClusterView, StartError> {
        let cluster_role = self
            .role("cluster", "eks.amazonaws.com", CLUSTER_POLICIES)
            .await?;
        let cluster = self.cluster(creation, &cluster_role).await?;
        let node_role = self.role("node", "ec2.amazonaws.com", NODE_POLICIES).await?;
        self.nodes(creation, &node_role).await?;
        Ok(cluster)
    }

    /// Installs these, one after the other.
    pub(super) async fn install(&self, addons: &[AddonWanted]) -> Result<(), StartError> {
        for addon in addons {
            self.addon(addon).await?;
        }
        Ok(())
    }

    /// A role that a service takes on, with policies that AWS manages; its ARN.
    async fn role(&self, whose: &str, service: &str, policies: &[&str]) -> Result<String, StartError> {
        let name = role_name(self.marks, whose);
        self.plan(Object::Role(name.clone()))?;
        let managed: Vec<String> = policies
            .iter()
            .map(|policy| self.aws.managed_policy_arn(policy))
            .collect();
        let trust = service_trust(service);
        let (aws, tags) = (self.aws.clone(), self.marks.tags());
        let making = async move {
            let managed: Vec<&str> = managed.iter().map(String::as_str).collect();
            aws.provide_role_with(&name, &trust, &managed, &tags).await
        };
        self.ledger.landed(making).await.map_err(StartError::of(PART))
    }

    async fn cluster(&self, creation: &Creation, role_arn: &str) -> Result<ClusterView, StartError> {
        let name = self.name;
        self.plan(Object::EksCluster(name.to_owned()))?;
        let stage = Stage::begin(self.told, "cluster", format!("{name}: asking EKS"));
        let wanted = ClusterRequest {
            name: name.to_owned(),
            version: creation.version.clone(),
            role_arn: role_arn.to_owned(),
            subnets: creation.subnets.clone(),
            security_groups: creation.security_groups.clone(),
            tags: self.marks.tags(),
        };
        let aws = self.aws.clone();
        let making = async move { aws.create_cluster(&wanted).await };
        self.ledger.landed(making).await.map_err(StartError::of(PART))?;
        let hears = |status: &str| stage.goes_on(format!("{status}, usually for 10 minutes"));
        let cluster = self
            .aws
            .await_cluster(name, Instant::now() + CLUSTER, &hears)
            .await;
        let cluster = cluster.map_err(StartError::of(PART))?;
        stage.ends(format!("{name}: version {}", cluster.version));
        Ok(cluster)
    }

    async fn nodes(&self, creation: &Creation, role_arn: &str) -> Result<(), StartError> {
        let (name, nodes) = (nodegroup_name(self.marks), &creation.nodes);
        self.plan(Object::Nodegroup {
            cluster: self.name.to_owned(),
            name: name.clone(),
        })?;
        let size = format!("{} of {}", nodes.desired, nodes.instance_type);
        let stage = Stage::begin(self.told, "nodes", format!("{size}: asking EKS"));
        let wanted = NodegroupRequest {
            cluster: self.name.to_owned(),
            name: name.clone(),
            role_arn: role_arn.to_owned(),
            subnets: creation.subnets.clone(),
            instance_type: nodes.instance_type.clone(),
            min: whole(nodes.least),
            max: whole(nodes.most),
            desired: whole(nodes.desired),
            version: None,
            tags: self.marks.tags(),
        };
        let aws = self.aws.clone();
        let making = async move { aws.create_nodegroup(&wanted).await };
        self.ledger.landed(making).await.map_err(StartError::of(PART))?;
        let hears = |status: &str| stage.goes_on(format!("{status}, usually for 3 minutes"));
        let until = Instant::now() + NODES;
        let there = self.aws.await_nodegroup(self.name, &name, until, &hears).await;
        there.map_err(StartError::of(PART))?;
        stage.ends(size);
        Ok(())
    }

    async fn addon(&self, addon: &AddonWanted) -> Result<(), StartError> {
        self.plan(Object::Addon {
            cluster: self.name.to_owned(),
            name: addon.name.clone(),
        })?;
        let stage = Stage::begin(self.told, "add-on", format!("{}: asking EKS", addon.name));
        let wanted = AddonRequest {
            cluster: self.name.to_owned(),
            name: addon.name.clone(),
            version: addon.version.clone(),
            configuration: None,
            overwrite: false,
            tags: self.marks.tags(),
        };
        let aws = self.aws.clone();
        let making = async move { aws.create_addon(&wanted).await };
        self.ledger.landed(making).await.map_err(StartError::of(PART))?;
        let hears = |status: &str| stage.goes_on(format!("{status}, usually for a minute"));
        let until = Instant::now() + ADDON;
        let there = self.aws.await_addon(self.name, &addon.name, until, &hears).await;
        let there = there.map_err(StartError::of(PART))?;
        let version = there.version.unwrap_or_default();
        stage.ends(format!("{} {version}", addon.name));
        Ok(())
    }

    fn plan(&self, object: Object) -> Result<(), StartError> {
        self.ledger.plan(&[object]).map_err(StartError::of(PART))
    }
}

/// As EKS has numbers.
fn whole(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_run() {
        let marks = Marks::of_run("7f3k2m");
        assert_eq!(role_name(&marks, "cluster"), "mountproof-7f3k2m-cluster");
        assert_eq!(nodegroup_name(&marks), "mountproof-7f3k2m");
    }
}
