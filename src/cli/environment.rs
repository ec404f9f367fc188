//! Which environment a command line means, and what was given that means nothing there.

use std::net::SocketAddr;

use clap::ValueEnum;

use super::{list::IdentityChoice, run::RunArgs};
use crate::environment::{
    ClusterAws, EnvironmentOptions, KindOptions, LocalOptions, installation::InstallationOptions,
    standing::SharedOptions,
};

/// Environments that this version can stand up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EnvironmentName {
    /// Everything in this process; needs nothing.
    Embedded,
    /// Driver and provider of real releases, as processes confined on this machine; the rest as in embedded.
    Host,
    /// A real cluster in containers of this machine, made by kind, driver and provider on its nodes; needs Docker.
    Kind,
    /// Any cluster that a kubeconfig is the way to, with the driver and provider that are there; it is left as it was.
    Cluster,
    /// A cluster of Amazon EKS in an account of AWS's: one that is there, or one that is made for the run (--create).
    Eks,
}

impl RunArgs {
    /// The environment that was chosen; what cannot be meant, in words.
    pub(super) fn environment(&self) -> Result<EnvironmentOptions, String> {
        Ok(match self.env {
            EnvironmentName::Embedded | EnvironmentName::Host => {
                EnvironmentOptions::Local(Box::new(self.local()))
            }
            EnvironmentName::Kind => EnvironmentOptions::Kind(Box::new(self.kind()?)),
            EnvironmentName::Cluster => {
                let aws = self.cluster_aws()?;
                let options = self.cluster.options(aws, self.shared()?);
                EnvironmentOptions::Cluster(Box::new(options))
            }
            EnvironmentName::Eks => {
                let (name, region) = (self.cluster_name.as_deref(), self.region.clone());
                let options = self.eks.options(name, region, self.shared()?)?;
                EnvironmentOptions::Eks(Box::new(options))
            }
        })
    }

    fn local(&self) -> LocalOptions {
        LocalOptions {
            plants: self.plant.clone(),
            faults: self.fault.clone(),
            kubernetes_listen: self.kubernetes_listen,
            aws_listen: self.aws_listen,
            aws: self.aws.options(self.env),
            clock: self.kubelet_clock,
            provider_qps: self.provider_qps,
            programs: self.host.obtained.clone().map(|obtained| obtained.0),
            pod_identity: self.tenants.identity != IdentityChoice::Irsa,
            ..LocalOptions::default()
        }
    }

    fn kind(&self) -> Result<KindOptions, String> {
        let (installation, then) = self.installations()?;
        Ok(KindOptions {
            then,
            stay: self.stay.stay(),
            workload_image: self.image.clone(),
            aws: self.aws.options(self.env),
            plants: self.plant.clone(),
            faults: self.fault.clone(),
            ..self.kind.options(installation)
        })
    }

    /// Driver and provider, and what comes in their place in the middle of the run.
    fn installations(&self) -> Result<(InstallationOptions, Option<InstallationOptions>), String> {
        let installation = self.installation.options(&self.host.release, self.provider_qps)?;
        let then = self.then.then.as_ref();
        let then = then.map(|then| then.options(&installation, &self.host.release.repositories()));
        Ok((installation, then.transpose()?))
    }

    /// What is asked of a cluster that is there.
    pub(super) fn shared(&self) -> Result<SharedOptions, String> {
        let (installation, then) = self.installations()?;
        let named =
            installation.driver.asked || installation.provider.asked || installation.registrar.is_some();
        Ok(SharedOptions {
            install: self.standing.install || self.standing.replace_driver || named,
            replace_driver: self.standing.replace_driver,
            installation,
            then,
            agent: self.kind.agent_image.clone(),
            workload_image: self.image.clone(),
            namespaces: self.tenants.names(),
            irsa: self.tenants.identity != IdentityChoice::PodIdentity,
            pod_identity: self.tenants.identity != IdentityChoice::Irsa,
            plants: self.plant.clone(),
            faults: self.fault.clone(),
            ..SharedOptions::default()
        })
    }

