//! What EKS says and is told, without the SDK's types.

use aws_sdk_eks::types;
use aws_smithy_types::DateTime;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use crate::aws::Tags;

/// A cluster, as `DescribeCluster` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `DELETING`, `FAILED`, `UPDATING` or `PENDING`.
    pub status: String,
    /// Of Kubernetes, such as `1.36`.
    pub version: String,
    /// URL of its API server; absent until there is one.
    pub endpoint: Option<String>,
    /// The API server's authority, as PEM; absent until there is one.
    pub ca_pem: Option<String>,
    /// Who signs its `ServiceAccount` tokens; absent until there is one.
    pub issuer: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
    /// Subnets that it was given.
    pub subnets: Vec<String>,
    /// Security groups that it was given.
    pub security_groups: Vec<String>,
    /// `API`, `API_AND_CONFIG_MAP` or `CONFIG_MAP`.
    pub authentication_mode: Option<String>,
}

/// Something that is wrong with a cluster, node group or add-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// One of those that the EKS API reference lists.
    pub code: String,
    /// In words.
    pub message: String,
}

impl std::fmt::Display for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// A managed node group, as `DescribeNodegroup` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodegroupView {
    /// Of which cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `UPDATING`, `DELETING`, `CREATE_FAILED`, `DELETE_FAILED` or `DEGRADED`.
    pub status: String,
    /// Of Kubernetes on its nodes.
    pub version: Option<String>,
    /// Such as `t3.medium`.
    pub instance_types: Vec<String>,
    /// How many nodes it is to have.
    pub desired: Option<i32>,
    /// Its tags.
    pub tags: Tags,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
}

/// An add-on, as `DescribeAddon` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonView {
    /// Of which cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `CREATING`, `ACTIVE`, `CREATE_FAILED`, `UPDATING`, `DELETING`, `DELETE_FAILED`, `DEGRADED` or `UPDATE_FAILED`.
    pub status: String,
    /// Such as `v1.3.10-eksbuild.2`.
    pub version: Option<String>,
    /// Its tags.
    pub tags: Tags,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// What is wrong with it.
    pub issues: Vec<Issue>,
}

/// Where a Pod Identity association is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationRef {
    /// Its id.
    pub id: String,
    /// Namespace of its `ServiceAccount`.
    pub namespace: String,
    /// Its `ServiceAccount`.
    pub service_account: String,
}

/// A Pod Identity association, as `DescribePodIdentityAssociation` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssociationView {
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Namespace of its `ServiceAccount`.
    pub namespace: String,
    /// Its `ServiceAccount`.
    pub service_account: String,
    /// The role that its pods get.
    pub role_arn: String,
    /// Its tags.
    pub tags: Tags,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

/// A cluster to be made. Who makes it is its administrator, by an access entry; `aws-auth` counts as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRequest {
    /// Its name.
    pub name: String,
    /// Of Kubernetes; EKS's default where absent.
    pub version: Option<String>,
    /// The role of its control plane.
    pub role_arn: String,
    /// In two availability zones at least.
    pub subnets: Vec<String>,
    /// Beside the one that EKS makes.
    pub security_groups: Vec<String>,
    /// Its tags.
    pub tags: Tags,
}

/// A managed node group to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodegroupRequest {
    /// Of which cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// The role of its nodes.
    pub role_arn: String,
    /// Where its nodes are.
    pub subnets: Vec<String>,
    /// Such as `t3.medium`.
    pub instance_type: String,
    /// Fewest nodes.
    pub min: i32,
    /// Most nodes.
    pub max: i32,
    /// Nodes to begin with.
    pub desired: i32,
    /// Of Kubernetes; the cluster's where absent.
    pub version: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

/// An add-on to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonRequest {
    /// Of which cluster.
    pub cluster: String,
    /// Its name.
    pub name: String,
    /// The newest that fits where absent.
    pub version: Option<String>,
    /// JSON or YAML, as the add-on's schema says.
    pub configuration: Option<String>,
    /// Whether fields that somebody else has set are taken over, rather than in the way.
    pub overwrite: bool,
    /// Its tags.
    pub tags: Tags,
}

