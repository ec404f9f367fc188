//! The `objects` of a `SecretProviderClass`: parsed, checked with provider 3.1.1's texts, named. Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::shape;

/// Mode of a file without `filePermission`.
pub(super) const DEFAULT_MODE: u32 = 0o644;

/// Where an object is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    SecretsManager,
    SsmParameter,
}

/// One entry of `objects`. Field names are read in any case, as Go reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "lowercase")]
pub(super) struct Descriptor {
    #[serde(rename = "objectname")]
    pub(super) name: String,
    #[serde(rename = "objectalias")]
    pub(super) alias: String,
    #[serde(rename = "objectversion")]
    pub(super) version: String,
    #[serde(rename = "objectversionlabel")]
    pub(super) version_label: String,
    #[serde(rename = "objecttype")]
    object_type: String,
    #[serde(rename = "filepermission")]
    file_permission: String,
    #[serde(rename = "jmespath", deserialize_with = "nulls_are_empty")]
    pub(super) jmes_path: Vec<JmesPath>,
    #[serde(rename = "failoverobject")]
    pub(super) failover: Failover,
    #[serde(skip)]
    translation: Option<char>,
}

/// One entry of `jmesPath`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct JmesPath {
    pub(super) path: String,
    #[serde(rename = "objectalias")]
    pub(super) alias: String,
    #[serde(rename = "filepermission")]
    file_permission: String,
}

/// `failoverObject`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Failover {
    #[serde(rename = "objectname")]
    name: String,
    #[serde(rename = "objectversion")]
    version: String,
    #[serde(rename = "objectversionlabel")]
    version_label: String,
}

impl Descriptor {
    /// Name of the file below the mount.
    pub(super) fn file_name(&self) -> String {
        let name = if self.alias.is_empty() {
            &self.name
        } else {
            &self.alias
        };
        file_name(name, self.translation)
    }

    /// Name of the file of one of its `jmesPath` entries.
    pub(super) fn jmes_file_name(&self, entry: &JmesPath) -> String {
        file_name(&entry.alias, self.translation)
    }

    /// Leaves every file 0644.
    pub(super) fn forget_permission(&mut self) {
        self.file_permission.clear();
        for entry in &mut self.jmes_path {
            entry.file_permission.clear();
        }
    }

    pub(super) fn mode(&self) -> u32 {
        mode(&self.file_permission)
    }

    pub(super) fn jmes_mode(&self, entry: &JmesPath) -> u32 {
        mode(if entry.file_permission.is_empty() {
            &self.file_permission
        } else {
            &entry.file_permission
        })
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        let service = if self.object_type.is_empty() {
            self.name.split(':').nth(2).unwrap_or_default()
        } else {
            &self.object_type
        };
        kind(service)
    }

    pub(super) fn secret_name(&self, failover: bool) -> &str {
        pick(failover, &self.failover.name, &self.name)
    }

    pub(super) fn secret_version(&self, failover: bool) -> &str {
        pick(failover, &self.failover.version, &self.version)
    }

    pub(super) fn secret_version_label(&self, failover: bool) -> &str {
        pick(failover, &self.failover.version_label, &self.version_label)
    }

