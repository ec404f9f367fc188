//! The provider's log, kept in memory to be read as a real provider's container log would be.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;

/// Lines kept; the oldest go first.
const LINES: usize = 20_000;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// `I`
    Info,
    /// `W`: among others, why AWS refused.
    Warning,
    /// `E`
    Error,
}

/// One line of the log. It holds no secret and no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// How bad it is.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

#[derive(Debug, Default)]
pub(super) struct Log(Mutex<VecDeque<LogLine>>);

impl Log {
    pub(super) fn info(&self, text: String) {
        tracing::debug!("{text}");
        self.keep(LogLevel::Info, text);
    }

    pub(super) fn warning(&self, text: String) {
        tracing::debug!(level = "warning", "{text}");
        self.keep(LogLevel::Warning, text);
    }

    pub(super) fn error(&self, text: String) {
        tracing::debug!(level = "error", "{text}");
        self.keep(LogLevel::Error, text);
    }

    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    fn keep(&self, level: LogLevel, text: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(LogLine {
            at: Timestamp::now(),
            level,
            text,
        });
    }
}
