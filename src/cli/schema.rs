//! The command `schema`.

use std::{fs, io, path::PathBuf};

use clap::{Args, ValueEnum};

use super::output::{OK, Output};
use crate::scenario::schema;

/// Print a JSON Schema
///
/// For editors and other programs: `scenario` describes scenario files, `results` describes
/// `results.json`. Both are committed in schemas/ and checked by a test.
#[derive(Debug, Clone, Args)]
pub struct SchemaArgs {
    /// Of what
    #[arg(value_enum)]
    pub of: SchemaOf,

    /// Write it into this folder, as NAME.json, instead of printing it [default: schemas]
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "schemas")]
    pub write: Option<PathBuf>,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaOf {
    /// Scenario files
    Scenario,
    /// `results.json`
    Results,
}

impl SchemaOf {
    /// The name of its file in `schemas/`.
    #[must_use]
    pub fn file(self) -> &'static str {
        match self {
            Self::Scenario => "scenario.json",
            Self::Results => "results.json",
        }
    }
}

/// Prints or writes a schema; `results` makes the one of `results.json`, which reports own. Answers
/// with the exit code.
pub fn run(args: &SchemaArgs, results: impl FnOnce() -> String, output: &mut Output<'_>) -> io::Result<u8> {
    let text = match args.of {
        SchemaOf::Scenario => schema::scenario_text(),
        SchemaOf::Results => results(),
    };
    match &args.write {
        None => output.out.write_all(text.as_bytes())?,
        Some(folder) => {
            fs::create_dir_all(folder)?;
            let path = folder.join(args.of.file());
            fs::write(&path, text)?;
            writeln!(output.out, "wrote {}", path.display())?;
        }
    }
    Ok(OK)
}
