//! What a pod of the run has mounted, wherever its node is: read here where the harness stands beside it, else by the agent on
//! it, which hands over names, modes and sums, and no value.

use std::time::Duration;

use super::{mount_point::MountPoint, step::StepError, world::World};
use crate::{agent::Agent, kubernetes::PodView, tenant, verdict::files::SeenPrint};

/// Pause between two looks from afar: each is a conversation, by way of the API server.
const FAR: Duration = Duration::from_millis(250);

/// Where the volume of a pod is mounted.
pub(super) enum Mounted {
    /// On a node that can be read from here.
    Here(MountPoint),
    /// On one with an agent.
    There {
        /// That agent.
        agent: Agent,
        /// The pod's.
        uid: String,
    },
    /// The pod was given no node, so that nothing is mounted for it.
    Nowhere,
    /// On one that nobody can look at.
    Unseen(String),
}

impl Mounted {
    /// Of a pod of the run's.
    pub(super) fn of(world: &World, pod: &PodView) -> Self {
        let nodes = &world.environment.nodes;
        let mut roots = nodes
            .iter()
            .filter_map(|node| node.kubelet_root.as_deref())
            .peekable();
        if roots.peek().is_some() {
            return Self::Here(MountPoint::of(roots, &pod.uid, tenant::VOLUME));
        }
        let Some(name) = &pod.node else {
            return Self::Nowhere;
        };
        let node = nodes.iter().find(|node| node.name == *name);
        match node.and_then(|node| node.agent.clone()) {
            Some(agent) => Self::There {
                agent,
                uid: pod.uid.clone(),
            },
            None => Self::Unseen(name.clone()),
        }
    }

    /// Every file as the pod would see it.
    pub(super) async fn files(&self) -> Result<Vec<SeenPrint>, StepError> {
        self.files_during(Duration::ZERO).await
    }

    /// Likewise; from afar it is looked for again and again for a while, unless there is one at once. Whoever looks in a loop
    /// misses nothing between two looks.
    pub(super) async fn files_for_a_while(&self) -> Result<Vec<SeenPrint>, StepError> {
        self.files_during(FAR).await
    }

    async fn files_during(&self, during: Duration) -> Result<Vec<SeenPrint>, StepError> {
        match self {
            Self::Here(mount) => {
                let files = mount.files();
                let files = files.map_err(|error| {
                    StepError::trouble(format!("cannot read the mount on the node: {error}"))
                })?;
                Ok(files.iter().map(SeenPrint::from).collect())
            }
            Self::There { agent, uid } => {
                let looked = agent.look_at_pod(uid, tenant::VOLUME, during).await;
                let looked = looked.map_err(|error| StepError::trouble(error.to_string()))?;
                match looked.trouble {
                    None => Ok(looked.files),
                    Some(because) => Err(StepError::trouble(format!(
                        "the agent on {} cannot read the mount: {because}",
                        agent.node()
                    ))),
                }
            }
            Self::Nowhere => Ok(Vec::new()),
            Self::Unseen(node) => Err(StepError::trouble(format!("nobody can look at mounts on {node}"))),
        }
    }

    /// The folder that is there still, or nothing.
    pub(super) async fn folder(&self) -> Result<Option<String>, StepError> {
        match self {
            Self::Here(mount) => Ok((!mount.is_gone()).then(|| mount.path().display().to_string())),
            Self::There { agent, uid } => {
                let looked = agent.look_at_pod(uid, tenant::VOLUME, Duration::ZERO).await;
                let looked = looked.map_err(|error| StepError::trouble(error.to_string()))?;
                Ok(looked.there.then(|| format!("of pod {uid} on {}", agent.node())))
            }
            Self::Nowhere => Ok(None),
            Self::Unseen(node) => Err(StepError::trouble(format!("nobody can look at mounts on {node}"))),
        }
    }

    /// Pause before the next look.
    pub(super) fn pause(&self, here: Duration) -> Duration {
        match self {
            Self::There { .. } => FAR,
            _ => here,
        }
    }
}
