//! What calls of EKS leave to be done: clusters, node groups and add-ons get what stands behind them, or are held up by a
//! fault.

use std::sync::{Arc, Weak};

use serde_json::Value;

use crate::{
    eks::{
        self, BackendTrouble, ClusterBackend, ClusterCallers, InstanceKeys, MemberKey, NodegroupWanted,
        Request,
        members::{self, Member},
    },
    eks_calls::authenticate,
    faults::{Fate, Made},
    standing::instance_credentials,
    state::State,
};

/// Sees to what an operation leaves to be done: keys to be known, API servers and nodes to be started and ended.
pub(crate) fn follow(state: &Arc<State>, region: &str, request: &Request, answer: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let operation = request.operation();
    if let Some(name) = text(&answer["cluster"]["name"]) {
        match operation {
            "CreateCluster" => start(state, region.to_owned(), name),
            "DeleteCluster" => end(state, region, name),
            _ => {}
        }
        return;
    }
    let (of, name) = match operation {
        "CreateNodegroup" | "DeleteNodegroup" => {
            (Member::Nodegroup, text(&answer["nodegroup"]["nodegroupName"]))
        }
        "CreateAddon" | "DeleteAddon" => (Member::Addon, text(&answer["addon"]["addonName"])),
        "UpdateNodegroupConfig" => (Member::Nodegroup, Some(request.member().to_owned())),
        "UpdateAddon" => (Member::Addon, Some(request.member().to_owned())),
        _ => return,
    };
    let Some(name) = name else { return };
    let key = MemberKey {
        region: region.to_owned(),
        cluster: request.cluster().to_owned(),
        name,
    };
    if operation.starts_with("Delete") {
        take_away(state, of, key);
    } else {
        provide(state, of, key, request.resolves_by("OVERWRITE"));
    }
}

/// Makes the issuer of a new cluster known, or has its API server started and then makes that one's known. What belongs to the
/// cluster and waits for it comes after that.
pub(crate) fn start(state: &Arc<State>, region: String, name: String) {
    let held =
        state.faults().fate(Made::Cluster).is_some() && eks::held(&mut state.world().eks, &region, &name);
    let wanted = eks::wanted(&state.world_as_is().eks, &region, &name);
    if !held && (wanted.is_none() || state.clusters.get().is_none()) {
        host_issuer(state, &region, &name);
        return;
    }
    let state = Arc::downgrade(state);
    tokio::spawn(async move {
        let Some((state, fate)) = fate(&state, Made::Cluster).await else {
            return;
        };
        if let Some(code) = fate {
            let issue = (code.as_str(), caused(&code));
            eks::failed_with(&mut state.world().eks, &region, &name, issue);
            return;
        }
        let wanted = eks::wanted(&state.world_as_is().eks, &region, &name);
        let (Some(wanted), Some(backend)) = (wanted, state.clusters.get()) else {
            let now = state.now();
            eks::released(&mut state.world().eks, &region, &name, now);
            host_issuer(&state, &region, &name);
            return;
        };
        match backend.create(wanted, callers(&state, &region, &name)).await {
            Ok(parts) => {
                let expected = eks::arrived(&mut state.world().eks, &region, &name, parts);
                if !expected {
                    backend.delete(&region, &name).await;
                    return;
                }
                host_issuer(&state, &region, &name);
                let waiting = members::waiting(&state.world_as_is().eks, &region, &name);
                for (of, key) in waiting {
                    provide(&state, of, key, true);
                }
            }
            Err(because) => {
                tracing::warn!(region, name, because, "the API server of a cluster");
                eks::failed(&mut state.world().eks, &region, &name, &because);
            }
        }
    });
}

fn end(state: &Arc<State>, region: &str, name: String) {
    if let Some(issuer) = eks::issuer_of(&state.world().eks, region, &name) {
        state.issuers.forget(issuer);
    }
    if state.clusters.get().is_some() {
        let (state, region) = (Arc::clone(state), region.to_owned());
        tokio::spawn(async move {
            if let Some(backend) = state.clusters.get() {
                backend.delete(&region, &name).await;
            }
        });
    }
}

