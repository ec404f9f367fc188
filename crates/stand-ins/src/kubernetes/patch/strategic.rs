//! Strategic merge patch: lists merge by the keys that Kubernetes' own types declare.

use serde_json::{Map, Value};

use super::PatchError;
use crate::kubernetes::{object::fields_mut, schema};

/// Directives inside a patch.
const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Carries out `patch` on `object`.
pub(super) fn patched(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let mut object = object.clone();
    let patch = patch
        .as_object()
        .ok_or_else(|| PatchError::Malformed("invalid strategic merge patch format".to_owned()))?;
    merge_object(fields_mut(&mut object), patch)?;
    Ok(object)
}

fn merge_object(fields: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            *fields = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            fields.clear();
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(PatchError::Malformed(format!("unknown patch directive: {other}")));
        }
    }
    if let Some(Value::Array(retained)) = patch.get(RETAIN_KEYS) {
        fields.retain(|name, _| retained.iter().any(|kept| kept == name));
    }
    for (name, value) in patch {
        if name == DIRECTIVE || name == RETAIN_KEYS || name.starts_with(SET_ORDER) {
            continue;
        }
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (fields.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        match value {
            Value::Null => {
                fields.remove(name);
            }
            Value::Object(below) => {
                let child = fields.entry(name.clone()).or_insert(Value::Null);
                merge_object(fields_mut(child), below)?;
                if below
                    .get(DIRECTIVE)
                    .is_some_and(|directive| directive == "delete")
                {
                    fields.remove(name);
                }
            }
            Value::Array(items) => {
                let order = patch.get(&format!("{SET_ORDER}{name}")).and_then(Value::as_array);
                merge_list(fields, name, items, order)?;
            }
            scalar => {
                fields.insert(name.clone(), scalar.clone());
            }
        }
    }
    Ok(())
}

