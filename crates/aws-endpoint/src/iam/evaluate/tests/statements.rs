//! Which statements match a request, and what the decision says of them.

use super::*;

#[test]
fn own_and_other_secret() {
    let policy = seed_policy();
    for (action, resource, expected) in [
        (GET, OWN, true),
        ("secretsmanager:DescribeSecret", OWN, true),
        ("SECRETSMANAGER:getsecretvalue", OWN, true),
        ("secretsmanager:PutSecretValue", OWN, false),
        (GET, OTHER, false),
        // One name being the start of another grants nothing.
        (
            GET,
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red2/secret-Ab3dEf",
            false,
        ),
        (
            GET,
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red-Ab3dEf",
            false,
        ),
        (
            GET,
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:Demo/team-red/secret-Ab3dEf",
            false,
        ),
        (
            GET,
            "arn:aws:secretsmanager:eu-west-1:111111111111:secret:demo/team-red/secret-Ab3dEf",
            false,
        ),
        (GET, "*", false),
    ] {
        assert_eq!(
            decide(&policy, action, resource, &[], Rules::default()).allowed(),
            expected,
            "{action} {resource}"
        );
    }
}

#[test]
fn actions_and_resources() {
    for (statements, expected) in [
        (
            json!({"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"}),
            true,
        ),
        (
            json!({"Effect": "Allow", "Action": "secretsmanager:GetSecretValu?", "Resource": "*"}),
            true,
        ),
        (
            json!({"Effect": "Allow", "Action": "secretsmanager:GetSecretValue?", "Resource": "*"}),
            false,
        ),
        (json!({"Effect": "Allow", "Action": "*", "Resource": OWN}), true),
        (
            json!({"Effect": "Allow", "Action": GET, "Resource": OWN.replace("Ab3dEf", "??????")}),
            true,
        ),
        (
            json!({"Effect": "Allow", "Action": GET, "Resource": OWN.replace("-Ab3dEf", "")}),
            false,
        ),
        (
            json!({"Effect": "Allow", "NotAction": "secretsmanager:Put*", "Resource": "*"}),
            true,
        ),
        (
            json!({"Effect": "Allow", "NotAction": ["iam:*", "secretsmanager:Get*"], "Resource": "*"}),
            false,
        ),
        (
            json!({"Effect": "Allow", "Action": GET, "NotResource": OTHER}),
            true,
        ),
        (
            json!({"Effect": "Allow", "Action": GET, "NotResource": [OTHER, OWN]}),
            false,
        ),
        (
            json!({"Effect": "Allow", "Action": GET, "NotResource": "arn:aws:secretsmanager:*"}),
            false,
        ),
        (
            json!({"Effect": "Allow", "Action": "secretsmanager:PutSecretValue", "Resource": OWN}),
            false,
        ),
    ] {
        assert_eq!(allows(&statements, &[]), expected, "{statements}");
    }
}

#[test]
fn an_explicit_denial_wins_wherever_it_stands() {
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    for (denial, denied) in [
        (json!({"Effect": "Deny", "Action": GET, "Resource": OWN}), true),
        (json!({"Effect": "Deny", "Action": "*", "Resource": "*"}), true),
        (
            json!({"Effect": "Deny", "Action": "*", "NotResource": OTHER}),
            true,
        ),
        (
            json!({"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"}),
            true,
        ),
        (json!({"Effect": "Deny", "Action": "*", "Resource": OTHER}), false),
        (
            json!({"Effect": "Deny", "Action": "*", "NotResource": OWN}),
            false,
        ),
        (
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}),
            false,
        ),
        (
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {"aws:PrincipalTag/team": "red"}}}),
            true,
        ),
        (
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEqualsIfExists": {"aws:PrincipalTag/team": "red"}}}),
            true,
        ),
        (
            json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Null": {"aws:PrincipalTag/team": "true"}}}),
            true,
        ),
    ] {
        for statements in [json!([all, denial]), json!([denial, all])] {
            assert_eq!(
                allows(&statements, &[("aws:SecureTransport", "true")]),
                !denied,
                "{statements}"
            );
        }
    }
}

