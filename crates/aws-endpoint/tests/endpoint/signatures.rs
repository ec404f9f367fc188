//! Requests that nobody with the right keys signed.

use std::time::{Duration, SystemTime};

use http::Request;
use mountproof_aws_endpoint::CallVerdict;
use serde_json::json;

use crate::{
    client::{Keys, signed, unsigned},
    support::Bench,
};

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check \
                        your AWS Secret Access Key and signing method. Consult the service documentation for \
                        details.";

/// What is wrong, the request, and what each protocol calls it.
type Case = (&'static str, Request<String>, &'static str);

#[tokio::test]
async fn what_is_not_signed_well_is_refused_in_the_services_own_form() {
    let bench = Bench::start().await;
    let session = bench.session("red").await;
    for (service, target, body, status, codes) in [
        (
            "secretsmanager",
            Some("GetSecretValue"),
            json!({"SecretId": "demo/team-red/secret"}).to_string(),
            [400; 5],
            [
                "MissingAuthenticationTokenException",
                "IncompleteSignatureException",
                "UnrecognizedClientException",
                "InvalidSignatureException",
                "InvalidSignatureException",
            ],
        ),
        (
            "sts",
            None,
            "Action=GetCallerIdentity&Version=2011-06-15".to_owned(),
            [403, 400, 403, 403, 403],
            [
                "MissingAuthenticationToken",
                "IncompleteSignature",
                "InvalidClientTokenId",
                "SignatureDoesNotMatch",
                "SignatureDoesNotMatch",
            ],
        ),
    ] {
        let sign = |keys: &Keys, time| signed(service, target, body.clone(), keys, time);
        let now = SystemTime::now();
        let good = || sign(&session, now);
        assert_eq!(
            bench.client.send(good()).await.status,
            200,
            "{service}: the control"
        );

        let wrong = |change: &dyn Fn(&mut Keys)| {
            let mut keys = session.clone();
            change(&mut keys);
            sign(&keys, now)
        };
        let mut tampered = good();
        tampered.body_mut().push(' ');
        let mut incomplete = good();
        let header = incomplete.headers()["authorization"].to_str().unwrap();
        let cut = header.split_once(", Signature=").unwrap().0.parse().unwrap();
        incomplete.headers_mut().insert("authorization", cut);
        let mut redated = good();
        redated
            .headers_mut()
            .insert("x-amz-date", "20200101T000000Z".parse().unwrap());
        let cases: Vec<(usize, Case)> = vec![
            (
                0,
                (
                    "no signature",
                    unsigned(service, target, body.clone()),
                    "Missing Authentication Token",
                ),
            ),
            (1, ("half a signature", incomplete, "")),
            (
                2,
                (
                    "unknown key",
                    wrong(&|keys| keys.id = "ASIAAAAAAAAAAAAAAAAA".to_owned()),
                    "The security token included in the request is invalid.",
                ),
            ),
            (
                2,
                (
                    "token of another",
                    wrong(&|keys| keys.token = Some("x".repeat(360))),
                    "The security token included in the request is invalid.",
                ),
            ),
            (
                2,
                (
                    "no token",
                    wrong(&|keys| keys.token = None),
                    "The security token included in the request is invalid.",
                ),
            ),
            (
                3,
                (
                    "wrong secret",
                    wrong(&|keys| keys.secret = "x".repeat(40)),
                    MISMATCH,
                ),
            ),
            (3, ("other body", tampered, MISMATCH)),
            (4, ("other date", redated, "Signature expired: ")),
            (
                4,
                (
                    "too old",
                    sign(&session, now - Duration::from_mins(20)),
                    "Signature expired: ",
                ),
            ),
            (
                4,
                (
                    "too new",
                    sign(&session, now + Duration::from_mins(20)),
                    "Signature not yet current: ",
                ),
            ),
        ];
        for (form, (what, request, message)) in cases {
            let (given_status, given_code, given) = bench.client.send(request).await.error();
            assert_eq!(
                (given_status, given_code.as_str()),
                (status[form], codes[form]),
                "{service}, {what}: {given}"
            );
            assert!(given.starts_with(message), "{service}, {what}: {given}");
            let call = bench.last_call();
            assert_eq!(
                (call.verdict, call.principal),
                (CallVerdict::Denied, None),
                "{service}, {what}"
            );
        }
    }
}

#[tokio::test]
async fn a_signature_for_one_service_or_region_is_none_for_another() {
    let bench = Bench::start().await;
    let body = json!({"SecretId": "demo/team-red/secret"}).to_string();
    let good = signed(
        "secretsmanager",
        Some("GetSecretValue"),
        body,
        &bench.root,
        SystemTime::now(),
    );
    for (from, to) in [("/eu-west-1/", "/us-east-1/"), ("/secretsmanager/", "/sts/")] {
        let mut request = good.clone();
        let header = request.headers()["authorization"]
            .to_str()
            .unwrap()
            .replace(from, to);
        request
            .headers_mut()
            .insert("authorization", header.parse().unwrap());
        let code = bench.client.send(request).await.error().1;
        assert!(
            ["InvalidSignatureException", "SignatureDoesNotMatch"].contains(&code.as_str()),
            "{to}: {code}"
        );
    }
}

#[tokio::test]
async fn services_that_are_not_here_say_so() {
    let bench = Bench::start().await;
    let request = signed(
        "ssm",
        Some("GetParameter"),
        "{}".to_owned(),
        &bench.root,
        SystemTime::now(),
    );
    assert_eq!(bench.client.send(request).await.error().1, "UnknownService");
}
