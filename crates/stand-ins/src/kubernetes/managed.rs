//! Who owns which field: `metadata.managedFields`, and server-side apply over it.

use serde_json::{Value, json};

use super::{fields::Fields, object, schema};

/// The manager that objects get for what they held before anyone applied to them.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manager<'a> {
    pub(super) name: &'a str,
    pub(super) api_version: &'a str,
    /// Empty for the main resource.
    pub(super) subresource: &'a str,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    fields: Fields,
}

/// Fields that others own and the configuration would change: `(manager as shown, path)`.
pub(super) type Conflicts = Vec<(String, String)>;

/// Records in `new` what `manager` changed against `old` (none on creation).
///
/// Objects without any entry stay without: the real server starts tracking at creation or at the
/// first apply.
pub(super) fn record_update(old: Option<&Value>, new: &mut Value, manager: Manager<'_>, custom: bool) {
    let mut entries = match old {
        None => Vec::new(),
        Some(old) => {
            let entries = read(old);
            if entries.is_empty() {
                remove(new);
                return;
            }
            // An empty list asks for the tracking to start again from nothing.
            if new["metadata"]["managedFields"] == json!([]) {
                Vec::new()
            } else {
                entries
            }
        }
    };
    let nothing = json!({});
    let (set, removed) = Fields::changes(old.unwrap_or(&nothing), new, custom);
    for entry in &mut entries {
        entry.fields.subtract(&removed);
        if !entry.is(manager, false) {
            entry.fields.subtract(&set);
        }
    }
    if !set.is_empty() {
        let entry = find_or_add(&mut entries, manager, false);
        entry.fields.union(&set);
        entry.time = object::now();
    }
    write(new, entries);
}

/// Applies `config` to `live` for `manager`. The result carries its `managedFields`.
pub(super) fn apply(
    live: Option<&Value>,
    config: &Value,
    manager: Manager<'_>,
    force: bool,
    custom: bool,
) -> Result<Value, Conflicts> {
    let wanted = Fields::of_applied(config, custom);
    let empty = json!({});
    let base = live.unwrap_or(&empty);
    let mut entries = read(base);
    if entries.is_empty() && live.is_some() {
        let (everything, _) = Fields::changes(&empty, base, custom);
        if !everything.is_empty() {
            entries.push(Entry {
                manager: BEFORE_FIRST_APPLY.to_owned(),
                apply: false,
                api_version: manager.api_version.to_owned(),
                subresource: String::new(),
                time: object::now(),
                fields: everything,
            });
        }
    }
    let mut merged = merge(base, config, custom);
    let (changed, _) = Fields::changes(base, &merged, custom);
    let mut conflicts = Conflicts::new();
    for entry in entries.iter_mut().filter(|entry| !entry.is(manager, true)) {
        let taken = entry.fields.intersection(&changed).intersection(&wanted);
        if taken.is_empty() {
            continue;
        }
        if force {
            entry.fields.subtract(&taken);
        } else {
            let shown = entry.shown();
            conflicts.extend(taken.paths().into_iter().map(|path| (shown.clone(), path)));
        }
    }
    if !conflicts.is_empty() {
        conflicts.sort();
        return Err(conflicts);
    }
    let entry = find_or_add(&mut entries, manager, true);
    let mut abandoned = std::mem::replace(&mut entry.fields, wanted.clone());
    manager.api_version.clone_into(&mut entry.api_version);
    abandoned.subtract(&wanted);
    if !abandoned.is_empty() {
        let mut kept = Fields::default();
        for entry in &entries {
            kept.union(&entry.fields);
        }
        abandoned.subtract(&kept);
        abandoned.prune(&mut merged, &kept, custom);
    }
    // The time of an entry tells of its last change, so an apply that changes nothing keeps it.
    let before = read(base);
    let same_content = {
        let mut probe = merged.clone();
        let mut base = base.clone();
        remove(&mut probe);
        remove(&mut base);
        probe == base
    };
    let entry = find_or_add(&mut entries, manager, true);
    let same_fields = before
        .iter()
        .any(|known| known.is(manager, true) && known.fields == entry.fields);
    if !(same_content && same_fields) {
        entry.time = object::now();
    }
    write(&mut merged, entries);
    Ok(merged)
}

impl Entry {
    fn is(&self, manager: Manager<'_>, apply: bool) -> bool {
        self.apply == apply
            && self.manager == manager.name
            && self.subresource == manager.subresource
            && (apply || self.api_version == manager.api_version)
    }

    /// As conflict messages show it.
    fn shown(&self) -> String {
        let mut shown = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            shown = format!("{shown} with subresource {:?}", self.subresource);
        }
        if !self.apply {
            shown = format!("{shown} using {}", self.api_version);
        }
        shown
    }
}

fn find_or_add<'a>(entries: &'a mut Vec<Entry>, manager: Manager<'_>, apply: bool) -> &'a mut Entry {
    let at = entries
        .iter()
        .position(|entry| entry.is(manager, apply))
        .unwrap_or_else(|| {
            entries.push(Entry {
                manager: manager.name.to_owned(),
                apply,
                api_version: manager.api_version.to_owned(),
                subresource: manager.subresource.to_owned(),
                time: object::now(),
                fields: Fields::default(),
            });
            entries.len() - 1
        });
    &mut entries[at]
}

fn read(object: &Value) -> Vec<Entry> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|entry| Entry {
            manager: text(&entry["manager"]),
            apply: entry["operation"] == "Apply",
            api_version: text(&entry["apiVersion"]),
            subresource: text(&entry["subresource"]),
            time: text(&entry["time"]),
            fields: Fields::from_v1(&entry["fieldsV1"]),
        })
        .collect()
}

