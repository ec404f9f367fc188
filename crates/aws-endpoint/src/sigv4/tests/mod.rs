#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod faults;
mod other_verifier;
mod vectors;

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use super::*;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// A request that the tests own.
#[derive(Debug, Clone)]
struct Owned {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Owned {
    fn get(path: &str, query: &str, headers: &[(&str, &str)]) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: map(headers),
            body: Vec::new(),
        }
    }

    fn signed(&self) -> Signed<'_> {
        Signed {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            authority: None,
            body: &self.body,
        }
    }
}

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let pairs = headers.iter().map(|(name, value)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    });
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

/// All that a service asks of a request, in its order.
fn verdict(request: &Owned, secret: &str, now: Timestamp, style: Style) -> Result<(), Fault> {
    let request = request.signed();
    let claim = Claim::of(&request)?;
    claim.check_time(now, Lifetime::Stated)?;
    claim.check_scope(None, None)?;
    claim.verify(&request, secret, &SigningKeys::default(), style)
}

/// `request` signed by the rules, in the header, by the code under test: the vectors say whether it is right.
fn sign(mut request: Owned, secret: &str, date: &str, service: &str, signed_headers: &str) -> Owned {
    let scope = format!("{}/eu-west-1/{service}/aws4_request", &date[..8]);
    let unsigned =
        format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={signed_headers}, Signature=");
    request.headers.insert("x-amz-date", date.parse().unwrap());
    let with = |signature: &str| HeaderValue::try_from(format!("{unsigned}{signature}")).unwrap();
    request.headers.insert("authorization", with(""));
    let canonical = {
        let request = request.signed();
        Claim::of(&request)
            .unwrap()
            .canonical_request(&request, Style::SERVICE)
            .unwrap()
    };
    let signature = signature(&canonical, secret, date, "eu-west-1", service);
    request.headers.insert("authorization", with(&signature));
    request
}

fn signature(canonical: &str, secret: &str, date: &str, region: &str, service: &str) -> String {
    use aws_lc_rs::{digest, hmac};
    let hex = |bytes: &[u8]| {
        let mut text = String::new();
        canonical::hex(&mut text, bytes);
        text
    };
    let sign = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let words = [&date[..8], region, service, "aws4_request"];
    let key = words
        .iter()
        .fold(format!("AWS4{secret}").into_bytes(), |key, word| sign(&key, word));
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{}\n{hashed}", words.join("/"));
    hex(&sign(&key, &text))
}
