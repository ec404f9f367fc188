//! [`RawScenario`] to [`Scenario`]: every reference followed, every default filled in, everything
//! that makes no sense reported.

mod impostor;
mod measure;
mod steps;
mod tenants;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use super::{
    at::{At, Place},
    capability,
    code::Code,
    diagnostic::{Diagnostic, Severity},
    duration, matrix,
    matrix::{Row, Substituted},
    model::{Each, Evidence, Scenario, TenantSpec, Workload},
    raw::{RawEach, RawEvidence, RawScenario},
    suggest::nearest,
};

const API_VERSION: &str = "mountproof.dev/v1alpha1";
const KIND: &str = "Scenario";
const MAX_NAME: usize = 50;
const MAX_STEPS: usize = 100;
/// What a scenario may take beyond the sum of its steps, where it has no deadline of its own.
const SLACK: Duration = Duration::from_secs(30);

/// Where a file stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing<'a> {
    /// Its path below the scenarios folder, with `/`.
    pub(crate) below: &'a str,
    /// The name of the folder it stands in, where it has one.
    pub(crate) folder: Option<&'a str>,
}

/// One scenario for each combination of the matrix, and everything that is wrong. Without errors
/// there is at least one; with one there is none.
pub(crate) fn resolve(raw: &RawScenario, standing: Standing<'_>) -> (Vec<Scenario>, Vec<Diagnostic>) {
    let mut report = Vec::new();
    header(raw, standing, &mut report);
    let axes: Vec<&str> = raw
        .matrix
        .iter()
        .flat_map(|matrix| &matrix.entries)
        .map(|(axis, _)| axis.value.as_str())
        .collect();
    let mut used = Used::default();
    let mut scenarios = Vec::new();
    let mut rows = matrix::rows(raw.matrix.as_ref(), &mut report);
    if rows.is_empty() {
        // For the problems that do not depend on the matrix: texts that do are passed over.
        rows.push(Row::new());
    }
    for row in rows {
        let mut resolver = Resolver::new(raw, &row, &axes, &mut used);
        let scenario = resolver.scenario(standing);
        report.append(&mut resolver.report);
        scenarios.extend(scenario);
    }
    if !has_errors(&report) {
        unused(raw, &used, &mut report);
        report.extend(used.codes.never_fitting());
    }
    // Every row repeats what it shares with the others.
    let mut seen = HashSet::new();
    report.retain(|diagnostic| seen.insert(diagnostic.clone()));
    if has_errors(&report) {
        scenarios.clear();
    }
    (scenarios, report)
}

