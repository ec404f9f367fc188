//! Amazon EKS, without HTTP: method, path, query and JSON body in, a JSON body or an error out.
//!
//! Imitated: the EKS API reference, version 2017-11-01 (shapes held against botocore's model), and texts seen in
//! public reports. [`Request::read`] finds the operation, [`authorisations`] says what the call has to be
//! allowed, [`execute`] carries it out. Clusters, node groups and add-ons are on their way for a while, by the
//! clock that the caller gives; a [`ClusterBackend`] can stand behind them, and then they are for as long as it takes.
//!
//! A cluster signs its service accounts' tokens with a key of its own, published under
//! `https://oidc.eks.<region>.amazonaws.com/id/<id>`. Who calls its API server with a `k8s-aws-v1.` token is
//! told by [`token`] and `identity`.
//!
//! Left out: networks (subnets are kept as they come), Fargate, identity providers, insights, Auto Mode, logging,
//! encryption; session policies and target roles of pod identity associations, which are refused. Unverified:
//! the texts for missing and malformed parameters, for states that do not fit, for limits, and for what is wrong with
//! a cluster (its codes are those of `ClusterIssue`).

mod access;
mod addons;
mod adopted;
mod associations;
mod backend;
mod clusters;
mod error;
mod identity;
mod issuer;
pub(crate) mod members;
mod nodegroups;
mod request;
mod store;
mod tags;
pub mod token;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

pub use adopted::adopted;
pub use backend::{
    AddonWanted, BackendTrouble, ClusterBackend, ClusterCallers, ClusterParts, ClusterWanted, InstanceKeys,
    MemberKey, NodegroupWanted,
};
pub use clusters::{arrived, failed};
pub(crate) use clusters::{bereaved, failed_with, held, released, wanted};
pub use error::EksError;
pub use identity::{AccessPolicy, EksIdentity, identify};
pub(crate) use identity::{
    PodIdentity, cluster_of_issuer, issuer_keys, pod_identity, pod_identity_of_any_namespace,
};
pub use issuer::ClusterKey;
pub use request::Request;
pub use store::EksStore;

use self::{request::Body, store::Cluster};
use crate::authorisation::Authorisation;

/// What a call is carried out with, beside what it says.
pub struct Setting<'a> {
    /// Such as `eu-west-1`.
    pub region: &'a str,
    /// ARN of who calls; for a session the one of its role.
    pub caller: &'a str,
    /// What time it is.
    pub now: Timestamp,
    /// The key pair of a cluster that is made by this call.
    pub key: Option<ClusterKey>,
    /// Whether a role exists and trusts a service.
    pub trust: &'a dyn Fn(&str, &str) -> Trust,
}

/// Whether a role can be handed to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// There is no such role.
    NoRole,
    /// It does not trust the service.
    Refused,
    /// It does.
    Given,
}

/// What `request` has to be allowed, before it is carried out and whether or not the thing exists.
///
/// # Errors
/// When the call does not say what it is about: AWS checks parameters first.
pub fn authorisations(
    store: &EksStore,
    region: &str,
    request: &Request,
) -> Result<Vec<Authorisation>, EksError> {
    let action = format!("eks:{}", request.operation());
    let resource = resource(store, region, request)?;
    let mut wanted = Authorisation::new(action, resource);
    let tags = request.body().tags()?;
    wanted
        .keys
        .set_all("aws:TagKeys", tags.keys().map(String::as_str));
    for (key, value) in &tags {
        wanted.keys.set(&format!("aws:RequestTag/{key}"), value.as_str());
    }
    let removed: Vec<&str> = request.query_all("tagKeys").collect();
    if !removed.is_empty() {
        wanted.keys.set_all("aws:TagKeys", removed);
    }
    for (key, value) in existing_tags(store, region, request, &wanted.resource) {
        wanted.keys.set(&format!("aws:ResourceTag/{key}"), value);
    }
    let mut all = vec![wanted];
    // Who hands a role to EKS has to be allowed to hand it over.
    if let Some((parameter, service)) = request.target().passes
        && let Some(role) = request.body().text(parameter)?
    {
        let mut pass = Authorisation::new("iam:PassRole".to_owned(), role.to_owned());
        pass.keys.set("iam:PassedToService", service);
        all.push(pass);
    }
    Ok(all)
}

