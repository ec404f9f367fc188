//! IAM for tenants: each operation makes what is missing and leaves what is there.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;
use serde_json::Value;

use super::{
    Aws,
    error::{AwsError, absent_is_fine},
};

/// Tags of an object.
pub type Tags = BTreeMap<String, String>;

impl Aws {
    /// The identity provider of a token issuer; returns its ARN.
    pub async fn provide_oidc(&self, issuer: &str, audience: &str, tags: &Tags) -> Result<String, AwsError> {
        let made = self
            .iam
            .create_open_id_connect_provider()
            .url(issuer)
            .client_id_list(audience)
            .set_tags(Some(iam_tags(tags)?))
            .send()
            .await
            .map_err(|error| AwsError::of("iam:CreateOpenIDConnectProvider", error));
        match made {
            Ok(made) => Ok(made.open_id_connect_provider_arn().unwrap_or_default().to_owned()),
            Err(error) if error.already_exists() => Ok(self.oidc_arn(issuer)),
            Err(error) => Err(error),
        }
    }

    /// ARN that the provider of `issuer` has.
    #[must_use]
    pub fn oidc_arn(&self, issuer: &str) -> String {
        let issuer = issuer.strip_prefix("https://").unwrap_or(issuer);
        format!("arn:aws:iam::{}:oidc-provider/{issuer}", self.access.account)
    }

    /// Removes an identity provider; none is fine.
    pub async fn remove_oidc(&self, arn: &str) -> Result<(), AwsError> {
        let removed = self.iam.delete_open_id_connect_provider().open_id_connect_provider_arn(arn).send().await;
        absent_is_fine(removed.map(drop).map_err(|error| AwsError::of("iam:DeleteOpenIDConnectProvider", error)))
    }

    /// A managed policy; returns its ARN.
    pub async fn provide_policy(&self, name: &str, document: &Value, tags: &Tags) -> Result<String, AwsError> {
        let made = self
            .iam
            .create_policy()
            .policy_name(name)
            .policy_document(document.to_string())
            .set_tags(Some(iam_tags(tags)?))
            .send()
            .await
            .map_err(|error| AwsError::of("iam:CreatePolicy", error));
        match made {
            Ok(made) => Ok(made.policy().and_then(|policy| policy.arn()).unwrap_or_default().to_owned()),
            Err(error) if error.already_exists() => Ok(self.policy_arn(name)),
            Err(error) => Err(error),
        }
    }

    /// ARN that the managed policy `name` has.
    #[must_use]
    pub fn policy_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:policy/{name}", self.access.account)
    }

    /// Removes a managed policy that is attached to nothing; none is fine.
    pub async fn remove_policy(&self, arn: &str) -> Result<(), AwsError> {
        let removed = self.iam.delete_policy().policy_arn(arn).send().await;
        absent_is_fine(removed.map(drop).map_err(|error| AwsError::of("iam:DeletePolicy", error)))
    }

    /// A role with one managed policy attached; returns the role's ARN.
    pub async fn provide_role(
        &self,
        name: &str,
        trust: &Value,
        policy_arn: &str,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        let made = self
            .iam
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust.to_string())
            .set_tags(Some(iam_tags(tags)?))
            .send()
            .await
            .map_err(|error| AwsError::of("iam:CreateRole", error));
        let arn = match made {
            Ok(made) => made.role().map(|role| role.arn().to_owned()).unwrap_or_default(),
            Err(error) if error.already_exists() => format!("arn:aws:iam::{}:role/{name}", self.access.account),
            Err(error) => return Err(error),
        };
        self.iam
            .attach_role_policy()
            .role_name(name)
            .policy_arn(policy_arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:AttachRolePolicy", error))?;
        Ok(arn)
    }

    /// Removes a role and what is attached to it; none is fine.
    pub async fn remove_role(&self, name: &str) -> Result<(), AwsError> {
        let attached = self.iam.list_attached_role_policies().role_name(name).send().await;
        let attached = match attached.map_err(|error| AwsError::of("iam:ListAttachedRolePolicies", error)) {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        for policy in attached.attached_policies() {
            let detached =
                self.iam.detach_role_policy().role_name(name).policy_arn(policy.policy_arn().unwrap_or_default()).send().await;
            absent_is_fine(detached.map(drop).map_err(|error| AwsError::of("iam:DetachRolePolicy", error)))?;
        }
        let removed = self.iam.delete_role().role_name(name).send().await;
        absent_is_fine(removed.map(drop).map_err(|error| AwsError::of("iam:DeleteRole", error)))
    }

    /// Names of all roles, and ARNs of all customer-managed policies and identity providers, that
    /// carry `prefix` in their names or are the provider `oidc_arn`: what a run may have left.
    pub async fn iam_leftovers(&self, prefix: &str, oidc_arn: &str) -> Result<Vec<String>, AwsError> {
        let mut left = Vec::new();
        let mut roles = self.iam.list_roles().into_paginator().items().send();
        while let Some(role) = roles.next().await {
            let role = role.map_err(|error| AwsError::of("iam:ListRoles", error))?;
            if role.role_name().starts_with(prefix) {
                left.push(format!("iam role {}", role.role_name()));
            }
        }
        let local = aws_sdk_iam::types::PolicyScopeType::Local;
        let mut policies = self.iam.list_policies().scope(local).into_paginator().items().send();
        while let Some(policy) = policies.next().await {
            let policy = policy.map_err(|error| AwsError::of("iam:ListPolicies", error))?;
            if policy.policy_name().is_some_and(|name| name.starts_with(prefix)) {
                left.push(format!("iam policy {}", policy.policy_name().unwrap_or_default()));
            }
        }
        let providers = self.iam.list_open_id_connect_providers().send().await;
        let providers = providers.map_err(|error| AwsError::of("iam:ListOpenIDConnectProviders", error))?;
        for provider in providers.open_id_connect_provider_list() {
            if provider.arn() == Some(oidc_arn) {
                left.push(format!("iam OIDC provider {oidc_arn}"));
            }
        }
        Ok(left)
    }
}

fn iam_tags(tags: &Tags) -> Result<Vec<Tag>, AwsError> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| AwsError::local("iam tag", &error))
}
