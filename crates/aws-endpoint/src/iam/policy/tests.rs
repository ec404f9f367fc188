#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use proptest::prelude::*;

use super::*;

/// A document of one statement, given without its braces.
fn one(statement: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{{{statement}}}]}}"#)
}

const SEED_POLICY: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": ["arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*"]
    }]
}"#;

#[test]
fn scalars_and_lists_are_alike() {
    let list = SEED_POLICY.replace("[\"arn", "\"arn").replace("*\"]", "*\"");
    assert_ne!(list, SEED_POLICY);
    assert_eq!(
        Policy::parse(&list, Document::Identity),
        Policy::parse(SEED_POLICY, Document::Identity)
    );
    let statement = r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#;
    let parse = |text: String| Policy::parse(&text, Document::Identity).unwrap();
    assert_eq!(
        parse(format!(r#"{{"Version":"2012-10-17","Statement":{statement}}}"#)),
        parse(format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)),
    );
}

#[test]
fn valid_documents() {
    let trust = |principal: &str, action: &str| {
        one(&format!(
            r#""Effect":"Allow","Principal":{principal},"Action":{action}"#
        ))
    };
    for text in [
        trust(r#"{"AWS":"000000000000"}"#, r#""sts:AssumeRole""#),
        trust(
            r#"{"Service":["pods.eks.amazonaws.com"]}"#,
            r#"["sts:AssumeRole","sts:TagSession"]"#,
        ),
        trust(
            r#"{"Federated":"arn:aws:iam::000000000000:oidc-provider/127.0.0.1:4430"}"#,
            r#""sts:AssumeRoleWithWebIdentity""#,
        ),
        trust(r#""*""#, r#""sts:AssumeRole*""#),
    ] {
        Policy::parse(&text, Document::Trust).unwrap();
    }
    for statement in [
        r#""Effect":"Allow","NotAction":"iam:*","Resource":"*""#,
        r#""Effect":"Deny","Action":"*:*","NotResource":["arn:aws:s3:::a","arn:aws:s3:::a/${aws:username}"]"#,
        r#""Sid":"A1","Effect":"Allow","Action":"secretsmanager:Get?ecret*","Resource":"arn:aws:secretsmanager:*""#,
        r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{}"#,
        r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":true},"NumericLessThan":{"aws:x":3}}"#,
    ] {
        Policy::parse(&one(statement), Document::Identity).unwrap();
    }
    let resource = r#"{"Statement":{"Sid":"with a blank","Effect":"Deny","NotPrincipal":{"AWS":"000000000000"},"Action":"*","Resource":"*"}}"#;
    Policy::parse(resource, Document::Resource).unwrap();
}

#[test]
fn what_is_not_understood_is_refused_and_pointed_at() {
    let identity = [
        (String::new(), "the document", "not JSON"),
        ("[]".to_owned(), "the document", "expected an object, found a list"),
        (r#"{"Version":"2012-10-17"}"#.to_owned(), "the document", "`Statement` is missing"),
        (r#"{"Statement":[]}"#.to_owned(), "the document", "`Version` is missing"),
        (r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned(), "Statement", "at least one entry"),
        (r#"{"Version":"2012-10-18","Statement":[]}"#.to_owned(), "Version", "unknown version"),
        (r#"{"Version":20121017,"Statement":[]}"#.to_owned(), "Version", "expected a string"),
        (r#"{"version":"2012-10-17"}"#.to_owned(), "version", "unknown element"),
        (one(r#""Effect":"Allow","Action":"*","Resource":"*","Resource":"x""#), "the document", "given twice"),
        (one(r#""Effect":"Allow","Action":"*","Resource":"*","Extra":1"#), "Statement[0].Extra", "unknown element"),
        (one(r#""Effect":"allow","Action":"*","Resource":"*""#), "Statement[0].Effect", "unknown effect"),
        (one(r#""Action":"*","Resource":"*""#), "Statement[0]", "`Effect` is missing"),
        (one(r#""Effect":"Allow","Resource":"*""#), "Statement[0]", "`Action` is missing"),
        (one(r#""Effect":"Allow","Action":"*""#), "Statement[0]", "`Resource` is missing"),
        (one(r#""Effect":"Allow","Action":"*","NotAction":"iam:*","Resource":"*""#), "Statement[0].NotAction", "exclude"),
        (one(r#""Effect":"Allow","Action":[],"Resource":"*""#), "Statement[0].Action", "at least one"),
        (one(r#""Effect":"Allow","Action":{},"Resource":"*""#), "Statement[0].Action", "expected a string"),
        (one(r#""Effect":"Allow","Action":"GetSecretValue","Resource":"*""#), "Statement[0].Action", "not an action"),
        (one(r#""Effect":"Allow","Action":"s*:Get","Resource":"*""#), "Statement[0].Action", "not an action"),
        (one(r#""Effect":"Allow","Action":"a:b:c","Resource":"*""#), "Statement[0].Action", "not an action"),
        (one(r#""Effect":"Allow","Action":"*","Resource":"demo/secret""#), "Statement[0].Resource", "neither an ARN"),
        (one(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:*:x""#), "Statement[0].Resource", "leaves its service open"),
        (one(r#""Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${x""#), "Statement[0].Resource", "policy variable"),
        (one(r#""Effect":"Allow","Action":"*","Resource":["*",1]"#), "Statement[0].Resource", "expected a string"),
        (one(r#""Effect":"Allow","Principal":"*","Action":"*","Resource":"*""#), "Statement[0].Principal", "does not belong"),
        (one(r#""Sid":"a b","Effect":"Allow","Action":"*","Resource":"*""#), "Statement[0].Sid", "letters and digits"),
        (
            r#"{"Version":"2012-10-17","Statement":[{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"a","Effect":"Deny","Action":"*","Resource":"*"}]}"#.to_owned(),
            "Statement[1].Sid",
            "used twice",
        ),
    ];
    for (text, at, problem) in identity {
        let error = Policy::parse(&text, Document::Identity).unwrap_err();
        assert_eq!(error.at, at, "{text}");
        assert!(error.to_string().contains(problem), "{text}: {error}");
    }
}

/// The page "Identify AWS resources with ARNs": only what is attached to a principal may leave segments out.
#[test]
fn incomplete_arns_are_read_where_aws_fills_them_up() {
    let with = |arn: &str| one(&format!(r#""Effect":"Allow","Action":"*","Resource":"{arn}""#));
    let everyone = |arn: &str| {
        one(&format!(
            r#""Effect":"Allow","Principal":"*","Action":"*","Resource":"{arn}""#
        ))
    };
    for (arn, identity, session, resource) in [
        ("arn:aws:sqs", true, false, false),
        ("arn:aws:sqs:*", true, false, true),
        ("arn:aws:sqs:eu-west-1:000000000000", true, false, true),
        ("arn:aws:sqs:eu-west-1:000000000000:q", true, true, true),
        ("arn:aws", false, false, false),
        ("arn:aws:s*", false, false, false),
        ("arn::sqs", false, false, false),
    ] {
        assert_eq!(
            Policy::parse(&with(arn), Document::Identity).is_ok(),
            identity,
            "{arn}"
        );
        assert_eq!(
            Policy::parse(&with(arn), Document::Session).is_ok(),
            session,
            "{arn}"
        );
        assert_eq!(
            Policy::parse(&everyone(arn), Document::Resource).is_ok(),
            resource,
            "{arn}"
        );
    }
}

#[test]
fn conditions_that_are_not_understood_are_refused() {
    for (condition, at) in [
        ("[]", "Statement[0].Condition"),
        (
            r#"{"StringMatches":{"aws:x":"a"}}"#,
            "Statement[0].Condition.StringMatches",
        ),
        (r#"{"StringEquals":"a"}"#, "Statement[0].Condition.StringEquals"),
        (r#"{"StringEquals":{}}"#, "Statement[0].Condition.StringEquals"),
        (
            r#"{"StringEquals":{"x":"a"}}"#,
            "Statement[0].Condition.StringEquals",
        ),
        (
            r#"{"StringEquals":{"aws:x":[]}}"#,
            "Statement[0].Condition.StringEquals.aws:x",
        ),
        (
            r#"{"StringEquals":{"aws:x":null}}"#,
            "Statement[0].Condition.StringEquals.aws:x",
        ),
        (
            r#"{"StringEquals":{"aws:x":["a",{}]}}"#,
            "Statement[0].Condition.StringEquals.aws:x",
        ),
        (
            r#"{"NumericEquals":{"aws:x":"ten"}}"#,
            "Statement[0].Condition.NumericEquals.aws:x",
        ),
    ] {
        let text = one(&format!(
            r#""Effect":"Allow","Action":"*","Resource":"*","Condition":{condition}"#
        ));
        assert_eq!(
            Policy::parse(&text, Document::Identity).unwrap_err().at,
            at,
            "{condition}"
        );
    }
}

/// As AWS was seen to say by others: moto's `test_iam_policies.py` has what its authors were told.
#[test]
fn what_is_wrong_is_told_in_aws_words() {
    let vendor = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.";
    for (statement, text) in [
        (
            r#""Effect":"Allow","Action":[],"Resource":"*""#,
            "Policy statement must contain actions.",
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":[]"#,
            "Policy statement must contain resources.",
        ),
        (
            r#""Effect":"Allow","NotAction":"s3:A","Action":[],"Resource":"*""#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"Allow","Action":"s3:A","Resource":"*","NotResource":[]"#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"denY","Action":"*","Resource":"*""#,
            "The policy failed legacy parsing",
        ),
        (
            r#""Effect":"Perhaps","Action":"*","Resource":"*""#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"Allow","Action":"s3:A:B","Resource":"*""#,
            "Actions/Condition can contain only one colon.",
        ),
        (
            r#""Effect":"Allow","Action":"a a:B","Resource":"*""#,
            "Vendor a a is not valid",
        ),
        (r#""Effect":"Allow","Action":"s3","Resource":"*""#, vendor),
        (r#""Effect":"Allow","Action":"","Resource":"*""#, vendor),
        (
            r#""Effect":"Allow","Action":"*","Resource":"arn:aws""#,
            "Resource vendor must be fully qualified and cannot contain regexes.",
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"arn:error:s3:::a:b""#,
            r#"Partition "error" is not valid for resource "arn:error:s3:::a:b"."#,
        ),
        (
            r#""Effect":"Allow","Action":"*","Resource":"a:b:c""#,
            r#"Partition "b" is not valid for resource "arn:b:c:*:*:*"."#,
        ),
    ] {
        let error = Policy::parse(&one(statement), Document::Identity).unwrap_err();
        assert_eq!(error.aws_text(), text, "{statement}");
    }
}

#[test]
fn trust_policies_have_their_own_rules() {
    for (statement, text) in [
        (
            r#""Effect":"Allow","Action":"sts:AssumeRole""#,
            "Missing required field Principal",
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole","Resource":"*""#,
            "Has prohibited field Resource",
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"s3:GetObject""#,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"*"},"Action":"*""#,
            "AssumeRole policy may only specify STS AssumeRole actions.",
        ),
        (
            r#""Effect":"Allow","Principal":{"AWS":"red"},"Action":"sts:AssumeRole""#,
            r#"Invalid principal in policy: "AWS":"red""#,
        ),
        (
            r#""Effect":"Allow","Principal":{"CanonicalUser":"x"},"Action":"sts:AssumeRole""#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"Allow","Principal":{},"Action":"sts:AssumeRole""#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"Allow","Principal":"000000000000","Action":"sts:AssumeRole""#,
            "Syntax errors in policy.",
        ),
        (
            r#""Effect":"Allow","NotPrincipal":{"AWS":"000000000000"},"Action":"sts:AssumeRole""#,
            "Syntax errors in policy.",
        ),
    ] {
        assert_eq!(
            Policy::parse(&one(statement), Document::Trust)
                .unwrap_err()
                .aws_text(),
            text,
            "{statement}"
        );
    }
}

fn scope(
    plain: &'static str,
    not: &'static str,
    entries: impl Strategy<Value = String> + Clone + 'static,
) -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        entries.clone().prop_map(Value::String),
        proptest::collection::vec(entries, 1..3).prop_map(Into::into),
    ];
    (prop_oneof![Just(plain), Just(not)], value).prop_map(|(name, value)| (name.to_owned(), value))
}

fn statement() -> impl Strategy<Value = Value> {
    let actions = scope("Action", "NotAction", "(\\*|[a-z]{2,5}:[A-Z*?][A-Za-z*?]{0,5})");
    let resources = scope(
        "Resource",
        "NotResource",
        "(\\*|arn:aws:s3:[a-z*]{0,3}:[0-9*]{0,3}:[a-z/*?]{0,6}(\\$\\{aws:[a-z]{1,4}(, 'x*')?\\})?)",
    );
    let condition = proptest::collection::btree_map(
        prop_oneof![
            Just("StringEquals"),
            Just("ForAnyValue:StringNotLike"),
            Just("StringLikeIfExists")
        ],
        proptest::collection::btree_map("aws:[a-z]{1,3}", "[a-z*?]{0,4}", 1..3),
        0..3,
    );
    (
        prop_oneof![Just("Allow"), Just("Deny")],
        actions,
        resources,
        condition,
    )
        .prop_map(|(effect, action, resource, condition)| {
            let mut statement = Map::from_iter([("Effect".to_owned(), json!(effect)), action, resource]);
            if !condition.is_empty() {
                statement.insert("Condition".to_owned(), json!(condition));
            }
            Value::Object(statement)
        })
}

fn any_json() -> impl Strategy<Value = Value> {
    let keys = prop_oneof![
        Just("Version"),
        Just("Statement"),
        Just("Effect"),
        Just("Action"),
        Just("Resource"),
        Just("Condition"),
        Just("Principal"),
        Just("AWS"),
        Just("StringEquals"),
        Just("aws:x"),
        Just("Sid"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!("2012-10-17")),
        Just(json!("Allow")),
        Just(json!("*")),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::btree_map(keys.clone(), inner, 0..5).prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_back(statements in proptest::collection::vec(statement(), 1..4), old: bool) {
        let version = if old { "2008-10-17" } else { "2012-10-17" };
        let text = json!({"Version": version, "Statement": statements}).to_string();
        let policy = Policy::parse(&text, Document::Identity).unwrap();
        let written = policy.to_json();
        prop_assert_eq!(&Policy::parse(&written.to_string(), Document::Identity).unwrap(), &policy);
        prop_assert_eq!(written["Statement"].as_array().unwrap().len(), statements.len());
    }

    #[test]
    fn any_json_is_parsed_or_refused(json in any_json(), document in prop_oneof![Just(Document::Identity), Just(Document::Resource), Just(Document::Trust)]) {
        let _ = Policy::parse(&json.to_string(), document);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,60}") {
        prop_assert!(Policy::parse(&text, Document::Identity).is_err());
    }
}
