//! What each operation does.

use jiff::ToSpan as _;
use serde_json::{Value, json};

use super::store::{AWS_ALIASES, Alias, Key, KeyState, default_policy, key_policy_name};
use super::{Call, KmsError, KmsStore, Outcome, time};
use crate::resource_policy::ResourcePolicy;
use crate::wire::body::Body;

/// Longest key policy, in characters.
pub(super) const LONGEST_POLICY: usize = 32_768;
/// Waiting period before a key is removed when none is asked for.
const WINDOW_DAYS: i64 = 30;
/// Most items of one answer, and how many there are by default.
const MOST: u16 = 1000;

/// `CreateKey`.
pub(super) fn create_key(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let body = call.body;
    let spec = body.text("KeySpec")?.or(body.text("CustomerMasterKeySpec")?);
    let usage = body.text("KeyUsage")?;
    let origin = body.text("Origin")?;
    if spec.is_some_and(|spec| spec != "SYMMETRIC_DEFAULT")
        || usage.is_some_and(|usage| usage != "ENCRYPT_DECRYPT")
        || origin.is_some_and(|origin| origin != "AWS_KMS")
    {
        return Err(KmsError::unsupported(
            "This endpoint has symmetric keys for encryption only.",
        ));
    }
    let multi_region = body.flag("MultiRegion")?.unwrap_or(false);
    let description = body.text_of("Description", 0, 8192)?.unwrap_or_default();
    let uuid = uuid::Uuid::new_v4();
    let id = if multi_region {
        format!("mrk-{}", uuid.simple())
    } else {
        uuid.to_string()
    };
    let policy = match body.text_of("Policy", 1, LONGEST_POLICY)? {
        Some(text) => read_policy(&id, text)?,
        None => read_policy(&id, &default_policy(store.account()))?,
    };
    let key = Key {
        arn: store.key_arn(call.region, &id),
        id: id.clone(),
        description: description.to_owned(),
        tags: tags(body)?,
        created: call.now,
        state: KeyState::Enabled,
        managed_by_aws: false,
        multi_region,
        policy,
    };
    let answer = json!({"KeyMetadata": metadata(&key, store.account(), call.region)});
    store.region_mut(call.region).keys.insert(id, key);
    Ok(answer)
}

/// `DescribeKey`.
pub(super) fn describe_key(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let id = call.body.required("KeyId", 2048)?;
    let local = id.rsplit_once(':').map_or(id, |(_, local)| local);
    store.make_managed(call.region, local, call.now);
    let key = store.find(call.region, id)?;
    Ok(json!({"KeyMetadata": metadata(key, store.account(), call.region)}))
}

/// `ListKeys`.
pub(super) fn list_keys(store: &KmsStore, call: &Call<'_>) -> Outcome {
    let keys = store.region(call.region).into_iter().flat_map(|at| &at.keys);
    let keys = keys.map(|(id, key)| (id.clone(), json!({"KeyId": id, "KeyArn": key.arn})));
    page(call.body, "Keys", keys)
}

/// `EnableKey`.
pub(super) fn enable_key(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    set_state(store, call, KeyState::Enabled)
}

/// `DisableKey`.
pub(super) fn disable_key(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    set_state(store, call, KeyState::Disabled)
}

/// `ScheduleKeyDeletion`.
pub(super) fn schedule_deletion(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let days = call.body.number("PendingWindowInDays")?.unwrap_or(WINDOW_DAYS);
    if !(7..=30).contains(&days) {
        return Err(KmsError::validation(
            "PendingWindowInDays must be between 7 and 30 days (inclusive).",
        ));
    }
    let key = own(store, call)?;
    key.check_kept()?;
    let end = call.now + (24 * days).hours();
    key.state = KeyState::PendingDeletion(end);
    Ok(json!({
        "KeyId": key.arn, "DeletionDate": time(end), "KeyState": "PendingDeletion", "PendingWindowInDays": days,
    }))
}