/// Carries out one operation.
///
/// # Errors
/// As AWS.
pub fn execute(store: &mut EksStore, request: &Request, setting: Setting<'_>) -> Outcome {
    store.settle(setting.now);
    (request.target().run)(store, &Call { request, setting })
}

/// The operations there are.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// What an unsigned `GET` of an issuer's documents is answered with, by `host` and `path`.
#[must_use]
pub fn issuer_document(store: &EksStore, host: &str, path: &str) -> Option<Value> {
    let (issuer, document) = match path.strip_suffix("/.well-known/openid-configuration") {
        Some(issuer) => (issuer, true),
        None => (path.strip_suffix("/keys")?, false),
    };
    let host = host.strip_suffix(":443").unwrap_or(host);
    let (_, cluster) = store.of_issuer(&format!("https://{host}{issuer}"))?;
    Some(if document {
        issuer::discovery(&cluster.issuer)
    } else {
        cluster.keys.published()
    })
}

/// A token of a cluster's issuer with these claims. `None` when there is no such cluster, or its API server signs.
#[must_use]
pub fn sign(store: &EksStore, region: &str, cluster: &str, claims: &Value) -> Option<String> {
    match &store.find(region, cluster)?.keys {
        issuer::IssuerKeys::Own(key) => Some(key.sign(claims)),
        issuer::IssuerKeys::Published(_) => None,
    }
}

/// The URL of a cluster's token issuer.
#[must_use]
pub fn issuer_of<'s>(store: &'s EksStore, region: &str, cluster: &str) -> Option<&'s str> {
    Some(&store.find(region, cluster)?.issuer)
}

/// What an operation answers with.
pub type Outcome = Result<Value, EksError>;

/// A call on its way.
struct Call<'a> {
    request: &'a Request,
    setting: Setting<'a>,
}

impl<'a> Call<'a> {
    fn region(&self) -> &'a str {
        self.setting.region
    }

    fn now(&self) -> Timestamp {
        self.setting.now
    }

    fn body(&self) -> Body<'a> {
        self.request.body()
    }

    /// The name of the cluster in the path.
    fn cluster(&self) -> &'a str {
        self.request.param(0)
    }

    /// What stands behind the cluster in the path.
    fn item(&self) -> &'a str {
        self.request.param(1)
    }
}

type Run = fn(&mut EksStore, &Call<'_>) -> Outcome;

/// An operation, and the method and path it is found by.
#[derive(Debug, Clone, Copy)]
struct Operation {
    name: &'static str,
    method: &'static str,
    /// Its parameters are in braces.
    path: &'static str,
    about: About,
    /// The parameter with a role that is handed over, and to which service.
    passes: Option<(&'static str, &'static str)>,
    run: Run,
}

/// What an operation is about, which is what it is authorised on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Nothing,
    /// All clusters of the region.
    Clusters,
    /// The one in the path.
    Cluster,
    NewCluster,
    Nodegroup,
    Addon,
    AccessEntry,
    Association,
    /// By ARN.
    Tagged,
}

