//! The YAML of a scenario file, field by field.
//!
//! These types are three things at once: what serde reads, what the JSON Schema is generated from
//! (the comments become its descriptions), and what `shape` checks files against. Rules of
//! the house: fields are `camelCase`, unknown fields are errors, a step is a mapping with one key,
//! and nothing is flattened or untagged, since such types lose the place of what they hold.

mod node;
mod standing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::at::{At, Ordered};

pub use self::{
    node::{RawAws, RawInterruption, RawProgram, RawPublish, RawRestart},
    standing::{RawFetches, RawLogs, RawRepublish, RawScale, RawSynced},
};

/// A claim about mounting AWS secrets into pods, and the steps that prove it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "mountproof scenario")]
pub struct RawScenario {
    /// `mountproof.dev/v1alpha1`.
    #[schemars(regex(pattern = r"^mountproof\.dev/v1alpha1$"))]
    pub api_version: At<String>,
    /// `Scenario`.
    #[schemars(regex(pattern = "^Scenario$"))]
    pub kind: At<String>,
    /// What it is called and where it belongs.
    pub metadata: RawMetadata,
    /// The claim in one sentence. Reports print it beside the verdict.
    pub description: At<String>,
    /// The one way in that it is about: it is tried with no other. Default: with each that the run has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<RawIdentity>,
    /// How often it is bound to the run's tenants. Default `once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<RawEach>,
    /// Capabilities without which it is `not-supported`: `iam-enforcement`, `call-log`, `rotation`,
    /// `csi-socket`, `expired-tokens`, `file-permission`, `secret-twice`,
    /// `workload-controllers`, `aws-faults`, `program-control`, `failover-region`, `secret-sync`, `republish`,
    /// `program-logs`. What Pod Identity needs is required by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<At<String>>,
    /// The tenants it speaks of, by names of its own. Each is one of the run's shared tenants, or,
    /// with `own: true`, one that is made for this case and removed after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Ordered<Option<RawTenant>>>,
    /// Axes with their values. The scenario is tried once for every combination; any text below may
    /// say `${matrix.<axis>}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Ordered<Vec<At<String>>>>,
    /// Longest time of one attempt, such as `5m`. Default: the sum of the steps' and 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<At<String>>,
    /// Attempts after the first; a pass after a failure is reported as flaky. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<At<u32>>,
    /// What is done and checked, in order.
    pub steps: Vec<At<RawStep>>,
    /// Evidence to collect, before anything is removed, when it does not pass. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch: Option<Vec<At<RawEvidence>>>,
}

/// What a scenario is called and where it belongs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMetadata {
    /// Unique among all scenarios: lower-case letters, digits and `-`, 50 characters at most.
    #[schemars(regex(pattern = "^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$"))]
    pub name: At<String>,
    /// The set it belongs to, which is the name of the folder it stands in.
    #[schemars(regex(pattern = "^[a-z0-9]([-a-z0-9]{0,48}[a-z0-9])?$"))]
    pub profile: At<String>,
    /// For `--label key=value`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// How pods get their role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawIdentity {
    /// By the annotation of their `ServiceAccount` (IAM roles for service accounts).
    Irsa,
    /// By an association in EKS, through the agent on their node.
    PodIdentity,
}

/// How often a scenario is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawEach {
    /// Once, to the first tenants of the run.
    Once,
    /// Once for each tenant of the run, taken as the scenario's first; the next ones in a ring
    /// become its others.
    Tenant,
}

