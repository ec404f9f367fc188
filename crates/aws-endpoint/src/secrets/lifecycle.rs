//! Secrets as such: made, described, changed, tagged, deleted and restored.

use jiff::ToSpan as _;
use serde_json::{Map, Value, json};

use super::body::{Body, new_name, secret_id, tags};
use super::error::SecretsError;
use super::keys::{check_new_key, re_encrypt};
use super::replication;
use super::store::{CURRENT, Secret, SecretStore};
use super::values::NewVersion;
use super::{Call, Outcome, time};

/// Tags that one secret can have.
const TAGS: usize = 50;
/// Recovery window when none is asked for.
const WINDOW_DAYS: i64 = 30;

/// `CreateSecret`.
pub(super) fn create(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let name = new_name(call.body)?;
    let description = call.body.text_of("Description", 0, 2048)?;
    let kms_key = call.body.text_of("KmsKeyId", 0, 2048)?;
    let tags = tags(call.body)?;
    let replicas = replication::regions(call)?;
    let new = NewVersion::read(call.body)?;
    if let Some(existing) = store.find(call.region, name) {
        return match new {
            _ if existing.deletion.is_some() => Err(SecretsError::request(
                "You can't create this secret because a secret with this name is already scheduled for deletion.",
            )),
            Some(new) if new.is_in(existing)? => Ok(created(existing, Some(new.id()))),
            _ => Err(SecretsError::exists(format!(
                "The operation failed because the secret {name} already exists."
            ))),
        };
    }
    let mut secret = Secret::new(name, store.fresh_arn(call.region, name), call.now);
    secret.description = description.map(str::to_owned);
    if let Some(asked) = kms_key {
        secret.key = check_new_key(call, asked)?;
        secret.kms_key = Some(asked.to_owned());
    }
    set_tags(&mut secret, &tags)?;
    let version = new.as_ref().map(NewVersion::id);
    if let Some(new) = new {
        new.add_to(&mut secret, &[CURRENT], call)?;
    }
    let mut answer = created(&secret, version);
    store.insert(call.region, secret);
    if !replicas.is_empty() {
        answer["ReplicationStatus"] = replication::begin(store, call, name, replicas)?;
    }
    Ok(answer)
}

/// Whether a call of `UpdateSecret` changes nothing but the key, which is all that it may change of a replica.
pub(super) fn changes_only_key(body: Body<'_>) -> bool {
    let changes = |name: &str| body.value(name).is_some();
    changes("KmsKeyId")
        && !["Description", "SecretString", "SecretBinary", "Type"]
            .into_iter()
            .any(changes)
}

/// `UpdateSecret`.
pub(super) fn update(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let description = call.body.text_of("Description", 0, 2048)?;
    let kms_key = call.body.text_of("KmsKeyId", 0, 2048)?;
    let new_key = match kms_key {
        Some(asked) => Some((asked, check_new_key(call, asked)?)),
        None => None,
    };
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let new = NewVersion::read(call.body)?;
    if let Some((asked, key)) = new_key {
        secret.kms_key = Some(asked.to_owned());
        re_encrypt(secret, key);
    }
    let version = new.as_ref().map(NewVersion::id);
    if let Some(new) = new {
        new.add_to(secret, &[CURRENT], call)?;
    }
    if let Some(description) = description {
        secret.description = Some(description.to_owned());
    }
    secret.changed = call.now;
    Ok(created(secret, version))
}

/// `DescribeSecret`.
pub(super) fn describe(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    describe_as_is(store, call)
}

/// `DescribeSecret`, which changes nothing.
pub(super) fn describe_as_is(store: &SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.secret(call.region, secret_id(call.body)?)?;
    let mut answer = described(secret, call.region, "VersionIdsToStages");
    if !secret.replicas.is_empty() {
        answer["ReplicationStatus"] = replication::status(store, secret);
    }
    Ok(answer)
}

