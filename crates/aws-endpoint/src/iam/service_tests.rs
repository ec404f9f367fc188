#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use proptest::prelude::*;

use super::*;
use crate::iam::error::IamErrorKind;
use crate::iam::{PolicySet, Principal, Request, Rules, evaluate};
use crate::wire::xml;

const ACCOUNT: &str = "000000000000";
const TRUST: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"000000000000"},"Action":"sts:AssumeRole"}]}"#;
const POLICY_ARN: &str = "arn:aws:iam::000000000000:policy/p";
const PROVIDER_ARN: &str = "arn:aws:iam::000000000000:oidc-provider/127.0.0.1:4430/id/X";

fn policy_text(resource: &str) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"{resource}"}}]}}"#
    )
}

struct Service(IamState);

impl Service {
    fn new() -> Self {
        Self(IamState::new(ACCOUNT, 41))
    }

    fn call(&mut self, operation: &str, params: &[(&str, &str)]) -> Result<String, IamError> {
        let params: Params = params.iter().copied().collect();
        let now = "2026-01-31T12:00:00.987Z".parse().unwrap();
        let answer = execute(&mut self.0, operation, &params, now)?;
        Ok(xml::response(operation, NAMESPACE, answer, "request"))
    }

    fn ok(&mut self, operation: &str, params: &[(&str, &str)]) -> String {
        self.call(operation, params)
            .unwrap_or_else(|error| panic!("{operation} {params:?}: {error}"))
    }

    fn refused(&mut self, operation: &str, params: &[(&str, &str)], code: &str, status: u16, message: &str) {
        let error = self.call(operation, params).unwrap_err();
        assert_eq!(
            (error.code(), error.status(), error.message.as_str()),
            (code, status, message),
            "{operation} {params:?}"
        );
    }

