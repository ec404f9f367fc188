//! The life of a run: folder, journal, ledger, environment, tenants, cases, teardown, reports.
//!
//! Whatever happens in the middle (an error, a panic, a signal, the deadline) the second half takes
//! place: teardown, the leftover check, the end of the journal, the reports.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    dispatch::{Dispatch, dispatch},
    machine, micros,
    options::RunOptions,
    probe,
    signals::{self, Ending},
    world::{Values, World, plain_request, tenant_ready},
};
use crate::{
    environment::{self, Environment},
    journal::{
        CaseFinished, EventKind, Interrupted, Journal, RunFinished, RunStarted, SCHEMA_VERSION, Sink,
        TeardownFinished, Verdict, WarningRaised, WriteError,
    },
    provision::{Ledger, LedgerError, Object, Provisioner, Teardown, scratch_removed},
    redact::Redactor,
    report::{self, ExitCode, Format, RunSummary},
    scenario::Case,
    tenant::{ClusterName, Marks, NameError},
};

/// Tenants made at a time.
const PARALLEL_TENANTS: usize = 16;
/// Longest wait for the journal's writer.
const JOURNAL: Duration = Duration::from_secs(30);
/// Longest wait for the parts of an environment to end.
const STOP: Duration = Duration::from_secs(15);

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
    #[error("cannot {0}")]
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

/// What the second signal calls, with what is still on record; it should end the process.
pub type AtOnce = Box<dyn Fn(&str, Vec<String>) + Send + Sync>;

