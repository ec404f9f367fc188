#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use super::*;
use crate::{
    environment::{
        installation::NoSync,
        standing::seen::{SeenCsiDriver, SeenNode},
    },
    kubernetes::ObjectRef,
    scenario::capability::{PROGRAM_LOGS, ROTATION, SECRET_SYNC},
};

fn part(part: Part, version: &str) -> SeenPart {
    SeenPart {
        part,
        daemon_set: ObjectRef::new("apps/v1", "DaemonSet", Some("kube-system"), part.name()),
        container: "c".to_owned(),
        account: "a".to_owned(),
        image: format!("registry.example/{part}:{version}"),
        version: version.to_owned(),
        managed: Managed::ByHand,
        arguments: Vec::new(),
        rotates: part == Part::Driver,
        poll_interval: Some("2s".to_owned()),
        verbosity: 5,
        wanted: 2,
        ready: 2,
        unready_on: Vec::new(),
        no_sync: None,
    }
}

fn node(name: &str) -> SeenNode {
    SeenNode {
        name: name.to_owned(),
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        ready: true,
        takes_pods: true,
    }
}

/// A cluster of two nodes with the newest of both, where nothing is wrong.
fn well() -> Sighting {
    Sighting {
        drivers: vec![part(Part::Driver, "1.6.0")],
        providers: vec![part(Part::Provider, "3.1.1")],
        csi_driver: Some(SeenCsiDriver {
            audiences: vec![AUDIENCE.to_owned(), POD_IDENTITY_AUDIENCE.to_owned()],
            republishes: true,
            attaches: false,
            pod_info: true,
            modes: vec!["Ephemeral".to_owned()],
            tokens_in_secrets: true,
            managed: Managed::ByHand,
        }),
        definitions: vec![
            "secretproviderclasses.secrets-store.csi.x-k8s.io".to_owned(),
            "secretproviderclasspodstatuses.secrets-store.csi.x-k8s.io".to_owned(),
        ],
        nodes: vec![node("n1"), node("n2")],
        registered: vec!["n1".to_owned(), "n2".to_owned()],
        kubernetes: "v1.36.3".to_owned(),
    }
}

const IRSA: Wanted = Wanted {
    install: false,
    replace: false,
    driver_named: false,
    provider_named: false,
    aws_is_ours: false,
    irsa: true,
    pod_identity: false,
    then_driver: false,
    then_provider: false,
};

