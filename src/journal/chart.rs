//! A Helm chart that was rendered, as reports show it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A chart that a part was installed from: what it was given, and what it made of that, before anything was set for the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenderedChart {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from: a folder, an archive, a registry, a repository.
    pub from: String,
    /// The version of Kubernetes that it was rendered for.
    pub kubernetes: String,
    /// The values that it was given beside its own, mountproof's and then the user's, by their path: `syncSecret.enabled`. What
    /// is named like a password is not told.
    pub values: BTreeMap<String, serde_json::Value>,
    /// Images of the containers that it makes, by their names.
    pub images: Vec<String>,
    /// What the part's own container is started with.
    pub flags: Vec<String>,
    /// Kind and name of every object that it makes.
    pub objects: Vec<String>,
}

impl RenderedChart {
    /// In rows, each with a word for what it is.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let values = self.values.iter().map(|(path, value)| format!("{path}={value}"));
        let Self {
            name,
            version,
            from,
            kubernetes,
            ..
        } = self;
        let mut rows = vec![
            (
                "chart",
                format!("{name} {version} from {from}, rendered for Kubernetes {kubernetes}"),
            ),
            ("values", values.collect::<Vec<_>>().join(" ")),
        ];
        rows.extend(self.images.iter().map(|image| ("rendered image", image.clone())));
        rows.push(("rendered flags", self.flags.join(" ")));
        rows.push(("rendered objects", self.objects.join(", ")));
        rows
    }
}
