//! Every planted defect lets through, or spoils, what it is named for and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use mountproof_aws_endpoint::Defects;
use serde_json::{Value, json};

use crate::support::{
    Answer, ELSEWHERE, GET, Key, REGION, Site, now, policy, role_arn, secrets_request, signed_for,
};

const NONE: Defects = Defects {
    skip_token_signature: false,
    ignore_audience: false,
    ignore_trust_policy: false,
    ignore_resource: false,
    prefix_match: false,
    skip_request_signature: false,
    stale_after_put: false,
    other_tenants_secret: false,
    ignore_resource_policy: false,
    ignore_boundary: false,
    accept_expired_token: false,
    accept_any_region: false,
    any_association_counts: false,
    ignore_source_cluster: false,
    ignore_request_tags: false,
};

/// What each probe sees: a secret's value, `session`, or the code of the refusal.
type Seen = BTreeMap<&'static str, String>;

/// The probes, and what they see when nothing is broken.
const SOUND: [(&str, &str); 16] = [
    ("own secret", "value of team-red"),
    ("updated secret", "after"),
    ("other tenant's secret", "AccessDeniedException"),
    ("other cluster's secret", "AccessDeniedException"),
    ("request with a wrong signature", "InvalidSignatureException"),
    (
        "request with a wrong session token",
        "UnrecognizedClientException",
    ),
    ("genuine token", "session"),
    ("token of a stranger's key", "InvalidIdentityToken"),
    ("expired token", "ExpiredTokenException"),
    ("token for another audience", "InvalidIdentityToken"),
    ("token of an unknown issuer", "InvalidIdentityToken"),
    ("other tenant's token", "AccessDenied"),
    ("role that does not exist", "AccessDenied"),
    ("secret whose policy denies", "AccessDeniedException"),
    ("secret beyond the boundary", "AccessDeniedException"),
    ("request for another region", "InvalidSignatureException"),
];

/// Every defect, and what its probes see instead.
const BROKEN: [(Defects, &[(&str, &str)]); 12] = [
    (
        Defects {
            skip_token_signature: true,
            ..NONE
        },
        &[("token of a stranger's key", "session")],
    ),
    (
        Defects {
            ignore_audience: true,
            ..NONE
        },
        &[("token for another audience", "session")],
    ),
    (
        Defects {
            ignore_trust_policy: true,
            ..NONE
        },
        &[("other tenant's token", "session")],
    ),
    (
        Defects {
            ignore_resource: true,
            ..NONE
        },
        &[
            ("other tenant's secret", "value of team-blue"),
            ("other cluster's secret", "prod"),
        ],
    ),
    (
        Defects {
            prefix_match: true,
            ..NONE
        },
        &[("other tenant's secret", "value of team-blue")],
    ),
    (
        Defects {
            skip_request_signature: true,
            ..NONE
        },
        &[("request with a wrong signature", "value of team-red")],
    ),
    (
        Defects {
            stale_after_put: true,
            ..NONE
        },
        &[("updated secret", "before")],
    ),
    (
        Defects {
            other_tenants_secret: true,
            ..NONE
        },
        &[
            ("own secret", "value of team-blue"),
            ("updated secret", "value of team-blue"),
        ],
    ),
    (
        Defects {
            ignore_resource_policy: true,
            ..NONE
        },
        &[("secret whose policy denies", "denied by its policy")],
    ),
    (
        Defects {
            ignore_boundary: true,
            ..NONE
        },
        &[("secret beyond the boundary", "value of team-bounded")],
    ),
    (
        Defects {
            accept_expired_token: true,
            ..NONE
        },
        &[("expired token", "session")],
    ),
    (
        Defects {
            accept_any_region: true,
            ..NONE
        },
        &[("request for another region", "value of team-red")],
    ),
];

/// Tries every way in that has to be shut, and those that have to be open.
async fn probe(site: &Site) -> Seen {
    let red = site.session("team-red").await;
    let wrongly_signed = red.but(|caller| caller.secret = "x".repeat(40));
    let stolen = red.but(|caller| caller.token = Some("x".repeat(360)));
    let mut seen = Seen::new();
    for (what, caller, id) in [
        ("own secret", &red, "demo/team-red/secret"),
        ("updated secret", &red, "demo/team-red/updated"),
        ("other tenant's secret", &red, "demo/team-blue/secret"),
        ("other cluster's secret", &red, "prod/team-red/secret"),
        (
            "request with a wrong signature",
            &wrongly_signed,
            "demo/team-red/secret",
        ),
        (
            "request with a wrong session token",
            &stolen,
            "demo/team-red/secret",
        ),
        ("secret whose policy denies", &red, "demo/team-red/denied"),
        (
            "secret beyond the boundary",
            &site.session("team-bounded").await,
            "demo/team-bounded/secret",
        ),
    ] {
        seen.insert(what, site.get(caller, id).await.value_or_code());
    }
    // Sent to the host of one region, and signed for another.
    let get = secrets_request(
        REGION,
        "GetSecretValue",
        json!({ "SecretId": "demo/team-red/secret" }),
    );
    let elsewhere = signed_for(get, &red, "secretsmanager", ELSEWHERE, SystemTime::now());
    let code = site.send(elsewhere).await.value_or_code();
    seen.insert("request for another region", code);
    let issuer = &site.issuer;
    let with = |claim: &str, value: Value| issuer.sign(&issuer.claims_but(claim, value));
    let genuine = issuer.token_of("team-red");
    let stranger = Key::rsa(&issuer.key().id).sign(&issuer.claims("team-red"));
    for (what, role, token) in [
        ("genuine token", "team-red", genuine.clone()),
        ("token of a stranger's key", "team-red", stranger),
        ("expired token", "team-red", with("exp", json!(now() - 3600))),
        (
            "token for another audience",
            "team-red",
            with("aud", json!(["vault"])),
        ),
        (
            "token of an unknown issuer",
            "team-red",
            with("iss", json!("https://x.example")),
        ),
        ("other tenant's token", "team-red", issuer.token_of("team-blue")),
        ("role that does not exist", "missing", genuine),
    ] {
        seen.insert(what, session_or_code(&site.assume(role, &token, &[]).await));
    }
    seen
}

