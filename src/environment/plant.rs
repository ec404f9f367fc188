//! Defects that can be planted into the embedded environment: the tester's own test.
//!
//! Each must turn the scenario named beside it red. `mountproof run --plant NAME` plants one, and
//! `tests/conformance.rs` plants them all, one at a time.

use std::{fmt, str::FromStr};

/// What a plant's name ends with when its defect is to show once and then no more.
const ONCE: &str = "@once";

/// One defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plant {
    entry: &'static Entry,
    once: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    name: &'static str,
    what: &'static str,
    caught_by: &'static str,
    defect: Defect,
}

/// Where the defect sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// See `mountproof_aws_endpoint::Defects`.
    Endpoint(EndpointDefect),
    /// See `mountproof_stand_ins::driver::Defects`.
    Driver(DriverDefect),
    /// See `mountproof_stand_ins::provider::Defects`.
    Provider(ProviderDefect),
    /// See `mountproof_stand_ins::defects::AgentDefects`.
    Agent(AgentDefect),
}

/// Of the AWS endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointDefect {
    /// Tokens are believed without their signature.
    SkipTokenSignature,
    /// Any audience will do.
    IgnoreAudience,
    /// Every role is handed out.
    IgnoreTrustPolicy,
    /// Every resource matches.
    IgnoreResource,
    /// Resources match by prefix.
    PrefixMatch,
    /// Requests are believed without their signature.
    SkipRequestSignature,
    /// The value before the last update is served.
    StaleAfterPut,
    /// Another tenant's secret is served.
    OtherTenantsSecret,
    /// Policies on secrets count for nothing.
    IgnoreResourcePolicy,
    /// Permission boundaries limit nothing.
    IgnoreBoundary,
    /// Tokens are believed after their time.
    AcceptExpiredToken,
    /// Requests for another region are taken.
    AcceptAnyRegion,
    /// Associations of other namespaces count.
    AnyAssociationCounts,
    /// The cluster that a trust policy names counts for nothing.
    IgnoreSourceCluster,
    /// The session tags that a trust policy names count for nothing.
    IgnoreRequestTags,
}

/// Of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DriverDefect {
    /// An empty mount is reported as success.
    EmptyMount,
    /// Files stay after unmount.
    FileLeftAfterUnmount,
    /// No pod status object is written.
    NoPodStatus,
    /// No publish is ever answered.
    NeverAnswers,
    /// A synced Secret is written again by every pod that mounts its class.
    RewritesSyncedSecret,
    /// And at every publish that rotates.
    RewritesSyncedAtEveryPublish,
    /// Every republish fetches where the driver writes the files.
    UnlimitedRotation,
    /// Tokens are written to the log.
    TokensInLog,
    /// A synced Secret does not follow.
    StaleSyncedSecret,
    /// A folder that is young counts as rotated, whatever is in it.
    FreshFolderIsDone,
    /// A folder with something mounted on it counts as done, whatever is in it.
    MountedFolderIsDone,
    /// The provider's first socket is dialled for ever.
    ProviderSocketIsKept,
}

/// Of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderDefect {
    /// Files are world-writable.
    WrongMode,
    /// The first value fetched is served for ever.
    StaleAfterRotation,
    /// Another tenant's credential is used.
    OtherTenantsSecret,
    /// A denial becomes an empty file.
    IgnoresDenial,
    /// The current version is fetched, whichever is asked for.
    IgnoresVersion,
    /// Every file has the same permissions, whatever the class says.
    IgnoresPermission,
    /// A class cannot name one secret twice.
    RefusesSecretTwice,
    /// A denial in the primary region is answered with the failover region's value.
    FailoverAfterDenial,
    /// Every value is fetched twice.
    FetchesTwice,
}

/// Of the Pod Identity Agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AgentDefect {
    /// Another pod's credentials are handed out.
    OtherPodsCredentials,
}

macro_rules! plants {
    ($($name:literal, $defect:expr, caught by $scenario:literal: $what:literal;)*) => {
        static ALL: &[Entry] = &[$(Entry { name: $name, what: $what, caught_by: $scenario, defect: $defect }),*];
    };
}

