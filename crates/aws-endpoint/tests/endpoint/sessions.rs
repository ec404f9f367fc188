//! What a session is and may do, and `AssumeRole`.

use mountproof_aws_endpoint::CallVerdict;
use serde_json::json;

use crate::{
    client::Keys,
    support::{ACCOUNT, Bench, allow},
};

#[tokio::test]
async fn everyone_may_ask_who_they_are() {
    let bench = Bench::start().await;
    let session = bench.session("red").await;
    for (keys, arn) in [
        (&bench.root, format!("arn:aws:iam::{ACCOUNT}:root")),
        (
            &session,
            format!("arn:aws:sts::{ACCOUNT}:assumed-role/red/1700000000000000000"),
        ),
    ] {
        let reply = bench
            .client
            .query("sts", Some(keys), "GetCallerIdentity", &[])
            .await;
        assert_eq!(reply.element("Arn"), Some(arn));
        assert_eq!(reply.element("Account").as_deref(), Some(ACCOUNT));
    }
}

#[tokio::test]
async fn a_session_has_the_policies_that_its_role_has_now() {
    let bench = Bench::start().await;
    let session = bench.session("red").await;
    let own = "demo/team-red/secret";
    assert_eq!(bench.read(&session, own).await.status, 200);
    bench
        .iam(
            "DeleteRolePolicy",
            &[("RoleName", "red"), ("PolicyName", "own-secrets")],
        )
        .await;
    assert_eq!(bench.read(&session, own).await.error().1, "AccessDeniedException");

    bench.iam("DeleteRole", &[("RoleName", "red")]).await;
    let everything = allow(&["*"]);
    bench.add_role("red", &bench.trust("red"), &everything).await;
    let (_, code, _) = bench.read(&session, own).await.error();
    assert_eq!(
        code, "AccessDeniedException",
        "a new role of that name is another role"
    );
}

#[tokio::test]
async fn a_role_is_assumed_by_those_it_trusts() {
    let bench = Bench::start().await;
    let red = bench.session("red").await;
    let trust = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:role/red")},
        "Condition": {"StringEquals": {"sts:ExternalId": "4711"}},
    }]});
    bench
        .add_role(
            "second",
            &trust,
            &allow(&["arn:aws:secretsmanager:*:*:secret:prod/*"]),
        )
        .await;
    let arn = format!("arn:aws:iam::{ACCOUNT}:role/second");
    let assume = async |keys: &Keys, more: &[(&str, &str)]| {
        let mut params = vec![("RoleArn", arn.as_str()), ("RoleSessionName", "next")];
        params.extend_from_slice(more);
        bench.client.query("sts", Some(keys), "AssumeRole", &params).await
    };
    let id = ("ExternalId", "4711");

    let blue = bench.session("blue").await;
    for (keys, more, who) in [(&blue, vec![id], "blue"), (&red, vec![], "red")] {
        let (status, code, message) = assume(keys, &more).await.error();
        assert_eq!((status, code.as_str()), (403, "AccessDenied"));
        assert_eq!(
            message,
            format!(
                "User: arn:aws:sts::{ACCOUNT}:assumed-role/{who}/1700000000000000000 is not authorized to perform: \
                 sts:AssumeRole on resource: {arn}"
            )
        );
        assert_eq!(bench.last_call().verdict, CallVerdict::Denied);
    }
    let (_, code, message) = assume(&red, &[id, ("DurationSeconds", "7200")]).await.error();
    assert_eq!(
        code, "ValidationError",
        "an hour is the most for a role assumed by a role: {message}"
    );

    let second = Keys::given(&assume(&red, &[id]).await);
    assert_eq!(bench.read(&second, "prod/team-red/secret").await.status, 200);
    assert_eq!(
        bench.read(&second, "demo/team-red/secret").await.status,
        400,
        "it is no longer red"
    );
}

#[tokio::test]
async fn iam_is_for_those_it_is_granted_to() {
    let bench = Bench::start().await;
    let red = bench.session("red").await;
    let reply = bench
        .client
        .query("iam", Some(&red), "GetRole", &[("RoleName", "blue")])
        .await;
    let (status, code, message) = reply.error();
    assert_eq!((status, code.as_str()), (403, "AccessDenied"));
    assert_eq!(
        message,
        format!(
            "User: arn:aws:sts::{ACCOUNT}:assumed-role/red/1700000000000000000 is not authorized to perform: \
             iam:GetRole on resource: arn:aws:iam::{ACCOUNT}:role/blue because no identity-based policy allows \
             the iam:GetRole action"
        )
    );
    let unknown = bench
        .client
        .query("iam", Some(&bench.root), "CreateUniverse", &[])
        .await
        .error();
    assert_eq!((unknown.0, unknown.1.as_str()), (400, "InvalidAction"));
    let unknown = bench
        .client
        .query("sts", Some(&bench.root), "CreateUniverse", &[])
        .await
        .error();
    assert_eq!((unknown.0, unknown.1.as_str()), (400, "InvalidAction"));
}
