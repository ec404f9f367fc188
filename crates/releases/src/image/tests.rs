use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const OTHER: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn parsed(value: &Value) -> Result<Manifest, ImageError> {
    Manifest::parse(value.to_string().as_bytes())
}

fn amd64() -> Platform {
    Platform {
        os: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        variant: None,
    }
}

#[test]
fn the_image_of_this_machine_is_chosen_from_an_index() {
    let entry = |digest: &str, os: &str, architecture: &str| json!({"digest": digest, "size": 1, "platform": {"os": os, "architecture": architecture, "os.version": "x"}});
    let index = |manifests: Vec<Value>| {
        parsed(&json!({"schemaVersion": 2, "manifests": manifests})).expect("an index")
    };
    let both = index(vec![
        entry(OTHER, "windows", "amd64"),
        entry(OTHER, "unknown", "unknown"),
        entry(OTHER, "linux", "arm64"),
        entry(DIGEST, "linux", "amd64"),
    ]);
    let chosen = both.choose(&amd64()).expect("it is there").expect("an index");
    assert_eq!(chosen.digest, DIGEST);
    let others = index(vec![
        entry(OTHER, "linux", "arm64"),
        entry(OTHER, "unknown", "unknown"),
    ]);
    let error = others.choose(&amd64()).expect_err("not there").to_string();
    assert_eq!(
        error,
        "it has no linux/amd64 image, but linux/arm64: take a release that was built for linux/amd64"
    );
    let image =
        parsed(&json!({"schemaVersion": 2, "config": {"digest": DIGEST, "size": 1}})).expect("an image");
    assert_eq!(image.choose(&amd64()).expect("no index"), None);
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let config = json!({"digest": DIGEST, "size": 1});
    let cases = [
        (
            json!({"schemaVersion": 1, "config": config}),
            "of a kind that is not read here (schema 1)",
        ),
        (json!({"schemaVersion": 2}), "it lists neither layers nor images"),
        (json!({"errors": []}), "its manifest cannot be read"),
        (
            json!({"schemaVersion": 2, "config": {"digest": "sha256:../../x", "size": 1}}),
            "not sha256 and 64 digits",
        ),
        (
            json!({"schemaVersion": 2, "config": {"digest": DIGEST, "size": 5 << 20}}),
            "more than 4194304 bytes",
        ),
        (
            json!({"schemaVersion": 2, "config": config, "layers": [{"digest": DIGEST, "size": 3_u64 << 30}]}),
            "more than 2147483648 bytes",
        ),
        (
            json!({"schemaVersion": 2, "config": config, "layers": vec![config.clone(); 501]}),
            "more than 500 layers",
        ),
    ];
    for (manifest, expected) in cases {
        let error = parsed(&manifest).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_entry_point_names_the_program_and_its_arguments() {
    let cases = [
        (json!({"Entrypoint": ["/driver"]}), vec!["/driver"], vec![]),
        (
            json!({"Entrypoint": ["/driver", "a"], "Cmd": ["b"]}),
            vec!["/driver"],
            vec!["a", "b"],
        ),
        (
            json!({"Entrypoint": null, "Cmd": ["/driver", "b"]}),
            vec!["/driver"],
            vec!["b"],
        ),
        (
            json!({"Entrypoint": ["./driver"], "WorkingDir": "/opt/"}),
            vec!["/opt/./driver"],
            vec![],
        ),
        (
            json!({"Entrypoint": ["driver"], "Env": ["A=b", "PATH=/x:/y/:z"]}),
            vec!["/x/driver", "/y/driver"],
            vec![],
        ),
    ];
    for (config, candidates, arguments) in cases {
        let bytes = json!({"config": config}).to_string();
        let command = Config::parse(bytes.as_bytes())
            .expect("a configuration")
            .command(Part::Driver)
            .expect("a command");
        assert_eq!(command.candidates, candidates, "{config}");
        assert_eq!(command.arguments, arguments, "{config}");
    }
    let of_default_path = json!({"config": {"Cmd": ["driver"]}}).to_string();
    let command = Config::parse(of_default_path.as_bytes())
        .expect("a configuration")
        .command(Part::Driver);
    assert_eq!(command.expect("a command").candidates.len(), 6);
}

#[test]
fn an_image_that_names_no_program_is_refused() {
    let cases = [
        (json!({}), "it has no entry point"),
        (json!({"config": null}), "it has no entry point"),
        (
            json!({"config": {"Entrypoint": [], "Cmd": []}}),
            "(those have /bin/secrets-store-csi-driver-provider-aws)",
        ),
        (json!({"config": {"Entrypoint": [""]}}), "it has no entry point"),
        (
            json!({"config": {"Entrypoint": ["/bin/sh", "-c", "exec x"]}}),
            "a line for a shell (exec x)",
        ),
    ];
    for (config, expected) in cases {
        let config = Config::parse(config.to_string().as_bytes()).expect("a configuration");
        let error = config.command(Part::Provider).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(Config::parse(b"[]").is_err());
}

#[test]
fn an_image_of_another_machine_is_refused_though_no_index_said_so() {
    let check = |config: &str| {
        Config::parse(config.as_bytes())
            .expect("a configuration")
            .check_platform(&amd64())
    };
    assert!(check("{}").is_ok());
    assert!(check(r#"{"os": "linux", "architecture": "amd64"}"#).is_ok());
    let error = check(r#"{"os": "linux", "architecture": "arm64"}"#)
        .expect_err("another")
        .to_string();
    assert!(
        error.contains("no linux/amd64 image, but one for linux/arm64"),
        "{error}"
    );
    assert!(check(r#"{"os": "windows", "architecture": "amd64"}"#).is_err());
}

#[test]
fn a_label_tells_the_version() {
    let config = r#"{"config": {"Labels": {"org.opencontainers.image.version": "1.6.0"}}}"#;
    assert_eq!(
        Config::parse(config.as_bytes())
            .expect("a configuration")
            .version_label(),
        Some("1.6.0")
    );
    assert_eq!(
        Config::parse(b"{}").expect("a configuration").version_label(),
        None
    );
}
