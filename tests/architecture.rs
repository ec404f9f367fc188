//! The invariants of ARCHITECTURE.md that can be read off the source.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Modules that do no IO and read no clock: invariant 1.
const PURE: &[&str] = &[
    "src/agent/protocol.rs",
    "src/agent/watch/mounts.rs",
    "src/agent/watch/pressure.rs",
    "src/engine/needs.rs",
    "src/engine/timeline.rs",
    "src/environment/agent/manifests.rs",
    "src/environment/clusters/given.rs",
    "src/environment/installation/builtin.rs",
    "src/environment/installation/container.rs",
    "src/environment/installation/manifest.rs",
    "src/environment/installation/options.rs",
    "src/environment/installation/plan.rs",
    "src/environment/installation/way.rs",
    "src/environment/restarts.rs",
    "src/environment/standing/judge.rs",
    "src/environment/standing/rights.rs",
    "src/environment/standing/seen.rs",
    "src/generation.rs",
    "src/known",
    "src/provision/order.rs",
    "src/provision/owned.rs",
    "src/scenario",
    "src/tenant",
    "src/verdict",
    "src/report/summary",
    "src/report/junit.rs",
    "src/report/results.rs",
    "src/report/markdown.rs",
    "src/report/html",
    "src/report/installed.rs",
    "src/report/upgrade.rs",
    "src/report/exit.rs",
    "src/report/figure.rs",
    "src/report/files.rs",
    "src/report/latency.rs",
    "src/report/nodes.rs",
    "src/report/pressure.rs",
    "src/load/histogram.rs",
    "src/load/schedule.rs",
    "src/load/limiter.rs",
    "src/load/percentiles.rs",
    "src/load/recorder.rs",
    "src/load/statistics.rs",
    "crates/aws-endpoint/src/iam",
    "crates/releases/src/digest.rs",
    "crates/releases/src/go_build.rs",
    "crates/releases/src/image.rs",
    "crates/releases/src/layers.rs",
    "crates/releases/src/part.rs",
    "crates/releases/src/release.rs",
    "crates/releases/src/source.rs",
    "crates/releases/src/unpack.rs",
    "crates/stand-ins/src/kubernetes/protobuf.rs",
    "crates/stand-ins/src/programs/flags.rs",
    "crates/stand-ins/src/scheduler/fit.rs",
    "crates/stand-ins/src/programs/standin/go_flags.rs",
];

