//! PURE. A command line read as Go's `flag` package reads it, with its words for what is wrong, and its `--help`
//! (<https://pkg.go.dev/flag>).

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `=true` and the like.
    Bool,
    Int,
    Text,
    Time,
    /// Text that may come more than once.
    Many,
}

/// A flag that a program knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) default: &'static str,
    pub(super) what: &'static str,
}

/// What a command line says, with defaults where it says nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given {
    defaults: BTreeMap<&'static str, &'static str>,
    values: BTreeMap<&'static str, Vec<String>>,
}

/// A command line with which nothing is to be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// `--help` was asked for.
    Help,
    /// It is wrong, and why.
    Wrong(String),
}

impl Given {
    /// Reads `arguments`. What follows the first that is no flag is ignored, as the two programs do.
    pub(super) fn read(flags: &[Flag], arguments: &[String]) -> Result<Self, Stop> {
        let mut given = Self {
            defaults: flags.iter().map(|flag| (flag.name, flag.default)).collect(),
            values: BTreeMap::new(),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(text) = argument.strip_prefix('-').filter(|text| !text.is_empty()) else {
                break;
            };
            let text = text.strip_prefix('-').unwrap_or(text);
            if text.is_empty() {
                break;
            }
            if text.starts_with(['-', '=']) {
                return Err(Stop::Wrong(format!("bad flag syntax: {argument}")));
            }
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let Some(flag) = flags.iter().find(|flag| flag.name == name) else {
                if matches!(name, "help" | "h") {
                    return Err(Stop::Help);
                }
                return Err(Stop::Wrong(format!("flag provided but not defined: -{name}")));
            };
            let value = match (flag.kind, value) {
                (_, Some(value)) => value,
                (Kind::Bool, None) => "true".to_owned(),
                (_, None) => match rest.next() {
                    Some(value) => value.clone(),
                    None => return Err(Stop::Wrong(format!("flag needs an argument: -{name}"))),
                },
            };
            flag.check(&value).map_err(Stop::Wrong)?;
            let values = given.values.entry(flag.name).or_default();
            if flag.kind != Kind::Many {
                values.clear();
            }
            values.push(value);
        }
        Ok(given)
    }

    /// The value of a flag.
    pub(super) fn text(&self, name: &str) -> &str {
        let given = self.values.get(name).and_then(|values| values.last());
        given.map_or_else(
            || self.defaults.get(name).copied().unwrap_or_default(),
            String::as_str,
        )
    }

    /// All values of one that may come more than once.
    pub(super) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether it is on.
    pub(super) fn on(&self, name: &str) -> bool {
        boolean(self.text(name)).unwrap_or(false)
    }

    /// The number it is; 0 where it is none.
    pub(super) fn number(&self, name: &str) -> u32 {
        self.text(name).parse().unwrap_or(0)
    }

    /// The time it is.
    pub(super) fn time(&self, name: &str) -> Duration {
        duration(self.text(name)).unwrap_or_default()
    }
}

impl Flag {
    fn check(&self, value: &str) -> Result<(), String> {
        let Self { name, kind, .. } = self;
        let fine = match kind {
            Kind::Text | Kind::Many => true,
            Kind::Int => value.parse::<i64>().is_ok(),
            Kind::Time => duration(value).is_some(),
            Kind::Bool if boolean(value).is_some() => true,
            Kind::Bool => {
                return Err(format!(
                    "invalid boolean value {value:?} for -{name}: parse error"
                ));
            }
        };
        if fine {
            return Ok(());
        }
        Err(format!("invalid value {value:?} for flag -{name}: parse error"))
    }
}

