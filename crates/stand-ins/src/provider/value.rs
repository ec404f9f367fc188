//! Secret values, and what `jmesPath` takes out of them.

use serde::Deserialize;

use super::descriptor::{Descriptor, JmesPath};

/// A secret's bytes. It has no `Debug`, `Display` or `Serialize`.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct SecretBytes(Vec<u8>);

impl SecretBytes {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes themselves, to be written and not to be shown.
    pub(super) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_exposed(self) -> Vec<u8> {
        self.0
    }
}

/// One file to mount.
#[derive(Clone)]
pub(super) struct SecretFile {
    pub(super) name: String,
    pub(super) mode: u32,
    pub(super) value: SecretBytes,
}

/// The files of one fetched secret: itself, then one for each `jmesPath` entry.
pub(super) fn files(descriptor: &Descriptor, value: SecretBytes) -> Result<Vec<SecretFile>, String> {
    let mut extracted = Vec::with_capacity(descriptor.jmes_path.len());
    if !descriptor.jmes_path.is_empty() {
        let text = std::str::from_utf8(value.expose()).ok();
        let data = text.and_then(|text| jmespath::Variable::from_json(text).ok());
        let data =
            data.ok_or_else(|| format!("Invalid JSON used with jmesPath in secret: {}.", descriptor.name))?;
        for entry in &descriptor.jmes_path {
            extracted.push(SecretFile {
                name: descriptor.jmes_file_name(entry),
                mode: descriptor.jmes_mode(entry),
                value: extract(&data, entry)?,
            });
        }
    }
    let whole = SecretFile {
        name: descriptor.file_name(),
        mode: descriptor.mode(),
        value,
    };
    Ok(std::iter::once(whole).chain(extracted).collect())
}

fn extract(data: &jmespath::Variable, entry: &JmesPath) -> Result<SecretBytes, String> {
    let JmesPath { path, alias, .. } = entry;
    let found = jmespath::compile(path).and_then(|compiled| compiled.search(data));
    let found = found.map_err(|_| format!("Invalid JMES Path: {path}."))?;
    if found.is_null() {
        return Err(format!(
            "JMES Path - {path} for object alias - {alias} does not point to a valid object."
        ));
    }
    let text = found
        .as_string()
        .ok_or_else(|| format!("Invalid JMES search result type for path:{path}. Only string is allowed."))?;
    Ok(SecretBytes::new(text.clone().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(path: &str, secret: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let objects = format!(
            "- {{objectName: s, objectType: secretsmanager, jmesPath: [{{path: '{path}', objectAlias: al/ias}}]}}"
        );
        let descriptor = super::super::descriptor::parse(&objects, "", &["r".to_owned()])
            .expect("fine")
            .remove(0);
        let files = files(&descriptor, SecretBytes::new(secret.as_bytes().to_vec()))?;
        Ok(files
            .into_iter()
            .map(|file| (file.name, file.value.into_exposed()))
            .collect())
    }

    #[test]
    fn strings_are_taken_out_and_all_else_is_refused_in_the_real_words() {
        let secret = r#"{"user":"u","db":{"password":"p"},"port":5432}"#;
        assert_eq!(
            mounted("db.password", secret),
            Ok(vec![
                ("s".to_owned(), secret.as_bytes().to_vec()),
                ("al_ias".to_owned(), b"p".to_vec())
            ])
        );
        for (path, secret, text) in [
            ("user", "no JSON", "Invalid JSON used with jmesPath in secret: s."),
            (".user", secret, "Invalid JMES Path: .user."),
            (
                "nobody",
                secret,
                "JMES Path - nobody for object alias - al/ias does not point to a valid object.",
            ),
            (
                "port",
                secret,
                "Invalid JMES search result type for path:port. Only string is allowed.",
            ),
        ] {
            assert_eq!(mounted(path, secret), Err(text.to_owned()));
        }
    }
}
