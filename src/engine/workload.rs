//! Workloads: created, watched until they hold what they must, removed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    case::{Attempt, judged},
    mount_point::MountPoint,
    step::{StepError, StepResult},
    world::{CaseTenant, World},
};
use crate::{
    journal::{Access, AccessChecked, EventKind},
    kubernetes::{PodPhase, PodView},
    scenario::model::{Class, Content, Mount, NameForm, Object, SecretRef, Workload, WorkloadKind},
    secret::SecretValue,
    tenant::{manifest, names},
    verdict::{
        Judgement, failure,
        files::{ExpectedFile, SeenFile, differences},
    },
};

/// How often the file system is looked at while something is awaited there.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A workload that stands.
pub(super) struct LiveWorkload {
    pub(super) namespace: String,
    /// Name of the pod or Deployment.
    pub(super) name: String,
    /// Name of the class that its volume names.
    pub(super) class: String,
    /// Whether the class was made for it.
    made_class: bool,
    pub(super) kind: WorkloadKind,
    pub(super) tenant: usize,
    /// What its class asks for.
    objects: Vec<Object>,
    parameters: BTreeMap<String, String>,
}

/// What a workload asks for, in words: `team-red/secret`.
pub(super) fn target(tenants: &[CaseTenant], planned: &Workload) -> String {
    let named = |secret: &SecretRef| {
        format!("{}/{}", tenants.get(secret.tenant).map_or("?", CaseTenant::name), secret.secret)
    };
    match &planned.class {
        Class::Made { objects, .. } => {
            objects.iter().map(|object| named(&object.secret)).collect::<Vec<_>>().join(", ")
        }
        Class::TenantOwn { tenant } => named(&SecretRef { tenant: *tenant, secret: "secret".to_owned() }),
    }
}

/// Creates a workload and its class.
pub(super) async fn create<'a>(attempt: &'a mut Attempt<'_>, planned: &Workload) -> Result<&'a LiveWorkload, StepError> {
    let tenant = attempt.tenants.get(planned.tenant).ok_or_else(StepError::bad_reference)?;
    let world = attempt.world;
    let name = names::workload(&attempt.case.scenario.name, &planned.name, &attempt.case.plan.case, attempt.number);
    let namespace = tenant.name().to_owned();
    let (class, made_class, objects, parameters) = match &planned.class {
        Class::TenantOwn { tenant } => {
            let owner = attempt.tenants.get(*tenant).ok_or_else(StepError::bad_reference)?;
            let own = Object {
                secret: SecretRef { tenant: *tenant, secret: "secret".to_owned() },
                by: NameForm::Name,
                alias: None,
                version_label: None,
                file_permission: None,
                jmes_path: Vec::new(),
            };
            (names::class(owner.name()), false, vec![own], BTreeMap::new())
        }
        Class::Made { objects, parameters } => (name.clone(), true, objects.clone(), parameters.clone()),
    };
    if made_class {
        let entries = objects
            .iter()
            .map(|object| Ok(manifest::ClassObject { name: object_name(&attempt.tenants, object)?, object }))
            .collect::<Result<Vec<_>, StepError>>()?;
        world.create(manifest::class(&world.labels(), &namespace, &class, &entries, &parameters)).await?;
    }
    let labels = world.labels();
    let workload = manifest::Workload { namespace: &namespace, name: &name, class: &class, image: &world.image };
    match planned.kind {
        WorkloadKind::Pod => world.create(manifest::pod(&labels, &workload)).await?,
        WorkloadKind::Deployment(replicas) => {
            world.create(manifest::deployment(&labels, &workload, replicas)).await?;
        }
    }
    let live =
        LiveWorkload { namespace, name, class, made_class, kind: planned.kind, tenant: planned.tenant, objects, parameters };
    attempt.workloads.insert(planned.name.clone(), live);
    attempt.workloads.get(&planned.name).ok_or_else(StepError::bad_reference)
}

/// `objectName` of a class entry.
fn object_name(tenants: &[CaseTenant], object: &Object) -> Result<String, StepError> {
    let secret = tenants
        .get(object.secret.tenant)
        .and_then(|tenant| tenant.secret(&object.secret.secret))
        .ok_or_else(StepError::bad_reference)?;
    Ok(match object.by {
        NameForm::Name => secret.path.clone(),
        NameForm::Arn => secret.arn.clone(),
    })
}

/// Creates a workload and waits until its mount holds exactly what it must.
pub(super) async fn mount(attempt: &mut Attempt<'_>, planned: &Mount, until: Instant) -> StepResult {
    create(attempt, &planned.workload).await?;
    let attempt = &*attempt;
    let live = attempt.workloads.get(&planned.workload.name).ok_or_else(StepError::bad_reference)?;
    let result = mounted(attempt, live, planned, until).await;
    for object in &live.objects {
        let seen = if result.is_ok() { Access::Allowed } else { Access::Unknown };
        record_access(attempt, live.tenant, &object.secret, Access::Allowed, seen);
    }
    result
}

