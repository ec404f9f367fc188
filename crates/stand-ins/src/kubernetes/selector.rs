//! Label and field selectors, with the error texts of the real parser.

use super::resource::{EVENTS, Form, NAMESPACES, NODES, PODS, REPLICA_SETS, Resource, SECRETS};

/// Conditions that must all hold of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Debug, Clone, PartialEq)]
enum Operator {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Greater(i64),
    Less(i64),
}

#[derive(Debug, Clone, PartialEq)]
struct FieldRequirement {
    field: &'static str,
    value: String,
    equal: bool,
}

/// What a selector looks at.
pub(super) trait Selectable {
    fn label(&self, key: &str) -> Option<&str>;
    /// A selectable field's value; empty if unset.
    fn field(&self, name: &str) -> &str;
}

impl Selector {
    /// Parses the query parameters `labelSelector` and `fieldSelector`; the error is the text of a
    /// 400 answer.
    pub(super) fn parse(resource: &Resource, labels: &str, fields: &str) -> Result<Self, String> {
        Ok(Self {
            labels: parse_labels(labels)?,
            fields: parse_fields(resource, fields)?,
        })
    }

    /// A selector on labels alone, from a `LabelSelector` object as in a Deployment's spec.
    pub(super) fn from_label_selector(selector: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut labels = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            labels.push(Requirement {
                key: key.clone(),
                operator: Operator::In(vec![text(value)]),
            });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let values = || {
                expression["values"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(text)
                    .collect()
            };
            let operator = match expression["operator"].as_str() {
                Some("In") => Operator::In(values()),
                Some("NotIn") => Operator::NotIn(values()),
                Some("DoesNotExist") => Operator::Absent,
                _ => Operator::Exists,
            };
            labels.push(Requirement {
                key: text(&expression["key"]),
                operator,
            });
        }
        Self {
            labels,
            fields: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(super) fn matches(&self, object: &impl Selectable) -> bool {
        self.labels.iter().all(|wanted| wanted.matches(object))
            && self
                .fields
                .iter()
                .all(|wanted| (object.field(wanted.field) == wanted.value) == wanted.equal)
    }

    /// The one name or namespace that can match, if the selector says so: such a watch or list need
    /// not look at other objects.
    pub(super) fn pinned(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|wanted| wanted.field == field && wanted.equal)
            .map(|wanted| wanted.value.as_str())
    }
}

impl Requirement {
    fn matches(&self, object: &impl Selectable) -> bool {
        let value = object.label(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Operator::Greater(limit) => number().is_some_and(|value| value > *limit),
            Operator::Less(limit) => number().is_some_and(|value| value < *limit),
        }
    }
}

// === Field selectors ===

const META_FIELDS: &[&str] = &["metadata.name", "metadata.namespace"];

/// The fields that a resource's objects can be selected by, `metadata.*` first.
pub(super) fn selectable_fields(resource: &Resource) -> Vec<&'static str> {
    let more: &[&'static str] = match resource.table {
        PODS => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        EVENTS => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        SECRETS => &["type"],
        NODES => &["spec.unschedulable"],
        NAMESPACES => &["status.phase"],
        REPLICA_SETS => &["status.replicas"],
        _ => &[],
    };
    META_FIELDS.iter().chain(more).copied().collect()
}

fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRequirement>, String> {
    let known = selectable_fields(resource);
    let mut found = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (name, value, equal) = if let Some((name, value)) = term.split_once("!=") {
            (name, value, false)
        } else if let Some((name, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
            (name, value, true)
        } else {
            return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
        };
        let stored = match (resource.form, name) {
            (Form::RegardingEvents, "reportingController") => "reportingComponent".to_owned(),
            (Form::RegardingEvents, name) => name.replacen("regarding.", "involvedObject.", 1),
            (Form::Stored, name) => name.to_owned(),
        };
        let Some(&field) = known.iter().find(|known| **known == stored) else {
            return Err(if known.len() == META_FIELDS.len() && !resource.custom {
                format!(
                    "{name:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {name}")
            });
        };
        found.push(FieldRequirement {
            field,
            value: value.to_owned(),
            equal,
        });
    }
    Ok(found)
}

// === Label selectors ===

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Word(word) => word,
            Self::Sign(sign) => sign,
            Self::End => "",
        }
    }
}

/// Longest first, so that `==` is not read as two `=`.
const SIGNS: &[&str] = &["==", "!=", "=", "!", ",", "(", ")", ">", "<"];

