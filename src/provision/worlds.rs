//! The two worlds that a run makes things in, and whether they answer.

use super::ledger::{KubernetesIn, Object};
use crate::{aws::Aws, environment::Environment, kubernetes::Kubernetes};

/// What objects are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    Kubernetes,
    Aws,
}

impl World {
    pub(super) fn holds(self, object: &Object) -> bool {
        match object {
            Object::Kubernetes(_) | Object::Installed(_) | Object::Displaced { .. } => {
                self == Self::Kubernetes
            }
            Object::Scratch(_) | Object::KindCluster(_) | Object::Container(_) => false,
            _ => self == Self::Aws,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "Kubernetes",
            Self::Aws => "AWS",
        }
    }

    /// How a leftover stands for everything that could not be listed.
    pub(super) fn everything(self) -> String {
        format!("objects in {}", self.name())
    }
}

/// The worlds that are to be taken down.
#[derive(Clone, Copy)]
pub(super) struct Worlds<'a> {
    pub(super) kubernetes: Option<&'a Kubernetes>,
    pub(super) aws: Option<&'a Aws>,
}

impl<'a> Worlds<'a> {
    pub(super) fn of(environment: &'a Environment) -> Self {
        Self {
            // A cluster of the run's own goes as a whole.
            kubernetes: (environment.kubernetes_in != KubernetesIn::OwnCluster)
                .then_some(&environment.kubernetes),
            aws: Some(&environment.aws),
        }
    }

    pub(super) fn have(self, object: &Object) -> bool {
        (World::Kubernetes.holds(object) && self.kubernetes.is_some())
            || (World::Aws.holds(object) && self.aws.is_some())
    }
}

/// Which worlds cannot be asked, and why.
pub(super) async fn silent_worlds(worlds: Worlds<'_>) -> Vec<(World, String)> {
    let aws = async {
        let said = worlds.aws?.answers().await;
        said.err().map(|error| (World::Aws, error.to_string()))
    };
    let kubernetes = async {
        let said = worlds.kubernetes?.version().await;
        said.err().map(|error| (World::Kubernetes, error.to_string()))
    };
    let (aws, kubernetes) = tokio::join!(aws, kubernetes);
    kubernetes.into_iter().chain(aws).collect()
}

/// Whether an object is in one of the two worlds, and not what holds a world, or a folder.
pub(super) fn is_in_a_world(object: &Object) -> bool {
    World::Kubernetes.holds(object) || World::Aws.holds(object)
}
