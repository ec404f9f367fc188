//! Keys: the account's own, and the temporary ones that STS hands out.

use std::{collections::HashMap, fmt, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, distr::Alphanumeric};

use crate::iam::{NamedPolicy, Principal, store::Tag};

/// The account's root key. The secret part is not shown by anything.
#[derive(Clone)]
pub struct RootCredentials {
    /// `AKIA` and 16 characters, unless it was [`given`](Self::given).
    pub access_key_id: String,
    secret_access_key: String,
}

impl RootCredentials {
    /// A random key.
    #[must_use]
    pub fn random() -> Self {
        Self {
            access_key_id: format!("AKIA{}", random(UPPER, 16)),
            secret_access_key: alphanumeric(40),
        }
    }

    /// A key that was chosen by someone: of any form and length.
    #[must_use]
    pub fn given(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
        }
    }

    /// The secret part, for the one who must have it.
    #[must_use]
    pub fn secret_access_key(&self) -> &str {
        &self.secret_access_key
    }
}

impl fmt::Debug for RootCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// A key that signs requests, and what it stands for.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    /// Absent for the root key.
    pub(crate) token: Option<String>,
    pub(crate) principal: Principal,
    /// The principal's ARN, which the log of each of its calls has.
    pub(crate) arn: Arc<str>,
    /// Name of the role, for the policies that apply now, not those of the time of assumption.
    pub(crate) role: Option<Arc<str>>,
    /// Session policies given at assumption.
    pub(crate) policies: Option<Arc<[NamedPolicy]>>,
    /// The identity provider that vouched for it.
    pub(crate) provider: Option<String>,
    /// When it was given; absent for the root key.
    pub(crate) issued: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) labels: Labels,
}

/// What a session is marked with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Session tags.
    pub(crate) tags: Vec<Tag>,
    /// The keys of those that go on to the sessions that it gets.
    pub(crate) transitive: Vec<String>,
    /// Set once, and for all sessions that come of it.
    pub(crate) source_identity: Option<String>,
}

impl Labels {
    /// The tags that go on to the sessions that this one gets.
    pub(crate) fn handed_on(&self) -> impl Iterator<Item = &Tag> {
        let transitive = |tag: &&Tag| self.transitive.iter().any(|key| tag.has_key(key));
        self.tags.iter().filter(transitive)
    }
}

/// All keys that sign requests.
pub(crate) struct Keys(HashMap<String, Arc<Session>>);

impl Keys {
    pub(crate) fn new(root: &RootCredentials, account: &str) -> Self {
        let principal = Principal::Root {
            account: account.to_owned(),
        };
        let session = Session {
            access_key_id: root.access_key_id.clone(),
            secret_access_key: root.secret_access_key.clone(),
            token: None,
            arn: principal.arn().into(),
            principal,
            role: None,
            policies: None,
            provider: None,
            issued: None,
            expires: None,
            labels: Labels::default(),
        };
        Self(HashMap::from([(root.access_key_id.clone(), Arc::new(session))]))
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Option<Arc<Session>> {
        self.0.get(access_key_id).map(Arc::clone)
    }

    /// Adds a temporary key and now and then forgets those that expired an hour ago or more: until then
    /// they are known, and refused as expired.
    pub(crate) fn add(&mut self, session: Arc<Session>, now: Timestamp) {
        if self.0.len().is_multiple_of(1024) {
            let gone = |expires| now.duration_since(expires) > SignedDuration::from_hours(1);
            self.0.retain(|_, session| !session.expires.is_some_and(gone));
        }
        self.0.insert(session.access_key_id.clone(), session);
    }
}

/// The random parts of a temporary key: id, secret, token.
pub(crate) fn temporary() -> (String, String, String) {
    (
        format!("ASIA{}", random(UPPER, 16)),
        alphanumeric(40),
        alphanumeric(360),
    )
}

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Random letters and digits, from the same generator; for what is long.
fn alphanumeric(length: usize) -> String {
    let random = rand::rng().sample_iter(Alphanumeric);
    random.take(length).map(char::from).collect()
}

/// Random characters of `alphabet`, from the system's generator.
pub(crate) fn random(alphabet: &[u8], length: usize) -> String {
    let mut random = rand::rng();
    (0..length)
        .map(|_| char::from(alphabet[random.random_range(0..alphabet.len())]))
        .collect()
}
