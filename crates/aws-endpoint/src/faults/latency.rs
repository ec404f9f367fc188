//! How long answers are held back.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};
use rand::{Rng, RngExt as _};

/// Longest wait that is ever drawn: a lognormal distribution has no longest.
pub(super) const LONGEST: Duration = Duration::from_mins(10);

/// A distribution of waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Latency {
    /// Always the same.
    Fixed(Duration),
    /// Lognormal: `median * exp(sigma * z)` with a standard normal `z`.
    Lognormal {
        /// Half of the waits are shorter.
        median: Duration,
        /// How far they spread; 0 is no spread, and at 1 one in a hundred is ten times the median.
        sigma: f64,
    },
    /// As measured.
    Recorded(Recorded),
}

/// A measured distribution: what share of waits is at most how long.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The file, and the tag of its histograms after a `#`.
    pub(super) from: String,
    /// Shares from 0 to 1 in rising order; each wait is that of the first share that is not exceeded.
    steps: Arc<[(f64, Duration)]>,
}

impl Latency {
    /// One wait.
    pub(crate) fn sample(&self, dice: &mut impl Rng) -> Duration {
        match self {
            Self::Fixed(wait) => *wait,
            Self::Lognormal { median, sigma } => {
                let factor = (sigma * standard_normal(dice)).exp();
                seconds(median.as_secs_f64() * factor)
            }
            Self::Recorded(recorded) => recorded.at(dice.random::<f64>()),
        }
    }
}

impl Recorded {
    /// Reads an `.hlog` of `HdrHistogram` (version 1.x, values in nanoseconds) or an `.hgrm` percentile file
    /// (values in milliseconds), as this project's reports have them. With `tag` only the intervals of that tag.
    ///
    /// The error completes the sentence "`<file>` is no recorded latency: ...".
    pub(super) fn read(from: &str, tag: Option<&str>, text: &str) -> Result<Self, String> {
        let steps = if text.trim_start().starts_with("#[") || text.contains("HISTF") {
            log_steps(text, tag)?
        } else if tag.is_some() {
            return Err("a percentile file has no tags".to_owned());
        } else {
            percentile_steps(text)?
        };
        if steps.is_empty() {
            return Err("it holds no values".to_owned());
        }
        Ok(Self {
            from: from.to_owned(),
            steps: steps.into(),
        })
    }

    fn at(&self, share: f64) -> Duration {
        let index = self.steps.partition_point(|(step, _)| *step < share);
        self.steps[index.min(self.steps.len() - 1)].1
    }
}

/// Rows of `value percentile count 1/(1-percentile)`.
fn percentile_steps(text: &str) -> Result<Vec<(f64, Duration)>, String> {
    let mut steps: Vec<(f64, Duration)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') || line.starts_with("Value") {
            continue;
        }
        let mut columns = line.split_whitespace().map(str::parse::<f64>);
        let (Some(Ok(value)), Some(Ok(share))) = (columns.next(), columns.next()) else {
            return Err(format!("`{line}` is no row of a percentile file"));
        };
        let rises = steps.last().is_none_or(|(last, _)| share >= *last);
        if !rises || !(0.0..=1.0).contains(&share) || !value.is_finite() || value < 0.0 {
            return Err(format!("`{line}` is out of order or out of range"));
        }
        steps.push((share, seconds(value / 1000.0)));
    }
    Ok(steps)
}

fn log_steps(text: &str, tag: Option<&str>) -> Result<Vec<(f64, Duration)>, String> {
    let mut merged: Option<Histogram<u64>> = None;
    let mut tags: Vec<String> = Vec::new();
    for entry in IntervalLogIterator::new(text.as_bytes()) {
        let LogEntry::Interval(line) = entry.map_err(|error| format!("{error:?}"))? else {
            continue;
        };
        let own = line.tag().map(|tag| tag.as_str()).unwrap_or_default();
        if !tags.iter().any(|known| known == own) {
            tags.push(own.to_owned());
        }
        if tag.is_some_and(|tag| tag != own) {
            continue;
        }
        let bytes = BASE64_STANDARD
            .decode(line.encoded_histogram())
            .map_err(|error| error.to_string())?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut &bytes[..])
            .map_err(|error| error.to_string())?;
        match &mut merged {
            None => merged = Some(histogram),
            Some(merged) => {
                merged.auto(true);
                merged.add(&histogram).map_err(|error| error.to_string())?;
            }
        }
    }
    if tag.is_none() && tags.len() > 1 {
        let tags = tags.join(", ");
        return Err(format!(
            "it has histograms of several tags; write FILE#TAG with one of: {tags}"
        ));
    }
    let Some(histogram) = merged else {
        return Ok(Vec::new());
    };
    let steps = histogram.iter_recorded().map(|step| {
        let wait = Duration::from_nanos(step.value_iterated_to());
        (step.quantile_iterated_to(), wait.min(LONGEST))
    });
    Ok(steps.collect())
}

/// By the method of Box and Muller.
fn standard_normal(dice: &mut impl Rng) -> f64 {
    // From (0, 1]: the logarithm of zero is no number.
    let (a, b) = (1.0 - dice.random::<f64>(), dice.random::<f64>());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0))
        .unwrap_or(LONGEST)
        .min(LONGEST)
}