fn has_errors(report: &[Diagnostic]) -> bool {
    report
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Checks what does not depend on the matrix.
fn header(raw: &RawScenario, standing: Standing<'_>, report: &mut Vec<Diagnostic>) {
    for (field, written, expected) in [
        ("apiVersion", &raw.api_version, API_VERSION),
        ("kind", &raw.kind, KIND),
    ] {
        if written.value != expected {
            report.push(
                Diagnostic::error(Code::WrongKind, format!("unknown {field} `{}`", written.value))
                    .at(written.place.clone(), format!("expected `{expected}`")),
            );
        }
    }
    name("scenario", &raw.metadata.name, MAX_NAME, report);
    if name("profile", &raw.metadata.profile, MAX_NAME, report)
        && let Some(folder) = standing.folder
        && folder != raw.metadata.profile.value
    {
        report.push(
            Diagnostic::error(
                Code::WrongFolder,
                format!(
                    "the profile is `{}`, but the folder is `{folder}`",
                    raw.metadata.profile.value
                ),
            )
            .at(raw.metadata.profile.place.clone(), format!("expected `{folder}`"))
            .help(format!(
                "a file stands in the folder of its profile: write `profile: {folder}`, or move the file"
            )),
        );
    }
    if raw.description.value.trim().is_empty() {
        report.push(
            Diagnostic::error(Code::MissingField, "the description is empty")
                .at(raw.description.place.clone(), "")
                .help("say the claim in one sentence; reports print it beside the verdict"),
        );
    }
    if raw.steps.is_empty() {
        report.push(
            Diagnostic::error(Code::NoSteps, "the scenario has no steps")
                .at(raw.metadata.name.place.clone(), "proves nothing")
                .help("add a step, such as `- mount: { tenant: red, secret: red/secret }`"),
        );
    }
    if raw.steps.len() > MAX_STEPS {
        report.push(
            Diagnostic::error(
                Code::TooMany,
                format!(
                    "the scenario has {} steps, and at most {MAX_STEPS}",
                    raw.steps.len()
                ),
            )
            .at(raw.steps[MAX_STEPS].place.clone(), "the first one too many"),
        );
    }
    for (index, required) in raw.requires.iter().take(2 * capability::KNOWN.len()).enumerate() {
        if let Some(first) = raw.requires[..index]
            .iter()
            .find(|first| first.value == required.value)
        {
            report.push(
                Diagnostic::error(
                    Code::DuplicateKey,
                    format!("`{}` is listed twice", required.value),
                )
                .at(required.place.clone(), "again here")
                .at(first.place.clone(), "first here"),
            );
        }
        let known = || capability::KNOWN.iter().map(|(name, _)| *name);
        if !known().any(|known| known == required.value) {
            report.push(
                Diagnostic::error(
                    Code::UnknownCapability,
                    format!("unknown capability `{}`", required.value),
                )
                .at(required.place.clone(), "")
                .did_you_mean(nearest(&required.value, known()))
                .help(format!(
                    "capabilities: {}",
                    known().collect::<Vec<_>>().join(", ")
                )),
            );
        }
    }
}

/// Checks a name: what Kubernetes calls a label, and no longer than it can be. True when it is one.
fn name(what: &str, written: &At<String>, longest: usize, report: &mut Vec<Diagnostic>) -> bool {
    let text = written.value.as_str();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let valid = !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if !valid {
        report.push(
            Diagnostic::error(
                Code::InvalidName,
                format!("`{text}` cannot be the name of a {what}"),
            )
            .at(written.place.clone(), "")
            .help(format!(
                "names are lower-case letters, digits and `-` between them, {longest} characters at most"
            )),
        );
    }
    valid
}

fn unused(raw: &RawScenario, used: &Used, report: &mut Vec<Diagnostic>) {
    let tenants = raw.tenants.iter().flat_map(|tenants| &tenants.entries);
    for (index, (tenant, spec)) in tenants.enumerate() {
        if !used.tenants.contains(&index) {
            report.push(
                Diagnostic::warning(
                    Code::UnusedTenant,
                    format!("no step uses the tenant `{}`", tenant.value),
                )
                .at(tenant.place.clone(), ""),
            );
            continue;
        }
        let secrets = spec
            .iter()
            .filter_map(|spec| spec.secrets.as_ref())
            .flat_map(|secrets| &secrets.entries);
        for (secret, _) in secrets {
            if !used.secrets.contains(&(index, secret.value.clone())) {
                report.push(
                    Diagnostic::warning(
                        Code::UnusedSecret,
                        format!("no step uses the secret `{}/{}`", tenant.value, secret.value),
                    )
                    .at(secret.place.clone(), ""),
                );
            }
        }
    }
    let matrix = || raw.matrix.iter().flat_map(|matrix| &matrix.entries);
    for (axis, _) in matrix() {
        let in_matrix = matrix()
            .flat_map(|(_, values)| values)
            .any(|value| matrix::references(&value.value).any(|used| used == axis.value));
        if !in_matrix && !used.axes.contains(&axis.value) {
            report.push(
                Diagnostic::warning(
                    Code::UnusedAxis,
                    format!("no text uses the axis `{}`", axis.value),
                )
                .at(axis.place.clone(), "")
                .help(format!(
                    "write `${{matrix.{}}}` where it should stand",
                    axis.value
                )),
            );
        }
    }
}

/// What the steps use, over all rows of the matrix.
#[derive(Debug, Default)]
struct Used {
    tenants: BTreeSet<usize>,
    secrets: BTreeSet<(usize, String)>,
    axes: BTreeSet<String>,
    codes: impostor::Codes,
}

/// A workload that an earlier step made.
#[derive(Debug)]
struct Known {
    name: String,
    place: Place,
    line: u32,
    verb: Verb,
    /// Absent when the step that makes it has errors of its own.
    workload: Option<Workload>,
    deleted_in_line: Option<u32>,
}

/// The steps that make workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Mount,
    Create,
    Deny,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Create => "create",
            Self::Deny => "deny",
        }
    }
}

