//! PURE. What is asked to be installed.

use std::{path::PathBuf, time::Duration};

use mountproof_releases::{Part, Repositories};

use super::{
    builtin::{self, NoManifests, Own},
    manifest::Document,
};

/// Driver and provider, as they were asked for.
#[derive(Debug, Clone)]
pub struct InstallationOptions {
    /// The driver.
    pub driver: PartOptions,
    /// The provider.
    pub provider: PartOptions,
    /// Image of what registers the driver with kubelet, in the place of the one in the manifests.
    pub registrar: Option<ImageSource>,
    /// The program `helm`; `None` looks in `PATH`.
    pub helm: Option<PathBuf>,
    /// `--rotation-poll-interval`.
    pub rotation: Duration,
    /// `--qps` of the provider.
    pub provider_qps: f64,
}

impl Default for InstallationOptions {
    /// The newest releases, from our own manifests.
    fn default() -> Self {
        Self {
            driver: PartOptions::newest(Part::Driver),
            provider: PartOptions::newest(Part::Provider),
            registrar: None,
            helm: None,
            // Kubelet asks about every minute anyway.
            rotation: Duration::from_secs(2),
            provider_qps: 500.0,
        }
    }
}

impl InstallationOptions {
    /// The same, with these images for whatever nothing was asked about.
    #[must_use]
    pub fn or_images(&self, driver: &str, provider: &str, registrar: &str) -> Self {
        let or = |part: Part, asked: &PartOptions, image: &str| {
            let image = || Some(ImageSource::Reference(image.to_owned()));
            let had = (!asked.asked)
                .then(|| PartOptions::own(part, None, image(), &Repositories::default()).ok())
                .flatten();
            had.unwrap_or_else(|| asked.clone())
        };
        let registrar = || (!registrar.is_empty()).then(|| ImageSource::Reference(registrar.to_owned()));
        Self {
            driver: or(Part::Driver, &self.driver, driver),
            provider: or(Part::Provider, &self.provider, provider),
            registrar: self.registrar.clone().or_else(registrar),
            ..self.clone()
        }
    }

    /// Both by their images, in words.
    #[must_use]
    pub fn named(&self) -> String {
        let image = |part: Part| match &self.of(part).image {
            Some(ImageSource::Reference(image)) => image.clone(),
            Some(ImageSource::Archive(path)) => path.display().to_string(),
            None => "as its manifests have it".to_owned(),
        };
        format!(
            "driver {} and provider {}",
            image(Part::Driver),
            image(Part::Provider)
        )
    }

    /// One of the two.
    #[must_use]
    pub fn of(&self, part: Part) -> &PartOptions {
        match part {
            Part::Driver => &self.driver,
            Part::Provider => &self.provider,
        }
    }
}

/// One part, as it was asked for.
#[derive(Debug, Clone)]
pub struct PartOptions {
    /// Where its manifests come from.
    pub source: PartSource,
    /// Its image, where it is not the manifests' own.
    pub image: Option<ImageSource>,
    /// Its version, where it was said.
    pub version: Option<String>,
    /// Whether anything was said of it.
    pub asked: bool,
}

/// Where manifests come from.
#[derive(Debug, Clone)]
pub enum PartSource {
    /// Our own, for a generation of releases.
    Own(OwnManifests),
    /// A Helm chart.
    Chart(ChartSource),
    /// Files that were read, and addresses that are to be.
    Manifests(Vec<ManifestSource>),
}

/// Our own manifests, chosen.
#[derive(Debug, Clone)]
pub struct OwnManifests {
    pub(super) own: Own,
    pub(super) remark: Option<String>,
}

/// A chart, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChartSource {
    /// A folder or archive, `oci://..`, or a name in `repository`.
    pub chart: String,
    /// Its version, where one was asked for.
    pub version: Option<String>,
    /// Address of a repository.
    pub repository: Option<String>,
    /// A file of values, after our own.
    pub values: Option<PathBuf>,
}

