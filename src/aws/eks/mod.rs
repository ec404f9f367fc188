//! EKS: clusters, managed node groups, add-ons and Pod Identity associations.
//!
//! The operations and their parameters are those of the EKS API reference, version 2017-11-01. Nothing here waits but for
//! the answer, and for a new role to be known (IAM is eventually consistent); see [`life`] for what takes minutes.

mod life;
mod token;
mod view;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_eks::types::{
    AuthenticationMode, Compatibility, CreateAccessConfigRequest, NodegroupScalingConfig, ResolveConflicts,
    VpcConfigRequest,
};
use serde_json::{Value, json};

pub(in crate::aws) use self::view::time;
pub use self::{
    life::Hears,
    token::ClusterToken,
    view::{
        AddonRequest, AddonView, AssociationRef, AssociationView, ClusterRequest, ClusterView, Issue,
        NodegroupRequest, NodegroupView,
    },
};
use super::{Aws, AwsError, Tags, error::absent_is_fine};

/// How long a role that was made just now may be unknown to EKS.
const ROLE_SETTLES: Duration = Duration::from_secs(40);
/// Pause before it is tried again.
const ROLE_AGAIN: Duration = Duration::from_secs(3);

/// The trust of a role that AWS services assume, such as `eks.amazonaws.com`. `TagSession` is what Pod Identity asks for.
#[must_use]
pub fn service_trust(service: &str) -> Value {
    let actions = if service == "pods.eks.amazonaws.com" {
        json!(["sts:AssumeRole", "sts:TagSession"])
    } else {
        json!("sts:AssumeRole")
    };
    json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Principal": { "Service": service }, "Action": actions }],
    })
}

impl Aws {
    /// A cluster.
    pub async fn cluster(&self, name: &str) -> Result<ClusterView, AwsError> {
        const OPERATION: &str = "eks:DescribeCluster";
        let asked = self.eks.describe_cluster().name(name).send().await;
        let answer = asked.map_err(|error| AwsError::of(OPERATION, error))?;
        Ok(view::cluster(answer.cluster().ok_or_else(|| empty(OPERATION))?))
    }

    /// Names of all clusters of the region.
    pub async fn clusters(&self) -> Result<Vec<String>, AwsError> {
        let mut pages = self.eks.list_clusters().into_paginator().items().send();
        let mut names = Vec::new();
        while let Some(name) = pages.next().await {
            names.push(name.map_err(|error| AwsError::of("eks:ListClusters", error))?);
        }
        Ok(names)
    }

    /// Begins to make a cluster.
    pub async fn create_cluster(&self, wanted: &ClusterRequest) -> Result<ClusterView, AwsError> {
        const OPERATION: &str = "eks:CreateCluster";
        let network = VpcConfigRequest::builder()
            .set_subnet_ids(Some(wanted.subnets.clone()))
            .set_security_group_ids(Some(wanted.security_groups.clone()))
            .build();
        let access = CreateAccessConfigRequest::builder()
            .authentication_mode(AuthenticationMode::ApiAndConfigMap)
            .bootstrap_cluster_creator_admin_permissions(true)
            .build();
        let request = self
            .eks
            .create_cluster()
            .name(&wanted.name)
            .set_version(wanted.version.clone())
            .role_arn(&wanted.role_arn)
            .resources_vpc_config(network)
            .access_config(access)
            .set_tags(Some(map(&wanted.tags)));
        let until = Instant::now() + ROLE_SETTLES;
        let answer = loop {
            let made = request.clone().send().await;
            match made.map_err(|error| AwsError::of(OPERATION, error)) {
                Err(error) if self.role_may_come(&error, until).await => {}
                made => break made?,
            }
        };
        Ok(view::cluster(answer.cluster().ok_or_else(|| empty(OPERATION))?))
    }

    /// Begins to delete a cluster; none is fine.
    pub async fn delete_cluster(&self, name: &str) -> Result<(), AwsError> {
        let deleted = self.eks.delete_cluster().name(name).send().await;
        absent_is_fine(
            deleted
                .map(drop)
                .map_err(|error| AwsError::of("eks:DeleteCluster", error)),
        )
    }

    /// A managed node group.
    pub async fn nodegroup(&self, cluster: &str, name: &str) -> Result<NodegroupView, AwsError> {
        const OPERATION: &str = "eks:DescribeNodegroup";
        let asked = self
            .eks
            .describe_nodegroup()
            .cluster_name(cluster)
            .nodegroup_name(name);
        let answer = asked
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        Ok(view::nodegroup(
            answer.nodegroup().ok_or_else(|| empty(OPERATION))?,
        ))
    }

