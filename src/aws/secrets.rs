//! Secrets Manager for tenants.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use aws_sdk_secretsmanager::{
    primitives::Blob,
    types::{ReplicaRegionType, ReplicationStatusType, StatusType, Tag},
};

use super::{
    Aws,
    error::{AwsError, absent_is_fine},
    iam::{Tags, same_run},
};
use crate::secret::SecretValue;

/// Longest wait for a replica.
const REPLICATION: Duration = Duration::from_secs(30);

impl Aws {
    /// A secret with this value; returns its ARN. Text is stored as text, anything else as binary.
    ///
    /// One of the run's own that holds the value already gets no new version; one that is marked for
    /// deletion is restored. One without the run's tag is an error.
    pub async fn provide_secret(
        &self,
        name: &str,
        value: &SecretValue,
        tags: &Tags,
    ) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:CreateSecret";
        let (text, binary) = forms(value);
        let made = self
            .secrets
            .create_secret()
            .name(name)
            .set_secret_string(text)
            .set_secret_binary(binary)
            .set_tags(Some(secret_tags(tags)))
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error));
        match made {
            Ok(made) => return arn(OPERATION, made.arn),
            Err(error) if error.already_exists() || error.is_pending_deletion() => {}
            Err(error) => return Err(error),
        }
        let found = self.describe(name).await?;
        if !same_run(&found.tags, tags) {
            return Err(AwsError::foreign(OPERATION, &format!("secret {name}")));
        }
        if found.pending_deletion {
            let restored = self.secrets.restore_secret().secret_id(name).send().await;
            restored.map_err(|error| AwsError::of("secretsmanager:RestoreSecret", error))?;
        }
        if self.secret_value(name).await?.matches(value.expose()) {
            return arn(OPERATION, found.arn);
        }
        self.put_secret(name, value).await
    }

    /// Gives a secret a new current value; returns its ARN.
    pub async fn put_secret(&self, name: &str, value: &SecretValue) -> Result<String, AwsError> {
        const OPERATION: &str = "secretsmanager:PutSecretValue";
        let (text, binary) = forms(value);
        let put = self
            .secrets
            .put_secret_value()
            .secret_id(name)
            .set_secret_string(text)
            .set_secret_binary(binary)
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        arn(OPERATION, put.arn)
    }

    /// The current value of a secret, as the administrator reads it.
    pub async fn secret_value(&self, name: &str) -> Result<SecretValue, AwsError> {
        current_value(&self.secrets, name).await
    }

    /// The id of the version of a secret that is at `stage`, such as `AWSCURRENT`.
    pub async fn secret_version(&self, name: &str, stage: &str) -> Result<String, AwsError> {
        self.describe(name)
            .await?
            .versions
            .into_iter()
            .find_map(|(version, stages)| stages.iter().any(|there| there == stage).then_some(version))
            .ok_or_else(|| {
                AwsError::because(
                    "secretsmanager:DescribeSecret",
                    format!("no version of {name} is at {stage}"),
                )
            })
    }

    /// Replicates a secret to another region, and waits until it is there.
    pub async fn replicate_secret(&self, name: &str, region: &str) -> Result<(), AwsError> {
        const OPERATION: &str = "secretsmanager:ReplicateSecretToRegions";
        let begun = self
            .secrets
            .replicate_secret_to_regions()
            .secret_id(name)
            .add_replica_regions(ReplicaRegionType::builder().region(region).build())
            .send()
            .await;
        begun.map_err(|error| AwsError::of(OPERATION, error))?;
        let until = Instant::now() + REPLICATION;
        loop {
            let replicas = self.describe(name).await?.replicas;
            let Some(replica) = replicas.iter().find(|replica| replica.region() == Some(region)) else {
                return Err(AwsError::because(
                    OPERATION,
                    format!("{name} has no replica in {region}"),
                ));
            };
            match replica.status() {
                Some(StatusType::InSync) => return Ok(()),
                Some(StatusType::Failed) => {
                    let why = replica.status_message().unwrap_or("it says not why");
                    return Err(AwsError::because(OPERATION, why.to_owned()));
                }
                _ if Instant::now() >= until => {
                    return Err(AwsError::because(
                        OPERATION,
                        format!("{name} was not in {region} after {REPLICATION:?}"),
                    ));
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Removes a secret for good, without a recovery window, and its replicas before it; none is fine.
    pub async fn remove_secret(&self, name: &str) -> Result<(), AwsError> {
        match self.delete_secret(name).await {
            // What it says of one that has replicas is not documented.
            Err(error) if error.is_answer() && self.remove_replicas(name).await? => {
                self.delete_secret(name).await
            }
            removed => removed,
        }
    }

    /// Removes the replicas of a secret, if it has any.
    async fn remove_replicas(&self, name: &str) -> Result<bool, AwsError> {
        let replicas = self.describe(name).await?.replicas;
        let regions: Vec<String> = replicas
            .iter()
            .filter_map(|replica| replica.region().map(str::to_owned))
            .collect();
        if regions.is_empty() {
            return Ok(false);
        }
        let removed = self
            .secrets
            .remove_regions_from_replication()
            .secret_id(name)
            .set_remove_replica_regions(Some(regions))
            .send()
            .await;
        removed.map_err(|error| AwsError::of("secretsmanager:RemoveRegionsFromReplication", error))?;
        Ok(true)
    }

    async fn delete_secret(&self, name: &str) -> Result<(), AwsError> {
        let removed = self
            .secrets
            .delete_secret()
            .secret_id(name)
            .force_delete_without_recovery(true)
            .send()
            .await;
        absent_is_fine(
            removed
                .map(drop)
                .map_err(|error| AwsError::of("secretsmanager:DeleteSecret", error)),
        )
    }

    /// Attaches a resource policy to a secret.
    pub async fn put_resource_policy(
        &self,
        name: &str,
        document: &serde_json::Value,
    ) -> Result<(), AwsError> {
        let put = self
            .secrets
            .put_resource_policy()
            .secret_id(name)
            .resource_policy(document.to_string());
        let put = put.send().await;
        put.map(drop)
            .map_err(|error| AwsError::of("secretsmanager:PutResourcePolicy", error))
    }

    /// Tags of a secret.
    pub async fn secret_tags(&self, name: &str) -> Result<Tags, AwsError> {
        Ok(self.describe(name).await?.tags)
    }

    async fn describe(&self, name: &str) -> Result<Description, AwsError> {
        let described = self
            .secrets
            .describe_secret()
            .secret_id(name)
            .send()
            .await
            .map_err(|error| AwsError::of("secretsmanager:DescribeSecret", error))?;
        Ok(Description {
            pending_deletion: described.deleted_date().is_some(),
            tags: tag_map(described.tags()),
            replicas: described.replication_status.unwrap_or_default(),
            versions: described.version_ids_to_stages.unwrap_or_default(),
            arn: described.arn,
        })
    }
}

/// The current value of a secret, as whoever the client is may read it.
pub(super) async fn current_value(
    client: &aws_sdk_secretsmanager::Client,
    name: &str,
) -> Result<SecretValue, AwsError> {
    let asked = client.get_secret_value().secret_id(name).send().await;
    let answer = asked.map_err(|error| AwsError::of("secretsmanager:GetSecretValue", error))?;
    value(answer.secret_string(), answer.secret_binary())
}

/// The value of an answer, in whichever form it came.
fn value(text: Option<&str>, binary: Option<&Blob>) -> Result<SecretValue, AwsError> {
    match (text, binary) {
        (Some(text), _) => Ok(SecretValue::text(text)),
        (None, Some(bytes)) => Ok(SecretValue::binary(bytes.as_ref())),
        (None, None) => Err(AwsError::because(
            "secretsmanager:GetSecretValue",
            "the answer has no value".to_owned(),
        )),
    }
}

pub(super) fn tag_map(tags: &[Tag]) -> Tags {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())))
        .collect()
}

struct Description {
    arn: Option<String>,
    pending_deletion: bool,
    tags: Tags,
    replicas: Vec<ReplicationStatusType>,
    /// Labels by version id.
    versions: HashMap<String, Vec<String>>,
}

fn arn(operation: &str, arn: Option<String>) -> Result<String, AwsError> {
    arn.ok_or_else(|| AwsError::because(operation, "the answer has no ARN".to_owned()))
}

fn secret_tags(tags: &Tags) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

fn forms(value: &SecretValue) -> (Option<String>, Option<Blob>) {
    match value.expose_text() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(Blob::new(value.expose()))),
    }
}
