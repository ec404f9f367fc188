//! Room for pods on the nodes of a real cluster, and the image of theirs on each: both settled before any clock starts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::StartError;
use crate::{
    kubernetes::{Kubernetes, KubernetesError, NodeView, ObjectRef},
    provision::{Ledger, Object},
    tenant::Marks,
};

/// Pods that a kubelet takes where nobody says otherwise.
const KUBELETS_OWN: usize = 110;
/// Pods on a node that are not the run's: the cluster's own, driver and provider, with some to spare.
const OWN: usize = 20;
/// Addresses for pods that a node has at least where nobody says otherwise, of a /24.
const ADDRESSES: usize = 250;
/// Longest wait for an image to be on every node.
const PULL: Duration = Duration::from_mins(3);
/// How long a pull may go on failing: kubelet tries again after 10 s.
const FAILING: Duration = Duration::from_secs(25);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Where the pods stand that pull.
const NAMESPACE: &str = "kube-system";

/// How many more pods can be on these nodes at once.
pub(super) fn room(nodes: &[NodeView]) -> usize {
    nodes.iter().map(NodeView::free).sum()
}

/// Whether so many pods at once can be on these nodes; if not, how many can, and what to do, in words.
///
/// # Errors
///
/// When they cannot.
pub(super) fn fits(wanted: usize, nodes: &[NodeView]) -> Result<(), String> {
    let free = room(nodes);
    if wanted <= free {
        return Ok(());
    }
    let each: Vec<String> = nodes
        .iter()
        .map(|node| {
            if node.takes_pods {
                format!("{} takes {} and has {}", node.name, node.most_pods, node.pods)
            } else {
                format!("{} takes none", node.name)
            }
        })
        .collect();
    Err(format!(
        "{wanted} pods are to be there at once, and the nodes have room for {free} ({}); raise kubelet's limit with --max-pods, \
         add nodes with --workers, or measure fewer with --pods",
        each.join(", ")
    ))
}

/// The limit of pods that each of so many nodes, which do not stand yet, is to have, for so many of the run's at once: none is
/// kubelet's own, which is raised where that is too low and nobody `asked` for one.
///
/// # Errors
///
/// When they could not be there even if the nodes had no other pods.
pub(super) fn limit(wanted: usize, nodes: usize, asked: Option<u32>) -> Result<Option<u32>, String> {
    let each = wanted.div_ceil(nodes.max(1));
    let most = asked.map_or(ADDRESSES, |asked| asked as usize);
    if each > most {
        let of = if nodes == 1 {
            "node takes"
        } else {
            "nodes take together"
        };
        let room = nodes * most;
        let raise = if most < ADDRESSES {
            "raise kubelet's limit with --max-pods, "
        } else {
            ""
        };
        return Err(format!(
            "{wanted} pods are to be there at once, and {nodes} {of} {room} at most, the cluster's own included; {raise}add nodes \
             with --workers, or measure fewer with --pods"
        ));
    }
    if asked.is_some() || each + OWN <= KUBELETS_OWN {
        return Ok(asked);
    }
    let raised = (each + OWN).next_multiple_of(10).min(ADDRESSES);
    Ok(u32::try_from(raised).ok())
}

/// Has every node that takes pods pull `image`, by a pod on each; nothing is done where all have it.
///
/// # Errors
///
/// When one cannot have it, with what its kubelet says.
pub(super) async fn pulled(
    kubernetes: &Kubernetes,
    (marks, ledger): (&Marks, &Ledger),
    nodes: &[NodeView],
    image: &str,
) -> Result<(), StartError> {
    let lacking: Vec<&str> = nodes
        .iter()
        .filter(|node| node.takes_pods && !node.images.iter().any(|known| known == image))
        .map(|node| node.name.as_str())
        .collect();
    let failed = StartError::of::<KubernetesError>("image of the workloads");
    let mut pods = Vec::new();
    let mut ended = Ok(());
    for (number, node) in lacking.iter().enumerate() {
        let pod = pulling_pod(number, node, image, marks);
        let reference = ObjectRef::of(&pod);
        let record = [Object::Kubernetes(reference.clone())];
        ledger
            .plan(&record)
            .map_err(StartError::of("image of the workloads"))?;
        pods.push((*node, reference));
        let making = kubernetes.clone();
        let made = ledger.landed(async move { making.create(&pod).await }).await;
        ended = made.map_err(&failed);
        if ended.is_err() {
            break;
        }
    }
    if ended.is_ok() {
        ended = all_pulled(kubernetes, &pods, image).await;
    }
    for (_, pod) in &pods {
        // On record, where they do not go now.
        if let Err(error) = kubernetes.delete(pod).await {
            tracing::debug!(%error, "left");
        }
    }
    ended
}

