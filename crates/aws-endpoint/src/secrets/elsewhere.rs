//! Secrets that something else keeps: a store with what is known of them, to be authorised on and nothing more.

use jiff::Timestamp;

use super::keys;
use super::store::{Secret, SecretStore, SecretValue, Version};
use crate::kms::KmsStore;
use crate::resource_policy::ResourcePolicy;

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
    /// When its resource policy or its key is none that can be decided on.
    pub fn add_elsewhere(
        &mut self,
        kms: &KmsStore,
        region: &str,
        secret: SecretElsewhere,
    ) -> Result<(), String> {
        let policy = match secret.policy {
            None => None,
            Some(text) => {
                let name = format!("resource policy of {}", secret.name);
                let policy = ResourcePolicy::parse(&name, &text);
                Some(policy.map_err(|error| format!("its resource policy cannot be evaluated: {error}"))?)
            }
        };
        let key = match &secret.kms_key {
            None => None,
            Some(named) => kms
                .named(keys::via(region), named)
                .map_err(|_| format!("its key {named} is not known here, so who may use it is not"))?,
        };
        let versions = secret.versions.into_iter().map(|(id, stages)| Version {
            id,
            value: SecretValue::Text(String::new()),
            key: key.clone(),
            stages,
            created: Timestamp::UNIX_EPOCH,
            accessed: None,
        });
        let versions = versions.collect();
        self.insert(
            region,
            Secret {
                versions,
                kms_key: secret.kms_key,
                key,
                tags: secret.tags,
                policy,
                ..Secret::new(&secret.name, secret.arn, Timestamp::UNIX_EPOCH)
            },
        );
        Ok(())
    }
}
