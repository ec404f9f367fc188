//! JSON Patch, RFC 6902.

use serde_json::Value;

use super::PatchError;

/// Carries out the operations of `patch` in order; all of them or none.
pub(super) fn patched(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = patch.as_array().ok_or_else(|| {
        PatchError::Malformed(
            "json: cannot unmarshal object into Go value of type jsonpatch.Patch".to_owned(),
        )
    })?;
    let mut object = object.clone();
    for operation in operations {
        carry_out(&mut object, operation)?;
    }
    Ok(object)
}

fn carry_out(object: &mut Value, operation: &Value) -> Result<(), PatchError> {
    let path = pointer(operation, "path")?;
    let value = || operation.get("value").cloned().ok_or(PatchError::Inapplicable);
    match operation["op"].as_str() {
        Some("add") => add(object, &path, value()?),
        Some("remove") => remove(object, &path).map(drop),
        Some("replace") => {
            *find(object, &path)? = value()?;
            Ok(())
        }
        Some("move") => {
            let moved = remove(object, &pointer(operation, "from")?)?;
            add(object, &path, moved)
        }
        Some("copy") => {
            let copied = find(object, &pointer(operation, "from")?)?.clone();
            add(object, &path, copied)
        }
        Some("test") => {
            let wanted = operation.get("value").cloned().unwrap_or_default();
            let found = find(object, &path).map(|found| found.clone());
            // A test for null holds of what is absent, as in the library the real server uses.
            if found.unwrap_or_default() == wanted {
                Ok(())
            } else {
                Err(PatchError::Inapplicable)
            }
        }
        other => Err(PatchError::Malformed(format!(
            "Unexpected kind: {}",
            other.unwrap_or("unknown")
        ))),
    }
}

/// The unescaped tokens of a JSON pointer.
fn pointer(operation: &Value, field: &str) -> Result<Vec<String>, PatchError> {
    let text = operation[field].as_str().ok_or(PatchError::Inapplicable)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let rest = text.strip_prefix('/').ok_or(PatchError::Inapplicable)?;
    Ok(rest
        .split('/')
        .map(|token| token.replace("~1", "/").replace("~0", "~"))
        .collect())
}

fn find<'a>(object: &'a mut Value, path: &[String]) -> Result<&'a mut Value, PatchError> {
    let mut at = object;
    for token in path {
        at = match at {
            Value::Object(fields) => fields.get_mut(token),
            Value::Array(items) => {
                let at = index(token, items.len())?;
                items.get_mut(at)
            }
            _ => None,
        }
        .ok_or(PatchError::Inapplicable)?;
    }
    Ok(at)
}

fn add(object: &mut Value, path: &[String], value: Value) -> Result<(), PatchError> {
    let Some((last, parents)) = path.split_last() else {
        *object = value;
        return Ok(());
    };
    match find(object, parents)? {
        Value::Object(fields) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => {
            let at = index(last, items.len() + 1)?;
            if at > items.len() {
                return Err(PatchError::Inapplicable);
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err(PatchError::Inapplicable),
    }
}

fn remove(object: &mut Value, path: &[String]) -> Result<Value, PatchError> {
    let (last, parents) = path.split_last().ok_or(PatchError::Inapplicable)?;
    match find(object, parents)? {
        Value::Object(fields) => fields.remove(last).ok_or(PatchError::Inapplicable),
        Value::Array(items) => {
            let at = index(last, items.len())?;
            if at < items.len() {
                Ok(items.remove(at))
            } else {
                Err(PatchError::Inapplicable)
            }
        }
        _ => Err(PatchError::Inapplicable),
    }
}

/// An array index; negative ones count from the end, as in the library the real server uses.
fn index(token: &str, length: usize) -> Result<usize, PatchError> {
    let at: i64 = token.parse().map_err(|_| PatchError::Inapplicable)?;
    let length = i64::try_from(length).map_err(|_| PatchError::Inapplicable)?;
    usize::try_from(if at < 0 { at + length } else { at }).map_err(|_| PatchError::Inapplicable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations() {
        for (object, patch, expected) in [
            (
                json!({"a": 1}),
                json!([{"op": "add", "path": "/b", "value": 2}]),
                Some(json!({"a": 1, "b": 2})),
            ),
            (
                json!({"a": [1, 3]}),
                json!([{"op": "add", "path": "/a/1", "value": 2}]),
                Some(json!({"a": [1, 2, 3]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/-", "value": 2}]),
                Some(json!({"a": [1, 2]})),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "add", "path": "/a/3", "value": 2}]),
                None,
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "remove", "path": "/a/0"}]),
                Some(json!({"a": []})),
            ),
            (json!({"a": 1}), json!([{"op": "remove", "path": "/b"}]), None),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "/a", "value": 2}]),
                Some(json!({"a": 2})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "replace", "path": "/b", "value": 2}]),
                None,
            ),
            (
                json!({"a": 1}),
                json!([{"op": "move", "from": "/a", "path": "/b"}]),
                Some(json!({"b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                Some(json!({"a": 1, "b": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 1}]),
                Some(json!({"a": 1})),
            ),
            (
                json!({"a": 1}),
                json!([{"op": "test", "path": "/a", "value": 2}]),
                None,
            ),
            (
                json!({"x/y": {"~": 1}}),
                json!([{"op": "replace", "path": "/x~1y/~0", "value": 2}]),
                Some(json!({"x/y": {"~": 2}})),
            ),
            // All or nothing.
            (
                json!({"a": 1}),
                json!([{"op": "add", "path": "/b", "value": 1}, {"op": "remove", "path": "/c"}]),
                None,
            ),
        ] {
            assert_eq!(patched(&object, &patch).ok(), expected, "{object} with {patch}");
        }
        assert!(matches!(
            patched(&json!({}), &json!({"op": "add"})),
            Err(PatchError::Malformed(_))
        ));
    }
}
