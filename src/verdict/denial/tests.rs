use jiff::Timestamp;

use super::*;

fn claim() -> Claim {
    Claim {
        tenant: "team-blue".into(),
        target: "team-red/secret".into(),
        asks: vec!["demo/team-red/secret".into()],
        reason: ExpectedReason::Aws {
            error: "AccessDeniedException".into(),
            action: "secretsmanager:GetSecretValue".into(),
            says: None,
            role: "demo-team-blue-role".into(),
            asked: vec!["demo/team-red/secret".into()],
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
                provider_log: vec!["Failed fetching secret demo/team-red/secret: AccessDeniedException: User: arn:aws:sts::0:assumed-role/demo-team-blue-role/1 is not authorized to perform: secretsmanager:GetSecretValue".into()],
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
    let text = "Failed fetching secret demo/team-red/secret: AccessDeniedException: demo-team-blue-role is not authorized to perform: \
                secretsmanager:GetSecretValue because no identity-based policy allows the action";
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

/// A denial of Pod Identity's own: EKS gives no session, so that there may be no role to be named.
fn exchange(says: &str) -> Claim {
    Claim {
        reason: ExpectedReason::Exchange {
            error: "ResourceNotFoundException".into(),
            action: "eks-auth:AssumeRoleForPodIdentity".into(),
            says: Some(says.into()),
            subject: "system:serviceaccount:team-blue:default".into(),
            secret: vec!["demo/team-red/secret".into()],
        },
        ..claim()
    }
}

fn refused_exchange() -> Call {
    Call {
        action: "eks-auth:AssumeRoleForPodIdentity".into(),
        role: None,
        principal: Some("arn:aws:sts::0:assumed-role/node/i-1".into()),
        subject: Some("system:serviceaccount:team-blue:default".into()),
        asked: None,
        resource: None,
        error: Some("ResourceNotFoundException".into()),
        reason: Some("No association found for service account default in namespace team-blue".into()),
        ..denied_call()
    }
}

#[test]
fn a_session_that_eks_does_not_give_is_proven_by_call_or_by_event() {
    let seen = |calls: Option<Vec<Call>>| Seen { calls, ..proof() };
    let other = |change: fn(&mut Call)| {
        let mut call = refused_exchange();
        change(&mut call);
        seen(Some(vec![call]))
    };
    // As provider 3.1.1 has it in the pod's event.
    let event = "failed to mount secrets store objects for pod team-blue/p, err: rpc error: code = Unknown desc = us-east-1: \
                 Failed fetching secret demo/team-red/secret: operation error Secrets Manager: GetSecretValue, get identity: get \
                 credentials: failed to refresh cached credentials, failed to load credentials, : [r-1]: \
                 (ResourceNotFoundException): No association found for service account default in namespace team-blue, \
                 fault: client";
    let told = |text: &str| Seen {
        refusals: vec![text.to_owned()],
        ..seen(None)
    };
    let says = "No association found";
    for (what, claim, seen, expected) in [
        (
            "the call",
            exchange(says),
            seen(Some(vec![refused_exchange()])),
            Is::Holds,
        ),
        (
            "another reason",
            exchange("Token expired"),
            seen(Some(vec![refused_exchange()])),
            Is::Broken,
        ),
        (
            "another pod's",
            exchange(says),
            other(|call| call.subject = Some("system:serviceaccount:team-red:default".into())),
            Is::Broken,
        ),
        (
            "another error",
            exchange(says),
            other(|call| call.error = Some("AccessDeniedException".into())),
            Is::Broken,
        ),
        (
            "a session was given, of whatever role",
            exchange(says),
            other(|call| {
                call.allowed = true;
                call.error = None;
                call.role = Some("somebody's".into());
            }),
            Is::Breach,
        ),
        ("the event", exchange(says), told(event), Is::Holds),
        (
            "an event that hides it",
            exchange(says),
            told("Failed to fetch secret"),
            Is::Broken,
        ),
        (
            "an event for another reason",
            exchange("Token expired"),
            told(event),
            Is::Broken,
        ),
    ] {
        let judgement = judge(&claim, &seen);
        assert_eq!(is(&judgement), expected, "{what}: {judgement:?}");
    }
}

#[test]
fn the_providers_log_proves_what_sts_refused_by_the_role_that_was_asked_for() {
    let claim = Claim {
        reason: ExpectedReason::Aws {
            error: "AccessDenied".into(),
            action: "sts:AssumeRoleWithWebIdentity".into(),
            says: None,
            role: "demo-team-red-role".into(),
            asked: Vec::new(),
            secret: Vec::new(),
            region: None,
            subject: Some("system:serviceaccount:team-blue:default".into()),
        },
        ..claim()
    };
    let asked = "I1126 15:00:00.000000 1 server.go:222] Role ARN for team-blue:default is arn:aws:iam::0:role/demo-team-red-role";
    let refused = "W1126 15:00:00.000000 1 utils.go:1] us-east-1: Failed fetching secret demo/team-red/secret: .. api error \
                   AccessDenied: Not authorized to perform sts:AssumeRoleWithWebIdentity";
    for (lines, expected) in [
        (vec![asked, refused], Is::Holds),
        (vec![refused], Is::Broken),
        (vec![asked], Is::Broken),
        (
            vec![&asked.replace("team-blue", "team-green"), refused],
            Is::Broken,
        ),
        (
            vec![asked, &refused.replace("team-red/secret", "other")],
            Is::Broken,
        ),
    ] {
        let seen = Seen {
            calls: None,
            provider_log: lines.iter().map(|line| (*line).to_owned()).collect(),
            ..proof()
        };
        assert_eq!(is(&judge(&claim, &seen)), expected, "{lines:?}");
    }
}

#[test]
fn without_a_call_log_the_provider_tells_which_region_refused() {
    let line = "W1126 14:02:11.020131 1 provider.rs:1] eu-west-1: Failed fetching secret demo/team-red/secret: api error \
                AccessDeniedException: User: arn:aws:sts::0:assumed-role/demo-team-blue-role/1 is not authorized to \
                perform: secretsmanager:GetSecretValue on resource: demo/team-red/secret";
    for (region, expected) in [
        (None, Is::Holds),
        (Some("eu-west-1"), Is::Holds),
        (Some("us-east-1"), Is::Broken),
    ] {
        let mut claim = claim();
        if let ExpectedReason::Aws { region: refuses, .. } = &mut claim.reason {
            *refuses = region.map(str::to_owned);
        }
        let seen = Seen {
            calls: None,
            provider_log: vec![line.to_owned()],
            ..proof()
        };
        assert_eq!(is(&judge(&claim, &seen)), expected, "{region:?}");
    }
}
