//! How runs end before their time, and what is left of them: signals, the deadline, SIGKILL, `sweep`.

use std::{fs, time::Duration};

use rustix::process::Signal;

use crate::support::{HELD, Place, held_for_ever, verdicts};

/// Two cases of which only one is under way.
const ONE_BY_ONE: [&str; 5] = ["run", "--scenarios", "scenarios", "--jobs", "1"];

#[test]
fn ctrl_c_and_sigterm_take_down_report_and_skip_what_was_not_tried() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let place = Place::with(&[("a", &held_for_ever()), ("b", HELD)]);
        let mut running = place.start(&ONE_BY_ONE);
        place.await_hold(&mut running);
        running.signal(signal);
        // As `timeout` does, and a terminal that closes: the same request once more.
        running.signal(signal);
        running
            .end()
            .exits(130)
            .says(&["nothing left behind", "exit 130 (interrupted)", name]);
        let results = place.results();
        assert_eq!(results["exit_code"], 130);
        let verdicts = verdicts(&results);
        assert_eq!(verdicts.len(), 2);
        for (case, verdict) in verdicts {
            assert_eq!(verdict, "skipped", "{case}");
        }
        for report in ["junit.xml", "report.html", "summary.md"] {
            assert!(place.only_run().join(report).is_file(), "{report}");
        }
        place.assert_nothing_left();
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_says_what_is_left() {
    let place = Place::with(&[("held", &held_for_ever())]);
    // With a slow AWS the teardown takes a while.
    let mut running = place.start(&["run", "--scenarios", "scenarios", "--fault", "endpoint:slow@1ms"]);
    place.await_hold(&mut running);
    running.signal(Signal::INT);
    place.await_line(&mut running, &["\"interrupted\"", "SIGINT"]);
    while !running.has_ended() {
        std::thread::sleep(Duration::from_millis(300));
        if !running.has_ended() {
            running.signal(Signal::INT);
        }
    }
    running.end().exits(130).says(&[
        "second SIGINT: ending now",
        "Namespace team-red",
        "mountproof sweep",
    ]);
    assert_eq!(place.scratch().len(), 1, "it ended at once");
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["removed"]);
    place.assert_nothing_left();
}

#[test]
fn the_deadline_of_a_run_ends_it_in_order() {
    let place = Place::with(&[("held", &held_for_ever())]);
    place
        .run(&["run", "--scenarios", "scenarios", "--deadline", "3s"])
        .exits(130)
        .says(&["nothing left behind"]);
    assert!(place.journal().contains(r#""signal":"deadline""#));
    assert_eq!(verdicts(&place.results())[0].1, "skipped");
    place.assert_nothing_left();
}

#[test]
fn a_killed_run_still_reports_and_sweep_removes_what_it_left() {
    let place = Place::with(&[("held", &held_for_ever())]);
    let mut running = place.start(&["run", "--scenarios", "scenarios"]);
    place.await_hold(&mut running);
    let run = place.only_run();
    let id = run.file_name().unwrap().to_string_lossy().into_owned();

    // While it lives nobody takes anything from it.
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&[&id, "still running; left alone"]);
    assert!(!running.has_ended());
    assert_eq!(place.scratch().len(), 1);

    running.signal(Signal::KILL);
    let ended = running.end();
    assert!(!ended.status().success(), "{ended}");
    assert_eq!(place.scratch().len(), 1, "a killed run leaves its folder");
    let mounted = place.mounts().len();

    place
        .run(&["report", &run.join("journal.jsonl").display().to_string()])
        .exits(7)
        .says(&["the run was killed", "exit 7 (invalid run)", "mountproof sweep"]);
    let results = place.results();
    assert_eq!(
        (&results["exit_code"], &results["complete"]),
        (&7.into(), &false.into())
    );
    assert_eq!(verdicts(&results)[0].1, "errored");
    let first = fs::read(run.join("report.html")).unwrap();
    place.run(&["report", &run.display().to_string()]).exits(7);
    assert_eq!(
        fs::read(run.join("report.html")).unwrap(),
        first,
        "the same bytes again"
    );

    place
        .run(&["sweep", "--reports", "out", "--dry-run"])
        .exits(0)
        .prints(&["would remove"]);
    assert_eq!(place.mounts().len(), mounted, "a dry run removes nothing");
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["removed  folder"]);
    place.assert_nothing_left();
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["left nothing"]);
}

/// A journal that was cut off in the middle of a line, as a power failure leaves it.
#[test]
fn a_torn_journal_and_an_empty_one() {
    let place = Place::with(&[("held", HELD)]);
    place.run(&["run", "--scenarios", "scenarios"]).exits(0);
    let journal = place.journal();
    let torn = place.path("torn.jsonl");
    fs::write(&torn, &journal[..journal.len() / 2]).unwrap();
    place
        .run(&["report", "torn.jsonl", "--out", "torn"])
        .exits(7)
        .says(&["the run was killed"]);
    assert!(place.path("torn/junit.xml").is_file());
    fs::write(place.path("empty.jsonl"), "").unwrap();
    place
        .run(&["report", "empty.jsonl"])
        .exits(2)
        .says(&["is empty: its run was killed before it wrote a whole line"]);
    place
        .run(&["report", "no-such-folder"])
        .exits(2)
        .says(&["no-such-folder"]);

    // The wall clock jumps back an hour in the middle of a run: no duration and no verdict moves.
    let mut stepped = String::new();
    let lines: Vec<&str> = journal.lines().collect();
    for (number, line) in lines.iter().enumerate() {
        let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
        if number > lines.len() / 2 {
            let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
            event["at"] = (at - jiff::SignedDuration::from_hours(1)).to_string().into();
        }
        stepped.push_str(&event.to_string());
        stepped.push('\n');
    }
    fs::write(place.path("stepped.jsonl"), stepped).unwrap();
    place
        .run(&["report", "stepped.jsonl", "--out", "stepped"])
        .exits(0);
    let results = |path: &str| -> serde_json::Value {
        serde_json::from_slice(&fs::read(place.path(path)).unwrap()).unwrap()
    };
    let (straight, stepped) = (place.results(), results("stepped/results.json"));
    for field in ["took_us", "exit_code", "counts"] {
        assert_eq!(straight[field], stepped[field], "{field}");
    }
    assert_eq!(straight["cases"][0]["took_us"], stepped["cases"][0]["took_us"]);
    assert_eq!(straight["cases"][0]["verdict"], stepped["cases"][0]["verdict"]);
}
