//! PURE. How hard pressed a node is, between two looks at what its kernel counts.
//!
//! Pressure stall information (<https://docs.kernel.org/accounting/psi.html>) says for how long something waited for a processor,
//! for storage or for memory; `/proc/stat` (`proc_stat(5)`) how busy processors were, and how much of them a hypervisor took. Neither
//! is of a container: they are the whole node's.

use std::time::Duration;

use crate::{agent::protocol::Sample, journal::Pressure};

/// What the kernel counted up to one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counted {
    /// Time for which something waited, where the kernel tells.
    waited: [Option<Duration>; 3],
    /// In clock ticks of all processors, where it tells.
    ticks: Option<Ticks>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
    stolen: u64,
}

/// The files, in the order of [`Counted::of`].
pub(super) const FILES: [&str; 4] = [
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/stat",
];

const WAITED: [Pressure; 3] = [Pressure::CpuWaited, Pressure::IoWaited, Pressure::MemoryWaited];

impl Counted {
    /// What is in [`FILES`], as far as they are there.
    pub(super) fn of([cpu, io, memory, stat]: [Option<&str>; 4]) -> Self {
        Self {
            waited: [cpu, io, memory].map(|text| text.and_then(waited)),
            ticks: stat.and_then(ticks),
        }
    }

    /// What cannot be told here, in words.
    pub(super) fn blind(&self) -> Vec<String> {
        let mut blind = Vec::new();
        if self.waited.iter().all(Option::is_none) {
            blind.push(
                "what waits for processors, storage and memory: the kernel has no /proc/pressure".to_owned(),
            );
        }
        if self.ticks.is_none() {
            blind.push("how busy processors are: /proc/stat cannot be read".to_owned());
        }
        blind
    }

    /// What was since an earlier look, `took` ago.
    pub(super) fn since(&self, earlier: &Self, took: Duration) -> Sample {
        let mut shares = Vec::new();
        for ((of, now), before) in WAITED.into_iter().zip(self.waited).zip(earlier.waited) {
            if let (Some(now), Some(before)) = (now, before) {
                let waited = now.saturating_sub(before);
                shares.push((of, permille(waited.as_nanos(), took.as_nanos())));
            }
        }
        if let (Some(now), Some(before)) = (self.ticks, earlier.ticks) {
            let all = u128::from(now.all.saturating_sub(before.all));
            let share = |now: u64, before: u64| permille(now.saturating_sub(before).into(), all);
            shares.push((Pressure::CpuBusy, share(now.busy, before.busy)));
            shares.push((Pressure::CpuStolen, share(now.stolen, before.stolen)));
        }
        Sample { took, shares }
    }
}

/// The kernel counts a little beyond or before the moment at which it is read: a share is never more than the whole.
fn permille(part: u128, whole: u128) -> u32 {
    let share = (part * 1000).checked_div(whole).unwrap_or(0);
    u32::try_from(share.min(1000)).unwrap_or(1000)
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, in microseconds.
fn waited(text: &str) -> Option<Duration> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let total = some.split(' ').find_map(|field| field.strip_prefix("total="))?;
    Some(Duration::from_micros(total.trim().parse().ok()?))
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`: guests are in `user` and `nice`.
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, idle, iowait, irq, softirq, stolen] = *fields.first_chunk()?;
    let busy = user + nice + system + irq + softirq;
    Some(Ticks {
        all: busy + idle + iowait + stolen,
        busy,
        stolen,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn psi(total: u64) -> String {
        format!(
            "some avg10=9.84 avg60=9.13 avg300=8.82 total={total}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
        )
    }

    #[test]
    fn shares_are_of_the_time_between_two_looks() {
        let stat = |busy: u64, idle: u64, steal: u64| {
            format!("cpu  {busy} 0 0 {idle} 0 0 0 {steal} 5 0\ncpu0 1 2 3\n")
        };
        let (psi, stat) = (
            [psi(1_000_000), psi(1_250_000)],
            [stat(100, 100, 0), stat(160, 120, 20)],
        );
        let before = Counted::of([Some(&psi[0]), Some(&psi[0]), None, Some(&stat[0])]);
        let now = Counted::of([Some(&psi[1]), Some(&psi[0]), None, Some(&stat[1])]);
        let sample = now.since(&before, Duration::from_secs(1));
        assert_eq!(
            sample.shares,
            [
                (Pressure::CpuWaited, 250),
                (Pressure::IoWaited, 0),
                (Pressure::CpuBusy, 600),
                (Pressure::CpuStolen, 200),
            ]
        );
        let hurried = now.since(&before, Duration::from_millis(100)).shares;
        assert_eq!(
            hurried[0],
            (Pressure::CpuWaited, 1000),
            "never more than the whole"
        );
        assert!(
            now.since(&before, Duration::ZERO)
                .shares
                .iter()
                .all(|(_, share)| *share <= 1000)
        );
    }

    #[test]
    fn what_a_kernel_does_not_tell_is_told_to_be_missing() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10";
        let [psi, broken] = [psi(1), "some total=x".to_owned()];
        for (files, blind) in [
            ([Some(psi.as_str()), Some(&psi), Some(&psi), Some(stat)], 0),
            ([None, None, None, Some(stat)], 1),
            ([Some(psi.as_str()), None, None, None], 1),
            ([Some(broken.as_str()), None, None, Some("cpu  1 2 3")], 2),
        ] {
            assert_eq!(Counted::of(files).blind().len(), blind, "{files:?}");
        }
        let nothing = Counted::default();
        assert!(nothing.since(&nothing, Duration::from_secs(1)).shares.is_empty());
    }

    #[test]
    fn this_kernels_own_files_are_understood() {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let counted = Counted::of([None, None, None, Some(&stat)]);
        assert!(counted.ticks.unwrap().all > 0);
    }
}
