//! What becomes of a cluster's nodes and of driver and provider on them while a run is under way: nothing that a node's end or a
//! program's restart brings about is a word of the product's.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    task::AbortHandle,
};

use crate::{
    environment::{Node, NodeProcess, NodePrograms, Restarts, restarts::restarts},
    kubernetes::Kubernetes,
};

/// Sees the nodes of a cluster end. Dropping it ends the watch.
pub(super) struct Watch {
    nodes: Vec<Node>,
    /// How each ended that did, by name: Docker's word.
    ended: Arc<Mutex<BTreeMap<String, String>>>,
    following: AbortHandle,
}

impl Watch {
    /// Begins to look.
    pub(super) fn begin(cluster: &str, nodes: &[Node]) -> Self {
        let ended = Arc::default();
        let following = tokio::spawn(follow(cluster.to_owned(), Arc::clone(&ended))).abort_handle();
        Self {
            nodes: nodes.to_vec(),
            ended,
            following,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl NodePrograms for Watch {
    fn processes(&self) -> Vec<NodeProcess> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        // Its files are gone before Docker has a word for it: what is not there is missed for that reason.
        let just_gone = |node: &Node| {
            let root = node.kubelet_root.as_deref();
            root.is_some_and(is_gone).then(|| "it has just gone".to_owned())
        };
        let how = |node: &Node| ended.get(&node.name).cloned().or_else(|| just_gone(node));
        let one = |node: &Node| NodeProcess {
            name: "node",
            ended: how(node).map(|how| format!("{}, {how}", node.name)),
        };
        self.nodes.iter().map(one).collect()
    }

    fn revived(&self) -> BoxFuture<'_, Result<Vec<&'static str>, String>> {
        // A node stays as it ended: its cluster goes, or is somebody's to look at.
        async { Ok(Vec::new()) }.boxed()
    }

    fn restarts<'a>(&'a self, kubernetes: &'a Kubernetes) -> BoxFuture<'a, Restarts> {
        async {
            let pods = kubernetes.list("v1", "Pod", None, None).await;
            // What cannot be asked for tells nothing; that nothing answers is told by whoever needs an answer.
            restarts(&pods.unwrap_or_default())
        }
        .boxed()
    }
}

fn is_gone(folder: &Path) -> bool {
    std::fs::metadata(folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Notes each container of the cluster that ends.
async fn follow(cluster: String, ended: Arc<Mutex<BTreeMap<String, String>>>) {
    let filter = format!("label=io.x-k8s.kind.cluster={cluster}");
    let format = "{{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}";
    let watching = Command::new("docker")
        .args(["events", "--filter", &filter, "--filter", "event=die"])
        .args(["--format", format])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let Ok(mut watching) = watching else { return };
    let Some(out) = watching.stdout.take() else {
        return;
    };
    let mut lines = BufReader::new(out).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (node, code) = line.split_once(' ').unwrap_or((&line, "?"));
        ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(node.to_owned(), format!("exit code {code}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_whose_files_are_gone_has_ended() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let node = |name: &str| Node {
            name: name.to_owned(),
            kubelet_root: Some(folder.path().join(name)),
            csi_socket: None,
            agent: None,
        };
        drop(std::fs::create_dir(folder.path().join("lives")));
        let watch = Watch::begin("no-such-cluster", &[node("lives"), node("gone")]);
        let ended: Vec<Option<String>> = watch.processes().into_iter().map(|node| node.ended).collect();
        assert_eq!(ended, [None, Some("gone, it has just gone".to_owned())]);
    }
}
