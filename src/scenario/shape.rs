//! Checks a tree against the JSON Schema of [`super::raw`] and names every place that does not fit.
//!
//! Knows the part of JSON Schema that `schemars` writes for types without flattened or untagged
//! parts: objects, maps, arrays, scalars, `$ref`, and one-of-these-keys or one-of-these-words. It is
//! no second description of the language: whatever it does not know it lets pass, and serde decides.

use std::{collections::HashMap, rc::Rc};

use serde_json::{Map, Value};

use super::{
    at::Place,
    code::Code,
    diagnostic::Diagnostic,
    suggest::nearest,
    tree::{Kind, Node},
};

/// Problems of one file beyond which more say nothing new.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// Every place of the tree that does not fit the schema, in the order of the file; `what` names the whole.
pub(crate) fn check(root: &Node, schema: &Value, what: &str) -> Vec<Diagnostic> {
    let mut walk = Walk {
        schema,
        found: Vec::new(),
    };
    walk.node(root, schema, what, &root.place);
    walk.found
}

/// The keys of a mapping so far.
type Seen<'n> = HashMap<&'n str, &'n Place>;

struct Walk<'a> {
    schema: &'a Value,
    found: Vec<Diagnostic>,
}

impl<'a> Walk<'a> {
    /// `what` names the node in messages; `owner` is the place of its key, where problems of a whole
    /// mapping are shown.
    fn node(&mut self, node: &Node, schema: &'a Value, what: &str, owner: &Place) {
        if self.found.len() >= MAX_PROBLEMS {
            return;
        }
        if node.tagged {
            self.report(
                Diagnostic::error(Code::WrongType, format!("{what} has a YAML tag"))
                    .at(node.place.clone(), "tags mean nothing here"),
            );
            return;
        }
        let schema = self.follow(schema);
        if let Some(options) = alternatives(schema) {
            self.one_of(node, &options, what, owner);
            return;
        }
        let types = types(schema);
        if node.is_null() && types.contains(&"null") {
            return;
        }
        match (&node.kind, types.iter().find(|name| **name != "null").copied()) {
            (Kind::Mapping(entries), Some("object") | None) => self.object(entries, schema, what, owner),
            (Kind::Sequence(items), Some("array") | None) => {
                if let Some(schema) = schema.get("items") {
                    for item in items {
                        self.node(item, schema, &format!("an item of {what}"), &item.place);
                    }
                }
            }
            (Kind::Scalar { .. }, expected) => self.scalar(node, expected, schema, what, owner),
            (_, expected) => self.wrong_type(node, describe(expected.unwrap_or_default()), what),
        }
    }

    fn object(&mut self, entries: &[(Rc<Node>, Rc<Node>)], schema: &'a Value, what: &str, owner: &Place) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let rest = schema.get("additionalProperties");
        let mut seen = Seen::new();
        // Fields that were probably meant by unknown ones: to call them missing too says nothing new.
        let mut meant: Vec<&str> = Vec::new();
        for (key, value) in entries {
            if self.found.len() >= MAX_PROBLEMS {
                return;
            }
            let Some(name) = self.key(key, &mut seen, what) else {
                continue;
            };
            let field = properties.and_then(|properties| properties.get(name));
            match (field, rest) {
                (Some(field), _) => self.node(value, field, &format!("`{name}`"), &key.place),
                (None, Some(Value::Bool(false))) => {
                    meant.extend(self.unknown_field(name, key, properties, what));
                }
                (None, Some(schema)) => self.node(value, schema, &format!("`{name}`"), &key.place),
                (None, None) => {}
            }
        }
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for name in required.filter_map(Value::as_str) {
            if !seen.contains_key(name) && !meant.contains(&name) {
                self.report(
                    Diagnostic::error(Code::MissingField, format!("{what} has no `{name}`"))
                        .at(owner.clone(), format!("`{name}` must be here"))
                        .help(documentation(
                            properties.and_then(|properties| properties.get(name)),
                            name,
                        )),
                );
            }
        }
    }

