//! Runs that are told to end, or are ended, in the middle.

use std::fs;

use rustix::process::Signal;

use crate::fixture::{Place, mounts_below};

/// Long enough to be interrupted in the middle: a denial with its hold, its control mounted.
const CASE: &str = "own-class-names-other-arn";

#[test]
fn ctrl_c_and_sigterm_tear_down_and_report() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let place = Place::new();
        let run = place.run(&["--jobs", "1", CASE, "rotation"]).start();
        place.until_journaled(&run, "access-checked");
        run.signal(signal);
        let end = run.finish();
        end.must(end.code() == Some(130), "exit code 130");
        end.says(&[name, "nothing left behind"]);
        end.must(place.scratch().is_empty(), "an empty TMPDIR");
        let results = place.results();
        assert_eq!(results["exit_code"], 130, "{results:#}");
        let skipped = results["cases"].as_array().unwrap();
        assert!(
            skipped.iter().all(|case| case["verdict"] == "skipped"),
            "{results:#}"
        );
        assert!(place.file("junit.xml").contains("<skipped"));
    }
}

#[test]
fn a_second_signal_ends_at_once_and_says_what_is_left() {
    let place = Place::new();
    let run = place.run(&[CASE]).start();
    place.until_journaled(&run, "access-checked");
    // Two kinds, as two of one kind may be taken for one.
    run.signal(Signal::INT);
    run.signal(Signal::TERM);
    let end = run.finish();
    end.must(end.code() == Some(130), "exit code 130");
    end.says(&["ending now", "still on record", "mountproof sweep"]);
    place.mountproof(&["sweep"]).exits(0);
    assert_eq!(place.scratch(), Vec::<String>::new());
}

#[test]
fn what_a_killed_run_left_is_reported_and_swept() {
    let place = Place::new();
    let run = place.run(&[CASE]).start();
    place.until_journaled(&run, "access-checked");

    let sweep = place.mountproof(&["sweep"]).exits(0);
    sweep.must(
        sweep.out.contains("still running; left alone"),
        "a living run left alone",
    );

    run.signal(Signal::KILL);
    let end = run.finish();
    end.must(end.code().is_none(), "an end by the signal");
    assert_eq!(place.scratch().len(), 1, "a killed run leaves its folder");
    let mounts = mounts_below(place.path());

    // The journal stops anywhere; what it has is worth a report.
    place
        .mountproof(&["report", &place.run_folder().display().to_string()])
        .exits(0);
    let results = place.results();
    assert_eq!(results["exit_code"], 7, "{results:#}");
    assert!(
        place.file("summary.md").contains("killed"),
        "{}",
        place.file("summary.md")
    );
    assert!(place.file("junit.xml").contains("mountproof.run"));

    let dry = place.mountproof(&["sweep", "--dry-run"]).exits(0);
    dry.must(dry.out.contains("would remove"), "what would be removed");
    assert_eq!(mounts_below(place.path()), mounts, "a dry run removes nothing");
    let sweep = place.mountproof(&["sweep"]).exits(0);
    sweep.must(sweep.out.contains("removed  folder"), "what was removed");
    assert_eq!(place.scratch(), Vec::<String>::new());
    assert_eq!(mounts_below(place.path()), Vec::<String>::new());
    let again = place.mountproof(&["sweep"]).exits(0);
    again.must(
        again.out.contains("left nothing"),
        "nothing left for a second sweep",
    );
}

/// A journal that ends within a line, as a power cut leaves it.
#[test]
fn a_torn_journal_still_renders() {
    let place = Place::new();
    place.run(&["impostor-refused"]).exits(0);
    let journal = place.file("journal.jsonl");
    let torn = place.path().join("torn.jsonl");
    fs::write(&torn, &journal[..journal.len() * 2 / 3]).unwrap();
    let out = place.path().join("again");
    let end = place
        .mountproof(&["report", "torn.jsonl", "--out", "again"])
        .exits(0);
    end.must(!end.err.contains("panic"), "no panic");
    let results = fs::read_to_string(out.join("results.json")).unwrap();
    assert!(results.contains("\"exit_code\": 7"), "{results}");
}

#[test]
fn the_deadline_of_a_run_ends_it_in_order() {
    let place = Place::new();
    let end = place.run(&[CASE, "--deadline", "1500ms"]).exits(130);
    end.says(&["deadline", "nothing left behind"]);
    end.must(place.scratch().is_empty(), "an empty TMPDIR");
}