/// A tenant: a namespace, its `ServiceAccount`, IAM role, policy and secrets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawTenant {
    /// Made for this case and removed after it. Default false: one of the run's shared tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<bool>,
    /// Which role its `ServiceAccount` is annotated with, or with Pod Identity associated with: `own` (the default), `none`, or
    /// another tenant's by that tenant's name. Only an own tenant can differ from `own`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<At<String>>,
    /// Which cluster its role trusts, with Pod Identity: `own` (the default), or `other`, which is none that there is. Only
    /// an own tenant can differ from `own`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusts: Option<At<RawTrusted>>,
    /// Secrets made for this case, by the last part of their path. Every tenant has one named
    /// `secret` already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Ordered<At<RawContent>>>,
    /// Policies of its secrets' own, by the secret. The `secret` of a shared tenant can have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_policies: Option<Ordered<RawResourcePolicy>>,
    /// Secrets that are replicated to the run's failover region, for workloads with `failover`. The `secret` of a
    /// shared tenant is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicated: Option<At<Vec<At<String>>>>,
    /// The role gets a permissions boundary that lets it read these of the tenant's own secrets, and nothing else,
    /// whatever its policy allows. Only an own tenant can have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boundary: Option<At<Vec<At<String>>>>,
}

/// Whom a role trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawTrusted {
    /// The cluster that its tenant is in.
    Own,
    /// Another one.
    Other,
}

/// A resource policy: what is written on the secret itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawResourcePolicy {
    /// Tenants whose own roles it denies to read the secret, whatever their policies allow.
    pub deny: At<Vec<At<String>>>,
    /// It denies in the run's own region only: a replica, which has its secret's policy, can be read. Default: everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_region_only: Option<At<RawTrue>>,
}

/// What a secret holds. The value is random and made when the secret is; a scenario never has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RawContent {
    /// Printable text of so many bytes, 65,536 at most.
    Text(At<u32>),
    /// So many bytes, stored as `SecretBinary`.
    Binary(At<u32>),
    /// A JSON object with a text under each of these keys.
    Json(Vec<At<String>>),
}

/// One step: exactly one of these keys.
#[expect(clippy::large_enum_variant, reason = "a file has a handful of steps")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RawStep {
    /// Create a workload and wait until every file is there, byte for byte.
    Mount(RawMount),
    /// Create a workload and prove that it is refused: a control succeeded, the mount failed, for
    /// the stated reason, and no file appeared while it was watched.
    Deny(RawDeny),
    /// Present a credential that is not genuine, and prove that AWS refuses it where it accepts the
    /// genuine one.
    Impostor(RawImpostor),
    /// Create a workload and expect nothing yet; `expect` says what must come of it.
    Create(RawCreate),
    /// Check something about a workload: now, eventually, or for a while.
    Expect(RawExpect),
    /// Give a secret a new value.
    Update(RawUpdate),
    /// Change how many pods a Deployment has, and wait until they are those.
    Scale(RawScale),
    /// Have kubelet ask the driver again for what a workload has mounted, as it does by itself from time to time.
    Republish(RawRepublish),
    /// Delete a workload and wait until nothing of it is mounted any more.
    Delete(RawDelete),
    /// Measure.
    Load(RawLoad),
    /// Publish a volume as kubelet does, until the driver reports success and every file is there.
    Publish(At<RawPublish>),
    /// Make AWS slow, or well again.
    Aws(At<RawAws>),
    /// Start the driver or the provider anew.
    Restart(At<RawRestart>),
}

