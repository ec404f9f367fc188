//! The removal of what a run has in EKS.

use std::time::{Duration, Instant};

use super::{ledger::Object, removal::Removal};
use crate::{
    aws::{Aws, AwsError, Hears, Tags},
    tenant::{Marks, RUN_TAG},
};

/// Longest time for a cluster to go: it may have to come up first, which takes about ten minutes, and goes as slowly.
const CLUSTER: Duration = Duration::from_mins(45);
/// Likewise, a node group: each node is drained, and its pods may take their time.
const NODEGROUP: Duration = Duration::from_mins(40);
/// Likewise, an add-on.
const ADDON: Duration = Duration::from_mins(20);

/// Whether it is EKS's.
pub(super) fn holds(object: &Object) -> bool {
    matches!(
        object,
        Object::EksCluster(_)
            | Object::Nodegroup { .. }
            | Object::Addon { .. }
            | Object::PodIdentityAssociation { .. }
    )
}

/// Removes something of the run's that EKS has and waits until it is gone.
pub(super) async fn remove(
    aws: &Aws,
    marks: &Marks,
    object: &Object,
    hears: &Hears<'_>,
) -> Result<Removal, AwsError> {
    let found = match there(aws, object).await {
        // What is in a cluster of the run's own is the run's.
        Err(error) if error.is_denied() && is_in_own_cluster(aws, marks, object).await? => Some(There {
            tags: marks.tags(),
            id: String::new(),
        }),
        found => found?,
    };
    let Some(found) = found else {
        return Ok(Removal::Absent);
    };
    if found.tags.get(RUN_TAG).map(String::as_str) != Some(marks.run()) {
        return Ok(Removal::Foreign);
    }
    let now = Instant::now();
    match object {
        Object::EksCluster(name) => aws.remove_cluster(name, now + CLUSTER, hears).await?,
        Object::Nodegroup { cluster, name } => {
            aws.remove_nodegroup(cluster, name, now + NODEGROUP, hears)
                .await?;
        }
        Object::Addon { cluster, name } => aws.remove_addon(cluster, name, now + ADDON, hears).await?,
        Object::PodIdentityAssociation { cluster, .. } => {
            aws.delete_association(cluster, &found.id).await?;
        }
        _ => {}
    }
    Ok(Removal::Removed)
}

/// Whether it is a node group or an add-on of a cluster that carries the run's tag.
async fn is_in_own_cluster(aws: &Aws, marks: &Marks, object: &Object) -> Result<bool, AwsError> {
    let (Object::Nodegroup { cluster, .. } | Object::Addon { cluster, .. }) = object else {
        return Ok(false);
    };
    let tags = aws.cluster(cluster).await?.tags;
    Ok(tags.get(RUN_TAG).map(String::as_str) == Some(marks.run()))
}

/// Something that is there.
struct There {
    tags: Tags,
    /// Of an association.
    id: String,
}

async fn there(aws: &Aws, object: &Object) -> Result<Option<There>, AwsError> {
    let tags = match object {
        Object::EksCluster(name) => aws.cluster(name).await.map(|found| found.tags),
        Object::Nodegroup { cluster, name } => aws.nodegroup(cluster, name).await.map(|found| found.tags),
        Object::Addon { cluster, name } => aws.addon(cluster, name).await.map(|found| found.tags),
        Object::PodIdentityAssociation {
            cluster,
            namespace,
            service_account,
        } => return association(aws, cluster, namespace, service_account).await,
        _ => return Ok(None),
    };
    match tags {
        Ok(tags) => Ok(Some(There {
            tags,
            id: String::new(),
        })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

async fn association(
    aws: &Aws,
    cluster: &str,
    namespace: &str,
    service_account: &str,
) -> Result<Option<There>, AwsError> {
    let found = async {
        let all = aws.associations(cluster, Some(namespace)).await?;
        match all.iter().find(|one| one.service_account == service_account) {
            Some(one) => aws.association(cluster, &one.id).await.map(Some),
            None => Ok(None),
        }
    };
    match found.await {
        Ok(found) => Ok(found.map(|found| There {
            tags: found.tags,
            id: found.id,
        })),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