plants! {
    "endpoint:skip-token-signature", Defect::Endpoint(EndpointDefect::SkipTokenSignature),
        caught by "impostor-refused": "the signature of service-account tokens is not checked";
    "endpoint:ignore-audience", Defect::Endpoint(EndpointDefect::IgnoreAudience),
        caught by "impostor-refused": "a token for any audience is accepted";
    "endpoint:ignore-trust-policy", Defect::Endpoint(EndpointDefect::IgnoreTrustPolicy),
        caught by "annotation-names-other-role": "every role is handed out to every service account";
    "endpoint:ignore-resource", Defect::Endpoint(EndpointDefect::IgnoreResource),
        caught by "cross-namespace-denied": "the Resource of policy statements is ignored";
    "endpoint:prefix-match", Defect::Endpoint(EndpointDefect::PrefixMatch),
        caught by "cross-namespace-denied": "Resources are compared by a prefix";
    "endpoint:skip-request-signature", Defect::Endpoint(EndpointDefect::SkipRequestSignature),
        caught by "impostor-refused": "request signatures are not checked";
    "endpoint:stale-after-put", Defect::Endpoint(EndpointDefect::StaleAfterPut),
        caught by "rotation": "the value before the last update is served";
    "endpoint:other-tenants-secret", Defect::Endpoint(EndpointDefect::OtherTenantsSecret),
        caught by "positive": "another tenant's secret is served";
    "endpoint:ignore-resource-policy", Defect::Endpoint(EndpointDefect::IgnoreResourcePolicy),
        caught by "resource-policy-denied": "policies on secrets count for nothing";
    "endpoint:ignore-boundary", Defect::Endpoint(EndpointDefect::IgnoreBoundary),
        caught by "boundary-denied": "permissions boundaries limit nothing";
    "endpoint:accept-expired-token", Defect::Endpoint(EndpointDefect::AcceptExpiredToken),
        caught by "expired-token-refused": "a token is accepted however long ago it expired";
    "endpoint:accept-any-region", Defect::Endpoint(EndpointDefect::AcceptAnyRegion),
        caught by "impostor-refused": "a request signed for another region is accepted";
    "endpoint:any-association-counts", Defect::Endpoint(EndpointDefect::AnyAssociationCounts),
        caught by "no-association": "a pod gets the role that another namespace's ServiceAccount is associated with";
    "endpoint:ignore-source-cluster", Defect::Endpoint(EndpointDefect::IgnoreSourceCluster),
        caught by "role-trusts-other-cluster": "EKS hands out a role whatever cluster its trust policy names";
    "endpoint:ignore-request-tags", Defect::Endpoint(EndpointDefect::IgnoreRequestTags),
        caught by "association-names-other-role": "EKS hands out a role whatever namespace its trust policy names";
    "agent:other-pods-credentials", Defect::Agent(AgentDefect::OtherPodsCredentials),
        caught by "association-of-other-namespace": "the Pod Identity Agent hands out the credentials that it has for another pod";
    "driver:empty-mount", Defect::Driver(DriverDefect::EmptyMount),
        caught by "positive": "an empty mount is reported as success";
    "driver:file-left-after-unmount", Defect::Driver(DriverDefect::FileLeftAfterUnmount),
        caught by "positive": "files stay after unmount";
    "driver:no-pod-status", Defect::Driver(DriverDefect::NoPodStatus),
        caught by "positive": "no SecretProviderClassPodStatus is written";
    "driver:never-answers", Defect::Driver(DriverDefect::NeverAnswers),
        caught by "positive": "NodePublishVolume is never answered";
    "driver:rewrites-synced-secret", Defect::Driver(DriverDefect::RewritesSyncedSecret),
        caught by "synced-secret-kept": "a synced Secret is written again by every pod that mounts its class, as by driver 1.6.0";
    "driver:rewrites-synced-at-every-publish", Defect::Driver(DriverDefect::RewritesSyncedAtEveryPublish),
        caught by "synced-secret-republished": "a synced Secret is written again by every publish that rotates";
    "driver:unlimited-rotation", Defect::Driver(DriverDefect::UnlimitedRotation),
        caught by "poll-interval-kept": "every republish fetches where the driver writes the files, as by driver 1.6.0";
    "driver:tokens-in-log", Defect::Driver(DriverDefect::TokensInLog),
        caught by "no-token-in-log": "tokens are written to the log, as before driver 1.3.3";
    "driver:stale-synced-secret", Defect::Driver(DriverDefect::StaleSyncedSecret),
        caught by "synced-secret": "a synced Secret keeps what it was made with";
    "driver:fresh-folder-is-done", Defect::Driver(DriverDefect::FreshFolderIsDone),
        caught by "mount-after-timeout": "what a timed-out mount left is reported as rotated, as by driver 1.6.0";
    "driver:mounted-folder-is-done", Defect::Driver(DriverDefect::MountedFolderIsDone),
        caught by "mount-after-driver-kill": "what a killed driver left is reported as mounted, as up to driver 1.6.0";
    "driver:provider-socket-is-kept", Defect::Driver(DriverDefect::ProviderSocketIsKept),
        caught by "mount-after-provider-move": "a provider that moves is not followed, as up to driver 1.6.0";
    "provider:wrong-mode", Defect::Provider(ProviderDefect::WrongMode),
        caught by "positive": "files are writable by everyone";
    "provider:stale-after-rotation", Defect::Provider(ProviderDefect::StaleAfterRotation),
        caught by "rotation": "the first value fetched is served for ever";
    "provider:other-tenants-secret", Defect::Provider(ProviderDefect::OtherTenantsSecret),
        caught by "cross-namespace-denied": "another tenant's credential is used";
    "provider:ignores-denial", Defect::Provider(ProviderDefect::IgnoresDenial),
        caught by "cross-namespace-denied": "a denial becomes an empty file and success";
    "provider:ignores-version", Defect::Provider(ProviderDefect::IgnoresVersion),
        caught by "class-formats": "objectVersion and objectVersionLabel are ignored";
    "provider:ignores-permission", Defect::Provider(ProviderDefect::IgnoresPermission),
        caught by "class-permissions": "filePermission is read past, as before provider 1.0.0";
    "provider:refuses-secret-twice", Defect::Provider(ProviderDefect::RefusesSecretTwice),
        caught by "class-secret-twice": "a class that names one secret twice is refused, as before provider 1.0.0";
    "provider:failover-after-denial", Defect::Provider(ProviderDefect::FailoverAfterDenial),
        caught by "failover-keeps-denial": "a denial in the primary region is answered with the failover region's value";
    "provider:fetches-twice", Defect::Provider(ProviderDefect::FetchesTwice),
        caught by "calls-per-mount": "every value is fetched twice";
}

