//! PURE. The two programs a release is of, and where their makers publish them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One of the two programs that mount secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The Secrets Store CSI Driver.
    Driver,
    /// Its AWS provider (ASCP).
    Provider,
}

impl Part {
    /// Both, in the order in which reports name them.
    pub const ALL: [Self; 2] = [Self::Driver, Self::Provider];

    /// As in `--driver`, `--driver-version` and in texts.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Provider => "provider",
        }
    }

    /// The repository that the makers push their releases to, which a mirror may stand in for
    /// ([`crate::Repositories`]).
    #[must_use]
    pub const fn official_repository(self) -> &'static str {
        match self {
            Self::Driver => "registry.k8s.io/csi-secrets-store/driver",
            Self::Provider => "public.ecr.aws/aws-secrets-manager/secrets-store-csi-driver-provider-aws",
        }
    }

    /// The environment variable in which a command line takes a mirror of that repository.
    #[must_use]
    pub const fn repository_variable(self) -> &'static str {
        match self {
            Self::Driver => "MOUNTPROOF_DRIVER_REPOSITORY",
            Self::Provider => "MOUNTPROOF_PROVIDER_REPOSITORY",
        }
    }

    /// The tag of a version: the driver's begin with `v`, the provider's do not (`3.1.1`, and `r1` of old ones).
    #[must_use]
    pub fn tag(self, version: &str) -> String {
        match self {
            Self::Driver => format!("v{}", version.strip_prefix('v').unwrap_or(version)),
            Self::Provider => version.to_owned(),
        }
    }

    /// Where the official images of any version keep the program. Images without an entry point are not guessed at; a
    /// refusal names these.
    #[must_use]
    pub const fn known_entry_points(self) -> &'static [&'static str] {
        match self {
            Self::Driver => &["/secrets-store-csi"],
            Self::Provider => &["/bin/secrets-store-csi-driver-provider-aws"],
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_tag_that_its_maker_gives_it() {
        let cases = [
            (Part::Driver, "1.6.0", "v1.6.0"),
            (Part::Driver, "v1.6.0", "v1.6.0"),
            (Part::Provider, "3.1.1", "3.1.1"),
            (Part::Provider, "r1", "r1"),
        ];
        for (part, version, tag) in cases {
            assert_eq!(part.tag(version), tag, "{part} {version}");
        }
    }
}
