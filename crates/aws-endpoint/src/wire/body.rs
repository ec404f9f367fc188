//! The parameters of an awsJson call, read from its body with the constraints of the API's model.

use serde_json::Value;

/// The body of a call, or a structure inside of it.
#[derive(Clone, Copy)]
pub(crate) struct Body<'a>(pub(crate) &'a Value);

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
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
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
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(wrong_type(other, "Boolean")),
        }
    }

    pub(crate) fn number(self, name: &str) -> Result<Option<i64>, Malformed> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => Err(wrong_type(value, "Long")),
            },
        }
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
        match self.value(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(wrong_type(other, "List")),
        }
    }

    /// A list of strings; empty when it is left out.
    pub(crate) fn texts(self, name: &str) -> Result<Vec<&'a str>, Malformed> {
        let items = self.list(name)?.iter();
        items
            .map(|item| item.as_str().ok_or_else(|| wrong_type(item, "String")))
            .collect()
    }

    /// A parameter; `null` counts as left out.
    pub(crate) fn value(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
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

fn wrong_type(value: &Value, wanted: &str) -> Malformed {
    let given = match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
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
