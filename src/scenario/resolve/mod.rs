//! [`RawScenario`] to [`Scenario`]: every reference followed, every default filled in, everything
//! that makes no sense reported.

mod deny;
mod header;
mod impostor;
mod measure;
mod node;
mod policies;
mod steps;
mod tenants;
#[cfg(test)]
mod tests;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use super::{
    at::{At, Place},
    code::Code,
    diagnostic::{Diagnostic, has_errors},
    duration, matrix,
    matrix::{Row, Substituted},
    model::{Each, Evidence, Scenario, TenantSpec, Workload},
    raw::{RawEach, RawEvidence, RawIdentity, RawScenario},
    suggest::nearest,
};
use crate::tenant::Identity;

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
    header::check(raw, standing, &mut report);
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
        header::unused(raw, &used, &mut report);
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
    volumes: Vec<node::KnownVolume>,
    updated: BTreeSet<super::model::SecretRef>,
    /// Workloads whose synced Secret an earlier step saw settled.
    settled: BTreeSet<String>,
    /// Workloads that an earlier step had published again.
    republished: BTreeSet<String>,
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
            volumes: Vec::new(),
            updated: BTreeSet::new(),
            settled: BTreeSet::new(),
            republished: BTreeSet::new(),
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
            identity: raw.identity.map(|identity| match identity {
                RawIdentity::Irsa => Identity::Irsa,
                RawIdentity::PodIdentity => Identity::PodIdentity,
            }),
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
            Evidence::Timeline,
            Evidence::Pods,
            Evidence::Events,
            Evidence::Classes,
            Evidence::CallLog,
            Evidence::Logs,
        ];
    };
    let wanted: BTreeMap<u8, Evidence> = catch
        .iter()
        .map(|evidence| match evidence.value {
            RawEvidence::Timeline => (0, Evidence::Timeline),
            RawEvidence::Pods => (1, Evidence::Pods),
            RawEvidence::Events => (2, Evidence::Events),
            RawEvidence::Classes => (3, Evidence::Classes),
            RawEvidence::CallLog => (4, Evidence::CallLog),
            RawEvidence::Logs => (5, Evidence::Logs),
        })
        .collect();
    wanted.into_values().collect()
}
