//! The agent on a node of a cluster: our own program, in this process, with the node's folders in the places of the pod's.
//!
//! It listens on a port of loopback that nobody is told but the API server, which forwards to it as to any port of a pod.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use mountproof_stand_ins::ProgramLog;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{super::installation::flag, given::Given};
use crate::agent::{self, PORT, Place};

/// Whether a container has the agent, by what it is started with.
pub(super) fn is_agent(container: &Value) -> bool {
    ["socket", "kubelet-root", "pod-uid"]
        .iter()
        .all(|name| flag(container, name).is_some())
}

/// An agent that serves.
#[derive(Debug)]
pub(super) struct Agent {
    /// Where the pod has it.
    port: u16,
    /// Where it is.
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Agent {
    /// Starts one with what its container is given, where `place` knows where the container's paths are.
    pub(super) async fn start(
        given: &Given,
        place: impl Fn(&Path) -> PathBuf,
    ) -> io::Result<(Self, ProgramLog)> {
        let (port, stands) = told(given, place);
        std::fs::create_dir_all(&stands.scratch)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let log = ProgramLog::of("agent.rs");
        log.say(format!("the agent listens at 127.0.0.1:{port}"));
        let said = log.clone();
        let serving = tokio::spawn(async move {
            if let Err(error) = agent::serve(listener, stands).await {
                said.complain(error.to_string());
            }
        });
        let agent = Self {
            port,
            address,
            serving,
        };
        Ok((agent, log))
    }

    /// Where it is, if this is its port.
    pub(super) fn at(&self, port: u16) -> Option<SocketAddr> {
        (port == self.port).then_some(self.address)
    }

    /// Ends it with every conversation.
    pub(super) async fn stop(self) {
        self.serving.abort();
        // It was to end.
        let _ = self.serving.await;
    }
}

/// PURE. Its port, and where it stands.
fn told(given: &Given, place: impl Fn(&Path) -> PathBuf) -> (u16, Place) {
    let container = json!({ "args": given.arguments });
    let text = |name| flag(&container, name).unwrap_or_default();
    let port = flag(&container, "port").and_then(|port| port.parse().ok());
    // Of kubelet's folder it is given that of pods alone.
    let pods = place(&Path::new(&text("kubelet-root")).join("pods"));
    let stands = Place {
        socket: place(Path::new(&text("socket"))),
        kubelet_root: pods.parent().unwrap_or(&pods).to_owned(),
        pod_uid: Some(text("pod-uid")),
        scratch: place(Path::new(&text("scratch"))),
    };
    (port.unwrap_or(PORT), stands)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::super::agent as harness, *};
    use crate::environment::clusters::given::Place as At;

    #[test]
    fn the_harnesss_own_manifests_are_those_of_an_agent() {
        let objects = harness::objects("image", "ns");
        let set = objects.iter().find(|object| object["kind"] == "DaemonSet");
        let mut pod = set.map(|set| set["spec"]["template"].clone()).unwrap_or_default();
        pod["metadata"]["uid"] = json!("uid-1");
        let container = &pod["spec"]["containers"][0];
        assert!(is_agent(container));
        let given = Given::read(&pod, container, &BTreeMap::new());
        let (port, stands) = told(&given, |path| match given.place(path) {
            At::Node(path) => Path::new("/node").join(path.strip_prefix("/").unwrap_or(&path)),
            At::Own(path) => Path::new("/own").join(path),
        });
        assert_eq!(port, PORT);
        assert_eq!(stands.pod_uid.as_deref(), Some("uid-1"));
        assert_eq!(stands.scratch, Path::new("/own/scratch"));
        assert_eq!(stands.kubelet_root, Path::new("/node/var/lib/kubelet"));
        let socket = "/node/var/lib/kubelet/plugins/csi-secrets-store/csi.sock";
        assert_eq!(stands.socket, Path::new(socket));
    }
}
