//! Replicas of a secret in other regions.
//!
//! Imitated: "Replicate AWS Secrets Manager secrets across Regions". A replica has the primary's ARN but for the
//! region, follows its value, labels, description, tags and policy, and can be changed in nothing but its key until it
//! is made a secret of its own. AWS replicates within seconds; here it is done when the call is, but
//! the call's own answer says `InProgress`, as AWS's does.

use serde_json::{Value, json};

use super::body::{Body, check_length, secret_id};
use super::error::SecretsError;
use super::store::{Replica, Secret, SecretStore};
use super::{Call, Outcome, time};
use crate::kms::KmsStore;
use crate::kms::usage::Via;

/// `ReplicateSecretToRegions`.
pub(super) fn replicate(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let regions = regions(call)?;
    if regions.is_empty() {
        return Err(crate::wire::body::missing("AddReplicaRegions").into());
    }
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let (arn, name) = (secret.arn.clone(), secret.name.clone());
    let status = begin(store, call, &name, regions)?;
    Ok(json!({"ARN": arn, "ReplicationStatus": status}))
}

/// `RemoveRegionsFromReplication`.
pub(super) fn remove_regions(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let removed = call.body.texts("RemoveReplicaRegions")?;
    if removed.is_empty() {
        return Err(crate::wire::body::missing("RemoveReplicaRegions").into());
    }
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let (gone, kept) = std::mem::take(&mut secret.replicas)
        .into_iter()
        .partition::<Vec<_>, _>(|replica| removed.contains(&replica.region.as_str()));
    secret.replicas = kept;
    let (arn, name) = (secret.arn.clone(), secret.name.clone());
    for replica in gone {
        if store.is_replica_of(&replica.region, &name, call.region) {
            store.remove(&replica.region, &name);
        }
    }
    let secret = store.secret(call.region, &name)?;
    Ok(json!({"ARN": arn, "ReplicationStatus": status(store, secret)}))
}

/// `StopReplicationToReplica`: makes a replica a secret of its own.
pub(super) fn stop(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.secret_mut(call.region, secret_id(call.body)?)?;
    let Some(primary) = secret.replica_of.take() else {
        return Err(SecretsError::parameter(
            "Operation not permitted on a primary secret. Call must be made in replica secret's region.",
        ));
    };
    let (arn, name) = (secret.arn.clone(), secret.name.clone());
    if let Ok(primary) = store.secret_mut(&primary, &name) {
        primary.replicas.retain(|replica| replica.region != call.region);
    }
    Ok(json!({"ARN": arn}))
}

/// The regions that a call asks for.
pub(super) fn regions(call: &Call<'_>) -> Result<Vec<Replica>, SecretsError> {
    let mut regions: Vec<Replica> = Vec::new();
    for replica in call.body.list("AddReplicaRegions")? {
        let replica = Body(replica);
        let region = replica.required("Region", 128)?;
        let kms_key = replica.text_of("KmsKeyId", 0, 2048)?;
        check_length("region", region, 1, 128)?;
        let twice = regions.iter().any(|other| other.region == region);
        if region == call.region || twice || !is_region(region) {
            return Err(SecretsError::parameter("Invalid replica region."));
        }
        regions.push(Replica {
            region: region.to_owned(),
            kms_key: kms_key.map(str::to_owned),
            failure: None,
        });
    }
    Ok(regions)
}

/// Begins to replicate a secret; what the call answers about it.
pub(super) fn begin(
    store: &mut SecretStore,
    call: &Call<'_>,
    name: &str,
    regions: Vec<Replica>,
) -> Result<Value, SecretsError> {
    let force = call.body.flag("ForceOverwriteReplicaSecret")?.unwrap_or(false);
    let answer: Vec<Value> = regions
        .iter()
        .map(|replica| {
            json!({"Region": replica.region, "KmsKeyId": replica.key_name(), "Status": "InProgress"})
        })
        .collect();
    for mut replica in regions {
        replica.failure = store.obstacle(call.kms, call.region, name, &replica, force);
        let secret = store.secret_mut(call.region, name)?;
        secret.replicas.retain(|other| other.region != replica.region);
        secret.replicas.push(replica);
    }
    follow(store, call.kms, call.region, name);
    Ok(json!(answer))
}