impl Plant {
    /// Every defect that can be planted.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.iter().map(|entry| Self { entry, once: false })
    }

    /// `seam:defect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry.name
    }

    /// Whether it shows once only, as a defect does that makes tests flaky.
    #[must_use]
    pub fn once(self) -> bool {
        self.once
    }

    /// What is broken by it.
    #[must_use]
    pub fn what(self) -> &'static str {
        self.entry.what
    }

    /// The scenario that must go red.
    #[must_use]
    pub fn caught_by(self) -> &'static str {
        self.entry.caught_by
    }

    /// Where it sits.
    #[must_use]
    pub fn defect(self) -> Defect {
        self.entry.defect
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{}{}",
            self.entry.name,
            if self.once { ONCE } else { "" }
        ))
    }
}

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, once) = text.strip_suffix(ONCE).map_or((text, false), |name| (name, true));
        let Some(plant) = Self::all().find(|plant| plant.name() == name) else {
            let names: Vec<&str> = ALL.iter().map(|entry| entry.name).collect();
            return Err(format!("no such defect; there are: {}", names.join(", ")));
        };
        if once && matches!(plant.defect(), Defect::Endpoint(_)) {
            return Err(
                "only defects of the driver, of the provider and of the agent can show once".to_owned(),
            );
        }
        Ok(Self { once, ..plant })
    }
}
