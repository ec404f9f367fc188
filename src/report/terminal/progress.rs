//! PURE: how standing up and taking down go on.

use super::{Display, lines::DIM};
use crate::{journal::ProgressMade, report::figure};

/// The stage behind which nothing else goes on.
const TEARDOWN: &str = "teardown";

impl Display {
    /// What a stage came to; while it goes on there is only a line that moves.
    pub(super) fn progress(&self, progress: &ProgressMade) -> Option<String> {
        let took = format!("done in {}", figure::seconds(progress.took_us?));
        Some(format!(
            "  {:<13} {took:<17} {}",
            progress.stage,
            self.paint(DIM, &progress.text)
        ))
    }

    /// The final lines of a stage that belongs to no run.
    pub(super) fn progress_lines(&mut self, progress: &ProgressMade) -> Vec<String> {
        self.follow_progress(progress);
        let line = self.progress(progress).filter(|_| !self.options.quiet);
        line.into_iter().collect()
    }

    /// The line that moves.
    pub(super) fn follow_progress(&mut self, progress: &ProgressMade) {
        if progress.took_us.is_some() {
            self.remove_running(&progress.stage);
            return;
        }
        if progress.stage == TEARDOWN {
            // What was under way has ended, however it did.
            self.running.retain(|running| running.key == TEARDOWN);
        }
        self.set_running(
            &progress.stage,
            format!("{:<13} {}", progress.stage, progress.text),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{DisplayOptions, MOST_RUNNING},
        *,
    };

    fn made(stage: &str, text: &str, took_us: Option<u64>) -> ProgressMade {
        ProgressMade {
            stage: stage.to_owned(),
            text: text.to_owned(),
            took_us,
        }
    }

    #[test]
    fn a_stage_moves_until_it_ends_with_one_line() {
        let mut display = Display::new(DisplayOptions::default());
        for (step, lines, running) in [
            (
                made("cluster", "Preparing nodes", None),
                vec![],
                vec!["cluster       Preparing nodes"],
            ),
            (
                made("cluster", "Installing CNI", None),
                vec![],
                vec!["cluster       Installing CNI"],
            ),
            (
                made("images", "driver", None),
                vec![],
                vec!["cluster       Installing CNI", "images        driver"],
            ),
            (
                made("cluster", "1 node", Some(21_300_000)),
                vec!["  cluster       done in 21.3 s    1 node"],
                vec!["images        driver"],
            ),
            (
                made("teardown", "namespaces 1 of 2", None),
                vec![],
                vec!["teardown      namespaces 1 of 2"],
            ),
        ] {
            assert_eq!(display.progress_lines(&step), lines, "{step:?}");
            let shown: Vec<&str> = display.running().iter().map(|line| line.text.as_str()).collect();
            assert_eq!(shown, running, "{step:?}");
        }
    }

    #[test]
    fn how_many_cases_have_ended_is_said_where_they_do_not_all_have_a_line() {
        for (cases, ended, line) in [
            (MOST_RUNNING, 1, None),
            (MOST_RUNNING + 1, 0, Some("cases         0 of 9")),
            (MOST_RUNNING + 1, 4, Some("cases         4 of 9")),
            (MOST_RUNNING + 1, 9, None),
        ] {
            let mut display = Display::new(DisplayOptions::default());
            (display.cases, display.ended_cases) = (cases, ended);
            display.follow_cases();
            let shown = display.running().first().map(|running| running.text.as_str());
            assert_eq!(shown, line);
        }
    }

    #[test]
    fn quiet_says_nothing_of_it() {
        let mut display = Display::new(DisplayOptions {
            quiet: true,
            ..DisplayOptions::default()
        });
        assert!(
            display
                .progress_lines(&made("cluster", "1 node", Some(1)))
                .is_empty()
        );
    }
}
