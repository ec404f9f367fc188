use jiff::Timestamp;

use super::*;

fn claim() -> Claim {
    Claim {
        tenant: "team-blue".into(),
        target: "team-red/secret".into(),
        reason: ExpectedReason::Aws {
            error: "AccessDeniedException".into(),
            action: "secretsmanager:GetSecretValue".into(),
            says: None,
            role: "demo-team-blue-role".into(),
            asked: vec!["demo/team-red/secret".into()],
            named: vec!["demo/team-red/secret".into()],
            secret: vec!["demo/team-red/secret".into(), "arn:red".into()],
            region: None,
            subject: None,
        },
        hold: Duration::from_secs(3),
    }
}

fn denied_call() -> Call {
    Call {
        at: Timestamp::UNIX_EPOCH,
        action: "secretsmanager:GetSecretValue".into(),
        region: "us-east-1".into(),
        role: Some("demo-team-blue-role".into()),
        principal: Some("arn:aws:sts::0:assumed-role/demo-team-blue-role/1".into()),
        subject: None,
        asked: Some("demo/team-red/secret".into()),
        resource: Some("arn:red".into()),
        allowed: false,
        error: Some("AccessDeniedException".into()),
        statement: None,
        reason: Some(
            "because no identity-based policy allows the secretsmanager:GetSecretValue action; statement 1 of \
             demo-team-blue-policy allows Resource *:demo/team-blue/*"
                .into(),
        ),
    }
}

fn proof() -> Seen {
    Seen {
        control: Some(("own".into(), true)),
        refusals: vec!["MountVolume.SetUp failed".into()],
        calls: Some(vec![denied_call()]),
        held: Duration::from_secs(3),
        ..Seen::default()
    }
}

#[derive(Debug, PartialEq)]
enum Is {
    Holds,
    Broken,
    Breach,
    Unknown,
}

fn is(judgement: &Judgement) -> Is {
    match judgement {
        Judgement::Holds(_) => Is::Holds,
        Judgement::Broken(failure) if failure.isolation => Is::Breach,
        Judgement::Broken(_) => Is::Broken,
        Judgement::Unknown(_) => Is::Unknown,
    }
}

#[test]
fn every_part_of_the_proof_is_needed() {
    let other = |change: fn(&mut Call)| {
        let mut call = denied_call();
        change(&mut call);
        Some(vec![call])
    };
    let cases: Vec<(&str, Seen, Is)> = vec![
        ("complete", proof(), Is::Holds),
        ("no control", Seen { control: None, ..proof() }, Is::Unknown),
        ("control failed", Seen { control: Some(("own".into(), false)), ..proof() }, Is::Unknown),
        ("never refused", Seen { refusals: vec![], ..proof() }, Is::Broken),
        ("hold too short", Seen { held: Duration::from_millis(2900), ..proof() }, Is::Unknown),
        ("no call", Seen { calls: Some(vec![]), ..proof() }, Is::Broken),
        ("other error", Seen { calls: other(|call| call.error = Some("ThrottlingException".into())), ..proof() }, Is::Broken),
        ("other role", Seen { calls: other(|call| call.role = Some("demo-team-green-role".into())), ..proof() }, Is::Broken),
        (
            "other secret",
            Seen {
                calls: other(|call| {
                    call.asked = Some("demo/team-green/secret".into());
                    call.resource = None;
                }),
                ..proof()
            },
            Is::Broken,
        ),
        ("another case's, by ARN", Seen { calls: other(|call| call.asked = Some("arn:red".into())), ..proof() }, Is::Broken),
        ("a file appeared", Seen { files: vec![("f".into(), None)], ..proof() }, Is::Breach),
        ("stolen", Seen { files: vec![("f".into(), Some("team-red/secret".into()))], ..proof() }, Is::Breach),
        ("ready", Seen { ready: true, ..proof() }, Is::Breach),
        ("allowed by AWS", Seen { calls: other(|call| call.allowed = true), ..proof() }, Is::Breach),
        ("endpoint gone", Seen { trouble: Some("connection refused".into()), ..proof() }, Is::Unknown),
        (
            "a breach counts even when the environment failed after it",
            Seen { trouble: Some("connection refused".into()), ready: true, ..proof() },
            Is::Breach,
        ),
        ("no log, nothing in the texts", Seen { calls: None, ..proof() }, Is::Broken),
        (
            "no log, provider log",
            Seen {
                calls: None,
                provider_log: vec!["AccessDeniedException: User: arn:aws:sts::0:assumed-role/demo-team-blue-role/1 is not authorized to perform: secretsmanager:GetSecretValue on resource: demo/team-red/secret".into()],
                ..proof()
            },
            Is::Holds,
        ),
    ];
    for (what, seen, expected) in cases {
        let judgement = judge(&claim(), &seen);
        assert_eq!(is(&judgement), expected, "{what}: {judgement:?}");
    }
}

