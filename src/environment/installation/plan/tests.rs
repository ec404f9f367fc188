#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use mountproof_releases::Repositories;

use super::*;
use crate::environment::installation::{
    builtin,
    manifest::documents,
    options::{PartOptions, PartSource},
};

const WAY: fn() -> AwsWay = || AwsWay {
    proxy: "http://172.18.0.1:4000".to_owned(),
    trust_pem: "PEM".to_owned(),
    region: "eu-west-1".to_owned(),
};

fn own(part: Part, version: &str) -> PartManifests {
    let asked = PartOptions::own(part, Some(version.to_owned()), None, &Repositories::default()).unwrap();
    let PartSource::Own(chosen) = asked.source else {
        panic!("others than ours")
    };
    PartManifests {
        part,
        origin: "ours".to_owned(),
        documents: documents(chosen.own.text, "ours").unwrap(),
        own: true,
        image: Some(builtin::image(part, &Repositories::default(), version)),
        version: Some(version.to_owned()),
        remarks: Vec::new(),
        chart: None,
    }
}

fn brought(part: Part, text: &str) -> PartManifests {
    PartManifests {
        part,
        origin: "theirs.yaml".to_owned(),
        documents: documents(text, "theirs.yaml").unwrap(),
        own: false,
        image: None,
        version: None,
        remarks: Vec::new(),
        chart: None,
    }
}

fn planned(driver: PartManifests, provider: PartManifests) -> Result<Installation, PlanError> {
    let (marks, way) = (Marks::of_run("7f3k"), WAY());
    let settings = Settings {
        marks: &marks,
        way: Some(&way),
        rotation: Duration::from_millis(2500),
        provider_qps: 500,
        registrar: Some("registrar:now"),
    };
    plan(driver, provider, settings)
}

fn pod(installation: &Installation, part: Part) -> &Value {
    let daemon_set = installation.object("DaemonSet", &installation.of(part).daemon_set.name);
    &daemon_set.unwrap()["spec"]["template"]["spec"]
}

const VERSIONS: [(&str, &str); 3] = [("1.6.0", "3.1.1"), ("1.5.6", "3.0.1"), ("1.4.8", "2.1.1")];

#[test]
fn our_manifests_of_every_generation_make_a_whole() {
    for (driver, provider) in VERSIONS {
        let installation = planned(own(Part::Driver, driver), own(Part::Provider, provider)).unwrap();
        for part in Part::ALL {
            let placed = installation.of(part);
            let spec = pod(&installation, part);
            let names = |list: &Value| -> BTreeSet<String> {
                let entries = list.as_array().into_iter().flatten();
                entries
                    .map(|entry| entry["name"].as_str().unwrap().to_owned())
                    .collect()
            };
            let containers = spec["containers"].as_array().unwrap();
            let mounts: BTreeSet<String> = containers
                .iter()
                .flat_map(|container| names(&container["volumeMounts"]))
                .collect();
            assert_eq!(mounts, names(&spec["volumes"]), "{part} {driver} {provider}");
            // The account that its pods run as is there, and every role that is given to it.
            assert!(installation.object("ServiceAccount", &placed.account).is_some());
            for binding in &installation.objects {
                if binding["kind"] == "ClusterRoleBinding" {
                    let role = binding["roleRef"]["name"].as_str().unwrap();
                    assert!(installation.object("ClusterRole", role).is_some(), "{role}");
                }
            }
            assert!(
                placed
                    .remarks
                    .iter()
                    .all(|remark| !remark.contains("in the place of"))
            );
        }
        assert_eq!(installation.driver.version, driver);
        assert_eq!(installation.provider.version, provider);
    }
}

#[test]
fn a_release_may_do_what_it_needs_and_no_more() {
    let may_ask_for_tokens = |installation: &Installation, account: &str| {
        installation.objects.iter().any(|object| {
            let given = object["kind"] == "ClusterRoleBinding" && object["subjects"][0]["name"] == account;
            let role = installation.object(
                "ClusterRole",
                object["roleRef"]["name"].as_str().unwrap_or_default(),
            );
            given && role.is_some_and(|role| role.to_string().contains("serviceaccounts/token"))
        })
    };
    // Driver 1.6.0 and provider 3.0.0 are brought the tokens by kubelet.
    for (driver, provider, asks) in [
        ("1.6.0", "3.1.1", [false, false]),
        ("1.5.6", "3.0.1", [true, false]),
        ("1.4.8", "2.1.1", [true, true]),
    ] {
        let installation = planned(own(Part::Driver, driver), own(Part::Provider, provider)).unwrap();
        let seen = Part::ALL.map(|part| may_ask_for_tokens(&installation, &installation.of(part).account));
        assert_eq!(seen, asks, "{driver} {provider}");
    }
}

