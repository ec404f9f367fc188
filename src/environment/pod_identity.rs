//! Pod Identity on this machine: the cluster of the environment taken for one of EKS's, a node with a role, and the agent on it.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock, Weak},
};

use mountproof_aws_endpoint::eks::ClusterParts;
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    defects::Shared,
    pod_identity_agent::{self, ADDRESSES, AgentConfig, NodeCredentials, NodeKey, PodIdentityAgent},
};

use super::{Defect, LocalOptions, StartError, aws_side::AwsSide, local::ANY_PORT, planted};
use crate::{
    aws::Aws,
    journal::Component,
    kubernetes::Kubernetes,
    provision::{Ledger, Object},
    tenant::{self, ClusterName, Marks},
};

/// As errors name it.
const PART: &str = "Pod Identity Agent stand-in";
/// The instance that the node would be.
const INSTANCE: &str = "i-0123456789abcdef0";

/// The agent, and what it is for.
pub(super) struct PodIdentityPart {
    agent: PodIdentityAgent,
    /// Name of the EKS cluster that the environment is.
    pub(super) cluster: String,
    /// ARN of the node's role, once there is one.
    node_role: Arc<OnceLock<String>>,
}

impl PodIdentityPart {
    /// Starts the agent of the node, in the EKS cluster that is called after the run.
    pub(super) async fn start(
        options: &LocalOptions,
        aws: &Arc<AwsSide>,
        ca: &RunCa,
        region: &str,
        marks: &Marks,
    ) -> Result<Self, StartError> {
        let cluster = ClusterName::of_run(marks.run()).map_err(StartError::of(PART))?;
        let node_role = Arc::new(OnceLock::new());
        let config = |listen: Vec<SocketAddr>| AgentConfig {
            listen,
            cluster: cluster.as_str().to_owned(),
            region: region.to_owned(),
            node: credentials(aws, region, &node_role),
            https_proxy: Some(aws.address()),
            trusted_pem: ca.certificate_pem().to_owned(),
            defects: Shared::default(),
        };
        let agent = if options.programs.is_some() {
            // A release looks for it at its own addresses, which the confinement has; the second one where there is IPv6.
            match PodIdentityAgent::start(config(ADDRESSES.to_vec())).await {
                Ok(agent) => Ok(agent),
                Err(_) => PodIdentityAgent::start(config(ADDRESSES[..1].to_vec())).await,
            }
        } else {
            PodIdentityAgent::start(config(vec![ANY_PORT])).await
        };
        let agent = agent.map_err(StartError::of(PART))?;
        agent.defects().set_for(
            planted::agent_defects(&options.plants),
            planted::times(&options.plants, |defect| matches!(defect, Defect::Agent(_))),
        );
        Ok(Self {
            agent,
            cluster: cluster.as_str().to_owned(),
            node_role,
        })
    }

    /// Where the provider stand-in reaches it: over IPv4, and what stands for IPv6.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        let addresses = self.agent.addresses();
        let first = addresses.first().copied().unwrap_or(ADDRESSES[0]);
        [first, addresses.get(1).copied().unwrap_or(first)]
    }

    /// Has EKS know the cluster at this URL, with this authority, and gives the node its role, which is on record before it is made.
    pub(super) async fn furnish(
        &self,
        (endpoint, authority): (String, &str),
        kubernetes: &Kubernetes,
        aws_side: &AwsSide,
        aws: &Aws,
        marks: &Marks,
        ledger: &Ledger,
    ) -> Result<(), StartError> {
        let parts = ClusterParts {
            endpoint,
            certificate_authority_pem: authority.to_owned(),
            issuer: kubernetes.issuer().await.map_err(StartError::of(PART))?,
            jwks: kubernetes.issuer_keys().await.map_err(StartError::of(PART))?,
        };
        aws_side.adopt_cluster(&aws.access().region, &self.cluster, parts);
        let (role, policy) = (
            format!("{}-node-role", self.cluster),
            format!("{}-node-policy", self.cluster),
        );
        let planned = [
            Object::Policy(aws.policy_arn(&policy)),
            Object::Role(role.clone()),
        ];
        ledger.plan(&planned).map_err(StartError::of(PART))?;
        let tags = marks.tags();
        let policy = aws.provide_policy(&policy, &tenant::agent_policy(), &tags).await;
        let policy = policy.map_err(StartError::of(PART))?;
        let made = aws
            .provide_role(&role, &tenant::node_trust_policy(), &policy, &tags)
            .await;
        // It is set once.
        let _ = self.node_role.set(made.map_err(StartError::of(PART))?);
        Ok(())
    }

    /// What a report says of it.
    pub(super) fn component(&self) -> Component {
        let [first, _] = self.addresses();
        Component {
            seam: "pod-identity".to_owned(),
            name: PART.to_owned(),
            version: pod_identity_agent::VERSION.to_owned(),
            stand_in: true,
            notes: vec![
                format!("on {first}"),
                "gives pods their roles with the node's own credentials".to_owned(),
            ],
        }
    }

    pub(super) async fn stop(self) {
        self.agent.stop().await;
    }
}

/// What the instance's metadata service would give: the credentials of its role, had once and used as long as they last,
/// which is longer than a run.
fn credentials(aws: &Arc<AwsSide>, region: &str, role: &Arc<OnceLock<String>>) -> NodeCredentials {
    let (aws, region, role): (Weak<AwsSide>, _, _) =
        (Arc::downgrade(aws), region.to_owned(), Arc::clone(role));
    let had: OnceLock<NodeKey> = OnceLock::new();
    Arc::new(move || {
        if let Some(had) = had.get() {
            return Some(had.clone());
        }
        let given = aws
            .upgrade()?
            .instance_credentials(&region, role.get()?, INSTANCE)?;
        let key = NodeKey {
            access_key_id: given.access_key_id,
            secret_access_key: given.secret_access_key,
            session_token: Some(given.session_token),
        };
        Some(had.get_or_init(|| key).clone())
    })
}
