//! The command `report`: renders the reports of a run again, from its journal alone.

use std::path::{Path, PathBuf};

use crate::{
    journal::{self, ReadError},
    report::{
        self, ExitCode, Format, RunSummary,
        terminal::{ColorChoice, Terminal},
        write::WriteFileError,
    },
};

/// Render a run's reports again from its journal, also of a run that was killed.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// A run's folder, or its journal.jsonl.
    #[arg(value_name = "RUN_DIR|JOURNAL", default_value = "reports/latest")]
    pub run: PathBuf,
    /// Render only these; all of them by default.
    #[arg(long = "format", value_name = "FORMAT", value_enum, value_delimiter = ',')]
    pub formats: Vec<Format>,
    /// Where to write; the journal's folder by default.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Why a report could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteFileError),
}

impl ReportError {
    /// The exit code that this deserves.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Read(_) => ExitCode::Usage,
            Self::Write(_) => ExitCode::EnvironmentUnavailable,
        }
    }
}

/// Runs the command. It passes when the files are written, whatever the verdict of the run: that
/// is in the files and in the last block. A run that was killed could not say its exit code, so it is
/// said here.
pub fn run(args: &ReportArgs, quiet: bool, color: ColorChoice) -> Result<ExitCode, ReportError> {
    let journal = if args.run.is_dir() {
        args.run.join("journal.jsonl")
    } else {
        args.run.clone()
    };
    let recording = journal::read(&journal)?;
    let summary =
        RunSummary::of(&recording.events).expect("a journal that was read begins with the start of its run");
    let folder = args
        .out
        .clone()
        .unwrap_or_else(|| journal.parent().map_or_else(PathBuf::new, Path::to_owned));
    let formats = if args.formats.is_empty() {
        Format::ALL.to_vec()
    } else {
        args.formats.clone()
    };
    let written = report::write_files(&folder, report::render(&summary, &formats));
    if let Some(error) = written.refused.into_iter().next() {
        return Err(error.into());
    }
    if let Some(torn) = recording.torn {
        tracing::warn!(
            "{}:{}: the last line has no end and was left out ({} bytes): the run was killed while it wrote",
            journal.display(),
            torn.line,
            torn.bytes
        );
    }
    Terminal::new(quiet, color, folder.display().to_string()).finish(&summary, &written.files);
    Ok(if summary.killed() {
        report::recorded(&summary)
    } else {
        ExitCode::Passed
    })
}