#[test]
fn what_a_run_needs_is_filled_in() {
    let installation = planned(own(Part::Driver, "1.5.2"), own(Part::Provider, "3.1.1")).unwrap();
    let driver = pod(&installation, Part::Driver);
    let container = &driver["containers"][0];
    assert_eq!(
        container["image"],
        "registry.k8s.io/csi-secrets-store/driver:v1.5.2"
    );
    assert_eq!(
        container::flag(container, "rotation-poll-interval").unwrap(),
        "2.5s"
    );
    assert_eq!(
        container::flag(container, "enable-secret-rotation").unwrap(),
        "true"
    );
    assert_eq!(driver["containers"][1]["image"], "registrar:now");
    let provider = pod(&installation, Part::Provider);
    let container = &provider["containers"][0];
    assert_eq!(container::flag(container, "qps").unwrap(), "500");
    let env = |name: &str| {
        let env = container["env"].as_array().unwrap().iter();
        env.clone().find(|entry| entry["name"] == name).unwrap()["value"].clone()
    };
    assert_eq!(env("HTTPS_PROXY"), "http://172.18.0.1:4000");
    assert_eq!(env("SSL_CERT_FILE"), "/etc/mountproof/ca.pem");
    let trust = installation.object("ConfigMap", "mountproof-aws-trust").unwrap();
    assert_eq!(trust["data"]["ca.pem"], "PEM");
    // The object that belongs to the driver's generation.
    let csi_driver = installation.object("CSIDriver", tenant::CSI_DRIVER).unwrap();
    assert_eq!(csi_driver["spec"]["requiresRepublish"], Value::Null);
    assert_eq!(
        installation.images(),
        [
            "registry.k8s.io/csi-secrets-store/driver:v1.5.2",
            "registrar:now",
            "public.ecr.aws/aws-secrets-manager/secrets-store-csi-driver-provider-aws:3.1.1"
        ]
    );
}

#[test]
fn only_the_driver_is_privileged() {
    let installation = planned(own(Part::Driver, "1.6.0"), own(Part::Provider, "3.1.1")).unwrap();
    let privileged = |part| {
        pod(&installation, part)
            .to_string()
            .contains("\"privileged\":true")
    };
    assert_eq!(Part::ALL.map(privileged), [true, false]);
}

#[test]
fn what_others_need_is_made_first_and_what_is_on_record_carries_the_runs_label() {
    let installation = planned(own(Part::Driver, "1.6.0"), own(Part::Provider, "3.1.1")).unwrap();
    let kinds: Vec<&str> = installation
        .objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    let at = |kind: &str| kinds.iter().position(|found| *found == kind).unwrap();
    assert!(
        at("ServiceAccount") < at("ClusterRole") && at("ConfigMap") < at("DaemonSet"),
        "{kinds:?}"
    );
    for object in &installation.objects {
        let run = &object["metadata"]["labels"]["mountproof.dev/run"];
        assert_eq!(*run == "7f3k", is_one_for_all(object), "{object}");
    }
}

/// What somebody's own installation may look like.
const THEIRS: &str = r#"
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: { name: secrets-store.csi.k8s.io }
spec: { podInfoOnMount: true, attachRequired: false, volumeLifecycleModes: [Ephemeral], tokenRequests: [{ audience: other }] }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: windows, namespace: store }
spec: { template: { spec: { nodeSelector: { kubernetes.io/os: windows }, containers: [{ name: d, image: d, args: [--endpoint=x, --nodeid=y] }] } } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: theirs, namespace: store, labels: { app.kubernetes.io/version: 1.6.3 } }
spec: { template: { spec: { serviceAccountName: them, containers: [
  { name: probe, image: livenessprobe, args: [--http-endpoint=:9808] },
  { name: d, image: "mirror.example/d@sha256:00", imagePullPolicy: Always, args: [--endpoint=x, --nodeid=y, --enable-secret-rotation=false] }] } } }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: theirs-too }
