//! PURE: latency figures of merged histogram slices.
//!
//! Slices are merged, percentiles never averaged. A percentile is only there where the sample is
//! large enough for its 95 % bounds to exist.

use crate::{
    journal::HistogramRecorded,
    load::{
        histogram::{self, DecodeError, Histogram},
        percentiles::{self, Percentiles},
    },
};

/// Points of a curve per halving of the distance to 100 %.
const CURVE_TICKS: u32 = 10;
/// Points of a curve at most.
const LONGEST_CURVE: usize = 400;

/// The merged slices of one tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// [`HistogramRecorded::tag`].
    pub tag: String,
    /// Its figures.
    pub latency: Latency,
    /// Values per second over the time that its slices cover.
    pub per_second: Option<f64>,
}

/// Figures of a sample of latencies. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Latency {
    /// Count, extremes and percentiles with their bounds.
    pub percentiles: Percentiles,
    /// The whole distribution: share of samples at or below a value, rising.
    pub curve: Vec<CurvePoint>,
}

/// One point of a percentile curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// From 0 to 1.
    pub quantile: f64,
    /// The value there, in nanoseconds.
    pub value_ns: u64,
}

impl Series {
    /// Merges `slices` by tag, in reading order: `warm-up` and `steady` first, then the others by name.
    pub fn merge(slices: &[HistogramRecorded]) -> Result<Vec<Self>, DecodeError> {
        let mut series = Vec::new();
        for (tag, merged) in histogram::merge(slices)? {
            let per_second = histogram::per_second(slices, &tag)?;
            series.push(Self {
                latency: Latency::of(&merged),
                tag,
                per_second,
            });
        }
        series.sort_by_key(|series| match series.tag.as_str() {
            "warm-up" => 0,
            "steady" => 1,
            _ => 2,
        });
        Ok(series)
    }
}

impl Latency {
    /// Figures of `histogram`, whose values are nanoseconds.
    #[must_use]
    pub fn of(histogram: &Histogram) -> Self {
        let curve = histogram
            .iter_quantiles(CURVE_TICKS)
            .map(|step| CurvePoint {
                quantile: step.quantile_iterated_to(),
                value_ns: step.value_iterated_to().min(histogram.max()),
            })
            .take(LONGEST_CURVE)
            .collect();
        Self {
            percentiles: percentiles::percentiles(histogram),
            curve,
        }
    }

    /// Number of samples.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.percentiles.count
    }

    /// The percentile of this name, such as `p99`, where the sample is large enough.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<u64> {
        let listed = self
            .percentiles
            .listed
            .iter()
            .find(|percentile| percentile.name == name)?;
        listed.estimate.map(|estimate| estimate.value_ns)
    }

    /// The figures that reports list, with their names; absent ones are left out.
    pub fn figures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let listed = self.percentiles.listed.iter();
        let listed = listed.filter_map(|percentile| Some((percentile.name, percentile.estimate?.value_ns)));
        listed.chain((self.count() > 0).then_some(("max", self.percentiles.max_ns)))
    }
}
