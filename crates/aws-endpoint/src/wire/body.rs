//! The parameters of an awsJson call, read from its body with the constraints of the API's model.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::Value;
use smallvec::SmallVec;

/// The body of a call, or a structure inside of it.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a>(pub(crate) &'a dyn Fields);

/// What a body is read from: any JSON, or [`Texts`].
pub trait Fields: Sync {
    /// The member of this name.
    fn field(&self, name: &str) -> Option<Field<'_>>;
}

/// A member of a body.
#[derive(Clone, Copy)]
pub enum Field<'a> {
    /// A text that lies in the request.
    Text(&'a str),
    /// Anything.
    Value(&'a Value),
}

impl Fields for Value {
    fn field(&self, name: &str) -> Option<Field<'_>> {
        self.get(name).map(Field::Value)
    }
}

/// A body that is an object of a few texts and nothing else, as reads send. Its texts stay in the request, but for
/// those with escapes.
pub(crate) struct Texts<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); Texts::MOST]>);

impl<'a> Texts<'a> {
    const MOST: usize = 4;

    /// `None` for any other body, which may be good or bad.
    pub(crate) fn read(body: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl Fields for Texts<'_> {
    fn field(&self, name: &str) -> Option<Field<'_>> {
        // The last of those with the same name counts, as in any JSON.
        let (_, text) = self.0.iter().rev().find(|(other, _)| other == name)?;
        Some(Field::Text(text))
    }
}

impl<'de> Deserialize<'de> for Texts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Texts<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a few texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut texts = SmallVec::new();
                while let Some((Text(name), Text(text))) = members.next_entry()? {
                    if texts.len() == Texts::MOST {
                        return Err(A::Error::custom("more than a few texts"));
                    }
                    texts.push((name, text));
                }
                Ok(Texts(texts))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A body that breaks the API's model: what every awsJson service says alike. Each service turns it into an
/// error of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// `SerializationException` or [`VALIDATION`].
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// The code for a parameter that breaks a constraint.
pub(crate) const VALIDATION: &str = "ValidationException";

impl Malformed {
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self {
            code: "SerializationException",
            message: message.into(),
        }
    }

    /// A parameter that breaks a constraint of the API's model; `at` is its name in lower camel case.
    pub(crate) fn constraint(value: Option<&str>, at: &str, constraint: &str) -> Self {
        let value = value.map_or_else(String::new, |value| format!(" '{value}'"));
        Self {
            code: VALIDATION,
            message: format!(
                "1 validation error detected: Value{value} at '{at}' failed to satisfy constraint: {constraint}"
            ),
        }
    }
}

impl<'a> Body<'a> {
    /// A string parameter that may be left out.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>, Malformed> {
        match self.field(name) {
            None => Ok(None),
            Some(Field::Text(text)) => Ok(Some(text)),
            Some(Field::Value(Value::String(text))) => Ok(Some(text)),
            Some(other) => Err(wrong_type(other, "String")),
        }
    }

    /// A string parameter of `shortest..=longest` characters that may be left out.
    pub(crate) fn text_of(
        self,
        name: &str,
        shortest: usize,
        longest: usize,
    ) -> Result<Option<&'a str>, Malformed> {
        let text = self.text(name)?;
        if let Some(text) = text {
            check_length(name, text, shortest, longest)?;
        }
        Ok(text)
    }

    /// A string parameter that has to be there.
    pub(crate) fn required(self, name: &str, longest: usize) -> Result<&'a str, Malformed> {
        let text = self.text_of(name, 1, longest)?;
        text.ok_or_else(|| missing(name))
    }

    /// A string parameter that is one of a set and may be left out.
    pub(crate) fn one_of(self, name: &str, set: &[&str]) -> Result<Option<&'a str>, Malformed> {
        let text = self.text(name)?;
        if let Some(text) = text
            && !set.contains(&text)
        {
            let constraint = format!("Member must satisfy enum value set: [{}]", set.join(", "));
            return Err(Malformed::constraint(Some(text), &camel(name), &constraint));
        }
        Ok(text)
    }

    pub(crate) fn flag(self, name: &str) -> Result<Option<bool>, Malformed> {
        match self.field(name) {
            None => Ok(None),
            Some(Field::Value(Value::Bool(flag))) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(other, "Boolean")),
        }
    }

    pub(crate) fn number(self, name: &str) -> Result<Option<i64>, Malformed> {
        let number = match self.field(name) {
            None => return Ok(None),
            Some(Field::Value(value)) => value.as_i64().ok_or(Field::Value(value)),
            Some(text @ Field::Text(_)) => Err(text),
        };
        number.map(Some).map_err(|other| wrong_type(other, "Long"))
    }

    /// A number of `least..=most` that may be left out.
    pub(crate) fn number_of(self, name: &str, least: i64, most: i64) -> Result<Option<i64>, Malformed> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        let refused = |constraint: String| {
            let value = number.to_string();
            Err(Malformed::constraint(Some(&value), &camel(name), &constraint))
        };
        if number < least {
            return refused(format!("Member must have value greater than or equal to {least}"));
        }
        if number > most {
            return refused(format!("Member must have value less than or equal to {most}"));
        }
        Ok(Some(number))
    }

    /// How many items one answer holds: at most, and by default, `most`.
    pub(crate) fn page_size(self, name: &str, most: u16) -> Result<usize, Malformed> {
        let size = self.number_of(name, 1, most.into())?;
        Ok(size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or_else(|| most.into()))
    }

    /// A list parameter; empty when it is left out.
    pub(crate) fn list(self, name: &str) -> Result<&'a [Value], Malformed> {
        match self.field(name) {
            None => Ok(&[]),
            Some(Field::Value(Value::Array(items))) => Ok(items),
            Some(other) => Err(wrong_type(other, "List")),
        }
    }

    /// A list of strings; empty when it is left out.
    pub(crate) fn texts(self, name: &str) -> Result<Vec<&'a str>, Malformed> {
        let items = self.list(name)?.iter();
        items
            .map(|item| {
                item.as_str()
                    .ok_or_else(|| wrong_type(Field::Value(item), "String"))
            })
            .collect()
    }

    /// A parameter as it was sent; `null` counts as left out. Only where the body was read as any JSON: [`Texts`]
    /// have none.
    pub(crate) fn value(self, name: &str) -> Option<&'a Value> {
        match self.field(name)? {
            Field::Value(value) => Some(value),
            Field::Text(_) => None,
        }
    }

    /// A parameter; `null` counts as left out.
    fn field(self, name: &str) -> Option<Field<'a>> {
        let there = |field: &Field<'_>| !matches!(field, Field::Value(Value::Null));
        self.0.field(name).filter(there)
    }
}

