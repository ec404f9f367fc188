//! PURE. Whether what was found on a cluster will do, and if not, why that matters and what to do, before anything runs.

mod poorer;

use std::{fmt, time::Duration};

use mountproof_releases::Part;

pub(super) use self::poorer::OWN_INTERVAL;
use super::seen::{Managed, SeenPart, Sighting};
use crate::{
    generation::{DriverGeneration, Version},
    tenant::AUDIENCE,
};

/// What kubelet is to ask for a token for, where credentials come by EKS Pod Identity.
pub(super) const POD_IDENTITY_AUDIENCE: &str = "pods.eks.amazonaws.com";
/// Since then providers are handed tokens by kubelet, and ask for none themselves.
const NO_TOKENS_OF_ITS_OWN: Version = Version::new(3, 0, 0);
/// The Kubernetes whose kubelet hands tokens over among the secrets.
const TOKENS_IN_SECRETS: Version = Version::new(1, 35, 0);

/// What is asked of the cluster.
#[derive(Debug, Clone, Copy, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
pub struct Wanted {
    /// Whether what is missing is to be installed.
    pub install: bool,
    /// Whether what is there may be replaced.
    pub replace: bool,
    /// Whether a driver was named.
    pub driver_named: bool,
    /// Whether a provider was named.
    pub provider_named: bool,
    /// Whether AWS is an endpoint of the run's, which only a provider that we install is told of.
    pub aws_is_ours: bool,
    /// Whether credentials are to come by IAM roles for `ServiceAccount`s.
    pub irsa: bool,
    /// Whether they are to come by Pod Identity.
    pub pod_identity: bool,
    /// Whether another driver is to come in the middle of the run.
    pub then_driver: bool,
    /// Likewise, of the provider.
    pub then_provider: bool,
}

impl Wanted {
    /// Whether another one is to come in a part's place.
    fn upgrades(self, part: Part) -> bool {
        match part {
            Part::Driver => self.then_driver,
            Part::Provider => self.then_provider,
        }
    }

    fn names_any(self) -> bool {
        self.driver_named || self.provider_named
    }

    fn names(self, part: Part) -> bool {
        match part {
            Part::Driver => self.driver_named,
            Part::Provider => self.provider_named,
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether nothing can be run.
    pub fatal: bool,
    /// What it is.
    pub what: String,
    /// Why that matters.
    pub why: String,
    /// What to do.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.why, self.help)
    }
}

/// What becomes of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The one that is there is used as it is.
    Found(Box<SeenPart>),
    /// It is installed.
    Install,
    /// It is installed in the place of what is there.
    Replace(Vec<SeenPart>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What becomes of the driver.
    pub driver: Choice,
    /// What becomes of the provider.
    pub provider: Choice,
    /// What is not as it should be, the fatal first.
    pub problems: Vec<Problem>,
    /// Capabilities that the cluster does not have, and why.
    pub lacks: Vec<(&'static str, String)>,
    /// The driver's rotation interval, where it rotates.
    pub rotation: Option<Duration>,
}

impl Judgement {
    /// One of the two.
    #[must_use]
    pub fn of(&self, part: Part) -> &Choice {
        match part {
            Part::Driver => &self.driver,
            Part::Provider => &self.provider,
        }
    }

    /// Whether anything is installed.
    #[must_use]
    pub fn installs(&self) -> bool {
        Part::ALL
            .iter()
            .any(|part| !matches!(self.of(*part), Choice::Found(_)))
    }

    /// The problems with which nothing can be run, in words.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        let fatal: Vec<String> = self
            .problems
            .iter()
            .filter(|problem| problem.fatal)
            .map(ToString::to_string)
            .collect();
        match &fatal[..] {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!(
                "{} things are in the way:\n  - {}",
                several.len(),
                several.join("\n  - ")
            )),
        }
    }
}

/// Judges a cluster.
#[must_use]
pub fn judge(seen: &Sighting, wanted: &Wanted) -> Judgement {
    let mut judging = Judging {
        seen,
        wanted,
        problems: Vec::new(),
        lacks: Vec::new(),
    };
    judging.nodes();
    let driver = judging.choice(Part::Driver);
    let provider = judging.choice(Part::Provider);
    judging.csi_driver(&driver, &provider);
    let mut rotation = None;
    if let Choice::Found(driver) = &driver {
        judging.readiness(driver);
        judging.verbosity(driver);
        judging.secrets(driver);
        rotation = judging.rotation(driver);
    }
    if let Choice::Found(provider) = &provider {
        judging.readiness(provider);
        judging.provider(provider);
    }
    let Judging {
        mut problems, lacks, ..
    } = judging;
    problems.sort_by_key(|problem| !problem.fatal);
    Judgement {
        driver,
        provider,
        problems,
        lacks,
        rotation,
    }
}

struct Judging<'a> {
    seen: &'a Sighting,
    wanted: &'a Wanted,
    problems: Vec<Problem>,
    lacks: Vec<(&'static str, String)>,
}

