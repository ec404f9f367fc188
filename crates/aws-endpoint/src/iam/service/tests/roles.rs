//! Roles, what they trust and what is attached to them.

use super::*;

#[test]
fn a_role_is_made_read_changed_and_deleted() {
    let mut service = Service::new();
    let made = service.ok(
        "CreateRole",
        &[
            ("RoleName", "red"),
            ("Path", "/teams/"),
            ("AssumeRolePolicyDocument", TRUST),
            ("Description", "a & b"),
            ("MaxSessionDuration", "7200"),
            ("Tags.member.1.Key", "run"),
            ("Tags.member.1.Value", "7f3k"),
        ],
    );
    let read = service.ok("GetRole", &[("RoleName", "red")]);
    assert_eq!(
        format!("{}<RoleLastUsed/>", texts(&made, "Role")[0]),
        texts(&read, "Role")[0]
    );
    let id = texts(&read, "RoleId")[0];
    assert!(id.starts_with("AROA") && id.len() == 21, "{id}");
    for (name, expected) in [
        ("Arn", "arn:aws:iam::000000000000:role/teams/red"),
        ("Path", "/teams/"),
        ("CreateDate", "2026-01-31T12:00:00Z"),
        ("Description", "a &amp; b"),
        ("MaxSessionDuration", "7200"),
        ("Tags", "<member><Key>run</Key><Value>7f3k</Value></member>"),
    ] {
        assert_eq!(texts(&read, name), [expected], "{name}");
    }
    assert!(texts(&read, "AssumeRolePolicyDocument")[0].starts_with("%7B%22Version%22%3A%222012-10-17%22"));

    assert!(
        service
            .ok(
                "UpdateRole",
                &[("RoleName", "red"), ("MaxSessionDuration", "3600")]
            )
            .contains("<UpdateRoleResult/>")
    );
    let other = TRUST.replace(ACCOUNT, "111111111111");
    service.ok(
        "UpdateAssumeRolePolicy",
        &[("RoleName", "red"), ("PolicyDocument", &other)],
    );
    let read = service.ok("GetRole", &[("RoleName", "red")]);
    assert_eq!(texts(&read, "MaxSessionDuration"), ["3600"]);
    assert_eq!(texts(&read, "Description"), ["a &amp; b"]);
    assert!(texts(&read, "AssumeRolePolicyDocument")[0].contains("111111111111"));
    assert_eq!(
        service
            .0
            .role_by_arn("arn:aws:iam::000000000000:role/teams/red")
            .unwrap()
            .name,
        "red"
    );
    assert!(
        service
            .0
            .role_by_arn("arn:aws:iam::000000000000:role/red")
            .is_none()
    );
    assert!(
        service
            .0
            .role_by_arn("arn:aws:iam::111111111111:role/teams/red")
            .is_none()
    );

    let deleted = service.ok("DeleteRole", &[("RoleName", "red")]);
    assert!(!deleted.contains("Result"), "{deleted}");
    service.refused(
        "GetRole",
        &[("RoleName", "red")],
        "NoSuchEntity",
        404,
        "The role with name red cannot be found.",
    );
    assert_eq!(service.0.objects(), Vec::<String>::new());
}

