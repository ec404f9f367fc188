//! Makes tenants: in AWS first, then in Kubernetes, each object on record before it is made.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::ledger::{Ledger, LedgerError, Object};
use crate::{
    aws::{Aws, AwsError},
    environment::Environment,
    kubernetes::{KubernetesError, ObjectRef},
    secret::SecretValue,
    tenant::{self, document, manifest, names},
};

/// Longest wait for a namespace to get its `default` ServiceAccount.
const SERVICE_ACCOUNT_WAIT: Duration = Duration::from_secs(30);

/// Something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// AWS said no.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// Kubernetes said no.
    #[error(transparent)]
    Kubernetes(#[from] KubernetesError),
    /// It could not be put on record, so it was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Makes the objects of one run.
#[derive(Clone)]
pub struct Provisioner {
    environment: Arc<Environment>,
    ledger: Arc<Ledger>,
    cluster: String,
    run_id: String,
}

/// A tenant to be made.
#[derive(Clone)]
pub struct TenantRequest {
    /// Its name, which is its namespace's.
    pub name: String,
    /// ARN that its ServiceAccount is annotated with.
    pub annotation: Annotation,
    /// Its secrets: last part of the path, and value.
    pub secrets: Vec<(String, SecretValue)>,
}

/// See [`TenantRequest::annotation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Annotation {
    /// The tenant's own role.
    Own,
    /// None.
    Absent,
    /// Another role's ARN.
    Other(String),
}

/// A tenant that stands.
#[derive(Clone)]
pub struct Tenant {
    /// Its name, which is its namespace's.
    pub name: String,
    /// Name of its own role.
    pub role: String,
    /// ARN of its own role.
    pub role_arn: String,
    /// Its secrets by the last part of their path.
    pub secrets: BTreeMap<String, TenantSecret>,
    /// Time it took to make it.
    pub took: Duration,
}

/// A secret that stands.
#[derive(Clone)]
pub struct TenantSecret {
    /// Its full name.
    pub path: String,
    /// Its ARN.
    pub arn: String,
    /// Its current value.
    pub current: SecretValue,
    /// The value before the last update.
    pub previous: Option<SecretValue>,
}

impl Provisioner {
    /// A provisioner of the run `run_id`, whose names begin with `cluster`.
    #[must_use]
    pub fn new(environment: Arc<Environment>, ledger: Arc<Ledger>, cluster: String, run_id: String) -> Self {
        Self { environment, ledger, cluster, run_id }
    }

    /// What every tenant needs: the driver's kinds, its CSIDriver object, the identity provider.
    pub async fn provide_cluster(&self) -> Result<(), ProvisionError> {
        for manifest in manifest::definitions(&self.run_id).iter().chain([&manifest::csi_driver(&self.run_id)]) {
            self.create(manifest).await?;
        }
        let arn = self.aws().oidc_arn(&self.environment.issuer);
        self.ledger.plan(&[Object::OidcProvider(arn)])?;
        self.aws().provide_oidc(&self.environment.issuer, tenant::AUDIENCE, &self.tags("")).await?;
        Ok(())
    }

    /// Makes tenants, `parallel` at a time, and hands each over as soon as it stands. In the order
    /// of the requests.
    pub async fn provide(
        &self,
        requests: Vec<TenantRequest>,
        parallel: usize,
        ready: &(dyn Fn(&Tenant) + Sync),
    ) -> Result<Vec<Tenant>, ProvisionError> {
        stream::iter(requests)
            .map(|request| async move {
                let tenant = self.provide_one(request).await?;
                ready(&tenant);
                Ok(tenant)
            })
            .buffered(parallel.max(1))
            .try_collect()
            .await
    }

