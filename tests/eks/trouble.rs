//! What goes wrong in the middle: told clearly, by the right exit code, with an account that is as it was.

use mountproof_aws_endpoint::Faults;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    site::{CREATE, Site},
    support::{Running, verdicts},
};

fn faults(text: &str) -> Faults {
    Faults::parse(text).unwrap()
}

#[test]
fn what_eks_cannot_make_is_told_and_taken_away() {
    for (fault, arguments, code, words) in [
        (
            "eks:cluster:fails:Ec2SubnetNotFound",
            &["positive"][..],
            3,
            &["Ec2SubnetNotFound", "FAILED"][..],
        ),
        (
            "eks:nodegroup:fails:NodeCreationFailure",
            &["positive"],
            3,
            &["NodeCreationFailure", "CREATE_FAILED"],
        ),
        (
            "eks:addon:fails:ConfigurationConflict",
            &["positive", "--addon", "vpc-cni"],
            3,
            &["vpc-cni", "ConfigurationConflict"],
        ),
        (
            "error:eks:CreateCluster:ResourceLimitExceededException:100%",
            &["positive"],
            3,
            &["eks:CreateCluster", "ResourceLimitExceededException"],
        ),
        (
            "error:eks:CreateNodegroup:ResourceLimitExceededException:100%",
            &["positive"],
            3,
            &["eks:CreateNodegroup", "ResourceLimitExceededException"],
        ),
        (
            "error:iam:CreateRole:LimitExceeded:100%",
            &["positive"],
            3,
            &["iam:CreateRole", "LimitExceeded"],
        ),
        (
            "error:secretsmanager:CreateSecret:LimitExceededException:100%",
            &["positive"],
            // Everything stood but the tenants.
            6,
            &["secretsmanager:CreateSecret", "LimitExceededException"],
        ),
    ] {
        let site = Site::start();
        site.endpoint().set_faults(faults(fault));
        site.create(arguments)
            .exits(code)
            .says(words)
            .says(&["nothing left behind"]);
        site.assert_empty();
        site.place.assert_nothing_left();
    }
}

/// One that nobody thought of is found by what it says, and the account is as it was.
#[test]
fn an_action_that_is_not_allowed_is_named() {
    let site = Site::start();
    let whole = site
        .run(&["doctor", "--env", "eks", "--create", "--print-policy", "iam"])
        .exits(0)
        .out;
    // Without a cluster there is no environment; without a tenant nothing is proven.
    for (number, (action, code)) in [
        ("eks:CreateCluster", 3),
        ("eks:CreateNodegroup", 3),
        ("eks:DescribeNodegroup", 3),
        ("iam:CreateRole", 3),
        ("iam:AttachRolePolicy", 3),
        ("iam:PassRole", 3),
        ("iam:CreatePolicy", 6),
        ("iam:CreateOpenIDConnectProvider", 6),
        ("secretsmanager:CreateSecret", 6),
        ("secretsmanager:TagResource", 6),
    ]
    .into_iter()
    .enumerate()
    {
        let mut policy: Value = serde_json::from_str(&whole).unwrap();
        for statement in policy["Statement"].as_array_mut().unwrap() {
            let actions = statement["Action"].as_array_mut().unwrap();
            actions.retain(|allowed| allowed != action);
            if actions.is_empty() {
                statement["Action"] = serde_json::json!(["sts:GetCallerIdentity"]);
            }
        }
        let key = site.session_of(&format!("runner-{number}"), &policy.to_string());
        let before = site.everything();
        let out = format!("out-{number}");
        let mut command = site.command(&[&CREATE[..], &["positive", "--out", &out]].concat());
        command
            .env("AWS_ACCESS_KEY_ID", &key[0])
            .env("AWS_SECRET_ACCESS_KEY", &key[1])
            .env("AWS_SESSION_TOKEN", &key[2]);
        Running::start(command).end().exits(code).says(&[action]);
        assert_eq!(site.everything(), before, "without {action}");
    }
}

#[test]
fn a_cluster_that_is_stuck_goes_once_it_can() {
    let site = Site::start();
    site.endpoint().set_faults(faults("eks:cluster:stuck"));
    let mut running = site.start_run(&[&CREATE[..], &["positive"]].concat());
    site.place
        .await_line(&mut running, &["\"progress-made\"", "CREATING"]);
    running.signal(Signal::INT);
    site.place.await_line(&mut running, &["\"teardown\"", "CREATING"]);
    site.endpoint().set_faults(Faults::default());
    running.end().exits(130).says(&["nothing left behind"]);
    site.assert_empty();
}

/// The run's own: pods have theirs from STS, and go on.
#[test]
fn credentials_that_end_in_the_middle_leave_what_sweep_finishes() {
    let site = Site::start();
    let mut running = site.start_run(&[&CREATE[..], &["positive"]].concat());
    site.place.await_line(&mut running, &["\"case-started\""]);
    let of_administrators = [
        "error:iam:*:ExpiredToken:100%",
        "error:eks:*:ExpiredTokenException:100%",
        "error:sts:GetCallerIdentity:ExpiredToken:100%",
        "error:secretsmanager:DescribeSecret:ExpiredTokenException:100%",
        "error:secretsmanager:DeleteSecret:ExpiredTokenException:100%",
        "error:secretsmanager:ListSecrets:ExpiredTokenException:100%",
    ];
    site.endpoint().set_faults(faults(&of_administrators.join("\n")));
    running.end().exits(7).says(&["LEFT", "ExpiredToken"]);
    for (case, verdict) in verdicts(&site.place.results()) {
        assert_ne!(verdict, "failed", "{case}: no verdict of the product comes of it");
    }
    site.endpoint().set_faults(Faults::default());
    site.run(&["sweep", "--reports", "out"]).exits(0);
    site.assert_empty();
    site.place.assert_nothing_left();
}
