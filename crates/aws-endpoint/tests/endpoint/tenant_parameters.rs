//! Parameters as a tenant has them, with the session that a token of its service account is worth.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::{Value, json};

use crate::support::{Caller, Site, denied, no_identity_policy, policy};

const PARAMETER: &str = "arn:aws:ssm:eu-west-1:000000000000:parameter";
const TENANTS: [&str; 3] = ["team-red", "team-blue", "team-red2"];

/// Tenants with a parameter each, and the session of the one that may do everything with its own.
async fn red_of_parameters() -> (Site, Caller) {
    let (site, red) = Site::with_red().await;
    for tenant in TENANTS {
        let value = format!("value of {tenant}");
        let put = json!({"Name": format!("/demo/{tenant}/db"), "Value": value, "Type": "String"});
        let made = site.parameters(&site.root, "PutParameter", put).await;
        assert_eq!(made.status, 200, "{}", made.text);
    }
    let own = json!({
        "Effect": "Allow", "Action": "ssm:*",
        "Resource": [format!("{PARAMETER}/demo/team-red"), format!("{PARAMETER}/demo/team-red/*")],
    });
    site.allow("team-red", &policy(&own)).await;
    (site, red)
}

/// Every operation on one parameter or on the path above it.
fn every_call(tenant: &str) -> Vec<(&'static str, Value)> {
    let path = format!("/demo/{tenant}");
    let name = format!("{path}/db");
    let tagged = |more: Value| {
        let mut input = json!({"ResourceType": "Parameter", "ResourceId": name});
        let more = more.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(more);
        input
    };
    vec![
        ("GetParameter", json!({"Name": name})),
        ("GetParameters", json!({"Names": [name]})),
        ("GetParametersByPath", json!({"Path": path})),
        ("GetParameterHistory", json!({"Name": name})),
        (
            "PutParameter",
            json!({"Name": name, "Value": "new", "Type": "String", "Overwrite": true}),
        ),
        ("LabelParameterVersion", json!({"Name": name, "Labels": ["live"]})),
        (
            "UnlabelParameterVersion",
            json!({"Name": name, "Labels": ["live"], "ParameterVersion": 2}),
        ),
        (
            "AddTagsToResource",
            tagged(json!({"Tags": [{"Key": "a", "Value": "b"}]})),
        ),
        ("ListTagsForResource", tagged(json!({}))),
        ("RemoveTagsFromResource", tagged(json!({"TagKeys": ["a"]}))),
        ("DeleteParameters", json!({"Names": [name]})),
    ]
}

#[tokio::test]
async fn a_tenant_does_everything_with_its_own_parameters_and_nothing_with_the_others() {
    let (site, red) = red_of_parameters().await;
    // The others first: nothing of it may have had an effect. The last one's name begins as its own does.
    for other in ["team-blue", "team-red2"] {
        for (operation, input) in every_call(other) {
            let call = site.parameters(&red, operation, input.clone());
            let (answer, call) = site.logged(call).await;
            let action = format!("ssm:{operation}");
            let at = match operation {
                "GetParametersByPath" => format!("{PARAMETER}/demo/{other}"),
                _ => format!("{PARAMETER}/demo/{other}/db"),
            };
            let text = denied("team-red", &action, &at, &no_identity_policy(&action));
            let expected = (400, "AccessDeniedException".to_owned(), text);
            assert_eq!(answer.error(), expected, "{operation} {input}");
            assert_eq!(call.verdict, CallVerdict::Denied, "{operation} {input}");
            assert_eq!(call.resource, Some(at), "{operation} {input}");
            assert_eq!(call.role.as_deref(), Some("team-red"));
        }
        let name = json!({"Name": format!("/demo/{other}/db")});
        let stored = site.parameters(&site.root, "GetParameter", name).await.json();
        assert_eq!(stored["Parameter"]["Value"], format!("value of {other}"));
        assert_eq!(stored["Parameter"]["Version"], 1, "{other}");
    }
    for (operation, input) in every_call("team-red") {
        let call = site.parameters(&red, operation, input);
        let (answer, call) = site.logged(call).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text);
        assert_eq!(call.verdict, CallVerdict::Allowed, "{operation}");
        let statement = format!("statement 1 of team-red-policy: Allow Resource {PARAMETER}/demo/team-red");
        assert!(
            call.statement.unwrap().to_string().starts_with(&statement),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn one_name_of_another_tenant_is_enough_to_refuse_them_all() {
    let (site, red) = red_of_parameters().await;
    let get = async |names: Value| {
        let input = json!({"Names": names});
        site.parameters(&red, "GetParameters", input).await
    };
    let missing = get(json!(["/demo/team-red/db", "/demo/team-red/none"]))
        .await
        .json();
    assert_eq!(missing["Parameters"][0]["Value"], "value of team-red");
    assert_eq!(missing["InvalidParameters"], json!(["/demo/team-red/none"]));
    // What there is not, and would be another's, is no exception.
    for other in ["/demo/team-blue/db", "/demo/team-blue/none", "/demo/team-red2/db"] {
        let answer = get(json!(["/demo/team-red/db", other])).await;
        let (action, at) = ("ssm:GetParameters", format!("{PARAMETER}{other}"));
        let text = denied("team-red", action, &at, &no_identity_policy(action));
        assert_eq!(answer.message(), text, "{other}");
        assert!(!answer.text.contains("value of"), "{other}: {}", answer.text);
    }
}

#[tokio::test]
async fn every_way_to_name_a_parameter_is_decided_alike() {
    let (site, red) = red_of_parameters().await;
    for (name, expected) in [
        ("/demo/team-red/db", "value of team-red"),
        ("/demo/team-red/db:1", "value of team-red"),
        (
            "arn:aws:ssm:eu-west-1:000000000000:parameter/demo/team-red/db",
            "value of team-red",
        ),
        ("/demo/team-red/none", "ParameterNotFound"),
        ("/demo/team-blue/db", "AccessDeniedException"),
        ("/demo/team-blue/db:1", "AccessDeniedException"),
        (
            "arn:aws:ssm:eu-west-1:000000000000:parameter/demo/team-blue/db",
            "AccessDeniedException",
        ),
        ("/demo/team-blue/none", "AccessDeniedException"),
        ("/Demo/team-red/db", "AccessDeniedException"),
    ] {
        let answer = site.parameters(&red, "GetParameter", json!({"Name": name})).await;
        let given = match answer.status {
            200 => answer.json()["Parameter"]["Value"].as_str().unwrap().to_owned(),
            _ => answer.code(),
        };
        assert_eq!(given, expected, "{name}");
    }
}
