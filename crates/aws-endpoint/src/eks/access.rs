//! Access entries: which IAM principals come into a cluster, and as whom.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Call, EksError, EksStore, Outcome,
    request::missing,
    store::{AccessEntry, AssociatedPolicy, AuthenticationMode, Cluster, time},
};

const POLICY: &str = "arn:aws:eks::aws:cluster-access-policy/";
pub(super) const ADMINISTRATOR: &str = "AmazonEKSClusterAdminPolicy";
/// The access policies that there are, in order.
const POLICIES: &[&str] = &[
    "AmazonEKSAdminPolicy",
    "AmazonEKSAdminViewPolicy",
    ADMINISTRATOR,
    "AmazonEKSEditPolicy",
    "AmazonEKSViewPolicy",
];
const KINDS: &[&str] = &[
    "STANDARD",
    "EC2_LINUX",
    "EC2_WINDOWS",
    "FARGATE_LINUX",
    "EC2",
    "HYBRID_LINUX",
];
/// Beginnings of user names that are EKS's.
const RESERVED: [&str; 5] = ["system:", "eks:", "aws:", "amazon:", "iam:"];

pub(super) fn create(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now, region) = (call.body(), call.now(), call.region());
    let principal = body.required("principalArn")?;
    if !is_principal(principal) {
        return Err(EksError::parameter(
            "The specified principalArn is invalid: invalid principal.",
        ));
    }
    let kind = body.text("type")?.unwrap_or("STANDARD");
    if !KINDS.contains(&kind) {
        return Err(EksError::parameter(format!(
            "The specified type is invalid: {kind}"
        )));
    }
    let groups = body.texts("kubernetesGroups")?.unwrap_or_default();
    let username = body.text("username")?;
    check(kind, &groups, username)?;
    let entry = AccessEntry {
        arn: arn(
            store,
            region,
            call.cluster(),
            principal,
            &uuid::Uuid::new_v4().to_string(),
        ),
        principal: principal.to_owned(),
        kind: kind.to_owned(),
        username: username.map_or_else(|| default_username(principal, kind), str::to_owned),
        groups: if kind == "STANDARD" {
            groups.iter().map(|group| (*group).to_owned()).collect()
        } else {
            vec!["system:nodes".to_owned()]
        },
        tags: body.tags()?,
        created: now,
        modified: now,
        policies: BTreeMap::new(),
    };
    let cluster = cluster(store, call)?;
    if cluster.access.contains_key(principal) {
        return Err(EksError::in_use(
            "The specified access entry resource is already in use on this cluster.",
        ));
    }
    let answer = json!({ "accessEntry": view(call.cluster(), &entry) });
    cluster.access.insert(principal.to_owned(), entry);
    Ok(answer)
}

pub(super) fn list(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = cluster(store, call)?;
    let policy = call.request.query("associatedPolicyArn");
    let entries = cluster.access.iter();
    let entries =
        entries.filter(|(_, entry)| policy.is_none_or(|policy| entry.policies.contains_key(policy)));
    call.request.page(
        "accessEntries",
        entries.map(|(principal, _)| (principal.as_str(), principal.as_str())),
    )
}

pub(super) fn describe(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    Ok(json!({ "accessEntry": view(call.cluster(), entry(store, call)?) }))
}

pub(super) fn update(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now) = (call.body(), call.now());
    let groups = body.texts("kubernetesGroups")?;
    let username = body.text("username")?;
    let entry = entry(store, call)?;
    standard(entry)?;
    check(&entry.kind, groups.as_deref().unwrap_or_default(), username)?;
    if let Some(groups) = groups {
        entry.groups = groups.into_iter().map(str::to_owned).collect();
    }
    if let Some(username) = username {
        username.clone_into(&mut entry.username);
    }
    entry.modified = now;
    Ok(json!({ "accessEntry": view(call.cluster(), entry) }))
}

pub(super) fn delete(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let cluster = cluster(store, call)?;
    cluster
        .access
        .remove(call.item())
        .ok_or_else(EksError::no_access_entry)?;
    Ok(json!({}))
}

pub(super) fn associate(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let (body, now) = (call.body(), call.now());
    let policy = body.required("policyArn")?;
    let known = policy
        .strip_prefix(POLICY)
        .is_some_and(|name| POLICIES.contains(&name));
    if !known {
        return Err(EksError::parameter("The policyArn parameter format is not valid"));
    }
    let scope = body.part("accessScope")?;
    let namespaces = scope.texts("namespaces")?.unwrap_or_default();
    let namespaces: Vec<String> = match (scope.text("type")?, namespaces.is_empty()) {
        (Some("cluster"), true) => Vec::new(),
        (Some("namespace"), false) => namespaces.into_iter().map(str::to_owned).collect(),
        (None, _) => return Err(missing("accessScope")),
        _ => {
            return Err(EksError::parameter(
                "The accessScope type must be cluster, or namespace with a list of namespaces",
            ));
        }
    };
    let entry = entry(store, call)?;
    standard(entry)?;
    let associated = entry.policies.get(policy).map_or(now, |before| before.associated);
    let new = AssociatedPolicy {
        namespaces,
        associated,
        modified: now,
    };
    let answer = json!({
        "clusterName": call.cluster(),
        "principalArn": entry.principal,
        "associatedAccessPolicy": policy_view(policy, &new),
    });
    entry.policies.insert(policy.to_owned(), new);
    entry.modified = now;
    Ok(answer)
}

pub(super) fn associated(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let entry = entry(store, call)?;
    let policies = entry
        .policies
        .iter()
        .map(|(arn, policy)| (arn.as_str(), policy_view(arn, policy)));
    let mut answer = call.request.page("associatedAccessPolicies", policies)?;
    answer["clusterName"] = json!(call.cluster());
    answer["principalArn"] = json!(call.item());
    Ok(answer)
}

