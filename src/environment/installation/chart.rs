//! Charts, rendered by the program `helm`: `helm template`, never `helm install`, for what is made is ours to record.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use mountproof_releases::Part;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    manifest::{Document, documents},
    options::ChartSource,
    plan::NAMESPACE,
    rendered::{flat, made_of, merged},
};
use crate::{
    command::{Trouble, run},
    journal::RenderedChart,
    tenant::TOKEN_AUDIENCES,
};

/// Longest wait for a chart to be fetched.
const FETCH: Duration = Duration::from_mins(2);
/// Longest wait for one to be rendered.
const RENDER: Duration = Duration::from_mins(1);

/// A chart could not be had, or not rendered.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChartError {
    #[error(
        "{program} cannot be run ({because}): have helm 3 or 4 in PATH (https://helm.sh/docs/intro/install), or name it with \
         --helm PROGRAM or MOUNTPROOF_HELM; without it --{part}-manifests takes what `helm template` writes"
    )]
    NoHelm {
        part: Part,
        program: PathBuf,
        because: String,
    },
    #[error("helm {what} of the chart {chart} failed: {said}{help}")]
    Helm {
        what: &'static str,
        chart: String,
        said: String,
        help: &'static str,
    },
    #[error("helm {what} of the chart {chart} did not end within {within:?}")]
    Slow {
        what: &'static str,
        chart: String,
        within: Duration,
    },
    #[error("{0}")]
    Files(String),
}

/// A chart that is on this machine.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    part: Part,
    program: PathBuf,
    /// As it was named.
    named: String,
    /// Where it is.
    at: PathBuf,
    /// The repository that has it.
    repository: Option<String>,
    /// Our values, then the user's.
    files: Vec<PathBuf>,
    /// Both, as Helm merges them.
    values: Value,
    /// Helm's own cache, which is the run's.
    cache: PathBuf,
    /// What it says of itself.
    pub(super) about: About,
}

/// `Chart.yaml`, as far as it matters.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct About {
    pub(super) name: String,
    pub(super) version: String,
    #[serde(default, rename = "appVersion")]
    app_version: Option<String>,
}

impl About {
    /// The version of what it installs: a chart that does not say it has the same.
    pub(super) fn installs(&self) -> &str {
        let said = self.app_version.as_deref().filter(|said| !said.is_empty());
        said.unwrap_or(&self.version)
    }
}

