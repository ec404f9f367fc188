//! The forms of a report: each against its own rules, and as a picture.

use mountproof::{
    journal::Event,
    report::{
        Format, RunSummary, html, junit, markdown, render, results,
        terminal::{ColorChoice, Display, DisplayOptions},
    },
};

use crate::fixture;

fn summary(events: &[Event]) -> RunSummary {
    RunSummary::of(events).unwrap()
}

fn all_fixtures() -> Vec<(&'static str, Vec<Event>)> {
    vec![
        ("green", fixture::green(2_000)),
        ("mixed", fixture::mixed()),
        ("killed", fixture::killed()),
        ("known", fixture::known()),
    ]
}

#[test]
fn replaying_a_journal_gives_the_same_bytes() {
    for (name, events) in all_fixtures() {
        let first = render(&summary(&events), &Format::ALL);
        assert_eq!(render(&summary(&events), &Format::ALL), first, "{name}");
        let text = fixture::jsonl(&events);
        let again = mountproof::journal::parse(text.as_bytes(), "journal.jsonl".as_ref()).unwrap();
        assert_eq!(
            render(&summary(&again.events), &Format::ALL),
            first,
            "{name}, read again"
        );
    }
}

#[test]
fn the_same_files_come_in_the_same_order() {
    let paths = |events: &[Event]| -> Vec<String> {
        render(&summary(events), &Format::ALL)
            .into_iter()
            .map(|file| file.path)
            .collect()
    };
    assert_eq!(
        paths(&fixture::green(50)),
        [
            "report.html",
            "junit.xml",
            "summary.md",
            "results.json",
            "mount-latency.csi.hlog",
            "mount-latency.csi.hgrm",
            "mount-latency.csi.warm-up.hgrm",
            "mount-latency.pod.hlog",
            "mount-latency.pod.hgrm",
            "mount-latency.pod.warm-up.hgrm",
            "fetch-throughput.hlog",
            "fetch-throughput.hgrm",
        ]
    );
    let mixed = paths(&fixture::mixed());
    assert!(
        mixed.contains(&"evidence/cross-namespace-denied/failure.txt".to_owned()),
        "{mixed:?}"
    );
    assert!(
        mixed.contains(&"evidence/rotation/1-02-AWS-call-log.txt".to_owned()),
        "{mixed:?}"
    );
}

#[test]
fn junit_keeps_to_what_every_consumer_reads() {
    for (name, events) in all_fixtures() {
        let summary = summary(&events);
        let xml = junit::render(&summary);
        assert!(
            !xml.chars().any(|c| c.is_control() && c != '\n' && c != '\t'),
            "{name}: control characters"
        );
        let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for suite in &report.test_suites {
            assert!(
                suite
                    .properties
                    .iter()
                    .any(|property| &*property.name == "run.seed")
            );
            for case in &suite.test_cases {
                let classname = case.classname.as_ref().unwrap();
                assert!(
                    seen.insert((classname.to_string(), case.name.to_string())),
                    "{name}: {} twice",
                    &*case.name
                );
                assert!(
                    classname.starts_with(&*suite.name),
                    "{classname:?} is not in {:?}",
                    suite.name
                );
                if let quick_junit::TestCaseStatus::NonSuccess { message, .. } = &case.status {
                    let message = message.as_ref().unwrap();
                    assert!(
                        message.chars().count() < 200 && !message.contains('\n'),
                        "{message:?}"
                    );
                }
            }
        }
        for time in xml.split(" time=\"").skip(1) {
            let (whole, decimals) = time.split('"').next().unwrap().split_once('.').unwrap();
            assert!(
                whole.parse::<u64>().is_ok() && decimals.len() == 3,
                "{name}: {time:.20}"
            );
        }
        assert_eq!(beyond_the_strict_schema(&xml), Vec::<String>::new(), "{name}");
        assert_eq!(report.tests, summary.cases.len() + 3, "{name}");
        let counts = summary.counts();
        assert!(report.failures >= counts.failed && report.errors >= counts.errored);
        let skipped: usize = report.test_suites.iter().map(|suite| suite.skipped).sum();
        assert_eq!(
            skipped,
            counts.skipped + counts.not_supported + counts.known_issues
        );
    }
}

