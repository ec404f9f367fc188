//! A cluster of the run's own: roles, cluster, nodes, add-ons, each on record before it is made, and waited for.
//!
//! What is half made when this is left off is removed by its name: see [`provision`](crate::provision).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{
    super::{
        StartError,
        progress::{Stage, Told},
    },
    options::{AddonWanted, Creation},
};
use crate::{
    aws::{AddonRequest, Aws, AwsError, ClusterRequest, ClusterView, NodegroupRequest, ServiceRole},
    provision::{Ledger, Object},
    tenant::Marks,
};

/// The part that an error is about.
pub(super) const PART: &str = "EKS cluster";

/// Longest wait for a cluster, which takes about ten minutes, and for nodes and add-ons, which take a few.
const CLUSTER: Duration = Duration::from_mins(30);
const NODES: Duration = Duration::from_mins(20);
const ADDON: Duration = Duration::from_mins(15);
/// Longest wait for a new role to be known to EKS: IAM is eventually consistent.
const ROLE: Duration = Duration::from_mins(2);

/// First and longest pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(15));

/// What a cluster does in its owner's name ("Amazon EKS cluster IAM role").
const CLUSTER_POLICIES: &[&str] = &["AmazonEKSClusterPolicy"];
/// What its nodes do ("Amazon EKS node IAM role").
const NODE_POLICIES: &[&str] = &[
    "AmazonEKSWorkerNodePolicy",
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKS_CNI_Policy",
];

/// Makes a cluster of this name, with nodes and add-ons.
pub(super) async fn create(
    aws: &Aws,
    name: &str,
    creation: &Creation,
    marks: &Marks,
    ledger: &Ledger,
    told: &Told,
) -> Result<ClusterView, StartError> {
    let making = Making {
        aws,
        name,
        creation,
        marks,
        ledger,
    };
    let cluster_role = making.role("cluster", "eks.amazonaws.com", CLUSTER_POLICIES).await?;
    let cluster = making.cluster(&cluster_role, told).await?;
    let node_role = making.role("node", "ec2.amazonaws.com", NODE_POLICIES).await?;
    making.nodes(&node_role, told).await?;
    for addon in &creation.addons {
        making.addon(addon, told).await?;
    }
    Ok(cluster)
}

/// Name of the role of a run for its cluster or its nodes.
fn role_name(marks: &Marks, whose: &str) -> String {
    format!("mountproof-{}-{whose}", marks.run())
}

/// Name of the one node group.
fn nodegroup_name(marks: &Marks) -> String {
    format!("mountproof-{}", marks.run())
}

struct Making<'a> {
    aws: &'a Aws,
    name: &'a str,
    creation: &'a Creation,
    marks: &'a Marks,
    ledger: &'a Ledger,
}

