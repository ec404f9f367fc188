//! PURE. Our own manifests, and which of them a version is installed with.

use mountproof_releases::{Part, Repositories};

use crate::generation::Version;

/// Manifests of one generation of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Own {
    /// Such as `1.6`, which is in its file's name too.
    pub(super) name: &'static str,
    /// The file.
    pub(super) text: &'static str,
    /// Its first version.
    since: Version,
    /// The version that it was written for, and the one that is taken where none is asked for.
    pub(super) version: &'static str,
}

macro_rules! own {
    ($part:literal, $name:literal, $since:expr, $version:literal) => {
        Own {
            name: $name,
            text: include_str!(concat!(
                "../../../fixtures/installation/",
                $part,
                "-",
                $name,
                ".yaml"
            )),
            since: $since,
            version: $version,
        }
    };
}

/// The newest first.
const DRIVER: &[Own] = &[
    own!("driver", "1.6", Version::new(1, 6, 0), "1.6.0"),
    own!("driver", "1.5", Version::new(1, 5, 0), "1.5.6"),
    own!("driver", "1.4", Version::new(1, 4, 0), "1.4.8"),
];
const PROVIDER: &[Own] = &[
    own!("provider", "3.1", Version::new(3, 1, 0), "3.1.1"),
    own!("provider", "3.0", Version::new(3, 0, 0), "3.0.1"),
    own!("provider", "2.1", Version::new(2, 0, 0), "2.1.1"),
];

/// A version that is older than all manifests, or none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{said:?} is no version of the {part} that mountproof has manifests for: they are for {oldest} and later ({names}); give \
     --{part}-chart or --{part}-manifests for another one"
)]
pub struct NoManifests {
    part: Part,
    said: String,
    oldest: Version,
    names: String,
}

/// Our manifests for a version; those of the newest where none is asked for.
pub(super) fn of(part: Part, version: Option<&str>) -> Result<Own, NoManifests> {
    let known = known(part);
    let newest = known[0];
    let Some(said) = version else { return Ok(newest) };
    let asked = Version::read(said);
    let found = known
        .iter()
        .find(|own| asked.is_some_and(|asked| asked >= own.since));
    found.copied().ok_or_else(|| NoManifests {
        part,
        said: said.to_owned(),
        oldest: known.last().map_or(newest.since, |own| own.since),
        names: known.iter().map(|own| own.name).collect::<Vec<_>>().join(", "),
    })
}

/// What to say of manifests that were not written for the version that they install.
pub(super) fn remark(part: Part, own: Own, version: Option<&str>) -> Option<String> {
    let newest = known(part)[0];
    let later = |asked: &Version| own.name == newest.name && !asked.is_of(newest.since);
    match version.map(|said| (said, Version::read(said))) {
        Some((said, Some(asked))) if later(&asked) => Some(format!(
            "the manifests are those of {part} {}, the newest that mountproof knows: what {said} needs besides is not in them",
            own.name
        )),
        Some((said, None)) => Some(format!(
            "the manifests are those of {part} {}: its version ({said}) tells none",
            own.name
        )),
        _ => None,
    }
}

/// The official image of a version, or a mirror's.
pub(super) fn image(part: Part, repositories: &Repositories, version: &str) -> String {
    let repository = repositories.of(part).trim_end_matches('/');
    format!("{repository}:{}", part.tag(version))
}

/// The images that are taken where nothing is asked for: driver, provider and what registers the driver.
#[must_use]
pub fn default_images() -> Vec<String> {
    let repositories = Repositories::default();
    let mut images: Vec<String> = Part::ALL
        .into_iter()
        .map(|part| image(part, &repositories, known(part)[0].version))
        .collect();
    let beside = DRIVER[0].text.lines().filter_map(|line| {
        let image = line.trim().strip_prefix("image: ")?;
        image.contains("registrar").then(|| image.to_owned())
    });
    images.extend(beside);
    images
}

const fn known(part: Part) -> &'static [Own] {
    match part {
        Part::Driver => DRIVER,
        Part::Provider => PROVIDER,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_version_is_installed_with_the_manifests_of_its_generation() {
        for (part, version, name) in [
            (Part::Driver, None, "1.6"),
            (Part::Driver, Some("1.6.1"), "1.6"),
            (Part::Driver, Some("v1.5.6"), "1.5"),
            (Part::Driver, Some("1.4.0"), "1.4"),
            (Part::Driver, Some("2.0.0"), "1.6"),
            (Part::Provider, None, "3.1"),
            (Part::Provider, Some("3.0.1"), "3.0"),
            (Part::Provider, Some("2.2.2"), "2.1"),
            (Part::Provider, Some("2.0.0"), "2.1"),
        ] {
            assert_eq!(of(part, version).unwrap().name, name, "{part} {version:?}");
        }
    }

    #[test]
    fn what_there_are_no_manifests_for_is_said_with_what_to_do() {
        for (part, version) in [
            (Part::Driver, "1.3.4"),
            (Part::Driver, "latest"),
            (Part::Provider, "1.0.1"),
            (Part::Provider, "r1"),
        ] {
            let error = of(part, Some(version)).unwrap_err().to_string();
            assert!(
                error.contains(version) && error.contains(&format!("--{part}-manifests")),
                "{error}"
            );
        }
    }

    #[test]
    fn manifests_of_another_version_are_no_secret() {
        let said = |part, version| remark(part, of(part, Some(version)).unwrap(), Some(version));
        assert_eq!(said(Part::Driver, "1.6.3"), None);
        assert_eq!(said(Part::Provider, "2.2.2"), None);
        assert!(said(Part::Driver, "1.7.0").unwrap().contains("1.7.0"));
        let newest = of(Part::Driver, None).unwrap();
        assert!(
            remark(Part::Driver, newest, Some("sha256"))
                .unwrap()
                .contains("tells none")
        );
    }

    #[test]
    fn the_images_taken_by_default_are_three() {
        let images = default_images();
        assert_eq!(images.len(), 3, "{images:?}");
        assert!(images[2].contains("csi-node-driver-registrar:v"), "{images:?}");
    }

    #[test]
    fn an_official_image_may_be_a_mirrors() {
        let mirror = Repositories {
            driver: Some("localhost:5000/driver/".to_owned()),
            provider: None,
        };
        assert_eq!(
            image(Part::Driver, &mirror, "1.5.6"),
            "localhost:5000/driver:v1.5.6"
        );
        assert!(image(Part::Provider, &mirror, "3.1.1").ends_with("-provider-aws:3.1.1"));
    }
}
