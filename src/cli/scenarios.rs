//! Scenario files from disks, and the arguments that choose among them. What `lint`, `list` and `run`
//! share.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    list::IdentityChoice,
    output::{Output, USAGE, style},
};
use crate::scenario::{
    Binding, Case, Code, Diagnostic, Filters, Loaded, SourceFile, bind::bind_through, load, parse::MAX_BYTES,
    render, select, select::UnknownFilter, shipped,
};

/// Which scenarios.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Scenarios")]
pub struct SelectionArgs {
    /// Only scenarios or cases of this name
    ///
    /// A part of the name, or, with `*` or `?`, a pattern for the whole of it; several are joined by
    /// "or". A case is a scenario bound to tenants: `positive` has the cases `positive[team-red]` and
    /// `positive[team-blue]`. A name that fits nothing is an error, never an empty run.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Only this profile: conformance, isolation, load ...
    ///
    /// A profile is a folder of scenarios. May be given more than once.
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,

    /// Only scenarios with this label; all of them when given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,

    /// Read scenarios from this folder instead of the ones in the binary
    ///
    /// The folder holds a folder for each profile, and those hold one scenario per YAML file.
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
}

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{text}` has no `=`; write key=value"))
}

impl SelectionArgs {
    /// The filters among the arguments.
    #[must_use]
    pub fn filters(&self) -> Filters {
        Filters {
            names: self.names.clone(),
            profiles: self.profiles.clone(),
            labels: self.labels.clone(),
        }
    }

    /// The scenarios: of the folder that was given, or the ones in the binary.
    #[must_use]
    pub fn load(&self) -> Loaded {
        match &self.scenarios {
            Some(folder) => read(std::slice::from_ref(folder)),
            None => load(&shipped()),
        }
    }

    /// The cases of a run with these tenants, in order. When anything is wrong it is printed, and
    /// the exit code comes back instead.
    pub fn plan(
        &self,
        tenants: &[String],
        choice: IdentityChoice,
        output: &mut Output<'_>,
    ) -> io::Result<Result<Binding, u8>> {
        let mut seen = std::collections::BTreeSet::new();
        if let Some(twice) = tenants.iter().find(|name| !seen.insert(name.as_str())) {
            let help = "each tenant is a namespace of its own, so each needs a name of its own";
            complain(
                output,
                &format!("two tenants are named `{twice}`"),
                &[help.to_owned()],
            )?;
            return Ok(Err(USAGE));
        }
        let loaded = self.load();
        for diagnostic in &loaded.diagnostics {
            write!(
                output.err,
                "{}",
                render::text(diagnostic, &loaded.sources, render::Style::Styled)
            )?;
        }
        if loaded.has_errors() {
            return Ok(Err(USAGE));
        }
        if loaded.scenarios.is_empty() {
            complain(output, "there are no scenarios here", &[])?;
            return Ok(Err(USAGE));
        }
        let Binding {
            cases,
            unbound,
            left_out,
        } = bind_through(&loaded.scenarios, tenants, choice.identities());
        let filters = self.filters();
        let asked = |name: &String| filters == Filters::default() || filters.names.contains(name);
        let left_out: Vec<_> = left_out.into_iter().filter(|(name, _)| asked(name)).collect();
        match select(&cases, &filters) {
            Ok(cases) => Ok(Ok(Binding {
                cases,
                unbound,
                left_out,
            })),
            Err(unknown) => {
                for filter in unknown {
                    let other = left_out.iter().find(|(scenario, _)| *scenario == filter.written);
                    if let Some((scenario, identity)) = other {
                        let message = format!("`{scenario}` is about another way in");
                        let help = format!("add --identity {identity}, or --identity both");
                        complain(output, &message, &[help])?;
                    } else {
                        print_unknown(&filter, &cases, output)?;
                    }
                }
                Ok(Err(USAGE))
            }
        }
    }
}

fn print_unknown(filter: &UnknownFilter, cases: &[Case], output: &mut Output<'_>) -> io::Result<()> {
    let mut help = Vec::new();
    if let Some(meant) = &filter.meant {
        help.push(format!("did you mean `{meant}`?"));
    }
    if !filter.known.is_empty() {
        help.push(format!("there are: {}", filter.known.join(", ")));
    } else if cases.is_empty() {
        help.push("the run has too few tenants for every scenario".to_owned());
    }
    complain(output, &filter.to_string(), &help)
}

fn complain(output: &mut Output<'_>, message: &str, help: &[String]) -> io::Result<()> {
    writeln!(output.err, "{0}error{0:#}: {message}", style::ERROR)?;
    for line in help {
        writeln!(output.err, "  {0}help{0:#}: {line}", style::STRONG)?;
    }
    Ok(())
}

/// Reads files, and folders with everything below them, and checks what they hold.
#[must_use]
pub fn read(paths: &[PathBuf]) -> Loaded {
    let mut reading = Reading::default();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => reading.folder(path, path),
            Ok(_) => reading.file(path, path.file_name().map_or(path, Path::new)),
            Err(error) => reading.failed(path, &error),
        }
    }
    let mut loaded = load(&reading.files);
    loaded.files += reading.failures.len();
    reading.failures.append(&mut loaded.diagnostics);
    loaded.diagnostics = reading.failures;
    loaded
}

#[derive(Default)]
struct Reading {
    files: Vec<SourceFile>,
    failures: Vec<Diagnostic>,
}

impl Reading {
    fn folder(&mut self, root: &Path, folder: &Path) {
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(error) => return self.failed(folder, &error),
        };
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| !is_hidden(path)) {
            match fs::metadata(&path) {
                // A link to a folder above would never end, and one to a folder beside it, as in a
                // mounted ConfigMap, would find every file twice.
                Ok(metadata) if metadata.is_dir() && !path.is_symlink() => self.folder(root, &path),
                Ok(metadata) if metadata.is_file() && is_yaml(&path) => {
                    self.file(&path, path.strip_prefix(root).unwrap_or(&path));
                }
                Ok(_) => {}
                Err(error) => self.failed(&path, &error),
            }
        }
    }

    fn file(&mut self, path: &Path, below: &Path) {
        match read_start(path) {
            Ok((bytes, size)) => self.files.push(SourceFile {
                display: path.display().to_string(),
                below: slashed(below),
                folder: folder_of(path),
                bytes,
                size,
            }),
            Err(error) => self.failed(path, &error),
        }
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        let diagnostic = Diagnostic::error(Code::Unreadable, format!("cannot be read: {error}"))
            .in_file(&path.display().to_string());
        self.failures.push(diagnostic);
    }
}

/// The first bytes of a file, one more than a scenario may have, and how many it has in all.
pub(super) fn read_start(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes, metadata.len()))
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .and_then(OsStr::to_str)
        .is_some_and(|extension| matches!(extension, "yaml" | "yml"))
}

/// The name of the folder that a file stands in, also where it was given without one.
fn folder_of(path: &Path) -> Option<String> {
    // Links are not followed: a file belongs where it is found.
    let whole = std::path::absolute(path).ok()?;
    Some(whole.parent()?.file_name()?.to_string_lossy().into_owned())
}

fn slashed(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(OsStr::to_string_lossy).collect();
    parts.join("/")
}
