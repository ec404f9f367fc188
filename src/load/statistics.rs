//! PURE: whether a measurement was in a steady state, and which values stand out.

/// Parts that the window is split into.
const WINDOWS: usize = 5;
/// Fewest values a window needs for its median to mean something.
const FEWEST: usize = 6;
/// Score beyond which chance makes no such trend in 999 of 1,000 steady measurements.
const TREND: f64 = 3.29;
/// Change of the median from the first to the last window below which a trend does not matter.
const DRIFT: f64 = 0.1;

/// Whether the values of a measurement drifted while it ran.
#[derive(Debug, Clone, PartialEq)]
pub struct Stationarity {
    /// Median of each of five equal parts, in order of time; empty when there are too few values.
    pub medians: Vec<u64>,
    /// Change of the median from the first part to the last, as a fraction of the first.
    pub drift: f64,
    /// Score of the Mann-Kendall trend test: positive when values rise.
    pub trend: f64,
    /// The finding.
    pub state: State,
}

/// See [`Stationarity::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No trend that matters.
    Steady,
    /// Values rose: a queue grows, or something fills up.
    Rising,
    /// Values fell: it was still warming up.
    Falling,
    /// Fewer than 30 values.
    TooFew,
}

/// Checks `values`, which stand in the order of their planned starts.
///
/// A trend is reported only when it is both significant (Mann-Kendall over all values, with correction
/// for ties) and large (10 % between the medians of the first and the last fifth).
#[must_use]
pub fn stationarity(values: &[u64]) -> Stationarity {
    if values.len() < WINDOWS * FEWEST {
        return Stationarity {
            medians: Vec::new(),
            drift: 0.0,
            trend: 0.0,
            state: State::TooFew,
        };
    }
    let medians: Vec<u64> = (0..WINDOWS)
        .map(|window| {
            let bounds = [window, window + 1].map(|edge| edge * values.len() / WINDOWS);
            median(&values[bounds[0]..bounds[1]])
        })
        .collect();
    let drift = as_f64(medians[WINDOWS - 1]) / as_f64(medians[0].max(1)) - 1.0;
    let trend = mann_kendall(values);
    let state = match trend {
        _ if drift.abs() < DRIFT => State::Steady,
        trend if trend > TREND && drift > 0.0 => State::Rising,
        trend if trend < -TREND && drift < 0.0 => State::Falling,
        _ => State::Steady,
    };
    Stationarity {
        medians,
        drift,
        trend,
        state,
    }
}

/// Values that stand out from the rest by Tukey's fences. They are labelled, never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outliers {
    /// Beyond 1.5 interquartile ranges from the quartiles, and not severe.
    pub mild: usize,
    /// Beyond 3.
    pub severe: usize,
}

/// Counts the outliers of `values`.
#[must_use]
pub fn outliers(values: &[u64]) -> Outliers {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let Some([lower, upper]) = (!sorted.is_empty()).then(|| {
        let last = sorted.len() - 1;
        [last / 4, last - last / 4].map(|rank| as_f64(sorted[rank]))
    }) else {
        return Outliers { mild: 0, severe: 0 };
    };
    let range = upper - lower;
    let beyond = |times: f64| {
        let outside =
            |value: &&u64| as_f64(**value) < lower - times * range || as_f64(**value) > upper + times * range;
        sorted.iter().filter(outside).count()
    };
    let severe = beyond(3.0);
    Outliers {
        mild: beyond(1.5) - severe,
        severe,
    }
}

fn median(values: &[u64]) -> u64 {
    let mut values = values.to_vec();
    let middle = values.len() / 2;
    *values.select_nth_unstable(middle).1
}

/// Score of the trend: how many later values are greater than earlier ones, less those that are
/// smaller, in standard deviations of a series without a trend.
fn mann_kendall(values: &[u64]) -> f64 {
    let n = as_f64(values.len() as u64);
    let mut sorted = values.to_vec();
    let falling = inversions(&mut sorted);
    // Sorted now: runs of equal values are ties.
    let ties: Vec<f64> = sorted
        .chunk_by(|a, b| a == b)
        .map(|run| as_f64(run.len() as u64))
        .collect();
    let tied_pairs: f64 = ties.iter().map(|ties| ties * (ties - 1.0) / 2.0).sum();
    let score = n * (n - 1.0) / 2.0 - tied_pairs - 2.0 * as_f64(falling);
    let spread = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let variance = (spread(n) - ties.into_iter().map(spread).sum::<f64>()) / 18.0;
    if variance <= 0.0 {
        return 0.0;
    }
    // A step towards zero makes up for the score being whole.
    (score - score.clamp(-1.0, 1.0)) / variance.sqrt()
}

