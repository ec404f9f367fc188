//! Which cases run: filters by name, profile and label.

use std::collections::BTreeSet;

use super::{bind::Case, suggest::nearest};

/// What the command line asks for. Empty parts ask for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filters {
    /// A case runs when any of these fits its name or its scenario's: a part of it, or, with `*` or
    /// `?`, a pattern for the whole of it.
    pub names: Vec<String>,
    /// Only these profiles.
    pub profiles: Vec<String>,
    /// Only scenarios with all of these labels.
    pub labels: Vec<(String, String)>,
}

/// A filter that fits nothing there is: a typing error, which must not look like a green run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no {what} {written}", what = .kind.word(), written = quoted(.written))]
pub struct UnknownFilter {
    /// What kind of filter.
    pub kind: FilterKind,
    /// As written.
    pub written: String,
    /// What was probably meant.
    pub meant: Option<String>,
    /// What there is.
    pub known: Vec<String>,
}

fn quoted(text: &str) -> String {
    format!("`{text}`")
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FilterKind {
    /// The name of a case or scenario.
    Name,
    /// The profile.
    Profile,
    /// A label.
    Label,
    /// Each fits something, all together fit nothing.
    Together,
}

impl FilterKind {
    fn word(self) -> &'static str {
        match self {
            Self::Name => "scenario is called",
            Self::Profile => "profile is called",
            Self::Label => "scenario has the label",
            Self::Together => "scenario fits all of",
        }
    }
}

/// The cases that fit, in their order.
pub fn select(cases: &[Case], filters: &Filters) -> Result<Vec<Case>, Vec<UnknownFilter>> {
    let unknown = unknown(cases, filters);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let selected: Vec<Case> = cases.iter().filter(|case| fits(case, filters)).cloned().collect();
    if selected.is_empty() && !cases.is_empty() {
        let written: Vec<String> = filters
            .names
            .iter()
            .cloned()
            .chain(
                filters
                    .profiles
                    .iter()
                    .map(|profile| format!("--profile {profile}")),
            )
            .chain(
                filters
                    .labels
                    .iter()
                    .map(|(key, value)| format!("--label {key}={value}")),
            )
            .collect();
        return Err(vec![UnknownFilter {
            kind: FilterKind::Together,
            written: written.join(" "),
            meant: None,
            known: distinct(cases.iter().map(|case| case.plan.scenario.clone())),
        }]);
    }
    Ok(selected)
}

fn fits(case: &Case, filters: &Filters) -> bool {
    let named = filters.names.is_empty() || filters.names.iter().any(|name| name_fits(name, case));
    let profiled = filters.profiles.is_empty() || filters.profiles.contains(&case.plan.profile);
    named && profiled && filters.labels.iter().all(|label| label_fits(label, case))
}

fn name_fits(written: &str, case: &Case) -> bool {
    [&case.plan.case, &case.plan.scenario].into_iter().any(|name| {
        if written.contains(['*', '?']) {
            glob(written, name)
        } else {
            name.contains(written)
        }
    })
}

fn label_fits((key, value): &(String, String), case: &Case) -> bool {
    case.scenario.labels.get(key) == Some(value)
}

fn unknown(cases: &[Case], filters: &Filters) -> Vec<UnknownFilter> {
    let mut unknown = Vec::new();
    let mut check = |kind, written: &str, known: Vec<String>, fits: bool| {
        if !fits {
            let meant = nearest(written, known.iter().map(String::as_str)).map(str::to_owned);
            unknown.push(UnknownFilter {
                kind,
                written: written.to_owned(),
                meant,
                known,
            });
        }
    };
    for name in &filters.names {
        let known = distinct(cases.iter().map(|case| case.plan.scenario.clone()));
        check(
            FilterKind::Name,
            name,
            known,
            cases.iter().any(|case| name_fits(name, case)),
        );
    }
    for profile in &filters.profiles {
        let known = distinct(cases.iter().map(|case| case.plan.profile.clone()));
        check(
            FilterKind::Profile,
            profile,
            known.clone(),
            known.contains(profile),
        );
    }
    for label in &filters.labels {
        let labels = cases.iter().flat_map(|case| &case.scenario.labels);
        let known = distinct(labels.map(|(key, value)| format!("{key}={value}")));
        let written = format!("{}={}", label.0, label.1);
        check(
            FilterKind::Label,
            &written,
            known,
            cases.iter().any(|case| label_fits(label, case)),
        );
    }
    unknown
}

fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether a pattern with `*` (any text) and `?` (any character) fits the whole of a text. Linear in
/// both for one `*`, and never worse than their product.
fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(character) if *character == '?' || *character == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match star {
                Some((position, taken)) => {
                    star = Some((position, taken + 1));
                    at = position + 1;
                    read = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|character| *character == '*')
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;
    use crate::scenario::{bind::bind, load::load, shipped::shipped};

    fn cases() -> Vec<Case> {
        bind(
            &load(&shipped()).scenarios,
            &["team-red".to_owned(), "team-blue".to_owned()],
        )
        .cases
    }

    fn names(filters: &Filters) -> Vec<String> {
        select(&cases(), filters)
            .unwrap()
            .into_iter()
            .map(|case| case.plan.case)
            .collect()
    }

    fn by_name(names: &[&str]) -> Filters {
        Filters {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Filters::default()
        }
    }

    #[test]
    fn names_are_parts_or_patterns() {
        let table: &[(&[&str], &[&str])] = &[
            (&["positive"], &["positive[team-red]", "positive[team-blue]"]),
            (&["positive[team-red]"], &["positive[team-red]"]),
            (&["posi*"], &["positive[team-red]", "positive[team-blue]"]),
            (
                &["*[team-blue]"],
                &["positive[team-blue]", "cross-namespace-denied[team-blue]"],
            ),
            (&["mount-latenc?"], &["mount-latency"]),
            (&["rotation", "no-role"], &["rotation", "no-role-annotation"]),
        ];
        for (written, expected) in table {
            assert_eq!(names(&by_name(written)), *expected, "{written:?}");
        }
    }

    #[test]
    fn profiles_and_names_narrow_together() {
        let filters = Filters {
            profiles: vec!["load".to_owned()],
            ..Filters::default()
        };
        assert_eq!(
            names(&filters),
            ["calls-per-mount", "fetch-throughput", "mount-latency"]
        );
        let both = Filters {
            profiles: vec!["load".to_owned()],
            ..by_name(&["positive"])
        };
        let errors = select(&cases(), &both).unwrap_err();
        assert_eq!(errors[0].kind, FilterKind::Together);
        assert_eq!(
            errors[0].to_string(),
            "no scenario fits all of `positive --profile load`"
        );
    }

    #[test]
    fn a_filter_that_fits_nothing_is_an_error() {
        let filters = Filters {
            names: vec!["postive".to_owned()],
            profiles: vec!["isolaton".to_owned()],
            labels: vec![("nobody".to_owned(), "has-this".to_owned())],
        };
        let errors = select(&cases(), &filters).unwrap_err();
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "no scenario is called `postive`",
                "no profile is called `isolaton`",
                "no scenario has the label `nobody=has-this`"
            ]
        );
        assert_eq!(errors[0].meant.as_deref(), Some("positive"));
        assert_eq!(errors[1].meant.as_deref(), Some("isolation"));
        assert_eq!(errors[1].known, ["conformance", "hazards", "isolation", "load"]);
    }

    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), _) => {
                naive(rest, text) || text.split_first().is_some_and(|(_, text)| naive(pattern, text))
            }
            (Some((character, rest)), Some((first, text))) => {
                (*character == '?' || character == first) && naive(rest, text)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn glob_is_what_it_says(pattern in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            let expected = naive(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(glob(&pattern, &text), expected);
        }
    }
}
