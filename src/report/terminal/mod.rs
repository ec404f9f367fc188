//! What a run looks like on a terminal.
//!
//! [`Display`] is PURE: events in, lines out. [`Terminal`] is the thin shell that puts the lines on
//! the screen. Everything goes to standard error, so that standard output stays free for data that
//! a command is asked for; where standard error is no terminal, or `CI` is set, nothing moves and
//! only final lines are written.

mod lines;
mod progress;
mod screen;

use std::collections::BTreeMap;

use self::lines::{BLUE, GREEN, RED, YELLOW};
pub use self::screen::Terminal;
use super::{
    exit::{self, ExitCode},
    figure,
    markdown::verdict_line,
    pressure,
    summary::{Fold, RunSummary, evidence_folders},
    upgrade,
};
use crate::journal::{Event, EventKind};

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Also into a pipe.
    Always,
    /// Not at all.
    Never,
}

impl ColorChoice {
    /// PURE: whether to colour, given whether `NO_COLOR` is set to anything and where lines go.
    #[must_use]
    pub fn decide(self, no_color: bool, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// How to show a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DisplayOptions {
    /// Failures, warnings and the last block only.
    pub quiet: bool,
    /// With ANSI colours.
    pub color: bool,
    /// The report's folder as a reader should type it, such as `reports/latest`.
    pub folder: String,
}

/// Something that is going on, for a line that moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Tells lines apart.
    pub key: String,
    /// What to say.
    pub text: String,
}

/// PURE: turns events into lines.
#[derive(Debug)]
pub struct Display {
    options: DisplayOptions,
    fold: Fold,
    case_width: usize,
    folders: BTreeMap<String, String>,
    shared_tenants: usize,
    cases: usize,
    ended_cases: usize,
    ready_tenants: Vec<(String, u32)>,
    running: Vec<Running>,
    mounts: BTreeMap<String, u64>,
}

/// Moving lines at once; more would push the finished ones off the screen.
const MOST_RUNNING: usize = 8;
/// Key of the line that says how many cases have ended: no case has it.
const CASES: &str = "cases ";

/// Names are padded to at least this many columns.
const NARROWEST_CASE: usize = 22;
/// And at most to this many.
const WIDEST_CASE: usize = 44;

impl Display {
    /// A display for one run.
    #[must_use]
    pub fn new(options: DisplayOptions) -> Self {
        Self {
            options,
            fold: Fold::default(),
            case_width: NARROWEST_CASE,
            folders: BTreeMap::new(),
            shared_tenants: 0,
            cases: 0,
            ended_cases: 0,
            ready_tenants: Vec::new(),
            running: Vec::new(),
            mounts: BTreeMap::new(),
        }
    }

    /// The final lines that an event is worth.
    pub fn lines(&mut self, event: &Event) -> Vec<String> {
        self.fold.push(event);
        self.follow(&event.event);
        let quiet = self.options.quiet;
        match &event.event {
            EventKind::RunStarted(started) if !quiet => vec![self.header(started), String::new()],
            EventKind::EnvironmentReady(ready) if !quiet => vec![self.environment(ready)],
            EventKind::PhaseBegan(began) if !quiet => {
                let text = format!("{:<7} {}", began.phase.to_string(), began.said);
                vec![self.labelled(BLUE, "PHASE", &text)]
            }
            EventKind::GapMeasured(gap) if !quiet => {
                let text = format!("{:<7} {}", gap.phase.to_string(), upgrade::told(gap));
                vec![self.labelled(BLUE, "GAP", &text)]
            }
            EventKind::TenantReady(ready) if ready.case.is_none() && !quiet => self.tenants(),
            EventKind::CaseFinished(finished) => self.case(finished),
            EventKind::MeasurementFinished(finished) => self
                .fold
                .measured(&finished.measurement)
                .map(|measured| {
                    let line = (!quiet).then(|| self.load(&measured));
                    let warnings = measured.warnings();
                    let warnings = warnings.iter().map(|text| self.labelled(YELLOW, "WARN", text));
                    line.into_iter().chain(warnings).collect()
                })
                .unwrap_or_default(),
            EventKind::NodePressed(pressed) => pressure::telling(pressed)
                .map(|text| self.labelled(YELLOW, "WARN", &text))
                .into_iter()
                .collect(),
            EventKind::CallsCounted(counted) if !quiet => vec![self.calls(counted)],
            EventKind::WarningRaised(warning) => vec![self.labelled(YELLOW, "WARN", &warning.text)],
            EventKind::ProgressMade(progress) if !quiet => self.progress(progress).into_iter().collect(),
            EventKind::Interrupted(interrupted) => vec![self.labelled(
                YELLOW,
                "STOP",
                &format!(
                    "{}: removing what the run made; once more to stop at once",
                    interrupted.signal
                ),
            )],
            EventKind::LeftoverFound(left) => {
                vec![self.labelled(RED, "LEFT", &format!("{}: {}", left.object, left.because))]
            }
            _ => Vec::new(),
        }
    }

