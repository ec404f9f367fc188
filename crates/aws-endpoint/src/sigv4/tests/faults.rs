//! What is refused, and in which words.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign as aws_sign,
};
use aws_sigv4::sign::v4;
use std::time::{Duration, SystemTime};

use super::*;

const DATE: &str = "20260101T120000Z";

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn request(change: impl FnOnce(&mut Owned)) -> Owned {
    let mut request = sign(
        Owned::get(
            "/a/b",
            "x=1",
            &[("host", "sts.eu-west-1.amazonaws.com"), ("x-amz-target", "t")],
        ),
        SECRET,
        DATE,
        "sts",
        "host;x-amz-date;x-amz-target",
    );
    change(&mut request);
    request
}

fn refusal(request: &Owned, now: &str) -> Option<String> {
    verdict(request, SECRET, at(now), Style::SERVICE)
        .err()
        .map(|fault| fault.to_string())
}

const NOW: &str = "2026-01-01T12:00:00Z";
const MISMATCH: &str = "The request signature we calculated does not match";

fn header(request: &mut Owned, change: impl FnOnce(String) -> String) {
    let text = request.headers["authorization"].to_str().unwrap().to_owned();
    request
        .headers
        .insert("authorization", change(text).parse().unwrap());
}

#[test]
fn requests_are_refused_in_the_words_of_aws() {
    assert_eq!(refusal(&request(|_| {}), NOW), None, "the control");
    let with = |change: &dyn Fn(String) -> String| request(|request| header(request, change));
    for (what, request, now, text) in [
        (
            "unsigned",
            Owned::get("/", "", &[]),
            NOW,
            "Missing Authentication Token",
        ),
        (
            "another algorithm",
            with(&|text| text.replacen("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", 1)),
            NOW,
            "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA512'.",
        ),
        (
            "no parameters",
            with(&|_| "AWS4-HMAC-SHA256".to_owned()),
            NOW,
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. Authorization=AWS4-HMAC-SHA256",
        ),
        (
            "a word",
            with(&|text| text.replace("Signature=", "Signature")),
            NOW,
            "'Signature",
        ),
        (
            "four parts",
            with(&|text| text.replace("/aws4_request", "")),
            NOW,
            "Credential must have exactly 5 slash-delimited elements",
        ),
        (
            "six parts",
            with(&|text| text.replace("/aws4_request", "/aws4_request/x")),
            NOW,
            "Credential must have exactly 5 slash-delimited elements",
        ),
        (
            "another end",
            with(&|text| text.replace("aws4_request", "aws5_request")),
            NOW,
            "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'.",
        ),
        (
            "another day",
            with(&|text| text.replace("/20260101/", "/20251231/")),
            NOW,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20251231' != '20260101', from '20260101T120000Z'.",
        ),
        (
            "no host",
            with(&|text| text.replace("=host;", "=")),
            NOW,
            "'Host' or ':authority' must be a 'SignedHeader'",
        ),
        (
            "another region",
            with(&|text| text.replace("eu-west-1", "eu-west-2")),
            NOW,
            MISMATCH,
        ),
        (
            "a short signature",
            with(&|text| text[..text.len() - 1].to_owned()),
            NOW,
            MISMATCH,
        ),
        (
            "capitals",
            with(&|text| {
                let (head, signature) = text.rsplit_once('=').unwrap();
                format!("{head}={}", signature.to_uppercase())
            }),
            NOW,
            MISMATCH,
        ),
        (
            "another path",
            request(|request| request.path = "/a/c".to_owned()),
            NOW,
            MISMATCH,
        ),
        (
            "another query",
            request(|request| request.query = "x=2".to_owned()),
            NOW,
            MISMATCH,
        ),
        (
            "another header",
            request(|request| {
                request.headers.insert("x-amz-target", "u".parse().unwrap());
            }),
            NOW,
            MISMATCH,
        ),
        (
            "a header more",
            request(|request| {
                request.headers.append("x-amz-target", "u".parse().unwrap());
            }),
            NOW,
            MISMATCH,
        ),
        (
            "a header less",
            request(|request| {
                request.headers.remove("x-amz-target");
            }),
            NOW,
            MISMATCH,
        ),
        (
            "a body",
            request(|request| request.body = b"x".to_vec()),
            NOW,
            MISMATCH,
        ),
        (
            "another method",
            request(|request| request.method = "POST".to_owned()),
            NOW,
            MISMATCH,
        ),
        (
            "both ways",
            request(|request| request.query = "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned()),
            NOW,
            "",
        ),
        (
            "half an escape",
            request(|request| request.query = "x=%2".to_owned()),
            NOW,
            "Incomplete trailing escape % sequence",
        ),
        (
            "no escape",
            request(|request| request.query = "x=%2g".to_owned()),
            NOW,
            "Illegal hex character in escape % pattern: %2g",
        ),
        (
            "no date",
            request(|request| {
                request.headers.remove("x-amz-date");
            }),
            NOW,
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=AWS4-HMAC-SHA256",
        ),
        (
            "a date in words",
            request(|request| {
                request.headers.insert("x-amz-date", "today".parse().unwrap());
            }),
            NOW,
            "Date must be in ISO-8601 'basic format'. Got 'today'. See http://en.wikipedia.org/wiki/ISO_8601",
        ),
        (
            "the 31st of June",
            request(|request| {
                request
                    .headers
                    .insert("x-amz-date", "20260631T000000Z".parse().unwrap());
            }),
            NOW,
            "Date must be in ISO-8601 'basic format'.",
        ),
        (
            "old",
            request(|_| {}),
            "2026-01-01T12:15:01Z",
            "Signature expired: 20260101T120000Z is now earlier than 20260101T120001Z (20260101T121501Z - 15 min.)",
        ),
        (
            "new",
            request(|_| {}),
            "2026-01-01T11:44:59Z",
            "Signature not yet current: 20260101T120000Z is still later than 20260101T115959Z (20260101T114459Z + 15 min.)",
        ),
    ] {
        let given = refusal(&request, now).unwrap_or_else(|| panic!("{what}: let in"));
        assert!(given.starts_with(text), "{what}: {given}");
    }
    assert_eq!(
        refusal(&request(|_| {}), "2026-01-01T12:15:00Z"),
        None,
        "just in time"
    );
    assert_eq!(
        refusal(&request(|_| {}), "2026-01-01T11:45:00Z"),
        None,
        "not too early"
    );
}

#[test]
fn a_scope_for_another_region_or_service_is_told() {
    let owned = request(|_| {});
    let signed = owned.signed();
    let claim = Claim::of(&signed).unwrap();
    let text = |region, service| {
        claim
            .check_scope(region, service)
            .err()
            .map(|fault| fault.to_string())
    };
    assert_eq!(text(None, None), None);
    assert_eq!(text(Some("eu-west-1"), Some("sts")), None);
    assert_eq!(
        text(Some("eu-west-2"), Some("iam")).unwrap(),
        "Credential should be scoped to a valid region. Credential should be scoped to correct service: 'iam'."
    );
    let region = "Credential should be scoped to a valid region";
    for (service, expected) in [
        ("iam", format!("{region}, not 'eu-west-1'.")),
        ("sts", format!("{region}.")),
        ("secretsmanager", format!("{region}.")),
        ("ssm", format!("{region}.")),
        ("eks", format!("{region}.")),
    ] {
        let plain = Owned::get("/", "", &[("host", "h")]);
        let owned = sign(plain, SECRET, DATE, service, "host;x-amz-date");
        let signed = owned.signed();
        let refused = Claim::of(&signed).unwrap().check_scope(Some("us-east-1"), None);
        assert_eq!(refused.unwrap_err().to_string(), expected, "{service}");
    }
}

/// The secret may have any length, which AWS's 40 characters are only the usual one of.
#[test]
fn secrets_of_any_length_verify_and_are_told_apart() {
    for length in [1, 4, 16, 39, 40, 41, 60, 61, 64, 65, 128, 1000] {
        let secret = "s".repeat(length);
        let plain = Owned::get("/", "", &[("host", "h")]);
        let request = sign(plain, &secret, DATE, "sts", "host;x-amz-date");
        assert_eq!(
            verdict(&request, &secret, at(NOW), Style::SERVICE),
            Ok(()),
            "{length}"
        );
        for other in [
            "s".repeat(length + 1),
            "s".repeat(length - 1),
            format!("{secret}\0x"),
        ] {
            assert!(
                verdict(&request, &other, at(NOW), Style::SERVICE).is_err(),
                "{length}"
            );
        }
    }
}

#[test]
fn keys_are_derived_once_and_kept_within_bounds() {
    let keys = SigningKeys::default();
    let mut derived = 0;
    let mut key = |credential: &str, secret: &str| {
        let key = keys.key(credential, secret, || {
            derived += 1;
            SigningKey::derive(secret, "20260101", "eu-west-1", "sts")
        });
        (derived, key)
    };
    assert_eq!(key("a", "x").0, 1);
    assert_eq!(key("a", "x").0, 1);
    assert_eq!(key("b", "x").0, 2);
    // The id came to stand for another secret.
    assert_eq!(key("a", "y").0, 3);
    for number in 0..2 * SigningKeys::MOST {
        let _ = key(&number.to_string(), "x");
        assert!(keys.len() <= SigningKeys::MOST);
    }
}

/// A URL for `expires` seconds, presigned by AWS's own signer.
fn presigned(expires: u64, headers: &[(&str, &str)]) -> Owned {
    let identity = Credentials::new(KEY_ID, SECRET, Some("a/token+=".to_owned()), None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_secs(expires));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("eu-west-1")
        .name("sts")
        .time(SystemTime::from(at(NOW)))
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let url = "https://sts.eu-west-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15";
    let signable = SignableRequest::new("GET", url, headers.iter().copied(), SignableBody::empty()).unwrap();
    let (instructions, _) = aws_sign(signable, &params).unwrap().into_parts();
    let mut request = http::Request::get(url).body(()).unwrap();
    instructions.apply_to_request_http1x(&mut request);
    let mut headers = headers.to_vec();
    headers.push(("host", "sts.eu-west-1.amazonaws.com"));
    Owned::get("/", request.uri().query().unwrap(), &headers)
}

#[test]
fn a_presigned_url_counts_as_long_as_it_says() {
    let request = presigned(60, &[("x-k8s-aws-id", "cluster")]);
    let claim = request.signed();
    let claim = Claim::of(&claim).unwrap();
    assert_eq!(claim.token(), Some("a/token+="));
    assert!(claim.is_presigned());
    assert_eq!(
        claim.signed_headers().collect::<Vec<_>>(),
        ["host", "x-k8s-aws-id"]
    );
    for (now, text) in [
        ("2026-01-01T11:44:59Z", Some("Signature not yet current: ")),
        ("2026-01-01T11:45:00Z", None),
        ("2026-01-01T12:01:00Z", None),
        (
            "2026-01-01T12:01:01Z",
            Some(
                "Signature expired: 20260101T120000Z is now earlier than 20260101T120001Z (20260101T120101Z - 1 min.)",
            ),
        ),
    ] {
        let given = refusal(&request, now);
        assert_eq!(given.is_some(), text.is_some(), "{now}: {given:?}");
        assert!(
            given.unwrap_or_default().starts_with(text.unwrap_or_default()),
            "{now}"
        );
    }
    let week = presigned(604_800, &[]);
    assert_eq!(refusal(&week, "2026-01-08T12:00:00Z"), None);
    assert!(refusal(&week, "2026-01-08T12:00:01Z").is_some());
    // STS takes a quarter of an hour, whatever is said.
    for (request, now, counts) in [
        (&request, "2026-01-01T12:15:00Z", true),
        (&request, "2026-01-01T12:15:01Z", false),
        (&week, "2026-01-01T12:15:01Z", false),
    ] {
        let signed = request.signed();
        let claim = Claim::of(&signed).unwrap();
        assert_eq!(
            claim.check_time(at(now), Lifetime::Window).is_ok(),
            counts,
            "{now}"
        );
    }
}

#[test]
fn a_presigned_url_is_refused_when_anything_is_changed() {
    let request = presigned(60, &[("x-k8s-aws-id", "cluster")]);
    let changed = |from: &str, to: &str| {
        let query = request.query.replace(from, to);
        assert_ne!(query, request.query, "{from}");
        Owned {
            query,
            ..request.clone()
        }
    };
    let without = |name: &str| {
        let pairs = request.query.split('&').filter(|pair| !pair.starts_with(name));
        Owned {
            query: pairs.collect::<Vec<_>>().join("&"),
            ..request.clone()
        }
    };
    let with_header = |name: &'static str, value: &str| {
        let mut request = request.clone();
        request.headers.insert(name, value.parse().unwrap());
        request
    };
    for (what, request, text) in [
        (
            "for longer",
            changed("X-Amz-Expires=60", "X-Amz-Expires=600"),
            MISMATCH,
        ),
        (
            "another action",
            changed("GetCallerIdentity", "GetSessionToken"),
            MISMATCH,
        ),
        ("another cluster", with_header("x-k8s-aws-id", "other"), MISMATCH),
        (
            "another host",
            with_header("host", "sts.eu-west-2.amazonaws.com"),
            MISMATCH,
        ),
        ("another token", changed("token", "tokem"), MISMATCH),
        ("a parameter more", changed("Action=", "A=b&Action="), MISMATCH),
        (
            "for nothing",
            changed("X-Amz-Expires=60", "X-Amz-Expires=0"),
            "X-Amz-Expires should be",
        ),
        (
            "for ever",
            changed("X-Amz-Expires=60", "X-Amz-Expires=604801"),
            "X-Amz-Expires should be",
        ),
        (
            "for a word",
            changed("X-Amz-Expires=60", "X-Amz-Expires=-1"),
            "X-Amz-Expires should be",
        ),
        (
            "no signature",
            without("X-Amz-Signature"),
            "AWS query-string parameters must include 'X-Amz-Signature'. Re-examine the query-string parameters.",
        ),
        (
            "no date",
            without("X-Amz-Date"),
            "AWS query-string parameters must include 'X-Amz-Date'. Re-examine",
        ),
        (
            "no algorithm",
            without("X-Amz-Algorithm"),
            "Missing Authentication Token",
        ),
        (
            "no host signed",
            changed("X-Amz-SignedHeaders=host%3B", "X-Amz-SignedHeaders="),
            "'Host' or ':authority'",
        ),
    ] {
        let given = refusal(&request, NOW).unwrap_or_else(|| panic!("{what}: let in"));
        assert!(given.starts_with(text), "{what}: {given}");
    }
    assert_eq!(refusal(&request, NOW), None, "the control");
}
