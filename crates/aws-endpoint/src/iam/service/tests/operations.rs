//! What all kinds have alike: tags, lists, permissions, ids.

use super::*;

#[test]
fn tags_of_each_kind() {
    let mut service = Service::new().with_role().with_policy().with_provider();
    for (kind, of, quota) in [
        ("Role", ("RoleName", "r"), "TagsPerRole"),
        ("Policy", ("PolicyArn", POLICY_ARN), "TagsPerPolicy"),
        (
            "OpenIDConnectProvider",
            ("OpenIDConnectProviderArn", PROVIDER_ARN),
            "TagsPerOpenIdConnectProvider",
        ),
    ] {
        let (tag, untag, list) = (
            format!("Tag{kind}"),
            format!("Untag{kind}"),
            format!("List{kind}Tags"),
        );
        service.ok(
            &tag,
            &[
                of,
                ("Tags.member.1.Key", "run"),
                ("Tags.member.1.Value", "a"),
                ("Tags.member.2.Key", "b"),
                ("Tags.member.2.Value", ""),
            ],
        );
        service.ok(
            &tag,
            &[of, ("Tags.member.1.Key", "Run"), ("Tags.member.1.Value", "c")],
        );
        let listed = service.ok(&list, &[of]);
        assert_eq!(
            (texts(&listed, "Key"), texts(&listed, "Value")),
            (vec!["Run", "b"], vec!["c", ""]),
            "{kind}"
        );
        let first = service.ok(&list, &[of, ("MaxItems", "1")]);
        assert_eq!(
            (texts(&first, "Key"), texts(&first, "IsTruncated")),
            (vec!["Run"], vec!["true"])
        );
        let second = service.ok(&list, &[of, ("Marker", texts(&first, "Marker")[0])]);
        assert_eq!(
            (texts(&second, "Key"), texts(&second, "IsTruncated")),
            (vec!["b"], vec!["false"])
        );
        service.ok(
            &untag,
            &[of, ("TagKeys.member.1", "RUN"), ("TagKeys.member.2", "absent")],
        );
        assert_eq!(texts(&service.ok(&list, &[of]), "Key"), ["b"]);

        let many: Vec<(String, String)> = (1..=50)
            .flat_map(|n| {
                [
                    (format!("Tags.member.{n}.Key"), format!("k{n}")),
                    (format!("Tags.member.{n}.Value"), String::new()),
                ]
            })
            .collect();
        let mut params: Vec<(&str, &str)> = many
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        params.push(of);
        assert_eq!(
            service.call(&tag, &params).unwrap_err().message,
            format!("Cannot exceed quota for {quota}: 50")
        );
        assert_eq!(
            texts(&service.ok(&list, &[of]), "Key"),
            ["b"],
            "nothing is changed by half"
        );
    }
}

#[test]
fn lists_by_path_and_page() {
    let mut service = Service::new();
    for n in 0..5 {
        let (name, path) = (format!("x{n}"), if n % 2 == 0 { "/even/" } else { "/odd/" });
        service.ok(
            "CreateRole",
            &[
                ("RoleName", &name),
                ("Path", path),
                ("AssumeRolePolicyDocument", TRUST),
            ],
        );
        service.ok(
            "CreatePolicy",
            &[
                ("PolicyName", &name),
                ("Path", path),
                ("PolicyDocument", &policy_text("*")),
            ],
        );
    }
    for (operation, element) in [("ListRoles", "RoleName"), ("ListPolicies", "PolicyName")] {
        assert_eq!(
            texts(&service.ok(operation, &[("PathPrefix", "/even/")]), element),
            ["x0", "x2", "x4"]
        );
        let mut seen = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            // Without what AWS manages.
            let mut params = vec![("MaxItems", "2"), ("Scope", "Local")];
            params.extend(marker.as_deref().map(|marker| ("Marker", marker)));
            let page = service.ok(operation, &params);
            seen.extend(texts(&page, element).into_iter().map(ToOwned::to_owned));
            marker = texts(&page, "Marker").first().map(|&marker| marker.to_owned());
            if marker.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["x0", "x1", "x2", "x3", "x4"]);
    }
    service.ok(
        "AttachRolePolicy",
        &[
            ("RoleName", "x0"),
            ("PolicyArn", "arn:aws:iam::000000000000:policy/odd/x1"),
        ],
    );
    assert_eq!(
        texts(
            &service.ok("ListPolicies", &[("OnlyAttached", "true"), ("Scope", "Local")]),
            "PolicyName"
        ),
        ["x1"]
    );
    let of_aws = service.ok("ListPolicies", &[("Scope", "AWS")]);
    let of_aws = texts(&of_aws, "Arn");
    assert!(
        !of_aws.is_empty()
            && of_aws
                .iter()
                .all(|arn| arn.starts_with("arn:aws:iam::aws:policy/"))
    );
    assert_eq!(
        texts(
            &service.ok("ListPolicies", &[("PolicyUsageFilter", "PermissionsBoundary")]),
            "PolicyName"
        ),
        Vec::<&str>::new()
    );
    assert_eq!(
        service
            .call("ListPolicies", &[("Scope", "Mine")])
            .unwrap_err()
            .kind,
        IamErrorKind::ValidationError
    );
}

