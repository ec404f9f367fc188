//! Workloads: created, watched until they hold what they must, removed.

use std::{
    collections::BTreeSet,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    case::{Attempt, judged},
    files,
    mounted::Mounted,
    step::{StepError, StepResult},
    synced::{self, Settled},
    world::{CaseTenant, World},
};
use crate::{
    journal::{Access, AccessChecked, EventKind, Failure},
    kubernetes::{EventView, ObjectRef, PodView, SECRETS_STORE},
    provision::Tenant,
    scenario::model::{Class, Mount, Object, SecretRef, Stage, Workload, WorkloadKind},
    secret::SecretValue,
    tenant::{self, ClassManifest, ClassObject, PathTranslation, Source, WorkloadManifest},
    verdict::{Judgement, failure, files::ExpectedFile},
};

/// How often the file system is looked at while something is awaited there.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// Longest wait for a pod status object after its mount.
const POD_STATUS: Duration = Duration::from_secs(5);

/// Permission bits of files whose class asks for none.
const MODE: u32 = 0o644;

/// A workload that stands, or stood.
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
    objects: Vec<Asked>,
    translation: PathTranslation,
    /// Permission bits that its files must have.
    mode: u32,
    /// Since when it may ask for secrets.
    pub(super) since: Instant,
    /// How often kubelet was told to publish each of its pods again.
    pub(super) republished: u32,
    /// Whether its files are synced into a Secret, which bears the class's name.
    pub(super) synced: bool,
    /// What that Secret was when it was seen settled.
    pub(super) settled: Mutex<Option<Settled>>,
    /// Its pods at the time of deletion, once it is deleted.
    deleted: Option<Vec<PodView>>,
}

/// One object of a class.
struct Asked {
    secret: SecretRef,
    object: ClassObject,
    /// What it holds whatever comes later, where it pins a version.
    pinned: Option<SecretValue>,
}

/// What a workload asks for, in words: `team-red/secret`.
pub(super) fn target(tenants: &[CaseTenant], planned: &Workload) -> String {
    let named = |secret: &SecretRef| {
        format!(
            "{}/{}",
            tenants.get(secret.tenant).map_or("?", CaseTenant::name),
            secret.secret
        )
    };
    match &planned.class {
        Class::Made { objects, .. } => {
            let mut secrets: Vec<String> = objects.iter().map(|object| named(&object.secret)).collect();
            secrets.dedup();
            secrets.join(", ")
        }
        Class::TenantOwn { tenant: owner } => named(&SecretRef {
            tenant: *owner,
            secret: tenant::TENANT_SECRET.to_owned(),
        }),
    }
}

/// Creates a workload and its class.
pub(super) async fn create(attempt: &mut Attempt<'_>, planned: &Workload) -> Result<(), StepError> {
    let tenant = attempt
        .tenants
        .get(planned.tenant)
        .ok_or_else(StepError::bad_reference)?;
    let world = attempt.world;
    let namespace = tenant.name().to_owned();
    let marks = world.marks.of_tenant(&namespace);
    let name = tenant::workload_name(
        &attempt.case.scenario.name,
        &planned.name,
        &attempt.case.plan.case,
        attempt.number,
    );
    let (class, objects, translation) = match &planned.class {
        Class::TenantOwn { tenant: owner } => {
            let index = *owner;
            let owner = attempt.tenants.get(index).ok_or_else(StepError::bad_reference)?;
            let secret = SecretRef {
                tenant: index,
                secret: tenant::TENANT_SECRET.to_owned(),
            };
            let path = &owner
                .secret(&secret.secret)
                .ok_or_else(StepError::bad_reference)?
                .path;
            let object = ClassObject::named(path);
            (
                owner.class().to_owned(),
                vec![Asked {
                    secret,
                    object,
                    pinned: None,
                }],
                PathTranslation::default(),
            )
        }
        Class::Made {
            objects,
            parameters,
            failover,
            sync,
        } => {
            let mut parameters = parameters.clone();
            if *failover {
                parameters.insert("failoverRegion".to_owned(), world.failover_region()?.to_owned());
            }
            let mut asked = Vec::with_capacity(objects.len());
            for object in objects {
                asked.push(self::asked(world, &attempt.tenants, object).await?);
            }
            let entries: Vec<ClassObject> = asked.iter().map(|asked| asked.object.clone()).collect();
            let manifest = ClassManifest {
                namespace: &namespace,
                name: &name,
                objects: &entries,
                parameters: &parameters,
                sync: sync.then_some(name.as_str()),
                identity: attempt.case.plan.identity,
                marks: &marks,
            };
            world.create(&manifest.manifest()).await?;
            (name.clone(), asked, PathTranslation::of(&parameters))
        }
    };
    let manifest = WorkloadManifest {
        namespace: &namespace,
        name: &name,
        class: &class,
        image: world.image(),
        command: &[],
        marks: &marks,
    };
    let manifest = match planned.kind {
        WorkloadKind::Pod => manifest.pod(),
        WorkloadKind::Deployment(replicas) => manifest.deployment(replicas),
    };
    let since = Instant::now();
    world.create(&manifest).await?;
    let live = LiveWorkload {
        made_class: matches!(planned.class, Class::Made { .. }),
        namespace,
        name,
        class,
        kind: planned.kind,
        tenant: planned.tenant,
        objects,
        translation,
        mode: MODE,
        since,
        republished: 0,
        synced: matches!(planned.class, Class::Made { sync: true, .. }),
        settled: Mutex::default(),
        deleted: None,
    };
    attempt.workloads.insert(planned.name.clone(), live);
    Ok(())
}

