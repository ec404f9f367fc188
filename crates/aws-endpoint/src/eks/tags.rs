//! Tags of everything that has an ARN.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Call, EksError, EksStore, Outcome};

pub(super) fn tag(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let tags = call
        .body()
        .tags()
        .map_err(|error| EksError::bad_request(error.message))?;
    if tags.is_empty() {
        return Err(EksError::bad_request("tags must not be empty"));
    }
    tags_of(store, call)?.extend(tags);
    Ok(json!({}))
}

pub(super) fn untag(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let tags = tags_of(store, call)?;
    for key in call.request.query_all("tagKeys") {
        tags.remove(key);
    }
    Ok(json!({}))
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    Ok(json!({ "tags": tags_of(store, call)? }))
}

/// The name of the cluster that something belongs to, by the thing's ARN.
pub(super) fn cluster_of(arn: &str) -> Option<&str> {
    arn.splitn(6, ':').nth(5)?.split('/').nth(1)
}

fn tags_of<'s>(
    store: &'s mut EksStore,
    call: &Call<'_>,
) -> Result<&'s mut BTreeMap<String, String>, EksError> {
    let arn = call.request.param(0);
    let missing = || EksError::no_resource(arn);
    let cluster = cluster_of(arn).ok_or_else(missing)?;
    let cluster = store.cluster_mut(call.region(), cluster).map_err(|_| missing())?;
    cluster.tags_of(arn).ok_or_else(missing)
}
