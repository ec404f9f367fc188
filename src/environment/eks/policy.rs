//! PURE. What a run in an account, or a sweep of one, has to be allowed there, and no more.
//!
//! The policy is printed by `mountproof doctor --env eks --print-policy`, and the tests run with it: an action that is missing
//! here turns them red. Its actions and resources are those of the "Service Authorization Reference".

use serde_json::{Value, json};

use crate::tenant::{Identity, RUN_TAG};

/// What is to be allowed.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: &'a str,
    /// Twelve digits, or `*`.
    pub account: &'a str,
    /// Of the cluster, or `*`.
    pub region: &'a str,
    /// The cluster that is there; none where the run makes its own.
    pub cluster: Option<&'a str>,
    /// The name of one that is made, where it is not a run's.
    pub created: Option<&'a str>,
    /// Whether add-ons are installed in the cluster that is there.
    pub addons: bool,
    /// How pods get their roles.
    pub identities: &'a [Identity],
}

/// What every name begins with that a run gives to anything.
const OURS: &str = "mountproof-*";

/// The policy, as IAM takes it.
#[must_use]
pub fn document(scope: &Scope<'_>) -> Value {
    let mut statements = vec![tenants_roles(scope), tenants_policies(scope)];
    statements.extend(secrets(scope));
    if scope.identities.contains(&Identity::Irsa) {
        statements.extend(provider(scope));
    }
    match scope.cluster {
        Some(name) => {
            let cluster = scope.cluster_arn(name);
            statements.push(allowed("FindTheCluster", &["eks:DescribeCluster"], &[cluster]));
            statements.extend(scope.addons.then(|| addons(scope, name)));
        }
        None => statements.extend(creation(scope)),
    }
    if scope.identities.contains(&Identity::PodIdentity) {
        statements.extend(associations(scope));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

/// The policy of `sweep --env eks`: it looks through the account, and deletes only what carries a run's tag.
#[must_use]
pub fn document_of_sweeps(scope: &Scope<'_>) -> Value {
    let cluster = scope.cluster_arn("*");
    let nodegroups = scope.eks("nodegroup/*/*");
    let addons = scope.eks("addon/*/*");
    let associations = scope.eks("podidentityassociation/*/*");
    let providers = scope.iam("oidc-provider", "*");
    let (roles, policies) = (scope.iam("role", OURS), scope.iam("policy", OURS));
    let secrets = format!(
        "arn:{}:secretsmanager:*:{}:secret:*",
        scope.partition, scope.account
    );
    let looks = allowed(
        "LookThroughTheAccount",
        &[
            "eks:ListClusters",
            "iam:ListOpenIDConnectProviders",
            "iam:ListPolicies",
            "iam:ListRoles",
            "secretsmanager:ListSecrets",
        ],
        &["*".to_owned()],
    );
    let reads = allowed(
        "SeeWhoseItIs",
        &[
            "eks:DescribeAddon",
            "eks:DescribeCluster",
            "eks:DescribeNodegroup",
            "eks:DescribePodIdentityAssociation",
            "eks:ListAddons",
            "eks:ListNodegroups",
            "eks:ListPodIdentityAssociations",
            "iam:GetOpenIDConnectProvider",
            "iam:GetPolicy",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListEntitiesForPolicy",
            "iam:ListOpenIDConnectProviderTags",
            "iam:ListPolicyTags",
            "iam:ListPolicyVersions",
            "iam:ListRolePolicies",
            "iam:ListRoleTags",
            "secretsmanager:DescribeSecret",
        ],
        &[
            cluster.clone(),
            nodegroups.clone(),
            addons.clone(),
            associations.clone(),
            providers.clone(),
            roles.clone(),
            policies.clone(),
            secrets.clone(),
        ],
    );
    let mut removes = allowed(
        "RemoveWhatIsARuns",
        &[
            "eks:DeleteAddon",
            "eks:DeleteCluster",
            "eks:DeleteNodegroup",
            "eks:DeletePodIdentityAssociation",
            "iam:DeleteOpenIDConnectProvider",
            "iam:DeletePolicy",
            "iam:DeletePolicyVersion",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "secretsmanager:DeleteSecret",
            "secretsmanager:RemoveRegionsFromReplication",
        ],
        &[
            cluster,
            nodegroups,
            addons,
            associations,
            providers,
            roles,
            policies,
            secrets,
        ],
    );
    removes["Condition"] = json!({ "Null": { format!("aws:ResourceTag/{RUN_TAG}"): "false" } });
    json!({ "Version": "2012-10-17", "Statement": [looks, reads, removes] })
}

/// Every action that the policy allows, in order, for `plan`.
#[must_use]
pub fn actions(scope: &Scope<'_>) -> Vec<String> {
    let document = document(scope);
    let statements = document["Statement"].as_array().into_iter().flatten();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().into_iter().flatten());
    let mut actions: Vec<String> = actions
        .filter_map(|action| action.as_str().map(str::to_owned))
        .collect();
    actions.sort();
    actions.dedup();
    actions
}

fn tenants_roles(scope: &Scope<'_>) -> Value {
    allowed(
        "RolesOfRuns",
        &[
            "iam:AttachRolePolicy",
            "iam:CreateRole",
            "iam:DeleteRole",
            "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy",
            "iam:GetRole",
            "iam:ListAttachedRolePolicies",
            "iam:ListRolePolicies",
            "iam:ListRoleTags",
            "iam:PutRolePermissionsBoundary",
            "iam:TagRole",
            "iam:UpdateAssumeRolePolicy",
        ],
        &[scope.iam("role", OURS)],
    )
}

fn tenants_policies(scope: &Scope<'_>) -> Value {
    allowed(
        "PoliciesOfRuns",
        &[
            "iam:CreatePolicy",
            "iam:CreatePolicyVersion",
            "iam:DeletePolicy",
            "iam:DeletePolicyVersion",
            "iam:GetPolicy",
            "iam:GetPolicyVersion",
            "iam:ListEntitiesForPolicy",
            "iam:ListPolicyTags",
            "iam:ListPolicyVersions",
            "iam:TagPolicy",
        ],
        &[scope.iam("policy", OURS)],
    )
}

fn secrets(scope: &Scope<'_>) -> [Value; 2] {
    let Scope {
        partition, account, ..
    } = scope;
    [
        allowed(
            "SecretsOfRuns",
            &[
                "secretsmanager:CreateSecret",
                "secretsmanager:DeleteResourcePolicy",
                "secretsmanager:DeleteSecret",
                "secretsmanager:DescribeSecret",
                "secretsmanager:PutResourcePolicy",
                "secretsmanager:PutSecretValue",
                "secretsmanager:RemoveRegionsFromReplication",
                "secretsmanager:ReplicateSecretToRegions",
                "secretsmanager:TagResource",
            ],
            // Replicas are in another region.
            &[format!(
                "arn:{partition}:secretsmanager:*:{account}:secret:{OURS}"
            )],
        ),
        // To see that nothing is left; none of these can be limited to names.
        allowed(
            "SeeWhatIsLeft",
            &[
                "iam:ListOpenIDConnectProviders",
                "iam:ListPolicies",
                "iam:ListRoles",
                "secretsmanager:ListSecrets",
            ],
            &["*".to_owned()],
        ),
    ]
}

/// The identity provider of the cluster's tokens.
fn provider(scope: &Scope<'_>) -> [Value; 1] {
    [allowed(
        "IdentityProviderOfTheCluster",
        &[
            "iam:CreateOpenIDConnectProvider",
            "iam:DeleteOpenIDConnectProvider",
            "iam:GetOpenIDConnectProvider",
            "iam:ListOpenIDConnectProviderTags",
            "iam:TagOpenIDConnectProvider",
        ],
        &[scope.iam(
            "oidc-provider",
            &format!("oidc.eks.{}.amazonaws.com/id/*", scope.region),
        )],
    )]
}

/// A cluster of the run's own, its nodes and add-ons.
fn creation(scope: &Scope<'_>) -> Vec<Value> {
    let name = scope.created.unwrap_or(OURS);
    vec![
        allowed(
            "ClusterOfTheRun",
            &[
                "eks:CreateAddon",
                "eks:CreateCluster",
                "eks:CreateNodegroup",
                "eks:DeleteAddon",
                "eks:DeleteCluster",
                "eks:DeleteNodegroup",
                "eks:DescribeAddon",
                "eks:DescribeCluster",
                "eks:DescribeNodegroup",
                "eks:ListAddons",
                "eks:ListNodegroups",
                "eks:TagResource",
            ],
            &[
                scope.cluster_arn(name),
                scope.eks(&format!("nodegroup/{name}/*")),
                scope.eks(&format!("addon/{name}/*")),
            ],
        ),
        allowed(
            "AddOnsThereAre",
            &["eks:DescribeAddonVersions", "eks:ListClusters"],
            &["*".to_owned()],
        ),
        passed(
            scope,
            "RolesOfTheClusterAndItsNodes",
            &["eks.amazonaws.com", "ec2.amazonaws.com"],
        ),
        // EKS makes them once for an account, on behalf of who makes its first cluster and node group there.
        json!({
            "Sid": "RolesOfServices",
            "Effect": "Allow",
            "Action": ["iam:CreateServiceLinkedRole"],
            "Resource": [scope.iam("role", "aws-service-role/*")],
            "Condition": { "StringEquals": {
                "iam:AWSServiceName": ["eks.amazonaws.com", "eks-nodegroup.amazonaws.com", "autoscaling.amazonaws.com"],
            } },
        }),
    ]
}

/// Add-ons in a cluster that is there: those that it has are of the same names, and told by their tags.
fn addons(scope: &Scope<'_>, name: &str) -> Value {
    allowed(
        "AddOnsOfTheRun",
        &[
            "eks:CreateAddon",
            "eks:DeleteAddon",
            "eks:DescribeAddon",
            "eks:TagResource",
        ],
        &[scope.cluster_arn(name), scope.eks(&format!("addon/{name}/*"))],
    )
}

/// Pod Identity.
fn associations(scope: &Scope<'_>) -> [Value; 2] {
    let name = scope.cluster.or(scope.created).unwrap_or(OURS);
    [
        allowed(
            "AssociationsOfRuns",
            &[
                "eks:CreatePodIdentityAssociation",
                "eks:DeletePodIdentityAssociation",
                "eks:DescribeAddon",
                "eks:DescribePodIdentityAssociation",
                "eks:ListPodIdentityAssociations",
                "eks:TagResource",
            ],
            &[
                scope.cluster_arn(name),
                scope.eks(&format!("podidentityassociation/{name}/*")),
                scope.eks(&format!("addon/{name}/*")),
            ],
        ),
        passed(scope, "RolesOfPods", &["pods.eks.amazonaws.com"]),
    ]
}

fn passed(scope: &Scope<'_>, sid: &str, services: &[&str]) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Action": ["iam:PassRole"],
        "Resource": [scope.iam("role", OURS)],
        "Condition": { "StringEquals": { "iam:PassedToService": services } },
    })
}

