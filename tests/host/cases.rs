//! The cases, each in a place of its own with a cache of its own.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use mountproof::secret::CANARY;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    images::{DockerRegistry, Image, Registry, component, program_of_another_machine},
    support::{Ended, HELD, Place, Running, files_below, held_for_ever, verdicts},
    world::Before,
};

/// Images of every kind, and the registry that has them.
fn shelf() -> &'static Registry {
    static SHELF: OnceLock<Registry> = OnceLock::new();
    SHELF.get_or_init(|| {
        let standin = |arguments: &[&str]| Image::standin(arguments);
        Registry::start(&[
            ("driver:1.6.0", &standin(&["driver"])),
            ("provider:3.1.1", &standin(&["provider"])),
            (
                "driver:tokens-in-log",
                &standin(&["driver", "--defect", "tokens-in-log"]),
            ),
            ("driver:as-released", &standin(&["driver", "--as-released"])),
            ("provider:as-released", &standin(&["provider", "--as-released"])),
            (
                "driver:empty-mount",
                &standin(&["driver", "--defect", "empty-mount"]),
            ),
            (
                "driver:crash-with-mounts",
                &standin(&["driver", "--defect", "crash-with-mounts"]),
            ),
            (
                "driver:prints-and-leaves",
                &standin(&[
                    "driver",
                    "--defect",
                    "prints-secrets",
                    "--defect",
                    "tokens-in-log",
                    "--defect",
                    "leaves-mounts",
                ]),
            ),
            (
                "provider:ignores-denial",
                &standin(&["provider", "--defect", "ignores-denial"]),
            ),
            (
                "provider:crash-at-start",
                &standin(&["provider", "--defect", "crash-at-start"]),
            ),
            ("provider:hang", &standin(&["provider", "--defect", "hang"])),
            ("driver:text", &Image::of_program(b"#!/bin/sh\nexit 0\n")),
            (
                "driver:other-machine",
                &Image::of_program(&program_of_another_machine()),
            ),
            ("damaged:1", &standin(&["driver"])),
        ])
    })
}

/// The command, with a cache in the place.
fn host(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(&[&["run", "--env", "host"], arguments].concat());
    command
        .env("XDG_CACHE_HOME", place.path("cache"))
        .env("DOCKER_CONFIG", place.path("docker"))
        .env_remove("MOUNTPROOF_DRIVER_REPOSITORY")
        .env_remove("MOUNTPROOF_PROVIDER_REPOSITORY");
    command
}

/// The same with a driver and a provider of the shelf.
fn with_images(place: &Place, driver: &str, provider: &str, arguments: &[&str]) -> Command {
    let (driver, provider) = (
        shelf().image(&format!("driver:{driver}")),
        shelf().image(&format!("provider:{provider}")),
    );
    let named = ["--driver", &driver, "--provider", &provider];
    host(place, &[&named, arguments].concat())
}

fn run(command: Command) -> Ended {
    Running::start(command).end()
}

fn all_pass(place: &Place) -> usize {
    let verdicts = verdicts(&place.results());
    for (case, verdict) in &verdicts {
        assert_eq!(verdict, "passed", "{case}");
    }
    verdicts.len()
}

pub(crate) fn images_prove_the_catalogue() {
    let (driver, provider) = (Image::standin(&["driver"]), Image::standin(&["provider"]));
    let debian = DockerRegistry::start();
    let names = match &debian {
        Some(registry) => [
            registry.push("driver:1.6.0", &driver),
            registry.push("provider:3.1.1", &provider),
        ],
        None => [shelf().image("driver:1.6.0"), shelf().image("provider:3.1.1")],
    };
    let before = Before::look();
    let place = Place::new();
    let arguments = [
        "--driver",
        &names[0],
        "--provider",
        &names[1],
        "--profile",
        "conformance",
        "--profile",
        "isolation",
    ];
    run(host(&place, &arguments))
        .exits(0)
        .says(&["nothing left behind"]);
    assert!(all_pass(&place) >= 14);
    let results = place.results();
    for (seam, image, version) in [("driver", &driver, "1.6.0"), ("provider", &provider, "3.1.1")] {
        let component = component(&results, seam);
        assert_eq!(component["version"], version);
        assert_eq!(component["stand_in"], false);
        let notes = component["notes"].to_string();
        for said in [&image.digest(), "linux/", "--provider-volume="] {
            assert!(notes.contains(said), "{seam} does not say {said}: {notes}");
        }
    }
    let summary = fs::read_to_string(place.only_run().join("summary.md")).unwrap();
    assert!(summary.contains(&driver.digest()), "{summary}");
    before.is_as_it_was(&place);

    // The registry is gone, or not asked.
    drop(debian);
    fs::remove_dir_all(place.path("out")).unwrap();
    let offline = [&arguments[..4], &["--offline", "positive"]].concat();
    run(host(&place, &offline))
        .exits(0)
        .says(&["from the cache as of"]);
    assert_eq!(all_pass(&place), 2);
    let notes = component(&place.results(), "driver")["notes"].to_string();
    assert!(notes.contains("from the cache as of"), "{notes}");
    before.is_as_it_was(&place);
}

