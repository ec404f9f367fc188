//! Managed node groups: kept and described; their nodes are the backend's, where there is one.

use serde_json::{Map, Value, json};

use super::{
    Call, EksError, EksStore, Outcome, Trust,
    request::missing,
    store::{Phase, Record, time},
};

/// AWS's quota of managed node groups in a cluster.
const LIMIT: usize = 30;

pub(super) fn create(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now, region, cluster_name) = (call.body(), call.now(), call.region(), call.cluster());
    let name = body.required("nodegroupName")?;
    if name.len() > 63 {
        return Err(EksError::parameter(
            "The node group name can't be longer than 63 characters",
        ));
    }
    let role = body.required("nodeRole")?;
    let Some(subnets) = body.texts("subnets")?.filter(|subnets| !subnets.is_empty()) else {
        return Err(missing("subnets"));
    };
    let scaling = body.part("scalingConfig")?;
    let size = |key: &str, otherwise: i64| match scaling.value(key) {
        None => Ok(otherwise),
        Some(value) => value
            .as_i64()
            .ok_or_else(|| EksError::serialization(format!("{key} is not a number"))),
    };
    let desired = size("desiredSize", 2)?;
    let (least, most) = (size("minSize", 1.min(desired))?, size("maxSize", desired.max(1))?);
    let about = |error: EksError| {
        error
            .with("clusterName", cluster_name)
            .with("nodegroupName", name)
    };
    if !(least <= desired && desired <= most) {
        let text = format!(
            "Minimum capacity {least}, desired capacity {desired} and maximum capacity {most} do not fit"
        );
        return Err(about(EksError::parameter(text)));
    }
    let phase = store.making(now);
    let suffix = uuid::Uuid::new_v4();
    let arn = store.arn(region, &format!("nodegroup/{cluster_name}/{name}/{suffix}"));
    let cluster = store.active_mut(region, cluster_name)?;
    if cluster.nodegroups.contains_key(name) {
        return Err(about(EksError::in_use(format!(
            "NodeGroup already exists with name {name} and cluster name {cluster_name}"
        ))));
    }
    if cluster.nodegroups.len() >= LIMIT {
        return Err(about(EksError::limit("Nodegroup limit exceeded for cluster.")));
    }
    if (call.setting.trust)(role, "ec2.amazonaws.com") != Trust::Given {
        return Err(about(EksError::parameter(format!(
            "Following required service principals [ec2.amazonaws.com] were not found in the trust relationships of \
             nodeRole {role}"
        ))));
    }
    let version = body
        .text("version")?
        .unwrap_or_else(|| cluster.record.text("version"))
        .to_owned();
    let described = json!({
        "nodegroupName": name,
        "clusterName": cluster_name,
        "version": version,
        "releaseVersion": body.text("releaseVersion")?.map_or_else(|| format!("{version}.0-20260101"), str::to_owned),
        "createdAt": time(now),
        "modifiedAt": time(now),
        "capacityType": body.text("capacityType")?.unwrap_or("ON_DEMAND"),
        "scalingConfig": { "minSize": least, "maxSize": most, "desiredSize": desired },
        "instanceTypes": body.texts("instanceTypes")?.unwrap_or_else(|| vec!["t3.medium"]),
        "subnets": subnets,
        "amiType": body.text("amiType")?.unwrap_or("AL2023_x86_64_STANDARD"),
        "nodeRole": role,
        "labels": body.value("labels").cloned().unwrap_or_else(|| json!({})),
        "taints": body.value("taints").cloned().unwrap_or_else(|| json!([])),
        "diskSize": body.value("diskSize").cloned().unwrap_or_else(|| json!(20)),
        "health": { "issues": [] },
        "resources": { "autoScalingGroups": [{ "name": format!("eks-{name}-{suffix}") }] },
        "updateConfig": body.value("updateConfig").cloned().unwrap_or_else(|| json!({ "maxUnavailable": 1 })),
    });
    let Value::Object(described) = described else {
        return Err(missing("nodegroupName"));
    };
    let record = Record {
        arn,
        tags: body.tags()?,
        phase,
        body: described,
    };
    let answer = json!({ "nodegroup": record.member_view("nodegroupArn") });
    cluster.nodegroups.insert(name.to_owned(), record);
    Ok(answer)
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    call.request.page(
        "nodegroups",
        cluster
            .nodegroups
            .keys()
            .map(|name| (name.as_str(), name.as_str())),
    )
}

pub(super) fn describe(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    let record = cluster.nodegroups.get(call.item());
    let record = record.ok_or_else(|| EksError::no_nodegroup(call.cluster(), call.item()))?;
    Ok(json!({ "nodegroup": record.member_view("nodegroupArn") }))
}

pub(super) fn delete(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let phase = store.ending(call.now());
    let record = record(store, call)?;
    record.phase = phase;
    Ok(json!({ "nodegroup": record.member_view("nodegroupArn") }))
}

pub(super) fn update_config(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (now, body) = (call.now(), call.body());
    let (phase, until) = store.changing(now);
    let record = record(store, call)?;
    if record.phase != Phase::Active {
        let text = "Nodegroup cannot be updated as it is currently not in Active State";
        return Err(EksError::in_use(text)
            .with("clusterName", call.cluster())
            .with("nodegroupName", call.item()));
    }
    let mut params = Vec::new();
    for (key, kind) in [
        ("minSize", "MinSize"),
        ("maxSize", "MaxSize"),
        ("desiredSize", "DesiredSize"),
    ] {
        if let Some(value) = body.part("scalingConfig")?.value(key) {
            record.body["scalingConfig"][key] = value.clone();
            params.push((kind, value.clone()));
        }
    }
    let labels = body.part("labels")?;
    if let Some(Value::Object(added)) = labels.value("addOrUpdateLabels") {
        let mut kept: Map<String, Value> = record.body["labels"].as_object().cloned().unwrap_or_default();
        kept.extend(added.clone());
        record.body.insert("labels".to_owned(), Value::Object(kept));
        params.push(("LabelsToAdd", json!(added)));
    }
    for removed in labels.texts("removeLabels")?.unwrap_or_default() {
        if let Some(kept) = record.body.get_mut("labels").and_then(Value::as_object_mut) {
            kept.remove(removed);
        }
        params.push(("LabelsToRemove", json!(removed)));
    }
    record.body.insert("modifiedAt".to_owned(), time(now));
    record.phase = phase;
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    Ok(cluster.begin("ConfigUpdate", params, Some(call.item()), now, until))
}

fn record<'s>(store: &'s mut EksStore, call: &Call<'_>) -> Result<&'s mut Record, EksError> {
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    let record = cluster.nodegroups.get_mut(call.item());
    record.ok_or_else(|| EksError::no_nodegroup(call.cluster(), call.item()))
}
