//! A stand-in's log, kept in memory to be read as a real one's container log would be.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
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

/// One line of the log. It holds no secret and no token, unless that is the defect that is planted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// How bad it is.
    pub level: LogLevel,
    /// What it says.
    pub text: String,
}

#[derive(Debug)]
pub(crate) struct Log {
    lines: Mutex<VecDeque<LogLine>>,
    /// The file that klog would name.
    source: &'static str,
    to_stderr: bool,
}

impl Log {
    pub(crate) fn new(source: &'static str, to_stderr: bool) -> Self {
        Self {
            lines: Mutex::default(),
            source,
            to_stderr,
        }
    }

    pub(crate) fn info(&self, text: String) {
        tracing::debug!("{text}");
        self.keep(LogLevel::Info, text);
    }

    pub(crate) fn warning(&self, text: String) {
        tracing::debug!(level = "warning", "{text}");
        self.keep(LogLevel::Warning, text);
    }

    pub(crate) fn error(&self, text: String) {
        tracing::debug!(level = "error", "{text}");
        self.keep(LogLevel::Error, text);
    }

    /// What must stand in no log: a planted defect's words, which go nowhere else.
    pub(crate) fn leak(&self, text: String) {
        self.keep(LogLevel::Info, text);
    }

    pub(crate) fn lines(&self) -> Vec<LogLine> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    fn keep(&self, level: LogLevel, text: String) {
        let line = LogLine {
            at: Timestamp::now(),
            level,
            text,
        };
        if self.to_stderr {
            // Nobody who reads it is no reason to serve nobody.
            let _ = io::stderr().write_all(line.as_klog(self.source).as_bytes());
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// What a program writes, line by line, as its container's log has it. It can be read after the program has ended.
#[derive(Debug, Clone)]
pub struct ProgramLog(Arc<Log>);

impl ProgramLog {
    pub(crate) fn new(log: &Arc<Log>) -> Self {
        Self(Arc::clone(log))
    }

    /// An empty one, of a program whose lines name `source` as their file.
    #[must_use]
    pub fn of(source: &'static str) -> Self {
        Self(Arc::new(Log::new(source, false)))
    }

    /// Writes a line.
    pub fn say(&self, text: String) {
        self.0.info(text);
    }

    /// Writes why something cannot be.
    pub fn complain(&self, text: String) {
        self.0.error(text);
    }

    /// The last 20,000 lines in klog's form, each with when it was written.
    #[must_use]
    pub fn written(&self) -> Vec<(Timestamp, String)> {
        let lines = self.0.lines();
        lines
            .iter()
            .map(|line| (line.at, line.as_klog(self.0.source).trim_end().to_owned()))
            .collect()
    }
}

impl LogLine {
    /// `I1126 04:38:40.104297   28635 provider.rs:1] text`, as <https://pkg.go.dev/k8s.io/klog/v2> has it.
    #[must_use]
    pub fn as_klog(&self, source: &str) -> String {
        let level = match self.level {
            LogLevel::Info => 'I',
            LogLevel::Warning => 'W',
            LogLevel::Error => 'E',
        };
        let at = self.at.strftime("%m%d %H:%M:%S%.6f");
        format!(
            "{level}{at} {:>7} {source}:1] {}\n",
            std::process::id(),
            self.text
        )
    }
}
