//! PURE: percentiles with their 95 % confidence intervals, and none where the sample is too small.
//!
//! The interval comes from order statistics: the number of samples at or below the true percentile
//! is binomial whatever the distribution of latencies is, so two ranks of the sorted sample bracket it.
//! Where no rank is high enough (`q^n > 2.5 %`: fewer than 368 samples for p99, 3,688 for p99.9) the
//! percentile is refused: it would be the maximum under another name.

use super::histogram::Histogram;

/// The percentiles that reports list.
pub const LISTED: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
];

/// Probability that the true percentile is below, and again above, the interval.
const TAIL: f64 = 0.025;

/// Figures of a sample. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentiles {
    /// Number of samples.
    pub count: u64,
    /// Smallest.
    pub min_ns: u64,
    /// Mean.
    pub mean_ns: f64,
    /// Largest.
    pub max_ns: u64,
    /// [`LISTED`], in that order.
    pub listed: Vec<Percentile>,
}

/// One percentile of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Percentile {
    /// Such as `p99`.
    pub name: &'static str,
    /// Such as 0.99.
    pub quantile: f64,
    /// Absent when the sample has fewer than `needed` values.
    pub estimate: Option<Estimate>,
    /// Fewest samples for which the interval exists.
    pub needed: u64,
}

/// A percentile and the interval that holds the true one with 95 % confidence, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Nearest rank.
    pub value_ns: u64,
    /// Lower bound.
    pub low_ns: u64,
    /// Upper bound.
    pub high_ns: u64,
}

/// The figures of `histogram`.
#[must_use]
pub fn percentiles(histogram: &Histogram) -> Percentiles {
    let listed = LISTED.map(|(name, quantile)| Percentile {
        name,
        quantile,
        estimate: estimate(histogram, quantile),
        needed: needed(quantile),
    });
    Percentiles {
        count: histogram.len(),
        min_ns: histogram.min(),
        mean_ns: histogram.mean(),
        max_ns: histogram.max(),
        listed: listed.into(),
    }
}

/// Fewest samples for which a two-sided 95 % interval of `quantile`, above the median or it, exists.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive count"
)]
pub fn needed(quantile: f64) -> u64 {
    (TAIL.ln() / quantile.ln()).ceil() as u64
}

fn estimate(histogram: &Histogram, quantile: f64) -> Option<Estimate> {
    let (low, high) = interval_ranks(histogram.len(), quantile)?;
    let [low_ns, value_ns, high_ns] =
        at_ranks(histogram, [low, nearest_rank(histogram.len(), quantile), high]);
    Some(Estimate {
        value_ns,
        low_ns,
        high_ns,
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53"
)]
fn nearest_rank(count: u64, quantile: f64) -> u64 {
    // Without the correction 0.99 x 1,000 would round up past 990.
    ((quantile * count as f64 - 1e-9).ceil() as u64).clamp(1, count.max(1))
}

/// Ranks (from 1) of the sorted sample that bound the true quantile, or none where the sample is too
/// small: the largest `low` with P(B < low) <= 2.5 % and the smallest `high` with P(B >= high) <= 2.5 %,
/// for B binomial in `count` and `quantile`.
fn interval_ranks(count: u64, quantile: f64) -> Option<(u64, u64)> {
    if count < needed(quantile) {
        return None;
    }
    let (first, probabilities) = binomial(count, quantile);
    let mut below = 0.0;
    let mut low = first;
    for probability in &probabilities {
        below += probability;
        if below > TAIL {
            break;
        }
        low += 1;
    }
    let mut above = 0.0;
    let mut high = first + probabilities.len() as u64;
    for probability in probabilities.iter().rev() {
        above += probability;
        if above > TAIL {
            break;
        }
        high -= 1;
    }
    Some((low.max(1), high.min(count)))
}

/// Probabilities of the binomial distribution from the first value that matters on. They are walked
/// from the mode in both directions until they vanish, so a sample of millions costs thousands of steps.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53"
)]
fn binomial(count: u64, quantile: f64) -> (u64, Vec<f64>) {
    const NEGLIGIBLE: f64 = 1e-18;
    let n = count as f64;
    let odds = quantile / (1.0 - quantile);
    let mode = (((n + 1.0) * quantile).floor() as u64).min(count);
    let mut downwards = Vec::new();
    let (mut k, mut weight) = (mode, 1.0);
    while k > 0 && weight > NEGLIGIBLE {
        weight *= k as f64 / ((n - k as f64 + 1.0) * odds);
        k -= 1;
        downwards.push(weight);
    }
    let first = k;
    let mut weights: Vec<f64> = downwards.into_iter().rev().collect();
    weights.push(1.0);
    let (mut k, mut weight) = (mode, 1.0);
    while k < count && weight > NEGLIGIBLE {
        weight *= (n - k as f64) * odds / (k as f64 + 1.0);
        k += 1;
        weights.push(weight);
    }
    let sum: f64 = weights.iter().sum();
    (first, weights.into_iter().map(|weight| weight / sum).collect())
}

