//! Driver and provider as processes: their end, and what they wrote.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    time::Duration,
};

use crate::{
    environment::{Environment, NodeProcess},
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

/// Writes what each program wrote into the run's folder, without secrets; names the files.
///
/// # Errors
///
/// When one cannot be read or written; those before it are there.
pub(super) fn keep_logs(
    processes: &[NodeProcess],
    folder: &Path,
    redactor: &Redactor,
) -> io::Result<Vec<String>> {
    let mut kept = Vec::new();
    for process in processes {
        let name = format!("{}.log", process.name);
        let mut lines = BufReader::new(fs::File::open(&process.log)?);
        let mut clean = io::BufWriter::new(fs::File::create(folder.join(&name))?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            clean.write_all(redactor.redact(&String::from_utf8_lossy(&line)).as_bytes())?;
            line.clear();
        }
        clean.flush()?;
        kept.push(name);
    }
    Ok(kept)
}
