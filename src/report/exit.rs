//! PURE: what the process's exit code says, and which one a run deserves.

use std::fmt;

use super::summary::RunSummary;

/// Exit codes of every command; part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Every claim that could be tried holds, and at least one was tried.
    Passed = 0,
    /// A claim does not hold, but no tenant reached what it must not reach.
    ConformanceFailed = 1,
    /// The command line or a scenario file is wrong; nothing was run.
    Usage = 2,
    /// The environment never answered.
    EnvironmentUnavailable = 3,
    /// A tenant reached what it must not reach.
    IsolationFailed = 4,
    /// A threshold was missed, or a comparison found a regression.
    ThresholdMissed = 5,
    /// Nothing failed, but not everything could be said: a case errored, or no claim was tried.
    Inconclusive = 6,
    /// The run's own record is not sound: sums that do not add up, leftovers, a journal with holes,
    /// or a run that was killed.
    InvalidRun = 7,
    /// Ctrl-C, SIGTERM or the run's deadline ended it early.
    Interrupted = 130,
}

impl ExitCode {
    /// The number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The same run whose record or reports could not be written whole: invalid, unless what was seen
    /// counts more (see [`outcome`]).
    #[must_use]
    pub const fn with_trouble(self) -> Self {
        match self {
            Self::Usage | Self::IsolationFailed | Self::Interrupted | Self::EnvironmentUnavailable => self,
            _ => Self::InvalidRun,
        }
    }

    /// The code with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        [
            Self::Passed,
            Self::ConformanceFailed,
            Self::Usage,
            Self::EnvironmentUnavailable,
            Self::IsolationFailed,
            Self::ThresholdMissed,
            Self::Inconclusive,
            Self::InvalidRun,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|known| known.code() == code)
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Passed => "passed",
            Self::ConformanceFailed => "conformance failed",
            Self::Usage => "usage",
            Self::EnvironmentUnavailable => "environment unavailable",
            Self::IsolationFailed => "isolation failed",
            Self::ThresholdMissed => "threshold missed",
            Self::Inconclusive => "inconclusive",
            Self::InvalidRun => "invalid run",
            Self::Interrupted => "interrupted",
        })
    }
}

/// What a run deserves, by the first of these that is true:
///
/// 1. a tenant reached what it must not: nothing that happened later undoes that;
/// 2. it was interrupted: whatever else is missing is missing for that reason;
/// 3. its environment never answered: there is nothing to be judged;
/// 4. its record is not sound, or something is left behind: verdicts and figures cannot be relied on;
/// 5. a claim does not hold;
/// 6. something could not be said: a case errored, or no claim was tried at all;
/// 7. it passed. Flaky cases passed.
///
/// A known issue that is excused is a claim that was tried, and no failure, of isolation neither.
///
/// The engine asks before it records the end of the run, so a missing end is not held against it
/// here; see [`recorded`].
#[must_use]
pub fn outcome(summary: &RunSummary) -> ExitCode {
    let counts = summary.counts();
    if summary.isolation_failed() {
        ExitCode::IsolationFailed
    } else if summary.interrupted.is_some() {
        ExitCode::Interrupted
    } else if summary.environment.is_none() {
        ExitCode::EnvironmentUnavailable
    } else if !summary.problems.is_empty() || !summary.leftovers.is_empty() {
        ExitCode::InvalidRun
    } else if counts.failed > 0 {
        ExitCode::ConformanceFailed
    } else if counts.errored > 0 || counts.passed + counts.flaky + counts.known_issues == 0 {
        ExitCode::Inconclusive
    } else {
        ExitCode::Passed
    }
}

/// What reports say: the recorded exit code, or, of a run that was killed, what it had come to.
#[must_use]
pub fn recorded(summary: &RunSummary) -> ExitCode {
    match &summary.finished {
        Some(finished) => ExitCode::from_code(finished.exit_code).unwrap_or(ExitCode::InvalidRun),
        None => match outcome(summary) {
            found @ (ExitCode::IsolationFailed | ExitCode::Interrupted) => found,
            _ => ExitCode::InvalidRun,
        },
    }
}
