//! Makes tenants: in AWS first, then in Kubernetes, each object on record before it is made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::{
    ledger::{Ledger, LedgerError, Object},
    removal::{Removal, remove},
    settled::{Newcomer, await_settled},
    ways::Way,
};
use crate::{
    aws::{Aws, AwsError},
    environment::Environment,
    kubernetes::{KubernetesError, ObjectRef, SECRETS_STORE},
    secret::SecretValue,
    tenant::{
        self, AUDIENCE, ClassManifest, ClassObject, ClusterName, Identity, Marks, NameError, TENANT_SECRET,
        TenantNames,
    },
};

/// Longest wait for a namespace to get its `default` `ServiceAccount`.
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
    /// A name that neither world would take.
    #[error(transparent)]
    Name(#[from] NameError),
    /// It could not be put on record, so it was not made.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A request without one.
    #[error("make a tenant without a way in")]
    NoWayIn,
    /// Pod Identity is EKS's.
    #[error("associate a ServiceAccount with a role: this is no cluster of EKS's; leave --identity out")]
    NoEksCluster,
    /// An association was made, and is not there.
    #[error("associate {namespace}/default with its role: not listed after {within:?}")]
    NotAssociated {
        /// The namespace.
        namespace: String,
        /// The wait.
        within: Duration,
    },
}

/// Makes the objects of one run.
#[derive(Clone)]
pub struct Provisioner {
    environment: Arc<Environment>,
    ledger: Arc<Ledger>,
    cluster: ClusterName,
    marks: Marks,
}

/// A tenant to be made.
#[derive(Clone)]
pub struct TenantRequest {
    /// Its name, which is its namespace's.
    pub name: String,
    /// The ways in that it is to have.
    pub identities: Vec<Identity>,
    /// ARN that its `ServiceAccount` is annotated with, or associated with.
    pub annotation: Annotation,
    /// Whether its role of Pod Identity trusts another cluster than its own.
    pub trusts_other_cluster: bool,
    /// The secrets that its role's permissions boundary lets it read, by the last part of their paths; no boundary
    /// where absent.
    pub boundary: Option<Vec<String>>,
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
    /// The way in by which it is looked at: role and class are of this one.
    pub identity: Identity,
    /// Every way in that it has.
    pub ways: Vec<Way>,
    /// Name of its own role.
    pub role: String,
    /// ARN of its own role.
    pub role_arn: String,
    /// ARN of the managed policy that is its role's permissions boundary.
    pub boundary: Option<String>,
    /// Name of the `SecretProviderClass` that names its `secret`.
    pub class: String,
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

impl Tenant {
    /// The same tenant by this way in, if it has it.
    #[must_use]
    pub fn through(&self, identity: Identity) -> Option<Self> {
        let way = self.ways.iter().find(|way| way.identity == identity)?;
        Some(Self {
            identity,
            role: way.role.clone(),
            role_arn: way.role_arn.clone(),
            class: way.class.clone(),
            ..self.clone()
        })
    }
}

impl Provisioner {
    /// A provisioner whose names begin with `cluster` and whose objects carry `marks`.
    #[must_use]
    pub fn new(
        environment: Arc<Environment>,
        ledger: Arc<Ledger>,
        cluster: ClusterName,
        marks: Marks,
    ) -> Self {
        Self {
            environment,
            ledger,
            cluster,
            marks,
        }
    }

    /// What every tenant's role needs: for IRSA the identity provider of the cluster's tokens.
    pub async fn provide_cluster(&self, identities: &[Identity]) -> Result<(), ProvisionError> {
        if !identities.contains(&Identity::Irsa) {
            return Ok(());
        }
        let arn = self.aws().oidc_arn(&self.environment.issuer);
        self.ledger.plan(&[Object::OidcProvider(arn)])?;
        let tags = self.marks.tags();
        self.aws()
            .provide_oidc(&self.environment.issuer, AUDIENCE, &tags)
            .await?;
        Ok(())
    }

