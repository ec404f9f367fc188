//! What a run looks like on a terminal.
//!
//! [`Display`] is PURE: events in, lines out. [`Terminal`] is the thin shell that puts the lines on
//! the screen. Everything goes to standard error, so that standard output stays free for data that
//! a command is asked for; where standard error is no terminal, or `CI` is set, nothing moves and
//! only final lines are written.

use std::{collections::BTreeMap, fmt::Write as _, io::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{
    exit::{self, ExitCode},
    figure,
    markdown::verdict_line,
    summary::{Fold, MeasurementSummary, RunSummary, evidence_folders},
};
use crate::journal::{CaseFinished, EnvironmentReady, Event, EventKind, Failure, RunStarted, Sink, Verdict};

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
    ready_tenants: Vec<(String, u32)>,
    running: Vec<Running>,
    mounts: BTreeMap<String, u64>,
}

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
            EventKind::TenantReady(ready) if ready.case.is_none() && !quiet => self.tenants(),
            EventKind::CaseFinished(finished) => self.case(finished),
            EventKind::MeasurementFinished(finished) if !quiet => self
                .fold
                .measured(&finished.measurement)
                .map(|measured| self.load(&measured))
                .into_iter()
                .collect(),
            EventKind::WarningRaised(warning) => vec![self.labelled(YELLOW, "WARN", &warning.text)],
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
            EventKind::CaseStarted(started) => self.set_running(&started.case, started.case.clone()),
            EventKind::StepStarted(step) => {
                let text = format!("{:<width$}  {}", step.case, step.title, width = self.case_width);
                self.set_running(&step.case, text);
            }
            EventKind::CaseFinished(finished) => self.remove_running(&finished.case),
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
            EventKind::TeardownFinished(_) | EventKind::RunFinished(_) => self.running.clear(),
            _ => {}
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

    fn header(&self, started: &RunStarted) -> String {
        let name = self.paint(BOLD, &format!("mountproof {}", started.version));
        let tenants = figure::counted(started.tenants.len(), "tenant");
        format!(
            "{name} · {} · run {} · seed {} · {tenants}",
            started.environment, started.run_id, started.seed
        )
    }

    fn environment(&self, ready: &EnvironmentReady) -> String {
        let parts: Vec<String> = ready
            .components
            .iter()
            .map(|component| {
                format!("{} {}", component.name, component.version)
                    .trim()
                    .to_owned()
            })
            .collect();
        let took = format!("ready in {}", figure::seconds(ready.took_us));
        format!(
            "  environment   {took:<17} {}",
            self.paint(DIM, &parts.join(" · "))
        )
    }

    fn tenants(&self) -> Vec<String> {
        if self.ready_tenants.len() != self.shared_tenants {
            return Vec::new();
        }
        let mut names: Vec<&str> = self.ready_tenants.iter().map(|(name, _)| name.as_str()).collect();
        // They are ready in any order; a reader looks for them by name.
        names.sort_unstable();
        let shown = match names.as_slice() {
            [first, .., last] if names.len() > 6 => format!("{first} … {last}"),
            _ => names.join(" "),
        };
        let secrets: u32 = self.ready_tenants.iter().map(|(_, secrets)| secrets).sum();
        let ready = format!("{} ready", names.len());
        let detail = format!("{shown} · {}", figure::counted(secrets as usize, "secret"));
        vec![
            format!("  tenants       {ready:<17} {}", self.paint(DIM, &detail)),
            String::new(),
        ]
    }

    fn case(&self, finished: &CaseFinished) -> Vec<String> {
        let retried = finished.verdict == Verdict::Passed && finished.attempt > 1;
        let (color, word) = match finished.verdict {
            _ if finished.will_retry => (YELLOW, "RETRY"),
            _ if retried => (YELLOW, "FLAKY"),
            Verdict::Passed | Verdict::Flaky => (GREEN, "PASS"),
            Verdict::NotSupported => (BLUE, "N/A"),
            Verdict::Skipped => (BLUE, "SKIP"),
            Verdict::Errored => (RED, "ERROR"),
            Verdict::Failed => (RED, "FAIL"),
        };
        let bad = matches!(finished.verdict, Verdict::Failed | Verdict::Errored);
        if self.options.quiet && !bad && !retried {
            return Vec::new();
        }
        let name = format!("{:<width$}", finished.case, width = self.case_width);
        let tried = finished.attempt > 0;
        let took = if tried {
            figure::seconds(finished.took_us)
        } else {
            String::new()
        };
        let attempt = if retried || finished.will_retry {
            format!("attempt {}: ", finished.attempt)
        } else {
            String::new()
        };
        let headline = finished.failure.as_ref().map(|failure| failure.headline.as_str());
        // A failure's own block says what was seen; the line of a retry must say it itself.
        let seen = match headline {
            Some(headline) if finished.will_retry => headline,
            Some(_) if bad => "",
            _ => finished.summary.as_str(),
        };
        let line = format!(
            "  {}  {name} {took:>9}   {attempt}{seen}",
            self.paint(color.bold(), &format!("{word:<5}"))
        );
        let mut lines = vec![line.trim_end().to_owned()];
        if bad && !finished.will_retry {
            match &finished.failure {
                Some(failure) => lines.extend(self.failure(&finished.case, failure)),
                None => lines.push(format!("         {}", finished.summary)),
            }
        }
        lines
    }

    fn failure(&self, case: &str, failure: &Failure) -> Vec<String> {
        let indent = " ".repeat(9);
        let width = failure
            .facts
            .iter()
            .map(|fact| fact.label.chars().count())
            .max()
            .unwrap_or(0)
            .max(8);
        let mut lines = vec![format!("{indent}{}", self.paint(BOLD, &failure.headline))];
        for fact in &failure.facts {
            let mut label = fact.label.as_str();
            for line in fact.text.lines() {
                lines.push(format!(
                    "{indent}{} {line}",
                    self.paint(DIM, &format!("{label:<width$}"))
                ));
                label = "";
            }
        }
        if let Some(folder) = self.folders.get(case) {
            let label = self.paint(DIM, &format!("{:<width$}", "evidence"));
            lines.push(format!(
                "{indent}{label} {}/evidence/{folder}/",
                self.options.folder
            ));
        }
        lines
    }

    fn load(&self, measured: &MeasurementSummary) -> String {
        let name = format!(
            "{:<width$}",
            measured.started.measurement,
            width = self.case_width
        );
        let Some(done) = &measured.finished else {
            return String::new();
        };
        let parameter = |name: &str| measured.started.parameters.get(name).map(String::as_str);
        let mut what = if measured.started.lens == "fetch" {
            let how: Vec<&str> = ["duration", "pace"].into_iter().filter_map(parameter).collect();
            let gap = if how.is_empty() { "" } else { "  " };
            format!(
                "{}{gap}{}",
                how.join(", "),
                measured.per_second().map(figure::rate).unwrap_or_default()
            )
        } else {
            let rate = parameter("rate")
                .map(|rate| format!(" at {rate}"))
                .unwrap_or_default();
            format!(
                "{}{rate}",
                figure::counted(usize::try_from(done.planned).unwrap_or(usize::MAX), "mount")
            )
        };
        if let Some(steady) = measured.steady() {
            for figure_name in ["p50", "p99"] {
                if let Some(value) = steady.value(figure_name) {
                    let _ = write!(what, "  {figure_name} {}", figure::latency(value));
                }
            }
            let _ = write!(what, "  max {}", figure::latency(steady.percentiles.max_ns));
            if steady.value("p99").is_none() {
                let _ = write!(what, "  n {}", steady.count());
            }
            if let Some(times) = self.times_floor(measured) {
                let _ = write!(what, "  ({times:.1} x local floor)");
            }
        }
        let bad = done.failed + done.timed_out + done.dropped;
        let mut ends = Vec::new();
        for (number, word) in [
            (done.failed, "failed"),
            (done.timed_out, "timed out"),
            (done.throttled, "throttled"),
        ] {
            if number > 0 {
                ends.push(format!("{} {word}", figure::count(number)));
            }
        }
        ends.push(format!("{} late", figure::count(done.late)));
        ends.push(format!("{} dropped", figure::count(done.dropped)));
        let color = if bad > 0 { RED } else { BLUE };
        format!(
            "  {}  {name} {what}  {}",
            self.paint(color.bold(), "LOAD "),
            self.paint(DIM, &ends.join(" "))
        )
    }

    /// Only the `csi` lens times what the floor is made of.
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    fn times_floor(&self, measured: &MeasurementSummary) -> Option<f64> {
        let floor = self
            .fold
            .floor()
            .filter(|floor| floor.new_tls_ns > 0 && measured.started.lens == "csi")?;
        Some(measured.steady()?.value("p50")? as f64 / floor.new_tls_ns as f64)
    }

    fn labelled(&self, color: Style, word: &str, text: &str) -> String {
        format!("  {}  {text}", self.paint(color.bold(), &format!("{word:<5}")))
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.options.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default();
const GREEN: Style = AnsiColor::Green.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const BLUE: Style = AnsiColor::Cyan.on_default();

fn has_extension(file: &str, extension: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, end)| end == extension)
}