/// Runs from beginning to end.
///
/// # Errors
///
/// When nothing could be begun. Everything later is in the journal.
pub async fn run(
    options: RunOptions,
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
    let folder = options.out.join(&run_id);
    std::fs::create_dir_all(&folder).map_err(|source| StartError::Folder {
        path: folder.clone(),
        source,
    })?;
    let ledger = Arc::new(Ledger::create(&folder.join("ledger.jsonl"), &run_id)?);
    let redactor = Redactor::default();
    let journal = Journal::create(&folder.join("journal.jsonl"), redactor.clone(), sinks(&folder))?;
    let endings = signals::listen().map_err(StartError::Signals)?;

    let cases = plan(&options, seed);
    journal.record(EventKind::RunStarted(RunStarted {
        schema: SCHEMA_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: run_id.clone(),
        seed,
        environment: "embedded".to_owned(),
        command: options.command.clone(),
        machine: machine::this(),
        tenants: options.tenants.clone(),
        cases: cases.iter().map(|case| case.plan.clone()).collect(),
    }));
    let life = Life {
        scratch: environment::scratch_folder(&run_id),
        marks: Marks::of_run(&run_id),
        values: Arc::new(Values::new(redactor, seed)),
        environment: Mutex::default(),
        world_up: AtomicBool::new(false),
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
    life.supervise(work, &cancelled).await;
    life.skip_untried(&cases).await;
    life.tear_down(began).await;
    let end = life.finish(began, &folder, &run_id).await;
    watching.abort();
    Ok(end)
}

/// The cases of a run, in the order in which they are tried.
#[must_use]
pub fn plan(options: &RunOptions, seed: u64) -> Vec<Arc<Case>> {
    let mut cases = options.cases.clone();
    for case in &mut cases {
        super::overrides::apply(case, &options.load, options.embedded.clock);
    }
    if options.shuffle {
        cases.shuffle(&mut StdRng::seed_from_u64(seed));
    }
    cases.into_iter().map(Arc::new).collect()
}

/// A run under way: what both halves of it need.
struct Life {
    options: Arc<RunOptions>,
    seed: u64,
    cluster: ClusterName,
    marks: Marks,
    scratch: PathBuf,
    values: Arc<Values>,
    ledger: Arc<Ledger>,
    journal: Journal,
    /// Set as soon as it stands, so that a panic later cannot take it along.
    environment: Mutex<Option<Arc<Environment>>>,
    world_up: AtomicBool,
}

impl Life {
    /// The first half: environment, tenants, cases.
    async fn work(
        self: Arc<Self>,
        cases: Vec<Arc<Case>>,
        cancelled: CancellationToken,
    ) -> Result<(), String> {
        // Whatever is to be done must be on record first, the folder of sockets and mounts too.
        self.ledger
            .plan(&[Object::Scratch(self.scratch.clone())])
            .map_err(|error| format!("cannot {error}"))?;
        let mut environment = environment::start_embedded(
            &self.options.embedded,
            &self.scratch,
            &self.options.region,
            self.seed,
            &self.marks,
            &self.ledger,
        )
        .await
        .map_err(|error| error.to_string())?;
        let began = Instant::now();
        environment.ready.capabilities = probe::capabilities(&environment).await;
        environment.ready.took_us += micros(began.elapsed());
        self.journal
            .record(EventKind::EnvironmentReady(environment.ready.clone()));
        let environment = Arc::new(environment);
        *self.environment.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&environment));

        let provisioner = Provisioner::new(
            Arc::clone(&environment),
            Arc::clone(&self.ledger),
            self.cluster.clone(),
            self.marks.clone(),
        );
        let requests = self
            .options
            .tenants
            .iter()
            .map(|name| plain_request(&self.values, name))
            .collect();
        let ready = |tenant: &crate::provision::Tenant| self.journal.record(tenant_ready(tenant, None));
        let provide = async {
            provisioner.provide_cluster().await?;
            provisioner.provide(requests, PARALLEL_TENANTS, &ready).await
        };
        let shared = tokio::select! {
            () = cancelled.cancelled() => return Ok(()),
            shared = provide => shared.map_err(|error| format!("cannot provision the tenants: {error}"))?,
        };
        self.world_up.store(true, Ordering::Relaxed);
        let world = Arc::new(World {
            environment,
            provisioner,
            journal: self.journal.clone(),
            options: Arc::clone(&self.options),
            marks: self.marks.clone(),
            seed: self.seed,
            scratch: self.scratch.clone(),
            shared,
            values: Arc::clone(&self.values),
        });
        let how = Dispatch {
            jobs: self.options.jobs,
            retries: self.options.retries,
            fail_fast: self.options.fail_fast,
        };
        dispatch(&world, cases, how, &cancelled).await;
        Ok(())
    }

    /// Waits for the first half, however it ends.
    async fn supervise(&self, mut work: JoinHandle<Result<(), String>>, cancelled: &CancellationToken) {
        let ended = if let Ok(ended) = tokio::time::timeout(self.options.deadline, &mut work).await {
            ended
        } else {
            self.journal.record(EventKind::Interrupted(Interrupted {
                signal: "deadline".to_owned(),
            }));
            cancelled.cancel();
            work.await
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(because)) => self.warn(because),
            Err(panic) => self.warn(format!("mountproof itself failed: {panic}; please report this")),
        }
    }

    /// Gives every case that was planned and never tried its end, so that none is missing in a report.
    async fn skip_untried(&self, cases: &[Arc<Case>]) {
        let Some(summary) = self.summary().await else {
            return;
        };
        let environment = self.environment().is_some();
        for case in cases {
            let ended = summary.cases.iter().any(|known| {
                known.plan.case == case.plan.case
                    && (known.verdict != Verdict::Skipped || !known.summary.is_empty())
            });
            if ended {
                continue;
            }
            let (verdict, text) = if environment && summary.interrupted.is_some() {
                (Verdict::Skipped, "not tried: the run was interrupted")
            } else {
                (Verdict::Errored, "not tried: the environment was not ready")
            };
            let failure = (verdict == Verdict::Errored).then(|| crate::verdict::failure(text));
            self.journal.record(EventKind::CaseFinished(CaseFinished {
                case: case.plan.case.clone(),
                attempt: 0,
                verdict,
                summary: text.to_owned(),
                failure,
                will_retry: false,
                took_us: 0,
            }));
        }
    }

    /// The second half: everything that was made goes, and what does not is named.
    async fn tear_down(&self, _began: Instant) {
        let began = Instant::now();
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut report = Teardown::default();
        if let Some(environment) = environment {
            report = Teardown::run(&environment, &self.ledger, &self.marks, &self.cluster).await;
            if tokio::time::timeout(STOP, environment.stop()).await.is_err() {
                self.warn(format!("the environment did not end within {STOP:?}"));
            }
        }
        let scratch = Object::Scratch(self.scratch.clone());
        if self.ledger.standing().contains(&scratch) {
            let folder = self.scratch.clone();
            let removed = tokio::task::spawn_blocking(move || scratch_removed(&folder)).await;
            match removed
                .map_err(|error| error.to_string())
                .and_then(|removed| removed.map_err(|error| error.to_string()))
            {
                Ok(()) => {
                    self.ledger.removed(&scratch);
                    report.removed += 1;
                }
                Err(because) => {
                    report.left.push(crate::journal::LeftoverFound {
                        object: scratch.to_string(),
                        because,
                    });
                }
            }
        }
        // An environment that never stood took what was planned in it along.
        for object in self.ledger.standing() {
            if !report.left.iter().any(|left| left.object == object.to_string()) {
                self.ledger.removed(&object);
            }
        }
        for left in &report.left {
            self.journal.record(EventKind::LeftoverFound(left.clone()));
        }
        self.journal.record(EventKind::TeardownFinished(TeardownFinished {
            removed: report.removed,
            left: u32::try_from(report.left.len()).unwrap_or(u32::MAX),
            took_us: micros(began.elapsed()),
        }));
        if let Err(error) = self.ledger.close() {
            self.warn(format!("cannot {error}"));
        }
    }

    /// The verdict, the end of the journal, the reports.
    async fn finish(&self, began: Instant, folder: &Path, run_id: &str) -> RunEnd {
        let exit = match self.flushed().await {
            Some((summary, true)) => report::outcome(&summary),
            _ => ExitCode::InvalidRun,
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

    fn environment(&self) -> Option<Arc<Environment>> {
        self.environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn summary(&self) -> Option<RunSummary> {
        self.flushed().await.map(|(summary, _)| summary)
    }

    /// What the journal tells so far, and whether all of it is on disk.
    async fn flushed(&self) -> Option<(RunSummary, bool)> {
        let journal = self.journal.clone();
        let flushed = tokio::task::spawn_blocking(move || journal.flush(JOURNAL))
            .await
            .ok()?
            .ok()?;
        Some((RunSummary::of(&flushed.events)?, flushed.write_error.is_none()))
    }

    fn warn(&self, text: impl Into<String>) {
        self.journal
            .record(EventKind::WarningRaised(WarningRaised { text: text.into() }));
    }
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

/// Six letters and digits that read well aloud: no vowels, so no words, and none that look alike.
fn draw_id() -> String {
    const LETTERS: &[u8] = b"23456789bcdfghjkmnpqrstvwxz";
    let mut random = rand::rng();
    (0..6)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect()
}