/// What is changed in the cluster, and what is then said of it, with whether nothing can be run.
type Row = (
    &'static str,
    fn(&mut Sighting, &mut Wanted),
    Option<(bool, &'static str)>,
);

#[test]
fn what_is_not_as_it_should_be_is_named_before_anything_runs() {
    let rows: &[Row] = &[
        ("all is well", |_, _| {}, None),
        (
            "no provider",
            |seen, _| seen.providers.clear(),
            Some((true, "has the provider")),
        ),
        (
            "no driver",
            |seen, _| seen.drivers.clear(),
            Some((true, "has the driver")),
        ),
        (
            "no provider, to be installed",
            |seen, wanted| {
                seen.providers.clear();
                wanted.install = true;
            },
            None,
        ),
        (
            "two drivers",
            |seen, _| seen.drivers.push(part(Part::Driver, "1.5.6")),
            Some((true, "more than once")),
        ),
        (
            "another driver asked for",
            |_, wanted| {
                wanted.install = true;
                wanted.driver_named = true;
            },
            Some((true, "another driver was asked for")),
        ),
        (
            "another driver to follow one that is there",
            |_, wanted| wanted.then_driver = true,
            Some((true, "--then names another driver")),
        ),
        (
            "another provider to follow one that takes its place",
            |_, wanted| {
                wanted.replace = true;
                wanted.then_provider = true;
            },
            None,
        ),
        (
            "another one asked for, in the place of it",
            |_, wanted| {
                wanted.install = true;
                wanted.driver_named = true;
                wanted.replace = true;
            },
            None,
        ),
        (
            "to be replaced, and an add-on's",
            |seen, wanted| {
                seen.drivers[0].managed = Managed::EksAddon;
                wanted.install = true;
                wanted.replace = true;
            },
            Some((true, "would put it back")),
        ),
        (
            "AWS that only ours is told of",
            |_, wanted| wanted.aws_is_ours = true,
            Some((true, "nobody can tell it")),
        ),
        (
            "likewise, replaced",
            |_, wanted| {
                wanted.aws_is_ours = true;
                wanted.replace = true;
            },
            None,
        ),
        (
            "no CSIDriver",
            |seen, _| seen.csi_driver = None,
            Some((true, "no CSIDriver object")),
        ),
        (
            "no token for STS",
            |seen, _| seen.csi_driver.as_mut().unwrap().audiences.remove(0).clear(),
            Some((true, "no token for sts.amazonaws.com")),
        ),
        (
            "none needed",
            |seen, wanted| {
                seen.csi_driver.as_mut().unwrap().audiences.remove(0);
                wanted.irsa = false;
                wanted.pod_identity = true;
            },
            None,
        ),
        (
            "no token for Pod Identity",
            |seen, wanted| {
                seen.csi_driver.as_mut().unwrap().audiences.pop();
                wanted.pod_identity = true;
            },
            Some((true, "no token for pods.eks.amazonaws.com")),
        ),
        (
            "no token for a provider that asks itself",
            |seen, _| {
                seen.csi_driver.as_mut().unwrap().audiences.clear();
                seen.providers[0].version = "2.1.1".to_owned();
            },
            Some((false, "asks for tokens itself")),
        ),
        (
            "tokens where the driver does not look",
            |seen, _| {
                seen.drivers[0].version = "1.5.6".to_owned();
            },
            Some((true, "serviceAccountTokenInSecrets")),
        ),
        (
            "a Kubernetes that does not do that yet",
            |seen, _| {
                seen.drivers[0].version = "1.5.6".to_owned();
                seen.kubernetes = "v1.34.1-eks-abc".to_owned();
            },
            None,
        ),
        (
            "rotation that rests on nothing",
            |seen, _| seen.csi_driver.as_mut().unwrap().republishes = false,
            Some((false, "no file will ever change")),
        ),
        (
            "volumes to be attached",
            |seen, _| seen.csi_driver.as_mut().unwrap().attaches = true,
            Some((true, "attachRequired=true")),
        ),
        (
            "no definition",
            |seen, _| seen.definitions.clear(),
            Some((true, "secretproviderclasses is missing")),
        ),
        (
            "not ready on one node",
            |seen, _| {
                seen.drivers[0].ready = 1;
                seen.drivers[0].unready_on = vec!["n2".to_owned()];
            },
            Some((true, "1 of 2 nodes, not on n2")),
        ),
        (
            "for no node",
            |seen, _| seen.providers[0].wanted = 0,
            Some((true, "is for no node")),
        ),
        (
            "not known to a kubelet",
            |seen, _| seen.registered.truncate(1),
            Some((true, "kubelet knows no driver on n2")),
        ),
        (
            "too quiet",
            |seen, _| seen.drivers[0].verbosity = 0,
            Some((false, "-v=0")),
        ),
        (
            "no version",
            |seen, _| seen.providers[0].version = "unknown".to_owned(),
            Some((false, "version is not told")),
        ),
        (
            "never released together",
            |seen, _| seen.providers[0].version = "0.3.11".to_owned(),
            Some((false, "never released together")),
        ),
        (
            "Windows alone",
            |seen, _| {
                seen.nodes
                    .iter_mut()
                    .for_each(|node| node.os = "windows".to_owned());
            },
            Some((true, "every node runs Windows")),
        ),
        (
            "Windows beside Linux",
            |seen, _| seen.nodes[1].os = "windows".to_owned(),
            None,
        ),
        ("no node", |seen, _| seen.nodes.clear(), Some((true, "no node"))),
        (
            "no node that takes pods",
            |seen, _| seen.nodes.iter_mut().for_each(|node| node.takes_pods = false),
            Some((true, "takes pods")),
        ),
        (
            "two architectures",
            |seen, _| seen.nodes[1].architecture = "arm64".to_owned(),
            Some((false, "amd64, arm64")),
        ),
    ];
    for (what, change, said) in rows {
        let (mut seen, mut wanted) = (well(), IRSA);
        change(&mut seen, &mut wanted);
        let judgement = judge(&seen, &wanted);
        let all: Vec<String> = judgement.problems.iter().map(ToString::to_string).collect();
        match said {
            None => assert!(all.is_empty(), "{what}: {all:?}"),
            Some((fatal, said)) => {
                let found = judgement
                    .problems
                    .iter()
                    .find(|problem| problem.to_string().contains(said));
                let found = found.unwrap_or_else(|| panic!("{what}: {all:?}"));
                assert_eq!(found.fatal, *fatal, "{what}");
                assert_eq!(judgement.fatal().is_some(), *fatal, "{what}: {all:?}");
                assert!(!found.why.is_empty() && !found.help.is_empty(), "{what}");
            }
        }
    }
}

#[test]
fn all_that_is_in_the_way_is_said_at_once() {
    let mut seen = well();
    seen.providers.clear();
    seen.csi_driver = None;
    let said = judge(&seen, &IRSA).fatal().unwrap();
    assert!(said.starts_with("2 things are in the way:"), "{said}");
    assert!(
        said.contains("has the provider") && said.contains("no CSIDriver object"),
        "{said}"
    );
}

#[test]
fn what_is_there_is_used_as_it_is_and_what_is_missing_is_installed() {
    let mut seen = well();
    seen.providers.clear();
    let wanted = Wanted {
        install: true,
        ..IRSA
    };
    let judgement = judge(&seen, &wanted);
    assert!(matches!(judgement.driver, Choice::Found(_)));
    assert_eq!(judgement.provider, Choice::Install);
    assert!(judgement.installs() && !judge(&well(), &wanted).installs());
    let replaced = judge(
        &well(),
        &Wanted {
            replace: true,
            ..wanted
        },
    );
    assert!(matches!(replaced.driver, Choice::Replace(_)) && matches!(replaced.provider, Choice::Replace(_)));
    // Only the one that was named.
    let named = Wanted {
        replace: true,
        driver_named: true,
        ..wanted
    };
    let one = judge(&well(), &named);
    assert!(matches!(one.driver, Choice::Replace(_)) && matches!(one.provider, Choice::Found(_)));
}

#[test]
fn a_found_driver_lacks_what_it_is_not_set_to_do() {
    let lacks = |change: fn(&mut Sighting)| {
        let mut seen = well();
        change(&mut seen);
        let judgement = judge(&seen, &IRSA);
        let names: Vec<&str> = judgement.lacks.iter().map(|(name, _)| *name).collect();
        (names, judgement.rotation)
    };
    let seconds = Duration::from_secs;
    assert_eq!(lacks(|_| ()), (vec![], Some(seconds(2))));
    assert_eq!(
        lacks(|seen| seen.drivers[0].poll_interval = None),
        (vec![], Some(seconds(120)))
    );
    assert_eq!(
        lacks(|seen| seen.drivers[0].rotates = false),
        (vec![ROTATION], None)
    );
    assert_eq!(
        lacks(|seen| seen.drivers[0].poll_interval = Some("1h0m0s".to_owned())),
        (vec![ROTATION], Some(seconds(3600)))
    );
    assert_eq!(
        lacks(|seen| seen.drivers[0].verbosity = 4),
        (vec![PROGRAM_LOGS], Some(seconds(2)))
    );
    assert_eq!(
        lacks(|seen| seen.csi_driver.as_mut().unwrap().republishes = false),
        (vec![ROTATION], None)
    );
    let no_sync = |seen: &mut Sighting| {
        let what = "the driver's ServiceAccount may not create Secrets".to_owned();
        seen.drivers[0].no_sync = Some(NoSync { what });
    };
    assert_eq!(lacks(no_sync), (vec![SECRET_SYNC], Some(seconds(2))));
    let mut seen = well();
    no_sync(&mut seen);
    let told = judge(&seen, &IRSA).problems;
    assert!(
        !told[0].fatal && told[0].to_string().contains("syncSecret.enabled=true"),
        "{told:?}"
    );
}
