//! Many files at once.

use std::collections::BTreeMap;

use super::{
    at::Place,
    code::Code,
    diagnostic::{Diagnostic, Position, Severity, has_errors},
    model::Scenario,
    parse::parse,
    raw::RawScenario,
    render::Sources,
    resolve::{Standing, resolve},
    shape::MAX_PROBLEMS,
};

/// A file as it was read from a disk, or out of the binary.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// Its name in messages: the path as a reader would type it.
    pub display: String,
    /// Its path below the scenarios folder, with `/`.
    pub below: String,
    /// The name of the folder it stands in; must be its profile. Absent: not checked.
    pub folder: Option<String>,
    /// What was read: everything, or of a larger file the first [`super::parse::MAX_BYTES`] and one.
    pub bytes: Vec<u8>,
    /// Bytes that the file has.
    pub size: u64,
}

/// What many files hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Scenarios in the order of their files, one for each combination of a matrix.
    pub scenarios: Vec<Scenario>,
    /// Every problem, in the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
    /// The texts that diagnostics point into.
    pub sources: Sources,
    /// Files looked at.
    pub files: usize,
}

impl Loaded {
    /// Whether anything is wrong enough that nothing should run.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// How many problems of one severity there are.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }
}

/// Reads and checks many files.
#[must_use]
pub fn load(files: &[SourceFile]) -> Loaded {
    let mut loaded = Loaded {
        files: files.len(),
        ..Loaded::default()
    };
    let mut names: BTreeMap<String, FirstUse> = BTreeMap::new();
    for file in files {
        let parsed = parse(&file.bytes, file.size);
        let mut diagnostics = parsed.diagnostics;
        if let Some(raw) = &parsed.raw {
            let standing = Standing {
                below: &file.below,
                folder: file.folder.as_deref(),
            };
            let (scenarios, found) = resolve(raw, standing);
            // A file of another kind is checked like one of ours, and is none.
            if !has_errors(&diagnostics) {
                loaded.scenarios.extend(scenarios);
            }
            diagnostics.extend(found);
            diagnostics.extend(duplicate(raw, file, &parsed.text, &mut names));
        }
        diagnostics.sort_by_key(|diagnostic| diagnostic.place().start);
        cut(&mut diagnostics);
        loaded.diagnostics.extend(
            diagnostics
                .into_iter()
                .map(|diagnostic| diagnostic.in_file(&file.display)),
        );
        loaded.sources.insert(file.display.clone(), parsed.text);
    }
    loaded
}

struct FirstUse {
    file: String,
    position: Position,
}

fn duplicate(
    raw: &RawScenario,
    file: &SourceFile,
    text: &str,
    names: &mut BTreeMap<String, FirstUse>,
) -> Option<Diagnostic> {
    let name = &raw.metadata.name;
    if let Some(first) = names.get(&name.value) {
        let FirstUse {
            file,
            position: Position { line, column },
        } = first;
        return Some(
            Diagnostic::error(
                Code::DuplicateScenario,
                format!("two scenarios are called `{}`", name.value),
            )
            .at(name.place.clone(), "again here")
            .help(format!("the first is in {file}:{line}:{column}"))
            .help("reports name scenarios by their names alone"),
        );
    }
    let position = Position::of(text, name.place.start);
    names.insert(
        name.value.clone(),
        FirstUse {
            file: file.display.clone(),
            position,
        },
    );
    None
}

/// Keeps a file with nothing right in it from filling the screen.
fn cut(diagnostics: &mut Vec<Diagnostic>) {
    if diagnostics.len() <= MAX_PROBLEMS {
        return;
    }
    let more = diagnostics.len() - MAX_PROBLEMS;
    let place: Place = diagnostics[MAX_PROBLEMS].place();
    diagnostics.truncate(MAX_PROBLEMS);
    diagnostics.push(
        Diagnostic::error(
            Code::MoreProblems,
            format!("{more} more problems in this file are not shown"),
        )
        .at(place, "the next one"),
    );
}
