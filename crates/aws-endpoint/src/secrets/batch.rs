//! `BatchGetSecretValue`, which answers for every secret on its own: values for those that the caller may
//! read, errors for the others.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::body::Body;
use super::error::SecretsError;
use super::listing::{filters, page, page_token};
use super::store::SecretStore;
use super::{Call, Outcome, authorisation, execute};
use crate::authorisation::Authorisation;
use crate::defects::Defects;
use crate::kms::{DefaultKeys, KmsStore};
use crate::wire::body::Fields;

/// Secrets that can be asked for by name in one call, and most values in one answer.
const MOST: usize = 20;
/// As [`MOST`].
const PAGE: u16 = 20;

/// One secret of a batch.
pub struct Member {
    body: Value,
    /// What the caller has to be allowed to get it.
    pub authorisation: Authorisation,
}

/// The secrets of one call.
pub struct Batch {
    /// In the order of the answer.
    pub members: Vec<Member>,
    next_token: Option<String>,
}

/// The secrets that a call is about.
///
/// # Errors
/// Those for parameters that make no sense.
pub fn members(
    store: &SecretStore,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    body: &dyn Fields,
) -> Result<Batch, SecretsError> {
    let body = Body(body);
    let named = body.texts("SecretIdList")?;
    let filters = filters(body)?;
    if filters.is_empty() && body.number("MaxResults")?.is_some() {
        return Err(SecretsError::parameter(
            "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
        ));
    }
    let (ids, next_token) = match (named.is_empty(), filters.is_empty()) {
        (false, false) => {
            return Err(SecretsError::parameter(
                "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
            ));
        }
        (true, true) => {
            return Err(SecretsError::parameter(
                "Either 'SecretIdList' or 'Filters' must be provided.",
            ));
        }
        (false, true) if named.len() > MOST => {
            return Err(SecretsError::constraint(
                None,
                "secretIdList",
                "Member must have length less than or equal to 20",
            ));
        }
        (false, true) => (named.into_iter().map(str::to_owned).collect(), None),
        (true, false) => {
            let secrets: Vec<_> = store
                .all(region)
                .filter(|secret| secret.deletion.is_none())
                .filter(|secret| filters.iter().all(|filter| filter.accepts(secret, region)))
                .collect();
            let place = |secret: &&super::Secret| [secret.name.clone(), String::new()];
            let (secrets, next_token) = page(body, PAGE, secrets, place)?;
            let ids: Vec<String> = secrets.into_iter().map(|secret| secret.arn.clone()).collect();
            (ids, next_token)
        }
    };
    let members = ids.into_iter().map(|id| {
        let body = json!({"SecretId": id});
        let authorisation = authorisation(store, kms, default_keys, region, "GetSecretValue", &body)?;
        Ok(Member { body, authorisation })
    });
    Ok(Batch {
        members: members.collect::<Result<_, SecretsError>>()?,
        next_token,
    })
}

/// Answers for all members; `denied` says of each why the caller may not have it, if so.
pub fn answer(
    store: &mut SecretStore,
    kms: &KmsStore,
    region: &str,
    batch: &Batch,
    denied: impl Fn(&Authorisation) -> Option<String>,
    now: Timestamp,
    defects: Defects,
) -> Value {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for member in &batch.members {
        let asked = &member.body["SecretId"];
        let mut refuse = |code: &str, message: &str| {
            errors.push(json!({"SecretId": asked, "ErrorCode": code, "Message": message}));
        };
        if let Some(message) = denied(&member.authorisation) {
            refuse("AccessDeniedException", &message);
            continue;
        }
        match execute(store, kms, region, "GetSecretValue", &member.body, now, defects) {
            Ok(value) => values.push(value),
            Err(error) => refuse(error.code, &error.message),
        }
    }
    let mut answer = json!({"SecretValues": values, "Errors": errors});
    page_token(&mut answer, batch.next_token.clone());
    answer
}

/// `BatchGetSecretValue` without knowing what the caller may read, which gives nothing away.
pub(super) fn without_permissions(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let batch = members(store, call.kms, DefaultKeys::Granted, call.region, call.body.0)?;
    let denied = |_: &Authorisation| Some("The permissions for this secret were not asked for.".to_owned());
    Ok(answer(
        store,
        call.kms,
        call.region,
        &batch,
        denied,
        call.now,
        call.defects,
    ))
}
