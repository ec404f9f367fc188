//! The flags that say which driver and which provider are installed on the nodes of a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::Args;
use mountproof_releases::{Part, Repositories};

use super::host::ReleaseArgs;
use crate::{
    environment::installation::{
        ChartSource, ImageSource, InstallationOptions, ManifestSource, PartOptions, PartSource,
        manifest::documents,
    },
    generation::Version,
};

/// Rotation's poll interval: kubelet asks about every minute anyway.
const ROTATION: Duration = Duration::from_secs(2);

/// Which driver and which provider are put on the nodes, and from where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Driver and provider on the nodes (--env kind, cluster, eks)")]
pub struct InstallationArgs {
    /// Image of the driver, or an archive of one (./driver.tar); one that Docker has here is loaded into the nodes.
    #[arg(long, value_name = "IMAGE|ARCHIVE", overrides_with = "driver_image")]
    pub driver_image: Option<String>,

    /// Image of the provider, likewise.
    #[arg(long, value_name = "IMAGE|ARCHIVE", overrides_with = "provider_image")]
    pub provider_image: Option<String>,

    /// Image of what registers the driver with kubelet (node-driver-registrar), likewise.
    #[arg(long, value_name = "IMAGE|ARCHIVE", overrides_with = "registrar_image")]
    pub registrar_image: Option<String>,

    /// A Helm chart of the driver, in the place of mountproof's own manifests: a folder or archive (./..), oci://.., or a name
    /// with --driver-chart-repo.
    #[arg(long, value_name = "CHART[@VERSION]", conflicts_with_all = ["driver_manifests", "driver_version"])]
    pub driver_chart: Option<String>,

    /// The repository of that chart.
    #[arg(long, value_name = "URL", requires = "driver_chart")]
    pub driver_chart_repo: Option<String>,

    /// Values for that chart, after those that scenarios need.
    #[arg(long, value_name = "FILE", requires = "driver_chart")]
    pub driver_values: Option<PathBuf>,

    /// A Helm chart of the provider, likewise.
    #[arg(long, value_name = "CHART[@VERSION]", conflicts_with_all = ["provider_manifests", "provider_version"])]
    pub provider_chart: Option<String>,

    /// The repository of that chart.
    #[arg(long, value_name = "URL", requires = "provider_chart")]
    pub provider_chart_repo: Option<String>,

    /// Values for that chart.
    #[arg(long, value_name = "FILE", requires = "provider_chart")]
    pub provider_values: Option<PathBuf>,

    /// The program that renders charts [default: helm in PATH].
    #[arg(long, value_name = "PROGRAM", env = "MOUNTPROOF_HELM")]
    pub helm: Option<PathBuf>,

    /// Manifests of the driver, in the place of mountproof's own; may be repeated.
    #[arg(long, value_name = "FILE|URL", conflicts_with = "driver_version")]
    pub driver_manifests: Vec<String>,

    /// Manifests of the provider, likewise.
    #[arg(long, value_name = "FILE|URL", conflicts_with = "provider_version")]
    pub provider_manifests: Vec<String>,
}

/// An upgrade in the middle of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Driver and provider on the nodes (--env kind, cluster, eks)")]
pub struct ThenArgs {
    /// Upgrade in place, with pods mounted: every case runs before, in the middle of the roll-out and after it. Each a version
    /// or an image: driver=1.6.0,provider=3.1.1.
    #[arg(long, value_name = "driver=..,provider=..", conflicts_with = "reuse")]
    pub then: Option<Then>,
}

impl InstallationArgs {
    /// The first flag that only means something where there are nodes, if one was given.
    #[must_use]
    pub fn first_given(&self) -> Option<&'static str> {
        [
            // Not --helm: its variable may be set for good.
            (self.driver_image.is_some(), "--driver-image"),
            (self.provider_image.is_some(), "--provider-image"),
            (self.registrar_image.is_some(), "--registrar-image"),
            (self.driver_chart.is_some(), "--driver-chart"),
            (self.provider_chart.is_some(), "--provider-chart"),
            (!self.driver_manifests.is_empty(), "--driver-manifests"),
            (!self.provider_manifests.is_empty(), "--provider-manifests"),
        ]
        .into_iter()
        .find_map(|(given, flag)| given.then_some(flag))
    }

    /// As the environment takes them. Files of manifests are read here: what is wrong in them is the user's to mend.
    ///
    /// # Errors
    ///
    /// In words, for what cannot be meant.
    pub fn options(&self, release: &ReleaseArgs, provider_qps: f64) -> Result<InstallationOptions, String> {
        let repositories = release.repositories();
        let image = |flag: &str, text: &Option<String>| -> Result<Option<ImageSource>, String> {
            let Some(text) = text else { return Ok(None) };
            let image = ImageSource::read(text).map_err(|because| format!("{flag}: {because}"))?;
            match &image {
                ImageSource::Archive(path) if !path.is_file() => {
                    Err(format!("{flag}: there is no file {}", path.display()))
                }
                _ => Ok(Some(image)),
            }
        };
        let driver = Asked {
            part: Part::Driver,
            image: image("--driver-image", &self.driver_image)?,
            version: release.driver_version.clone(),
            chart: self.driver_chart.as_deref(),
            repository: self.driver_chart_repo.clone(),
            values: self.driver_values.clone(),
            manifests: &self.driver_manifests,
        };
        let provider = Asked {
            part: Part::Provider,
            image: image("--provider-image", &self.provider_image)?,
            version: release.provider_version.clone(),
            chart: self.provider_chart.as_deref(),
            repository: self.provider_chart_repo.clone(),
            values: self.provider_values.clone(),
            manifests: &self.provider_manifests,
        };
        Ok(InstallationOptions {
            driver: driver.options(&repositories)?,
            provider: provider.options(&repositories)?,
            registrar: image("--registrar-image", &self.registrar_image)?,
            helm: self.helm.clone(),
            rotation: ROTATION,
            provider_qps,
        })
    }
}

