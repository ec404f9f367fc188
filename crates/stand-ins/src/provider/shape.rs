//! Whether `objects` has the shape of descriptors, told in the words of Go's JSON. Pure.

use serde_json::Value;

use super::go_json;

const STRING: &str = "string";
const ENTRIES: &str = "[]provider.JMESPathEntry";
const ENTRY: &str = "provider.JMESPathEntry";
const FAILOVER: &str = "provider.FailoverObjectEntry";

/// Fields that are strings, as Go names them.
const FIELDS: [&str; 6] = [
    "objectName",
    "objectAlias",
    "objectVersion",
    "objectVersionLabel",
    "objectType",
    "filePermission",
];
const ENTRY_FIELDS: [&str; 3] = ["path", "objectAlias", "filePermission"];
const FAILOVER_FIELDS: [&str; 3] = ["objectName", "objectVersion", "objectVersionLabel"];

/// Checks a value whose keys are lower-case and whose numbers and booleans are strings.
pub(super) fn check(value: &Value) -> Result<(), String> {
    let Value::Array(items) = value else {
        return Err(go_json::mismatch(value, "[]*provider.SecretDescriptor"));
    };
    for item in items.iter().filter(|item| !item.is_null()) {
        if !item.is_object() {
            return Err(go_json::mismatch(item, "provider.SecretDescriptor"));
        }
        strings(item, &FIELDS, "SecretDescriptor.")?;
        let failover = &item["failoverobject"];
        if !failover.is_null() && !failover.is_object() {
            return Err(field(failover, "SecretDescriptor.failoverObject", FAILOVER));
        }
        strings(failover, &FAILOVER_FIELDS, "FailoverObjectEntry.failoverObject.")?;
        match &item["jmespath"] {
            Value::Null => {}
            Value::Array(entries) => {
                for entry in entries.iter().filter(|entry| !entry.is_null()) {
                    if !entry.is_object() {
                        return Err(field(entry, "SecretDescriptor.jmesPath", ENTRY));
                    }
                    strings(entry, &ENTRY_FIELDS, "JMESPathEntry.jmesPath.")?;
                }
            }
            other => return Err(field(other, "SecretDescriptor.jmesPath", ENTRIES)),
        }
    }
    Ok(())
}

fn strings(object: &Value, fields: &[&str], at: &str) -> Result<(), String> {
    for name in fields {
        let value = &object[name.to_lowercase()];
        if !value.is_null() && !value.is_string() {
            return Err(field(value, &format!("{at}{name}"), STRING));
        }
    }
    Ok(())
}

fn field(value: &Value, name: &str, wanted: &str) -> String {
    let whole = go_json::mismatch(value, wanted);
    whole.replace("Go value of type", &format!("Go struct field {name} of type"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_has_another_shape_is_told_in_gos_words() {
        for (value, text) in [
            (
                json!("text"),
                "string into Go value of type []*provider.SecretDescriptor",
            ),
            (
                json!({"a": "b"}),
                "object into Go value of type []*provider.SecretDescriptor",
            ),
            (
                json!(["text"]),
                "string into Go value of type provider.SecretDescriptor",
            ),
            (
                json!([["1"]]),
                "array into Go value of type provider.SecretDescriptor",
            ),
            (
                json!([{"objectname": ["a"]}]),
                "array into Go struct field SecretDescriptor.objectName of type string",
            ),
            (
                json!([{"jmespath": "text"}]),
                "string into Go struct field SecretDescriptor.jmesPath of type []provider.JMESPathEntry",
            ),
            (
                json!([{"jmespath": [{"path": ["p"]}]}]),
                "array into Go struct field JMESPathEntry.jmesPath.path of type string",
            ),
            (
                json!([{"failoverobject": {"objectname": ["p"]}}]),
                "array into Go struct field FailoverObjectEntry.failoverObject.objectName of type string",
            ),
        ] {
            assert_eq!(check(&value), Err(format!("json: cannot unmarshal {text}")));
        }
        let fine = json!([null, {"objectname": "a", "jmespath": [null, {"path": "p"}]}]);
        assert_eq!(check(&fine), Ok(()));
    }
}
