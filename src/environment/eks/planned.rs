//! PURE. What a run in an account makes there, in words.

use std::collections::BTreeMap;

use super::{
    EksOptions,
    cost::{self, Priced},
    options::{Creation, EksCluster},
    policy::{self, Scope},
};
use crate::tenant::Identity;

/// What a cluster and its nodes take to come up and to go, about.
const TAKES: &str = "about 13 minutes to come up and 10 to go, beside the run itself";

impl EksOptions {
    /// What would be made, what becomes of it and what it costs: a line each. So many secrets, read so many times.
    #[must_use]
    pub fn planned(&self, secrets: usize, calls: u64) -> Vec<String> {
        let region = self
            .account
            .region
            .as_deref()
            .unwrap_or("the region of the credentials");
        let mut lines = match &self.cluster {
            EksCluster::Existing(name) => vec![
                format!("eks: the cluster {name} in {region}, which stays as it is"),
                "in it and in the account only what the run makes, each with the run's tag or label, removed at the end"
                    .to_owned(),
            ],
            EksCluster::Created(creation) => self.made(creation, region),
        };
        for addon in &self.addons {
            let version = addon.version.as_deref().unwrap_or("of EKS's choice");
            lines.push(format!("add-on      {} {version}", addon.name));
        }
        lines.extend(self.shared.planned());
        let account = match self.account_id.as_str() {
            "" => {
                "the account of the credentials; without a terminal it has to be agreed to: --allow-account ID"
            }
            agreed => agreed,
        };
        lines.push(format!("account: {account}"));
        lines.push(
            "every name in the account begins with mountproof-RUNID; tags mountproof:run=RUNID and, of a tenant, mountproof:tenant=NAME"
                .to_owned(),
        );
        lines.extend(self.permissions(region));
        let (cluster, nodes, instance_type) = match &self.cluster {
            EksCluster::Existing(_) => (false, 0, ""),
            EksCluster::Created(creation) => (
                true,
                creation.nodes.desired,
                creation.nodes.instance_type.as_str(),
            ),
        };
        lines.extend(cost::lines(Priced {
            cluster,
            nodes,
            instance_type,
            secrets,
            calls,
        }));
        lines
    }

    /// What has to be allowed, in this partition, account and region.
    #[must_use]
    pub fn scope<'a>(
        &'a self,
        (partition, account, region): (&'a str, &'a str, &'a str),
        identities: &'a [Identity],
    ) -> Scope<'a> {
        let (cluster, created) = match &self.cluster {
            EksCluster::Existing(name) => (Some(name.as_str()), None),
            EksCluster::Created(creation) => (None, creation.name.as_deref()),
        };
        Scope {
            partition,
            account,
            region,
            cluster,
            created,
            addons: !self.addons.is_empty(),
            identities,
        }
    }

    /// The same, by service.
    fn permissions(&self, region: &str) -> Vec<String> {
        let identities: Vec<Identity> = Identity::ALL
            .into_iter()
            .filter(|identity| match identity {
                Identity::Irsa => self.shared.irsa,
                Identity::PodIdentity => self.shared.pod_identity,
            })
            .collect();
        let actions = policy::actions(&self.scope(("aws", &self.account_id, region), &identities));
        let mut services: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for action in &actions {
            if let Some((service, name)) = action.split_once(':') {
                services.entry(service).or_default().push(name);
            }
        }
        let mut lines = vec![format!(
            "permissions: {} actions, on names of runs only; `mountproof doctor --env eks --print-policy iam` prints the policy",
            actions.len()
        )];
        lines.extend(
            services
                .iter()
                .map(|(service, names)| format!("  {service}: {}", names.join(" "))),
        );
        lines
    }

    fn made(&self, creation: &Creation, region: &str) -> Vec<String> {
        let name = self.cluster_name("RUNID");
        let nodes = &creation.nodes;
        let version = creation.version.as_deref().unwrap_or("of EKS's choice");
        vec![
            format!("eks: a cluster of its own in {region}, deleted at the end; {TAKES}"),
            format!(
                "cluster     {name}, Kubernetes {version}, subnets {}",
                creation.subnets.join(", ")
            ),
            format!(
                "node group  mountproof-RUNID, {} of {} ({} to {})",
                nodes.desired, nodes.instance_type, nodes.least, nodes.most
            ),
            "roles       mountproof-RUNID-cluster, mountproof-RUNID-node, with policies that AWS manages"
                .to_owned(),
        ]
    }
}