#[test]
fn what_is_attached_decides() {
    let mut service = Service::new().with_role().with_policy();
    let own = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red/secret-Ab3dEf";
    let decide = |service: &Service| {
        let policies = service.0.role_policies("r").unwrap();
        let role = service.0.role("r").unwrap();
        let principal = Principal::assumed_role(&role.arn, &role.id, "s");
        let context = Context::new();
        let request = Request {
            principal: &principal,
            action: "secretsmanager:GetSecretValue",
            resource: own,
            resource_account: ACCOUNT,
            context: &context,
        };
        let set = PolicySet {
            identity: &policies.identity,
            boundary: policies.boundary.as_ref(),
            ..PolicySet::default()
        };
        let decision = evaluate(&request, &set, Rules::default());
        (
            decision.allowed(),
            decision.statement.map(|statement| statement.to_string()),
        )
    };
    assert_eq!(decide(&service), (false, None));
    service.ok(
        "AttachRolePolicy",
        &[("RoleName", "r"), ("PolicyArn", POLICY_ARN)],
    );
    assert_eq!(
        decide(&service),
        (true, Some("statement 1 of p: Allow Resource *".to_owned()))
    );
    let nothing = policy_text("arn:aws:secretsmanager:*:*:secret:other/*");
    service.ok(
        "CreatePolicyVersion",
        &[("PolicyArn", POLICY_ARN), ("PolicyDocument", &nothing)],
    );
    assert!(decide(&service).0, "the default version counts");
    service.ok(
        "SetDefaultPolicyVersion",
        &[("PolicyArn", POLICY_ARN), ("VersionId", "v2")],
    );
    assert!(!decide(&service).0);
    service.ok(
        "PutRolePolicy",
        &[
            ("RoleName", "r"),
            ("PolicyName", "in"),
            ("PolicyDocument", &policy_text(own)),
        ],
    );
    assert_eq!(
        decide(&service),
        (true, Some(format!("statement 1 of in: Allow Resource {own}")))
    );
    service.ok(
        "PutRolePermissionsBoundary",
        &[("RoleName", "r"), ("PermissionsBoundary", POLICY_ARN)],
    );
    assert!(!decide(&service).0, "the boundary limits");
}

#[test]
fn every_operation_says_what_it_needs() {
    let mut service = Service::new().with_role().with_policy().with_provider();
    service.ok(
        "TagRole",
        &[
            ("RoleName", "r"),
            ("Tags.member.1.Key", "run"),
            ("Tags.member.1.Value", "a"),
        ],
    );
    let params: Params = [
        ("RoleName", "r"),
        ("PolicyName", "n"),
        ("PolicyArn", POLICY_ARN),
        ("OpenIDConnectProviderArn", PROVIDER_ARN),
        ("Url", "https://new.example"),
    ]
    .into_iter()
    .collect();
    let mut seen = Vec::new();
    for operation in operations() {
        let needed = authorisation(&service.0, operation, &params).unwrap();
        assert_eq!(needed.action, format!("iam:{operation}"));
        assert!(
            needed.resource.starts_with("arn:aws:iam::000000000000:"),
            "{operation}: {}",
            needed.resource
        );
        seen.push(operation);
    }
    assert_eq!(seen.len(), 41);
    let needed = |operation| authorisation(&service.0, operation, &params).unwrap();
    for (operation, resource) in [
        ("CreateRole", "arn:aws:iam::000000000000:role/r"),
        ("ListRoles", "arn:aws:iam::000000000000:role/"),
        ("CreatePolicy", "arn:aws:iam::000000000000:policy/n"),
        ("DeletePolicy", POLICY_ARN),
        (
            "CreateOpenIDConnectProvider",
            "arn:aws:iam::000000000000:oidc-provider/new.example",
        ),
        ("TagOpenIDConnectProvider", PROVIDER_ARN),
    ] {
        assert_eq!(needed(operation).resource, resource, "{operation}");
    }
    let attach = needed("AttachRolePolicy").keys;
    assert_eq!(
        attach.values("iam:PolicyArn"),
        Some([POLICY_ARN.to_owned()].as_slice())
    );
    assert_eq!(
        attach.values("aws:ResourceTag/run"),
        Some(["a".to_owned()].as_slice())
    );
    assert_eq!(needed("CreateRole").keys.values("aws:ResourceTag/run"), None);
    service.refused(
        "CreateUser",
        &[],
        "InvalidAction",
        400,
        "Could not find operation CreateUser for version 2010-05-08",
    );
    assert_eq!(
        authorisation(&service.0, "CreateUser", &params).unwrap_err().kind,
        IamErrorKind::InvalidAction
    );
}

#[test]
fn ids_come_from_the_seed() {
    let id = |seed| {
        let mut state = IamState::new(ACCOUNT, seed);
        (state.fresh_id("AROA"), state.fresh_id("AROA"))
    };
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
    assert_ne!(id(1).0, id(1).1);
}

proptest! {
    #[test]
    fn documents_survive_their_encoding(text in "\\PC{0,40}") {
        let encoded = url_encoded(&text);
        prop_assert!(encoded.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)));
        let mut bytes = Vec::new();
        let mut rest = encoded.as_str();
        while let Some(first) = rest.chars().next() {
            if first == '%' {
                bytes.push(u8::from_str_radix(&rest[1..3], 16).unwrap());
                rest = &rest[3..];
            } else {
                bytes.push(u8::try_from(first).unwrap());
                rest = &rest[1..];
            }
        }
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn any_parameters_are_answered(which in 0..OPERATIONS.len(), values in proptest::collection::vec("\\PC{0,12}", 12)) {
        let names = ["RoleName", "PolicyName", "PolicyArn", "Path", "PathPrefix", "Url", "VersionId", "MaxItems", "Marker", "PolicyDocument", "AssumeRolePolicyDocument", "Tags.member.1.Key"];
        let params: Params = names.into_iter().zip(values).collect();
        let mut state = IamState::new(ACCOUNT, 1);
        let _ = authorisation(&state, OPERATIONS[which].name, &params);
        let _ = execute(&mut state, OPERATIONS[which].name, &params, Timestamp::UNIX_EPOCH);
    }
}
