//! Add-ons in a cluster that is a team's own: what the run has EKS install goes with it, what the cluster has stays.

use mountproof::environment::eks::{POD_IDENTITY_ADDON, PROVIDER_ADDON};
use serde_json::json;

use crate::{
    site::{Site, USE},
    support::verdicts,
};

#[test]
fn driver_provider_and_pod_identity_come_as_add_ons_and_go_with_the_run() {
    let site = Site::start();
    site.teams_cluster(&[]);
    let before = (site.everything(), site.objects());
    let addons = ["--addon", PROVIDER_ADDON, "--addon", POD_IDENTITY_ADDON];
    site.run(&[&USE[..], &addons, &["--identity", "both", "positive"]].concat())
        .exits(0)
        .says(&["nothing left behind"]);
    let verdicts = verdicts(&site.place.results());
    assert!(
        verdicts.iter().any(|(case, _)| case.contains("pod-identity")),
        "{verdicts:?}"
    );
    for (case, verdict) in verdicts {
        assert_eq!(verdict, "passed", "{case}");
    }
    let summary = std::fs::read_to_string(site.place.only_run().join("summary.md")).unwrap();
    assert!(
        summary.contains("the EKS add-on"),
        "whose driver it was: {summary}"
    );
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn an_add_on_that_is_there_already_is_never_touched() {
    let site = Site::start();
    site.teams_cluster(&[PROVIDER_ADDON]);
    let before = (site.everything(), site.objects());
    site.run(&[&USE[..], &["--addon", PROVIDER_ADDON, "positive"]].concat())
        .exits(3)
        .says(&[
            "the cluster prod has the add-on aws-secrets-store-csi-driver-provider",
            "leave --addon aws-secrets-store-csi-driver-provider out",
            "nothing left behind",
        ]);
    assert_eq!((site.everything(), site.objects()), before);
}

#[test]
fn a_driver_that_is_there_is_not_run_over_by_an_add_on() {
    let site = Site::start();
    site.teams_cluster(&[]);
    site.make(&json!({
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": { "name": "csi-secrets-store", "namespace": "kube-system" },
        "spec": {
            "selector": { "matchLabels": { "app": "csi-secrets-store" } },
            "template": {
                "metadata": { "labels": { "app": "csi-secrets-store" } },
                "spec": { "containers": [{
                    "name": "secrets-store",
                    "image": "registry.k8s.io/csi-secrets-store/driver:v1.6.0",
                    "args": ["--endpoint=unix:///csi/csi.sock", "--nodeid=node", "--provider-volume=/provider"],
                }] },
            },
        },
    }));
    let before = site.everything();
    site.run(&[&USE[..], &["--addon", PROVIDER_ADDON, "positive"]].concat())
        .exits(3)
        .says(&[
            "the add-on aws-secrets-store-csi-driver-provider brings a driver, and there is one already",
            "kube-system/csi-secrets-store",
            "nothing left behind",
        ]);
    assert_eq!(site.everything(), before);
}
