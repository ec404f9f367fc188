//! `sweep --env eks` and `sweep --env cluster`: what runs left in an account and in clusters that stay, without any ledger.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{
    allowed::{Doing, Place, allowed},
    cluster_env::ClusterArgs,
    eks,
    output::{OK, Output, USAGE, style},
    sweep::SweepArgs,
};
use crate::{
    aws::{AccountOptions, Aws, Share},
    kubernetes::{Kubeconfigs, KubernetesAccess},
    provision::{Aged, AgedOutcome, AgedSweep, Aging, Going, sweep::running, sweep_account, sweep_cluster},
    report::{ExitCode, figure},
    scenario::duration,
};

/// Whose leavings are looked for without a ledger.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Without a ledger")]
pub(super) struct AgedSweepArgs {
    /// Look through an account and its clusters, or through one cluster, instead of ledgers
    #[arg(long, value_enum, requires = "older_than", conflicts_with = "run")]
    pub(super) env: Option<SweptEnvironment>,

    /// Only of runs all of whose objects are older than this, such as 6h or 2d: longer than any run takes
    #[arg(long, value_name = "AGE", value_parser = age, requires = "env")]
    older_than: Option<Duration>,

    /// Region of the account; that of the profile or the environment where absent
    #[arg(long, value_name = "REGION", requires = "env")]
    region: Option<String>,

    /// Profile of the AWS configuration whose credentials are used
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// Of the clusters that stay, look into this one only [default: into each of the region that lets these credentials in]
    #[arg(long, value_name = "NAME", requires = "env")]
    cluster_name: Option<String>,

    /// Accounts that may be swept without being asked; others are refused where one is given
    #[arg(long, value_name = "ID,..", value_delimiter = ',', env = eks::ALLOW, hide_env_values = true)]
    allow_account: Vec<String>,

    /// Share of the account's request quotas that calls may take
    #[arg(long, value_name = "PERCENT", default_value_t, requires = "env")]
    max_aws_share: Share,
}

/// Where runs were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SweptEnvironment {
    /// An account, the clusters of EKS in it, and what is in those that stay.
    Eks,
    /// What is in any cluster, which a kubeconfig is the way to.
    Cluster,
}

/// What came of it, and where.
struct Came {
    place: String,
    swept: AgedSweep,
    /// What there is to say of the calls.
    held_back: Option<String>,
}

/// Looks through an account or a cluster and prints what was removed. Answers with the exit code.
pub(super) async fn run(args: &SweepArgs, env: SweptEnvironment, output: &mut Output<'_>) -> io::Result<u8> {
    let (bad, plain) = (style::ERROR, style::ERROR.render_reset());
    if let Some(because) = args.aged.misplaced(env, &args.cluster) {
        writeln!(output.err, "{bad}error{plain}: {because}")?;
        return Ok(USAGE);
    }
    let here = match running(&args.reports) {
        Ok(here) => here,
        Err(error) => {
            let reports = args.reports.display();
            writeln!(
                output.err,
                "{bad}error{plain}: cannot read {reports}: {error}; name the reports folder by --reports"
            )?;
            return Ok(USAGE);
        }
    };
    let came = match env {
        SweptEnvironment::Eks => Box::pin(of_account(args, &here, output)).await?,
        SweptEnvironment::Cluster => Box::pin(of_cluster(args, &here, output)).await?,
    };
    match came {
        Ok(came) => said(&came, output),
        Err(code) => Ok(code),
    }
}

async fn of_account(
    args: &SweepArgs,
    here: &BTreeSet<String>,
    output: &mut Output<'_>,
) -> io::Result<Result<Came, u8>> {
    let aged = &args.aged;
    let options = AccountOptions {
        profile: aged.profile.clone(),
        region: aged.region.clone(),
        max_share: aged.max_aws_share,
    };
    let aws = match Aws::of_account(&options).await {
        Ok(aws) => Arc::new(aws),
        Err(error) => return unavailable(&error, output),
    };
    let access = aws.access();
    // The variable may be there and empty.
    let mut named = aged.allow_account.clone();
    named.retain(|account| !account.is_empty());
    if !args.dry_run && !allowed(Doing::Sweep, Place::Account, &access.account, &named, output)? {
        return Ok(Err(USAGE));
    }
    let swept = sweep_account(&aws, aged.cluster_name.as_deref(), args.aging(here));
    match Box::pin(swept).await {
        Ok(swept) => Ok(Ok(Came {
            place: format!("account {}, {}", access.account, access.region),
            swept,
            held_back: aws.held_back().told(),
        })),
        Err(error) => unavailable(&error, output),
    }
}

async fn of_cluster(
    args: &SweepArgs,
    here: &BTreeSet<String>,
    output: &mut Output<'_>,
) -> io::Result<Result<Came, u8>> {
    let ClusterArgs {
        kubeconfig,
        context,
        allow_context,
    } = &args.cluster;
    let files = Kubeconfigs::of(kubeconfig.as_deref());
    let found = match KubernetesAccess::of_context(&files, context.as_deref()) {
        Ok(found) => found,
        Err(because) => return unavailable(&format!("kubeconfig: {because}"), output),
    };
    if !args.dry_run && !allowed(Doing::Sweep, Place::Context, &found.name, allow_context, output)? {
        return Ok(Err(USAGE));
    }
    let place = format!("context {}", found.name);
    match sweep_cluster(&found.access, &place, args.aging(here)).await {
        Ok(swept) => Ok(Ok(Came {
            place,
            swept,
            held_back: None,
        })),
        Err(error) => unavailable(&error, output),
    }
}