const OPERATIONS: &[Operation] = &{
    use About::{AccessEntry, Addon, Association, Cluster, Clusters, NewCluster, Nodegroup, Nothing, Tagged};

    const fn op(
        name: &'static str,
        method: &'static str,
        path: &'static str,
        about: About,
        run: Run,
    ) -> Operation {
        Operation {
            name,
            method,
            path,
            about,
            passes: None,
            run,
        }
    }
    const fn passing(operation: Operation, parameter: &'static str, service: &'static str) -> Operation {
        Operation {
            passes: Some((parameter, service)),
            ..operation
        }
    }
    const EKS: &str = "eks.amazonaws.com";
    const PODS: &str = "pods.eks.amazonaws.com";

    [
        passing(
            op("CreateCluster", "POST", "/clusters", NewCluster, clusters::create),
            "roleArn",
            EKS,
        ),
        op("ListClusters", "GET", "/clusters", Clusters, clusters::list),
        op(
            "DescribeCluster",
            "GET",
            "/clusters/{name}",
            Cluster,
            clusters::describe,
        ),
        op(
            "DeleteCluster",
            "DELETE",
            "/clusters/{name}",
            Cluster,
            clusters::delete,
        ),
        op(
            "UpdateClusterConfig",
            "POST",
            "/clusters/{name}/update-config",
            Cluster,
            clusters::update_config,
        ),
        op(
            "UpdateClusterVersion",
            "POST",
            "/clusters/{name}/updates",
            Cluster,
            clusters::update_version,
        ),
        op(
            "ListUpdates",
            "GET",
            "/clusters/{name}/updates",
            Cluster,
            clusters::list_updates,
        ),
        op(
            "DescribeUpdate",
            "GET",
            "/clusters/{name}/updates/{id}",
            Cluster,
            clusters::describe_update,
        ),
        passing(
            op(
                "CreateNodegroup",
                "POST",
                "/clusters/{name}/node-groups",
                Cluster,
                nodegroups::create,
            ),
            "nodeRole",
            EKS,
        ),
        op(
            "ListNodegroups",
            "GET",
            "/clusters/{name}/node-groups",
            Cluster,
            nodegroups::list,
        ),
        op(
            "DescribeNodegroup",
            "GET",
            "/clusters/{name}/node-groups/{group}",
            Nodegroup,
            nodegroups::describe,
        ),
        op(
            "DeleteNodegroup",
            "DELETE",
            "/clusters/{name}/node-groups/{group}",
            Nodegroup,
            nodegroups::delete,
        ),
        op(
            "UpdateNodegroupConfig",
            "POST",
            "/clusters/{name}/node-groups/{group}/update-config",
            Nodegroup,
            nodegroups::update_config,
        ),
        passing(
            op(
                "CreateAddon",
                "POST",
                "/clusters/{name}/addons",
                Cluster,
                addons::create,
            ),
            "serviceAccountRoleArn",
            EKS,
        ),
        op(
            "ListAddons",
            "GET",
            "/clusters/{name}/addons",
            Cluster,
            addons::list,
        ),
        op(
            "DescribeAddon",
            "GET",
            "/clusters/{name}/addons/{addon}",
            Addon,
            addons::describe,
        ),
        op(
            "DeleteAddon",
            "DELETE",
            "/clusters/{name}/addons/{addon}",
            Addon,
            addons::delete,
        ),
        passing(
            op(
                "UpdateAddon",
                "POST",
                "/clusters/{name}/addons/{addon}/update",
                Addon,
                addons::update,
            ),
            "serviceAccountRoleArn",
            EKS,
        ),
        op(
            "DescribeAddonVersions",
            "GET",
            "/addons/supported-versions",
            Nothing,
            addons::versions,
        ),
        op(
            "CreateAccessEntry",
            "POST",
            "/clusters/{name}/access-entries",
            Cluster,
            access::create,
        ),
        op(
            "ListAccessEntries",
            "GET",
            "/clusters/{name}/access-entries",
            Cluster,
            access::list,
        ),
        op(
            "DescribeAccessEntry",
            "GET",
            "/clusters/{name}/access-entries/{principal}",
            AccessEntry,
            access::describe,
        ),
        op(
            "UpdateAccessEntry",
            "POST",
            "/clusters/{name}/access-entries/{principal}",
            AccessEntry,
            access::update,
        ),
        op(
            "DeleteAccessEntry",
            "DELETE",
            "/clusters/{name}/access-entries/{principal}",
            AccessEntry,
            access::delete,
        ),
        op(
            "AssociateAccessPolicy",
            "POST",
            "/clusters/{name}/access-entries/{principal}/access-policies",
            AccessEntry,
            access::associate,
        ),
        op(
            "ListAssociatedAccessPolicies",
            "GET",
            "/clusters/{name}/access-entries/{principal}/access-policies",
            AccessEntry,
            access::associated,
        ),
        op(
            "DisassociateAccessPolicy",
            "DELETE",
            "/clusters/{name}/access-entries/{principal}/access-policies/{policy}",
            AccessEntry,
            access::disassociate,
        ),
        op(
            "ListAccessPolicies",
            "GET",
            "/access-policies",
            Nothing,
            access::policies,
        ),
        passing(
            op(
                "CreatePodIdentityAssociation",
                "POST",
                "/clusters/{name}/pod-identity-associations",
                Cluster,
                associations::create,
            ),
            "roleArn",
            PODS,
        ),
        op(
            "ListPodIdentityAssociations",
            "GET",
            "/clusters/{name}/pod-identity-associations",
            Cluster,
            associations::list,
        ),
        op(
            "DescribePodIdentityAssociation",
            "GET",
            "/clusters/{name}/pod-identity-associations/{id}",
            Association,
            associations::describe,
        ),
        passing(
            op(
                "UpdatePodIdentityAssociation",
                "POST",
                "/clusters/{name}/pod-identity-associations/{id}",
                Association,
                associations::update,
            ),
            "roleArn",
            PODS,
        ),
        op(
            "DeletePodIdentityAssociation",
            "DELETE",
            "/clusters/{name}/pod-identity-associations/{id}",
            Association,
            associations::delete,
        ),
        op("TagResource", "POST", "/tags/{arn}", Tagged, tags::tag),
        op("UntagResource", "DELETE", "/tags/{arn}", Tagged, tags::untag),
        op("ListTagsForResource", "GET", "/tags/{arn}", Tagged, tags::list),
    ]
};

