//! Who wrote a ledger.

use std::{fs, io};

use serde::{Deserialize, Serialize};

/// The process that wrote a ledger, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in the kernel's own ticks since boot.
    pub started: u64,
    /// The boot that both belong to.
    pub boot: String,
}

impl Process {
    /// Whether it is still there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        Self::of(self.pid).is_ok_and(|process| process == *self)
    }

    /// This one.
    pub fn this() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    /// The one that has this number now. One that has ended and that nobody has waited for yet is gone.
    ///
    /// # Errors
    ///
    /// When there is none, or `/proc` cannot be read.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field is the program's name in parentheses, which may hold anything.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if after_name.trim_start().starts_with(['Z', 'X']) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"));
        }
        let started = after_name
            .split_whitespace()
            .nth(19)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no start time in /proc"))?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?
            .trim()
            .to_owned();
        Ok(Self { pid, started, boot })
    }
}
