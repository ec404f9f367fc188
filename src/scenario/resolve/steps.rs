//! The steps of a scenario, in order: what each may refer to is what came before it.

use std::time::Duration;

use super::{
    super::{
        at::{At, Place},
        capability,
        code::Code,
        diagnostic::Diagnostic,
        duration,
        model::{
            Action, Because, Class, Condition, Deny, Expect, Mount, RoleAnnotation, Stage, Step, When,
            Workload,
        },
        raw::{RawBecause, RawDeny, RawExpect, RawFiles, RawLoad, RawMount, RawStep, RawUpdate},
        suggest::nearest,
    },
    Known, MAX_STEPS, Resolver, Verb,
    tenants::STANDING_SECRET,
    workload::difference,
};

/// Times that a step may take where it does not say so itself. Generous: they bound what a healthy
/// cluster with a cold image cache needs, and cost nothing where it is faster.
mod default {
    use std::time::Duration;

    pub(super) const MOUNT: Duration = Duration::from_mins(2);
    pub(super) const CREATE: Duration = Duration::from_secs(15);
    pub(super) const REFUSAL: Duration = Duration::from_mins(2);
    pub(super) const HOLD: Duration = Duration::from_secs(3);
    pub(super) const UPDATE: Duration = Duration::from_secs(30);
    pub(super) const DELETE: Duration = Duration::from_mins(2);
    pub(super) const NOW: Duration = Duration::from_secs(15);
    pub(super) const BEYOND_HOLD: Duration = Duration::from_secs(15);
    pub(super) const MODE: u32 = 0o644;
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

    fn deny(&mut self, raw: &RawDeny, number: usize, line: u32) -> Option<(Action, Time)> {
        // Before the denial's own name is known, so that it cannot be its own control.
        let control = self.control(&raw.control, number);
        let workload = self.workload(raw.workload(), Verb::Deny, number, line);
        let because = self.because(&raw.because);
        let hold = match &raw.hold {
            Some(hold) => self.duration("the hold", hold),
            None => Some(default::HOLD),
        };
        let time = hold.and_then(|hold| self.time_beyond(raw.within.as_ref(), hold, default::REFUSAL));
        let workload = workload?;
        if matches!(because, Some(Because::Aws { .. })) && self.obstacle(&workload).is_none() {
            let tenant = &self.tenants[workload.tenant].name;
            let diagnostic = Diagnostic::error(
                Code::CannotFail,
                format!("nothing keeps `{tenant}` from mounting this"),
            )
            .at(
                subject(raw.secret.as_ref(), raw.class.as_ref(), &raw.tenant),
                "the tenant's own role may read it",
            )
            .help("a denial asks for another tenant's secret, or is made with another tenant's role");
            self.error(diagnostic);
        }
        let control = control?;
        if let Some(known) = &self.workloads[control].workload
            && let Some(difference) = difference(known, &workload)
        {
            let diagnostic = Diagnostic::error(
                Code::ImpossibleControl,
                format!(
                    "`{}` is no control of this denial: it has another shape",
                    known.name
                ),
            )
            .at(raw.control.place.clone(), difference)
            .at(self.workloads[control].place.clone(), "the control")
            .help("a control differs from the denial only in whose secret is asked for, or by whom");
            self.error(diagnostic);
        }
        let control = self.workloads[control].name.clone();
        Some((
            Action::Deny(Deny {
                workload,
                control,
                because: because?,
                hold: hold?,
            }),
            time?,
        ))
    }

    /// Why a tenant cannot mount what the workload asks for, by all that IAM and Kubernetes say.
    fn obstacle(&self, workload: &Workload) -> Option<String> {
        let tenant = &self.tenants[workload.tenant];
        let owner = |index: usize| &self.tenants[index].name;
        match &workload.class {
            Class::TenantOwn { tenant: class } if *class != workload.tenant => {
                return Some(format!(
                    "the class stands in the namespace of `{}` only",
                    owner(*class)
                ));
            }
            Class::Made { objects, .. } => {
                if let Some(object) = objects
                    .iter()
                    .find(|object| object.secret.tenant != workload.tenant)
                {
                    return Some(format!("the secret is `{}`'s", owner(object.secret.tenant)));
                }
            }
            Class::TenantOwn { .. } => {}
        }
        match &tenant.annotation {
            RoleAnnotation::Own => None,
            RoleAnnotation::Absent => Some("its ServiceAccount names no role".to_owned()),
            RoleAnnotation::Of(other) => Some(format!("its ServiceAccount names the role of `{other}`")),
        }
    }

    fn control(&mut self, written: &At<String>, number: usize) -> Option<usize> {
        let name = self.text(written)?;
        let Some(index) = self.workloads.iter().position(|known| known.name == name) else {
            let later = self.later_names(number).into_iter().any(|later| later == name);
            let mounts: Vec<&str> = self
                .workloads
                .iter()
                .filter(|known| known.verb == Verb::Mount)
                .map(|known| known.name.as_str())
                .collect();
            let diagnostic = if later {
                Diagnostic::error(
                    Code::ImpossibleControl,
                    format!("the control `{name}` is not an earlier step"),
                )
                .at(written.place.clone(), "is made by this step or a later one")
                .help("move the control's `mount` before the denial")
            } else {
                Diagnostic::error(Code::UnknownWorkload, format!("unknown workload `{name}`"))
                    .at(written.place.clone(), listed("earlier mounts", &mounts))
                    .did_you_mean(nearest(&name, mounts.iter().copied()))
            };
            self.error(diagnostic);
            return None;
        };
        let known = &self.workloads[index];
        if known.verb != Verb::Mount {
            let verb = known.verb.word();
            let diagnostic = Diagnostic::error(
                Code::ImpossibleControl,
                format!("the control `{name}` is no mount"),
            )
            .at(written.place.clone(), "")
            .at(known.place.clone(), format!("made by `{verb}`"))
            .help("a control shows that the same thing works where it is allowed: only a `mount` shows that");
            self.error(diagnostic);
            return None;
        }
        Some(index)
    }

