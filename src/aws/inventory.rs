//! Everything of any run's in an account, by tags and names, with its age: what a scheduled clean-up goes by.

use aws_sdk_iam::types::PolicyScopeType;
use aws_sdk_secretsmanager::types::{Filter, FilterNameStringType};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{Aws, AwsError, ClusterView, Tags, eks::time, iam, secrets::tag_map};
use crate::tenant::{RUN_TAG, TENANT_TAG};

/// Look-ups in flight.
const PARALLEL: usize = 8;
/// What the names of a run's roles and policies begin with, unless it was told another name. IAM lists no tags, and to ask
/// for those of every role of an account would take all day.
const OURS: &str = "mountproof-";

/// Something of a run's in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// What it is.
    pub what: OwnedKind,
    /// The run's id.
    pub run: String,
    /// The tenant that it is of; none of what all share.
    pub tenant: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What something of a run's is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnedKind {
    /// An EKS cluster, by name.
    Cluster(String),
    /// A managed node group.
    Nodegroup {
        /// Of which cluster.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// An add-on.
    Addon {
        /// Of which cluster.
        cluster: String,
        /// Its name.
        name: String,
    },
    /// A Pod Identity association.
    Association {
        /// Of which cluster.
        cluster: String,
        /// Namespace of its `ServiceAccount`.
        namespace: String,
        /// Its `ServiceAccount`.
        service_account: String,
    },
    /// An identity provider, by ARN.
    OidcProvider(String),
    /// A managed policy, by ARN.
    Policy(String),
    /// A role, by name.
    Role(String),
    /// A secret, by name.
    Secret(String),
}

impl Owned {
    /// What has a run's tag.
    fn of(what: OwnedKind, tags: &Tags, created: Option<Timestamp>) -> Option<Self> {
        Some(Self {
            what,
            run: tags.get(RUN_TAG)?.clone(),
            tenant: tags.get(TENANT_TAG).cloned(),
            created,
        })
    }
}

/// What was found in an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// What carries a run's tag.
    pub owned: Vec<Owned>,
    /// Clusters that these credentials may not look into.
    pub hidden: Vec<String>,
    /// Every other cluster, whatever its status: those of runs have a run's tag.
    pub clusters: Vec<ClusterView>,
}

impl Aws {
    /// Looks for everything that carries a run's tag, whichever run's it is.
    pub async fn inventory(&self) -> Result<Inventory, AwsError> {
        let (mut inventory, providers, policies, roles, secrets) = tokio::try_join!(
            self.owned_in_eks(),
            self.owned_providers(),
            self.owned_policies(),
            self.owned_roles(),
            self.owned_secrets()
        )?;
        let others = [providers, policies, roles, secrets];
        inventory.owned.extend(others.concat());
        Ok(inventory)
    }

    async fn owned_in_eks(&self) -> Result<Inventory, AwsError> {
        let mut inventory = Inventory::default();
        for name in self.clusters().await? {
            let cluster = match self.cluster(&name).await {
                Err(error) if error.is_denied() => {
                    inventory.hidden.push(name);
                    continue;
                }
                found => unless_gone(found)?,
            };
            let Some(cluster) = cluster else { continue };
            match self.owned_in_cluster(&cluster).await {
                Ok(found) => inventory.owned.extend(found),
                Err(error) if error.is_denied() => inventory.hidden.push(name),
                Err(error) => return Err(error),
            }
            inventory.clusters.push(cluster);
        }
        Ok(inventory)
    }

    async fn owned_in_cluster(&self, cluster: &ClusterView) -> Result<Vec<Owned>, AwsError> {
        let name = cluster.name.as_str();
        let mut found = Vec::new();
        let what = OwnedKind::Cluster(name.to_owned());
        let own = Owned::of(what, &cluster.tags, cluster.created_at);
        // Node groups are made in clusters of our own only.
        if own.is_some() {
            found.extend(self.owned_nodegroups(name).await?);
        }
        found.extend(own);
        found.extend(self.owned_addons(name).await?);
        found.extend(self.owned_associations(name).await?);
        Ok(found)
    }

    async fn owned_nodegroups(&self, cluster: &str) -> Result<Vec<Owned>, AwsError> {
        let mut found = Vec::new();
        for name in unless_gone(self.nodegroups(cluster).await)?.unwrap_or_default() {
            if let Some(group) = unless_gone(self.nodegroup(cluster, &name).await)? {
                let cluster = cluster.to_owned();
                let what = OwnedKind::Nodegroup { cluster, name };
                found.extend(Owned::of(what, &group.tags, group.created_at));
            }
        }
        Ok(found)
    }

