//! What the harness does in kubelet's place: what it hands to the driver with a volume, and how it looks at one.

use std::{collections::BTreeMap, path::Path};

use jiff::Timestamp;

use super::{mount_point::MountPoint, step::StepError, world::World};
use crate::{
    generation,
    kubernetes::ObjectRef,
    load::csi_lens::{CsiClient, ServiceAccountTokens},
    provision::Tenant,
    tenant,
    verdict::files::differences,
};

/// Audiences of kubelet's tokens, as the CSIDriver asks for them.
const AUDIENCES: [&str; 2] = [tenant::AUDIENCE, "pods.eks.amazonaws.com"];

/// What kubelet hands to the driver beside the pod's identity.
pub(super) struct Handed {
    /// Attributes of every volume.
    pub(super) attributes: BTreeMap<String, String>,
    tokens_among_secrets: bool,
}

impl Handed {
    /// As the environment's driver and provider want it.
    pub(super) async fn of(world: &World) -> Result<Self, StepError> {
        let mut attributes = BTreeMap::new();
        if generation::region_from_node(&world.version("provider")) {
            // It would look for the pod to find the node's, and there are no pods.
            attributes.insert("region".to_owned(), world.options.region.clone());
        }
        Ok(Self {
            attributes,
            tokens_among_secrets: tokens_in_secrets(world).await?,
        })
    }

    /// New tokens of a namespace's `default` `ServiceAccount`.
    pub(super) async fn tokens(
        &self,
        world: &World,
        namespace: &str,
    ) -> Result<ServiceAccountTokens, StepError> {
        let mut minted = Vec::new();
        for audience in AUDIENCES {
            minted.push((audience, world.token(namespace, audience).await?));
        }
        let expires = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        let minted = minted
            .iter()
            .map(|(audience, token)| (*audience, token.expose(), expires));
        Ok(ServiceAccountTokens::new(minted).among_secrets(self.tokens_among_secrets))
    }
}

/// A client of the driver's socket, for volumes below the root of its node.
pub(super) fn csi_client(world: &World) -> Result<CsiClient, StepError> {
    let mut nodes = world.environment.nodes.iter();
    let (socket, root) = nodes
        .find_map(|node| Some((node.csi_socket.as_deref()?, node.kubelet_root.as_path())))
        .ok_or_else(|| StepError::trouble("the driver's socket is on no node that is reached from here"))?;
    Ok(CsiClient::new(socket, root))
}

/// Where kubelet hands tokens to the driver: its `CSIDriver` object says.
async fn tokens_in_secrets(world: &World) -> Result<bool, StepError> {
    let driver = ObjectRef::new("storage.k8s.io/v1", "CSIDriver", None, tenant::CSI_DRIVER);
    let object = world
        .environment
        .kubernetes
        .read(&driver)
        .await
        .map_err(|error| StepError::trouble(error.to_string()))?;
    Ok(object.is_some_and(|object| object["spec"]["serviceAccountTokenInSecrets"] == true))
}

/// Whether `target` holds exactly the tenant's own secret.
pub(super) fn check_files(tenant: &Tenant, target: &Path) -> Result<(), String> {
    let seen = MountPoint::at(target)
        .files()
        .map_err(|error| error.to_string())?;
    let expected = super::workload::own_files(tenant);
    match differences(&expected, &seen).first() {
        Some(difference) => Err(difference.0.clone()),
        None => Ok(()),
    }
}

/// Removes the status object that the driver made for a pod: where there is no pod, its going cannot take it along.
pub(super) async fn remove_status(world: &World, pod: &str, tenant: &Tenant) {
    let status = ObjectRef::new(
        crate::kubernetes::SECRETS_STORE,
        "SecretProviderClassPodStatus",
        Some(&tenant.name),
        &format!("{pod}-{}-{}", tenant.name, tenant.class),
    );
    if let Err(error) = world.environment.kubernetes.delete(&status).await {
        world.warn(error.to_string());
    }
}
