//! The steps of a scenario, in order: what each may refer to is what came before it.

use std::time::Duration;

use super::{
    super::{
        at::{At, Place},
        capability,
        code::Code,
        diagnostic::Diagnostic,
        duration,
        model::{Action, Class, Condition, Expect, Mount, Stage, Step, Synced, When, WorkloadKind},
        raw::{
            RawExpect, RawFetches, RawFiles, RawLoad, RawMount, RawRepublish, RawScale, RawStep, RawSynced,
            RawUpdate,
        },
        suggest::nearest,
    },
    Known, MAX_STEPS, Resolver, Verb,
    tenants::STANDING_SECRET,
    workload::MAX_REPLICAS,
};

/// A republish takes milliseconds; more of them show nothing new.
const MAX_REPUBLISHES: u32 = 100;

/// Times that a step may take where it does not say so itself. Generous: they bound what a healthy
/// cluster with a cold image cache needs, and cost nothing where it is faster.
pub(super) mod default {
    use std::time::Duration;

    pub(in super::super) const MOUNT: Duration = Duration::from_mins(2);
    pub(in super::super) const CREATE: Duration = Duration::from_secs(15);
    pub(in super::super) const REFUSAL: Duration = Duration::from_mins(2);
    pub(in super::super) const HOLD: Duration = Duration::from_secs(3);
    pub(in super::super) const UPDATE: Duration = Duration::from_secs(30);
    pub(in super::super) const DELETE: Duration = Duration::from_mins(2);
    pub(in super::super) const REPUBLISH: Duration = Duration::from_mins(1);
    pub(in super::super) const NOW: Duration = Duration::from_secs(15);
    pub(in super::super) const BEYOND_HOLD: Duration = Duration::from_secs(15);
    pub(in super::super) const MODE: u32 = 0o644;
}

/// How long a step may take, and how long it takes at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    /// Longest.
    pub(super) within: Duration,
    /// What the file says it takes: a written `within`, or what is held or measured.
    pub(super) least: Duration,
}

