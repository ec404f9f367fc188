//! PURE: upstream defects that are known, as data, and what one has to do with how a case ended.
//!
//! A file lists them (the shipped one is [`SHIPPED`]). One that *shows* — its scenario ended as the file
//! says, with a version that the file names — is reported as a known issue and does not fail the run,
//! unless the run is strict. One whose scenario passes all the same is reported as fixed.

mod file;

use semver::{Version, VersionReq};

pub use self::file::{Read, read};
use crate::journal::{Component, Failure, KnownIssue, Verdict};

/// The list that the binary carries.
pub const SHIPPED: &str = include_str!("../../fixtures/known-issues.yaml");
/// What messages call it.
pub const SHIPPED_NAME: &str = "fixtures/known-issues.yaml";

/// What a run knows, and how strict it is about it.
#[derive(Debug, Clone, Default)]
pub struct KnownIssues {
    /// In the order of the file; the first that fits is the one that is named.
    pub issues: Vec<Issue>,
    /// A known issue that shows fails the run like any other failure.
    pub strict: bool,
    /// They are of releases: a stand-in has none of them but those that were planted.
    pub of_releases: bool,
}

/// One known issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Unique in its file.
    pub id: String,
    /// What is wrong, in one line.
    pub title: String,
    /// Where it is discussed, or where the behaviour is described.
    pub link: String,
    /// `driver` or `provider`: the seam of the component that has it.
    pub component: String,
    /// The versions that have it.
    pub versions: VersionReq,
    /// The scenario in which it shows.
    pub scenario: String,
    /// How a case of that scenario ends then: failed or errored.
    pub expect: Verdict,
    /// Text that the failure's headline must contain: the same scenario may fail for another reason.
    pub headline: Option<String>,
    /// Why it happens.
    pub reason: String,
}

/// How an attempt at a case ended, as far as known issues ask.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The scenario's name.
    pub scenario: &'a str,
    /// The attempt's verdict.
    pub verdict: Verdict,
    /// What failed.
    pub failure: Option<&'a Failure>,
}

impl KnownIssues {
    /// The known issue that shows in how an attempt ended, or that should have and did not.
    #[must_use]
    pub fn of(&self, ended: Ended<'_>, components: &[Component]) -> Option<KnownIssue> {
        let candidates = self
            .issues
            .iter()
            .filter(|issue| issue.scenario == ended.scenario);
        candidates
            .filter_map(|issue| Some((issue, self.version_among(issue, components)?)))
            .find_map(|(issue, version)| {
                let shows = issue.shows(ended)?;
                Some(KnownIssue {
                    id: issue.id.clone(),
                    title: issue.title.clone(),
                    link: issue.link.clone(),
                    component: issue.component.clone(),
                    version,
                    versions: issue.versions.to_string(),
                    reason: issue.reason.clone(),
                    shows,
                    excused: shows && !self.strict,
                })
            })
    }

    /// The version of an issue's component, where that is one that has it.
    fn version_among(&self, issue: &Issue, components: &[Component]) -> Option<String> {
        let component = components
            .iter()
            .find(|component| component.seam == issue.component)?;
        if self.of_releases && component.stand_in {
            return None;
        }
        let version = component.version.trim_start_matches('v');
        // A version that says nothing, such as `local-dev`, is nobody's excuse.
        let read = Version::parse(version).ok()?;
        issue.versions.matches(&read).then(|| version.to_owned())
    }
}