/// `CancelKeyDeletion`, after which the key is disabled.
pub(super) fn cancel_deletion(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let key = own(store, call)?;
    if !matches!(key.state, KeyState::PendingDeletion(_)) {
        return Err(KmsError::state(format!("{} is not pending deletion.", key.arn)));
    }
    key.state = KeyState::Disabled;
    Ok(json!({"KeyId": key.arn}))
}

/// `GetKeyPolicy`.
pub(super) fn key_policy(store: &KmsStore, call: &Call<'_>) -> Outcome {
    policy_name(call.body)?;
    let key = store.find(call.region, call.body.required("KeyId", 2048)?)?;
    Ok(json!({"Policy": key.policy.text, "PolicyName": "default"}))
}

/// `PutKeyPolicy`.
pub(super) fn put_key_policy(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    policy_name(call.body)?;
    let text = call.body.required("Policy", LONGEST_POLICY)?;
    let key = own(store, call)?;
    key.check_kept()?;
    key.policy = read_policy(&key.id, text)?;
    Ok(json!({}))
}

/// `ListKeyPolicies`.
pub(super) fn list_key_policies(store: &KmsStore, call: &Call<'_>) -> Outcome {
    store.find(call.region, call.body.required("KeyId", 2048)?)?;
    Ok(json!({"PolicyNames": ["default"], "Truncated": false}))
}

/// `CreateAlias`.
pub(super) fn create_alias(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let (name, target) = new_target(store, call)?;
    let arn = store.alias_arn(call.region, name);
    let at = store.region_mut(call.region);
    if at.aliases.contains_key(name) {
        return Err(KmsError::exists(&arn));
    }
    let alias = Alias {
        target,
        created: call.now,
        updated: call.now,
    };
    at.aliases.insert(name.to_owned(), alias);
    Ok(json!({}))
}

/// `UpdateAlias`.
pub(super) fn update_alias(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let (name, target) = new_target(store, call)?;
    let arn = store.alias_arn(call.region, name);
    let alias = store.region_mut(call.region).aliases.get_mut(name);
    let alias = alias.ok_or_else(|| KmsError::no_alias(&arn))?;
    alias.target = target;
    alias.updated = call.now;
    Ok(json!({}))
}

/// `DeleteAlias`.
pub(super) fn delete_alias(store: &mut KmsStore, call: &Call<'_>) -> Outcome {
    let name = alias_name(call.body)?;
    let arn = store.alias_arn(call.region, name);
    let removed = store.region_mut(call.region).aliases.remove(name);
    removed.map(|_| json!({})).ok_or_else(|| KmsError::no_alias(&arn))
}

/// `ListAliases`.
pub(super) fn list_aliases(store: &KmsStore, call: &Call<'_>) -> Outcome {
    let of_key = match call.body.text_of("KeyId", 1, 2048)? {
        Some(asked) => Some(store.find(call.region, asked)?.id.as_str()),
        None => None,
    };
    let aliases = store.region(call.region).into_iter().flat_map(|at| &at.aliases);
    let aliases = aliases
        .filter(|(_, alias)| of_key.is_none_or(|id| alias.target == id))
        .map(|(name, alias)| {
            let described = json!({
                "AliasName": name,
                "AliasArn": store.alias_arn(call.region, name),
                "TargetKeyId": alias.target,
                "CreationDate": time(alias.created),
                "LastUpdatedDate": time(alias.updated),
            });
            (name.clone(), described)
        });
    page(call.body, "Aliases", aliases)
}

fn set_state(store: &mut KmsStore, call: &Call<'_>, state: KeyState) -> Outcome {
    let key = own(store, call)?;
    key.check_kept()?;
    key.state = state;
    Ok(json!({}))
}

/// The key of a call that changes it, which only keys of customers can be; aliases are not taken for such calls.
fn own<'s>(store: &'s mut KmsStore, call: &Call<'_>) -> Result<&'s mut Key, KmsError> {
    let asked = call.body.required("KeyId", 2048)?;
    if asked.starts_with("alias/") {
        return Err(KmsError::no_key_id(asked));
    }
    let key = store.find_mut(call.region, asked)?;
    if key.managed_by_aws {
        return Err(KmsError::unsupported(format!("{} is managed by AWS.", key.arn)));
    }
    Ok(key)
}

