//! A scenario as the engine runs it: parsed, checked, every reference resolved, every default filled in.
//!
//! The types that mirror the YAML are in [`super::raw`]; `resolve` turns them into these.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::tenant::Identity;

/// A scenario, ready to be bound to tenants.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// `metadata.name`, unique in the tree.
    pub name: String,
    /// `metadata.profile`; the folder it stands in.
    pub profile: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// The claim, in one sentence.
    pub description: String,
    /// Path below the scenarios folder, with `/`.
    pub file: String,
    /// Capabilities without which it is `not-supported`.
    pub requires: Vec<String>,
    /// The one way in that it is about; each that the run has where absent.
    pub identity: Option<Identity>,
    /// Whether it is bound once (to the first tenants of the run) or once for each tenant.
    pub each: Each,
    /// Its tenants in the order of the file.
    pub tenants: Vec<TenantSpec>,
    /// The values of this combination of the matrix, by axis; empty without a matrix. A file with a
    /// matrix is one scenario for each combination, all of one name.
    pub matrix: BTreeMap<String, String>,
    /// Deadline of one attempt.
    pub deadline: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// What to collect when it does not pass.
    pub catch: Vec<Evidence>,
}

/// How often a scenario is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Each {
    /// Once.
    Once,
    /// Once for each shared tenant of the run, taken as the scenario's first tenant; the next
    /// tenants of the run, in a ring, become its others.
    Tenant,
}

/// A tenant of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantSpec {
    /// The scenario's name for it: `red`.
    pub name: String,
    /// Provisioned for this case alone, and removed after it; else one of the run's shared tenants.
    pub own: bool,
    /// What its `default` `ServiceAccount` gets: the role that its annotation names, or its association. Only an own tenant may differ from
    /// [`RoleAnnotation::Own`].
    pub annotation: RoleAnnotation,
    /// Whether its role trusts another cluster than the one that it is in. Only an own tenant's can.
    pub trusts_other_cluster: bool,
    /// Secrets made for this case, beside the `secret` that every tenant has.
    pub secrets: Vec<SecretSpec>,
    /// Whom a secret's own policy denies to read it, by the secret's name.
    pub denied_by_secret: BTreeMap<String, Denied>,
    /// Secrets that are replicated to the run's failover region.
    pub replicated: BTreeSet<String>,
    /// The secrets of its own that its role's permissions boundary lets it read; no boundary where absent.
    /// Only an own tenant has one.
    pub boundary: Option<Vec<String>>,
}

/// What a secret's own policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// Tenants whose roles may not read it: indices into [`Scenario::tenants`].
    pub tenants: Vec<usize>,
    /// They may not in the run's own region, and may in any other.
    pub primary_region_only: bool,
}

/// The role that a `ServiceAccount` is annotated with, or associated with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleAnnotation {
    /// The tenant's own.
    Own,
    /// None.
    Absent,
    /// Another tenant's, by the scenario's name for it.
    Of(String),
}

/// A secret that a scenario declares.
#[derive(Debug, Clone, PartialEq)]
pub struct SecretSpec {
    /// The last part of its path: `<cluster>/<namespace>/<name>`.
    pub name: String,
    /// What it holds.
    pub content: Content,
}

/// What a secret holds. Values are made at provisioning, never written in a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Random printable text of so many bytes.
    Text(usize),
    /// Random bytes, stored as `SecretBinary`.
    Binary(usize),
    /// A JSON object with random string values under these keys, for `jmesPath`.
    Json(Vec<String>),
}

/// `tenant/secret` by the scenario's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    /// Index into [`Scenario::tenants`].
    pub tenant: usize,
    /// [`SecretSpec::name`], or `secret`.
    pub secret: String,
}