    /// The names that this step and later ones give.
    fn later_names(&self, number: usize) -> Vec<String> {
        let raw = self.raw;
        let later = raw.steps.iter().enumerate().skip(number - 1);
        later
            .filter_map(|(index, step)| {
                let (workload, verb) = match &step.value {
                    RawStep::Mount(mount) => (mount.workload(), Verb::Mount),
                    RawStep::Create(create) => (create.workload(), Verb::Create),
                    RawStep::Deny(deny) => (deny.workload(), Verb::Deny),
                    RawStep::Impostor(_)
                    | RawStep::Expect(_)
                    | RawStep::Update(_)
                    | RawStep::Delete(_)
                    | RawStep::Load(_) => {
                        return None;
                    }
                };
                Some(workload.name.map_or_else(
                    || format!("{}-{}", verb.word(), index + 1),
                    |name| name.value.clone(),
                ))
            })
            .collect()
    }

    fn because(&mut self, raw: &At<RawBecause>) -> Option<Because> {
        let RawBecause { error, action, event } = &raw.value;
        match (error, action, event) {
            (Some(error), Some(action), None) => {
                self.needs_enforcement(&error.place);
                self.aws_reason(error, action)
            }
            (None, None, Some(event)) => {
                let text = self.text(event)?;
                if text.trim().is_empty() {
                    self.error(
                        Diagnostic::error(Code::OutOfRange, "the event's text is empty")
                            .at(event.place.clone(), "every event contains it"),
                    );
                    return None;
                }
                Some(Because::Event(text))
            }
            _ => {
                self.error(
                    Diagnostic::error(Code::Contradiction, "the reason is not clear")
                        .at(raw.place.clone(), "")
                        .help("write `error` and `action` where AWS refuses, else `event` alone"),
                );
                None
            }
        }
    }

    /// Checks that the scenario requires what a refusal by AWS needs.
    pub(super) fn needs_enforcement(&mut self, place: &Place) {
        let requires = &self.raw.requires;
        if !requires
            .iter()
            .any(|required| required.value == capability::IAM_ENFORCEMENT)
        {
            self.error(
                Diagnostic::error(
                    Code::DenialWithoutEnforcement,
                    format!(
                        "a denial by AWS needs `requires: [{}]`",
                        capability::IAM_ENFORCEMENT
                    ),
                )
                .at(place.clone(), "AWS must refuse")
                .help("where IAM is not enforced, such a scenario is not-supported, never passed"),
            );
        }
    }

    fn aws_reason(&mut self, error: &At<String>, action: &At<String>) -> Option<Because> {
        let (code, name) = (self.text(error), self.text(action));
        let (code, name) = (code?, name?);
        let Some((service, _)) = name
            .split_once(':')
            .filter(|(_, operation)| !operation.is_empty())
        else {
            self.error(
                Diagnostic::error(Code::UnknownValue, format!("`{name}` is no action"))
                    .at(action.place.clone(), "expected `service:Operation`")
                    .did_you_mean(
                        nearest(&name, ["GetSecretValue"]).map(|_| "secretsmanager:GetSecretValue"),
                    ),
            );
            return None;
        };
        let expected = match (service, code.as_str()) {
            ("sts", "AccessDeniedException") => Some("AccessDenied"),
            ("secretsmanager" | "ssm", "AccessDenied") => Some("AccessDeniedException"),
            _ => None,
        };
        if let Some(expected) = expected {
            self.error(
                Diagnostic::error(Code::UnknownValue, format!("{service} does not say `{code}`"))
                    .at(error.place.clone(), format!("its code is `{expected}`"))
                    .did_you_mean(Some(expected)),
            );
        }
        if code.is_empty()
            || !code
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        {
            self.error(
                Diagnostic::error(Code::UnknownValue, format!("`{code}` is no error code")).at(
                    error.place.clone(),
                    "expected a code such as `AccessDeniedException`",
                ),
            );
        }
        Some(Because::Aws {
            error: code,
            action: name,
        })
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
        let given = [raw.files.is_some(), raw.event.is_some(), raw.pod_status.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            self.error(
                Diagnostic::error(Code::Contradiction, "it is not clear what is expected")
                    .at(raw.workload.place.clone(), "")
                    .help("exactly one of: files, event, podStatus; write a step for each"),
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
fn subject(secret: Option<&At<String>>, class: Option<&At<String>>, tenant: &At<String>) -> Place {
    secret.or(class).unwrap_or(tenant).place.clone()
}

fn listed(what: &str, names: &[&str]) -> String {
    if names.is_empty() {
        format!("{what}: none")
    } else {
        format!("{what}: {}", names.join(", "))
    }
}