    async fn owned_addons(&self, cluster: &str) -> Result<Vec<Owned>, AwsError> {
        let mut found = Vec::new();
        for name in unless_gone(self.addons(cluster).await)?.unwrap_or_default() {
            if let Some(addon) = unless_gone(self.addon(cluster, &name).await)? {
                let cluster = cluster.to_owned();
                let what = OwnedKind::Addon { cluster, name };
                found.extend(Owned::of(what, &addon.tags, addon.created_at));
            }
        }
        Ok(found)
    }

    async fn owned_associations(&self, cluster: &str) -> Result<Vec<Owned>, AwsError> {
        let all = unless_gone(self.associations(cluster, None).await)?.unwrap_or_default();
        each(all, async |one| {
            let Some(one) = unless_gone(self.association(cluster, &one.id).await)? else {
                return Ok(None);
            };
            let what = OwnedKind::Association {
                cluster: cluster.to_owned(),
                namespace: one.namespace,
                service_account: one.service_account,
            };
            Ok(Owned::of(what, &one.tags, one.created_at))
        })
        .await
    }

    async fn owned_providers(&self) -> Result<Vec<Owned>, AwsError> {
        let listed = self.iam.list_open_id_connect_providers().send().await;
        let listed = listed.map_err(|error| AwsError::of("iam:ListOpenIDConnectProviders", error))?;
        let arns = listed.open_id_connect_provider_list.unwrap_or_default();
        let arns = arns.into_iter().filter_map(|provider| provider.arn).collect();
        each(arns, async |arn: String| {
            let asked = self.iam.get_open_id_connect_provider();
            let asked = asked.open_id_connect_provider_arn(&arn).send().await;
            let asked = asked.map_err(|error| AwsError::of("iam:GetOpenIDConnectProvider", error));
            let Some(provider) = unless_gone(asked)? else {
                return Ok(None);
            };
            let tags = iam::tag_map(provider.tags());
            Ok(Owned::of(
                OwnedKind::OidcProvider(arn),
                &tags,
                time(provider.create_date()),
            ))
        })
        .await
    }

    async fn owned_policies(&self) -> Result<Vec<Owned>, AwsError> {
        let local = self.iam.list_policies().scope(PolicyScopeType::Local);
        let mut pages = local.into_paginator().items().send();
        let mut named = Vec::new();
        while let Some(policy) = pages.next().await {
            let policy = policy.map_err(|error| AwsError::of("iam:ListPolicies", error))?;
            if policy.policy_name().is_some_and(|name| name.starts_with(OURS)) {
                let created = time(policy.create_date());
                named.extend(policy.arn.map(|arn| (arn, created)));
            }
        }
        each(named, async |(arn, created): (String, Option<Timestamp>)| {
            let tags = unless_gone(self.policy_tags(&arn).await)?.unwrap_or_default();
            Ok(Owned::of(OwnedKind::Policy(arn), &tags, created))
        })
        .await
    }

    async fn owned_roles(&self) -> Result<Vec<Owned>, AwsError> {
        let mut pages = self.iam.list_roles().into_paginator().items().send();
        let mut named = Vec::new();
        while let Some(role) = pages.next().await {
            let role = role.map_err(|error| AwsError::of("iam:ListRoles", error))?;
            if role.role_name().starts_with(OURS) {
                let created = time(Some(role.create_date()));
                named.push((role.role_name, created));
            }
        }
        each(named, async |(name, created): (String, Option<Timestamp>)| {
            let tags = unless_gone(self.role_tags(&name).await)?.unwrap_or_default();
            Ok(Owned::of(OwnedKind::Role(name), &tags, created))
        })
        .await
    }

    async fn owned_secrets(&self) -> Result<Vec<Owned>, AwsError> {
        let tagged = Filter::builder()
            .key(FilterNameStringType::TagKey)
            .values(RUN_TAG)
            .build();
        let listed = self.secrets.list_secrets().filters(tagged);
        let mut pages = listed.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| AwsError::of("secretsmanager:ListSecrets", error))?;
            for secret in page.secret_list.unwrap_or_default() {
                let tags = tag_map(secret.tags());
                let created = time(secret.created_date());
                let what = secret.name.map(OwnedKind::Secret);
                found.extend(what.and_then(|what| Owned::of(what, &tags, created)));
            }
        }
        Ok(found)
    }
}

/// Nothing, of what went away meanwhile.
fn unless_gone<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks about each, some at a time.
async fn each<I, F>(items: Vec<I>, ask: F) -> Result<Vec<Owned>, AwsError>
where
    F: AsyncFn(I) -> Result<Option<Owned>, AwsError>,
{
    let ask = &ask;
    let found: Vec<Option<Owned>> = stream::iter(items)
        .map(|item| async move { ask(item).await })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}
