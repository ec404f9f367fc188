//! PURE. Manifests of Kubernetes as text, each object with its place in a file.

use std::fmt;

use serde_json::Value;

/// Largest text that is read, in bytes: the driver's kinds are some 50 KiB.
pub const LARGEST: usize = 4 << 20;

/// One object of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The object.
    pub value: Value,
    /// The file or URL that it stands in.
    pub file: String,
    /// The line in which it begins, from 1.
    pub line: usize,
}

/// A text that is no manifest, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The file or URL.
    pub file: String,
    /// From 1; 0 where it is the file as a whole.
    pub line: usize,
    /// A fragment.
    pub problem: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, problem } = self;
        match line {
            0 => write!(f, "{file}: {problem}"),
            line => write!(f, "{file}:{line}: {problem}"),
        }
    }
}

/// The objects of a text, in its order; those of a `List` one by one.
///
/// # Errors
///
/// At the first that is no YAML, or no object of Kubernetes.
pub fn documents(text: &str, file: &str) -> Result<Vec<Document>, ManifestError> {
    let wrong = |line, problem: String| ManifestError {
        file: file.to_owned(),
        line,
        problem,
    };
    if text.len() > LARGEST {
        return Err(wrong(0, format!("it has more than {} MiB", LARGEST >> 20)));
    }
    let mut found = Vec::new();
    for (line, part) in parts(text) {
        let value: Value = serde_saphyr::from_str(&part).map_err(|error| {
            let at = error.location().and_then(|at| usize::try_from(at.line()).ok());
            let said = error.without_snippet().to_string();
            // The place is said before it; within a document it would be another.
            let said = said.lines().next().unwrap_or_default();
            let said = said.rsplit_once(" at line ").map_or(said, |(what, _)| what);
            wrong(line - 1 + at.unwrap_or(1), format!("no YAML: {said}"))
        })?;
        if value.is_null() {
            continue;
        }
        let begins = line + leading(&part);
        let items = match value["items"].as_array() {
            Some(items) if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => items.clone(),
            _ => vec![value],
        };
        for value in items {
            if let Some(missing) = missing(&value) {
                return Err(wrong(begins, format!("no object of Kubernetes: {missing}")));
            }
            found.push(Document {
                value,
                file: file.to_owned(),
                line: begins,
            });
        }
    }
    Ok(found)
}

/// The documents of a stream, each with the line that it begins in. `---` at the beginning of a line is a mark wherever it
/// stands: <https://yaml.org/spec/1.2.2/#912-document-markers>.
fn parts(text: &str) -> Vec<(usize, String)> {
    let mut parts = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t']));
        if let Some(rest) = rest {
            parts.push((number + 1, format!("{rest}\n")));
        } else if let Some((_, part)) = parts.last_mut() {
            part.push_str(line);
            part.push('\n');
        }
    }
    parts
}

/// Lines before the first that says something.
fn leading(part: &str) -> usize {
    let silent = |line: &&str| line.trim().is_empty() || line.trim_start().starts_with('#');
    part.lines().take_while(silent).count()
}

/// What every object has and this one has not.
fn missing(value: &Value) -> Option<String> {
    if !value.is_object() {
        return Some("it is no mapping".to_owned());
    }
    let fields = [
        ("apiVersion", &value["apiVersion"]),
        ("kind", &value["kind"]),
        ("metadata.name", &value["metadata"]["name"]),
    ];
    let (name, _) = fields
        .into_iter()
        .find(|(_, value)| value.as_str().is_none_or(str::is_empty))?;
    Some(format!("it has no {name}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const ACCOUNT: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a }\n";

    #[test]
    fn every_object_is_found_with_the_line_it_begins_in() {
        let text = format!("# first\n\n{ACCOUNT}---\n# nothing\n---\n{ACCOUNT}--- # again\n\n{ACCOUNT}");
        let lines: Vec<usize> = documents(&text, "a.yaml")
            .unwrap()
            .iter()
            .map(|document| document.line)
            .collect();
        assert_eq!(lines, [3, 9, 14]);
    }

    #[test]
    fn a_list_is_its_items() {
        let text = "apiVersion: v1\nkind: List\nitems:\n  - { apiVersion: v1, kind: Pod, metadata: { name: a } }\n  - { apiVersion: v1, kind: Pod, metadata: { name: b } }\n";
        let found = documents(text, "a.yaml").unwrap();
        assert_eq!(found[1].value["metadata"]["name"], "b");
    }

    #[test]
    fn dashes_within_a_text_are_text() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata:\n  pem: |\n    -----BEGIN\n    ---\n    -----END\n";
        assert_eq!(documents(text, "a.yaml").unwrap().len(), 1);
    }

    #[test]
    fn mistakes_are_said_with_file_and_line() {
        for (text, said) in [
            (
                "kind: Pod\nmetadata: { name: a }\n",
                "f.yaml:1: no object of Kubernetes: it has no apiVersion",
            ),
            (
                "\n\napiVersion: v1\nkind: Pod\n",
                "f.yaml:3: no object of Kubernetes: it has no metadata.name",
            ),
            (
                "just words\n",
                "f.yaml:1: no object of Kubernetes: it is no mapping",
            ),
            ("- 1\n", "f.yaml:1: no object of Kubernetes: it is no mapping"),
        ] {
            assert_eq!(documents(text, "f.yaml").unwrap_err().to_string(), said);
        }
        let broken = format!("{ACCOUNT}---\nkind: Pod\nmetadata: {{ name: [a }}\n");
        let error = documents(&broken, "f.yaml").unwrap_err();
        assert_eq!(error.line, 6, "{error}");
        assert!(
            error.problem.starts_with("no YAML: ") && !error.problem.contains("line"),
            "{error}"
        );
        let large = "#".repeat(LARGEST + 1);
        assert_eq!(
            documents(&large, "f.yaml").unwrap_err().to_string(),
            "f.yaml: it has more than 4 MiB"
        );
    }
}
