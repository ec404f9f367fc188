//! Rotation, which is left to Lambda functions on AWS: here there are none, and the answers are those for a
//! secret without a function and for a function that is not there.
//!
//! Unverified against AWS: what `CancelRotateSecret` says of a secret that has never been rotated; it is the cause
//! that the API reference gives.

use super::body::{secret_id, token};
use super::error::SecretsError;
use super::store::SecretStore;
use super::{Body, Call, Outcome};

/// `RotateSecret`.
pub(super) fn rotate(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    token(call.body)?;
    check_rules(call.body)?;
    call.body.flag("RotateImmediately")?;
    let function = call.body.text_of("RotationLambdaARN", 0, 2048)?;
    store.live_mut(call.region, secret_id(call.body)?)?;
    Err(match function {
        None | Some("") => {
            SecretsError::request("No Lambda rotation function ARN is associated with this secret.")
        }
        Some(_) => SecretsError::access_denied(
            "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants \
             access to the principal secretsmanager.amazonaws.com.",
        ),
    })
}

/// `CancelRotateSecret`.
pub(super) fn cancel(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    store.live_mut(call.region, secret_id(call.body)?)?;
    Err(SecretsError::request(
        "You tried to enable rotation on a secret that doesn't already have a Lambda function ARN configured and \
         you didn't include such an ARN as a parameter in this call.",
    ))
}

fn check_rules(body: Body<'_>) -> Result<(), SecretsError> {
    let Some(rules) = body.value("RotationRules").map(|rules| Body(rules)) else {
        return Ok(());
    };
    rules.number_of("AutomaticallyAfterDays", 1, 1000)?;
    rules.text_of("Duration", 2, 3)?;
    rules.text_of("ScheduleExpression", 1, 256)?;
    if rules.value("AutomaticallyAfterDays").is_some() && rules.value("ScheduleExpression").is_some() {
        return Err(SecretsError::parameter(
            "You can't specify both AutomaticallyAfterDays and ScheduleExpression in RotationRules.",
        ));
    }
    Ok(())
}
