//! From what was asked for to manifests: files and addresses are read, charts fetched and rendered.

use std::{path::Path, time::Duration};

use futures::StreamExt as _;
use mountproof_releases::{Part, saved_name};

use super::{
    super::local::{StartError, whole},
    chart::Chart,
    manifest::{self, Document, documents},
    options::{ImageSource, InstallationOptions, ManifestSource, OwnManifests, PartSource},
    plan::{Installation, PartManifests, Settings, plan},
    way::AwsWay,
};
use crate::tenant::Marks;

/// Longest wait for manifests to be fetched from one address.
const FETCH: Duration = Duration::from_mins(1);
/// The Kubernetes that charts are tried with before there is a cluster.
pub(super) const TRIED_WITH: &str = "v1.36.0";

/// What was asked for, at hand: nothing but rendering and filling in is left to do.
#[derive(Debug)]
pub struct Prepared {
    options: InstallationOptions,
    driver: PreparedPart,
    provider: PreparedPart,
    /// The name of the registrar's image.
    registrar: Option<String>,
    /// Archives of images, for a cluster that takes them, by the names that they bring.
    pub archives: Vec<(String, std::path::PathBuf)>,
}

#[derive(Debug)]
struct PreparedPart {
    manifests: Manifests,
    image: Option<String>,
}

#[derive(Debug)]
enum Manifests {
    Own(OwnManifests),
    Brought { names: String, documents: Vec<Document> },
    Chart(Chart),
}

/// Makes what was asked for ready, in a folder of the run's.
///
/// # Errors
///
/// When something cannot be had, or is of no use; nothing was made then but files in `scratch`.
pub async fn prepare(options: &InstallationOptions, scratch: &Path) -> Result<Prepared, StartError> {
    let mut archives = Vec::new();
    let driver = part(options, Part::Driver, scratch, &mut archives).await?;
    let provider = part(options, Part::Provider, scratch, &mut archives).await?;
    let registrar = named(options.registrar.as_ref(), "registrar", scratch, &mut archives)?;
    let prepared = Prepared {
        options: options.clone(),
        driver,
        provider,
        registrar,
        archives,
    };
    // What is wrong with them is said before a cluster is made.
    let marks = Marks::of_run("trial");
    prepared.finish(TRIED_WITH, &marks, None).await?;
    Ok(prepared)
}

impl Prepared {
    /// The objects for a cluster of this version of Kubernetes.
    ///
    /// # Errors
    ///
    /// When a chart cannot be rendered for it, or the parts are not in their manifests.
    pub async fn finish(
        &self,
        kubernetes: &str,
        marks: &Marks,
        way: Option<&AwsWay>,
    ) -> Result<Installation, StartError> {
        let driver = self.manifests(Part::Driver, kubernetes).await?;
        let provider = self.manifests(Part::Provider, kubernetes).await?;
        let settings = Settings {
            marks,
            way,
            rotation: self.options.rotation,
            provider_qps: whole(self.options.provider_qps),
            registrar: self.registrar.as_deref(),
        };
        plan(driver, provider, settings).map_err(StartError::of("installation"))
    }

    async fn manifests(&self, part: Part, kubernetes: &str) -> Result<PartManifests, StartError> {
        let (asked, prepared) = match part {
            Part::Driver => (&self.options.driver, &self.driver),
            Part::Provider => (&self.options.provider, &self.provider),
        };
        let mut found = PartManifests {
            part,
            origin: String::new(),
            documents: Vec::new(),
            own: false,
            image: prepared.image.clone(),
            version: asked.version.clone(),
            remarks: Vec::new(),
            chart: None,
        };
        match &prepared.manifests {
            Manifests::Own(OwnManifests { own, remark }) => {
                found.origin = format!("mountproof's own manifests for {part} {}", own.name);
                found.documents = documents(own.text, &found.origin).map_err(StartError::of(part.name()))?;
                found.own = true;
                found.remarks.extend(remark.clone());
            }
            Manifests::Chart(chart) => {
                let (documents, rendered) = chart
                    .render(kubernetes)
                    .await
                    .map_err(StartError::of(part.name()))?;
                found.documents = documents;
                found.chart = Some(rendered);
                found.origin = chart.origin();
                // An image of one's own may be of another version than the chart's.
                if asked.image.is_none() {
                    found
                        .version
                        .get_or_insert_with(|| chart.about.installs().to_owned());
                }
            }
            Manifests::Brought { names, documents } => {
                found.documents.clone_from(documents);
                found.origin.clone_from(names);
            }
        }
        Ok(found)
    }
}

