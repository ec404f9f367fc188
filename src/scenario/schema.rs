//! The JSON Schema of scenario files, generated from the types that read them.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::raw::RawScenario;

/// The schema, in draft-07, which is what YAML language servers document.
#[must_use]
pub fn scenario() -> &'static Value {
    static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
        SchemaSettings::draft07()
            .into_generator()
            .into_root_schema_for::<RawScenario>()
            .to_value()
    });
    &SCHEMA
}

/// The schema as `schemas/scenario.json` holds it.
#[must_use]
pub fn scenario_text() -> String {
    let mut text = serde_json::to_string_pretty(scenario()).expect("a JSON value always serialises");
    text.push('\n');
    text
}
