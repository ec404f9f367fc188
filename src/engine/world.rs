//! What every case of a run shares: the environment, the tenants, every value made, the journal.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard},
};

use tokio_util::sync::CancellationToken;

use super::{micros, needs::lacks_room, nodes::FollowedNodes, options::RunOptions, step::StepError};
use crate::{
    environment::{Environment, version_of},
    journal::{Capability, Component, EventKind, Failure, Journal, KnownIssue, TenantReady, WarningRaised},
    known::Ended,
    kubernetes::ObjectRef,
    provision::{Annotation, Object, Provisioner, Tenant, TenantRequest, TenantSecret},
    redact::Redactor,
    scenario::{
        Case,
        capability::MOUNTED_FILES,
        model::{Action, Condition, Content, RoleAnnotation, TenantSpec},
    },
    secret::{Credential, SecretValue},
    tenant::{Identity, Marks, TENANT_SECRET},
    verdict::files::Print,
};

/// Bytes of the secret that every tenant has.
const SECRET_BYTES: usize = 64;

/// What every case of a run shares.
pub(super) struct World {
    pub(super) environment: Arc<Environment>,
    /// What stands there now, and what it can do: an upgrade changes both.
    pub(super) standing: RwLock<Standing>,
    pub(super) provisioner: Provisioner,
    pub(super) journal: Journal,
    pub(super) options: Arc<RunOptions>,
    pub(super) marks: Marks,
    pub(super) seed: u64,
    /// A folder of the run's own on this machine.
    pub(super) scratch: PathBuf,
    /// The run's shared tenants, in order, by each way in that they have.
    pub(super) shared: BTreeMap<Identity, Vec<Tenant>>,
    pub(super) values: Arc<Values>,
    /// Its nodes, as far as agents tell of them.
    pub(super) nodes: FollowedNodes,
}

/// What stands in an environment, and what it can do.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// What is at each seam; more than one answer while half of the nodes have another than the rest.
    pub(super) components: Vec<Vec<Component>>,
    /// What it can do, as probed.
    pub(super) capabilities: Vec<Capability>,
}

/// Every secret value of the run: whose it is, and hidden from every text.
pub(super) struct Values {
    redactor: Redactor,
    seed: u64,
    /// By fingerprint.
    owners: Mutex<BTreeMap<String, Owner>>,
}

/// Whose a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) tenant: String,
    pub(super) secret: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.secret)
    }
}

impl Values {
    pub(super) fn new(redactor: Redactor, seed: u64) -> Self {
        Self {
            redactor,
            seed,
            owners: Mutex::default(),
        }
    }

    /// A new value, known and hidden from here on. `generation` tells the values of one secret apart.
    pub(super) fn make(
        &self,
        content: &Content,
        tenant: &str,
        secret: &str,
        generation: &str,
    ) -> SecretValue {
        let value = SecretValue::generate(content, self.seed, &format!("{tenant}/{secret}/{generation}"));
        self.redactor.protect(value.expose());
        let owner = Owner {
            tenant: tenant.to_owned(),
            secret: secret.to_owned(),
        };
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(value.fingerprint(), owner);
        value
    }

    /// Whether a text has a value of the run in it, in any form.
    pub(super) fn are_in(&self, text: &str) -> bool {
        self.redactor.knows_any_in(text)
    }

    /// Whose value this is, if it is one of the run's.
    pub(super) fn owner_of(&self, print: &Print) -> Option<Owner> {
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(print.fingerprint())
            .cloned()
    }
}

/// What a case needs: what its scenario says, and a look at mounts where a step of its is about one.
fn needed(case: &Case) -> impl Iterator<Item = &str> {
    let looks = case.scenario.steps.iter().any(|step| match &step.action {
        Action::Mount(_) | Action::Deny(_) | Action::Delete { .. } | Action::Scale { .. } => true,
        Action::Expect(expect) => matches!(
            expect.condition,
            Condition::FilesCurrent | Condition::FilesPrevious | Condition::Unmounted
        ),
        _ => false,
    });
    let asked = case.plan.requires.iter().map(String::as_str);
    asked.chain(looks.then_some(MOUNTED_FILES))
}

/// A tenant as one case sees it: a shared one with the case's own secrets, or one of its own.
pub(super) struct CaseTenant {
    tenant: Tenant,
    own: bool,
    /// Secrets made for this case alone, by the scenario's names; their names in AWS carry the case.
    added: BTreeMap<String, TenantSecret>,
    /// What its secrets hold, for updates.
    contents: BTreeMap<String, Content>,
    /// Name of the role that its ServiceAccount names, where that is another's.
    other_role: Option<String>,
}