pub(crate) fn archives_do_as_images_do() {
    let (driver, provider) = (Image::standin(&["driver"]), Image::standin(&["provider"]));
    let place = Place::new();
    driver.save(&place.path("driver.tar"), "driver:1.6.0");
    provider.lay_out(&place.path("provider"));
    let arguments = [
        "--driver",
        "./driver.tar",
        "--provider",
        "./provider/",
        "positive",
        "calls-per-mount",
    ];
    let before = Before::look();
    run(host(&place, &arguments)).exits(0);
    assert_eq!(all_pass(&place), 3);
    let results = place.results();
    let calls = results["calls"][0]["calls"].as_array().unwrap();
    let fetches: Vec<_> = calls
        .iter()
        .filter(|call| call["call"] == "secretsmanager:GetSecretValue")
        .map(|call| (&call["on_mounts"], &call["on_refreshes"]))
        .collect();
    assert_eq!(fetches, [(&10.into(), &20.into())]);
    let notes = component(&results, "provider")["notes"].to_string();
    assert!(notes.contains(&provider.digest()), "{notes}");
    before.is_as_it_was(&place);
}

pub(crate) fn a_provider_that_ignores_a_denial_fails_isolation() {
    let place = Place::new();
    run(with_images(
        &place,
        "1.6.0",
        "ignores-denial",
        &["cross-namespace-denied"],
    ))
    .exits(4)
    .says(&["isolation failed"]);
    for (case, verdict) in verdicts(&place.results()) {
        assert_eq!(verdict, "failed", "{case}");
    }
}

pub(crate) fn a_driver_that_mounts_nothing_fails_conformance() {
    let place = Place::new();
    run(with_images(&place, "empty-mount", "3.1.1", &["positive"]))
        .exits(1)
        .says(&["conformance failed"]);
    for (case, verdict) in verdicts(&place.results()) {
        assert_eq!(verdict, "failed", "{case}");
    }
}

/// The scenarios of what is known to be wrong with the driver, in both directions.
pub(crate) fn known_issues_of_the_driver() {
    let cases: [(&str, &[&str], i32, &str, bool); 3] = [
        ("as-released", &[], 0, "known-issue", true),
        ("as-released", &["--strict"], 1, "failed", true),
        ("1.6.0", &["--strict"], 0, "passed", false),
    ];
    for (driver, strict, exit, expected, shows) in cases {
        let place = Place::new();
        let before = Before::look();
        run(with_images(
            &place,
            driver,
            "3.1.1",
            &[&["mount-after"], strict].concat(),
        ))
        .exits(exit)
        .says(&["nothing left behind"]);
        let results = place.results();
        let verdicts = verdicts(&results);
        assert_eq!(verdicts.len(), 4, "{verdicts:?}");
        for (case, verdict) in verdicts {
            assert_eq!(verdict, expected, "{driver} {strict:?}: {case}");
        }
        for case in results["cases"].as_array().unwrap() {
            // What does not show is told as fixed.
            assert_eq!(case["known_issue"]["shows"], shows, "{driver} {strict:?}: {case}");
        }
        before.is_as_it_was(&place);
    }
}

/// Likewise of those that both programs have, and of some that mounts show which are not interrupted.
pub(crate) fn known_issues_of_driver_and_provider() {
    for (release, provider, expected) in [
        ("as-released", "as-released", "known-issue"),
        ("1.6.0", "3.1.1", "passed"),
    ] {
        let place = Place::new();
        let before = Before::look();
        let named = [
            "failover-keeps-denial",
            "synced-secret-kept",
            "poll-interval-kept",
        ];
        run(with_images(&place, release, provider, &named))
            .exits(0)
            .says(&["nothing left behind"]);
        let verdicts = verdicts(&place.results());
        assert_eq!(verdicts.len(), 3, "{verdicts:?}");
        for (case, verdict) in verdicts {
            assert_eq!(verdict, expected, "{release}: {case}");
        }
        before.is_as_it_was(&place);
    }
}