impl Issue {
    /// Whether it shows; nothing where the end says nothing about it.
    fn shows(&self, ended: Ended<'_>) -> Option<bool> {
        match ended.verdict {
            Verdict::Passed => Some(false),
            verdict if verdict == self.expect => {
                let said = ended.failure.map_or("", |failure| failure.headline.as_str());
                let as_described = self
                    .headline
                    .as_ref()
                    .is_none_or(|text| said.contains(text.as_str()));
                as_described.then_some(true)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;
    use crate::{scenario, verdict};

    fn issues(strict: bool) -> KnownIssues {
        let text = "\
knownIssues:
  - id: a
    title: the mount is empty
    link: https://example.com/1
    component: driver
    versions: '>=1.6.0, <1.7.0'
    scenario: slow
    expect: failed
    headline: is empty
    reason: because
  - id: b
    title: the program is gone
    link: https://example.com/2
    component: provider
    versions: '*'
    scenario: slow
    expect: errored
    reason: because
";
        let read = read(text.as_bytes(), text.len() as u64, "issues.yaml");
        assert_eq!(read.diagnostics, []);
        KnownIssues {
            issues: read.issues,
            strict,
            of_releases: false,
        }
    }

    fn component(seam: &str, version: &str) -> Component {
        Component {
            seam: seam.to_owned(),
            name: seam.to_owned(),
            version: version.to_owned(),
            stand_in: false,
            notes: Vec::new(),
        }
    }

    #[test]
    fn an_issue_shows_when_scenario_verdict_headline_and_version_fit() {
        use Verdict::{Errored, Failed, NotSupported, Passed, Skipped};
        // Scenario, verdict, headline, driver's version; the issue's id and whether it shows.
        let table = [
            ("slow", Failed, "the folder is empty", "1.6.0", Some(("a", true))),
            ("slow", Failed, "the folder is empty", "v1.6.3", Some(("a", true))),
            ("slow", Failed, "the folder is empty", "1.7.0", None),
            ("slow", Failed, "the folder is empty", "1.5.6", None),
            ("slow", Failed, "the folder is empty", "local-dev", None),
            ("slow", Failed, "nothing was said", "1.6.0", None),
            ("other", Failed, "the folder is empty", "1.6.0", None),
            ("slow", Errored, "the driver is gone", "1.6.0", Some(("b", true))),
            ("slow", Passed, "", "1.6.0", Some(("a", false))),
            ("slow", Passed, "", "1.7.0", Some(("b", false))),
            ("slow", NotSupported, "", "1.6.0", None),
            ("slow", Skipped, "", "1.6.0", None),
        ];
        for (scenario, verdict, headline, version, expected) in table {
            let failure = (!headline.is_empty()).then(|| verdict::failure(headline));
            let ended = Ended {
                scenario,
                verdict,
                failure: failure.as_ref(),
            };
            let components = [component("driver", version), component("provider", "3.1.1")];
            let found = issues(false).of(ended, &components);
            let told = found.as_ref().map(|known| (known.id.as_str(), known.shows));
            assert_eq!(told, expected, "{scenario} {verdict} {headline:?} {version}");
            assert!(found.is_none_or(|known| known.excused == known.shows));
        }
    }

    #[test]
    fn issues_of_releases_are_none_of_a_stand_ins() {
        let failure = verdict::failure("the folder is empty");
        let ended = Ended {
            scenario: "slow",
            verdict: Verdict::Failed,
            failure: Some(&failure),
        };
        for (of_releases, stand_in, shows) in [(true, false, true), (true, true, false), (false, true, true)]
        {
            let known = KnownIssues {
                of_releases,
                ..issues(false)
            };
            let driver = Component {
                stand_in,
                ..component("driver", "1.6.0")
            };
            assert_eq!(
                known.of(ended, &[driver]).is_some(),
                shows,
                "{of_releases} {stand_in}"
            );
        }
    }

    #[test]
    fn a_strict_run_excuses_nothing() {
        let failure = verdict::failure("the folder is empty");
        let ended = Ended {
            scenario: "slow",
            verdict: Verdict::Failed,
            failure: Some(&failure),
        };
        let found = issues(true).of(ended, &[component("driver", "1.6.0")]).unwrap();
        assert_eq!((found.shows, found.excused), (true, false));
    }

    #[test]
    fn the_shipped_list_is_in_order_and_names_shipped_scenarios() {
        let read = read(SHIPPED.as_bytes(), SHIPPED.len() as u64, SHIPPED_NAME);
        assert_eq!(read.diagnostics, []);
        let shipped = scenario::load(&scenario::shipped()).scenarios;
        for issue in &read.issues {
            assert!(
                shipped.iter().any(|scenario| scenario.name == issue.scenario),
                "{}: no scenario `{}`",
                issue.id,
                issue.scenario
            );
        }
    }
}
