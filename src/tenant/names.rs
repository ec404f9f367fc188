//! Names, and the limits that AWS and Kubernetes set to them.

use std::collections::BTreeSet;

use super::Identity;
use crate::secret::fingerprint;

/// The secret that every tenant has.
pub const TENANT_SECRET: &str = "secret";

/// Longest role name that IAM takes.
const LONGEST_ROLE: usize = 64;
/// Longest policy name that IAM takes.
const LONGEST_POLICY: usize = 128;
/// Longest RFC 1123 label.
const LONGEST_LABEL: usize = 63;
/// Longest name of a secret.
const LONGEST_SECRET: usize = 512;
/// Longest cluster name: what EKS takes is 100, but roles carry it and have 64.
const LONGEST_CLUSTER: usize = 40;

/// A name that AWS or Kubernetes would refuse, or that would be ambiguous.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not an RFC 1123 label.
    #[error(
        "{what} `{name}` is no RFC 1123 label: 1 to 63 characters a-z, 0-9 and `-`, a letter or digit at both ends"
    )]
    NoLabel {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Too long.
    #[error("{what} `{name}` has {} characters; at most {limit} are possible", .name.len())]
    TooLong {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
        /// Longest possible.
        limit: usize,
    },
    /// Twice in a list.
    #[error("tenant `{name}` is named twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A namespace that Kubernetes keeps to itself.
    #[error("tenant `{name}` is a namespace of Kubernetes' own; choose another name")]
    Reserved {
        /// The name.
        name: String,
    },
    /// No tenant at all.
    #[error("no tenant is named; at least one is needed, and two to prove isolation")]
    None,
    /// Not a name for a secret.
    #[error("secret `{name}` is no name: 1 to 128 of a-z, A-Z, 0-9, `_`, `.` and `-`, not starting with `.`")]
    NoSecret {
        /// The name.
        name: String,
    },
}

