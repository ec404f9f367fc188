//! What runs left in an account, without any ledger: by the tags that everything of a run's carries, and by its age.
//!
//! A run that has anything younger than asked for may be going on somewhere else, and is left alone as a whole; so is one
//! whose process is here. What is in the Kubernetes of clusters that stay is not looked for: that is a ledger's to tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use jiff::Timestamp;

use super::{Teardown, Went, ledger::Object, teardown::Record};
use crate::{
    aws::{Aws, AwsError, Inventory, Owned, OwnedKind},
    journal::LeftoverFound,
    tenant::{ClusterName, Marks},
};

/// A run that something was found of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aged {
    /// Its id.
    pub run_id: String,
    /// How old the youngest of its objects is; none where that is not known.
    pub age: Option<Duration>,
    /// What was found.
    pub found: Vec<Object>,
    /// What was done.
    pub outcome: AgedOutcome,
}

/// What was done about such a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgedOutcome {
    /// Nothing: something of it is too young.
    Young,
    /// Nothing: its process is here.
    Running,
    /// Nothing, in a dry run: all that was found would be removed.
    WouldRemove,
    /// It was removed, but for what is left, and why.
    Removed {
        /// What is gone.
        removed: Vec<Object>,
        /// What is not.
        left: Vec<LeftoverFound>,
    },
}

/// What a sweep of an account came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSwept {
    /// The runs that something was found of, in the order of their ids.
    pub runs: Vec<Aged>,
    /// Clusters that the credentials may not look into.
    pub hidden: Vec<String>,
}

/// Removes what runs left in the account of `aws`, where all of a run's is older than `older_than` at `now`, unless it is one of
/// `running`. With `dry` it only says what it would do.
///
/// # Errors
///
/// When the account cannot be looked through.
pub async fn sweep_account(
    aws: &Aws,
    older_than: Duration,
    now: Timestamp,
    running: &BTreeSet<String>,
    dry: bool,
    went: &Went<'_>,
) -> Result<AccountSwept, AwsError> {
    let Inventory { owned, hidden } = aws.inventory().await?;
    let mut runs = Vec::new();
    for (run_id, owned) in by_run(owned) {
        let age = youngest(&owned, now);
        let found = in_order(owned);
        let outcome = if running.contains(&run_id) {
            AgedOutcome::Running
        } else if age.is_none_or(|age| age < older_than) {
            AgedOutcome::Young
        } else if dry {
            AgedOutcome::WouldRemove
        } else {
            removed(aws, &run_id, &found, went).await
        };
        runs.push(Aged {
            run_id,
            age,
            found,
            outcome,
        });
    }
    Ok(AccountSwept { runs, hidden })
}

async fn removed(aws: &Aws, run_id: &str, found: &[Object], went: &Went<'_>) -> AgedOutcome {
    let marks = Marks::of_run(run_id);
    let cluster = match ClusterName::of_run(run_id) {
        Ok(cluster) => cluster,
        Err(error) => {
            // A tag that no run of ours has written.
            return AgedOutcome::Removed {
                removed: Vec::new(),
                left: vec![LeftoverFound {
                    object: format!("run {run_id}"),
                    because: error.to_string(),
                }],
            };
        }
    };
    let still = Mutex::new(found.to_vec());
    let report = Teardown::of_account(aws, None, Record::Found(&still), &marks, &cluster, went).await;
    let still = still.into_inner().unwrap_or_default();
    AgedOutcome::Removed {
        removed: found
            .iter()
            .filter(|object| !still.contains(object))
            .cloned()
            .collect(),
        left: report.left,
    }
}

fn by_run(owned: Vec<Owned>) -> BTreeMap<String, Vec<Owned>> {
    let mut runs: BTreeMap<String, Vec<Owned>> = BTreeMap::new();
    for one in owned {
        runs.entry(one.run.clone()).or_default().push(one);
    }
    runs
}

