//! `sweep --env eks`: what runs left in an account, without any ledger.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;

use super::{
    output::{OK, Output, USAGE, style},
    sweep::SweepArgs,
};
use crate::{
    aws::{AccountOptions, Aws, Share},
    provision::{AccountSwept, Aged, AgedOutcome, Going, sweep::running, sweep_account},
    report::ExitCode,
    scenario::duration,
};

/// Whose leavings are looked for in an account.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Accounts")]
pub(super) struct AccountSweepArgs {
    /// Look through an account instead of ledgers
    #[arg(long, value_enum, requires = "older_than", conflicts_with = "run")]
    pub(super) env: Option<SweptEnvironment>,

    /// Only of runs all of whose objects are older than this, such as 6h or 2d
    #[arg(long, value_name = "AGE", value_parser = age, requires = "env")]
    older_than: Option<Duration>,

    /// Region of the account; that of the profile or the environment where absent
    #[arg(long, value_name = "REGION", requires = "env")]
    region: Option<String>,

    /// Profile of the AWS configuration whose credentials are used
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,

    /// Share of the account's request quotas that calls may take
    #[arg(long, value_name = "PERCENT", default_value_t, requires = "env")]
    max_aws_share: Share,
}

/// Where runs were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SweptEnvironment {
    /// EKS, and what runs have in the account beside it.
    Eks,
}

/// Looks through the account and prints what was removed. Answers with the exit code.
pub(super) async fn run(args: &SweepArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let (bad, plain) = (style::ERROR, style::ERROR.render_reset());
    let unavailable = ExitCode::EnvironmentUnavailable.code();
    let account = &args.account;
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
    let options = AccountOptions {
        profile: account.profile.clone(),
        region: account.region.clone(),
        max_share: account.max_aws_share,
    };
    let swept = async {
        let aws = Aws::of_account(&options).await?;
        let older_than = account.older_than.unwrap_or(Duration::MAX);
        let swept = sweep_account(&aws, older_than, Timestamp::now(), &here, args.dry_run, &tell).await?;
        Ok::<_, crate::aws::AwsError>((aws, swept))
    };
    let (aws, swept) = match Box::pin(swept).await {
        Ok(swept) => swept,
        Err(error) => {
            writeln!(output.err, "{bad}error{plain}: {error}")?;
            return Ok(unavailable);
        }
    };
    let access = aws.access();
    let place = format!("account {}, {}", access.account, access.region);
    let AccountSwept { runs, hidden } = swept;
    if !hidden.is_empty() {
        writeln!(
            output.err,
            "not looked into, as these credentials may not: the clusters {}",
            hidden.join(", ")
        )?;
    }
    if runs.is_empty() {
        writeln!(output.out, "nothing of any run in {place}")?;
        return Ok(OK);
    }
    writeln!(output.out, "{place}")?;
    let mut left = false;
    for run in &runs {
        left |= print(run, output)?;
    }
    let held = aws.held_back();
    if held.calls > 0 {
        writeln!(
            output.out,
            "\n{} calls waited {:.1} s in all, to stay within {} of the account's quotas (--max-aws-share)",
            held.calls,
            held.waited.as_secs_f64(),
            account.max_aws_share
        )?;
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
    let count = run.found.len();
    match &run.outcome {
        AgedOutcome::Young => {
            writeln!(
                output.out,
                "{name}  {faint}{age}, {count} objects; left alone{faint:#}"
            )?;
        }
        AgedOutcome::Running => {
            writeln!(
                output.out,
                "{name}  {faint}still running here; left alone{faint:#}"
            )?;
        }
        AgedOutcome::WouldRemove => {
            writeln!(output.out, "{name}  {age}; {count} to remove")?;
            for object in &run.found {
                writeln!(output.out, "  would remove  {object}")?;
            }
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
