//! What Pod Identity asks of IAM: who trusts whom.

use serde_json::{Value, json};

use super::TenantNames;

/// The audience of the tokens that EKS takes for pods' roles, and the service that assumes those.
pub const POD_AUDIENCE: &str = "pods.eks.amazonaws.com";

/// The EKS cluster that pods are in, as policies name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EksCluster<'a> {
    /// Such as `aws`.
    pub partition: &'a str,
    /// Its region.
    pub region: &'a str,
    /// Its account.
    pub account: &'a str,
    /// Its name.
    pub name: &'a str,
}

impl EksCluster<'_> {
    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        let Self {
            partition,
            region,
            account,
            name,
        } = self;
        format!("arn:{partition}:eks:{region}:{account}:cluster/{name}")
    }
}

/// Who may be the tenant by Pod Identity: the pods of its namespace's `default` `ServiceAccount` in this cluster.
///
/// EKS names the cluster as the source of the call, and the pod in tags of the session ("Grant Pods access to AWS resources
/// based on tags" and "Cross-service confused deputy prevention in Amazon EKS" of the EKS user guide). Without conditions on
/// both the role could be associated with any `ServiceAccount`, of any cluster of the account.
#[must_use]
pub fn pod_trust_policy(names: &TenantNames, cluster: EksCluster<'_>) -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": POD_AUDIENCE },
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {
                "StringEquals": {
                    "aws:SourceAccount": cluster.account,
                    "aws:RequestTag/kubernetes-namespace": names.namespace(),
                    "aws:RequestTag/kubernetes-service-account": "default",
                },
                "ArnEquals": { "aws:SourceArn": cluster.arn() },
            },
        }],
    })
}

/// Who may be a node: an instance of EC2.
#[must_use]
pub fn node_trust_policy() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Service": "ec2.amazonaws.com" },
            "Action": "sts:AssumeRole",
        }],
    })
}

/// What the Pod Identity Agent needs of its node's role, as `AmazonEKSWorkerNodePolicy` has it.
#[must_use]
pub fn agent_policy() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": "eks-auth:AssumeRoleForPodIdentity",
            "Resource": "*",
        }],
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;
    use crate::tenant::ClusterName;

    fn trust(tenant: &str, cluster: &str) -> Value {
        let names = TenantNames::new(&ClusterName::new("demo").unwrap(), tenant).unwrap();
        let cluster = EksCluster {
            partition: "aws",
            region: "us-east-1",
            account: "000000000000",
            name: cluster,
        };
        pod_trust_policy(&names, cluster)
    }

    #[test]
    fn trust_names_one_cluster_and_one_service_account() {
        insta::assert_snapshot!(
            serde_json::to_string(&trust("team-red", "demo")).unwrap(),
            @r#"{"Statement":[{"Action":["sts:AssumeRole","sts:TagSession"],"Condition":{"ArnEquals":{"aws:SourceArn":"arn:aws:eks:us-east-1:000000000000:cluster/demo"},"StringEquals":{"aws:RequestTag/kubernetes-namespace":"team-red","aws:RequestTag/kubernetes-service-account":"default","aws:SourceAccount":"000000000000"}},"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"}}],"Version":"2012-10-17"}"#
        );
    }

    #[test]
    fn trust_fits_iam_with_the_longest_names() {
        // The quota of a role trust policy's length; EKS takes 100 characters.
        assert!(trust(&"t".repeat(63), &"c".repeat(100)).to_string().len() <= 2_048);
    }
}
