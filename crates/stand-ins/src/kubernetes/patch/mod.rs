//! The patch formats, as pure functions from an object to the object it becomes.

mod json;
mod merge;
mod strategic;

use serde_json::Value;

/// A patch that was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PatchError {
    /// It is not a patch at all: 400.
    Malformed(String),
    /// It does not fit this object: 422.
    Inapplicable,
}

/// How to read the body of a PATCH request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Merge by the keys of Kubernetes' own types.
    Strategic,
    /// Server-side apply; see [`super::managed`].
    Apply,
}

impl Format {
    /// The format that a Content-Type names.
    pub(super) fn of_media_type(media_type: &str) -> Option<Self> {
        Some(match media_type {
            "application/json-patch+json" => Self::Json,
            "application/merge-patch+json" => Self::Merge,
            "application/strategic-merge-patch+json" => Self::Strategic,
            "application/apply-patch+yaml" => Self::Apply,
            _ => return None,
        })
    }
}

/// Carries out a patch of any format but apply.
pub(super) fn patched(format: Format, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    match format {
        Format::Json => json::patched(object, patch),
        Format::Merge | Format::Apply => {
            let mut object = object.clone();
            merge::merge(&mut object, patch);
            Ok(object)
        }
        Format::Strategic => strategic::patched(object, patch),
    }
}