fn merge_list(
    fields: &mut Map<String, Value>,
    name: &str,
    items: &[Value],
    order: Option<&Vec<Value>>,
) -> Result<(), PatchError> {
    let before = match fields.get(name) {
        Some(Value::Array(there)) => there.clone(),
        _ => Vec::new(),
    };
    let mut merged = before.clone();
    let named = order.map_or(items, Vec::as_slice);
    let objects = items.iter().chain(&merged).any(Value::is_object);
    if !objects {
        if schema::strategic_set(name) {
            for item in items {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            merged = woven(merged, named, &before, |a, b| a == b);
        } else {
            merged = items.to_vec();
        }
        fields.insert(name.to_owned(), merged.into());
        return Ok(());
    }
    let all: Vec<Value> = merged.iter().chain(items).cloned().collect();
    let replaces = items.iter().any(|item| item[DIRECTIVE] == "replace");
    let key = schema::strategic_key(name, &all).filter(|_| !replaces);
    let Some(key) = key else {
        let whole: Vec<Value> = items
            .iter()
            .filter(|item| item.get(DIRECTIVE).is_none())
            .cloned()
            .collect();
        fields.insert(name.to_owned(), whole.into());
        return Ok(());
    };
    for item in items {
        let patch = item.as_object().ok_or(PatchError::Inapplicable)?;
        let Some(id) = patch.get(key) else {
            return Err(PatchError::Malformed(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        };
        let at = merged.iter().position(|there| there.get(key) == Some(id));
        let deletes = patch
            .get(DIRECTIVE)
            .is_some_and(|directive| directive == "delete");
        match (at, deletes) {
            (Some(at), true) => {
                merged.remove(at);
            }
            (None, true) => {}
            (Some(at), false) => merge_object(fields_mut(&mut merged[at]), patch)?,
            (None, false) => {
                let mut added = Map::new();
                merge_object(&mut added, patch)?;
                merged.push(added.into());
            }
        }
    }
    let merged = woven(merged, named, &before, |a, b| a.get(key) == b.get(key));
    fields.insert(name.to_owned(), merged.into());
    Ok(())
}

/// A merged list in its order: what the patch names, in the patch's order, woven into the rest, which keeps its own. Of
/// two that were there before, the first of then comes first; one that is new comes before the rest.
/// (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>; that new ones come first
/// was seen.)
fn woven(
    merged: Vec<Value>,
    named: &[Value],
    before: &[Value],
    same: impl Fn(&Value, &Value) -> bool,
) -> Vec<Value> {
    let place = |list: &[Value], item: &Value| list.iter().position(|other| same(other, item));
    let (mut ours, rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| place(named, item).is_some());
    ours.sort_by_key(|item| place(named, item));
    let (mut ours, mut rest) = (ours.into_iter().peekable(), rest.into_iter().peekable());
    let mut woven = Vec::new();
    while let (Some(our), Some(other)) = (ours.peek(), rest.peek()) {
        let first = match (place(before, our), place(before, other)) {
            (Some(our), Some(other)) => our < other,
            _ => true,
        };
        woven.extend(if first { ours.next() } else { rest.next() });
    }
    woven.extend(ours);
    woven.extend(rest);
    woven
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(name, _)| !name.starts_with('$'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merges_by_the_keys_of_the_types() {
        for (object, patch, expected) in [
            // Containers by name, their environment by name, ports by containerPort.
            (
                json!({"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}]}),
                json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "env": [{"name": "Y", "value": "2"}]}]}),
                json!({"containers": [
                    {"name": "b", "image": "2"},
                    {"name": "a", "image": "1", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
                ]}),
            ),
            (
                json!({"ports": [{"containerPort": 80, "name": "w"}]}),
                json!({"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
                json!({"ports": [{"containerPort": 80, "name": "w", "protocol": "TCP"}]}),
            ),
            // Conditions by type, owner references by uid.
            (
                json!({"conditions": [{"type": "Ready", "status": "False"}]}),
                json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]}),
                json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]}),
            ),
            (
                json!({"ownerReferences": [{"uid": "1"}, {"uid": "2"}]}),
                json!({"ownerReferences": [{"uid": "1", "$patch": "delete"}]}),
                json!({"ownerReferences": [{"uid": "2"}]}),
            ),
            // Tolerations and commands have no key.
            (
                json!({"tolerations": [{"key": "a"}], "command": ["x"]}),
                json!({"tolerations": [{"key": "b"}], "command": ["y"]}),
                json!({"tolerations": [{"key": "b"}], "command": ["y"]}),
            ),
            (
                json!({"finalizers": ["a"]}),
                json!({"finalizers": ["b", "a"]}),
                json!({"finalizers": ["b", "a"]}),
            ),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"$setElementOrder/finalizers": ["a", "c"], "finalizers": ["c"]}),
                json!({"finalizers": ["a", "c", "b"]}),
            ),
            (
                json!({"finalizers": ["a", "b"]}),
                json!({"$deleteFromPrimitiveList/finalizers": ["a"]}),
                json!({"finalizers": ["b"]}),
            ),
            (
                json!({"labels": {"a": "1", "b": "2"}}),
                json!({"labels": {"a": null, "c": "3"}}),
                json!({"labels": {"b": "2", "c": "3"}}),
            ),
            (
                json!({"selector": {"a": "1"}}),
                json!({"selector": {"$patch": "replace", "b": "2"}}),
                json!({"selector": {"b": "2"}}),
            ),
            (
                json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
                json!({"volumes": [{"name": "v", "$retainKeys": ["name", "csi"], "csi": {"driver": "d"}}]}),
                json!({"volumes": [{"name": "v", "csi": {"driver": "d"}}]}),
            ),
            (
                json!({"env": [{"name": "A"}, {"name": "B"}]}),
                json!({"$setElementOrder/env": [{"name": "C"}, {"name": "A"}], "env": [{"name": "C"}]}),
                json!({"env": [{"name": "C"}, {"name": "A"}, {"name": "B"}]}),
            ),
            (
                json!({"env": [{"name": "A"}, {"name": "B"}]}),
                json!({"env": [{"$patch": "replace"}, {"name": "C"}]}),
                json!({"env": [{"name": "C"}]}),
            ),
        ] {
            assert_eq!(patched(&object, &patch), Ok(expected), "{object} with {patch}");
        }
    }

    #[test]
    fn a_list_item_needs_its_key() {
        assert!(matches!(
            patched(&json!({}), &json!({"containers": [{"image": "x"}]})),
            Err(PatchError::Malformed(_))
        ));
    }
}
