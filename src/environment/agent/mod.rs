//! The agent on the nodes of a cluster: our own program in a `DaemonSet`, where the harness does not stand on the nodes. Nothing
//! here knows whose cluster it is.

mod image;
mod manifests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::{BoxFuture, FutureExt as _, join_all};
use serde_json::Value;

pub(super) use self::image::AgentImage;
pub(super) use self::manifests::NAMESPACE;
use self::manifests::SELECTOR;
use super::{Node, installation::ready};
use crate::{
    agent::{Agent, AgentError, Dial, PORT, Stream},
    kubernetes::{Kubernetes, PodPort},
};

/// Longest wait for an agent to answer on every node, its image to be pulled included.
const READY: Duration = Duration::from_mins(2);
/// How long a pull may go on failing: kubelet tries again after 10 s.
const FAILING: Duration = Duration::from_secs(30);
/// Pause between two tries.
const LOOK: Duration = Duration::from_millis(250);

/// Puts agents of this image on the nodes that take pods, and hands each to its node once it answers.
///
/// # Errors
///
/// Why there is none, in words; some of the objects may be there then.
pub(super) async fn installed(
    kubernetes: &Kubernetes,
    image: &str,
    nodes: &mut [Node],
) -> Result<usize, String> {
    for object in manifests::all(image, NAMESPACE) {
        // In a cluster that stays they may be there, of another image.
        kubernetes
            .apply(&object)
            .await
            .map_err(|error| error.to_string())?;
    }
    answering(kubernetes, NAMESPACE, nodes).await
}

/// What puts agents of this image on nodes, in a namespace of theirs, in the order in which it is made.
pub(super) fn objects(image: &str, namespace: &str) -> Vec<Value> {
    manifests::all(image, namespace)
}

/// Hands each agent of a namespace to its node, once it answers; how many there are.
///
/// # Errors
///
/// Why they do not, in words.
pub(super) async fn answering(
    kubernetes: &Kubernetes,
    namespace: &str,
    nodes: &mut [Node],
) -> Result<usize, String> {
    let until = Instant::now() + READY;
    rolled_out(kubernetes, namespace, until).await?;
    let views = kubernetes.nodes().await.map_err(|error| error.to_string())?;
    let agents: Vec<Agent> = views
        .iter()
        .filter(|node| node.takes_pods && node.ready)
        .map(|node| {
            let port = kubernetes.pod_port(namespace, SELECTOR, &node.name, PORT);
            Agent::new(&node.name, Arc::new(Door(port)))
        })
        .collect();
    for answered in join_all(agents.iter().map(|agent| answers(agent, until))).await {
        if let Err(error) = answered {
            let why = waiting(kubernetes, namespace)
                .await
                .map_or_else(String::new, |why| format!(" ({why})"));
            return Err(format!("{error} after {READY:?}{why}"));
        }
    }
    let mut number = 0;
    for agent in agents {
        if let Some(node) = nodes.iter_mut().find(|node| node.name == agent.node()) {
            node.agent = Some(agent);
            number += 1;
        }
    }
    Ok(number)
}

/// Waits until every pod of the `DaemonSet` is of this image: one of another would be ended in the middle.
async fn rolled_out(kubernetes: &Kubernetes, namespace: &str, until: Instant) -> Result<(), String> {
    let set = manifests::set(namespace);
    let began = Instant::now();
    loop {
        let (ready, wanted) = ready(kubernetes, &set).await.map_err(|error| error.to_string())?;
        if wanted > 0 && ready >= wanted {
            return Ok(());
        }
        let why = waiting(kubernetes, namespace).await;
        // Kubelet has tried again by then.
        let hopeless =
            began.elapsed() >= FAILING && why.as_ref().is_some_and(|why| why.contains("ImagePull"));
        if hopeless || Instant::now() >= until {
            let why = why.map_or_else(String::new, |why| format!(" ({why})"));
            return Err(format!(
                "{ready} of {wanted} are ready after {} s{why}",
                began.elapsed().as_secs()
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn answers(agent: &Agent, until: Instant) -> Result<(), AgentError> {
    loop {
        match agent.hello().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// What a pod of an agent waits for, in kubelet's words.
async fn waiting(kubernetes: &Kubernetes, namespace: &str) -> Option<String> {
    let pods = kubernetes.list("v1", "Pod", Some(namespace), None).await.ok()?;
    pods.iter().find_map(|pod| {
        let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        let (reason, message) = (waiting["reason"].as_str()?, waiting["message"].as_str());
        Some(format!("{reason}: {}", message.unwrap_or_default()))
    })
}

/// The way to an agent, by the API server.
struct Door(PodPort);

impl Dial for Door {
    fn dial(&self) -> BoxFuture<'_, Result<Stream, String>> {
        async {
            match self.0.open().await {
                Ok(stream) => Ok(Box::new(stream) as Stream),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}