/// The ARN that `request` is authorised on: that of the thing, or the one that it would have.
fn resource(store: &EksStore, region: &str, request: &Request) -> Result<String, EksError> {
    let cluster = || request.param(0);
    let found = |of: fn(&Cluster, &str) -> Option<String>| {
        store
            .find(region, cluster())
            .and_then(|cluster| of(cluster, request.param(1)))
    };
    // For something that does not exist, a suffix that nothing has and every pattern for any suffix matches.
    let of = |kind: &str| {
        store.arn(
            region,
            &format!("{kind}/{}/{}/??????", cluster(), request.param(1)),
        )
    };
    Ok(match request.target().about {
        About::Nothing => "*".to_owned(),
        About::Clusters => store.arn(region, "cluster/*"),
        About::Cluster => store.arn(region, &format!("cluster/{}", cluster())),
        About::NewCluster => store.arn(region, &format!("cluster/{}", clusters::name(request.body())?)),
        About::Nodegroup => found(|cluster, name| Some(cluster.nodegroups.get(name)?.arn.clone()))
            .unwrap_or_else(|| of("nodegroup")),
        About::Addon => {
            found(|cluster, name| Some(cluster.addons.get(name)?.arn.clone())).unwrap_or_else(|| of("addon"))
        }
        About::AccessEntry => found(|cluster, principal| Some(cluster.access.get(principal)?.arn.clone()))
            .unwrap_or_else(|| access::arn(store, region, cluster(), request.param(1), "??????")),
        About::Association => {
            let id = request.param(1);
            store.arn(region, &format!("podidentityassociation/{}/{id}", cluster()))
        }
        About::Tagged => request.param(0).to_owned(),
    })
}

/// The tags of what `request` is about, as far as it exists.
fn existing_tags(
    store: &EksStore,
    region: &str,
    request: &Request,
    resource: &str,
) -> BTreeMap<String, String> {
    let cluster = match request.target().about {
        About::Nothing | About::Clusters | About::NewCluster => return BTreeMap::new(),
        About::Tagged => tags::cluster_of(resource),
        _ => Some(request.param(0)),
    };
    let cluster = cluster.and_then(|name| store.find(region, name));
    cluster
        .and_then(|cluster| cluster.tags(resource))
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
