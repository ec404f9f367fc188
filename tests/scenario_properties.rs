//! Whatever a file holds: an answer, never a panic; and what can be written can be read.
#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod support;

use std::collections::BTreeMap;

use mountproof::scenario::{
    Severity, SourceFile,
    at::{At, Ordered},
    code::Code,
    load,
    parse::{MAX_BYTES, parse},
    raw::{
        RawArrival, RawAws, RawBecause, RawContent, RawCreate, RawDelete, RawDeny, RawEach, RawEvent,
        RawEvidence, RawExpect, RawFetchLoad, RawFetches, RawFiles, RawIdentity, RawImpostor,
        RawInterruption, RawJmesPath, RawLens, RawLoad, RawLogs, RawMetadata, RawMount, RawMountLoad,
        RawObject, RawProgram, RawPublish, RawRepublish, RawResourcePolicy, RawRestart, RawScale,
        RawScenario, RawStep, RawSynced, RawTenant, RawTrue, RawTrusted, RawUpdate,
    },
    render,
    shipped::SHIPPED,
};
use proptest::{
    collection::{btree_map, vec},
    option::of,
    prelude::*,
    sample::{Index, select},
};

/// Reads, checks and renders in every style. True when nothing is an error.
fn accepted(bytes: &[u8]) -> bool {
    let file = SourceFile {
        display: "it.yaml".to_owned(),
        below: "conformance/it.yaml".to_owned(),
        folder: None,
        bytes: bytes.to_vec(),
        size: bytes.len() as u64,
    };
    let loaded = load(&[file]);
    for diagnostic in &loaded.diagnostics {
        let text = render::text(diagnostic, &loaded.sources, render::Style::Plain);
        assert!(text.contains(diagnostic.code.id()));
        assert!(!render::json(diagnostic, &loaded.sources).contains('\n'));
        assert!(!render::github(diagnostic, &loaded.sources).contains('\n'));
    }
    let errors = loaded.count(Severity::Error);
    assert_eq!(
        errors > 0,
        loaded.scenarios.is_empty(),
        "either scenarios or errors"
    );
    errors == 0
}

#[test]
fn a_large_file_is_refused_before_it_is_read() {
    let bytes = vec![b'a'; 10 * MAX_BYTES];
    let parsed = parse(&bytes, bytes.len() as u64);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(
        parsed.diagnostics[0].message,
        "the file has 10.0 MiB, and a scenario at most 1 MiB"
    );
    assert!(parsed.text.is_empty());
    // A file that grows, or a device: the size says nothing, the bytes say enough.
    assert_eq!(parse(&bytes, 0).diagnostics, parsed.diagnostics);
}

/// Files of the largest size that are hard on a reader must not take it for ever. The bound is on
/// work that grows with the square of the size: such a test would not end.
#[test]
fn large_and_nasty_files_are_answered() {
    let fill = |part: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for number in 0.. {
            let part = part(number);
            if text.len() + part.len() > MAX_BYTES {
                break;
            }
            text.push_str(&part);
        }
        text
    };
    let head = "apiVersion: mountproof.dev/v1alpha1\nkind: Scenario\nmetadata: { name: it, profile: p }\ndescription: It.\n";
    let nasty = [
        fill(&|number| format!("k{number}: 1\n")),
        fill(&|_| "a: 1\n".to_owned()),
        fill(&|_| "[".to_owned()),
        fill(&|_| "- ".to_owned()),
        fill(&|_| "x".to_owned()),
        fill(&|number| format!("k{number}: &a{number} *a{}\n", number.saturating_sub(1))),
        format!(
            "{head}steps: [1]\ntenants:\n{}",
            fill(&|number| format!("  t{number}:\n"))
        )
        .chars()
        .take(MAX_BYTES)
        .collect(),
        format!(
            "{head}tenants: {{ red: {{}} }}\nsteps:\n{}",
            fill(&|_| "  - delete: { workload: a }\n".to_owned())
        )
        .chars()
        .take(MAX_BYTES - 40)
        .collect(),
    ];
    for text in nasty {
        assert!(!accepted(text.as_bytes()));
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        accepted(&bytes);
    }

    #[test]
    fn yaml_like_text_never_panics(
        text in vec(
            select(vec![
                "steps", "tenants", "mount", "deny", "as", ":", ": ", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]",
                ", ", "&a ", "*a", "!t ", "\"", "'", "|", ">", "#", "---\n", "red", "secret", "red/secret", "3s", "-1",
                "${matrix.x}", "\t", "\r\n", "\u{feff}", "é", "null", "? ", "<<", "%",
            ]),
            0..60,
        ),
    ) {
        accepted(text.concat().as_bytes());
    }

    /// Every shipped file with a piece cut out, put in twice, or replaced.
    #[test]
    fn mutated_files_never_panic(
        file in any::<Index>(),
        edits in vec((any::<Index>(), 0_usize..12, "(\\PC|\\n|\\t){0,6}", any::<bool>()), 1..5),
    ) {
        let mut bytes = file.get(SHIPPED).1.as_bytes().to_vec();
        for (place, length, replacement, twice) in edits {
            let start = place.index(bytes.len() + 1);
            let end = (start + length).min(bytes.len());
            let cut: Vec<u8> = bytes.splice(start..end, replacement.into_bytes()).collect();
            if twice {
                bytes.splice(start..start, [cut.clone(), cut].concat());
            }
        }
        accepted(&bytes);
    }

    #[test]
    fn what_can_be_written_can_be_read(raw in scenario()) {
        let text = serde_saphyr::to_string(&raw).unwrap();
        let mut parsed = parse(text.as_bytes(), text.len() as u64);
        // Two fields may hold one word each, and are told so beside whatever else there is.
        parsed.diagnostics.retain(|diagnostic| diagnostic.code != Code::WrongKind);
        prop_assert_eq!(&parsed.diagnostics, &[], "{}", text);
        prop_assert_eq!(parsed.raw, Some(raw), "{}", text);
        accepted(text.as_bytes());
    }

    /// What the types take and the schema refuse, or the other way round, would be two languages.
    #[test]
    fn what_can_be_written_fits_the_schema_but_for_its_patterns(raw in scenario()) {
        let mut schema = mountproof::scenario::schema::scenario().clone();
        without_patterns(&mut schema);
        let validator = support::Schema::new(&schema);
        let value = serde_json::to_value(&raw).unwrap();
        prop_assert_eq!(validator.problems(&value), Vec::<String>::new());
    }
}

