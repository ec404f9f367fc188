//! The command `lint`.

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};

use super::{
    output::{OK, Output, USAGE, style},
    scenarios,
};
use crate::scenario::{Loaded, Severity, load, render, shipped};

/// Check scenario files
///
/// Reports every problem of every file, with the place, what is wrong and what to do. Nothing is
/// started and no environment is needed. Exit code 2 when anything is an error; warnings pass.
#[derive(Debug, Clone, Default, Args)]
#[command(after_long_help = "\
Examples:
  mountproof lint                       the files in ./scenarios, else the ones in the binary
  mountproof lint scenarios/isolation   a folder and everything below it
  mountproof lint --format github       as annotations beside the lines of a pull request
  mountproof explain S012               more about a code

In an editor, a first line like this one gives completion and the same checks while typing:
  # yaml-language-server: $schema=../../schemas/scenario.json")]
pub struct LintArgs {
    /// Files, and folders with everything below them
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// How problems are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: LintFormat,
}

/// How problems are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LintFormat {
    /// For people: message, place, snippet, help
    #[default]
    Text,
    /// For programs: one JSON object per line
    Json,
    /// For GitHub Actions: workflow commands
    Github,
}

/// The folder that is checked when nothing is given.
const DEFAULT_FOLDER: &str = "scenarios";

/// Checks the files and prints what is wrong. Answers with the exit code.
pub fn run(args: &LintArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let loaded = if !args.paths.is_empty() {
        scenarios::read(&args.paths)
    } else if Path::new(DEFAULT_FOLDER).is_dir() {
        scenarios::read(&[PathBuf::from(DEFAULT_FOLDER)])
    } else {
        load(&shipped())
    };
    for diagnostic in &loaded.diagnostics {
        match args.format {
            LintFormat::Text => {
                writeln!(
                    output.out,
                    "{}",
                    render::text(diagnostic, &loaded.sources, render::Style::Styled)
                )?;
            }
            LintFormat::Json => writeln!(output.out, "{}", render::json(diagnostic, &loaded.sources))?,
            LintFormat::Github => writeln!(output.out, "{}", render::github(diagnostic, &loaded.sources))?,
        }
    }
    if args.format == LintFormat::Text {
        summary(&loaded, output)?;
    }
    if loaded.files == 0 {
        writeln!(output.err, "{0}error{0:#}: no scenario files there", style::ERROR)?;
        return Ok(USAGE);
    }
    Ok(if loaded.has_errors() { USAGE } else { OK })
}

fn summary(loaded: &Loaded, output: &mut Output<'_>) -> io::Result<()> {
    let (errors, warnings) = (loaded.count(Severity::Error), loaded.count(Severity::Warning));
    let files = counted(loaded.files, "file");
    if errors + warnings == 0 {
        if loaded.files > 0 {
            writeln!(output.out, "{0}ok{0:#}  {files}, no problems", style::GOOD)?;
        }
        return Ok(());
    }
    let found: Vec<String> = [(errors, "error"), (warnings, "warning")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| counted(count, word))
        .collect();
    let style = if errors > 0 { style::ERROR } else { style::WARNING };
    writeln!(output.out, "{style}{}{style:#} in {files}", found.join(", "))?;
    if let Some(first) = loaded.diagnostics.first() {
        writeln!(
            output.out,
            "more about a code: {0}mountproof explain {1}{0:#}",
            style::LITERAL,
            first.code
        )?;
    }
    Ok(())
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
