//! A call: which operation it is, by method and path, and its parameters.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{EksError, OPERATIONS, Operation};

const TAGS: usize = 50;
const PAGE: usize = 100;

/// A call to one of EKS's operations.
#[derive(Debug)]
pub struct Request {
    operation: &'static Operation,
    /// What stands for the braces of the operation's path, decoded.
    params: Vec<String>,
    query: Vec<(String, String)>,
    body: Value,
}

impl Request {
    /// Finds the operation of a call. `path` and `query` as sent.
    ///
    /// # Errors
    /// When there is none, and when the body is no JSON object.
    pub fn read(method: &str, path: &str, query: &str, body: &[u8]) -> Result<Self, EksError> {
        let unknown = || EksError::unknown_operation(method, path);
        let mut known = OPERATIONS.iter().filter(|known| known.method == method);
        let found = known.find_map(|known| Some((known, params(known.path, path)?)));
        let (operation, params) = found.ok_or_else(unknown)?;
        let body: Value = if body.is_empty() {
            json!({})
        } else {
            serde_json::from_slice(body)
                .map_err(|_| EksError::serialization("the request's body is not JSON"))?
        };
        if !body.is_object() {
            return Err(EksError::serialization("the request's body is not a JSON object"));
        }
        Ok(Self {
            operation,
            params,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            body,
        })
    }

    /// Such as `CreateCluster`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation.name
    }

    /// The cluster in the path.
    pub(crate) fn cluster(&self) -> &str {
        self.param(0)
    }

    /// What stands behind the cluster in the path.
    pub(crate) fn member(&self) -> &str {
        self.param(1)
    }

    /// Whether conflicts of an add-on with what is there are to be resolved in this way.
    pub(crate) fn resolves_by(&self, way: &str) -> bool {
        self.body.get("resolveConflicts").and_then(Value::as_str) == Some(way)
    }

    pub(super) fn target(&self) -> &'static Operation {
        self.operation
    }

    pub(super) fn param(&self, at: usize) -> &str {
        self.params.get(at).map(String::as_str).unwrap_or_default()
    }

    pub(super) fn query<'s>(&'s self, name: &'s str) -> Option<&'s str> {
        self.query_all(name).next()
    }

    pub(super) fn query_all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        let pairs = self.query.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    pub(super) fn body(&self) -> Body<'_> {
        Body(&self.body)
    }

    /// The part of `all`, in order of their names, that `nextToken` and `maxResults` ask for, under `key`.
    pub(super) fn page<'n, T: Into<Value>>(
        &self,
        key: &str,
        all: impl Iterator<Item = (&'n str, T)>,
    ) -> Result<Value, EksError> {
        let size = match self.query("maxResults").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(size @ 1..=PAGE)) => size,
            Some(_) => return Err(EksError::parameter("maxResults must be between 1 and 100")),
        };
        let after = self.query("nextToken").map(|token| {
            let name = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
            let name = name.and_then(|bytes| String::from_utf8(bytes).ok());
            name.ok_or_else(|| EksError::parameter("Invalid token"))
        });
        let after = after.transpose()?;
        let mut rest = all.filter(|(name, _)| after.as_deref().is_none_or(|after| *name > after));
        let mut last = None;
        let mut items = Vec::new();
        for (name, item) in rest.by_ref().take(size) {
            last = Some(name);
            items.push(item.into());
        }
        let more = rest.next().is_some();
        let token = last
            .filter(|_| more)
            .map(|last| BASE64_URL_SAFE_NO_PAD.encode(last));
        Ok(json!({ key: items, "nextToken": token }))
    }
}

/// What stands in `path` for the braces of `pattern`; `None` when it does not match.
fn params(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    let mut params = Vec::new();
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(name), Some(part)) if name.starts_with('{') => {
                // A plus is a plus in a path.
                let part = part.replace('+', "%2B");
                let decoded = form_urlencoded::parse(part.as_bytes()).next()?.0.into_owned();
                params.push(decoded);
            }
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return None,
        }
    }
}

/// The body of a call, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body<'a>(pub(super) &'a Value);

impl<'a> Body<'a> {
    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, EksError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(EksError::serialization(format!("{name} is not a string"))),
        }
    }

    pub(super) fn required(self, name: &str) -> Result<&'a str, EksError> {
        let text = self.text(name)?.filter(|text| !text.is_empty());
        text.ok_or_else(|| missing(name))
    }

    pub(super) fn flag(self, name: &str) -> Result<Option<bool>, EksError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(EksError::serialization(format!("{name} is not a boolean"))),
        }
    }

    /// A structure; empty when it is left out.
    pub(super) fn part(self, name: &str) -> Result<Self, EksError> {
        static EMPTY: Value = Value::Null;
        match self.value(name) {
            None => Ok(Body(&EMPTY)),
            Some(part @ Value::Object(_)) => Ok(Body(part)),
            Some(_) => Err(EksError::serialization(format!("{name} is not a structure"))),
        }
    }

    pub(super) fn texts(self, name: &str) -> Result<Option<Vec<&'a str>>, EksError> {
        let wrong = || EksError::serialization(format!("{name} is not a list of strings"));
        let Some(list) = self.value(name) else {
            return Ok(None);
        };
        let items = list.as_array().ok_or_else(wrong)?.iter();
        items
            .map(|item| item.as_str().ok_or_else(wrong))
            .collect::<Result<_, _>>()
            .map(Some)
    }

    pub(super) fn tags(self) -> Result<BTreeMap<String, String>, EksError> {
        let wrong = || EksError::serialization("tags is not a map of strings");
        let Some(map) = self.value("tags") else {
            return Ok(BTreeMap::new());
        };
        let pairs = map.as_object().ok_or_else(wrong)?.iter();
        let tags = pairs.map(|(key, value)| Ok((key.clone(), value.as_str().ok_or_else(wrong)?.to_owned())));
        let tags = tags.collect::<Result<BTreeMap<_, _>, EksError>>()?;
        if tags.len() > TAGS {
            return Err(EksError::parameter(format!("The number of tags exceeds {TAGS}")));
        }
        for (key, value) in &tags {
            if key.is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(EksError::parameter(
                    "A tag's key has 1 to 128 characters, its value up to 256",
                ));
            }
            if key.to_lowercase().starts_with("aws:") {
                return Err(EksError::parameter(
                    "Tag keys that begin with aws: are reserved for AWS use",
                ));
            }
        }
        Ok(tags)
    }
}

pub(super) fn missing(name: &str) -> EksError {
    EksError::parameter(format!("The parameter {name} is required"))
}
