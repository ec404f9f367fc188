//! What hides secrets in text.
//!
//! Two nets: every form of every value that the run made or read is replaced, and so is anything
//! that looks like a token or a key, whether known or not. The journal runs every string of every
//! event through it, so nothing behind the journal needs to.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt::{self, Write as _},
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

use crate::journal::Event;

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Shorter values would redact ordinary words; no secret of a run is that short.
const SHORTEST: usize = 6;

/// Set of known secret values. Cheap to clone; clones share the set.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Known>>,
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    /// Built from `forms` when first needed after a change.
    search: Option<Arc<AhoCorasick>>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Hides `value` from now on, in every form it could take in text: as it is, JSON-escaped, as
    /// base64 (also in the middle of something longer), hexadecimal and percent-encoded. Of a JSON
    /// object, every string in it too. Values under six bytes are left alone.
    pub fn protect(&self, value: &[u8]) {
        let mut forms = BTreeSet::new();
        add_forms(value, &mut forms);
        if let Ok(json @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(value) {
            each_string(&json, &mut |text| add_forms(text.as_bytes(), &mut forms));
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        known.forms.extend(forms);
        if known.forms.len() != before {
            known.search = None;
        }
    }

    /// `text` without secrets.
    #[must_use]
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let without_known = match self.search() {
            Some(search) if search.is_match(text) => {
                let mut clean = String::with_capacity(text.len());
                search.replace_all_with(text, &mut clean, |_, _, clean| {
                    clean.push_str(REDACTED);
                    true
                });
                Cow::Owned(clean)
            }
            _ => Cow::Borrowed(text),
        };
        match hide_look_alikes(&without_known) {
            Some(clean) => Cow::Owned(clean),
            None => without_known,
        }
    }

    /// Whether `text` has a known value in it, in any form.
    #[must_use]
    pub fn knows_any_in(&self, text: &str) -> bool {
        self.search().is_some_and(|search| search.is_match(text))
    }

    /// `event` without secrets in any of its strings.
    #[must_use]
    pub fn redact_event(&self, event: Event) -> Event {
        let Ok(mut value) = serde_json::to_value(&event) else {
            return event;
        };
        if !self.redact_value(&mut value) {
            return event;
        }
        // Only free text changes, so the shape still fits; if a secret's value were the name of a
        // verdict, the text would be lost rather than shown.
        serde_json::from_value(value).unwrap_or_else(|_| Event {
            event: crate::journal::EventKind::WarningRaised(crate::journal::WarningRaised {
                text: format!("event {} was left out: it could not be redacted", event.sequence),
            }),
            ..event
        })
    }

    /// Whether anything changed.
    fn redact_value(&self, value: &mut Value) -> bool {
        match value {
            Value::String(text) => {
                let clean = match self.redact(text) {
                    Cow::Borrowed(_) => return false,
                    Cow::Owned(clean) => clean,
                };
                *text = clean;
                true
            }
            Value::Array(items) => items
                .iter_mut()
                .fold(false, |changed, item| self.redact_value(item) | changed),
            Value::Object(fields) => {
                let mut changed = false;
                for (key, field) in fields.iter_mut() {
                    // A histogram's bytes hold counts only, and look like a key.
                    changed |= key != "payload" && self.redact_value(field);
                }
                if fields.keys().any(|key| matches!(self.redact(key), Cow::Owned(_))) {
                    let old = std::mem::take(fields);
                    fields.extend(
                        old.into_iter()
                            .map(|(key, field)| (self.redact(&key).into_owned(), field)),
                    );
                    changed = true;
                }
                changed
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => false,
        }
    }

    fn search(&self) -> Option<Arc<AhoCorasick>> {
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if known.search.is_some() || known.forms.is_empty() {
                return known.search.clone();
            }
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.search.is_none() {
            let search = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&known.forms);
            known.search = Some(Arc::new(
                search.expect("secret values are far below the automaton's limits"),
            ));
        }
        known.search.clone()
    }
}