impl Chart {
    /// Fetches a chart into `folder`, unless it is here already, and reads what it says of itself.
    pub(super) async fn fetch(
        part: Part,
        source: &ChartSource,
        helm: Option<&Path>,
        rotation: Duration,
        folder: &Path,
    ) -> Result<Self, ChartError> {
        let failed = |error: std::io::Error| ChartError::Files(format!("{}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(failed)?;
        let ours = folder.join("values.yaml");
        let mut values = values(part, rotation);
        // JSON is YAML.
        fs::write(&ours, values.to_string()).map_err(failed)?;
        if let Some(theirs) = &source.values {
            values = merged(values, &read(theirs)?);
        }
        let mut chart = Self {
            part,
            program: helm.unwrap_or_else(|| Path::new("helm")).to_owned(),
            named: match &source.version {
                Some(version) => format!("{}@{version}", source.chart),
                None => source.chart.clone(),
            },
            at: PathBuf::from(&source.chart),
            repository: source.repository.clone(),
            files: std::iter::once(ours).chain(source.values.clone()).collect(),
            values,
            cache: folder.join("cache"),
            about: About {
                name: String::new(),
                version: String::new(),
                app_version: None,
            },
        };
        if !source.is_local() {
            let fetched = folder.join("chart");
            chart.at = chart.pull(source, &fetched).await?;
        }
        let said = chart
            .helm(
                "show chart",
                vec!["show".into(), "chart".into(), chart.at.clone().into()],
                RENDER,
            )
            .await?;
        chart.about = serde_saphyr::from_str(&said).map_err(|error| ChartError::Helm {
            what: "show chart",
            chart: chart.named.clone(),
            said: format!("it has no name and version: {}", error.without_snippet()),
            help: "",
        })?;
        // A folder's or an archive's version is what it says, and no other was asked for then.
        match &source.version {
            Some(asked) if source.is_local() && *asked != chart.about.version => Err(ChartError::Helm {
                what: "show chart",
                chart: chart.named.clone(),
                said: format!("it is version {}", chart.about.version),
                help: "; leave @VERSION out, or name the chart of that version",
            }),
            _ => Ok(chart),
        }
    }

    /// What it makes of its templates for a cluster of this version, its kinds included and its hooks left out: they are for
    /// Helm's own life cycle.
    pub(super) async fn render(
        &self,
        kubernetes: &str,
    ) -> Result<(Vec<Document>, RenderedChart), ChartError> {
        let mut arguments: Vec<OsString> = ["template", &self.about.name].map(OsString::from).to_vec();
        arguments.push(self.at.clone().into());
        arguments.extend(
            [
                "--namespace",
                NAMESPACE,
                "--include-crds",
                "--no-hooks",
                "--kube-version",
                kubernetes,
            ]
            .map(OsString::from),
        );
        for values in &self.files {
            arguments.extend([OsString::from("--values"), values.clone().into()]);
        }
        let rendered = self.helm("template", arguments, RENDER).await?;
        let documents = documents(&rendered, &format!("chart {}", self.named))
            .map_err(|error| ChartError::Files(error.to_string()))?;
        let chart = RenderedChart {
            name: self.about.name.clone(),
            version: self.about.version.clone(),
            from: match &self.repository {
                Some(repository) => repository.clone(),
                None => self.named.clone(),
            },
            kubernetes: kubernetes.to_owned(),
            values: flat(&self.values),
            images: Vec::new(),
            flags: Vec::new(),
            objects: Vec::new(),
        };
        let chart = made_of(self.part, chart, &documents);
        Ok((documents, chart))
    }

    /// How a report names it.
    pub(super) fn origin(&self) -> String {
        let About { name, version, .. } = &self.about;
        format!("chart {name} {version} ({})", self.named)
    }

    async fn pull(&self, source: &ChartSource, into: &Path) -> Result<PathBuf, ChartError> {
        let failed = |error: std::io::Error| ChartError::Files(format!("{}: {error}", into.display()));
        fs::create_dir_all(into).map_err(failed)?;
        let mut arguments: Vec<OsString> = ["pull", &source.chart].map(OsString::from).to_vec();
        arguments.extend([OsString::from("--destination"), into.into()]);
        for (flag, value) in [("--version", &source.version), ("--repo", &source.repository)] {
            if let Some(value) = value {
                arguments.extend([flag, value].map(OsString::from));
            }
        }
        self.helm("pull", arguments, FETCH).await?;
        let mut archives = fs::read_dir(into)
            .map_err(failed)?
            .flatten()
            .map(|entry| entry.path());
        let archive = archives.find(|path| path.extension() == Some(OsStr::new("tgz")));
        archive.ok_or_else(|| ChartError::Files(format!("helm pull {} brought no archive", self.named)))
    }

    async fn helm(
        &self,
        what: &'static str,
        arguments: Vec<OsString>,
        within: Duration,
    ) -> Result<String, ChartError> {
        // Credentials for registries are the user's; what is fetched goes with the run.
        let environment = [("HELM_CACHE_HOME", self.cache.as_os_str())];
        let said = run(&self.program, arguments, &environment, within).await;
        said.map_err(|trouble| match trouble {
            Trouble::NotRun(because) => ChartError::NoHelm {
                part: self.part,
                program: self.program.clone(),
                because,
            },
            Trouble::Slow(within) => ChartError::Slow {
                what,
                chart: self.named.clone(),
                within,
            },
            Trouble::Failed(said) => ChartError::Helm {
                what,
                chart: self.named.clone(),
                help: help(&said),
                said,
            },
        })
    }
}

/// A user's file of values.
fn read(path: &Path) -> Result<Value, ChartError> {
    let wrong = |because: String| ChartError::Files(format!("{}: {because}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let values: Value = serde_saphyr::from_str(&text)
        .map_err(|error| wrong(format!("no YAML: {}", error.without_snippet())))?;
    // A file without anything in it is no mapping, and says nothing.
    Ok(if values.is_null() { json!({}) } else { values })
}

/// PURE. What scenarios need: tokens for STS and Pod Identity, rotation and synced Secrets. The provider's chart brings the driver's along,
/// which is installed by itself.
fn values(part: Part, rotation: Duration) -> Value {
    match part {
        Part::Driver => json!({
            "tokenRequests": TOKEN_AUDIENCES.map(|audience| json!({ "audience": audience })),
            "enableSecretRotation": true,
            "rotationPollInterval": format!("{}s", rotation.as_secs_f64()),
            "syncSecret": { "enabled": true },
        }),
        Part::Provider => json!({ "secrets-store-csi-driver": { "install": false } }),
    }
}

/// PURE. What to do about what helm said, where that is known.
fn help(said: &str) -> &'static str {
    const KNOWN: [(&str, &str); 6] = [
        (
            "missing in charts/ directory",
            "; `helm dependency build` fetches them, and packaged charts have them",
        ),
        (
            "incompatible with Kubernetes",
            "; take a chart for this version, or nodes of another one with --kind-image",
        ),
        (
            "Chart.yaml file is missing",
            "; name the folder that has Chart.yaml",
        ),
        (
            "execution error at",
            "; the chart wants other values: --..-values FILE",
        ),
        (
            "nil pointer evaluating",
            "; the chart wants other values: --..-values FILE",
        ),
        ("not found", "; look at the chart's name, version and repository"),
    ];
    let known = KNOWN.iter().find(|(sign, _)| said.contains(sign));
    known.map_or(
        "; `helm template` with the same chart and values shows it",
        |(_, help)| help,
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A helm that is a line of shell.
    fn helm(folder: &Path, line: &str) -> PathBuf {
        let path = folder.join("helm");
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn fetched(folder: &Path, line: &str, chart: &str) -> Result<Chart, ChartError> {
        let helm = helm(folder, line);
        let theirs = folder.join("theirs.yaml");
        fs::write(&theirs, "syncSecret: { enabled: false }\n").unwrap();
        let source = ChartSource {
            chart: chart.to_owned(),
            version: None,
            repository: (!chart.starts_with('.')).then(|| "https://charts.example".to_owned()),
            values: Some(theirs),
        };
        Chart::fetch(
            Part::Driver,
            &source,
            Some(&helm),
            Duration::from_secs(2),
            &folder.join("work"),
        )
        .await
    }

    const SHOWS: &str = "test \"$1\" != show || { echo 'name: driver'; echo 'version: 1.6.0'; echo 'appVersion: v1.6.0'; exit; }";

    #[tokio::test]
    async fn a_chart_is_rendered_with_our_values_and_then_the_users() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!(
            "{SHOWS}\nprintf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {{ name: a }}\\ndata: {{ said: \"%s\" }}\\n' \"$*\""
        );
        let chart = fetched(folder.path(), &line, "./driver").await.unwrap();
        assert_eq!(chart.about.installs(), "v1.6.0");
        assert_eq!(chart.origin(), "chart driver 1.6.0 (./driver)");
        let (documents, rendered) = chart.render("v1.36.3").await.unwrap();
        assert_eq!(
            rendered.values["syncSecret.enabled"], false,
            "the user's value counts"
        );
        assert_eq!(rendered.values["enableSecretRotation"], true);
        assert_eq!(rendered.objects, ["ConfigMap a"]);
        let said = documents[0].value["data"]["said"].clone();
        let said = said.as_str().unwrap();
        assert!(
            said.starts_with("template driver ./driver --namespace kube-system"),
            "{said}"
        );
        assert!(said.contains("--kube-version v1.36.3"), "{said}");
        assert!(
            said.contains("work/values.yaml --values ") && said.ends_with("theirs.yaml"),
            "{said}"
        );
        let ours = fs::read_to_string(folder.path().join("work/values.yaml")).unwrap();
        assert!(ours.contains("\"audience\":\"sts.amazonaws.com\""), "{ours}");
    }

    #[tokio::test]
    async fn a_chart_of_a_repository_is_fetched_first() {
        let folder = tempfile::tempdir().unwrap();
        let line = format!(
            "{SHOWS}\nwhile [ $# -gt 1 ]; do test \"$1\" != --destination || : >\"$2/driver-1.6.0.tgz\"; shift; done"
        );
        let chart = fetched(folder.path(), &line, "driver").await.unwrap();
        assert!(
            chart.at.ends_with("chart/driver-1.6.0.tgz"),
            "{}",
            chart.at.display()
        );
    }

    #[tokio::test]
    async fn what_goes_wrong_is_said_in_helms_words_with_help() {
        let folder = tempfile::tempdir().unwrap();
        for (line, said) in [
            (
                "echo 'Error: Chart.yaml file is missing' >&2; exit 1",
                "name the folder",
            ),
            (
                "echo 'Error: execution error at (driver/templates/a.yaml:1:4): give a region' >&2; exit 1",
                "give a region",
            ),
            (
                "echo 'Error: found in Chart.yaml, but missing in charts/ directory: x' >&2; exit 1",
                "helm dependency build",
            ),
            ("echo 'something: else'", "no name and version"),
        ] {
            let error = fetched(folder.path(), line, "./driver")
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains(said), "{error}");
        }
        let line = format!("{SHOWS}\necho 'kind: [x'");
        let chart = fetched(folder.path(), &line, "./driver").await.unwrap();
        let error = chart.render("v1.36.3").await.unwrap_err().to_string();
        assert!(error.starts_with("chart ./driver:"), "{error}");
        let error = Chart::fetch(
            Part::Provider,
            &ChartSource {
                chart: "./x".to_owned(),
                version: None,
                repository: None,
                values: None,
            },
            Some(Path::new("./no-helm")),
            Duration::from_secs(2),
            folder.path(),
        )
        .await
        .unwrap_err()
        .to_string();
        assert!(
            error.contains("--helm PROGRAM") && error.contains("--provider-manifests"),
            "{error}"
        );
    }
}
