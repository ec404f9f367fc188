//! `SecretProviderClass`: which secrets a pod mounts, and as which files.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{Identity, Marks, PROVIDER};
use crate::scenario::model::{NameForm, Object, Part, Stage};

/// One entry of `parameters.objects`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassObject {
    /// `objectName`: a secret's name or ARN.
    pub name: String,
    /// `objectAlias`.
    pub alias: Option<String>,
    /// `objectVersion`, a version's id.
    pub version: Option<String>,
    /// `objectVersionLabel`, a staging label.
    pub version_label: Option<Stage>,
    /// `filePermission`, four octal digits.
    pub file_permission: Option<String>,
    /// `jmesPath`.
    pub jmes_path: Vec<Part>,
}

impl ClassObject {
    /// The whole secret under its own name.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// What a scenario asks for, of the secret with this name and ARN. `version` is the id of the
    /// version that it pins, where it pins one.
    #[must_use]
    pub fn of(object: &Object, name: &str, arn: &str, version: Option<String>) -> Self {
        Self {
            name: match object.by {
                NameForm::Name => name.to_owned(),
                NameForm::Arn => arn.to_owned(),
            },
            alias: object.alias.clone(),
            version,
            version_label: object.version_label,
            file_permission: object.file_permission.clone(),
            jmes_path: object.jmes_path.clone(),
        }
    }

    /// The files that the provider makes of it: the whole secret, then one for each `jmesPath`.
    #[must_use]
    pub fn files(&self, translation: PathTranslation) -> Vec<MountedFile> {
        let octal = |digits: &str| u32::from_str_radix(digits, 8).ok();
        let mode = self.file_permission.as_deref().and_then(octal);
        let whole = MountedFile {
            name: translation.apply(self.alias.as_deref().unwrap_or(&self.name)),
            source: Source::Whole,
            mode,
        };
        let parts = self.jmes_path.iter().map(|part| MountedFile {
            name: translation.apply(&part.alias),
            source: Source::JmesPath(part.path.clone()),
            // A part without one has the object's.
            mode: part.file_permission.as_deref().and_then(octal).or(mode),
        });
        std::iter::once(whole).chain(parts).collect()
    }
}

/// A file in the pod's volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedFile {
    /// Its name below the mount path.
    pub name: String,
    /// What it holds.
    pub source: Source,
    /// Permission bits asked for; the driver's 0644 otherwise.
    pub mode: Option<u32>,
}

/// What of a secret a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Everything.
    Whole,
    /// The string at this `JMESPath`.
    JmesPath(String),
}

/// How the provider makes file names of object names: the parameter `pathTranslation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathTranslation {
    /// `/` becomes this character.
    To(char),
    /// Only a leading `/` is dropped.
    Off,
}

impl Default for PathTranslation {
    fn default() -> Self {
        Self::To('_')
    }
}

impl PathTranslation {
    /// What a class's parameters say. The provider refuses what is no single character; here such a
    /// text counts as the default, because no file appears anyway.
    #[must_use]
    pub fn of(parameters: &BTreeMap<String, String>) -> Self {
        match parameters.get("pathTranslation").map(String::as_str) {
            Some(text) if text.eq_ignore_ascii_case("false") => Self::Off,
            Some(text) if text.chars().count() == 1 => {
                text.chars().next().map_or_else(Self::default, Self::To)
            }
            _ => Self::default(),
        }
    }

    /// The file name of an object name or alias.
    #[must_use]
    pub fn apply(self, name: &str) -> String {
        match self {
            Self::To(character) => name.replace('/', &character.to_string()),
            Self::Off => name.strip_prefix('/').unwrap_or(name).to_owned(),
        }
    }
}

/// A `SecretProviderClass` to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassManifest<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its objects.
    pub objects: &'a [ClassObject],
    /// Further parameters: `region`, `pathTranslation`, ...
    pub parameters: &'a BTreeMap<String, String>,
    /// The Kubernetes Secret that every file is synced into, where it is.
    pub sync: Option<&'a str>,
    /// How its pods get their role.
    pub identity: Identity,
    /// Its marks.
    pub marks: &'a Marks,
}

impl ClassManifest<'_> {
    /// As Kubernetes takes it.
    #[must_use]
    pub fn manifest(&self) -> Value {
        let mut parameters: BTreeMap<&str, String> = self
            .parameters
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        if self.identity == Identity::PodIdentity {
            // One that a scenario sets itself is what it is about.
            parameters
                .entry("usePodIdentity")
                .or_insert_with(|| "true".to_owned());
        }
        parameters.insert("objects", objects_yaml(self.objects));
        let mut manifest = json!({
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": { "name": self.name, "namespace": self.namespace, "labels": self.marks.labels() },
            "spec": { "provider": PROVIDER, "parameters": parameters },
        });
        if let Some(secret) = self.sync {
            let files = self.files().into_iter();
            let data: Vec<Value> = files
                .map(|file| json!({ "objectName": file.name, "key": file.name }))
                .collect();
            manifest["spec"]["secretObjects"] =
                json!([{ "secretName": secret, "type": "Opaque", "data": data }]);
        }
        manifest
    }

    /// Every file that a mount of the class makes, in order.
    #[must_use]
    pub fn files(&self) -> Vec<MountedFile> {
        let translation = PathTranslation::of(self.parameters);
        self.objects
            .iter()
            .flat_map(|object| object.files(translation))
            .collect()
    }
}