spec: { template: { spec: { containers: [{ name: p, image: "mirror.example/p:3.1.1", args: [--provider-volume=/p] }] } } }
"#;

#[test]
fn parts_are_found_in_others_manifests_by_their_containers() {
    let installation = planned(brought(Part::Driver, THEIRS), brought(Part::Provider, THEIRS)).unwrap();
    let Placed {
        daemon_set,
        container,
        account,
        version,
        remarks,
        ..
    } = &installation.driver;
    assert_eq!(daemon_set.to_string(), "DaemonSet store/theirs");
    assert_eq!(
        (container.as_str(), account.as_str(), version.as_str()),
        ("d", "them", "1.6.3")
    );
    let said = remarks.join("; ");
    for change in [
        "--enable-secret-rotation=true set",
        "tokenRequests for sts.amazonaws.com added",
        "requiresRepublish set",
        "DaemonSet kube-system/theirs-too is left out",
    ] {
        assert!(said.contains(change), "{change}: {said}");
    }
    assert_eq!(
        installation.provider.daemon_set.to_string(),
        "DaemonSet kube-system/theirs-too"
    );
    assert_eq!(installation.provider.version, "3.1.1");
    // Theirs, once, and not ours beside it.
    let objects = installation.objects.iter();
    let csi_drivers: Vec<&Value> = objects.filter(|object| object["kind"] == "CSIDriver").collect();
    let [csi_driver] = csi_drivers[..] else {
        panic!("{csi_drivers:?}")
    };
    assert_eq!(
        csi_driver["spec"]["tokenRequests"],
        json!([
            { "audience": "other" },
            { "audience": "sts.amazonaws.com" },
            { "audience": "pods.eks.amazonaws.com" },
        ])
    );
    assert_eq!(csi_driver["spec"].get("serviceAccountTokenInSecrets"), None);
    // What is not the driver's container is left as it is.
    assert_eq!(
        pod(&installation, Part::Driver)["containers"][0]["image"],
        "livenessprobe"
    );
}

#[test]
fn manifests_without_the_part_are_refused_with_what_is_in_them() {
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: a }\n";
    let error = planned(brought(Part::Driver, account), own(Part::Provider, "3.1.1")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "theirs.yaml: no DaemonSet has a container of the driver (one with the flags --endpoint and --nodeid); there are: \
         ServiceAccount kube-system/a"
    );
    let error = planned(own(Part::Driver, "1.6.0"), brought(Part::Provider, "")).unwrap_err();
    assert!(
        error.to_string().ends_with("there are: no objects at all"),
        "{error}"
    );
    let twice = format!("{THEIRS}---\n{}", THEIRS.replace("theirs", "again"));
    let error = planned(brought(Part::Driver, &twice), own(Part::Provider, "3.1.1")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("DaemonSet store/theirs, DaemonSet store/again"),
        "{error}"
    );
}

#[test]
fn a_provider_is_started_with_no_flag_that_it_does_not_know() {
    let first = "public.ecr.aws/x/secrets-store-csi-driver-provider-aws:1.0.r2-6-gee95299-2022.04.14.21.07";
    for (image, own, limits) in [
        (first, "", false),
        (first, ", --qps=5", true),
        ("registry.example/provider-aws:2.1.1", "", true),
        ("registry.example/provider-aws:local", "", true),
    ] {
        let text = format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{ name: p }}\nspec: {{ template: {{ spec: {{ containers: [\
             {{ name: p, image: '{image}', args: [--provider-volume=/v{own}] }}] }} }} }}\n"
        );
        let planned = planned(self::own(Part::Driver, "1.6.0"), brought(Part::Provider, &text)).unwrap();
        let flags = container::arguments(&pod(&planned, Part::Provider)["containers"][0]);
        assert_eq!(
            flags.contains(&"--qps=500".to_owned()),
            limits,
            "{image}{own}: {flags:?}"
        );
        let told = planned
            .provider
            .remarks
            .iter()
            .any(|remark| remark.contains("--qps, which is left out"));
        assert_eq!(told, !limits, "{:?}", planned.provider.remarks);
    }
}
