//! Faults and quotas over HTTPS: what the caller sees, and that the call log names the fault.

use std::time::{Duration, Instant};

use mountproof_aws_endpoint::{CallRecord, CallVerdict, Faults, Quotas};
use serde_json::json;

use crate::support::{ELSEWHERE, REGION, SOON, Site, secrets_request, send, signed, sts_request, try_send};

const SECRET: &str = "demo/team-red/secret";

fn set(site: &Site, text: &str) {
    site.endpoint.set_faults(Faults::parse(text).unwrap());
}

/// The calls that `doing` made the endpoint log.
async fn calls<T>(site: &Site, doing: impl Future<Output = T>) -> (T, Vec<CallRecord>) {
    let cursor = site.endpoint.calls().cursor();
    let done = doing.await;
    (done, site.endpoint.calls().since(cursor))
}

#[tokio::test]
async fn errors_come_in_the_form_of_each_protocol_and_are_in_the_log() {
    let (site, red) = Site::with_red().await;
    for (code, status) in [
        ("ThrottlingException", 400),
        ("InternalServiceError", 500),
        ("ServiceUnavailable", 503),
    ] {
        let text = format!("error:secretsmanager:GetSecretValue:{code}:100%");
        set(&site, &text);
        let (answer, call) = site.logged(site.get(&red, SECRET)).await;
        assert_eq!(answer.error().0, status, "{}", answer.text);
        assert_eq!(answer.json()["__type"], code);
        assert_eq!(call.fault.as_deref(), Some(text.as_str()));
        assert_eq!((call.verdict, call.status), (CallVerdict::Failed, status));
        assert_eq!(call.error.as_deref(), Some(code));
        let other = site.secrets(&red, "DescribeSecret", json!({ "SecretId": SECRET }));
        let (answer, call) = site.logged(other).await;
        assert_eq!((answer.status, call.fault), (200, None));
    }
    set(&site, "error:sts:*:Throttling:100%");
    let (answer, call) = site.logged(site.sts(&red, "GetCallerIdentity", &[])).await;
    let (status, code, message) = answer.error();
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (400, "Throttling", "Rate exceeded")
    );
    assert_eq!(answer.xml("Type").as_deref(), Some("Sender"));
    assert_eq!(call.fault.as_deref(), Some("error:sts:*:Throttling:100%"));
    set(&site, "");
    let (answer, call) = site.logged(site.get(&red, SECRET)).await;
    assert_eq!((answer.status, call.fault), (200, None), "over when switched off");
}

#[tokio::test]
async fn a_share_of_calls_is_hit_and_each_that_was_is_told_apart_in_the_log() {
    let (site, red) = Site::with_red().await;
    let hits = async || {
        set(
            &site,
            "error:secretsmanager:GetSecretValue:ThrottlingException:30%",
        );
        let (statuses, calls) = calls(&site, async {
            let mut statuses = Vec::new();
            for _ in 0..60 {
                statuses.push(site.get(&red, SECRET).await.status);
            }
            statuses
        })
        .await;
        let logged: Vec<u16> = calls.iter().map(|call| call.status).collect();
        assert_eq!(statuses, logged);
        assert!(
            calls
                .iter()
                .all(|call| call.fault.is_some() == (call.status == 400))
        );
        statuses
    };
    let first = hits().await;
    assert!(first.contains(&200) && first.contains(&400), "{first:?}");
    assert_eq!(
        first,
        hits().await,
        "the same seed, the same calls, the same trouble"
    );
}

#[tokio::test]
async fn latency_is_waited_for_before_the_answer() {
    let (site, red) = Site::with_red().await;
    let text = "latency:fixed:40ms; latency:lognormal:10ms,0";
    set(&site, &text.replace("; ", "\n"));
    let (answer, call) = site.logged(site.get(&red, SECRET)).await;
    assert_eq!(answer.status, 200);
    assert!(call.took >= Duration::from_millis(50), "{:?}", call.took);
    assert_eq!(call.fault.as_deref(), Some(text));
}

