//! Sets of field paths, in the form of `metadata.managedFields[].fieldsV1`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::schema::{self, ListKind};

/// A set of fields, as a tree by path element: `f:<field>`, `k:<keys of a list item>`, `v:<value of
/// a set>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Whether the path that leads here is in the set itself.
    member: bool,
    children: BTreeMap<String, Self>,
}

impl Fields {
    /// Parses `fieldsV1`; what it does not understand is no member.
    pub(super) fn from_v1(value: &Value) -> Self {
        let Some(entries) = value.as_object() else {
            return Self::default();
        };
        Self {
            member: entries.is_empty() || entries.contains_key("."),
            children: entries
                .iter()
                .filter(|(element, _)| element.as_str() != ".")
                .map(|(element, below)| (element.clone(), Self::from_v1(below)))
                .collect(),
        }
    }

    /// The `fieldsV1` form.
    pub(super) fn to_v1(&self) -> Value {
        let mut entries = Map::new();
        if self.member && !self.children.is_empty() {
            entries.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, below) in &self.children {
            entries.insert(element.clone(), below.to_v1());
        }
        Value::Object(entries)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Everything that an applied configuration speaks about.
    pub(super) fn of_applied(object: &Value, custom: bool) -> Self {
        let mut fields = Self::default();
        let mut path = Vec::new();
        fields.add_applied(object, &mut path, custom);
        fields.without_identity()
    }

    /// Everything that differs between two versions of an object, split into what was added or
    /// changed, and what was removed.
    pub(super) fn changes(old: &Value, new: &Value, custom: bool) -> (Self, Self) {
        let sides = Sides {
            old: Some(old),
            new: Some(new),
        };
        let Changes { set, removed } = diff(sides, &mut Vec::new(), custom);
        (set.without_identity(), removed.without_identity())
    }

    pub(super) fn union(&mut self, other: &Self) {
        self.member |= other.member;
        for (element, below) in &other.children {
            self.children.entry(element.clone()).or_default().union(below);
        }
    }

    /// Takes away the members of `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (element, below) in &other.children {
            if let Some(child) = self.children.get_mut(element) {
                child.subtract(below);
                if child.is_empty() {
                    self.children.remove(element);
                }
            }
        }
    }

    /// The members of both.
    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self {
            member: self.member && other.member,
            children: BTreeMap::new(),
        };
        for (element, below) in &self.children {
            if let Some(theirs) = other.children.get(element) {
                let common = below.intersection(theirs);
                if !common.is_empty() {
                    both.children.insert(element.clone(), common);
                }
            }
        }
        both
    }

    /// Every member, written as conflict messages do: `.spec.containers[name="c"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths(&mut String::new(), &mut found);
        found
    }

    /// Removes the members from `object`, unless `kept` has a member there or below.
    pub(super) fn prune(&self, object: &mut Value, kept: &Self, custom: bool) {
        let mut path = Vec::new();
        self.prune_at(object, Some(kept), &mut path, custom);
    }

    fn collect_paths(&self, at: &mut String, found: &mut Vec<String>) {
        if self.member && !at.is_empty() {
            found.push(at.clone());
        }
        for (element, below) in &self.children {
            let length = at.len();
            match element.split_once(':') {
                Some(("f", name)) => {
                    at.push('.');
                    at.push_str(name);
                }
                Some(("k", keys)) => {
                    let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                    let listed: Vec<String> =
                        keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                    at.push('[');
                    at.push_str(&listed.join(","));
                    at.push(']');
                }
                Some(("v", value)) => at.extend(["[=", value, "]"]),
                _ => at.push_str(element),
            }
            below.collect_paths(at, found);
            at.truncate(length);
        }
    }

    fn add_applied<'a>(&mut self, value: &'a Value, path: &mut Vec<&'a str>, custom: bool) {
        match value {
            Value::Object(fields) if !fields.is_empty() && !schema::apply_atomic_map(path, custom) => {
                for (name, below) in fields {
                    path.push(name);
                    self.children
                        .entry(format!("f:{name}"))
                        .or_default()
                        .add_applied(below, path, custom);
                    path.pop();
                }
            }
            Value::Array(items) if !items.is_empty() => match schema::apply_list(path, custom) {
                ListKind::Atomic => self.member = true,
                kind => {
                    for item in items {
                        let child = self.children.entry(element_of(kind, item)).or_default();
                        child.member = true;
                        if matches!(kind, ListKind::Map(_)) {
                            child.add_applied(item, path, custom);
                        }
                    }
                }
            },
            _ => self.member = true,
        }
    }

    fn prune_at<'a>(&'a self, value: &mut Value, kept: Option<&Self>, path: &mut Vec<&'a str>, custom: bool) {
        for (element, below) in &self.children {
            let kept = kept.and_then(|kept| kept.children.get(element));
            let remove = below.member && kept.is_none_or(Self::is_empty);
            match (element.split_once(':'), &mut *value) {
                (Some(("f", name)), Value::Object(fields)) => {
                    if remove {
                        fields.remove(name);
                    } else if let Some(child) = fields.get_mut(name) {
                        path.push(name);
                        below.prune_at(child, kept, path, custom);
                        path.pop();
                        let emptied = match child {
                            Value::Object(fields) => fields.is_empty(),
                            Value::Array(items) => items.is_empty(),
                            _ => false,
                        };
                        // The Go types leave out what is empty; a custom resource keeps it.
                        if emptied && !custom && kept.is_none_or(|kept| !kept.member) {
                            fields.remove(name);
                        }
                    }
                }
                (Some(_), Value::Array(items)) => {
                    let kind = schema::apply_list(path, custom);
                    if remove {
                        items.retain(|item| element_of(kind, item) != *element);
                    } else if let Some(item) =
                        items.iter_mut().find(|item| element_of(kind, item) == *element)
                    {
                        below.prune_at(item, kept, path, custom);
                    }
                }
                _ => {}
            }
        }
    }

    /// Without the fields that no manager owns.
    fn without_identity(mut self) -> Self {
        self.member = false;
        for field in ["f:apiVersion", "f:kind"] {
            self.children.remove(field);
        }
        if let Some(metadata) = self.children.get_mut("f:metadata") {
            metadata.member = false;
            for field in [
                "name",
                "namespace",
                "creationTimestamp",
                "selfLink",
                "uid",
                "generation",
                "managedFields",
                "resourceVersion",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
            ] {
                metadata.children.remove(&format!("f:{field}"));
            }
            if metadata.is_empty() {
                self.children.remove("f:metadata");
            }
        }
        self
    }
}

