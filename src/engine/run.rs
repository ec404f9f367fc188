//! The life of a run: folder, journal, ledger, environment, tenants, cases, teardown, reports.
//!
//! Whatever happens in the middle (an error, a panic, a signal, the deadline) the second half takes
//! place: teardown, the leftover check, the end of the journal, the reports.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    folder::{RunFolder, draw_id},
    machine, micros,
    options::RunOptions,
    signals::{self, Ending},
    upgrade,
    world::Values,
};
use crate::{
    environment::{self, Environment, Told},
    journal::{
        CaseFinished, Closed, EventKind, Interrupted, Journal, RunFinished, RunStarted, SCHEMA_VERSION, Sink,
        Verdict, WarningRaised, WriteError,
    },
    provision::{Ledger, LedgerError, Object},
    redact::Redactor,
    report::{self, ExitCode, Format, RunSummary},
    scenario::Case,
    tenant::{ClusterName, Marks, NameError},
};

/// Longest wait for the journal's writer.
const JOURNAL: Duration = Duration::from_secs(30);
/// Longest wait for what is under way when the run is asked to end: clean-up of cases has a minute.
const WIND_UP: Duration = Duration::from_secs(90);

/// A run that could not begin. Nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The run's folder.
    #[error("cannot make the run's folder `{}`: {source}; give another folder with --out", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] WriteError),
    /// The ledger.
    #[error("cannot {0}: make room there, or give another folder with --out")]
    Ledger(#[from] LedgerError),
    /// A name that neither world would take.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Signals cannot be handled, and so no teardown could be promised.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
}

impl StartError {
    /// The exit code that it deserves.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Name(_) => ExitCode::Usage,
            _ => ExitCode::EnvironmentUnavailable,
        }
    }
}

/// A run that came to its end.
#[derive(Debug)]
pub struct RunEnd {
    /// What the process should say.
    pub exit: ExitCode,
    /// The run's folder.
    pub folder: PathBuf,
    /// What the journal tells; none where even that was lost.
    pub summary: Option<RunSummary>,
    /// Names of the files written into the folder.
    pub files: Vec<String>,
    /// Reports that could not be written, in words.
    pub trouble: Vec<String>,
}

/// How the first half came to its end.
type Ended = Result<Result<(), String>, JoinError>;

/// What the second signal calls, with what is still on record; it should end the process.
pub type AtOnce = Box<dyn Fn(&str, Vec<String>) + Send + Sync>;

/// Runs from beginning to end. `redactor` learns every secret value before it is used anywhere.
///
/// # Errors
///
/// When nothing could be begun: nothing was made then, and nothing is left. Everything later is in the
/// journal.
pub async fn run(
    options: RunOptions,
    redactor: Redactor,
    sinks: impl FnOnce(&Path) -> Vec<Box<dyn Sink>>,
    at_once: AtOnce,
) -> Result<RunEnd, StartError> {
    let began = Instant::now();
    let options = Arc::new(options);
    let run_id = draw_id();
    let seed = options
        .seed
        .unwrap_or_else(|| rand::rng().random_range(0..1_000_000));
    let cluster = match &options.cluster {
        Some(name) => ClusterName::new(name)?,
        None => ClusterName::of_run(&run_id)?,
    };
    let folder = RunFolder::make(&options.out, &run_id)?;
    let ledger = folder.path.join("ledger.jsonl");
    let reach = options.environment.reach(&run_id, &options.region);
    let ledger = Arc::new(Ledger::create_reaching(&ledger, &run_id, reach)?);
    if let Some(end) = options.end {
        end.arm(&ledger);
    }
    let journal = Journal::create(
        &folder.path.join("journal.jsonl"),
        redactor.clone(),
        sinks(&folder.path),
    )?;
    let endings = signals::listen().map_err(StartError::Signals)?;

    let cases = plan(&options, seed);
    journal.record(EventKind::RunStarted(RunStarted {
        schema: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: run_id.clone(),
        seed,
        environment: options.environment.name().to_owned(),
        command: options.command.clone(),
        machine: machine::this(),
        tenants: options.tenants.clone(),
        cases: cases.iter().map(|case| case.plan.clone()).collect(),
    }));
    // A disk that is full already is known before anything is made.
    if let Some(error) = flushed(&journal).await?.write_error {
        return Err(error.into());
    }
    let folder = folder.keep();
    let life = Life {
        scratch: environment::scratch_folder(&run_id, &options.environment),
        marks: Marks::of_run(&run_id),
        values: Arc::new(Values::new(redactor.clone(), seed)),
        redactor,
        folder: folder.clone(),
        environment: Mutex::default(),
        options,
        seed,
        cluster,
        ledger: Arc::clone(&ledger),
        journal: journal.clone(),
    };
    let life = Arc::new(life);
    let cancelled = CancellationToken::new();
    let watching = tokio::spawn(watch_signals(
        endings,
        journal.clone(),
        cancelled.clone(),
        Arc::clone(&ledger),
        at_once,
    ));

    // A task of its own, so that a panic in it is one more way of ending, and not the end.
    let work = tokio::spawn(Arc::clone(&life).work(cases.clone(), cancelled.clone()));
    let trouble = life.supervise(work, &cancelled).await;
    life.skip_untried(&cases, trouble.as_deref()).await;
    life.tear_down().await;
    let end = life.finish(began, &folder, &run_id).await;
    watching.abort();
    Ok(end)
}

