//! The removal of one object: only with the run's mark on it, and until it is gone.

use std::time::{Duration, Instant};

use super::{
    displaced::put_back,
    eks,
    ledger::Object,
    teardown::{Going, Went},
    worlds::Worlds,
};
use crate::{
    aws::{Aws, AwsError, Tags},
    environment::Environment,
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
    tenant::{Marks, RUN_LABEL, RUN_TAG},
};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest wait for IAM to know that nothing is attached any more.
const SETTLES: Duration = Duration::from_secs(20);

/// Longest wait for namespaces, all together: their controller deletes what is in them, ten namespaces at a time.
const NAMESPACES_PATIENCE: Duration = Duration::from_mins(3);

/// Longest wait for one other object to be gone.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// How a removal ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It was there and is gone.
    Removed,
    /// It was not there.
    Absent,
    /// It does not carry the run's mark and was left.
    Foreign,
}

/// Removes one object of the run's and waits until it is gone.
pub(super) async fn remove(
    environment: &Environment,
    marks: &Marks,
    object: &Object,
) -> Result<Removal, String> {
    let worlds = Worlds {
        kubernetes: Some(&environment.kubernetes),
        aws: Some(&environment.aws),
    };
    remove_from(worlds, marks, object, &|_| ()).await
}

pub(super) async fn remove_from(
    worlds: Worlds<'_>,
    marks: &Marks,
    object: &Object,
    went: &Went<'_>,
) -> Result<Removal, String> {
    match (object, worlds) {
        (
            Object::Kubernetes(reference) | Object::Installed(reference),
            Worlds {
                kubernetes: Some(kubernetes),
                ..
            },
        ) => {
            if matches!(object, Object::Installed(_)) {
                holds_nothing_of_others(kubernetes, marks, reference).await?;
            }
            let removed = remove_kubernetes(kubernetes, marks, reference).await;
            removed.map_err(|error| error.to_string())
        }
        (
            Object::Displaced {
                object: there,
                saved,
                kept,
            },
            Worlds {
                kubernetes: Some(kubernetes),
                ..
            },
        ) => {
            went(Going::Waiting("what was there before the run is put back"));
            let put_back = put_back(kubernetes, there, saved.as_deref(), kept.as_ref());
            put_back.await.map(|()| Removal::Removed)
        }
        (Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_), _) => Ok(Removal::Absent),
        (_, Worlds { aws: Some(aws), .. }) if eks::holds(object) => {
            let hears = |text: &str| went(Going::Waiting(text));
            let removed = eks::remove(aws, marks, object, &hears).await;
            removed.map_err(|error| error.to_string())
        }
        (_, Worlds { aws: Some(aws), .. }) => remove_aws(aws, marks, object)
            .await
            .map_err(|error| error.to_string()),
        _ => Err("there is no way to where it is".to_owned()),
    }
}

/// A definition takes every object of its kind along: in a cluster that stays none of somebody else's may be among them.
async fn holds_nothing_of_others(
    kubernetes: &Kubernetes,
    marks: &Marks,
    reference: &ObjectRef,
) -> Result<(), String> {
    if reference.kind != "CustomResourceDefinition" {
        return Ok(());
    }
    let said = |error: KubernetesError| error.to_string();
    let Some(definition) = kubernetes.read(reference).await.map_err(said)? else {
        return Ok(());
    };
    let spec = &definition["spec"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let version = format!("{}/{}", text(&spec["group"]), text(&spec["versions"][0]["name"]));
    let kind = text(&spec["names"]["kind"]);
    let objects = kubernetes.list(&version, &kind, None, None).await.map_err(said)?;
    let others: Vec<String> = objects
        .iter()
        .filter(|object| object["metadata"]["labels"][RUN_LABEL] != marks.run())
        .map(|object| ObjectRef::of(object).to_string())
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "it has objects that are not the run's, and would take them along: {}; remove it with `kubectl delete crd {}` once they \
         are not needed",
        others.join(", "),
        reference.name
    ))
}

async fn remove_kubernetes(
    kubernetes: &Kubernetes,
    marks: &Marks,
    reference: &ObjectRef,
) -> Result<Removal, KubernetesError> {
    if !kubernetes.is_marked(reference, marks).await? {
        let absent = kubernetes.is_gone(reference).await?;
        return Ok(if absent { Removal::Absent } else { Removal::Foreign });
    }
    kubernetes.delete(reference).await?;
    let patience = if reference.kind == "Namespace" {
        NAMESPACES_PATIENCE
    } else {
        PATIENCE
    };
    kubernetes.wait_gone(reference, Instant::now() + patience).await?;
    Ok(Removal::Removed)
}

pub(super) async fn remove_aws(aws: &Aws, marks: &Marks, object: &Object) -> Result<Removal, AwsError> {
    let tags = match object {
        Object::OidcProvider(arn) => aws.oidc_tags(arn).await,
        Object::Policy(arn) => aws.policy_tags(arn).await,
        Object::Role(name) => aws.role_tags(name).await,
        Object::Secret(name) => aws.secret_tags(name).await,
        Object::Kubernetes(_)
        | Object::Installed(_)
        | Object::Displaced { .. }
        | Object::Scratch(_)
        | Object::KindCluster(_)
        | Object::Container(_)
        | Object::EksCluster(_)
        | Object::Nodegroup { .. }
        | Object::Addon { .. }
        | Object::PodIdentityAssociation { .. } => Ok(Tags::new()),
    };
    match tags {
        Ok(tags) if tags.get(RUN_TAG).is_some_and(|run| run == marks.run()) => {}
        Ok(_) => return Ok(Removal::Foreign),
        Err(error) if error.is_not_found() => return Ok(Removal::Absent),
        Err(error) => return Err(error),
    }
    let until = Instant::now() + SETTLES;
    while let Err(error) = remove_of_run(aws, object).await {
        // What was detached or deleted just now may count still: IAM is eventually consistent.
        let may_settle = error.code() == Some("DeleteConflict") && aws.access().endpoint.is_none();
        if !may_settle || Instant::now() >= until {
            return Err(error);
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(Removal::Removed)
}

/// Removes what is known to be the run's.
async fn remove_of_run(aws: &Aws, object: &Object) -> Result<(), AwsError> {
    match object {
        Object::OidcProvider(arn) => aws.remove_oidc(arn).await?,
        Object::Policy(arn) => aws.remove_policy(arn).await?,
        Object::Role(name) => aws.remove_role(name).await?,
        Object::Secret(name) => aws.remove_secret(name).await?,
        Object::Kubernetes(_)
        | Object::Installed(_)
        | Object::Displaced { .. }
        | Object::Scratch(_)
        | Object::KindCluster(_)
        | Object::Container(_)
        | Object::EksCluster(_)
        | Object::Nodegroup { .. }
        | Object::Addon { .. }
        | Object::PodIdentityAssociation { .. } => {}
    }
    Ok(())
}
