//! What stands in the way of a run before anything is made: folders, disks, ports, rights.

use std::{fs, net::TcpListener};

use crate::support::{HELD, MOUNTPROOF, Place, Running, files_below, skipped, verdicts};

#[test]
fn a_report_folder_that_cannot_be_made_is_said_and_nothing_is_left() {
    let place = Place::new();
    fs::write(place.path("file"), "not a folder").unwrap();
    for out in ["file", "file/below"] {
        place.run(&["run", "positive", "--out", out]).exits(3).says(&[
            "cannot make the run's folder",
            out,
            "give another folder with --out",
        ]);
    }
    assert_eq!(fs::read_to_string(place.path("file")).unwrap(), "not a folder");
    place.assert_nothing_left();
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for flag in ["--kubernetes-listen", "--aws-listen"] {
        let place = Place::new();
        place.run(&["run", "positive", flag, &address]).exits(3).says(&[
            &format!("{address} is in use"),
            "ss -ltnp",
            &format!("another address with {flag}"),
        ]);
        let results = place.results();
        assert_eq!(results["exit_code"], 3);
        for (case, verdict) in verdicts(&results) {
            assert_eq!(verdict, "errored", "{case}");
        }
        place.assert_nothing_left();
    }
}

#[test]
fn only_the_loopback_interface_is_listened_on() {
    let place = Place::new();
    for (address, why) in [
        ("0.0.0.0:6443", "from outside this machine"),
        ("6443", "an address and a port"),
    ] {
        place
            .run(&["run", "--kubernetes-listen", address])
            .exits(2)
            .says(&[why]);
    }
    assert!(place.runs().is_empty());
}