pub(crate) fn a_driver_that_logs_tokens_fails_and_its_log_is_kept_without_them() {
    let place = Place::new();
    run(with_images(
        &place,
        "tokens-in-log",
        "3.1.1",
        &["no-token-in-log"],
    ))
    .exits(1);
    let told = verdicts(&place.results());
    assert_eq!(told, [("no-token-in-log".to_owned(), "failed".to_owned())]);
    let results = place.results().to_string();
    assert!(
        results.contains("the log of the driver has a token in it"),
        "{results}"
    );
    let log = fs::read_to_string(place.only_run().join("driver.log")).unwrap();
    assert!(log.contains("serviceAccount.tokens"), "{log}");
    for path in files_below(&place.path("out")) {
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        assert!(!text.contains("eyJ"), "{} has a token", path.display());
    }
}

pub(crate) fn a_bad_program_is_refused_and_leaves_no_run() {
    let place = Place::new();
    let before = Before::look();
    fs::write(place.path("text"), "#!/bin/sh\nexit 0\n").unwrap();
    fs::write(place.path("other"), program_of_another_machine()).unwrap();
    fs::write(place.path("broken.tar"), "no archive").unwrap();
    let image = |name: &str| shelf().image(name);
    let cases = [
        ("./text".to_owned(), "it is a script"),
        ("./other".to_owned(), "and this machine is"),
        ("./no-such-file".to_owned(), "no-such-file"),
        ("./broken.tar".to_owned(), "broken.tar"),
        (image("driver:text"), "it is a script"),
        (image("driver:other-machine"), "and this machine is"),
        (image("driver:none"), "does not have"),
        (image("private:1"), "does not let an anonymous client read"),
        (
            image("garbage:1"),
            "sent something else where the manifest should be",
        ),
        (image("damaged:1"), "sha256:"),
    ];
    let provider = image("provider:3.1.1");
    for (driver, said) in cases {
        let arguments = ["--driver", &driver, "--provider", &provider, "positive"];
        run(host(&place, &arguments)).exits(3).says(&["error", said]);
        assert_eq!(place.runs(), Vec::<PathBuf>::new(), "{driver}");
        let programs = place.path("cache/mountproof/releases/programs");
        let kept = if programs.exists() {
            files_below(&programs)
        } else {
            Vec::new()
        };
        assert_eq!(kept, Vec::<PathBuf>::new(), "{driver}");
    }
    before.is_as_it_was(&place);
}

pub(crate) fn a_program_that_does_not_serve_ends_the_run() {
    for (provider, said) in [
        ("crash-at-start", "ended with exit status: 2"),
        ("hang", "does not serve on"),
    ] {
        let place = Place::new();
        let before = Before::look();
        let ended = run(with_images(&place, "1.6.0", provider, &["positive"]))
            .exits(3)
            .says(&["cannot start the provider", said, "nothing left behind"]);
        assert!(!ended.err.contains("eyJ"), "a token{ended}");
        let results = place.results();
        for (case, verdict) in verdicts(&results) {
            assert_eq!(verdict, "errored", "{case}");
        }
        // Its log is what tells more; its last words are said once, and not by every case.
        assert!(place.only_run().join("provider.log").is_file());
        let cases = results["cases"].to_string();
        assert!(cases.contains(said) && !cases.contains("it wrote"), "{cases}");
        before.is_as_it_was(&place);
    }
}

pub(crate) fn a_crash_in_the_middle_is_no_failure() {
    let place = Place::new();
    let before = Before::look();
    run(with_images(&place, "crash-with-mounts", "3.1.1", &["positive"]))
        .exits(6)
        .says(&["the driver ended by itself"]);
    for (case, verdict) in verdicts(&place.results()) {
        assert_eq!(verdict, "errored", "{case}");
    }
    assert!(place.only_run().join("driver.log").is_file());
    before.is_as_it_was(&place);
}

