//! What stands in the way of an installation is said before a cluster is made, and nothing is left.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::support::{Place, verdicts};

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_made() {
    let place = Place::new();
    let write = |name: &str, text: &str| fs::write(place.path(name), text).unwrap();
    write("torn.yaml", "apiVersion: v1\nkind: Pod\nmetadata: { name: [a }\n");
    write(
        "nameless.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n---\napiVersion: v1\nkind: Pod\n",
    );
    for (arguments, said) in [
        (
            &["--driver-version", "1.2.0"][..],
            "no version of the driver that mountproof has manifests for",
        ),
        (
            &["--provider-version", "1.0.1"],
            "--provider-manifests for another one",
        ),
        (
            &["--driver-image", "my/driver:v1.3.4"],
            "no version of the driver",
        ),
        (
            &["--driver-manifests", "none.yaml"],
            "--driver-manifests: cannot read `none.yaml`",
        ),
        (&["--driver-manifests", "torn.yaml"], "torn.yaml:3: no YAML"),
        (
            &["--provider-manifests", "nameless.yaml"],
            "nameless.yaml:5: no object of Kubernetes: it has no metadata.name",
        ),
        (
            &["--driver-chart", "driver"],
            "--driver-chart: \"driver\" is a name",
        ),
        (
            &["--driver-chart", "./driver"],
            "--driver-chart: there is no chart at ./driver",
        ),
        (
            &["--provider-chart", "./torn.yaml", "--provider-values", "none"],
            "--provider-values: there is no file none",
        ),
        (&["--driver-image", "docker://a:b"], "has a scheme"),
        (
            &["--provider-image", "./none.tar"],
            "--provider-image: there is no file ./none.tar",
        ),
        (
            &["--driver-chart", "./a", "--driver-manifests", "b"],
            "cannot be used with",
        ),
        (
            &["--then", "1.6.0"],
            "names no part: write driver=.. or provider=..",
        ),
        (&["--then", "driver=1.2.0"], "--then: "),
        (&["--then", "driver=1.6.0", "--reuse"], "cannot be used with"),
        (&["--driver-values", "a"], "--driver-chart"),
    ] {
        let mut all = vec!["run", "--env", "kind", "positive"];
        all.extend(arguments);
        place.run(&all).exits(2).says(&[said]);
    }
    place
        .run(&["run", "positive", "--driver-chart", "./a"])
        .exits(2)
        .says(&["--driver-chart is for the nodes of a cluster: add --env kind, --env cluster or --env eks"]);
    place
        .run(&["run", "positive", "--then", "driver=1.6.0"])
        .exits(2)
        .says(&["--then is for the nodes of a cluster: add --env kind, --env cluster or --env eks"]);
    assert!(place.runs().is_empty());
}

#[test]
fn what_cannot_be_installed_needs_no_cluster_and_leaves_nothing() {
    let helm = |place: &Place, line: &str| {
        let path = place.path("helm");
        fs::write(&path, format!("#!/bin/sh\n{line}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path("chart")).unwrap();
    };
    let shows = "test \"$1\" != show || { echo 'name: driver'; echo 'version: 1.6.0'; exit; }";
    let refuses = format!(
        "{shows}\necho 'Error: execution error at (driver/a.yaml:1:4): a region is needed' >&2; exit 1"
    );
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a }\n";
    for (line, arguments, said) in [
        (
            refuses.as_str(),
            &["--driver-chart", "./chart", "--helm", "./helm"][..],
            &[
                "helm template of the chart ./chart failed",
                "a region is needed",
                "--..-values FILE",
            ][..],
        ),
        (
            "echo 'Error: Chart.yaml file is missing' >&2; exit 1",
            &["--provider-chart", "./chart", "--helm", "./helm"],
            &["helm show chart", "name the folder that has Chart.yaml"],
        ),
        (
            "true",
            &["--driver-chart", "./chart", "--helm", "./no-helm"],
            &["./no-helm cannot be run", "--helm PROGRAM", "--driver-manifests"],
        ),
        (
            "true",
            &["--driver-manifests", "account.yaml"],
            &[
                "account.yaml: no DaemonSet has a container of the driver",
                "ServiceAccount kube-system/a",
            ],
        ),
        (
            "true",
            &["--provider-manifests", "http://127.0.0.1:9/p.yaml"],
            &["http://127.0.0.1:9/p.yaml cannot be fetched", "give a file"],
        ),
        (
            "true",
            &["--driver-image", "./account.yaml"],
            &[
                "cannot start the driver: ./account.yaml: it cannot be read",
                "save the image again",
            ],
        ),
    ] {
        let place = Place::new();
        helm(&place, line);
        fs::write(place.path("account.yaml"), account).unwrap();
        let mut all = vec!["run", "--env", "kind", "--aws", "embedded", "positive"];
        all.extend(arguments);
        place.run(&all).exits(3).says(said);
        let results = place.results();
        assert_eq!(results["exit_code"], 3);
        for (case, verdict) in verdicts(&results) {
            assert_eq!(verdict, "errored", "{case}");
        }
        place.assert_nothing_left();
    }
}