/// A fixed port comes with what a client needs, for as long as the run goes.
#[test]
fn a_run_on_a_given_port_can_be_looked_at_from_outside() {
    let place = Place::with(&[("held", HELD)]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut running = place.start(&["run", "--scenarios", "scenarios", "--kubernetes-listen", &address]);
    place.await_hold(&mut running);
    let scratch = place.path("t").join(&place.scratch()[0]);
    let kubeconfig: serde_json::Value =
        serde_json::from_slice(&fs::read(scratch.join("kubeconfig")).unwrap()).unwrap();
    assert_eq!(
        kubeconfig["clusters"][0]["cluster"]["server"],
        format!("https://{address}")
    );
    let variables = fs::read_to_string(scratch.join("aws.env")).unwrap();
    assert!(
        variables.contains("AWS_ENDPOINT_URL=https://127.0.0.1:"),
        "{variables}"
    );
    running.end().exits(0);
    place.assert_nothing_left();
}

/// Whether a file system may be mounted here, in a namespace of its own.
fn may_mount() -> bool {
    std::process::Command::new("unshare")
        .args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn a_disk_that_is_full_from_the_start_is_said_and_nothing_is_made() {
    if !may_mount() {
        return skipped("a full disk from the start", "no file system may be mounted here");
    }
    let place = Place::new();
    fs::create_dir(place.path("small")).unwrap();
    // One page for the ledger's first line at most; the journal's finds none.
    for (pages, what) in [(0, "write the ledger"), (1, "journal")] {
        let script = format!(
            "mount -t tmpfs -o size=64k none small && head -c $((65536 - 4096 * {pages})) /dev/zero > small/fill \
             && \"$0\" \"$@\"; code=$?; echo left: $(ls small); exit $code"
        );
        let command = place.command_below(
            &["unshare", "-m", "sh", "-c", &script],
            &["run", "positive", "--out", "small"],
        );
        Running::start(command)
            .end()
            .exits(3)
            .says(&[what, "No space left on device"])
            .prints(&["left: fill\n"]);
        place.assert_nothing_left();
    }
}

/// The journal, the ledger and the reports stop growing in the middle: what stands is still taken down.
#[test]
fn a_disk_that_fills_up_in_the_middle_makes_the_run_invalid_and_is_taken_down() {
    let place = Place::with(&[("held", HELD)]);
    // The size that a file may have stands for the room on the disk. A shell counts it in half kilobytes.
    let script = "trap '' XFSZ; ulimit -f 10; \"$0\" \"$@\"";
    let command = place.command_below(
        &["sh", "-c", script],
        &["run", "--scenarios", "scenarios", "--out", "out"],
    );
    Running::start(command).end().exits(7).says(&[
        "File too large",
        "nothing left behind",
        "exit 7 (invalid run)",
    ]);
    place.assert_nothing_left();
    // What was written is whole, and says how far the run came.
    let journal = place.only_run().join("journal.jsonl");
    assert!(fs::metadata(&journal).unwrap().len() <= 10 * 512);
    assert!(place.journal().ends_with('\n'), "half a line");
    place
        .run(&["report", &journal.display().to_string(), "--out", "again"])
        .exits(7)
        .says(&["the run was killed"]);
    assert!(place.path("again/results.json").is_file());
    place.run(&["sweep", "--reports", "out"]).exits(0);
}

/// What a tenant reached is not outweighed by a disk that is full.
#[test]
fn an_isolation_failure_is_told_on_a_full_disk_too() {
    let place = Place::new();
    let script = "trap '' XFSZ; ulimit -f 10; \"$0\" \"$@\"";
    let arguments = [
        "run",
        "cross-namespace-denied",
        "--out",
        "out",
        "--plant",
        "endpoint:ignore-resource",
    ];
    Running::start(place.command_below(&["sh", "-c", script], &arguments))
        .end()
        .exits(4)
        .says(&[
            "File too large",
            "exit 4 (isolation failed)",
            "nothing left behind",
        ]);
    place.assert_nothing_left();
}

/// No object without its line in the ledger: when there is no room for the line, nothing is made.
#[test]
fn nothing_is_made_that_the_ledger_has_no_room_for() {
    if !may_mount() {
        return skipped("a full ledger", "no file system may be mounted here");
    }
    let place = Place::with(&[("held", HELD)]);
    fs::create_dir(place.path("small")).unwrap();
    // Room for the beginning of a run of many tenants, not for all of them.
    let script = "mount -t tmpfs -o size=40k none small; \"$0\" \"$@\"; code=$?; \
                  cat small/*/ledger.jsonl; exit $code";
    let command = place.command_below(
        &["unshare", "-m", "sh", "-c", script],
        &[
            "run",
            "--scenarios",
            "scenarios",
            "--out",
            "small",
            "--namespaces",
            "200",
        ],
    );
    let ended = Running::start(command).end().exits(7).says(&[
        "write the ledger",
        "No space left on device",
        "nothing left behind",
    ]);
    let lines: Vec<&str> = ended.out.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "every line is whole{ended}"
    );
    place.assert_nothing_left();
}

/// Two ways to have no right to mount: without the capability, and as somebody else than root.
#[test]
fn without_the_right_to_mount_a_private_folder_does() {
    let ways: [&[&str]; 2] = [
        &["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
        &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
    ];
    for (number, way) in ways.iter().enumerate() {
        let works = std::process::Command::new(way[0])
            .args(&way[1..])
            .args([MOUNTPROOF, "--version"])
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !works {
            skipped(
                "no right to mount",
                &format!("{} does not work here", way.join(" ")),
            );
            continue;
        }
        let place = Place::new();
        if number == 1 {
            use std::os::unix::fs::PermissionsExt as _;
            for folder in ["", "t"] {
                fs::set_permissions(place.path(folder), fs::Permissions::from_mode(0o777)).unwrap();
            }
        }
        Running::start(place.command_below(way, &["run", "positive", "--out", "out"]))
            .end()
            .exits(0);
        let notes = place.results()["environment"]["notes"].to_string();
        assert!(
            notes.contains("secrets are in a private folder: mounting tmpfs is not allowed here"),
            "{notes}"
        );
        let summary = fs::read_to_string(place.only_run().join("summary.md")).unwrap();
        assert!(summary.contains("private folder"), "{summary}");
        assert!(!files_below(&place.only_run()).is_empty());
        place.assert_nothing_left();
    }
}
