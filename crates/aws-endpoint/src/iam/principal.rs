//! Who asks, and whom a policy names.
//!
//! Imitated: the IAM user guide's pages "Principal" and "`NotPrincipal`".

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The root user of an account.
    Root {
        /// Twelve digits.
        account: String,
    },
    /// An IAM user.
    User {
        /// Twelve digits.
        account: String,
        /// `arn:aws:iam::<account>:user/<path><name>`.
        arn: String,
        /// `AIDA..`.
        id: String,
    },
    /// A session of a role.
    AssumedRole {
        /// Twelve digits.
        account: String,
        /// `arn:aws:iam::<account>:role/<path><name>`.
        role_arn: String,
        /// `AROA..`.
        role_id: String,
        /// `arn:aws:sts::<account>:assumed-role/<name>/<session>`.
        session_arn: String,
    },
    /// The bearer of a token of an identity provider, who is no one in IAM until a role is assumed.
    Federated {
        /// The ARN of the provider.
        provider_arn: String,
    },
    /// An AWS service, such as `pods.eks.amazonaws.com`.
    Service {
        /// The service's host name.
        name: String,
    },
}

impl Principal {
    /// A session of the role `role_arn` (path included), which the session's own ARN leaves out.
    #[must_use]
    pub fn assumed_role(role_arn: &str, role_id: &str, session: &str) -> Self {
        let mut segments = role_arn.splitn(6, ':');
        let partition = segments.nth(1).unwrap_or("aws");
        let account = segments.nth(2).unwrap_or_default().to_owned();
        let name = role_arn.rsplit('/').next().unwrap_or_default();
        Self::AssumedRole {
            session_arn: format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session}"),
            role_arn: role_arn.to_owned(),
            role_id: role_id.to_owned(),
            account,
        }
    }

    /// The account whose identity-based policies apply; `None` when there are none.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Root { account } | Self::User { account, .. } | Self::AssumedRole { account, .. } => {
                Some(account)
            }
            Self::Federated { .. } | Self::Service { .. } => None,
        }
    }

    /// How AWS names the principal in messages: an ARN, or a service's name.
    #[must_use]
    pub fn arn(&self) -> String {
        match self {
            Self::Root { account } => format!("arn:aws:iam::{account}:root"),
            Self::User { arn, .. } => arn.clone(),
            Self::AssumedRole { session_arn, .. } => session_arn.clone(),
            Self::Federated { provider_arn } => provider_arn.clone(),
            Self::Service { name } => name.clone(),
        }
    }
}

/// How closely a policy names a principal, which decides what its grant is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Closeness {
    /// The principal's account: in the same account this only lets identity-based policies decide.
    Account,
    /// The role of the session: limited by boundary and session policies.
    Role,
    /// The user or the session itself, or everyone: not limited by an implicit denial elsewhere.
    Direct,
}

/// One entry of a `Principal` element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    Everyone,
    /// `arn` is the form `arn:aws:iam::<account>:root`, or the account's number alone, as written.
    Account {
        account: String,
        text: String,
    },
    Arn(String),
    /// `AROA..` or `AIDA..`: what AWS stores in place of the ARN of a role or user that is gone.
    UniqueId(String),
    Federated(String),
    Service(String),
}

impl Named {
    /// Reads one text of `{"AWS": ..}`. Wildcards stand for everyone or for nothing.
    pub(super) fn aws(text: &str) -> Option<Self> {
        let is_account = |text: &str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
        if text == "*" {
            return Some(Self::Everyone);
        }
        if is_account(text) {
            return Some(Self::Account {
                account: text.to_owned(),
                text: text.to_owned(),
            });
        }
        if ["AROA", "AIDA"].iter().any(|prefix| text.starts_with(prefix))
            && text.len() >= 16
            && text
                .bytes()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        {
            return Some(Self::UniqueId(text.to_owned()));
        }
        let segments: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, "", account, resource] = segments[..] else {
            return None;
        };
        if partition.is_empty() || !is_account(account) || text.contains(['*', '?', '$']) {
            return None;
        }
        match (service, resource.split_once('/')) {
            ("iam", None) if resource == "root" => Some(Self::Account {
                account: account.to_owned(),
                text: text.to_owned(),
            }),
            ("iam", Some(("role" | "user", name)))
            | ("sts", Some(("assumed-role" | "federated-user", name)))
                if !name.is_empty() =>
            {
                Some(Self::Arn(text.to_owned()))
            }
            _ => None,
        }
    }

    /// Reads one text of `{"Federated": ..}`: the ARN of a provider, matched as a whole.
    pub(super) fn federated(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.splitn(6, ':').collect();
        let is_provider = |resource: &str| {
            ["oidc-provider/", "saml-provider/"]
                .iter()
                .any(|kind| resource.len() > kind.len() && resource.starts_with(kind))
        };
        match segments[..] {
            ["arn", _, "iam", "", account, resource] if account.len() == 12 && is_provider(resource) => {}
            // The providers that AWS knows without an object of the account.
            [
                "cognito-identity.amazonaws.com"
                | "accounts.google.com"
                | "graph.facebook.com"
                | "www.amazon.com",
            ] => {}
            _ => return None,
        }
        (!text.contains(['*', '?', '$'])).then(|| Self::Federated(text.to_owned()))
    }

    /// Reads one text of `{"Service": ..}`.
    pub(super) fn service(text: &str) -> Option<Self> {
        let is_host = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte));
        let is_aws = text.ends_with(".amazonaws.com") || text.ends_with(".amazonaws.com.cn");
        (is_host && is_aws).then(|| Self::Service(text.to_owned()))
    }

    /// The member of the `Principal` element this entry stands under.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Everyone | Self::Account { .. } | Self::Arn(_) | Self::UniqueId(_) => "AWS",
            Self::Federated(_) => "Federated",
            Self::Service(_) => "Service",
        }
    }

    /// The text as the policy has it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Everyone => "*",
            Self::Account { text, .. }
            | Self::Arn(text)
            | Self::UniqueId(text)
            | Self::Federated(text)
            | Self::Service(text) => text,
        }
    }

    /// How closely this entry names `principal`; `None` when it does not.
    pub(super) fn names(&self, principal: &Principal) -> Option<Closeness> {
        let when = |matched: bool, closeness| matched.then_some(closeness);
        match (self, principal) {
            (Self::Everyone, _) => Some(Closeness::Direct),
            (Self::Account { account: named, .. }, _) => {
                when(principal.account() == Some(named.as_str()), Closeness::Account)
            }
            (Self::Arn(named), Principal::User { arn, .. }) => when(named == arn, Closeness::Direct),
            (
                Self::Arn(named),
                Principal::AssumedRole {
                    role_arn,
                    session_arn,
                    ..
                },
            ) => when(named == session_arn, Closeness::Direct)
                .or_else(|| when(named == role_arn, Closeness::Role)),
            (Self::UniqueId(named), Principal::User { id, .. }) => when(named == id, Closeness::Direct),
            (Self::UniqueId(named), Principal::AssumedRole { role_id, .. }) => {
                when(named == role_id, Closeness::Role)
            }
            (Self::Federated(named), Principal::Federated { provider_arn }) => {
                when(named == provider_arn, Closeness::Direct)
            }
            (Self::Service(named), Principal::Service { name }) => when(named == name, Closeness::Direct),
            _ => None,
        }
    }
}

