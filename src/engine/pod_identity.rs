//! What Pod Identity asks of the engine: whether it can be had, and tokens as a pod has them.

use serde_json::Value;

use super::{calls::NOWHERE, step::StepError, world::World};
use crate::{
    environment::{Environment, version_of},
    generation::{POD_IDENTITY, Version},
    journal::{Capability, Component},
    kubernetes::{Kubernetes, ObjectRef},
    provision::Tenant,
    scenario::capability,
    secret::Credential,
    tenant::{CSI_DRIVER, Identity, POD_AUDIENCE, WorkloadManifest},
};

/// The `DaemonSet` of the add-on.
const ADDON: &str = "eks-pod-identity-agent";
/// The first provider that asks for no tokens itself: kubelet has to bring them.
const TOKENS_BROUGHT: Version = Version::new(3, 0, 0);
/// A pod whose tokens the harness hands to the driver in kubelet's place: EKS takes none that is no pod's.
const HOLDER: &str = "token-holder";

/// Whether pods get roles by Pod Identity.
pub(super) async fn probed(environment: &Environment, components: &[Component]) -> Capability {
    let (present, evidence) = match possible(environment, components).await {
        Ok(evidence) => (true, evidence),
        Err(because) => (false, because),
    };
    Capability {
        name: capability::POD_IDENTITY.to_owned(),
        present,
        evidence,
    }
}

/// The ways in that a run's tenants can have, of those that it is to have.
pub(super) fn usable(wanted: &[Identity], capabilities: &[Capability]) -> Vec<Identity> {
    let has = capabilities
        .iter()
        .any(|known| known.name == capability::POD_IDENTITY && known.present);
    let wanted = wanted.iter().copied();
    wanted
        .filter(|identity| *identity != Identity::PodIdentity || has)
        .collect()
}

async fn possible(environment: &Environment, components: &[Component]) -> Result<String, String> {
    let cluster = environment.eks_cluster.as_deref();
    let cluster = cluster.ok_or("associations are made in EKS, and this is no cluster of its")?;
    let agent = match &environment.pod_identity_agent {
        Some(own) => own.clone(),
        None => addon(&environment.kubernetes).await?,
    };
    let said = version_of(components, "provider");
    let (knows, provider) = POD_IDENTITY.judge(said);
    if !knows {
        return Err(provider);
    }
    if Version::read(said).is_none_or(|version| version >= TOKENS_BROUGHT) {
        tokens_are_asked_for(&environment.kubernetes).await?;
    }
    Ok(format!("associations in {cluster}, {agent}"))
}

/// The agent on a cluster's nodes.
async fn addon(kubernetes: &Kubernetes) -> Result<String, String> {
    let reference = ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), ADDON);
    let found = kubernetes
        .read(&reference)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.ok_or_else(|| {
        format!(
            "there is no {reference}: have it installed for the run with --addon {ADDON}, or for good (`aws eks create-addon \
             --addon-name {ADDON} ..`)"
        )
    })?;
    let count = |name: &str| found["status"][name].as_u64().unwrap_or_default();
    let (ready, wanted) = (count("numberReady"), count("desiredNumberScheduled"));
    if ready == 0 || ready < wanted {
        return Err(format!("{reference} is ready on {ready} of {wanted} nodes"));
    }
    Ok(format!("{ADDON} on {ready} of {wanted} nodes"))
}

async fn tokens_are_asked_for(kubernetes: &Kubernetes) -> Result<(), String> {
    let reference = ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, CSI_DRIVER);
    let found = kubernetes
        .read(&reference)
        .await
        .map_err(|error| error.to_string())?;
    let found = found.unwrap_or_default();
    let asked = found["spec"]["tokenRequests"].as_array().into_iter().flatten();
    let mut audiences = asked.map(|request| &request["audience"]);
    if audiences.any(|audience| *audience == POD_AUDIENCE) {
        return Ok(());
    }
    Err(format!(
        "the tokenRequests of {reference} have no {POD_AUDIENCE}, and the provider mints none itself"
    ))
}

/// A token of a tenant's `ServiceAccount` as one of its pods would have it.
pub(super) async fn token(world: &World, tenant: &Tenant, audience: &str) -> Result<Credential, StepError> {
    if tenant.identity == Identity::Irsa {
        return world.token(&tenant.name, audience).await;
    }
    let kubernetes = &world.environment.kubernetes;
    let holder = ObjectRef::new("v1", "Pod", Some(&tenant.name), HOLDER);
    let there = if let Some(there) = kubernetes.read(&holder).await? {
        there
    } else {
        world.create(&holder_of(world, tenant)).await?;
        kubernetes.read(&holder).await?.unwrap_or_default()
    };
    let uid = there["metadata"]["uid"].as_str();
    let uid = uid.ok_or_else(|| StepError::trouble(format!("{holder} is gone though nobody removed it")))?;
    let bound = Some((HOLDER, uid));
    Ok(kubernetes
        .token_of(&tenant.name, "default", audience, bound)
        .await?)
}

/// A pod that no kubelet runs.
fn holder_of(world: &World, tenant: &Tenant) -> Value {
    let marks = world.marks.of_tenant(&tenant.name);
    let manifest = WorkloadManifest {
        namespace: &tenant.name,
        name: HOLDER,
        class: &tenant.class,
        image: world.image(),
        command: &[],
        marks: &marks,
    };
    let mut pod = manifest.pod();
    pod["spec"]["nodeName"] = NOWHERE.into();
    // No kubelet would say that it has ended.
    pod["spec"]["terminationGracePeriodSeconds"] = 0.into();
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_in_that_cannot_be_had_is_left_out() {
        let capability = |present| Capability {
            name: "pod-identity".to_owned(),
            present,
            evidence: String::new(),
        };
        let [irsa, pods] = Identity::ALL;
        for (wanted, present, expected) in [
            (&[irsa][..], false, &[irsa][..]),
            (&[irsa, pods], false, &[irsa]),
            (&[irsa, pods], true, &[irsa, pods]),
            (&[pods], false, &[]),
        ] {
            assert_eq!(usable(wanted, &[capability(present)]), expected, "{wanted:?}");
        }
        assert_eq!(usable(&[pods], &[]), []);
    }
}
