//! The agent on the nodes of a cluster of kind: its image is loaded into them, and no registry has it.

use std::{io, path::Path};

use tokio::task::JoinHandle;

use super::{KindOptions, cluster::Cluster, program::Kind};
use crate::{
    environment::{
        Node,
        agent::{AgentImage, installed},
        progress::{Stage, Told},
    },
    kubernetes::Kubernetes,
    report::figure,
};

/// An agent on its way, where the run's cases need one.
pub(super) enum Preparing {
    /// None of them calls the driver's socket.
    Unneeded,
    /// Its image has a name.
    Named(String),
    /// Its image is being made.
    Making(JoinHandle<io::Result<AgentImage>>),
}

impl Preparing {
    /// Begins to make its image in `scratch`, unless one is named.
    pub(super) fn begin(options: &KindOptions, scratch: &Path) -> Self {
        if !options.needs.csi_socket {
            return Self::Unneeded;
        }
        if let Some(named) = &options.agent {
            return Self::Named(named.clone());
        }
        let scratch = scratch.to_owned();
        Self::Making(tokio::task::spawn_blocking(move || {
            AgentImage::of_this_program(&scratch)
        }))
    }

    /// Puts it on the nodes; why there is none, where there is none. No run fails for that: the pod lens needs no agent.
    pub(super) async fn install(
        self,
        kubernetes: &Kubernetes,
        kind: &Kind,
        cluster: &Cluster,
        nodes: &mut [Node],
        scratch: &Path,
        told: &Told,
    ) -> Option<String> {
        if matches!(self, Self::Unneeded) {
            return Some(
                "no case of this run was thought to need it, so that no agent is on the nodes".to_owned(),
            );
        }
        let stage = Stage::begin(told, "agent", "onto the nodes");
        let image = match self.loaded(kind, cluster, scratch).await {
            Ok(image) => image,
            Err(because) => return Some(because),
        };
        match installed(kubernetes, &image, nodes).await {
            Ok(number) => {
                stage.ends(format!("answers on {}", figure::counted(number, "node")));
                None
            }
            Err(because) => Some(format!(
                "there is no agent of the image {image} on the nodes: {because}; give one of this version with --agent-image"
            )),
        }
    }

    async fn loaded(self, kind: &Kind, cluster: &Cluster, scratch: &Path) -> Result<String, String> {
        match self {
            Self::Unneeded => Err("it is not needed".to_owned()),
            Self::Named(image) => match cluster.load_if_here(kind, &image, scratch).await {
                Ok(_) => Ok(image),
                Err(error) => Err(format!("the agent's image {image} cannot be loaded: {error}")),
            },
            Self::Making(made) => {
                let made = made.await.map_err(|error| error.to_string());
                let image = made
                    .and_then(|made| made.map_err(|error| error.to_string()))
                    .map_err(|because| {
                        format!("the agent's image cannot be made of this program: {because}")
                    })?;
                let loaded = cluster.load_archive(kind, &image.archive).await;
                // Large, and of no more use.
                let _ = std::fs::remove_file(&image.archive);
                match loaded {
                    Ok(()) => Ok(image.name),
                    Err(error) => Err(format!("the agent's image cannot be loaded: {error}")),
                }
            }
        }
    }
}
