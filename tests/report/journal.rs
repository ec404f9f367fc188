//! Journals as files: torn, newer, garbage.

use std::path::Path;

use mountproof::{
    cli::report::{self, ReportArgs},
    journal::{Event, ReadError, parse},
    redact::Redactor,
    report::{Format, RunSummary, render, terminal::ColorChoice},
};
use serde_json::Value;

use crate::fixture;

const PATH: &str = "run/journal.jsonl";

fn read(text: &str) -> Result<Vec<Event>, ReadError> {
    parse(text.as_bytes(), Path::new(PATH)).map(|recording| recording.events)
}

#[test]
fn a_journal_reads_back_as_it_was_written() {
    for events in [fixture::green(50), fixture::mixed(), fixture::killed()] {
        assert_eq!(read(&fixture::jsonl(&events)).unwrap(), events);
    }
}

#[test]
fn a_torn_last_line_is_left_out_and_told_wherever_it_is_cut() {
    let events = fixture::mixed();
    let text = fixture::jsonl(&events);
    let first = text.find('\n').unwrap() + 1;
    let last = text[..text.len() - 1].rfind('\n').unwrap() + 1;
    for cut in last + 1..text.len() - 1 {
        let recording = parse(&text.as_bytes()[..cut], Path::new(PATH)).unwrap();
        assert_eq!(recording.events.len(), events.len() - 1);
        let torn = recording.torn.unwrap();
        assert_eq!((torn.line, torn.bytes), (events.len(), cut - last));
    }
    let unended = parse(&text.as_bytes()[..text.len() - 1], Path::new(PATH)).unwrap();
    assert_eq!(
        (unended.events.len(), unended.torn),
        (events.len(), None),
        "only the line end is missing"
    );
    let mut zeros = text.clone().into_bytes();
    zeros.extend([0; 512]);
    assert_eq!(
        parse(&zeros, Path::new(PATH)).unwrap().torn.unwrap().bytes,
        512,
        "a power cut leaves zeros"
    );
    assert!(matches!(
        parse(&text.as_bytes()[..first - 9], Path::new(PATH)),
        Err(ReadError::Empty { .. })
    ));
    assert!(matches!(read(""), Err(ReadError::Empty { .. })));
}

#[test]
fn what_is_no_journal_is_refused_with_its_place() {
    let text = fixture::jsonl(&fixture::mixed());
    let lines: Vec<&str> = text.lines().collect();
    let with = |line: usize, new: &str| {
        let mut lines = lines.clone();
        lines[line] = new;
        lines.join("\n") + "\n"
    };
    let garbage = read(&with(4, "{\"sequence\":4,")).unwrap_err().to_string();
    assert_eq!(garbage, "run/journal.jsonl:5: not a journal event");
    let unknown = lines[4].replace("access-checked", "access-vanished");
    assert!(matches!(
        read(&with(4, &unknown)),
        Err(ReadError::Garbage { line: 5, .. })
    ));
    let gap = read(&with(4, lines[5])).unwrap_err().to_string();
    assert_eq!(gap, "run/journal.jsonl:5: event 5 stands where event 4 should");
    assert!(matches!(read("hello\n"), Err(ReadError::NotAJournal { .. })));
    assert!(matches!(
        read(&text[lines[0].len() + 1..]),
        Err(ReadError::NotAJournal { .. })
    ));
    assert!(matches!(
        parse(b"\xff\xfe\n", Path::new(PATH)),
        Err(ReadError::NotAJournal { .. })
    ));
}

#[test]
fn a_newer_journal_is_refused_by_its_version_even_when_it_does_not_parse() {
    let text = fixture::jsonl(&fixture::killed())
        .replacen("\"schema\":1", "\"schema\":2,\"shape\":\"new\"", 1)
        .replacen("\"version\":\"0.1.0\"", "\"version\":\"3.0.0\"", 1);
    assert_eq!(
        read(&text).unwrap_err().to_string(),
        "the journal `run/journal.jsonl` has schema 2, and this version reads up to 1: \
         render it with mountproof 3.0.0 or newer"
    );
}

/// Journals of the first version stay readable: these files are never written again.
#[test]
fn committed_journals_still_read_and_render() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/journals");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let recording = mountproof::journal::read(&path).unwrap();
        let summary = RunSummary::of(&recording.events).unwrap();
        assert_eq!(summary.problems, [""; 0], "{}", path.display());
        assert!(render(&summary, &Format::ALL).len() >= 4);
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} journals");
}

#[test]
fn the_command_renders_a_killed_run_into_another_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("7f3k");
    std::fs::create_dir(&run).unwrap();
    let mut text = fixture::jsonl(&fixture::killed());
    text.push_str("{\"sequence\":99,\"at\":\"20");
    std::fs::write(run.join("journal.jsonl"), text).unwrap();
    let out = folder.path().join("again");
    let args = ReportArgs {
        run: run.clone(),
        formats: vec![Format::Junit, Format::Html],
        out: Some(out.clone()),
    };
    report::run(&args, true, ColorChoice::Never).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html"]);
    assert!(
        std::fs::read_to_string(out.join("junit.xml"))
            .unwrap()
            .contains("the run was killed")
    );

    let missing = ReportArgs {
        run: folder.path().join("none"),
        formats: Vec::new(),
        out: None,
    };
    let error = report::run(&missing, true, ColorChoice::Never).unwrap_err();
    assert_eq!(error.exit_code().code(), 2);
}

/// Puts a canary into every string of every event but those that the format itself gives meaning to.
fn poison(value: &mut Value, canary: &str) {
    match value {
        Value::String(text) => text.push_str(canary),
        Value::Array(items) => items.iter_mut().for_each(|item| poison(item, canary)),
        Value::Object(fields) => {
            for (key, field) in fields {
                let fixed =
                    ["at", "payload", "verdict", "outcome", "expected", "seen"].contains(&key.as_str());
                if !fixed || (key == "outcome" && field == "as the code says") {
                    poison(field, canary);
                }
            }
        }
        _ => {}
    }
}

#[test]
fn a_canary_in_every_free_text_field_reaches_no_output() {
    let canary = "mp-canary-\"27182818\"/+";
    let redactor = Redactor::default();
    redactor.protect(canary.as_bytes());
    for events in [fixture::green(20), fixture::mixed()] {
        let poisoned: Vec<Event> = events
            .into_iter()
            .map(|event| {
                let mut value = serde_json::to_value(event).unwrap();
                poison(&mut value, canary);
                serde_json::from_value(value).unwrap()
            })
            .collect();
        let loud = render(&RunSummary::of(&poisoned).unwrap(), &Format::ALL);
        assert!(
            loud.iter().filter(|file| file.text.contains("canary")).count() >= 4,
            "the canary is not in place"
        );
        let clean: Vec<Event> = poisoned
            .into_iter()
            .map(|event| redactor.redact_event(event))
            .collect();
        assert!(!fixture::jsonl(&clean).contains("canary"));
        for file in render(&RunSummary::of(&clean).unwrap(), &Format::ALL) {
            assert!(
                !file.text.contains("canary") && !file.path.contains("canary"),
                "{}",
                file.path
            );
        }
    }
}