fn allowed(sid: &str, actions: &[&str], resources: &[String]) -> Value {
    json!({ "Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources })
}

impl<'a> Scope<'a> {
    /// Of an account in a region, whatever clusters there are.
    #[must_use]
    pub fn of_account((partition, account, region): (&'a str, &'a str, &'a str)) -> Self {
        Self {
            partition,
            account,
            region,
            cluster: None,
            created: None,
            addons: false,
            identities: &[],
        }
    }
}

impl Scope<'_> {
    fn iam(&self, kind: &str, name: &str) -> String {
        format!("arn:{}:iam::{}:{kind}/{name}", self.partition, self.account)
    }

    fn eks(&self, resource: &str) -> String {
        format!(
            "arn:{}:eks:{}:{}:{resource}",
            self.partition, self.region, self.account
        )
    }

    fn cluster_arn(&self, name: &str) -> String {
        self.eks(&format!("cluster/{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Characters of a managed policy, white space not counted ("IAM and AWS STS quotas").
    const POLICY_SIZE: usize = 6_144;

    fn scope<'a>(cluster: Option<&'a str>, identities: &'a [Identity]) -> Scope<'a> {
        Scope {
            partition: "aws",
            account: "111122223333",
            region: "eu-west-1",
            cluster,
            created: None,
            addons: false,
            identities,
        }
    }

    #[test]
    fn the_largest_of_them_is_a_managed_policy_still() {
        let text = document(&scope(None, &Identity::ALL)).to_string();
        assert!(text.len() <= POLICY_SIZE, "{} characters", text.len());
    }

    #[test]
    fn what_is_named_is_only_what_runs_make_and_the_cluster() {
        for (cluster, identities) in [
            (Some("prod"), &Identity::ALL[..]),
            (None, &Identity::ALL),
            (Some("prod"), &[Identity::Irsa]),
        ] {
            let document = document(&scope(cluster, identities));
            for statement in document["Statement"].as_array().expect("a list") {
                let lists_only = statement["Action"]
                    .as_array()
                    .is_some_and(|actions| actions.iter().all(is_a_look));
                for resource in statement["Resource"].as_array().expect("a list") {
                    let resource = resource.as_str().expect("text");
                    let named = [
                        "mountproof-",
                        "/prod",
                        "oidc-provider/oidc.eks.",
                        "aws-service-role/",
                    ]
                    .iter()
                    .any(|part| resource.contains(part));
                    assert!(named || lists_only, "{statement}");
                }
            }
        }
    }

    fn is_a_look(action: &Value) -> bool {
        let action = action.as_str().unwrap_or_default();
        [":List", ":Describe", ":Get"]
            .iter()
            .any(|verb| action.contains(verb))
    }

    #[test]
    fn a_sweep_deletes_nothing_without_a_runs_tag() {
        let document = document_of_sweeps(&scope(None, &[]));
        for statement in document["Statement"].as_array().expect("a list") {
            let actions = statement["Action"].as_array().expect("a list");
            let tagged = statement["Condition"]["Null"]["aws:ResourceTag/mountproof:run"] == "false";
            assert!(tagged || actions.iter().all(is_a_look), "{statement}");
        }
    }

    #[test]
    fn a_cluster_that_is_there_is_only_looked_at_unless_it_gets_add_ons() {
        let looked_at = scope(Some("prod"), &[Identity::Irsa]);
        let with_addons = Scope {
            addons: true,
            ..looked_at.clone()
        };
        let of_eks = |scope: &Scope<'_>| -> Vec<String> {
            let actions = actions(scope);
            assert!(!actions.iter().any(|action| action == "iam:PassRole"));
            actions
                .into_iter()
                .filter_map(|action| action.strip_prefix("eks:").map(str::to_owned))
                .collect()
        };
        assert_eq!(of_eks(&looked_at), ["DescribeCluster"]);
        assert_eq!(
            of_eks(&with_addons),
            [
                "CreateAddon",
                "DeleteAddon",
                "DescribeAddon",
                "DescribeCluster",
                "TagResource"
            ]
        );
    }
}