/// What a pure module may not name.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::env",
    "net::TcpStream",
    "net::TcpListener",
    "net::UdpSocket",
    "net::UnixStream",
    "std::process",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "thread::sleep",
];

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let mut found = Vec::new();
    for module in PURE {
        let sources = sources(Path::new(module));
        assert!(!sources.is_empty(), "{module} is gone: mend this list");
        for source in sources {
            for (number, line) in product_lines(&source) {
                for word in IMPURE {
                    if line.contains(word) {
                        found.push(format!("{}:{number}: {word}", source.display()));
                    }
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "IO or clock in a pure module:\n{}",
        found.join("\n")
    );
}

/// Where the wall clock may be read, and what for. Everything else that is a time is a deadline or a latency,
/// and those are monotonic: a step of the wall clock moves none of them.
const WALL_CLOCK: &[(&str, &str)] = &[
    ("src/journal/writer.rs", "an event says when it was"),
    (
        "src/agent/watch/mod.rs",
        "what is seen on a node says when it was, by its clock",
    ),
    ("src/engine/as_kubelet.rs", "tokens say when they expire"),
    (
        "src/aws/eks/token.rs",
        "a cluster's token is signed with its date",
    ),
    (
        "src/cli/sweep_aged.rs",
        "what is in an account is as old as its date says",
    ),
    ("src/kubernetes/tokens.rs", "tokens say when they end"),
    ("src/engine/evidence.rs", "a timeline says when things were"),
    (
        "crates/aws-endpoint/src/state.rs",
        "signatures and tokens are judged by it",
    ),
    (
        "crates/aws-endpoint/src/calls.rs",
        "a connection that was cut says when that was",
    ),
    (
        "crates/releases/src/obtain.rs",
        "what a tag means is remembered with its date",
    ),
    (
        "crates/releases/src/registry.rs",
        "a registry may ask for patience until a date",
    ),
    ("crates/stand-ins/src/provider", "session names, which are times"),
    ("crates/stand-ins/src/log.rs", "lines of a log say when they were"),
    ("crates/stand-ins/src/signing.rs", "signatures carry it"),
    (
        "crates/stand-ins/src/pod_identity_agent.rs",
        "it looks at the times of tokens",
    ),
    ("crates/stand-ins/src/kubelet", "API objects and tokens carry it"),
    (
        "crates/stand-ins/src/kubernetes",
        "API objects and tokens carry it",
    ),
    (
        "crates/stand-ins/src/driver",
        "files carry it, and rotation compares with it, as the real driver does",
    ),
];

#[test]
fn the_wall_clock_is_read_only_where_a_date_is_needed() {
    let mut found = Vec::new();
    let mut used = vec![false; WALL_CLOCK.len()];
    for source in ["src", "crates"].iter().flat_map(|root| sources(Path::new(root))) {
        if !source.components().any(|part| part.as_os_str() == "src") {
            continue;
        }
        for (number, line) in product_lines(&source) {
            if !["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"]
                .iter()
                .any(|clock| line.contains(clock))
            {
                continue;
            }
            match WALL_CLOCK.iter().position(|(place, _)| source.starts_with(place)) {
                Some(place) => used[place] = true,
                None => found.push(format!("{}:{number}: {}", source.display(), line.trim())),
            }
        }
    }
    assert!(
        found.is_empty(),
        "the wall clock is read in:\n{}",
        found.join("\n")
    );
    for ((place, what), used) in WALL_CLOCK.iter().zip(used) {
        assert!(
            used,
            "{place} does not read the clock any more ({what}): mend this list"
        );
    }
}

#[test]
fn clients_and_stand_ins_are_named_in_one_place_each() {
    let rules: &[(&[&str], &[&str])] = &[
        (&["kube::", "k8s_openapi::"], &["src/kubernetes"]),
        (&["aws_sdk_", "aws_config::", "aws_smithy_"], &["src/aws"]),
        (&["mountproof_stand_ins"], &["src/environment", "src/cli/standin"]),
        (
            &["mountproof_aws_endpoint"],
            &["src/environment", "src/cli/endpoint.rs"],
        ),
        (
            &["serde_saphyr"],
            // Scenarios, manifests, the configuration.
            &[
                "src/scenario",
                "src/environment/installation",
                "src/cli/allowed.rs",
            ],
        ),
    ];
    let mut found = Vec::new();
    for source in sources(Path::new("src")) {
        for (words, homes) in rules {
            if homes.iter().any(|home| source.starts_with(home)) {
                continue;
            }
            for (number, line) in product_lines(&source) {
                for word in *words {
                    if names(&line, word) {
                        found.push(format!(
                            "{}:{number}: {word} belongs to {}",
                            source.display(),
                            homes.join(", ")
                        ));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_part_behind_a_seam_depends_on_the_harness() {
    for manifest in [
        "crates/aws-endpoint",
        "crates/stand-ins",
        "crates/run-tls",
        "crates/csi-protocol",
        "crates/releases",
    ] {
        let text = fs::read_to_string(Path::new(manifest).join("Cargo.toml")).unwrap();
        for line in text.lines() {
            let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
            assert!(
                !(name == "mountproof" || name.starts_with("kube") || name.starts_with("aws-sdk-")),
                "{manifest} depends on {name}"
            );
        }
    }
}

#[test]
fn attributes_are_expected_with_a_reason() {
    let mut found = Vec::new();
    for root in ["src", "crates", "tests", "benches"] {
        for source in sources(Path::new(root)) {
            for (number, line) in fs::read_to_string(&source).unwrap().lines().enumerate() {
                let line = line.trim_start();
                if line.starts_with("#[allow(") || line.starts_with("#![allow(") {
                    found.push(format!("{}:{}", source.display(), number + 1));
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "use #[expect(.., reason = \"..\")]:\n{}",
        found.join("\n")
    );
}

/// Every Rust file of a file or folder.
fn sources(root: &Path) -> Vec<PathBuf> {
    if root.is_file() {
        return vec![root.to_owned()];
    }
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Numbered lines without comments, up to the module's own tests.
fn product_lines(source: &Path) -> Vec<(usize, String)> {
    let is_test = |part: &std::ffi::OsStr| part.to_string_lossy().trim_end_matches(".rs").ends_with("tests");
    if source.iter().any(is_test) {
        return Vec::new();
    }
    product(&fs::read_to_string(source).unwrap())
}

/// Lines up to a module of tests; one that only names its file hides nothing behind it.
fn product(text: &str) -> Vec<(usize, String)> {
    let mut lines = text.lines().zip(1..).peekable();
    let mut found = Vec::new();
    while let Some((line, number)) = lines.next() {
        let named = |next: &(&str, usize)| next.0.trim().ends_with(';');
        if line.trim() == "#[cfg(test)]" && lines.next_if(named).is_none() {
            break;
        }
        found.push((number, line.split("//").next().unwrap_or_default().to_owned()));
    }
    found
}

#[test]
fn what_stands_behind_the_name_of_a_test_module_is_read() {
    let read = |text| -> Vec<usize> { product(text).into_iter().map(|(number, _)| number).collect() };
    assert_eq!(read("#[cfg(test)]\nmod tests;\nuse std::fs;\n"), [1, 3]);
    assert_eq!(read("a\n#[cfg(test)]\nmod tests {\n}\n"), [1]);
}

/// Whether `word` stands in `line` as the start of a name.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
    })
}
