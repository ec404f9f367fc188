//! The driver by a Helm chart: what it was given and what it made of that is in the plan and in every report.
//!
//! The program `helm` is the one that `MOUNTPROOF_HELM` names, and where none does a script that can render this one chart.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::{Value, json};

use crate::{
    site::{CREATE, Site},
    support::verdicts,
};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/charts/driver");
/// As `helm show chart CHART` and `helm template NAME CHART ..` answer, with the values that mountproof gives.
const SCRIPT: &str = r#"#!/bin/sh
if [ "$1" = show ]; then exec cat "$3/Chart.yaml"; fi
exec sed -e '/{{-/d' \
  -e 's/{{ .Release.Name }}/small-driver/; s/{{ .Release.Namespace }}/kube-system/' \
  -e 's/{{ toJson .Values.tokenRequests }}/[{"audience":"sts.amazonaws.com"},{"audience":"pods.eks.amazonaws.com"}]/' \
  -e 's/{{ .Values.enableSecretRotation }}/true/; s/{{ .Values.rotationPollInterval }}/2s/' \
  -e 's|{{ .Values.image }}|registry.k8s.io/csi-secrets-store/driver:v1.6.0|' \
  -e 's|{{ .Values.registrar }}|registry.k8s.io/sig-storage/csi-node-driver-registrar:v2.16.0|' \
  "$3/templates/driver.yaml"
"#;

/// What names the chart, and the program that renders it.
fn flags(site: &Site) -> [String; 4] {
    let helm = std::env::var("MOUNTPROOF_HELM").unwrap_or_else(|_| {
        let path = site.place.path("helm");
        fs::write(&path, SCRIPT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_string_lossy().into_owned()
    });
    ["--helm", &helm, "--driver-chart", CHART].map(str::to_owned)
}

#[test]
fn what_a_chart_was_given_and_what_came_of_it_is_told() {
    let site = Site::start();
    let flags = flags(&site);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let told = [
        "chart: small-driver 0.1.0 from",
        "enableSecretRotation=true",
        "syncSecret.enabled=true",
        "rendered image: store: registry.k8s.io/csi-secrets-store/driver:v1.6.0",
        "--rotation-poll-interval=2s",
        "rendered objects: CSIDriver secrets-store.csi.k8s.io, ",
    ];
    let plan = ["plan", "positive"]
        .into_iter()
        .chain(CREATE[1..].iter().copied());
    let plan: Vec<&str> = plan.chain(flags.iter().copied()).collect();
    site.run(&plan).exits(0).prints(&told);
    site.assert_empty();

    site.create(&[&flags[..], &["positive", "synced-secret-kept"]].concat())
        .exits(0)
        .says(&["nothing left behind"]);
    let results = site.place.results();
    for (case, verdict) in verdicts(&results) {
        assert_eq!(verdict, "passed", "{case}");
    }
    let chart = &results["environment"]["installed"]["parts"][0]["chart"];
    assert_eq!(
        (&chart["name"], &chart["version"], &chart["from"]),
        (&json!("small-driver"), &json!("0.1.0"), &json!(CHART))
    );
    assert_eq!(chart["values"]["syncSecret.enabled"], true, "{chart}");
    let has = |list: &Value, text: &str| list.as_array().unwrap().iter().any(|entry| entry == text);
    assert!(has(&chart["flags"], "--rotation-poll-interval=2s"), "{chart}");
    assert!(
        has(&chart["objects"], "DaemonSet kube-system/small-driver"),
        "{chart}"
    );
    for report in ["summary.md", "report.html"] {
        let text = fs::read_to_string(site.place.only_run().join(report)).unwrap();
        assert!(text.contains("syncSecret.enabled=true"), "{report}");
    }
    site.assert_empty();
}

#[test]
fn a_driver_that_may_write_no_secrets_is_not_blamed_for_that() {
    let site = Site::start();
    let text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/installation/driver-1.6.yaml"
    ));
    // As its chart makes it without syncSecret.enabled.
    let text = text.unwrap();
    let without = text
        .split("\n---\n")
        .filter(|object| !object.contains("name: secretprovidersyncing-role"));
    let without: Vec<&str> = without.collect();
    assert!(without.len() < text.split("\n---\n").count());
    fs::write(site.place.path("driver.yaml"), without.join("\n---\n")).unwrap();
    site.create(&[
        "--driver-manifests",
        "driver.yaml",
        "positive",
        "synced-secret",
        "synced-secret-kept",
    ])
    .exits(0)
    .says(&[
        "may not create, get, list, patch, watch, update Secrets",
        "syncSecret.enabled=true",
    ]);
    for (case, verdict) in verdicts(&site.place.results()) {
        let expected = if case.starts_with("synced") {
            "not-supported"
        } else {
            "passed"
        };
        assert_eq!(verdict, expected, "{case}");
    }
    site.assert_empty();
}
