//! PURE. Which flags a program knows, told from what its `--help` prints, and which of those wanted it can be given.
//!
//! Two layouts are read: that of Go's `flag` package, `  -name type` with the explanation on a line of its own
//! (<https://pkg.go.dev/flag#PrintDefaults>), and that of pflag, `  -s, --name type   explanation`
//! (<https://pkg.go.dev/github.com/spf13/pflag>). Which releases know which flags, from their tags: the provider
//! `--driver-writes-secrets` since r2, `--qps` and `--burst` since 0.3.8, `--pod-identity-http-timeout` and
//! `--eks-addon-version` since 2.1.0; the driver `--additional-provider-volume-paths` since 1.1.0 and `--version` since
//! 1.4.0. All from 1.3.0 to 1.6.0 know everything else that is given here.

use std::collections::BTreeSet;

/// The flags that a program says it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFlags(Option<BTreeSet<String>>);

impl KnownFlags {
    /// What `help` names. Where it names no flag at all, nothing is known, and [`Self::may_know`] says yes to all.
    #[must_use]
    pub fn read(help: &str) -> Self {
        let names: BTreeSet<String> = help.lines().filter_map(flag_of).map(str::to_owned).collect();
        Self((!names.is_empty()).then_some(names))
    }

    /// Whether the program named any flag.
    #[must_use]
    pub fn told(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it named this one.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|names| names.contains(name))
    }

    /// Whether it named this one, or told nothing.
    #[must_use]
    pub fn may_know(&self, name: &str) -> bool {
        !self.told() || self.knows(name)
    }
}

/// The long name of the flag that a line of a `--help` explains, if it explains one.
fn flag_of(line: &str) -> Option<&str> {
    let indented = line.starts_with([' ', '\t']);
    let mut rest = line.trim_start();
    // Explanations are indented too, by a tab or by more than any flag: they do not begin with a dash, or are prose.
    if !indented || !rest.starts_with('-') {
        return None;
    }
    // pflag: `-s, --name`.
    if let Some((short, long)) = rest.split_once(", ")
        && short.len() == 2
        && long.starts_with("--")
    {
        rest = long;
    }
    let name = rest.strip_prefix("--").or_else(|| rest.strip_prefix('-'))?;
    let end = name
        .find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '_'))
        .unwrap_or(name.len());
    let (name, after) = name.split_at(end);
    let begins = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    (begins && after.chars().next().is_none_or(|next| " \t=[".contains(next))).then_some(name)
}

/// A flag to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    name: &'static str,
    value: String,
    without: Without,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Without {
    /// The program is of no use.
    Nothing,
    /// It is the same: this is its default.
    Same,
    /// This is so instead.
    Instead(&'static str),
}

impl Wanted {
    /// One without which the program cannot be used.
    #[must_use]
    pub fn essential(name: &'static str, value: impl Into<String>) -> Self {
        Self::new(name, value.into(), Without::Nothing)
    }

    /// One that a version may lack; `instead` says what is so then.
    #[must_use]
    pub fn optional(name: &'static str, value: impl Into<String>, instead: &'static str) -> Self {
        Self::new(name, value.into(), Without::Instead(instead))
    }

    /// The same, where leaving out `default` changes nothing.
    #[must_use]
    pub fn defaulted(
        name: &'static str,
        value: impl Into<String>,
        default: &str,
        instead: &'static str,
    ) -> Self {
        let value = value.into();
        let without = if value == default {
            Without::Same
        } else {
            Without::Instead(instead)
        };
        Self::new(name, value, without)
    }

    fn new(name: &'static str, value: String, without: Without) -> Self {
        Self { name, value, without }
    }
}

/// A flag that this version of a program does not know, though it was to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// As it would have been given: `--qps=500`.
    pub argument: String,
    /// What is so instead.
    pub instead: String,
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this version has no {}: {}", self.argument, self.instead)
    }
}

/// What to start a program with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// `--name=value`, in the order wanted.
    pub arguments: Vec<String>,
    /// What it cannot be told.
    pub left_out: Vec<LeftOut>,
}

/// Sorts `wanted` into what can be given and what is left out. The error is the name of an essential flag that is not
/// known.
pub fn choose(known: &KnownFlags, wanted: &[Wanted]) -> Result<Chosen, &'static str> {
    let mut chosen = Chosen {
        arguments: Vec::new(),
        left_out: Vec::new(),
    };
    for flag in wanted {
        // One dash for one letter: pflag reads `--v` as well as Go does, but not every program does.
        let dashes = if flag.name.len() == 1 { "-" } else { "--" };
        let argument = format!("{dashes}{}={}", flag.name, flag.value);
        if known.may_know(flag.name) {
            chosen.arguments.push(argument);
            continue;
        }
        match flag.without {
            Without::Nothing => return Err(flag.name),
            Without::Same => {}
            Without::Instead(instead) => chosen.left_out.push(LeftOut {
                argument,
                instead: instead.to_owned(),
            }),
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
