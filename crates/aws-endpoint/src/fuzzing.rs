//! What the targets in `fuzz/` run: bytes in, and a panic where a law does not hold.
//!
//! Each takes a text that a person can write, so that the seeds in `fuzz/corpus` can be read.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::iam::policy::Effect;
use crate::iam::{
    Context, Decision, Document, IamError, IamState, NamedPolicy, Params, Policy, PolicySet, Principal,
    Reason, Request, Rules, evaluate, service,
};
use crate::sigv4::{Claim, Encode, Fault, Lifetime, Signed, SigningKeys, Style};
use crate::wire::xml;

const ACCOUNT: &str = "000000000000";
/// A date of which seeds can be signed.
const NOW: i64 = 1_440_938_160;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Three lines (action, resource, condition keys as `key=value` with tabs between) and a policy document.
///
/// Whatever it is, it is read or refused, and what is read decides: a grant names a statement that allows, unless it
/// is the root user's; a denial names one that denies, or none. Written out and read again it is the same policy.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(4, '\n');
    let (Some(action), Some(resource), Some(keys), Some(document)) =
        (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let pairs = keys.split('\t').filter_map(|pair| pair.split_once('='));
    let context: Context = pairs.collect();
    for kind in [
        Document::Identity,
        Document::Session,
        Document::Resource,
        Document::Trust,
    ] {
        match Policy::parse(document, kind) {
            Ok(policy) => {
                let written = policy.to_json();
                let again = Policy::parse(&written.to_string(), kind).map(|policy| policy.to_json());
                assert_eq!(again, Ok(written), "written out and read again");
                decide(
                    action,
                    resource,
                    &context,
                    NamedPolicy::new("fuzzed", policy),
                    kind,
                );
            }
            Err(error) => assert!(!error.aws_text().is_empty() && !error.to_string().is_empty()),
        }
    }
}

fn decide(action: &str, resource: &str, context: &Context, fuzzed: NamedPolicy, kind: Document) {
    let role = "arn:aws:iam::000000000000:role/red";
    let principals = [
        Principal::assumed_role(role, "AROAREDREDREDREDRED12", "s1"),
        Principal::Root {
            account: ACCOUNT.to_owned(),
        },
        Principal::Federated {
            provider_arn: "arn:aws:iam::000000000000:oidc-provider/oidc.example/id/X".to_owned(),
        },
        Principal::Service {
            name: "pods.eks.amazonaws.com".to_owned(),
        },
    ];
    let all = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let Ok(all) = Policy::parse(all, Document::Identity) else {
        panic!("a document of our own")
    };
    let (all, fuzzed) = ([NamedPolicy::new("all", all)], [fuzzed]);
    let plain = PolicySet {
        identity: &all,
        ..PolicySet::default()
    };
    let sets: &[PolicySet<'_>] = match kind {
        Document::Identity => &[
            PolicySet {
                identity: &fuzzed,
                ..PolicySet::default()
            },
            PolicySet {
                boundary: Some(&fuzzed[0]),
                ..plain
            },
        ],
        Document::Session => &[PolicySet {
            session: Some(&fuzzed),
            ..plain
        }],
        Document::Resource => &[PolicySet {
            resource: Some(&fuzzed[0]),
            ..PolicySet::default()
        }],
        Document::Trust => &[PolicySet {
            trust: Some(&fuzzed[0]),
            ..plain
        }],
    };
    for principal in &principals {
        for resource_account in [ACCOUNT, "111111111111"] {
            let request = Request {
                principal,
                action,
                resource,
                resource_account,
                context,
            };
            for set in sets {
                check(&evaluate(&request, set, Rules::default()), principal, action);
            }
        }
    }
}

fn check(decision: &Decision, principal: &Principal, action: &str) {
    let effect = decision.statement.as_ref().map(|statement| statement.effect);
    match decision.reason {
        Reason::Allowed => {
            let root = matches!(principal, Principal::Root { .. });
            assert!(
                effect == Some(Effect::Allow) || (root && effect.is_none()),
                "{decision:?}"
            );
        }
        Reason::ExplicitDeny(_) => assert_eq!(effect, Some(Effect::Deny)),
        Reason::ImplicitDeny(_) => assert_eq!(effect, None),
    }
    assert_eq!(decision.reason.because(action).is_none(), decision.allowed());
    for text in [
        decision.statement.as_ref().map(ToString::to_string),
        decision.near_miss.as_ref().map(ToString::to_string),
    ] {
        assert_ne!(text.as_deref(), Some(""));
    }
}