/// `parameters.objects` is YAML in a string. Values are written as JSON strings, which YAML reads as
/// double-quoted, so that nothing in a name can be taken for syntax.
fn objects_yaml(objects: &[ClassObject]) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut yaml = String::new();
    for object in objects {
        let _ = writeln!(yaml, "- objectName: {}", quoted(&object.name));
        yaml.push_str("  objectType: \"secretsmanager\"\n");
        for (key, value) in [
            ("objectAlias", object.alias.as_deref()),
            ("objectVersion", object.version.as_deref()),
            ("objectVersionLabel", object.version_label.map(Stage::label)),
            ("filePermission", object.file_permission.as_deref()),
        ] {
            if let Some(value) = value {
                let _ = writeln!(yaml, "  {key}: {}", quoted(value));
            }
        }
        if !object.jmes_path.is_empty() {
            yaml.push_str("  jmesPath:\n");
        }
        for part in &object.jmes_path {
            let _ = writeln!(yaml, "    - path: {}", quoted(&part.path));
            let _ = writeln!(yaml, "      objectAlias: {}", quoted(&part.alias));
            if let Some(permission) = &part.file_permission {
                let _ = writeln!(yaml, "      filePermission: {}", quoted(permission));
            }
        }
    }
    yaml
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn the_seed_class_reads_as_the_seed_wrote_it() {
        let class = ClassManifest {
            namespace: "team-red",
            name: "team-red-secret",
            objects: &[ClassObject::named("demo/team-red/secret")],
            parameters: &BTreeMap::new(),
            sync: None,
            identity: Identity::Irsa,
            marks: &Marks::of_run("7f3k").of_tenant("team-red"),
        };
        let manifest = class.manifest();
        let synced = ClassManifest {
            sync: Some("synced"),
            ..class.clone()
        };
        assert_eq!(
            synced.manifest()["spec"]["secretObjects"],
            json!([{ "secretName": "synced", "type": "Opaque", "data": [
                { "objectName": "demo_team-red_secret", "key": "demo_team-red_secret" }
            ] }])
        );
        assert_eq!(manifest["spec"]["secretObjects"], Value::Null);
        assert_eq!(manifest["spec"]["provider"], "aws");
        assert_eq!(
            manifest["spec"]["parameters"]["objects"],
            "- objectName: \"demo/team-red/secret\"\n  objectType: \"secretsmanager\"\n"
        );
        assert_eq!(
            class.files(),
            [MountedFile {
                name: "demo_team-red_secret".to_owned(),
                source: Source::Whole,
                mode: None
            }]
        );
    }

    #[test]
    fn every_field_of_an_object_is_written_and_cannot_escape_its_quotes() {
        let object = ClassObject {
            name: "a\"\n- objectName: b".to_owned(),
            alias: Some("alias: x".to_owned()),
            version: Some("EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE".to_owned()),
            version_label: Some(Stage::Previous),
            file_permission: Some("0400".to_owned()),
            jmes_path: [None, Some("0600")]
                .map(|permission| Part {
                    path: "user".to_owned(),
                    alias: format!("user{}", permission.unwrap_or_default()),
                    file_permission: permission.map(str::to_owned),
                })
                .into(),
        };
        let read: Value = serde_saphyr::from_str(&objects_yaml(std::slice::from_ref(&object))).unwrap();
        assert_eq!(
            read,
            json!([{
                "objectName": object.name,
                "objectType": "secretsmanager",
                "objectAlias": "alias: x",
                "objectVersion": "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE",
                "objectVersionLabel": "AWSPREVIOUS",
                "filePermission": "0400",
                "jmesPath": [
                    { "path": "user", "objectAlias": "user" },
                    { "path": "user", "objectAlias": "user0600", "filePermission": "0600" },
                ],
            }])
        );
        let files = object.files(PathTranslation::default());
        let seen: Vec<(&str, Option<u32>)> =
            files.iter().map(|file| (file.name.as_str(), file.mode)).collect();
        assert_eq!(
            seen,
            [
                ("alias: x", Some(0o400)),
                ("user", Some(0o400)),
                ("user0600", Some(0o600))
            ],
            "a part has its own mode, else the object's"
        );
        assert_eq!(files[1].source, Source::JmesPath("user".to_owned()));
    }

    #[test]
    fn paths_are_translated_as_the_provider_does() {
        for (parameter, name, file) in [
            (None, "demo/team-red/secret", "demo_team-red_secret"),
            (None, "/demo/x", "_demo_x"),
            (Some("-"), "a/b", "a-b"),
            (Some("False"), "/a/b", "a/b"),
            (Some("false"), "a/b", "a/b"),
            (Some("too long"), "a/b", "a_b"),
        ] {
            let parameters = parameter
                .map(|value| ("pathTranslation".to_owned(), value.to_owned()))
                .into_iter()
                .collect();
            assert_eq!(
                PathTranslation::of(&parameters).apply(name),
                file,
                "{parameter:?}"
            );
        }
    }
}
