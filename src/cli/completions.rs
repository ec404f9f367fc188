//! The command `completions`.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{
    Cli,
    output::{OK, Output},
};

/// Print a completion script for a shell
#[derive(Debug, Clone, Args)]
#[command(
    after_long_help = "Example:\n  mountproof completions bash > ~/.local/share/bash-completion/completions/mountproof"
)]
pub struct CompletionsArgs {
    /// Which shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
///
/// When the stream cannot be written.
pub fn run(args: &CompletionsArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mountproof", &mut script);
    output.out.write_all(&script)?;
    Ok(OK)
}
