//! PURE. What makes a run poorer and not impossible: scenarios that need it are not tried, and the report says why.

use std::time::Duration;

use super::Judging;
use crate::{
    environment::{installation::NoSync, standing::seen::SeenPart},
    generation::{DriverGeneration, Version},
    scenario::{capability, duration},
};

/// Up to here scenarios wait for a new value.
const LONGEST_ROTATION: Duration = Duration::from_mins(2);
/// The driver's own interval.
pub(in crate::environment::standing) const OWN_INTERVAL: Duration = Duration::from_mins(2);
/// So much must the driver write for its log to say who mounts what.
const VERBOSITY: u32 = 5;

impl Judging<'_> {
    pub(super) fn verbosity(&mut self, driver: &SeenPart) {
        if driver.verbosity >= VERBOSITY {
            return;
        }
        let because = format!(
            "the driver runs with -v={}, and -v={VERBOSITY} is needed",
            driver.verbosity
        );
        self.warn(
            because.clone(),
            "its log does not say who mounts what, so that the scenarios that read it are not tried",
            format!("set logVerbosity: {VERBOSITY} in the values of its chart, or --v={VERBOSITY} in its DaemonSet"),
        );
        self.lacks.push((capability::PROGRAM_LOGS, because));
    }

    /// Whether it syncs what it mounts, for the scenarios that are about that.
    pub(super) fn secrets(&mut self, driver: &SeenPart) {
        let Some(lacking) = &driver.no_sync else { return };
        self.warn(
            lacking.what.clone(),
            "what it mounts is synced into no Secret, so that the scenarios that are about that are not tried",
            NoSync::HELP,
        );
        self.lacks.push((capability::SECRET_SYNC, lacking.to_string()));
    }

    /// How often the driver looks for new values, where scenarios can wait for that.
    pub(super) fn rotation(&mut self, driver: &SeenPart) -> Option<Duration> {
        let name = capability::ROTATION;
        if !driver.rotates {
            self.lacks.push((
                name,
                format!(
                    "{} has the driver run without --enable-secret-rotation",
                    driver.daemon_set
                ),
            ));
            return None;
        }
        let republishes = self
            .seen
            .csi_driver
            .as_ref()
            .is_some_and(|found| found.republishes);
        if DriverGeneration::of(&driver.version).republish && !republishes {
            self.lacks
                .push((name, "the CSIDriver object has no requiresRepublish".to_owned()));
            return None;
        }
        let interval = match &driver.poll_interval {
            None => Some(OWN_INTERVAL),
            Some(said) => interval(said),
        };
        match interval {
            Some(interval) if interval <= LONGEST_ROTATION => Some(interval),
            interval => {
                let said = driver.poll_interval.as_deref().unwrap_or_default();
                self.lacks.push((
                    name,
                    format!("the driver's --rotation-poll-interval is {said}, and scenarios wait for {LONGEST_ROTATION:?} at most"),
                ));
                interval
            }
        }
    }

    pub(super) fn provider(&mut self, provider: &SeenPart) {
        if Version::read(&provider.version).is_none() {
            self.warn(
                format!(
                    "the provider's version is not told by its image ({})",
                    provider.image
                ),
                "what it can is taken for granted, and known issues of its version are not known",
                "give its image a version as its tag, or label its DaemonSet with app.kubernetes.io/version",
            );
        }
        let first_images =
            Version::read(&provider.version).is_some_and(|version| version < Version::new(1, 0, 0));
        let newest = self
            .seen
            .drivers
            .first()
            .and_then(|driver| Version::read(&driver.version))
            .is_some_and(|driver| driver >= Version::new(1, 6, 0));
        if first_images && newest {
            self.warn(
                format!(
                    "the provider is {}, and the driver {}",
                    provider.version, self.seen.drivers[0].version
                ),
                "they were never released together: that provider is older than the driver's way of rotating by years",
                "upgrade the provider",
            );
        }
    }
}

/// A duration as Go writes it: `2m`, `3600s`, `1h0m0s`.
fn interval(said: &str) -> Option<Duration> {
    if let Ok(read) = duration::parse(said) {
        return Some(read);
    }
    let mut whole = Duration::ZERO;
    let mut number = String::new();
    let mut letters = said.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter.is_ascii_digit() || letter == '.' {
            number.push(letter);
            continue;
        }
        let mut unit = letter.to_string();
        while let Some(next) = letters.next_if(char::is_ascii_alphabetic) {
            unit.push(next);
        }
        let each = match unit.as_str() {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return None,
        };
        let count: f64 = std::mem::take(&mut number).parse().ok()?;
        whole += Duration::try_from_secs_f64(count * each).ok()?;
    }
    (number.is_empty() && !said.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_read_as_go_writes_them() {
        for (said, seconds) in [
            ("2m", Some(120.0)),
            ("3600s", Some(3600.0)),
            ("1h30m", Some(5400.0)),
            ("1m0.5s", Some(60.5)),
            ("500ms", Some(0.5)),
            ("1d", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(interval(said), seconds.map(Duration::from_secs_f64), "{said}");
        }
    }
}
