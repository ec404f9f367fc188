//! Reading and writing the common parts of Kubernetes objects held as JSON.

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use jiff::Timestamp;
use serde_json::{Map, Value};

/// The characters the real server makes generated names of: no vowels, so no words.
const NAME_CHARACTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A string field of `metadata`, empty if absent.
pub(super) fn meta<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// `metadata`, made if absent.
pub(super) fn metadata_mut(object: &mut Value) -> &mut Map<String, Value> {
    child_mut(fields_mut(object), "metadata")
}

/// The object `field` of `parent`, made if absent or of another type.
pub(super) fn child_mut<'a>(parent: &'a mut Map<String, Value>, field: &str) -> &'a mut Map<String, Value> {
    fields_mut(parent.entry(field).or_insert_with(|| Value::Object(Map::new())))
}

/// The fields of `value`, which becomes an object if it is none.
pub(super) fn fields_mut(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("made an object above")
}

/// Sets `field` unless it is there, null counting as absent.
pub(super) fn default_to(fields: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if fields.get(field).is_none_or(Value::is_null) {
        fields.insert(field.to_owned(), value.into());
    }
}

/// The strings of an array.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Whether a deletion was asked for and waits.
pub(super) fn terminating(object: &Value) -> bool {
    !meta(object, "deletionTimestamp").is_empty()
}

/// A time as API objects carry it: whole seconds, UTC.
pub(super) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Now, as API objects carry it.
pub(super) fn now() -> String {
    seconds(Timestamp::now())
}

/// `length` random characters as in generated names.
pub(super) fn name_suffix(length: usize) -> String {
    let mut bytes = vec![0; length];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the system's random numbers do not fail once the process runs");
    bytes
        .iter()
        .map(|byte| char::from(NAME_CHARACTERS[usize::from(*byte) % NAME_CHARACTERS.len()]))
        .collect()
}

/// Removes nulls, which clients send for fields they leave out.
pub(super) fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
