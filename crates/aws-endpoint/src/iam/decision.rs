//! What evaluation answers: allowed or not, why, and which statement says so.

use std::fmt;
use std::sync::Arc;

use super::evaluate::NamedPolicy;
use super::pattern::Template;
use super::policy::{Effect, Scope, Statement};

/// The answer, why, and who says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Why.
    pub reason: Reason,
    /// The statement that granted or refused; `None` for an implicit denial, and for a root user.
    pub statement: Option<DecidingStatement>,
    /// For an implicit denial, the granting statement that came closest.
    pub near_miss: Option<NearMiss>,
}

/// Why a request is allowed or denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Something allows it and nothing denies it.
    Allowed,
    /// A statement denies it.
    ExplicitDeny(PolicyKind),
    /// No policy of a kind that had to allow it does.
    ImplicitDeny(PolicyKind),
}

/// The kinds of policies that AWS names in its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Managed and inline policies of a role or user.
    Identity,
    /// The policy of a resource.
    Resource,
    /// The trust policy of a role.
    Trust,
    /// A permissions boundary.
    Boundary,
    /// A policy given when the role was assumed.
    Session,
}

/// A statement that decided. Cheap to make and to keep: it is put into words for whoever reads it.
#[derive(Clone, PartialEq)]
pub struct DecidingStatement {
    /// Its policy.
    pub policy: NamedPolicy,
    /// Its place in the policy, from 1.
    pub index: usize,
    /// What it does.
    pub effect: Effect,
    pub(super) action: Which,
    /// `None` in a trust policy.
    pub(super) resource: Option<Which>,
}

/// What of a list matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The entry at this place, from 0.
    Entry(usize),
    /// None of it, under the `Not` form.
    None,
}

/// A statement that would have granted the request but for one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// The name of its policy.
    pub policy: Arc<str>,
    /// Its place in the policy, from 1.
    pub index: usize,
    /// What did not match.
    pub obstacle: Obstacle,
}

/// The first element of a statement that a request does not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Another principal is named.
    Principal {
        /// Those who are.
        named: Vec<String>,
    },
    /// Another action is named.
    Action,
    /// Another resource is named.
    Resource {
        /// The patterns.
        named: Vec<String>,
    },
    /// A condition key is asked for that nobody here knows.
    UnknownKey {
        /// The key, in lower case.
        key: String,
    },
    /// A condition is not met.
    Condition {
        /// Such as `StringEquals`.
        operator: String,
        /// The condition key.
        key: String,
        /// The values of the policy.
        expected: Vec<String>,
        /// The values of the request; none when the key is absent.
        given: Vec<String>,
    },
}

impl Decision {
    /// Whether the request may go ahead.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.reason == Reason::Allowed
    }
}

impl Reason {
    /// How AWS ends its message about a denial, such as `because no identity-based policy allows the
    /// secretsmanager:GetSecretValue action`; `None` when the request is allowed.
    #[must_use]
    pub fn because(self, action: &str) -> Option<String> {
        match self {
            Self::Allowed => None,
            Self::ExplicitDeny(kind) => Some(format!("with an explicit deny in {}", kind.with_article())),
            Self::ImplicitDeny(kind) => {
                Some(format!("because no {} allows the {action} action", kind.name()))
            }
        }
    }
}

impl PolicyKind {
    /// In the order in which an explicit denial is reported.
    pub(super) const ALL: [Self; 5] = [
        Self::Identity,
        Self::Resource,
        Self::Trust,
        Self::Boundary,
        Self::Session,
    ];

    /// AWS's name of the kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }

    fn with_article(self) -> String {
        match self {
            Self::Identity => format!("an {}", self.name()),
            Self::Trust => format!("the {}", self.name()),
            _ => format!("a {}", self.name()),
        }
    }
}

impl DecidingStatement {
    /// The action pattern that matched; `all but ..` for `NotAction`.
    #[must_use]
    pub fn action(&self) -> String {
        let entries = self.statement().map(|statement| statement.actions.entries());
        let texts = entries.into_iter().flatten().map(|action| action.text.as_str());
        self.action.told(texts)
    }

    /// The resource pattern that matched; `all but ..` for `NotResource`, `None` in a trust policy.
    #[must_use]
    pub fn resource(&self) -> Option<String> {
        let resources = self
            .statement()
            .and_then(|statement| statement.resources.as_ref());
        let texts = resources
            .into_iter()
            .flat_map(Scope::entries)
            .map(Template::as_str);
        Some(self.resource?.told(texts))
    }

    fn statement(&self) -> Option<&Statement> {
        self.policy.policy.statements.get(self.index.checked_sub(1)?)
    }
}

impl Which {
    fn told<'a>(self, mut entries: impl Iterator<Item = &'a str>) -> String {
        match self {
            Self::Entry(at) => entries.nth(at).unwrap_or_default().to_owned(),
            Self::None => format!("all but {}", entries.collect::<Vec<_>>().join(", ")),
        }
    }
}

/// In the same words: a log is read by people.
impl fmt::Debug for DecidingStatement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for DecidingStatement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "statement {} ", self.index)?;
        if let Some(sid) = self.statement().and_then(|statement| statement.sid.as_ref()) {
            write!(formatter, "({sid}) ")?;
        }
        write!(formatter, "of {}: {} ", self.policy.name, self.effect)?;
        match self.resource() {
            Some(resource) => write!(formatter, "Resource {resource}"),
            None => write!(formatter, "Action {}", self.action()),
        }
    }
}

impl fmt::Display for NearMiss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            index,
            obstacle,
        } = self;
        write!(formatter, "statement {index} of {policy} ")?;
        match obstacle {
            Obstacle::Principal { named } => write!(formatter, "names {}", named.join(", ")),
            Obstacle::Action => formatter.write_str("allows other actions"),
            Obstacle::Resource { named } => write!(formatter, "allows Resource {}", named.join(", ")),
            Obstacle::UnknownKey { key } => {
                write!(formatter, "asks for {key}, which is not known here")
            }
            Obstacle::Condition {
                operator,
                key,
                expected,
                given,
            } => {
                write!(
                    formatter,
                    "asks for {operator} {key}: expected {}, got ",
                    expected.join(" or ")
                )?;
                if given.is_empty() {
                    formatter.write_str("nothing")
                } else {
                    formatter.write_str(&given.join(", "))
                }
            }
        }
    }
}

impl Obstacle {
    /// How far a request got before it met this.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Action => 0,
            Self::Principal { .. } => 1,
            Self::Resource { .. } => 2,
            Self::UnknownKey { .. } | Self::Condition { .. } => 3,
        }
    }
}