/// What `--help` prints.
pub(super) fn usage(program: &str, flags: &[Flag]) -> String {
    let mut sorted: Vec<&Flag> = flags.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    let mut text = format!("Usage of {program}:\n");
    for flag in sorted {
        let kind = match flag.kind {
            Kind::Bool => "",
            Kind::Int => " int",
            Kind::Text => " string",
            Kind::Time => " duration",
            Kind::Many => " value",
        };
        let _ = write!(text, "  -{}{kind}\n    \t{}", flag.name, flag.what);
        let default = match (flag.kind, flag.default) {
            (_, "" | "false" | "0") => String::new(),
            (Kind::Text, default) => format!(" (default {default:?})"),
            (_, default) => format!(" (default {default})"),
        };
        let _ = writeln!(text, "{default}");
    }
    text
}

/// As Go's `strconv.ParseBool`.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// As Go's `time.ParseDuration`, for what is not negative: `2m0s`, `1500ms`, `1.5h`.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() || whole == Duration::ZERO && rest == text {
        let end = rest.find(|letter: char| !(letter.is_ascii_digit() || letter == '.'))?;
        let (number, after) = rest.split_at(end);
        let end = after
            .find(|letter: char| letter.is_ascii_digit() || letter == '.')
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()?;
        whole = whole.checked_add(part)?;
        rest = next;
    }
    Some(whole)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic is the failure")]
mod tests {
    use super::*;

    const FLAGS: &[Flag] = &[
        flag("qps", Kind::Int, "5"),
        flag("on", Kind::Bool, "false"),
        flag("folder", Kind::Text, "/run"),
        flag("every", Kind::Time, "2m0s"),
        flag("defect", Kind::Many, ""),
        flag("v", Kind::Int, "0"),
    ];

    const fn flag(name: &'static str, kind: Kind, default: &'static str) -> Flag {
        Flag {
            name,
            kind,
            default,
            what: "what it does",
        }
    }

    fn read(line: &str) -> Result<Given, Stop> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Given::read(FLAGS, &arguments)
    }

    #[test]
    fn flags_come_in_every_form_that_go_reads() {
        let cases = [
            ("", "5 false /run 120s []"),
            ("--qps=7 -on --folder /x", "7 true /x 120s []"),
            ("-qps 7 --on=F -folder=a=b -every 1.5h", "7 false a=b 5400s []"),
            (
                "--qps=1 --qps=2 --defect a --defect=b",
                "2 false /run 120s [\"a\", \"b\"]",
            ),
            ("-on=1 here --qps=9", "5 true /run 120s []"),
            ("-- --qps=9", "5 false /run 120s []"),
            ("- --qps=9", "5 false /run 120s []"),
            ("--every=1m1500ms", "5 false /run 61.5s []"),
        ];
        for (line, expected) in cases {
            let given = read(line).unwrap();
            let found = format!(
                "{} {} {} {:?} {:?}",
                given.number("qps"),
                given.on("on"),
                given.text("folder"),
                given.time("every"),
                given.all("defect")
            );
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        let cases = [
            ("--nothing=1", "flag provided but not defined: -nothing"),
            ("-v", "flag needs an argument: -v"),
            ("---v", "bad flag syntax: ---v"),
            ("-=v", "bad flag syntax: -=v"),
            ("--qps=many", "invalid value \"many\" for flag -qps: parse error"),
            ("--every=2", "invalid value \"2\" for flag -every: parse error"),
            ("--every=", "invalid value \"\" for flag -every: parse error"),
            (
                "--on=maybe",
                "invalid boolean value \"maybe\" for -on: parse error",
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line), Err(Stop::Wrong(expected.to_owned())), "{line}");
        }
        for line in ["-h", "--help", "--qps=1 -help"] {
            assert_eq!(read(line), Err(Stop::Help), "{line}");
        }
    }

    #[test]
    fn help_has_the_layout_that_a_reader_of_flags_reads() {
        let usage = usage("x", FLAGS);
        assert!(
            usage.starts_with("Usage of x:\n  -defect value\n    \twhat it does\n"),
            "{usage}"
        );
        assert!(
            usage.contains("  -folder string\n    \twhat it does (default \"/run\")\n"),
            "{usage}"
        );
        let known = crate::programs::flags::KnownFlags::read(&usage);
        assert!(FLAGS.iter().all(|flag| known.knows(flag.name)), "{usage}");
    }
}