fn without_patterns(schema: &mut serde_json::Value) {
    match schema {
        serde_json::Value::Object(fields) => {
            fields.remove("pattern");
            fields.values_mut().for_each(without_patterns);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(without_patterns),
        _ => {}
    }
}

fn at<T: std::fmt::Debug + 'static>(value: impl Strategy<Value = T> + 'static) -> BoxedStrategy<At<T>> {
    value.prop_map(At::nowhere).boxed()
}

/// Texts, those among them that YAML would rather take for something else.
fn text() -> BoxedStrategy<At<String>> {
    let odd = [
        "",
        " ",
        "null",
        "~",
        "true",
        "no",
        "12",
        "1e3",
        "0644",
        "- x",
        "a: b",
        "#",
        "&a",
        "*a",
        "!a",
        "{",
        "[]",
        "|",
        "'",
        "\"",
        "\\",
        "a\nb",
        "\ta",
        "a\r\nb",
        "%",
        "@",
        "`",
        "---",
        "...",
        "?",
        "<<",
        "=",
        ".inf",
        "é",
        "\u{1F600}",
    ];
    at(prop_oneof![
        3 => "[a-z][a-z0-9-]{0,8}",
        1 => "\\PC{0,12}",
        1 => select(odd.to_vec()).prop_map(str::to_owned),
    ])
    .boxed()
}

fn texts() -> BoxedStrategy<Vec<At<String>>> {
    vec(text(), 0..3).boxed()
}

/// A mapping with distinct keys, in any order.
fn ordered<V: std::fmt::Debug + 'static>(
    value: impl Strategy<Value = V> + 'static,
) -> BoxedStrategy<Ordered<V>> {
    btree_map("\\PC{0,6}", value, 0..3)
        .prop_map(|map| Ordered {
            entries: map
                .into_iter()
                .rev()
                .map(|(key, value)| (At::nowhere(key), value))
                .collect(),
        })
        .boxed()
}

fn truth() -> BoxedStrategy<Option<At<RawTrue>>> {
    of(at(Just(RawTrue))).boxed()
}

fn content() -> BoxedStrategy<RawContent> {
    prop_oneof![
        at(any::<u32>()).prop_map(RawContent::Text),
        at(any::<u32>()).prop_map(RawContent::Binary),
        texts().prop_map(RawContent::Json),
    ]
    .boxed()
}

fn tenant() -> BoxedStrategy<RawTenant> {
    let policy = (at(vec(text(), 0..3)), truth()).prop_map(|(deny, primary_region_only)| RawResourcePolicy {
        deny,
        primary_region_only,
    });
    (
        of(any::<bool>()),
        of(text()),
        of(at(select(vec![RawTrusted::Own, RawTrusted::Other]))),
        of(ordered(at(content()))),
        of(ordered(policy)),
        of(at(vec(text(), 0..3))),
        of(at(vec(text(), 0..3))),
    )
        .prop_map(
            |(own, role, trusts, secrets, resource_policies, replicated, boundary)| RawTenant {
                own,
                role,
                trusts,
                secrets,
                resource_policies,
                replicated,
                boundary,
            },
        )
        .boxed()
}