#[test]
fn a_proof_reads_in_brief_and_in_full() {
    let Judgement::Holds(finding) = judge(&claim(), &proof()) else {
        panic!("it is complete");
    };
    assert_eq!(
        finding.brief,
        "denied as ..team-blue-role: no identity-based policy allows it; held 3 s; control positive"
    );
    assert_eq!(
        finding.detail,
        "denied as demo-team-blue-role: because no identity-based policy allows the \
         secretsmanager:GetSecretValue action; statement 1 of demo-team-blue-policy allows Resource \
         *:demo/team-blue/*; held 3 s; control positive"
    );
    for (role, shown) in [
        ("demo-team-blue-role", "..team-blue-role"),
        ("team-blue-role", "team-blue-role"),
        ("demo-a1b2c3d4-role", "demo-a1b2c3d4-role"),
    ] {
        assert_eq!(own_part(role, "team-blue"), shown);
    }
}

#[test]
fn a_refusal_before_aws_needs_its_event_and_no_call() {
    let claim = Claim {
        reason: ExpectedReason::Event {
            contains: "An IAM role must be associated".into(),
            secret: vec!["demo/team-blue/secret".into()],
            role: "demo-team-blue-role".into(),
        },
        ..claim()
    };
    let refused = Seen {
        refusals: vec!["... An IAM role must be associated with service account default".into()],
        calls: Some(vec![]),
        ..proof()
    };
    let mut used = denied_call();
    used.allowed = true;
    used.asked = Some("demo/team-blue/secret".into());
    let cases = [
        ("complete", refused.clone(), Is::Holds),
        (
            "other text",
            Seen {
                refusals: vec!["timed out".into()],
                ..refused.clone()
            },
            Is::Broken,
        ),
        (
            "AWS was asked",
            Seen {
                calls: Some(vec![used]),
                ..refused
            },
            Is::Breach,
        ),
    ];
    for (what, seen, expected) in cases {
        let judgement = judge(&claim, &seen);
        assert_eq!(is(&judgement), expected, "{what}: {judgement:?}");
    }
}

#[test]
fn which_policy_refused_is_looked_for_in_what_aws_says() {
    let because = |says: &str| {
        let mut claim = claim();
        if let ExpectedReason::Aws { says: expected, .. } = &mut claim.reason {
            *expected = Some(says.to_owned());
        }
        claim
    };
    let text = "AccessDeniedException: demo-team-blue-role is not authorized to perform: \
                secretsmanager:GetSecretValue on resource: demo/team-red/secret because no identity-based policy allows the action";
    let without_log = Seen {
        calls: None,
        provider_log: vec![text.to_owned()],
        ..proof()
    };
    let unexplained = Seen {
        calls: Some(vec![Call {
            reason: None,
            ..denied_call()
        }]),
        ..proof()
    };
    for (says, seen, expected) in [
        ("no identity-based policy allows", proof(), Is::Holds),
        ("no permissions boundary allows", proof(), Is::Broken),
        ("no identity-based policy allows", unexplained, Is::Broken),
        ("no identity-based policy allows", without_log.clone(), Is::Holds),
        ("no permissions boundary allows", without_log, Is::Broken),
    ] {
        let judgement = judge(&because(says), &seen);
        assert_eq!(is(&judgement), expected, "{says}: {judgement:?}");
        if let Judgement::Broken(failure) = judgement {
            let said = failure.facts.iter().any(|fact| fact.text.contains(says));
            assert!(said, "what was expected is told: {failure:?}");
        }
    }
}

#[test]
fn a_denial_in_one_region_is_proven_there_and_another_region_may_let_in() {
    let in_east = || {
        let mut claim = claim();
        if let ExpectedReason::Aws { region, .. } = &mut claim.reason {
            *region = Some("us-east-1".to_owned());
        }
        claim
    };
    let let_in = |region: &str| Call {
        region: region.to_owned(),
        allowed: true,
        error: None,
        reason: None,
        ..denied_call()
    };
    let elsewhere = Call {
        region: "us-west-2".to_owned(),
        ..denied_call()
    };
    for (what, calls, expected) in [
        ("refused there", vec![denied_call()], Is::Holds),
        (
            "let in elsewhere too",
            vec![denied_call(), let_in("us-west-2")],
            Is::Holds,
        ),
        (
            "let in there",
            vec![denied_call(), let_in("us-east-1")],
            Is::Breach,
        ),
        ("refused elsewhere only", vec![elsewhere], Is::Broken),
    ] {
        let judgement = judge(
            &in_east(),
            &Seen {
                calls: Some(calls),
                ..proof()
            },
        );
        assert_eq!(is(&judgement), expected, "{what}: {judgement:?}");
    }
    let leaked = Seen {
        files: vec![("secret".to_owned(), Some("team-red/secret".to_owned()))],
        calls: Some(vec![denied_call(), let_in("us-west-2")]),
        ..proof()
    };
    let Judgement::Broken(failure) = judge(&in_east(), &leaked) else {
        panic!("what must be refused was read");
    };
    let elsewhere = failure.facts.iter().find(|fact| fact.label == "elsewhere");
    assert_eq!(
        elsewhere.map(|fact| fact.text.as_str()),
        Some("secretsmanager:GetSecretValue on demo/team-red/secret was allowed in us-west-2")
    );
}

