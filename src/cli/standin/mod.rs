//! The command `standin`: the driver's and the provider's stand-in as programs of their own, for testing what runs the
//! real ones.

mod trouble;

use std::io;

use clap::Args;
use mountproof_stand_ins::programs::standin;

use self::trouble::Trouble;
use super::output::{Output, USAGE, style};

/// Run the stand-in of the driver or of the provider as a program, with the real one's flags
///
/// For testing what starts the real programs, `run --env host` among others. `mountproof standin driver --help` prints
/// the flags; `--defect NAME` plants a defect. Beside those it names: crash-at-start, hang, crash-with-mounts, prints-secrets,
/// leaves-mounts. `--as-released` switches on the known hazards of the release that it imitates; without it is what a
/// healthy release would be.
#[derive(Debug, Clone, Args)]
#[command(disable_help_flag = true)]
pub struct StandinArgs {
    /// `driver`, `provider` or `registrar`, then what the real one would be given
    #[arg(
        value_name = "driver|provider|registrar",
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub arguments: Vec<String>,
}

/// Runs it until SIGTERM or Ctrl-C; answers with its exit code.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn run(args: &StandinArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let (name, arguments) = args
        .arguments
        .split_first()
        .map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
    let Some(part) = standin::Part::named(name) else {
        writeln!(
            output.err,
            "{}error{:#}: there is no stand-in {name}; there are: driver, provider, registrar",
            style::ERROR,
            style::ERROR
        )?;
        return Ok(USAGE);
    };
    let (troubles, arguments) = Trouble::take(arguments);
    for trouble in troubles {
        if let Some(code) = trouble.make().await? {
            return Ok(code);
        }
    }
    standin::run(
        part,
        &format!("mountproof standin {name}"),
        &arguments,
        output.out,
        output.err,
    )
    .await
}