/// Whether a `NotPrincipal` list exempts `principal`.
///
/// AWS asks for every identity of the one exempted: the account and the user, or the account, the role
/// and the session. Naming the session alone exempts nobody.
pub(super) fn exempts(list: &[Named], principal: &Principal) -> bool {
    let any = |test: &dyn Fn(&Named) -> bool| list.iter().any(test);
    if any(&|named| *named == Named::Everyone) {
        return true;
    }
    let account = any(&|named| named.names(principal) == Some(Closeness::Account));
    match principal {
        Principal::Root { .. } => account,
        Principal::User { .. } => account && any(&|named| named.names(principal) == Some(Closeness::Direct)),
        Principal::AssumedRole { .. } => {
            account
                && any(&|named| named.names(principal) == Some(Closeness::Role))
                && any(&|named| named.names(principal) == Some(Closeness::Direct))
        }
        Principal::Federated { .. } | Principal::Service { .. } => {
            any(&|named| named.names(principal).is_some())
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const ROLE: &str = "arn:aws:iam::000000000000:role/teams/red";

    fn session() -> Principal {
        Principal::assumed_role(ROLE, "AROAREDREDREDREDRED12", "s1")
    }

    #[test]
    fn a_session_is_named_without_the_path_of_its_role() {
        assert_eq!(session().arn(), "arn:aws:sts::000000000000:assumed-role/red/s1");
        assert_eq!(session().account(), Some("000000000000"));
    }

    #[test]
    fn closeness_of_a_session() {
        for (named, expected) in [
            ("*", Some(Closeness::Direct)),
            ("000000000000", Some(Closeness::Account)),
            ("arn:aws:iam::000000000000:root", Some(Closeness::Account)),
            ("111111111111", None),
            (ROLE, Some(Closeness::Role)),
            ("AROAREDREDREDREDRED12", Some(Closeness::Role)),
            ("arn:aws:iam::000000000000:role/red", None),
            ("arn:aws:iam::000000000000:role/teams/red2", None),
            (
                "arn:aws:sts::000000000000:assumed-role/red/s1",
                Some(Closeness::Direct),
            ),
            ("arn:aws:sts::000000000000:assumed-role/red/s2", None),
        ] {
            assert_eq!(Named::aws(named).unwrap().names(&session()), expected, "{named}");
        }
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "",
            "arn:aws:iam::000000000000:role/*",
            "arn:aws:iam::*:root",
            "red",
            "00000000000",
            "arn:aws:iam::000000000000:group/x",
        ] {
            assert_eq!(Named::aws(text), None, "{text}");
        }
        for text in [
            "arn:aws:iam::000000000000:oidc-provider/",
            "arn:aws:iam::000000000000:oidc-provider/x*",
            "*",
            "x",
        ] {
            assert_eq!(Named::federated(text), None, "{text}");
        }
        assert_eq!(Named::service("pods.eks.amazonaws.com.evil.example"), None);
        assert!(Named::service("pods.eks.amazonaws.com").is_some());
    }

    #[test]
    fn a_provider_is_matched_as_a_whole() {
        let named = Named::federated("arn:aws:iam::000000000000:oidc-provider/127.0.0.1:4430/id/X").unwrap();
        let bearer = |url: &str| Principal::Federated {
            provider_arn: format!("arn:aws:iam::000000000000:oidc-provider/{url}"),
        };
        assert_eq!(
            named.names(&bearer("127.0.0.1:4430/id/X")),
            Some(Closeness::Direct)
        );
        assert_eq!(named.names(&bearer("127.0.0.1:4430/id/XY")), None);
    }

    #[test]
    fn an_exemption_names_every_identity() {
        let list = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Named::aws(text).unwrap())
                .collect::<Vec<_>>()
        };
        let session_arn = "arn:aws:sts::000000000000:assumed-role/red/s1";
        assert!(exempts(&list(&["000000000000", ROLE, session_arn]), &session()));
        assert!(!exempts(&list(&[ROLE, session_arn]), &session()));
        assert!(!exempts(&list(&["000000000000", session_arn]), &session()));
        assert!(exempts(&list(&["*"]), &session()));
    }
}
