//! Another driver, or another provider, in the place of the one that is on the nodes, while pods have its mounts.
//!
//! As a chart's upgrade goes: first every object that is not a pod (rights, the `CSIDriver`), then the pods, node by node. A
//! `DaemonSet` is told to replace what is deleted (`OnDelete`), so that the roll-out can be held half-way.
//! <https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/>

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use mountproof_releases::Part;
use serde_json::json;

use super::{
    super::local::StartError,
    observed::observed,
    plan::Installation,
    ready::{await_new, pods},
};
use crate::{
    journal::Installed,
    kubernetes::{Kubernetes, KubernetesError, ObjectRef},
};

/// One installation, and the one that comes in its place.
#[derive(Debug)]
pub struct Upgrade {
    from: Installation,
    to: Installation,
    /// Parts that have been rolled, by node.
    rolled: Mutex<BTreeSet<(&'static str, String)>>,
}

/// How far a roll-out has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Rolled {
    /// What is where, in words.
    pub said: String,
    /// What the cluster tells.
    pub installed: Installed,
}

impl Upgrade {
    /// From what is installed to what is to be.
    #[must_use]
    pub fn new(from: Installation, to: Installation) -> Self {
        Self {
            from,
            to,
            rolled: Mutex::default(),
        }
    }

    /// What it changes, in words: `driver 1.5.6 to 1.6.0`.
    #[must_use]
    pub fn said(&self) -> String {
        let changes = Part::ALL.map(|part| {
            let (from, to) = (self.from.of(part), self.to.of(part));
            match (self.changes(part), from.version == to.version) {
                (false, _) => format!("{part} {} as it is", from.version),
                (true, false) => format!("{part} {} to {}", from.version, to.version),
                (true, true) => format!("{part} {} to {}", from.image, to.image),
            }
        });
        changes.join(", ")
    }

    /// The versions of both parts, before and after.
    #[must_use]
    pub fn versions(&self, part: Part) -> [&str; 2] {
        [&self.from.of(part).version, &self.to.of(part).version]
    }

    /// Rolls it half out: onto every second node that takes pods, or, where only one does, the driver and not yet the
    /// provider. The reason, where there is no half.
    ///
    /// # Errors
    ///
    /// When the new one does not come up, with what kubelet says.
    pub async fn half(&self, kubernetes: &Kubernetes) -> Result<Result<Rolled, String>, StartError> {
        let nodes = self.nodes(kubernetes).await?;
        let changing: Vec<Part> = Part::ALL.into_iter().filter(|part| self.changes(*part)).collect();
        match half_of(&nodes, &changing) {
            Half::None(because) => Ok(Err(because)),
            Half::Nodes(chosen) => {
                self.objects(kubernetes, &changing, Strategy::Held).await?;
                self.roll(kubernetes, &changing, &chosen).await?;
                let others = nodes.iter().filter(|node| !chosen.contains(&node.name));
                let others: Vec<&str> = others.map(|node| node.name.as_str()).collect();
                let said = format!("new on {}, old on {}", chosen.join(", "), others.join(", "));
                self.rolled(kubernetes, said).await.map(Ok)
            }
            Half::Driver => {
                let all: Vec<String> = nodes.into_iter().map(|node| node.name).collect();
                self.objects(kubernetes, &[Part::Driver], Strategy::Held).await?;
                self.roll(kubernetes, &[Part::Driver], &all).await?;
                let [_, driver] = self.versions(Part::Driver);
                let [provider, _] = self.versions(Part::Provider);
                let said = format!("one node takes pods: driver {driver} is new, provider {provider} is old");
                self.rolled(kubernetes, said).await.map(Ok)
            }
        }
    }

    /// Rolls out the rest.
    ///
    /// # Errors
    ///
    /// When the new one does not come up.
    pub async fn whole(&self, kubernetes: &Kubernetes) -> Result<Rolled, StartError> {
        let nodes: Vec<String> = self
            .nodes(kubernetes)
            .await?
            .into_iter()
            .map(|node| node.name)
            .collect();
        let changing: Vec<Part> = Part::ALL.into_iter().filter(|part| self.changes(*part)).collect();
        self.objects(kubernetes, &changing, Strategy::Held).await?;
        self.roll(kubernetes, &changing, &nodes).await?;
        // Nothing is held any more: what changes from now on rolls as its manifests say.
        self.objects(kubernetes, &changing, Strategy::AsGiven).await?;
        self.rolled(kubernetes, "new on every node".to_owned()).await
    }

    fn changes(&self, part: Part) -> bool {
        let daemon_set = |installation: &Installation| {
            installation
                .object("DaemonSet", &installation.of(part).daemon_set.name)
                .cloned()
        };
        daemon_set(&self.from) != daemon_set(&self.to)
    }