async fn all_pulled(
    kubernetes: &Kubernetes,
    pods: &[(&str, ObjectRef)],
    image: &str,
) -> Result<(), StartError> {
    let until = Instant::now() + PULL;
    let mut failing_since = None;
    loop {
        let mut waiting = None;
        let mut trouble = None;
        for (node, pod) in pods {
            let failed = StartError::of::<KubernetesError>("image of the workloads");
            match pull_of(&kubernetes.read(pod).await.map_err(failed)?.unwrap_or_default()) {
                Pull::Done => {}
                Pull::Waiting => waiting = Some(*node),
                Pull::Failing(because) => trouble = Some((*node, because)),
            }
        }
        if waiting.is_none() && trouble.is_none() {
            return Ok(());
        }
        if trouble.is_none() {
            failing_since = None;
        } else {
            failing_since = failing_since.or_else(|| Some(Instant::now()));
        }
        let hopeless = failing_since.is_some_and(|since| since.elapsed() >= FAILING);
        if hopeless || Instant::now() >= until {
            let (node, because) = trouble
                .or_else(|| Some((waiting?, format!("it is not there after {PULL:?}"))))
                .unwrap_or_default();
            return Err(StartError::of("image of the workloads")(format!(
                "{image} cannot be had on {node}: {because}; give one with --image that the nodes can pull, or that Docker has here"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How far the pull of a pod's image is.
#[derive(Debug, PartialEq, Eq)]
enum Pull {
    Done,
    Waiting,
    Failing(String),
}

fn pull_of(pod: &Value) -> Pull {
    let status = &pod["status"]["containerStatuses"][0];
    if status["imageID"].as_str().is_some_and(|id| !id.is_empty()) {
        return Pull::Done;
    }
    let waiting = &status["state"]["waiting"];
    match waiting["reason"].as_str() {
        Some(reason @ ("ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull")) => {
            let message = waiting["message"].as_str().unwrap_or_default();
            Pull::Failing(format!("{reason}: {message}"))
        }
        _ => Pull::Waiting,
    }
}

/// A pod on one node, whatever the scheduler thinks of it, that has its kubelet pull the image.
fn pulling_pod(number: usize, node: &str, image: &str, marks: &Marks) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": format!("mountproof-pull-{number}"),
            "namespace": NAMESPACE,
            "labels": marks.labels(),
        },
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "containers": [{ "name": "pull", "image": image, "imagePullPolicy": "IfNotPresent" }],
            "tolerations": [{ "operator": "Exists" }],
        },
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn node(name: &str, takes_pods: bool, most_pods: usize, pods: usize) -> NodeView {
        NodeView {
            name: name.to_owned(),
            ready: true,
            takes_pods,
            most_pods,
            pods,
            images: Vec::new(),
        }
    }

    #[test]
    fn pods_that_do_not_fit_are_said_with_how_many_do_and_what_raises_it() {
        let nodes = [
            node("control-plane", false, 110, 9),
            node("worker", true, 110, 5),
            node("worker2", true, 110, 4),
        ];
        assert_eq!(fits(211, &nodes), Ok(()));
        let because = fits(212, &nodes).unwrap_err();
        for said in [
            "212 pods",
            "room for 211",
            "worker takes 110 and has 5",
            "control-plane takes none",
            "--max-pods",
        ] {
            assert!(because.contains(said), "{because}");
        }
    }

    #[test]
    fn the_limit_of_pods_is_raised_where_the_run_needs_more_and_nobody_says_otherwise() {
        for (wanted, nodes, asked, expected) in [
            (0, 1, None, None),
            (90, 1, None, None),
            (110, 1, None, Some(130)),
            (110, 2, None, None),
            (110, 1, Some(120), Some(120)),
            (240, 1, None, Some(250)),
        ] {
            assert_eq!(limit(wanted, nodes, asked), Ok(expected), "{wanted} on {nodes}");
        }
        for (wanted, nodes, asked, said) in [
            (121, 1, Some(120), "1 node takes 120"),
            (501, 2, None, "2 nodes take together 500"),
        ] {
            let because = limit(wanted, nodes, asked).unwrap_err();
            assert!(because.contains(said), "{because}");
            assert_eq!(because.contains("--max-pods"), asked.is_some(), "{because}");
        }
    }

    #[test]
    fn a_pull_is_done_when_the_image_has_an_id() {
        let pod = |status: Value| json!({ "status": { "containerStatuses": [status] } });
        let waiting = |reason: &str| json!({ "imageID": "", "state": { "waiting": { "reason": reason, "message": "no such host" } } });
        for (status, pull) in [
            (json!({ "imageID": "sha256:00" }), Pull::Done),
            (waiting("ContainerCreating"), Pull::Waiting),
            (
                waiting("ErrImagePull"),
                Pull::Failing("ErrImagePull: no such host".to_owned()),
            ),
            (
                waiting("ImagePullBackOff"),
                Pull::Failing("ImagePullBackOff: no such host".to_owned()),
            ),
        ] {
            assert_eq!(pull_of(&pod(status.clone())), pull, "{status}");
        }
        assert_eq!(pull_of(&Value::Null), Pull::Waiting);
    }
}