    /// What is going on right now.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// The block that ends a run: counts, leftovers, where the reports are, and why it did not pass.
    /// `files` are names below the report's folder.
    #[must_use]
    pub fn last_block(&self, summary: &RunSummary, files: &[String]) -> Vec<String> {
        let exit = exit::recorded(summary);
        let color = if exit == ExitCode::Passed { GREEN } else { RED };
        let left = match (summary.leftovers.len(), &summary.teardown) {
            (0, Some(_)) => "nothing left behind".to_owned(),
            (0, None) => "teardown never ended: `mountproof sweep` removes what is left".to_owned(),
            (number, _) => format!(
                "{} left behind: `mountproof sweep` tries again",
                figure::counted(number, "object")
            ),
        };
        let mut lines = vec![String::new()];
        if summary.killed() {
            lines.push(self.labelled(RED, "KILLED", "the run was killed: its journal has no end"));
        }
        lines.extend(
            summary
                .problems
                .iter()
                .map(|problem| self.labelled(RED, "INVALID", problem)),
        );
        // The exit code takes no account of these; a reader must.
        lines.extend(summary.known_isolation().map(|(case, known)| {
            let text = format!(
                "isolation is broken in {}, a known issue: {}",
                case.plan.case, known.link
            );
            self.labelled(RED, "KNOWN", &text)
        }));
        lines.push(format!(
            "  {} · {left}",
            self.paint(color.bold(), &verdict_line(summary))
        ));
        // Per-measurement and evidence files would fill the screen.
        let mut shown: Vec<&str> = files
            .iter()
            .map(String::as_str)
            .filter(|file| !file.contains('/'))
            .collect();
        shown.retain(|file| !has_extension(file, "hgrm"));
        let more = shown.len().saturating_sub(6);
        shown.truncate(6);
        if !shown.is_empty() {
            let more = if more > 0 {
                format!("  and {more} more")
            } else {
                String::new()
            };
            lines.push(format!("  {}/  {}{more}", self.options.folder, shown.join("  ")));
        }
        if exit != ExitCode::Passed {
            lines.push(self.paint(color, &format!("exit {} ({exit})", exit.code())));
        }
        lines
    }

    fn follow(&mut self, event: &EventKind) {
        match event {
            EventKind::RunStarted(started) => {
                self.shared_tenants = started.tenants.len();
                self.cases = started.cases.len();
                let widest = started
                    .cases
                    .iter()
                    .map(|plan| plan.case.chars().count())
                    .max()
                    .unwrap_or(0);
                self.case_width = widest.clamp(NARROWEST_CASE, WIDEST_CASE);
                let names = started.cases.iter().map(|plan| plan.case.as_str());
                self.folders = names
                    .clone()
                    .map(str::to_owned)
                    .zip(evidence_folders(names))
                    .collect();
                self.set_running(
                    "environment",
                    format!("environment   {} starting", started.environment),
                );
            }
            EventKind::EnvironmentReady(_) => {
                self.remove_running("environment");
                if self.shared_tenants > 0 {
                    self.set_running("tenants", format!("tenants       0 of {}", self.shared_tenants));
                }
            }
            EventKind::TenantReady(ready) if ready.case.is_none() => {
                self.ready_tenants.push((ready.tenant.clone(), ready.secrets));
                if self.ready_tenants.len() >= self.shared_tenants {
                    self.remove_running("tenants");
                } else {
                    let ready = self.ready_tenants.len();
                    self.set_running(
                        "tenants",
                        format!("tenants       {ready} of {}", self.shared_tenants),
                    );
                }
            }
            EventKind::CaseStarted(started) => {
                self.follow_cases();
                self.set_running(&started.case, started.case.clone());
            }
            EventKind::StepStarted(step) => {
                let text = format!("{:<width$}  {}", step.case, step.title, width = self.case_width);
                self.set_running(&step.case, text);
            }
            EventKind::CaseFinished(finished) => {
                self.remove_running(&finished.case);
                if !finished.will_retry {
                    self.ended_cases += 1;
                    self.follow_cases();
                }
            }
            EventKind::MeasurementStarted(started) => {
                self.set_running(&started.measurement, format!("{}  starting", started.measurement));
            }
            EventKind::MountFinished(mount) => {
                let done = self.mounts.entry(mount.measurement.clone()).or_default();
                *done += 1;
                let text = format!("{}  {} mounts", mount.measurement, figure::count(*done));
                self.set_running(&mount.measurement, text);
            }
            EventKind::MeasurementFinished(finished) => self.remove_running(&finished.measurement),
            EventKind::ProgressMade(progress) => self.follow_progress(progress),
            EventKind::TeardownFinished(_) | EventKind::RunFinished(_) => self.running.clear(),
            _ => {}
        }
    }

    /// Where there are more cases than lines that move, how many have ended.
    fn follow_cases(&mut self) {
        if self.cases <= MOST_RUNNING {
            return;
        }
        if self.ended_cases >= self.cases {
            self.remove_running(CASES);
        } else {
            self.set_running(
                CASES,
                format!("cases         {} of {}", self.ended_cases, self.cases),
            );
        }
    }

    fn set_running(&mut self, key: &str, text: String) {
        match self.running.iter_mut().find(|running| running.key == key) {
            Some(running) => running.text = text,
            None => self.running.push(Running {
                key: key.to_owned(),
                text,
            }),
        }
    }

    fn remove_running(&mut self, key: &str) {
        self.running.retain(|running| running.key != key);
    }
}

fn has_extension(file: &str, extension: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}