/// The cases of a run, in the order in which they are tried.
#[must_use]
pub fn plan(options: &RunOptions, seed: u64) -> Vec<Arc<Case>> {
    let mut cases = options.cases.clone();
    if options.environment.upgrades() {
        cases = upgrade::in_phases(cases, &options.tenants);
    }
    for case in &mut cases {
        super::overrides::apply(
            case,
            &options.load,
            options.environment.clock(),
            options.environment.rotation(),
        );
    }
    if options.shuffle {
        cases.shuffle(&mut StdRng::seed_from_u64(seed));
    }
    cases.into_iter().map(Arc::new).collect()
}

/// A run under way: what both halves of it need.
pub(super) struct Life {
    pub(super) options: Arc<RunOptions>,
    pub(super) seed: u64,
    pub(super) cluster: ClusterName,
    pub(super) marks: Marks,
    pub(super) scratch: PathBuf,
    /// The run's own, with its reports.
    pub(super) folder: PathBuf,
    pub(super) redactor: Redactor,
    pub(super) values: Arc<Values>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) journal: Journal,
    /// Set as soon as it stands, so that a panic later cannot take it along.
    pub(super) environment: Mutex<Option<Arc<Environment>>>,
}

impl Life {
    /// Waits for the first half, however it ends; says why it did not come to its own end.
    async fn supervise(
        &self,
        mut work: JoinHandle<Result<(), String>>,
        cancelled: &CancellationToken,
    ) -> Option<String> {
        let ended = tokio::select! {
            ended = &mut work => ended,
            () = cancelled.cancelled() => self.wound_up(work).await,
            () = tokio::time::sleep(self.options.deadline) => {
                self.journal.record(EventKind::Interrupted(Interrupted {
                    signal: "deadline".to_owned(),
                }));
                cancelled.cancel();
                self.wound_up(work).await
            }
        };
        let trouble = match ended {
            Ok(Ok(())) => return None,
            Ok(Err(because)) => because,
            Err(end) if end.is_cancelled() => return None,
            Err(panic) => format!("mountproof itself failed: {panic}; please report this"),
        };
        self.warn(trouble.clone());
        Some(trouble)
    }

    /// What is under way when a run is asked to end has time to end in order, and then ends anyway:
    /// teardown waits behind it.
    async fn wound_up(&self, mut work: JoinHandle<Result<(), String>>) -> Ended {
        if let Ok(ended) = tokio::time::timeout(WIND_UP, &mut work).await {
            return ended;
        }
        work.abort();
        self.warn(format!(
            "what was under way did not end within {WIND_UP:?} and was cut off"
        ));
        work.await
    }

