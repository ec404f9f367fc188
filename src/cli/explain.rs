//! The command `explain`.

use std::io;

use clap::Args;

use super::output::{OK, Output, USAGE, style};
use crate::scenario::{Code, explain};

/// Explain the code of a diagnostic
///
/// Without a code: lists all of them.
#[derive(Debug, Clone, Default, Args)]
pub struct ExplainArgs {
    /// Such as S012
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

/// Prints the page of a code, or the list of codes. Answers with the exit code.
pub fn run(args: &ExplainArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let Some(written) = &args.code else {
        for code in Code::ALL {
            writeln!(output.out, "{0}{code}{0:#}  {1}", style::STRONG, code.title())?;
        }
        return Ok(OK);
    };
    match written.parse::<Code>() {
        Ok(code) => {
            writeln!(
                output.out,
                "{0}{code}{0:#}  {1}\n\n{2}",
                style::STRONG,
                code.title(),
                explain::page(code)
            )?;
            Ok(OK)
        }
        Err(error) => {
            writeln!(output.err, "{0}error{0:#}: {error}", style::ERROR)?;
            writeln!(
                output.err,
                "  {0}help{0:#}: codes are S and three digits; {1}mountproof explain{1:#} lists them",
                style::STRONG,
                style::LITERAL
            )?;
            Ok(USAGE)
        }
    }
}