pub(super) fn disassociate(store: &mut EksStore, call: &Call<'_>) -> Outcome {
    let policy = call.request.param(2);
    let entry = entry(store, call)?;
    let missing = || EksError::missing("The specified policyArn is not associated with the access entry.");
    entry.policies.remove(policy).ok_or_else(missing)?;
    Ok(json!({}))
}

pub(super) fn policies(_: &mut EksStore, call: &Call<'_>) -> Outcome {
    let policies = POLICIES.iter();
    let policies = policies.map(|name| (*name, json!({ "name": name, "arn": format!("{POLICY}{name}") })));
    call.request.page("accessPolicies", policies)
}

/// The entry of who made a cluster.
pub(super) fn administrator(
    store: &EksStore,
    region: &str,
    cluster: &str,
    principal: &str,
    now: Timestamp,
) -> AccessEntry {
    let policy = AssociatedPolicy {
        namespaces: Vec::new(),
        associated: now,
        modified: now,
    };
    AccessEntry {
        arn: arn(
            store,
            region,
            cluster,
            principal,
            &uuid::Uuid::new_v4().to_string(),
        ),
        principal: principal.to_owned(),
        kind: "STANDARD".to_owned(),
        username: default_username(principal, "STANDARD"),
        groups: Vec::new(),
        tags: BTreeMap::new(),
        created: now,
        modified: now,
        policies: BTreeMap::from([(format!("{POLICY}{ADMINISTRATOR}"), policy)]),
    }
}

/// `arn:aws:eks:<region>:<account>:access-entry/<cluster>/<kind>/<account>/<name>/<suffix>`.
pub(super) fn arn(store: &EksStore, region: &str, cluster: &str, principal: &str, suffix: &str) -> String {
    let mut parts = principal.splitn(6, ':').skip(4);
    let (account, rest) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let kind = rest.split('/').next().unwrap_or_default();
    // Without the path, as EKS has it.
    let name = rest.rsplit('/').next().unwrap_or_default();
    store.arn(
        region,
        &format!("access-entry/{cluster}/{kind}/{account}/{name}/{suffix}"),
    )
}

/// As the EKS user guide says of user names that are left out.
fn default_username(principal: &str, kind: &str) -> String {
    match kind {
        "STANDARD" => {}
        "FARGATE_LINUX" | "HYBRID_LINUX" => return "system:node:{{SessionName}}".to_owned(),
        _ => return "system:node:{{EC2PrivateDNSName}}".to_owned(),
    }
    let parts: Vec<&str> = principal.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "iam", _, account, rest] if rest.starts_with("role/") => {
            let role = rest.rsplit('/').next().unwrap_or_default();
            format!("arn:{partition}:sts::{account}:assumed-role/{role}/{{{{SessionName}}}}")
        }
        _ => principal.to_owned(),
    }
}

fn is_principal(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", "aws", "iam", "", account, rest] = parts[..] else {
        return false;
    };
    account.len() == 12 && (rest.starts_with("role/") || rest.starts_with("user/") || rest == "root")
}

fn check(kind: &str, groups: &[&str], username: Option<&str>) -> Result<(), EksError> {
    if kind != "STANDARD" && (!groups.is_empty() || username.is_some()) {
        return Err(EksError::parameter(
            "The username and kubernetesGroups can only be given for Access Entries with a type of \"STANDARD\".",
        ));
    }
    if let Some(group) = groups.iter().find(|group| group.starts_with("system:")) {
        return Err(EksError::parameter(format!(
            "The kubernetes group name {group} is invalid, it cannot start with system:"
        )));
    }
    if let Some(name) = username
        && RESERVED.iter().any(|reserved| name.starts_with(reserved))
    {
        return Err(EksError::parameter(format!(
            "The username {name} is invalid, it cannot start with system:, eks:, aws:, amazon: or iam:"
        )));
    }
    Ok(())
}

fn standard(entry: &AccessEntry) -> Result<(), EksError> {
    if entry.kind == "STANDARD" {
        return Ok(());
    }
    Err(EksError::parameter(
        "This operation can only be performed on Access Entries with a type of \"STANDARD\".",
    ))
}

fn cluster<'s>(store: &'s mut EksStore, call: &Call<'_>) -> Result<&'s mut Cluster, EksError> {
    let cluster = store.cluster_mut(call.region(), call.cluster())?;
    if cluster.mode == AuthenticationMode::ConfigMap {
        return Err(EksError::request(
            "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP] to perform this \
             operation.",
        ));
    }
    Ok(cluster)
}

fn entry<'s>(store: &'s mut EksStore, call: &Call<'_>) -> Result<&'s mut AccessEntry, EksError> {
    let entry = cluster(store, call)?.access.get_mut(call.item());
    entry.ok_or_else(EksError::no_access_entry)
}

fn view(cluster: &str, entry: &AccessEntry) -> Value {
    json!({
        "clusterName": cluster,
        "principalArn": entry.principal,
        "kubernetesGroups": entry.groups,
        "accessEntryArn": entry.arn,
        "createdAt": time(entry.created),
        "modifiedAt": time(entry.modified),
        "tags": entry.tags,
        "username": entry.username,
        "type": entry.kind,
    })
}

fn policy_view(arn: &str, policy: &AssociatedPolicy) -> Value {
    let kind = if policy.namespaces.is_empty() {
        "cluster"
    } else {
        "namespace"
    };
    json!({
        "policyArn": arn,
        "accessScope": { "type": kind, "namespaces": policy.namespaces },
        "associatedAt": time(policy.associated),
        "modifiedAt": time(policy.modified),
    })
}
