//! The command `sweep`.

use std::{collections::BTreeSet, io, path::PathBuf, sync::Arc};

use clap::Args;

use super::{
    cluster_env::ClusterArgs,
    output::{OK, Output, USAGE, style},
    sweep_aged::{self, AgedSweepArgs},
};
use crate::{
    environment::{self, KeptCluster, KeptClusters, Told},
    localstack::{self, Container},
    provision::{
        self, Object, scratch_removed,
        sweep::{Outcome, Sweeping, Swept, sweep_as},
    },
    report::ExitCode,
};

/// Remove what killed runs left behind
///
/// Reads the ledgers of the runs in the reports folder, and removes the LocalStack containers whose `endpoint` or run was
/// killed, the folders of such an `endpoint`, and clusters whose `up` was. A run that is still going is left alone; one that was
/// killed is finished: its mounts are unmounted, its folders, its cluster and its containers removed. Nothing is touched that
/// does not carry the mark of a run. What a run made in an account of AWS's is removed there, with the credentials that any AWS
/// tool would find, if they are of that account. Exit code 7 when something is still there, 3 when an account could not be asked.
///
/// With `--env eks` no ledger is needed: everything in the account that carries a run's tag, and in the Kubernetes of the region's
/// clusters a run's label, goes where all of that run's is old enough and its process is not here. With `--env cluster` it is one
/// cluster of a kubeconfig. What a run had displaced (`--replace-driver`) is put back. A cluster that does not let these credentials
/// in is said and passed over.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  mountproof sweep --dry-run      what would be removed
  mountproof sweep                remove it
  mountproof sweep --run 7f3k     of one run only
  mountproof sweep --env eks --older-than 6h --region eu-west-1 --allow-account 111122223333
                                  whatever runs left in an account and in its clusters
  mountproof sweep --env cluster --context test --older-than 6h --allow-context test
                                  whatever runs left in a cluster")]
pub struct SweepArgs {
    /// Where runs put their reports and ledgers
    #[arg(long, value_name = "DIR", default_value = "reports")]
    pub reports: PathBuf,

    /// Only this run
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,

    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub dry_run: bool,

    #[command(flatten)]
    pub(super) aged: AgedSweepArgs,

    /// The cluster of --env cluster.
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
}

/// Sweeps and prints what was done. Answers with the exit code.
pub async fn run(args: &SweepArgs, output: &mut Output<'_>) -> io::Result<u8> {
    if let Some(env) = args.aged.env {
        return sweep_aged::run(args, env, output).await;
    }
    let (code, of_runs) = runs(args, output).await?;
    // Of one run only: they belong to none, or to a run of other reports.
    let mut orphans = match args.run {
        Some(_) => Vec::new(),
        // Where there is no Docker there are none.
        None => localstack::orphans().await.unwrap_or_default(),
    };
    orphans.retain(|orphan| !of_runs.contains(&Object::Container(orphan.name.clone())));
    let stays = containers(&orphans, localstack::remove, args.dry_run, output).await?;
    let stays = abandoned(args, output).await? || stays;
    // Of one run only: they belong to none.
    let folders = match args.run {
        Some(_) => Vec::new(),
        None => provision::abandoned(&std::env::temp_dir()),
    };
    let stays = cleared(&folders, args.dry_run, output)? || stays;
    Ok(if stays && code == OK {
        ExitCode::InvalidRun.code()
    } else {
        code
    })
}

/// Removes these containers; whether one stays.
async fn containers(
    orphans: &[Container],
    remove: impl AsyncFn(&str) -> Result<(), String>,
    dry: bool,
    output: &mut Output<'_>,
) -> io::Result<bool> {
    let mut stays = false;
    for container in orphans {
        let (id, bad) = (container.id.get(..12).unwrap_or(&container.id), style::ERROR);
        if dry {
            writeln!(output.out, "would remove  LocalStack container {id}")?;
            continue;
        }
        match remove(&container.id).await {
            Ok(()) => writeln!(output.out, "removed  LocalStack container {id}")?,
            Err(because) => {
                stays = true;
                writeln!(
                    output.out,
                    "{bad}left{bad:#}  LocalStack container {id}: {because}"
                )?;
            }
        }
    }
    Ok(stays)
}

/// Removes folders of endpoints that were killed; whether one stays.
fn cleared(folders: &[PathBuf], dry: bool, output: &mut Output<'_>) -> io::Result<bool> {
    let (mut stays, bad) = (false, style::ERROR);
    for folder in folders {
        let path = folder.display();
        if dry {
            writeln!(output.out, "would remove  folder {path} of an endpoint")?;
            continue;
        }
        match scratch_removed(folder) {
            Ok(()) => writeln!(output.out, "removed  folder {path} of an endpoint")?,
            Err(because) => {
                stays = true;
                writeln!(
                    output.out,
                    "{bad}left{bad:#}  folder {path} of an endpoint: {because}"
                )?;
            }
        }
    }
    Ok(stays)
}

