//! Node groups and add-ons on their way, as the backend sees them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    AddonWanted, BackendTrouble, EksStore, MemberKey, NodegroupWanted,
    store::{Cluster, Issue, Phase, Record},
};

/// What belongs to a cluster and has something behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Member {
    Nodegroup,
    Addon,
}

impl Member {
    fn of(self, cluster: &Cluster) -> &BTreeMap<String, Record> {
        match self {
            Self::Nodegroup => &cluster.nodegroups,
            Self::Addon => &cluster.addons,
        }
    }

    fn of_mut(self, cluster: &mut Cluster) -> &mut BTreeMap<String, Record> {
        match self {
            Self::Nodegroup => &mut cluster.nodegroups,
            Self::Addon => &mut cluster.addons,
        }
    }
}

/// What the backend is to make of a node group; `None` when it is not on its way there.
pub(crate) fn nodegroup(store: &EksStore, key: &MemberKey) -> Option<NodegroupWanted> {
    let (record, _) = on_its_way(store, Member::Nodegroup, key)?;
    let texts = |value: &Value| -> Vec<String> {
        let texts = value.as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let body = &record.body;
    let desired = body["scalingConfig"]["desiredSize"].as_u64().unwrap_or(0);
    Some(NodegroupWanted {
        key: key.clone(),
        desired: usize::try_from(desired).unwrap_or(usize::MAX),
        instance_type: texts(&body["instanceTypes"])
            .into_iter()
            .next()
            .unwrap_or_default(),
        capacity: record.text("capacityType").to_owned(),
        role: record.text("nodeRole").to_owned(),
        subnets: texts(&body["subnets"]),
        labels: serde_json::from_value(body["labels"].clone()).unwrap_or_default(),
        taints: body["taints"].as_array().cloned().unwrap_or_default(),
    })
}

/// What the backend is to make of an add-on, which may be told to take over what is there.
pub(crate) fn addon(store: &EksStore, key: &MemberKey, overwrite: bool) -> Option<AddonWanted> {
    let (record, update) = on_its_way(store, Member::Addon, key)?;
    let configuration = record.text("configurationValues");
    Some(AddonWanted {
        key: key.clone(),
        version: record.text("addonVersion").to_owned(),
        configuration: (!configuration.is_empty()).then(|| configuration.to_owned()),
        overwrite,
        update,
    })
}

/// Something that the backend has to make or to change, and whether it is to be changed.
fn on_its_way<'s>(store: &'s EksStore, member: Member, key: &MemberKey) -> Option<(&'s Record, bool)> {
    let cluster = store.find(&key.region, &key.cluster)?;
    let record = member.of(cluster).get(&key.name)?;
    match record.phase {
        Phase::Starting => Some((record, false)),
        Phase::Changing => Some((record, true)),
        _ => None,
    }
}

/// Whether the backend has to take this away.
pub(crate) fn is_ending(store: &EksStore, member: Member, key: &MemberKey) -> bool {
    let cluster = store.find(&key.region, &key.cluster);
    let record = cluster.and_then(|cluster| member.of(cluster).get(&key.name));
    record.is_some_and(|record| record.phase == Phase::Ending)
}

/// The members of a cluster that wait for the backend.
pub(crate) fn waiting(store: &EksStore, region: &str, cluster: &str) -> Vec<(Member, MemberKey)> {
    let Some(found) = store.find(region, cluster) else {
        return Vec::new();
    };
    let kinds = [Member::Nodegroup, Member::Addon].into_iter();
    kinds
        .flat_map(|member| {
            let waits = member
                .of(found)
                .iter()
                .filter(|(_, record)| matches!(record.phase, Phase::Starting | Phase::Changing));
            waits.map(move |(name, _)| {
                let key = MemberKey {
                    region: region.to_owned(),
                    cluster: cluster.to_owned(),
                    name: name.clone(),
                };
                (member, key)
            })
        })
        .collect()
}

/// Keeps a new one in `CREATING`; `false` when it is not being made.
pub(crate) fn held(store: &mut EksStore, member: Member, key: &MemberKey) -> bool {
    let Some(record) = record(store, member, key) else {
        return false;
    };
    if !matches!(record.phase, Phase::Starting | Phase::Creating(_)) {
        return false;
    }
    record.phase = Phase::Starting;
    true
}

/// Lets one without a backend that was held go on.
pub(crate) fn released(store: &mut EksStore, member: Member, key: &MemberKey, now: Timestamp) {
    let (backed, until) = (store.backed, store.settled(now));
    if !backed
        && let Some(record) = record(store, member, key)
        && record.phase == Phase::Starting
    {
        record.phase = Phase::Creating(until);
    }
}

/// The backend has made or changed one, or could not. `false` when that is not wanted any more: it is being deleted, or gone.
pub(crate) fn arrived(
    store: &mut EksStore,
    member: Member,
    key: &MemberKey,
    outcome: Result<(), BackendTrouble>,
    now: Timestamp,
) -> bool {
    let Ok(cluster) = store.cluster_mut(&key.region, &key.cluster) else {
        return false;
    };
    let Some(record) = member.of_mut(cluster).get_mut(&key.name) else {
        return false;
    };
    let was = record.phase;
    if !matches!(was, Phase::Starting | Phase::Changing) {
        // Whoever asked twice has an answer to the first.
        return !matches!(was, Phase::Ending | Phase::Deleting(_));
    }
    let trouble = outcome.err();
    record.phase = match (&trouble, was) {
        (Some(_), Phase::Starting) => Phase::Failed,
        _ => Phase::Active,
    };
    let issues: Vec<Value> = trouble
        .iter()
        .map(|trouble| json!({ "code": trouble.code, "message": trouble.message, "resourceIds": [key.name] }))
        .collect();
    record
        .body
        .insert("health".to_owned(), json!({ "issues": issues }));
    let open = cluster
        .updates
        .values_mut()
        .filter(|update| update.of.as_deref() == Some(&*key.name) && update.done == Timestamp::MAX);
    for update in open {
        update.done = now;
        update.failed = trouble.as_ref().map(|trouble| Issue {
            code: trouble.code.clone(),
            message: trouble.message.clone(),
        });
    }
    true
}

/// The backend has taken one away.
pub(crate) fn gone(store: &mut EksStore, member: Member, key: &MemberKey) {
    if let Ok(cluster) = store.cluster_mut(&key.region, &key.cluster) {
        let members = member.of_mut(cluster);
        if members
            .get(&key.name)
            .is_some_and(|record| record.phase == Phase::Ending)
        {
            members.remove(&key.name);
        }
    }
}

/// What ended with the endpoint that saved it waits for the backend again.
pub(super) fn bereaved(cluster: &mut Cluster) {
    for member in [Member::Nodegroup, Member::Addon] {
        let members = member.of_mut(cluster);
        members.retain(|_, record| !matches!(record.phase, Phase::Ending | Phase::Deleting(_)));
        for record in members.values_mut() {
            if record.phase != Phase::Failed {
                record.phase = Phase::Starting;
            }
        }
    }
    for update in cluster.updates.values_mut() {
        // Nobody is at work on it any more.
        if update.done == Timestamp::MAX {
            update.done = update.created;
        }
    }
}

fn record<'s>(store: &'s mut EksStore, member: Member, key: &MemberKey) -> Option<&'s mut Record> {
    let cluster = store.cluster_mut(&key.region, &key.cluster).ok()?;
    member.of_mut(cluster).get_mut(&key.name)
}
