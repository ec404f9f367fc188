//! What holds of every policy and every request.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;

const ACTIONS: &[&str] = &[
    GET,
    "secretsmanager:PutSecretValue",
    "secretsmanager:Get*",
    "secretsmanager:*",
    "iam:*",
    "*",
];
const RESOURCES: &[&str] = &[
    OWN,
    OTHER,
    "arn:aws:secretsmanager:*:*:secret:demo/team-red/*",
    "arn:aws:secretsmanager:*:*:secret:demo/${aws:PrincipalTag/team}/*",
    "arn:aws:secretsmanager:*:*:secret:demo/${aws:MadeUp}/*",
    "*",
];
const OPERATORS: &[&str] = &[
    "StringEquals",
    "StringNotEquals",
    "StringLike",
    "StringEqualsIfExists",
    "ForAllValues:StringNotLike",
    "ForAnyValue:StringEquals",
];
const KEYS: &[&str] = &[
    "aws:PrincipalTag/team",
    "aws:RequestedRegion",
    "aws:SourceVpc",
    "aws:MadeUp",
];
const VALUES: &[&str] = &["team-red", "team-*", "eu-west-1", "${aws:PrincipalTag/team}", "*"];

fn statement(effect: &'static str) -> impl Strategy<Value = Value> {
    let condition = prop::option::of((select(OPERATORS), select(KEYS), vec(select(VALUES), 1..3)));
    let lists = (
        any::<bool>(),
        vec(select(ACTIONS), 1..3),
        any::<bool>(),
        vec(select(RESOURCES), 1..3),
    );
    (lists, condition).prop_map(
        move |((not_action, actions, not_resource, resources), condition)| {
            let mut statement = json!({
                "Effect": effect,
                (if not_action { "NotAction" } else { "Action" }): actions,
                (if not_resource { "NotResource" } else { "Resource" }): resources,
            });
            if let Some((operator, key, values)) = condition {
                statement["Condition"] = json!({ operator: { key: values } });
            }
            statement
        },
    )
}

fn statements() -> impl Strategy<Value = Vec<Value>> {
    vec(prop_oneof![statement("Allow"), statement("Deny")], 1..6)
}

/// Whether red may do it, by `statements` all in one policy.
fn allowed(statements: &[Value], action: &str, resource: &str) -> bool {
    let context = [
        ("aws:PrincipalTag/team", "team-red"),
        ("aws:RequestedRegion", "eu-west-1"),
    ];
    decide(
        &identity(&json!(statements)),
        action,
        resource,
        &context,
        Rules::default(),
    )
    .allowed()
}

/// The same, by each statement in a policy of its own.
fn allowed_apart(statements: &[Value], action: &str, resource: &str) -> bool {
    let context = [
        ("aws:PrincipalTag/team", "team-red"),
        ("aws:RequestedRegion", "eu-west-1"),
    ];
    let policies: Vec<NamedPolicy> = statements.iter().map(identity).collect();
    let request = Request {
        principal: &red(),
        action,
        resource,
        resource_account: ACCOUNT,
        context: &context.into_iter().collect::<Context>(),
    };
    let policies = PolicySet {
        identity: &policies,
        ..PolicySet::default()
    };
    evaluate(&request, &policies, Rules::default()).allowed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn neither_order_nor_division_into_policies_decides(
        (statements, shuffled) in statements().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        action in select(&[GET, "secretsmanager:PutSecretValue"][..]),
        resource in select(&[OWN, OTHER][..]),
    ) {
        let verdict = allowed(&statements, action, resource);
        prop_assert_eq!(allowed(&shuffled, action, resource), verdict);
        prop_assert_eq!(allowed_apart(&statements, action, resource), verdict);
    }

    #[test]
    fn a_denial_more_allows_nothing_more(statements in statements(), denial in statement("Deny")) {
        let more = [&statements[..], &[denial]].concat();
        prop_assert!(!allowed(&more, GET, OWN) || allowed(&statements, GET, OWN));
    }

    #[test]
    fn a_grant_more_denies_nothing_more(statements in statements(), grant in statement("Allow")) {
        let more = [&statements[..], &[grant]].concat();
        prop_assert!(!allowed(&statements, GET, OWN) || allowed(&more, GET, OWN));
    }

    /// With a statement's effect turned round, what it granted it denies, and the other way.
    #[test]
    fn a_statement_denies_at_least_what_it_would_grant(grant in statement("Allow")) {
        let mut denial = grant.clone();
        denial["Effect"] = json!("Deny");
        let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        for resource in [OWN, OTHER] {
            if allowed(std::slice::from_ref(&grant), GET, resource) {
                prop_assert!(!allowed(&[all.clone(), denial.clone()], GET, resource));
            }
        }
    }

    #[test]
    fn a_grant_names_a_statement_that_allows_and_a_denial_none_or_one_that_denies(statements in statements()) {
        let context = [("aws:PrincipalTag/team", "team-red")];
        let decision = decide(&identity(&json!(statements)), GET, OWN, &context, Rules::default());
        let effect = decision.statement.as_ref().map(|statement| statement.effect);
        let expected = match decision.reason {
            Reason::Allowed => Some(Effect::Allow),
            Reason::ExplicitDeny(_) => Some(Effect::Deny),
            Reason::ImplicitDeny(_) => None,
        };
        prop_assert_eq!(effect, expected);
        if let Some(statement) = decision.statement {
            let effect = statements[statement.index - 1]["Effect"].clone();
            prop_assert_eq!(effect, json!(statement.effect.to_string()));
        }
    }
}
