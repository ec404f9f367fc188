//! Driver and provider from manifests, from a chart, and from an image that is nowhere.

use std::process::Command;

use serde_json::Value;

use crate::{
    Case,
    support::{Place, verdicts},
    world::{Before, images, run, said},
};

pub(crate) const CASES: &[Case] = &[
    (
        "manifests_by_path_are_installed_and_the_report_says_what_is_there",
        manifests_are_installed,
    ),
    (
        "an_image_that_is_nowhere_is_named_before_the_deadline_and_nothing_is_left",
        missing_image_is_named,
    ),
    (
        "an_upgrade_is_tried_before_in_its_middle_and_after_it_with_pods_mounted",
        upgrade_is_tried_in_three_phases,
    ),
];

/// Those that need the program helm, which `MOUNTPROOF_HELM` names where it is not in `PATH`.
pub(crate) const WITH_HELM: &[Case] = &[(
    "a_chart_is_rendered_and_installed_object_by_object",
    chart_is_installed,
)];

/// What the machine lacks for those.
pub(crate) fn helm_lacking() -> Option<&'static str> {
    let helm = std::env::var_os("MOUNTPROOF_HELM").unwrap_or_else(|| "helm".into());
    let answers = Command::new(helm).arg("version").output();
    (!answers.is_ok_and(|said| said.status.success())).then_some("helm")
}

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

fn manifests_are_installed() {
    let before = Before::look();
    let place = Place::new();
    let driver = format!("{FIXTURES}/installation/driver-1.6.yaml");
    let provider = format!("{FIXTURES}/installation/provider-3.1.yaml");
    run(
        &place,
        &[
            "--driver-manifests",
            &driver,
            "--provider-manifests",
            &provider,
            "positive",
            "rotation",
        ],
    )
    .exits(0);
    let results = place.results();
    for (case, verdict) in verdicts(&results) {
        assert_eq!(verdict, "passed", "{case}");
    }
    let installed = &results["environment"]["installed"];
    let [driver_part, provider_part] = &installed["parts"].as_array().unwrap()[..] else {
        panic!("{installed}")
    };
    assert_eq!(driver_part["origin"], driver.as_str());
    assert_eq!(
        provider_part["daemon_set"],
        "kube-system/csi-secrets-store-provider-aws"
    );
    for part in [driver_part, provider_part] {
        for image in part["images"].as_array().unwrap() {
            let digest = image["digests"][0].as_str().unwrap_or_default();
            assert!(digest.starts_with("sha256:"), "{image}");
        }
    }
    assert!(
        has(&driver_part["flags"], "--enable-secret-rotation=true"),
        "{driver_part}"
    );
    assert!(
        has(&driver_part["remarks"], "--enable-secret-rotation=true set"),
        "{driver_part}"
    );
    let roles = driver_part["roles"].as_array().unwrap();
    let role = roles
        .iter()
        .find(|role| role["role"] == "ClusterRole secretproviderclasses-role");
    assert!(has(&role.unwrap()["rules"], "get, list, watch pods"), "{roles:?}");
    assert_eq!(installed["csi_driver"]["requiresRepublish"], true);
    before.is_as_it_was(&place);
}

fn missing_image_is_named() {
    let before = Before::look();
    let place = Place::new();
    run(
        &place,
        &[
            "--driver-image",
            "localhost/mountproof-nowhere:v1.6.0",
            "positive",
        ],
    )
    .exits(3)
    .says(&[
        "the image localhost/mountproof-nowhere:v1.6.0",
        "cannot be pulled",
        "--driver-image",
    ]);
    let results = place.results();
    // Kubelet's first two tries are waited for, and not the whole deadline.
    let took = results["took_us"].as_u64().unwrap();
    let told = results["warnings"].to_string();
    assert!(
        told.contains("cannot be pulled") && !told.contains("after 300s"),
        "{took}: {told}"
    );
    before.is_as_it_was(&place);
}

fn chart_is_installed() {
    let before = Before::look();
    let place = Place::new();
    let chart = format!("{FIXTURES}/charts/driver");
    run(&place, &["--driver-chart", &chart, "positive"]).exits(0);
    let installed = &place.results()["environment"]["installed"];
    let driver = &installed["parts"][0];
    assert_eq!(
        driver["origin"],
        format!("chart small-driver 0.1.0 ({chart})").as_str()
    );
    assert_eq!(driver["daemon_set"], "kube-system/small-driver");
    // What it was given, and what came of that before anything was set for the run.
    let rendered = &driver["chart"];
    assert_eq!(
        (&rendered["name"], &rendered["version"]),
        (&"small-driver".into(), &"0.1.0".into())
    );
    assert_eq!(rendered["values"]["syncSecret.enabled"], true, "{rendered}");
    assert!(
        has(&rendered["flags"], "--rotation-poll-interval=2s"),
        "{rendered}"
    );
    assert!(has(&driver["flags"], "--rotation-poll-interval=2s"), "{driver}");
    assert_eq!(
        installed["csi_driver"]["tokenRequests"][0]["audience"],
        "sts.amazonaws.com"
    );
    before.is_as_it_was(&place);
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().unwrap().iter().any(|entry| entry == text)
}

/// The stand-ins under tags that say the next patch, with whatever is not the stand-in's own kept as it was.
fn upgrade_is_tried_in_three_phases() {
    let before = Before::look();
    let place = Place::new();
    let next = |flag: &str, tag: &str| {
        let images = images();
        let at = images.iter().position(|argument| argument == flag).unwrap();
        let (name, _) = images[at + 1].rsplit_once(':').unwrap();
        let image = format!("{name}:{tag}");
        said("docker", ["tag", &images[at + 1], &image]);
        image
    };
    let (driver, provider) = (next("--driver-image", "1.6.1"), next("--provider-image", "3.1.2"));
    let then = format!("driver={driver},provider={provider}");
    run(&place, &["--then", &then, "positive"]).exits(0);
    let results = place.results();
    let verdicts = verdicts(&results);
    for case in ["kept-mounts[team-red]", "positive[team-blue]"] {
        for phase in ["before", "during", "after"] {
            let name = format!("{case}@{phase}");
            let verdict = verdicts.iter().find(|(case, _)| *case == name);
            assert_eq!(
                verdict.map(|(_, verdict)| verdict.as_str()),
                Some("passed"),
                "{name}"
            );
        }
    }
    let phases = results["phases"].as_array().unwrap();
    assert_eq!(phases.len(), 3);
    // One node: half is the driver.
    let half = phases[1]["began"]["said"].as_str().unwrap();
    assert!(
        half.contains("driver 1.6.1 is new, provider 3.1.1 is old"),
        "{half}"
    );
    for phase in &phases[1..] {
        let gap = &phase["gaps"][0];
        assert_eq!(gap["started"], gap["mounted"], "{gap}");
        assert!(gap["longest_gap_us"].as_u64().unwrap() > 0, "{gap}");
        assert_eq!(gap["lasting"], false, "{gap}");
    }
    let part = &phases[2]["began"]["installed"]["parts"][1];
    assert_eq!(
        (&part["version"], &part["part"]),
        (&"3.1.2".into(), &"provider".into())
    );
    before.is_as_it_was(&place);
}