/// The path element of a list item.
pub(super) fn element_of(kind: ListKind, item: &Value) -> String {
    match kind {
        ListKind::Map(keys) => {
            // Sorted by key, as the real encoding is.
            let values: BTreeMap<&str, Value> = keys
                .iter()
                .filter_map(|key| match item.get(key) {
                    Some(value) => Some((*key, value.clone())),
                    None if *key == "protocol" => Some((*key, "TCP".into())),
                    None => None,
                })
                .collect();
            format!(
                "k:{}",
                serde_json::to_string(&values).expect("strings and JSON values serialize")
            )
        }
        _ => format!("v:{item}"),
    }
}

/// Walks two versions side by side. A field that only one side has is a member itself, unless the
/// Go type writes it always.
fn diff<'a>(sides: Sides<'a>, path: &mut Vec<&'a str>, custom: bool) -> Changes {
    let Sides { old, new } = sides;
    let mut changes = Changes::default();
    if old == new {
        return changes;
    }
    let implicit = path.is_empty()
        || path
            .last()
            .is_some_and(|name| schema::always_present(name, custom));
    let empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    };
    let structured = |value: Option<&Value>| match value {
        Some(Value::Object(fields)) => !fields.is_empty() && !schema::apply_atomic_map(path, custom),
        Some(Value::Array(items)) => {
            !items.is_empty() && schema::apply_list(path, custom) != ListKind::Atomic
        }
        _ => false,
    };
    let (old_structured, new_structured) = (structured(old), structured(new));
    if !old_structured && !new_structured {
        match new {
            None | Some(Value::Null) => changes.removed.member = old.is_some(),
            Some(_) => changes.set.member = true,
        }
        return changes;
    }
    if empty(old) && old.is_none() && !implicit {
        changes.set.member = true;
    }
    if empty(new) && new.is_none() && !implicit {
        changes.removed.member = true;
    }
    match (old.filter(|_| old_structured), new.filter(|_| new_structured)) {
        (Some(Value::Array(_)), None | Some(Value::Array(_))) | (None, Some(Value::Array(_))) => {
            let kind = schema::apply_list(path, custom);
            let items = |side: Option<&'a Value>| -> BTreeMap<String, &'a Value> {
                side.and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .map(|item| (element_of(kind, item), item))
                    .collect()
            };
            let (before, after) = (items(old), items(new));
            for element in before
                .keys()
                .chain(after.keys().filter(|e| !before.contains_key(*e)))
            {
                let item = Sides {
                    old: before.get(element).copied(),
                    new: after.get(element).copied(),
                };
                if item.old == item.new {
                    continue;
                }
                let mut below = Changes::default();
                below.set.member = item.old.is_none();
                below.removed.member = item.new.is_none();
                if matches!(kind, ListKind::Map(_)) {
                    // The item itself is no field: what it holds is compared under the list's path.
                    for_each_field(item, path, custom, &mut below);
                }
                changes.attach(element, below);
            }
        }
        (old, new) => for_each_field(Sides { old, new }, path, custom, &mut changes),
    }
    changes
}

