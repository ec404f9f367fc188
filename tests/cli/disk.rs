//! Report folders that cannot be written, and disks that are full.

use std::fs;

use crate::fixture::{Finished, Place, confined};

#[test]
fn a_report_folder_that_cannot_be_made_is_said_before_anything_is() {
    let place = Place::new();
    fs::write(place.path().join("file"), "").unwrap();
    for out in ["file", "file/below"] {
        let end = place.run(&["impostor-refused", "--out", out]).exits(3);
        end.says(&["error: cannot", out, "--out"]);
        end.must(place.scratch().is_empty(), "an empty TMPDIR");
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_starts_nothing() {
    let place = Place::new();
    let Some(end) = on_a_small_disk(&place, "4k", "head -c 4096 /dev/zero > reports/full") else {
        return;
    };
    end.must(end.code() == Some(3), "exit code 3");
    end.says(&["error: cannot", "No space left on device"]);
    end.must(!end.err.contains("tenants"), "nothing begun");
    end.must(place.scratch().is_empty(), "an empty TMPDIR");
}

/// At whatever moment it fills up, ledger, journal or reports: it is said, the run is not called good,
/// and nothing stays.
#[test]
fn a_disk_that_fills_up_makes_the_run_invalid_and_nothing_stays() {
    let mut codes = Vec::new();
    for size in ["8k", "12k", "16k", "24k"] {
        let place = Place::new();
        let Some(end) = on_a_small_disk(&place, size, "true") else {
            return;
        };
        end.must(matches!(end.code(), Some(3 | 7)), "exit code 3 or 7");
        end.says(&["No space left on device"]);
        if end.code() == Some(7) {
            end.says(&["exit 7 (invalid run)"]);
        }
        end.must(place.scratch().is_empty(), "an empty TMPDIR");
        codes.push(end.code());
    }
    assert_eq!(
        codes.last(),
        Some(&Some(7)),
        "{codes:?}: the last has room for the ledger"
    );
}

/// A run whose report folder is a disk of this size, after `before`. None where this user cannot mount one.
fn on_a_small_disk(place: &Place, size: &str, before: &str) -> Option<Finished> {
    let script = format!("mkdir -p reports && mount -t tmpfs -o size={size} tmpfs reports && {before}");
    confined(place, &script, &["run", "impostor-refused"])
}