/// What Jenkins' xUnit plugin, the strictest of the common consumers, lets an element hold: elements
/// and attributes.
const STRICT: &[(&str, &[&str], &[&str])] = &[
    ("", &["testsuites"], &[]),
    (
        "testsuites",
        &["testsuite"],
        &["name", "time", "tests", "failures", "errors"],
    ),
    // Its schema lets a suite hold suites; others do not.
    (
        "testsuite",
        &["properties", "testcase"],
        &[
            "name",
            "tests",
            "failures",
            "errors",
            "time",
            "skipped",
            "timestamp",
        ],
    ),
    ("properties", &["property"], &[]),
    ("property", &[], &["name", "value"]),
    (
        "testcase",
        &[
            "skipped",
            "error",
            "failure",
            "rerunFailure",
            "rerunError",
            "flakyFailure",
            "flakyError",
            "system-out",
        ],
        &["name", "time", "classname"],
    ),
    ("skipped", &[], &["type", "message"]),
    ("error", &[], &["type", "message"]),
    ("failure", &[], &["type", "message"]),
    ("rerunFailure", &[], &["type", "message"]),
    ("rerunError", &[], &["type", "message"]),
    ("flakyFailure", &[], &["type", "message"]),
    ("flakyError", &[], &["type", "message"]),
    ("system-out", &[], &[]),
];

fn beyond_the_strict_schema(xml: &str) -> Vec<String> {
    use quick_xml::events::Event;

    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let rule = |name: &str| STRICT.iter().find(|(known, ..)| *known == name);
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut open, mut found) = (vec![String::new()], Vec::new());
    loop {
        let event = reader.read_event().unwrap();
        let (Event::Start(tag) | Event::Empty(tag)) = &event else {
            match event {
                Event::End(_) => drop(open.pop()),
                Event::Eof => return found,
                _ => {}
            }
            continue;
        };
        let name = text(tag.name().as_ref());
        let parent = open.last().unwrap();
        if !rule(parent).is_some_and(|(_, children, _)| children.contains(&name.as_str())) {
            found.push(format!("<{name}> in <{parent}>"));
        }
        for attribute in tag.attributes() {
            let attribute = text(attribute.unwrap().key.as_ref());
            if !rule(&name).is_some_and(|(.., attributes)| attributes.contains(&attribute.as_str())) {
                found.push(format!("{attribute} of <{name}>"));
            }
        }
        if matches!(event, Event::Start(_)) {
            open.push(name);
        }
    }
}

#[test]
fn what_did_not_pass_has_its_evidence_in_system_out() {
    let xml = junit::render(&summary(&fixture::mixed()));
    let report = quick_junit::Report::deserialize_from_str(&xml).unwrap();
    let cases = report.test_suites.iter().flat_map(|suite| &suite.test_cases);
    let mut bad = 0;
    for case in cases.filter(|case| case.classname.as_deref() != Some("mountproof.run")) {
        let output = case.system_out.as_ref().map_or("", |output| output.as_str());
        if matches!(case.status, quick_junit::TestCaseStatus::NonSuccess { .. }) {
            bad += 1;
            assert!(
                output.contains("--- AWS call log ---\n14:02:11.139 AssumeRoleWithWebIdentity 200"),
                "{output}"
            );
        }
    }
    assert_eq!(bad, 2);
}

#[test]
fn a_flaky_case_passes_in_junit_with_what_went_before() {
    let xml = junit::render(&summary(&fixture::mixed()));
    assert!(xml.contains("<flakyFailure"), "{xml}");
    assert!(!xml.contains("<rerunFailure"));
}

