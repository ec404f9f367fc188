//! PURE: when client-side token buckets let the last mount through, and which of them binds.
//!
//! Every mount takes tokens from client-go limiters on its way: kubelet's, the provider's and the
//! driver's. With the provider's defaults (`--qps=5 --burst=10`) and three reads a mount, the 110th
//! mount of a full node waits 64 s. That is computable before a run, and explains it after.

use std::time::Duration;

/// A token bucket that mounts pass, as `golang.org/x/time/rate` implements it: full at first, first
/// come first served, tokens reserved on arrival.
#[derive(Debug, Clone, PartialEq)]
pub struct Bucket {
    /// Whose it is, such as `provider --qps=5 --burst=10`.
    pub name: String,
    /// Tokens added each second.
    pub qps: f64,
    /// Tokens it holds at most.
    pub burst: f64,
    /// Tokens that a mount takes.
    pub per_mount: f64,
}

/// What the buckets do to a schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// When the last mount is through, from the start of the measurement.
    pub last: Duration,
    /// Longest time that one mount waits in all buckets together.
    pub longest_wait: Duration,
    /// Mounts that wait beyond the deadline.
    pub beyond_deadline: usize,
    /// The bucket that alone would let the last mount through latest; absent when none delays it.
    pub binding: Option<Bucket>,
}

/// The AWS provider's limiter to the Kubernetes API: one read of the ServiceAccount a mount, and one of
/// the pod and one of its node when neither the class nor the environment gives a region.
#[must_use]
pub fn provider(qps: f64, burst: f64, region_given: bool) -> Bucket {
    let per_mount = if region_given { 1.0 } else { 3.0 };
    Bucket {
        name: format!("provider --qps={qps} --burst={burst}"),
        qps,
        burst,
        per_mount,
    }
}

/// The driver's limiter: controller-runtime's default, not configurable; one
/// SecretProviderClassPodStatus is created a mount.
#[must_use]
pub fn driver() -> Bucket {
    Bucket {
        name: "driver (controller-runtime 20/s, burst 30)".to_owned(),
        qps: 20.0,
        burst: 30.0,
        per_mount: 1.0,
    }
}

/// Kubelet's limiter (`kubeAPIQPS`, `kubeAPIBurst`) for the one TokenRequest that each audience of the
/// CSIDriver costs. The csi lens does not pass it.
#[must_use]
pub fn kubelet(audiences: u32) -> Bucket {
    Bucket {
        name: "kubelet kubeAPIQPS=50 kubeAPIBurst=100".to_owned(),
        qps: 50.0,
        burst: 100.0,
        per_mount: f64::from(audiences),
    }
}

/// Sends mounts that start at `starts` (never falling) through `path` in order. Buckets are the only
/// thing that takes time.
#[must_use]
pub fn predict(path: &[Bucket], starts: &[Duration], deadline: Duration) -> Prediction {
    let through = pass(path, starts);
    let waits = || {
        starts
            .iter()
            .zip(&through)
            .map(|(start, through)| through - start.as_secs_f64())
    };
    let last = |through: &[f64]| through.iter().copied().fold(0.0, f64::max);
    // Of buckets in a row the slowest decides, wherever the queue stands: so each is asked alone.
    let unlimited = starts.last().copied().unwrap_or_default().as_secs_f64();
    let binding = path
        .iter()
        .map(|bucket| (bucket, last(&pass(std::slice::from_ref(bucket), starts))))
        .filter(|(_, last)| *last > unlimited)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(bucket, _)| bucket.clone());
    Prediction {
        last: duration(last(&through)),
        longest_wait: duration(waits().fold(0.0, f64::max)),
        beyond_deadline: waits().filter(|wait| *wait > deadline.as_secs_f64()).count(),
        binding,
    }
}

/// The most mounts that can start at once and all be through `path` within `deadline`; `None` when
/// no bucket limits them.
#[must_use]
pub fn most_at_once(path: &[Bucket], deadline: Duration) -> Option<u64> {
    path.iter()
        .filter(|bucket| bucket.per_mount > 0.0)
        .map(|bucket| whole((deadline.as_secs_f64() * bucket.qps + bucket.burst) / bucket.per_mount))
        .min()
}

/// The smallest whole `qps` with which `bucket` lets `mounts` that start at once through within
/// `deadline`: what to advise.
#[must_use]
pub fn qps_needed(bucket: &Bucket, mounts: u32, deadline: Duration) -> u64 {
    let tokens = f64::from(mounts) * bucket.per_mount - bucket.burst;
    whole((tokens / deadline.as_secs_f64()).ceil().max(0.0))
}

