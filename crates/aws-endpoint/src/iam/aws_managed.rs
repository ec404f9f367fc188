//! Policies that AWS itself manages: the same in every account, to be attached and never changed.
//!
//! Of the many that AWS has, those that an EKS cluster and its nodes are given ("AWS managed policies for Amazon EKS"), and
//! those for whoever administers. Each allows what AWS's reference lists, as far as it is of services that are here, or of
//! images, which every node needs.

use std::{collections::BTreeMap, sync::LazyLock};

use jiff::Timestamp;
use serde_json::json;

use super::{
    policy::Document,
    store::{ManagedPolicy, PolicyVersion, StoredDocument},
};

/// Name, id and what it allows.
const KNOWN: &[(&str, &str, &[&str])] = &[
    ("AdministratorAccess", "ANPAIWMBCKSKIEE64ZLYK", &["*"]),
    (
        "AmazonEC2ContainerRegistryPullOnly",
        "ANPAEC2REGISTRYPULLON",
        &[
            "ecr:GetAuthorizationToken",
            "ecr:BatchGetImage",
            "ecr:GetDownloadUrlForLayer",
        ],
    ),
    (
        "AmazonEC2ContainerRegistryReadOnly",
        "ANPAEC2REGISTRYREADON",
        &[
            "ecr:GetAuthorizationToken",
            "ecr:BatchCheckLayerAvailability",
            "ecr:GetDownloadUrlForLayer",
            "ecr:DescribeRepositories",
            "ecr:ListImages",
            "ecr:DescribeImages",
            "ecr:BatchGetImage",
        ],
    ),
    (
        "AmazonEKSClusterPolicy",
        "ANPAEKSCLUSTERPOLICY2",
        &["kms:DescribeKey", "ec2:Describe*", "elasticloadbalancing:*"],
    ),
    (
        "AmazonEKSWorkerNodePolicy",
        "ANPAEKSWORKERNODEPOL2",
        &[
            "ec2:Describe*",
            "eks:DescribeCluster",
            "eks-auth:AssumeRoleForPodIdentity",
        ],
    ),
    (
        "AmazonEKS_CNI_Policy",
        "ANPAEKSCNIPOLICYOFVPC",
        &[
            "ec2:AssignPrivateIpAddresses",
            "ec2:AttachNetworkInterface",
            "ec2:CreateNetworkInterface",
            "ec2:DeleteNetworkInterface",
            "ec2:Describe*",
            "ec2:DetachNetworkInterface",
            "ec2:ModifyNetworkInterfaceAttribute",
            "ec2:UnassignPrivateIpAddresses",
            "ec2:CreateTags",
        ],
    ),
];

/// The policy of this ARN, where AWS has one.
pub(super) fn find(arn: &str) -> Option<&'static ManagedPolicy> {
    POLICIES.get(arn)
}

/// All of them.
pub(super) fn all<'a>() -> impl Iterator<Item = &'a ManagedPolicy> {
    POLICIES.values()
}

/// By ARN.
static POLICIES: LazyLock<BTreeMap<String, ManagedPolicy>> = LazyLock::new(|| {
    let policies = KNOWN.iter().map(|(name, id, actions)| made(name, id, actions));
    policies.map(|policy| (policy.arn.clone(), policy)).collect()
});

fn made(name: &str, id: &str, actions: &[&str]) -> ManagedPolicy {
    let text = json!({
        "Version": "2012-10-17",
        "Statement": [{ "Effect": "Allow", "Action": actions, "Resource": "*" }],
    });
    let document = StoredDocument::parse(name, &text.to_string(), Document::Identity)
        .expect("the policies above are policies: a test reads them all");
    let created = Timestamp::UNIX_EPOCH;
    ManagedPolicy {
        name: name.to_owned(),
        path: "/".to_owned(),
        id: id.to_owned(),
        arn: format!("arn:aws:iam::aws:policy/{name}"),
        created,
        updated: created,
        description: None,
        versions: BTreeMap::from([(1, PolicyVersion { document, created })]),
        default_version: 1,
        next_version: 2,
        tags: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_can_be_read() {
        assert_eq!(all().count(), KNOWN.len());
        assert!(find("arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy").is_some());
        assert!(find("arn:aws:iam::000000000000:policy/AmazonEKSWorkerNodePolicy").is_none());
    }
}