impl Judging<'_> {
    fn fatal(&mut self, what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) {
        self.add(true, what, why, help);
    }

    fn warn(&mut self, what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) {
        self.add(false, what, why, help);
    }

    fn add(&mut self, fatal: bool, what: impl Into<String>, why: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem {
            fatal,
            what: what.into(),
            why: why.into(),
            help: help.into(),
        });
    }

    fn nodes(&mut self) {
        let nodes = &self.seen.nodes;
        let of_use = nodes.iter().filter(|node| node.is_of_use()).count();
        if of_use == 0 {
            let (what, help) = if nodes.is_empty() {
                ("the cluster has no node", "add one")
            } else if nodes.iter().all(|node| node.os == "windows") {
                (
                    "every node runs Windows",
                    "add one with Linux: mountproof's workloads, driver and provider are for Linux",
                )
            } else {
                (
                    "no Linux node is Ready and takes pods",
                    "look at kubectl get nodes, at their taints and at what cordons them",
                )
            };
            self.fatal(what, "no pod could be placed", help);
            return;
        }
        let mut architectures: Vec<&str> = nodes
            .iter()
            .filter(|node| node.is_of_use())
            .map(|node| node.architecture.as_str())
            .collect();
        architectures.sort_unstable();
        architectures.dedup();
        if architectures.len() > 1 {
            self.warn(
                format!(
                    "the nodes are of several architectures ({})",
                    architectures.join(", ")
                ),
                "an image that is for one of them runs on no other",
                "give images of all of them: --image and --agent-image",
            );
        }
    }

    /// What becomes of a part.
    fn choice(&mut self, part: Part) -> Choice {
        let wanted = self.wanted;
        let there = self.seen.of_part(part);
        let names: Vec<String> = there
            .iter()
            .map(|seen| {
                format!(
                    "{} ({} {}, from {})",
                    seen.daemon_set, part, seen.version, seen.managed
                )
            })
            .collect();
        let names = names.join(", ");
        let told_of_aws = part == Part::Provider && wanted.aws_is_ours;
        match there {
            [] if wanted.install => Choice::Install,
            [] => {
                self.fatal(
                    format!("no DaemonSet of the cluster has the {part}"),
                    "nothing could be mounted",
                    format!(
                        "install it yourself, or have it installed for the run, and removed after it, with --install, \
                         --{part}-version, --{part}-chart or --{part}-manifests"
                    ),
                );
                Choice::Install
            }
            // Those that were named, or both.
            _ if wanted.replace && (wanted.names(part) || told_of_aws || !wanted.names_any()) => {
                self.replaceable(part, there);
                Choice::Replace(there.to_vec())
            }
            [one] => {
                if wanted.names(part) {
                    self.fatal(
                        format!("another {part} was asked for, and there is one already: {names}"),
                        "it is somebody else's, and others may mount by it",
                        format!(
                            "leave the {part}'s flags out to use the one that is there, or add --replace-driver to have it \
                             replaced for the run and put back after it"
                        ),
                    );
                }
                if wanted.upgrades(part) {
                    self.fatal(
                        format!("--then names another {part}, and there is one already: {names}"),
                        "it is somebody else's, and what is to be upgraded in the middle of a run has to be the run's",
                        format!(
                            "leave {part}=.. out of --then, or add --replace-driver, and --{part}-version or --{part}-image for the one \
                             to begin with"
                        ),
                    );
                }
                if told_of_aws {
                    self.fatal(
                        format!("there is a provider already: {names}"),
                        "nobody can tell it that AWS is not AWS: it would ask AWS itself",
                        "use AWS itself (--aws account), or add --replace-driver to have it replaced for the run and put back \
                         after it",
                    );
                }
                Choice::Found(Box::new(one.clone()))
            }
            several => {
                self.fatal(
                    format!("the {part} is on the cluster more than once: {names}"),
                    "which of them serves a mount is chance, so that a verdict would be about either",
                    format!("remove all but one {part}"),
                );
                Choice::Found(Box::new(several[0].clone()))
            }
        }
    }

    /// Whether what is there can be put back as it was.
    fn replaceable(&mut self, part: Part, there: &[SeenPart]) {
        for seen in there {
            let (whose, help) = match &seen.managed {
                Managed::EksAddon => (
                    "an EKS add-on's",
                    "remove the add-on for the time of the run (aws eks delete-addon)",
                ),
                Managed::Controller(_) => ("a controller's", "suspend that for the time of the run"),
                Managed::ByHand | Managed::Helm { .. } => continue,
            };
            self.fatal(
                format!("the {part} {} is {whose} ({})", seen.daemon_set, seen.managed),
                "that would put it back in the middle of the run",
                format!("{help}, or leave --replace-driver out"),
            );
        }
    }

    /// The `CSIDriver` object, and what it hands to whom.
    fn csi_driver(&mut self, driver: &Choice, provider: &Choice) {
        // One of ours is as the driver needs it.
        let Some(found) = &self.seen.csi_driver else {
            if matches!(driver, Choice::Found(_)) {
                self.fatal(
                    "there is no CSIDriver object secrets-store.csi.k8s.io",
                    "kubelet would hand the driver neither the pod's name nor a token",
                    "have the driver's installation make it",
                );
            }
            return;
        };
        let found = found.clone();
        if matches!(driver, Choice::Replace(_)) {
            return;
        }
        if !found.pod_info || found.attaches || !found.modes.iter().any(|mode| mode == "Ephemeral") {
            self.fatal(
                format!(
                    "the CSIDriver object has podInfoOnMount={}, attachRequired={} and volumeLifecycleModes={:?}",
                    found.pod_info, found.attaches, found.modes
                ),
                "the driver is for volumes in pods (Ephemeral) that nobody attaches, and has to be told whose they are",
                "make it as the driver's chart does: podInfoOnMount true, attachRequired false, [Ephemeral]",
            );
        }
        let version = match provider {
            Choice::Found(provider) => Version::read(&provider.version),
            Choice::Install | Choice::Replace(_) => None,
        };
        let mints = version.is_some_and(|version| version < NO_TOKENS_OF_ITS_OWN);
        for (audience, needed) in [
            (AUDIENCE, self.wanted.irsa),
            (POD_IDENTITY_AUDIENCE, self.wanted.pod_identity),
        ] {
            if !needed || found.audiences.iter().any(|asked| asked == audience) {
                continue;
            }
            let what = format!("the CSIDriver object asks for no token for {audience} (tokenRequests)");
            let help = format!(
                "set tokenRequests with audience {audience} in the values of the driver's chart, or in the object itself: it can \
                 be changed in place"
            );
            if mints {
                self.warn(
                    what,
                    "this provider asks for tokens itself, and one from 3.0.0 on will not: no mount works after that upgrade",
                    help,
                );
            } else {
                self.fatal(
                    what,
                    "providers from 3.0.0 on have no other token: every mount would fail",
                    help,
                );
            }
        }
        let Choice::Found(driver) = driver else { return };
        let known = Version::read(&driver.version).is_some();
        let generation = DriverGeneration::of(&driver.version);
        let hands_over =
            Version::read(&self.seen.kubernetes).is_some_and(|version| version >= TOKENS_IN_SECRETS);
        if known && found.tokens_in_secrets && !generation.tokens_in_secrets && hands_over {
            self.fatal(
                format!(
                    "the CSIDriver object has serviceAccountTokenInSecrets, and the driver is {}",
                    driver.version
                ),
                "that driver looks for tokens in the volume's context only, so that the provider gets none",
                "take it out of the object, or upgrade the driver to 1.6.0",
            );
        }
        if known && driver.rotates && generation.republish && !found.republishes {
            self.warn(
                format!(
                    "the driver {} has rotation on, and the CSIDriver object no requiresRepublish",
                    driver.version
                ),
                "since 1.6.0 rotation rests on kubelet's republishing: no file will ever change",
                "set requiresRepublish: true in the CSIDriver object",
            );
        }
        for definition in ["secretproviderclasses", "secretproviderclasspodstatuses"] {
            if !self
                .seen
                .definitions
                .iter()
                .any(|name| name.starts_with(definition))
            {
                self.fatal(
                    format!("the definition of {definition} is missing"),
                    "there can be no SecretProviderClass",
                    "have the driver's installation make it",
                );
            }
        }
    }

    fn readiness(&mut self, part: &SeenPart) {
        let name = part.part;
        if part.wanted == 0 {
            self.fatal(
                format!("{} with the {name} is for no node", part.daemon_set),
                "nothing could be mounted",
                "look at its nodeSelector and tolerations",
            );
        } else if part.ready < part.wanted {
            let on = if part.unready_on.is_empty() {
                String::new()
            } else {
                format!(", not on {}", part.unready_on.join(", "))
            };
            self.fatal(
                format!(
                    "the {name} ({}) is Ready on {} of {} nodes{on}",
                    part.daemon_set, part.ready, part.wanted
                ),
                "pods on the others would wait for ever, and that would say nothing of the product",
                "look at its pods there: kubectl describe pod, kubectl logs",
            );
        }
        if name != Part::Driver {
            return;
        }
        let unknown: Vec<&str> = self
            .seen
            .nodes
            .iter()
            .filter(|node| node.is_of_use() && !self.seen.registered.contains(&node.name))
            .map(|node| node.name.as_str())
            .collect();
        if part.wanted > 0 && part.ready >= part.wanted && !unknown.is_empty() {
            let unknown = unknown.join(", ");
            self.fatal(
                format!("kubelet knows no driver on {unknown}"),
                "pods that are placed there could mount nothing",
                "have the driver run on every node that takes pods, or keep pods off that node with a taint",
            );
        }
    }
}

#[cfg(test)]
mod tests;
