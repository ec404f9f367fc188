//! Secrets Manager for tenants.

use aws_sdk_secretsmanager::{
    primitives::Blob,
    types::{Filter, FilterNameStringType, Tag},
};

use super::{
    Aws,
    error::{AwsError, absent_is_fine},
    iam::Tags,
};
use crate::secret::SecretValue;

impl Aws {
    /// A secret with this value; returns its ARN. Text is stored as text, anything else as binary.
    pub async fn provide_secret(&self, name: &str, value: &SecretValue, tags: &Tags) -> Result<String, AwsError> {
        let (text, binary) = forms(value);
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        let made = self
            .secrets
            .create_secret()
            .name(name)
            .set_secret_string(text)
            .set_secret_binary(binary)
            .set_tags(Some(tags))
            .send()
            .await
            .map_err(|error| AwsError::of("secretsmanager:CreateSecret", error));
        match made {
            Ok(made) => Ok(made.arn().unwrap_or_default().to_owned()),
            Err(error) if error.already_exists() => self.put_secret(name, value).await,
            Err(error) => Err(error),
        }
    }

    /// Gives a secret a new current value; returns its ARN.
    pub async fn put_secret(&self, name: &str, value: &SecretValue) -> Result<String, AwsError> {
        let (text, binary) = forms(value);
        let put = self
            .secrets
            .put_secret_value()
            .secret_id(name)
            .set_secret_string(text)
            .set_secret_binary(binary)
            .send()
            .await
            .map_err(|error| AwsError::of("secretsmanager:PutSecretValue", error))?;
        Ok(put.arn().unwrap_or_default().to_owned())
    }

    /// Removes a secret for good, without a recovery window; none is fine.
    pub async fn remove_secret(&self, name: &str) -> Result<(), AwsError> {
        let removed = self.secrets.delete_secret().secret_id(name).force_delete_without_recovery(true).send().await;
        absent_is_fine(removed.map(drop).map_err(|error| AwsError::of("secretsmanager:DeleteSecret", error)))
    }

    /// Names of all secrets whose names begin with `prefix`.
    pub async fn secret_leftovers(&self, prefix: &str) -> Result<Vec<String>, AwsError> {
        let filter = Filter::builder().key(FilterNameStringType::Name).values(prefix).build();
        let mut secrets = self.secrets.list_secrets().filters(filter).into_paginator().items().send();
        let mut left = Vec::new();
        while let Some(secret) = secrets.next().await {
            let secret = secret.map_err(|error| AwsError::of("secretsmanager:ListSecrets", error))?;
            left.push(format!("secret {}", secret.name().unwrap_or_default()));
        }
        Ok(left)
    }
}

fn forms(value: &SecretValue) -> (Option<String>, Option<Blob>) {
    match value.expose_text() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(Blob::new(value.expose()))),
    }
}
