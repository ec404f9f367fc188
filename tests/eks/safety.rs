//! Nothing is made in an account that was not agreed to, nor with more rights than are printed.

use crate::site::{ACCOUNT, CREATE, Site};

#[test]
fn an_account_that_nobody_agreed_to_is_not_touched() {
    let site = Site::start();
    let command = |allowed: Option<&str>| {
        let mut command = site.command(&[&CREATE[..], &["positive"]].concat());
        match allowed {
            Some(allowed) => command.env("MOUNTPROOF_ALLOW_ACCOUNT", allowed),
            None => command.env_remove("MOUNTPROOF_ALLOW_ACCOUNT"),
        };
        crate::support::Running::start(command).end()
    };
    for (allowed, words) in [
        (
            None,
            "account 000000000000 is not allowed: add --allow-account 000000000000",
        ),
        (
            Some("111122223333"),
            "account 000000000000 is not one of those that --allow-account names",
        ),
    ] {
        command(allowed).exits(2).says(&[words]);
        site.assert_empty();
        assert!(site.place.runs().is_empty(), "no run began");
    }
}

#[test]
fn flags_of_an_account_are_for_an_account() {
    let site = Site::start();
    for (arguments, words) in [
        (
            &["run", "--create"][..],
            "--create is for a cluster of EKS: add --env eks",
        ),
        (
            &[
                "run",
                "--env",
                "eks",
                "--plant",
                "endpoint:ignore-resource",
                "--cluster-name",
                "a",
            ],
            "leave --env eks out",
        ),
        (
            &["run", "--env", "eks"],
            "name one with --cluster-name, or have one made with --create",
        ),
        (&["run", "--env", "eks", "--create"], "--subnets ID,ID"),
        (
            &["run", "--env", "eks", "--subnets", "a,b", "--cluster-name", "a"],
            "--create",
        ),
        (
            &[
                "run",
                "--env",
                "eks",
                "--create",
                "--subnets",
                "a,b",
                "--nodes",
                "0",
            ],
            "from 1 on",
        ),
    ] {
        site.run(arguments).exits(2).says(&[words]);
    }
    site.assert_empty();
}

#[test]
fn credentials_that_are_none_are_told_what_to_do() {
    let site = Site::start();
    let run = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = site.command(&[&CREATE[..], &["positive"]].concat());
        change(&mut command);
        crate::support::Running::start(command).end().exits(3)
    };
    run(&|command| {
        command
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY");
    })
    .says(&["aws sso login"]);
    run(&|command| {
        command.env("AWS_SECRET_ACCESS_KEY", "another");
    })
    .says(&["SignatureDoesNotMatch"]);
    run(&|command| {
        command.env_remove("AWS_REGION");
    })
    .says(&["--region"]);
    site.assert_empty();
}

#[test]
fn what_is_printed_is_all_that_a_run_needs() {
    let site = Site::start();
    let policy = site
        .run(&["doctor", "--env", "eks", "--create", "--print-policy", "iam"])
        .exits(0)
        .out;
    let key = site.session_of("runner", &policy);
    let run = |arguments: &[&str]| {
        let mut command = site.command(arguments);
        command
            .env("AWS_ACCESS_KEY_ID", &key[0])
            .env("AWS_SECRET_ACCESS_KEY", &key[1])
            .env("AWS_SESSION_TOKEN", &key[2]);
        crate::support::Running::start(command).end()
    };
    let before = site.everything();
    run(&[
        &CREATE[..],
        &[
            "positive",
            "cross-namespace-denied",
            "boundary-denied",
            "resource-policy-denied",
            "rotation",
        ],
    ]
    .concat())
    .exits(0)
    .says(&["nothing left behind"]);
    assert_eq!(site.everything(), before);
    assert_eq!(ACCOUNT.len(), 12);
}
