//! Kubelet's time line, which may run faster than ours.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

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
}

/// Kubelet's own time since its start. Clones are one time line, whose speed may change on the way:
/// a wait that has begun then ends sooner or later than it would have.
#[derive(Debug, Clone)]
pub struct Timeline(watch::Sender<Stretch>);

/// The time line since its speed last changed.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    clock: Clock,
    /// Ours.
    began: Instant,
    /// Kubelet's time then.
    before: Duration,
}

impl Timeline {
    /// A time line that starts now.
    pub(crate) fn start(clock: Clock) -> Self {
        let stretch = Stretch {
            clock,
            began: Instant::now(),
            before: Duration::ZERO,
        };
        Self(watch::Sender::new(stretch))
    }

    /// Runs at the speed of `clock` from now on.
    pub fn run_at(&self, clock: Clock) {
        self.0
            .send_modify(|stretch| *stretch = stretch.then(clock, Instant::now()));
    }

    /// The present speed.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.0.borrow().clock
    }

    pub(crate) fn now(&self) -> Duration {
        self.0.borrow().at(Instant::now())
    }

    pub(crate) async fn sleep_until(&self, at: Duration) {
        let mut changes = self.0.subscribe();
        loop {
            let due = changes.borrow_and_update().reaches(at);
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                // The sender is `self`, so it is there.
                _ = changes.changed() => {}
            }
        }
    }
}

impl Stretch {
    /// The same time at another speed, from `ours` on.
    fn then(self, clock: Clock, ours: Instant) -> Self {
        Self {
            clock,
            began: ours,
            before: self.at(ours),
        }
    }

    /// Kubelet's time at `ours`.
    fn at(self, ours: Instant) -> Duration {
        self.before + (ours - self.began).mul_f64(self.clock.factor)
    }

    /// When kubelet's time is `at`, by our clock.
    fn reaches(self, at: Duration) -> Instant {
        self.began + at.saturating_sub(self.before).div_f64(self.clock.factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Kubelet's first 30 s at twenty times the speed, the rest at a real one's.
    #[test]
    fn time_goes_on_where_the_speed_changes() {
        let start = Instant::now();
        let fast = Stretch {
            clock: Clock::faster(20.0),
            began: start,
            before: Duration::ZERO,
        };
        let real = fast.then(Clock::default(), start + SECOND * 3 / 2);
        assert_eq!(real.at(real.began), SECOND * 30);
        assert_eq!(real.at(real.began + SECOND * 7), SECOND * 37);
        assert_eq!(fast.reaches(SECOND * 60), start + SECOND * 3);
        assert_eq!(real.reaches(SECOND * 60), real.began + SECOND * 30);
        assert_eq!(real.reaches(SECOND), real.began, "what is past is due at once");
    }

    /// An hour of a slow clock is an instant of a fast one, also for who has begun to wait.
    #[tokio::test]
    async fn a_wait_under_way_follows_a_change_of_speed() {
        let time = Timeline::start(Clock::default());
        let waiting = tokio::spawn({
            let time = time.clone();
            async move { time.sleep_until(SECOND * 3600).await }
        });
        while time.0.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        time.run_at(Clock::faster(1e6));
        tokio::time::timeout(SECOND * 20, waiting)
            .await
            .expect("the wait follows")
            .expect("and ends well");
        assert!(time.now() >= SECOND * 3600);
    }
}