    /// Gives every case that was planned and never tried its end, so that none is missing in a report.
    async fn skip_untried(&self, cases: &[Arc<Case>], trouble: Option<&str>) {
        let Ok(Closed { events, .. }) = flushed(&self.journal).await else {
            return;
        };
        let tried: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| match &event.event {
                EventKind::CaseStarted(started) => Some(started.case.as_str()),
                EventKind::CaseFinished(finished) => Some(finished.case.as_str()),
                _ => None,
            })
            .collect();
        let interrupted = events
            .iter()
            .any(|event| matches!(event.event, EventKind::Interrupted(_)));
        for case in cases {
            if tried.contains(case.plan.case.as_str()) {
                continue;
            }
            let (verdict, text) = match trouble {
                None if interrupted => (Verdict::Skipped, "not tried: the run was interrupted".to_owned()),
                // What is behind it, such as a program's last words, is said once, as a warning of the run.
                Some(trouble) => {
                    let what = trouble.split("; ").next().unwrap_or(trouble);
                    (Verdict::Errored, format!("not tried: {what}"))
                }
                None => (Verdict::Errored, "not tried: the run ended before it".to_owned()),
            };
            let failure = (verdict == Verdict::Errored).then(|| crate::verdict::failure(text.clone()));
            self.journal.record(EventKind::CaseFinished(CaseFinished {
                case: case.plan.case.clone(),
                attempt: 0,
                verdict,
                summary: text,
                failure,
                known: None,
                will_retry: false,
                took_us: 0,
            }));
        }
    }

    /// The verdict, the end of the journal, the reports.
    async fn finish(&self, began: Instant, folder: &Path, run_id: &str) -> RunEnd {
        let exit = match flushed(&self.journal).await {
            Ok(Closed { events, write_error }) => {
                let exit =
                    RunSummary::of(&events).map_or(ExitCode::InvalidRun, |summary| report::outcome(&summary));
                if write_error.is_none() {
                    exit
                } else {
                    exit.with_trouble()
                }
            }
            Err(_) => ExitCode::InvalidRun,
        };
        self.journal.record(EventKind::RunFinished(RunFinished {
            exit_code: exit.code(),
            outcome: exit.to_string(),
            took_us: micros(began.elapsed()),
            peak_memory_bytes: machine::peak_memory(),
        }));
        let journal = self.journal.clone();
        let closed = tokio::task::spawn_blocking(move || journal.close(JOURNAL)).await;
        let mut trouble = Vec::new();
        let events = match closed {
            Ok(Ok(closed)) => {
                trouble.extend(closed.write_error.map(|error| error.to_string()));
                closed.events
            }
            Ok(Err(error)) => {
                trouble.push(error.to_string());
                Vec::new()
            }
            Err(error) => {
                trouble.push(error.to_string());
                Vec::new()
            }
        };
        let Some(summary) = RunSummary::of(&events) else {
            return RunEnd {
                exit: exit.with_trouble(),
                folder: folder.to_owned(),
                summary: None,
                files: Vec::new(),
                trouble,
            };
        };
        let files = report::render(&summary, &Format::ALL);
        let written = report::write_files(folder, files);
        trouble.extend(written.refused.iter().map(ToString::to_string));
        if let Err(error) = report::write::point_latest(&self.options.out, run_id) {
            trouble.push(error.to_string());
        }
        RunEnd {
            exit: if trouble.is_empty() {
                exit
            } else {
                exit.with_trouble()
            },
            folder: folder.to_owned(),
            summary: Some(summary),
            files: written.files,
            trouble,
        }
    }

    /// What hears of how standing up and taking down go on.
    pub(super) fn told(&self) -> Told {
        let journal = self.journal.clone();
        Arc::new(move |made| journal.record(EventKind::ProgressMade(made)))
    }

    pub(super) fn warn(&self, text: impl Into<String>) {
        self.journal.record(warning(text));
    }
}

/// What the journal tells so far, and whether all of it is on disk.
pub(super) async fn flushed(journal: &Journal) -> Result<Closed, WriteError> {
    let journal = journal.clone();
    tokio::task::spawn_blocking(move || journal.flush(JOURNAL))
        .await
        .unwrap_or(Err(WriteError::Stuck { within: JOURNAL }))
}

pub(super) fn warning(text: impl Into<String>) -> EventKind {
    EventKind::WarningRaised(WarningRaised { text: text.into() })
}

/// The first signal cancels, the second calls `at_once`.
async fn watch_signals(
    mut endings: tokio::sync::mpsc::Receiver<Ending>,
    journal: Journal,
    cancelled: CancellationToken,
    ledger: Arc<Ledger>,
    at_once: AtOnce,
) {
    while let Some(ending) = endings.recv().await {
        match ending {
            Ending::InOrder(signal) => {
                journal.record(EventKind::Interrupted(Interrupted {
                    signal: signal.to_owned(),
                }));
                cancelled.cancel();
            }
            Ending::AtOnce(signal) => {
                at_once(signal, ledger.standing().iter().map(Object::to_string).collect());
            }
        }
    }
}
