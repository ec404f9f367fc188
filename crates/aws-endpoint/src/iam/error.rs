//! Errors of the IAM API, with AWS's codes and texts.

use super::policy::PolicyError;

/// What IAM refuses a call with. `Display` is the message AWS sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct IamError {
    /// What kind of refusal it is.
    pub kind: IamErrorKind,
    /// For the caller to read.
    pub message: String,
}

/// The kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IamErrorKind {
    /// Something named does not exist.
    NoSuchEntity,
    /// Something of that name exists.
    EntityAlreadyExists,
    /// Something else hangs on what is to be deleted.
    DeleteConflict,
    /// A quota is used up.
    LimitExceeded,
    /// A policy that IAM does not understand.
    MalformedPolicyDocument,
    /// A value that makes no sense here.
    InvalidInput,
    /// A parameter that breaks its constraint.
    ValidationError,
    /// An operation that this service does not have.
    InvalidAction,
    /// Something that nobody in the account may do.
    AccessDenied,
}

impl IamError {
    pub(super) fn new(kind: IamErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn no_such(message: impl Into<String>) -> Self {
        Self::new(IamErrorKind::NoSuchEntity, message)
    }

    pub(super) fn quota(name: &str, limit: usize) -> Self {
        Self::new(
            IamErrorKind::LimitExceeded,
            format!("Cannot exceed quota for {name}: {limit}"),
        )
    }

    /// A broken constraint of one parameter; `value` is `null` when it is missing.
    pub(super) fn constraint(field: &str, value: Option<&str>, constraint: &str) -> Self {
        let value = value.map_or_else(|| "null".to_owned(), |value| format!("'{value}'"));
        Self::new(
            IamErrorKind::ValidationError,
            format!(
                "1 validation error detected: Value {value} at '{field}' failed to satisfy constraint: {constraint}"
            ),
        )
    }

    pub(super) fn unknown_operation(operation: &str) -> Self {
        Self::new(
            IamErrorKind::InvalidAction,
            format!("Could not find operation {operation} for version 2010-05-08"),
        )
    }

    /// AWS's code, as it stands in the `Code` element.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.kind {
            IamErrorKind::NoSuchEntity => "NoSuchEntity",
            IamErrorKind::EntityAlreadyExists => "EntityAlreadyExists",
            IamErrorKind::DeleteConflict => "DeleteConflict",
            IamErrorKind::LimitExceeded => "LimitExceeded",
            IamErrorKind::MalformedPolicyDocument => "MalformedPolicyDocument",
            IamErrorKind::InvalidInput => "InvalidInput",
            IamErrorKind::ValidationError => "ValidationError",
            IamErrorKind::InvalidAction => "InvalidAction",
            IamErrorKind::AccessDenied => "AccessDenied",
        }
    }

    /// The HTTP status AWS answers with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.kind {
            IamErrorKind::NoSuchEntity => 404,
            IamErrorKind::EntityAlreadyExists
            | IamErrorKind::DeleteConflict
            | IamErrorKind::LimitExceeded => 409,
            IamErrorKind::AccessDenied => 403,
            IamErrorKind::MalformedPolicyDocument
            | IamErrorKind::InvalidInput
            | IamErrorKind::ValidationError
            | IamErrorKind::InvalidAction => 400,
        }
    }
}

/// AWS's text and nothing more, though [`PolicyError`] knows which element it is and where.
impl From<PolicyError> for IamError {
    fn from(error: PolicyError) -> Self {
        Self::new(IamErrorKind::MalformedPolicyDocument, error.aws_text())
    }
}