/// Writes the three steps that create a workload: the fields they share, and their own.
macro_rules! workload_step {
    ($(#[$meta:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            /// The workload's name, for later steps. Default: the step's kind and number, such as
            /// `mount-1`.
            #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
            pub name: Option<At<String>>,
            /// In whose namespace, as whose `ServiceAccount`.
            pub tenant: At<String>,
            /// Mount this secret, written `tenant/name`, through a `SecretProviderClass` made for the
            /// workload. Exactly one of `secret`, `objects` and `class`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub secret: Option<At<String>>,
            /// How the class names `secret`: `name` (the default) or `arn`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(regex(pattern = r"^(name|arn|.*\$\{matrix\..*)$"))]
            pub by: Option<At<String>>,
            /// Mount these objects, through a `SecretProviderClass` made for the workload.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub objects: Option<Vec<RawObject>>,
            /// Name the class that this tenant always has, `<namespace>-secret`. Of another tenant
            /// than the workload's, it does not exist in the workload's namespace.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub class: Option<At<String>>,
            /// Further parameters of the class that is made: `pathTranslation`, `region` ...
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub parameters: BTreeMap<String, At<String>>,
            /// The class that is made names the run's failover region, `failoverRegion`, to which every one of its
            /// secrets must be `replicated`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub failover: Option<At<RawTrue>>,
            /// The class that is made has every file synced into one Kubernetes Secret (`secretObjects`), under the file's
            /// name.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub sync: Option<At<RawTrue>>,
            /// A Deployment of so many pods. Default: a single pod without one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub replicas: Option<At<u32>>,
            /// Longest time the step may take, such as `30s`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub within: Option<At<String>>,
            $($own)*
        }

        impl $name {
            /// The fields that every step with a workload has.
            pub(crate) fn workload(&self) -> RawWorkload<'_> {
                RawWorkload {
                    name: self.name.as_ref(),
                    tenant: &self.tenant,
                    secret: self.secret.as_ref(),
                    by: self.by.as_ref(),
                    objects: self.objects.as_deref(),
                    class: self.class.as_ref(),
                    parameters: &self.parameters,
                    failover: self.failover.as_ref(),
                    sync: self.sync.as_ref(),
                    replicas: self.replicas.as_ref(),
                }
            }
        }
    };
}

workload_step! {
    /// Create a workload and wait until every file is there, byte for byte.
    RawMount {
        /// Permission bits that every file must have, four octal digits. Default `0644`; an object's
        /// own `filePermission` wins.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(regex(pattern = r"^([0-7]{4}|.*\$\{matrix\..*)$"))]
        pub mode: Option<At<String>>,
        /// Whether the `SecretProviderClassPodStatus` must be there, mounted and complete. Default
        /// true.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pod_status: Option<bool>,
    }
}

workload_step! {
    /// Create a workload and expect nothing yet.
    RawCreate {}
}

workload_step! {
    /// Create a workload and prove that it is refused.
    RawDeny {
        /// The earlier `mount` that shows the same shape to work where it is allowed.
        pub control: At<String>,
        /// The reason that must be seen.
        pub because: At<RawBecause>,
        /// How long no file may appear after the first refusal. Default `3s`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hold: Option<At<String>>,
    }
}

/// What `mount`, `create` and `deny` have in common, borrowed from one of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawWorkload<'a> {
    pub(crate) name: Option<&'a At<String>>,
    pub(crate) tenant: &'a At<String>,
    pub(crate) secret: Option<&'a At<String>>,
    pub(crate) by: Option<&'a At<String>>,
    pub(crate) objects: Option<&'a [RawObject]>,
    pub(crate) class: Option<&'a At<String>>,
    pub(crate) parameters: &'a BTreeMap<String, At<String>>,
    pub(crate) failover: Option<&'a At<RawTrue>>,
    pub(crate) sync: Option<&'a At<RawTrue>>,
    pub(crate) replicas: Option<&'a At<u32>>,
}

/// One entry of a `SecretProviderClass`'s `objects`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawObject {
    /// Which secret, written `tenant/name`.
    pub secret: At<String>,
    /// How `objectName` writes it: `name` (the default) or `arn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(name|arn|.*\$\{matrix\..*)$"))]
    pub by: Option<At<String>>,
    /// `objectAlias`: the name of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<At<String>>,
    /// `objectVersion`: the id of the version that is `current` or `previous` when the workload is
    /// made. A later value is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(current|previous|.*\$\{matrix\..*)$"))]
    pub version: Option<At<String>>,
    /// `objectVersionLabel`: `AWSCURRENT` or `AWSPREVIOUS`, whichever version that is at the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(AWSCURRENT|AWSPREVIOUS|.*\$\{matrix\..*)$"))]
    pub version_label: Option<At<String>>,
    /// `filePermission`, four octal digits, of its file and of its parts' files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-7]{4}|.*\$\{matrix\..*)$"))]
    pub file_permission: Option<At<String>>,
    /// Parts of a JSON secret, each in a file of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jmes_path: Vec<RawJmesPath>,
}

