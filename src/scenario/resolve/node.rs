//! The steps that play kubelet, and those that disturb AWS and the node's programs.

use std::time::Duration;

use super::{
    super::{
        at::{At, Place},
        capability::{AWS_FAULTS, CSI_SOCKET, PROGRAM_CONTROL},
        code::Code,
        diagnostic::Diagnostic,
        model::{Action, Interruption, Publish, Restart, Rotation},
        raw::{RawAws, RawInterruption, RawProgram, RawPublish, RawRestart},
        suggest::nearest,
    },
    Resolver,
    steps::Time,
};

/// Kubelet's deadline of a call to a CSI driver.
const KUBELETS: Duration = Duration::from_mins(2);
/// What a publish may take where the step does not say so.
const PUBLISH: Duration = Duration::from_mins(2);
/// What it takes to tell an endpoint of ours how to behave.
const TELL: Duration = Duration::from_secs(15);
/// What a program may take to start.
const RESTART: Duration = Duration::from_secs(30);

/// A volume that an earlier step published.
#[derive(Debug)]
pub(super) struct KnownVolume {
    name: String,
    /// Absent when that step has errors of its own.
    tenant: Option<usize>,
}

impl Resolver<'_> {
    pub(super) fn publish(&mut self, raw: &At<RawPublish>, number: usize) -> Option<(Action, Time)> {
        let (place, raw) = (&raw.place, &raw.value);
        self.needs(CSI_SOCKET, place, "kubelet's calls go to the driver's socket");
        let deadline = match &raw.deadline {
            Some(deadline) => self.duration("the deadline of a call", deadline),
            None => Some(KUBELETS),
        };
        let interruption = raw.interrupted_by.as_ref().map(|by| self.interruption(raw, by));
        let time = self.time(raw.within.as_ref(), PUBLISH);
        let (volume, tenant) = self.volume(place, raw, number)?;
        // One that is wrong is no publish without one.
        let interruption = match interruption {
            Some(interruption) => Some(interruption?),
            None => None,
        };
        let publish = Publish {
            volume,
            tenant: tenant?,
            again: raw.volume.is_some(),
            deadline: deadline?,
            interruption,
        };
        Some((Action::Publish(publish), time?))
    }

    fn interruption(&mut self, raw: &RawPublish, by: &At<RawInterruption>) -> Option<Interruption> {
        match (by.value, &raw.deadline) {
            (RawInterruption::Deadline, Some(_)) => Some(Interruption::Deadline),
            (RawInterruption::DriverKilled, None) => {
                self.needs(PROGRAM_CONTROL, &by.place, "somebody has to kill the driver");
                Some(Interruption::DriverKilled)
            }
            (RawInterruption::Deadline, None) => {
                let diagnostic =
                    Diagnostic::error(Code::Contradiction, "there is no deadline that could pass")
                        .at(by.place.clone(), "which one?")
                        .help("say it: `deadline: 1s`");
                self.error(diagnostic);
                None
            }
            (RawInterruption::DriverKilled, Some(deadline)) => {
                let diagnostic = Diagnostic::error(
                    Code::Contradiction,
                    "a call whose driver is killed does not wait for its deadline",
                )
                .at(deadline.place.clone(), "leave this out");
                self.error(diagnostic);
                None
            }
        }
    }

    /// The volume's name and whose it is.
    fn volume(&mut self, place: &Place, raw: &RawPublish, number: usize) -> Option<(String, Option<usize>)> {
        match (&raw.tenant, &raw.volume) {
            (Some(tenant), None) => {
                let name = match &raw.name {
                    Some(name) => self.text(name)?,
                    None => format!("publish-{number}"),
                };
                let tenant = self.tenant(tenant);
                if self.volumes.iter().any(|known| known.name == name) {
                    let place = raw.name.as_ref().map_or(place, |name| &name.place);
                    self.error(
                        Diagnostic::error(Code::DuplicateName, format!("two volumes are called `{name}`"))
                            .at(place.clone(), "an earlier step has published one of this name")
                            .help(
                                "to have kubelet try it again, write `volume` in place of `as` and `tenant`",
                            ),
                    );
                    return None;
                }
                self.volumes.push(KnownVolume {
                    name: name.clone(),
                    tenant,
                });
                Some((name, tenant))
            }
            (None, Some(volume)) => {
                if let Some(name) = &raw.name {
                    self.error(
                        Diagnostic::error(
                            Code::Contradiction,
                            "a volume that is tried again has a name already",
                        )
                        .at(name.place.clone(), "leave this out"),
                    );
                }
                let name = self.text(volume)?;
                if let Some(known) = self.volumes.iter().find(|known| known.name == name) {
                    return Some((name, known.tenant));
                }
                let names: Vec<&str> = self.volumes.iter().map(|known| known.name.as_str()).collect();
                let known = if names.is_empty() {
                    "no earlier step published one".to_owned()
                } else {
                    format!("earlier steps published: {}", names.join(", "))
                };
                let diagnostic = Diagnostic::error(Code::UnknownWorkload, format!("unknown volume `{name}`"))
                    .at(volume.place.clone(), known)
                    .did_you_mean(nearest(&name, names.iter().copied()));
                self.error(diagnostic);
                None
            }
            _ => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "it is not clear which volume is published")
                        .at(place.clone(), "")
                        .help("exactly one of: `tenant: red` for a new one, `volume: NAME` for one of an earlier step"),
                );
                None
            }
        }
    }

    pub(super) fn aws(&mut self, raw: &At<RawAws>) -> Option<(Action, Time)> {
        self.needs(
            AWS_FAULTS,
            &raw.place,
            "somebody has to make AWS slow and well again",
        );
        let latency = match (&raw.value.latency, &raw.value.well) {
            (Some(latency), None) => Some(self.duration("the latency", latency)?),
            (None, Some(_)) => None,
            _ => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "it is not clear how AWS is from here on")
                        .at(raw.place.clone(), "")
                        .help("exactly one of: `latency: 10s`, `well: true`"),
                );
                return None;
            }
        };
        let time = self.time(None, TELL)?;
        Some((Action::Aws { latency }, time))
    }

    pub(super) fn restart(&mut self, raw: &At<RawRestart>) -> Option<(Action, Time)> {
        let (place, raw) = (&raw.place, &raw.value);
        self.needs(
            PROGRAM_CONTROL,
            place,
            "somebody has to end the program and start it",
        );
        let time = self.time(raw.within.as_ref(), RESTART);
        let (driver, misplaced, word) = match raw.program.value {
            RawProgram::Driver => match (&raw.moves, &raw.driver_writes_secrets) {
                (Some(moves), _) => (true, Some(&moves.place), "moves"),
                (None, writes) => (
                    true,
                    writes.as_ref().map(|writes| &writes.place),
                    "driverWritesSecrets",
                ),
            },
            RawProgram::Provider => (
                false,
                raw.rotation.as_ref().map(|rotation| &rotation.place),
                "rotation",
            ),
        };
        if let Some(place) = misplaced {
            let (this, other) = if driver {
                ("driver", "provider")
            } else {
                ("provider", "driver")
            };
            self.error(
                Diagnostic::error(Code::Contradiction, format!("a {this} has no `{word}`"))
                    .at(place.clone(), format!("this is the {other}'s")),
            );
            return None;
        }
        let restart = if driver {
            let rotation = match &raw.rotation {
                Some(rotation) => Some(self.rotation(rotation)?),
                None => None,
            };
            Restart::Driver { rotation }
        } else {
            Restart::Provider {
                moves: raw.moves.is_some(),
                driver_writes_secrets: raw.driver_writes_secrets.is_some(),
            }
        };
        Some((Action::Restart(restart), time?))
    }

    fn rotation(&mut self, written: &At<String>) -> Option<Rotation> {
        if self.text(written)? == "off" {
            return Some(Rotation::Off);
        }
        self.duration("the poll interval (or `off`)", written)
            .map(Rotation::Every)
    }

    pub(super) fn needs(&mut self, capability: &str, place: &Place, why: &str) {
        if !self.requires(capability) {
            self.error(
                Diagnostic::error(
                    Code::CapabilityNotRequired,
                    format!("this needs `requires: [{capability}]`"),
                )
                .at(place.clone(), why)
                .help("where that cannot be done, the scenario is then not-supported"),
            );
        }
    }
}