fn object() -> BoxedStrategy<RawObject> {
    let part = (text(), text(), of(text())).prop_map(|(path, alias, file_permission)| RawJmesPath {
        path,
        alias,
        file_permission,
    });
    (
        text(),
        of(text()),
        of(text()),
        of(text()),
        of(text()),
        of(text()),
        vec(part, 0..3),
    )
        .prop_map(
            |(secret, by, alias, version, version_label, file_permission, jmes_path)| RawObject {
                secret,
                by,
                alias,
                version,
                version_label,
                file_permission,
                jmes_path,
            },
        )
        .boxed()
}

fn mount() -> BoxedStrategy<RawMount> {
    let workload = (
        of(text()),
        text(),
        of(text()),
        of(text()),
        of(vec(object(), 0..3)),
        of(text()),
        btree_map("\\PC{0,6}", text(), 0..3),
        (truth(), truth(), of(at(any::<u32>()))),
        of(text()),
    );
    (workload, of(text()), of(any::<bool>()))
        .prop_map(
            |(
                (name, tenant, secret, by, objects, class, parameters, (failover, sync, replicas), within),
                mode,
                pod_status,
            )| {
                RawMount {
                    name,
                    tenant,
                    secret,
                    by,
                    objects,
                    class,
                    parameters,
                    failover,
                    sync,
                    replicas,
                    within,
                    mode,
                    pod_status,
                }
            },
        )
        .boxed()
}

fn create() -> BoxedStrategy<RawCreate> {
    mount()
        .prop_map(|mount| RawCreate {
            name: mount.name,
            tenant: mount.tenant,
            secret: mount.secret,
            by: mount.by,
            objects: mount.objects,
            class: mount.class,
            parameters: mount.parameters,
            failover: mount.failover,
            sync: mount.sync,
            replicas: mount.replicas,
            within: mount.within,
        })
        .boxed()
}

fn deny() -> BoxedStrategy<RawDeny> {
    let because =
        (of(text()), of(text()), of(text()), of(text())).prop_map(|(error, action, reason, event)| {
            RawBecause {
                error,
                action,
                reason,
                event,
            }
        });
    (mount(), text(), at(because), of(text()))
        .prop_map(|(mount, control, because, hold)| RawDeny {
            name: mount.name,
            tenant: mount.tenant,
            secret: mount.secret,
            by: mount.by,
            objects: mount.objects,
            class: mount.class,
            parameters: mount.parameters,
            failover: mount.failover,
            sync: mount.sync,
            replicas: mount.replicas,
            within: mount.within,
            control,
            because,
            hold,
        })
        .boxed()
}

fn impostor() -> BoxedStrategy<RawImpostor> {
    let with = prop_oneof![
        3 => at(select(vec![
            "forged-signature",
            "other-audience",
            "expired-token",
            "forged-request",
            "other-region",
        ])
        .prop_map(str::to_owned)),
        1 => text(),
    ];
    let code = prop_oneof![
        3 => at(select(vec![
            "InvalidIdentityToken",
            "ExpiredTokenException",
            "InvalidSignatureException",
        ])
        .prop_map(str::to_owned)),
        1 => text(),
    ];
    (text(), with, at(vec(code, 0..3)), of(text()))
        .prop_map(|(tenant, with, because, within)| RawImpostor {
            tenant,
            with,
            because,
            within,
        })
        .boxed()
}

fn expect() -> BoxedStrategy<RawExpect> {
    let files = select(vec![RawFiles::Current, RawFiles::Previous, RawFiles::None]);
    let event = (text(), text()).prop_map(|(reason, contains)| RawEvent { reason, contains });
    let synced = select(vec![RawSynced::Current, RawSynced::Settled, RawSynced::Unchanged]);
    (
        text(),
        of(at(files)),
        of(at(event)),
        truth(),
        of(at(synced)),
        of(at(Just(RawFetches::Limited))),
        of(at(Just(RawLogs::Clean))),
        truth(),
        of(text()),
        of(text()),
        of(text()),
    )
        .prop_map(
            |(workload, files, event, pod_status, synced, fetches, logs, now, eventually, holds, within)| {
                RawExpect {
                    workload,
                    files,
                    event,
                    pod_status,
                    synced,
                    fetches,
                    logs,
                    now,
                    eventually,
                    holds,
                    within,
                }
            },
        )
        .boxed()
}

fn rate() -> BoxedStrategy<f64> {
    prop_oneof![
        Just(0.5),
        Just(-3.0),
        Just(50.0),
        Just(1e9),
        Just(1e-300),
        0.001..1000.0
    ]
    .boxed()
}