    fn check(&self, regions: &[String]) -> Result<(), String> {
        let name = &self.name;
        if name.is_empty() {
            return Err("Object name must be specified".to_owned());
        }
        check_name(name, &self.object_type, &regions[0])?;
        let ssm = self.kind() == Some(Kind::SsmParameter);
        let both =
            || format!("ssm parameters can not specify both objectVersion and objectVersionLabel: {name}");
        if ssm && !self.version.is_empty() && !self.version_label.is_empty() {
            return Err(both());
        }
        let file = self.file_name();
        if file.contains("/../") || file.starts_with("../") || file.ends_with("/..") {
            return Err(format!("path can not contain ../: {name}"));
        }
        check_permission(&self.file_permission)?;
        for entry in &self.jmes_path {
            if entry.path.is_empty() {
                return Err("Path must be specified for JMES object".to_owned());
            }
            if entry.alias.is_empty() {
                return Err("Object alias must be specified for JMES object".to_owned());
            }
            check_permission(&entry.file_permission)?;
        }
        let failover = &self.failover;
        if failover.name.is_empty() {
            return Ok(());
        }
        if self.alias.is_empty() {
            return Err(format!(
                "object alias must be specified for objects with failover entries: {name}"
            ));
        }
        let Some(region) = regions.get(1) else {
            return Err(format!(
                "failover object allowed only when failover region is defined: {name}"
            ));
        };
        check_name(&failover.name, &self.object_type, region)?;
        if ssm && !failover.version.is_empty() && !failover.version_label.is_empty() {
            return Err(both());
        }
        if failover.version != self.version {
            return Err(format!(
                "object versions must match between primary and failover regions: {name}"
            ));
        }
        Ok(())
    }
}

/// Reads and checks `objects`. `translation` is `pathTranslation`, `regions` the primary one and
/// perhaps the failover one.
pub(super) fn parse(objects: &str, translation: &str, regions: &[String]) -> Result<Vec<Descriptor>, String> {
    let translation = match translation {
        "" => Some('_'),
        text if text.eq_ignore_ascii_case("false") => None,
        // Go counts bytes.
        text if text.len() == 1 => text.chars().next(),
        _ => return Err("pathTranslation must be either 'False' or a single character string".to_owned()),
    };
    let mut descriptors = Vec::new();
    let mut names: HashMap<String, Descriptor> = HashMap::new();
    let mut aliases: HashSet<String> = HashSet::new();
    for entry in read(objects).map_err(|why| format!("Failed to load SecretProviderClass: {why}"))? {
        let Some(mut descriptor) = entry else {
            return Err("Empty descriptor entry in SecretProviderClass".to_owned());
        };
        descriptor.translation = translation;
        descriptor.check(regions)?;
        if let Some(found) = names.get(&descriptor.name) {
            check_duplicate(&descriptor, found)?;
        }
        names.insert(descriptor.name.clone(), descriptor.clone());
        if aliases.contains(&descriptor.alias) {
            return Err(format!("found duplicate object alias {}", descriptor.alias));
        }
        if !descriptor.alias.is_empty() {
            aliases.insert(descriptor.alias.clone());
        }
        for entry in &descriptor.jmes_path {
            if !aliases.insert(entry.alias.clone()) {
                return Err(format!(
                    "Name already in use for objectAlias: found duplicate object alias {} in JMES path entry {}",
                    entry.alias, entry.path
                ));
            }
        }
        descriptors.push(descriptor);
    }
    Ok(descriptors)
}

fn check_duplicate(one: &Descriptor, other: &Descriptor) -> Result<(), String> {
    let (alias, label) = (&one.alias, &one.version_label);
    if *alias != other.alias || *label != other.version_label {
        return Ok(());
    }
    let what = match (alias.is_empty(), label.is_empty()) {
        (false, true) => format!("duplicate object alias {alias}, and no version label"),
        (true, false) => format!("no object alias, and duplicate version label {label}"),
        (false, false) => format!("duplicate object alias {alias}, and duplicate version label {label}"),
        (true, true) => "no object alias, and no version label".to_owned(),
    };
    Err(format!(
        "found descriptor with duplicate object name {}, {what}",
        one.name
    ))
}

fn check_name(name: &str, object_type: &str, region: &str) -> Result<(), String> {
    let mut service = "";
    if name.starts_with("arn:") {
        let parts: Vec<&str> = name.splitn(6, ':').collect();
        let [_, _, found, own_region, _, _] = parts[..] else {
            return Err(format!("Invalid ARN format in object name: {name}"));
        };
        if own_region != region {
            return Err(format!("ARN region must match region {region}: {name}"));
        }
        service = found;
    } else if object_type.is_empty() {
        return Err(format!(
            "Must use objectType when a full ARN is not specified: {name}"
        ));
    }
    if object_type.is_empty() && kind(service).is_none() {
        return Err(format!("Invalid service in ARN: {service}"));
    }
    if !object_type.is_empty() && (kind(object_type).is_none() || object_type == "ssm") {
        return Err(format!("Invalid objectType: {object_type}"));
    }
    // A service that is not known counts as SSM in the real provider's table: the zero value.
    let of_arn = kind(service).unwrap_or(Kind::SsmParameter);
    if !object_type.is_empty() && name.starts_with("arn:") && kind(object_type) != Some(of_arn) {
        return Err(format!("objectType does not match ARN: {name}"));
    }
    Ok(())
}