#[test]
fn a_known_issue_is_told_in_every_report_with_its_link() {
    let summary = summary(&fixture::known());
    assert_eq!(summary.counts().known_issues, 1);
    let shows = "known issue of provider 3.1.1: a denial in the primary region is answered from the failover region, \
                 https://example.com/issues/1";
    let fixed = "fixed: provider 3.1.1 no longer shows a known issue of >=2.0.0, <=3.1.1";

    let xml = junit::render(&summary);
    assert!(
        xml.contains("<skipped message=\"known issue of isolation: https://example.com/issues/1 a denial in the primary"),
        "{xml}"
    );
    assert!(!xml.contains("<failure"), "{xml}");

    let results = results::Results::of(&summary);
    let told: Vec<_> = results
        .cases
        .iter()
        .map(|case| {
            (
                case.verdict.to_string(),
                case.known_issue.as_ref().map(|known| known.shows),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("passed".to_owned(), None),
            ("known-issue".to_owned(), Some(true)),
            ("passed".to_owned(), Some(false)),
        ]
    );
    assert_eq!(results.counts.known_issue, 1);

    let markdown = markdown::render(&summary);
    for text in [
        "1 known to fail, 2 passed",
        "> **Isolation is broken in `failover-denied`, which is a known issue:**",
        "| shows | `failover-denied` | [failover-answers-a-denial](https://example.com/issues/1)",
        "| fixed | `socket-moves` |",
    ] {
        assert!(markdown.contains(text), "{text}:\n{markdown}");
    }

    let terminal = shown(&fixture::known(), false, false);
    for text in [
        "KNOWN  failover-denied",
        shows,
        "KNOWN  isolation is broken in failover-denied, a known issue: https://example.com/issues/1",
        fixed,
    ] {
        assert!(terminal.contains(text), "{text}:\n{terminal}");
    }
    assert!(
        !terminal.contains("FAIL") && !terminal.contains("exit "),
        "{terminal}"
    );

    let page = html(&fixture::known());
    for text in [shows, "Only errors that the SDK models are fatal."] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn long_output_is_cut_with_a_pointer() {
    let mut events = fixture::mixed();
    for event in &mut events {
        if let mountproof::journal::EventKind::EvidenceCollected(evidence) = &mut event.event {
            evidence.text = "é".repeat(200_000);
        }
    }
    let summary = summary(&events);
    let xml = junit::render(&summary);
    assert!(xml.len() < 4 * 70 * 1024 * 2, "{} bytes", xml.len());
    assert!(xml.contains("the whole of it is in evidence/cross-namespace-denied/"));
}

#[test]
fn junit_as_it_is_written() {
    insta::assert_snapshot!("junit-mixed", junit::render(&summary(&fixture::mixed())));
}

#[test]
fn markdown_as_it_is_written() {
    insta::assert_snapshot!("markdown-mixed", markdown::render(&summary(&fixture::mixed())));
    insta::assert_snapshot!(
        "markdown-green",
        markdown::render(&summary(&fixture::green(2_000)))
    );
}

#[test]
fn markdown_fits_a_job_summary_however_much_there_is() {
    let names: Vec<String> = (0..3_000).map(|n| format!("positive[ns-{n:04}]")).collect();
    let cases: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "conformance")).collect();
    let mut builder = fixture::Builder::new(&cases);
    builder.environment();
    for (name, _) in &cases {
        let long = fixture::failure(&"a very long headline ".repeat(9), false);
        let failure = name.ends_with("7]").then_some(long);
        let verdict = if failure.is_some() {
            mountproof::journal::Verdict::Failed
        } else {
            mountproof::journal::Verdict::Passed
        };
        builder.attempt(name, 1, verdict, &"seen ".repeat(60), failure, false);
    }
    for n in 0..500 {
        builder.warn(&format!("warning {n} {}", "of some length ".repeat(40)));
    }
    let text = markdown::render(&summary(&builder.finish(1)));
    assert!(text.len() <= markdown::LONGEST, "{}", text.len());
    assert!(text.contains("300 failed") && text.contains("❌ failed"));
    assert_eq!(text.matches("````").count() % 2, 0, "a fence is left open");
}

#[test]
fn results_as_they_are_written() {
    insta::assert_snapshot!("results-mixed", results::render(&summary(&fixture::mixed())));
    let green: results::Results =
        serde_json::from_str(&results::render(&summary(&fixture::green(2_000)))).unwrap();
    insta::assert_snapshot!(
        "results-measurements",
        serde_json::to_string_pretty(&green.measurements).unwrap()
    );
}

#[test]
fn results_hold_to_their_schema_and_the_schema_is_committed() {
    let schema = results::schema();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/results.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        committed, schema,
        "schemas/results.json has drifted: mountproof schema results > schemas/results.json"
    );
    let validator = crate::support::Schema::new(&serde_json::from_str(&schema).unwrap());
    for (name, events) in all_fixtures() {
        let value = serde_json::from_str(&results::render(&summary(&events))).unwrap();
        assert_eq!(validator.problems(&value), Vec::<String>::new(), "{name}");
    }
    assert!(!validator.problems(&serde_json::json!({"schema": 1})).is_empty());
}

