//! Roles and the trust policies that let them be assumed.

use super::*;

const PROVIDER: &str = "arn:aws:iam::000000000000:oidc-provider/oidc.example/id/X";

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

/// Whoever may tag a session, or name its source, has to be trusted as whoever assumes the role.
#[test]
fn nothing_about_a_session_is_allowed_without_a_trust_policy() {
    let all = [identity(
        &json!({"Effect": "Allow", "Action": "*", "Resource": "*"}),
    )];
    for (action, expected) in [
        ("sts:AssumeRole", Reason::ImplicitDeny(PolicyKind::Trust)),
        (
            "sts:assumerolewithwebidentity",
            Reason::ImplicitDeny(PolicyKind::Trust),
        ),
        ("sts:TagSession", Reason::ImplicitDeny(PolicyKind::Trust)),
        ("STS:SetSourceIdentity", Reason::ImplicitDeny(PolicyKind::Trust)),
        ("sts:GetCallerIdentity", Reason::Allowed),
    ] {
        let request = Request {
            principal: &red(),
            action,
            resource: "arn:aws:iam::000000000000:role/blue",
            resource_account: ACCOUNT,
            context: &Context::new(),
        };
        let policies = PolicySet {
            identity: &all,
            ..PolicySet::default()
        };
        let reason = evaluate(&request, &policies, Rules::default()).reason;
        assert_eq!(reason, expected, "{action}");
    }
}
