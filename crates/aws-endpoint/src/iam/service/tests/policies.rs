//! Managed policies and their versions.

use super::*;

#[test]
fn only_an_inline_policy_may_be_of_the_older_version() {
    let mut service = Service::new();
    let old = policy_text("*").replace("2012", "2008");
    service.refused(
        "CreatePolicy",
        &[("PolicyName", "p"), ("PolicyDocument", &old)],
        "MalformedPolicyDocument",
        400,
        "Policy document must be version 2012-10-17 or greater.",
    );
    service.ok(
        "CreateRole",
        &[("RoleName", "r"), ("AssumeRolePolicyDocument", TRUST)],
    );
    service.ok(
        "PutRolePolicy",
        &[("RoleName", "r"), ("PolicyName", "p"), ("PolicyDocument", &old)],
    );
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
    assert!(!made.contains("Tags"), "{made}");
    let read = service.ok("GetPolicy", &[("PolicyArn", POLICY_ARN)]);
    assert!(read.contains("<Tags/>"), "{read}");
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
        "Resource demo must be in ARN format or \"*\".",
    );
    service.refused(
        "GetPolicy",
        &[("PolicyArn", "p")],
        "InvalidInput",
        400,
        "ARN p is not valid.",
    );
}
