//! The file of known issues: read with the reader of scenarios, so that a mistake is shown in the same way.

use std::collections::BTreeMap;

use schemars::{JsonSchema, generate::SchemaSettings};
use semver::VersionReq;
use serde::Deserialize;

use super::Issue;
use crate::{
    journal::Verdict,
    scenario::{
        Code, Diagnostic, Severity,
        at::{At, Place},
        parse,
        render::Sources,
    },
};

/// What a file holds.
#[derive(Debug, Default)]
pub struct Read {
    /// In the file's order; none where anything is wrong.
    pub issues: Vec<Issue>,
    /// Everything that is wrong, in the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that these point into.
    pub sources: Sources,
}

/// The file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawFile {
    /// Every known issue.
    known_issues: Vec<RawIssue>,
}

/// One known issue.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawIssue {
    /// Unique in the file.
    id: At<String>,
    /// What is wrong, in one line.
    title: At<String>,
    /// Where it is discussed: an address.
    link: At<String>,
    /// Which component has it.
    component: RawComponent,
    /// Versions that have it, such as `>=1.6.0, <1.7.0`.
    versions: At<String>,
    /// The scenario in which it shows.
    scenario: At<String>,
    /// How that scenario ends then.
    expect: RawVerdict,
    /// Text that the failure's headline must contain.
    headline: Option<At<String>>,
    /// Why it happens.
    reason: At<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawComponent {
    Driver,
    Provider,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawVerdict {
    Failed,
    Errored,
}

/// Reads a file's bytes; `size` is what the file has in all, `name` what messages call it.
#[must_use]
pub fn read(bytes: &[u8], size: u64, name: &str) -> Read {
    let schema = SchemaSettings::draft07()
        .into_generator()
        .into_root_schema_for::<RawFile>()
        .to_value();
    let parsed = parse::document::<RawFile>(bytes, size, &schema, "the list");
    let mut diagnostics = parsed.diagnostics;
    let mut ids: BTreeMap<String, Place> = BTreeMap::new();
    let mut issues = Vec::new();
    for raw in parsed.raw.into_iter().flat_map(|file| file.known_issues) {
        if let Some(first) = ids.insert(raw.id.value.clone(), raw.id.place.clone()) {
            diagnostics.push(
                Diagnostic::error(
                    Code::DuplicateName,
                    format!("two known issues have the id `{}`", raw.id.value),
                )
                .at(raw.id.place.clone(), "again here")
                .at(first, "first here"),
            );
        }
        if !raw.link.value.starts_with("https://") {
            diagnostics.push(
                Diagnostic::error(Code::UnknownValue, "the link is no address")
                    .at(raw.link.place.clone(), "should begin with `https://`"),
            );
        }
        match VersionReq::parse(&raw.versions.value) {
            Ok(versions) => issues.push(raw.into_issue(versions)),
            Err(error) => diagnostics.push(
                Diagnostic::error(Code::UnknownValue, "the versions cannot be read")
                    .at(raw.versions.place.clone(), error.to_string())
                    .help("write a requirement such as `>=1.6.0, <1.7.0`"),
            ),
        }
    }
    let diagnostics: Vec<Diagnostic> = diagnostics
        .into_iter()
        .map(|diagnostic| diagnostic.in_file(name))
        .collect();
    let mut read = Read {
        issues,
        diagnostics,
        sources: Sources::from([(name.to_owned(), parsed.text)]),
    };
    if read.has_errors() {
        read.issues.clear();
    }
    read
}

impl Read {
    /// Whether anything is wrong enough that nothing should run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl RawIssue {
    fn into_issue(self, versions: VersionReq) -> Issue {
        Issue {
            id: self.id.value,
            title: self.title.value,
            link: self.link.value,
            component: match self.component {
                RawComponent::Driver => "driver",
                RawComponent::Provider => "provider",
            }
            .to_owned(),
            versions,
            scenario: self.scenario.value,
            expect: match self.expect {
                RawVerdict::Failed => Verdict::Failed,
                RawVerdict::Errored => Verdict::Errored,
            },
            headline: self.headline.map(|headline| headline.value),
            reason: self.reason.value.trim_end().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::render::{Style, text};

    const GOOD: &str = "\
knownIssues:
  - id: a
    title: t
    link: https://example.com/1
    component: driver
    versions: '>=1.6.0'
    scenario: slow
    expect: failed
    reason: r
";

    #[test]
    fn each_mistake_is_shown_where_it_is() {
        let twice = GOOD.to_owned() + GOOD.strip_prefix("knownIssues:\n").unwrap_or_default();
        // What is written instead of what, the line and column that are named, and what is said.
        let table: &[(&str, &str, &str, &str)] = &[
            (
                "component: driver",
                "component: kubelet",
                "list.yaml:5:16",
                "kubelet",
            ),
            (
                "versions: '>=1.6.0'",
                "versions: 'newest'",
                "list.yaml:6:15",
                "versions cannot be read",
            ),
            ("expect: failed", "expect: passed", "list.yaml:8:13", "passed"),
            ("    reason: r\n", "", "list.yaml:2", "`reason`"),
            ("    title: t", "    titel: t", "list.yaml:3:5", "titel"),
            ("link: https", "link: ftp", "list.yaml:4:11", "link is no address"),
            ("knownIssues:", "knownIssue:", "list.yaml:1:1", "knownIssue"),
            (GOOD, &twice, "list.yaml:10:9", "two known issues"),
            (GOOD, "", "list.yaml:1:1", "empty"),
        ];
        for (instead_of, written, place, said) in table {
            let file = GOOD.replace(instead_of, written);
            let read = read(file.as_bytes(), file.len() as u64, "list.yaml");
            let shown: String = read
                .diagnostics
                .iter()
                .map(|diagnostic| text(diagnostic, &read.sources, Style::Plain))
                .collect();
            assert!(
                shown.contains(place) && shown.contains(said),
                "{written}: {place}, {said}:\n{shown}"
            );
            assert_eq!(read.issues, [], "{written}");
        }
    }

    #[test]
    fn a_list_in_order_is_read_whole() {
        let read = read(GOOD.as_bytes(), GOOD.len() as u64, "list.yaml");
        assert_eq!(read.diagnostics, []);
        assert_eq!(read.issues.len(), 1);
        assert_eq!(read.issues[0].component, "driver");
    }
}
