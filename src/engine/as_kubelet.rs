//! What the harness does in kubelet's place: what it hands to the driver with a volume, and how it looks at one.

use std::{collections::BTreeMap, path::Path, time::Duration};

use jiff::Timestamp;

use super::{mount_point::MountPoint, pod_identity, step::StepError, world::World};
use crate::{
    agent::{Agent, Looked},
    kubernetes::ObjectRef,
    load::csi_lens::{
        CsiClient, Leftover, PublishError, PublishJob, ServiceAccountTokens, begun, is_mount_point,
    },
    provision::Tenant,
    tenant,
    verdict::files::{ExpectedPrint, SeenPrint, differences, differences_of_prints},
};

/// What kubelet hands to the driver beside the pod's identity.
pub(super) struct Handed {
    /// Attributes of every volume.
    pub(super) attributes: BTreeMap<String, String>,
    tokens_among_secrets: bool,
}

impl Handed {
    /// As the environment's driver and provider want it.
    pub(super) async fn of(world: &World) -> Result<Self, StepError> {
        // Where nothing names a region a provider looks for the pod to find its node's, and there are no pods.
        let region = ("region".to_owned(), world.options.region.clone());
        Ok(Self {
            attributes: BTreeMap::from([region]),
            tokens_among_secrets: tokens_in_secrets(world).await?,
        })
    }

    /// New tokens of a tenant's `default` `ServiceAccount`.
    pub(super) async fn tokens(
        &self,
        world: &World,
        tenant: &Tenant,
    ) -> Result<ServiceAccountTokens, StepError> {
        let mut minted = Vec::new();
        for audience in tenant::TOKEN_AUDIENCES {
            minted.push((audience, pod_identity::token(world, tenant, audience).await?));
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
        .find_map(|node| Some((node.csi_socket.as_deref()?, node.kubelet_root.as_deref()?)))
        .ok_or_else(StepError::no_socket)?;
    Ok(CsiClient::new(socket, root))
}

/// The driver's socket, wherever it is called from.
pub(super) enum DriverSocket {
    /// The harness stands on the node.
    Here(CsiClient),
    /// An agent does.
    Through(Agent),
}

impl DriverSocket {
    /// That of the first node that is reached.
    pub(super) fn of(world: &World) -> Result<Self, StepError> {
        if let Ok(client) = csi_client(world) {
            return Ok(Self::Here(client));
        }
        let agent = agents(world).into_iter().next();
        agent.map(Self::Through).ok_or_else(StepError::no_socket)
    }

    /// Publishes a volume; gives the time from the call to its answer.
    pub(super) async fn publish(
        &self,
        job: &PublishJob,
        deadline: Duration,
    ) -> Result<Duration, PublishError> {
        match self {
            Self::Here(client) => client.publish(job, deadline).await,
            Self::Through(agent) => agent.publish(job, deadline).await,
        }
    }

    /// Unpublishes the volume of a pod.
    pub(super) async fn unpublish(&self, uid: &str, deadline: Duration) -> Result<(), String> {
        match self {
            Self::Here(client) => match client.unpublish(uid, deadline).await {
                Ok(_) => Ok(()),
                Err(leftover) => Err(leftover.to_string()),
            },
            Self::Through(agent) => match agent.unpublish(vec![uid.to_owned()], deadline).await {
                Ok(left) => left
                    .first()
                    .map_or(Ok(()), |left: &Leftover| Err(left.to_string())),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// What stands where the volume of a pod is mounted.
    pub(super) async fn look(&self, uid: &str) -> Result<Looked, StepError> {
        let client = match self {
            Self::Here(client) => client,
            Self::Through(agent) => {
                let looked = agent.look(uid).await;
                return looked.map_err(|error| StepError::trouble(error.to_string()));
            }
        };
        let target = client.target(uid);
        let mounted = is_mount_point(&target).await;
        let read = tokio::task::spawn_blocking(move || MountPoint::at(&target).files()).await;
        let read =
            read.map_err(|error| StepError::trouble(format!("the look at files panicked: {error}")))?;
        let (files, trouble) = match read {
            Ok(files) => (files.iter().map(SeenPrint::from).collect(), None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        Ok(Looked {
            there: mounted,
            mounted,
            files,
            trouble,
        })
    }

    /// Waits until the driver has begun to mount the volume of a pod, for as long as the caller likes, `within` at most.
    pub(super) async fn begun(&self, uid: &str, within: Duration) {
        match self {
            Self::Here(client) => begun(&client.target(uid)).await,
            Self::Through(agent) => {
                if let Err(error) = agent.begun(uid, within).await {
                    tracing::debug!(%error, "begun");
                    // The call itself ends first, with whatever is wrong.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// The agents on nodes, where there are any.
pub(super) fn agents(world: &World) -> Vec<Agent> {
    let nodes = world.environment.nodes.iter();
    nodes.filter_map(|node| node.agent.clone()).collect()
}

/// What a look at a volume of the tenant's own class must have seen.
pub(super) fn check_look(tenant: &Tenant, looked: &Looked) -> Result<(), String> {
    if let Some(trouble) = &looked.trouble {
        return Err(trouble.clone());
    }
    match differences_of_prints(&expected_prints(tenant), &looked.files).first() {
        Some(difference) => Err(difference.0.clone()),
        None => Ok(()),
    }
}

/// The tenant's own files without their values.
pub(super) fn expected_prints(tenant: &Tenant) -> Vec<ExpectedPrint> {
    let expected = super::workload::own_files(tenant);
    expected.iter().map(ExpectedPrint::from).collect()
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
