//! The command line, one file per command.

pub mod agent;
pub mod allowed;
pub mod aws;
pub mod cluster;
pub mod cluster_env;
pub mod completions;
pub mod doctor;
pub mod doctor_cluster;
pub mod eks;
pub mod endpoint;
pub mod environment;
pub mod explain;
pub mod host;
pub mod installation;
pub mod kind;
pub mod lint;
pub mod list;
pub mod output;
pub mod plan;
pub mod probe;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod schema;
pub mod standin;
pub mod sweep;
mod sweep_aged;

use std::io;

use clap::{Parser, Subcommand};

use self::output::Output;
use crate::{
    redact::Redactor,
    report::{results, terminal::ColorChoice},
};

/// Proves that pods mount the AWS secrets they should, cannot mount the ones they should not, and how fast
///
/// An end-to-end conformance and load-test harness for AWS Secrets Manager on Kubernetes through the
/// Secrets Store CSI Driver, its AWS provider (ASCP) and IAM roles for service accounts (IRSA).
#[derive(Debug, Parser)]
#[command(
    name = "mountproof",
    version,
    arg_required_else_help = true,
    after_help = "Start with `mountproof run`: it needs nothing and reaches nothing outside this machine."
)]
pub struct Cli {
    /// Colours: auto looks at the terminal and at `NO_COLOR`
    #[arg(long, global = true, value_enum, default_value_t)]
    pub color: ColorChoice,

    /// Print failures and the last block only
    #[arg(long, short, global = true)]
    pub quiet: bool,

    /// Set by a command that runs itself again in a confinement; see `mountproof_confinement::INSIDE`.
    #[arg(long = "inside-confinement", hide = true)]
    pub inside_confinement: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stand up an environment, prove the scenarios in it, measure, report, take it all down
    Run(run::RunArgs),
    /// Show the cases that a run would try
    List(list::ListArgs),
    /// Show what a run would create, cost and take
    Plan(run::RunArgs),
    /// Check scenario files: every problem of every file, with its place
    Lint(lint::LintArgs),
    /// Render a run's reports again from its journal, also of a run that was killed
    Report(report::ReportArgs),
    /// Stand up a cluster with driver and provider on its nodes, and keep it for runs
    Up(cluster::UpArgs),
    /// Delete clusters that were kept
    Down(cluster::DownArgs),
    /// Remove what killed runs left behind
    Sweep(sweep::SweepArgs),
    /// Check what this machine offers to the environments
    Doctor(doctor::DoctorArgs),
    /// Serve the AWS endpoint alone, for any client
    Endpoint(endpoint::EndpointArgs),
    /// Ask any AWS endpoint what a denial of its is worth
    Probe(probe::ProbeArgs),
    /// Explain a problem that lint found
    Explain(explain::ExplainArgs),
    /// Print the JSON Schemas of scenarios and results
    Schema(schema::SchemaArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
    // Run by the DaemonSet that `run --env kind` makes.
    /// Serve the harness on a node that it does not stand on
    #[command(hide = true)]
    Agent(agent::AgentArgs),
    // Of use to whoever tests mountproof, and to nobody who tests secrets: the main help leaves it out.
    /// Run the stand-in of the driver or of the provider as a program of its own
    #[command(hide = true)]
    Standin(standin::StandinArgs),
}

/// Runs a command; returns the exit code. `redactor` learns every secret value on the way: who made it
/// hides them in the log.
///
/// # Errors
///
/// When a stream cannot be written. A reader that went away (`mountproof list | head`) is no error.
pub async fn run(cli: &Cli, redactor: Redactor, output: &mut Output<'_>) -> io::Result<u8> {
    match &cli.command {
        Command::Run(args) => run::run(args, cli.quiet, cli.color, redactor, output).await,
        Command::List(args) => list::run(args, output),
        Command::Plan(args) => plan::run(args, output).await,
        Command::Lint(args) => lint::run(args, output),
        Command::Report(args) => match report::run(args, cli.quiet, cli.color) {
            Ok(code) => Ok(code.code()),
            Err(error) => {
                writeln!(output.err, "error: {error}")?;
                Ok(error.exit_code().code())
            }
        },
        Command::Up(args) => cluster::up(args, cli.quiet, cli.color, output).await,
        Command::Down(args) => cluster::down(args, cli.quiet, cli.color, output).await,
        Command::Sweep(args) => sweep::run(args, output).await,
        Command::Doctor(args) => doctor::run(args, output).await,
        Command::Endpoint(args) => endpoint::run(args, &redactor, output).await,
        Command::Probe(args) => probe::run(args, &redactor, output).await,
        Command::Explain(args) => explain::run(args, output),
        Command::Schema(args) => schema::run(args, results::schema, output),
        Command::Completions(args) => completions::run(args, output),
        Command::Agent(args) => agent::run(args, output).await,
        Command::Standin(args) => standin::run(args, output).await,
    }
}
