//! What carries a run's mark and is there after teardown, whether or not a line of the ledger speaks of it.

use std::time::{Duration, Instant};

use super::{
    Teardown,
    labelled::{BROUGHT, LABELLED},
    ledger::Object,
    removal::{Removal, remove_aws},
    worlds::{World, Worlds},
};
use crate::{
    aws::{Aws, AwsError},
    journal::LeftoverFound,
    kubernetes::Kubernetes,
    tenant::{ClusterName, Marks},
};

/// How long an account may list what is gone: IAM and Secrets Manager are eventually consistent.
const LISTED: Duration = Duration::from_secs(30);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(3);

/// Removes from an account what carries the run's tag and was not there when it was looked for, or is on no record: a request
/// that was cut off in the middle can be carried out later than that.
pub(super) async fn remove_strays(aws: &Aws, marks: &Marks, cluster: &ClusterName, report: &mut Teardown) {
    if report.is_silent(World::Aws) {
        return;
    }
    // What cannot be listed is said by who looks for what is left.
    for object in in_aws(aws, marks, cluster).await.unwrap_or_default() {
        let said = object.to_string();
        if report.left.iter().any(|left| left.object == said) {
            continue;
        }
        match remove_aws(aws, marks, &object).await {
            Ok(removal) => report.removed += u32::from(removal == Removal::Removed),
            Err(error) => report.left.push(LeftoverFound {
                object: said,
                because: error.to_string(),
            }),
        }
    }
}

/// Everything in AWS that carries the run's tag, roles first.
async fn in_aws(aws: &Aws, marks: &Marks, cluster: &ClusterName) -> Result<Vec<Object>, AwsError> {
    let left = aws.leftovers(marks, cluster).await?;
    let roles = left.roles.into_iter().map(Object::Role);
    let policies = left.policies.into_iter().map(Object::Policy);
    let providers = left.oidc_providers.into_iter().map(Object::OidcProvider);
    let secrets = left.secrets.into_iter().map(Object::Secret);
    Ok(roles.chain(policies).chain(providers).chain(secrets).collect())
}

/// Objects that carry the run's mark and are there still. A world that cannot be asked is reported as such: silence is not
/// cleanliness.
pub(super) async fn strays(
    worlds: Worlds<'_>,
    marks: &Marks,
    cluster: &ClusterName,
    report: &Teardown,
) -> Vec<LeftoverFound> {
    let mut found = match worlds.kubernetes {
        Some(kubernetes) => strays_in_kubernetes(kubernetes, marks, report).await,
        None => Vec::new(),
    };
    let Some(aws) = worlds.aws.filter(|_| !report.is_silent(World::Aws)) else {
        return found;
    };
    let mut note = |object, because| report.note(&mut found, object, because);
    match once_listed(aws, marks, cluster, report).await {
        Ok(left) => {
            for object in left {
                note(object.to_string(), "carries the run's tag".to_owned());
            }
        }
        Err(error) => note(
            "objects in AWS".to_owned(),
            format!("could not be listed: {error}"),
        ),
    }
    found
}

/// What is listed, once AWS has had the time to forget what is gone; an endpoint at an address of its own forgets at once.
async fn once_listed(
    aws: &Aws,
    marks: &Marks,
    cluster: &ClusterName,
    report: &Teardown,
) -> Result<Vec<Object>, AwsError> {
    let until = Instant::now() + LISTED;
    loop {
        let left = in_aws(aws, marks, cluster).await?;
        let is_known = |object: &Object| report.left.iter().any(|left| left.object == object.to_string());
        let settled = aws.access().endpoint.is_some() || left.iter().all(is_known);
        if settled || Instant::now() >= until {
            return Ok(left);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Likewise, in Kubernetes.
pub(super) async fn strays_in_kubernetes(
    kubernetes: &Kubernetes,
    marks: &Marks,
    report: &Teardown,
) -> Vec<LeftoverFound> {
    let mut found: Vec<LeftoverFound> = Vec::new();
    if report.is_silent(World::Kubernetes) {
        return found;
    }
    let mut note = |object, because| report.note(&mut found, object, because);
    let kinds = LABELLED.into_iter().map(|kind| (kind, false));
    for ((api_version, kind), brought) in kinds.chain(BROUGHT.map(|kind| (kind, true))) {
        match kubernetes.marked(api_version, kind, Some(marks)).await {
            Ok(found) => {
                for one in found {
                    note(one.object.to_string(), "carries the run's label".to_owned());
                }
            }
            Err(error) if brought && error.status == Some(403) => {}
            Err(error) => note(format!("{kind} objects"), format!("could not be listed: {error}")),
        }
    }
    found
}
