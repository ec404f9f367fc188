//! Fires at planned moments, to a fraction of a millisecond.
//!
//! Tokio's timers tick at a millisecond, too coarse for 2,000 starts a second. So a thread sleeps
//! until shortly before each start, spins the rest, and hands the start over through a channel.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// Where the spinning starts. Linux wakes a sleeper up to 50 µs late by default (timer slack), and
/// scheduling adds about as much.
const SPIN: Duration = Duration::from_micros(120);
/// Starts that may wait to be taken. When the taker is further behind the thread waits for it, and
/// what that costs shows as lateness.
const BACKLOG: usize = 1_024;

/// A source of starts.
pub trait Starts: Send {
    /// The next start and its place in the schedule, when its time has come; `None` after the last.
    /// Cancel safe.
    fn next(&mut self) -> impl Future<Output = Option<Start>> + Send;
}

/// A start whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Place in the schedule, from 0.
    pub index: u32,
    /// When it was planned, from the start of the measurement.
    pub planned: Duration,
}

/// The pacing thread. Dropping this stops it.
#[derive(Debug)]
pub struct Pacer {
    due: mpsc::Receiver<Start>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Pacer {
    /// Fires at `starts`, offsets from `origin` that never fall.
    pub fn start(
        origin: Instant,
        starts: impl Iterator<Item = Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let (hand_over, due) = mpsc::channel(BACKLOG);
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            for (index, planned) in (0..).zip(starts) {
                // A start beyond the clock's range never comes.
                let Some(at) = origin.checked_add(planned) else {
                    return;
                };
                if !wait_until(at, &stop) || hand_over.blocking_send(Start { index, planned }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { due, stopped, thread })
    }
}

impl Starts for Pacer {
    fn next(&mut self) -> impl Future<Output = Option<Start>> + Send {
        self.due.recv()
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        // Wakes the thread out of either of its waits; it holds nothing, so nobody waits for it.
        self.due.close();
        self.stopped.store(true, Ordering::Release);
        self.thread.thread().unpark();
    }
}

/// Whether `at` came before the stop.
fn wait_until(at: Instant, stopped: &AtomicBool) -> bool {
    loop {
        if stopped.load(Ordering::Acquire) {
            return false;
        }
        let left = at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        match left.checked_sub(SPIN) {
            // May wake early; the loop looks again.
            Some(sleep) if !sleep.is_zero() => thread::park_timeout(sleep),
            _ => std::hint::spin_loop(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[tokio::test]
    async fn every_start_comes_in_order_and_never_early() {
        let origin = Instant::now();
        let starts = (0..200_u64).map(|index| Duration::from_micros(index * 250));
        let mut pacer = Pacer::start(origin, starts).unwrap();
        let mut expected = 0;
        while let Some(start) = pacer.next().await {
            assert!(origin.elapsed() >= start.planned);
            assert_eq!(
                start,
                Start {
                    index: expected,
                    planned: Duration::from_micros(u64::from(expected) * 250)
                }
            );
            expected += 1;
        }
        assert_eq!(expected, 200);
    }

    #[tokio::test]
    async fn an_endless_schedule_waits_for_its_taker_and_stops_with_it() {
        let mut pacer = Pacer::start(Instant::now(), std::iter::repeat(Duration::ZERO)).unwrap();
        for expected in 0..3_000 {
            assert_eq!(pacer.next().await.unwrap().index, expected);
        }
        let stopped = Arc::clone(&pacer.stopped);
        drop(pacer);
        ended(&stopped).await;
    }

    #[tokio::test]
    async fn a_long_sleep_is_interrupted() {
        let starts = std::iter::once(Duration::from_hours(1));
        let pacer = Pacer::start(Instant::now(), starts).unwrap();
        let stopped = Arc::clone(&pacer.stopped);
        drop(pacer);
        ended(&stopped).await;
    }
    /// Waits until the thread, which holds a clone until it ends, has ended.
    async fn ended(stopped: &Arc<AtomicBool>) {
        let gone = async {
            while Arc::strong_count(stopped) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}