impl ChartSource {
    /// Reads `CHART[@VERSION]`.
    ///
    /// # Errors
    ///
    /// In words, for what no chart is named by.
    pub fn read(text: &str, repository: Option<String>, values: Option<PathBuf>) -> Result<Self, String> {
        // An `@` in a folder's name is the folder's; versions have no `/`.
        let (chart, version) = match text.rsplit_once('@') {
            Some((chart, version)) if !version.contains('/') => (chart, Some(version)),
            _ => (text, None),
        };
        if chart.trim().is_empty() || version.is_some_and(|version| version.trim().is_empty()) {
            return Err(format!("{text:?} names no chart: give CHART or CHART@VERSION"));
        }
        let found = Self {
            chart: chart.to_owned(),
            version: version.map(str::to_owned),
            repository,
            values,
        };
        match (&found.repository, found.is_local() || found.is_oci()) {
            (Some(repository), true) => Err(format!(
                "{chart} is looked up in no repository: give a chart's name, or leave out {repository}"
            )),
            (None, false) => Err(format!(
                "{chart:?} is a name: say which repository has it with --..-chart-repo URL, or give a path (./{chart}) or \
                 oci://.."
            )),
            _ => Ok(found),
        }
    }

    /// Whether it is a folder or a file of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        ["/", "./", "../"]
            .iter()
            .any(|start| self.chart.starts_with(start))
    }

    fn is_oci(&self) -> bool {
        self.chart.starts_with("oci://")
    }
}

/// Manifests that a user brings.
#[derive(Debug, Clone, PartialEq)]
pub enum ManifestSource {
    /// Of a file, read and in order.
    File {
        /// As it was named.
        name: String,
        /// What is in it.
        documents: Vec<Document>,
    },
    /// To be fetched.
    Url(String),
}

impl ManifestSource {
    /// As it was named.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::File { name, .. } | Self::Url(name) => name,
        }
    }
}

/// An image, as it was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSource {
    /// As Kubernetes takes it: `NAME:TAG`, `NAME@sha256:..`.
    Reference(String),
    /// What `docker save` wrote.
    Archive(PathBuf),
}

impl ImageSource {
    /// Reads an image's name, or a path.
    ///
    /// # Errors
    ///
    /// In words, for what is neither.
    pub fn read(text: &str) -> Result<Self, String> {
        if ["/", "./", "../"].iter().any(|start| text.starts_with(start)) {
            return Ok(Self::Archive(PathBuf::from(text)));
        }
        if text.contains("://") {
            return Err(format!(
                "{text:?} has a scheme: write the image without it (REGISTRY/NAME:TAG)"
            ));
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-/:@".contains(letter);
        if text.is_empty() || !text.chars().all(fits) || text.starts_with(['-', ':', '@', '.']) {
            return Err(format!(
                "{text:?} names no image: give NAME:TAG or NAME@sha256:DIGEST, or an archive as ./FILE.tar"
            ));
        }
        let is_archive = std::path::Path::new(text).extension() == Some(std::ffi::OsStr::new("tar"));
        if is_archive && !text.contains(':') {
            return Err(format!("{text:?} looks like an archive: name it as ./{text}"));
        }
        Ok(Self::Reference(text.to_owned()))
    }
}

impl PartOptions {
    /// Our own manifests: for `version`, else for the version in `image`'s name, else the newest.
    ///
    /// # Errors
    ///
    /// When there are none for that version.
    pub fn own(
        part: Part,
        version: Option<String>,
        image: Option<ImageSource>,
        repositories: &Repositories,
    ) -> Result<Self, NoManifests> {
        let named = match &image {
            Some(ImageSource::Reference(name)) => Some(tag(name).unwrap_or("none")),
            Some(ImageSource::Archive(_)) | None => None,
        };
        let own = match (&version, named) {
            (Some(version), _) => builtin::of(part, Some(version))?,
            // A tag that is no version says nothing about what is in the image.
            (None, Some(tag)) if crate::generation::Version::read(tag).is_some() => {
                builtin::of(part, Some(tag))?
            }
            _ => builtin::of(part, None)?,
        };
        let remark = builtin::remark(part, own, version.as_deref().or(named));
        let said = version.as_deref().unwrap_or(own.version);
        let official = || ImageSource::Reference(builtin::image(part, repositories, said));
        Ok(Self {
            source: PartSource::Own(OwnManifests { own, remark }),
            asked: image.is_some() || version.is_some(),
            image: Some(image.unwrap_or_else(official)),
            version,
        })
    }