#[tokio::test]
async fn a_reset_before_the_call_does_nothing_and_one_in_the_answer_comes_too_late() {
    let site = Site::start().await;
    let create = |name: &str| {
        signed(
            secrets_request(
                REGION,
                "CreateSecret",
                json!({ "Name": name, "SecretString": "x" }),
            ),
            &site.root,
        )
    };
    for (text, name, made) in [
        ("reset:100%", "before", false),
        ("reset:middle:100%", "middle", true),
    ] {
        set(&site, text);
        let (answer, calls) = calls(&site, try_send(&site.client, create(name))).await;
        let error = answer.unwrap_err();
        assert_eq!(calls.len(), 1, "{calls:#?}");
        assert_eq!(calls[0].fault.as_deref(), Some(text));
        assert_eq!(calls[0].status, if made { 200 } else { 0 });
        set(&site, "");
        let there = site
            .secrets(&site.root, "DescribeSecret", json!({ "SecretId": name }))
            .await;
        assert_eq!(there.status == 200, made, "{text}: {error}: {}", there.text);
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_an_answer_breaks_off_in_its_middle() {
    let (site, red) = Site::with_red().await;
    let get = || {
        signed(
            secrets_request(REGION, "GetSecretValue", json!({ "SecretId": SECRET })),
            &red,
        )
    };
    set(&site, "reset:100%");
    let error = try_send(&site.client, get()).await.unwrap_err();
    assert!(error.to_lowercase().contains("reset"), "{error}");
    set(&site, "reset:middle:100%");
    let error = try_send(&site.client, get()).await.unwrap_err();
    assert!(error.contains("body"), "the head came, the body did not: {error}");
}

#[tokio::test]
async fn a_slow_body_is_whole_in_the_end() {
    let (site, red) = Site::with_red().await;
    let whole = site.get(&red, SECRET).await;
    set(&site, "slow-body:1KiB/s");
    let began = Instant::now();
    let (answer, call) = site.logged(site.get(&red, SECRET)).await;
    assert_eq!(answer, whole);
    // Pieces of 102 bytes, a tenth of a second apart.
    let pauses = u32::try_from((whole.text.len() - 1) / 102).unwrap();
    assert!(pauses > 0 && began.elapsed() >= Duration::from_millis(100) * pauses);
    assert_eq!(call.fault.as_deref(), Some("slow-body:1024B/s"));
}

#[tokio::test]
async fn one_region_or_one_service_is_out_and_the_others_answer() {
    let (site, _) = Site::with_red().await;
    let list = |region| signed(secrets_request(region, "ListSecrets", json!({})), &site.root);
    set(&site, &format!("outage:region:{REGION}"));
    let ((), calls) = calls(&site, async {
        try_send(&site.client, list(REGION)).await.unwrap_err();
        assert_eq!(send(&site.client, list(ELSEWHERE)).await.status, 200);
    })
    .await;
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (&*call.region, call.status, call.fault.as_deref()))
        .collect();
    assert_eq!(
        seen,
        [
            (REGION, 0, Some("outage:region:eu-west-1")),
            (ELSEWHERE, 200, None)
        ]
    );
    set(&site, "outage:service:sts");
    let who = signed(sts_request("GetCallerIdentity", &[]), &site.root);
    try_send(&site.client, who).await.unwrap_err();
    assert_eq!(send(&site.client, list(REGION)).await.status, 200);
}

#[tokio::test]
async fn above_aws_quotas_calls_are_refused_and_only_signed_ones_count() {
    let (site, red) = Site::with_red().await;
    let value = async |number: usize| {
        let put = json!({ "SecretId": SECRET, "SecretString": number.to_string() });
        site.secrets(&site.root, "PutSecretValue", put).await
    };
    for number in 0..60 {
        assert_eq!(value(number).await.status, 200, "no quotas by default");
    }
    site.endpoint.set_quotas(Quotas::Aws);
    // The clock goes on: nearly all of these fall into less than the second that refills the bucket.
    let thief = site.root.but(|caller| caller.secret = "x".repeat(40));
    for _ in 0..60 {
        let put = json!({ "SecretId": SECRET, "SecretString": "x" });
        let code = site.secrets(&thief, "PutSecretValue", put).await.code();
        assert_eq!(code, "InvalidSignatureException");
    }
    let began = Instant::now();
    let refused = loop {
        let (answer, call) = site.logged(value(0)).await;
        if answer.status != 200 {
            break (answer, call);
        }
        assert!(began.elapsed() < SOON, "never above the quota");
    };
    let (answer, call) = refused;
    let (status, code, message) = answer.error();
    assert_eq!(
        (status, code.as_str(), message.as_str()),
        (400, "ThrottlingException", "Rate exceeded")
    );
    assert_eq!(call.fault.as_deref(), Some("quota secretsmanager:PutSecretValue"));
    assert_eq!(
        site.get(&red, SECRET).await.status,
        200,
        "reads have a quota of their own"
    );
    site.endpoint.set_quotas(Quotas::Off);
    assert_eq!(value(1).await.status, 200);
}
