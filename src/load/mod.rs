//! Load: planned mounts and fetches, measured from their planned start and accounted for to the unit.
//!
//! | module | what | |
//! |---|---|---|
//! | [`schedule`] | when each mount starts, and whose it is | PURE |
//! | [`pacer`] | fires at those moments, to a fraction of a millisecond | a thread |
//! | [`run_mounts`], [`fetch`] | drive a target and account for every operation | async |
//! | [`csi_lens`] | the target that calls `NodePublishVolume` itself | gRPC |
//! | [`recorder`] | samples into histograms, counts and events | PURE |
//! | [`histogram`], [`percentiles`], [`statistics`] | what the samples say | PURE |
//! | [`limiter`] | when client-side token buckets let the last mount through | PURE |
//! | [`calls`] | what counted calls come to, a mount and a pod-hour | PURE |
//! | [`floor`] | what a mount costs at least on this machine | IO |
//!
//! Two figures are kept apart throughout: *response time* runs from the planned start, so that a
//! stalled generator or target cannot hide the wait it caused; *service time* runs from the moment
//! of sending.

pub mod calls;
pub mod csi_lens;
pub mod fetch;
pub mod floor;
pub mod histogram;
pub mod limiter;
pub mod pacer;
pub mod percentiles;
pub mod recorder;
pub mod run_mounts;
pub mod schedule;
pub mod statistics;

mod idle_driver;

use std::time::{Duration, Instant};

use crate::journal::EventKind;

/// Where runners send what happened; called on the task that awaits the runner.
pub type Emit<'a> = &'a (dyn Fn(EventKind) + Sync);

/// Time since the start of a measurement, never stepping back.
///
/// Runners read time through this, so that tests can script it.
pub trait Clock: Send + Sync + 'static {
    /// Time since the start of the measurement; zero before it.
    fn elapsed(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    /// A clock whose zero is `lead` from now, so that the pacing thread can be ready by then.
    #[must_use]
    pub fn starting_in(lead: Duration) -> Self {
        Self {
            origin: Instant::now() + lead,
        }
    }

    /// Its zero.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }
}

impl Clock for MonotonicClock {
    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// Whole microseconds, as events hold them; saturating.
fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds, as histograms hold them; saturating.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