impl CaseTenant {
    pub(super) fn name(&self) -> &str {
        &self.tenant.name
    }

    pub(super) fn whole(&self) -> &Tenant {
        &self.tenant
    }

    pub(super) fn role(&self) -> &str {
        &self.tenant.role
    }

    pub(super) fn role_arn(&self) -> &str {
        &self.tenant.role_arn
    }

    pub(super) fn class(&self) -> &str {
        &self.tenant.class
    }

    /// The tenant itself, as it was provided.
    pub(super) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// Name of the role that its ServiceAccount is annotated with.
    pub(super) fn annotated_role(&self) -> &str {
        self.other_role.as_deref().unwrap_or(&self.tenant.role)
    }

    pub(super) fn secret(&self, name: &str) -> Option<&TenantSecret> {
        self.added.get(name).or_else(|| self.tenant.secrets.get(name))
    }
}

/// The request for a tenant with one secret of the usual kind, and with these ways in.
pub(super) fn plain_request(values: &Values, name: &str, identities: &[Identity]) -> TenantRequest {
    TenantRequest {
        name: name.to_owned(),
        identities: identities.to_vec(),
        annotation: Annotation::Own,
        trusts_other_cluster: false,
        boundary: None,
        secrets: vec![(
            TENANT_SECRET.to_owned(),
            values.make(&Content::Text(SECRET_BYTES), name, TENANT_SECRET, "1"),
        )],
    }
}

/// A tenant that stands, as an event.
pub(super) fn tenant_ready(tenant: &Tenant, case: Option<&str>) -> EventKind {
    EventKind::TenantReady(TenantReady {
        tenant: tenant.name.clone(),
        case: case.map(str::to_owned),
        role_arn: tenant.role_arn.clone(),
        secrets: u32::try_from(tenant.secrets.len()).unwrap_or(u32::MAX),
        took_us: micros(tenant.took),
    })
}

/// The last part of the path of a tenant's secret, by the scenario's name for it.
fn path_of(spec: &TenantSpec, secret: &str, case: &Case, attempt: u32) -> String {
    if spec.secrets.iter().any(|declared| declared.name == secret) {
        crate::tenant::case_secret(secret, &case.plan.case, attempt)
    } else {
        secret.to_owned()
    }
}

impl World {
    pub(super) fn record(&self, event: EventKind) {
        self.nodes.heed(&event);
        self.journal.record(event);
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        self.record(EventKind::WarningRaised(WarningRaised { text: text.into() }));
    }

    /// Image of workloads.
    pub(super) fn image(&self) -> &str {
        let named = self.options.image.as_deref();
        named.unwrap_or(&self.environment.workload_image)
    }

