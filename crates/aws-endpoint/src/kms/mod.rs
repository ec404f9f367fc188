//! AWS Key Management Service, as far as it decides who may read what: keys, aliases and key policies, without
//! HTTP: a JSON body in, a JSON body or an error out.
//!
//! Imitated: the KMS API reference, version 2014-11-01. A key's policy has to allow every use of the key; where
//! it names the account, the account's own policies decide. `usage` is what other services ask.
//!
//! Left out: everything that has to do with cryptography (`Encrypt`, `Decrypt`, `GenerateDataKey`, `Sign`,
//! ..: no operation of this endpoint's services needs an answer of these, only to be allowed them), grants,
//! rotation, key material of one's own, and keys that are not symmetric. Keys of several regions have no replicas.
//!
//! Unverified against AWS: the texts of `InvalidArnException` and `InvalidMarkerException`, and the description of
//! managed keys.

mod error;
mod operations;
mod store;
pub(crate) mod usage;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use error::KmsError;
pub(crate) use error::repeated;
pub use store::KmsStore;
pub use usage::DefaultKeys;

use crate::authorisation::{Authorisation, Refused};
use crate::iam::Context;
use crate::operation::{self, Operation, Store};
use crate::wire::body::Body;

/// What `operation` has to be allowed, before it is carried out and whether or not the key exists.
///
/// # Errors
/// `UnknownOperationException`, and those for a call that does not say what it is about: AWS checks
/// parameters first.
pub fn authorisation(
    store: &KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
) -> Result<Authorisation, KmsError> {
    let known = find(operation)?;
    let body = Body(body);
    let action = format!("kms:{operation}");
    let mut wanted = match known.target {
        Target::Nothing => Authorisation::new(action, "*".to_owned()),
        Target::Key => on_key(store, region, action, body.required("KeyId", 2048)?),
        Target::Alias => {
            let name = body.required("AliasName", 256)?;
            let mut wanted = Authorisation::new(action.clone(), store.alias_arn(region, name));
            // The alias and every key that it names or named: the identity's policy for the former, the key's
            // for the latter.
            let target = body.text_of("TargetKeyId", 1, 2048)?;
            let named = store.find(region, name).ok().map(|key| key.arn.as_str());
            let keys = [target, named.filter(|_| operation != "CreateAlias")];
            for key in keys.into_iter().flatten() {
                wanted.further(on_key(store, region, action.clone(), key));
            }
            wanted
        }
    };
    request_keys(&mut wanted.keys, body)?;
    if let Some(kept_out) = lockout(store, region, operation, body, &wanted)? {
        let text = "The new key policy will not allow you to update the key policy in the future.";
        let refusal = Refused::With("MalformedPolicyDocumentException", text.to_owned());
        wanted.further_or(kept_out, refusal);
    }
    Ok(wanted)
}

/// Carries out one operation at the time `now`.
///
/// # Errors
/// As AWS; an operation that this service does not have is `UnknownOperationException`.
pub fn execute(
    store: &mut KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
) -> Result<Value, KmsError> {
    let known = find(operation)?;
    store.expire(now);
    let call = Call {
        region,
        body: Body(body),
        now,
    };
    known.execute(store, &call)
}

/// As [`execute`], for one of those that [`only_reads`], where no key is to be removed first.
pub(crate) fn read(
    store: &KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
) -> Result<Value, KmsError> {
    let call = Call {
        region,
        body: Body(body),
        now,
    };
    find(operation)?.read(store, &call)
}

/// Whether an operation changes nothing, so that many may be carried out at a time.
pub(crate) fn only_reads(operation: &str) -> bool {
    find(operation).is_ok_and(Operation::only_reads)
}

/// The operations there are.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// A call, without the state it is about.
pub(crate) struct Call<'a> {
    region: &'a str,
    body: Body<'a>,
    now: Timestamp,
}

type Outcome = Result<Value, KmsError>;

impl Store for KmsStore {
    type Call<'a> = Call<'a>;
    type Target = Target;
    type Error = KmsError;
}

/// What an operation is about, which is what it is authorised on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Nothing,
    Key,
    Alias,
}