pub(crate) fn secrets_printed_and_mounts_left() {
    let place = Place::new();
    let before = Before::look();
    let ended = run(with_images(&place, "prints-and-leaves", "3.1.1", &["positive"])).exits(0);
    let log = fs::read_to_string(place.only_run().join("driver.log")).unwrap();
    for printed in ["wrote ", "\"node publish volume\" attributes="] {
        assert!(log.contains(printed), "it does not print {printed:?}: {log}");
    }
    let mut texts = vec![ended.out, ended.err];
    for file in files_below(&place.only_run()) {
        texts.push(String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned());
    }
    for text in texts {
        assert!(!text.contains(CANARY), "a secret: {text}");
        assert!(!text.contains("eyJ"), "a token: {text}");
    }
    before.is_as_it_was(&place);
}

fn held(scenarios: &[(&str, &str)]) -> (Place, Before, Running) {
    let place = Place::with(scenarios);
    let before = Before::look();
    let arguments = ["--scenarios", "scenarios", "--jobs", "1"];
    let mut running = Running::start(with_images(&place, "1.6.0", "3.1.1", &arguments));
    place.await_hold(&mut running);
    (place, before, running)
}

pub(crate) fn signals_take_down_and_report() {
    for (signal, name) in [(Signal::INT, "SIGINT"), (Signal::TERM, "SIGTERM")] {
        let (place, before, running) = held(&[("a", &held_for_ever()), ("b", HELD)]);
        running.signal(signal);
        running
            .end()
            .exits(130)
            .says(&["nothing left behind", "exit 130 (interrupted)", name]);
        assert_eq!(place.results()["exit_code"], 130);
        for report in [
            "junit.xml",
            "report.html",
            "summary.md",
            "driver.log",
            "provider.log",
        ] {
            assert!(place.only_run().join(report).is_file(), "{report}");
        }
        before.is_as_it_was(&place);
    }
}

pub(crate) fn a_killed_outer_process_leaves_nothing() {
    let (place, before, running) = held(&[("held", &held_for_ever())]);
    running.signal(Signal::KILL);
    let ended = running.end();
    assert!(!ended.status().success(), "{ended}");
    // What was inside winds up by itself, reports included.
    before.is_as_it_was(&place);
    assert_eq!(place.results()["exit_code"], 130);
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["left nothing"]);
}

pub(crate) fn what_is_cut_off_inside_is_swept() {
    let (place, before, running) = held(&[("held", &held_for_ever())]);
    kill_process(unshare(&place), Signal::KILL).unwrap();
    running.end().exits(3).says(&["cut off"]);
    before.is_as_it_was(&place);
    place.run(&["sweep", "--reports", "out"]).exits(0);
    place
        .run(&["sweep", "--reports", "out"])
        .exits(0)
        .prints(&["left nothing"]);
}

/// The process that holds the namespaces of the run in this place.
fn unshare(place: &Place) -> Pid {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let found = crate::world::processes(place);
        let unshare = found.iter().find_map(|line| {
            line.split_once(' ')
                .filter(|(_, command)| command.starts_with("unshare "))
        });
        if let Some((path, _)) = unshare {
            let number = path.trim_start_matches("/proc/").parse().unwrap();
            return Pid::from_raw(number).unwrap();
        }
        assert!(Instant::now() < until, "no unshare among {found:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn usage_errors() {
    let place = Place::new();
    let cases: [(&[&str], &str); 7] = [
        (&["run", "--driver", "./driver"], "add --env host"),
        (&["run", "--kube-apiserver", "./a"], "--etcd"),
        (
            &["run", "--env", "host", "--driver", "./driver"],
            "needs a provider",
        ),
        (
            &["run", "--env", "host", "--provider-version", "3.1.1"],
            "needs a driver",
        ),
        (
            &[
                "run",
                "--env",
                "host",
                "--driver",
                "1.6.0",
                "--provider-version",
                "3.1.1",
            ],
            "say --driver-version 1.6.0",
        ),
        (
            &[
                "run",
                "--env",
                "host",
                "--driver",
                "driver",
                "--provider-version",
                "3.1.1",
            ],
            "./driver",
        ),
        (
            &[
                "run",
                "--env",
                "host",
                "--driver",
                "./a",
                "--driver-version",
                "1.6.0",
            ],
            "cannot be used with",
        ),
    ];
    for (arguments, said) in cases {
        place.run(arguments).exits(2).says(&[said]);
    }
    assert_eq!(place.runs(), Vec::<PathBuf>::new());
}