fn shown(events: &[Event], quiet: bool, color: bool) -> String {
    let mut display = Display::new(DisplayOptions {
        quiet,
        color,
        folder: "reports/latest".to_owned(),
    });
    let mut lines: Vec<String> = events.iter().flat_map(|event| display.lines(event)).collect();
    assert!(
        display.running().is_empty() || RunSummary::of(events).unwrap().killed(),
        "{:?}",
        display.running()
    );
    let summary = summary(events);
    let files: Vec<String> = render(&summary, &Format::ALL)
        .into_iter()
        .map(|file| file.path)
        .collect();
    lines.extend(display.last_block(&summary, &files));
    lines.join("\n") + "\n"
}

#[test]
fn the_terminal_as_it_looks_in_ci() {
    insta::assert_snapshot!("terminal-green", shown(&fixture::green(2_000), false, false));
    insta::assert_snapshot!("terminal-mixed", shown(&fixture::mixed(), false, false));
    insta::assert_snapshot!("terminal-mixed-quiet", shown(&fixture::mixed(), true, false));
    insta::assert_snapshot!("terminal-killed", shown(&fixture::killed(), false, false));
    assert_eq!(
        shown(&fixture::green(20), true, false)
            .lines()
            .filter(|line| line.contains("PASS"))
            .count(),
        0
    );
}

/// The line of the last measurement of these events.
fn load_line(events: &[Event]) -> String {
    let text = shown(events, false, false);
    let line = text.lines().rfind(|line| line.starts_with("  LOAD"));
    line.unwrap().trim().to_owned()
}

#[test]
fn a_measurement_says_how_far_its_figures_go() {
    let measured = |pods| {
        let mut builder = fixture::Builder::new(&[("mount-latency", "load")]);
        builder.mounts("mount-latency.csi", "mount-latency", "csi", pods);
        load_line(&builder.finish(0))
    };
    let line = measured(200);
    assert!(line.contains("  p95 ") && !line.contains("p99 1"), "{line}");
    assert!(line.contains("  n 200, p99 needs 368  "), "{line}");
    let line = measured(30);
    assert!(line.contains("  p50 ") && !line.contains("p95"), "{line}");
    let line = measured(380);
    assert!(line.contains("  p99 ") && !line.contains("needs"), "{line}");
    assert!(line.contains("  n 380  "), "{line}");
    assert!(
        line.ends_with("1 failed, 1 timed out, 1 late, 0 dropped"),
        "{line}"
    );
}

#[test]
fn an_open_loop_says_what_it_reached() {
    let mut builder = fixture::Builder::new(&[("fetch-throughput", "load")]);
    builder.fetches("fetch-throughput", "fetch-throughput");
    let mut events = builder.finish(0);
    assert!(load_line(&events).contains("10s, 8 in flight  2,000/s  p50 "));
    for event in &mut events {
        if let mountproof::journal::EventKind::MeasurementStarted(started) = &mut event.event {
            started
                .parameters
                .insert("pace".to_owned(), "open loop, constant, 2000/s".to_owned());
        }
    }
    let line = load_line(&events);
    assert!(
        line.contains("open loop, constant, 2000/s  reached 2,000/s  p50 "),
        "{line}"
    );
}

#[test]
fn colour_adds_nothing_but_colour() {
    for (name, events) in all_fixtures() {
        let colored = shown(&events, false, true);
        assert!(colored.contains("\u{1b}["), "{name}");
        assert_eq!(
            anstream::adapter::strip_str(&colored).to_string(),
            shown(&events, false, false),
            "{name}"
        );
    }
}

#[test]
fn colour_is_chosen_as_documented() {
    for (choice, no_color, terminal, color) in [
        (ColorChoice::Auto, false, true, true),
        (ColorChoice::Auto, true, true, false),
        (ColorChoice::Auto, false, false, false),
        (ColorChoice::Always, true, false, true),
        (ColorChoice::Never, false, true, false),
    ] {
        assert_eq!(
            choice.decide(no_color, terminal),
            color,
            "{choice:?} {no_color} {terminal}"
        );
    }
}

#[test]
fn what_is_going_on_is_shown_while_it_does() {
    let events = fixture::killed();
    let mut display = Display::new(DisplayOptions::default());
    for event in &events {
        display.lines(event);
    }
    let running: Vec<&str> = display
        .running()
        .iter()
        .map(|running| running.text.as_str())
        .collect();
    assert_eq!(
        running,
        ["cross-namespace-denied  team-blue mounts team-blue/secret"]
    );
}

fn html(events: &[Event]) -> String {
    render(&summary(events), &[Format::Html]).remove(0).text
}