impl Making<'_> {
    /// A role that a service takes on, with policies that AWS manages; its ARN.
    async fn role(&self, whose: &str, service: &str, policies: &[&str]) -> Result<String, StartError> {
        let name = role_name(self.marks, whose);
        self.plan(Object::Role(name.clone()))?;
        let managed = |policy: &&str| format!("arn:{}:iam::aws:policy/{policy}", self.aws.partition());
        let made = self.aws.provide_service_role(&ServiceRole {
            name: &name,
            trust: &trust(service),
            policies: &policies.iter().map(managed).collect::<Vec<_>>(),
            tags: &self.marks.tags(),
        });
        made.await.map_err(StartError::of(PART))
    }

    async fn cluster(&self, role_arn: &str, told: &Told) -> Result<ClusterView, StartError> {
        self.plan(Object::EksCluster(self.name.to_owned()))?;
        let stage = Stage::begin(told, "cluster", format!("{}: asking EKS", self.name));
        let request = ClusterRequest {
            name: self.name,
            version: self.creation.version.as_deref(),
            role_arn,
            subnets: &self.creation.subnets,
            security_groups: &self.creation.security_groups,
            tags: &self.marks.tags(),
        };
        once_the_role_is_known(|| self.aws.create_cluster(&request)).await?;
        let look = async || {
            let cluster = self.aws.cluster(self.name).await?;
            Ok(match cluster.status.as_str() {
                "ACTIVE" => Look::There(cluster),
                "CREATING" | "PENDING" | "UPDATING" => Look::OnItsWay(cluster.status),
                _ => Look::Failed(told_of(&cluster.status, &cluster.issues)),
            })
        };
        let what = format!("the cluster {}", self.name);
        let cluster = wait(&what, "about 10 minutes", CLUSTER, &stage, look).await?;
        stage.ends(format!("{}: version {}", self.name, cluster.version));
        Ok(cluster)
    }

    async fn nodes(&self, role_arn: &str, told: &Told) -> Result<(), StartError> {
        let (name, nodes) = (nodegroup_name(self.marks), &self.creation.nodes);
        self.plan(Object::Nodegroup {
            cluster: self.name.to_owned(),
            name: name.clone(),
        })?;
        let size = format!("{} of {}", nodes.desired, nodes.instance_type);
        let stage = Stage::begin(told, "nodes", format!("{size}: asking EKS"));
        let request = NodegroupRequest {
            cluster: self.name,
            name: &name,
            role_arn,
            subnets: &self.creation.subnets,
            instance_type: &nodes.instance_type,
            least: nodes.least,
            desired: nodes.desired,
            most: nodes.most,
            version: None,
            tags: &self.marks.tags(),
        };
        once_the_role_is_known(|| self.aws.create_nodegroup(&request)).await?;
        let look = async || {
            let group = self.aws.nodegroup(self.name, &name).await?;
            Ok(match group.status.as_str() {
                "ACTIVE" => Look::There(()),
                "CREATING" | "UPDATING" => Look::OnItsWay(group.status),
                _ => Look::Failed(told_of(&group.status, &group.issues)),
            })
        };
        let what = format!("the node group {name}");
        wait(&what, "about 3 minutes", NODES, &stage, look).await?;
        stage.ends(size);
        Ok(())
    }

    async fn addon(&self, addon: &AddonWanted, told: &Told) -> Result<(), StartError> {
        self.plan(Object::Addon {
            cluster: self.name.to_owned(),
            name: addon.name.clone(),
        })?;
        let stage = Stage::begin(told, "add-on", format!("{}: asking EKS", addon.name));
        let request = AddonRequest {
            cluster: self.name,
            name: &addon.name,
            version: addon.version.as_deref(),
            configuration: None,
            tags: &self.marks.tags(),
        };
        self.aws
            .create_addon(&request)
            .await
            .map_err(StartError::of(PART))?;
        let look = async || {
            let found = self.aws.addon(self.name, &addon.name).await?;
            Ok(match found.status.as_str() {
                "ACTIVE" => Look::There(found.version),
                // A pod that is not there yet can make it degraded for a moment.
                "CREATING" | "UPDATING" | "DEGRADED" => {
                    Look::OnItsWay(told_of(&found.status, &found.issues))
                }
                _ => Look::Failed(told_of(&found.status, &found.issues)),
            })
        };
        let what = format!("the add-on {}", addon.name);
        let version = wait(&what, "a minute or two", ADDON, &stage, look).await?;
        stage.ends(format!("{} {version}", addon.name));
        Ok(())
    }

    fn plan(&self, object: Object) -> Result<(), StartError> {
        self.ledger.plan(&[object]).map_err(StartError::of(PART))
    }
}

/// Who may be a role of a service's.
fn trust(service: &str) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": service },
            "Action": "sts:AssumeRole",
        }],
    })
}

/// A status, and what AWS says of it.
fn told_of(status: &str, issues: &[String]) -> String {
    if issues.is_empty() {
        status.to_owned()
    } else {
        format!("{status}: {}", issues.join("; "))
    }
}

/// What a look came to.
pub(super) enum Look<T> {
    There(T),
    /// With its status.
    OnItsWay(String),
    /// For good, with why.
    Failed(String),
}

/// Looks until it is there.
async fn wait<T>(
    what: &str,
    usually: &str,
    patience: Duration,
    stage: &Stage,
    look: impl AsyncFn() -> Result<Look<T>, AwsError>,
) -> Result<T, StartError> {
    let failed = |because: String| Err(StartError::of(PART)(because));
    let until = Instant::now() + patience;
    let (mut pause, longest) = PAUSES;
    loop {
        let status = match look().await.map_err(StartError::of(PART))? {
            Look::There(it) => return Ok(it),
            Look::Failed(because) => return failed(format!("{what} came to {because}")),
            Look::OnItsWay(status) => status,
        };
        if Instant::now() >= until {
            return failed(format!(
                "{what} is {status} still after {} minutes; look at it in the EKS console",
                patience.as_secs() / 60
            ));
        }
        stage.goes_on(format!("{what}: {status}, usually {usually}"));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Asks again for as long as EKS does not know a role yet that was just made.
async fn once_the_role_is_known<T>(ask: impl AsyncFn() -> Result<T, AwsError>) -> Result<T, StartError> {
    let until = Instant::now() + ROLE;
    let (mut pause, longest) = PAUSES;
    loop {
        match ask().await {
            Err(error) if error.is_role_unknown() && Instant::now() < until => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
            ended => return ended.map_err(StartError::of(PART)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_trust_are_those_of_the_run() {
        let marks = Marks::of_run("7f3k2m");
        assert_eq!(role_name(&marks, "cluster"), "mountproof-7f3k2m-cluster");
        assert_eq!(nodegroup_name(&marks), "mountproof-7f3k2m");
        assert_eq!(
            trust("ec2.amazonaws.com")["Statement"][0]["Principal"]["Service"],
            "ec2.amazonaws.com"
        );
        assert_eq!(told_of("FAILED", &[]), "FAILED");
        assert_eq!(
            told_of("FAILED", &["a".to_owned(), "b".to_owned()]),
            "FAILED: a; b"
        );
    }
}