fn unavailable<T>(error: &dyn std::fmt::Display, output: &mut Output<'_>) -> io::Result<Result<T, u8>> {
    let (bad, plain) = (style::ERROR, style::ERROR.render_reset());
    writeln!(output.err, "{bad}error{plain}: {error}")?;
    Ok(Err(ExitCode::EnvironmentUnavailable.code()))
}

impl SweepArgs {
    fn aging<'a>(&self, running: &'a BTreeSet<String>) -> Aging<'a> {
        Aging {
            older_than: self.aged.older_than.unwrap_or(Duration::MAX),
            now: Timestamp::now(),
            running,
            dry: self.dry_run,
            went: &tell,
        }
    }
}

impl AgedSweepArgs {
    /// Flags of another environment than the one that is meant, in words.
    fn misplaced(&self, env: SweptEnvironment, cluster: &ClusterArgs) -> Option<String> {
        let (flag, fits) = match env {
            SweptEnvironment::Eks => (cluster.first_given(), "cluster"),
            SweptEnvironment::Cluster => {
                // Not --allow-account: its variable may be set for good.
                let given = [
                    (self.region.is_some(), "--region"),
                    (self.profile.is_some(), "--profile"),
                    (self.cluster_name.is_some(), "--cluster-name"),
                    (self.max_aws_share != Share::default(), "--max-aws-share"),
                ];
                let first = given.into_iter().find_map(|(given, flag)| given.then_some(flag));
                (first, "eks")
            }
        };
        flag.map(|flag| format!("{flag} is for --env {fits}"))
    }
}

/// Prints what came of it; the exit code.
fn said(came: &Came, output: &mut Output<'_>) -> io::Result<u8> {
    let Came {
        place,
        swept,
        held_back,
    } = came;
    for passed in &swept.passed_over {
        writeln!(
            output.err,
            "{}not looked into{:#}  {}: {}",
            style::WARNING,
            style::WARNING,
            passed.cluster,
            passed.because
        )?;
    }
    if swept.runs.is_empty() {
        writeln!(output.out, "nothing of any run in {place}")?;
        return Ok(OK);
    }
    writeln!(output.out, "{place}")?;
    let mut left = false;
    for run in &swept.runs {
        left |= print(run, output)?;
    }
    if let Some(text) = held_back {
        writeln!(output.out, "\n{text}")?;
    }
    Ok(if left { ExitCode::InvalidRun.code() } else { OK })
}

/// Says on standard error what is waited for, which can take many minutes.
pub(super) fn tell(going: Going<'_>) {
    if let Going::Waiting(what) = going {
        // Nobody reads it where it cannot be written.
        let _ = writeln!(io::stderr(), "{what}");
    }
}

/// Prints what was done about a run; whether something of it is left that was to go.
fn print(run: &Aged, output: &mut Output<'_>) -> io::Result<bool> {
    let (strong, faint, bad) = (style::STRONG, style::FAINT, style::ERROR);
    let name = format!("{strong}{}{strong:#}", run.run_id);
    let age = run.age.map_or_else(
        || "of unknown age".to_owned(),
        |age| format!("{} old", rounded(age)),
    );
    let count = figure::counted(run.found.len(), "object");
    match &run.outcome {
        AgedOutcome::Young => {
            writeln!(output.out, "{name}  {faint}{age}, {count}; left alone{faint:#}")?;
        }
        AgedOutcome::Running => {
            writeln!(
                output.out,
                "{name}  {faint}still running here; left alone{faint:#}"
            )?;
        }
        AgedOutcome::WouldRemove => {
            writeln!(output.out, "{name}  {age}; {} to remove", run.found.len())?;
            for object in &run.found {
                writeln!(output.out, "  would remove  {object}")?;
            }
            print_spared(run, output)?;
        }
        AgedOutcome::Removed { removed, left } => {
            let more = match left.len() {
                0 => String::new(),
                left => format!(", {left} left"),
            };
            writeln!(output.out, "{name}  {age}; {} removed{more}", removed.len())?;
            for object in removed {
                writeln!(output.out, "  removed  {object}")?;
            }
            print_spared(run, output)?;
            for left in left {
                writeln!(
                    output.out,
                    "  {bad}left{bad:#}  {}: {}",
                    left.object, left.because
                )?;
            }
            return Ok(!left.is_empty());
        }
    }
    Ok(false)
}

fn print_spared(run: &Aged, output: &mut Output<'_>) -> io::Result<()> {
    for spared in &run.spared {
        writeln!(
            output.out,
            "  stays for now  {}: {}",
            spared.object, spared.because
        )?;
    }
    Ok(())
}

/// `3d`, `7h` or `12m`.
fn rounded(age: Duration) -> String {
    let minutes = age.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes}m"),
        120..2880 => format!("{}h", minutes / 60),
        _ => format!("{}d", minutes / 1440),
    }
}

/// A duration, or a number of days.
fn age(text: &str) -> Result<Duration, String> {
    if let Some(days) = text.trim().strip_suffix('d')
        && let Ok(days) = days.parse::<u32>()
    {
        return Ok(Duration::from_hours(24) * days);
    }
    duration::parse(text).map_err(|error| format!("{error}; or a number of days, such as 2d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_said() {
        for (text, expected) in [
            ("6h", "6h"),
            ("90m", "90m"),
            ("2d", "2d"),
            ("30s", "0m"),
            ("0d", "0m"),
        ] {
            assert_eq!(age(text).map(rounded), Ok(expected.to_owned()), "{text}");
        }
        for text in ["", "six hours", "-1d", "d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