async fn part(
    options: &InstallationOptions,
    part: Part,
    scratch: &Path,
    archives: &mut Vec<(String, std::path::PathBuf)>,
) -> Result<PreparedPart, StartError> {
    let asked = options.of(part);
    let image = named(asked.image.as_ref(), part.name(), scratch, archives)?;
    let manifests = match &asked.source {
        PartSource::Own(chosen) => Manifests::Own(chosen.clone()),
        PartSource::Chart(chart) => Manifests::Chart(
            Chart::fetch(
                part,
                chart,
                options.helm.as_deref(),
                options.rotation,
                &scratch.join(format!("{part}-chart")),
            )
            .await
            .map_err(StartError::of(part.name()))?,
        ),
        PartSource::Manifests(sources) => {
            let mut found = Vec::new();
            for source in sources {
                match source {
                    ManifestSource::File { documents, .. } => found.extend(documents.iter().cloned()),
                    ManifestSource::Url(address) => {
                        let text = fetched(address).await.map_err(StartError::of(part.name()))?;
                        found.extend(documents(&text, address).map_err(StartError::of(part.name()))?);
                    }
                }
            }
            let names: Vec<&str> = sources.iter().map(ManifestSource::name).collect();
            Manifests::Brought {
                names: names.join(", "),
                documents: found,
            }
        }
    };
    Ok(PreparedPart { manifests, image })
}

/// The name of an image; of an archive the one that it brings.
fn named(
    image: Option<&ImageSource>,
    part: &'static str,
    scratch: &Path,
    archives: &mut Vec<(String, std::path::PathBuf)>,
) -> Result<Option<String>, StartError> {
    match image {
        None => Ok(None),
        Some(ImageSource::Reference(name)) => Ok(Some(name.clone())),
        Some(ImageSource::Archive(path)) => {
            let name = saved_name(path, &scratch.join("images"))
                .map_err(|error| StartError::of(part)(format!("{}: {error}", path.display())))?;
            archives.push((name.clone(), path.clone()));
            Ok(Some(name))
        }
    }
}

/// A text from an address, up to the size that manifests may have.
async fn fetched(address: &str) -> Result<String, String> {
    let said = |error: reqwest::Error| {
        // The chain has the reason; the first of it only names the address.
        let mut because: &dyn std::error::Error = &error;
        while let Some(source) = because.source() {
            because = source;
        }
        format!("{address} cannot be fetched: {because}; look at the address, or give a file")
    };
    let work = async {
        // The one of everything else here; where it is set already, it is that one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("mountproof/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(said)?;
        let answer = client.get(address).send().await.map_err(said)?;
        if !answer.status().is_success() {
            return Err(format!(
                "{address} answers {}: look at the address, or give a file",
                answer.status()
            ));
        }
        let mut bytes = Vec::new();
        let mut stream = answer.bytes_stream();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk.map_err(said)?);
            if bytes.len() > manifest::LARGEST {
                break;
            }
        }
        String::from_utf8(bytes).map_err(|_| format!("{address} is no text"))
    };
    tokio::time::timeout(FETCH, work)
        .await
        .unwrap_or_else(|_| Err(format!("{address} did not come within {FETCH:?}")))
}