    /// Names of a cluster's managed node groups.
    pub async fn nodegroups(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let asked = self.eks.list_nodegroups().cluster_name(cluster);
        let mut pages = asked.into_paginator().items().send();
        let mut names = Vec::new();
        while let Some(name) = pages.next().await {
            names.push(name.map_err(|error| AwsError::of("eks:ListNodegroups", error))?);
        }
        Ok(names)
    }

    /// Begins to make a managed node group.
    pub async fn create_nodegroup(&self, wanted: &NodegroupRequest) -> Result<NodegroupView, AwsError> {
        const OPERATION: &str = "eks:CreateNodegroup";
        let scaling = NodegroupScalingConfig::builder()
            .min_size(wanted.min)
            .max_size(wanted.max)
            .desired_size(wanted.desired)
            .build();
        let request = self
            .eks
            .create_nodegroup()
            .cluster_name(&wanted.cluster)
            .nodegroup_name(&wanted.name)
            .node_role(&wanted.role_arn)
            .set_subnets(Some(wanted.subnets.clone()))
            .instance_types(&wanted.instance_type)
            .scaling_config(scaling)
            .set_version(wanted.version.clone())
            .set_tags(Some(map(&wanted.tags)));
        let until = Instant::now() + ROLE_SETTLES;
        let answer = loop {
            let made = request.clone().send().await;
            match made.map_err(|error| AwsError::of(OPERATION, error)) {
                Err(error) if self.role_may_come(&error, until).await => {}
                made => break made?,
            }
        };
        Ok(view::nodegroup(
            answer.nodegroup().ok_or_else(|| empty(OPERATION))?,
        ))
    }

    /// Begins to delete a managed node group; none is fine.
    pub async fn delete_nodegroup(&self, cluster: &str, name: &str) -> Result<(), AwsError> {
        let asked = self
            .eks
            .delete_nodegroup()
            .cluster_name(cluster)
            .nodegroup_name(name);
        let deleted = asked.send().await;
        absent_is_fine(
            deleted
                .map(drop)
                .map_err(|error| AwsError::of("eks:DeleteNodegroup", error)),
        )
    }

    /// An add-on.
    pub async fn addon(&self, cluster: &str, name: &str) -> Result<AddonView, AwsError> {
        const OPERATION: &str = "eks:DescribeAddon";
        let asked = self.eks.describe_addon().cluster_name(cluster).addon_name(name);
        let answer = asked
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        Ok(view::addon(answer.addon().ok_or_else(|| empty(OPERATION))?))
    }

    /// Names of a cluster's add-ons.
    pub async fn addons(&self, cluster: &str) -> Result<Vec<String>, AwsError> {
        let asked = self.eks.list_addons().cluster_name(cluster);
        let mut pages = asked.into_paginator().items().send();
        let mut names = Vec::new();
        while let Some(name) = pages.next().await {
            names.push(name.map_err(|error| AwsError::of("eks:ListAddons", error))?);
        }
        Ok(names)
    }

    /// Begins to make an add-on.
    pub async fn create_addon(&self, wanted: &AddonRequest) -> Result<AddonView, AwsError> {
        const OPERATION: &str = "eks:CreateAddon";
        let made = self
            .eks
            .create_addon()
            .cluster_name(&wanted.cluster)
            .addon_name(&wanted.name)
            .set_addon_version(wanted.version.clone())
            .set_configuration_values(wanted.configuration.clone())
            .set_resolve_conflicts(wanted.overwrite.then_some(ResolveConflicts::Overwrite))
            .set_tags(Some(map(&wanted.tags)))
            .send()
            .await;
        let answer = made.map_err(|error| AwsError::of(OPERATION, error))?;
        Ok(view::addon(answer.addon().ok_or_else(|| empty(OPERATION))?))
    }

    /// Begins to delete an add-on with what it has in the cluster; none is fine.
    pub async fn delete_addon(&self, cluster: &str, name: &str) -> Result<(), AwsError> {
        let asked = self.eks.delete_addon().cluster_name(cluster).addon_name(name);
        let deleted = asked.send().await;
        absent_is_fine(
            deleted
                .map(drop)
                .map_err(|error| AwsError::of("eks:DeleteAddon", error)),
        )
    }

    /// Versions of an add-on for a version of Kubernetes, the default one first.
    pub async fn addon_versions(&self, addon: &str, kubernetes: &str) -> Result<Vec<String>, AwsError> {
        let asked = self
            .eks
            .describe_addon_versions()
            .addon_name(addon)
            .kubernetes_version(kubernetes);
        let mut pages = asked.into_paginator().items().send();
        let (mut default, mut others) = (Vec::new(), Vec::new());
        while let Some(found) = pages.next().await {
            let found = found.map_err(|error| AwsError::of("eks:DescribeAddonVersions", error))?;
            for version in found.addon_versions() {
                let Some(name) = version.addon_version() else {
                    continue;
                };
                let is_default = version
                    .compatibilities()
                    .iter()
                    .any(Compatibility::default_version);
                if is_default { &mut default } else { &mut others }.push(name.to_owned());
            }
        }
        default.append(&mut others);
        Ok(default)
    }