#[test]
fn a_refused_role_needs_the_web_identity_that_asked() {
    let claim = Claim {
        reason: ExpectedReason::Aws {
            error: "AccessDenied".into(),
            action: "sts:AssumeRoleWithWebIdentity".into(),
            says: None,
            role: "demo-team-red-role".into(),
            asked: vec![],
            named: vec!["demo/team-red/secret".into()],
            secret: vec![],
            region: None,
            subject: Some("system:serviceaccount:team-blue:default".into()),
        },
        ..claim()
    };
    let call = Call {
        action: "sts:AssumeRoleWithWebIdentity".into(),
        role: Some("demo-team-red-role".into()),
        subject: Some("system:serviceaccount:team-blue:default".into()),
        error: Some("AccessDenied".into()),
        ..denied_call()
    };
    let mut other = call.clone();
    other.subject = Some("system:serviceaccount:team-green:default".into());
    let mut allowed = call.clone();
    allowed.allowed = true;
    for (what, call, expected) in [
        ("complete", call, Is::Holds),
        ("another's", other, Is::Broken),
        ("let in", allowed, Is::Breach),
    ] {
        let judgement = judge(
            &claim,
            &Seen {
                calls: Some(vec![call]),
                ..proof()
            },
        );
        assert_eq!(is(&judgement), expected, "{what}: {judgement:?}");
    }
}

#[test]
fn without_a_call_log_the_providers_log_has_to_name_role_secret_and_region() {
    let line = "eu-west-1: Failed fetching secret demo/team-red/secret: api error AccessDeniedException: User: \
                arn:aws:sts::0:assumed-role/demo-team-blue-role/1 is not authorized to perform: \
                secretsmanager:GetSecretValue on resource: demo/team-red/secret";
    let in_region = |region: Option<&str>| {
        let mut claim = claim();
        if let ExpectedReason::Aws { region: expected, .. } = &mut claim.reason {
            *expected = region.map(str::to_owned);
        }
        claim
    };
    for (what, claim, line, expected) in [
        ("complete", in_region(None), line.to_owned(), Is::Holds),
        (
            "another's",
            in_region(None),
            line.replace("team-blue", "team-green"),
            Is::Broken,
        ),
        (
            "another secret's",
            in_region(None),
            line.replace("team-red/secret", "team-red/other"),
            Is::Broken,
        ),
        (
            "in that region",
            in_region(Some("eu-west-1")),
            line.to_owned(),
            Is::Holds,
        ),
        (
            "in another",
            in_region(Some("us-east-1")),
            line.to_owned(),
            Is::Broken,
        ),
    ] {
        let seen = Seen {
            calls: None,
            provider_log: vec![line],
            ..proof()
        };
        assert_eq!(is(&judge(&claim, &seen)), expected, "{what}");
    }
}

#[test]
fn without_a_call_log_a_refused_role_is_that_which_the_provider_asked_for() {
    let claim = Claim {
        reason: ExpectedReason::Aws {
            error: "AccessDenied".into(),
            action: "sts:AssumeRoleWithWebIdentity".into(),
            says: None,
            role: "demo-team-red-role".into(),
            asked: vec![],
            named: vec!["demo/team-red/secret".into()],
            secret: vec![],
            region: None,
            subject: Some("system:serviceaccount:team-blue:default".into()),
        },
        ..claim()
    };
    let of = |account: &str, role: &str| format!("Role ARN for {account} is arn:aws:iam::0:role/{role}");
    let refused = |secret: &str| {
        format!(
            "eu-west-1: Failed fetching secret {secret}: operation error STS: AssumeRoleWithWebIdentity, api error \
             AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity"
        )
    };
    let (asks, answer) = (
        of("team-blue:default", "demo-team-red-role"),
        refused("demo/team-red/secret"),
    );
    for (what, log, expected) in [
        ("complete", vec![asks.clone(), answer.clone()], Is::Holds),
        ("nobody asked", vec![answer.clone()], Is::Broken),
        (
            "another asked",
            vec![of("team-green:default", "demo-team-red-role"), answer.clone()],
            Is::Broken,
        ),
        (
            "for another role",
            vec![of("team-blue:default", "demo-team-red-role-2"), answer],
            Is::Broken,
        ),
        (
            "for another secret",
            vec![asks, refused("demo/team-green/secret")],
            Is::Broken,
        ),
    ] {
        let seen = Seen {
            calls: None,
            provider_log: log,
            ..proof()
        };
        assert_eq!(is(&judge(&claim, &seen)), expected, "{what}");
    }
}