async fn mounted(attempt: &Attempt<'_>, live: &LiveWorkload, planned: &Mount, until: Instant) -> StepResult {
    let world = attempt.world;
    let tenant = attempt.tenants[live.tenant].name();
    let target = target(&attempt.tenants, &planned.workload);
    let pods = live.ready_pods(world, until).await?;
    let Some(pods) = pods else {
        let refusals = live.refusals(world).await;
        let broken = failure(format!("{tenant} could not mount {target}: its pod was not Ready in time"))
            .fact("event", refusals.last().cloned().unwrap_or_else(|| "no FailedMount event was seen".to_owned()))
            .fact("call", attempt.last_refused_call(tenant).unwrap_or_default());
        return Err(world.blame(broken).await);
    };
    let expected = live.expected(attempt, planned.mode, Value::Current)?;
    for pod in &pods {
        let seen = live.mount_point(world, &pod.uid).files().map_err(unreadable)?;
        judged(holds(attempt, tenant, &target, &expected, &seen))?;
        if planned.pod_status {
            pod_status(attempt, live, &pod.name, until).await?;
        }
    }
    let status = if planned.pod_status { ", pod status written" } else { "" };
    Ok(format!("file byte-exact, {:04o}{status}", planned.mode))
}

/// Judges files against what they must be; another tenant's value is a breach of isolation.
pub(super) fn holds(
    attempt: &Attempt<'_>,
    tenant: &str,
    target: &str,
    expected: &[ExpectedFile],
    seen: &[SeenFile],
) -> Judgement {
    let wrong = differences(expected, seen);
    let Some(first) = wrong.first() else { return Judgement::Holds(String::new()) };
    let foreign = seen.iter().find_map(|file| {
        let owner = attempt.world.owner_of(&file.content)?;
        (owner.tenant != tenant && !expected.iter().any(|wanted| wanted.content.matches(file.content.expose())))
            .then_some((file, owner))
    });
    let mut broken = match foreign {
        Some((file, owner)) => {
            failure(format!("{tenant} mounted {target}, but {} holds the value of {owner}", file.name)).breach()
        }
        None => failure(format!("{tenant} mounted {target}: {}", first.0)),
    };
    for difference in &wrong {
        broken = broken.fact("difference", difference.0.clone());
    }
    Judgement::Broken(broken)
}

