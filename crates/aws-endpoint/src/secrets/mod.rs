//! AWS Secrets Manager, without HTTP: a JSON body in, a JSON body or an error out.
//!
//! Imitated: the Secrets Manager API reference, version 2017-10-17, and texts recorded from AWS.
//! [`authorisation`] says what a call has to be allowed; the caller asks [`crate::iam::evaluate()`] and
//! then calls [`execute`]. `BatchGetSecretValue` has to be allowed as a whole and for every secret:
//! [`batch`] names the secrets.
//!
//! Left out: rotation functions (`rotation` answers as AWS does where there is none), secrets of AWS services and
//! partners, and replicas in other accounts. Nothing is encrypted; what a KMS key is for is to decide who may read.
//!
//! Unverified against AWS, as no recording of it was found: the texts about a key that is not there (beyond
//! `The operation failed because of an invalid KMS key: Invalid keyId`), `EncryptionFailure`, what
//! `StopReplicationToReplica` says of a primary secret, and the limits of tags.

pub mod batch;
mod body;
mod elsewhere;
mod error;
mod keys;
mod lifecycle;
mod listing;
mod password;
mod policies;
mod replication;
mod rotation;
mod store;
mod values;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use elsewhere::SecretElsewhere;
pub use error::SecretsError;
pub use store::SecretStore;

use self::body::{Body, new_name, secret_id, tags};
use self::store::Secret;
use crate::authorisation::Authorisation;
use crate::defects::Defects;
use crate::iam::Context;
use crate::kms::{DefaultKeys, KmsStore};
use crate::operation::Unknown;
use crate::wire::body::Fields;
use crate::wire::json::written;

/// What `operation` has to be allowed, before it is carried out and whether or not the secret exists.
///
/// # Errors
/// `UnknownOperationException`, and those for a call that does not say what it is about: AWS checks
/// parameters first.
pub fn authorisation(
    store: &SecretStore,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    operation: &str,
    body: &dyn Fields,
) -> Result<Authorisation, SecretsError> {
    let known = find(operation)?;
    let body = Body(body);
    let asked = match known.target {
        Target::NewSecret => Some(new_name(body)?),
        Target::Secret => Some(secret_id(body)?),
        Target::SecretIfNamed => match body.text("SecretId")? {
            Some(_) => Some(secret_id(body)?),
            None => None,
        },
        Target::Nothing => None,
    };
    let secret = asked.and_then(|id| store.find(region, id));
    let mut keys = Context::new();
    request_keys(&mut keys, known, body)?;
    if let Some(secret) = secret {
        resource_keys(&mut keys, region, secret);
    }
    let resource = match (secret, asked) {
        (Some(secret), _) => secret.arn.clone(),
        (None, Some(id)) => store.missing_arn(region, id),
        (None, None) => "*".to_owned(),
    };
    let named = matches!(known.target, Target::Secret | Target::SecretIfNamed) && asked.is_some();
    let mut wanted = Authorisation {
        action: known.action.into(),
        resource,
        asked: asked.map(str::to_owned),
        keys,
        // An ARN in conditions, whatever form the caller gave it.
        resource_key: named.then_some("secretsmanager:secretid"),
        resource_policy: secret.and_then(|secret| Some(secret.policy.as_ref()?.named.clone())),
        // As documented: a secret is made with tags only by those who may tag it.
        also: (known.target == Target::NewSecret && !body.list("Tags")?.is_empty())
            .then_some("secretsmanager:TagResource"),
        further: Vec::new(),
    };
    keys::add_key_uses(&mut wanted, kms, default_keys, region, operation, body, secret)?;
    Ok(wanted)
}

/// Carries out one operation at the time `now`.
///
/// # Errors
/// As AWS; an operation that this service does not have is `UnknownOperationException`.
pub fn execute(
    store: &mut SecretStore,
    kms: &KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
    defects: Defects,
) -> Result<Value, SecretsError> {
    let known = find(operation)?;
    store.expire(now);
    let call = Call {
        kms,
        region,
        body: Body(body),
        now,
        defects,
    };
    if known.effect == Effect::Reads {
        return (known.run)(store, &call);
    }
    let id = secret_id(call.body)?;
    let key_only = operation == "UpdateSecret" && lifecycle::changes_only_key(call.body);
    if !key_only
        && store
            .find(region, id)
            .is_some_and(|secret| secret.replica_of.is_some())
    {
        return Err(SecretsError::on_replica());
    }
    let outcome = (known.run)(store, &call)?;
    if let Some(name) = store.find(region, id).map(|secret| secret.name.clone()) {
        replication::follow(store, kms, region, &name);
    }
    Ok(outcome)
}

