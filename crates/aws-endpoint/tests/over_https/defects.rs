//! Each planted defect flips the verdict it is named after, and no other.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::time::SystemTime;

use mountproof_aws_endpoint::Defects;
use serde_json::json;

use crate::support::{Caller, Key, REGION, Site, json_request, now, read_own, signed};

/// What each probe comes to: the body's secret, or the error's code.
type Verdicts = Vec<(&'static str, String)>;

/// Every way in that must be shut, and those that must be open, as a tenant would try them.
async fn probe(site: &Site) -> Verdicts {
    let key = site.issuer.key();
    let stranger = Key::rsa(&key.id);
    let good = site.issuer.claims("team-red");
    let mut vault = good.clone();
    vault["aud"] = json!(["vault"]);
    let mut verdicts = Verdicts::new();
    for (what, role, token) in [
        ("genuine token", "team-red", key.sign(&good)),
        ("forged token", "team-red", stranger.sign(&good)),
        ("wrong audience", "team-red", key.sign(&vault)),
        ("other tenant's role", "team-blue", key.sign(&good)),
        ("missing role", "missing", key.sign(&good)),
    ] {
        let answer = site.assume(role, &token, &[]).await;
        verdicts.push((
            what,
            if answer.status == 200 {
                "given".to_owned()
            } else {
                answer.code()
            },
        ));
    }
    let red = site.session("team-red").await;
    let forger = Caller {
        secret: "x".repeat(40),
        ..red.clone()
    };
    for (what, caller, id) in [
        ("own secret", &red, "demo/team-red/secret"),
        ("other tenant's secret", &red, "demo/team-blue/secret"),
        ("foreign path", &red, "elsewhere/secret"),
        ("forged request", &forger, "demo/team-red/secret"),
    ] {
        let request = json_request(REGION, "GetSecretValue", &json!({ "SecretId": id }));
        let answer = site
            .send(signed(
                request,
                caller,
                REGION,
                "secretsmanager",
                SystemTime::now(),
            ))
            .await;
        let verdict = match answer.status {
            200 => answer.json()["SecretString"].as_str().unwrap().to_owned(),
            _ => answer.code(),
        };
        verdicts.push((what, verdict));
    }
    verdicts
}

async fn site() -> Site {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    site.done(
        "CreateSecret",
        json!({ "Name": "elsewhere/secret", "SecretString": "value elsewhere" }),
    )
    .await;
    // Updated, so that there is an older value to be stale.
    let put = json!({ "SecretId": "demo/team-red/secret", "SecretString": "new value of team-red" });
    site.done("PutSecretValue", put).await;
    site
}

/// The verdicts without any defect.
fn sound() -> Verdicts {
    [
        ("genuine token", "given"),
        ("forged token", "InvalidIdentityToken"),
        ("wrong audience", "InvalidIdentityToken"),
        ("other tenant's role", "AccessDenied"),
        ("missing role", "AccessDenied"),
        ("own secret", "new value of team-red"),
        ("other tenant's secret", "AccessDeniedException"),
        ("foreign path", "AccessDeniedException"),
        ("forged request", "InvalidSignatureException"),
    ]
    .map(|(what, verdict)| (what, verdict.to_owned()))
    .to_vec()
}

#[tokio::test]
async fn each_flips_its_verdict_and_no_other() {
    let site = site().await;
    assert_eq!(probe(&site).await, sound());
    let cases = [
        (
            Defects {
                skip_token_signature: true,
                ..Defects::default()
            },
            vec![("forged token", "given")],
        ),
        (
            Defects {
                ignore_audience: true,
                ..Defects::default()
            },
            vec![("wrong audience", "given")],
        ),
        (
            Defects {
                ignore_trust_policy: true,
                ..Defects::default()
            },
            vec![("other tenant's role", "given")],
        ),
        (
            Defects {
                ignore_resource: true,
                ..Defects::default()
            },
            vec![
                ("other tenant's secret", "value of team-blue"),
                ("foreign path", "value elsewhere"),
            ],
        ),
        (
            Defects {
                prefix_match: true,
                ..Defects::default()
            },
            vec![("other tenant's secret", "value of team-blue")],
        ),
        (
            Defects {
                skip_request_signature: true,
                ..Defects::default()
            },
            vec![("forged request", "new value of team-red")],
        ),
        (
            Defects {
                stale_after_put: true,
                ..Defects::default()
            },
            vec![("own secret", "value of team-red")],
        ),
        (
            Defects {
                other_tenants_secret: true,
                ..Defects::default()
            },
            vec![("own secret", "value of team-blue")],
        ),
    ];
    for (defects, flipped) in cases {
        site.endpoint.set_defects(defects);
        let mut expected = sound();
        for (what, verdict) in flipped {
            expected.iter_mut().find(|(probe, _)| *probe == what).unwrap().1 = verdict.to_owned();
        }
        assert_eq!(probe(&site).await, expected, "{defects:?}");
        site.endpoint.set_defects(Defects::default());
    }
    assert_eq!(probe(&site).await, sound(), "defects leave no trace");
}

#[tokio::test]
async fn a_stale_value_catches_up_with_nothing() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.allow("team-red", &read_own("team-red")).await;
    let session = site.session("team-red").await;
    site.endpoint.set_defects(Defects {
        stale_after_put: true,
        ..Defects::default()
    });
    let id = "demo/team-red/secret";
    let read = || async {
        let answer = site
            .secrets(&session, "GetSecretValue", json!({ "SecretId": id }))
            .await;
        answer.json()["SecretString"].as_str().unwrap().to_owned()
    };
    assert_eq!(read().await, "value of team-red", "there is no older value yet");
    site.done("UpdateSecret", json!({ "SecretId": id, "SecretString": "two" }))
        .await;
    assert_eq!(read().await, "value of team-red");
    site.done(
        "PutSecretValue",
        json!({ "SecretId": id, "SecretString": "three" }),
    )
    .await;
    assert_eq!(read().await, "two");
    site.endpoint.set_defects(Defects::default());
    assert_eq!(read().await, "three");
}

#[tokio::test]
async fn prefix_matching_is_caught_between_teams_whose_names_begin_alike() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-red2").await;
    let session = site.session("team-red").await;
    let read = || async {
        site.secrets(
            &session,
            "GetSecretValue",
            json!({ "SecretId": "demo/team-red2/secret" }),
        )
        .await
    };
    assert_eq!(read().await.code(), "AccessDeniedException");
    site.endpoint.set_defects(Defects {
        prefix_match: true,
        ..Defects::default()
    });
    assert_eq!(read().await.status, 200);
}

#[tokio::test]
async fn without_the_check_of_signatures_tokens_still_expire() {
    let site = site().await;
    site.endpoint.set_defects(Defects {
        skip_token_signature: true,
        ..Defects::default()
    });
    let mut expired = site.issuer.claims("team-red");
    expired["exp"] = json!(now() - 3600);
    let answer = site
        .assume("team-red", &Key::rsa("first").sign(&expired), &[])
        .await;
    assert_eq!(answer.code(), "ExpiredTokenException", "{}", answer.text);
}
