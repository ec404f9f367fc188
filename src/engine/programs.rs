//! Driver and provider as processes: their end, and what they wrote.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    time::Duration,
};

use crate::{
    environment::{Environment, Restarts},
    journal::Failure,
    redact::Redactor,
};

/// How often it is asked whether the programs are still there.
const GLANCE: Duration = Duration::from_millis(200);

/// Says which program is gone and how it ended, if one is.
pub(super) fn gone(environment: &Environment) -> Option<String> {
    let gone = environment.processes().into_iter().find_map(|process| {
        let ended = process.ended?;
        Some(format!("the {} ended by itself: {ended}", process.name))
    });
    gone.map(|gone| format!("{gone}; its log is in the run's folder"))
}

/// Waits until a program is gone, for as long as its caller likes; what [`gone`] says then.
pub(super) async fn ended(environment: &Environment) -> String {
    loop {
        if let Some(gone) = gone(environment) {
            return gone;
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// How often driver and provider were restarted by now.
pub(super) async fn restarts(environment: &Environment) -> Restarts {
    match &environment.programs {
        Some(programs) => programs.restarts(&environment.kubernetes).await,
        None => Restarts::new(),
    }
}

/// Says which of them was restarted since, if one was.
pub(super) async fn restarted_since(environment: &Environment, before: &Restarts) -> Option<String> {
    newly_restarted(before, &restarts(environment).await)
}

fn newly_restarted(before: &Restarts, now: &Restarts) -> Option<String> {
    now.iter().find_map(|(what, (count, why))| {
        let (had, _) = before.get(what)?;
        (count > had).then(|| format!("{what} was restarted meanwhile ({why})"))
    })
}

/// Starts programs anew that ended by themselves, for teardown: nobody else unmounts what they mounted. Warnings of it.
pub(super) async fn revived(environment: &Environment) -> Vec<String> {
    let Some(programs) = &environment.programs else {
        return Vec::new();
    };
    match programs.revived().await {
        Ok(names) => names
            .iter()
            .map(|name| format!("the {name} is started anew, to take down what it mounted"))
            .collect(),
        Err(because) => vec![format!(
            "a program could not be started anew for teardown: {because}"
        )],
    }
}

/// The failure as what it is: a consequence.
pub(super) fn because(gone: &str, mut failure: Failure) -> Failure {
    failure.headline = format!("{gone}; then: {}", failure.headline);
    failure
}

/// Writes what stands in the folder `logs`, and in the folders in it, into `folder`, without secrets, of an environment
/// that never stood too; says which could not be kept, and why. No program, no log: nothing is said then.
pub(super) fn keep_logs(logs: &Path, folder: &Path, redactor: &Redactor) -> Vec<String> {
    let Ok(entries) = fs::read_dir(logs) else {
        return Vec::new();
    };
    let mut lost = Vec::new();
    for log in entries.flatten().map(|entry| entry.path()) {
        let Some(name) = log.file_name() else { continue };
        let clean = folder.join(name);
        if log.is_dir() {
            lost.extend(keep_logs(&log, &clean, redactor));
        } else if let Err(error) = keep(&log, &clean, redactor) {
            lost.push(format!("{} could not be kept: {error}", name.display()));
        }
    }
    lost
}

fn keep(log: &Path, clean: &Path, redactor: &Redactor) -> io::Result<()> {
    if let Some(folder) = clean.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut lines = BufReader::new(fs::File::open(log)?);
    let mut clean = io::BufWriter::new(fs::File::create(clean)?);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        clean.write_all(redactor.redact(&String::from_utf8_lossy(&line)).as_bytes())?;
        line.clear();
    }
    clean.flush()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_restart_is_one_that_was_not_counted_before() {
        let counted = |counts: &[(&str, u64)]| -> Restarts {
            let one = |&(what, count): &(&str, u64)| (what.to_owned(), (count, "OOMKilled".to_owned()));
            counts.iter().map(one).collect()
        };
        let before = counted(&[("driver", 1), ("provider", 0)]);
        for (now, restarted) in [
            (counted(&[("driver", 1), ("provider", 0)]), None),
            (
                counted(&[("driver", 1), ("provider", 1)]),
                Some("provider was restarted meanwhile (OOMKilled)"),
            ),
            // One that came in the meantime has counted none of this.
            (counted(&[("other", 3)]), None),
            (Restarts::new(), None),
        ] {
            assert_eq!(newly_restarted(&before, &now).as_deref(), restarted);
        }
    }

    #[test]
    fn every_log_that_can_be_kept_is_kept_and_the_others_are_named() {
        let (logs, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink("nowhere", logs.path().join("broken.log")).unwrap();
        fs::create_dir(logs.path().join("node")).unwrap();
        fs::write(logs.path().join("node/kubelet.log"), "syncs hush-hush\n").unwrap();
        fs::write(logs.path().join("driver.log"), b"mounts \xff\nwith hush-hush").unwrap();
        fs::write(logs.path().join("provider.log"), "fetches\n").unwrap();
        let redactor = Redactor::default();
        redactor.protect(b"hush-hush");
        let lost = keep_logs(logs.path(), folder.path(), &redactor);
        assert!(
            matches!(&lost[..], [broken] if broken.starts_with("broken.log could not be kept")),
            "{lost:?}"
        );
        let kept = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(
            kept("driver.log").starts_with("mounts \u{fffd}\nwith ") && !kept("driver.log").contains("hush")
        );
        assert_eq!(kept("provider.log"), "fetches\n");
        assert!(kept("node/kubelet.log").starts_with("syncs ") && !kept("node/kubelet.log").contains("hush"));
        assert!(keep_logs(&logs.path().join("none"), folder.path(), &redactor).is_empty());
    }
}