fn add_forms(value: &[u8], forms: &mut BTreeSet<String>) {
    if value.len() < SHORTEST {
        return;
    }
    if let Ok(text) = std::str::from_utf8(value) {
        forms.insert(text.to_owned());
        let trimmed = text.trim();
        if trimmed.len() >= SHORTEST {
            forms.insert(trimmed.to_owned());
        }
        let json = Value::String(text.to_owned()).to_string();
        let escaped = json[1..json.len() - 1].to_owned();
        // JSON within JSON: an AWS answer quoted in an event.
        let twice = Value::String(escaped.clone()).to_string();
        forms.insert(twice[1..twice.len() - 1].to_owned());
        forms.insert(escaped);
        forms.insert(format!("{text:?}").trim_matches('"').to_owned());
    }
    forms.insert(percent_encode(value, false));
    forms.insert(percent_encode(value, true));
    let hexadecimal = hexadecimal(value);
    forms.insert(hexadecimal.to_uppercase());
    forms.insert(hexadecimal);
    for shift in 0..3 {
        let mut shifted = vec![0; shift];
        shifted.extend_from_slice(value);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&shifted);
            // Characters that also depend on what stands before or after the value are cut off.
            let first = [0, 2, 3][shift];
            let last = if shifted.len().is_multiple_of(3) {
                encoded.len()
            } else {
                encoded.len() - 1
            };
            if last - first >= SHORTEST {
                forms.insert(encoded[first..last].to_owned());
            }
        }
    }
}

fn hexadecimal(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// As in a URL, or as in a form, where a blank is a `+`.
fn percent_encode(value: &[u8], form: bool) -> String {
    value.iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                text.push(char::from(*byte));
            }
            b' ' if form => text.push('+'),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    })
}

fn each_string(value: &Value, visit: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| each_string(field, visit)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces what looks like a JSON Web Token, an AWS secret access key or a session token; [`None`]
/// when nothing does.
fn hide_look_alikes(text: &str) -> Option<String> {
    let mut clean = String::new();
    let mut kept = 0;
    let mut start = 0;
    let bytes = text.as_bytes();
    while start < bytes.len() {
        if !is_key_byte(bytes[start]) {
            start += 1;
            continue;
        }
        let end = start
            + bytes[start..]
                .iter()
                .take_while(|byte| is_key_byte(**byte))
                .count();
        if let Some((from, to)) = look_alike(&text[start..end]) {
            clean.push_str(&text[kept..start + from]);
            clean.push_str(REDACTED);
            kept = start + to;
        }
        start = end;
    }
    (kept > 0).then(|| {
        clean.push_str(&text[kept..]);
        clean
    })
}

/// The alphabet of tokens and keys, with the dot of a JSON Web Token and the `%` of encoded ones.
fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'%')
}

/// The part of `run` to hide.
fn look_alike(run: &str) -> Option<(usize, usize)> {
    if let Some(from) = run.find("eyJ")
        && is_web_token(&run[from..])
    {
        return Some((from, run.len()));
    }
    // `SecretAccessKey=wJal...`: the run includes the label.
    let from = run
        .find('=')
        .filter(|at| at + 1 < run.len() && run.len() - at > 20)
        .map_or(0, |at| at + 1);
    let value = run[from..].trim_end_matches('.');
    let to = from + value.len();
    let secret_key = value.len() == 40
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte));
    let session_token = value.len() >= 120 && !value.contains('.') && !value.starts_with('/');
    ((secret_key || session_token) && is_mixed(value)).then_some((from, to))
}

fn is_web_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let long = |part: Option<&str>| part.is_some_and(|part| part.len() >= 8);
    long(parts.next()) && long(parts.next()) && parts.next().is_some()
}