/// A part of a JSON secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawJmesPath {
    /// Which part: the name of one of the secret's keys.
    pub path: At<String>,
    /// The name of its file.
    pub alias: At<String>,
    /// `filePermission`, four octal digits. Default: the object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-7]{4}|.*\$\{matrix\..*)$"))]
    pub file_permission: Option<At<String>>,
}

/// The reason of a denial: `error` with `action` when AWS refuses, else `event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawBecause {
    /// AWS's error code: `AccessDeniedException` of Secrets Manager, `AccessDenied` of STS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<At<String>>,
    /// The action that was refused, such as `secretsmanager:GetSecretValue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<At<String>>,
    /// Text that AWS's reason must contain beside them, to tell which policy it was that refused: `with an explicit
    /// deny in a resource-based policy`, `no permissions boundary allows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<At<String>>,
    /// Refused before AWS is asked: text that the pod's event must contain. `{namespace}`, `{class}`
    /// and `{serviceAccount}` stand for the workload's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<At<String>>,
}

/// Present a credential that is not genuine, as a tenant that means harm would from inside its pod,
/// and prove that AWS refuses it. The positive control is part of the step: the genuine credential
/// must be accepted first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawImpostor {
    /// Whose credential is forged.
    pub tenant: At<String>,
    /// What is presented: `forged-signature`, the tenant's token under a signature that is not the
    /// issuer's; `other-audience`, a genuine token for another audience; `expired-token`, a token that the issuer
    /// signed and whose time is over; `forged-request`, a request signed with a key that is not the session's;
    /// `other-region`, a request signed for another region than that of the host it is sent to.
    #[schemars(regex(
        pattern = r"^(forged-signature|other-audience|expired-token|forged-request|other-region|.*\$\{matrix\..*)$"
    ))]
    pub with: At<String>,
    /// AWS's error codes that count as the refusal: STS's `InvalidIdentityToken` for a token, or
    /// `ExpiredTokenException`, the service's `InvalidSignatureException` for a request. Where the matrix says `with`, one list
    /// serves all forms, and each counts only the codes that AWS can refuse it with.
    pub because: At<Vec<At<String>>>,
    /// Longest time the step may take, such as `30s`, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Check something about a workload. One of `files`, `event`, `podStatus`, `synced`, `fetches`, `logs`; one
/// of `now`, `eventually`, `holds`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawExpect {
    /// A workload that an earlier `mount` or `create` made.
    pub workload: At<String>,
    /// What its files must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<At<RawFiles>>,
    /// An event of its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<At<RawEvent>>,
    /// Its `SecretProviderClassPodStatus` is there, mounted and complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_status: Option<At<RawTrue>>,
    /// The Kubernetes Secret that its files are synced into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synced: Option<At<RawSynced>>,
    /// How often AWS was asked for its secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetches: Option<At<RawFetches>>,
    /// What driver and provider wrote to their logs, the driver at `-v=5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<At<RawLogs>>,
    /// It must be so at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<At<RawTrue>>,
    /// It must become so within this time, such as `2m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eventually: Option<At<String>>,
    /// It must be so at every moment for this time, such as `3s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<At<String>>,
    /// Longest time the step may take, where `eventually` does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// What files must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawFiles {
    /// Each its secret's current value, as last updated.
    Current,
    /// Each the value from before the last update.
    Previous,
    /// There are none, and nothing is mounted.
    None,
}

/// Only ever `true`: leave the field out otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct RawTrue;

impl TryFrom<bool> for RawTrue {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        value
            .then_some(Self)
            .ok_or("expected `true`, or the field left out")
    }
}

impl From<RawTrue> for bool {
    fn from(RawTrue: RawTrue) -> Self {
        true
    }
}

impl JsonSchema for RawTrue {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "True".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "boolean", "const": true })
    }
}