fn write(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    // Appliers first, then by time, as the real server sorts.
    entries.sort_by(|a, b| {
        b.apply
            .cmp(&a.apply)
            .then_with(|| a.time.cmp(&b.time))
            .then_with(|| a.manager.cmp(&b.manager))
    });
    if entries.is_empty() {
        remove(object);
        return;
    }
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| {
            let mut value = json!({
                "manager": entry.manager,
                "operation": if entry.apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.to_v1(),
            });
            if !entry.subresource.is_empty() {
                value["subresource"] = entry.subresource.into();
            }
            value
        })
        .collect();
    object::metadata_mut(object).insert("managedFields".to_owned(), entries.into());
}

fn remove(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
}

/// `live` with everything that `config` speaks about set as it says.
fn merge(live: &Value, config: &Value, custom: bool) -> Value {
    let mut merged = live.clone();
    merge_at(&mut merged, config, &mut Vec::new(), custom);
    merged
}

fn merge_at<'a>(live: &mut Value, config: &'a Value, path: &mut Vec<&'a str>, custom: bool) {
    match config {
        Value::Object(fields) if live.is_object() && !schema::apply_atomic_map(path, custom) => {
            let live = object::fields_mut(live);
            for (name, value) in fields {
                path.push(name);
                if let Some(there) = live.get_mut(name) {
                    merge_at(there, value, path, custom);
                } else {
                    live.insert(name.clone(), value.clone());
                }
                path.pop();
            }
        }
        Value::Array(items) => {
            let kind = schema::apply_list(path, custom);
            match live {
                Value::Array(there) if kind != schema::ListKind::Atomic => {
                    for item in items {
                        let element = super::fields::element_of(kind, item);
                        let same = there
                            .iter_mut()
                            .find(|known| super::fields::element_of(kind, known) == element);
                        match same {
                            Some(known) => merge_at(known, item, path, custom),
                            None => there.push(item.clone()),
                        }
                    }
                }
                _ => *live = config.clone(),
            }
        }
        _ => *live = config.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const fn manager(name: &str) -> Manager<'_> {
        Manager {
            name,
            api_version: "v1",
            subresource: "",
        }
    }

    fn map(data: &Value) -> Value {
        json!({ "metadata": { "name": "c" }, "data": data })
    }

    #[test]
    fn two_appliers_share_and_fight() {
        let one = apply(
            None,
            &map(&json!({ "a": "1", "b": "1" })),
            manager("one"),
            false,
            false,
        )
        .unwrap();
        // The same value is shared, another is a conflict.
        let both = apply(
            Some(&one),
            &map(&json!({ "b": "1", "c": "2" })),
            manager("two"),
            false,
            false,
        )
        .unwrap();
        let conflict = apply(
            Some(&both),
            &map(&json!({ "a": "2", "b": "2" })),
            manager("two"),
            false,
            false,
        )
        .unwrap_err();
        assert_eq!(
            conflict,
            [
                ("\"one\"".to_owned(), ".data.a".to_owned()),
                ("\"one\"".to_owned(), ".data.b".to_owned())
            ]
        );
        // Forced, the fields change hands; what two no longer speaks about goes.
        let forced = apply(
            Some(&both),
            &map(&json!({ "a": "2" })),
            manager("two"),
            true,
            false,
        )
        .unwrap();
        assert_eq!(forced["data"], json!({ "a": "2", "b": "1" }));
        // And one, who lost `a`, can drop `b`.
        let dropped = apply(Some(&forced), &map(&json!({})), manager("one"), false, false).unwrap();
        assert_eq!(dropped["data"], json!({ "a": "2" }));
    }

    #[test]
    fn an_update_takes_ownership_and_applying_over_it_conflicts() {
        let one = apply(None, &map(&json!({ "a": "1" })), manager("one"), false, false).unwrap();
        let mut updated = one.clone();
        updated["data"]["a"] = "2".into();
        record_update(Some(&one), &mut updated, manager("kubectl"), false);
        let conflict = apply(
            Some(&updated),
            &map(&json!({ "a": "1" })),
            manager("one"),
            false,
            false,
        )
        .unwrap_err();
        assert_eq!(
            conflict,
            [("\"kubectl\" using v1".to_owned(), ".data.a".to_owned())]
        );
    }

    #[test]
    fn the_last_owner_of_a_list_item_removes_it() {
        let pod = |env: Value| json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "env": env }] } });
        let first = apply(
            None,
            &pod(json!([{ "name": "A", "value": "1" }, { "name": "B", "value": "1" }])),
            manager("one"),
            false,
            false,
        )
        .unwrap();
        let second = apply(
            Some(&first),
            &pod(json!([{ "name": "B", "value": "2" }])),
            manager("one"),
            false,
            false,
        )
        .unwrap();
        assert_eq!(
            second["spec"]["containers"][0]["env"],
            json!([{ "name": "B", "value": "2" }])
        );
    }

    #[test]
    fn applying_over_an_untracked_object_keeps_its_fields() {
        let live = map(&json!({ "old": "1" }));
        let applied = apply(
            Some(&live),
            &map(&json!({ "new": "1" })),
            manager("one"),
            false,
            false,
        )
        .unwrap();
        assert_eq!(applied["data"], json!({ "old": "1", "new": "1" }));
        let managers: Vec<&str> = applied["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["manager"].as_str().unwrap())
            .collect();
        assert_eq!(managers, ["one", BEFORE_FIRST_APPLY]);
    }

    #[test]
    fn untracked_objects_stay_so_on_update() {
        let old = map(&json!({ "a": "1" }));
        let mut new = map(&json!({ "a": "2" }));
        record_update(Some(&old), &mut new, manager("x"), false);
        assert!(new["metadata"].get("managedFields").is_none());
    }
}