/// What is to come in the place of what is installed first: `--then driver=..,provider=..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Then {
    driver: Option<Release>,
    provider: Option<Release>,
}

/// A release, by version or by image.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Release {
    Version(String),
    Image(ImageSource),
}

impl FromStr for Then {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut then = Self {
            driver: None,
            provider: None,
        };
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (part, release) = entry
                .split_once('=')
                .ok_or_else(|| format!("{entry:?} names no part: write driver=.. or provider=.."))?;
            let is_version = Version::read(release).is_some() && !release.contains(['/', ':', '@']);
            let release = if is_version {
                Release::Version(release.to_owned())
            } else {
                Release::Image(ImageSource::read(release)?)
            };
            let place = match part {
                "driver" => &mut then.driver,
                "provider" => &mut then.provider,
                other => {
                    return Err(format!(
                        "there is no part {other}: write driver=.. or provider=.."
                    ));
                }
            };
            if place.replace(release).is_some() {
                return Err(format!("{part} is named twice"));
            }
        }
        if then.driver.is_none() && then.provider.is_none() {
            return Err("nothing is to change: write driver=.., provider=.., or both".to_owned());
        }
        Ok(then)
    }
}

impl Then {
    /// The whole installation after it: what is not named stays.
    ///
    /// # Errors
    ///
    /// In words, when there are no manifests for a version.
    pub fn options(
        &self,
        first: &InstallationOptions,
        repositories: &Repositories,
    ) -> Result<InstallationOptions, String> {
        let of = |part: Part, release: Option<&Release>| {
            let asked = first.of(part);
            let Some(release) = release else {
                return Ok(asked.clone());
            };
            let (version, image) = match release {
                Release::Version(version) => (Some(version.clone()), None),
                Release::Image(image) => (None, Some(image.clone())),
            };
            let own = PartOptions::own(part, version.clone(), image, repositories)
                .map_err(|error| format!("--then: {error}"));
            match &asked.source {
                PartSource::Own(_) => own,
                // A chart's, or somebody's own, with another image.
                source => Ok(PartOptions {
                    source: source.clone(),
                    version,
                    ..own?
                }),
            }
        };
        Ok(InstallationOptions {
            driver: of(Part::Driver, self.driver.as_ref())?,
            provider: of(Part::Provider, self.provider.as_ref())?,
            ..first.clone()
        })
    }
}

/// What the flags say of one part.
struct Asked<'a> {
    part: Part,
    image: Option<ImageSource>,
    version: Option<String>,
    chart: Option<&'a str>,
    repository: Option<String>,
    values: Option<PathBuf>,
    manifests: &'a [String],
}

impl Asked<'_> {
    fn options(self, repositories: &Repositories) -> Result<PartOptions, String> {
        let part = self.part;
        let source = if let Some(chart) = self.chart {
            let flag = format!("--{part}-chart");
            if let Some(values) = self.values.as_deref().filter(|values| !values.is_file()) {
                return Err(format!("--{part}-values: there is no file {}", values.display()));
            }
            let chart = ChartSource::read(chart, self.repository, self.values)
                .map_err(|because| format!("{flag}: {because}"))?;
            if chart.is_local() && !Path::new(&chart.chart).exists() {
                return Err(format!("{flag}: there is no chart at {}", chart.chart));
            }
            PartSource::Chart(chart)
        } else if self.manifests.is_empty() {
            return PartOptions::own(part, self.version, self.image, repositories)
                .map_err(|error| error.to_string());
        } else {
            let read = self.manifests.iter().map(|name| manifests(part, name));
            PartSource::Manifests(read.collect::<Result<_, _>>()?)
        };
        Ok(PartOptions {
            source,
            image: self.image,
            version: self.version,
            asked: true,
        })
    }
}

fn manifests(part: Part, name: &str) -> Result<ManifestSource, String> {
    if name.starts_with("https://") || name.starts_with("http://") {
        return Ok(ManifestSource::Url(name.to_owned()));
    }
    let text = fs::read_to_string(name)
        .map_err(|error| format!("--{part}-manifests: cannot read `{name}`: {error}"))?;
    Ok(ManifestSource::File {
        name: name.to_owned(),
        documents: documents(&text, name).map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn what_comes_then_is_a_version_or_an_image() {
        let then: Then = "driver=1.6.0,provider=my/provider:3.1.1".parse().unwrap();
        assert_eq!(then.driver, Some(Release::Version("1.6.0".to_owned())));
        let image = ImageSource::Reference("my/provider:3.1.1".to_owned());
        assert_eq!(then.provider, Some(Release::Image(image)));
        for (text, said) in [
            ("", "nothing is to change"),
            ("1.6.0", "names no part"),
            ("kubelet=1.36", "no part kubelet"),
            ("driver=1.6.0,driver=1.5.6", "named twice"),
            ("driver=a b", "names no image"),
        ] {
            let error = text.parse::<Then>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let first = InstallationOptions::default();
        let then: Then = "driver=1.5.6".parse().unwrap();
        let after = then.options(&first, &Repositories::default()).unwrap();
        assert_eq!(after.provider.image, first.provider.image);
        let image = "registry.k8s.io/csi-secrets-store/driver:v1.5.6".to_owned();
        assert_eq!(after.driver.image, Some(ImageSource::Reference(image)));
        let none: Then = "driver=1.2.0".parse().unwrap();
        assert!(none.options(&first, &Repositories::default()).is_err());
    }
}