    /// Makes tenants, `parallel` at a time, and hands each over as soon as it stands. In the order
    /// of the requests.
    ///
    /// # Errors
    ///
    /// The first that happened. Tenants that are under way then, or when `stop` is cancelled, are brought to
    /// their end, so that no request is still on its way when teardown begins; no other is begun.
    pub async fn provide(
        &self,
        requests: Vec<TenantRequest>,
        parallel: usize,
        ready: &(dyn Fn(&Tenant) + Sync),
        stop: &CancellationToken,
    ) -> Result<Vec<Tenant>, ProvisionError> {
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let mut ending = stream::iter(requests)
            .map(|request| async move {
                if failed.load(Ordering::Relaxed) || stop.is_cancelled() {
                    return None;
                }
                let tenant = self.provide_one(request).await;
                match &tenant {
                    Ok(tenant) => ready(tenant),
                    Err(_) => failed.store(true, Ordering::Relaxed),
                }
                Some(tenant)
            })
            .buffered(parallel.max(1));
        let (mut tenants, mut error) = (Vec::new(), None);
        while let Some(ended) = ending.next().await {
            match ended {
                Some(Ok(tenant)) => tenants.push(tenant),
                Some(Err(first)) => error = error.or(Some(first)),
                None => {}
            }
        }
        error.map_or(Ok(tenants), Err)
    }

    async fn provide_one(&self, request: TenantRequest) -> Result<Tenant, ProvisionError> {
        let began = Instant::now();
        let names = TenantNames::new(&self.cluster, &request.name)?;
        let (partition, account) = (self.aws().partition(), &self.aws().access().account);
        let mut planned = vec![
            Object::Policy(names.policy_arn(partition, account)),
            Object::Kubernetes(ObjectRef::new("v1", "Namespace", None, names.namespace())),
        ];
        planned.extend(self.planned_ways(&names, &request)?);
        planned.extend(request.identities.iter().map(|&identity| {
            Object::Kubernetes(ObjectRef::new(
                SECRETS_STORE,
                "SecretProviderClass",
                Some(names.namespace()),
                &names.class_of(identity),
            ))
        }));
        let boundary = match &request.boundary {
            Some(within) => Some(self.boundary(&names, within)?),
            None => None,
        };
        planned.extend(boundary.iter().map(|(arn, _)| Object::Policy(arn.clone())));
        for (secret, _) in &request.secrets {
            planned.push(Object::Secret(names.secret(secret)?));
        }
        self.ledger.plan(&planned)?;

        let marks = self.marks.of_tenant(&request.name);
        let tags = marks.tags();
        let (aws, kubernetes) = (self.aws(), &self.environment.kubernetes);
        let in_aws = async {
            let document = tenant::identity_policy(&names, partition, account);
            let policy = aws.provide_policy(&names.policy(), &document, &tags).await?;
            if let Some((_, document)) = &boundary {
                aws.provide_policy(&names.boundary(), document, &tags).await?;
            }
            let mut ways = Vec::new();
            for &identity in &request.identities {
                let way = self.make_way(&names, &request, identity, &policy, &tags).await?;
                if let Some((arn, _)) = &boundary {
                    aws.bound_role(&way.role, arn).await?;
                }
                ways.push(way);
            }
            let mut secrets = BTreeMap::new();
            for (secret, value) in &request.secrets {
                secrets.insert(secret.clone(), self.make_secret(&names, secret, value).await?);
            }
            Ok::<_, ProvisionError>((ways, secrets))
        };
        let in_kubernetes = async {
            kubernetes
                .create(&tenant::namespace(names.namespace(), &marks))
                .await?;
            self.await_service_account(names.namespace()).await
        };
        // Both to their end, also when one fails: see `provide`.
        let (in_aws, in_kubernetes) = tokio::join!(in_aws, in_kubernetes);
        let ((ways, secrets), ()) = (in_aws?, in_kubernetes?);

        let by_annotation = ways.iter().find(|way| way.identity == Identity::Irsa);
        let annotated = by_annotation.and_then(|way| match &request.annotation {
            Annotation::Own => Some(way.role_arn.as_str()),
            Annotation::Absent => None,
            Annotation::Other(arn) => Some(arn.as_str()),
        });
        kubernetes
            .apply(&tenant::service_account(names.namespace(), annotated, &marks))
            .await?;
        if self.environment.reach.is_account()
            && let Some(way) = by_annotation
        {
            let own = secrets.get(TENANT_SECRET).filter(|_| boundary.is_none());
            let newcomer = Newcomer {
                namespace: names.namespace(),
                role_arn: &way.role_arn,
                secret: own.map(|secret| secret.path.as_str()),
            };
            await_settled(aws, kubernetes, newcomer).await?;
        }
        if let Some(secret) = secrets.get(TENANT_SECRET) {
            for way in &ways {
                let class = ClassManifest {
                    namespace: names.namespace(),
                    name: &way.class,
                    objects: &[ClassObject::named(&secret.path)],
                    parameters: &BTreeMap::new(),
                    sync: None,
                    identity: way.identity,
                    marks: &marks,
                };
                kubernetes.create(&class.manifest()).await?;
            }
        }
        let first = ways.first().ok_or(ProvisionError::NoWayIn)?;
        Ok(Tenant {
            identity: first.identity,
            role: first.role.clone(),
            role_arn: first.role_arn.clone(),
            class: first.class.clone(),
            boundary: boundary.map(|(arn, _)| arn),
            name: request.name,
            ways,
            secrets,
            took: began.elapsed(),
        })
    }

