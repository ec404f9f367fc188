//! Faults of the endpoint that have something that EKS makes stuck, or fail.

use std::sync::Arc;

use mountproof::environment::{NodeOptions, StandInClusters};
use mountproof_aws_endpoint::Faults;
use serde_json::{Value, json};

use crate::site::Site;

async fn site() -> Site {
    Site::start(|ca| Arc::new(StandInClusters::new(ca, NodeOptions::default()))).await
}

fn faults(text: &str) -> Faults {
    Faults::parse(text).unwrap()
}

#[tokio::test]
async fn a_cluster_is_stuck_for_as_long_as_the_fault_is_there() {
    let site = site().await;
    site.endpoint.set_faults(faults("eks:cluster:stuck"));
    let stuck = site.cluster("demo", "CREATING").await;
    assert_eq!(stuck["endpoint"], Value::Null);
    site.endpoint.set_faults(faults("eks:nodegroup:stuck"));
    let there = site.once("demo", "ACTIVE").await;
    assert!(there["endpoint"].is_string(), "{there}");
    site.nodegroup(1, &json!({}), "CREATING").await;
    site.endpoint.set_faults(Faults::default());
    site.nodegroup_once("ACTIVE").await;
    site.endpoint.stop().await;
}

#[tokio::test]
async fn what_fails_has_the_code_of_the_fault_in_its_health() {
    let site = site().await;
    site.endpoint
        .set_faults(faults("eks:cluster:fails:Ec2SecurityGroupNotFound"));
    let failed = site.cluster("bad", "FAILED").await;
    assert_eq!(failed["health"]["issues"][0]["code"], "Ec2SecurityGroupNotFound");
    site.endpoint.set_faults(faults(
        "eks:nodegroup:fails:Ec2SubnetInvalidConfiguration\neks:addon:fails:InsufficientNumberOfReplicas",
    ));
    site.cluster("demo", "ACTIVE").await;
    let group = site.nodegroup(1, &json!({}), "CREATE_FAILED").await;
    let issue = &group["health"]["issues"][0];
    assert_eq!(
        (&issue["code"], &issue["resourceIds"]),
        (&json!("Ec2SubnetInvalidConfiguration"), &json!(["workers"]))
    );
    let addons = "/clusters/demo/addons";
    site.eks("POST", addons, &json!({ "addonName": "coredns" })).await;
    let addon = async || site.eks("GET", &format!("{addons}/coredns"), &Value::Null).await["addon"].clone();
    site.until("the add-on has failed", async || {
        addon().await["status"] == "CREATE_FAILED"
    })
    .await;
    let issue = addon().await["health"]["issues"][0]["code"].clone();
    assert_eq!(issue, "InsufficientNumberOfReplicas");

    // What has failed can be deleted, which nothing keeps.
    for path in [
        "/clusters/demo/node-groups/workers",
        "/clusters/demo/addons/coredns",
        "/clusters/bad",
    ] {
        site.eks("DELETE", path, &Value::Null).await;
        site.is_gone(path).await;
    }
    site.endpoint.stop().await;
}