/// When each mount is through every bucket, in seconds.
fn pass(path: &[Bucket], starts: &[Duration]) -> Vec<f64> {
    let mut levels: Vec<Level> = path
        .iter()
        .map(|bucket| Level {
            tokens: bucket.burst,
            at: 0.0,
        })
        .collect();
    starts
        .iter()
        .map(|start| {
            path.iter()
                .zip(&mut levels)
                .fold(start.as_secs_f64(), |at, (bucket, level)| level.pass(bucket, at))
        })
        .collect()
}

struct Level {
    tokens: f64,
    at: f64,
}

impl Level {
    /// When a mount that arrives at `at` is through: its tokens are reserved at once, and it waits
    /// until the last of them is there.
    fn pass(&mut self, bucket: &Bucket, at: f64) -> f64 {
        let refilled = self.tokens + (at - self.at).max(0.0) * bucket.qps;
        self.tokens = bucket.burst.min(refilled) - bucket.per_mount;
        self.at = self.at.max(at);
        at + (-self.tokens / bucket.qps).max(0.0)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;
    use crate::load::schedule::Arrivals;

    const CSI_DEADLINE: Duration = Duration::from_mins(2);

    fn burst(path: &[Bucket], mounts: usize) -> Prediction {
        predict(path, &vec![Duration::ZERO; mounts], CSI_DEADLINE)
    }

    #[test]
    fn the_last_mount_of_a_node_is_served_when_the_literature_says() {
        let defaults = |region_given| provider(5.0, 10.0, region_given);
        let cases = [
            (false, 15, 7),
            (false, 30, 16),
            (false, 58, 33),
            (false, 110, 64),
            (false, 360, 214), // 36 pods with 10 volumes each: past the 2 minutes, as users saw.
            (true, 110, 20),
            (true, 250, 48),
        ];
        for (region_given, mounts, seconds) in cases {
            let prediction = burst(&[defaults(region_given), driver()], mounts);
            assert_eq!(
                (prediction.last + Duration::from_millis(500)).as_secs(),
                seconds,
                "{mounts} mounts"
            );
            assert!(prediction.binding.unwrap().name.starts_with("provider"));
        }
        assert_eq!(
            most_at_once(&[defaults(false), driver()], CSI_DEADLINE),
            Some(203)
        );
        assert_eq!(most_at_once(&[defaults(true), driver()], CSI_DEADLINE), Some(610));
        assert_eq!(burst(&[defaults(false)], 203).beyond_deadline, 0);
        assert_eq!(burst(&[defaults(false)], 204).beyond_deadline, 1);
    }

    #[test]
    fn the_driver_binds_once_the_provider_is_given_more() {
        let prediction = burst(&[kubelet(2), provider(200.0, 400.0, true), driver()], 230);
        assert!(prediction.binding.unwrap().name.starts_with("driver"));
        assert_eq!(prediction.last, Duration::from_secs(10));
    }

    #[test]
    fn below_every_rate_nothing_waits() {
        let path = [kubelet(2), provider(5.0, 10.0, true), driver()];
        let starts: Vec<_> = Arrivals::Constant(4.0).starts().take(500).collect();
        let prediction = predict(&path, &starts, CSI_DEADLINE);
        assert_eq!(
            (prediction.binding, prediction.longest_wait),
            (None, Duration::ZERO)
        );
    }

    #[test]
    fn the_advised_qps_is_enough_and_one_less_is_not() {
        for (mounts, within) in [(110, 10), (250, 30), (1_000, 120)] {
            let within = Duration::from_secs(within);
            let defaults = provider(5.0, 10.0, false);
            let qps = qps_needed(&defaults, mounts, within);
            let last = |qps: u64| {
                let qps = f64::from(u32::try_from(qps).unwrap());
                burst(&[provider(qps, 10.0, false)], mounts as usize).last
            };
            assert!(last(qps) <= within, "{mounts} at {qps}/s");
            assert!(last(qps - 1) > within, "{mounts} at {}/s", qps - 1);
        }
    }

    proptest! {
        #[test]
        fn no_mount_passes_before_it_starts_nor_faster_than_the_bucket_fills(
            qps in 0.5..500.0_f64, bucket in 1.0..500.0_f64, rate in 1.0..5_000.0_f64, mounts in 1..400_usize,
        ) {
            let path = [provider(qps, bucket, false)];
            let starts: Vec<_> = Arrivals::Constant(rate).starts().take(mounts).collect();
            let prediction = predict(&path, &starts, CSI_DEADLINE);
            prop_assert!(prediction.last >= *starts.last().unwrap());
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let floor = (3.0 * mounts as f64 - bucket) / qps;
            prop_assert!(prediction.last.as_secs_f64() >= floor - 1e-6);
        }
    }
}
