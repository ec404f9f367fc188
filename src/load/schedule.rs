//! PURE: when each operation of an open loop starts, and whose it is.
//!
//! Starts are absolute offsets from the start of the measurement, fixed before it begins: a slow
//! target cannot slow its own load down, and nothing drifts.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus, seq::SliceRandom as _};

use crate::scenario::model::Arrival;

/// Distribution of starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Evenly spaced, so many per second.
    Constant(f64),
    /// Independent of each other, so many per second on average.
    Poisson {
        /// Mean starts per second.
        rate: f64,
        /// The same seed gives the same starts, on every machine and version.
        seed: u64,
    },
    /// All at once, as when a drained node's pods move.
    Burst,
}

/// Starts that cannot be planned.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// The rate is zero, negative or no number.
    #[error("a rate of {0} starts per second cannot be planned: it must be above 0 and finite")]
    Rate(f64),
    /// Nothing to plan for.
    #[error("mounts cannot be planned without a tenant")]
    NoTenants,
}

impl Arrivals {
    /// As a scenario says it, with the run's seed.
    pub fn of(arrival: Arrival, rate: f64, seed: u64) -> Result<Self, ScheduleError> {
        if !(rate.is_finite() && rate > 0.0) {
            return Err(ScheduleError::Rate(rate));
        }
        Ok(match arrival {
            Arrival::Constant => Self::Constant(rate),
            Arrival::Poisson => Self::Poisson { rate, seed },
        })
    }

    /// The starts, without end and never falling.
    #[must_use]
    pub fn starts(self) -> Box<dyn Iterator<Item = Duration> + Send> {
        match self {
            // From the index, not from the start before: rounding does not add up.
            Self::Constant(rate) => Box::new((0_u32..).map(move |index| seconds(f64::from(index) / rate))),
            Self::Poisson { rate, seed } => {
                let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
                Box::new(
                    std::iter::repeat_with(move || -(1.0 - random.random::<f64>()).ln() / rate).scan(
                        0.0,
                        |at, gap| {
                            *at += gap;
                            Some(seconds(*at))
                        },
                    ),
                )
            }
            Self::Burst => Box::new(std::iter::repeat(Duration::ZERO)),
        }
    }

    /// Its name and figures, as reports print them.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Constant(rate) => format!("constant, {rate}/s"),
            Self::Poisson { rate, seed } => format!("Poisson, {rate}/s on average, seed {seed}"),
            Self::Burst => "burst, all at once".to_owned(),
        }
    }
}

/// Which tenant, as an index below `tenants`, each of `count` operations belongs to.
///
/// Each tenant gets its fair share to within one. With a seed the order is shuffled, so that no
/// tenant always follows the same other; without, tenants take turns.
pub fn assign(count: usize, tenants: usize, seed: Option<u64>) -> Result<Vec<usize>, ScheduleError> {
    if tenants == 0 {
        return Err(ScheduleError::NoTenants);
    }
    let mut owners: Vec<usize> = (0..tenants).cycle().take(count).collect();
    if let Some(seed) = seed {
        owners.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(seed));
    }
    Ok(owners)
}

/// Saturating: a start beyond what a duration holds never comes either way.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;

    fn arrivals() -> impl Strategy<Value = Arrivals> {
        let rate = 0.1..50_000.0_f64;
        prop_oneof![
            rate.clone().prop_map(Arrivals::Constant),
            (rate, any::<u64>()).prop_map(|(rate, seed)| Arrivals::Poisson { rate, seed }),
            Just(Arrivals::Burst),
        ]
    }

    proptest! {
        #[test]
        fn starts_never_fall_and_are_reproducible(arrivals in arrivals(), count in 1..500_usize) {
            let starts: Vec<_> = arrivals.starts().take(count).collect();
            prop_assert!(starts.is_sorted());
            prop_assert_eq!(starts, arrivals.starts().take(count).collect::<Vec<_>>());
        }

        #[test]
        fn constant_starts_are_where_they_belong(rate in 0.1..50_000.0_f64, index in 0..100_000_u32) {
            let start = Arrivals::Constant(rate).starts().nth(index as usize).unwrap();
            prop_assert!((start.as_secs_f64() - f64::from(index) / rate).abs() < 1e-6);
        }

        #[test]
        fn poisson_keeps_its_mean_rate(rate in 0.1..50_000.0_f64, seed: u64) {
            let count = 10_000;
            let last = Arrivals::Poisson { rate, seed }.starts().nth(count - 1).unwrap();
            let seen = 10_000.0 / last.as_secs_f64();
            // The standard deviation of the mean gap is 1 %; six of them.
            prop_assert!((seen / rate - 1.0).abs() < 0.06, "{} for {}", seen, rate);
        }

        #[test]
        fn tenants_share_fairly_and_reproducibly(count in 0..400_usize, tenants in 1..40_usize, seed: Option<u64>) {
            let owners = assign(count, tenants, seed).unwrap();
            prop_assert_eq!(owners.len(), count);
            let mut shares = vec![0_usize; tenants];
            for owner in &owners {
                shares[*owner] += 1;
            }
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
            prop_assert_eq!(owners, assign(count, tenants, seed).unwrap());
        }
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let starts: Vec<_> = Arrivals::Poisson {
            rate: 100.0,
            seed: 41,
        }
        .starts()
        .take(20_001)
        .collect();
        let gaps: Vec<f64> = starts
            .windows(2)
            .map(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64())
            .collect();
        let share_below = |limit: f64| {
            let below = u32::try_from(gaps.iter().filter(|gap| **gap < limit).count()).unwrap();
            f64::from(below) / 20_000.0
        };
        assert!(
            (share_below(0.01) - 0.632).abs() < 0.015,
            "a mean gap holds 1 - 1/e"
        );
        assert!((share_below(0.03) - 0.950).abs() < 0.01);
    }

    #[test]
    fn the_first_constant_start_is_at_once() {
        let starts: Vec<_> = Arrivals::Constant(4.0).starts().take(3).collect();
        assert_eq!(starts, [0, 250, 500].map(Duration::from_millis));
    }

    #[test]
    fn another_seed_gives_other_starts() {
        let starts = |seed| {
            Arrivals::Poisson { rate: 10.0, seed }
                .starts()
                .take(5)
                .collect::<Vec<_>>()
        };
        assert_ne!(starts(1), starts(2));
        assert_ne!(assign(50, 5, Some(1)).unwrap(), assign(50, 5, Some(2)).unwrap());
    }

    #[test]
    fn impossible_plans_are_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Arrivals::of(Arrival::Constant, rate, 1).is_err(), "{rate}");
        }
        assert_eq!(assign(3, 0, None), Err(ScheduleError::NoTenants));
    }
}