/// Sorts `values` by merging and counts the pairs that stood in falling order.
fn inversions(values: &mut [u64]) -> u64 {
    if values.len() < 2 {
        return 0;
    }
    let middle = values.len() / 2;
    let (left, right) = values.split_at_mut(middle);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        if left[l] <= right[r] {
            merged.push(left[l]);
            l += 1;
        } else {
            count += (left.len() - l) as u64;
            merged.push(right[r]);
            r += 1;
        }
    }
    merged.extend_from_slice(&left[l..]);
    merged.extend_from_slice(&right[r..]);
    values.copy_from_slice(&merged);
    count
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; 53 bits are 104 days of nanoseconds"
)]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};

    use super::*;

    /// `count` values around `level(index)`, give or take a fifth.
    fn noisy(count: u64, seed: u64, level: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        (0..count)
            .map(|index| level(index) * random.random_range(80..=120) / 100)
            .collect()
    }

    #[test]
    fn states_are_told_apart() {
        let cases = [
            ("flat", noisy(500, 1, |_| 4_000_000), State::Steady),
            (
                "slope",
                noisy(500, 2, |index| 4_000_000 + index * 4_000),
                State::Rising,
            ),
            (
                "step",
                noisy(500, 3, |index| if index < 300 { 4_000_000 } else { 6_000_000 }),
                State::Rising,
            ),
            (
                "warming up",
                noisy(500, 4, |index| 4_000_000 + 8_000_000 / (index / 50 + 1)),
                State::Falling,
            ),
            (
                "a slope too small to matter",
                noisy(5_000, 5, |index| 4_000_000 + index * 40),
                State::Steady,
            ),
            ("all equal", vec![7; 100], State::Steady),
            ("too few", noisy(29, 6, |_| 4_000_000), State::TooFew),
        ];
        for (what, values, state) in cases {
            let found = stationarity(&values);
            assert_eq!(found.state, state, "{what}: {found:?}");
        }
    }

    #[test]
    fn steady_noise_is_rarely_called_a_trend() {
        let alarms = (0..500)
            .filter(|seed| stationarity(&noisy(200, *seed, |_| 1_000_000)).trend.abs() > TREND)
            .count();
        assert!(alarms <= 3, "{alarms} of 500; one in a thousand is meant");
    }

    #[test]
    fn the_trend_score_is_that_of_a_worked_example() {
        // S = 4 + 3 + 2 + 1, Var = 5 x 4 x 15 / 18, Z = (10 - 1) / sqrt(16.667).
        assert!((mann_kendall(&[1, 2, 3, 4, 5]) - 2.2045).abs() < 1e-3);
        assert!((mann_kendall(&[5, 4, 3, 2, 1]) + 2.2045).abs() < 1e-3);
        // S = 9 with a tie of two: Var = (300 - 18) / 18 = 15.667, Z = (9 - 1) / sqrt(15.667).
        assert!((mann_kendall(&[1, 2, 2, 3, 4]) - 8.0 / 15.667_f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn outliers_are_labelled_by_distance() {
        let mut values: Vec<u64> = (100..200).collect();
        assert_eq!(outliers(&values), Outliers { mild: 0, severe: 0 });
        values.extend([300, 10_000]);
        assert_eq!(outliers(&values), Outliers { mild: 1, severe: 1 });
        assert_eq!(outliers(&[]), Outliers { mild: 0, severe: 0 });
    }

    proptest! {
        #[test]
        fn inversions_agree_with_counting_pairs(values in prop::collection::vec(0..50_u64, 0..60)) {
            let pairs = (0..values.len())
                .flat_map(|later| (0..later).map(move |earlier| (earlier, later)))
                .filter(|(earlier, later)| values[*earlier] > values[*later])
                .count() as u64;
            let mut sorted = values.clone();
            prop_assert_eq!(inversions(&mut sorted), pairs);
            prop_assert!(sorted.is_sorted());
        }
    }
}
