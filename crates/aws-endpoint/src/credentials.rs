//! Keys: the account's own, and the temporary ones that STS hands out.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use rand::{RngExt as _, distr::Alphanumeric};

use crate::{
    iam::{
        NamedPolicy, Principal,
        store::{OidcProvider, Tag},
    },
    lock::Lock,
};

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
    pub(crate) access_key_id: Arc<str>,
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
    pub(crate) provider: Option<Arc<OidcProvider>>,
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

/// All keys that sign requests, in shards: thousands of sessions a second are looked for and given at the same time,
/// and must not wait for each other.
pub(crate) struct Keys {
    shards: Box<[Lock<Shard>]>,
    hasher: RandomState,
}

/// Many more than there are processors, so that two calls seldom meet in one.
const SHARDS: usize = 64;
/// For how long an expired key is known, and refused as expired.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

#[derive(Default)]
struct Shard {
    sessions: HashMap<Arc<str>, Arc<Session>>,
    /// Ids of temporary keys by the minute in which they expire, so that forgetting them costs as much as they are.
    by_expiry: BTreeMap<i64, Vec<Arc<str>>>,
}

impl Keys {
    pub(crate) fn new(root: &RootCredentials, account: &str) -> Self {
        let principal = Principal::Root {
            account: account.to_owned(),
        };
        let keys = Self {
            shards: (0..SHARDS).map(|_| Lock::default()).collect(),
            hasher: RandomState::new(),
        };
        keys.add(
            Session {
                access_key_id: root.access_key_id.as_str().into(),
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
            },
            Timestamp::UNIX_EPOCH,
        );
        keys
    }

    pub(crate) fn find(&self, access_key_id: &str) -> Option<Arc<Session>> {
        let shard = self.shard(access_key_id).read();
        shard.sessions.get(access_key_id).map(Arc::clone)
    }

    /// Adds a key, and forgets those beside it that expired long ago.
    pub(crate) fn add(&self, session: Session, now: Timestamp) -> Arc<Session> {
        let session = Arc::new(session);
        let id = &session.access_key_id;
        let mut shard = self.shard(id).write();
        let forgotten = shard.forget(minute(now - REMEMBERED));
        if let Some(expires) = session.expires {
            let expiring = shard.by_expiry.entry(minute(expires)).or_default();
            expiring.push(Arc::clone(id));
        }
        shard.sessions.insert(Arc::clone(id), Arc::clone(&session));
        // Nobody has to wait until their memory is given back.
        drop(shard);
        drop(forgotten);
        session
    }

    fn shard(&self, access_key_id: &str) -> &Lock<Shard> {
        #[expect(clippy::cast_possible_truncation, reason = "any part of a hash will do")]
        let hash = self.hasher.hash_one(access_key_id) as usize;
        &self.shards[hash % SHARDS]
    }

    /// How often somebody had to wait for another who looked for a key, or was given one.
    pub(crate) fn waits(&self) -> u64 {
        self.shards.iter().map(Lock::waits).sum()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().sessions.len()).sum()
    }
}

impl Shard {
    /// Takes out the keys that expired before that minute.
    fn forget(&mut self, minute: i64) -> Vec<Arc<Session>> {
        let mut forgotten = Vec::new();
        while let Some(first) = self.by_expiry.first_entry().filter(|first| *first.key() < minute) {
            let ids = first.remove();
            forgotten.extend(ids.iter().filter_map(|id| self.sessions.remove(id)));
        }
        forgotten
    }
}

fn minute(at: Timestamp) -> i64 {
    at.as_second().div_euclid(60)
}

/// The random parts of a temporary key: id, secret, token.
pub(crate) fn temporary() -> (String, String, String) {
    let mut id = String::with_capacity(20);
    id.push_str("ASIA");
    id.extend(symbols(UPPER, 16));
    (id, alphanumeric(40), alphanumeric(360))
}

const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Random letters and digits, from the same generator; for what is long.
fn alphanumeric(length: usize) -> String {
    let random = rand::rng().sample_iter(Alphanumeric);
    random.take(length).map(char::from).collect()
}

/// Random characters of `alphabet`, from the system's generator.
pub(crate) fn random(alphabet: &[u8], length: usize) -> String {
    symbols(alphabet, length).collect()
}

fn symbols(alphabet: &[u8], length: usize) -> impl Iterator<Item = char> {
    let mut random = rand::rng();
    (0..length).map(move |_| char::from(alphabet[random.random_range(0..alphabet.len())]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn session(number: usize, expires: Timestamp) -> Session {
        let principal = Principal::assumed_role("arn:aws:iam::111122223333:role/red", "AROA", "app");
        Session {
            access_key_id: format!("ASIA{number}").into(),
            secret_access_key: "secret".to_owned(),
            token: Some("token".to_owned()),
            arn: principal.arn().into(),
            principal,
            role: Some("red".into()),
            policies: None,
            provider: None,
            issued: None,
            expires: Some(expires),
            labels: Labels::default(),
        }
    }

    /// Ten thousand in the first hour, and as many in the third, when the first have been expired for an hour or more.
    #[test]
    fn keys_are_known_for_an_hour_after_they_expire_and_then_forgotten_the_roots_never() {
        let root = RootCredentials::random();
        let keys = Keys::new(&root, "111122223333");
        let began = Timestamp::from_second(1_800_000_000).unwrap();
        let hours = SignedDuration::from_hours;
        for number in 0..10_000 {
            keys.add(session(number, began + hours(1)), began);
        }
        let third = began + hours(2);
        for number in 10_000..20_000 {
            keys.add(session(number, third + hours(1)), third);
        }
        assert_eq!(keys.len(), 20_001, "expired ones are known for an hour");
        assert!(keys.find("ASIA0").is_some());
        for number in 20_000..30_000 {
            keys.add(
                session(number, third + hours(2)),
                third + SignedDuration::from_mins(1),
            );
        }
        assert_eq!(
            keys.len(),
            20_001,
            "each shard had a new key, and forgot its old ones"
        );
        assert!(keys.find("ASIA0").is_none());
        assert!(keys.find("ASIA10000").is_some());
        assert!(keys.find(&root.access_key_id).is_some());
        assert_eq!(keys.waits(), 0);
    }
}