/// Values at rising `ranks` (from 1), in one pass.
fn at_ranks<const N: usize>(histogram: &Histogram, ranks: [u64; N]) -> [u64; N] {
    let mut values = [histogram.max(); N];
    let mut steps = histogram.iter_recorded();
    let (mut seen, mut value) = (0, histogram.min());
    for (rank, slot) in ranks.into_iter().zip(&mut values) {
        while seen < rank {
            let Some(step) = steps.next() else { break };
            seen += step.count_at_value();
            value = step.value_iterated_to().min(histogram.max());
        }
        *slot = value;
    }
    values
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;
    use crate::load::histogram::empty;

    fn ramp(count: u64) -> Histogram {
        let mut histogram = empty();
        for value in 1..=count {
            // Whole microseconds below 2 ms are told apart exactly.
            histogram.saturating_record(value * 1_000);
        }
        histogram
    }

    #[test]
    fn sample_sizes_are_those_of_the_literature() {
        for (quantile, expected) in [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368), (0.999, 3_688)] {
            assert_eq!(needed(quantile), expected, "{quantile}");
        }
    }

    #[test]
    fn a_percentile_is_refused_one_sample_short() {
        for (name, quantile) in LISTED {
            let find = |count| {
                let figures = percentiles(&ramp(count));
                figures
                    .listed
                    .into_iter()
                    .find(|listed| listed.name == name)
                    .unwrap()
                    .estimate
            };
            assert_eq!(find(needed(quantile) - 1), None, "{name}");
            assert!(find(needed(quantile)).is_some(), "{name}");
        }
    }

    #[test]
    fn interval_ranks_are_those_of_published_tables() {
        // Distribution-free 95 % intervals of the median: ranks for n = 6, 10, 20, 50, 100.
        for (count, expected) in [
            (6, (1, 6)),
            (10, (2, 9)),
            (20, (6, 15)),
            (50, (18, 33)),
            (100, (40, 61)),
        ] {
            assert_eq!(interval_ranks(count, 0.5), Some(expected), "n = {count}");
        }
        assert_eq!(interval_ranks(368, 0.99).unwrap().1, 368);
    }

    #[test]
    fn the_binomial_sums_to_one_and_is_right_where_it_is_easy() {
        let (first, probabilities) = binomial(4, 0.5);
        assert_eq!(first, 0);
        for (probability, sixteenths) in probabilities.iter().zip([1.0, 4.0, 6.0, 4.0, 1.0]) {
            assert!((probability - sixteenths / 16.0).abs() < 1e-12);
        }
        let (_, probabilities) = binomial(3_000_000, 0.999);
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(probabilities.len() < 20_000);
    }

    #[test]
    fn values_are_those_of_the_nearest_rank() {
        let figures = percentiles(&ramp(1_000));
        let p99 = figures.listed[3].estimate.unwrap();
        assert_eq!(p99.value_ns / 1_000, 990);
        assert!(p99.low_ns < p99.value_ns && p99.value_ns < p99.high_ns);
        assert_eq!(figures.count, 1_000);
    }

    #[test]
    fn nothing_recorded_gives_no_percentile() {
        let figures = percentiles(&empty());
        assert_eq!((figures.count, figures.max_ns), (0, 0));
        assert!(figures.listed.iter().all(|listed| listed.estimate.is_none()));
    }

    #[test]
    fn intervals_hold_the_true_percentile_as_often_as_they_say() {
        use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};
        let mut random = Xoshiro256PlusPlus::seed_from_u64(41);
        let trials = 1_000;
        let held = (0..trials)
            .filter(|_| {
                let mut histogram = empty();
                for _ in 0..400 {
                    histogram.saturating_record(random.random_range(1_000..1_000_000_000));
                }
                let p90 = percentiles(&histogram).listed[1].estimate.unwrap();
                (p90.low_ns..=p90.high_ns).contains(&900_000_100)
            })
            .count();
        // At least 95 %, and not absurdly wide; seeded, so this never wavers.
        assert!((940..=985).contains(&held), "{held} of {trials}");
    }

    proptest! {
        #[test]
        fn an_interval_brackets_its_estimate(values in prop::collection::vec(1_000..1_000_000_000_u64, 1..800)) {
            let mut histogram = empty();
            for value in &values {
                histogram.saturating_record(*value);
            }
            for listed in percentiles(&histogram).listed {
                if let Some(estimate) = listed.estimate {
                    prop_assert!(estimate.low_ns <= estimate.value_ns);
                    prop_assert!(estimate.value_ns <= estimate.high_ns);
                    prop_assert!(estimate.high_ns <= histogram.max());
                }
            }
        }
    }
}
