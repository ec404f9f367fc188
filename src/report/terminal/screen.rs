//! The thin shell: where lines go.

use std::{io::Write as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{ColorChoice, Display, DisplayOptions, MOST_RUNNING, Running};
use crate::{
    journal::{Event, ProgressMade, Sink},
    report::summary::RunSummary,
};

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

    /// Says how something goes on that is no run's, and so in no journal.
    pub fn progress(&mut self, progress: &ProgressMade) {
        let lines: Vec<String> = self.display.progress_lines(progress);
        self.print(&lines);
        if let Some(live) = &mut self.live {
            live.follow(self.display.running());
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