#[test]
fn what_a_role_is_refused_for() {
    let mut service = Service::new().with_role();
    for name in ["r", "R"] {
        let message = format!("Role with name {name} already exists.");
        service.refused(
            "CreateRole",
            &[("RoleName", name), ("AssumeRolePolicyDocument", TRUST)],
            "EntityAlreadyExists",
            409,
            &message,
        );
    }
    let padded = TRUST.replace("sts:AssumeRole", &format!("sts:AssumeRole{}", "*".repeat(2_000)));
    assert!(counted_size(&padded) > 2_048);
    service.refused(
        "CreateRole",
        &[("RoleName", "x"), ("AssumeRolePolicyDocument", &padded)],
        "LimitExceeded",
        409,
        "Cannot exceed quota for ACLSizePerRole: 2048",
    );
    // White space is not counted.
    let blank = TRUST.replace("{\"Effect", &format!("{}{{\"Effect", " ".repeat(4_000)));
    service.ok(
        "UpdateAssumeRolePolicy",
        &[("RoleName", "r"), ("PolicyDocument", &blank)],
    );
    service.refused(
        "UpdateAssumeRolePolicy",
        &[("RoleName", "r"), ("PolicyDocument", "{")],
        "MalformedPolicyDocument",
        400,
        "This policy contains invalid Json",
    );
    for (params, kind) in [
        (vec![("RoleName", "x")], IamErrorKind::ValidationError),
        (
            vec![("AssumeRolePolicyDocument", TRUST)],
            IamErrorKind::ValidationError,
        ),
        (
            vec![
                ("RoleName", "x"),
                ("AssumeRolePolicyDocument", TRUST),
                ("Path", "teams"),
            ],
            IamErrorKind::ValidationError,
        ),
        (
            vec![
                ("RoleName", "x"),
                ("AssumeRolePolicyDocument", TRUST),
                ("MaxSessionDuration", "3599"),
            ],
            IamErrorKind::ValidationError,
        ),
        (
            vec![
                ("RoleName", "x"),
                ("AssumeRolePolicyDocument", TRUST),
                ("MaxSessionDuration", "43201"),
            ],
            IamErrorKind::ValidationError,
        ),
        (
            vec![
                ("RoleName", "x"),
                ("AssumeRolePolicyDocument", TRUST),
                ("PermissionsBoundary", POLICY_ARN),
            ],
            IamErrorKind::NoSuchEntity,
        ),
        (
            vec![("RoleName", "x"), ("AssumeRolePolicyDocument", &policy_text("*"))],
            IamErrorKind::MalformedPolicyDocument,
        ),
    ] {
        assert_eq!(
            service.call("CreateRole", &params).unwrap_err().kind,
            kind,
            "{params:?}"
        );
    }
    assert_eq!(service.0.objects(), ["role r"]);
}

#[test]
fn attachments_hold_roles_and_policies_together() {
    let mut service = Service::new().with_role().with_policy();
    let both = [("RoleName", "r"), ("PolicyArn", POLICY_ARN)];
    service.ok("AttachRolePolicy", &both);
    service.ok("AttachRolePolicy", &both);
    let listed = service.ok("ListAttachedRolePolicies", &[("RoleName", "r")]);
    assert_eq!(
        texts(&listed, "AttachedPolicies"),
        [format!(
            "<member><PolicyName>p</PolicyName><PolicyArn>{POLICY_ARN}</PolicyArn></member>"
        )]
    );
    assert_eq!(
        texts(
            &service.ok("GetPolicy", &[("PolicyArn", POLICY_ARN)]),
            "AttachmentCount"
        ),
        ["1"]
    );
    assert_eq!(
        texts(
            &service.ok("ListEntitiesForPolicy", &[("PolicyArn", POLICY_ARN)]),
            "RoleName"
        ),
        ["r"]
    );
    service.refused(
        "DeletePolicy",
        &[("PolicyArn", POLICY_ARN)],
        "DeleteConflict",
        409,
        "Cannot delete a policy attached to entities.",
    );
    service.refused(
        "DeleteRole",
        &[("RoleName", "r")],
        "DeleteConflict",
        409,
        "Cannot delete entity, must detach all policies first.",
    );
    service.ok("DetachRolePolicy", &both);
    service.refused(
        "DetachRolePolicy",
        &both,
        "NoSuchEntity",
        404,
        &format!("Policy {POLICY_ARN} was not found."),
    );
    let missing = "arn:aws:iam::000000000000:policy/missing";
    service.refused(
        "AttachRolePolicy",
        &[("RoleName", "r"), ("PolicyArn", missing)],
        "NoSuchEntity",
        404,
        &format!("Policy {missing} does not exist or is not attachable."),
    );
    service.refused(
        "AttachRolePolicy",
        &[("RoleName", "x"), ("PolicyArn", POLICY_ARN)],
        "NoSuchEntity",
        404,
        "The role with name x cannot be found.",
    );

    service.ok(
        "PutRolePermissionsBoundary",
        &[("RoleName", "r"), ("PermissionsBoundary", POLICY_ARN)],
    );
    assert_eq!(
        texts(
            &service.ok("GetRole", &[("RoleName", "r")]),
            "PermissionsBoundaryArn"
        ),
        [POLICY_ARN]
    );
    assert_eq!(
        service
            .call("DeletePolicy", &[("PolicyArn", POLICY_ARN)])
            .unwrap_err()
            .kind,
        IamErrorKind::DeleteConflict
    );
    service.ok("DeleteRolePermissionsBoundary", &[("RoleName", "r")]);
    service.ok("DeletePolicy", &[("PolicyArn", POLICY_ARN)]);
    service.ok("DeleteRole", &[("RoleName", "r")]);
}