/// A tenant whose boundary allows less than its policy does.
async fn bounded(site: &Site) {
    site.tenant("team-bounded").await;
    let boundary = policy(&json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }));
    let arn = site.managed("boundary", &boundary).await;
    let params = [
        ("RoleName", "team-bounded"),
        ("PermissionsBoundary", arn.as_str()),
    ];
    site.iam("PutRolePermissionsBoundary", &params).await;
}

/// A secret that its tenant's policy allows to read, and its own denies to all but root.
async fn denied_by_its_policy(site: &Site) {
    let id = site.create("demo/team-red/denied", "denied by its policy").await;
    let denies = policy(&json!({
        "Effect": "Deny", "Principal": { "AWS": role_arn("team-red") }, "Action": GET, "Resource": "*",
    }));
    let put = json!({ "SecretId": id, "ResourcePolicy": denies.to_string() });
    site.done("PutResourcePolicy", put).await;
}

fn session_or_code(answer: &Answer) -> String {
    match answer.status {
        200 => "session".to_owned(),
        _ => answer.code(),
    }
}

#[tokio::test]
async fn each_defect_changes_what_it_is_named_for() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    site.create("prod/team-red/secret", "prod").await;
    site.create("demo/team-red/updated", "before").await;
    bounded(&site).await;
    denied_by_its_policy(&site).await;
    let put = json!({ "SecretId": "demo/team-red/updated", "SecretString": "after" });
    site.done("PutSecretValue", put).await;

    let sound: Seen = SOUND.map(|(what, seen)| (what, seen.to_owned())).into();
    assert_eq!(probe(&site).await, sound);
    for (defects, changed) in BROKEN {
        site.endpoint.set_defects(defects);
        let seen = probe(&site).await;
        let differs: BTreeSet<(&str, &str)> = seen
            .iter()
            .filter(|(what, seen)| sound[*what] != **seen)
            .map(|(what, seen)| (*what, seen.as_str()))
            .collect();
        assert_eq!(differs, changed.iter().copied().collect(), "{defects:?}");
    }
    site.endpoint.set_defects(NONE);
    assert_eq!(NONE, Defects::default());
    assert_eq!(probe(&site).await, sound, "a defect can be taken out again");
}

#[tokio::test]
async fn a_stale_value_is_the_one_before_the_last_update() {
    let (site, red) = Site::with_red().await;
    site.endpoint.set_defects(Defects {
        stale_after_put: true,
        ..NONE
    });
    let id = "demo/team-red/secret";
    let value = async || site.get(&red, id).await.value_or_code();
    assert_eq!(value().await, "value of team-red", "there is no older value yet");
    site.done("UpdateSecret", json!({ "SecretId": id, "SecretString": "two" }))
        .await;
    assert_eq!(value().await, "value of team-red");
    site.done(
        "PutSecretValue",
        json!({ "SecretId": id, "SecretString": "three" }),
    )
    .await;
    assert_eq!(value().await, "two");
    site.endpoint.set_defects(NONE);
    assert_eq!(value().await, "three");
}

#[tokio::test]
async fn prefix_matching_is_caught_between_teams_whose_names_begin_alike() {
    let (site, red) = Site::with_red().await;
    site.tenant("team-red2").await;
    let value = async || site.get(&red, "demo/team-red2/secret").await.value_or_code();
    assert_eq!(value().await, "AccessDeniedException");
    site.endpoint.set_defects(Defects {
        prefix_match: true,
        ..NONE
    });
    assert_eq!(value().await, "value of team-red2");
}

#[tokio::test]
async fn without_the_check_of_signatures_tokens_still_expire() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.endpoint.set_defects(Defects {
        skip_token_signature: true,
        ..NONE
    });
    let expired = site.issuer.claims_but("exp", json!(now() - 3600));
    let answer = site
        .assume("team-red", &Key::rsa("first").sign(&expired), &[])
        .await;
    assert_eq!(answer.code(), "ExpiredTokenException", "{}", answer.text);
}