    /// ARN and document of a boundary that lets through the secrets `within` and nothing else.
    fn boundary(
        &self,
        names: &TenantNames,
        within: &[String],
    ) -> Result<(String, serde_json::Value), ProvisionError> {
        let (partition, account) = (self.aws().partition(), &self.aws().access().account);
        let paths: Result<Vec<String>, NameError> =
            within.iter().map(|secret| names.secret(secret)).collect();
        let document = tenant::boundary_policy(&paths?, partition, account);
        Ok((names.boundary_arn(partition, account), document))
    }

    /// Gives a tenant that stands one more secret.
    pub async fn add_secret(
        &self,
        tenant: &str,
        secret: &str,
        value: &SecretValue,
    ) -> Result<TenantSecret, ProvisionError> {
        let names = TenantNames::new(&self.cluster, tenant)?;
        self.ledger.plan(&[Object::Secret(names.secret(secret)?)])?;
        self.make_secret(&names, secret, value).await
    }

    async fn make_secret(
        &self,
        names: &TenantNames,
        secret: &str,
        value: &SecretValue,
    ) -> Result<TenantSecret, ProvisionError> {
        let path = names.secret(secret)?;
        let tags = self.marks.of_tenant(names.tenant()).tags();
        let arn = self.aws().provide_secret(&path, value, &tags).await?;
        Ok(TenantSecret {
            path,
            arn,
            current: value.clone(),
            previous: None,
        })
    }

    /// What a tenant is made of, in the order in which it is removed.
    #[must_use]
    pub fn objects_of(&self, tenant: &Tenant) -> Vec<Object> {
        let (partition, account) = (self.aws().partition(), &self.aws().access().account);
        let mut objects = vec![Object::Kubernetes(ObjectRef::new(
            "v1",
            "Namespace",
            None,
            &tenant.name,
        ))];
        objects.extend(
            tenant
                .secrets
                .values()
                .map(|secret| Object::Secret(secret.path.clone())),
        );
        objects.extend(tenant.ways.iter().flat_map(|way| way.objects(&tenant.name)));
        if let Ok(names) = TenantNames::new(&self.cluster, &tenant.name) {
            objects.push(Object::Policy(names.policy_arn(partition, account)));
        }
        objects.extend(tenant.boundary.clone().map(Object::Policy));
        objects
    }

    /// Removes an object, waits until it is gone, and takes it off the record.
    ///
    /// # Errors
    ///
    /// Why it is still there, in words; it stays on record.
    pub async fn remove(&self, object: &Object) -> Result<(), String> {
        let removal = remove(&self.environment, &self.marks, object).await?;
        self.ledger.removed(object);
        if removal == Removal::Foreign {
            tracing::warn!(%object, "on record, but not this run's; left as it is");
        }
        Ok(())
    }

    /// Puts objects on record that somebody else is about to create.
    pub fn plan(&self, objects: &[Object]) -> Result<(), ProvisionError> {
        Ok(self.ledger.plan(objects)?)
    }

    /// Creates a Kubernetes object, on record.
    pub async fn create(&self, manifest: &serde_json::Value) -> Result<(), ProvisionError> {
        self.ledger.plan(&[Object::Kubernetes(ObjectRef::of(manifest))])?;
        Ok(self.environment.kubernetes.create(manifest).await?)
    }

    /// Waits for the namespace's `default` `ServiceAccount`, which a controller of the cluster makes:
    /// one that is made before it would be no proof that the controller works.
    async fn await_service_account(&self, namespace: &str) -> Result<(), ProvisionError> {
        let account = ObjectRef::new("v1", "ServiceAccount", Some(namespace), "default");
        let until = Instant::now() + SERVICE_ACCOUNT_WAIT;
        while self.environment.kubernetes.read(&account).await?.is_none() {
            if Instant::now() >= until {
                return Err(ProvisionError::Kubernetes(KubernetesError {
                    action: format!("wait for {account}"),
                    status: None,
                    message: format!(
                        "not there after {SERVICE_ACCOUNT_WAIT:?}: does the controller manager run?"
                    ),
                }));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The run's marks.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The run's ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn aws(&self) -> &Aws {
        &self.environment.aws
    }
}