/// One step, with its deadline.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Action,
    /// Longest time it may take, holds included.
    pub within: Duration,
    /// Line in the file, for messages.
    pub line: u32,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Create a workload and wait until every file is there, byte for byte.
    Mount(Mount),
    /// Create a workload and expect nothing yet.
    Create(Workload),
    /// Create a workload and prove that it is refused.
    Deny(Deny),
    /// Give a secret a new value; files are expected to follow by `expect`.
    Update(SecretRef),
    /// Change how many pods a Deployment has, and wait until each has its files.
    Scale {
        /// Its name.
        workload: String,
        /// So many from now on.
        replicas: u32,
    },
    /// Have kubelet ask the driver again for what is mounted.
    Republish {
        /// The workload's name.
        workload: String,
        /// So often, one after another.
        times: u32,
        /// Each waits until the driver's poll interval has passed.
        due: bool,
    },
    /// Delete a workload and wait until nothing of it is mounted.
    Delete {
        /// Its name.
        workload: String,
    },
    /// Check something about a workload: at once, in time, or for a while.
    Expect(Expect),
    /// Prove that AWS refuses a credential that is not genuine.
    Impostor(Impostor),
    /// Measure.
    Load(Load),
    /// Publish a volume as kubelet does.
    Publish(Publish),
    /// How AWS answers from here on.
    Aws {
        /// So much later; at once where absent.
        latency: Option<Duration>,
    },
    /// Start a program of the node anew.
    Restart(Restart),
}

impl Action {
    /// Whether other cases would notice it, or it them: its case runs alone.
    #[must_use]
    pub fn needs_quiet(&self) -> bool {
        match self {
            Self::Load(_) | Self::Aws { .. } | Self::Restart(_) => true,
            Self::Publish(publish) => publish.interruption == Some(Interruption::DriverKilled),
            Self::Mount(_)
            | Self::Create(_)
            | Self::Deny(_)
            | Self::Update(_)
            | Self::Scale { .. }
            | Self::Republish { .. }
            | Self::Delete { .. }
            | Self::Expect(_)
            | Self::Impostor(_) => false,
        }
    }
}

/// A workload whose pods mount one `SecretProviderClass`.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// Its name in the scenario; unique.
    pub name: String,
    /// Whose namespace. Index into [`Scenario::tenants`].
    pub tenant: usize,
    /// Which class it names.
    pub class: Class,
    /// What kind of workload.
    pub kind: WorkloadKind,
}

/// The `SecretProviderClass` that a workload names.
#[derive(Debug, Clone, PartialEq)]
pub enum Class {
    /// Made for this workload, in its namespace.
    Made {
        /// Its objects.
        objects: Vec<Object>,
        /// Further `parameters`: `pathTranslation`, `region`, ...
        parameters: BTreeMap<String, String>,
        /// Whether it names the run's failover region beside its own.
        failover: bool,
        /// Whether every file is synced into one Kubernetes Secret.
        sync: bool,
    },
    /// The class that every tenant has (`<namespace>-secret`), of this tenant. Where that is another
    /// tenant than the workload's, the class does not exist in the workload's namespace.
    TenantOwn {
        /// Index into [`Scenario::tenants`].
        tenant: usize,
    },
}

/// One entry of `parameters.objects`.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Which secret.
    pub secret: SecretRef,
    /// How `objectName` writes it.
    pub by: NameForm,
    /// `objectAlias`.
    pub alias: Option<String>,
    /// Which version `objectVersion` names: the one that is at this stage when the workload is made.
    pub version: Option<Stage>,
    /// `objectVersionLabel`.
    pub version_label: Option<Stage>,
    /// `filePermission`, four octal digits.
    pub file_permission: Option<String>,
    /// `jmesPath`.
    pub jmes_path: Vec<Part>,
}

/// One entry of an object's `jmesPath`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// `path`: a key of the secret's JSON.
    pub path: String,
    /// `objectAlias`.
    pub alias: String,
    /// `filePermission`, four octal digits; the object's where there is none.
    pub file_permission: Option<String>,
}

/// Which of a secret's two last versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As last updated.
    Current,
    /// From before the last update.
    Previous,
}

impl Stage {
    /// Secrets Manager's label for it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Current => "AWSCURRENT",
            Self::Previous => "AWSPREVIOUS",
        }
    }
}

/// How a secret is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameForm {
    /// `<cluster>/<namespace>/<secret>`.
    Name,
    /// The full ARN with its six random characters.
    Arn,
}

/// Pod or Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkloadKind {
    /// A single pod.
    Pod,
    /// A Deployment with so many replicas.
    Deployment(u32),
}

