//! What several test binaries share.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

/// A JSON Schema, ready to hold values to.
pub(crate) struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
}

impl Schema {
    pub(crate) fn new(schema: &Value) -> Self {
        const AT: &str = "https://mountproof.dev/schema-under-test.json";
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        // The schema's own name and place are of no interest here.
        let mut schema = schema.clone();
        schema.as_object_mut().unwrap().remove("$id");
        compiler.add_resource(AT, schema).unwrap();
        let index = compiler.compile(AT, &mut schemas).unwrap();
        Self { schemas, index }
    }

    /// What is wrong with a value, in words; empty when it fits.
    pub(crate) fn problems(&self, value: &Value) -> Vec<String> {
        match self.schemas.validate(value, self.index) {
            Ok(()) => Vec::new(),
            Err(error) => vec![format!("{error:#}")],
        }
    }
}
