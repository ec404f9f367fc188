//! The endpoint before a backend that keeps the secrets and lets in whoever asks: what is decided is what the endpoint
//! would decide of its own, and what is denied does not get there.

use std::net::SocketAddr;

use axum::{Router, http::StatusCode};
use mountproof_aws_endpoint::{Backend, CallVerdict, Endpoint, EndpointConfig, StartError};
use mountproof_run_tls::RunCa;
use serde_json::json;

use crate::support::{
    ACCOUNT, GET, REGION, denied, no_identity_policy, policy, read, secret_arn, unguarded::site,
};

/// What the backend is asked about a secret before anything is decided.
fn questions() -> Vec<String> {
    ["DescribeSecret", "GetResourcePolicy"]
        .map(|operation| format!("secretsmanager {REGION} {operation}"))
        .to_vec()
}

fn sorted(mut calls: Vec<String>) -> Vec<String> {
    calls.sort();
    calls
}

#[tokio::test]
async fn a_tenant_reads_its_own_secret_from_the_backend_and_the_log_names_both() {
    let (site, backend) = site().await;
    let arn = site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let prefix = secret_arn("demo/team-red/secret");
    for id in ["demo/team-red/secret", &arn, &prefix] {
        let (answer, call) = site.logged(site.get(&red, id)).await;
        assert_eq!(answer.value_or_code(), "value of team-red", "{id}");
        assert_eq!(call.verdict, CallVerdict::Allowed);
        assert_eq!(call.asked.as_deref(), Some(id));
        assert_eq!(
            call.resource.as_deref(),
            Some(arn.as_str()),
            "as the backend stores it"
        );
        assert_eq!(call.backend.as_deref(), Some("unguarded"));
    }
    assert!(
        site.endpoint
            .leftovers()
            .iter()
            .all(|left| !left.starts_with("secret")),
        "nothing is kept here"
    );
    assert_eq!(
        backend.kept().secrets.names().collect::<Vec<_>>(),
        ["demo/team-red/secret"]
    );
}

#[tokio::test]
async fn another_tenant_is_denied_in_aws_words_and_the_call_never_gets_there() {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    let blue = site.tenant("team-blue").await;
    let red = site.session("team-red").await;
    let prefix = blue.rsplit_once('-').unwrap().0;
    for id in ["demo/team-blue/secret", &blue, prefix, "demo/team-blue/missing"] {
        backend.calls();
        let (answer, call) = site.logged(site.get(&red, id)).await;
        let text = denied("team-red", GET, id, &no_identity_policy(GET));
        assert_eq!(
            answer.error(),
            (400, "AccessDeniedException".to_owned(), text),
            "{id}"
        );
        assert_eq!((call.verdict, call.backend), (CallVerdict::Denied, None), "{id}");
        assert_eq!(
            sorted(backend.calls()),
            questions(),
            "{id}: asked about, not fetched"
        );
    }
}

#[tokio::test]
async fn what_nobody_signed_or_nobody_knows_does_not_reach_the_backend_at_all() {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    backend.calls();
    let forged = red.but(|red| red.secret = "another".to_owned());
    let answer = site.get(&forged, "demo/team-red/secret").await;
    assert_eq!(answer.code(), "InvalidSignatureException");
    let garbage = site.assume("team-red", "garbage", &[]).await;
    assert_eq!(garbage.code(), "InvalidIdentityToken");
    for (operation, input, code) in [
        (
            "StealSecret",
            json!({"SecretId": "demo/team-red/secret"}),
            "UnknownOperationException",
        ),
        ("GetSecretValue", json!({}), "ValidationException"),
        (
            "GetSecretValue",
            json!({"SecretId": "no such/name?"}),
            "ValidationException",
        ),
        (
            "GetSecretValue",
            json!({"SecretId": ["a"]}),
            "SerializationException",
        ),
    ] {
        let answer = site.secrets(&site.root, operation, input.clone()).await;
        assert_eq!(answer.code(), code, "{operation} {input}");
    }
    assert_eq!(backend.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn a_resource_policy_that_the_backend_keeps_is_enforced_here() {
    let (site, _backend) = site().await;
    let arn = site.tenant("team-red").await;
    let blue = site.tenant("team-blue").await;
    let red = site.session("team-red").await;
    let shut = policy(&json!({"Effect": "Deny", "Principal": "*", "Action": GET, "Resource": "*"}));
    site.done(
        "PutResourcePolicy",
        json!({"SecretId": arn, "ResourcePolicy": shut.to_string()}),
    )
    .await;
    let answer = site.get(&red, &arn).await;
    let because = "with an explicit deny in a resource-based policy";
    assert_eq!(answer.message(), denied("team-red", GET, &arn, because));
    site.done("DeleteResourcePolicy", json!({"SecretId": arn})).await;
    assert_eq!(site.get(&red, &arn).await.status, 200);

    let open = policy(&json!({
        "Effect": "Allow", "Action": GET, "Resource": "*",
        "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:role/team-red")},
    }));
    site.done(
        "PutResourcePolicy",
        json!({"SecretId": blue, "ResourcePolicy": open.to_string()}),
    )
    .await;
    assert_eq!(site.get(&red, &blue).await.value_or_code(), "value of team-blue");
}