/// See [`Action::Mount`].
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// What to create.
    pub workload: Workload,
    /// Permission bits that every file must have; an object's own `filePermission` wins.
    pub mode: u32,
    /// Whether `SecretProviderClassPodStatus` must exist, be `mounted` and name every object.
    pub pod_status: bool,
}

/// See [`Action::Deny`]. All four parts of the denial proof are in here.
#[derive(Debug, Clone, PartialEq)]
pub struct Deny {
    /// What to create.
    pub workload: Workload,
    /// Name of the earlier [`Action::Mount`] that is its positive control.
    pub control: String,
    /// The reason that must be seen.
    pub because: Because,
    /// How long nothing may appear after the first refusal.
    pub hold: Duration,
}

/// The reason of a denial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// AWS refuses. Judged by the call log, else by provider log or event.
    Aws {
        /// `AccessDeniedException`, or STS's `AccessDenied`.
        error: String,
        /// `secretsmanager:GetSecretValue`.
        action: String,
        /// What AWS's reason must contain, where it matters which policy refused.
        reason: Option<String>,
    },
    /// Refused before AWS was asked: the pod's event must contain this text, in which `{namespace}`,
    /// `{class}` and `{serviceAccount}` are filled in, and the call log must show no call of the
    /// tenant's for the secret.
    Event(String),
}

/// See [`Action::Impostor`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impostor {
    /// Whose credential is forged. Index into [`Scenario::tenants`].
    pub tenant: usize,
    /// How.
    pub forgery: Forgery,
    /// Error codes that count as the right refusal.
    pub errors: Vec<String>,
}

/// How a credential is forged. Each has its genuine original as positive control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgery {
    /// A token with the right claims under a signature that is not the issuer's.
    Signature,
    /// A genuine token for another audience.
    Audience,
    /// A genuine token whose time is over.
    Expired,
    /// A request signed with a key that is not the session's.
    Request,
    /// A request signed for another region than that of the host it is sent to.
    Region,
}

impl Forgery {
    /// In words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Signature => "a token with a forged signature",
            Self::Audience => "a token for another audience",
            Self::Expired => "an expired token",
            Self::Request => "a request with a forged signature",
            Self::Region => "a request for another region",
        }
    }
}

/// See [`Action::Expect`].
#[derive(Debug, Clone, PartialEq)]
pub struct Expect {
    /// About which workload.
    pub workload: String,
    /// What must be true.
    pub condition: Condition,
    /// When.
    pub when: When,
}

/// What can be true of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Every file holds its secret's current value (as last updated).
    FilesCurrent,
    /// Every file holds the value its secret had before the last update.
    FilesPrevious,
    /// No file and no mount is there.
    Unmounted,
    /// A pod event with this reason whose message contains this text.
    Event {
        /// Such as `FailedMount`.
        reason: String,
        /// Part of the message.
        contains: String,
    },
    /// `SecretProviderClassPodStatus` is there, mounted and complete.
    PodStatus,
    /// Of the Kubernetes Secret that its files are synced into.
    Synced(Synced),
    /// AWS was asked for its secrets no more often than the driver's poll interval lets through.
    FetchesLimited,
    /// The logs of driver and provider show its pods, and neither a token nor a value.
    LogsClean,
}

/// What can be true of a synced Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synced {
    /// It holds the current values.
    Current,
    /// It does, and has an owner. What it is then is remembered.
    Settled,
    /// It was not written since it was seen to be settled.
    Unchanged,
}

/// When a condition must be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// At some moment within the step's deadline.
    Eventually,
    /// At every moment for so long.
    HoldsFor(Duration),
}

/// See [`Action::Publish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The volume's name in the scenario.
    pub volume: String,
    /// Whose class it is of, and whose pod has it. Index into [`Scenario::tenants`].
    pub tenant: usize,
    /// Whether an earlier step published it, so that kubelet tries again.
    pub again: bool,
    /// Kubelet's deadline of one call.
    pub deadline: Duration,
    /// What keeps its one call from its end; where absent it is called until the driver reports success.
    pub interruption: Option<Interruption>,
}

/// What keeps a publish from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Its deadline passes.
    Deadline,
    /// The driver is killed in the middle.
    DriverKilled,
}

