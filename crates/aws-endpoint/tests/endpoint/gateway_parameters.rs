//! Parameters before a backend that shows them to whoever asks.

use axum::http::StatusCode;
use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{
    ACCOUNT, Caller, REGION, Site, policy,
    unguarded::{Unguarded, site},
};

const PARAMETER: &str = "arn:aws:ssm:eu-west-1:000000000000:parameter";

/// Two teams' parameters, and a session of the one that may do everything with its own.
async fn red_of_parameters() -> (Site, Unguarded, Caller) {
    let (site, backend) = site().await;
    site.tenant("team-red").await;
    for name in ["/team-red/db", "/team-blue/db", "plain"] {
        let input = json!({"Name": name, "Value": format!("value of {name}"), "Type": "String"});
        let made = site.parameters(&site.root, "PutParameter", input).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let own = format!("{PARAMETER}/team-red*");
    let own = policy(&json!({"Effect": "Allow", "Action": "ssm:*", "Resource": own}));
    site.allow("team-red", &own).await;
    let red = site.session("team-red").await;
    backend.calls();
    (site, backend, red)
}

#[tokio::test]
async fn a_tenant_does_with_its_own_parameters_what_it_likes() {
    let (site, backend, red) = red_of_parameters().await;
    let (one, all) = (
        json!({"Name": "/team-red/db"}),
        json!({"Names": ["/team-red/db", "/team-red/none"]}),
    );
    let tagged = |more: Value| {
        let mut input = json!({"ResourceType": "Parameter", "ResourceId": "/team-red/db"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    for (operation, input, at, expected) in [
        (
            "GetParameter",
            one.clone(),
            "/Parameter/Value",
            json!("value of /team-red/db"),
        ),
        (
            "GetParameter",
            json!({"Name": format!("{PARAMETER}/team-red/db:1")}),
            "/Parameter/Value",
            json!("value of /team-red/db"),
        ),
        (
            "GetParameters",
            all.clone(),
            "/Parameters/0/Name",
            json!("/team-red/db"),
        ),
        (
            "GetParameters",
            all.clone(),
            "/InvalidParameters",
            json!(["/team-red/none"]),
        ),
        (
            "GetParametersByPath",
            json!({"Path": "/team-red"}),
            "/Parameters/0/Value",
            json!("value of /team-red/db"),
        ),
        (
            "PutParameter",
            json!({"Name": "/team-red/db", "Value": "second", "Overwrite": true}),
            "/Version",
            json!(2),
        ),
        (
            "LabelParameterVersion",
            json!({"Name": "/team-red/db", "ParameterVersion": 2, "Labels": ["live"]}),
            "/ParameterVersion",
            json!(2),
        ),
        (
            "GetParameter",
            json!({"Name": "/team-red/db:live"}),
            "/Parameter/Value",
            json!("second"),
        ),
        (
            "GetParameterHistory",
            one.clone(),
            "/Parameters/1/Value",
            json!("second"),
        ),
        (
            "AddTagsToResource",
            tagged(json!({"Tags": [{"Key": "k", "Value": "v"}]})),
            "",
            json!({}),
        ),
        (
            "ListTagsForResource",
            tagged(json!({})),
            "/TagList",
            json!([{"Key": "k", "Value": "v"}]),
        ),
        (
            "RemoveTagsFromResource",
            tagged(json!({"TagKeys": ["k"]})),
            "",
            json!({}),
        ),
        (
            "DeleteParameters",
            all,
            "/DeletedParameters",
            json!(["/team-red/db"]),
        ),
        (
            "PutParameter",
            json!({"Name": "/team-red/db", "Value": "anew", "Type": "String"}),
            "/Version",
            json!(1),
        ),
        ("DeleteParameter", one, "", json!({})),
    ] {
        let call = site.parameters(&red, operation, input.clone());
        let (answer, call) = site.logged(call).await;
        assert_eq!(answer.status, 200, "{operation} {input}: {}", answer.text);
        assert_eq!(answer.json().pointer(at), Some(&expected), "{operation} {input}");
        assert_eq!(
            (call.verdict, call.backend.as_deref()),
            (CallVerdict::Allowed, Some("unguarded"))
        );
        assert!(backend.calls().contains(&format!("ssm {REGION} {operation}")));
    }
}

#[tokio::test]
async fn anothers_parameters_are_denied_and_the_call_never_gets_there() {
    let (site, backend, red) = red_of_parameters().await;
    let tagged = json!({"ResourceType": "Parameter", "ResourceId": "/team-blue/db", "TagKeys": ["k"]});
    for (operation, input) in [
        ("GetParameter", json!({"Name": "/team-blue/db"})),
        (
            "GetParameter",
            json!({"Name": format!("{PARAMETER}/team-blue/db")}),
        ),
        ("GetParameter", json!({"Name": "/team-blue/none"})),
        (
            "GetParameters",
            json!({"Names": ["/team-red/db", "/team-blue/db"]}),
        ),
        ("GetParametersByPath", json!({"Path": "/", "Recursive": true})),
        ("GetParametersByPath", json!({"Path": "/team-blue"})),
        ("GetParameterHistory", json!({"Name": "/team-blue/db"})),
        ("DescribeParameters", json!({})),
        (
            "PutParameter",
            json!({"Name": "/team-blue/db", "Value": "stolen", "Type": "String", "Overwrite": true}),
        ),
        ("DeleteParameter", json!({"Name": "/team-blue/db"})),
        (
            "DeleteParameters",
            json!({"Names": ["/team-red/db", "/team-blue/db"]}),
        ),
        (
            "LabelParameterVersion",
            json!({"Name": "/team-blue/db", "ParameterVersion": 1, "Labels": ["a"]}),
        ),
        ("RemoveTagsFromResource", tagged),
    ] {
        let call = site.parameters(&red, operation, input.clone());
        let (answer, call) = site.logged(call).await;
        assert_eq!(answer.code(), "AccessDeniedException", "{operation} {input}");
        assert!(
            answer.message().contains(&format!("ssm:{operation}")),
            "{}",
            answer.text
        );
        assert_eq!(
            (call.verdict, call.backend),
            (CallVerdict::Denied, None),
            "{operation}"
        );
        let asked = [
            format!("ssm {REGION} ListTagsForResource"),
            format!("ssm {REGION} GetParameterHistory"),
        ];
        // Of the past it is asked before a new version only.
        let questions = if operation == "PutParameter" { 2 } else { 1 };
        for call in backend.calls() {
            assert!(asked[..questions].contains(&call), "{operation} {input}: {call}");
        }
    }
}

#[tokio::test]
async fn tags_of_a_parameter_that_the_backend_keeps_count_under_each_of_its_names() {
    let (site, _backend, red) = red_of_parameters().await;
    let tags = json!({
        "ResourceType": "Parameter", "ResourceId": "/plain", "Tags": [{"Key": "shut", "Value": "yes"}],
    });
    let get = json!([
        {"Effect": "Allow", "Action": "ssm:GetParameter", "Resource": "*"},
        {"Effect": "Deny", "Action": "ssm:*", "Resource": "*",
         "Condition": {"StringEquals": {"aws:ResourceTag/shut": "yes"}}},
    ]);
    site.allow("team-red", &json!({"Version": "2012-10-17", "Statement": get}))
        .await;
    let names = ["plain", "/plain", &format!("{PARAMETER}/plain")].map(str::to_owned);
    for name in &names {
        let answer = site.parameters(&red, "GetParameter", json!({"Name": name})).await;
        assert_eq!(answer.json()["Parameter"]["Value"], "value of plain", "{name}");
    }
    let tagged = site.parameters(&site.root, "AddTagsToResource", tags).await;
    assert_eq!(tagged.status, 200, "{}", tagged.text);
    for name in &names {
        let answer = site.parameters(&red, "GetParameter", json!({"Name": name})).await;
        assert_eq!(answer.code(), "AccessDeniedException", "{name}");
    }
}

#[tokio::test]
async fn the_keys_here_decide_who_decrypts_what_the_backend_keeps_and_it_shows_nothing_else() {
    let (site, backend, red) = red_of_parameters().await;
    let key = site.key().await;
    for (name, key) in [("/team-red/default", None), ("/team-red/own/key", Some(&key))] {
        let mut input = json!({"Name": name, "Value": "hidden", "Type": "SecureString"});
        if let Some(key) = key {
            input["KeyId"] = json!(key);
        }
        let made = site.parameters(&site.root, "PutParameter", input).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let all = json!({"Effect": "Allow", "Action": ["ssm:*"], "Resource": "*"});
    site.allow("team-red", &policy(&all)).await;
    let calls = |name: &str| {
        let path = name.rsplit_once('/').unwrap().0;
        [
            ("GetParameter", json!({"Name": name})),
            ("GetParameters", json!({"Names": [name]})),
            ("GetParametersByPath", json!({"Path": path})),
            ("GetParameterHistory", json!({"Name": name})),
        ]
    };
    let decrypting = |mut input: Value| {
        input["WithDecryption"] = json!(true);
        input
    };
    for (operation, input) in calls("/team-red/own/key") {
        let answer = site.parameters(&red, operation, input.clone()).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
        assert!(answer.text.contains("AQICAH"), "{operation}: {}", answer.text);
        assert!(!answer.text.contains("hidden"), "{operation}: {}", answer.text);
        let call = site.parameters(&red, operation, decrypting(input));
        let (answer, call) = site.logged(call).await;
        assert_eq!(answer.code(), "AccessDeniedException", "{operation}");
        let because = "because no identity-based policy allows the kms:Decrypt action (Service: AWSKMS; ";
        assert!(answer.message().contains(because), "{}", answer.text);
        assert_eq!(call.verdict, CallVerdict::Denied, "{operation}");
        assert_eq!(call.backend, None, "{operation}: decided before it was sent on");
    }
    assert_eq!(backend.decrypted(), Vec::<String>::new(), "nobody was let in");
    for (operation, input) in calls("/team-red/default") {
        let (answer, call) = site
            .logged(site.parameters(&red, operation, decrypting(input)))
            .await;
        assert!(answer.text.contains("hidden"), "{operation}: {}", answer.text);
        assert_eq!(call.backend.as_deref(), Some("unguarded"), "{operation}");
    }
    let operations = calls("/x").map(|(operation, _)| operation);
    assert_eq!(backend.decrypted(), operations, "each once");
    let described = site.parameters(&red, "DescribeParameters", json!({})).await;
    assert!(described.text.contains("/team-red/own/key"), "{}", described.text);
    assert!(!described.text.contains("shown to all"), "{}", described.text);

    let both = json!([all, {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": key}]);
    site.allow("team-red", &json!({"Version": "2012-10-17", "Statement": both}))
        .await;
    for (operation, input) in calls("/team-red/own/key") {
        let answer = site.parameters(&red, operation, decrypting(input)).await;
        assert!(answer.text.contains("hidden"), "{operation}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_secret_cannot_be_had_as_a_parameter() {
    let (site, backend, red) = red_of_parameters().await;
    let name = "/team-red/x/secretsmanager/demo/team-blue/secret";
    for (operation, input) in [
        ("GetParameter", json!({"Name": name})),
        ("GetParameters", json!({"Names": ["/team-red/db", name]})),
        ("GetParameter", json!({"Name": format!("{PARAMETER}{name}")})),
    ] {
        let answer = site.parameters(&red, operation, input.clone()).await;
        assert_eq!(answer.code(), "ValidationException", "{input}");
        assert_eq!(backend.calls(), Vec::<String>::new(), "{input}");
    }
}

#[tokio::test]
async fn parameters_of_another_region_are_not_looked_for_here() {
    let (site, backend, _red) = red_of_parameters().await;
    let there = format!("arn:aws:ssm:us-east-1:{ACCOUNT}:parameter/team-red/db");
    let answer = site
        .parameters(&site.root, "GetParameter", json!({"Name": there}))
        .await;
    assert_eq!(answer.code(), "ParameterNotFound");
    let made = json!({"Name": there, "Value": "x", "Type": "String"});
    let answer = site.parameters(&site.root, "PutParameter", made).await;
    assert_eq!(answer.code(), "ValidationException");
    assert_eq!(backend.calls(), Vec::<String>::new());
    let mixed = json!({"Names": [there, "/team-red/db"]});
    let answer = site.parameters(&site.root, "GetParameters", mixed).await.json();
    assert_eq!(answer["Parameters"][0]["Value"], "value of /team-red/db");
    assert_eq!(answer["InvalidParameters"], json!([there]));
}

#[tokio::test]
async fn what_cannot_be_known_of_a_parameter_lets_nobody_in() {
    let (site, backend, red) = red_of_parameters().await;
    for (broken, reason) in [
        ((StatusCode::INTERNAL_SERVER_ERROR, "{}"), "status 500"),
        ((StatusCode::OK, "<html>"), "status 200"),
        ((StatusCode::OK, "{}"), "lists no tags"),
    ] {
        backend.kept().broken = Some(broken);
        let call = site.parameters(&red, "GetParameter", json!({"Name": "/team-red/db"}));
        let (answer, call) = site.logged(call).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (500, "InternalServiceError"),
            "{reason}"
        );
        assert!(
            call.reason.as_deref().unwrap().contains(reason),
            "{reason}: {:?}",
            call.reason
        );
        assert_eq!(call.backend, None, "{reason}: nothing was sent on");
    }
    backend.kept().broken = None;
}
