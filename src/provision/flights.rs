//! What is being made: it is waited for before anything is looked for that is to be removed. A request that is given up half-way
//! may arrive after that look.
//!
//! In its own process a run gives none up: [`Flights`]. What a killed one was in the middle of is given the time to arrive:
//! [`UnderWay`].

use std::{fs, path::Path, time::Duration};

use tokio_util::task::TaskTracker;

/// How long a request of a killed process may be under way, to what is beside us and to an account of AWS's.
const LATE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(10));

/// What this process is making.
#[derive(Default)]
pub(super) struct Flights(TaskTracker);

impl Flights {
    /// Makes something to its end, from now on, whether or not anybody still waits for it.
    ///
    /// # Panics
    ///
    /// As `making` does.
    pub(super) fn landed<T: Send + 'static>(
        &self,
        making: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        // What waits is small, however much is made.
        let made = self.0.spawn(making);
        async move {
            match made.await {
                Ok(made) => made,
                Err(ended) => match ended.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // Nobody cancels it but the runtime's own end.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }

    /// Waits until nothing is being made any more; whether that came about in time.
    pub(super) async fn all_landed(&self, patience: Duration) -> bool {
        self.0.close();
        let landed = tokio::time::timeout(patience, self.0.wait()).await.is_ok();
        self.0.reopen();
        landed
    }
}

/// What may be under way of what a run was about to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnderWay {
    /// Nothing: all of it [landed](super::Ledger::all_landed).
    Nothing,
    /// What its process was killed in the middle of, so long ago at least.
    CutOff(Duration),
}

impl UnderWay {
    /// Of a run that was killed: it wrote its ledger last before it asked for anything.
    pub(super) fn of_ledger(path: &Path) -> Self {
        let written = fs::metadata(path).and_then(|about| about.modified());
        // A clock that was set back tells nothing.
        let ago = written.ok().and_then(|written| written.elapsed().ok());
        Self::CutOff(ago.unwrap_or_default())
    }

    /// Waits until it has arrived, or cannot any more; what is `beside_us` is as quick as that.
    pub(super) async fn lands(self, beside_us: bool) {
        tokio::time::sleep(self.late(beside_us)).await;
    }

    fn late(self, beside_us: bool) -> Duration {
        let late = if beside_us { LATE.0 } else { LATE.1 };
        match self {
            Self::Nothing => Duration::ZERO,
            Self::CutOff(ago) => late.saturating_sub(ago),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_cut_off_just_now_is_waited_for() {
        let ms = Duration::from_millis;
        for (under_way, beside_us, late) in [
            (UnderWay::Nothing, false, ms(0)),
            (UnderWay::CutOff(ms(0)), true, ms(300)),
            (UnderWay::CutOff(ms(0)), false, ms(10_000)),
            (UnderWay::CutOff(ms(9_000)), false, ms(1_000)),
            (UnderWay::CutOff(ms(9_000)), true, ms(0)),
            (UnderWay::CutOff(ms(3_600_000)), false, ms(0)),
        ] {
            assert_eq!(under_way.late(beside_us), late, "{under_way:?} {beside_us}");
        }
    }
}
