//! When kubelet does what: pure arithmetic on its own time line, which starts with the process.
//!
//! The figures are those of kubelet 1.36 (`pkg/kubelet/volumemanager`, `exponential_backoff.go`),
//! held to a recording of a real one by `tests/node/kubelet.rs`.

use std::time::Duration;

/// The volume manager looks for new pods' volumes this often.
const POPULATE_EVERY: Duration = Duration::from_millis(100);

/// The reconciler starts what is due this often; half a period off the populator.
const RECONCILE_EVERY: Duration = Duration::from_millis(100);
const RECONCILE_PHASE: Duration = Duration::from_millis(50);

/// A starting pod looks this often whether its volumes are there.
const WAIT_POLL: Duration = Duration::from_millis(300);

/// A failed operation is not tried again for so long, doubling up to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_LAST: Duration = Duration::from_secs(122);

/// A pod is synced anew after this, and up to half as much again.
const RESYNC: Duration = Duration::from_mins(1);

/// How long the container runtime takes, as recorded: to make the sandbox, to create the container,
/// to start it. No container runs here; the time passes all the same, or else the second publish
/// would come before a real kubelet's.
pub const RUNTIME: [Duration; 3] = [
    Duration::from_millis(160),
    Duration::from_millis(50),
    Duration::from_millis(120),
];

/// When the first publish of a pod synced at `synced` begins.
#[must_use]
pub fn first_publish(synced: Duration) -> Duration {
    reconcile_at(tick(synced, POPULATE_EVERY, Duration::ZERO))
}

/// The reconciler's first tick at or after `due`.
#[must_use]
pub fn reconcile_at(due: Duration) -> Duration {
    tick(due, RECONCILE_EVERY, RECONCILE_PHASE)
}

/// When a pod synced at `synced`, whose last volume was mounted at `mounted`, goes on to start its
/// containers: the wait looks every 300 ms only.
#[must_use]
pub fn wait_ends(synced: Duration, mounted: Duration) -> Duration {
    tick(
        mounted.max(synced + WAIT_POLL),
        WAIT_POLL,
        modulo(synced, WAIT_POLL),
    )
}

/// Time from one sync of a running pod to its next, for a `unit` from 0 to 1.
#[must_use]
pub fn resync_after(unit: f64) -> Duration {
    RESYNC.mul_f64(1.0 + 0.5 * unit.clamp(0.0, 1.0))
}

/// Kubelet's backoff of one volume of one pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(BACKOFF_FIRST)
    }
}

impl Backoff {
    /// When an operation that failed at `failed` is tried again.
    pub fn retry_at(&mut self, failed: Duration) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(BACKOFF_LAST);
        reconcile_at(failed + pause)
    }
}

/// The first moment at or after `due` on the grid of `period` that goes through `phase`.
fn tick(due: Duration, period: Duration, phase: Duration) -> Duration {
    let over = modulo((due + period).saturating_sub(phase), period);
    if over.is_zero() {
        due
    } else {
        (due + period).saturating_sub(over)
    }
}

fn modulo(value: Duration, period: Duration) -> Duration {
    let rest = value.as_nanos() % period.as_nanos();
    Duration::from_nanos(u64::try_from(rest).expect("less than the period, which is under a second"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn backoff_doubles_to_two_minutes_and_two_seconds() {
        let mut backoff = Backoff::default();
        let mut at = ms(50);
        let gaps: Vec<u128> = (0..10)
            .map(|_| {
                let next = backoff.retry_at(at);
                let gap = next.as_millis() - at.as_millis();
                at = next;
                gap
            })
            .collect();
        assert_eq!(
            gaps,
            [
                500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 122_000, 122_000
            ]
        );
    }

    /// A pod whose every mount fails at once: when did the real kubelet call again?
    #[test]
    fn retries_come_when_the_recorded_kubelet_made_them() {
        let recording = include_str!("../../../../fixtures/kubernetes-recordings/kubelet-1.36.3.jsonl");
        for pod in ["unknown-1", "unavailable-1"] {
            let called: Vec<jiff::Timestamp> = recording
                .lines()
                .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"))
                .filter(|line| line["pod"] == pod && line["method"] == "NodePublishVolume")
                .map(|line| {
                    line["at"]
                        .as_str()
                        .and_then(|at| at.parse().ok())
                        .expect("a time")
                })
                .collect();
            assert_eq!(called.len(), 11, "{pod}");
            let mut backoff = Backoff::default();
            for (number, pair) in called.windows(2).enumerate() {
                let theirs = Duration::try_from(pair[1] - pair[0]).expect("in order");
                let ours = backoff.retry_at(Duration::ZERO);
                // Where the real one's reconciler ticked, and how long its call took, is not recorded.
                assert!(
                    theirs.abs_diff(ours) <= RECONCILE_EVERY,
                    "{pod}: retry {number} after {theirs:?}, ours {ours:?}"
                );
            }
        }
    }

    #[test]
    fn waits_are_rounded_up_to_300_ms() {
        for (call, wait) in [
            (4, 300),
            (100, 300),
            (250, 300),
            (300, 300),
            (301, 600),
            (700, 900),
        ] {
            assert_eq!(wait_ends(ms(1000), ms(1000 + call)), ms(1000 + wait), "{call} ms");
        }
    }

    proptest! {
        #[test]
        fn ticks_are_on_the_grid_and_within_one_period(due in 0_u64..10_000_000, synced in 0_u64..10_000_000) {
            let due = Duration::from_micros(due);
            let at = reconcile_at(due);
            prop_assert!(at >= due && at < due + RECONCILE_EVERY);
            prop_assert_eq!(modulo(at, RECONCILE_EVERY), RECONCILE_PHASE);
            let synced = Duration::from_micros(synced);
            let end = wait_ends(synced, due);
            prop_assert!(end >= due && end >= synced + WAIT_POLL);
            prop_assert_eq!(modulo(end, WAIT_POLL), modulo(synced, WAIT_POLL));
        }
    }
}
