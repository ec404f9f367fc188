#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use serde_json::{Value, json};

use super::*;
use crate::iam::policy::Document;

const ACCOUNT: &str = "000000000000";
const OTHER_ACCOUNT: &str = "111111111111";
const OWN: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red/secret-Ab3dEf";
const OTHER: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-blue/secret-Xy9ZaB";
const GET: &str = "secretsmanager:GetSecretValue";
const ROLE: &str = "arn:aws:iam::000000000000:role/demo-team-red";
const PROVIDER: &str = "arn:aws:iam::000000000000:oidc-provider/oidc.example/id/X";

fn red() -> Principal {
    Principal::assumed_role(ROLE, "AROAREDREDREDREDRED12", "session")
}

fn parsed(name: &str, document: Document, version: &str, statements: &Value) -> NamedPolicy {
    let text = json!({"Version": version, "Statement": statements}).to_string();
    NamedPolicy::new(name, Policy::parse(&text, document).unwrap())
}

fn identity(statements: &Value) -> NamedPolicy {
    parsed("identity", Document::Identity, "2012-10-17", statements)
}

fn allow(resource: &str) -> NamedPolicy {
    identity(&json!({"Effect": "Allow", "Action": GET, "Resource": resource}))
}

fn seed_policy() -> NamedPolicy {
    identity(&json!({
        "Effect": "Allow",
        "Action": [GET, "secretsmanager:DescribeSecret"],
        "Resource": "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*",
    }))
}

/// Decides a request of the red role by one identity-based policy.
fn decide(
    policy: &NamedPolicy,
    action: &str,
    resource: &str,
    context: &[(&str, &str)],
    rules: Rules,
) -> Decision {
    let context: Context = context.iter().copied().collect();
    let request = Request {
        principal: &red(),
        action,
        resource,
        resource_account: ACCOUNT,
        context: &context,
    };
    let identity = std::slice::from_ref(policy);
    evaluate(
        &request,
        &PolicySet {
            identity,
            ..PolicySet::default()
        },
        rules,
    )
}

fn allows(statements: &Value, context: &[(&str, &str)]) -> bool {
    decide(&identity(statements), GET, OWN, context, Rules::default()).allowed()
}

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
            json!({"ForAnyValue:StringEquals": {"aws:absent": ["cost"]}}),
            false,
        ),
        (
            json!({"ForAllValues:StringEquals": {"aws:absent": ["cost"]}}),
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
        (statement.index, statement.action.as_str()),
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

/// How the sides of a decision stand: the resource's policy, boundary, session policies.
struct Sides<'a> {
    identity: &'a [NamedPolicy],
    resource: Option<NamedPolicy>,
    boundary: Option<NamedPolicy>,
    session: Option<Vec<NamedPolicy>>,
}

