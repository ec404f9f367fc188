//! The step `impostor`: credentials that are not genuine must be refused by AWS itself.
//!
//! Pods only ever carry genuine tokens, so no mount can show whether a forged one would be let in.
//! Here the harness presents them, as a tenant that means harm would from inside its pod.

use super::{
    case::Attempt,
    step::{StepError, StepResult},
};
use crate::{
    aws::AwsError,
    scenario::model::{Forgery, Impostor},
    verdict::failure,
};

/// Audience that no AWS role accepts.
const OTHER_AUDIENCE: &str = "https://elsewhere.example";

/// Presents the forgery, after its genuine original was accepted: the positive control.
pub(super) async fn refused(attempt: &Attempt<'_>, planned: &Impostor) -> StepResult {
    let world = attempt.world;
    let tenant = attempt
        .tenants
        .get(planned.tenant)
        .ok_or_else(StepError::bad_reference)?;
    let genuine = world.token(tenant.name(), crate::tenant::AUDIENCE).await?;
    let secret = tenant.secret("secret").ok_or_else(StepError::bad_reference)?;
    let session = world
        .environment
        .aws
        .assume(tenant.role_arn(), &genuine)
        .await
        .map_err(no_control)?;
    session.read(&secret.path).await.map_err(no_control)?;

    let answer = match planned.forgery {
        Forgery::Signature => world
            .environment
            .aws
            .assume(tenant.role_arn(), &genuine.with_other_signature())
            .await
            .map(drop),
        Forgery::Audience => {
            let token = world.token(tenant.name(), OTHER_AUDIENCE).await?;
            world
                .environment
                .aws
                .assume(tenant.role_arn(), &token)
                .await
                .map(drop)
        }
        Forgery::Expired => {
            let token = world
                .expired_token(tenant.name(), crate::tenant::AUDIENCE)
                .await?;
            world
                .environment
                .aws
                .assume(tenant.role_arn(), &token)
                .await
                .map(drop)
        }
        Forgery::Request => session.with_other_key().read(&secret.path).await.map(drop),
        Forgery::Region => {
            let own = &world.environment.aws.access().region;
            let genuine = session.at_regional_host(own).map_err(no_control)?;
            genuine.read(&secret.path).await.map_err(no_control)?;
            let other = session.at_regional_host(other_region(own)).map_err(no_control)?;
            other.read(&secret.path).await.map(drop)
        }
    };
    let what = planned.forgery.describe();
    match answer {
        Ok(()) => Err(StepError::Broken(
            failure(format!("AWS accepted {what} of {}", tenant.name()))
                .breach()
                .fact("who", tenant.role_arn())
                .fact("expected", planned.errors.join(" or ")),
        )),
        Err(error)
            if planned
                .errors
                .iter()
                .any(|code| error.code() == Some(code.as_str())) =>
        {
            Ok(format!("{what} refused: {}", error.code().unwrap_or_default()).into())
        }
        Err(error) => Err(world
            .blame(
                failure(format!(
                    "AWS refused {what} of {} for another reason",
                    tenant.name()
                ))
                .fact("expected", planned.errors.join(" or "))
                .fact("seen", error.to_string()),
            )
            .await),
    }
}

/// A region of AWS's that is not `own`.
fn other_region(own: &str) -> &'static str {
    if own == "eu-west-1" {
        "us-east-1"
    } else {
        "eu-west-1"
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn no_control(error: AwsError) -> StepError {
    StepError::Trouble(
        failure("no proof: the genuine credential, the positive control, was not accepted")
            .fact("seen", error.to_string()),
    )
}