fn for_each_field<'a>(sides: Sides<'a>, path: &mut Vec<&'a str>, custom: bool, changes: &mut Changes) {
    let [old, new] = [sides.old, sides.new].map(|side| side.and_then(Value::as_object));
    let before = old.into_iter().flatten().map(|(name, _)| name);
    let after = new
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| old.is_none_or(|old| !old.contains_key(*name)));
    for name in before.chain(after) {
        let [old, new] = [old, new].map(|side| side.and_then(|fields| fields.get(name)));
        path.push(name);
        let below = diff(Sides { old, new }, path, custom);
        path.pop();
        changes.attach(&format!("f:{name}"), below);
    }
}

/// Two versions of a value.
#[derive(Clone, Copy)]
struct Sides<'a> {
    old: Option<&'a Value>,
    new: Option<&'a Value>,
}

/// What is set or changed in the new version, and what is gone from the old one.
#[derive(Default)]
struct Changes {
    set: Fields,
    removed: Fields,
}

impl Changes {
    fn attach(&mut self, element: &str, below: Self) {
        attach(&mut self.set, element, below.set);
        attach(&mut self.removed, element, below.removed);
    }
}

fn attach(parent: &mut Fields, element: &str, child: Fields) {
    if !child.is_empty() {
        parent.children.insert(element.to_owned(), child);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_applied_configuration_owns_its_leaves_and_list_items() {
        let applied = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "p", "labels": { "a": "b" }, "finalizers": ["x/y"] },
            "spec": { "containers": [{ "name": "c", "image": "i", "command": ["sh"] }], "nodeSelector": { "k": "v" } },
        });
        assert_eq!(
            Fields::of_applied(&applied, false).to_v1(),
            json!({
                "f:metadata": { "f:labels": { "f:a": {} }, "f:finalizers": { "v:\"x/y\"": {} } },
                "f:spec": {
                    "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:name": {}, "f:image": {}, "f:command": {} } },
                    "f:nodeSelector": {},
                },
            })
        );
    }

    #[test]
    fn a_creation_owns_maps_too() {
        let (set, removed) = Fields::changes(
            &json!({}),
            &json!({ "metadata": { "name": "x", "labels": { "a": "b" } }, "data": { "k": "1" }, "spec": { "finalizers": ["f"] } }),
            false,
        );
        assert_eq!(
            set.to_v1(),
            json!({
                "f:metadata": { "f:labels": { ".": {}, "f:a": {} } },
                "f:data": { ".": {}, "f:k": {} },
                "f:spec": { "f:finalizers": { ".": {}, "v:\"f\"": {} } },
            })
        );
        assert!(removed.is_empty());
    }

    #[test]
    fn changes_name_only_what_differs() {
        let old = json!({ "spec": { "containers": [{ "name": "a", "image": "1" }, { "name": "b", "image": "1" }], "n": 1 } });
        let new = json!({ "spec": { "containers": [{ "name": "a", "image": "2" }], "m": 1 } });
        let (set, removed) = Fields::changes(&old, &new, false);
        assert_eq!(set.paths(), [r#".spec.containers[name="a"].image"#, ".spec.m"]);
        assert_eq!(
            removed.paths(),
            [
                r#".spec.containers[name="b"]"#,
                r#".spec.containers[name="b"].image"#,
                r#".spec.containers[name="b"].name"#,
                ".spec.n"
            ]
        );
    }

    #[test]
    fn set_operations() {
        let a = Fields::from_v1(&json!({ "f:a": {}, "f:b": { ".": {}, "f:c": {} } }));
        let b = Fields::from_v1(&json!({ "f:b": { "f:c": {} } }));
        assert_eq!(a.intersection(&b), b);
        let mut rest = a.clone();
        rest.subtract(&b);
        assert_eq!(rest.to_v1(), json!({ "f:a": {}, "f:b": {} }));
        let mut again = rest.clone();
        again.union(&b);
        assert_eq!(again, a);
    }
}
