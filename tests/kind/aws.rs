//! LocalStack behind the gateway, in a cluster: what becomes of a run whose LocalStack is killed.

use crate::{
    Case,
    support::{Place, verdicts},
    world::{self, Before, said, start},
};

pub(crate) const CASES: &[Case] = &[(
    "localstack_killed_in_the_middle_is_no_word_about_isolation",
    localstack_is_killed,
)];

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