    /// Lets the pods of a `ServiceAccount` have a role by Pod Identity; the association's id.
    pub async fn create_association(
        &self,
        cluster: &str,
        namespace: &str,
        service_account: &str,
        role_arn: &str,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "eks:CreatePodIdentityAssociation";
        let request = self
            .eks
            .create_pod_identity_association()
            .cluster_name(cluster)
            .namespace(namespace)
            .service_account(service_account)
            .role_arn(role_arn)
            .set_tags(Some(map(tags)));
        let until = Instant::now() + ROLE_SETTLES;
        let answer = loop {
            let made = request.clone().send().await;
            match made.map_err(|error| AwsError::of(OPERATION, error)) {
                Err(error) if self.role_may_come(&error, until).await => {}
                made => break made?,
            }
        };
        let id = answer.association().and_then(|made| made.association_id());
        id.map(str::to_owned).ok_or_else(|| empty(OPERATION))
    }

    /// Associations of a cluster, in one namespace or in all.
    pub async fn associations(
        &self,
        cluster: &str,
        namespace: Option<&str>,
    ) -> Result<Vec<AssociationRef>, AwsError> {
        let asked = self
            .eks
            .list_pod_identity_associations()
            .cluster_name(cluster)
            .set_namespace(namespace.map(str::to_owned));
        let mut pages = asked.into_paginator().items().send();
        let mut found = Vec::new();
        while let Some(one) = pages.next().await {
            let one = one.map_err(|error| AwsError::of("eks:ListPodIdentityAssociations", error))?;
            found.push(view::association_ref(&one));
        }
        Ok(found)
    }

    /// An association by its id.
    pub async fn association(&self, cluster: &str, id: &str) -> Result<AssociationView, AwsError> {
        const OPERATION: &str = "eks:DescribePodIdentityAssociation";
        let asked = self
            .eks
            .describe_pod_identity_association()
            .cluster_name(cluster)
            .association_id(id);
        let answer = asked
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        Ok(view::association(
            answer.association().ok_or_else(|| empty(OPERATION))?,
        ))
    }

    /// Removes an association; none is fine.
    pub async fn delete_association(&self, cluster: &str, id: &str) -> Result<(), AwsError> {
        let asked = self
            .eks
            .delete_pod_identity_association()
            .cluster_name(cluster)
            .association_id(id);
        let deleted = asked.send().await;
        absent_is_fine(
            deleted
                .map(drop)
                .map_err(|error| AwsError::of("eks:DeletePodIdentityAssociation", error)),
        )
    }

    /// Whether EKS did not know a role that was made just now, and may know it after a pause that this was. An endpoint at an
    /// address of its own knows at once.
    async fn role_may_come(&self, error: &AwsError, until: Instant) -> bool {
        let may = self.access.endpoint.is_none()
            && Instant::now() < until
            && error.code() == Some("InvalidParameterException")
            && is_about_a_role(error.message());
        if may {
            tokio::time::sleep(ROLE_AGAIN).await;
        }
        may
    }
}

/// Whether EKS says that a role does not exist or trusts somebody else.
fn is_about_a_role(message: &str) -> bool {
    let message = message.to_lowercase();
    message.contains("role")
        && ["assume", "exist", "trust"]
            .iter()
            .any(|word| message.contains(word))
}

fn empty(operation: &str) -> AwsError {
    AwsError::because(operation, "the answer is empty".to_owned())
}

fn map(tags: &Tags) -> HashMap<String, String> {
    tags.iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_eks_says_of_a_role_that_is_too_new_is_told_from_other_mistakes() {
        for (message, expected) in [
            (
                "Role with arn: arn:aws:iam::1:role/x, could not be assumed because it does not exist or the trusted \
                 entity is not correct",
                true,
            ),
            (
                "Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of \
                 nodeRole x",
                true,
            ),
            ("Role provided in the request does not exist.", true),
            ("unsupported Kubernetes version", false),
            ("Subnets specified must be in at least two different AZs", false),
        ] {
            assert_eq!(is_about_a_role(message), expected, "{message}");
        }
    }

    #[test]
    fn only_pod_identity_tags_its_sessions() {
        assert_eq!(
            service_trust("eks.amazonaws.com")["Statement"][0]["Action"],
            json!("sts:AssumeRole")
        );
        assert_eq!(
            service_trust("pods.eks.amazonaws.com")["Statement"][0]["Action"],
            json!(["sts:AssumeRole", "sts:TagSession"])
        );
    }
}
