//! What becomes of a mount when AWS is in trouble: which failures are tried again, how often, and what
//! is said in the end.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use crate::{
    aws::REGION,
    bench::Bench,
    cases::{aws, named, with},
    recorder::{Script, Seen},
};

const ABROAD: &str = "us-west-2";
const ANY: &str = "secretsmanager.";

fn json_error(code: &str) -> String {
    json!({"__type": code, "message": format!("this is {code}")}).to_string()
}

fn xml_error(code: &str) -> String {
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>this is {code}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
}

/// The first `number` requests to hosts that begin with `host` are answered so.
fn times(number: u32, host: &'static str, status: u16, body: String) -> Box<Script> {
    let left = AtomicU32::new(number);
    Box::new(move |seen: &Seen| {
        let hit = seen.host.starts_with(host)
            && left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        hit.then(|| (status, body.clone()))
    })
}

fn always(host: &'static str, status: u16, body: String) -> Box<Script> {
    times(u32::MAX, host, status, body)
}

async fn mount(bench: &mut Bench, case: &str, script: Box<Script>) {
    bench.case(case).await;
    let spec = if case.starts_with("failover") {
        let objects = "- {objectName: red/both, objectType: secretsmanager, objectAlias: a}";
        with(aws(objects), &[("failoverRegion", ABROAD)])
    } else {
        named("red/secret")
    };
    let volume = bench.pod("red", spec).await;
    *bench.world.aws_log.script.lock().unwrap() = Some(script);
    bench.publish(&volume).await;
    *bench.world.aws_log.script.lock().unwrap() = None;
}

pub(crate) async fn trouble(bench: &mut Bench) {
    for (status, code) in [
        (400, "ThrottlingException"),
        (400, "DecryptionFailure"),
        (400, "InvalidRequestException"),
        (400, "InvalidParameterException"),
        (400, "UnheardOf"),
        (500, "InternalServiceError"),
        (503, "ServiceUnavailable"),
        (501, "NotImplemented"),
    ] {
        let case = format!("Secrets Manager says {status} {code}");
        mount(bench, &case, always(ANY, status, json_error(code))).await;
    }
    for (case, status, body) in [
        ("Secrets Manager says 502, no JSON", 502, "<html>"),
        ("Secrets Manager says 403, nothing", 403, ""),
    ] {
        mount(bench, case, always(ANY, status, body.to_owned())).await;
    }
    let twice = times(2, ANY, 500, json_error("InternalServiceError"));
    mount(bench, "Secrets Manager recovers", twice).await;
    for (status, code) in [
        (400, "Throttling"),
        (400, "IDPCommunicationError"),
        (400, "ExpiredTokenException"),
        (403, "RegionDisabledException"),
        (500, "InternalFailure"),
    ] {
        let case = format!("STS says {status} {code}");
        mount(bench, &case, always("sts.", status, xml_error(code))).await;
    }
    mount(
        bench,
        "STS says 403, no XML",
        always("sts.", 403, "no".to_owned()),
    )
    .await;
    let once = times(1, "sts.", 500, xml_error("InternalFailure"));
    mount(bench, "STS recovers", once).await;
    failover(bench).await;
}

async fn failover(bench: &mut Bench) {
    for region in [REGION, ABROAD] {
        let secret = json!({"Name": "red/both", "SecretString": format!("value of {region}")});
        bench.world.aws.secrets_in(region, "CreateSecret", secret).await;
    }
    mount(bench, "failover: both there", times(0, ANY, 500, String::new())).await;
    for (name, host) in [
        ("home", "secretsmanager.us-east-1."),
        ("abroad", "secretsmanager.us-west-2."),
        ("both", ANY),
    ] {
        for (status, code) in [
            (400, "AccessDeniedException"),
            (400, "ResourceNotFoundException"),
            (500, "InternalServiceError"),
        ] {
            let case = format!("failover: {code} at {name}");
            mount(bench, &case, always(host, status, json_error(code))).await;
        }
    }
    let refused = always("sts.us-east-1.", 403, xml_error("AccessDenied"));
    mount(bench, "failover: STS refuses at home", refused).await;
}