async fn asked(world: &World, tenants: &[CaseTenant], object: &Object) -> Result<Asked, StepError> {
    let secret = tenants
        .get(object.secret.tenant)
        .and_then(|tenant| tenant.secret(&object.secret.secret))
        .ok_or_else(StepError::bad_reference)?;
    let (version, pinned) = match object.version {
        None => (None, None),
        Some(stage) => {
            let aws = &world.environment.aws;
            let version = aws.secret_version(&secret.path, stage.label()).await?;
            let value = match stage {
                Stage::Current => Some(&secret.current),
                Stage::Previous => secret.previous.as_ref(),
            };
            let value = value.cloned().ok_or_else(StepError::bad_reference)?;
            (Some(version), Some(value))
        }
    };
    Ok(Asked {
        secret: object.secret.clone(),
        object: ClassObject::of(object, &secret.path, &secret.arn, version),
        pinned,
    })
}

/// Creates a workload and waits until its mount holds exactly what it must.
pub(super) async fn mount(attempt: &mut Attempt<'_>, planned: &Mount, until: Instant) -> StepResult {
    create(attempt, &planned.workload).await?;
    if let Some(live) = attempt.workloads.get_mut(&planned.workload.name) {
        live.mode = planned.mode;
    }
    let live = attempt.workload(&planned.workload.name)?;
    let result = mounted(attempt, live, planned, until).await;
    for secret in live.secrets() {
        let seen = if result.is_ok() {
            Access::Allowed
        } else {
            Access::Unknown
        };
        record_access(attempt, live.tenant, secret, Access::Allowed, seen);
    }
    if result.is_ok() {
        attempt.mounted.push(planned.workload.name.clone());
    }
    result
}

async fn mounted(attempt: &Attempt<'_>, live: &LiveWorkload, planned: &Mount, until: Instant) -> StepResult {
    let world = attempt.world;
    let tenant = attempt.tenants[live.tenant].name();
    let target = target(&attempt.tenants, &planned.workload);
    let Some(pods) = live.ready_pods(world, until).await else {
        if let Some(trouble) = live.not_started(world, tenant) {
            return Err(world.blame(trouble).await.into_trouble());
        }
        let refusal = live.refusals(world).pop().unwrap_or_else(|| {
            "no FailedMount: the driver has neither mounted nor refused; read its log on the node".to_owned()
        });
        let broken = failure(format!(
            "{tenant} could not mount {target}: its pod was not Ready in time"
        ))
        .fact("event", refusal)
        .fact(
            "call",
            attempt
                .last_refused_call(attempt.tenants[live.tenant].role())
                .unwrap_or_default(),
        )
        .fact(
            "help",
            "if the pod has no event at all, its node may have no registered driver",
        );
        return Err(world.blame(broken).await);
    };
    let expected = live.expected(&attempt.tenants, Value::Current)?;
    for pod in &pods {
        let seen = files::settled(world, pod, &expected).await?;
        judged(files::holds(attempt, tenant, &target, &expected, &seen))?;
        if planned.pod_status {
            judged(pod_status(attempt, live, &pod.name, until).await?)?;
        }
    }
    if live.synced {
        synced::wait_until_current(attempt, live, until).await?;
    }
    let modes: BTreeSet<u32> = expected.iter().map(|file| file.mode).collect();
    let modes: Vec<String> = modes.iter().map(|mode| format!("{mode:04o}")).collect();
    let pods = match pods.len() {
        1 => String::new(),
        number => format!("{number} pods: "),
    };
    let files = match expected.len() {
        1 => "file".to_owned(),
        number => format!("{number} files"),
    };
    let status = if planned.pod_status {
        ", pod status written"
    } else {
        ""
    };
    let synced = if live.synced { ", synced Secret equal" } else { "" };
    Ok(format!("{pods}{files} byte-exact, {}{status}{synced}", modes.join(" ")).into())
}