pub(super) fn cluster(cluster: &types::Cluster) -> ClusterView {
    let network = cluster.resources_vpc_config();
    let authority = cluster.certificate_authority().and_then(types::Certificate::data);
    // One that cannot be read is none: whoever only wants the cluster to go has no need of it.
    let ca_pem = authority.and_then(certificate);
    let issues = cluster
        .health()
        .map(types::ClusterHealth::issues)
        .unwrap_or_default();
    ClusterView {
        name: text(cluster.name()),
        arn: text(cluster.arn()),
        status: text(cluster.status().map(types::ClusterStatus::as_str)),
        version: text(cluster.version()),
        endpoint: cluster.endpoint().map(str::to_owned),
        ca_pem,
        issuer: cluster
            .identity()
            .and_then(types::Identity::oidc)
            .and_then(types::Oidc::issuer)
            .map(str::to_owned),
        tags: tags(cluster.tags()),
        created_at: time(cluster.created_at()),
        issues: issues
            .iter()
            .map(|issue| Issue {
                code: text(issue.code().map(types::ClusterIssueCode::as_str)),
                message: text(issue.message()),
            })
            .collect(),
        subnets: network
            .map(|network| network.subnet_ids().to_vec())
            .unwrap_or_default(),
        security_groups: network
            .map(|network| network.security_group_ids().to_vec())
            .unwrap_or_default(),
        authentication_mode: cluster
            .access_config()
            .and_then(types::AccessConfigResponse::authentication_mode)
            .map(|mode| mode.as_str().to_owned()),
    }
}

fn certificate(data: &str) -> Option<String> {
    String::from_utf8(BASE64_STANDARD.decode(data).ok()?).ok()
}

pub(super) fn nodegroup(group: &types::Nodegroup) -> NodegroupView {
    let issues = group
        .health()
        .map(types::NodegroupHealth::issues)
        .unwrap_or_default();
    NodegroupView {
        cluster: text(group.cluster_name()),
        name: text(group.nodegroup_name()),
        arn: text(group.nodegroup_arn()),
        status: text(group.status().map(types::NodegroupStatus::as_str)),
        version: group.version().map(str::to_owned),
        instance_types: group.instance_types().to_vec(),
        desired: group
            .scaling_config()
            .and_then(types::NodegroupScalingConfig::desired_size),
        tags: tags(group.tags()),
        created_at: time(group.created_at()),
        issues: issues
            .iter()
            .map(|issue| Issue {
                code: text(issue.code().map(types::NodegroupIssueCode::as_str)),
                message: text(issue.message()),
            })
            .collect(),
    }
}

pub(super) fn addon(addon: &types::Addon) -> AddonView {
    let issues = addon.health().map(types::AddonHealth::issues).unwrap_or_default();
    AddonView {
        cluster: text(addon.cluster_name()),
        name: text(addon.addon_name()),
        arn: text(addon.addon_arn()),
        status: text(addon.status().map(types::AddonStatus::as_str)),
        version: addon.addon_version().map(str::to_owned),
        tags: tags(addon.tags()),
        created_at: time(addon.created_at()),
        issues: issues
            .iter()
            .map(|issue| Issue {
                code: text(issue.code().map(types::AddonIssueCode::as_str)),
                message: text(issue.message()),
            })
            .collect(),
    }
}

pub(super) fn association(found: &types::PodIdentityAssociation) -> AssociationView {
    AssociationView {
        id: text(found.association_id()),
        arn: text(found.association_arn()),
        namespace: text(found.namespace()),
        service_account: text(found.service_account()),
        role_arn: text(found.role_arn()),
        tags: tags(found.tags()),
        created_at: time(found.created_at()),
    }
}

pub(super) fn association_ref(found: &types::PodIdentityAssociationSummary) -> AssociationRef {
    AssociationRef {
        id: text(found.association_id()),
        namespace: text(found.namespace()),
        service_account: text(found.service_account()),
    }
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn tags(tags: Option<&std::collections::HashMap<String, String>>) -> Tags {
    tags.into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// A date as the SDK has it.
pub(in crate::aws) fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    let time = time?;
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}
