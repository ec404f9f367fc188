//! IAM for tenants: each operation makes what is missing and brings what is there into shape.
//!
//! What is there without the run's tag is somebody else's, and never changed: a policy or role of the
//! same name is an error, an identity provider for the same issuer is used as it is.

use std::collections::BTreeMap;

use aws_sdk_iam::types::Tag;
use serde_json::Value;

use super::{
    Aws,
    error::{AwsError, absent_is_fine},
};
use crate::tenant::RUN_TAG;

/// Tags of an object.
pub type Tags = BTreeMap<String, String>;

/// Versions that a managed policy can have at most.
const MOST_VERSIONS: usize = 5;

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
            Ok(_) => {}
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(error),
        }
        Ok(self.oidc_arn(issuer))
    }

    /// ARN that the provider of `issuer` has.
    #[must_use]
    pub fn oidc_arn(&self, issuer: &str) -> String {
        let issuer = issuer.strip_prefix("https://").unwrap_or(issuer);
        self.arn(&format!("oidc-provider/{issuer}"))
    }

    /// Removes an identity provider; none is fine.
    pub async fn remove_oidc(&self, arn: &str) -> Result<(), AwsError> {
        let removed = self
            .iam
            .delete_open_id_connect_provider()
            .open_id_connect_provider_arn(arn)
            .send()
            .await;
        absent_is_fine(
            removed
                .map(drop)
                .map_err(|error| AwsError::of("iam:DeleteOpenIDConnectProvider", error)),
        )
    }

    /// A managed policy that reads as `document`; returns its ARN.
    pub async fn provide_policy(
        &self,
        name: &str,
        document: &Value,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "iam:CreatePolicy";
        let made = self
            .iam
            .create_policy()
            .policy_name(name)
            .policy_document(document.to_string())
            .set_tags(Some(iam_tags(tags)?))
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error));
        let arn = self.policy_arn(name);
        match made {
            Ok(_) => return Ok(arn),
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(error),
        }
        if !same_run(&self.policy_tags(&arn).await?, tags) {
            return Err(AwsError::foreign(OPERATION, &format!("policy {name}")));
        }
        if self.policy_document(&arn).await?.as_ref() != Some(document) {
            self.rewrite_policy(&arn, document).await?;
        }
        Ok(arn)
    }

    /// ARN that the managed policy `name` has.
    #[must_use]
    pub fn policy_arn(&self, name: &str) -> String {
        self.arn(&format!("policy/{name}"))
    }

    /// Removes a managed policy, its versions and attachments; none is fine.
    pub async fn remove_policy(&self, arn: &str) -> Result<(), AwsError> {
        absent_is_fine(self.remove_present_policy(arn).await)
    }

    /// ARN that the role `name` has.
    #[must_use]
    pub fn role_arn(&self, name: &str) -> String {
        self.arn(&format!("role/{name}"))
    }

    fn arn(&self, rest: &str) -> String {
        format!(
            "arn:{}:iam::{}:{rest}",
            self.access.partition, self.access.account
        )
    }

    /// A role with this trust and one managed policy attached; returns the role's ARN.
    pub async fn provide_role(
        &self,
        name: &str,
        trust: &Value,
        policy_arn: &str,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        self.provide_role_with(name, trust, &[policy_arn], tags).await
    }

    /// A role with this trust and these managed policies attached; returns the role's ARN.
    pub async fn provide_role_with(
        &self,
        name: &str,
        trust: &Value,
        policies: &[&str],
        tags: &Tags,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "iam:CreateRole";
        let made = self
            .iam
            .create_role()
            .role_name(name)
            .assume_role_policy_document(trust.to_string())
            .set_tags(Some(iam_tags(tags)?))
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error));
        match made {
            Ok(_) => {}
            Err(error) if error.already_exists() => {
                if !same_run(&self.role_tags(name).await?, tags) {
                    return Err(AwsError::foreign(OPERATION, &format!("role {name}")));
                }
                self.iam
                    .update_assume_role_policy()
                    .role_name(name)
                    .policy_document(trust.to_string())
                    .send()
                    .await
                    .map_err(|error| AwsError::of("iam:UpdateAssumeRolePolicy", error))?;
            }
            Err(error) => return Err(error),
        }
        for policy in policies {
            self.iam
                .attach_role_policy()
                .role_name(name)
                .policy_arn(*policy)
                .send()
                .await
                .map_err(|error| AwsError::of("iam:AttachRolePolicy", error))?;
        }
        Ok(self.role_arn(name))
    }

    /// Limits a role by a managed policy, whatever its own policies allow.
    pub async fn bound_role(&self, name: &str, policy_arn: &str) -> Result<(), AwsError> {
        let put = self
            .iam
            .put_role_permissions_boundary()
            .role_name(name)
            .permissions_boundary(policy_arn)
            .send()
            .await;
        put.map(drop)
            .map_err(|error| AwsError::of("iam:PutRolePermissionsBoundary", error))
    }

    /// Removes a role with its attachments and inline policies; none is fine.
    pub async fn remove_role(&self, name: &str) -> Result<(), AwsError> {
        absent_is_fine(self.remove_present_role(name).await)
    }

    /// Tags of an identity provider.
    pub async fn oidc_tags(&self, arn: &str) -> Result<Tags, AwsError> {
        let answer = self
            .iam
            .list_open_id_connect_provider_tags()
            .open_id_connect_provider_arn(arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListOpenIDConnectProviderTags", error))?;
        Ok(tag_map(answer.tags()))
    }

    /// Tags of a managed policy.
    pub async fn policy_tags(&self, arn: &str) -> Result<Tags, AwsError> {
        let answer = self
            .iam
            .list_policy_tags()
            .policy_arn(arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListPolicyTags", error))?;
        Ok(tag_map(answer.tags()))
    }

    /// Tags of a role.
    pub async fn role_tags(&self, name: &str) -> Result<Tags, AwsError> {
        let answer = self
            .iam
            .list_role_tags()
            .role_name(name)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListRoleTags", error))?;
        Ok(tag_map(answer.tags()))
    }

    async fn remove_present_policy(&self, arn: &str) -> Result<(), AwsError> {
        let attached = self
            .iam
            .list_entities_for_policy()
            .policy_arn(arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListEntitiesForPolicy", error))?;
        for role in attached.policy_roles().iter().filter_map(|role| role.role_name()) {
            self.detach(role, arn).await?;
        }
        for version in self.policy_versions(arn).await? {
            if !version.default {
                self.remove_version(arn, &version.id).await?;
            }
        }
        let removed = self.iam.delete_policy().policy_arn(arn).send().await;
        removed
            .map(drop)
            .map_err(|error| AwsError::of("iam:DeletePolicy", error))
    }

    async fn remove_present_role(&self, name: &str) -> Result<(), AwsError> {
        let attached = self
            .iam
            .list_attached_role_policies()
            .role_name(name)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListAttachedRolePolicies", error))?;
        for policy in attached.attached_policies().iter().filter_map(|p| p.policy_arn()) {
            self.detach(name, policy).await?;
        }
        let inline = self
            .iam
            .list_role_policies()
            .role_name(name)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListRolePolicies", error))?;
        for policy in inline.policy_names() {
            let removed = self
                .iam
                .delete_role_policy()
                .role_name(name)
                .policy_name(policy)
                .send()
                .await;
            absent_is_fine(
                removed
                    .map(drop)
                    .map_err(|error| AwsError::of("iam:DeleteRolePolicy", error)),
            )?;
        }
        let removed = self.iam.delete_role().role_name(name).send().await;
        removed
            .map(drop)
            .map_err(|error| AwsError::of("iam:DeleteRole", error))
    }

    async fn detach(&self, role: &str, policy_arn: &str) -> Result<(), AwsError> {
        let detached = self
            .iam
            .detach_role_policy()
            .role_name(role)
            .policy_arn(policy_arn)
            .send()
            .await;
        absent_is_fine(
            detached
                .map(drop)
                .map_err(|error| AwsError::of("iam:DetachRolePolicy", error)),
        )
    }

    /// The document that holds now.
    async fn policy_document(&self, arn: &str) -> Result<Option<Value>, AwsError> {
        let policy = self
            .iam
            .get_policy()
            .policy_arn(arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:GetPolicy", error))?;
        let Some(version) = policy.policy().and_then(|policy| policy.default_version_id()) else {
            return Ok(None);
        };
        let version = self
            .iam
            .get_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:GetPolicyVersion", error))?;
        let document = version.policy_version().and_then(|version| version.document());
        Ok(document.and_then(|document| serde_json::from_str(&percent_decoded(document)).ok()))
    }

    /// Adds a version that holds from now on, and drops the oldest where there is no room.
    async fn rewrite_policy(&self, arn: &str, document: &Value) -> Result<(), AwsError> {
        let versions = self.policy_versions(arn).await?;
        if versions.len() >= MOST_VERSIONS {
            let spare = versions.iter().filter(|version| !version.default);
            if let Some(oldest) = spare.min_by_key(|version| version.number()) {
                self.remove_version(arn, &oldest.id).await?;
            }
        }
        self.iam
            .create_policy_version()
            .policy_arn(arn)
            .policy_document(document.to_string())
            .set_as_default(true)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:CreatePolicyVersion", error))?;
        Ok(())
    }

    async fn policy_versions(&self, arn: &str) -> Result<Vec<Version>, AwsError> {
        let answer = self
            .iam
            .list_policy_versions()
            .policy_arn(arn)
            .send()
            .await
            .map_err(|error| AwsError::of("iam:ListPolicyVersions", error))?;
        let versions = answer.versions().iter().filter_map(|version| {
            Some(Version {
                id: version.version_id()?.to_owned(),
                default: version.is_default_version(),
            })
        });
        Ok(versions.collect())
    }

    async fn remove_version(&self, arn: &str, version: &str) -> Result<(), AwsError> {
        let removed = self
            .iam
            .delete_policy_version()
            .policy_arn(arn)
            .version_id(version)
            .send()
            .await;
        absent_is_fine(
            removed
                .map(drop)
                .map_err(|error| AwsError::of("iam:DeletePolicyVersion", error)),
        )
    }
}

/// Whether something with the tags `found` belongs to the run that tags with `own`.
pub(super) fn same_run(found: &Tags, own: &Tags) -> bool {
    found
        .get(RUN_TAG)
        .is_some_and(|run| own.get(RUN_TAG) == Some(run))
}

/// A version of a managed policy.
struct Version {
    /// `v1`, `v2`, ...
    id: String,
    default: bool,
}

impl Version {
    fn number(&self) -> u32 {
        self.id.trim_start_matches('v').parse().unwrap_or(u32::MAX)
    }
}

pub(super) fn tag_map(tags: &[Tag]) -> Tags {
    tags.iter()
        .map(|tag| (tag.key().to_owned(), tag.value().to_owned()))
        .collect()
}

fn iam_tags(tags: &Tags) -> Result<Vec<Tag>, AwsError> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| AwsError::local("iam tag", &error))
}

/// IAM returns documents percent-encoded (RFC 3986).
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escaped {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::Marks;

    #[test]
    fn documents_are_decoded() {
        for (encoded, decoded) in [
            ("%7B%22a%22%3A%20%22b%22%7D", r#"{"a": "b"}"#),
            ("plain", "plain"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%C3%A9", "é"),
        ] {
            assert_eq!(percent_decoded(encoded), decoded);
        }
    }

    #[test]
    fn only_the_run_itself_owns() {
        let run = Marks::of_run("7f3k");
        assert!(same_run(&run.of_tenant("a").tags(), &run.tags()));
        assert!(!same_run(&Marks::of_run("other").tags(), &run.tags()));
        assert!(!same_run(&Tags::new(), &run.tags()));
        assert!(!same_run(&Tags::new(), &Tags::new()), "no tag is nobody's");
    }
}