/// The name of an alias and the id of the key that it is to stand for.
fn new_target<'a>(store: &KmsStore, call: &Call<'a>) -> Result<(&'a str, String), KmsError> {
    let name = alias_name(call.body)?;
    let key = store.find(call.region, call.body.required("TargetKeyId", 2048)?)?;
    key.check_kept()?;
    Ok((name, key.id.clone()))
}

fn alias_name(body: Body<'_>) -> Result<&str, KmsError> {
    let name = body.required("AliasName", 256)?;
    let Some(rest) = name.strip_prefix("alias/") else {
        return Err(KmsError::validation("Invalid identifier"));
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte);
    if rest.is_empty() || !rest.bytes().all(valid) {
        return Err(KmsError::validation(
            "Alias must only contain characters: alphanumeric, forward slash, underscore and dash",
        ));
    }
    if name.starts_with(AWS_ALIASES) {
        return Err(KmsError::reserved_alias());
    }
    Ok(name)
}

fn policy_name(body: Body<'_>) -> Result<(), KmsError> {
    match body.text_of("PolicyName", 1, 128)? {
        None | Some("default") => Ok(()),
        Some(other) => Err(KmsError::validation(format!(
            "Policy {other} does not exist: the only policy of a key is default"
        ))),
    }
}

pub(super) fn read_policy(id: &str, text: &str) -> Result<ResourcePolicy, KmsError> {
    ResourcePolicy::parse(&key_policy_name(id), text)
        .map_err(|error| KmsError::malformed_policy(error.aws_text()))
}

fn tags(body: Body<'_>) -> Result<Vec<(String, String)>, KmsError> {
    let tags = body.list("Tags")?.iter().map(|tag| {
        let key = Body(tag).required("TagKey", 128)?;
        let value = Body(tag).text_of("TagValue", 0, 256)?.unwrap_or_default();
        Ok((key.to_owned(), value.to_owned()))
    });
    tags.collect()
}

fn metadata(key: &Key, account: &str, region: &str) -> Value {
    let (state, deletion) = match key.state {
        KeyState::Enabled => ("Enabled", None),
        KeyState::Disabled => ("Disabled", None),
        KeyState::PendingDeletion(end) => ("PendingDeletion", Some(end)),
    };
    let mut metadata = json!({
        "AWSAccountId": account,
        "KeyId": key.id,
        "Arn": key.arn,
        "CreationDate": time(key.created),
        "Enabled": key.state == KeyState::Enabled,
        "Description": key.description,
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": state,
        "Origin": "AWS_KMS",
        "KeyManager": if key.managed_by_aws { "AWS" } else { "CUSTOMER" },
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": key.multi_region,
    });
    if let Some(end) = deletion {
        metadata["DeletionDate"] = time(end);
    }
    if key.multi_region {
        metadata["MultiRegionConfiguration"] = json!({
            "MultiRegionKeyType": "PRIMARY",
            "PrimaryKey": {"Arn": key.arn, "Region": region},
            "ReplicaKeys": [],
        });
    }
    metadata
}

/// One page of items that are in the order of their names, by which it goes on.
fn page(body: Body<'_>, member: &str, items: impl Iterator<Item = (String, Value)>) -> Outcome {
    let size = body.page_size("Limit", MOST)?;
    let marker = match body.text_of("Marker", 1, 1024)? {
        None => None,
        Some(marker) => Some(marker.strip_prefix("after:").ok_or_else(KmsError::marker)?),
    };
    let mut items = items
        .filter(|(name, _)| marker.is_none_or(|last| name.as_str() > last))
        .peekable();
    let mut listed = Vec::new();
    let mut last = String::new();
    while listed.len() < size
        && let Some((name, item)) = items.next()
    {
        last = name;
        listed.push(item);
    }
    let truncated = items.peek().is_some();
    let mut answer = json!({"Truncated": truncated});
    answer[member] = Value::Array(listed);
    if truncated {
        answer["NextMarker"] = json!(format!("after:{last}"));
    }
    Ok(answer)
}