/// An event of a pod.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawEvent {
    /// Such as `FailedMount`.
    pub reason: At<String>,
    /// Part of its message.
    pub contains: At<String>,
}

/// Give a secret a new value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawUpdate {
    /// Which secret, written `tenant/name`. It must belong to this case alone.
    pub secret: At<String>,
    /// Longest time the step may take, such as `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Delete a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawDelete {
    /// A workload that an earlier `mount` or `create` made.
    pub workload: At<String>,
    /// Longest time until nothing of it is mounted, such as `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Measure: exactly one of these keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum RawLoad {
    /// Mounts on an open-loop schedule, spread over all shared tenants of the run.
    Mounts(RawMountLoad),
    /// `GetSecretValue` with the tenants' own web-identity credentials.
    Fetch(RawFetchLoad),
    /// Count what mounts, and refreshes of their files, ask of AWS and of Kubernetes.
    Calls(RawCallCount),
}

/// Mounts on an open-loop schedule: starts are planned in absolute time, so a slow answer delays no
/// later start and hides no latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawMountLoad {
    /// Mounts to measure; `--pods` overrides it.
    pub pods: At<u32>,
    /// Mounts before them, kept apart as warm-up. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<At<u32>>,
    /// Mean starts per second.
    pub rate: At<f64>,
    /// Distribution of the starts. Default `poisson`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrival: Option<RawArrival>,
    /// Ways to look, each a measurement of its own. Default `[csi]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lenses: Option<Vec<At<RawLens>>>,
    /// Longest time of one mount. Default `60s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<At<String>>,
    /// Longest time of the whole step. Default: for each lens the schedule and one mount's deadline,
    /// and 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Distribution of starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawArrival {
    /// Evenly spaced.
    Constant,
    /// Exponential gaps, from the run's seed.
    Poisson,
}

/// A way to look at mount latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawLens {
    /// `NodePublishVolume` on the driver's socket.
    Csi,
    /// A pod from create to Ready.
    Pod,
}

/// `GetSecretValue` with the tenants' own web-identity credentials. One of `inFlight` and
/// `perSecond`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawFetchLoad {
    /// How long to measure, such as `10s`.
    pub duration: At<String>,
    /// How long to warm up before. Default `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<At<String>>,
    /// Closed loop: so many calls in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<At<u32>>,
    /// Open loop: so many calls per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<At<f64>>,
    /// Longest time of the whole step. Default: both durations and 60 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Count what mounts ask of AWS and of Kubernetes, one mount after another through the `csi` lens, and what refreshes
/// of their files ask, while the pods run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCallCount {
    /// Whose pods mount: a tenant with `own: true`, so that every call that is made for it is theirs.
    pub tenant: At<String>,
    /// Mounts to count.
    pub mounts: At<u32>,
    /// How often the files of each are refreshed, each time when the rotation interval has passed: republished as kubelet
    /// does, or of one running pod where the driver looks by itself (before 1.6.0). Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refreshes: Option<At<u32>>,
    /// Most calls. What is not named is counted and not judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<RawCallLimits>,
    /// Longest time of the whole step. Default `2m`; a run with a longer rotation interval gives it more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<At<String>>,
}

/// Most calls by name: `sts:AssumeRoleWithWebIdentity`, `kubernetes:get serviceaccounts`, `tls:aws`, `tls:kubernetes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RawCallLimits {
    /// Of one mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<Ordered<At<u32>>>,
    /// Of one refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Ordered<At<u32>>>,
}

/// Evidence to collect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RawEvidence {
    /// The case's pods, with status.
    Pods,
    /// Their events.
    Events,
    /// `SecretProviderClasses` and pod status objects.
    Classes,
    /// The AWS call log of the case's time.
    CallLog,
    /// What driver, provider and kubelet of the pods' nodes wrote in that time.
    Logs,
    /// What pods, events, calls and logs say, in the order of time.
    Timeline,
}
