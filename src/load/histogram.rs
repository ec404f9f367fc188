//! PURE: histograms of latencies, their payloads in the journal, and the files that HdrHistogram's
//! tools read.
//!
//! Values are nanoseconds from 1 µs to 600 s with 3 significant digits: 22,528 buckets, 176 KiB.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use jiff::Timestamp;

use crate::journal::HistogramRecorded;

/// A histogram of nanoseconds.
pub type Histogram = hdrhistogram::Histogram<u64>;

/// Smallest time that is told apart, in nanoseconds.
const LOWEST_NS: u64 = 1_000;
/// Largest time, in nanoseconds; longer ones are recorded as this.
const HIGHEST_NS: u64 = 600_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;
/// Nanoseconds in a millisecond, the unit of values that people read in `.hlog` and `.hgrm`.
const NS_PER_MS: f64 = 1_000_000.0;
/// Lines of a `.hgrm` per halving of the distance to 100 %, the tools' own default.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// A payload that is no histogram.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not base64.
    #[error("histogram payload is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// Not a V2 histogram.
    #[error("histogram payload is not HdrHistogram V2: {0}")]
    Format(#[from] hdrhistogram::serialization::DeserializeError),
    /// Counts beyond what 64 bits hold, or bounds beyond what memory holds.
    #[error("histograms do not add up: {0}")]
    Add(#[from] hdrhistogram::AdditionError),
}

/// An empty histogram.
#[must_use]
pub fn empty() -> Histogram {
    Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).expect("the bounds are constant and valid")
}

/// `histogram` as the journal and `.hlog` lines hold it: V2, deflated, base64.
#[must_use]
pub fn encode(histogram: &Histogram) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to memory cannot fail, and counts of one run fit the encoding");
    STANDARD.encode(bytes)
}

/// The histogram in a [`HistogramRecorded::payload`].
pub fn decode(payload: &str) -> Result<Histogram, DecodeError> {
    let bytes = STANDARD.decode(payload)?;
    Ok(Deserializer::new().deserialize(&mut bytes.as_slice())?)
}

/// The slices of each tag added up. Percentiles of the sum are right; averaged ones would not be.
pub fn merge<'a>(
    slices: impl IntoIterator<Item = &'a HistogramRecorded>,
) -> Result<BTreeMap<String, Histogram>, DecodeError> {
    let mut sums: BTreeMap<String, Histogram> = BTreeMap::new();
    for slice in slices {
        let sum = sums.entry(slice.tag.clone()).or_insert_with(|| {
            let mut sum = empty();
            // A journal of another version may have wider bounds.
            sum.auto(true);
            sum
        });
        sum.add(decode(&slice.payload)?)?;
    }
    Ok(sums)
}

/// Values per second under `tag`, from the start of its first slice to the end of its last; absent
/// where there is none. Seconds in which nothing was recorded count.
pub fn per_second<'a>(
    slices: impl IntoIterator<Item = &'a HistogramRecorded>,
    tag: &str,
) -> Result<Option<f64>, DecodeError> {
    let (mut count, mut first_us, mut last_us) = (0, u64::MAX, 0);
    for slice in slices.into_iter().filter(|slice| slice.tag == tag) {
        count += decode(&slice.payload)?.len();
        first_us = first_us.min(slice.start_us);
        last_us = last_us.max(slice.start_us.saturating_add(slice.length_us));
    }
    let covered_us = last_us.saturating_sub(first_us);
    Ok((covered_us > 0).then(|| as_f64(count) * 1_000_000.0 / as_f64(covered_us)))
}

/// The interval log of a measurement: format 1.3, times in seconds from `started`, largest values in
/// milliseconds, one line per slice in order of time.
///
/// Both `StartTime` and `BaseTime` are written: with only one of them `HistogramLogReader` guesses.
pub fn hlog<'a>(
    measurement: &str,
    started: Timestamp,
    slices: impl IntoIterator<Item = &'a HistogramRecorded>,
) -> Result<String, DecodeError> {
    let mut slices: Vec<_> = slices.into_iter().collect();
    slices.sort_by(|a, b| (a.start_us, &a.tag).cmp(&(b.start_us, &b.tag)));
    let seconds = decimal_seconds(u64::try_from(started.as_microsecond()).unwrap_or(0));
    let mut log = format!(
        "#[Measurement: {}]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {seconds} (seconds since epoch), {started}]\n\
         #[BaseTime: {seconds} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        one_line(measurement),
    );
    for slice in slices {
        let max_ms = as_f64(decode(&slice.payload)?.max()) / NS_PER_MS;
        let _ = writeln!(
            log,
            "Tag={},{},{},{max_ms:.3},{}",
            // The format has no quoting: these end a tag.
            one_line(&slice.tag).replace([',', ' '], "-"),
            decimal_seconds(slice.start_us),
            decimal_seconds(slice.length_us),
            slice.payload,
        );
    }
    Ok(log)
}

