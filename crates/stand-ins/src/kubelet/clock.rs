//! Kubelet's time line, which may run faster than ours.

use std::time::Duration;

use tokio::time::Instant;

/// How much faster than a real kubelet this one waits.
///
/// It scales kubelet's own waits only: polls, backoff, republish and the container runtime's share.
/// The deadlines of its calls, the driver and the provider keep to real time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clock {
    factor: f64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { factor: 1.0 }
    }
}

impl Clock {
    /// A clock that runs `factor` times as fast; at least one millionth, and 1 where it is no number.
    #[must_use]
    pub fn faster(factor: f64) -> Self {
        let factor = if factor.is_finite() { factor.max(1e-6) } else { 1.0 };
        Self { factor }
    }

    /// The factor, for the report.
    #[must_use]
    pub fn factor(self) -> f64 {
        self.factor
    }

    /// A time line that starts now.
    pub(crate) fn start(self) -> Timeline {
        Timeline {
            factor: self.factor,
            origin: Instant::now(),
        }
    }
}

/// Kubelet's own time since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeline {
    factor: f64,
    origin: Instant,
}

impl Timeline {
    pub(crate) fn now(self) -> Duration {
        self.origin.elapsed().mul_f64(self.factor)
    }

    pub(crate) async fn sleep_until(self, at: Duration) {
        tokio::time::sleep_until(self.origin + at.div_f64(self.factor)).await;
    }
}
