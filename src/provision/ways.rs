//! The ways in by which a tenant's pods get their role: a role for each, and what binds the `ServiceAccount` to it.

use std::time::{Duration, Instant};

use super::{
    ledger::Object,
    tenants::{Annotation, ProvisionError, Provisioner, TenantRequest},
};
use crate::{
    aws::Tags,
    tenant::{self, EksCluster, Identity, TenantNames},
};

/// Longest wait for an association to be listed.
const LISTED: Duration = Duration::from_secs(30);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(200);
/// "EKS Pod Identity associations are eventually consistent. There may be delays of several seconds after the initial API call
/// returns successfully" (EKS user guide). Nothing that can be asked tells when they count: in an account of AWS's this is
/// waited, which is no more than that.
const COUNTS: Duration = Duration::from_secs(10);

/// A way in that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// Which.
    pub identity: Identity,
    /// Name of the tenant's own role for it.
    pub role: String,
    /// The role's ARN.
    pub role_arn: String,
    /// Name of the `SecretProviderClass` that names the tenant's `secret`.
    pub class: String,
    /// The EKS cluster that its association is in, where it has one.
    pub associated_in: Option<String>,
}

impl Way {
    /// What it is made of, in the order in which it is removed.
    pub(super) fn objects(&self, namespace: &str) -> Vec<Object> {
        let associated_in = self.associated_in.iter();
        associated_in
            .map(|cluster| association(cluster, namespace))
            .chain([Object::Role(self.role.clone())])
            .collect()
    }
}

impl Provisioner {
    /// What is to be on record before the ways of a request are made.
    pub(super) fn planned_ways(
        &self,
        names: &TenantNames,
        request: &TenantRequest,
    ) -> Result<Vec<Object>, ProvisionError> {
        let mut planned = Vec::new();
        for &identity in &request.identities {
            planned.push(Object::Role(names.role_of(identity)));
            if identity == Identity::PodIdentity && request.annotation != Annotation::Absent {
                planned.push(association(self.eks_cluster()?, names.namespace()));
            }
        }
        Ok(planned)
    }

    /// Makes one way of a request: its role with this policy, and for Pod Identity the association.
    pub(super) async fn make_way(
        &self,
        names: &TenantNames,
        request: &TenantRequest,
        identity: Identity,
        policy: &str,
        tags: &Tags,
    ) -> Result<Way, ProvisionError> {
        let role = names.role_of(identity);
        let trust = self.trust(names, request, identity)?;
        let role_arn = self.aws().provide_role(&role, &trust, policy, tags).await?;
        let associated = match (identity, &request.annotation) {
            (Identity::Irsa, _) | (_, Annotation::Absent) => None,
            (Identity::PodIdentity, Annotation::Own) => Some(&role_arn),
            (Identity::PodIdentity, Annotation::Other(arn)) => Some(arn),
        };
        let associated_in = match associated {
            None => None,
            Some(arn) => {
                let cluster = self.eks_cluster()?;
                self.associate(cluster, names.namespace(), arn, tags).await?;
                Some(cluster.to_owned())
            }
        };
        Ok(Way {
            identity,
            role_arn,
            class: names.class_of(identity),
            associated_in,
            role,
        })
    }

    fn trust(
        &self,
        names: &TenantNames,
        request: &TenantRequest,
        identity: Identity,
    ) -> Result<serde_json::Value, ProvisionError> {
        let (aws, environment) = (self.aws(), self.environment());
        let (partition, account) = (aws.partition(), &aws.access().account);
        if identity == Identity::Irsa {
            return Ok(tenant::trust_policy(
                names,
                partition,
                account,
                &environment.issuer,
            ));
        }
        let own = self.eks_cluster()?;
        let other = format!("{own}-other");
        let cluster = EksCluster {
            partition,
            region: &aws.access().region,
            account,
            name: if request.trusts_other_cluster { &other } else { own },
        };
        Ok(tenant::pod_trust_policy(names, cluster))
    }

    /// Associates the `default` `ServiceAccount` of a namespace with a role, and waits until that counts.
    async fn associate(
        &self,
        cluster: &str,
        namespace: &str,
        role_arn: &str,
        tags: &Tags,
    ) -> Result<(), ProvisionError> {
        let aws = self.aws();
        match aws
            .create_association(cluster, namespace, "default", role_arn, tags)
            .await
        {
            Ok(_) => {}
            Err(error)
                if error.already_exists() && self.is_ours(cluster, namespace, role_arn, tags).await? => {}
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + LISTED;
        while aws.associations(cluster, Some(namespace)).await?.is_empty() {
            if Instant::now() >= until {
                return Err(ProvisionError::NotAssociated {
                    namespace: namespace.to_owned(),
                    within: LISTED,
                });
            }
            tokio::time::sleep(LOOK).await;
        }
        // An endpoint of the run's own, which has a call log, knows what it was told.
        if self.environment().calls.is_none() {
            tokio::time::sleep(COUNTS).await;
        }
        Ok(())
    }

    /// Whether the association of a namespace's `default` `ServiceAccount` is the one that is to be made.
    async fn is_ours(
        &self,
        cluster: &str,
        namespace: &str,
        role_arn: &str,
        tags: &Tags,
    ) -> Result<bool, ProvisionError> {
        let found = self.aws().associations(cluster, Some(namespace)).await?;
        let found = found.into_iter().find(|one| one.service_account == "default");
        let Some(found) = found else { return Ok(false) };
        let there = self.aws().association(cluster, &found.id).await?;
        Ok(there.role_arn == role_arn && there.tags == *tags)
    }

    fn eks_cluster(&self) -> Result<&str, ProvisionError> {
        let cluster = self.environment().eks_cluster.as_deref();
        cluster.ok_or(ProvisionError::NoEksCluster)
    }
}

fn association(cluster: &str, namespace: &str) -> Object {
    Object::PodIdentityAssociation {
        cluster: cluster.to_owned(),
        namespace: namespace.to_owned(),
        service_account: "default".to_owned(),
    }
}