/// Resolves one row.
struct Resolver<'a> {
    raw: &'a RawScenario,
    row: &'a Row,
    axes: &'a [&'a str],
    used: &'a mut Used,
    report: Vec<Diagnostic>,
    tenants: Vec<TenantSpec>,
    workloads: Vec<Known>,
    updated: BTreeSet<super::model::SecretRef>,
}

impl<'a> Resolver<'a> {
    fn new(raw: &'a RawScenario, row: &'a Row, axes: &'a [&'a str], used: &'a mut Used) -> Self {
        Self {
            raw,
            row,
            axes,
            used,
            report: Vec::new(),
            tenants: Vec::new(),
            workloads: Vec::new(),
            updated: BTreeSet::new(),
        }
    }

    fn scenario(&mut self, standing: Standing<'_>) -> Option<Scenario> {
        let raw = self.raw;
        self.tenants();
        let each = self.each();
        let deadline = raw
            .deadline
            .as_ref()
            .and_then(|deadline| self.duration("the deadline", deadline));
        let (steps, least) = self.steps(deadline);
        let planned = steps
            .iter()
            .fold(SLACK, |sum, step| sum.saturating_add(step.within));
        if let (Some(deadline), Some(written)) = (deadline, &raw.deadline)
            && least > deadline
        {
            self.error(
                Diagnostic::error(
                    Code::ImpossibleDeadline,
                    format!(
                        "the deadline of {} is shorter than the steps, which take up to {}",
                        duration::print(deadline),
                        duration::print(least)
                    ),
                )
                .at(
                    written.place.clone(),
                    format!("at least {}", duration::print(least)),
                )
                .help("leave it out: the default is the sum of the steps and 30 s"),
            );
        }
        let retries = raw
            .retries
            .as_ref()
            .map_or(0, |retries| self.within_range("retries", retries, 0, 10));
        if has_errors(&self.report) {
            return None;
        }
        Some(Scenario {
            name: raw.metadata.name.value.clone(),
            profile: raw.metadata.profile.value.clone(),
            labels: raw.metadata.labels.clone(),
            description: raw.description.value.trim().to_owned(),
            file: standing.below.to_owned(),
            requires: raw
                .requires
                .iter()
                .map(|required| required.value.clone())
                .collect(),
            each,
            tenants: std::mem::take(&mut self.tenants),
            matrix: self.row.clone(),
            deadline: deadline.unwrap_or(planned),
            retries,
            steps,
            catch: evidence(raw),
        })
    }

    fn each(&mut self) -> Each {
        let each = match self.raw.each {
            None | Some(RawEach::Once) => return Each::Once,
            Some(RawEach::Tenant) => Each::Tenant,
        };
        let first = self
            .raw
            .tenants
            .iter()
            .flat_map(|tenants| &tenants.entries)
            .next();
        let (place, problem) = match (first, self.tenants.first()) {
            (Some(_), Some(tenant)) if !tenant.own => return each,
            (Some((name, _)), _) => (name.place.clone(), "is an own tenant"),
            (None, _) => (self.raw.metadata.name.place.clone(), "declares no tenant"),
        };
        self.error(
            Diagnostic::error(
                Code::EachWithoutTenant,
                "`each: tenant` needs a shared tenant first",
            )
            .at(place, problem)
            .help("the scenario's first tenant becomes each of the run's tenants in turn"),
        );
        each
    }

    /// A text with its references to the matrix filled in.
    fn text(&mut self, written: &At<String>) -> Option<String> {
        for axis in matrix::references(&written.value) {
            self.used.axes.insert(axis.to_owned());
        }
        match matrix::substitute(written, self.row, self.axes) {
            Ok(Substituted::Text(text)) => Some(text),
            // Only in the stand-in for a matrix that has errors of its own.
            Ok(Substituted::Waits) => None,
            Err(diagnostic) => {
                self.report.push(*diagnostic);
                None
            }
        }
    }

    /// A duration that is not nothing.
    fn duration(&mut self, what: &str, written: &At<String>) -> Option<Duration> {
        let text = self.text(written)?;
        match duration::parse(&text) {
            Ok(Duration::ZERO) => {
                self.error(
                    Diagnostic::error(Code::OutOfRange, format!("{what} is nothing"))
                        .at(written.place.clone(), "expected more than 0"),
                );
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.error(
                    Diagnostic::error(Code::InvalidDuration, format!("{what}: `{text}` is no duration"))
                        .at(written.place.clone(), error.to_string())
                        .help("durations are a whole number and a unit: `250ms`, `3s`, `2m`, `1h`"),
                );
                None
            }
        }
    }

    /// A whole number between two others; the nearest of them where it is not.
    fn within_range(&mut self, what: &str, written: &At<u32>, least: u32, most: u32) -> u32 {
        if !(least..=most).contains(&written.value) {
            self.error(
                Diagnostic::error(Code::OutOfRange, format!("{what} cannot be {}", written.value))
                    .at(written.place.clone(), format!("expected {least} to {most}")),
            );
        }
        written.value.clamp(least, most)
    }

    /// The declared tenant of this name.
    fn tenant(&mut self, written: &At<String>) -> Option<usize> {
        let name = self.text(written)?;
        self.tenant_named(&name, &written.place)
    }

    fn tenant_named(&mut self, name: &str, place: &Place) -> Option<usize> {
        let index = self.tenants.iter().position(|tenant| tenant.name == name);
        if let Some(index) = index {
            self.used.tenants.insert(index);
        } else {
            let names: Vec<&str> = self.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
            let known = if names.is_empty() {
                "the scenario declares no tenants".to_owned()
            } else {
                format!("the scenario has: {}", names.join(", "))
            };
            let diagnostic = Diagnostic::error(Code::UnknownTenant, format!("unknown tenant `{name}`"))
                .at(place.clone(), known)
                .did_you_mean(nearest(name, names.iter().copied()));
            self.error(if names.is_empty() {
                diagnostic.help(format!("declare it: `tenants: {{ {name}: {{}} }}`"))
            } else {
                diagnostic
            });
        }
        index
    }

    fn error(&mut self, diagnostic: Diagnostic) {
        self.report.push(diagnostic);
    }
}