impl Sides<'_> {
    fn decide(&self, principal: &Principal, resource_account: &str) -> Reason {
        let policies = PolicySet {
            identity: self.identity,
            resource: self.resource.as_ref(),
            trust: None,
            boundary: self.boundary.as_ref(),
            session: self.session.as_deref(),
        };
        let context = Context::new();
        let request = Request {
            principal,
            action: GET,
            resource: OWN,
            resource_account,
            context: &context,
        };
        evaluate(&request, &policies, Rules::default()).reason
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the tables hold optional policies")]
fn resource_policy(effect: &str, principal: &Value) -> Option<NamedPolicy> {
    let statement = json!({"Effect": effect, "Principal": principal, "Action": GET, "Resource": "*"});
    Some(parsed("secret", Document::Resource, "2012-10-17", &statement))
}

#[test]
fn identity_and_resource_policies_of_one_account() {
    let some = [allow(OWN)];
    let session_arn = red().arn();
    let denied = Reason::ImplicitDeny(PolicyKind::Identity);
    for (identity, resource, expected) in [
        (&some[..], None, Reason::Allowed),
        (&[], None, denied),
        (
            &[],
            resource_policy("Allow", &json!({"AWS": ROLE})),
            Reason::Allowed,
        ),
        (
            &[],
            resource_policy("Allow", &json!({"AWS": session_arn})),
            Reason::Allowed,
        ),
        (&[], resource_policy("Allow", &json!("*")), Reason::Allowed),
        // The account alone leaves the decision to the account's own policies.
        (&[], resource_policy("Allow", &json!({"AWS": ACCOUNT})), denied),
        (
            &some,
            resource_policy("Allow", &json!({"AWS": ACCOUNT})),
            Reason::Allowed,
        ),
        (
            &[],
            resource_policy(
                "Allow",
                &json!({"AWS": "arn:aws:iam::000000000000:role/demo-team-blue"}),
            ),
            denied,
        ),
        (
            &some,
            resource_policy("Deny", &json!("*")),
            Reason::ExplicitDeny(PolicyKind::Resource),
        ),
        (
            &some,
            resource_policy("Deny", &json!({"AWS": ACCOUNT})),
            Reason::ExplicitDeny(PolicyKind::Resource),
        ),
        (
            &some,
            resource_policy(
                "Deny",
                &json!({"AWS": "arn:aws:iam::000000000000:role/demo-team-blue"}),
            ),
            Reason::Allowed,
        ),
    ] {
        let sides = Sides {
            identity,
            resource: resource.clone(),
            boundary: None,
            session: None,
        };
        assert_eq!(sides.decide(&red(), ACCOUNT), expected, "{resource:?}");
    }
}

#[test]
fn boundaries_and_session_policies_limit() {
    let some = [allow(OWN)];
    let (grants, misses) = (allow("*"), allow(OTHER));
    let denies = identity(&json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
    let to_role = resource_policy("Allow", &json!({"AWS": ROLE}));
    let to_all = resource_policy("Allow", &json!("*"));
    let to_session = resource_policy("Allow", &json!({"AWS": red().arn()}));
    let boundary = Reason::ImplicitDeny(PolicyKind::Boundary);
    let session = Reason::ImplicitDeny(PolicyKind::Session);
    for (identity, resource, limit, sessions, expected) in [
        (&some[..], None, Some(&grants), None, Reason::Allowed),
        (&some, None, Some(&misses), None, boundary),
        (
            &[],
            None,
            Some(&grants),
            None,
            Reason::ImplicitDeny(PolicyKind::Identity),
        ),
        (&some, None, None, Some(vec![grants.clone()]), Reason::Allowed),
        (&some, None, None, Some(vec![misses.clone()]), session),
        (&some, None, None, Some(vec![]), session),
        (
            &some,
            None,
            None,
            Some(vec![misses.clone(), grants.clone()]),
            Reason::Allowed,
        ),
        (
            &[],
            None,
            None,
            Some(vec![grants.clone()]),
            Reason::ImplicitDeny(PolicyKind::Identity),
        ),
        (&[], to_role.clone(), Some(&misses), None, boundary),
        (&[], to_role, None, Some(vec![misses.clone()]), session),
        // What is granted to the session itself, or to all, is limited by explicit denials only.
        (
            &[],
            to_all,
            Some(&misses),
            Some(vec![misses.clone()]),
            Reason::Allowed,
        ),
        (
            &[],
            to_session.clone(),
            Some(&misses),
            Some(vec![misses.clone()]),
            Reason::Allowed,
        ),
        (
            &[],
            to_session.clone(),
            Some(&denies),
            None,
            Reason::ExplicitDeny(PolicyKind::Boundary),
        ),
        (
            &[],
            to_session,
            None,
            Some(vec![denies.clone()]),
            Reason::ExplicitDeny(PolicyKind::Session),
        ),
    ] {
        let sides = Sides {
            identity,
            resource,
            boundary: limit.cloned(),
            session: sessions,
        };
        assert_eq!(
            sides.decide(&red(), ACCOUNT),
            expected,
            "{limit:?} {:?}",
            sides.session
        );
    }
}

#[test]
fn a_denial_to_all_but_some() {
    let some = [allow(OWN)];
    let statement = json!({
        "Effect": "Deny", "NotPrincipal": {"AWS": [ACCOUNT, ROLE, red().arn()]}, "Action": "*", "Resource": "*",
    });
    let resource = Some(parsed("secret", Document::Resource, "2012-10-17", &statement));
    let blue = Principal::assumed_role(
        "arn:aws:iam::000000000000:role/demo-team-blue",
        "AROABLUEBLUEBLUEBLUE1",
        "s",
    );
    let denied = Reason::ExplicitDeny(PolicyKind::Resource);
    for (principal, boundary, expected) in [
        (red(), None, Reason::Allowed),
        (blue, None, denied),
        (red(), Some(allow("*")), denied),
    ] {
        let sides = Sides {
            identity: &some,
            resource: resource.clone(),
            boundary,
            session: None,
        };
        assert_eq!(
            sides.decide(&principal, ACCOUNT),
            expected,
            "{principal:?} {:?}",
            sides.boundary
        );
    }
}

#[test]
fn between_accounts_both_sides_have_to_allow() {
    let some = [allow("*")];
    let there = |principal: &str| resource_policy("Allow", &json!({"AWS": principal}));
    for (identity, resource, boundary, expected) in [
        (&some[..], None, None, Reason::ImplicitDeny(PolicyKind::Resource)),
        (&[], None, None, Reason::ImplicitDeny(PolicyKind::Resource)),
        (&[], there(ROLE), None, Reason::ImplicitDeny(PolicyKind::Identity)),
        (
            &[],
            there(&red().arn()),
            None,
            Reason::ImplicitDeny(PolicyKind::Identity),
        ),
        (&some, there(ROLE), None, Reason::Allowed),
        (&some, there(ACCOUNT), None, Reason::Allowed),
        (
            &some,
            there(OTHER_ACCOUNT),
            None,
            Reason::ImplicitDeny(PolicyKind::Resource),
        ),
        (
            &some,
            there(ROLE),
            Some(allow(OTHER)),
            Reason::ImplicitDeny(PolicyKind::Boundary),
        ),
    ] {
        let sides = Sides {
            identity,
            resource: resource.clone(),
            boundary,
            session: None,
        };
        assert_eq!(sides.decide(&red(), OTHER_ACCOUNT), expected, "{resource:?}");
    }
    assert_eq!(
        Reason::ImplicitDeny(PolicyKind::Resource).because(GET).unwrap(),
        "because no resource-based policy allows the secretsmanager:GetSecretValue action",
    );
}

#[test]
fn a_root_user_needs_no_policy_in_its_own_account() {
    let root = Principal::Root {
        account: ACCOUNT.to_owned(),
    };
    let sides = |resource| Sides {
        identity: &[],
        resource,
        boundary: None,
        session: None,
    };
    assert_eq!(sides(None).decide(&root, ACCOUNT), Reason::Allowed);
    assert_eq!(
        sides(None).decide(&root, OTHER_ACCOUNT),
        Reason::ImplicitDeny(PolicyKind::Resource)
    );
    let denial = resource_policy("Deny", &json!("*"));
    assert_eq!(
        sides(denial).decide(&root, ACCOUNT),
        Reason::ExplicitDeny(PolicyKind::Resource)
    );
}

#[test]
fn a_user_named_by_a_resource_policy_passes_its_boundary() {
    let user = Principal::User {
        account: ACCOUNT.to_owned(),
        arn: "arn:aws:iam::000000000000:user/ann".to_owned(),
        id: "AIDAANNANNANNANNANN12".to_owned(),
    };
    let resource = resource_policy("Allow", &json!({"AWS": user.arn()}));
    let sides = Sides {
        identity: &[],
        resource,
        boundary: Some(allow(OTHER)),
        session: None,
    };
    assert_eq!(sides.decide(&user, ACCOUNT), Reason::Allowed);
}

const ASSUME_WITH_TOKEN: &str = "sts:AssumeRoleWithWebIdentity";

/// Decides the assumption of the red role by the bearer of a token of `provider`.
fn assume(trust: Option<&NamedPolicy>, provider: &str, context: &[(&str, &str)]) -> Decision {
    let principal = Principal::Federated {
        provider_arn: provider.to_owned(),
    };
    let context: Context = context.iter().copied().collect();
    let request = Request {
        principal: &principal,
        action: ASSUME_WITH_TOKEN,
        resource: ROLE,
        resource_account: ACCOUNT,
        context: &context,
    };
    evaluate(
        &request,
        &PolicySet {
            trust,
            ..PolicySet::default()
        },
        Rules::default(),
    )
}

fn trust(statements: &Value) -> NamedPolicy {
    parsed("trust policy", Document::Trust, "2012-10-17", statements)
}

fn irsa_trust(sub: &str) -> NamedPolicy {
    trust(&json!({
        "Effect": "Allow",
        "Principal": {"Federated": PROVIDER},
        "Action": ASSUME_WITH_TOKEN,
        "Condition": {"StringEquals": {
            "oidc.example/id/X:sub": sub,
            "oidc.example/id/X:aud": "sts.amazonaws.com",
        }},
    }))
}

#[test]
fn a_token_assumes_the_role_that_trusts_it() {
    let policy = irsa_trust("system:serviceaccount:team-red:default");
    let token = |sub, aud| [("oidc.example/id/X:sub", sub), ("oidc.example/id/X:aud", aud)];
    let red = "system:serviceaccount:team-red:default";
    let sts = "sts.amazonaws.com";
    assert!(assume(Some(&policy), PROVIDER, &token(red, sts)).allowed());
    let two_audiences = [token(red, "other").as_slice(), &[("OIDC.example/id/x:aud", sts)]].concat();
    assert!(assume(Some(&policy), PROVIDER, &two_audiences).allowed());
    for (provider, context) in [
        (
            PROVIDER,
            token("system:serviceaccount:team-blue:default", sts).to_vec(),
        ),
        (
            PROVIDER,
            token("system:serviceaccount:team-red:default2", sts).to_vec(),
        ),
        (PROVIDER, token(red, "other").to_vec()),
        (PROVIDER, vec![("oidc.example/id/X:sub", red)]),
        (PROVIDER, vec![]),
        (
            "arn:aws:iam::000000000000:oidc-provider/oidc.example/id/XY",
            token(red, sts).to_vec(),
        ),
        (
            "arn:aws:iam::111111111111:oidc-provider/oidc.example/id/X",
            token(red, sts).to_vec(),
        ),
    ] {
        let decision = assume(Some(&policy), provider, &context);
        assert_eq!(
            decision.reason,
            Reason::ImplicitDeny(PolicyKind::Trust),
            "{provider} {context:?}"
        );
    }
    assert_eq!(
        assume(None, PROVIDER, &token(red, sts)).reason,
        Reason::ImplicitDeny(PolicyKind::Trust)
    );

    let denied = assume(
        Some(&policy),
        PROVIDER,
        &token("system:serviceaccount:team-blue:default", sts),
    );
    assert_eq!(
        denied.near_miss.unwrap().to_string(),
        "statement 1 of trust policy asks for StringEquals oidc.example/id/X:sub: expected \
         system:serviceaccount:team-red:default, got system:serviceaccount:team-blue:default",
    );
}

#[test]
fn a_wildcard_subject_and_a_denial_in_a_trust_policy() {
    let context = |sub| [("oidc.example/id/X:sub", sub)];
    let policy = trust(&json!([
        {"Effect": "Allow", "Principal": {"Federated": PROVIDER}, "Action": ASSUME_WITH_TOKEN,
         "Condition": {"StringLike": {"oidc.example/id/X:sub": "system:serviceaccount:team-*:default"}}},
        {"Effect": "Deny", "Principal": "*", "Action": "sts:*",
         "Condition": {"StringEquals": {"oidc.example/id/X:sub": "system:serviceaccount:team-blue:default"}}},
    ]));
    assert!(
        assume(
            Some(&policy),
            PROVIDER,
            &context("system:serviceaccount:team-red:default")
        )
        .allowed()
    );
    let denied = assume(
        Some(&policy),
        PROVIDER,
        &context("system:serviceaccount:team-blue:default"),
    );
    assert_eq!(denied.reason, Reason::ExplicitDeny(PolicyKind::Trust));
    assert_eq!(
        denied.reason.because(ASSUME_WITH_TOKEN).unwrap(),
        "with an explicit deny in the role trust policy"
    );
}

#[test]
fn a_role_assumes_a_role_that_trusts_it() {
    let may = [identity(
        &json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}),
    )];
    let trusting = |principal: &str| {
        trust(&json!({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}))
    };
    let target = |account: &str| format!("arn:aws:iam::{account}:role/target");
    for (identity, trust, account, expected) in [
        (&may[..], Some(trusting(ROLE)), ACCOUNT, Reason::Allowed),
        (&[], Some(trusting(ROLE)), ACCOUNT, Reason::Allowed),
        (&may, Some(trusting(ACCOUNT)), ACCOUNT, Reason::Allowed),
        (
            &[],
            Some(trusting(ACCOUNT)),
            ACCOUNT,
            Reason::ImplicitDeny(PolicyKind::Identity),
        ),
        (
            &may,
            Some(trusting(OTHER_ACCOUNT)),
            ACCOUNT,
            Reason::ImplicitDeny(PolicyKind::Trust),
        ),
        // Nothing else stands in for the trust policy.
        (&may, None, ACCOUNT, Reason::ImplicitDeny(PolicyKind::Trust)),
        (&may, Some(trusting(ROLE)), OTHER_ACCOUNT, Reason::Allowed),
        (
            &[],
            Some(trusting(ROLE)),
            OTHER_ACCOUNT,
            Reason::ImplicitDeny(PolicyKind::Identity),
        ),
        (&may, None, OTHER_ACCOUNT, Reason::ImplicitDeny(PolicyKind::Trust)),
    ] {
        let context = Context::new();
        let resource = target(account);
        let request = Request {
            principal: &red(),
            action: "sts:AssumeRole",
            resource: &resource,
            resource_account: account,
            context: &context,
        };
        let policies = PolicySet {
            identity,
            trust: trust.as_ref(),
            ..PolicySet::default()
        };
        assert_eq!(
            evaluate(&request, &policies, Rules::default()).reason,
            expected,
            "{trust:?} {account}"
        );
    }
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
        (
            Rules {
                ignore_conditions: true,
                ..none
            },
            conditioned.clone(),
            OWN,
            true,
        ),
        (
            Rules {
                ignore_conditions: true,
                ..none
            },
            conditioned.clone(),
            OTHER,
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