/// The pod status object must be there, mounted, and name every object.
pub(super) async fn pod_status(attempt: &Attempt<'_>, live: &LiveWorkload, pod: &str, until: Instant) -> StepResult {
    let name = format!("{pod}-{}-{}", live.namespace, live.class);
    loop {
        let status = attempt.world.environment.kubernetes.pod_status(&live.namespace, &name).await?;
        let wrong = match &status {
            None => format!("SecretProviderClassPodStatus {name} does not exist"),
            Some(status) if !status.mounted => format!("SecretProviderClassPodStatus {name} is not mounted"),
            Some(status) if status.objects.len() < live.objects.len() => format!(
                "SecretProviderClassPodStatus {name} names {} of {} objects",
                status.objects.len(),
                live.objects.len()
            ),
            Some(_) => return Ok("pod status written".to_owned()),
        };
        if Instant::now() >= until.min(Instant::now() + Duration::from_secs(5)) {
            return Err(StepError::Broken(failure(wrong)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Deletes a workload and waits until nothing of it is left on the node.
pub(super) async fn delete(attempt: &mut Attempt<'_>, workload: &str, until: Instant) -> StepResult {
    let live = attempt.workloads.remove(workload).ok_or_else(StepError::bad_reference)?;
    let world = attempt.world;
    let pods = live.pods(world).await?;
    live.remove(world).await;
    for pod in pods {
        let mount = live.mount_point(world, &pod.uid);
        loop {
            let files = mount.files().map_err(unreadable)?;
            let gone = world.environment.kubernetes.is_pod_gone(&live.namespace, &pod.name, &pod.uid).await?;
            if files.is_empty() && gone && mount.is_gone() {
                break;
            }
            if Instant::now() >= until {
                let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
                let left = if !names.is_empty() {
                    format!("{} still there", names.join(", "))
                } else if gone {
                    "the mount folder is still there".to_owned()
                } else {
                    "the pod is still there".to_owned()
                };
                return Err(world.blame(failure(format!("{workload} was deleted, but {left}"))).await);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok("unmount leaves nothing".to_owned())
}

/// Which value of a secret is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Current,
    Previous,
}

impl LiveWorkload {
    /// Its pods.
    pub(super) async fn pods(&self, world: &World) -> Result<Vec<PodView>, StepError> {
        Ok(world.environment.kubernetes.pods().of_workload(&self.namespace, &self.name))
    }

    /// Its pods once every one of them is Ready; nothing when they are not in time.
    async fn ready_pods(&self, world: &World, until: Instant) -> Result<Option<Vec<PodView>>, StepError> {
        let wanted = match self.kind {
            WorkloadKind::Pod => 1,
            WorkloadKind::Deployment(replicas) => replicas as usize,
        };
        let mut changes = world.environment.kubernetes.pods().changes();
        loop {
            let pods = self.pods(world).await?;
            let ready: Vec<PodView> = pods.into_iter().filter(|pod| pod.ready).collect();
            if ready.len() >= wanted {
                return Ok(Some(ready));
            }
            let left = until.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, changes.changed()).await.is_err() {
                return Ok(None);
            }
        }
    }

    /// Where a pod of it mounts.
    pub(super) fn mount_point(&self, world: &World, uid: &str) -> MountPoint {
        MountPoint::of(&world.environment.node.kubelet_root, uid, manifest::VOLUME)
    }

    /// Messages of its pods' `FailedMount` events, oldest first.
    pub(super) async fn refusals(&self, world: &World) -> Vec<String> {
        world.environment.kubernetes.events().failed_mounts(&self.namespace, &self.name)
    }

    /// Removes it and its class. What fails stays in the ledger for the run's teardown.
    pub(super) async fn remove(&self, world: &World) {
        match self.kind {
            WorkloadKind::Pod => world.delete("pods", &self.namespace, &self.name).await,
            WorkloadKind::Deployment(_) => world.delete("deployments", &self.namespace, &self.name).await,
        }
        if self.made_class {
            world.delete("secretproviderclasses", &self.namespace, &self.class).await;
        }
    }

    /// The files it must hold.
    pub(super) fn expected(
        &self,
        attempt: &Attempt<'_>,
        mode: u32,
        value: Value,
    ) -> Result<Vec<ExpectedFile>, StepError> {
        let mut files = Vec::new();
        for object in &self.objects {
            let tenant = attempt.tenants.get(object.secret.tenant).ok_or_else(StepError::bad_reference)?;
            let secret = tenant.secret(&object.secret.secret).ok_or_else(StepError::bad_reference)?;
            let content = match value {
                Value::Current => secret.current.clone(),
                Value::Previous => secret.previous.clone().ok_or_else(StepError::bad_reference)?,
            };
            let label = format!("{}/{}", tenant.name(), object.secret.secret);
            let mode = match &object.file_permission {
                Some(octal) => u32::from_str_radix(octal, 8).map_err(|_| StepError::bad_reference())?,
                None => mode,
            };
            for (path, alias) in &object.jmes_path {
                files.push(ExpectedFile {
                    name: alias.clone(),
                    content: member(&content, path).ok_or_else(StepError::bad_reference)?,
                    mode,
                    secret: format!("{label} at {path}"),
                });
            }
            let name = object.alias.clone().unwrap_or_else(|| match object.by {
                NameForm::Name => secret.path.clone(),
                NameForm::Arn => secret.arn.clone(),
            });
            files.push(ExpectedFile {
                name: names::file(&name, self.parameters.get("pathTranslation").map(String::as_str)),
                content,
                mode,
                secret: label,
            });
        }
        Ok(files)
    }

    /// The secrets that it asks for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.objects.iter().map(|object| &object.secret)
    }

    /// Entries of its class.
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }
}

/// Records one cell of the isolation matrix.
pub(super) fn record_access(attempt: &Attempt<'_>, tenant: usize, secret: &SecretRef, expected: Access, seen: Access) {
    let (Some(tenant), Some(owner)) = (attempt.tenants.get(tenant), attempt.tenants.get(secret.tenant)) else { return };
    attempt.world.record(EventKind::AccessChecked(AccessChecked {
        case: attempt.case.plan.case.clone(),
        attempt: attempt.number,
        tenant: tenant.name().to_owned(),
        owner: owner.name().to_owned(),
        secret: secret.secret.clone(),
        expected,
        seen,
    }));
}

pub(super) fn unreadable(error: std::io::Error) -> StepError {
    StepError::trouble(format!("cannot read the mount on the node: {error}"))
}

/// A member of a secret that is a JSON object, as `jmesPath` with a plain key finds it.
fn member(content: &SecretValue, key: &str) -> Option<SecretValue> {
    let object: serde_json::Value = serde_json::from_slice(content.expose()).ok()?;
    object.get(key)?.as_str().map(|text| SecretValue::new(text.as_bytes().to_vec()))
}