const OPERATIONS: &[Operation<KmsStore>] = &{
    type Known = Operation<KmsStore>;
    use Target::{Alias, Key, Nothing};

    [
        Known::changing("CreateKey", Nothing, operations::create_key),
        // It may make a key that AWS manages.
        Known::changing("DescribeKey", Key, operations::describe_key),
        Known::reading("ListKeys", Nothing, operations::list_keys),
        Known::changing("EnableKey", Key, operations::enable_key),
        Known::changing("DisableKey", Key, operations::disable_key),
        Known::changing("ScheduleKeyDeletion", Key, operations::schedule_deletion),
        Known::changing("CancelKeyDeletion", Key, operations::cancel_deletion),
        Known::reading("GetKeyPolicy", Key, operations::key_policy),
        Known::changing("PutKeyPolicy", Key, operations::put_key_policy),
        Known::reading("ListKeyPolicies", Key, operations::list_key_policies),
        Known::changing("CreateAlias", Alias, operations::create_alias),
        Known::changing("UpdateAlias", Alias, operations::update_alias),
        Known::changing("DeleteAlias", Alias, operations::delete_alias),
        Known::reading("ListAliases", Nothing, operations::list_aliases),
    ]
};

fn find(operation: &str) -> Result<&'static Operation<KmsStore>, KmsError> {
    operation::find(OPERATIONS, operation)
}

/// The permission for `action` on a key, by any of its names; on the name itself where there is none.
fn on_key(store: &KmsStore, region: &str, action: String, asked: &str) -> Authorisation {
    let Ok(key) = store.find(region, asked) else {
        let missing = if asked.starts_with("arn:") {
            asked.to_owned()
        } else if asked.starts_with("alias/") {
            store.alias_arn(region, asked)
        } else {
            store.key_arn(region, asked)
        };
        return Authorisation::new(action, missing);
    };
    let mut wanted = Authorisation::new(action, key.arn.clone());
    wanted.keys = usage::key_keys(key, store.account());
    if asked.contains("alias/") {
        let alias = asked.rsplit_once(':').map_or(asked, |(_, alias)| alias);
        wanted.keys.set("kms:RequestAlias", alias);
    }
    wanted.resource_policy = Some(key.policy.named.clone());
    wanted
}

/// What the caller could no longer do under the key policy that it writes: to write it again.
fn lockout(
    store: &KmsStore,
    region: &str,
    operation: &str,
    body: Body<'_>,
    wanted: &Authorisation,
) -> Result<Option<Authorisation>, KmsError> {
    let bypass = body.flag("BypassPolicyLockoutSafetyCheck")?.unwrap_or(false);
    if bypass || !matches!(operation, "CreateKey" | "PutKeyPolicy") {
        return Ok(None);
    }
    // One that cannot be read is refused when the call is carried out.
    let policy = body.text_of("Policy", 1, operations::LONGEST_POLICY)?;
    let Some(policy) = policy.and_then(|text| operations::read_policy("the new key", text).ok()) else {
        return Ok(None);
    };
    let resource = if operation == "CreateKey" {
        store.key_arn(region, "new")
    } else {
        wanted.resource.clone()
    };
    let mut later = Authorisation::new("kms:PutKeyPolicy".to_owned(), resource);
    later.keys = wanted.keys.clone();
    later.keys.set("kms:CallerAccount", store.account());
    later.resource_policy = Some(policy.named);
    Ok(Some(later))
}

/// The condition keys that the request itself gives.
fn request_keys(keys: &mut Context, body: Body<'_>) -> Result<(), KmsError> {
    for (parameter, key) in [
        ("KeySpec", "kms:KeySpec"),
        ("KeyUsage", "kms:KeyUsage"),
        ("Origin", "kms:KeyOrigin"),
    ] {
        if let Some(text) = body.text(parameter)? {
            keys.set(key, text);
        }
    }
    for (parameter, key) in [
        ("MultiRegion", "kms:MultiRegion"),
        (
            "BypassPolicyLockoutSafetyCheck",
            "kms:BypassPolicyLockoutSafetyCheck",
        ),
    ] {
        if let Some(flag) = body.flag(parameter)? {
            keys.set(key, flag.to_string());
        }
    }
    if let Some(days) = body.number("PendingWindowInDays")? {
        keys.set("kms:ScheduleKeyDeletionPendingWindowInDays", days.to_string());
    }
    Ok(())
}

/// A time as awsJson writes it: seconds, with milliseconds behind the point.
fn time(time: Timestamp) -> Value {
    json!(SignedDuration::from_millis(time.as_millisecond()).as_secs_f64())
}

#[cfg(test)]
mod tests;
