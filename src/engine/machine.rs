//! The machine that a run takes place on, as the kernel tells.

use std::time::Duration;

use crate::journal::Machine;

/// This machine.
pub(super) fn this() -> Machine {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cpus: std::thread::available_parallelism()
            .map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
        memory_bytes: kibibytes("/proc/meminfo", "MemTotal:"),
        kernel: format!("Linux {}", kernel.trim()),
    }
}

/// How long, since boot, something that could run waited for a processor of this machine's; none where the kernel does not say
/// (`/proc/pressure`, of Linux 4.20 on).
pub(super) fn waited_for_processors() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/pressure/cpu").ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some
        .split_whitespace()
        .find_map(|field| field.strip_prefix("total="))?;
    total.parse().ok().map(Duration::from_micros)
}

/// Peak resident memory of this process, in bytes.
pub(super) fn peak_memory() -> u64 {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// A line such as `MemTotal:  24576 kB`, in bytes; 0 where there is none.
fn kibibytes(file: &str, label: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}