impl Resolver<'_> {
    /// Every step that is in order, and what they take at least, all together.
    pub(super) fn steps(&mut self, deadline: Option<Duration>) -> (Vec<Step>, Duration) {
        let mut steps = Vec::new();
        let mut least = Duration::ZERO;
        for (index, raw) in self.raw.steps.iter().take(MAX_STEPS).enumerate() {
            if let Some((action, time)) = self.step(raw, index + 1) {
                least = least.saturating_add(time.least);
                // A default never reaches beyond the scenario's own deadline.
                let within =
                    deadline.map_or(time.within, |deadline| time.within.min(deadline.max(time.least)));
                steps.push(Step {
                    action,
                    within,
                    line: raw.line,
                });
            }
        }
        (steps, least)
    }

    fn step(&mut self, raw: &At<RawStep>, number: usize) -> Option<(Action, Time)> {
        match &raw.value {
            RawStep::Mount(mount) => self.mount(mount, number, raw.line),
            RawStep::Deny(deny) => self.deny(deny, number, raw.line),
            RawStep::Impostor(impostor) => self.impostor(impostor, number),
            RawStep::Create(create) => {
                let workload = self.workload(create.workload(), Verb::Create, number, raw.line);
                let time = self.time(create.within.as_ref(), default::CREATE);
                Some((Action::Create(workload?), time?))
            }
            RawStep::Expect(expect) => self.expect(expect),
            RawStep::Update(update) => self.update(update),
            RawStep::Scale(scale) => self.scale(scale),
            RawStep::Republish(republish) => self.republish(republish),
            RawStep::Delete(delete) => {
                let found = self.made(&delete.workload, "deleted");
                let time = self.time(delete.within.as_ref(), default::DELETE);
                let index = found?;
                self.workloads[index].deleted_in_line = Some(raw.line);
                Some((
                    Action::Delete {
                        workload: self.workloads[index].name.clone(),
                    },
                    time?,
                ))
            }
            RawStep::Load(RawLoad::Mounts(mounts)) => self.mount_load(mounts),
            RawStep::Load(RawLoad::Fetch(fetch)) => self.fetch_load(fetch),
            RawStep::Publish(publish) => self.publish(publish, number),
            RawStep::Aws(aws) => self.aws(aws),
            RawStep::Restart(restart) => self.restart(restart),
            RawStep::Load(RawLoad::Calls(calls)) => self.call_count(calls),
        }
    }

    fn mount(&mut self, raw: &RawMount, number: usize, line: u32) -> Option<(Action, Time)> {
        let workload = self.workload(raw.workload(), Verb::Mount, number, line);
        let mode = self.permission(raw.mode.as_ref());
        let time = self.time(raw.within.as_ref(), default::MOUNT);
        let workload = workload?;
        if let Some(obstacle) = self.obstacle(&workload) {
            let tenant = &self.tenants[workload.tenant].name;
            let diagnostic = Diagnostic::error(Code::CannotSucceed, format!("`{tenant}` cannot mount this"))
                .at(
                    subject(raw.secret.as_ref(), raw.class.as_ref(), &raw.tenant),
                    obstacle,
                )
                .help("to prove that it is refused, write `deny`");
            self.error(diagnostic);
        }
        let mode = mode?.map_or(default::MODE, |(_, mode)| mode);
        let mount = Mount {
            workload,
            mode,
            pod_status: raw.pod_status.unwrap_or(true),
        };
        Some((Action::Mount(mount), time?))
    }

    fn expect(&mut self, raw: &RawExpect) -> Option<(Action, Time)> {
        let gone = raw
            .files
            .as_ref()
            .is_some_and(|files| files.value == RawFiles::None);
        let found = if gone {
            self.made_before(&raw.workload)
        } else {
            self.made(&raw.workload, "looked at")
        };
        let condition = self.condition(raw, found);
        let when = self.when(raw);
        let (condition, (when, time)) = (condition?, when?);
        let workload = self.workloads[found?].name.clone();
        Some((
            Action::Expect(Expect {
                workload,
                condition,
                when,
            }),
            time,
        ))
    }

    fn condition(&mut self, raw: &RawExpect, workload: Option<usize>) -> Option<Condition> {
        let given = [
            raw.files.is_some(),
            raw.event.is_some(),
            raw.pod_status.is_some(),
            raw.synced.is_some(),
            raw.fetches.is_some(),
            raw.logs.is_some(),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            self.error(
                Diagnostic::error(Code::Contradiction, "it is not clear what is expected")
                    .at(raw.workload.place.clone(), "")
                    .help("exactly one of: files, event, podStatus, synced, fetches, logs; write a step for each"),
            );
            return None;
        }
        if let Some(event) = &raw.event {
            let reason = self.text(&event.value.reason);
            let contains = self.text(&event.value.contains);
            return Some(Condition::Event {
                reason: reason?,
                contains: contains?,
            });
        }
        if let Some(synced) = &raw.synced {
            return self.synced(synced, workload?).map(Condition::Synced);
        }
        if let Some(fetches) = &raw.fetches {
            self.limited(fetches, workload?);
            return Some(Condition::FetchesLimited);
        }
        if let Some(logs) = &raw.logs {
            self.needs(capability::PROGRAM_LOGS, &logs.place, "somebody has to keep them");
            return Some(Condition::LogsClean);
        }
        let Some(files) = &raw.files else {
            return Some(Condition::PodStatus);
        };
        match files.value {
            RawFiles::Current => Some(Condition::FilesCurrent),
            RawFiles::None => Some(Condition::Unmounted),
            RawFiles::Previous => {
                self.had_another_value(workload?, &files.place);
                Some(Condition::FilesPrevious)
            }
        }
    }

    fn synced(&mut self, written: &At<RawSynced>, workload: usize) -> Option<Synced> {
        let known = &self.workloads[workload];
        let name = known.name.clone();
        if !matches!(&known.workload.as_ref()?.class, Class::Made { sync: true, .. }) {
            let diagnostic = Diagnostic::error(Code::Contradiction, format!("`{name}` syncs nothing"))
                .at(written.place.clone(), "of which Secret?")
                .at(known.place.clone(), "made without `sync`")
                .help("add `sync: true` to the step that makes it");
            self.error(diagnostic);
            return None;
        }
        Some(match written.value {
            RawSynced::Current => Synced::Current,
            RawSynced::Settled => {
                self.settled.insert(name);
                Synced::Settled
            }
            RawSynced::Unchanged => {
                if !self.settled.contains(&name) {
                    self.error(
                        Diagnostic::error(Code::Contradiction, "unchanged since when?")
                            .at(written.place.clone(), "nobody has looked at it before")
                            .help("an `expect` with `synced: settled` must come first"),
                    );
                }
                Synced::Unchanged
            }
        })
    }

    fn limited(&mut self, written: &At<RawFetches>, workload: usize) {
        self.needs(capability::CALL_LOG, &written.place, "calls have to be counted");
        let name = &self.workloads[workload].name;
        if !self.republished.contains(name) {
            let diagnostic = Diagnostic::error(
                Code::CannotFail,
                format!("`{name}` was published once, and no more"),
            )
            .at(written.place.clone(), "there is nothing to limit")
            .help("a `republish` of it must come first");
            self.error(diagnostic);
        }
    }

    fn scale(&mut self, raw: &RawScale) -> Option<(Action, Time)> {
        let found = self.made(&raw.workload, "scaled");
        let replicas = self.within_range("replicas", &raw.replicas, 1, MAX_REPLICAS);
        let time = self.time(raw.within.as_ref(), default::MOUNT);
        let known = &self.workloads[found?];
        let workload = known.name.clone();
        if known.workload.as_ref()?.kind == WorkloadKind::Pod {
            let diagnostic = Diagnostic::error(Code::Contradiction, format!("`{workload}` is a single pod"))
                .at(raw.workload.place.clone(), "only a Deployment can be scaled")
                .at(known.place.clone(), "made without `replicas`")
                .help("add `replicas: 1` to the step that makes it");
            self.error(diagnostic);
        }
        Some((Action::Scale { workload, replicas }, time?))
    }

    fn republish(&mut self, raw: &RawRepublish) -> Option<(Action, Time)> {
        self.needs(
            capability::REPUBLISH,
            &raw.workload.place,
            "kubelet has to do what it is told",
        );
        let found = self.made(&raw.workload, "published again");
        let times = raw
            .times
            .as_ref()
            .map_or(1, |times| self.within_range("times", times, 1, MAX_REPUBLISHES));
        let time = self.time(raw.within.as_ref(), default::REPUBLISH);
        let workload = self.workloads[found?].name.clone();
        self.republished.insert(workload.clone());
        let due = raw.due.is_some();
        Some((Action::Republish { workload, times, due }, time?))
    }

    fn had_another_value(&mut self, workload: usize, place: &Place) {
        let Some(workload) = &self.workloads[workload].workload else {
            return;
        };
        if let Class::Made { objects, .. } = &workload.class
            && objects
                .iter()
                .any(|object| object.version_label == Some(Stage::Previous))
        {
            let diagnostic = Diagnostic::error(
                Code::Contradiction,
                format!("`{}` mounts `{}`", workload.name, Stage::Previous.label()),
            )
            .at(place.clone(), "what was before that is not known")
            .help("expect `current`: the value that the label stands for");
            self.error(diagnostic);
            return;
        }
        let updated = match &workload.class {
            Class::Made { objects, .. } => objects.iter().any(|object| self.updated.contains(&object.secret)),
            Class::TenantOwn { tenant } => self
                .updated
                .iter()
                .any(|secret| secret.tenant == *tenant && secret.secret == STANDING_SECRET),
        };
        if !updated {
            let diagnostic = Diagnostic::error(
                Code::Contradiction,
                format!("no secret of `{}` had another value before", workload.name),
            )
            .at(place.clone(), "previous to what?")
            .help("an `update` of its secret must come first");
            self.error(diagnostic);
        }
    }

    fn when(&mut self, raw: &RawExpect) -> Option<(When, Time)> {
        match (&raw.now, &raw.eventually, &raw.holds) {
            (Some(_), None, None) => {
                let time = self.time(raw.within.as_ref(), default::NOW)?;
                Some((When::Now, time))
            }
            (None, Some(eventually), None) => {
                if let Some(within) = &raw.within {
                    self.error(
                        Diagnostic::error(
                            Code::Contradiction,
                            "`within` and `eventually` say the same twice",
                        )
                        .at(within.place.clone(), "leave this out"),
                    );
                }
                let within = self.duration("the time", eventually)?;
                Some((
                    When::Eventually,
                    Time {
                        within,
                        least: within,
                    },
                ))
            }
            (None, None, Some(holds)) => {
                let hold = self.duration("the hold", holds)?;
                let time = self.time_beyond(raw.within.as_ref(), hold, default::BEYOND_HOLD)?;
                Some((When::HoldsFor(hold), time))
            }
            _ => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "it is not clear when it is expected")
                        .at(raw.workload.place.clone(), "")
                        .help("exactly one of: `now: true`, `eventually: 2m`, `holds: 3s`"),
                );
                None
            }
        }
    }

    fn update(&mut self, raw: &RawUpdate) -> Option<(Action, Time)> {
        let secret = self.secret(&raw.secret);
        let time = self.time(raw.within.as_ref(), default::UPDATE);
        let secret = secret?;
        let tenant = &self.tenants[secret.tenant];
        if !tenant.own && secret.secret == STANDING_SECRET {
            let diagnostic = Diagnostic::error(
                Code::DisturbsOthers,
                format!("an update of `{}/{STANDING_SECRET}` would disturb other scenarios", tenant.name),
            )
            .at(raw.secret.place.clone(), "every scenario with this tenant mounts it")
            .help(format!(
                "declare a secret for this case: `tenants: {{ {}: {{ secrets: {{ rotating: {{ text: 32 }} }} }} }}`",
                tenant.name
            ));
            self.error(diagnostic);
        }
        self.updated.insert(secret.clone());
        Some((Action::Update(secret), time?))
    }

    /// A workload that an earlier `mount` or `create` made and nothing deleted.
    fn made(&mut self, written: &At<String>, what: &str) -> Option<usize> {
        let index = self.made_before(written)?;
        let known = &self.workloads[index];
        if let Some(line) = known.deleted_in_line {
            let diagnostic = Diagnostic::error(
                Code::UnknownWorkload,
                format!("`{}` is deleted and cannot be {what}", known.name),
            )
            .at(written.place.clone(), format!("deleted in line {line}"));
            self.error(diagnostic);
            return None;
        }
        Some(index)
    }

    /// Likewise, deleted or not.
    fn made_before(&mut self, written: &At<String>) -> Option<usize> {
        let name = self.text(written)?;
        let index = self.workloads.iter().position(|known| known.name == name);
        let Some(index) = index else {
            let names: Vec<&str> = self
                .workloads
                .iter()
                .filter(|known| known.verb != Verb::Deny)
                .map(|known| known.name.as_str())
                .collect();
            let diagnostic = Diagnostic::error(Code::UnknownWorkload, format!("unknown workload `{name}`"))
                .at(written.place.clone(), listed("earlier steps made", &names))
                .did_you_mean(nearest(&name, names.iter().copied()));
            self.error(diagnostic);
            return None;
        };
        let Known { verb, line, .. } = self.workloads[index];
        if verb == Verb::Deny {
            self.error(
                Diagnostic::error(
                    Code::UnknownWorkload,
                    format!("`{name}` is gone: its denial ended with it"),
                )
                .at(written.place.clone(), format!("denied in line {line}"))
                .help("use `create` for a workload that stays, with `expect` for what must come of it"),
            );
            return None;
        }
        Some(index)
    }

    pub(super) fn time(&mut self, within: Option<&At<String>>, default: Duration) -> Option<Time> {
        match within {
            Some(written) => {
                let within = self.duration("the time", written)?;
                Some(Time {
                    within,
                    least: within,
                })
            }
            None => Some(Time {
                within: default,
                least: Duration::ZERO,
            }),
        }
    }

    /// The time of a step that holds or measures for a while.
    pub(super) fn time_beyond(
        &mut self,
        within: Option<&At<String>>,
        hold: Duration,
        beyond: Duration,
    ) -> Option<Time> {
        let Some(written) = within else {
            return Some(Time {
                within: hold.saturating_add(beyond),
                least: hold,
            });
        };
        let within = self.duration("the time", written)?;
        if within <= hold {
            self.error(
                Diagnostic::error(
                    Code::ImpossibleDeadline,
                    format!(
                        "a step of {} cannot hold or measure for {}",
                        duration::print(within),
                        duration::print(hold)
                    ),
                )
                .at(
                    written.place.clone(),
                    format!("expected more than {}", duration::print(hold)),
                )
                .help("`within` is the longest time of the whole step, what it holds or measures included"),
            );
        }
        Some(Time {
            within,
            least: within,
        })
    }
}

/// What a step is about: the secret or class it asks for.
pub(super) fn subject(secret: Option<&At<String>>, class: Option<&At<String>>, tenant: &At<String>) -> Place {
    secret.or(class).unwrap_or(tenant).place.clone()
}

pub(super) fn listed(what: &str, names: &[&str]) -> String {
    if names.is_empty() {
        format!("{what}: none")
    } else {
        format!("{what}: {}", names.join(", "))
    }
}
