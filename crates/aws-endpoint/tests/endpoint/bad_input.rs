//! What no client should send: each gets AWS's error or a closed connection, costs little memory, leaks nothing,
//! and the endpoint goes on.

mod connections;

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mountproof_aws_endpoint::{Endpoint, EndpointConfig, Patience};
use mountproof_run_tls::RunCa;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::{
    ACCOUNT, AUDIENCE, Answer, Caller, REGION, SOON, Site, hmac_token, iam_request, json_request, now,
    policy, raw_token, secrets_request, signed, signed_at, sts_request, try_send,
};

const SECRET: &str = "demo/team-red/secret";
const HOST: &str = "secretsmanager.eu-west-1.amazonaws.com";
const MIB: u64 = 1024 * 1024;

// === How it is sent ===

/// A TLS connection that speaks `protocol`.
async fn connect(site: &Site, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(site.ca.certificate_pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(site.endpoint.address()).await.unwrap();
    let connector = TlsConnector::from(Arc::new(tls));
    let connecting = connector.connect(HOST.try_into().unwrap(), stream);
    timeout(SOON, connecting).await.unwrap().unwrap()
}

/// All that comes back on a connection on which `bytes` are sent. What cannot be sent any more, as the endpoint
/// closed it, is left unsent.
async fn spoken(site: &Site, bytes: &[u8]) -> String {
    let mut stream = connect(site, b"http/1.1").await;
    let mut answer = Vec::new();
    let talk = async {
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(SOON, talk)
        .await
        .expect("an answer and a closed connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The request as bytes that ask for the connection to be closed behind it, with `body` as it stands.
fn raw(request: &Request<Bytes>, length: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{} / HTTP/1.1\r\nconnection: close\r\n{length}\r\n",
        request.method()
    )
    .into_bytes();
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}

fn get(id: &str) -> Request<Bytes> {
    secrets_request(REGION, "GetSecretValue", json!({ "SecretId": id }))
}

/// The request with another body, signed as it is then.
fn with_body(mut request: Request<Bytes>, body: impl Into<Bytes>, caller: &Caller) -> Request<Bytes> {
    *request.body_mut() = body.into();
    signed(request, caller)
}

/// Nothing of a secret, and nothing of our inside.
fn leaks_nothing(text: &str) {
    for inside in [
        "value of team-red",
        "panicked",
        ".rs:",
        "src/",
        "unwrap",
        "rustls",
        "hyper",
    ] {
        assert!(!text.contains(inside), "{inside} in: {text}");
    }
}

async fn still_answers(site: &Site, red: &Caller) {
    assert_eq!(site.get(red, SECRET).await.value_or_code(), "value of team-red");
}

/// Peak of the resident memory of this process, which the endpoint is part of, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().trim().parse().unwrap();
    kib * 1024
}

// === Bodies ===

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused_in_the_words_of_aws() {
    let (site, red) = Site::with_red().await;
    let deep = "[".repeat(100_000);
    for (what, body) in [
        ("half of JSON", &b"{\"SecretId\":"[..]),
        ("XML", b"<GetSecretValue><SecretId>x</SecretId></GetSecretValue>"),
        ("a form", b"Action=GetSecretValue&SecretId=x"),
        ("invalid UTF-8", b"{\"SecretId\":\"\xff\xfe\"}"),
        ("a lone surrogate", b"{\"SecretId\":\"\\ud800\"}"),
        ("two values", b"{} {}"),
        ("deeply nested", deep.as_bytes()),
        ("zero bytes", &[0; 64]),
    ] {
        let answer = site.send(with_body(get(SECRET), body.to_vec(), &red)).await;
        let (status, code, message) = answer.error();
        assert_eq!(
            (status, code.as_str()),
            (400, "SerializationException"),
            "{what}: {message}"
        );
        leaks_nothing(&answer.text);
    }
    for body in [
        "[]",
        "null",
        "7",
        "\"text\"",
        "{\"SecretId\": {}}",
        "{\"SecretId\": 7}",
        "{\"SecretId\": [\"x\"]}",
    ] {
        let answer = site.send(with_body(get(SECRET), body, &red)).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        // What is JSON and yet no object lacks the name of the secret.
        let code = answer.code();
        assert!(
            matches!(&*code, "SerializationException" | "ValidationException"),
            "{body}: {}",
            answer.text
        );
        leaks_nothing(&answer.text);
    }
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn query_bodies_that_are_no_forms_are_refused() {
    let (site, red) = Site::with_red().await;
    for body in [
        &b"{\"Action\":\"GetCallerIdentity\"}"[..],
        b"<GetCallerIdentity/>",
        b"Action=%ff%fe",
        b"Action=\xff\xfe",
        b"Action=GetCallerIdentity%00",
        b"&&&&====",
        b"",
    ] {
        let request = sts_request("GetCallerIdentity", &[]);
        let answer = site.send(with_body(request, body.to_vec(), &red)).await;
        assert!((400..500).contains(&answer.status), "{}", answer.text);
        assert!(answer.xml("Code").is_some(), "{}", answer.text);
        leaks_nothing(&answer.text);
    }
    let many = (0..50_000).fold(String::new(), |mut many, n| {
        write!(many, "&PolicyArns.member.{n}.arn=x").unwrap();
        many
    });
    let request = sts_request("AssumeRole", &[]);
    let answer = site
        .send(with_body(request, format!("Action=AssumeRole{many}"), &red))
        .await;
    assert!((400..500).contains(&answer.status), "{}", answer.text);
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn a_body_of_100_megabytes_is_refused_early_and_costs_no_memory() {
    let (site, red) = Site::with_red().await;
    let before = peak_memory();
    let head = raw(&signed(get(SECRET), &red), "content-length: 104857600", b"");
    let chunked = raw(&signed(get(SECRET), &red), "transfer-encoding: chunked", b"");
    let piece = vec![b'x'; 64 * 1024];
    let as_chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat();
    for (what, head, piece) in [("declared", head, piece), ("chunked", chunked, as_chunk)] {
        let (mut incoming, mut outgoing) = tokio::io::split(connect(&site, b"http/1.1").await);
        outgoing.write_all(&head).await.unwrap();
        let sending = async {
            let mut sent = 0;
            while sent < 100 * MIB && outgoing.write_all(&piece).await.is_ok() {
                sent += piece.len() as u64;
            }
            sent
        };
        let mut answer = Vec::new();
        let reading = async { drop(incoming.read_to_end(&mut answer).await) };
        let (sent, ()) = timeout(SOON, async { tokio::join!(sending, reading) })
            .await
            .unwrap();
        // What the endpoint did not read is in the kernel's buffers.
        assert!(sent < 32 * MIB, "{what}: {sent} bytes were taken");
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 413 "),
            "{what}: {answer}"
        );
        leaks_nothing(&answer);
    }
    // Other tests of this program run meanwhile.
    let grown = peak_memory() - before;
    assert!(grown < 64 * MIB, "{grown} bytes");
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn broken_chunks_are_refused_and_whole_ones_are_read() {
    let (site, red) = Site::with_red().await;
    let request = signed(get(SECRET), &red);
    let body = request.body().clone();
    let whole = [
        format!("{:x}\r\n", body.len()).as_bytes(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let answer = spoken(&site, &raw(&request, "transfer-encoding: chunked", &whole)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for (what, body) in [
        ("no number", &b"zz\r\nxx\r\n0\r\n\r\n"[..]),
        ("negative", b"-5\r\nxx\r\n0\r\n\r\n"),
        ("overflow", b"fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("no line end", b"2\r\nxxxxxx0\r\n\r\n"),
        (
            "endless extension",
            &[b"2;".as_slice(), &b"x".repeat(100_000)].concat(),
        ),
    ] {
        let answer = spoken(&site, &raw(&request, "transfer-encoding: chunked", body)).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
        leaks_nothing(&answer);
    }
    // S3's own framing is no body of these services.
    let framed = b"5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n";
    let mut request = get(SECRET);
    request
        .headers_mut()
        .insert("content-encoding", HeaderValue::from_static("aws-chunked"));
    let answer = site.send(with_body(request, &framed[..], &red)).await;
    assert_eq!(answer.code(), "SerializationException");
    for length in [
        "content-length: 5\r\ncontent-length: 7",
        "content-length: 5\r\ntransfer-encoding: chunked",
        "content-length: -1",
        "content-length: 99999999999999999999999",
        "transfer-encoding: gzip",
    ] {
        let answer = spoken(&site, &raw(&signed(get(SECRET), &red), length, b"hello")).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{length}: {answer}");
        leaks_nothing(&answer);
    }
    still_answers(&site, &red).await;
}

// === Heads ===

#[tokio::test]
async fn headers_that_are_too_large_invalid_or_doubled_are_refused() {
    let (site, red) = Site::with_red().await;
    let huge = "x".repeat(200_000);
    let many = (0..5000).fold(String::new(), |mut many, n| {
        write!(many, "x-{n}: y\r\n").unwrap();
        many
    });
    let request = signed(get(SECRET), &red);
    let length = format!("content-length: {}", request.body().len());
    for (what, more) in [
        ("a huge header", format!("x-huge: {huge}\r\n").into_bytes()),
        ("many headers", many.into_bytes()),
        ("a zero byte", b"x-zero: a\0b\r\n".to_vec()),
        ("a bare line end", b"x-a: b\nx-c\r\n".to_vec()),
        ("no name", b": value\r\n".to_vec()),
    ] {
        let length = [length.as_bytes(), b"\r\n", &more].concat();
        let mut bytes = format!("POST / HTTP/1.1\r\nhost: {HOST}\r\n").into_bytes();
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(b"\r\n{}");
        let answer = spoken(&site, &bytes).await;
        assert!(!answer.starts_with("HTTP/1.1 200 "), "{what}: {answer}");
        leaks_nothing(&answer);
    }
    for name in [
        "x-amz-target",
        "x-amz-date",
        "x-amz-security-token",
        "authorization",
    ] {
        let mut request = signed(get(SECRET), &red);
        let invalid = HeaderValue::from_bytes(b"\xff\xfe").unwrap();
        request
            .headers_mut()
            .insert(http::HeaderName::from_static(name), invalid.clone());
        let length = format!("content-length: {}", request.body().len());
        let answer = spoken(&site, &raw(&request, &length, request.body())).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
        leaks_nothing(&answer);
    }
    for name in ["authorization", "x-amz-date", "host"] {
        let mut request = signed(get(SECRET), &red);
        request.headers_mut().append(
            http::HeaderName::from_static(name),
            HeaderValue::from_static("other"),
        );
        let length = format!("content-length: {}", request.body().len());
        let answer = spoken(&site, &raw(&request, &length, request.body())).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "two of {name}: {answer}");
        leaks_nothing(&answer);
    }
    still_answers(&site, &red).await;
}

// === Signatures and tokens ===

#[tokio::test]
async fn signatures_of_another_time_and_urls_that_are_replayed_too_late_are_refused() {
    let (site, red) = Site::with_red().await;
    let now = SystemTime::now();
    for (what, at) in [
        ("expired", now - Duration::from_mins(16)),
        ("of the future", now + Duration::from_mins(16)),
        ("of the last century", SystemTime::UNIX_EPOCH),
    ] {
        let answer = site.send(signed_at(get(SECRET), &red, at)).await;
        let (status, code, message) = answer.error();
        assert_eq!(
            (status, code.as_str()),
            (400, "InvalidSignatureException"),
            "{what}: {message}"
        );
        assert!(message.contains("Signature"), "{message}");
        leaks_nothing(&answer.text);
    }
    let presigned = |at, expires: &str| presigned(&site, at, expires);
    assert_eq!(site.send(presigned(now, "60")).await.status, 200, "the control");
    for (what, at, expires) in [
        (
            "replayed a quarter of an hour later",
            now - Duration::from_secs(901),
            "60",
        ),
        ("made for a week and a day", now, "691200"),
        ("made for no time", now, "-1"),
        ("made for ever", now, "99999999999999999999"),
        ("made tomorrow", now + Duration::from_hours(24), "60"),
    ] {
        let answer = site.send(presigned(at, expires)).await;
        assert!((400..=403).contains(&answer.status), "{what}: {}", answer.text);
        leaks_nothing(&answer.text);
    }
}

/// `GetCallerIdentity` as a URL. An `expires` that the signer would not sign is put in afterwards, which alone
/// breaks the signature: the endpoint has to get that far without harm.
fn presigned(site: &Site, at: SystemTime, expires: &str) -> Request<Bytes> {
    use aws_sigv4::{
        http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
        sign::v4,
    };
    let identity =
        aws_credential_types::Credentials::new(&site.root.id, &site.root.secret, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(Duration::from_mins(1));
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("sts")
        .time(at)
        .settings(settings);
    let url = format!("https://sts.{REGION}.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15");
    let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::empty()).unwrap();
    let signing = sign(signable, &params.build().unwrap().into()).unwrap();
    let mut request = Request::get(&url).body(Bytes::new()).unwrap();
    signing.into_parts().0.apply_to_request_http1x(&mut request);
    let url = request
        .uri()
        .to_string()
        .replace("X-Amz-Expires=60", &format!("X-Amz-Expires={expires}"));
    let host = request.uri().host().unwrap().parse().unwrap();
    *request.uri_mut() = url.parse().unwrap();
    request.headers_mut().insert(http::header::HOST, host);
    request
}

#[tokio::test]
async fn headers_of_signatures_that_make_no_sense_are_refused() {
    let (site, red) = Site::with_red().await;
    let long = format!("AWS4-HMAC-SHA256 Credential={}", "x".repeat(50_000));
    let names = format!(
        "AWS4-HMAC-SHA256 Credential={}/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders={}, Signature=00",
        red.id,
        "a;".repeat(20_000)
    );
    for header in [
        "",
        "AWS4-HMAC-SHA256",
        "Bearer x",
        "Basic eDp4",
        "AWS4-HMAC-SHA256 ,,,,",
        &long,
        &names,
        "AWS4-HMAC-SHA256 Credential=////, SignedHeaders=;, Signature=",
        "AWS4-ECDSA-P256-SHA256 Credential=x/20260101/secretsmanager/aws4_request, SignedHeaders=host, Signature=00",
    ] {
        let mut request = signed(get(SECRET), &red);
        request
            .headers_mut()
            .insert(AUTHORIZATION, header.parse().unwrap());
        let answer = site.send(request).await;
        assert!(
            (400..=431).contains(&answer.status),
            "{header:.60}: {}",
            answer.text
        );
        leaks_nothing(&answer.text);
    }
    still_answers(&site, &red).await;
}

#[tokio::test]
async fn tokens_that_are_forged_or_far_too_large_are_refused() {
    let (site, red) = Site::with_red().await;
    let issuer = &site.issuer;
    let claims = issuer.claims("team-red");
    let key = issuer.key();
    let none = raw_token(&json!({ "alg": "none", "typ": "JWT" }), &claims, b"");
    let mut forged = vec![
        ("alg none", none.clone()),
        (
            "alg None",
            raw_token(&json!({ "alg": "None", "kid": key.id }), &claims, b""),
        ),
        (
            "alg none with a signature",
            raw_token(&json!({ "alg": "none", "kid": key.id }), &claims, &[7; 256]),
        ),
        (
            "no signature",
            raw_token(&json!({ "alg": "RS256", "kid": key.id }), &claims, b""),
        ),
        ("one part", "token".to_owned()),
        ("four parts", format!("{none}.x")),
        ("no base64", "!!!.!!!.!!!".to_owned()),
        (
            "nested JSON",
            raw_token(
                &json!({ "alg": "RS256" }),
                &json!({ "iss": "[".repeat(5000) }),
                b"x",
            ),
        ),
        (
            "a key of a megabyte",
            raw_token(
                &json!({ "alg": "RS256", "kid": "k".repeat(100_000) }),
                &claims,
                b"x",
            ),
        ),
        ("200 KiB of subject", {
            let mut claims = claims.clone();
            claims["sub"] = json!("x".repeat(200_000));
            raw_token(&json!({ "alg": "RS256", "kid": key.id }), &claims, b"x")
        }),
        ("50,000 audiences", {
            let mut claims = claims.clone();
            claims["aud"] = Value::from(vec![AUDIENCE; 50_000]);
            raw_token(&json!({ "alg": "RS256", "kid": key.id }), &claims, b"x")
        }),
        (
            "expired",
            issuer.sign(&issuer.claims_but("exp", json!(now() - 3600))),
        ),
        (
            "of the future",
            issuer.sign(&issuer.claims_but("nbf", json!(now() + 3600))),
        ),
    ];
    for public in key.public_forms() {
        forged.push(("HS256 with the public key", hmac_token(&key.id, &claims, &public)));
    }
    for (what, token) in forged {
        let answer = site.assume("team-red", &token, &[]).await;
        let (status, code) = match what {
            "expired" => (400, "ExpiredTokenException"),
            "50,000 audiences" => (413, "RequestEntityTooLarge"),
            // AWS's limit for a token.
            _ if token.len() > 20_000 => (400, "ValidationError"),
            _ => (400, "InvalidIdentityToken"),
        };
        assert_eq!(
            (answer.status, answer.code()),
            (status, code.to_owned()),
            "{what}: {}",
            answer.text
        );
        assert!(
            answer.text.len() < 4096,
            "{what}: the answer repeats {} bytes",
            answer.text.len()
        );
        leaks_nothing(&answer.text);
    }
    still_answers(&site, &red).await;
}

// === Policies ===

#[tokio::test]
async fn policies_that_would_cost_much_are_refused_or_decided_at_once() {
    let (site, red) = Site::with_red().await;
    let nested = format!("{}{}", "{\"Statement\":".repeat(2000), "}".repeat(2000));
    let stars = policy(&json!({
        "Effect": "Allow", "Action": GET_STARS,
        "Resource": format!("arn:aws:secretsmanager:*:*:secret:{}b", "*a".repeat(900)),
    }))
    .to_string();
    let large =
        policy(&json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "x".repeat(100_000) })).to_string();
    for (what, document, taken) in [
        ("nested", nested, false),
        ("not JSON", "{".to_owned(), false),
        ("larger than a role may have", large, false),
        ("of stars", stars, true),
    ] {
        let params = [
            ("RoleName", "team-red"),
            ("PolicyName", "bomb"),
            ("PolicyDocument", document.as_str()),
        ];
        let answer = site
            .send(signed(iam_request("PutRolePolicy", &params), &site.root))
            .await;
        assert_eq!(answer.status == 200, taken, "{what}: {}", answer.text);
        leaks_nothing(&answer.text);
    }
    // Each is decided in time, with a name that nearly fits.
    let nearly = format!("x{}", "a".repeat(400));
    for _ in 0..20 {
        assert_eq!(site.get(&red, &nearly).await.code(), "AccessDeniedException");
    }
    still_answers(&site, &red).await;
}

const GET_STARS: &str = "secretsmanager:*G*e*t*S*e*c*r*e*t*V*a*l*u*e*";
