//! Runs of users who may do less.

use crate::fixture::Place;

#[test]
fn without_the_right_to_mount_a_private_folder_serves() {
    let place = Place::new();
    let mountproof = env!("CARGO_BIN_EXE_mountproof");
    let end = place
        .program(
            "setpriv",
            &[
                "--bounding-set=-sys_admin",
                "--inh-caps=-sys_admin",
                mountproof,
                "run",
                "positive",
            ],
        )
        .exits(0);
    end.says(&["PASS", "positive[team-red]", "nothing left behind"]);
    let notes = place.results()["environment"]["notes"].to_string();
    assert!(notes.contains("private folder"), "{notes}");
    end.must(place.scratch().is_empty(), "an empty TMPDIR");
}
