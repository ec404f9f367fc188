//! PURE. What differs between releases of the driver and of the provider, by their versions.
//!
//! Read in the releases' charts and seen in runs of them: `docs/real-releases.md`.

use std::fmt;

/// The number of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u64,
    minor: u64,
    patch: u64,
}

impl Version {
    /// Of its three numbers.
    #[must_use]
    pub const fn new(major: u64, minor: u64, patch: u64) -> Self {
        Self { major, minor, patch }
    }

    /// Whether only the last number differs from `other`'s.
    #[must_use]
    pub const fn is_of(&self, other: Self) -> bool {
        self.major == other.major && self.minor == other.minor
    }

    /// Reads what programs say of themselves and what images are tagged with: `1.6.0`, `v1.6.0`,
    /// `0.3.11-2025.02.03`. The provider's first images are `1.0.r2-6-gee95299-2022.04.14`: they are older than 0.1.0,
    /// whatever their number looks like. A build that was not told its version (`local-dev`) has none.
    #[must_use]
    pub fn read(said: &str) -> Option<Self> {
        let number = said.trim().strip_prefix('v').unwrap_or_else(|| said.trim());
        let mut parts = number.splitn(3, '.');
        let (major, minor, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        let (revision, rest) = match rest.strip_prefix('r') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let patch = rest[..end].parse().ok()?;
        Some(if revision {
            Self::new(0, 0, patch)
        } else {
            Self::new(major, minor, patch)
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// The driver without a rotation of its own: kubelet republishes. Its chart asks for that since then.
const REPUBLISH: Version = Version::new(1, 6, 0);

/// What the chart of a driver's version writes into the `CSIDriver` object, on Kubernetes 1.35 or later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DriverGeneration {
    /// Kubelet asks the driver again and again (`requiresRepublish`), and rotation rests on that. Before, a reconciler
    /// in the driver rotates.
    pub republish: bool,
    /// Kubelet hands tokens over among the secrets (`serviceAccountTokenInSecrets`). Before, in the volume's context,
    /// where those drivers look for them.
    pub tokens_in_secrets: bool,
}

impl DriverGeneration {
    /// Of the driver that says this version of itself; one that says none is taken to be of the newest generation.
    #[must_use]
    pub fn of(said: &str) -> Self {
        let newest = Version::read(said).is_none_or(|version| version >= REPUBLISH);
        Self {
            republish: newest,
            tokens_in_secrets: newest,
        }
    }
}

/// Something that providers can do since a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The first version that can.
    pub version: Version,
    /// What earlier ones do instead, after "provider 0.3.11".
    pub before: &'static str,
}

/// `filePermission` of an object and of a `jmesPath` entry.
pub const FILE_PERMISSION: Since = Since {
    version: Version::new(1, 0, 0),
    before: "reads past `filePermission`: every file is 0644",
};
/// One secret as several objects of a class, told apart by alias and version label.
pub const SECRET_TWICE: Since = Since {
    version: Version::new(1, 0, 0),
    before: "refuses a class that names one secret twice, whatever the aliases",
};

/// `--qps` and `--burst`: a provider that does not know them does not start with them. Charts give them since this version;
/// what their first images are called tells nothing of it.
pub const LIMITS: Since = Since {
    version: Version::new(0, 3, 8),
    before: "may not know the flag --qps, which is left out, so that it asks Kubernetes five times a second",
};

/// `usePodIdentity` of a class.
pub const POD_IDENTITY: Since = Since {
    version: Version::new(0, 3, 11),
    before: "reads past `usePodIdentity`",
};

impl Since {
    /// Whether the provider that says this version of itself can, and the evidence. One that says none is taken to be
    /// able: the scenario tells.
    #[must_use]
    pub fn judge(self, said: &str) -> (bool, String) {
        match Version::read(said) {
            Some(version) if version < self.version => (
                false,
                format!("provider {said} {}; it came with {}", self.before, self.version),
            ),
            Some(_) => (
                true,
                format!("provider {said} can, as all since {}", self.version),
            ),
            None => (
                true,
                format!("taken for granted of a provider that says no version ({said})"),
            ),
        }
    }
}

/// Whether a provider takes the region from the node of the pod where the class names none, though `AWS_REGION` is set.
#[must_use]
pub fn region_from_node(provider: &str) -> bool {
    Version::read(provider).is_some_and(|version| version < Version::new(1, 0, 0))
}

/// Requests that a provider makes to the Kubernetes API for one mount, where `AWS_REGION` is set and the class names no
/// region: the ServiceAccount is always read. Before 3.0.0 a token is asked for too, and before 1.0.0, which do not read
/// `AWS_REGION`, the pod and its node are read for the region.
#[must_use]
pub fn requests_a_mount(provider: &str) -> f64 {
    let Some(version) = Version::read(provider) else {
        return 1.0;
    };
    let token = if version < Version::new(3, 0, 0) { 1.0 } else { 0.0 };
    let region = if region_from_node(provider) { 2.0 } else { 0.0 };
    1.0 + token + region
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_and_images_say_them() {
        for (said, expected) in [
            ("1.6.0", Some(Version::new(1, 6, 0))),
            ("v1.3.4", Some(Version::new(1, 3, 4))),
            ("0.3.11-2025.02.03", Some(Version::new(0, 3, 11))),
            ("1.0.r2-6-gee95299-2022.04.14", Some(Version::new(0, 0, 2))),
            ("3.1.1+dirty", Some(Version::new(3, 1, 1))),
            ("local-dev", None),
            ("1.6", None),
            ("1.6.x", None),
            ("", None),
        ] {
            assert_eq!(Version::read(said), expected, "{said}");
        }
    }

    #[test]
    fn the_first_images_are_older_than_they_look() {
        assert!(Version::read("1.0.r2-6-gee95299") < Version::read("0.1.0"));
        assert!(Version::read("0.3.9") < Version::read("0.3.11"));
    }

    #[test]
    fn each_driver_gets_the_object_that_its_own_chart_installs() {
        for (said, newest) in [
            ("1.3.4", false),
            ("v1.5.6", false),
            ("1.6.0", true),
            ("1.7.0", true),
            ("local-dev", true),
        ] {
            let generation = DriverGeneration::of(said);
            assert_eq!(
                (generation.republish, generation.tokens_in_secrets),
                (newest, newest),
                "{said}"
            );
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "they are whole numbers")]
    fn older_providers_ask_kubernetes_for_more() {
        for (provider, requests) in [
            ("0.3.11", 4.0),
            ("1.0.1", 2.0),
            ("2.1.1", 2.0),
            ("3.0.1", 1.0),
            ("unknown", 1.0),
        ] {
            assert_eq!(requests_a_mount(provider), requests, "{provider}");
        }
    }

    #[test]
    fn a_provider_can_what_its_version_can() {
        for (said, can, evidence) in [
            (
                "0.3.11",
                false,
                "provider 0.3.11 reads past `filePermission`: every file is 0644; it came with 1.0.0",
            ),
            (
                "1.0.r2-6-gee95299",
                false,
                "provider 1.0.r2-6-gee95299 reads past `filePermission`: every file is 0644; it came with 1.0.0",
            ),
            ("1.0.1", true, "provider 1.0.1 can, as all since 1.0.0"),
            (
                "unknown",
                true,
                "taken for granted of a provider that says no version (unknown)",
            ),
        ] {
            assert_eq!(FILE_PERMISSION.judge(said), (can, evidence.to_owned()));
        }
    }
}