#[test]
fn the_page_is_one_file_that_loads_nothing() {
    for (name, events) in all_fixtures() {
        // Where a known issue is told upstream is text, which nothing loads.
        let page = html(&events).replace(&fixture::known_issue(true, true).link, "");
        assert!(page.len() <= 1_000_000, "{name}: {} bytes", page.len());
        for load in [
            "src=", "href=", "url(", "@import", "http://", "https://", "<script", "<link", "<img",
        ] {
            assert!(!page.contains(load), "{name}: {load}");
        }
        assert!(page.contains("default-src 'none'"));
    }
}

#[test]
fn pictures_are_well_formed_and_say_what_they_show() {
    let page = html(&fixture::green(2_000));
    let mut pictures = 0;
    for part in page.split("<svg").skip(1) {
        let svg = format!("<svg{}</svg>", part.split("</svg>").next().unwrap());
        let mut reader = quick_xml::Reader::from_str(&svg);
        let (mut depth, mut titled) = (0_i32, false);
        loop {
            match reader.read_event().unwrap() {
                quick_xml::events::Event::Start(tag) => {
                    depth += 1;
                    titled |= depth == 2 && tag.name().as_ref() == b"title";
                    for attribute in tag.attributes() {
                        let value = attribute.unwrap().value;
                        assert!(
                            !value.windows(3).any(|part| part == b"NaN" || part == b"inf"),
                            "{svg}"
                        );
                    }
                }
                quick_xml::events::Event::End(_) => depth -= 1,
                quick_xml::events::Event::Eof => break,
                _ => {}
            }
        }
        assert!(depth == 0 && titled);
        pictures += 1;
    }
    assert_eq!(pictures, 6, "two for each measurement");
}

#[test]
fn text_in_the_page_is_text() {
    let page = html(&fixture::mixed());
    assert!(page.contains("file byte-exact | 0644 &lt;b&gt;"));
    assert!(!page.contains("<b>x") && !page.contains('\u{1b}'));
    assert!(page.contains("REACHED"), "the isolation matrix shows the leak");
    assert!(
        page.contains("<details class=\"case\" open>"),
        "what failed is open"
    );
}

#[test]
fn odd_measurements_still_draw() {
    for pods in [1, 2, 3] {
        let page = html(&fixture::green(pods));
        assert!(!page.contains("NaN") && !page.contains("inf "), "{pods}");
    }
}

/// A mount's calls stand in every form, with what does not divide called out and the hour's assumption beside it.
#[test]
fn counted_calls_are_told_everywhere() {
    let mut builder = fixture::Builder::new(&[("calls-per-mount", "load")]);
    builder
        .environment()
        .tenants()
        .calls("calls-per-mount")
        .teardown(0);
    let events = builder.finish(0);
    let summary = summary(&events);

    let results = serde_json::to_value(results::Results::of(&summary)).unwrap();
    let calls = &results["calls"][0];
    assert_eq!(calls["hour"]["refreshes"], serde_json::json!([17.561, 30.0]));
    assert_eq!(calls["uncounted"], serde_json::json!(["tls:kubernetes"]));
    let handshakes = &calls["calls"][2];
    assert_eq!(handshakes["per_mount"], 2.0);
    assert_eq!(handshakes["per_pod_hour"], serde_json::json!([35.122, 60.0]));
    assert_eq!(
        (&handshakes["same_each"], &calls["calls"][1]["same_each"]),
        (&true.into(), &false.into())
    );

    let xml = junit::render(&summary);
    for part in [
        r#"name="calls-per-mount.provider.tls:aws.per_mount" value="2""#,
        r#"name="calls-per-mount.provider.secretsmanager:GetSecretValue.per_mount" value="1.1""#,
        r#"name="calls-per-mount.provider.tls:aws.per_refresh" value="2""#,
    ] {
        assert!(xml.contains(part), "{part}\n{xml}");
    }
    let text = markdown::render(&summary);
    for part in [
        "| `tls:aws` | provider | 2 | 2 | 35 to 60 |",
        "| `secretsmanager:GetSecretValue` | provider | 1.10 (11 in 10: not every mount the same) | 0 | 0 |",
        "kubelet asks every 60 to 85 s, as observed",
        "Not counted here: tls:kubernetes.",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let page = html::render(&summary);
    for part in [
        "Calls: calls-per-mount",
        "tls:aws",
        "35 to 60",
        "rotation interval of 120s",
    ] {
        assert!(page.contains(part), "{part}");
    }
}