/// Judges the pod status object: it must be there, mounted, and name every object. The driver writes
/// it before it answers, so there is not much to wait for.
pub(super) async fn pod_status(
    attempt: &Attempt<'_>,
    live: &LiveWorkload,
    pod: &str,
    until: Instant,
) -> Result<Judgement, StepError> {
    let name = format!("{pod}-{}-{}", live.namespace, live.class);
    let until = until.min(Instant::now() + POD_STATUS);
    loop {
        let wrong = match attempt
            .world
            .environment
            .kubernetes
            .pod_status(&live.namespace, &name)
            .await?
        {
            None => "does not exist".to_owned(),
            Some(status) if !status.mounted => "is not mounted".to_owned(),
            Some(status) if status.objects.len() < live.objects.len() => {
                format!("names {} of {} objects", status.objects.len(), live.objects.len())
            }
            Some(_) => return Ok(Judgement::Holds("pod status written".into())),
        };
        if Instant::now() >= until {
            return Ok(Judgement::Broken(failure(format!(
                "SecretProviderClassPodStatus {name} {wrong}"
            ))));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Deletes a workload and waits until nothing of it is left on the node.
pub(super) async fn delete(attempt: &mut Attempt<'_>, workload: &str, until: Instant) -> StepResult {
    let world = attempt.world;
    let live = attempt
        .workloads
        .get_mut(workload)
        .ok_or_else(StepError::bad_reference)?;
    let pods = live.pods(world);
    live.deleted = Some(pods.clone());
    let live = attempt.workload(workload)?;
    live.remove(world).await;
    for pod in pods {
        let mount = Mounted::of(world, &pod);
        let object = ObjectRef::new("v1", "Pod", Some(&live.namespace), &pod.name);
        loop {
            let files = mount.files().await?;
            let folder = mount.folder().await?;
            let there = world.environment.kubernetes.read(&object).await?;
            let gone = there.is_none_or(|object| object["metadata"]["uid"] != pod.uid.as_str());
            if files.is_empty() && gone && folder.is_none() {
                break;
            }
            if Instant::now() >= until {
                let left = if let Some(file) = files.first() {
                    format!("its file {} is still there", file.name)
                } else if let Some(folder) = folder.filter(|_| gone) {
                    format!("its mount folder {folder} is still there")
                } else {
                    "its pod is still there".to_owned()
                };
                return Err(world
                    .blame(failure(format!("{workload} was deleted, but {left}")))
                    .await);
            }
            tokio::time::sleep(mount.pause(LOOK)).await;
        }
    }
    Ok("unmount leaves nothing".into())
}

/// Which value of a secret is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Current,
    Previous,
}

impl LiveWorkload {
    /// Whether it was deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.deleted.is_some()
    }

    /// Its pods, or those it had when it was deleted.
    pub(super) fn pods(&self, world: &World) -> Vec<PodView> {
        if let Some(pods) = &self.deleted {
            return pods.clone();
        }
        world
            .environment
            .kubernetes
            .pods()
            .of_workload(&self.namespace, &self.name)
            .borrow()
            .clone()
    }

    /// Its pods once every one of them is Ready; nothing when they are not in time.
    async fn ready_pods(&self, world: &World, until: Instant) -> Option<Vec<PodView>> {
        let wanted = match self.kind {
            WorkloadKind::Pod => 1,
            WorkloadKind::Deployment(replicas) => replicas as usize,
        };
        let mut pods = world
            .environment
            .kubernetes
            .pods()
            .of_workload(&self.namespace, &self.name);
        let ready = pods.wait_for(|pods| pods.iter().filter(|pod| pod.ready()).count() >= wanted);
        let pods = tokio::time::timeout_at(until.into(), ready).await.ok()?.ok()?;
        Some(pods.iter().filter(|pod| pod.ready()).cloned().collect())
    }

    /// Why its pods are not Ready, where that is not for want of a mount: no word about the product.
    pub(super) fn not_started(&self, world: &World, tenant: &str) -> Option<Failure> {
        let pods = self.pods(world);
        let Some(pod) = pods.iter().find(|pod| !pod.ready()) else {
            return Some(
                failure(format!("a pod of {tenant} never appeared in the API")).fact(
                    "help",
                    "look at its Deployment, and at what admits pods in this cluster",
                ),
            );
        };
        let events = self.events(world);
        let last = |reason: &str| events.iter().rev().find(|event| event.reason == reason);
        if pod.scheduled_at.is_none() {
            let why = last("FailedScheduling").map_or("no event says why", |event| &event.message);
            return Some(
                failure(format!("the pod {} was given no node", pod.name))
                    .fact("event", why)
                    .fact(
                        "help",
                        "look at the nodes: kubectl describe pod, kubectl get nodes",
                    ),
            );
        }
        let pulling = events
            .iter()
            .find(|event| event.reason == "Failed" && event.message.contains("image"))?;
        Some(
            failure(format!(
                "the pod {} did not start: its image cannot be pulled",
                pod.name
            ))
            .fact("event", pulling.message.clone())
            .fact("help", "give an image that the node has or can pull with --image"),
        )
    }

    /// Events of its pods.
    pub(super) fn events(&self, world: &World) -> Vec<EventView> {
        world
            .environment
            .kubernetes
            .events()
            .of_workload(&self.namespace, &self.name)
    }

    /// Messages of its pods' `FailedMount` events, oldest first.
    pub(super) fn refusals(&self, world: &World) -> Vec<String> {
        world
            .environment
            .kubernetes
            .events()
            .failed_mounts(&self.namespace, &self.name)
    }

    /// Asks for it and its class to go. What fails stays on record for the run's teardown.
    pub(super) async fn remove(&self, world: &World) {
        let namespace = Some(self.namespace.as_str());
        let workload = match self.kind {
            WorkloadKind::Pod => ObjectRef::new("v1", "Pod", namespace, &self.name),
            WorkloadKind::Deployment(_) => ObjectRef::new("apps/v1", "Deployment", namespace, &self.name),
        };
        world.delete(&workload).await;
        if self.made_class {
            world
                .delete(&ObjectRef::new(
                    SECRETS_STORE,
                    "SecretProviderClass",
                    namespace,
                    &self.class,
                ))
                .await;
        }
    }

    /// The files it must hold.
    pub(super) fn expected(
        &self,
        tenants: &[CaseTenant],
        value: Value,
    ) -> Result<Vec<ExpectedFile>, StepError> {
        let mut files = Vec::new();
        for asked in &self.objects {
            let tenant = tenants
                .get(asked.secret.tenant)
                .ok_or_else(StepError::bad_reference)?;
            let secret = tenant
                .secret(&asked.secret.secret)
                .ok_or_else(StepError::bad_reference)?;
            let content = match (&asked.pinned, value, asked.object.version_label) {
                (Some(pinned), ..) => Some(pinned),
                (None, Value::Current, None | Some(Stage::Current)) => Some(&secret.current),
                (None, Value::Previous, None | Some(Stage::Current))
                | (None, Value::Current, Some(Stage::Previous)) => secret.previous.as_ref(),
                // What was there before that is not kept.
                (None, Value::Previous, Some(Stage::Previous)) => None,
            };
            let content = content.ok_or_else(StepError::bad_reference)?;
            for file in asked.object.files(self.translation) {
                let content = match &file.source {
                    Source::Whole => content.clone(),
                    Source::JmesPath(path) => {
                        content.json_string(path).ok_or_else(StepError::bad_reference)?
                    }
                };
                files.push(ExpectedFile {
                    name: file.name,
                    content,
                    mode: file.mode.unwrap_or(self.mode),
                    secret: format!("{}/{}", tenant.name(), asked.secret.secret),
                });
            }
        }
        Ok(files)
    }

    /// The secrets that it asks for.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        self.objects.iter().map(|asked| &asked.secret)
    }

    /// The secrets that it asks for, as its class names them.
    pub(super) fn asked(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().map(|asked| asked.object.name.as_str())
    }
}

/// The files of a mount of the class that every tenant has.
pub(super) fn own_files(tenant: &Tenant) -> Vec<ExpectedFile> {
    let Some(secret) = tenant.secrets.get(tenant::TENANT_SECRET) else {
        return Vec::new();
    };
    vec![ExpectedFile {
        name: PathTranslation::default().apply(&secret.path),
        content: secret.current.clone(),
        mode: MODE,
        secret: format!("{}/{}", tenant.name, tenant::TENANT_SECRET),
    }]
}

/// Records one cell of the isolation matrix.
pub(super) fn record_access(
    attempt: &Attempt<'_>,
    tenant: usize,
    secret: &SecretRef,
    expected: Access,
    seen: Access,
) {
    let (Some(tenant), Some(owner)) = (attempt.tenants.get(tenant), attempt.tenants.get(secret.tenant))
    else {
        return;
    };
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
