//! Clusters and accounts that a run may use: those that somebody has named, or says yes to.
//!
//! A run makes and removes things in them. Where nobody sits at the terminal, the name must stand on the command line or in the
//! configuration: a job whose kubeconfig or credentials are of another account than was thought ends before it asks for
//! anything.

use std::{
    env, fmt, fs,
    io::{self, BufRead as _, IsTerminal as _},
    path::PathBuf,
};

use serde::Deserialize;

use super::output::Output;

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A cluster, by the name of its context.
    Context,
    /// An account of AWS, by its number.
    Account,
}

impl Place {
    fn flag(self) -> &'static str {
        match self {
            Self::Context => "--allow-context",
            Self::Account => "--allow-account",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Context => "contexts",
            Self::Account => "accounts",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Context => "context",
            Self::Account => "account",
        })
    }
}

/// What is done there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// A run.
    Run,
    /// What killed runs left is removed.
    Sweep,
}

impl Doing {
    /// In a question.
    fn told(self, place: Place, name: &str) -> String {
        match self {
            Self::Run => format!(
                "this run makes namespaces, pods and more in {place} {name}, and removes them at its end"
            ),
            Self::Sweep => format!("this removes what runs left in {place} {name}"),
        }
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is used.
    Allowed,
    /// Somebody at the terminal is asked this.
    Ask(String),
    /// It is not, and this is said.
    Refused(String),
}

/// PURE: whether a place may be used that is `named` on the command line or `configured`, where somebody can be asked or not.
#[must_use]
pub fn decide(
    doing: Doing,
    place: Place,
    name: &str,
    (named, configured): (&[String], &[String]),
    can_ask: bool,
) -> Decision {
    if named.iter().chain(configured).any(|allowed| allowed == name) {
        return Decision::Allowed;
    }
    if !named.is_empty() {
        return Decision::Refused(format!(
            "{place} {name} is not one of those that {} names: {}",
            place.flag(),
            named.join(", ")
        ));
    }
    if can_ask {
        return Decision::Ask(format!(
            "{}; {} {name} spares this question. Go on? [y/N] ",
            doing.told(place, name),
            place.flag()
        ));
    }
    Decision::Refused(format!(
        "nobody is at a terminal to be asked, and {place} {name} is not allowed: add {} {name}, or `allow: {{ {}: [\"{name}\"] }}` \
         to {}",
        place.flag(),
        place.key(),
        Config::path().map_or_else(
            || "the configuration".to_owned(),
            |path| path.display().to_string()
        )
    ))
}

/// Decides, and asks where somebody can be asked; whether the place is used. What is in the way is printed.
///
/// # Errors
///
/// When a stream cannot be read or written.
pub fn allowed(
    doing: Doing,
    place: Place,
    name: &str,
    named: &[String],
    output: &mut Output<'_>,
) -> io::Result<bool> {
    let config = match Config::read() {
        Ok(config) => config,
        Err(because) => {
            writeln!(output.err, "error: {because}")?;
            return Ok(false);
        }
    };
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    match decide(doing, place, name, (named, config.of(place)), can_ask) {
        Decision::Allowed => Ok(true),
        Decision::Refused(because) => {
            writeln!(output.err, "error: {because}")?;
            Ok(false)
        }
        Decision::Ask(question) => {
            write!(output.err, "{question}")?;
            output.err.flush()?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
        }
    }
}

/// What stands in the configuration of whoever runs this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    allow: Allow,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Allow {
    contexts: Vec<String>,
    accounts: Vec<String>,
}

impl Config {
    fn of(&self, place: Place) -> &[String] {
        match place {
            Place::Context => &self.allow.contexts,
            Place::Account => &self.allow.accounts,
        }
    }

    /// `MOUNTPROOF_CONFIG`, else `mountproof/config.yaml` where configuration is kept.
    fn path() -> Option<PathBuf> {
        if let Some(named) = env::var_os("MOUNTPROOF_CONFIG") {
            return Some(PathBuf::from(named));
        }
        let folder = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".config")));
        folder.map(|folder| folder.join("mountproof/config.yaml"))
    }

    fn read() -> Result<Self, String> {
        let Some(path) = Self::path() else {
            return Ok(Self::default());
        };
        let said = |because: String| format!("the configuration `{}`: {because}", path.display());
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(said),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(said(error.to_string())),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_place_is_used_where_it_was_named_or_somebody_can_be_asked() {
        let names = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        for (named, configured, can_ask, expected) in [
            ("prod", "", false, "allowed"),
            ("", "prod", false, "allowed"),
            ("test", "prod", false, "allowed"),
            ("", "", true, "asked"),
            ("", "", false, "refused"),
            ("", "test", false, "refused"),
            // Whoever names others does not mean this one.
            ("test", "", true, "refused"),
        ] {
            let known = (&names(named)[..], &names(configured)[..]);
            let decided = match decide(Doing::Run, Place::Context, "prod", known, can_ask) {
                Decision::Allowed => "allowed",
                Decision::Ask(question) => {
                    assert!(
                        question.contains("prod") && question.contains("--allow-context"),
                        "{question}"
                    );
                    "asked"
                }
                Decision::Refused(because) => {
                    assert!(
                        because.contains("prod") && because.contains("--allow-context"),
                        "{because}"
                    );
                    "refused"
                }
            };
            assert_eq!(decided, expected, "{named:?} {configured:?} {can_ask}");
        }
    }

    #[test]
    fn the_configuration_names_contexts_and_accounts_and_nothing_that_is_misspelled() {
        let config = Config::parse("allow:\n  contexts: [a, b]\n  accounts: ['000000000000']\n").unwrap();
        assert_eq!(config.of(Place::Context), ["a", "b"]);
        assert_eq!(config.of(Place::Account), ["000000000000"]);
        for text in ["allow: { context: [a] }", "alow: {}", "allow: [a]"] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