/// The age of the youngest; none where that of one is not known.
fn youngest(owned: &[Owned], now: Timestamp) -> Option<Duration> {
    let ages = owned.iter().map(|one| {
        let age = now.duration_since(one.created?);
        Some(Duration::try_from(age).unwrap_or_default())
    });
    ages.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The objects in an order in which a run could have made them: see [`Plan`](super::order::Plan).
fn in_order(owned: Vec<Owned>) -> Vec<Object> {
    let place = |one: &Owned| match (&one.what, &one.tenant) {
        (OwnedKind::Role(_) | OwnedKind::Policy(_), None) => 0,
        (OwnedKind::Cluster(_), _) => 1,
        (OwnedKind::Nodegroup { .. }, _) => 2,
        (OwnedKind::Addon { .. } | OwnedKind::OidcProvider(_), _) => 3,
        (OwnedKind::Policy(_), _) => 4,
        (OwnedKind::Role(_) | OwnedKind::Secret(_) | OwnedKind::Association { .. }, _) => 5,
    };
    let mut owned = owned;
    owned.sort_by_key(place);
    owned.into_iter().map(|one| object(one.what)).collect()
}

fn object(what: OwnedKind) -> Object {
    match what {
        OwnedKind::Cluster(name) => Object::EksCluster(name),
        OwnedKind::Nodegroup { cluster, name } => Object::Nodegroup { cluster, name },
        OwnedKind::Addon { cluster, name } => Object::Addon { cluster, name },
        OwnedKind::Association {
            cluster,
            namespace,
            service_account,
        } => Object::PodIdentityAssociation {
            cluster,
            namespace,
            service_account,
        },
        OwnedKind::OidcProvider(arn) => Object::OidcProvider(arn),
        OwnedKind::Policy(arn) => Object::Policy(arn),
        OwnedKind::Role(name) => Object::Role(name),
        OwnedKind::Secret(name) => Object::Secret(name),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn owned(what: OwnedKind, tenant: Option<&str>, created: Option<&str>) -> Owned {
        Owned {
            what,
            run: "r1".to_owned(),
            tenant: tenant.map(str::to_owned),
            created: created.map(|time| time.parse().unwrap()),
        }
    }

    #[test]
    fn a_run_is_as_old_as_its_youngest_object_and_of_no_age_where_one_is_not_known() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let secret = |created| owned(OwnedKind::Secret("s".to_owned()), None, created);
        let hours = |ages: &[Owned]| youngest(ages, now).map(|age| age.as_secs() / 3600);
        let (old, young) = (Some("2026-01-01T02:00:00Z"), Some("2026-01-01T11:00:00Z"));
        assert_eq!(hours(&[secret(old)]), Some(10));
        assert_eq!(hours(&[secret(old), secret(young)]), Some(1));
        assert_eq!(hours(&[secret(old), secret(None)]), None);
        assert_eq!(
            hours(&[secret(Some("2026-01-01T13:00:00Z"))]),
            Some(0),
            "another clock is ahead"
        );
    }

    #[test]
    fn roles_of_no_tenant_were_there_before_the_cluster() {
        let role = |name: &str, tenant| owned(OwnedKind::Role(name.to_owned()), tenant, None);
        let found = in_order(vec![
            role("tenant", Some("team-red")),
            owned(
                OwnedKind::Nodegroup {
                    cluster: "c".to_owned(),
                    name: "n".to_owned(),
                },
                None,
                None,
            ),
            owned(OwnedKind::Cluster("c".to_owned()), None, None),
            role("cluster", None),
        ]);
        assert_eq!(
            found,
            [
                Object::Role("cluster".to_owned()),
                Object::EksCluster("c".to_owned()),
                Object::Nodegroup {
                    cluster: "c".to_owned(),
                    name: "n".to_owned()
                },
                Object::Role("tenant".to_owned()),
            ]
        );
    }
}