/// Deletes clusters whose making by `up` was cut off; whether one stays.
async fn abandoned(args: &SweepArgs, output: &mut Output<'_>) -> io::Result<bool> {
    let mut stays = false;
    let clusters = KeptClusters::of_this_user().all();
    // Of one run only: they belong to none.
    let abandoned = clusters
        .iter()
        .filter(|cluster| args.run.is_none() && cluster.is_abandoned());
    for KeptCluster { name, .. } in abandoned {
        if args.dry_run {
            writeln!(
                output.out,
                "would remove  kind cluster {name}, which was never finished"
            )?;
            continue;
        }
        let program = std::env::var_os("MOUNTPROOF_KIND").map(PathBuf::from);
        let told: Told = Arc::new(|_| ());
        match environment::down(name, program.as_deref(), &told).await {
            Ok(_) => writeln!(
                output.out,
                "removed  kind cluster {name}, which was never finished"
            )?,
            Err(because) => {
                let bad = style::ERROR;
                stays = true;
                writeln!(output.out, "{bad}left{bad:#}  kind cluster {name}: {because}")?;
            }
        }
    }
    Ok(stays)
}

/// Sweeps what runs left behind. The exit code, and what was removed, or would have been.
async fn runs(args: &SweepArgs, output: &mut Output<'_>) -> io::Result<(u8, BTreeSet<Object>)> {
    let none = BTreeSet::new();
    let how = Sweeping {
        only: args.run.as_deref(),
        dry: args.dry_run,
        profile: args.aged.profile.as_deref(),
        went: &sweep_aged::tell,
    };
    let swept = match sweep_as(&args.reports, how).await {
        Ok(swept) => swept,
        Err(error) => {
            let (bad, plain) = (style::ERROR, style::ERROR.render_reset());
            writeln!(
                output.err,
                "{bad}error{plain}: cannot read {}: {error}; name the reports folder by --reports",
                args.reports.display()
            )?;
            return Ok((USAGE, none));
        }
    };
    if swept.is_empty() {
        if let Some(run) = &args.run {
            let (bad, plain) = (style::ERROR, style::ERROR.render_reset());
            writeln!(
                output.err,
                "{bad}error{plain}: no ledger of run `{run}` in {}; `mountproof sweep --dry-run` shows every run",
                args.reports.display()
            )?;
            return Ok((USAGE, none));
        }
        writeln!(output.out, "no run in {}", args.reports.display())?;
        return Ok((OK, none));
    }
    for swept in &swept {
        print(swept, args.dry_run, output)?;
    }
    let removed = swept.iter().filter_map(|swept| match &swept.outcome {
        Outcome::Finishing { removed, .. } => Some(removed.iter().cloned()),
        _ => None,
    });
    let removed = removed.flatten().collect();
    let left = swept.iter().filter(|swept| swept.leaves_something()).count();
    if left > 0 {
        writeln!(
            output.out,
            "\nsomething is still there of {left} of {} runs",
            swept.len()
        )?;
        // Credentials that are missing, or another account's, are nobody's leftovers.
        let is_refused = |swept: &&Swept| matches!(swept.outcome, Outcome::Refused(_));
        let refused = swept.iter().filter(is_refused).count();
        let code = if refused == left {
            ExitCode::EnvironmentUnavailable
        } else {
            ExitCode::InvalidRun
        };
        return Ok((code.code(), removed));
    }
    Ok((OK, removed))
}

fn print(swept: &Swept, dry: bool, output: &mut Output<'_>) -> io::Result<()> {
    let (strong, faint, bad) = (style::STRONG, style::FAINT, style::ERROR);
    let name = format!("{strong}{}{strong:#}", swept.run_id);
    match &swept.outcome {
        Outcome::Finished => writeln!(output.out, "{name}  {faint}left nothing{faint:#}"),
        Outcome::Kept(objects) => {
            let objects: Vec<String> = objects.iter().map(ToString::to_string).collect();
            writeln!(
                output.out,
                "{name}  {faint}left nothing but what is kept: {} (`mountproof down` deletes it){faint:#}",
                objects.join(", ")
            )
        }
        Outcome::Running => writeln!(output.out, "{name}  {faint}still running; left alone{faint:#}"),
        Outcome::Refused(why) => writeln!(output.out, "{name}  {bad}not touched{bad:#}  {why}"),
        Outcome::Unreadable(why) => writeln!(output.out, "{name}  {bad}unreadable{bad:#}  {why}"),
        Outcome::Finishing {
            removed,
            gone_with_process,
            left,
        } => {
            writeln!(
                output.out,
                "{name}  {}",
                summary(removed, *gone_with_process, left.len(), dry)
            )?;
            for object in removed {
                let done = if dry { "would remove" } else { "removed" };
                writeln!(output.out, "  {done}  {object}")?;
            }
            for left in left {
                writeln!(
                    output.out,
                    "  {bad}left{bad:#}  {}: {}",
                    left.object, left.because
                )?;
            }
            Ok(())
        }
    }
}

