//! Programs that do not come to serve: shell scripts, for what they do is all that counts.

use std::{fs, path::Path, time::Duration};

use mountproof_stand_ins::{
    driver::DriverConfig,
    programs::{DriverOptions, DriverProgram, LOG_LIMIT, ProgramSpec, StartError},
    rest::{ApiAccess, BearerToken},
};
use tempfile::TempDir;

const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJl";

/// Starts `spec` as a driver, which has to fail.
async fn refused(spec: &ProgramSpec, folder: &TempDir, ready: Duration) -> StartError {
    let api = ApiAccess {
        url: "https://127.0.0.1:1".to_owned(),
        ca_pem: String::new(),
        token: BearerToken::new("t"),
    };
    let root = folder.path();
    let config = DriverConfig::new(api, "node", root, root.join("providers"));
    let options = DriverOptions {
        ready,
        ..DriverOptions::default()
    };
    DriverProgram::start(spec, &config, &options, &root.join("log"))
        .await
        .expect_err("it cannot work")
}

/// A program that says nothing of itself, and then does what `script` does.
fn script(script: &str) -> ProgramSpec {
    ProgramSpec {
        program: "/bin/sh".into(),
        // Its first argument is what it is called.
        arguments: vec!["-c".to_owned(), format!("[ \"$0\" = --help ] && exit; {script}")],
    }
}

pub(crate) async fn crash() {
    let folder = tempfile::tempdir().unwrap();
    let crashing = script(&format!("echo began; echo 'panic: token {TOKEN}' >&2; exit 3"));
    let error = refused(&crashing, &folder, Duration::from_mins(1))
        .await
        .to_string();
    for part in [
        "/bin/sh ended with exit status: 3",
        "it wrote last: began | panic: token <hidden>",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("eyJ"), "{error}");
    // What it wrote is there for who looks for tokens in it.
    let log = fs::read_to_string(folder.path().join("log")).unwrap();
    assert!(log.contains(TOKEN), "{log}");

    let silent = refused(&script("kill -9 $$"), &folder, Duration::from_mins(1))
        .await
        .to_string();
    assert!(silent.contains("ended with signal: 9 (SIGKILL)"), "{silent}");
    assert!(silent.contains("it wrote nothing"), "{silent}");
}

pub(crate) async fn hang() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let hanging = script(&format!(
        "echo $$ > {}; echo waiting; exec sleep 600",
        pid.display()
    ));
    let error = refused(&hanging, &folder, Duration::from_secs(2)).await;
    assert!(matches!(error, StartError::Hangs { .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains("does not serve on"), "{error}");
    assert!(error.contains("it wrote last: waiting"), "{error}");
    let pid = fs::read_to_string(pid).unwrap();
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "it still runs");
}

pub(crate) async fn flood() {
    let folder = tempfile::tempdir().unwrap();
    let flooding = script("head -c 83886080 /dev/zero; echo; echo the end; exit 4");
    let error = refused(&flooding, &folder, Duration::from_mins(2))
        .await
        .to_string();
    assert!(error.contains("exit status: 4"), "{error}");
    assert!(error.ends_with("it wrote last: the end"), "{error}");
    let length = fs::metadata(folder.path().join("log")).unwrap().len();
    assert!((LOG_LIMIT..LOG_LIMIT + 200).contains(&length), "{length}");
}

pub(crate) async fn others() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "no program").unwrap();
    for (program, expected) in [
        (
            "/bin/ls".to_owned(),
            "/bin/ls has no flag --endpoint: it is no driver",
        ),
        (text.display().to_string(), "is it a program for this machine?"),
        ("/nowhere/driver".to_owned(), "run /nowhere/driver: No such file"),
    ] {
        let error = refused(&ProgramSpec::new(program), &folder, Duration::from_secs(1))
            .await
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