/// Brings the replicas of a secret up to date.
pub(super) fn follow(store: &mut SecretStore, kms: &KmsStore, region: &str, name: &str) {
    let Some(primary) = store.find(region, name) else {
        return;
    };
    let copies: Vec<(String, Secret)> = primary
        .replicas
        .iter()
        .filter(|replica| replica.failure.is_none())
        .map(|replica| {
            let before = store.find(&replica.region, name);
            let copy = copy(primary, before, kms, region, replica);
            (replica.region.clone(), copy)
        })
        .collect();
    for (region, copy) in copies {
        store.insert(&region, copy);
    }
}

/// `ReplicationStatus` of a secret.
pub(super) fn status(store: &SecretStore, secret: &Secret) -> Value {
    let status = secret.replicas.iter().map(|replica| {
        let (state, message) = match &replica.failure {
            None => ("InSync", "Replication succeeded"),
            Some(failure) => ("Failed", failure.as_str()),
        };
        let mut status = json!({
            "Region": replica.region, "KmsKeyId": replica.key_name(), "Status": state, "StatusMessage": message,
        });
        let copy = store.find(&replica.region, &secret.name);
        if let Some(accessed) = copy.and_then(|copy| copy.accessed)
            && replica.failure.is_none()
        {
            status["LastAccessedDate"] = time(accessed);
        }
        status
    });
    Value::Array(status.collect())
}

/// Refuses to delete what still has replicas.
pub(super) fn check_none(secret: &Secret) -> Result<(), SecretsError> {
    if secret.replicas.is_empty() {
        return Ok(());
    }
    let regions: Vec<&str> = secret
        .replicas
        .iter()
        .map(|replica| replica.region.as_str())
        .collect();
    Err(SecretsError::parameter(format!(
        "You can't delete secret {} that still has replica regions [{}].",
        secret.arn,
        regions.join(", ")
    )))
}

impl SecretStore {
    /// Whether the secret of a region is a replica of the one that has its name in `primary`.
    fn is_replica_of(&self, region: &str, name: &str, primary: &str) -> bool {
        let secret = self.find(region, name);
        secret.is_some_and(|secret| secret.replica_of.as_deref() == Some(primary))
    }

    /// Why a secret of `primary` cannot be replicated.
    fn obstacle(
        &self,
        kms: &KmsStore,
        primary: &str,
        name: &str,
        replica: &Replica,
        force: bool,
    ) -> Option<String> {
        let region = replica.region.as_str();
        if let Some(asked) = &replica.kms_key
            && let Err(error) = kms.named(via(region), asked)
        {
            return Some(format!("Replication failed: {error}"));
        }
        let taken = self.find(region, name).is_some() && !self.is_replica_of(region, name, primary);
        (taken && !force)
            .then(|| format!("Replication failed: Secret name {name} already exists in region {region}."))
    }
}

impl Replica {
    fn key_name(&self) -> &str {
        self.kms_key.as_deref().unwrap_or("alias/aws/secretsmanager")
    }
}

/// The replica that a secret has to have: everything but the times of access, which are each region's own.
fn copy(
    primary: &Secret,
    before: Option<&Secret>,
    kms: &KmsStore,
    region: &str,
    replica: &Replica,
) -> Secret {
    // A replica may have been given another key than the one that it was made with.
    let before = before.filter(|before| before.replica_of.as_deref() == Some(region));
    let kms_key = match before {
        Some(before) => before.kms_key.clone(),
        None => replica.kms_key.clone(),
    };
    let key = kms_key
        .as_deref()
        .and_then(|asked| kms.named(via(&replica.region), asked).ok().flatten());
    let mut copy = Secret {
        arn: primary
            .arn
            .replacen(&format!(":{region}:"), &format!(":{}:", replica.region), 1),
        kms_key,
        accessed: before.and_then(|before| before.accessed),
        replicas: Vec::new(),
        replica_of: Some(region.to_owned()),
        ..primary.clone()
    };
    for version in &mut copy.versions {
        let earlier = before.and_then(|before| before.version(&version.id));
        version.accessed = earlier.and_then(|earlier| earlier.accessed);
        version.key.clone_from(&key);
    }
    copy.key = key;
    copy
}

/// Whether a text has the form of a region's name, such as `eu-west-1`.
fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else {
        return false;
    };
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    words.split('-').all(word) && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn via(region: &str) -> Via<'_> {
    Via {
        service: "secretsmanager",
        region,
    }
}