/// Carries out one of the operations that are called most, where it changes nothing, so that many may at a time:
/// `None` for any other, which is for [`execute`]. The JSON comes as text, since nobody looks into it any more.
pub(crate) fn execute_as_is(
    store: &SecretStore,
    kms: &KmsStore,
    region: &str,
    operation: &str,
    body: &dyn Fields,
    now: Timestamp,
    defects: Defects,
) -> Option<Result<Bytes, SecretsError>> {
    if store.has_expired(now) {
        return None;
    }
    let call = Call {
        kms,
        region,
        body: Body(body),
        now,
        defects,
    };
    match operation {
        "GetSecretValue" => values::value_as_is(store, &call),
        "DescribeSecret" => Some(lifecycle::describe_as_is(store, &call).map(|value| written(&value))),
        _ => None,
    }
}

/// Whether it is worth asking [`execute_as_is`].
pub(crate) fn may_change_nothing(operation: &str) -> bool {
    matches!(operation, "GetSecretValue" | "DescribeSecret")
}

/// The operations there are; beside them there is [`batch`].
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// A call, without the state it is about.
struct Call<'a> {
    kms: &'a KmsStore,
    region: &'a str,
    body: Body<'a>,
    now: Timestamp,
    defects: Defects,
}

type Outcome = Result<Value, SecretsError>;

struct Operation {
    /// Such as `secretsmanager:GetSecretValue`.
    action: &'static str,
    /// What stands behind the colon.
    name: &'static str,
    target: Target,
    effect: Effect,
    run: fn(&mut SecretStore, &Call<'_>) -> Outcome,
}

/// What an operation does to the secret that it is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing that its replicas have to follow, and nothing that is refused on a replica.
    Reads,
    Changes,
}

/// What an operation is about, which is what it is authorised on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    NewSecret,
    Secret,
    SecretIfNamed,
    Nothing,
}