fn check_permission(text: &str) -> Result<(), String> {
    let octal = text.len() == 4 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    if text.is_empty() || octal {
        Ok(())
    } else {
        Err(format!("Invalid File Permission: {text}"))
    }
}

fn kind(service: &str) -> Option<Kind> {
    match service {
        "secretsmanager" => Some(Kind::SecretsManager),
        "ssmparameter" | "ssm" => Some(Kind::SsmParameter),
        _ => None,
    }
}

fn pick<'a>(failover: bool, other: &'a str, own: &'a str) -> &'a str {
    if failover && !other.is_empty() { other } else { own }
}

fn file_name(name: &str, translation: Option<char>) -> String {
    match translation {
        Some(with) => name.replace('/', with.encode_utf8(&mut [0; 4])),
        None => name.trim_start_matches('/').to_owned(),
    }
}

fn mode(permission: &str) -> u32 {
    u32::from_str_radix(permission, 8).unwrap_or(DEFAULT_MODE)
}

/// YAML to descriptors the way `sigs.k8s.io/yaml` goes: through JSON, field names in any case, the
/// last of equal keys, numbers and booleans made strings, `0644` an octal number.
fn read(objects: &str) -> Result<Vec<Option<Descriptor>>, String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    let no_yaml = |why: &str| format!("error converting YAML to JSON: yaml: {why}");
    if objects.trim_start_matches(['\n', ' ']).starts_with('\t') {
        return Err(no_yaml("found character that cannot start any token"));
    }
    let value: Option<Value> = if objects.trim().is_empty() {
        None
    } else {
        serde_saphyr::from_str_with_options(objects, options)
            .map_err(|error| no_yaml(&yaml_text(&error.to_string())))?
    };
    let Some(value) = value else {
        return Ok(Vec::new());
    };
    let value = plain(value);
    let unfit = |why: String| format!("error unmarshaling JSON: while decoding JSON: {why}");
    shape::check(&value).map_err(unfit)?;
    serde_json::from_value(value).map_err(|error| unfit(error.to_string()))
}

fn nulls_are_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<JmesPath>, D::Error> {
    let entries = Vec::<Option<JmesPath>>::deserialize(from)?;
    Ok(entries.into_iter().map(Option::unwrap_or_default).collect())
}

/// A YAML error on one line, as near to the real parser's as ours allows.
fn yaml_text(error: &str) -> String {
    let first = error.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: line ").unwrap_or(first);
    let Some((place, what)) = first.split_once(": ") else {
        return first.to_owned();
    };
    let line: u32 = place
        .split(' ')
        .next()
        .and_then(|line| line.parse().ok())
        .unwrap_or(1);
    let what = if what.starts_with("unclosed") {
        "did not find expected node content"
    } else {
        what.rsplit_once(", ").map_or(what, |(_, what)| what)
    };
    // The real parser counts from 0 and says 1 for the first two.
    format!("line {}: {what}", line.saturating_sub(1).max(1))
}

