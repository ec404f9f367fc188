//! Conditions and variables in statements.

use super::*;

#[test]
fn conditions_all_have_to_hold() {
    let with =
        |condition: Value| json!({"Effect": "Allow", "Action": GET, "Resource": "*", "Condition": condition});
    let context = [
        ("aws:RequestedRegion", "eu-west-1"),
        ("aws:PrincipalTag/team", "red"),
        ("secretsmanager:VersionStage", "AWSCURRENT"),
        ("aws:TagKeys", "team"),
        ("aws:TagKeys", "cost"),
    ];
    for (condition, expected) in [
        (
            json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}),
            true,
        ),
        (
            json!({"StringEquals": {"AWS:requestedregion": "eu-west-1"}}),
            true,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": ["us-east-1", "eu-west-1"]}}),
            true,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}),
            false,
        ),
        (
            json!({"StringNotEquals": {"aws:RequestedRegion": ["us-east-1", "eu-west-1"]}}),
            false,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1", "aws:PrincipalTag/team": "blue"}}),
            false,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}, "StringLike": {"aws:PrincipalTag/team": "r*"}}),
            true,
        ),
        (
            json!({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}, "StringLike": {"aws:PrincipalTag/team": "b*"}}),
            false,
        ),
        (
            json!({"StringEquals": {"secretsmanager:VersionStage": "AWSPREVIOUS"}}),
            false,
        ),
        (json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}}), false),
        (json!({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}), true),
        (json!({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}), true),
        (
            json!({"Null": {"aws:SourceVpc": "true", "aws:PrincipalTag/team": "false"}}),
            true,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost", "more"]}}),
            true,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}),
            false,
        ),
        (
            json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["cost"]}}),
            true,
        ),
        (
            json!({"ForAnyValue:StringEquals": {"aws:CalledVia": ["cost"]}}),
            false,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:CalledVia": ["cost"]}}),
            true,
        ),
    ] {
        assert_eq!(
            allows(&with(condition.clone()), &context),
            expected,
            "{condition}"
        );
    }
}

#[test]
fn variables() {
    let path = |team: &str| format!("arn:aws:secretsmanager:*:*:secret:demo/{team}/*");
    let allow = |resource: String| json!({"Effect": "Allow", "Action": GET, "Resource": resource});
    let tag = "${aws:PrincipalTag/team}";
    for (statements, value, expected) in [
        (allow(path(tag)), Some("team-red"), true),
        (allow(path(tag)), Some("team-blue"), false),
        (allow(path(tag)), None, false),
        (allow(path(tag)), Some("*"), false),
        (allow(path(tag)), Some(""), false),
        (allow(path("${aws:PrincipalTag/team, 'team-red'}")), None, true),
        (
            allow(path("${aws:PrincipalTag/team, 'team-red'}")),
            Some("team-blue"),
            false,
        ),
        (allow(path("team-${*}")), None, false),
        (
            json!({"Effect": "Allow", "Action": GET, "NotResource": path(tag)}),
            None,
            false,
        ),
        (
            json!({"Effect": "Allow", "Action": GET, "NotResource": path(tag)}),
            Some("team-blue"),
            true,
        ),
        // One pattern without a value does not spoil the others.
        (
            json!({"Effect": "Allow", "Action": GET, "Resource": [path(tag), OWN.to_owned()]}),
            None,
            true,
        ),
    ] {
        let context: Vec<(&str, &str)> = value
            .map(|value| ("aws:PrincipalTag/team", value))
            .into_iter()
            .collect();
        assert_eq!(allows(&statements, &context), expected, "{statements} {value:?}");
    }
    let same_tag = json!({
        "Effect": "Allow", "Action": GET, "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": tag}},
    });
    assert!(allows(
        &same_tag,
        &[("aws:PrincipalTag/team", "red"), ("aws:ResourceTag/team", "red")]
    ));
    assert!(!allows(
        &same_tag,
        &[("aws:PrincipalTag/team", "red"), ("aws:ResourceTag/team", "blue")]
    ));
    assert!(!allows(&same_tag, &[("aws:ResourceTag/team", "red")]));
    assert!(!allows(&same_tag, &[("aws:PrincipalTag/team", "red")]));
}

#[test]
fn the_old_version_has_no_variables() {
    let statements = json!({"Effect": "Allow", "Action": GET, "Resource": "arn:aws:secretsmanager:*:*:secret:demo/${aws:username}/*"});
    let decide = |version: &str, resource: &str| {
        let policy = parsed("identity", Document::Identity, version, &statements);
        decide(
            &policy,
            GET,
            resource,
            &[("aws:username", "team-red")],
            Rules::default(),
        )
        .allowed()
    };
    assert!(decide("2012-10-17", OWN));
    assert!(!decide("2008-10-17", OWN));
    assert!(decide("2008-10-17", &OWN.replace("team-red", "${aws:username}")));
}

#[test]
fn what_asks_for_an_unknown_key_grants_nothing_and_denies_all_the_same() {
    let made_up = "arn:aws:secretsmanager:*:*:secret:${aws:MadeUp, 'demo'}/*";
    for (condition, resource) in [
        (json!({"StringEquals": {"aws:MadeUp": "x"}}), "*"),
        (json!({"StringNotEquals": {"aws:MadeUp": "x"}}), "*"),
        (json!({"StringEqualsIfExists": {"aws:MadeUp": "x"}}), "*"),
        (
            json!({"ForAllValues:StringEquals": {"secretsmanager:MadeUp": "x"}}),
            "*",
        ),
        (json!({"Null": {"aws:MadeUp": "true"}}), "*"),
        (
            json!({"StringNotEquals": {"aws:RequestedRegion": "${aws:MadeUp, 'x'}"}}),
            "*",
        ),
        (json!({}), made_up),
    ] {
        let statement = |effect: &str| json!({"Effect": effect, "Action": GET, "Resource": resource, "Condition": condition});
        let context = [("aws:RequestedRegion", "eu-west-1")];
        let granted = decide(
            &identity(&statement("Allow")),
            GET,
            OWN,
            &context,
            Rules::default(),
        );
        assert_eq!(
            granted.reason,
            Reason::ImplicitDeny(PolicyKind::Identity),
            "{condition} {resource}"
        );
        let obstacle = granted.near_miss.unwrap().obstacle;
        assert!(matches!(obstacle, Obstacle::UnknownKey { .. }), "{obstacle:?}");
        let both = json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}, statement("Deny")]);
        assert!(!allows(&both, &context), "{condition} {resource}");
    }
    // What is known still decides what a denial is about.
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    for spared in [
        json!({"Effect": "Deny", "Action": "iam:*", "Resource": "*", "Condition": {"Bool": {"aws:MadeUp": "true"}}}),
        json!({"Effect": "Deny", "Action": GET, "Resource": OTHER, "Condition": {"Bool": {"aws:MadeUp": "true"}}}),
        json!({"Effect": "Deny", "Action": GET, "Resource": "*", "Condition": {
            "Bool": {"aws:MadeUp": "true"}, "StringEquals": {"aws:RequestedRegion": "us-east-1"},
        }}),
    ] {
        assert!(
            allows(&json!([all, spared]), &[("aws:RequestedRegion", "eu-west-1")]),
            "{spared}"
        );
    }
}