fn summary(removed: &[Object], gone_with_process: usize, left: usize, dry: bool) -> String {
    let removed = match (removed.len(), dry) {
        (0, _) => "killed; nothing on the machine".to_owned(),
        (count, true) => format!("killed; {count} to remove"),
        (count, false) => format!("killed; {count} removed"),
    };
    let left = if left > 0 {
        format!(", {left} left")
    } else {
        String::new()
    };
    format!("{removed}{left}; {gone_with_process} went with its process")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::{fs, path::Path};

    use futures::FutureExt as _;

    use super::*;
    use crate::provision::{Ledger, MARKER};

    fn swept(reports: &Path, run: Option<&str>, dry_run: bool) -> (u8, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = SweepArgs {
            reports: reports.to_owned(),
            run: run.map(str::to_owned),
            dry_run,
            aged: AgedSweepArgs::default(),
            cluster: ClusterArgs::default(),
        };
        // Containers of this machine are none of the test's.
        let code = runs(
            &args,
            &mut Output {
                out: &mut out,
                err: &mut err,
            },
        )
        .now_or_never()
        .unwrap();
        out.extend(err);
        let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        (
            code.unwrap().0,
            text.replace(&reports.display().to_string(), "REPORTS"),
        )
    }

    #[test]
    fn containers_of_killed_endpoints_go_and_those_that_stay_are_said() {
        let swept = |dry| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut output = Output {
                out: &mut out,
                err: &mut err,
            };
            let removed = std::cell::RefCell::new(Vec::new());
            let remove = async |container: &str| {
                removed.borrow_mut().push(container.to_owned());
                if container.starts_with('b') {
                    Err("no".to_owned())
                } else {
                    Ok(())
                }
            };
            let orphans = ["a", "b"].map(|digit| Container {
                id: digit.repeat(64),
                name: digit.to_owned(),
            });
            let stays = containers(&orphans, remove, dry, &mut output)
                .now_or_never()
                .unwrap()
                .unwrap();
            let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
            (stays, removed.into_inner().len(), text)
        };
        let would = "would remove  LocalStack container aaaaaaaaaaaa\n\
                     would remove  LocalStack container bbbbbbbbbbbb\n";
        assert_eq!(swept(true), (false, 0, would.to_owned()));
        let did = "removed  LocalStack container aaaaaaaaaaaa\n\
                   left  LocalStack container bbbbbbbbbbbb: no\n";
        assert_eq!(swept(false), (true, 2, did.to_owned()));
    }

    #[test]
    fn a_killed_run_is_finished_and_said() {
        let root = tempfile::tempdir().unwrap();
        let reports = root.path().join("reports");
        assert_eq!(
            swept(&reports, None, false),
            (OK, "no run in REPORTS\n".to_owned())
        );
        let (code, text) = swept(&reports, Some("r1"), false);
        assert_eq!(code, USAGE);
        assert!(text.contains("no ledger of run `r1`"), "{text}");

        fs::create_dir_all(reports.join("r1")).unwrap();
        let ledger = reports.join("r1/ledger.jsonl");
        let scratch = reports.join("scratch");
        fs::create_dir(&scratch).unwrap();
        Ledger::create(&ledger, "r1")
            .unwrap()
            .plan(&[Object::Scratch(scratch.clone()), Object::Role("r".into())])
            .unwrap();
        let (code, text) = swept(&reports, None, false);
        assert_eq!((code, text.as_str()), (OK, "r1  still running; left alone\n"));

        let of_a_dead_process =
            fs::read_to_string(&ledger)
                .unwrap()
                .replacen("\"started\":", "\"started\":9", 1);
        fs::write(&ledger, of_a_dead_process).unwrap();
        let (code, text) = swept(&reports, None, false);
        assert_eq!(code, 7);
        assert_eq!(
            text,
            "r1  killed; nothing on the machine, 1 left; 1 went with its process\n  \
             left  folder REPORTS/scratch: REPORTS/scratch: does not carry the marker of a run; left alone\n\n\
             something is still there of 1 of 1 runs\n"
        );

        fs::write(scratch.join(MARKER), "").unwrap();
        let (code, text) = swept(&reports, None, true);
        assert_eq!(code, OK);
        assert!(text.contains("would remove  folder REPORTS/scratch"), "{text}");
        let (code, text) = swept(&reports, Some("r1"), false);
        assert_eq!(code, OK);
        assert!(text.contains("  removed  folder REPORTS/scratch"), "{text}");
        assert_eq!(
            swept(&reports, None, false),
            (OK, "r1  left nothing\n".to_owned())
        );
    }
}