    async fn provide_one(&self, request: TenantRequest) -> Result<Tenant, ProvisionError> {
        let began = Instant::now();
        let name = &request.name;
        let (account, cluster) = (&self.environment.aws.access().account, &self.cluster);
        let policy_name = names::policy(cluster, name);
        let role = names::role(cluster, name);
        let mut planned = vec![
            Object::Policy(self.aws().policy_arn(&policy_name)),
            Object::Role(role.clone()),
            Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, name)),
        ];
        planned.extend(request.secrets.iter().map(|(secret, _)| Object::Secret(names::secret(cluster, name, secret))));
        self.ledger.plan(&planned)?;

        let tags = self.tags(name);
        let (aws, kubernetes) = (self.aws(), &self.environment.kubernetes);
        let in_aws = async {
            let policy = aws.provide_policy(&policy_name, &document::policy(account, cluster, name), &tags).await?;
            let trust = document::trust(account, &self.environment.issuer, name);
            let role_arn = aws.provide_role(&role, &trust, &policy, &tags).await?;
            let mut secrets = BTreeMap::new();
            for (secret, value) in &request.secrets {
                secrets.insert(secret.clone(), self.make_secret(name, secret, value).await?);
            }
            Ok::<_, ProvisionError>((role_arn, secrets))
        };
        let in_kubernetes = async {
            kubernetes.create(&manifest::namespace(&self.run_id, name)).await?;
            self.service_account(name).await
        };
        let ((role_arn, secrets), account) = tokio::try_join!(in_aws, in_kubernetes)?;

        let annotated = match &request.annotation {
            Annotation::Own => Some(role_arn.as_str()),
            Annotation::Absent => None,
            Annotation::Other(arn) => Some(arn.as_str()),
        };
        kubernetes.merge(&account, &manifest::role_annotation(annotated)).await?;
        if let Some(secret) = secrets.get(tenant::SECRET) {
            let objects = [manifest::ClassObject { name: &secret.path, object: None }];
            let class = manifest::class(&self.run_id, name, &names::class(name), &objects, &BTreeMap::new());
            kubernetes.create(&class).await?;
        }
        Ok(Tenant { name: request.name, role, role_arn, secrets, took: began.elapsed() })
    }

    /// Gives a tenant that stands one more secret.
    pub async fn add_secret(&self, tenant: &str, secret: &str, value: &SecretValue) -> Result<TenantSecret, ProvisionError> {
        self.ledger.plan(&[Object::Secret(names::secret(&self.cluster, tenant, secret))])?;
        self.make_secret(tenant, secret, value).await
    }

    async fn make_secret(&self, tenant: &str, secret: &str, value: &SecretValue) -> Result<TenantSecret, ProvisionError> {
        let path = names::secret(&self.cluster, tenant, secret);
        let arn = self.aws().provide_secret(&path, value, &self.tags(tenant)).await?;
        Ok(TenantSecret { path, arn, current: value.clone(), previous: None })
    }

    /// Creates a Kubernetes object, on record.
    pub async fn create(&self, manifest: &serde_json::Value) -> Result<(), ProvisionError> {
        self.ledger.plan(&[Object::Kubernetes(ObjectRef::of(manifest))])?;
        Ok(self.environment.kubernetes.create(manifest).await?)
    }

    /// The namespace's `default` ServiceAccount, which a controller of the cluster makes.
    async fn service_account(&self, namespace: &str) -> Result<ObjectRef, ProvisionError> {
        let account = ObjectRef::new("v1", "ServiceAccount", Some(namespace), tenant::SERVICE_ACCOUNT);
        let until = Instant::now() + SERVICE_ACCOUNT_WAIT;
        while self.environment.kubernetes.read(&account).await?.is_none() {
            if Instant::now() >= until {
                return Err(ProvisionError::Kubernetes(KubernetesError {
                    action: format!("wait for {account}"),
                    status: None,
                    message: format!("not there after {SERVICE_ACCOUNT_WAIT:?}: does the controller manager run?"),
                }));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(account)
    }

    /// The run's ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn aws(&self) -> &Aws {
        &self.environment.aws
    }

    fn tags<'a>(&'a self, tenant: &'a str) -> Vec<(&'a str, &'a str)> {
        let mut tags = vec![("mountproof:run", self.run_id.as_str())];
        if !tenant.is_empty() {
            tags.push(("mountproof:tenant", tenant));
        }
        tags
    }
}
