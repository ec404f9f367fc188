//! The step `deny`: its control, its reason, and that something stands in its way at all.

use super::{
    super::{
        at::{At, Place},
        capability,
        code::Code,
        diagnostic::Diagnostic,
        model::{Action, Because, Class, Deny, RoleAnnotation, SecretRef, Workload},
        raw::{RawBecause, RawDeny, RawStep},
        suggest::nearest,
    },
    Resolver, Verb,
    steps::{Time, default, listed, subject},
    tenants::STANDING_SECRET,
    workload::difference,
};

impl Resolver<'_> {
    pub(super) fn deny(&mut self, raw: &RawDeny, number: usize, line: u32) -> Option<(Action, Time)> {
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
            .help(
                "a denial asks for another tenant's secret, is made with another tenant's role, or meets a resource \
                 policy or a boundary",
            );
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
    pub(super) fn obstacle(&self, workload: &Workload) -> Option<String> {
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
                let mut secrets = objects.iter().map(|object| &object.secret);
                if let Some(policy) = secrets.find_map(|secret| self.policy_against(workload.tenant, secret))
                {
                    return Some(policy);
                }
            }
            Class::TenantOwn { tenant } => {
                let standing = SecretRef {
                    tenant: *tenant,
                    secret: STANDING_SECRET.to_owned(),
                };
                if let Some(policy) = self.policy_against(workload.tenant, &standing) {
                    return Some(policy);
                }
            }
        }
        match &tenant.annotation {
            RoleAnnotation::Own if tenant.trusts_other_cluster => {
                Some("its role trusts another cluster".to_owned())
            }
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
                    | RawStep::Scale(_)
                    | RawStep::Republish(_)
                    | RawStep::Delete(_)
                    | RawStep::Load(_)
                    | RawStep::Publish(_)
                    | RawStep::Aws(_)
                    | RawStep::Restart(_) => {
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
        let RawBecause {
            error,
            action,
            reason,
            event,
        } = &raw.value;
        match (error, action, reason, event) {
            (Some(error), Some(action), reason, None) => {
                self.needs_enforcement(&error.place);
                let reason = match reason {
                    Some(reason) => Some(self.telling("the reason", "every reason contains it", reason)?),
                    None => None,
                };
                self.aws_reason(error, action, reason)
            }
            (None, None, None, Some(event)) => {
                let text = self.telling("the event's text", "every event contains it", event)?;
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

    /// A text to look for, which has to be one.
    fn telling(&mut self, what: &str, why: &str, written: &At<String>) -> Option<String> {
        let text = self.text(written)?;
        if text.trim().is_empty() {
            self.error(
                Diagnostic::error(Code::OutOfRange, format!("{what} is empty"))
                    .at(written.place.clone(), why),
            );
            return None;
        }
        Some(text)
    }

    /// Checks that the scenario requires what a refusal by AWS needs.
    pub(super) fn needs_enforcement(&mut self, place: &Place) {
        if !self.requires(capability::IAM_ENFORCEMENT) {
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

    pub(super) fn requires(&self, capability: &str) -> bool {
        let requires = &self.raw.requires;
        requires.iter().any(|required| required.value == capability)
    }

    fn aws_reason(
        &mut self,
        error: &At<String>,
        action: &At<String>,
        reason: Option<String>,
    ) -> Option<Because> {
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
            ("secretsmanager" | "ssm" | "eks-auth", "AccessDenied") => Some("AccessDeniedException"),
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
            reason,
        })
    }
}
