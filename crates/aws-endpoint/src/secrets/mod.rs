//! AWS Secrets Manager, without HTTP: a JSON body in, a JSON body or an error out.
//!
//! Imitated: the Secrets Manager API reference, version 2017-10-17, and texts recorded from AWS.
//! [`authorisation`] says what a call has to be allowed; the caller asks [`crate::iam::evaluate()`] and
//! then calls [`execute`]. `BatchGetSecretValue` has to be allowed as a whole and for every secret:
//! [`batch`] names the secrets.
//!
//! Left out: rotation by Lambda functions, replicas in other regions, KMS (keys are accepted and
//! ignored), and the end of the recovery window: what was deleted with one stays until it is restored or
//! deleted without recovery.

pub mod batch;
mod body;
mod elsewhere;
mod error;
mod lifecycle;
mod listing;
mod password;
mod policies;
mod store;
mod values;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub use elsewhere::SecretElsewhere;
pub use error::SecretsError;
pub use store::SecretStore;

use self::body::Body;
use self::store::Secret;
use crate::authorisation::Authorisation;
use crate::defects::Defects;
use crate::iam::Context;

/// What `operation` has to be allowed, before it is carried out and whether or not the secret exists.
///
/// # Errors
/// `UnknownOperationException`, and those for a call that does not say what it is about: AWS checks
/// parameters first.
pub fn authorisation(
    store: &SecretStore,
    region: &str,
    operation: &str,
    body: &Value,
) -> Result<Authorisation, SecretsError> {
    let known = find(operation)?;
    let body = Body(body);
    let asked = match known.target {
        Target::NewSecret => Some(body.name()?),
        Target::Secret => Some(body.secret_id()?),
        Target::SecretIfNamed => match body.text("SecretId")? {
            Some(_) => Some(body.secret_id()?),
            None => None,
        },
        Target::Nothing => None,
    };
    let secret = asked.and_then(|id| store.find(region, id));
    let mut keys = Context::new();
    request_keys(&mut keys, known, body)?;
    if let Some(secret) = secret {
        resource_keys(&mut keys, secret);
    }
    let resource = match (secret, asked) {
        (Some(secret), _) => secret.arn.clone(),
        (None, Some(id)) => store.missing_arn(region, id),
        (None, None) => "*".to_owned(),
    };
    if matches!(known.target, Target::Secret | Target::SecretIfNamed) && asked.is_some() {
        // An ARN in conditions, whatever form the caller gave it.
        keys.set("secretsmanager:SecretId", resource.as_str());
    }
    Ok(Authorisation {
        action: format!("secretsmanager:{operation}"),
        resource,
        asked: asked.map(str::to_owned),
        keys,
        resource_policy: secret.and_then(|secret| Some(secret.policy.as_ref()?.named.clone())),
        // As documented: a secret is made with tags only by those who may tag it.
        also: (known.target == Target::NewSecret && !body.list("Tags")?.is_empty())
            .then_some("secretsmanager:TagResource"),
    })
}

/// Carries out one operation at the time `now`.
///
/// # Errors
/// As AWS; an operation that this service does not have is `UnknownOperationException`.
pub fn execute(
    store: &mut SecretStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
    defects: Defects,
) -> Result<Value, SecretsError> {
    let known = find(operation)?;
    let call = Call {
        region,
        body: Body(body),
        now,
        defects,
    };
    (known.run)(store, &call)
}

/// The operations there are; beside them there is [`batch`].
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// A call, without the state it is about.
struct Call<'a> {
    region: &'a str,
    body: Body<'a>,
    now: Timestamp,
    defects: Defects,
}

type Outcome = Result<Value, SecretsError>;

struct Operation {
    name: &'static str,
    target: Target,
    run: fn(&mut SecretStore, &Call<'_>) -> Outcome,
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
    const fn operation(name: &'static str, target: Target, run: Run) -> Operation {
        Operation { name, target, run }
    }

    [
        // First the one that is called most: it is searched for from the start.
        operation("GetSecretValue", Secret, values::value),
        operation("DescribeSecret", Secret, lifecycle::describe),
        operation("PutSecretValue", Secret, values::put),
        operation("CreateSecret", NewSecret, lifecycle::create),
        operation("UpdateSecret", Secret, lifecycle::update),
        operation("DeleteSecret", Secret, lifecycle::delete),
        operation("RestoreSecret", Secret, lifecycle::restore),
        operation("TagResource", Secret, lifecycle::tag),
        operation("UntagResource", Secret, lifecycle::untag),
        operation("ListSecretVersionIds", Secret, values::list_versions),
        operation("UpdateSecretVersionStage", Secret, values::update_stage),
        operation("ListSecrets", Nothing, listing::list),
        operation("BatchGetSecretValue", Nothing, batch::without_permissions),
        operation("GetRandomPassword", Nothing, password::random),
        operation("PutResourcePolicy", Secret, policies::put),
        operation("GetResourcePolicy", Secret, policies::read),
        operation("DeleteResourcePolicy", Secret, policies::delete),
        operation("ValidateResourcePolicy", SecretIfNamed, policies::validate),
    ]
};

fn find(operation: &str) -> Result<&'static Operation, SecretsError> {
    let known = OPERATIONS.iter().find(|known| known.name == operation);
    known.ok_or_else(|| SecretsError::unknown_operation(operation))
}

/// The condition keys that the request itself gives. A key is absent when the request leaves its
/// parameter out: `VersionStage` above all, whatever stage is meant.
fn request_keys(keys: &mut Context, operation: &Operation, body: Body<'_>) -> Result<(), SecretsError> {
    const TEXTS: [(&str, &str); 5] = [
        ("VersionId", "secretsmanager:VersionId"),
        ("VersionStage", "secretsmanager:VersionStage"),
        ("Name", "secretsmanager:Name"),
        ("Description", "secretsmanager:Description"),
        ("KmsKeyId", "secretsmanager:KmsKeyId"),
    ];
    const FLAGS: [(&str, &str); 2] = [
        ("BlockPublicPolicy", "secretsmanager:BlockPublicPolicy"),
        (
            "ForceDeleteWithoutRecovery",
            "secretsmanager:ForceDeleteWithoutRecovery",
        ),
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
    let tags = body.tags()?;
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
fn resource_keys(keys: &mut Context, secret: &Secret) {
    for (key, value) in &secret.tags {
        keys.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        keys.set(&format!("secretsmanager:ResourceTag/{key}"), value.as_str());
    }
}

/// A time as awsJson writes it: seconds, with milliseconds behind the point.
fn time(time: Timestamp) -> Value {
    json!(SignedDuration::from_millis(time.as_millisecond()).as_secs_f64())
}

#[cfg(test)]
mod tests;