/// The name that stands first in every role, policy and secret of a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// Checks `name`: an RFC 1123 label of at most 40 characters.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check_label("cluster name", name)?;
        if name.len() > LONGEST_CLUSTER {
            return Err(NameError::TooLong {
                what: "cluster name",
                name: name.to_owned(),
                limit: LONGEST_CLUSTER,
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// `mountproof-<run id>`, so that every name leads to its run.
    pub fn of_run(run_id: &str) -> Result<Self, NameError> {
        Self::new(&format!("mountproof-{run_id}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Every name of one tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TenantNames {
    cluster: ClusterName,
    tenant: String,
}

impl TenantNames {
    /// Checks `tenant`, which is the name of its namespace too.
    pub fn new(cluster: &ClusterName, tenant: &str) -> Result<Self, NameError> {
        check_tenant(tenant)?;
        Ok(Self {
            cluster: cluster.clone(),
            tenant: tenant.to_owned(),
        })
    }

    /// The tenant's name.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Its namespace, which bears the same name.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.tenant
    }

    /// `<cluster>-<namespace>-secrets-manager-role`. Long ones are shortened.
    #[must_use]
    pub fn role(&self) -> String {
        self.fitted("-secrets-manager-role", LONGEST_ROLE)
    }

    /// The role of this way in: [`role`](Self::role), or `<cluster>-<namespace>-secrets-manager-pod-role`.
    #[must_use]
    pub fn role_of(&self, identity: Identity) -> String {
        match identity {
            Identity::Irsa => self.role(),
            Identity::PodIdentity => self.fitted("-secrets-manager-pod-role", LONGEST_ROLE),
        }
    }

    /// `<cluster>-<namespace>-secrets-manager-policy`.
    #[must_use]
    pub fn policy(&self) -> String {
        self.fitted("-secrets-manager-policy", LONGEST_POLICY)
    }

    /// `<cluster>-<namespace>-secrets-manager-boundary`, of a role that has one.
    #[must_use]
    pub fn boundary(&self) -> String {
        self.fitted("-secrets-manager-boundary", LONGEST_POLICY)
    }

    /// ARN of [`role`](Self::role).
    #[must_use]
    pub fn role_arn(&self, partition: &str, account: &str) -> String {
        format!("arn:{partition}:iam::{account}:role/{}", self.role())
    }

    /// ARN of [`policy`](Self::policy).
    #[must_use]
    pub fn policy_arn(&self, partition: &str, account: &str) -> String {
        format!("arn:{partition}:iam::{account}:policy/{}", self.policy())
    }

    /// ARN of [`boundary`](Self::boundary).
    #[must_use]
    pub fn boundary_arn(&self, partition: &str, account: &str) -> String {
        format!("arn:{partition}:iam::{account}:policy/{}", self.boundary())
    }

    /// What all of the tenant's secrets start with: `<cluster>/<namespace>/`. The slash at the end is
    /// what keeps `team-red` out of `team-red2`.
    #[must_use]
    pub fn secret_path(&self) -> String {
        format!("{}/{}/", self.cluster.0, self.tenant)
    }

    /// `<cluster>/<namespace>/<secret>`.
    pub fn secret(&self, secret: &str) -> Result<String, NameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if !(1..=128).contains(&secret.len()) || secret.starts_with('.') || !secret.chars().all(plain) {
            return Err(NameError::NoSecret {
                name: secret.to_owned(),
            });
        }
        let name = format!("{}{secret}", self.secret_path());
        if name.len() > LONGEST_SECRET {
            return Err(NameError::TooLong {
                what: "secret",
                name,
                limit: LONGEST_SECRET,
            });
        }
        Ok(name)
    }

    /// The `SecretProviderClass` that every tenant has: `<namespace>-secret`.
    #[must_use]
    pub fn class(&self) -> String {
        format!("{}-{TENANT_SECRET}", self.tenant)
    }

    /// The class of this way in: [`class`](Self::class), or `<namespace>-secret-pod-identity`.
    #[must_use]
    pub fn class_of(&self, identity: Identity) -> String {
        match identity {
            Identity::Irsa => self.class(),
            Identity::PodIdentity => format!("{}-pod-identity", self.class()),
        }
    }

    fn fitted(&self, suffix: &str, longest: usize) -> String {
        fit(&format!("{}-{}", self.cluster.0, self.tenant), suffix, longest)
    }
}

/// `ns-0001` ... for `--namespaces N`.
#[must_use]
pub fn numbered(count: u32) -> Vec<String> {
    (1..=count).map(|number| format!("ns-{number:04}")).collect()
}

/// Reads `--tenants a,b`: names of namespaces, each once. Blanks around a name are ignored.
///
/// A name may be the beginning of another (`team-red`, `team-red2`): the policies end in a slash, and
/// that they keep such tenants apart is worth proving.
pub fn parse_tenants(list: &str) -> Result<Vec<String>, NameError> {
    let mut seen = BTreeSet::new();
    let mut tenants = Vec::new();
    for name in list.split(',').map(str::trim) {
        if name.is_empty() && list.trim().is_empty() {
            return Err(NameError::None);
        }
        check_tenant(name)?;
        if !seen.insert(name) {
            return Err(NameError::Twice {
                name: name.to_owned(),
            });
        }
        tenants.push(name.to_owned());
    }
    Ok(tenants)
}

/// Name of a workload: readable, and its own among the cases and attempts that share a namespace. Short
/// enough for what a Deployment adds to it.
#[must_use]
pub fn workload_name(scenario: &str, workload: &str, case: &str, attempt: u32) -> String {
    const LONGEST: usize = 44;
    let digits = &fingerprint(format!("{case}#{attempt}").as_bytes())[..6];
    let mut stem = format!("{scenario}-{workload}");
    stem.truncate(LONGEST - digits.len() - 1);
    format!("{}-{digits}", stem.trim_end_matches('-'))
}

/// Last part of the path of a secret that one attempt at a case has for itself on a shared tenant.
#[must_use]
pub fn case_secret(secret: &str, case: &str, attempt: u32) -> String {
    let digits = &fingerprint(format!("{case}#{attempt}").as_bytes())[..8];
    format!("{secret}-{digits}")
}

/// A few hexadecimal digits that stand for a text in a name.
#[must_use]
pub fn fingerprint_of(text: &str) -> String {
    fingerprint(text.as_bytes())
}

/// `<stem><suffix>`, or where that is longer than `longest` a shortened stem with 8 digits of the
/// whole stem's SHA-256 between them, so that different stems keep different names.
fn fit(stem: &str, suffix: &str, longest: usize) -> String {
    if stem.len() + suffix.len() <= longest {
        return format!("{stem}{suffix}");
    }
    let digits = &fingerprint(stem.as_bytes())[..8];
    let room = longest - suffix.len() - digits.len() - 1;
    let short = stem[..room].trim_end_matches('-');
    format!("{short}-{digits}{suffix}")
}

fn check_tenant(name: &str) -> Result<(), NameError> {
    check_label("tenant", name)?;
    // The class `<namespace>-secret` may be longer than a label: it is a subdomain name.
    if name == "default" || name.starts_with("kube-") {
        return Err(NameError::Reserved {
            name: name.to_owned(),
        });
    }
    Ok(())
}

fn check_label(what: &'static str, name: &str) -> Result<(), NameError> {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = name.len() <= LONGEST_LABEL
        && alphanumeric(name.chars().next())
        && alphanumeric(name.chars().next_back())
        && name.chars().all(|c| alphanumeric(Some(c)) || c == '-');
    if good {
        Ok(())
    } else {
        Err(NameError::NoLabel {
            what,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use proptest::prelude::*;

    use super::*;

    fn names(cluster: &str, tenant: &str) -> TenantNames {
        TenantNames::new(&ClusterName::new(cluster).unwrap(), tenant).unwrap()
    }

    #[test]
    fn names_are_those_of_the_seed_system() {
        let names = names("cluster-aws-secrets-manager", "team-red");
        assert_eq!(
            names.role(),
            "cluster-aws-secrets-manager-team-red-secrets-manager-role"
        );
        assert_eq!(
            names.policy(),
            "cluster-aws-secrets-manager-team-red-secrets-manager-policy"
        );
        assert_eq!(
            names.secret(TENANT_SECRET).unwrap(),
            "cluster-aws-secrets-manager/team-red/secret"
        );
        assert_eq!(names.class(), "team-red-secret");
        assert_eq!(
            names.role_arn("aws", "000000000000"),
            "arn:aws:iam::000000000000:role/cluster-aws-secrets-manager-team-red-secrets-manager-role"
        );
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let long = "annotation-names-other-role-of-a-very-long-scenario-name";
        let (a, b) = (
            names("demo", &format!("{long}-a")),
            names("demo", &format!("{long}-b")),
        );
        assert_eq!(a.role().len(), LONGEST_ROLE);
        assert!(a.role().starts_with("demo-annotation-names-other-role"));
        assert!(a.role().ends_with("-secrets-manager-role"));
        assert_ne!(a.role(), b.role());
        assert_eq!(
            a.policy(),
            format!("demo-{long}-a-secrets-manager-policy"),
            "there is room"
        );
    }

    #[test]
    fn tenants_are_read_from_a_list() {
        assert_eq!(
            parse_tenants("team-red, team-blue").unwrap(),
            ["team-red", "team-blue"]
        );
        assert_eq!(parse_tenants("a,ab,abc").unwrap(), ["a", "ab", "abc"]);
        let label = |name: &str| NameError::NoLabel {
            what: "tenant",
            name: name.to_owned(),
        };
        for (list, error) in [
            ("", NameError::None),
            ("  ", NameError::None),
            ("a,", label("")),
            ("Team", label("Team")),
            ("-a", label("-a")),
            ("a-", label("a-")),
            ("a_b", label("a_b")),
            ("a.b", label("a.b")),
            ("a,b,a", NameError::Twice { name: "a".into() }),
            (
                "kube-system",
                NameError::Reserved {
                    name: "kube-system".into(),
                },
            ),
            (
                "default",
                NameError::Reserved {
                    name: "default".into(),
                },
            ),
        ] {
            assert_eq!(parse_tenants(list), Err(error), "{list:?}");
        }
        assert!(parse_tenants(&"a".repeat(64)).is_err());
        assert!(parse_tenants(&"a".repeat(63)).is_ok());
    }

    #[test]
    fn numbers_have_four_digits_or_more() {
        assert_eq!(numbered(2), ["ns-0001", "ns-0002"]);
        assert_eq!(numbered(10_000).last().unwrap(), "ns-10000");
        assert!(numbered(0).is_empty());
    }

    #[test]
    fn clusters_and_secrets_are_checked() {
        assert_eq!(ClusterName::of_run("7f3k").unwrap().as_str(), "mountproof-7f3k");
        assert!(ClusterName::new(&"a".repeat(41)).is_err());
        assert!(ClusterName::new("a/b").is_err());
        let names = names("demo", "team-red");
        for bad in ["", "a/b", "..", "../secret", "a b", "é", &"a".repeat(129)] {
            assert!(names.secret(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn names_fit_and_differ(
            cluster in "[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
            one in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
            two in "[a-z]([a-z0-9-]{0,61}[a-z0-9])?",
        ) {
            prop_assume!(one != two && !one.starts_with("kube-") && !two.starts_with("kube-"));
            prop_assume!(one != "default" && two != "default");
            let (one, two) = (names(&cluster, &one), names(&cluster, &two));
            prop_assert!(one.policy().len() <= LONGEST_POLICY);
            for identity in Identity::ALL {
                prop_assert!(one.role_of(identity).len() <= LONGEST_ROLE);
                prop_assert_ne!(one.role_of(identity), two.role_of(identity));
            }
            prop_assert_ne!(one.role_of(Identity::Irsa), one.role_of(Identity::PodIdentity));
            prop_assert_ne!(one.policy(), two.policy());
            // Whatever the names, no tenant's path holds another tenant's secret.
            prop_assert!(!two.secret(TENANT_SECRET).unwrap().starts_with(&one.secret_path()));
        }
    }
}