/// Upper case, lower case and digits: no word, no path, no hexadecimal digest.
fn is_mixed(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && text.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;
    use crate::journal::{EventKind, HistogramRecorded};

    #[test]
    fn every_form_of_a_known_value_is_hidden() {
        let secret = "mp-canary-\"quoted\"\n/plus+\u{e9}";
        let redactor = Redactor::default();
        redactor.protect(secret.as_bytes());
        let json = serde_json::to_string(secret).unwrap();
        let forms = [
            secret.to_owned(),
            json.clone(),
            serde_json::to_string(&json).unwrap(),
            format!("{secret:?}"),
            STANDARD.encode(secret),
            URL_SAFE.encode(secret),
            STANDARD.encode(format!("{{\"a\":\"{secret}\"}}")),
            STANDARD.encode(format!("x{secret}y")),
            URL_SAFE.encode(format!("xy{secret}z")),
            percent_encode(secret.as_bytes(), false),
            hexadecimal(secret.as_bytes()),
        ];
        assert!(!redactor.knows_any_in("nothing to see"));
        for form in forms {
            let clean = redactor.redact(&form);
            assert!(clean.contains(REDACTED), "{form} -> {clean}");
            assert!(!clean.contains("canary"), "{form} -> {clean}");
        }
    }

    #[test]
    fn strings_within_a_json_secret_are_secrets() {
        let redactor = Redactor::default();
        redactor.protect(br#"{"user":"mp-canary-user-1","deep":[{"password":"mp-canary-pass-2"}]}"#);
        assert_eq!(
            redactor.redact("as mp-canary-user-1: mp-canary-pass-2."),
            "as [redacted]: [redacted]."
        );
    }

    #[test]
    fn tokens_and_keys_are_hidden_though_unknown_and_names_are_not() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";
        let key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let session = format!("IQoJb3JpZ2luX2VjE{}", "aB3/".repeat(40));
        for (text, clean) in [
            (
                format!("Authorization: Bearer {token}"),
                "Authorization: Bearer [redacted]".to_owned(),
            ),
            (format!("\"{token}\""), "\"[redacted]\"".to_owned()),
            (
                format!("SecretAccessKey={key}, next"),
                "SecretAccessKey=[redacted], next".to_owned(),
            ),
            (format!("key {key}"), "key [redacted]".to_owned()),
            (
                format!("<SessionToken>{session}</SessionToken>"),
                "<SessionToken>[redacted]</SessionToken>".to_owned(),
            ),
        ] {
            assert_eq!(Redactor::default().redact(&text), clean);
        }
        for name in [
            "arn:aws:sts::000000000000:assumed-role/demo-team-blue-secrets-manager-role/1764025331000000000",
            "arn:aws:secretsmanager:us-east-1:000000000000:secret:demo/team-red/secret-Ab3dEf",
            "0e5751c026e543b2e8ab2eb06099daa1d1e5df47",
            "/var/lib/kubelet/pods/2b0f1a1e-9c2f-4a57-8a52-3d1f3f6f2f10/volumes/kubernetes.io~csi/secrets-store-inline/mount",
            "annotation-names-other-role[team-red]",
            "",
        ] {
            assert_eq!(Redactor::default().redact(name), name);
        }
    }

    #[test]
    fn a_histogram_is_left_alone() {
        let event = Event {
            sequence: 0,
            at: jiff::Timestamp::UNIX_EPOCH,
            elapsed_us: 0,
            event: EventKind::HistogramRecorded(HistogramRecorded {
                measurement: "m".to_owned(),
                tag: "steady".to_owned(),
                start_us: 0,
                length_us: 1,
                payload: "aB3/".repeat(60),
            }),
        };
        assert_eq!(Redactor::default().redact_event(event.clone()), event);
    }

    proptest! {
        #[test]
        fn no_known_value_survives_wherever_it_stands(
            secret in "[ -~]{6,40}", before in "[a-z :\"{]{0,12}", after in "[a-z :\"}]{0,12}",
        ) {
            let redactor = Redactor::default();
            redactor.protect(secret.as_bytes());
            let clean = redactor.redact(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(!clean.contains(&secret) || REDACTED.contains(&secret));
            let encoded = redactor.redact(&STANDARD.encode(format!("{before}{secret}{after}"))).into_owned();
            let decoded = STANDARD.decode(&encoded).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            prop_assert!(!decoded.is_ok_and(|text| text.contains(&secret)));
        }

        #[test]
        fn text_without_secrets_is_unchanged(text in "[a-z0-9 :/.-]{0,200}") {
            prop_assert_eq!(Redactor::default().redact(&text), text.as_str());
        }
    }
}
