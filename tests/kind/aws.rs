//! LocalStack behind the gateway, in a cluster: what becomes of a run whose LocalStack is killed, and of one whose gateway
//! is wrong.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mountproof::secret::CANARY;

use crate::{
    Case,
    support::{Place, files_below, verdicts},
    world::{self, Before, run, said, start},
};

pub(crate) const CASES: &[Case] = &[
    (
        "localstack_killed_in_the_middle_is_no_word_about_isolation",
        localstack_is_killed,
    ),
    (
        "a_defect_of_the_gateway_is_found_and_its_evidence_tells_how",
        a_defect_is_planted,
    ),
];

/// A mount that stands, and what needs AWS after it: a mount, and a refusal.
const AFTERWARDS: [(&str, &str); 2] = [
    (
        "mounts",
        "mount: { as: later, tenant: blue, secret: blue/secret, within: 20s }",
    ),
    (
        "refuses",
        "deny: { tenant: blue, secret: red/secret, control: first, within: 20s, hold: 1s, \
         because: { error: AccessDeniedException, action: \"secretsmanager:GetSecretValue\" } }",
    ),
];

fn localstack_is_killed() {
    let before = Before::look();
    let scenarios = AFTERWARDS.map(|(name, step)| {
        let text = format!(
            "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: {name}, profile: faults }}\n\
             description: Something after a mount.\nrequires: [iam-enforcement]\ntenants: {{ blue: {{}}, red: {{}} }}\nsteps:\n  \
             - mount: {{ as: first, tenant: blue, secret: blue/secret }}\n  \
             - expect: {{ workload: first, files: current, holds: 5s }}\n  \
             - {step}\n"
        );
        (name, text)
    });
    let place = Place::with(&scenarios.each_ref().map(|(name, text)| (*name, text.as_str())));
    let mut running = start(&place, &["--scenarios", "scenarios", "--retries", "0"]);
    for (name, _) in &scenarios {
        let case = format!("\"case\":\"{name}\"");
        place.await_line_within(
            &mut running,
            &["\"step-started\"", "\"step\":1", &case],
            world::PATIENCE,
        );
    }
    let containers = world::containers(&place);
    let localstack = containers
        .iter()
        .find(|name| name.ends_with("-localstack"))
        .unwrap();
    said("docker", ["kill", localstack]);

    world::ended(running).exits(6).says(&[
        "AWS does not answer",
        "nothing left behind",
        "exit 6 (inconclusive)",
    ]);
    let results = place.results();
    for (case, verdict) in verdicts(&results) {
        assert_eq!(verdict, "errored", "{case}");
    }
    let components = results["environment"]["components"].to_string();
    assert!(components.contains("behind the gateway"), "{components}");
    for (name, _) in &scenarios {
        let calls = place.only_run().join(format!("evidence/{name}"));
        assert!(calls.is_dir(), "its evidence is kept: {}", calls.display());
    }
    before.is_as_it_was(&place);
}

/// A defect of the gateway is found, and what it leaves to read tells how it came, and no secret.
fn a_defect_is_planted() {
    let before = Before::look();
    let place = Place::new();
    let arguments = ["--plant", "endpoint:ignore-resource", "--retries", "0"];
    let cases = ["cross-namespace-denied", "no-token-in-log"];
    run(&place, &[&arguments[..], &cases[..]].concat())
        .exits(4)
        .says(&["timeline", "evidence/cross-namespace-denied-team-red/", "exit 4"]);
    let case = |name: &str, verdict: &str| (name.to_owned(), verdict.to_owned());
    let mut verdicts = verdicts(&place.results());
    verdicts.sort();
    let expected = [
        case("cross-namespace-denied[team-blue]", "failed"),
        case("cross-namespace-denied[team-red]", "failed"),
        // Decided, from logs that the API hands out.
        case("no-token-in-log", "passed"),
    ];
    assert_eq!(verdicts, expected);

    let folder = place.only_run().join("evidence/cross-namespace-denied-team-red");
    let kept = |part: &str| -> String {
        let files = files_below(&folder);
        let found = files.iter().find(|file| file.to_string_lossy().contains(part));
        fs::read_to_string(found.unwrap_or_else(|| panic!("{part} is not among {files:?}"))).unwrap()
    };
    let timeline = kept("-timeline");
    for source in [
        "driver on ",
        "provider on ",
        "kubelet on ",
        "AWS ",
        "event ",
        "pod ",
    ] {
        let told = timeline
            .lines()
            .any(|line| line.get(14..).is_some_and(|line| line.starts_with(source)));
        assert!(told, "{source} is not in\n{timeline}");
    }
    let times: Vec<&str> = timeline.lines().skip(2).map(|line| &line[..12]).collect();
    assert!(times.is_sorted(), "{timeline}");
    assert!(kept("-driver-log-of-").contains("node publish volume"));
    assert!(kept("-provider-log-of-").contains("Servicing mount request"));
    assert!(kept("-kubelet-log-of-").contains("kubelet["));
    assert!(kept("-AWS-call-log").contains("GetSecretValue"));
    assert!(kept("-SecretProviderClasses").contains("\"SecretProviderClass\""));
    let nodes = files_below(&place.only_run().join("evidence/nodes"));
    assert!(
        nodes.iter().any(|file| file.ends_with("kubelet.log")),
        "{nodes:?}"
    );
    for report in ["summary.md", "failure.txt", "results.json"] {
        let files = files_below(&place.only_run());
        let file = files.iter().find(|file| file.ends_with(report)).unwrap();
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("timeline"), "{report}");
    }
    no_secret_below(&place.only_run());
    before.is_as_it_was(&place);
}

/// Neither a value, plain or in base64, nor a token.
#[track_caller]
fn no_secret_below(folder: &Path) {
    let mut forms = vec![CANARY.to_owned()];
    for shift in 0..3 {
        let text = STANDARD.encode(["x".repeat(shift), CANARY.to_owned()].concat());
        forms.push(text[(shift * 8).div_ceil(6)..text.len() - 4].to_owned());
    }
    for file in files_below(folder) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for form in &forms {
            assert!(!text.contains(form), "{form} is in {}", file.display());
        }
        let tokens = mountproof::verdict::logs::tokens(&text);
        assert_eq!(tokens, [], "a token is in {}", file.display());
    }
}