    fn with_role(mut self) -> Self {
        self.ok(
            "CreateRole",
            &[("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)],
        );
        self
    }

    fn with_policy(mut self) -> Self {
        self.ok(
            "CreatePolicy",
            &[("PolicyName", "p"), ("PolicyDocument", &policy_text("*"))],
        );
        self
    }

    fn with_provider(mut self) -> Self {
        self.ok(
            "CreateOpenIDConnectProvider",
            &[
                ("Url", "https://127.0.0.1:4430/id/X"),
                ("ClientIDList.member.1", "sts.amazonaws.com"),
            ],
        );
        self
    }
}

/// The texts of every element of that name, in order.
fn texts<'a>(body: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    body.split(&open)
        .skip(1)
        .map(|rest| rest.split(&close).next().unwrap())
        .collect()
}

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
    assert_eq!(texts(&made, "Role"), texts(&read, "Role"));
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
        "This policy contains invalid Json [not JSON: EOF while parsing an object at line 1 column 1 (at the document)]",
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
fn a_policy_and_its_versions() {
    let mut service = Service::new();
    let made = service.ok(
        "CreatePolicy",
        &[
            ("PolicyName", "p"),
            ("PolicyDocument", &policy_text("*")),
            ("Description", "d"),
        ],
    );
    assert_eq!(texts(&made, "Arn"), [POLICY_ARN]);
    assert!(texts(&made, "PolicyId")[0].starts_with("ANPA"));
    let version = |id| [("PolicyArn", POLICY_ARN), ("VersionId", id)];
    let resource = |n| policy_text(&format!("arn:aws:secretsmanager:*:*:secret:v{n}"));
    for n in 2..=5 {
        let made = service.ok(
            "CreatePolicyVersion",
            &[
                ("PolicyArn", POLICY_ARN),
                ("PolicyDocument", &resource(n)),
                ("SetAsDefault", if n == 3 { "true" } else { "false" }),
            ],
        );
        assert_eq!(
            texts(&made, "IsDefaultVersion"),
            [if n == 3 { "true" } else { "false" }]
        );
        assert!(!made.contains("Document"), "{made}");
    }
    service.refused(
        "CreatePolicyVersion",
        &[("PolicyArn", POLICY_ARN), ("PolicyDocument", &resource(6))],
        "LimitExceeded",
        409,
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.",
    );
    assert_eq!(
        texts(
            &service.ok("ListPolicyVersions", &[("PolicyArn", POLICY_ARN)]),
            "VersionId"
        ),
        ["v5", "v4", "v3", "v2", "v1"]
    );
    assert_eq!(
        texts(
            &service.ok("GetPolicy", &[("PolicyArn", POLICY_ARN)]),
            "DefaultVersionId"
        ),
        ["v3"]
    );
    let read = service.ok("GetPolicyVersion", &version("v4"));
    assert_eq!(texts(&read, "Document"), [url_encoded(&resource(4))]);
    service.refused(
        "DeletePolicyVersion",
        &version("v3"),
        "DeleteConflict",
        409,
        "Cannot delete the default version of a policy.",
    );
    service.ok("SetDefaultPolicyVersion", &version("v5"));
    service.ok("DeletePolicyVersion", &version("v3"));
    service.refused(
        "GetPolicyVersion",
        &version("v3"),
        "NoSuchEntity",
        404,
        &format!("Policy {POLICY_ARN} version v3 does not exist or is not attachable."),
    );
    for id in ["3", "v0", "v", "vx", "v+1"] {
        assert_eq!(
            service.call("GetPolicyVersion", &version(id)).unwrap_err().kind,
            IamErrorKind::ValidationError,
            "{id}"
        );
    }
    // A number is never given twice.
    let made = service.ok(
        "CreatePolicyVersion",
        &[("PolicyArn", POLICY_ARN), ("PolicyDocument", &resource(6))],
    );
    assert_eq!(texts(&made, "VersionId"), ["v6"]);
    assert_eq!(
        service
            .call("DeletePolicy", &[("PolicyArn", POLICY_ARN)])
            .unwrap_err()
            .message,
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. The default version is deleted with the policy.",
    );
    for id in ["v1", "v2", "v4", "v6"] {
        service.ok("DeletePolicyVersion", &version(id));
    }
    service.ok("DeletePolicy", &[("PolicyArn", POLICY_ARN)]);
    service.refused(
        "GetPolicy",
        &[("PolicyArn", POLICY_ARN)],
        "NoSuchEntity",
        404,
        &format!("Policy {POLICY_ARN} was not found."),
    );
}

#[test]
fn what_a_policy_is_refused_for() {
    let mut service = Service::new().with_policy();
    let text = policy_text("*");
    service.refused(
        "CreatePolicy",
        &[
            ("PolicyName", "p"),
            ("Path", "/other/"),
            ("PolicyDocument", &text),
        ],
        "EntityAlreadyExists",
        409,
        "A policy called p already exists. Duplicate names are not allowed.",
    );
    let long = policy_text(&format!(
        "arn:aws:secretsmanager:*:*:secret:{}",
        "x".repeat(6_144)
    ));
    service.refused(
        "CreatePolicy",
        &[("PolicyName", "x"), ("PolicyDocument", &long)],
        "LimitExceeded",
        409,
        "Cannot exceed quota for PolicySize: 6144",
    );
    service.refused(
        "CreatePolicy",
        &[("PolicyName", "x"), ("PolicyDocument", &policy_text("demo"))],
        "MalformedPolicyDocument",
        400,
        "Resource demo must be in ARN format or \"*\". [`demo` is neither an ARN nor `*` (at Statement[0].Resource)]",
    );
    service.refused(
        "GetPolicy",
        &[("PolicyArn", "p")],
        "InvalidInput",
        400,
        "ARN p is not valid.",
    );
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
fn providers() {
    let mut service = Service::new().with_provider();
    let arn = [("OpenIDConnectProviderArn", PROVIDER_ARN)];
    service.ok(
        "AddClientIDToOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    service.ok(
        "AddClientIDToOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    service.ok(
        "UpdateOpenIDConnectProviderThumbprint",
        &[arn[0], ("ThumbprintList.member.1", &"aB".repeat(20))],
    );
    let read = service.ok("GetOpenIDConnectProvider", &arn);
    assert_eq!(texts(&read, "Url"), ["127.0.0.1:4430/id/X"]);
    assert_eq!(
        texts(&read, "ClientIDList"),
        ["<member>sts.amazonaws.com</member><member>second</member>"]
    );
    assert_eq!(
        texts(&read, "ThumbprintList"),
        [format!("<member>{}</member>", "aB".repeat(20))]
    );
    assert_eq!(
        texts(&service.ok("ListOpenIDConnectProviders", &[]), "Arn"),
        [PROVIDER_ARN]
    );
    service.ok(
        "RemoveClientIDFromOpenIDConnectProvider",
        &[arn[0], ("ClientID", "second")],
    );
    let provider = service
        .0
        .provider_of_issuer("https://127.0.0.1:4430/id/X")
        .unwrap();
    assert_eq!(provider.client_ids, ["sts.amazonaws.com"]);
    for issuer in [
        "http://127.0.0.1:4430/id/X",
        "127.0.0.1:4430/id/X",
        "https://127.0.0.1:4430/id/",
        "https://127.0.0.1:4430/id/XY",
    ] {
        assert!(service.0.provider_of_issuer(issuer).is_none(), "{issuer}");
    }
    service.refused(
        "CreateOpenIDConnectProvider",
        &[("Url", "https://127.0.0.1:4430/id/X")],
        "EntityAlreadyExists",
        409,
        "Provider with url https://127.0.0.1:4430/id/X already exists.",
    );
    for url in [
        "http://x",
        "x",
        "https://",
        "https:///x",
        "https://:1/",
        "https://x?y",
        "https://u@x",
        "https://x y",
        "https://x#y",
    ] {
        service.refused(
            "CreateOpenIDConnectProvider",
            &[("Url", url)],
            "ValidationError",
            400,
            "Invalid Open ID Connect Provider URL",
        );
    }
    for thumbprint in ["ab", &"zz".repeat(20), &"ab".repeat(21)] {
        assert!(
            service
                .call(
                    "UpdateOpenIDConnectProviderThumbprint",
                    &[arn[0], ("ThumbprintList.member.1", thumbprint)]
                )
                .is_err()
        );
    }
    service.ok("DeleteOpenIDConnectProvider", &arn);
    service.refused(
        "DeleteOpenIDConnectProvider",
        &arn,
        "NoSuchEntity",
        404,
        &format!("OpenIDConnect Provider not found for arn {PROVIDER_ARN}"),
    );
}

#[test]
fn a_hundred_client_ids_are_enough() {
    let mut service = Service::new();
    let ids: Vec<(String, String)> = (1..=101)
        .map(|n| (format!("ClientIDList.member.{n}"), format!("id-{n}")))
        .collect();
    let mut params: Vec<(&str, &str)> = ids.iter().map(|(key, id)| (key.as_str(), id.as_str())).collect();
    params.push(("Url", "https://issuer.example"));
    service.refused(
        "CreateOpenIDConnectProvider",
        &params,
        "LimitExceeded",
        409,
        "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100",
    );
    service.ok("CreateOpenIDConnectProvider", &params[1..]);
    let arn = (
        "OpenIDConnectProviderArn",
        "arn:aws:iam::000000000000:oidc-provider/issuer.example",
    );
    assert_eq!(
        service
            .call("AddClientIDToOpenIDConnectProvider", &[arn, ("ClientID", "more")])
            .unwrap_err()
            .kind,
        IamErrorKind::LimitExceeded
    );
}

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
            let mut params = vec![("MaxItems", "2")];
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
    assert_eq!(
        texts(&service.ok("ListPolicies", &[("Scope", "AWS")]), "PolicyName"),
        Vec::<&str>::new()
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
