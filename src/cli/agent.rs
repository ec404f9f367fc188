//! The command `agent`: the program of the `DaemonSet` that the harness puts on nodes.

use std::{io, path::PathBuf};

use clap::Args;
use tokio::net::TcpListener;

use super::output::{OK, Output};
use crate::agent::{self, PORT, Place};

/// Serve the harness on a node that it does not stand on: it plays kubelet on the driver's socket, and measures there
///
/// It listens on the loopback of its pod, and the harness reaches it by the API server's port-forward: whoever may create
/// pods/portforward in its namespace, and nobody else.
#[derive(Debug, Clone, Args)]
pub struct AgentArgs {
    /// The driver's CSI socket.
    #[arg(
        long,
        value_name = "SOCKET",
        default_value = "/var/lib/kubelet/plugins/csi-secrets-store/csi.sock"
    )]
    pub socket: PathBuf,

    /// Kubelet's folder, at the path that it has on the node.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,

    /// A folder in which providers have their sockets, which are watched; may be given more than once.
    #[arg(
        long = "providers",
        value_name = "DIR",
        default_value = "/var/run/secrets-store-csi-providers"
    )]
    pub provider_folders: Vec<PathBuf>,

    /// The uid of its own pod, in whose folder it has the volumes that it publishes: a real kubelet cleans up those of pods
    /// that it does not know.
    #[arg(long, value_name = "UID")]
    pub pod_uid: Option<String>,

    /// A folder to measure the node's floor in.
    #[arg(long, value_name = "DIR", default_value = "/tmp")]
    pub scratch: PathBuf,

    /// The port, on loopback.
    #[arg(long, value_name = "PORT", default_value_t = PORT)]
    pub port: u16,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
///
/// When nothing can be listened on, or nothing more be accepted.
pub async fn run(args: &AgentArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    writeln!(output.out, "the agent listens at {}", listener.local_addr()?)?;
    output.out.flush()?;
    let place = Place {
        socket: args.socket.clone(),
        kubelet_root: args.kubelet_root.clone(),
        pod_uid: args.pod_uid.clone(),
        scratch: args.scratch.clone(),
        provider_folders: args.provider_folders.clone(),
    };
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        served = agent::serve(listener, place) => served?,
        // The first process of a container has no signal handlers but its own.
        _ = terminated.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(OK)
}
