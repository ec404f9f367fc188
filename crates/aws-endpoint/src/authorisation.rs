//! What a call has to be allowed, as every service says it before it carries the call out.

use std::borrow::Cow;

use crate::iam::{Context, NamedPolicy};

/// What a call has to be allowed.
#[derive(Debug, Clone)]
pub struct Authorisation {
    /// Such as `secretsmanager:GetSecretValue`.
    pub action: Cow<'static, str>,
    /// The ARN of what the call is about, as stored; for something that does not exist the ARN that it
    /// would have; `*` for a call that is about nothing in particular.
    pub resource: String,
    /// The resource as the caller names it, which is how a denial names it.
    pub asked: Option<String>,
    /// The condition keys that only this service knows.
    pub keys: Context,
    /// The condition key, in lower case, whose value is the resource.
    pub(crate) resource_key: Option<&'static str>,
    /// The policy attached to the resource.
    pub resource_policy: Option<NamedPolicy>,
    /// A further action that has to be allowed on the same resource.
    pub(crate) also: Option<&'static str>,
    /// What has to be allowed beside it: a key to decrypt with, other parameters of the same call.
    pub further: Vec<Further>,
}

/// Something else that a call has to be allowed.
#[derive(Debug, Clone)]
pub struct Further {
    /// What it is; decided after the call itself.
    pub wanted: Authorisation,
    /// What the service says when it is not allowed.
    pub refusal: Refused,
}

/// What a service says when something that a call needs besides is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The usual denial.
    Plainly,
    /// Nothing but this, under this code.
    With(&'static str, String),
    /// The usual denial, as KMS told it to the service that asks it.
    InTheWordsOfKms,
}

impl Authorisation {
    /// A call to `action` on `resource`, about which nothing else is known.
    pub(crate) fn new(action: impl Into<Cow<'static, str>>, resource: String) -> Self {
        Self {
            action: action.into(),
            resource,
            asked: None,
            keys: Context::new(),
            resource_key: None,
            resource_policy: None,
            also: None,
            further: Vec::new(),
        }
    }

    /// The same, and something else besides.
    pub(crate) fn further(&mut self, wanted: Self) {
        self.further_or(wanted, Refused::Plainly);
    }

    /// As [`Self::further`], with what is said when that is not allowed.
    pub(crate) fn further_or(&mut self, wanted: Self, refusal: Refused) {
        self.further.push(Further { wanted, refusal });
    }

    /// All that has to be allowed.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        [&*self.action].into_iter().chain(self.also)
    }
}