/// `DeleteSecret`.
pub(super) fn delete(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let id = secret_id(call.body)?;
    let force = call.body.flag("ForceDeleteWithoutRecovery")?.unwrap_or(false);
    let window = call.body.number("RecoveryWindowInDays")?;
    let days = window.unwrap_or(WINDOW_DAYS);
    if !(7..=30).contains(&days) {
        return Err(SecretsError::parameter(
            "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).",
        ));
    }
    if force && window.is_some() {
        return Err(SecretsError::parameter(
            "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.",
        ));
    }
    if let Some(secret) = store.find(call.region, id) {
        replication::check_none(secret)?;
    }
    if force {
        // As documented: also without a secret of that name.
        let Some(secret) = store.find(call.region, id) else {
            let arn = store.missing_arn(call.region, id);
            return Ok(json!({"ARN": arn, "Name": id, "DeletionDate": time(call.now)}));
        };
        let (arn, name) = (secret.arn.clone(), secret.name.clone());
        store.remove(call.region, &name);
        return Ok(json!({"ARN": arn, "Name": name, "DeletionDate": time(call.now)}));
    }
    let secret = store.live_mut(call.region, id)?;
    let date = call.now + (24 * days).hours();
    let answer = json!({"ARN": secret.arn, "Name": secret.name, "DeletionDate": time(date)});
    let name = secret.name.clone();
    store.delete_at(call.region, &name, date);
    Ok(answer)
}

/// `RestoreSecret`.
pub(super) fn restore(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.secret_mut(call.region, secret_id(call.body)?)?;
    secret.deletion = None;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// `TagResource`.
pub(super) fn tag(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let tags = tags(call.body)?;
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    set_tags(secret, &tags)?;
    secret.changed = call.now;
    Ok(json!({}))
}

/// `UntagResource`.
pub(super) fn untag(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let keys = call.body.texts("TagKeys")?;
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    secret.tags.retain(|(key, _)| !keys.contains(&key.as_str()));
    secret.changed = call.now;
    Ok(json!({}))
}

/// Everything about a secret but its value; `stages` is what the answer calls its versions' labels.
pub(super) fn described(secret: &Secret, region: &str, stages: &str) -> Value {
    let mut answer = Map::new();
    let mut insert = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            answer.insert(name.to_owned(), value);
        }
    };
    let versions = secret.versions.iter();
    let labelled: Map<String, Value> = versions
        .filter(|version| !version.stages.is_empty())
        .map(|version| (version.id.clone(), json!(version.stages)))
        .collect();
    let tags: Vec<Value> = secret
        .tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    insert("ARN", Some(json!(secret.arn)));
    insert("Name", Some(json!(secret.name)));
    insert("Description", secret.description.as_ref().map(|text| json!(text)));
    insert("KmsKeyId", secret.kms_key.as_ref().map(|key| json!(key)));
    insert("CreatedDate", Some(time(secret.created)));
    insert("LastChangedDate", Some(time(secret.changed)));
    insert("LastAccessedDate", secret.accessed.map(time));
    insert("DeletedDate", secret.deletion.map(time));
    insert("Tags", (!tags.is_empty()).then(|| json!(tags)));
    insert(
        "PrimaryRegion",
        secret.primary_region(region).map(|primary| json!(primary)),
    );
    insert(stages, (!labelled.is_empty()).then_some(Value::Object(labelled)));
    Value::Object(answer)
}

fn created(secret: &Secret, version: Option<&str>) -> Value {
    let mut answer = json!({"ARN": secret.arn, "Name": secret.name});
    if let Some(version) = version {
        answer["VersionId"] = json!(version);
    }
    answer
}

/// Adds tags; one whose key is there already takes its place.
fn set_tags(secret: &mut Secret, tags: &[(&str, &str)]) -> Result<(), SecretsError> {
    let mut updated = secret.tags.clone();
    for (key, value) in tags {
        match updated.iter_mut().find(|(other, _)| other == key) {
            Some((_, old)) => (*value).clone_into(old),
            None => updated.push(((*key).to_owned(), (*value).to_owned())),
        }
    }
    if updated.len() > TAGS {
        return Err(SecretsError::limit(format!(
            "A secret can have no more than {TAGS} tags."
        )));
    }
    secret.tags = updated;
    Ok(())
}
