//! Errors of the Systems Manager API, with AWS's codes and texts.

use crate::kms::KmsError;
use crate::operation::Unknown;
use crate::wire::body::{Malformed, VALIDATION};

/// What Systems Manager refuses a call with; always HTTP status 400. `Display` is the message AWS sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SsmError {
    /// Such as `ParameterNotFound`.
    pub code: &'static str,
    /// For the caller to read; AWS leaves some empty.
    pub message: String,
}

/// The end of the texts about names.
pub(super) const PATHS: &str = "If formed as a path, it can consist of sub-paths divided by slash symbol; each sub-path can be formed as a mix of \
     letters, numbers and the following 3 symbols .-_";

impl From<Unknown> for SsmError {
    fn from(unknown: Unknown) -> Self {
        Self::new(Unknown::CODE, unknown.message())
    }
}

impl SsmError {
    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(VALIDATION, message)
    }

    /// AWS does not say which.
    pub(super) fn not_found() -> Self {
        Self::new("ParameterNotFound", "")
    }

    pub(super) fn no_version(version: &str, name: &str) -> Self {
        Self::new(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find version {version} of {name}. Verify the version and try again."
            ),
        )
    }

    pub(super) fn no_label(label: &str, name: &str) -> Self {
        Self::new(
            "ParameterVersionNotFound",
            format!(
                "Systems Manager could not find label {label} of {name}. Verify the label and try again."
            ),
        )
    }

    pub(super) fn already_exists() -> Self {
        Self::new(
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.",
        )
    }

    pub(super) fn qualified_name() -> Self {
        Self::validation("Parameter name must be a fully qualified name.")
    }

    pub(super) fn bad_path_name() -> Self {
        Self::validation(format!(
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). {PATHS}"
        ))
    }

    pub(super) fn reserved_name() -> Self {
        Self::validation("Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).")
    }

    pub(super) fn no_access_to_name(name: &str) -> Self {
        Self::new(
            "AccessDeniedException",
            format!("No access to reserved parameter name: {name}."),
        )
    }

    pub(super) fn bad_path() -> Self {
        Self::validation(
            "The parameter doesn't meet the parameter name requirements. The parameter name must begin with a forward \
             slash \"/\". It can't be prefixed with \"aws\" or \"ssm\" (case-insensitive). It must use only letters, \
             numbers, or the following symbols: . (period), - (hyphen), _ (underscore). Special characters are not \
             allowed. All sub-paths, if specified, must use the forward slash symbol \"/\". Valid example: \
             /get/parameters2-/by1./path0_.",
        )
    }

    pub(super) fn too_deep() -> Self {
        Self::new(
            "HierarchyLevelLimitExceededException",
            "A hierarchy can have a maximum of 15 levels.",
        )
    }

    pub(super) fn type_mismatch() -> Self {
        Self::new(
            "HierarchyTypeMismatchException",
            "Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you can't change a \
             parameter from a String type to a SecureString type. You must create a new, unique parameter.",
        )
    }

    pub(super) fn pattern_mismatch(pattern: &str) -> Self {
        Self::new(
            "ParameterPatternMismatchException",
            format!("Parameter value, cannot be validated against allowedPattern: {pattern}"),
        )
    }

    pub(super) fn bad_pattern(pattern: &str) -> Self {
        Self::new(
            "InvalidAllowedPatternException",
            format!("The request does not meet the regular expression requirement: {pattern}"),
        )
    }

    pub(super) fn version_limit(name: &str, oldest: u64) -> Self {
        Self::new(
            "ParameterMaxVersionLimitExceeded",
            format!(
                "You attempted to create a new version of {name} by calling the PutParameter API with the overwrite \
                 flag. Version {oldest}, the oldest version, can't be deleted because it has a label associated with \
                 it. Move the label to another version of the parameter, and try again."
            ),
        )
    }

    pub(super) fn label_limit() -> Self {
        Self::new(
            "ParameterVersionLabelLimitExceeded",
            "A parameter version can have maximum 10 labels.Move one or more labels to another version and try again.",
        )
    }

    pub(super) fn tag_limit() -> Self {
        Self::new("TooManyTagsError", "")
    }

    pub(super) fn resource_type() -> Self {
        Self::new("InvalidResourceType", "Invalid Resource Type")
    }

    pub(super) fn resource_id() -> Self {
        Self::new("InvalidResourceId", "Invalid Resource Id")
    }

    pub(super) fn filter_key(message: impl Into<String>) -> Self {
        Self::new("InvalidFilterKey", message)
    }

    pub(super) fn filter_option(message: impl Into<String>) -> Self {
        Self::new("InvalidFilterOption", message)
    }

    pub(super) fn filter_value(message: impl Into<String>) -> Self {
        Self::new("InvalidFilterValue", message)
    }

    pub(super) fn next_token() -> Self {
        Self::new("InvalidNextToken", "The specified token is not valid.")
    }

    /// A key that is not there, or that cannot be used.
    pub(super) fn key(error: &KmsError) -> Self {
        Self::new("InvalidKeyId", error.repeated())
    }

    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

impl From<Malformed> for SsmError {
    fn from(malformed: Malformed) -> Self {
        Self::new(malformed.code, malformed.message)
    }
}
