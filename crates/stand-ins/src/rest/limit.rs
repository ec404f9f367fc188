//! The client-side rate limit that client-go puts before every request.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// A token bucket: `burst` requests at once, then `qps` a second, first come first served.
#[derive(Debug)]
pub struct TokenBucket {
    qps: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Negative when tokens of the future are spoken for.
    tokens: f64,
    at: Instant,
}

/// The wait would outlast the caller's deadline, so it was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("client rate limiter Wait returned an error: rate: Wait(n=1) would exceed context deadline")]
pub struct WouldExceedDeadline;

impl TokenBucket {
    /// A full bucket of `burst` tokens that refills at `qps` a second.
    #[must_use]
    pub fn new(qps: f64, burst: u32) -> Self {
        let burst = f64::from(burst);
        Self {
            qps,
            burst,
            state: Mutex::new(State {
                tokens: burst,
                at: Instant::now(),
            }),
        }
    }

    /// Waits for a token, or fails at once when none is to be had before `deadline`.
    pub async fn take(&self, deadline: Option<Instant>) -> Result<(), WouldExceedDeadline> {
        let ready = self.reserve(Instant::now(), deadline)?;
        tokio::time::sleep_until(ready).await;
        Ok(())
    }

    /// When the next token is free, seen from `now`; taking it.
    fn reserve(&self, now: Instant, deadline: Option<Instant>) -> Result<Instant, WouldExceedDeadline> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refilled = now.saturating_duration_since(state.at).as_secs_f64() * self.qps;
        let tokens = (state.tokens + refilled).min(self.burst);
        state.at = now;
        state.tokens = tokens;
        let wait = ((1.0 - tokens) / self.qps).max(0.0);
        let ready = now + Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX / 4);
        if deadline.is_some_and(|deadline| ready > deadline) {
            return Err(WouldExceedDeadline);
        }
        state.tokens -= 1.0;
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model of the limiter says when the last of n mounts that arrive at once is served.
    #[test]
    fn last_of_a_burst_is_served_when_the_model_says() {
        let start = Instant::now();
        for (qps, burst, requests, last) in [
            (5.0, 10, 10, 0.0),
            (5.0, 10, 11, 0.2),
            (5.0, 10, 110, 20.0),
            (5.0, 10, 330, 64.0),
            (20.0, 30, 230, 10.0),
        ] {
            let bucket = TokenBucket::new(qps, burst);
            let mut served = start;
            for _ in 0..requests {
                served = bucket.reserve(start, None).expect("no deadline");
            }
            let waited = (served - start).as_secs_f64();
            assert!(
                (waited - last).abs() < 0.05,
                "{requests} requests at {qps}/s burst {burst}: {waited} s, not {last} s"
            );
        }
    }

    #[test]
    fn a_wait_beyond_the_deadline_fails_at_once_and_takes_no_token() {
        let start = Instant::now();
        let bucket = TokenBucket::new(1.0, 1);
        assert_eq!(bucket.reserve(start, None), Ok(start));
        let soon = start + Duration::from_millis(500);
        assert_eq!(bucket.reserve(start, Some(soon)), Err(WouldExceedDeadline));
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.reserve(start, Some(later)), Ok(later));
    }
}
