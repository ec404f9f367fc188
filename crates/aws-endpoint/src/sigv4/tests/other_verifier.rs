//! Beside `scratchstack-aws-signature`: the same verdict on requests at random, signed well or spoilt.

use std::str::FromStr as _;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Request;
use proptest::{collection::vec, prelude::*, sample::select};
use scratchstack_aws_signature::{
    GetSigningKeyRequest, GetSigningKeyResponse, KSecretKey, NO_ADDITIONAL_SIGNED_HEADERS, SignatureOptions,
    sigv4_validate_request,
};
use tower::BoxError;

use super::*;

const NOW: &str = "2026-01-01T12:00:00Z";

fn theirs(request: &Owned) -> Result<(), String> {
    let uri = format!("{}?{}", request.path, request.query);
    let mut asked = Request::builder()
        .method(request.method.as_str())
        .uri(uri)
        .body(Bytes::from(request.body.clone()))
        .unwrap();
    *asked.headers_mut() = request.headers.clone();
    let key: KSecretKey = KSecretKey::from_str(SECRET).unwrap();
    let mut keys = tower::service_fn(|wanted: GetSigningKeyRequest| {
        let signing = key.to_ksigning(wanted.request_date(), wanted.region(), wanted.service());
        async move { Ok::<_, BoxError>(GetSigningKeyResponse::builder().signing_key(signing).build()?) }
    });
    let now = chrono::DateTime::from_timestamp(NOW.parse::<Timestamp>().unwrap().as_second(), 0).unwrap();
    let options = SignatureOptions::default();
    let headers = &NO_ADDITIONAL_SIGNED_HEADERS;
    let verdict = sigv4_validate_request(asked, "eu-west-1", "sts", &mut keys, now, headers, options);
    let verdict = verdict.now_or_never().unwrap();
    verdict.map(|_| ()).map_err(|error| error.to_string())
}

fn ours(request: &Owned) -> Result<(), String> {
    let signed = request.signed();
    let verdict = Claim::of(&signed).and_then(|claim| {
        claim.check_time(NOW.parse().unwrap(), Lifetime::Window)?;
        claim.check_scope(Some("eu-west-1"), Some("sts"))?;
        claim.verify(&signed, SECRET, &SigningKeys::default(), Style::SERVICE)
    });
    verdict.map_err(|fault| fault.to_string())
}

/// What both read alike: no escapes in the path, no names of a query that another begins with.
fn requests() -> impl Strategy<Value = Owned> {
    let path = "(/{1,2}[a-z0-9._~-]{1,4}){0,3}/?".prop_filter("above the root", |path| !path.contains(".."));
    let pairs = vec(
        ("[a-z]{3}", "([ -~&&[^%&#\"<>`{}|^\\\\ ]]|%[2-7][0-9A-Fa-f]){0,5}"),
        0..4,
    );
    let value = "[ -~]{0,3}( {1,3}[!-~]{1,3}){0,2}";
    let headers = vec(
        (
            select(&["x-amz-target", "x-one", "content-type", "x-amz-content"][..]),
            value,
        ),
        0..5,
    );
    (
        select(&["GET", "POST"][..]),
        path,
        pairs,
        headers,
        vec(any::<u8>(), 0..20),
    )
        .prop_map(|(method, path, pairs, headers, body)| {
            let query: Vec<String> = pairs
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let mut all = vec![("host", "sts.eu-west-1.amazonaws.com")];
            all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
            Owned {
                method: method.to_owned(),
                path: if path.is_empty() { "/".to_owned() } else { path },
                query: query.join("&"),
                headers: map(&all),
                body,
            }
        })
}

fn spoilt(mut request: Owned, how: usize) -> Owned {
    let header = |request: &mut Owned, from: &str, to: &str| {
        let text = request.headers["authorization"]
            .to_str()
            .unwrap()
            .replacen(from, to, 1);
        request.headers.insert("authorization", text.parse().unwrap());
    };
    match how {
        0 => request.body.push(b'x'),
        1 => request.query.push_str("&zzz=1"),
        2 => request.path.push_str("/x"),
        3 => header(&mut request, "eu-west-1", "eu-west-2"),
        4 => header(&mut request, "/sts/", "/iam/"),
        5 => header(&mut request, "/20260101/", "/20260102/"),
        6 => header(&mut request, "host", "hose"),
        7 => header(&mut request, ", Signature=", ", Signatur="),
        8 => header(&mut request, "AWS4-HMAC-SHA256", "AWS4"),
        9 => header(&mut request, "Signature=", "Signature=0"),
        10 => header(&mut request, "SignedHeaders=", "SignedHeaders"),
        11 => {
            request.headers.remove("x-amz-date");
        }
        12 => {
            request
                .headers
                .insert("x-amz-date", "20260101T114459Z".parse().unwrap());
        }
        13 => {
            request
                .headers
                .insert("x-amz-date", "20260101T121501Z".parse().unwrap());
        }
        14 => {
            request
                .headers
                .insert("host", "iam.amazonaws.com".parse().unwrap());
        }
        15 => {
            request.headers.remove("authorization");
        }
        _ => {}
    }
    request
}

/// It names the region of every wrong scope; of AWS's services only IAM does.
fn without_region(error: &str) -> String {
    match error.split_once("valid region, not") {
        Some((before, _)) => format!("{before}valid region."),
        None => error.to_owned(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_another_verifier(request in requests(), how in 0..24_usize) {
        let names: Vec<&str> = request.headers.keys().map(HeaderName::as_str).collect();
        let mut names = [&names[..], &["x-amz-date"]].concat();
        names.sort_unstable();
        let names = names.join(";");
        let request = spoilt(sign(request, SECRET, "20260101T120000Z", "sts", &names), how);
        let (ours, theirs) = (ours(&request), theirs(&request));
        prop_assert_eq!(ours.is_ok(), how > 15);
        if how == 15 {
            // AWS's services say it in other words.
            prop_assert!(theirs.is_err());
        } else {
            prop_assert_eq!(ours, theirs.map_err(|error| without_region(&error)));
        }
    }
}