fn measure() -> BoxedStrategy<RawLoad> {
    let lens = at(select(vec![RawLens::Csi, RawLens::Pod]));
    let mounts = (
        at(any::<u32>()),
        of(at(any::<u32>())),
        at(rate()),
        of(select(vec![RawArrival::Constant, RawArrival::Poisson])),
        of(vec(lens, 0..3)),
        of(text()),
        of(text()),
    )
        .prop_map(|(pods, warm_up, rate, arrival, lenses, deadline, within)| {
            RawLoad::Mounts(RawMountLoad {
                pods,
                warm_up,
                rate,
                arrival,
                lenses,
                deadline,
                within,
            })
        });
    let fetch = (
        text(),
        of(text()),
        of(at(any::<u32>())),
        of(at(rate())),
        of(text()),
    )
        .prop_map(|(duration, warm_up, in_flight, per_second, within)| {
            RawLoad::Fetch(RawFetchLoad {
                duration,
                warm_up,
                in_flight,
                per_second,
                within,
            })
        });
    prop_oneof![mounts, fetch].boxed()
}

fn publish() -> BoxedStrategy<RawPublish> {
    let interruption = select(vec![RawInterruption::Deadline, RawInterruption::DriverKilled]);
    (
        of(text()),
        of(text()),
        of(text()),
        of(text()),
        of(at(interruption)),
        of(text()),
    )
        .prop_map(
            |(name, tenant, volume, deadline, interrupted_by, within)| RawPublish {
                name,
                tenant,
                volume,
                deadline,
                interrupted_by,
                within,
            },
        )
        .boxed()
}

fn restart() -> BoxedStrategy<RawRestart> {
    let program = select(vec![RawProgram::Driver, RawProgram::Provider]);
    (at(program), of(text()), truth(), truth(), of(text()))
        .prop_map(
            |(program, rotation, moves, driver_writes_secrets, within)| RawRestart {
                program,
                rotation,
                moves,
                driver_writes_secrets,
                within,
            },
        )
        .boxed()
}

fn step() -> BoxedStrategy<RawStep> {
    let aws = (of(text()), of(at(Just(RawTrue)))).prop_map(|(latency, well)| RawAws { latency, well });
    let scale = (text(), at(any::<u32>()), of(text())).prop_map(|(workload, replicas, within)| RawScale {
        workload,
        replicas,
        within,
    });
    let republish =
        (text(), of(at(any::<u32>())), truth(), of(text())).prop_map(|(workload, times, due, within)| {
            RawRepublish {
                workload,
                times,
                due,
                within,
            }
        });
    prop_oneof![
        scale.prop_map(RawStep::Scale),
        republish.prop_map(RawStep::Republish),
        mount().prop_map(RawStep::Mount),
        deny().prop_map(RawStep::Deny),
        impostor().prop_map(RawStep::Impostor),
        create().prop_map(RawStep::Create),
        expect().prop_map(RawStep::Expect),
        (text(), of(text())).prop_map(|(secret, within)| RawStep::Update(RawUpdate { secret, within })),
        (text(), of(text())).prop_map(|(workload, within)| RawStep::Delete(RawDelete { workload, within })),
        measure().prop_map(RawStep::Load),
        at(publish()).prop_map(RawStep::Publish),
        at(aws).prop_map(RawStep::Aws),
        at(restart()).prop_map(RawStep::Restart),
    ]
    .boxed()
}

fn scenario() -> BoxedStrategy<RawScenario> {
    let labels = btree_map("\\PC{0,6}", "\\PC{0,6}", 0..3);
    let metadata =
        (text(), text(), labels).prop_map(|(name, profile, labels): (_, _, BTreeMap<String, String>)| {
            RawMetadata {
                name,
                profile,
                labels,
            }
        });
    let evidence = select(vec![
        RawEvidence::Pods,
        RawEvidence::Events,
        RawEvidence::Classes,
        RawEvidence::CallLog,
    ]);
    let head = (
        text(),
        text(),
        metadata,
        text(),
        of(select(vec![RawIdentity::Irsa, RawIdentity::PodIdentity])),
        of(select(vec![RawEach::Once, RawEach::Tenant])),
        texts(),
    );
    let body = (
        of(ordered(of(tenant()))),
        of(ordered(texts())),
        of(text()),
        of(at(any::<u32>())),
        vec(at(step()), 0..4),
        of(vec(at(evidence), 0..3)),
    );
    (head, body)
        .prop_map(
            |(
                (api_version, kind, metadata, description, identity, each, requires),
                (tenants, matrix, deadline, retries, steps, catch),
            )| RawScenario {
                api_version,
                kind,
                metadata,
                description,
                identity,
                each,
                requires,
                tenants,
                matrix,
                deadline,
                retries,
                steps,
                catch,
            },
        )
        .boxed()
}