/// Moving lines at once; more would push the finished ones off the screen.
const MOST_RUNNING: usize = 8;

/// The thin shell: a journal's sink that writes to standard error.
pub struct Terminal {
    display: Display,
    /// Absent where nothing may move.
    live: Option<Live>,
}

struct Live {
    screen: MultiProgress,
    bars: Vec<(String, ProgressBar)>,
}

impl Terminal {
    /// For standard error as it is: reads `NO_COLOR`, `CI` and `TERM`.
    #[must_use]
    pub fn new(quiet: bool, color: ColorChoice, folder: String) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr()) && !dumb;
        let options = DisplayOptions {
            quiet,
            color: color.decide(is_set("NO_COLOR"), is_terminal),
            folder,
        };
        let live = (is_terminal && !quiet && !is_set("CI")).then(|| Live {
            screen: MultiProgress::new(),
            bars: Vec::new(),
        });
        Self {
            display: Display::new(options),
            live,
        }
    }

    /// Writes the block that ends a run.
    pub fn finish(&mut self, summary: &RunSummary, files: &[String]) {
        self.clear();
        let lines = self.display.last_block(summary, files);
        self.print(&lines);
    }

    /// Takes the moving lines away, before something else writes to the terminal.
    pub fn clear(&mut self) {
        if let Some(live) = self.live.take() {
            live.bars.iter().for_each(|(_, bar)| bar.finish_and_clear());
            // Without a terminal there is nothing to clear, and a refusal changes nothing.
            drop(live.screen.clear());
        }
    }

    fn print(&self, lines: &[String]) {
        // A closed pipe must not end a run.
        if let Some(live) = &self.live {
            for line in lines {
                drop(live.screen.println(line));
            }
        } else {
            let mut error = std::io::stderr().lock();
            for line in lines {
                drop(writeln!(error, "{line}"));
            }
        }
    }
}

impl Sink for Terminal {
    fn event(&mut self, event: &Event) {
        let lines = self.display.lines(event);
        self.print(&lines);
        if let Some(live) = &mut self.live {
            live.follow(self.display.running());
        }
    }
}

impl Sink for std::sync::Arc<std::sync::Mutex<Terminal>> {
    fn event(&mut self, event: &Event) {
        self.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .event(event);
    }
}

impl Live {
    fn follow(&mut self, running: &[Running]) {
        self.bars.retain(|(key, bar)| {
            let keep = running
                .iter()
                .take(MOST_RUNNING)
                .any(|running| running.key == *key);
            if !keep {
                bar.finish_and_clear();
                self.screen.remove(bar);
            }
            keep
        });
        for line in running.iter().take(MOST_RUNNING) {
            if let Some((_, bar)) = self.bars.iter().find(|(key, _)| *key == line.key) {
                bar.set_message(line.text.clone());
                continue;
            }
            let bar = self.screen.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {spinner}  {wide_msg} {elapsed:>4}") {
                bar.set_style(style);
            }
            bar.set_message(line.text.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            self.bars.push((line.key.clone(), bar));
        }
    }
}