/// Has a new or changed node group or add-on be as it is wanted.
fn provide(state: &Arc<State>, of: Member, key: MemberKey, overwrite: bool) {
    let made = match of {
        Member::Nodegroup => Made::Nodegroup,
        Member::Addon => Made::Addon,
    };
    let held = state.faults().fate(made).is_some() && members::held(&mut state.world().eks, of, &key);
    if !held && state.clusters.get().is_none() {
        return;
    }
    let state = Arc::downgrade(state);
    tokio::spawn(async move {
        let Some((state, fate)) = (if held {
            fate(&state, made).await
        } else {
            state.upgrade().map(|state| (state, None))
        }) else {
            return;
        };
        let outcome = match (fate, state.clusters.get()) {
            (Some(code), _) => Err(BackendTrouble {
                message: caused(&code),
                code,
            }),
            (None, Some(backend)) => {
                let Some(outcome) = provided(&state, backend, of, &key, overwrite).await else {
                    return;
                };
                outcome
            }
            (None, None) => {
                let now = state.now();
                members::released(&mut state.world().eks, of, &key, now);
                return;
            }
        };
        if let Err(trouble) = &outcome {
            tracing::warn!(cluster = key.cluster, name = key.name, %trouble, "not as it was wanted");
        }
        let now = state.now();
        let wanted = members::arrived(&mut state.world().eks, of, &key, outcome, now);
        if !wanted && let Some(backend) = state.clusters.get() {
            // It was deleted while it was made, perhaps before anything of it was there.
            taken_away(backend, of, key).await;
        }
    });
}

/// What the backend makes of it; `None` when it is not wanted any more.
async fn provided(
    state: &Arc<State>,
    backend: &Arc<dyn ClusterBackend>,
    of: Member,
    key: &MemberKey,
    overwrite: bool,
) -> Option<Result<(), BackendTrouble>> {
    match of {
        Member::Nodegroup => {
            let wanted = members::nodegroup(&state.world_as_is().eks, key)?;
            let keys = keys(state, &wanted);
            Some(backend.provide_nodes(wanted, keys).await)
        }
        Member::Addon => {
            let wanted = members::addon(&state.world_as_is().eks, key, overwrite)?;
            Some(backend.install(wanted).await)
        }
    }
}

/// What the instances of a node group have. They may outlive the endpoint, and do not keep it.
fn keys(state: &Arc<State>, group: &NodegroupWanted) -> InstanceKeys {
    let (state, region, role) = (
        Arc::downgrade(state),
        group.key.region.clone(),
        group.role.clone(),
    );
    Arc::new(move |instance| instance_credentials(&*state.upgrade()?, &region, &role, instance))
}

fn take_away(state: &Arc<State>, of: Member, key: MemberKey) {
    if !members::is_ending(&state.world_as_is().eks, of, &key) {
        return;
    }
    let state = Arc::clone(state);
    tokio::spawn(async move {
        if let Some(backend) = state.clusters.get() {
            taken_away(backend, of, key.clone()).await;
        }
        members::gone(&mut state.world().eks, of, &key);
    });
}

async fn taken_away(backend: &Arc<dyn ClusterBackend>, of: Member, key: MemberKey) {
    match of {
        Member::Nodegroup => backend.remove_nodes(key).await,
        Member::Addon => backend.uninstall(key).await,
    }
}

/// Waits for as long as a fault has something stuck; then the code that it fails with, if it does. `None` when the endpoint
/// has gone meanwhile.
async fn fate(state: &Weak<State>, made: Made) -> Option<(Arc<State>, Option<String>)> {
    let mut changes = state.upgrade()?.changes_of_faults();
    loop {
        let fate = changes.borrow_and_update().fate(made).cloned();
        match fate {
            None => return Some((state.upgrade()?, None)),
            Some(Fate::Fails(code)) => return Some((state.upgrade()?, Some(code))),
            Some(Fate::Stuck) => changes.changed().await.ok()?,
        }
    }
}

fn caused(code: &str) -> String {
    format!("A fault of the endpoint has it fail with {code}")
}

/// What the API server of a cluster asks about its callers. It may outlive the endpoint, and does not keep it.
fn callers(state: &Arc<State>, region: &str, cluster: &str) -> ClusterCallers {
    let (state, region, cluster) = (Arc::downgrade(state), region.to_owned(), cluster.to_owned());
    Arc::new(
        move |token| match authenticate(&*state.upgrade()?, &region, &cluster, token) {
            Ok(identity) => Some(identity),
            Err(error) => {
                tracing::info!(region, cluster, %error, "the bearer of a token is not let in");
                None
            }
        },
    )
}

fn host_issuer(state: &State, region: &str, name: &str) {
    let world = state.world();
    if let Some(issuer) = eks::issuer_of(&world.eks, region, name)
        && let Some(keys) = eks::issuer_keys(&world.eks, issuer)
    {
        state.issuers.host(issuer, &keys);
    }
}