/// The percentile spectrum of `histogram` in milliseconds, with the footer that plotters expect.
#[must_use]
pub fn hgrm(histogram: &Histogram) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut seen = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        seen += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let _ = write!(
            text,
            "{:12.3} {quantile:2.12} {seen:10}",
            as_f64(step.value_iterated_to().min(histogram.max())) / NS_PER_MS
        );
        if quantile < 1.0 {
            let _ = write!(text, " {:14.2}", 1.0 / (1.0 - quantile));
        }
        text.push('\n');
    }
    // Sub-buckets of a histogram with this many digits: the power of two above 2 x 10^digits.
    let sub_buckets = (2 * 10_u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let _ = write!(
        text,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]\n",
        histogram.mean() / NS_PER_MS,
        histogram.stdev() / NS_PER_MS,
        as_f64(histogram.max()) / NS_PER_MS,
        histogram.len(),
        histogram.buckets(),
    );
    text
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// Microseconds as seconds, without rounding.
fn decimal_seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
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
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[u64]) -> Histogram {
        let mut histogram = empty();
        for value in values {
            histogram.saturating_record(*value);
        }
        histogram
    }

    fn slice(tag: &str, start_us: u64, values: &[u64]) -> HistogramRecorded {
        HistogramRecorded {
            measurement: "mount-latency.csi".into(),
            tag: tag.into(),
            start_us,
            length_us: 1_000_000,
            payload: encode(&of(values)),
        }
    }

    proptest! {
        #[test]
        fn a_payload_reads_back_as_the_same_histogram(values in prop::collection::vec(0..700_000_000_000_u64, 0..200)) {
            let histogram = of(&values);
            prop_assert_eq!(decode(&encode(&histogram)).unwrap(), histogram);
        }

        #[test]
        fn no_text_makes_the_decoder_panic(text in "\\PC{0,80}") {
            prop_assert!(decode(&text).is_err());
        }
    }

    #[test]
    fn three_digits_from_a_microsecond_to_ten_minutes() {
        for value in [1_000, 1_234_000, 98_765_432, 600_000_000_000_u64] {
            let read = of(&[value]).max();
            assert!(
                read.abs_diff(value) <= value / 1_000 + 512,
                "{value} read as {read}"
            );
        }
        let too_long = of(&[3_600_000_000_000]).max();
        assert!(
            too_long.abs_diff(HIGHEST_NS) <= HIGHEST_NS / 500,
            "recorded as the longest, not lost"
        );
    }

    #[test]
    fn merging_adds_counts_per_tag() {
        let slices = [
            slice("steady", 0, &[1_000_000, 2_000_000]),
            slice("warm-up", 0, &[9]),
            slice("steady", 1_000_000, &[5]),
        ];
        let merged = merge(&slices).unwrap();
        assert_eq!(merged["steady"].len(), 3);
        assert_eq!(merged["warm-up"].len(), 1);
        assert_eq!(per_second(&slices, "steady").unwrap(), Some(1.5));
        assert_eq!(per_second(&slices, "lateness").unwrap(), None);
    }

    #[test]
    fn hdrhistograms_own_reader_reads_the_log_back() {
        let slices = [
            slice("steady", 2_500_000, &[4_000_000, 5_000_000]),
            slice("warm-up", 0, &[7_000_000]),
            slice("steady", 1_500_000, &[3_000_000]),
        ];
        let started = Timestamp::from_microsecond(1_764_000_000_123_456).unwrap();
        let log = hlog("mount-latency.csi", started, &slices).unwrap();

        let mut read = Vec::new();
        let (mut start, mut base) = (None, None);
        for entry in IntervalLogIterator::new(log.as_bytes()) {
            match entry.unwrap() {
                LogEntry::StartTime(time) => start = Some(time),
                LogEntry::BaseTime(time) => base = Some(time),
                LogEntry::Interval(line) => read.push((
                    line.tag().unwrap().as_str().to_owned(),
                    line.start_timestamp().as_micros(),
                    line.duration().as_micros(),
                    decode(line.encoded_histogram()).unwrap().len(),
                )),
            }
        }
        assert_eq!(start.map(|time| time.as_micros()), Some(1_764_000_000_123_456));
        assert_eq!(base, start);
        assert_eq!(
            read,
            [
                ("warm-up".to_owned(), 0, 1_000_000, 1),
                ("steady".to_owned(), 1_500_000, 1_000_000, 1),
                ("steady".to_owned(), 2_500_000, 1_000_000, 2),
            ]
        );
        assert_eq!(log.lines().nth(1), Some("#[Histogram log format version 1.3]"));
    }

    #[test]
    fn the_spectrum_counts_every_value_and_ends_with_the_footer() {
        let text = hgrm(&of(&(1..=1_000).map(|ms| ms * 1_000_000).collect::<Vec<_>>()));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "       Value     Percentile TotalCount 1/(1-Percentile)"
        );
        let last = lines.iter().rfind(|line| !line.starts_with('#')).unwrap();
        let columns: Vec<_> = last.split_whitespace().collect();
        assert_eq!(columns.len(), 3, "the last line has no distance to 100 %: {last}");
        assert_eq!(columns[1..], ["1.000000000000", "1000"]);
        let counts: Vec<u64> = lines[2..]
            .iter()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().nth(2).unwrap().parse().unwrap())
            .collect();
        assert!(counts.is_sorted());
        assert!(
            lines.iter().any(
                |line| line.starts_with("#[Max     =") && line.contains("Total count    =         1000]")
            )
        );
        assert!(lines.last().unwrap().contains("SubBuckets     =         2048]"));
    }

    #[test]
    fn an_empty_histogram_still_renders() {
        assert!(hgrm(&empty()).contains("Total count    =            0]"));
        assert_eq!(
            IntervalLogIterator::new(hlog("m", Timestamp::UNIX_EPOCH, []).unwrap().as_bytes()).count(),
            2
        );
    }
}