    /// The nodes that the driver is on, by name.
    async fn nodes(&self, kubernetes: &Kubernetes) -> Result<Vec<OfNode>, StartError> {
        let failed = StartError::of::<KubernetesError>("nodes");
        let pods = pods(kubernetes, &self.from.driver.daemon_set)
            .await
            .map_err(failed)?;
        let with_driver: BTreeSet<&str> = pods
            .iter()
            .filter_map(|pod| pod["spec"]["nodeName"].as_str())
            .collect();
        let mut nodes: Vec<OfNode> = kubernetes
            .nodes()
            .await
            .map_err(failed)?
            .into_iter()
            .filter(|node| with_driver.contains(node.name.as_str()))
            .map(|node| OfNode {
                name: node.name,
                takes_pods: node.takes_pods,
            })
            .collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Brings everything of these parts but their pods to its new shape.
    async fn objects(
        &self,
        kubernetes: &Kubernetes,
        parts: &[Part],
        strategy: Strategy,
    ) -> Result<(), StartError> {
        let failed = StartError::of::<KubernetesError>("upgrade");
        let mut kept = BTreeSet::new();
        for object in &self.to.objects {
            let reference = ObjectRef::of(object);
            // Charts leave kinds alone, too: what is stored in them must stay readable.
            let mine =
                parts.contains(&self.to.part_of(&reference)) && reference.kind != "CustomResourceDefinition";
            kept.insert(reference);
            if !mine {
                continue;
            }
            let mut object = object.clone();
            if object["kind"] == "DaemonSet" && strategy == Strategy::Held {
                object["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
            }
            kubernetes.replace(&object).await.map_err(failed)?;
        }
        for object in &self.from.objects {
            let reference = ObjectRef::of(object);
            if parts.contains(&self.from.part_of(&reference)) && !kept.contains(&reference) {
                kubernetes.delete(&reference).await.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Replaces the pods of these parts on these nodes, one node after another, as a rolling update does.
    async fn roll(
        &self,
        kubernetes: &Kubernetes,
        parts: &[Part],
        nodes: &[String],
    ) -> Result<(), StartError> {
        let failed = StartError::of::<KubernetesError>("upgrade");
        for node in nodes {
            let due: Vec<Part> = {
                let rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
                let due = |part: &Part| !rolled.contains(&(part.name(), node.clone()));
                parts.iter().copied().filter(due).collect()
            };
            let mut former = BTreeSet::new();
            for &part in &due {
                for pod in pods(kubernetes, &self.to.of(part).daemon_set)
                    .await
                    .map_err(failed)?
                {
                    if pod["spec"]["nodeName"] == node.as_str() {
                        former.extend(pod["metadata"]["uid"].as_str().map(str::to_owned));
                        kubernetes.delete(&ObjectRef::of(&pod)).await.map_err(failed)?;
                    }
                }
            }
            if !due.is_empty() {
                await_new(kubernetes, &self.to, (node, &due), &former).await?;
            }
            let mut rolled = self.rolled.lock().unwrap_or_else(PoisonError::into_inner);
            rolled.extend(due.iter().map(|part| (part.name(), node.clone())));
        }
        Ok(())
    }

    async fn rolled(&self, kubernetes: &Kubernetes, said: String) -> Result<Rolled, StartError> {
        let installed = observed(kubernetes, &self.to).await;
        Ok(Rolled {
            said,
            installed: installed.map_err(StartError::of("Kubernetes client"))?,
        })
    }
}

/// How a `DaemonSet` replaces its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// When we delete them.
    Held,
    /// As its manifests say.
    AsGiven,
}

/// A node with the driver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct OfNode {
    name: String,
    takes_pods: bool,
}

/// What half of a roll-out is.
#[derive(Debug, PartialEq, Eq)]
enum Half {
    /// These nodes have the new one.
    Nodes(Vec<String>),
    /// The driver is new, the provider old.
    Driver,
    /// There is none, and why.
    None(String),
}

/// PURE. Half of the nodes that take pods, and those that take none, whose turn makes no difference to pods.
fn half_of(nodes: &[OfNode], changing: &[Part]) -> Half {
    let (with_pods, without): (Vec<&OfNode>, Vec<&OfNode>) = nodes.iter().partition(|node| node.takes_pods);
    if with_pods.len() >= 2 {
        let half = with_pods.len() / 2;
        let chosen = without.into_iter().chain(with_pods.into_iter().take(half));
        return Half::Nodes(chosen.map(|node| node.name.clone()).collect());
    }
    match changing {
        [Part::Driver, Part::Provider] => Half::Driver,
        [part] => Half::None(format!(
            "one node takes pods, and only the {part} changes: there is no half of that"
        )),
        _ => Half::None("nothing changes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(taking: &[(&str, bool)]) -> Vec<OfNode> {
        let node = |(name, takes_pods): &(&str, bool)| OfNode {
            name: (*name).to_owned(),
            takes_pods: *takes_pods,
        };
        taking.iter().map(node).collect()
    }

    #[test]
    fn half_is_half_of_the_nodes_that_take_pods() {
        let both = Part::ALL;
        let chosen = |names: &[&str]| Half::Nodes(names.iter().map(|name| (*name).to_owned()).collect());
        let three = nodes(&[("control-plane", false), ("worker", true), ("worker2", true)]);
        assert_eq!(half_of(&three, &both), chosen(&["control-plane", "worker"]));
        let five = nodes(&[("a", true), ("b", true), ("c", true), ("d", true), ("e", true)]);
        assert_eq!(half_of(&five, &[Part::Provider]), chosen(&["a", "b"]));
    }

    #[test]
    fn on_one_node_half_is_the_driver() {
        let one = nodes(&[("control-plane", true)]);
        assert_eq!(half_of(&one, &Part::ALL), Half::Driver);
        let Half::None(because) = half_of(&one, &[Part::Driver]) else {
            panic!("there is a half")
        };
        assert!(because.contains("only the driver changes"), "{because}");
        assert!(matches!(half_of(&one, &[]), Half::None(_)));
    }
}
