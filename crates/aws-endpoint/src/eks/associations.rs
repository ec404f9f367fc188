//! Pod identity associations: which role the pods of a `ServiceAccount` get.

use serde_json::{Value, json};

use super::{
    Call, EksError, EksStore, Outcome, Trust,
    store::{Association, random, time},
};

const PODS: &str = "pods.eks.amazonaws.com";
/// AWS's quota of associations in a cluster.
const LIMIT: usize = 5000;

pub(super) fn create(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now, region) = (call.body(), call.now(), call.region());
    let namespace = body.required("namespace")?;
    let service_account = body.required("serviceAccount")?;
    let role = body.required("roleArn")?;
    not_served(call)?;
    let id = format!("a-{}", random(b"abcdefghijklmnopqrstuvwxyz0123456789", 17));
    let association = Association {
        arn: store.arn(region, &format!("podidentityassociation/{}/{id}", call.cluster())),
        id: id.clone(),
        namespace: namespace.to_owned(),
        service_account: service_account.to_owned(),
        role: role.to_owned(),
        session_tags: !body.flag("disableSessionTags")?.unwrap_or(false),
        tags: body.tags()?,
        created: now,
        modified: now,
    };
    let cluster = store.cluster_mut(region, call.cluster())?;
    if let Some(there) = cluster.association(namespace, service_account) {
        return Err(EksError::in_use(format!(
            "Association already exists: {}",
            there.id
        )));
    }
    if cluster.associations.len() >= LIMIT {
        return Err(EksError::limit(
            "Pod identity association limit exceeded for cluster.",
        ));
    }
    trusted(call, role)?;
    let answer = json!({ "association": view(call.cluster(), &association) });
    cluster.associations.insert(id, association);
    Ok(answer)
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    let (namespace, account) = (
        call.request.query("namespace"),
        call.request.query("serviceAccount"),
    );
    let all = cluster.associations.values().filter(|one| {
        namespace.is_none_or(|wanted| wanted == one.namespace)
            && account.is_none_or(|wanted| wanted == one.service_account)
    });
    let all = all.map(|one| {
        let summary = json!({
            "clusterName": call.cluster(),
            "namespace": one.namespace,
            "serviceAccount": one.service_account,
            "associationArn": one.arn,
            "associationId": one.id,
        });
        (one.id.as_str(), summary)
    });
    call.request.page("associations", all)
}

pub(super) fn describe(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    Ok(json!({ "association": view(call.cluster(), association(store, call)?) }))
}

pub(super) fn update(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now) = (call.body(), call.now());
    let association = association(store, call)?;
    not_served(call)?;
    if let Some(role) = body.text("roleArn")? {
        trusted(call, role)?;
        role.clone_into(&mut association.role);
    }
    if let Some(disabled) = body.flag("disableSessionTags")? {
        association.session_tags = !disabled;
    }
    association.modified = now;
    Ok(json!({ "association": view(call.cluster(), association) }))
}

pub(super) fn delete(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    let gone = cluster.associations.remove(call.item());
    let gone = gone.ok_or_else(|| EksError::no_association(call.item()))?;
    Ok(json!({ "association": view(call.cluster(), &gone) }))
}

/// What would widen or narrow what pods get, and is not done here, is refused rather than ignored.
fn not_served(call: &Call<'_>) -> Result<(), EksError> {
    for name in ["policy", "targetRoleArn"] {
        if call.body().value(name).is_some() {
            return Err(EksError::parameter(format!("{name} is not served here")));
        }
    }
    Ok(())
}

fn trusted(call: &Call<'_>, role: &str) -> Result<(), EksError> {
    match (call.setting.trust)(role, PODS) {
        Trust::NoRole => Err(EksError::parameter(
            "Role provided in the request does not exist.",
        )),
        Trust::Refused => Err(EksError::parameter(
            "Trust policy of the role provided is invalid",
        )),
        Trust::Given => Ok(()),
    }
}

fn association<'s>(store: &'s mut EksStore, call: &Call<'_>) -> Result<&'s mut Association, EksError> {
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    let association = cluster.associations.get_mut(call.item());
    association.ok_or_else(|| EksError::no_association(call.item()))
}

fn view(cluster: &str, one: &Association) -> Value {
    json!({
        "clusterName": cluster,
        "namespace": one.namespace,
        "serviceAccount": one.service_account,
        "roleArn": one.role,
        "associationArn": one.arn,
        "associationId": one.id,
        "tags": one.tags,
        "createdAt": time(one.created),
        "modifiedAt": time(one.modified),
        "disableSessionTags": !one.session_tags,
    })
}
