//! Identity-based, resource-based and limiting policies together.

use super::*;

/// How the sides of a decision stand: the resource's policy, boundary, session policies.
struct Sides<'a> {
    identity: &'a [NamedPolicy],
    resource: Option<NamedPolicy>,
    boundary: Option<NamedPolicy>,
    session: Option<Vec<NamedPolicy>>,
}

impl Sides<'_> {
    fn decide(&self, principal: &Principal, resource_account: &str) -> Reason {
        self.decide_by(Rules::default(), principal, resource_account)
    }

    fn decide_by(&self, rules: Rules, principal: &Principal, resource_account: &str) -> Reason {
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
        evaluate(&request, &policies, rules).reason
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

/// Each planted defect overlooks one kind of policy, its grants and its denials, and nothing else.
#[test]
fn a_planted_defect_overlooks_one_kind_of_policy() {
    let some = [allow(OWN)];
    let denies = identity(&json!({"Effect": "Deny", "Action": "*", "Resource": "*"}));
    let no_resource_policy = Rules {
        ignore_resource_policy: true,
        ..Rules::default()
    };
    let no_boundary = Rules {
        ignore_boundary: true,
        ..Rules::default()
    };
    let by_resource = Reason::ExplicitDeny(PolicyKind::Resource);
    let by_boundary = Reason::ExplicitDeny(PolicyKind::Boundary);
    let no_identity = Reason::ImplicitDeny(PolicyKind::Identity);
    let beyond_boundary = Reason::ImplicitDeny(PolicyKind::Boundary);
    let granted = resource_policy("Allow", &json!({"AWS": ROLE}));
    // Identity policies, resource policy, boundary; decided as it should be, and with each defect.
    for (identity, resource, boundary, right, without_resource, without_boundary) in [
        (
            &some[..],
            resource_policy("Deny", &json!("*")),
            None,
            by_resource,
            Reason::Allowed,
            by_resource,
        ),
        (
            &[],
            granted.clone(),
            None,
            Reason::Allowed,
            no_identity,
            Reason::Allowed,
        ),
        (
            &some,
            None,
            Some(allow(OTHER)),
            beyond_boundary,
            beyond_boundary,
            Reason::Allowed,
        ),
        (
            &some,
            None,
            Some(denies.clone()),
            by_boundary,
            by_boundary,
            Reason::Allowed,
        ),
        (&[], None, Some(allow("*")), no_identity, no_identity, no_identity),
        (
            &[],
            granted,
            Some(allow(OTHER)),
            beyond_boundary,
            no_identity,
            Reason::Allowed,
        ),
    ] {
        let sides = Sides {
            identity,
            resource,
            boundary,
            session: None,
        };
        let by = |rules| sides.decide_by(rules, &red(), ACCOUNT);
        let case = format!("{:?} {:?}", sides.resource, sides.boundary);
        assert_eq!(by(Rules::default()), right, "{case}");
        assert_eq!(by(no_resource_policy), without_resource, "{case}");
        assert_eq!(by(no_boundary), without_boundary, "{case}");
    }
}