fn tokens(mut text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return found;
        }
        if let Some(sign) = SIGNS.iter().find(|sign| text.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            text = &text[sign.len()..];
        } else {
            let end = text
                .find(|c: char| c.is_whitespace() || "=!,()><".contains(c))
                .unwrap_or(text.len());
            found.push(Token::Word(text[..end].to_owned()));
            text = &text[end..];
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Requirement>, String> {
    let mut parser = LabelParser {
        tokens: tokens(text),
        at: 0,
    };
    parser.requirements()
}

struct LabelParser {
    tokens: Vec<Token>,
    at: usize,
}

impl LabelParser {
    fn peek(&self) -> Token {
        self.tokens.get(self.at).cloned().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::End if found.is_empty() => return Ok(found),
                Token::Word(_) | Token::Sign("!") => {
                    found.push(
                        self.requirement()
                            .map_err(|error| format!("unable to parse requirement: {error}"))?,
                    );
                    match self.next() {
                        Token::End => return Ok(found),
                        Token::Sign(",") => match self.peek() {
                            Token::Word(_) | Token::Sign("!") => {}
                            other => {
                                return Err(format!(
                                    "found '{}', expected: identifier after ','",
                                    other.text()
                                ));
                            }
                        },
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.text()
                            ));
                        }
                    }
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.peek() == Token::Sign("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(word) => word,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        check_label_key(&key)?;
        if absent {
            return Ok(Requirement {
                key,
                operator: Operator::Absent,
            });
        }
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
            });
        }
        let operator = match self.next() {
            Token::Sign("=" | "==") => Operator::In(vec![self.exact_value()?]),
            Token::Sign("!=") => Operator::NotIn(vec![self.exact_value()?]),
            Token::Sign(">") => Operator::Greater(self.number()?),
            Token::Sign("<") => Operator::Less(self.number()?),
            Token::Word(word) if word == "in" => Operator::In(self.values()?),
            Token::Word(word) if word == "notin" => Operator::NotIn(self.values()?),
            other => {
                return Err(format!(
                    "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                    other.text()
                ));
            }
        };
        Ok(Requirement { key, operator })
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Sign(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let value = self.exact_value()?;
        value
            .parse()
            .map_err(|_| "for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut found = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    found.push(word);
                    match self.next() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(found),
                        other => return Err(format!("found '{}', expected: ',' or ')'", other.text())),
                    }
                }
                Token::Sign(")") => {
                    found.push(String::new());
                    return Ok(found);
                }
                Token::Sign(",") => found.push(String::new()),
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        other.text()
                    ));
                }
            }
        }
    }
}

fn check_label_key(key: &str) -> Result<(), String> {
    let name = key.rsplit('/').next().unwrap_or_default();
    let word = |c: char| c.is_ascii_alphanumeric();
    let good = name.len() <= 63
        && name.starts_with(word)
        && name.ends_with(word)
        && name.chars().all(|c| word(c) || "-_.".contains(c))
        && key.matches('/').count() <= 1;
    if good {
        Ok(())
    } else {
        Err(format!(
            "<nil>: Invalid value: {key:?}: name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::collections::BTreeMap;

    use super::{super::resource::Registry, *};

    struct Thing {
        labels: BTreeMap<&'static str, &'static str>,
        fields: BTreeMap<&'static str, &'static str>,
    }

    impl Selectable for Thing {
        fn label(&self, key: &str) -> Option<&str> {
            self.labels.get(key).copied()
        }
        fn field(&self, name: &str) -> &str {
            self.fields.get(name).copied().unwrap_or_default()
        }
    }

    fn thing() -> Thing {
        Thing {
            labels: [("app", "web"), ("tier", "2"), ("empty", "")].into(),
            fields: [("metadata.name", "a"), ("status.phase", "Running")].into(),
        }
    }

    #[test]
    fn label_selectors_match_as_documented() {
        let pods = Registry::built_in().find("", "v1", "pods").unwrap();
        for (selector, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!none", true),
            ("app=web", true),
            ("app==web", true),
            ("app!=web", false),
            ("none!=web", true),
            ("app in (api, web)", true),
            ("app notin (api,web)", false),
            ("none notin (a)", true),
            ("tier>1,tier<3", true),
            ("tier>2", false),
            ("empty=", true),
            ("app=web,tier=3", false),
            ("in in (in)", false),
        ] {
            let parsed = Selector::parse(&pods, selector, "").unwrap();
            assert_eq!(parsed.matches(&thing()), expected, "{selector}");
        }
    }

    #[test]
    fn label_selector_errors_are_the_real_ones() {
        let pods = Registry::built_in().find("", "v1", "pods").unwrap();
        for (selector, message) in [
            (
                "a===b",
                "unable to parse requirement: found '=', expected: identifier",
            ),
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("=b", "found '=', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ] {
            assert_eq!(
                Selector::parse(&pods, selector, "").unwrap_err(),
                message,
                "{selector}"
            );
        }
    }

    #[test]
    fn field_selectors_know_their_kind() {
        let registry = Registry::built_in();
        let pods = registry.find("", "v1", "pods").unwrap();
        let maps = registry.find("", "v1", "configmaps").unwrap();
        let events = registry.find("events.k8s.io", "v1", "events").unwrap();
        let on = |resource: &Resource, text| Selector::parse(resource, "", text);
        assert!(
            on(&pods, "status.phase=Running,metadata.name!=b")
                .unwrap()
                .matches(&thing())
        );
        assert!(!on(&pods, "status.phase!=Running").unwrap().matches(&thing()));
        assert_eq!(
            on(&pods, "metadata.name==a").unwrap().pinned("metadata.name"),
            Some("a")
        );
        assert_eq!(
            on(&pods, "spec.x=1").unwrap_err(),
            "field label not supported: spec.x"
        );
        assert_eq!(
            on(&maps, "data.k=1").unwrap_err(),
            r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#
        );
        assert!(on(&events, "regarding.name=a").is_ok());
        assert_eq!(
            on(&pods, "oops").unwrap_err(),
            "invalid selector: 'oops'; can't understand 'oops'"
        );
    }
}