/// A parameter that has to be there and is not.
pub(crate) fn missing(name: &str) -> Malformed {
    Malformed::constraint(None, &camel(name), "Member must not be null")
}

/// Refuses a text of too few or too many characters, without repeating it: it may be a secret.
pub(crate) fn check_length(at: &str, text: &str, shortest: usize, longest: usize) -> Result<(), Malformed> {
    let length = text.chars().count();
    if length < shortest {
        let constraint = format!("Member must have length greater than or equal to {shortest}");
        return Err(Malformed::constraint(None, &camel(at), &constraint));
    }
    if length > longest {
        let constraint = format!("Member must have length less than or equal to {longest}");
        return Err(Malformed::constraint(None, &camel(at), &constraint));
    }
    Ok(())
}

fn wrong_type(given: Field<'_>, wanted: &str) -> Malformed {
    let given = match given {
        Field::Text(_) | Field::Value(Value::String(_)) => "STRING_VALUE",
        Field::Value(Value::Null) => "NULL_VALUE",
        Field::Value(Value::Bool(true)) => "TRUE_VALUE",
        Field::Value(Value::Bool(false)) => "FALSE_VALUE",
        Field::Value(Value::Number(_)) => "NUMBER_VALUE",
        Field::Value(Value::Array(_)) => "START_ARRAY",
        Field::Value(Value::Object(_)) => "START_OBJECT",
    };
    Malformed::serialization(format!("{given} can not be converted to a {wanted}"))
}

/// A parameter's name as messages write it.
fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads ask for texts, flags, numbers and lists of either body, and are to be told the same.
    #[test]
    fn a_body_of_texts_says_what_any_json_says() {
        for (text, as_texts) in [
            (r"{}", true),
            (r#"{"A": "1"}"#, true),
            (r#"{"A": "1", "B": "2", "A": "3"}"#, true),
            (r#" {"\u0041": "a\"b\u00e9"} "#, true),
            (r#"{"A": "1", "B": "2", "C": "3", "D": "4"}"#, true),
            (r#"{"A": "1", "B": "2", "C": "3", "D": "4", "E": "5"}"#, false),
            (r#"{"A": null}"#, false),
            (r#"{"A": "1", "B": 2}"#, false),
            (r#"{"A": "1"} {}"#, false),
            (r#"["A"]"#, false),
            ("", false),
        ] {
            let texts = Texts::read(text.as_bytes());
            assert_eq!(texts.is_some(), as_texts, "{text}");
            let Some(texts) = texts else { continue };
            let value: Value = serde_json::from_str(text).expect("texts are JSON");
            let (texts, value) = (Body(&texts), Body(&value));
            for name in ["A", "B", "D", "x"] {
                assert_eq!(texts.text(name), value.text(name), "{text} {name}");
                assert_eq!(texts.flag(name), value.flag(name), "{text} {name}");
                assert_eq!(texts.number(name), value.number(name), "{text} {name}");
                assert_eq!(texts.list(name), value.list(name), "{text} {name}");
                assert_eq!(texts.texts(name), value.texts(name), "{text} {name}");
            }
        }
    }
}
