//! The EKS Pod Identity Agent of a node: the stand-in, on an address of the node's own.
//!
//! On a real node it listens at 169.254.170.23, which is every node's. All nodes are on one machine here, so that each has a port of
//! its loopback in that place, from the beginning on: a provider that is started before the agent finds it there later, and
//! until then nobody.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use mountproof_aws_endpoint::eks::InstanceKeys;
use mountproof_stand_ins::{
    ProgramLog,
    defects::Shared,
    pod_identity_agent::{AgentConfig, NodeKey, PodIdentityAgent},
    programs::standin::NotStarted,
};
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use super::{
    super::installation::flag,
    given::Given,
    programs::{Site, told},
};

/// What its image is called, in whichever registry.
const IMAGE: &str = "eks-pod-identity-agent";

/// What a node is for EC2.
#[derive(Clone)]
pub(super) struct Instance {
    /// Such as `i-0123456789abcdef0`.
    pub(super) id: String,
    pub(super) region: String,
    /// The credentials of its role.
    pub(super) keys: InstanceKeys,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A port that is the agent's on its node, whether or not it runs: nobody else gets it, and who calls it is refused until it
/// listens.
#[derive(Debug)]
pub(super) struct IdentityAddress(Option<(TcpSocket, SocketAddr)>);

impl IdentityAddress {
    pub(super) fn reserved() -> Self {
        let reserved = || {
            let socket = TcpSocket::new_v4()?;
            // The agent binds the same address beside this socket, which never listens.
            socket.set_reuseaddr(true)?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            let address = socket.local_addr()?;
            Ok::<_, std::io::Error>((socket, address))
        };
        match reserved() {
            Ok(reserved) => Self(Some(reserved)),
            Err(error) => {
                tracing::warn!(%error, "no port for the Pod Identity Agent of a node");
                Self(None)
            }
        }
    }

    /// In the place of the agent's addresses over IPv4 and IPv6.
    pub(super) fn agents(&self) -> Option<[SocketAddr; 2]> {
        let (_, address) = self.0.as_ref()?;
        Some([*address; 2])
    }
}

/// Whether a container is the agent.
pub(super) fn is_agent(container: &Value) -> bool {
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split([':', '@']).next() == Some(IMAGE)
}

/// Starts the agent with a container's arguments.
pub(super) async fn started(
    given: &Given,
    site: &Site,
    address: &IdentityAddress,
) -> Result<(PodIdentityAgent, ProgramLog), NotStarted> {
    let container = json!({ "args": given.arguments });
    let (_, address) = address
        .0
        .as_ref()
        .ok_or_else(|| told("the node has no address for it"))?;
    let Instance { id, region, keys } = site.instance.clone();
    let log = ProgramLog::of("server.go");
    let config = AgentConfig {
        listen: vec![*address],
        cluster: flag(&container, "cluster-name").unwrap_or_default(),
        region: given
            .variable("AWS_REGION")
            .filter(|region| !region.is_empty())
            .unwrap_or(region),
        node: Arc::new(move || {
            let keys = keys(&id)?;
            Some(NodeKey {
                access_key_id: keys.access_key_id,
                secret_access_key: keys.secret_access_key,
                session_token: Some(keys.session_token),
            })
        }),
        https_proxy: site.endpoint,
        trusted_pem: site.trust_pem.clone(),
        defects: Shared::default(),
    };
    let agent = PodIdentityAgent::start(config).await.map_err(told)?;
    log.say(format!("Starting server, listening at {address}"));
    Ok((agent, log))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_agent_is_known_by_the_name_of_its_image() {
        for (image, is) in [
            (
                "602401143452.dkr.ecr.eu-west-1.amazonaws.com/eks/eks-pod-identity-agent:v0.1.37",
                true,
            ),
            ("eks/eks-pod-identity-agent", true),
            ("registry.example/eks-pod-identity-agent@sha256:0", true),
            ("registry.example/eks-pod-identity-agent-init:1", false),
            ("registry.example/eks-pod-identity-agent/other:1", false),
        ] {
            assert_eq!(is_agent(&json!({ "image": image })), is, "{image}");
        }
    }

    #[tokio::test]
    async fn its_port_is_refused_until_it_listens_and_again_afterwards() {
        let reserved = IdentityAddress::reserved();
        let [address, _] = reserved.agents().unwrap();
        for _ in 0..2 {
            assert!(TcpStream::connect(address).await.is_err());
            let listener = TcpListener::bind(address).await.unwrap();
            assert!(TcpStream::connect(address).await.is_ok());
            drop(listener);
        }
    }
}