    fn standing(&self) -> RwLockReadGuard<'_, Standing> {
        self.standing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands there from now on.
    pub(super) fn stands(&self, standing: Standing) {
        *self.standing.write().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    /// What stands at a seam says of its version, or `unknown`.
    pub(super) fn version(&self, seam: &str) -> String {
        let standing = self.standing();
        let components = standing.components.first().map_or(&[][..], Vec::as_slice);
        version_of(components, seam).to_owned()
    }

    /// The known issue that has to do with how an attempt ended.
    pub(super) fn known(&self, ended: Ended<'_>) -> Option<KnownIssue> {
        let standing = self.standing();
        let mut known = standing
            .components
            .iter()
            .filter_map(|components| self.options.known.of(ended, components));
        known.next()
    }

    /// Whether the environment has a capability.
    pub(super) fn has(&self, capability: &str) -> bool {
        self.standing()
            .capabilities
            .iter()
            .any(|known| known.name == capability && known.present)
    }

    /// What the probe of a capability saw.
    pub(super) fn evidence_of(&self, capability: &str) -> String {
        let standing = self.standing();
        let mut known = standing.capabilities.iter();
        let found = known.find(|known| known.name == capability);
        found
            .map_or("it was not looked for", |known| &known.evidence)
            .to_owned()
    }

    /// The capability that a case needs and the environment has not, in words.
    pub(super) fn missing_capability(&self, case: &Case) -> Option<String> {
        let standing = self.standing();
        let lacks_room = self.environment.room.and_then(|room| lacks_room(case, room));
        needed(case)
            .find_map(|needed| {
                match standing
                    .capabilities
                    .iter()
                    .find(|capability| capability.name == *needed)
                {
                    Some(capability) if capability.present => None,
                    Some(capability) => Some(format!("needs {needed}: {}", capability.evidence)),
                    None => Some(format!("needs {needed}, which this environment does not have")),
                }
            })
            .or(lacks_room)
    }

    /// The tenants of a case: shared ones with the case's own secrets added, own ones made.
    pub(super) async fn tenants_of(&self, case: &Case, attempt: u32) -> Result<Vec<CaseTenant>, StepError> {
        let mut tenants: Vec<CaseTenant> = Vec::with_capacity(case.tenants.len());
        // Own tenants may name the role of any other, so the shared ones come first.
        for (bound, spec) in case.tenants.iter().zip(&case.scenario.tenants) {
            let other = match &spec.annotation {
                RoleAnnotation::Of(other) => {
                    case.scenario.tenants.iter().position(|spec| spec.name == *other)
                }
                RoleAnnotation::Own | RoleAnnotation::Absent => None,
            };
            let other = other.and_then(|index| self.shared_of(case, index));
            let tenant = if let Some(index) = bound.shared {
                self.shared(case.plan.identity)
                    .get(index)
                    .cloned()
                    .ok_or_else(StepError::bad_reference)?
            } else {
                let mut request = plain_request(&self.values, &bound.name, &[case.plan.identity]);
                request.trusts_other_cluster = spec.trusts_other_cluster;
                request.annotation = match &spec.annotation {
                    RoleAnnotation::Own => Annotation::Own,
                    RoleAnnotation::Absent => Annotation::Absent,
                    RoleAnnotation::Of(_) => {
                        Annotation::Other(other.ok_or_else(StepError::bad_reference)?.role_arn.clone())
                    }
                };
                let at_most = |secret: &String| path_of(spec, secret, case, attempt);
                request.boundary = spec
                    .boundary
                    .as_ref()
                    .map(|within| within.iter().map(at_most).collect());
                // One that is begun is brought to its end: the case's own clean-up knows it then.
                let whole = CancellationToken::new();
                let made = self
                    .provisioner
                    .provide(vec![request], 1, &|_| {}, &whole)
                    .await?;
                let tenant = made.into_iter().next().ok_or_else(StepError::bad_reference)?;
                self.record(tenant_ready(&tenant, Some(&case.plan.case)));
                tenant
            };
            let mut added = BTreeMap::new();
            let mut contents = BTreeMap::from([(TENANT_SECRET.to_owned(), Content::Text(SECRET_BYTES))]);
            for secret in &spec.secrets {
                // Cases that share a tenant do not share what they declare.
                let path = path_of(spec, &secret.name, case, attempt);
                let value = self
                    .values
                    .make(&secret.content, &tenant.name, &secret.name, &path);
                added.insert(
                    secret.name.clone(),
                    self.provisioner.add_secret(&tenant.name, &path, &value).await?,
                );
                contents.insert(secret.name.clone(), secret.content.clone());
            }
            self.replicate(spec, &tenant, &added).await?;
            let other_role = other.map(|other| other.role.clone());
            tenants.push(CaseTenant {
                tenant,
                own: bound.shared.is_none(),
                added,
                contents,
                other_role,
            });
        }
        self.put_resource_policies(case, &tenants).await?;
        Ok(tenants)
    }

    /// Replicates secrets to the failover region. Replicas go with their secrets, which are on record.
    async fn replicate(
        &self,
        spec: &TenantSpec,
        tenant: &Tenant,
        added: &BTreeMap<String, TenantSecret>,
    ) -> Result<(), StepError> {
        for secret in &spec.replicated {
            let secret = added.get(secret).or_else(|| tenant.secrets.get(secret));
            let secret = secret.ok_or_else(StepError::bad_reference)?;
            let region = self.failover_region()?;
            self.environment
                .aws
                .replicate_secret(&secret.path, region)
                .await?;
        }
        Ok(())
    }

    /// The second region, of an environment that has one.
    pub(super) fn failover_region(&self) -> Result<&str, StepError> {
        let region = self.environment.failover_region.as_deref();
        region.ok_or_else(|| StepError::trouble("AWS has no second region here"))
    }

    /// Writes the policies on secrets, which name the roles of tenants. They go with their secrets, which are on
    /// record.
    async fn put_resource_policies(&self, case: &Case, tenants: &[CaseTenant]) -> Result<(), StepError> {
        for (spec, owner) in case.scenario.tenants.iter().zip(tenants) {
            for (secret, denied) in &spec.denied_by_secret {
                let secret = owner.secret(secret).ok_or_else(StepError::bad_reference)?;
                let roles: Option<Vec<String>> = denied
                    .tenants
                    .iter()
                    .map(|&tenant| Some(tenants.get(tenant)?.role_arn().to_owned()))
                    .collect();
                let aws = &self.environment.aws;
                let region = denied.primary_region_only.then_some(aws.access().region.as_str());
                let policy =
                    crate::tenant::denying_policy(&roles.ok_or_else(StepError::bad_reference)?, region);
                aws.put_resource_policy(&secret.path, &policy).await?;
            }
        }
        Ok(())
    }

    fn shared_of(&self, case: &Case, index: usize) -> Option<&Tenant> {
        self.shared(case.plan.identity)
            .get(case.tenants.get(index)?.shared?)
    }

    /// The run's shared tenants by a way in; none where they do not have it.
    pub(super) fn shared(&self, identity: Identity) -> &[Tenant] {
        self.shared.get(&identity).map_or(&[], Vec::as_slice)
    }

    /// Gives a secret a new value; the old one is kept as the previous.
    pub(super) async fn update_secret(&self, tenant: &mut CaseTenant, name: &str) -> Result<(), StepError> {
        let content = tenant
            .contents
            .get(name)
            .cloned()
            .ok_or_else(StepError::bad_reference)?;
        let owner = tenant.name().to_owned();
        let secret = match tenant.added.get_mut(name) {
            Some(secret) => secret,
            None => tenant
                .tenant
                .secrets
                .get_mut(name)
                .ok_or_else(StepError::bad_reference)?,
        };
        let generation = format!("{} after {}", secret.path, secret.current.fingerprint());
        let value = self.values.make(&content, &owner, name, &generation);
        self.environment.aws.put_secret(&secret.path, &value).await?;
        secret.previous = Some(std::mem::replace(&mut secret.current, value));
        Ok(())
    }

    /// Removes what was made for one case alone. What cannot be removed stays on record.
    pub(super) async fn release(&self, tenants: Vec<CaseTenant>) {
        for tenant in tenants {
            for secret in tenant.added.values() {
                self.discard(Object::Secret(secret.path.clone())).await;
            }
            if tenant.own {
                for object in self.provisioner.objects_of(&tenant.tenant) {
                    self.discard(object).await;
                }
            }
        }
    }

    /// Creates a Kubernetes object, on record.
    pub(super) async fn create(&self, manifest: &serde_json::Value) -> Result<(), StepError> {
        Ok(self.provisioner.create(manifest).await?)
    }

    /// Asks for a Kubernetes object to go. It stays on record until somebody has seen it gone.
    pub(super) async fn delete(&self, reference: &ObjectRef) {
        if let Err(error) = self.environment.kubernetes.delete(reference).await {
            self.warn(format!("{error}; teardown will try again"));
        }
    }

    /// Removes an object and takes it off the record; a failure is the teardown's to repeat.
    async fn discard(&self, object: Object) {
        if let Err(because) = self.provisioner.remove(&object).await {
            self.warn(format!(
                "{object} could not be removed after its case: {because}; teardown will try again"
            ));
        }
    }

    /// Has AWS and the node's programs as they were before any case.
    pub(super) async fn calm(&self) {
        if let Err(because) = self.environment.calm().await {
            self.warn(format!(
                "a program of the node could not be started anew after a case: {because}"
            ));
        }
    }

    /// A token of a tenant's ServiceAccount.
    pub(super) async fn token(&self, namespace: &str, audience: &str) -> Result<Credential, StepError> {
        Ok(self
            .environment
            .kubernetes
            .token(namespace, "default", audience)
            .await?)
    }

    /// A genuine token of a tenant's ServiceAccount whose time is over.
    pub(super) async fn expired_token(
        &self,
        namespace: &str,
        audience: &str,
    ) -> Result<Credential, StepError> {
        let token = match &self.environment.expired {
            Some(expired) => expired.token(namespace, audience).await,
            None => None,
        };
        token.ok_or_else(|| StepError::trouble("no token whose time is over can be had here"))
    }

    /// What is wrong with the environment itself, if anything is.
    pub(super) async fn trouble(&self) -> Option<String> {
        if let Err(error) = self.environment.aws.answers().await {
            return Some(format!("AWS does not answer: {error}"));
        }
        if let Err(error) = self.environment.kubernetes.version().await {
            return Some(format!("Kubernetes does not answer: {error}"));
        }
        if let Some(trouble) = self.environment.kubernetes.pods().trouble() {
            return Some(format!("the watch of pods is broken: {trouble}"));
        }
        None
    }

    /// Whose fault it is: the environment's if it does not answer, else the product's.
    pub(super) async fn blame(&self, broken: Failure) -> StepError {
        match self.trouble().await {
            Some(trouble) => StepError::Trouble(broken.fact("trouble", trouble)),
            None => StepError::Broken(broken),
        }
    }
}
