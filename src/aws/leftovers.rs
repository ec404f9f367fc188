//! What a run left in AWS, by its tags and not by what it remembers.

use aws_sdk_iam::types::PolicyScopeType;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Aws, AwsError,
    iam::{Tags, same_run},
    secrets::tag_map,
};
use crate::tenant::{ClusterName, Marks, RUN_TAG};

/// Tag lookups in flight. IAM has low limits.
const PARALLEL: usize = 8;

/// Everything in AWS that carries a run's tag.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AwsLeftovers {
    /// Names of roles.
    pub roles: Vec<String>,
    /// ARNs of managed policies.
    pub policies: Vec<String>,
    /// ARNs of identity providers.
    pub oidc_providers: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
}

impl Aws {
    /// Looks for everything that carries the run's tag. IAM lists no tags, so roles and policies are
    /// looked up when their names begin with the cluster's, as all of a run's do.
    pub async fn leftovers(&self, marks: &Marks, cluster: &ClusterName) -> Result<AwsLeftovers, AwsError> {
        let (roles, policies, oidc_providers, secrets) = tokio::try_join!(
            self.roles_left(marks, cluster),
            self.policies_left(marks, cluster),
            self.oidc_left(marks),
            self.secrets_left(marks)
        )?;
        Ok(AwsLeftovers {
            roles,
            policies,
            oidc_providers,
            secrets,
        })
    }

    async fn roles_left(&self, marks: &Marks, cluster: &ClusterName) -> Result<Vec<String>, AwsError> {
        let mut names = Vec::new();
        let mut roles = self.iam.list_roles().into_paginator().items().send();
        while let Some(role) = roles.next().await {
            let role = role.map_err(|error| AwsError::of("iam:ListRoles", error))?;
            if is_of(cluster, role.role_name()) {
                names.push(role.role_name);
            }
        }
        ours(marks, names, async |name| self.role_tags(name).await).await
    }

    async fn policies_left(&self, marks: &Marks, cluster: &ClusterName) -> Result<Vec<String>, AwsError> {
        let mut arns = Vec::new();
        let local = self.iam.list_policies().scope(PolicyScopeType::Local);
        let mut policies = local.into_paginator().items().send();
        while let Some(policy) = policies.next().await {
            let policy = policy.map_err(|error| AwsError::of("iam:ListPolicies", error))?;
            if policy.policy_name().is_some_and(|name| is_of(cluster, name)) {
                arns.extend(policy.arn);
            }
        }
        ours(marks, arns, async |arn| self.policy_tags(arn).await).await
    }

    async fn oidc_left(&self, marks: &Marks) -> Result<Vec<String>, AwsError> {
        let providers = self
            .iam
            .list_open_id_connect_providers()
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListOpenIDConnectProviders", error))?;
        let arns = providers
            .open_id_connect_provider_list
            .unwrap_or_default()
            .into_iter()
            .filter_map(|provider| provider.arn)
            .collect();
        ours(marks, arns, async |arn| self.oidc_tags(arn).await).await
    }

    async fn secrets_left(&self, marks: &Marks) -> Result<Vec<String>, AwsError> {
        let tagged = Filter::builder()
            .key(FilterNameStringType::TagKey)
            .values(RUN_TAG)
            .build();
        let own = marks.tags();
        let mut left = Vec::new();
        let mut pages = self
            .secrets
            .list_secrets()
            .filters(tagged)
            .into_paginator()
            .send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| AwsError::of("secretsmanager:ListSecrets", error))?;
            let listed = page.secret_list.unwrap_or_default().into_iter();
            let ours = listed.filter(|secret| same_run(&tag_map(secret.tags()), &own));
            left.extend(ours.filter_map(|secret| secret.name));
        }
        Ok(left)
    }
}

fn is_of(cluster: &ClusterName, name: &str) -> bool {
    name.strip_prefix(cluster.as_str())
        .is_some_and(|rest| rest.starts_with('-'))
}

/// Those whose tags are the run's. One that goes away meanwhile is not left.
async fn ours<F>(marks: &Marks, ids: Vec<String>, tags_of: F) -> Result<Vec<String>, AwsError>
where
    F: AsyncFn(&str) -> Result<Tags, AwsError>,
{
    let (own, tags_of) = (&marks.tags(), &tags_of);
    let found: Vec<Option<String>> = stream::iter(ids)
        .map(|id| async move {
            match tags_of(&id).await {
                Ok(tags) => Ok(same_run(&tags, own).then_some(id)),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) => Err(error),
            }
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn names_of_the_cluster_begin_with_it_and_a_dash() {
        let cluster = ClusterName::new("demo").unwrap();
        assert!(is_of(&cluster, "demo-team-red-secrets-manager-role"));
        assert!(!is_of(&cluster, "demo2-team-red-secrets-manager-role"));
        assert!(!is_of(&cluster, "other"));
    }
}
