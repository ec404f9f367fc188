//! Add-ons: kept and described; what they put into a cluster is the backend's, where there is one. Of the many that AWS has,
//! those that a cluster for this project's purpose needs.

use serde_json::json;

use super::{
    Call, EksError, EksStore, Outcome,
    store::{Phase, Record, time},
};

/// Names, versions (the newest first), and the namespaces they live in.
const KNOWN: &[(&str, &[&str], &str)] = &[
    (
        "aws-ebs-csi-driver",
        &["v1.51.0-eksbuild.1", "v1.50.1-eksbuild.1"],
        "kube-system",
    ),
    (
        "aws-secrets-store-csi-driver-provider",
        &["v3.1.0-eksbuild.1", "v2.1.1-eksbuild.1"],
        "aws-secrets-manager",
    ),
    (
        "coredns",
        &["v1.12.4-eksbuild.1", "v1.11.4-eksbuild.24"],
        "kube-system",
    ),
    (
        "eks-pod-identity-agent",
        &["v1.3.10-eksbuild.2", "v1.3.9-eksbuild.3"],
        "kube-system",
    ),
    (
        "kube-proxy",
        &["v1.34.1-eksbuild.2", "v1.33.5-eksbuild.2"],
        "kube-system",
    ),
    (
        "vpc-cni",
        &["v1.20.4-eksbuild.2", "v1.20.3-eksbuild.1"],
        "kube-system",
    ),
];

pub(super) fn create(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now, region, cluster_name) = (call.body(), call.now(), call.region(), call.cluster());
    let name = body.required("addonName")?;
    let about = |error: EksError| error.with("clusterName", cluster_name).with("addonName", name);
    let phase = store.making(now);
    let arn = store.arn(
        region,
        &format!("addon/{cluster_name}/{name}/{}", uuid::Uuid::new_v4()),
    );
    let cluster = store.active_mut(region, cluster_name)?;
    if cluster.addons.contains_key(name) {
        return Err(about(EksError::in_use("Addon already exists.")));
    }
    let version = version(name, body.text("addonVersion")?).map_err(about)?;
    match body.text("resolveConflicts")? {
        None | Some("NONE" | "OVERWRITE" | "PRESERVE") => {}
        Some(other) => {
            let text = format!("{other} is no resolveConflicts: it is NONE, OVERWRITE or PRESERVE");
            return Err(about(EksError::parameter(text)));
        }
    }
    if body.value("podIdentityAssociations").is_some() {
        return Err(about(EksError::parameter(
            "podIdentityAssociations of add-ons are not served here",
        )));
    }
    let mut described = serde_json::Map::new();
    for (key, value) in [
        ("addonName", json!(name)),
        ("clusterName", json!(cluster_name)),
        ("addonVersion", json!(version)),
        ("health", json!({ "issues": [] })),
        ("createdAt", time(now)),
        ("modifiedAt", time(now)),
        ("publisher", json!("eks")),
        ("owner", json!("aws")),
    ] {
        described.insert(key.to_owned(), value);
    }
    for key in ["serviceAccountRoleArn", "configurationValues"] {
        if let Some(text) = body.text(key)? {
            described.insert(key.to_owned(), json!(text));
        }
    }
    let record = Record {
        arn,
        tags: body.tags()?,
        phase,
        body: described,
    };
    let answer = json!({ "addon": record.member_view("addonArn") });
    cluster.addons.insert(name.to_owned(), record);
    Ok(answer)
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = store.cluster(call.region(), call.cluster())?;
    call.request.page(
        "addons",
        cluster.addons.keys().map(|name| (name.as_str(), name.as_str())),
    )
}

pub(super) fn describe(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    Ok(json!({ "addon": record(store, call)?.member_view("addonArn") }))
}

pub(super) fn delete(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let phase = store.ending(call.now());
    let record = record(store, call)?;
    record.phase = phase;
    Ok(json!({ "addon": record.member_view("addonArn") }))
}

pub(super) fn update(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (now, body, name) = (call.now(), call.body(), call.item());
    let (phase, until) = store.changing(now);
    let record = record(store, call)?;
    let about = |error: EksError| error.with("clusterName", call.cluster()).with("addonName", name);
    if record.phase != Phase::Active {
        let text = format!(
            "Addon {name} cannot be updated as it is currently in {} state",
            record.phase.status()
        );
        return Err(about(EksError::in_use(text)));
    }
    let mut params = Vec::new();
    if let Some(wanted) = body.text("addonVersion")? {
        let version = version(name, Some(wanted)).map_err(about)?;
        record.body.insert("addonVersion".to_owned(), json!(version));
        params.push(("AddonVersion", json!(version)));
    }
    for (key, kind) in [
        ("serviceAccountRoleArn", "ServiceAccountRoleArn"),
        ("configurationValues", "ConfigurationValues"),
    ] {
        if let Some(text) = body.text(key)? {
            record.body.insert(key.to_owned(), json!(text));
            params.push((kind, json!(text)));
        }
    }
    if let Some(text) = body.text("resolveConflicts")? {
        params.push(("ResolveConflicts", json!(text)));
    }
    record.body.insert("modifiedAt".to_owned(), time(now));
    record.phase = phase;
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    Ok(cluster.begin("AddonUpdate", params, Some(name), now, until))
}

pub(super) fn versions(_: &mut EksStore, call: &Call<'_>) -> Outcome {
    let wanted = call.request.query("addonName");
    if let Some(name) = wanted
        && !KNOWN.iter().any(|(known, ..)| *known == name)
    {
        return Err(unknown(name));
    }
    let cluster_version = call.request.query("kubernetesVersion").unwrap_or("1.36");
    let described = KNOWN
        .iter()
        .filter(|(name, ..)| wanted.is_none_or(|wanted| wanted == *name));
    let described = described.map(|(name, versions, namespace)| {
        let versions = versions.iter().enumerate().map(|(at, version)| {
            json!({
                "addonVersion": version,
                "architecture": ["amd64", "arm64"],
                "computeTypes": ["ec2"],
                "compatibilities": [{
                    "clusterVersion": cluster_version, "platformVersions": ["*"], "defaultVersion": at == 0,
                }],
                "requiresConfiguration": false,
                "requiresIamPermissions": false,
            })
        });
        let described = json!({
            "addonName": name,
            "addonVersions": versions.collect::<Vec<_>>(),
            "publisher": "eks",
            "owner": "aws",
            "defaultNamespace": namespace,
        });
        (*name, described)
    });
    call.request.page("addons", described)
}

/// The version that is wanted, or else the newest.
fn version(addon: &str, wanted: Option<&str>) -> Result<String, EksError> {
    let known = KNOWN.iter().find(|(name, ..)| *name == addon);
    let (_, versions, _) = known.ok_or_else(|| unknown(addon))?;
    match wanted {
        None => Ok(versions[0].to_owned()),
        Some(wanted) if versions.contains(&wanted) => Ok(wanted.to_owned()),
        Some(_) => Err(EksError::parameter("Addon version specified is not supported")),
    }
}

fn unknown(addon: &str) -> EksError {
    EksError::parameter(format!("Addon {addon} specified is not supported"))
}

fn record<'s>(store: &'s mut EksStore, call: &Call<'_>) -> Result<&'s mut Record, EksError> {
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    let record = cluster.addons.get_mut(call.item());
    record.ok_or_else(|| EksError::no_addon(call.cluster(), call.item()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_ons_are_found_in_order_of_their_names() {
        // `page` goes by that order.
        let names: Vec<&str> = KNOWN.iter().map(|(name, ..)| *name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
