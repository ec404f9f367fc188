//! JSON read as Go reads it, with Go's words for what does not fit. Pure.
//!
//! Of what does not parse nothing is shown: it may hold a token. So a text that is no JSON at all is
//! told as one that ends too early, or by the place of the mistake.

use serde_json::{Value, error::Category};

/// Reads `text`.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Eof => "unexpected end of JSON input".to_owned(),
        _ => format!("invalid character at column {}", error.column()),
    })
}

/// What Go says of a `value` that a `wanted` type of its cannot take.
pub(super) fn mismatch(value: &Value, wanted: &str) -> String {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if wanted == FILE_MODE => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!("json: cannot unmarshal {found} into Go value of type {wanted}")
}

/// Go's name for the type of permissions.
pub(super) const FILE_MODE: &str = "fs.FileMode";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_fit_is_told_in_gos_words_and_without_itself() {
        for text in ["", "{\"canary\": ", "[1"] {
            assert_eq!(parse(text), Err("unexpected end of JSON input".to_owned()));
        }
        assert!(!parse("canary").expect_err("no JSON").contains("canary"));
        for (value, wanted, text) in [
            (
                json!([1]),
                "map[string]string",
                "json: cannot unmarshal array into Go value of type map[string]string",
            ),
            (
                json!(1),
                "string",
                "json: cannot unmarshal number into Go value of type string",
            ),
            (
                json!(-1),
                FILE_MODE,
                "json: cannot unmarshal number -1 into Go value of type fs.FileMode",
            ),
        ] {
            assert_eq!(mismatch(&value, wanted), text);
        }
    }
}