#[test]
fn at_most_ten_policies_are_attached() {
    let mut service = Service::new().with_role();
    let attach = |service: &mut Service, n: usize| {
        let name = format!("p{n}");
        service.ok(
            "CreatePolicy",
            &[("PolicyName", &name), ("PolicyDocument", &policy_text("*"))],
        );
        service.call(
            "AttachRolePolicy",
            &[
                ("RoleName", "r"),
                ("PolicyArn", &format!("arn:aws:iam::000000000000:policy/{name}")),
            ],
        )
    };
    for n in 0..10 {
        attach(&mut service, n).unwrap();
    }
    assert_eq!(
        attach(&mut service, 10).unwrap_err().message,
        "Cannot exceed quota for PoliciesPerRole: 10"
    );
}

#[test]
fn inline_policies() {
    let mut service = Service::new().with_role();
    let named = [("RoleName", "r"), ("PolicyName", "in")];
    let text = policy_text("*");
    service.ok("PutRolePolicy", &[named[0], named[1], ("PolicyDocument", &text)]);
    assert_eq!(
        texts(&service.ok("GetRolePolicy", &named), "PolicyDocument"),
        [url_encoded(&text)]
    );
    assert_eq!(
        texts(&service.ok("ListRolePolicies", &[named[0]]), "member"),
        ["in"]
    );
    service.refused(
        "DeleteRole",
        &[named[0]],
        "DeleteConflict",
        409,
        "Cannot delete entity, must delete policies first.",
    );
    let long = policy_text(&format!(
        "arn:aws:secretsmanager:*:*:secret:{}",
        "x".repeat(10_200)
    ));
    service.refused(
        "PutRolePolicy",
        &[named[0], ("PolicyName", "long"), ("PolicyDocument", &long)],
        "LimitExceeded",
        409,
        "Maximum policy size of 10240 bytes exceeded for role r",
    );
    service.ok("DeleteRolePolicy", &named);
    for operation in ["GetRolePolicy", "DeleteRolePolicy"] {
        service.refused(
            operation,
            &named,
            "NoSuchEntity",
            404,
            "The role policy with name in cannot be found.",
        );
    }
    service.ok("DeleteRole", &[named[0]]);
}

#[test]
fn what_aws_manages_is_attached_and_never_changed() {
    const MANAGED: &str = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy";
    let mut service = Service::new();
    service.ok(
        "CreateRole",
        &[("RoleName", "node"), ("AssumeRolePolicyDocument", TRUST)],
    );
    service.ok(
        "AttachRolePolicy",
        &[("RoleName", "node"), ("PolicyArn", MANAGED)],
    );
    let attached = service.ok("ListAttachedRolePolicies", &[("RoleName", "node")]);
    assert_eq!(texts(&attached, "PolicyArn"), [MANAGED]);
    let listed = service.ok("ListPolicies", &[("Scope", "AWS"), ("OnlyAttached", "true")]);
    assert_eq!(texts(&listed, "PolicyName"), ["AmazonEKSWorkerNodePolicy"]);
    assert_eq!(service.0.role_policies("node").unwrap().identity.len(), 1);
    service.refused(
        "DeletePolicy",
        &[("PolicyArn", MANAGED)],
        "AccessDenied",
        403,
        &format!("Policy {MANAGED} is managed by AWS and cannot be changed."),
    );
}
