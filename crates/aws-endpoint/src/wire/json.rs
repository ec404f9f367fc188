//! JSON as it is sent.

use bytes::Bytes;
use serde::Serialize;

/// The text of what always has one: its keys are texts.
pub(crate) fn written(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
