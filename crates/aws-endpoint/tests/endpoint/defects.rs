//! Every planted defect lets through, or spoils, what it is named for and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use mountproof_aws_endpoint::Defects;
use serde_json::json;

use crate::{
    client::{Keys, Reply, signed},
    issuer::Signer,
    support::{Bench, seconds},
};

/// What each probe sees: a secret's value, `session`, or the code of the refusal.
type Seen = BTreeMap<&'static str, String>;

async fn probe(bench: &Bench) -> Seen {
    let stranger = Signer::rsa("key-1");
    let red = bench.session("red").await;
    let value = |reply: Reply| match reply.status {
        200 => reply.json()["SecretString"].as_str().unwrap().to_owned(),
        _ => reply.error().1,
    };
    let session = |reply: Reply| match reply.status {
        200 => "session".to_owned(),
        _ => reply.error().1,
    };
    let with = |key: &str, value| {
        let mut claims = bench.claims("red");
        claims[key] = value;
        claims
    };
    let sign = |claims| bench.signer.sign(&claims);
    let mut forged = red.clone();
    forged.secret = "x".repeat(40);
    let wrongly_signed = {
        let body = json!({"SecretId": "demo/team-red/secret"}).to_string();
        let now = SystemTime::now();
        signed("secretsmanager", Some("GetSecretValue"), body, &forged, now)
    };
    let stolen = Keys {
        token: Some("x".repeat(360)),
        ..red.clone()
    };
    Seen::from([
        (
            "own secret",
            value(bench.read(&red, "demo/team-red/secret").await),
        ),
        (
            "updated secret",
            value(bench.read(&red, "demo/team-red/updated").await),
        ),
        (
            "other tenant's secret",
            value(bench.read(&red, "demo/team-blue/secret").await),
        ),
        (
            "other cluster's secret",
            value(bench.read(&red, "prod/team-red/secret").await),
        ),
        (
            "request with a wrong signature",
            value(bench.client.send(wrongly_signed).await),
        ),
        (
            "request with a wrong session token",
            value(bench.read(&stolen, "demo/team-red/secret").await),
        ),
        (
            "token of a stranger's key",
            session(bench.assume("red", &stranger.sign(&bench.claims("red"))).await),
        ),
        (
            "expired token",
            session(
                bench
                    .assume("red", &sign(with("exp", json!(seconds() - 3600))))
                    .await,
            ),
        ),
        (
            "token for another audience",
            session(bench.assume("red", &sign(with("aud", json!(["vault"])))).await),
        ),
        (
            "token of an unknown issuer",
            session(
                bench
                    .assume("red", &sign(with("iss", json!("https://x.example"))))
                    .await,
            ),
        ),
        (
            "other tenant's token",
            session(
                bench
                    .assume("red", &bench.signer.sign(&bench.claims("blue")))
                    .await,
            ),
        ),
        (
            "role that does not exist",
            session(bench.assume("green", &sign(bench.claims("red"))).await),
        ),
    ])
}

#[tokio::test]
async fn each_defect_changes_what_it_is_named_for() {
    let bench = Bench::start().await;
    bench.create("demo/team-red/updated", "before").await;
    let update = json!({
        "SecretId": "demo/team-red/updated", "SecretString": "after", "ClientRequestToken": "u".repeat(32),
    });
    bench.secrets("PutSecretValue", &update).await;

    let sound = probe(&bench).await;
    let expected = Seen::from([
        ("own secret", "red".to_owned()),
        ("updated secret", "after".to_owned()),
        ("other tenant's secret", "AccessDeniedException".to_owned()),
        ("other cluster's secret", "AccessDeniedException".to_owned()),
        (
            "request with a wrong signature",
            "InvalidSignatureException".to_owned(),
        ),
        (
            "request with a wrong session token",
            "UnrecognizedClientException".to_owned(),
        ),
        ("token of a stranger's key", "InvalidIdentityToken".to_owned()),
        ("expired token", "ExpiredTokenException".to_owned()),
        ("token for another audience", "InvalidIdentityToken".to_owned()),
        ("token of an unknown issuer", "InvalidIdentityToken".to_owned()),
        ("other tenant's token", "AccessDenied".to_owned()),
        ("role that does not exist", "AccessDenied".to_owned()),
    ]);
    assert_eq!(sound, expected);

    let none = Defects::default();
    let cases: [(Defects, &[(&str, &str)]); 8] = [
        (
            Defects {
                skip_token_signature: true,
                ..none
            },
            &[("token of a stranger's key", "session")],
        ),
        (
            Defects {
                ignore_audience: true,
                ..none
            },
            &[("token for another audience", "session")],
        ),
        (
            Defects {
                ignore_trust_policy: true,
                ..none
            },
            &[("other tenant's token", "session")],
        ),
        (
            Defects {
                ignore_resource: true,
                ..none
            },
            &[
                ("other tenant's secret", "blue"),
                ("other cluster's secret", "prod"),
            ],
        ),
        (
            Defects {
                prefix_match: true,
                ..none
            },
            &[("other tenant's secret", "blue")],
        ),
        (
            Defects {
                skip_request_signature: true,
                ..none
            },
            &[("request with a wrong signature", "red")],
        ),
        (
            Defects {
                stale_after_put: true,
                ..none
            },
            &[("updated secret", "before")],
        ),
        (
            Defects {
                other_tenants_secret: true,
                ..none
            },
            &[("own secret", "blue"), ("updated secret", "blue")],
        ),
    ];
    for (defects, changed) in cases {
        bench.endpoint.set_defects(defects);
        let seen = probe(&bench).await;
        let differs: BTreeSet<(&str, &str)> = seen
            .iter()
            .filter(|(what, outcome)| expected[*what] != **outcome)
            .map(|(what, outcome)| (*what, outcome.as_str()))
            .collect();
        assert_eq!(differs, changed.iter().copied().collect(), "{defects:?}");
    }
    bench.endpoint.set_defects(none);
    assert_eq!(probe(&bench).await, expected, "a defect can be taken out again");
}