    /// The newest release that there are manifests for.
    fn newest(part: Part) -> Self {
        Self::own(part, None, None, &Repositories::default())
            .expect("there are manifests for the newest, whatever the version")
    }
}

/// The tag of an image's name.
pub(super) fn tag(image: &str) -> Option<&str> {
    let name = image.split('@').next().unwrap_or(image);
    let (_, tag) = name.rsplit('/').next()?.split_once(':')?;
    Some(tag)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn an_images_version_is_its_tag() {
        for (image, version) in [
            ("registry.k8s.io/csi-secrets-store/driver:v1.6.0", Some("v1.6.0")),
            ("localhost:5000/driver", None),
            ("localhost:5000/driver:3.1.1@sha256:00", Some("3.1.1")),
            ("driver", None),
        ] {
            assert_eq!(tag(image), version, "{image}");
        }
    }

    #[test]
    fn charts_are_named_as_helm_names_them() {
        let chart = |text: &str, repository: Option<&str>| {
            ChartSource::read(text, repository.map(str::to_owned), None)
                .map(|chart| (chart.chart, chart.version.unwrap_or_default()))
        };
        for (text, repository, name, version) in [
            ("./charts/driver", None, "./charts/driver", ""),
            ("/a@b/driver-1.6.0.tgz", None, "/a@b/driver-1.6.0.tgz", ""),
            (
                "oci://registry.example/driver@1.6.0",
                None,
                "oci://registry.example/driver",
                "1.6.0",
            ),
            ("driver@1.5.6", Some("https://charts.example"), "driver", "1.5.6"),
        ] {
            assert_eq!(
                chart(text, repository),
                Ok((name.to_owned(), version.to_owned())),
                "{text}"
            );
        }
        for (text, repository, said) in [
            ("driver", None, "chart-repo"),
            ("./driver", Some("https://charts.example"), "no repository"),
            ("driver@", Some("https://charts.example"), "CHART@VERSION"),
            ("", None, "names no chart"),
        ] {
            let error = chart(text, repository).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn images_are_names_or_archives() {
        let name = |name: &str| ImageSource::Reference(name.to_owned());
        for (text, expected) in [
            ("my/driver:v1.6.0", name("my/driver:v1.6.0")),
            (
                "localhost:5000/d@sha256:00ff",
                name("localhost:5000/d@sha256:00ff"),
            ),
            (
                "./driver.tar",
                ImageSource::Archive(PathBuf::from("./driver.tar")),
            ),
        ] {
            assert_eq!(ImageSource::read(text), Ok(expected), "{text}");
        }
        for text in ["", "docker://a:b", "a b", "-x", "driver.tar"] {
            assert!(ImageSource::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_nothing_was_said_about_stays_as_it_is() {
        let image = |text: &str| ImageSource::read(text).unwrap();
        let asked = InstallationOptions {
            provider: PartOptions::own(
                Part::Provider,
                Some("3.0.1".to_owned()),
                None,
                &Repositories::default(),
            )
            .unwrap(),
            ..InstallationOptions::default()
        };
        let options = asked.or_images("a/driver:v1.5.6", "a/provider:3.1.1", "a/registrar:now");
        assert_eq!(options.driver.image, Some(image("a/driver:v1.5.6")));
        assert_eq!(options.provider.image, asked.provider.image);
        assert_eq!(options.registrar, Some(image("a/registrar:now")));
    }

    #[test]
    fn an_image_brings_the_manifests_of_its_tag() {
        let own = |version: Option<&str>, image: Option<&str>| {
            let image = image.map(|image| ImageSource::read(image).unwrap());
            let options = PartOptions::own(
                Part::Driver,
                version.map(str::to_owned),
                image,
                &Repositories::default(),
            )
            .unwrap();
            let PartSource::Own(own) = &options.source else {
                panic!("others than ours")
            };
            let Some(ImageSource::Reference(image)) = options.image else {
                panic!("no image")
            };
            (own.own.name, image, own.remark.is_some())
        };
        let official = |tag: &str| format!("registry.k8s.io/csi-secrets-store/driver:{tag}");
        assert_eq!(own(None, None), ("1.6", official("v1.6.0"), false));
        assert_eq!(own(Some("1.5.2"), None), ("1.5", official("v1.5.2"), false));
        assert_eq!(
            own(None, Some("a/b:v1.4.8")),
            ("1.4", "a/b:v1.4.8".to_owned(), false)
        );
        // The version that was said counts, where an image's name says another one or none.
        assert_eq!(
            own(Some("1.5.6"), Some("a/b@sha256:00")),
            ("1.5", "a/b@sha256:00".to_owned(), false)
        );
        assert_eq!(
            own(None, Some("a/b:latest")),
            ("1.6", "a/b:latest".to_owned(), true)
        );
    }
}