/// See [`Action::Restart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The driver.
    Driver {
        /// How it rotates from here on; as it did where absent.
        rotation: Option<Rotation>,
    },
    /// The provider.
    Provider {
        /// Whether its socket moves to the other folder.
        moves: bool,
        /// Whether the driver writes the files that it fetches.
        driver_writes_secrets: bool,
    },
}

/// How a driver rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Not at all.
    Off,
    /// With this poll interval.
    Every(Duration),
}

/// A measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum Load {
    /// Mounts on an open-loop schedule, over all shared tenants of the run.
    Mounts(MountLoad),
    /// `GetSecretValue` with the tenants' own web-identity credentials.
    Fetch(FetchLoad),
    /// What mounts ask of AWS and of Kubernetes, call by call.
    Calls(CallCount),
}

/// See [`Load::Mounts`].
#[derive(Debug, Clone, PartialEq)]
pub struct MountLoad {
    /// Mounts to measure; `--pods` overrides.
    pub pods: u32,
    /// Mounts before them, tagged `warm-up`.
    pub warm_up: u32,
    /// Mean starts per second.
    pub rate: f64,
    /// Most of them through the pod lens, where the environment's nodes bring pods up more slowly.
    pub pod_rate: Option<f64>,
    /// Distribution of the starts.
    pub arrival: Arrival,
    /// Through which lenses, one measurement each.
    pub lenses: Vec<Lens>,
    /// Deadline of one mount.
    pub deadline: Duration,
}

impl MountLoad {
    /// From the first planned start of the warm-up to the last planned start, through the slower lens. A run
    /// that overrides `pods` gives its step that much more time for each lens.
    #[must_use]
    pub fn planned(&self) -> Duration {
        let starts = f64::from(self.warm_up) + f64::from(self.pods);
        let slowest = self.rate.min(self.rate_of(Lens::Pod));
        // A rate is positive; one so small that the quotient is no duration plans "for ever".
        Duration::try_from_secs_f64(starts / slowest).unwrap_or(Duration::MAX)
    }

    /// Mean starts per second through a lens.
    #[must_use]
    pub fn rate_of(&self, lens: Lens) -> f64 {
        match lens {
            Lens::Csi => self.rate,
            Lens::Pod => self.pod_rate.map_or(self.rate, |most| most.min(self.rate)),
        }
    }
}

/// See [`Load::Fetch`].
#[derive(Debug, Clone, PartialEq)]
pub struct FetchLoad {
    /// How long to measure, after the warm-up.
    pub duration: Duration,
    /// How long to warm up.
    pub warm_up: Duration,
    /// Closed loop with so many in flight, or open loop.
    pub pace: Pace,
}

/// See [`Load::Calls`]. Nothing in it depends on time, so that its figures are the same in every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallCount {
    /// Whose calls count. Index into [`Scenario::tenants`]; one of the case's own, so that nobody else makes any.
    pub tenant: usize,
    /// Mounts, one after another.
    pub mounts: u32,
    /// How often the files of each are refreshed afterwards, each time when the rotation interval has passed.
    pub refreshes: u32,
    /// Most calls of one mount, by name, on average. See [`super::calls`].
    pub limits_of_mount: BTreeMap<String, u64>,
    /// Likewise of one refresh.
    pub limits_of_refresh: BTreeMap<String, u64>,
}

/// How fetches are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Closed loop: so many in flight.
    InFlight(u32),
    /// Open loop: so many per second.
    PerSecond(f64),
}

/// Distribution of starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Evenly spaced.
    Constant,
    /// Exponential gaps from the run's seed.
    Poisson,
}

/// A way to look at mount latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lens {
    /// `NodePublishVolume` on the driver's socket.
    Csi,
    /// A real pod from create to Ready.
    Pod,
}

/// What to collect on failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// Pods of the case, with status.
    Pods,
    /// Their events.
    Events,
    /// `SecretProviderClasses` and pod status objects.
    Classes,
    /// The AWS call log of the case's window.
    CallLog,
    /// What driver, provider and kubelet of the pods' nodes wrote in that window.
    Logs,
    /// All of it that has a time, in one order.
    Timeline,
}
