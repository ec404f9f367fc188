//! The life of a run: folder, journal, ledger, environment, tenants, cases, teardown, reports.
//!
//! Whatever happens in the middle (an error, a panic, a signal, the deadline) the second half takes
//! place: teardown, the leftover check, the end of the journal, the reports.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    dispatch::{Dispatch, dispatch},
    machine, micros,
    nodes::FollowedNodes,
    options::RunOptions,
    pod_identity, probe, programs,
    signals::{self, Ending},
    upgrade,
    world::{Standing, Values, World, plain_request, tenant_ready},
};
use crate::{
    environment::{self, Environment, EnvironmentOptions, Fault, Heard, Told},
    journal::{
        CaseFinished, Closed, EventKind, Interrupted, Journal, LeftoverFound, ProgressMade, RunFinished,
        RunStarted, SCHEMA_VERSION, Sink, TeardownFinished, Verdict, WarningRaised, WriteError,
    },
    provision::{
        ClusterReach, Going, Ledger, LedgerError, Object, Provisioner, Teardown, finish_account,
        scratch_removed, sweep::finish_cluster,
    },
    redact::Redactor,
    report::{self, ExitCode, Format, RunSummary},
    scenario::Case,
    tenant::{ClusterName, Marks, NameError},
};

/// Tenants made at a time.
const PARALLEL_TENANTS: usize = 16;
/// Longest wait for the journal's writer.
const JOURNAL: Duration = Duration::from_secs(30);
/// Longest wait for what is under way when the run is asked to end: clean-up of cases has a minute.
const WIND_UP: Duration = Duration::from_secs(90);
/// Longest wait for what is being made when the run is asked to end: a call has 30 s, and is tried again.
const LANDING: Duration = Duration::from_mins(1);
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
    seed: u64,
    cluster: ClusterName,
    pub(super) marks: Marks,
    pub(super) scratch: PathBuf,
    /// The run's own, with its reports.
    pub(super) folder: PathBuf,
    pub(super) redactor: Redactor,
    values: Arc<Values>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) journal: Journal,
    /// Set as soon as it stands, so that a panic later cannot take it along.
    environment: Mutex<Option<Arc<Environment>>>,
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
        let journal = self.journal.clone();
        let struck = move |fault: Fault| {
            journal.record(warning(format!(
                "the fault {fault} struck: {}",
                fault.trouble.what()
            )));
        };
        let starting = self.options.environment.start(
            &self.scratch,
            &self.options.region,
            self.seed,
            &self.marks,
            &self.ledger,
            Heard {
                struck: Arc::new(struck),
                told: self.told(),
            },
        );
        // Large, and begun once. What is half made when the run is asked to end is on record.
        let starting = Box::pin(starting);
        let started = tokio::select! {
            started = starting => started,
            () = cancelled.cancelled(), if self.options.environment.is_slow() => return Ok(()),
        };
        let environment = started.map_err(|error| error.to_string())?;
        let environment = Arc::new(environment);
        *self.environment.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&environment));
        let began = Instant::now();
        let capabilities = probe::capabilities(
            &environment,
            &environment.ready.components,
            &self.options.identities,
        )
        .await;
        let mut ready = environment.ready.clone();
        ready.capabilities.clone_from(&capabilities);
        ready.took_us += micros(began.elapsed());
        self.journal.record(EventKind::EnvironmentReady(ready));
        let _incidents = self.journal_incidents(&environment);
        let nodes = FollowedNodes::begin(&environment, &self.journal);

        let provisioner = Provisioner::new(
            Arc::clone(&environment),
            Arc::clone(&self.ledger),
            self.cluster.clone(),
            self.marks.clone(),
        );
        let identities = pod_identity::usable(&self.options.identities, &capabilities);
        // Without a way in there is no case to be tried.
        let tenants = if identities.is_empty() {
            &[]
        } else {
            &self.options.tenants[..]
        };
        let requests = tenants
            .iter()
            .map(|name| plain_request(&self.values, name, &identities))
            .collect();
        let ready = |tenant: &crate::provision::Tenant| self.journal.record(tenant_ready(tenant, None));
        let provide = async {
            provisioner.provide_cluster(&identities).await?;
            provisioner
                .provide(requests, PARALLEL_TENANTS, &ready, &cancelled)
                .await
        };
        let shared = provide
            .await
            .map_err(|error| format!("cannot provision the tenants: {error}"))?;
        if cancelled.is_cancelled() {
            return Ok(());
        }
        let standing = Standing {
            components: vec![environment.ready.components.clone()],
            capabilities,
        };
        let world = Arc::new(World {
            environment,
            standing: RwLock::new(standing),
            provisioner,
            journal: self.journal.clone(),
            options: Arc::clone(&self.options),
            marks: self.marks.clone(),
            seed: self.seed,
            scratch: self.scratch.clone(),
            shared: identities
                .iter()
                .map(|&identity| {
                    let through = shared.iter().filter_map(|tenant| tenant.through(identity));
                    (identity, through.collect())
                })
                .collect(),
            values: Arc::clone(&self.values),
            nodes,
        });
        let how = Dispatch {
            jobs: self.options.jobs,
            retries: self.options.retries,
            fail_fast: self.options.fail_fast,
        };
        if world.environment.upgrade.is_some() {
            return upgrade::run(&world, cases, how, &cancelled).await;
        }
        dispatch(&world, cases, how, &cancelled).await;
        Ok(())
    }

    /// Journals what befalls nodes, for as long as the answer lives.
    fn journal_incidents(&self, environment: &Environment) -> Option<AbortOnDropHandle<()>> {
        let mut incidents = environment.kubernetes.incidents()?;
        let journal = self.journal.clone();
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(incident) = incidents.recv().await {
                journal.record(EventKind::IncidentSeen(incident));
            }
        })))
    }

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

    /// The second half: everything that was made goes, and what does not is named.
    async fn tear_down(&self) {
        let began = Instant::now();
        let environment = self
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if !self.ledger.all_landed(LANDING).await {
            self.warn(format!(
                "what was being made is under way still after {LANDING:?}"
            ));
        }
        let mut report;
        let told = self.told();
        let went = |going: Going<'_>| {
            told(ProgressMade {
                stage: "teardown".to_owned(),
                text: going.to_string(),
                took_us: None,
            });
        };
        if let Some(environment) = environment {
            for text in programs::revived(&environment).await {
                self.warn(text);
            }
            if self.keeps_cluster().await {
                // As it is, with everything in it.
                report = Teardown::default();
            } else {
                report = Teardown::run(&environment, &self.ledger, &self.marks, &self.cluster, &went).await;
            }
            self.tell_what_was_held_back(&environment);
            if tokio::time::timeout(STOP, environment.stop()).await.is_err() {
                self.warn(format!("the environment did not end within {STOP:?}"));
            }
            // What is said to be left in a world that was in this process is gone by now.
            for text in report.gone_with_process(&self.ledger, &environment.reach, &environment.kubernetes_in)
            {
                self.warn(text);
            }
        } else {
            report = self.half_made_in_account(&went).await;
            if let Some(cluster) = self.cluster_of_others() {
                let finished = finish_cluster(&cluster, &self.ledger, &self.marks).await;
                report.removed += finished.removed;
                report.left.extend(finished.left);
            }
        }
        // Where the environment never stood, because a program did not start, its log is what tells.
        for text in programs::keep_logs(
            &environment::logs_folder(&self.scratch),
            &self.folder,
            &self.redactor,
        ) {
            self.warn(text);
        }
        self.end_cluster(&mut report).await;
        self.remove_containers(&mut report).await;
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
                    report.left.push(LeftoverFound {
                        object: scratch.to_string(),
                        because,
                    });
                }
            }
        }
        // An environment that never stood took what was planned in it along, and so does a cluster that is gone.
        let reach = self
            .options
            .environment
            .reach(self.marks.run(), &self.options.region);
        let others = self.cluster_of_others().is_some();
        for object in self.ledger.standing() {
            // What is in somebody else's cluster is there until it is removed.
            let stays = others && object.is_in_kubernetes();
            if !stays
                && !reach.outlives(&object)
                && !report.left.iter().any(|left| left.object == object.to_string())
            {
                self.ledger.removed(&object);
            }
        }
        for left in &report.left {
            self.journal.record(EventKind::LeftoverFound(left.clone()));
        }
        if self.options.environment.is_slow() {
            self.told()(ProgressMade {
                stage: "teardown".to_owned(),
                text: format!("{} objects removed", report.removed),
                took_us: Some(micros(began.elapsed())),
            });
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

    /// Says that calls waited, so that nobody takes it for AWS's slowness.
    fn tell_what_was_held_back(&self, environment: &Environment) {
        let held = environment.aws.held_back();
        if held.calls > 0 {
            self.warn(format!(
                "{} AWS calls waited {:.1} s in all, to stay within the share of the account's quotas that the run may take \
                 (--max-aws-share)",
                held.calls,
                held.waited.as_secs_f64()
            ));
        }
    }

    /// The cluster of somebody else's that has what the run makes in Kubernetes, where AWS is no account: with one it is
    /// finished together.
    fn cluster_of_others(&self) -> Option<ClusterReach> {
        let reach = self
            .options
            .environment
            .reach(self.marks.run(), &self.options.region);
        match &self.options.environment {
            EnvironmentOptions::Cluster(options) if !reach.is_account() => Some(options.cluster_reach()),
            _ => None,
        }
    }

    /// Takes down what was made in an account until the environment did not come to stand.
    async fn half_made_in_account(&self, went: &(dyn Fn(Going<'_>) + Sync)) -> Teardown {
        let reach = self
            .options
            .environment
            .reach(self.marks.run(), &self.options.region);
        if !self.ledger.standing().iter().any(|object| reach.outlives(object)) {
            return Teardown::default();
        }
        let finishing = finish_account(&reach, None, &self.ledger, &self.marks, &self.cluster, went);
        match Box::pin(finishing).await {
            Ok(report) => report,
            Err(trouble) => Teardown {
                left: self
                    .ledger
                    .standing()
                    .iter()
                    .filter(|object| reach.outlives(object))
                    .map(|object| LeftoverFound {
                        object: object.to_string(),
                        because: trouble.to_string(),
                    })
                    .collect(),
                ..Teardown::default()
            },
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

fn warning(text: impl Into<String>) -> EventKind {
    EventKind::WarningRaised(WarningRaised { text: text.into() })
}

/// The folder of a run, made for it, which goes again with a run that cannot begin.
struct RunFolder {
    path: PathBuf,
    kept: bool,
}

impl RunFolder {
    fn make(out: &Path, run_id: &str) -> Result<Self, StartError> {
        let path = out.join(run_id);
        // Never one that is there already: what this one holds may be removed.
        std::fs::create_dir_all(out)
            .and_then(|()| std::fs::create_dir(&path))
            .map_err(|source| StartError::Folder {
                path: path.clone(),
                source,
            })?;
        Ok(Self { path, kept: false })
    }

    fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.kept {
            // The error that ends the run is the one to be told.
            drop(std::fs::remove_dir_all(&self.path));
        }
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