#[test]
fn the_decision_names_its_statement() {
    let policy = identity(&json!([
        {"Effect": "Allow", "Action": "iam:*", "Resource": "*"},
        {"Sid": "Own", "Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": ["arn:aws:s3:::x", "arn:aws:secretsmanager:*"]},
    ]));
    let decision = decide(&policy, GET, OWN, &[], Rules::default());
    let statement = decision.statement.unwrap();
    assert_eq!(
        statement.to_string(),
        "statement 2 (Own) of identity: Allow Resource arn:aws:secretsmanager:*"
    );
    assert_eq!(
        (statement.index, statement.action().as_str()),
        (2, "secretsmanager:Get*")
    );
    assert_eq!(decision.near_miss, None);

    let denied = decide(&seed_policy(), GET, OTHER, &[], Rules::default());
    assert_eq!(denied.statement, None);
    assert_eq!(
        denied.reason.because(GET).unwrap(),
        "because no identity-based policy allows the secretsmanager:GetSecretValue action",
    );
    assert_eq!(
        denied.near_miss.unwrap().to_string(),
        "statement 1 of identity allows Resource arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*",
    );

    let policy = identity(&json!([
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "NotResource": [OTHER]},
    ]));
    let denied = decide(&policy, GET, OWN, &[], Rules::default());
    assert_eq!(
        denied.reason.because(GET).unwrap(),
        "with an explicit deny in an identity-based policy"
    );
    assert_eq!(
        denied.statement.unwrap().to_string(),
        format!("statement 2 of identity: Deny Resource all but {OTHER}")
    );
}

#[test]
fn each_planted_defect_grants_what_it_says_and_no_more() {
    let conditioned = identity(&json!({
        "Effect": "Allow", "Action": GET, "Resource": "arn:aws:secretsmanager:*:*:secret:demo/team-red/*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
    }));
    let none = Rules::default();
    for (rules, policy, resource, expected) in [
        (
            Rules {
                ignore_resource: true,
                ..none
            },
            seed_policy(),
            OTHER,
            true,
        ),
        (
            Rules {
                ignore_resource: true,
                ..none
            },
            conditioned.clone(),
            OTHER,
            false,
        ),
        (
            Rules {
                prefix_match: true,
                ..none
            },
            seed_policy(),
            OTHER,
            true,
        ),
        (
            Rules {
                prefix_match: true,
                ..none
            },
            seed_policy(),
            OWN,
            true,
        ),
        (
            Rules {
                prefix_match: true,
                ..none
            },
            seed_policy(),
            "arn:aws:secretsmanager:eu-west-1:000000000000:secret:else/x-Ab3dEf",
            false,
        ),
        (none, conditioned, OWN, false),
        (none, seed_policy(), OTHER, false),
    ] {
        assert_eq!(
            decide(&policy, GET, resource, &[], rules).allowed(),
            expected,
            "{rules:?} {resource}"
        );
    }
    let wrong_action = decide(
        &seed_policy(),
        "secretsmanager:PutSecretValue",
        OWN,
        &[],
        Rules {
            ignore_resource: true,
            ..none
        },
    );
    assert!(!wrong_action.allowed());
}

/// What cannot be told about a resource is on the closed side: it grants nothing, and a denial stands.
#[test]
fn a_resource_that_cannot_be_told_grants_nothing_and_spares_nothing() {
    let unset = "arn:aws:secretsmanager:*:*:secret:demo/${aws:PrincipalTag/team}/*";
    let misplaced = "arn:aws:secretsmanager:*:${aws:PrincipalAccount}:secret:demo/*";
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let account = [("aws:PrincipalAccount", ACCOUNT)];
    for (element, pattern, granted, denied) in [
        // No value: it names no resource.
        ("Resource", unset, false, false),
        ("NotResource", unset, false, true),
        // A variable where none may stand.
        ("Resource", misplaced, false, true),
        ("NotResource", misplaced, false, true),
    ] {
        let grant = json!({"Effect": "Allow", "Action": GET, (element): pattern});
        let denial = json!([all, {"Effect": "Deny", "Action": GET, (element): pattern}]);
        assert_eq!(allows(&grant, &account), granted, "{element} {pattern}");
        assert_eq!(!allows(&denial, &account), denied, "{element} {pattern}");
    }
}