#[tokio::test]
async fn tags_that_the_backend_keeps_count_in_conditions() {
    let (site, _backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let mut tagged = read("*");
    tagged["Statement"][0]["Condition"] = json!({"StringEquals": {"aws:ResourceTag/team": "red"}});
    site.allow("team-red", &tagged).await;
    let secret = json!({"SecretId": "demo/team-red/secret"});
    assert_eq!(
        site.secrets(&red, "GetSecretValue", secret.clone()).await.code(),
        "AccessDeniedException"
    );
    let tags = json!({"SecretId": "demo/team-red/secret", "Tags": [{"Key": "team", "Value": "red"}]});
    site.done("TagResource", tags).await;
    assert_eq!(site.secrets(&red, "GetSecretValue", secret).await.status, 200);
}

#[tokio::test]
async fn a_batch_is_decided_secret_by_secret() {
    let (site, _backend) = site().await;
    site.tenant("team-red").await;
    site.tenant("team-blue").await;
    let red = site.session("team-red").await;
    let batch =
        json!({"SecretIdList": ["demo/team-red/secret", "demo/team-blue/secret", "demo/team-red/missing"]});
    assert_eq!(
        site.secrets(&red, "BatchGetSecretValue", batch.clone())
            .await
            .code(),
        "AccessDeniedException",
        "nothing allows the call as a whole"
    );
    let whole = policy(&json!([
        {"Effect": "Allow", "Action": "secretsmanager:BatchGetSecretValue", "Resource": "*"},
        {"Effect": "Allow", "Action": GET, "Resource": secret_arn("demo/team-red/*")},
    ]));
    let whole = json!({"Version": "2012-10-17", "Statement": whole["Statement"][0]});
    site.allow("team-red", &whole).await;
    let by_filter = json!({"Filters": [{"Key": "name", "Values": ["demo/"]}]});
    for (input, errors) in [
        (batch, vec!["AccessDeniedException", "ResourceNotFoundException"]),
        (by_filter, vec!["AccessDeniedException"]),
    ] {
        let answer = site.secrets(&red, "BatchGetSecretValue", input).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        let all = |member: &str, of: &str| -> Vec<String> {
            let items = answer[member].as_array().unwrap().iter();
            items.map(|item| item[of].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(all("SecretValues", "SecretString"), ["value of team-red"]);
        assert_eq!(all("Errors", "ErrorCode"), errors);
    }
}

#[tokio::test]
async fn the_backends_own_refusals_come_back_as_they_are() {
    let (site, _backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let (answer, call) = site.logged(site.get(&red, "demo/team-red/missing")).await;
    let text = "Secrets Manager can't find the specified secret.";
    assert_eq!(
        answer.error(),
        (400, "ResourceNotFoundException".to_owned(), text.to_owned())
    );
    assert_eq!(
        (call.verdict, call.error.as_deref(), call.backend.as_deref()),
        (
            CallVerdict::Failed,
            Some("ResourceNotFoundException"),
            Some("unguarded")
        )
    );
}

#[tokio::test]
async fn what_cannot_be_known_of_a_secret_lets_nobody_in() {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    for (broken, policy, reason) in [
        (
            Some((StatusCode::INTERNAL_SERVER_ERROR, "{}")),
            None,
            "status 500",
        ),
        (Some((StatusCode::OK, "<html>")), None, "status 200"),
        (Some((StatusCode::OK, r#"{"Name": "x"}"#)), None, "names no ARN"),
        (
            Some((StatusCode::BAD_REQUEST, r#"{"__type": "Odd"}"#)),
            None,
            "Odd",
        ),
        (None, Some("not a policy"), "cannot be evaluated"),
    ] {
        (backend.kept().broken, backend.kept().policy) = (None, None);
        {
            let mut kept = backend.kept();
            (kept.broken, kept.policy) = (broken, policy);
        }
        let (answer, call) = site.logged(site.get(&red, "demo/team-red/secret")).await;
        let text = "An error occurred on the server side.";
        assert_eq!(
            answer.error(),
            (500, "InternalServiceError".to_owned(), text.to_owned()),
            "{reason}"
        );
        assert!(
            call.reason.as_deref().unwrap().contains(reason),
            "{reason}: {:?}",
            call.reason
        );
        assert_eq!(call.backend, None, "{reason}: nothing was sent on");
    }
}

#[tokio::test]
async fn a_policy_that_could_not_be_evaluated_is_not_stored() {
    let (site, backend) = site().await;
    let arn = site.tenant("team-red").await;
    backend.calls();
    let input = json!({"SecretId": arn, "ResourcePolicy": r#"{"Statement": "nonsense"}"#});
    let answer = site.secrets(&site.root, "PutResourcePolicy", input).await;
    assert_eq!(answer.code(), "MalformedPolicyDocumentException");
    assert_eq!(sorted(backend.calls()), questions());
}

#[tokio::test]
async fn iam_is_mirrored_in_order_and_only_what_was_done() {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    let refused = site.iam_as(&red, "DeleteRole", &[("RoleName", "team-red")]).await;
    assert_eq!(refused.status, 403);
    site.iam("GetRole", &[("RoleName", "team-red")]).await;
    site.iam(
        "TagRole",
        &[
            ("RoleName", "team-red"),
            ("Tags.member.1.Key", "k"),
            ("Tags.member.1.Value", "v"),
        ],
    )
    .await;
    let told = backend.told(4).await;
    let actions: Vec<&str> = told
        .iter()
        .map(|form| form.split('&').next().unwrap().strip_prefix("Action=").unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "CreateOpenIDConnectProvider",
            "CreateRole",
            "PutRolePolicy",
            "TagRole"
        ]
    );
}

#[tokio::test]
async fn the_region_of_a_call_is_the_backends_too() {
    let (site, backend) = site().await;
    let secret = json!({"Name": "demo/there", "SecretString": "x"});
    let made = site
        .secrets_in("us-east-1", &site.root, "CreateSecret", secret)
        .await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert!(
        backend
            .calls()
            .contains(&"secretsmanager us-east-1 CreateSecret".to_owned())
    );
    assert_eq!(
        site.get(&site.root, "demo/there").await.code(),
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn a_backend_that_is_none_is_said_so_at_the_start() {
    let ca = RunCa::generate("test").unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let page = web.local_addr().unwrap();
    let app = Router::new().fallback(|| async { "<html>" });
    tokio::spawn(async move { axum::serve(web, app).await });
    let start = async |address: SocketAddr| {
        let backend = Backend::new("it", &format!("http://{address}")).unwrap();
        let config = EndpointConfig {
            backend: Some(backend),
            ..EndpointConfig::new(ACCOUNT, &ca)
        };
        match Endpoint::start(config).await {
            Err(error @ StartError::Backend { .. }) => error.to_string(),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("{address} is no backend"),
        }
    };
    let text = start(closed).await;
    assert!(
        text.starts_with(&format!("the backend at http://{closed} cannot be used: ")),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    let text = start(page).await;
    assert!(text.ends_with("not as Secrets Manager does"), "{text}");
}

#[tokio::test]
async fn a_backend_that_goes_away_is_an_error_of_the_service_and_not_a_denial() {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    let red = site.session("team-red").await;
    backend.kept().broken = Some((StatusCode::BAD_GATEWAY, ""));
    let (answer, call) = site.logged(site.get(&red, "demo/team-red/secret")).await;
    assert_eq!(answer.status, 500);
    assert_eq!(call.verdict, CallVerdict::Failed, "nobody was denied");
    backend.kept().broken = None;
    assert_eq!(
        site.get(&red, "demo/team-red/secret").await.status,
        200,
        "and it comes back"
    );
}
