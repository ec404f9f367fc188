//! What can be wrong with a policy document, in our words and in AWS's.

use super::condition::OperandError;
use super::pattern::VariableError;

/// A document that is no valid policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} (at {at})")]
pub struct PolicyError {
    /// Such as `Statement[1].Condition.StringEquals`, or `the document`.
    pub at: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not JSON, or a key is given twice.
    #[error("not JSON: {0}")]
    Json(String),
    /// An element that the grammar does not have.
    #[error("unknown element `{0}`")]
    UnknownElement(String),
    /// An element that this kind of document may not have.
    #[error("`{0}` does not belong into this kind of policy")]
    Prohibited(&'static str),
    /// An element that has to be there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// Both an element and its `Not` form.
    #[error("`{0}` and its opposite exclude each other")]
    Both(&'static str),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// Such as `a string`.
        expected: &'static str,
        /// Such as `a number`.
        found: &'static str,
    },
    /// An empty list or object.
    #[error("at least one entry is needed")]
    Empty,
    /// A version other than 2008-10-17 and 2012-10-17.
    #[error("unknown version `{0}`")]
    Version(String),
    /// An effect other than `Allow` and `Deny`.
    #[error("unknown effect `{0}`")]
    Effect(String),
    /// A statement id with other characters than letters and digits.
    #[error("`{0}` is not a statement id: letters and digits only")]
    Sid(String),
    /// A statement id used before.
    #[error("statement id `{0}` is used twice")]
    DuplicateSid(String),
    /// Not of the form `service:Action`.
    #[error("`{0}` is not an action")]
    Action(String),
    /// A trust policy with another action than those that assume a role.
    #[error("`{0}` is not an action of a trust policy")]
    TrustAction(String),
    /// Neither `*` nor an ARN.
    #[error("`{0}` is neither an ARN nor `*`")]
    Resource(String),
    /// An ARN of a partition that there is not; `resource` is as AWS reads it.
    #[error("`{partition}` is no partition of AWS")]
    Partition {
        /// What stands where the partition should.
        partition: String,
        /// The ARN, with `arn` in front and six segments.
        resource: String,
    },
    /// A wildcard where the service stands, or no service.
    #[error("`{0}` leaves its service open")]
    ResourceService(String),
    /// Nobody that a policy can name.
    #[error("`{0}` names no principal")]
    Principal(String),
    /// `NotPrincipal` with `Allow`, which IAM does not support.
    #[error("`NotPrincipal` with `Allow` is not supported")]
    NotPrincipalAllows,
    /// A condition operator that IAM does not have.
    #[error("unknown condition operator `{0}`")]
    Operator(String),
    /// A condition key without a prefix.
    #[error("`{0}` is not a condition key")]
    Key(String),
    /// A value that does not fit its condition operator.
    #[error(transparent)]
    Operand(#[from] OperandError),
    /// A variable that cannot be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
}

impl PolicyError {
    /// The text IAM answers with (`MalformedPolicyDocument`), as far as its texts are known.
    #[must_use]
    pub fn aws_text(&self) -> String {
        match &self.problem {
            Problem::Missing("Version") => {
                "Policy document must be version 2012-10-17 or greater.".to_owned()
            }
            Problem::Missing("Action") => "Policy statement must contain actions.".to_owned(),
            Problem::Missing("Resource") => "Policy statement must contain resources.".to_owned(),
            Problem::Missing("Principal") => "Missing required field Principal".to_owned(),
            Problem::Prohibited("Principal") => "Policy document should not specify a principal.".to_owned(),
            Problem::Prohibited(element) => format!("Has prohibited field {element}"),
            Problem::DuplicateSid(_) => "Statement IDs (SID) in a single policy must be unique.".to_owned(),
            Problem::Sid(_) => {
                "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the \
                                regular expression [0-9A-Za-z]*"
                    .to_owned()
            }
            Problem::Empty if self.at.ends_with("Action") => {
                "Policy statement must contain actions.".to_owned()
            }
            Problem::Empty if self.at.ends_with("Resource") => {
                "Policy statement must contain resources.".to_owned()
            }
            // The older parser is asked first, and minds how it is written.
            Problem::Effect(effect)
                if effect.eq_ignore_ascii_case("allow") || effect.eq_ignore_ascii_case("deny") =>
            {
                "The policy failed legacy parsing".to_owned()
            }
            Problem::Action(text) if text.matches(':').count() > 1 => {
                "Actions/Condition can contain only one colon.".to_owned()
            }
            Problem::Action(text) if is_other_vendor(text) => {
                let vendor = text.split(':').next().unwrap_or_default();
                format!("Vendor {vendor} is not valid")
            }
            Problem::Partition { partition, resource } => {
                format!("Partition \"{partition}\" is not valid for resource \"{resource}\".")
            }
            Problem::Action(_) | Problem::Key(_) => {
                "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.".to_owned()
            }
            Problem::TrustAction(_) => {
                "AssumeRole policy may only specify STS AssumeRole actions.".to_owned()
            }
            Problem::Resource(text) => format!("Resource {text} must be in ARN format or \"*\"."),
            Problem::ResourceService(_) => {
                "Resource vendor must be fully qualified and cannot contain regexes.".to_owned()
            }
            Problem::Principal(text) => {
                let kind = self.at.rsplit('.').next().unwrap_or_default();
                format!("Invalid principal in policy: \"{kind}\":\"{text}\"")
            }
            Problem::Json(_) => "This policy contains invalid Json".to_owned(),
            _ => "Syntax errors in policy.".to_owned(),
        }
    }
}

/// Whether there is a colon, and before it something that is no service's prefix.
fn is_other_vendor(action: &str) -> bool {
    action.split_once(':').is_some_and(|(vendor, _)| {
        !vendor.is_empty()
            && !vendor
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}
