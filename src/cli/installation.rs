//! The flags that say which driver and which provider are installed on the nodes of a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use mountproof_releases::{Part, Repositories};

use super::host::ReleaseArgs;
use crate::environment::installation::{
    ChartSource, ImageSource, InstallationOptions, ManifestSource, PartOptions, PartSource,
    manifest::documents,
};

/// Rotation's poll interval: kubelet asks about every minute anyway.
const ROTATION: Duration = Duration::from_secs(2);

/// Which driver and which provider are put on the nodes, and from where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Driver and provider on the nodes (--env kind)")]
pub struct InstallationArgs {
    /// Image of the driver, or an archive of one (./driver.tar); one that Docker has here is loaded into the nodes.
    #[arg(long, value_name = "IMAGE|ARCHIVE")]
    pub driver_image: Option<String>,

    /// Image of the provider, likewise.
    #[arg(long, value_name = "IMAGE|ARCHIVE")]
    pub provider_image: Option<String>,

    /// Image of what registers the driver with kubelet (node-driver-registrar), likewise.
    #[arg(long, value_name = "IMAGE|ARCHIVE")]
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