/// A request as on the wire: a line with method and target, header lines, an empty line, the body.
///
/// Whatever it is, it is refused in words or verified; and what one secret signed, no other did. Whether it was
/// verified is the answer.
#[must_use]
pub fn signature(data: &[u8]) -> bool {
    let split = data.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = split.map_or((data, &b""[..]), |at| (&data[..at], &data[at + 2..]));
    let Ok(head) = std::str::from_utf8(head) else {
        return false;
    };
    let mut lines = head.split('\n');
    let line = lines.next().unwrap_or_default();
    let line = line.strip_suffix(" HTTP/1.1").unwrap_or(line);
    let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let name = HeaderName::try_from(name.trim());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value.trim())) {
            headers.append(name, value);
        }
    }
    let request = Signed {
        method,
        path,
        query,
        headers: &headers,
        authority: Some("sts.eu-west-1.amazonaws.com"),
        body,
    };
    let claim = match Claim::of(&request) {
        Ok(claim) => claim,
        Err(fault) => {
            told(&fault);
            return false;
        }
    };
    let now = Timestamp::from_second(NOW).unwrap_or_default();
    let keys = SigningKeys::default();
    for lifetime in [Lifetime::Stated, Lifetime::Window] {
        if let Err(fault) = claim.check_time(now, lifetime) {
            told(&fault);
        }
    }
    if let Err(fault) = claim.check_scope(Some("eu-west-1"), Some("sts")) {
        told(&fault);
    }
    let unsigned_token = Style {
        token_signed: false,
        ..Style::SERVICE
    };
    let once = Style {
        encode: Encode::Once,
        ..Style::SERVICE
    };
    let mut verified = false;
    for style in [Style::SERVICE, Style::S3, unsigned_token, once] {
        match claim.verify(&request, SECRET, &keys, style) {
            Ok(()) => {
                assert!(claim.verify(&request, "another", &keys, style).is_err());
                verified = true;
            }
            Err(fault) => told(&fault),
        }
    }
    verified
}

fn told(fault: &Fault) {
    let silent = matches!(fault, Fault::Mismatch(text) if text.is_empty());
    assert!(silent || !fault.to_string().is_empty());
}

/// The form body of a call of IAM.
///
/// Whatever it is, it is refused with a code and a status of the caller's fault, or carried out with an answer that
/// is well-formed XML; and what is left can be asked for again.
pub fn query(data: &[u8]) {
    let params = Params::of_form(data);
    let now = Timestamp::from_second(NOW).unwrap_or_default();
    let mut state = IamState::new(ACCOUNT, 7);
    let trust = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}}"#;
    let before = [
        ("Action", "CreateRole"),
        ("RoleName", "red"),
        ("AssumeRolePolicyDocument", trust),
    ];
    let role = service::execute(&mut state, "CreateRole", &before.into_iter().collect(), now);
    assert!(role.is_ok());
    let operation = params.optional("Action").unwrap_or_default();
    if let Err(error) = service::authorisation(&state, operation, &params) {
        refused(&error);
    }
    match service::execute(&mut state, operation, &params, now) {
        Ok(answer) => well_formed(&xml::response(
            "Fuzzed",
            service::NAMESPACE,
            answer.as_deref(),
            "id",
        )),
        Err(error) => refused(&error),
    }
    for operation in ["ListRoles", "ListPolicies", "ListOpenIDConnectProviders"] {
        assert!(service::execute(&mut state, operation, &Params::default(), now).is_ok());
    }
}

fn refused(error: &IamError) {
    assert!((400..500).contains(&error.status()) && !error.code().is_empty());
    well_formed(&xml::error(
        service::NAMESPACE,
        xml::Fault::Sender,
        error.code(),
        &error.message,
        "id",
    ));
}

fn well_formed(text: &str) {
    let mut reader = quick_xml::Reader::from_str(text);
    loop {
        match reader.read_event() {
            Ok(quick_xml::events::Event::Eof) => break,
            Ok(_) => {}
            Err(error) => panic!("{error} in {text}"),
        }
    }
    let allowed = |char: char| matches!(char, '\t' | '\n' | '\r' | ' '..);
    assert!(text.chars().all(allowed), "no character of XML: {text:?}");
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    type Target = (&'static str, fn(&[u8]));

    /// Fuzzing starts from requests that get through, too.
    #[test]
    fn two_of_the_seeds_are_signed_well() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/signature");
        for (seed, verified) in [("header", true), ("presigned", true), ("presigned-token", false)] {
            let data = fs::read(corpus.join(seed)).unwrap_or_default();
            assert_eq!(super::signature(&data), verified, "{seed}");
        }
    }

    /// The seeds, and what fuzzing found before, hold the laws.
    #[test]
    fn the_corpus_holds_the_laws() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let targets: [Target; 3] = [
            ("policy", super::policy),
            ("signature", |data| {
                let _ = super::signature(data);
            }),
            ("query", super::query),
        ];
        for (target, run) in targets {
            let files = fs::read_dir(corpus.join(target)).into_iter().flatten();
            let seeds: Vec<_> = files.filter_map(Result::ok).map(|file| file.path()).collect();
            assert!(seeds.len() >= 5, "{target}: {seeds:?}");
            for seed in seeds {
                run(&fs::read(&seed).unwrap_or_default());
            }
        }
    }
}
