//! PURE. What the tags in an account say, as objects of runs in the order of making.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ledger::Object;
use crate::aws::{Owned, OwnedKind};

/// What is of which run.
pub(super) fn by_run(owned: Vec<Owned>) -> BTreeMap<String, Vec<Owned>> {
    let mut runs: BTreeMap<String, Vec<Owned>> = BTreeMap::new();
    for one in owned {
        runs.entry(one.run.clone()).or_default().push(one);
    }
    runs
}

/// The objects in an order in which a run could have made them: see [`Plan`](super::order::Plan).
pub(super) fn in_order(owned: Vec<Owned>) -> Vec<(Object, Option<Timestamp>)> {
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
    let owned = owned.into_iter();
    owned.map(|one| (object(one.what), one.created)).collect()
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
    use super::*;

    fn owned(what: OwnedKind, tenant: Option<&str>) -> Owned {
        Owned {
            what,
            run: "r1".to_owned(),
            tenant: tenant.map(str::to_owned),
            created: None,
        }
    }

    #[test]
    fn roles_of_no_tenant_were_there_before_the_cluster() {
        let role = |name: &str, tenant| owned(OwnedKind::Role(name.to_owned()), tenant);
        let found: Vec<Object> = in_order(vec![
            role("tenant", Some("team-red")),
            owned(
                OwnedKind::Nodegroup {
                    cluster: "c".to_owned(),
                    name: "n".to_owned(),
                },
                None,
            ),
            owned(OwnedKind::Cluster("c".to_owned()), None),
            role("cluster", None),
        ])
        .into_iter()
        .map(|(object, _)| object)
        .collect();
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