fn evidence(raw: &RawScenario) -> Vec<Evidence> {
    let Some(catch) = &raw.catch else {
        return vec![
            Evidence::Pods,
            Evidence::Events,
            Evidence::Classes,
            Evidence::CallLog,
        ];
    };
    let wanted: BTreeMap<u8, Evidence> = catch
        .iter()
        .map(|evidence| match evidence.value {
            RawEvidence::Pods => (0, Evidence::Pods),
            RawEvidence::Events => (1, Evidence::Events),
            RawEvidence::Classes => (2, Evidence::Classes),
            RawEvidence::CallLog => (3, Evidence::CallLog),
        })
        .collect();
    wanted.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::{super::load::SourceFile, *};
    use crate::scenario::{
        load,
        model::{
            Action, Arrival, Because, Class, Condition, Content, Lens, Load, NameForm, Pace, Part,
            RoleAnnotation, SecretRef, Stage, Step, When, WorkloadKind,
        },
    };

    fn one(body: &str) -> Scenario {
        let text = format!(
            "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: it, profile: p }}\n\
             description: It.\n{body}"
        );
        let file = SourceFile {
            display: "it.yaml".to_owned(),
            below: "p/it.yaml".to_owned(),
            folder: Some("p".to_owned()),
            size: text.len() as u64,
            bytes: text.into_bytes(),
        };
        let mut loaded = load(&[file]);
        assert_eq!(loaded.diagnostics, []);
        loaded.scenarios.remove(0)
    }

    #[test]
    fn defaults_are_filled_in() {
        let scenario = one("tenants: { red: }\nsteps:\n  - mount: { tenant: red, secret: red/secret }\n");
        assert_eq!(scenario.each, Each::Once);
        assert_eq!(scenario.retries, 0);
        assert_eq!(
            scenario.catch,
            [
                Evidence::Pods,
                Evidence::Events,
                Evidence::Classes,
                Evidence::CallLog
            ]
        );
        assert_eq!(scenario.matrix, BTreeMap::new());
        assert!(!scenario.tenants[0].own);
        assert_eq!(scenario.tenants[0].annotation, RoleAnnotation::Own);
        let [
            Step {
                action: Action::Mount(mount),
                within,
                line: 7,
            },
        ] = scenario.steps.as_slice()
        else {
            panic!("{:?}", scenario.steps);
        };
        assert_eq!(scenario.deadline, *within + SLACK);
        assert_eq!((mount.mode, mount.pod_status), (0o644, true));
        assert_eq!(
            (mount.workload.name.as_str(), mount.workload.kind),
            ("mount-1", WorkloadKind::Pod)
        );
        let Class::Made { objects, .. } = &mount.workload.class else {
            panic!("{mount:?}")
        };
        assert_eq!(
            objects[0].secret,
            SecretRef {
                tenant: 0,
                secret: "secret".to_owned()
            }
        );
        assert_eq!(objects[0].by, NameForm::Name);
    }

    #[test]
    fn everything_written_arrives() {
        let scenario = one(r#"
each: tenant
requires: [iam-enforcement, rotation]
deadline: 30m
retries: 2
catch: [events, pods]
tenants:
  red:
    secrets:
      login: { json: [user, pass] }
      key: { binary: 16 }
  thief: { own: true, role: red }
steps:
  - mount:
      as: app
      tenant: red
      replicas: 2
      mode: "0400"
      podStatus: false
      within: 90s
      parameters: { pathTranslation: "-" }
      objects:
        - { secret: red/login, by: arn, alias: login, filePermission: "0440", jmesPath: [{ path: user, alias: user, filePermission: "0600" }] }
        - { secret: red/key, versionLabel: AWSCURRENT }
  - mount: { as: plain, tenant: red, secret: red/secret }
  - deny:
      tenant: thief
      secret: red/secret
      control: plain
      because: { error: AccessDenied, action: "sts:AssumeRoleWithWebIdentity" }
      hold: 2s
      within: 20s
  - update: { secret: red/login }
  - expect: { workload: app, files: previous, holds: 1s }
  - expect: { workload: app, files: current, eventually: 4m }
  - expect: { workload: app, event: { reason: Pulled, contains: image }, now: true }
  - delete: { workload: app }
  - expect: { workload: app, files: none, now: true }
  - load: { mounts: { pods: 10, warmUp: 5, rate: 2.5, arrival: constant, lenses: [pod, csi], deadline: 20s } }
  - load: { fetch: { duration: 4s, warmUp: 1s, perSecond: 100 } }
"#);
        assert_eq!((scenario.each, scenario.retries), (Each::Tenant, 2));
        assert_eq!(scenario.deadline, Duration::from_mins(30));
        assert_eq!(scenario.catch, [Evidence::Pods, Evidence::Events]);
        assert_eq!(
            scenario.tenants[0]
                .secrets
                .iter()
                .map(|secret| secret.content.clone())
                .collect::<Vec<_>>(),
            [
                Content::Json(vec!["user".to_owned(), "pass".to_owned()]),
                Content::Binary(16)
            ]
        );
        assert_eq!(
            scenario.tenants[1].annotation,
            RoleAnnotation::Of("red".to_owned())
        );
        let steps = &scenario.steps;
        let Action::Mount(mount) = &steps[0].action else {
            panic!("{:?}", steps[0])
        };
        assert_eq!(
            (mount.mode, mount.pod_status, steps[0].within),
            (0o400, false, Duration::from_secs(90))
        );
        assert_eq!(mount.workload.kind, WorkloadKind::Deployment(2));
        let Class::Made { objects, parameters } = &mount.workload.class else {
            panic!("{mount:?}")
        };
        assert_eq!(parameters["pathTranslation"], "-");
        let part = Part {
            path: "user".to_owned(),
            alias: "user".to_owned(),
            file_permission: Some("0600".to_owned()),
        };
        assert_eq!(objects[0].jmes_path, [part]);
        assert_eq!(objects[0].file_permission.as_deref(), Some("0440"));
        assert_eq!(objects[1].version_label, Some(Stage::Current));
        let Action::Deny(deny) = &steps[2].action else {
            panic!("{:?}", steps[2])
        };
        assert_eq!(
            (deny.control.as_str(), deny.hold),
            ("plain", Duration::from_secs(2))
        );
        assert_eq!(deny.workload.name, "deny-3");
        assert_eq!(
            deny.because,
            Because::Aws {
                error: "AccessDenied".to_owned(),
                action: "sts:AssumeRoleWithWebIdentity".to_owned()
            }
        );
        let expected = |step: &Step| match &step.action {
            Action::Expect(expect) => Some((expect.condition.clone(), expect.when)),
            _ => None,
        };
        assert_eq!(
            expected(&steps[4]),
            Some((Condition::FilesPrevious, When::HoldsFor(Duration::from_secs(1))))
        );
        assert_eq!(
            expected(&steps[5]),
            Some((Condition::FilesCurrent, When::Eventually))
        );
        assert_eq!(steps[5].within, Duration::from_mins(4));
        assert_eq!(expected(&steps[8]), Some((Condition::Unmounted, When::Now)));
        let Action::Load(Load::Mounts(mounts)) = &steps[9].action else {
            panic!("{:?}", steps[9])
        };
        assert_eq!(
            (mounts.arrival, mounts.lenses.as_slice()),
            (Arrival::Constant, [Lens::Pod, Lens::Csi].as_slice())
        );
        assert_eq!(mounts.planned(), Duration::from_secs(6));
        let Action::Load(Load::Fetch(fetch)) = &steps[10].action else {
            panic!("{:?}", steps[10])
        };
        assert_eq!(fetch.pace, Pace::PerSecond(100.0));
    }

    /// A default never reaches beyond a deadline that the file states, and a stated time is kept.
    #[test]
    fn a_deadline_bounds_the_defaults() {
        let scenario = one("deadline: 40s\ntenants: { red: {} }\nsteps:\n\
             \x20 - mount: { tenant: red, secret: red/secret }\n\
             \x20 - delete: { workload: mount-1, within: 5s }\n");
        let times: Vec<Duration> = scenario.steps.iter().map(|step| step.within).collect();
        assert_eq!(times, [Duration::from_secs(40), Duration::from_secs(5)]);
    }

    #[test]
    fn a_matrix_reaches_every_text() {
        let text = "matrix: { form: [name, arn], hold: [1s, 2s] }\ntenants: { red: {} }\nsteps:\n\
                    \x20 - mount: { as: \"by-${matrix.form}\", tenant: red, secret: red/secret, by: \"${matrix.form}\" }\n\
                    \x20 - expect: { workload: \"by-${matrix.form}\", files: current, holds: \"${matrix.hold}\" }\n";
        let scenario = one(text);
        assert_eq!(scenario.matrix.get("form").unwrap(), "name");
        let Action::Expect(expect) = &scenario.steps[1].action else {
            panic!("{:?}", scenario.steps)
        };
        assert_eq!(
            (expect.workload.as_str(), expect.when),
            ("by-name", When::HoldsFor(Duration::from_secs(1)))
        );
    }
}
