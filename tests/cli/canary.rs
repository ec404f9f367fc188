//! No value of a secret, in no form, and no token is in anything that a run writes or prints.

use std::{collections::BTreeSet, fs};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use mountproof::{
    scenario::model::Content,
    secret::{CANARY, SecretValue},
    tenant::TENANT_SECRET,
};

use crate::support::{Place, Running, files_below};

const SEED: u64 = 41;

/// Every form that the text could take in a file.
fn forms(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let mut forms = vec![value.to_owned()];
    // In the middle of something longer base64 begins at any of three places.
    for shift in 0..3 {
        let mut padded = vec![b'x'; shift];
        padded.extend_from_slice(bytes);
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            // Without the characters that the neighbours have a part in.
            forms.push(text[(shift * 8).div_ceil(6)..text.len() - 3].to_owned());
        }
    }
    let each = |write: &dyn Fn(u8) -> String| bytes.iter().map(|byte| write(*byte)).collect::<String>();
    forms.push(each(&|byte| format!("{byte:02x}")));
    forms.push(each(&|byte| format!("{byte:02X}")));
    forms.push(each(&|byte| format!("%{byte:02X}")));
    forms.push(value.replace('-', "%2D"));
    forms.push(each(&|byte| format!("\\u{byte:04x}")));
    forms.push(serde_json::to_string(value).unwrap().trim_matches('"').to_owned());
    forms.push(bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
    forms
}

/// The secrets that every tenant of a run with [`SEED`] has.
fn values() -> Vec<String> {
    ["team-red", "team-blue"]
        .map(|tenant| {
            let label = format!("{tenant}/{TENANT_SECRET}/1");
            let value = SecretValue::generate(&Content::Text(64), SEED, &label);
            String::from_utf8(value.expose().to_vec()).unwrap()
        })
        .to_vec()
}

/// Three base64url parts, of which the first is a JSON object.
fn tokens(text: &str) -> BTreeSet<&str> {
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.split(|letter: char| !letter.is_ascii() || !(part(letter as u8) || letter == '.'))
        .filter(|word| word.starts_with("eyJ") && word.matches('.').count() >= 2)
        .collect()
}

#[test]
fn no_value_and_no_token_gets_out() {
    let values = values();
    assert!(values.iter().all(|value| value.starts_with(CANARY)));
    let seed = SEED.to_string();
    // A run where all is well and one where everything that can be said of a failure is, both with all that the
    // libraries beneath log.
    let runs: [&[&str]; 2] = [
        &[
            "run",
            "positive",
            "rotation",
            "cross-namespace-denied",
            "impostor-refused",
            "expired-token-refused",
            "--seed",
            &seed,
        ],
        &[
            "run",
            "positive",
            "cross-namespace-denied",
            "fetch-throughput",
            "--fetch-for",
            "1s",
            "--seed",
            &seed,
            "--plant",
            "endpoint:ignore-resource",
            "--plant",
            "provider:wrong-mode",
        ],
    ];
    std::thread::scope(|scope| {
        for arguments in runs {
            let values = &values;
            scope.spawn(move || {
                let place = Place::new();
                let mut command = place.command(arguments);
                command.env("MOUNTPROOF_LOG", "trace");
                let ended = Running::start(command).end();
                assert!(ended.err.contains("TRACE"), "the log is on");
                let mut texts = vec![("stdout".to_owned(), ended.out), ("stderr".to_owned(), ended.err)];
                for file in files_below(&place.only_run()) {
                    let bytes = fs::read(&file).unwrap();
                    texts.push((
                        file.display().to_string(),
                        String::from_utf8_lossy(&bytes).into_owned(),
                    ));
                }
                assert!(texts.len() > 6, "the reports are looked at");
                for (name, text) in &texts {
                    for value in values {
                        for form in forms(value) {
                            if let Some(at) = text.find(&form) {
                                let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
                                let before: String = text[start..at].chars().take(300).collect();
                                panic!("{name} holds a secret as {form:?}, after {before:?}");
                            }
                        }
                    }
                    assert!(!text.contains(CANARY), "{name} holds a generated value");
                    let found = tokens(text);
                    assert!(found.is_empty(), "{name} holds tokens: {found:?}");
                }
            });
        }
    });
}

#[test]
fn what_is_looked_for_is_what_a_run_makes() {
    // The pod's own file, while it is mounted, holds the very value that is looked for elsewhere.
    let place = Place::with(&[(
        "held",
        &crate::support::HELD.replace("secret: red/rotating, within: 10s", "class: red"),
    )]);
    let seed = SEED.to_string();
    let mut running = place.start(&["run", "--scenarios", "scenarios", "--seed", &seed]);
    place.await_hold(&mut running);
    let files: Vec<String> = files_below(&place.path("t").join(&place.scratch()[0]))
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    assert!(
        files.iter().any(|text| values().contains(text)),
        "no mounted file holds one of the values"
    );
    running.signal(rustix::process::Signal::INT);
    running.end().exits(130);
}