    /// The text of a key; nothing when it is no text, or there already.
    fn key<'n>(&mut self, key: &'n Node, seen: &mut Seen<'n>, what: &str) -> Option<&'n str> {
        let Kind::Scalar { text, .. } = &key.kind else {
            self.report(
                Diagnostic::error(Code::WrongType, format!("a key of {what} is not text"))
                    .at(key.place.clone(), "expected the name of a field"),
            );
            return None;
        };
        if let Some(first) = seen.get(text.as_str()) {
            self.report(
                Diagnostic::error(Code::DuplicateKey, format!("`{text}` is written twice"))
                    .at(key.place.clone(), "again here")
                    .at((*first).clone(), "first here")
                    .help("only one of the two can be meant"),
            );
            return None;
        }
        seen.insert(text, &key.place);
        Some(text)
    }

    /// Reports it, and answers with the field that was probably meant.
    fn unknown_field(
        &mut self,
        name: &str,
        key: &Node,
        properties: Option<&'a Map<String, Value>>,
        what: &str,
    ) -> Option<&'a str> {
        let names: Vec<&'a str> = properties
            .into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .collect();
        let meant = nearest(name, names.iter().copied());
        self.report(
            Diagnostic::error(Code::UnknownField, format!("unknown field `{name}` in {what}"))
                .at(key.place.clone(), "")
                .did_you_mean(meant)
                .help(format!("fields here: {}", names.join(", "))),
        );
        meant
    }

    fn one_of(&mut self, node: &Node, options: &[&'a Value], what: &str, owner: &Place) {
        let options: Vec<&'a Value> = options.iter().map(|option| self.follow(option)).collect();
        if options.iter().any(|option| types(option) == ["null"]) {
            if !node.is_null() {
                for option in options.iter().filter(|option| types(option) != ["null"]) {
                    self.node(node, option, what, owner);
                }
            }
            return;
        }
        let words: Vec<&str> = options.iter().flat_map(|option| words(option)).collect();
        let keyed: Vec<(&str, &'a Value)> = options
            .iter()
            .filter_map(|option| only_property(option))
            .collect();
        match &node.kind {
            Kind::Scalar { text, .. } if !words.is_empty() => self.word(node, text, &words, what),
            Kind::Mapping(entries) if !keyed.is_empty() => self.keyed(node, entries, &keyed, what, owner),
            _ if keyed.is_empty() => self.wrong_type(node, "a word", what),
            _ => {
                let names: Vec<&str> = keyed.iter().map(|(name, _)| *name).collect();
                self.report(
                    Diagnostic::error(Code::NotOneKey, format!("{what} is not a mapping with one key"))
                        .at(node.place.clone(), "")
                        .help(format!("write one of: {}", names.join(", "))),
                );
            }
        }
    }

    /// A mapping whose one key says what it is, such as a step.
    fn keyed(
        &mut self,
        node: &Node,
        entries: &[(Rc<Node>, Rc<Node>)],
        keyed: &[(&str, &'a Value)],
        what: &str,
        owner: &Place,
    ) {
        let names: Vec<&str> = keyed.iter().map(|(name, _)| *name).collect();
        let mut seen = Seen::new();
        let mut second = None;
        for (key, value) in entries {
            if self.found.len() >= MAX_PROBLEMS {
                return;
            }
            let Some(name) = self.key(key, &mut seen, what) else {
                continue;
            };
            if seen.len() == 2 {
                second = second.or(Some(&key.place));
            }
            match keyed.iter().find(|(known, _)| *known == name) {
                Some((_, schema)) => self.node(value, schema, &format!("`{name}`"), &key.place),
                None => self.report(
                    Diagnostic::error(Code::UnknownField, format!("unknown key `{name}` for {what}"))
                        .at(key.place.clone(), "")
                        .did_you_mean(nearest(name, names.iter().copied()))
                        .help(format!("known here: {}", names.join(", "))),
                ),
            }
        }
        if seen.len() != 1 {
            let whole = if node.place.is_empty() { owner } else { &node.place };
            let place = second.unwrap_or(whole).clone();
            self.report(
                Diagnostic::error(
                    Code::NotOneKey,
                    format!("{what} has {} keys, and must have exactly one", seen.len()),
                )
                .at(place, "")
                .help(format!(
                    "one of: {}; start the next one with `- `",
                    names.join(", ")
                )),
            );
        }
    }

    fn scalar(&mut self, node: &Node, expected: Option<&str>, schema: &Value, what: &str, owner: &Place) {
        let Kind::Scalar { text, plain } = &node.kind else {
            return;
        };
        if node.is_null() {
            if let Some(expected) = expected {
                let place = if node.place.is_empty() {
                    owner.clone()
                } else {
                    node.place.clone()
                };
                self.report(
                    Diagnostic::error(Code::WrongType, format!("{what} is empty"))
                        .at(place, format!("expected {}", describe(expected))),
                );
            }
            return;
        }
        let fits = match expected {
            Some("string") => {
                let words = words(schema);
                if !words.is_empty() {
                    self.word(node, text, &words, what);
                }
                true
            }
            Some("integer") => *plain && text.parse::<i64>().is_ok(),
            Some("number") => *plain && text.parse::<f64>().is_ok_and(f64::is_finite),
            Some("boolean") => *plain && matches!(text.as_str(), "true" | "false"),
            Some(_) => false,
            None => true,
        };
        if !fits {
            self.wrong_type(node, describe(expected.unwrap_or_default()), what);
            return;
        }
        if expected == Some("integer") {
            self.range(node, text, schema, what);
        }
        if schema.get("const") == Some(&Value::Bool(true)) && text == "false" {
            self.report(
                Diagnostic::error(Code::UnknownValue, format!("{what} can only be `true`"))
                    .at(node.place.clone(), "leave the field out instead"),
            );
        }
    }

    fn range(&mut self, node: &Node, text: &str, schema: &Value, what: &str) {
        let unsigned = schema.get("format").and_then(Value::as_str) == Some("uint32");
        let fits = if unsigned {
            text.parse::<u32>().is_ok()
        } else {
            true
        };
        if !fits {
            self.report(
                Diagnostic::error(Code::OutOfRange, format!("{what} is out of range"))
                    .at(node.place.clone(), format!("expected 0 to {}", u32::MAX)),
            );
        }
    }

    fn word(&mut self, node: &Node, text: &str, words: &[&str], what: &str) {
        if !words.contains(&text) {
            self.report(
                Diagnostic::error(Code::UnknownValue, format!("{what} cannot be `{text}`"))
                    .at(
                        node.place.clone(),
                        format!("expected one of: {}", words.join(", ")),
                    )
                    .did_you_mean(nearest(text, words.iter().copied())),
            );
        }
    }

    fn wrong_type(&mut self, node: &Node, expected: &str, what: &str) {
        let found = match &node.kind {
            Kind::Mapping(_) => "a mapping",
            Kind::Sequence(_) => "a list",
            Kind::Scalar { plain: false, .. } => "text in quotes",
            Kind::Scalar { .. } => "text",
        };
        self.report(
            Diagnostic::error(
                Code::WrongType,
                format!("{what} is {found}, and must be {expected}"),
            )
            .at(node.place.clone(), format!("expected {expected}")),
        );
    }

    fn follow(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // References point to definitions, which are never references themselves in what schemars
        // writes; the bound only keeps a foreign schema from looping.
        for _ in 0..8 {
            let reference = schema.get("$ref").and_then(Value::as_str).or_else(|| {
                match schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                    Some([only]) => only.get("$ref").and_then(Value::as_str),
                    _ => None,
                }
            });
            let Some(target) = reference
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.schema.pointer(pointer))
            else {
                break;
            };
            schema = target;
        }
        schema
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }
}

fn alternatives(schema: &Value) -> Option<Vec<&Value>> {
    let list = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(list.iter().collect())
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn words(schema: &Value) -> Vec<&str> {
    let list = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    list.chain(schema.get("const"))
        .filter_map(Value::as_str)
        .collect()
}

fn only_property(schema: &Value) -> Option<(&str, &Value)> {
    let properties = schema.get("properties")?.as_object()?;
    let (name, schema) = properties.iter().next()?;
    (properties.len() == 1).then_some((name.as_str(), schema))
}

fn describe(expected: &str) -> &'static str {
    match expected {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a mapping",
        _ => "nothing",
    }
}

/// What the schema says about a field, cut to its first sentence.
fn documentation(schema: Option<&Value>, name: &str) -> String {
    let text = schema
        .and_then(|schema| schema.get("description"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = text
        .split_inclusive(". ")
        .next()
        .unwrap_or_default()
        .trim()
        .replace('\n', " ");
    if text.is_empty() {
        format!("add `{name}: ...`")
    } else {
        format!("{name}: {text}")
    }
}
