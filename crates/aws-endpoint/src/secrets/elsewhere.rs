//! Secrets that something else keeps: a store with what is known of them, to be authorised on and nothing more.

use jiff::Timestamp;

use super::store::{ResourcePolicy, Secret, SecretStore, SecretValue, Version};
use crate::iam::{Document, NamedPolicy, Policy, PolicyError};

/// A secret as `DescribeSecret` and `GetResourcePolicy` tell it: without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretElsewhere {
    /// As stored, with its suffix.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Keys and values.
    pub tags: Vec<(String, String)>,
    /// The key as it was named.
    pub kms_key: Option<String>,
    /// The text of its resource policy.
    pub policy: Option<String>,
    /// The ids of its versions, with their staging labels.
    pub versions: Vec<(String, Vec<String>)>,
}

impl SecretStore {
    /// Adds a secret that is kept elsewhere, without values.
    ///
    /// # Errors
    /// When its resource policy is none that can be evaluated.
    pub fn add_elsewhere(&mut self, region: &str, secret: SecretElsewhere) -> Result<(), PolicyError> {
        let policy = match secret.policy {
            None => None,
            Some(text) => {
                let policy = Policy::parse(&text, Document::Resource)?;
                let name = format!("resource policy of {}", secret.name);
                let named = NamedPolicy::new(name, policy);
                Some(ResourcePolicy { text, named })
            }
        };
        let versions = secret.versions.into_iter().map(|(id, stages)| Version {
            id,
            value: SecretValue::Text(String::new()),
            stages,
            created: Timestamp::UNIX_EPOCH,
            accessed: None,
        });
        self.insert(
            region,
            Secret {
                versions: versions.collect(),
                name: secret.name,
                arn: secret.arn,
                description: None,
                kms_key: secret.kms_key,
                tags: secret.tags,
                created: Timestamp::UNIX_EPOCH,
                changed: Timestamp::UNIX_EPOCH,
                accessed: None,
                deletion: None,
                policy,
            },
        );
        Ok(())
    }
}