    fn cluster_aws(&self) -> Result<ClusterAws, String> {
        if self.aws.is_account(self.env) {
            return Ok(ClusterAws::Account {
                options: self.eks.account(self.region.clone()),
                id: String::new(),
            });
        }
        if self.aws_listen == ([127, 0, 0, 1], 0).into() || self.aws_listen.ip().is_unspecified() {
            return Err(
                "the provider on the nodes has to reach the endpoint: give --aws-listen IP:PORT, with an address of this machine \
                 that the nodes reach (port 0 for any free one)"
                    .to_owned(),
            );
        }
        Ok(ClusterAws::Ours {
            options: self.aws.options(self.env),
            listen: self.aws_listen,
        })
    }

    /// What was given that means nothing in the environment that was chosen, and what to do.
    pub(super) fn misplaced(&self) -> Option<String> {
        self.flag_of_another()
            .or_else(|| self.broken_in_account())
            .or_else(|| self.open_to_all())
            .or_else(|| {
                let confined = self.env == EnvironmentName::Host || self.host.kube_apiserver.is_some();
                self.aws.misplaced(self.env, confined, &self.plant, &self.fault)
            })
    }

    /// A flag that is for other environments alone.
    fn flag_of_another(&self) -> Option<String> {
        use EnvironmentName::{Cluster, Eks, Embedded, Host, Kind};
        let of_nodes = self
            .installation
            .first_given()
            .or_else(|| self.then.then.is_some().then_some("--then"))
            .or_else(|| self.kind.agent_image.is_some().then_some("--agent-image"));
        let in_account = self.env == Eks || self.aws.is_account(self.env);
        let of_another: [(bool, Option<&str>, &str); 8] = [
            (
                self.env == Host,
                self.host.first_given(),
                "real releases: add --env host",
            ),
            (
                self.env != Embedded,
                self.host.release.first_given(),
                "real releases: add --env host, or --env kind",
            ),
            (
                self.env == Kind,
                self.kind.first_given().or_else(|| self.stay.first_given()),
                "a cluster of kind: add --env kind",
            ),
            (
                matches!(self.env, Kind | Cluster | Eks),
                of_nodes,
                "the nodes of a cluster: add --env kind, --env cluster or --env eks",
            ),
            (
                self.env == Cluster,
                self.cluster.first_given(),
                "a cluster that is there: add --env cluster",
            ),
            (
                matches!(self.env, Cluster | Eks),
                self.standing.first_given(),
                "a cluster that is there: add --env cluster, or --env eks",
            ),
            (
                self.env == Eks,
                self.eks.first_given(),
                "a cluster of EKS: add --env eks",
            ),
            (
                in_account,
                self.eks.first_of_account(),
                "an account of AWS's: add --env eks, or --env cluster --aws account",
            ),
        ];
        of_another
            .into_iter()
            .filter(|(fits, ..)| !fits)
            .find_map(|(_, flag, what)| Some(format!("{} is for {what}", flag?)))
    }

    /// A defect or a fault, where nothing is ours to break.
    fn broken_in_account(&self) -> Option<String> {
        if self.env != EnvironmentName::Eks {
            return None;
        }
        let plant = self.plant.first().map(|plant| format!("--plant {plant}"));
        let flag = plant.or_else(|| self.fault.first().map(|fault| format!("--fault {fault}")))?;
        Some(format!(
            "{flag} is for a part of ours, and in an account none is: leave --env eks out"
        ))
    }

    /// An endpoint that whoever is outside reaches, where nobody there needs it.
    fn open_to_all(&self) -> Option<String> {
        if self.env == EnvironmentName::Cluster {
            return None;
        }
        let outside = reached_from_outside(self.aws_listen)?;
        Some(format!("--aws-listen {outside}"))
    }
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an address and a port are needed, such as 127.0.0.1:6443".to_owned())
}

pub(super) fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = address(text)?;
    reached_from_outside(address).map_or(Ok(address), Err)
}

fn reached_from_outside(address: SocketAddr) -> Option<String> {
    (!address.ip().is_loopback()).then(|| {
        format!(
            "{} can be reached from outside this machine, and whoever reaches the embedded environment has all \
             of it; give a loopback address, such as 127.0.0.1:{}",
            address.ip(),
            address.port()
        )
    })
}
