//! What a session is, and how long it is what it was.

use serde_json::json;

use crate::support::{
    ACCOUNT, Caller, GET, Site, denied, no_identity_policy, policy, read, role_arn, session_arn,
};

#[tokio::test]
async fn everyone_may_ask_who_they_are() {
    let (site, red) = Site::with_red().await;
    for (caller, arn) in [
        (&site.root, format!("arn:aws:iam::{ACCOUNT}:root")),
        (&red, session_arn("team-red")),
    ] {
        let answer = site.sts(caller, "GetCallerIdentity", &[]).await;
        assert_eq!(answer.xml("Arn"), Some(arn));
        assert_eq!(answer.xml("Account").as_deref(), Some(ACCOUNT));
    }
}

#[tokio::test]
async fn whose_a_key_is_learns_who_may_ask() {
    let (site, red) = Site::with_red().await;
    let action = "sts:GetAccessKeyInfo";
    let ask =
        async |caller: &Caller, id: &str| site.sts(caller, "GetAccessKeyInfo", &[("AccessKeyId", id)]).await;
    let (status, code, text) = ask(&red, &red.id).await.error();
    assert_eq!((status, code.as_str()), (403, "AccessDenied"), "its own key too");
    assert_eq!(text, denied("team-red", action, "*", &no_identity_policy(action)));
    let may = json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
    site.allow("team-red", &policy(&may)).await;
    for caller in [&site.root, &red] {
        // A key that is gone, or never was, tells its account as well: it is part of the key.
        for id in [&red.id, &site.root.id, "AKIAIOSFODNN7EXAMPLE"] {
            let answer = ask(caller, id).await;
            assert_eq!(
                answer.xml("Account").as_deref(),
                Some(ACCOUNT),
                "{id}: {}",
                answer.text
            );
        }
        for (id, begins) in [
            ("", "Invalid key, "),
            ("AKIA", "Invalid key, AKIA"),
            ("AKIAIOSFODNN7 EXAMPLE", "Invalid key, AKIAIOSFODNN7 EXAMPLE"),
        ] {
            let (status, code, text) = ask(caller, id).await.error();
            assert_eq!((status, code.as_str()), (400, "ValidationError"), "{id}: {text}");
            assert!(text.starts_with(begins), "{id}: {text}");
        }
    }
}

#[tokio::test]
async fn a_session_has_the_policies_that_its_role_has_now() {
    let (site, red) = Site::with_red().await;
    let own = "demo/team-red/secret";
    assert_eq!(site.get(&red, own).await.status, 200);
    let params = [("RoleName", "team-red"), ("PolicyName", "team-red-policy")];
    site.iam("DeleteRolePolicy", &params).await;
    assert_eq!(site.get(&red, own).await.code(), "AccessDeniedException");
    site.allow("team-red", &read("*")).await;
    assert_eq!(site.get(&red, own).await.status, 200);

    site.remove_role("team-red").await;
    site.role("team-red", &site.trust("team-red")).await;
    site.allow("team-red", &read("*")).await;
    let answer = site.get(&red, own).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(
        answer.code(),
        "AccessDeniedException",
        "a new role of that name is another role"
    );
    let red = site.session("team-red").await;
    assert_eq!(
        site.get(&red, own).await.status,
        200,
        "which has sessions of its own"
    );
}

#[tokio::test]
async fn a_policy_given_with_the_call_limits_the_session() {
    let site = Site::start().await;
    site.tenant("team-red").await;
    site.create("demo/team-red/other", "other").await;
    let narrow = read("arn:aws:secretsmanager:*:*:secret:demo/team-red/other-*");
    let arn = site.managed("narrow", &narrow).await;
    let (token, text) = (site.issuer.token_of("team-red"), narrow.to_string());
    for given in [
        ("Policy", text.as_str()),
        ("PolicyArns.member.1.arn", arn.as_str()),
    ] {
        let limited = site.assume("team-red", &token, &[given]).await.caller();
        assert_eq!(
            site.get(&limited, "demo/team-red/other").await.status,
            200,
            "{given:?}"
        );
        let id = "demo/team-red/secret";
        let message = denied(
            "team-red",
            GET,
            id,
            &format!("because no session policy allows the {GET} action"),
        );
        let expected = (400, "AccessDeniedException".to_owned(), message);
        assert_eq!(site.get(&limited, id).await.error(), expected, "{given:?}");
        let blue = site.get(&limited, "demo/team-blue/other").await;
        assert_eq!(
            blue.code(),
            "AccessDeniedException",
            "it grants nothing by itself"
        );
    }
}

#[tokio::test]
async fn a_boundary_limits_every_session_of_its_role() {
    let (site, red) = Site::with_red().await;
    let id = "demo/team-red/secret";
    let describe = policy(&json!({
        "Effect": "Allow", "Action": "secretsmanager:DescribeSecret", "Resource": "*",
    }));
    let fence = site.managed("fence", &describe).await;
    let fenced = [("RoleName", "team-red"), ("PermissionsBoundary", fence.as_str())];
    site.iam("PutRolePermissionsBoundary", &fenced).await;
    for caller in [&red, &site.session("team-red").await] {
        let text = denied(
            "team-red",
            GET,
            id,
            &format!("because no permissions boundary allows the {GET} action"),
        );
        assert_eq!(site.get(caller, id).await.message(), text);
        let described = site
            .secrets(caller, "DescribeSecret", json!({ "SecretId": id }))
            .await;
        assert_eq!(described.status, 200);
    }
    site.iam("DeleteRolePermissionsBoundary", &[("RoleName", "team-red")])
        .await;
    assert_eq!(site.get(&red, id).await.status, 200);
}

#[tokio::test]
async fn iam_is_for_those_it_is_granted_to() {
    let (site, red) = Site::with_red().await;
    let answer = site.iam_as(&red, "GetRole", &[("RoleName", "team-blue")]).await;
    let resource = role_arn("team-blue");
    let message = denied(
        "team-red",
        "iam:GetRole",
        &resource,
        &no_identity_policy("iam:GetRole"),
    );
    assert_eq!(answer.error(), (403, "AccessDenied".to_owned(), message));
    for action in ["ListRoles", "ListPolicies", "ListOpenIDConnectProviders"] {
        let (status, code, message) = site.iam_as(&red, action, &[]).await.error();
        assert_eq!((status, code.as_str()), (403, "AccessDenied"), "{action}");
        let part = format!("is not authorized to perform: iam:{action} on resource: ");
        assert!(message.contains(&part), "{message}");
    }
    let grant = policy(&json!({ "Effect": "Allow", "Action": "iam:Get*", "Resource": resource }));
    site.allow("team-red", &grant).await;
    let (status, code, _) = site
        .iam_as(&red, "GetRole", &[("RoleName", "team-blue")])
        .await
        .error();
    assert_eq!(
        (status, code.as_str()),
        (404, "NoSuchEntity"),
        "granted, and there is none"
    );
}