const OPERATIONS: &[Operation] = &{
    use Target::{NewSecret, Nothing, Secret, SecretIfNamed};

    type Run = fn(&mut SecretStore, &Call<'_>) -> Outcome;
    const fn name(action: &'static str) -> &'static str {
        action.split_at("secretsmanager:".len()).1
    }
    const fn reading(action: &'static str, target: Target, run: Run) -> Operation {
        let (name, effect) = (name(action), Effect::Reads);
        Operation {
            action,
            name,
            target,
            effect,
            run,
        }
    }
    const fn changing(action: &'static str, run: Run) -> Operation {
        let (name, target, effect) = (name(action), Secret, Effect::Changes);
        Operation {
            action,
            name,
            target,
            effect,
            run,
        }
    }

    [
        // First the one that is called most: it is searched for from the start.
        reading("secretsmanager:GetSecretValue", Secret, values::value),
        reading("secretsmanager:DescribeSecret", Secret, lifecycle::describe),
        changing("secretsmanager:PutSecretValue", values::put),
        reading("secretsmanager:CreateSecret", NewSecret, lifecycle::create),
        changing("secretsmanager:UpdateSecret", lifecycle::update),
        changing("secretsmanager:DeleteSecret", lifecycle::delete),
        changing("secretsmanager:RestoreSecret", lifecycle::restore),
        changing("secretsmanager:TagResource", lifecycle::tag),
        changing("secretsmanager:UntagResource", lifecycle::untag),
        reading(
            "secretsmanager:ListSecretVersionIds",
            Secret,
            values::list_versions,
        ),
        changing("secretsmanager:UpdateSecretVersionStage", values::update_stage),
        reading("secretsmanager:ListSecrets", Nothing, listing::list),
        reading(
            "secretsmanager:BatchGetSecretValue",
            Nothing,
            batch::without_permissions,
        ),
        reading("secretsmanager:GetRandomPassword", Nothing, password::random),
        changing("secretsmanager:PutResourcePolicy", policies::put),
        reading("secretsmanager:GetResourcePolicy", Secret, policies::read),
        changing("secretsmanager:DeleteResourcePolicy", policies::delete),
        reading(
            "secretsmanager:ValidateResourcePolicy",
            SecretIfNamed,
            policies::validate,
        ),
        changing("secretsmanager:ReplicateSecretToRegions", replication::replicate),
        changing(
            "secretsmanager:RemoveRegionsFromReplication",
            replication::remove_regions,
        ),
        reading(
            "secretsmanager:StopReplicationToReplica",
            Secret,
            replication::stop,
        ),
        changing("secretsmanager:RotateSecret", rotation::rotate),
        changing("secretsmanager:CancelRotateSecret", rotation::cancel),
    ]
};

fn find(operation: &str) -> Result<&'static Operation, SecretsError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation);
    known.ok_or_else(|| Unknown::operation(operation).into())
}

/// The condition keys that the request itself gives. A key is absent when the request leaves its
/// parameter out: `VersionStage` above all, whatever stage is meant.
fn request_keys(keys: &mut Context, operation: &Operation, body: Body<'_>) -> Result<(), SecretsError> {
    const TEXTS: [(&str, &str); 6] = [
        ("VersionId", "secretsmanager:VersionId"),
        ("VersionStage", "secretsmanager:VersionStage"),
        ("Name", "secretsmanager:Name"),
        ("Description", "secretsmanager:Description"),
        ("KmsKeyId", "secretsmanager:KmsKeyId"),
        ("RotationLambdaARN", "secretsmanager:RotationLambdaARN"),
    ];
    const FLAGS: [(&str, &str); 4] = [
        ("BlockPublicPolicy", "secretsmanager:BlockPublicPolicy"),
        (
            "ForceDeleteWithoutRecovery",
            "secretsmanager:ForceDeleteWithoutRecovery",
        ),
        (
            "ForceOverwriteReplicaSecret",
            "secretsmanager:ForceOverwriteReplicaSecret",
        ),
        ("RotateImmediately", "secretsmanager:RotateImmediately"),
    ];
    if operation.target == Target::Nothing {
        return Ok(());
    }
    for (parameter, key) in TEXTS {
        if let Some(text) = body.text(parameter)? {
            keys.set(key, text);
        }
    }
    for (parameter, key) in FLAGS {
        if let Some(flag) = body.flag(parameter)? {
            keys.set(key, flag.to_string());
        }
    }
    if let Some(days) = body.number("RecoveryWindowInDays")? {
        keys.set("secretsmanager:RecoveryWindowInDays", days.to_string());
    }
    let mut regions = Vec::new();
    for replica in body.list("AddReplicaRegions")? {
        regions.extend(Body(replica).text("Region")?);
    }
    keys.set_all("secretsmanager:AddReplicaRegions", regions);
    if operation.name == "RotateSecret" {
        let rules = body.value("RotationRules").is_some();
        keys.set("secretsmanager:ModifyRotationRules", rules.to_string());
    }
    let tags = tags(body)?;
    keys.set_all("aws:TagKeys", tags.iter().map(|(key, _)| *key));
    for (key, value) in tags {
        keys.set(&format!("aws:RequestTag/{key}"), value);
    }
    let removed = body.texts("TagKeys")?;
    if !removed.is_empty() {
        keys.set_all("aws:TagKeys", removed);
    }
    Ok(())
}

/// The condition keys that the secret gives.
fn resource_keys(keys: &mut Context, region: &str, secret: &Secret) {
    if let Some(primary) = secret.primary_region(region) {
        keys.set("secretsmanager:SecretPrimaryRegion", primary);
    }
    for (key, value) in &secret.tags {
        keys.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        keys.set(&format!("secretsmanager:ResourceTag/{key}"), value.as_str());
    }
}

/// A time as awsJson writes it: seconds, with milliseconds behind the point.
fn time(time: Timestamp) -> Value {
    json!(seconds(time))
}

fn seconds(time: Timestamp) -> f64 {
    SignedDuration::from_millis(time.as_millisecond()).as_secs_f64()
}

#[cfg(test)]
mod tests;