/// Lower-cases keys, drops nulls, and turns numbers and booleans into strings.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            let fields: BTreeMap<_, _> = fields
                .map(|(key, value)| (key.to_lowercase(), plain(value)))
                .collect();
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        Value::Number(number) => Value::String(number.to_string()),
        Value::Bool(truth) => Value::String(truth.to_string()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:a-AbCdEf";

    fn parsed(objects: &str) -> Result<Vec<Descriptor>, String> {
        parse(objects, "", &["us-east-1".to_owned()])
    }

    #[test]
    fn refusals_have_the_real_providers_texts() {
        let two = ["us-east-1".to_owned(), "us-west-2".to_owned()];
        let sm = "objectType: secretsmanager";
        let cases: &[(String, &str)] = &[
            ("- null".into(), "Empty descriptor entry in SecretProviderClass"),
            (format!("- {{{sm}}}"), "Object name must be specified"),
            (
                "- {objectName: 'arn:aws:secretsmanager'}".into(),
                "Invalid ARN format in object name: arn:aws:secretsmanager",
            ),
            (
                format!("- {{objectName: '{}'}}", ARN.replace("us-east-1", "eu-west-1")),
                "ARN region must match region us-east-1: arn:aws:secretsmanager:eu-west-1:000000000000:secret:a-AbCdEf",
            ),
            (
                "- {objectName: a}".into(),
                "Must use objectType when a full ARN is not specified: a",
            ),
            (
                format!("- {{objectName: '{}'}}", ARN.replace("secretsmanager", "s3")),
                "Invalid service in ARN: s3",
            ),
            (
                "- {objectName: a, objectType: ssm}".into(),
                "Invalid objectType: ssm",
            ),
            (
                "- {objectName: a, objectType: s3}".into(),
                "Invalid objectType: s3",
            ),
            (
                format!("- {{objectName: '{ARN}', objectType: ssmparameter}}"),
                "objectType does not match ARN: arn:aws:secretsmanager:us-east-1:000000000000:secret:a-AbCdEf",
            ),
            (
                "- {objectName: a, objectType: ssmparameter, objectVersion: '1', objectVersionLabel: b}"
                    .into(),
                "ssm parameters can not specify both objectVersion and objectVersionLabel: a",
            ),
            (
                format!("- {{objectName: a, {sm}, filePermission: '0900'}}"),
                "Invalid File Permission: 0900",
            ),
            (
                format!("- {{objectName: a, {sm}, filePermission: 0644}}"),
                "Invalid File Permission: 420",
            ),
            (
                format!(
                    "- {{objectName: a, {sm}, jmesPath: [{{path: p, objectAlias: b, filePermission: a987}}]}}"
                ),
                "Invalid File Permission: a987",
            ),
            (
                format!("- {{objectName: a, {sm}, jmesPath: [{{objectAlias: b}}]}}"),
                "Path must be specified for JMES object",
            ),
            (
                format!("- {{objectName: a, {sm}, jmesPath: [{{path: p}}]}}"),
                "Object alias must be specified for JMES object",
            ),
            (
                format!("- {{objectName: a, {sm}, failoverObject: {{objectName: b}}}}"),
                "object alias must be specified for objects with failover entries: a",
            ),
            (
                format!("[{{objectName: a, {sm}}}, {{objectName: a, {sm}}}]"),
                "found descriptor with duplicate object name a, no object alias, and no version label",
            ),
            (
                format!("[{{objectName: a, {sm}, objectAlias: x}}, {{objectName: a, {sm}, objectAlias: x}}]"),
                "found descriptor with duplicate object name a, duplicate object alias x, and no version label",
            ),
            (
                format!(
                    "[{{objectName: a, {sm}, objectVersionLabel: x}}, {{objectName: a, {sm}, objectVersionLabel: x}}]"
                ),
                "found descriptor with duplicate object name a, no object alias, and duplicate version label x",
            ),
            (
                format!(
                    "[{{objectName: a, {sm}, objectAlias: z, objectVersionLabel: x}}, {{objectName: a, {sm}, objectAlias: z, objectVersionLabel: x}}]"
                ),
                "found descriptor with duplicate object name a, duplicate object alias z, and duplicate version label x",
            ),
            (
                format!("[{{objectName: a, {sm}, objectAlias: x}}, {{objectName: b, {sm}, objectAlias: x}}]"),
                "found duplicate object alias x",
            ),
            (
                format!("[{{objectName: a, {sm}, objectAlias: x, jmesPath: [{{path: p, objectAlias: x}}]}}]"),
                "Name already in use for objectAlias: found duplicate object alias x in JMES path entry p",
            ),
        ];
        for (objects, text) in cases {
            assert_eq!(parsed(objects), Err((*text).to_owned()), "{objects}");
        }
        let failover =
            format!("- {{objectName: a, {sm}, objectAlias: x, failoverObject: {{objectName: b}}}}");
        assert_eq!(
            parsed(&failover),
            Err("failover object allowed only when failover region is defined: a".to_owned())
        );
        assert!(parse(&failover, "", &two).is_ok());
        let versions = format!(
            "- {{objectName: a, {sm}, objectAlias: x, objectVersion: '1', failoverObject: {{objectName: b}}}}"
        );
        assert_eq!(
            parse(&versions, "", &two),
            Err("object versions must match between primary and failover regions: a".to_owned())
        );
        assert_eq!(
            parse("[]", "ab", &two),
            Err("pathTranslation must be either 'False' or a single character string".to_owned())
        );
        let broken = parsed("- objectName: [").expect_err("not YAML");
        assert!(
            broken.starts_with("Failed to load SecretProviderClass: "),
            "{broken}"
        );
    }

    #[test]
    fn files_are_named_by_alias_or_name_with_slashes_translated() {
        for (name, alias, translation, file) in [
            ("demo/red/secret", "", "", "demo_red_secret"),
            ("demo/red/secret", "", "-", "demo-red-secret"),
            ("/demo/secret", "", "False", "demo/secret"),
            ("demo/red/secret", "al/ias", "", "al_ias"),
            ("..", "", "", ".."),
        ] {
            let objects =
                format!("- {{objectName: '{name}', objectAlias: '{alias}', objectType: secretsmanager}}");
            let found = parse(&objects, translation, &["us-east-1".to_owned()]).expect(name);
            assert_eq!(found[0].file_name(), file, "{name} {alias} {translation}");
        }
        for name in ["../a", "a/../b", "a/.."] {
            let objects = format!("- {{objectName: '{name}', objectType: secretsmanager}}");
            let refused = parse(&objects, "false", &["us-east-1".to_owned()]);
            assert_eq!(refused, Err(format!("path can not contain ../: {name}")));
            assert!(parsed(&objects).is_ok(), "translated, {name} is a plain name");
        }
    }

    #[test]
    fn permissions_fall_back_from_entry_to_object_to_0644() {
        let objects = "
- objectname: a
  OBJECTTYPE: secretsmanager
  jmesPath: [{path: p, objectAlias: b}, {path: q, objectAlias: c, filePermission: '0400'}]
- {objectName: d, objectType: secretsmanager, filePermission: '0600', jmesPath: [{path: p, objectAlias: e}]}";
        let found = parsed(objects).expect("fine");
        let modes: Vec<_> = found
            .iter()
            .flat_map(|d| {
                [
                    vec![d.mode()],
                    d.jmes_path.iter().map(|j| d.jmes_mode(j)).collect(),
                ]
                .concat()
            })
            .collect();
        assert_eq!(modes, [0o644, 0o644, 0o400, 0o600, 0o600]);
        assert_eq!(parsed("").expect("nothing"), []);
    }

    proptest! {
        /// Whatever is mounted stays below the mount.
        #[test]
        fn no_accepted_name_climbs_out(name in "[a./]{1,12}", off in any::<bool>()) {
            let objects = format!("- {{objectName: '{name}', objectType: secretsmanager}}");
            let translation = if off { "False" } else { "" };
            if let Ok(found) = parse(&objects, translation, &["r".to_owned()]) {
                let file = found[0].file_name();
                prop_assert!(!file.starts_with('/'));
                let climbs = file.contains('/') && file.split('/').any(|part| part == "..");
                prop_assert!(!climbs, "{}", file);
            }
        }

        #[test]
        fn anything_is_refused_or_read_but_never_panics(objects in "\\PC{0,60}") {
            let _ = parsed(&objects);
        }
    }
}
