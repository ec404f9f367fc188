#![expect(clippy::unwrap_used, reason = "a panic is the failure")]
#![expect(
    clippy::needless_pass_by_value,
    reason = "bodies are written where they are sent"
)]

use super::*;

const REGION: &str = "eu-west-1";
const BASE: &str = "arn:aws:ssm:eu-west-1:000000000000:parameter/";

struct Account {
    store: ParameterStore,
    kms: KmsStore,
    now: i64,
}

impl Account {
    fn new() -> Self {
        Self {
            store: ParameterStore::new("000000000000".to_owned()),
            kms: KmsStore::new("000000000000".to_owned()),
            now: 1_700_000_000,
        }
    }

    fn call(&mut self, operation: &str, body: Value) -> Outcome {
        self.now += 1;
        let now = Timestamp::from_second(self.now).unwrap();
        execute(
            &mut self.store,
            &self.kms,
            REGION,
            operation,
            &body,
            now,
            "arn:me",
        )
    }

    fn ok(&mut self, operation: &str, body: Value) -> Value {
        self.call(operation, body)
            .unwrap_or_else(|error| panic!("{operation}: {error:?}"))
    }

    fn refused(&mut self, operation: &str, body: Value) -> (&'static str, String) {
        let error = self.call(operation, body).expect_err(operation);
        (error.code, error.message)
    }

    fn put(&mut self, name: &str, value: &str) -> Value {
        let body = json!({"Name": name, "Value": value, "Type": "String", "Overwrite": true});
        self.ok("PutParameter", body)
    }

    fn value(&mut self, name: &str) -> Value {
        self.ok("GetParameter", json!({"Name": name}))["Parameter"]["Value"].clone()
    }

    fn wanted(&self, operation: &str, body: Value) -> Authorisation {
        authorisation(
            &self.store,
            &self.kms,
            DefaultKeys::Granted,
            REGION,
            operation,
            &body,
        )
        .unwrap()
    }
}

#[test]
fn a_parameter_comes_back_as_it_was_stored() {
    let mut account = Account::new();
    assert_eq!(
        account.put("/demo/red/a", "1"),
        json!({"Version": 1, "Tier": "Standard"})
    );
    let expected = json!({
        "Name": "/demo/red/a",
        "Type": "String",
        "Value": "1",
        "Version": 1,
        "LastModifiedDate": 1_700_000_001.0,
        "ARN": format!("{BASE}demo/red/a"),
        "DataType": "text",
    });
    let arn = format!("{BASE}demo/red/a");
    for name in ["/demo/red/a", arn.as_str()] {
        assert_eq!(
            account.ok("GetParameter", json!({"Name": name}))["Parameter"],
            expected
        );
    }
    assert_eq!(
        account.refused("GetParameter", json!({"Name": "/demo/red/b"})),
        ("ParameterNotFound", String::new())
    );
    let again = json!({"Name": "/demo/red/a", "Value": "2", "Type": "String"});
    assert_eq!(
        account.refused("PutParameter", again),
        (
            "ParameterAlreadyExists",
            "The parameter already exists. To overwrite this value, set the overwrite option in the request to true."
                .to_owned()
        )
    );
    assert_eq!(account.value("/demo/red/a"), "1");
}

#[test]
fn names_that_are_not_there_come_back_as_asked() {
    let mut account = Account::new();
    account.put("/a/b", "1");
    account.put("c", "2");
    let names = json!({"Names": ["/a/b", "/c", "/x", "y", "/a/b:9", "arn:aws:ssm:us-east-1:000000000000:parameter/c"]});
    let answer = account.ok("GetParameters", names);
    let found: Vec<&str> = answer["Parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["Value"].as_str().unwrap())
        .collect();
    assert_eq!(found, ["1", "2"]);
    assert_eq!(
        answer["InvalidParameters"],
        json!([
            "/x",
            "y",
            "/a/b:9",
            "arn:aws:ssm:us-east-1:000000000000:parameter/c"
        ])
    );
    let deleted = account.ok("DeleteParameters", json!({"Names": ["c", "/z"]}));
    assert_eq!(
        deleted,
        json!({"DeletedParameters": ["c"], "InvalidParameters": ["/z"]})
    );
}

#[test]
fn more_than_ten_names_are_refused() {
    let mut account = Account::new();
    let names = |count: usize| -> Vec<String> { (0..count).map(|number| format!("n{number}")).collect() };
    let ten = account.ok("GetParameters", json!({"Names": names(10)}));
    assert_eq!(ten["InvalidParameters"].as_array().unwrap().len(), 10);
    for operation in ["GetParameters", "DeleteParameters"] {
        let refused = account.refused(operation, json!({"Names": names(11)}));
        let text = format!(
            "1 validation error detected: Value '[{}]' at 'names' failed to satisfy constraint: Member must have \
             length less than or equal to 10",
            names(11).join(", ")
        );
        assert_eq!(refused, ("ValidationException", text), "{operation}");
    }
}

#[test]
fn versions_and_labels_select() {
    let mut account = Account::new();
    for value in ["1", "2", "3"] {
        account.put("/p", value);
    }
    let labelled = account.ok(
        "LabelParameterVersion",
        json!({"Name": "/p", "ParameterVersion": 2, "Labels": ["live", "1bad", "awsx"]}),
    );
    assert_eq!(
        labelled,
        json!({"InvalidLabels": ["1bad", "awsx"], "ParameterVersion": 2})
    );
    for (name, value) in [("/p", "3"), ("/p:1", "1"), ("p:live", "2")] {
        assert_eq!(account.value(name), value, "{name}");
    }
    let selected = account.ok("GetParameter", json!({"Name": "/p:live"}));
    assert_eq!(selected["Parameter"]["Selector"], ":live");
    // A label is on one version.
    account.ok("LabelParameterVersion", json!({"Name": "/p", "Labels": ["live"]}));
    assert_eq!(account.value("/p:live"), "3");
    let history = account.ok("GetParameterHistory", json!({"Name": "/p"}));
    let labels: Vec<&Value> = history["Parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["Labels"])
        .collect();
    assert_eq!(labels, [&json!([]), &json!([]), &json!(["live"])]);
    let unlabelled = json!({"Name": "/p", "ParameterVersion": 3, "Labels": ["live", "none"]});
    assert_eq!(
        account.ok("UnlabelParameterVersion", unlabelled),
        json!({"RemovedLabels": ["live"], "InvalidLabels": ["none"]})
    );
    for (name, text) in [
        (
            "/p:9",
            "Systems Manager could not find version 9 of /p. Verify the version and try again.",
        ),
        (
            "/p:live",
            "Systems Manager could not find label live of /p. Verify the label and try again.",
        ),
    ] {
        let refused = account.refused("GetParameter", json!({"Name": name}));
        assert_eq!(refused, ("ParameterVersionNotFound", text.to_owned()));
    }
}

#[test]
fn the_oldest_of_a_hundred_versions_goes_unless_it_is_labelled() {
    let mut account = Account::new();
    for _ in 0..101 {
        account.put("/p", "x");
    }
    let refused = account.refused("GetParameter", json!({"Name": "/p:1"}));
    assert_eq!(refused.0, "ParameterVersionNotFound");
    account.ok(
        "LabelParameterVersion",
        json!({"Name": "/p", "ParameterVersion": 2, "Labels": ["kept"]}),
    );
    let body = json!({"Name": "/p", "Value": "x", "Overwrite": true});
    assert_eq!(
        account.refused("PutParameter", body).0,
        "ParameterMaxVersionLimitExceeded"
    );
    let mut body = json!({"Name": "/p", "MaxResults": 7});
    let mut numbers = Vec::new();
    loop {
        let page = account.ok("GetParameterHistory", body.clone());
        numbers.extend(
            page["Parameters"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["Version"].as_u64().unwrap()),
        );
        match page.get("NextToken") {
            Some(token) => body["NextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(numbers, (2..=101).collect::<Vec<u64>>());
}

#[test]
fn what_cannot_be_put_is_refused_with_aws_s_words() {
    let mut account = Account::new();
    account.put("/there", "1");
    let long = |length: usize| "x".repeat(length);
    let standard = "Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger \
                    parameter value, upgrade the parameter to use the advanced-parameter tier. For more information, \
                    see https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html";
    for (body, code, text) in [
        (
            json!({"Name": "a/b"}),
            "ValidationException",
            "Parameter name must be a fully qualified name.",
        ),
        (
            json!({"Name": "awsome"}),
            "ValidationException",
            "Parameter name: can't be prefixed with \"aws\" or \"ssm\" (case-insensitive).",
        ),
        (
            json!({"Name": "/aws/x"}),
            "AccessDeniedException",
            "No access to reserved parameter name: /aws/x.",
        ),
        (
            json!({"Name": "/SSM/x"}),
            "ValidationException",
            "Parameter name: can't be prefixed with \"ssm\" (case-insensitive). If formed as a path, it can consist \
             of sub-paths divided by slash symbol; each sub-path can be formed as a mix of letters, numbers and the \
             following 3 symbols .-_",
        ),
        (
            json!({"Name": "/n", "Type": null}),
            "ValidationException",
            "A parameter type is required when you create a parameter.",
        ),
        (
            json!({"Name": "/n", "Type": "Text"}),
            "ValidationException",
            "1 validation error detected: Value 'Text' at 'type' failed to satisfy constraint: Member must satisfy \
             enum value set: [SecureString, StringList, String]",
        ),
        (
            json!({"Name": "/n", "Value": long(4097)}),
            "ValidationException",
            standard,
        ),
        (
            json!({"Name": "/n", "Value": long(8193), "Tier": "Advanced"}),
            "ValidationException",
            "Advanced tier parameters support a maximum parameter value of 8192 characters.",
        ),
        (
            json!({"Name": "/n", "Value": ""}),
            "ValidationException",
            "1 validation error detected: Value at 'value' failed to satisfy constraint: Member must have length \
             greater than or equal to 1",
        ),
        (
            json!({"Name": "/n", "AllowedPattern": "^[a-z]{2}$"}),
            "ParameterPatternMismatchException",
            "Parameter value, cannot be validated against allowedPattern: ^[a-z]{2}$",
        ),
        (
            json!({"Name": "/n", "DataType": "Text"}),
            "ValidationException",
            "The following data type is not supported: Text (Data type names are all lowercase.)",
        ),
        (
            json!({"Name": "/there", "Type": "SecureString", "Overwrite": true}),
            "HierarchyTypeMismatchException",
            "Parameter Store doesn't support changing a parameter type in a hierarchy. For example, you can't change \
             a parameter from a String type to a SecureString type. You must create a new, unique parameter.",
        ),
        (
            json!({"Name": "/there", "Overwrite": true, "Tags": [{"Key": "k", "Value": "v"}]}),
            "ValidationException",
            "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please \
             remove overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or \
             RemoveTagsFromResource.",
        ),
    ] {
        let mut full = json!({"Value": "v", "Type": "String"});
        full.as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        assert_eq!(
            account.refused("PutParameter", full),
            (code, text.to_owned()),
            "{body}"
        );
    }
    let deep = format!("/{}", ["x"; 16].join("/"));
    let body = json!({"Name": deep, "Value": "v", "Type": "String"});
    assert_eq!(
        account.refused("PutParameter", body).0,
        "HierarchyLevelLimitExceededException"
    );
    for (tier, shown) in [
        (Some("Intelligent-Tiering"), "Advanced"),
        (Some("Advanced"), "Advanced"),
    ] {
        let body =
            json!({"Name": "/big", "Value": long(4097), "Type": "String", "Tier": tier, "Overwrite": true});
        assert_eq!(account.ok("PutParameter", body)["Tier"], shown);
    }
    let back = json!({"Name": "/big", "Value": "v", "Tier": "Standard", "Overwrite": true});
    assert!(
        account
            .refused("PutParameter", back)
            .1
            .contains("can't downgrade")
    );
}

#[test]
fn a_secure_string_is_only_shown_to_who_decrypts() {
    let mut account = Account::new();
    let body = json!({"Name": "/s", "Value": "hidden", "Type": "SecureString"});
    account.ok("PutParameter", body);
    let sealed = account.value("/s");
    let sealed = sealed.as_str().unwrap();
    assert!(
        sealed.starts_with("AQICAH") && !sealed.contains("hidden"),
        "{sealed}"
    );
    let open = account.ok("GetParameter", json!({"Name": "/s", "WithDecryption": true}));
    assert_eq!(open["Parameter"]["Value"], "hidden");
    let described = account.ok("DescribeParameters", json!({}));
    assert_eq!(described["Parameters"][0]["KeyId"], "alias/aws/ssm");
    assert!(
        account
            .wanted("GetParameter", json!({"Name": "/s", "WithDecryption": true}))
            .further
            .is_empty()
    );
    let body = json!({"Name": "/t", "Value": "v", "Type": "SecureString", "KeyId": "alias/none"});
    let (code, text) = account.refused("PutParameter", body);
    assert_eq!(code, "InvalidKeyId");
    let expected = "Alias arn:aws:kms:eu-west-1:000000000000:alias/none is not found. (Service: AWSKMS; Status Code: \
                    400; Error Code: NotFoundException; Request ID: ";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn every_key_of_ones_own_that_is_decrypted_with_has_to_be_allowed() {
    let mut account = Account::new();
    let now = Timestamp::from_second(account.now).unwrap();
    let made = crate::kms::execute(&mut account.kms, REGION, "CreateKey", &json!({}), now).unwrap();
    let key = made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned();
    let secure = json!({"Name": "/d/s", "Value": "v", "Type": "SecureString", "KeyId": key});
    let wanted = account.wanted("PutParameter", secure.clone());
    let used: Vec<_> = wanted
        .further
        .iter()
        .map(|further| &*further.wanted.action)
        .collect();
    assert_eq!(used, ["kms:Encrypt"]);
    account.ok("PutParameter", secure);
    account.put("/d/plain", "1");
    for (operation, body, keys) in [
        ("GetParameter", json!({"Name": "/d/s", "WithDecryption": true}), 1),
        ("GetParameter", json!({"Name": "/d/s"}), 0),
        (
            "GetParameter",
            json!({"Name": "/d/plain", "WithDecryption": true}),
            0,
        ),
        // The second name, and one key.
        (
            "GetParameters",
            json!({"Names": ["/d/s", "/d/plain"], "WithDecryption": true}),
            2,
        ),
        (
            "GetParametersByPath",
            json!({"Path": "/d", "WithDecryption": true}),
            1,
        ),
        (
            "GetParameterHistory",
            json!({"Name": "/d/s", "WithDecryption": true}),
            1,
        ),
    ] {
        let wanted = account.wanted(operation, body.clone());
        assert_eq!(wanted.further.len(), keys, "{operation} {body}");
        if let Some(last) = wanted.further.last().filter(|_| keys > 0) {
            assert_eq!(
                (&*last.wanted.action, &last.wanted.resource),
                ("kms:Decrypt", &key)
            );
            assert_eq!(last.refusal, Refused::InTheWordsOfKms);
            let arn = [format!("{BASE}d/s")];
            assert_eq!(
                last.wanted.keys.values("kms:EncryptionContext:PARAMETER_ARN"),
                Some(arn.as_slice())
            );
        }
    }
}

#[test]
fn every_name_has_to_be_allowed_on_its_arn() {
    let mut account = Account::new();
    account.put("/a/b", "1");
    account.ok(
        "AddTagsToResource",
        json!({"ResourceType": "Parameter", "ResourceId": "/a/b", "Tags": [{"Key": "team", "Value": "red"}]}),
    );
    for (operation, body, resources) in [
        ("GetParameter", json!({"Name": "/a/b:1"}), vec!["a/b"]),
        ("GetParameter", json!({"Name": format!("{BASE}a/b")}), vec!["a/b"]),
        (
            "GetParameters",
            json!({"Names": ["/a/b", "c", "/c"]}),
            vec!["a/b", "c", "c"],
        ),
        ("GetParametersByPath", json!({"Path": "/a/"}), vec!["a/"]),
        ("GetParametersByPath", json!({"Path": "/"}), vec![""]),
        ("PutParameter", json!({"Name": "/n", "Value": "v"}), vec!["n"]),
        ("DeleteParameters", json!({"Names": ["x", "/y"]}), vec!["x", "y"]),
        (
            "ListTagsForResource",
            json!({"ResourceType": "Parameter", "ResourceId": "/a/b"}),
            vec!["a/b"],
        ),
    ] {
        let wanted = account.wanted(operation, body.clone());
        assert_eq!(wanted.action, format!("ssm:{operation}"));
        let further = wanted.further.iter().map(|further| &further.wanted.resource);
        let all: Vec<String> = [&wanted.resource].into_iter().chain(further).cloned().collect();
        let expected: Vec<String> = resources
            .into_iter()
            .map(|name| format!("{BASE}{name}"))
            .collect();
        assert_eq!(all, expected, "{operation} {body}");
    }
    assert_eq!(
        account.wanted("DescribeParameters", json!({})).resource,
        "arn:aws:ssm:eu-west-1:000000000000:*"
    );
    let tagged = account.wanted("GetParameter", json!({"Name": "/a/b"}));
    assert_eq!(
        tagged.keys.values("ssm:resourceTag/team"),
        Some(["red".to_owned()].as_slice())
    );
    let path = account.wanted("GetParametersByPath", json!({"Path": "/a", "Recursive": true}));
    assert_eq!(
        path.keys.values("ssm:Recursive"),
        Some(["true".to_owned()].as_slice())
    );
}

#[test]
fn paths_are_paged_and_filtered() {
    let mut account = Account::new();
    for number in 0..25 {
        account.put(&format!("/p/{number:02}"), "x");
    }
    account.put("/p/deep/er", "x");
    let mut body = json!({"Path": "/p"});
    let mut pages = Vec::new();
    loop {
        let page = account.ok("GetParametersByPath", body.clone());
        pages.push(page["Parameters"].as_array().unwrap().len());
        match page.get("NextToken") {
            Some(token) => body["NextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(pages, [10, 10, 5]);
    for (filter, text) in [
        (
            json!({"Key": "Name", "Values": ["x"]}),
            "The following filter key is not valid: Name. Valid filter keys include: [Type, KeyId].",
        ),
        (
            json!({"Key": "Type", "Values": ["Text"]}),
            "The following filter value is not valid: Text. Valid values include: [String, StringList, SecureString].",
        ),
        (
            json!({"Key": "Type", "Option": "Like", "Values": ["String"]}),
            "The following filter option is not valid: Like. Valid options include: [BeginsWith, Equals].",
        ),
    ] {
        let body = json!({"Path": "/p", "ParameterFilters": [filter]});
        assert_eq!(account.refused("GetParametersByPath", body).1, text);
    }
    assert_eq!(
        account.refused("GetParametersByPath", json!({"Path": "p"})).0,
        "ValidationException"
    );
}

#[test]
fn what_was_saved_comes_back_as_it_was() {
    let mut account = Account::new();
    let body = json!({"Name": "/s", "Value": "hidden", "Type": "SecureString", "Tags": [{"Key": "k", "Value": "v"}]});
    account.ok("PutParameter", body);
    account.ok("LabelParameterVersion", json!({"Name": "/s", "Labels": ["l"]}));
    let saved = serde_json::to_value(&account.store).unwrap();
    account.store = serde_json::from_value(saved.clone()).unwrap();
    assert_eq!(serde_json::to_value(&account.store).unwrap(), saved);
    let open = account.ok("GetParameter", json!({"Name": "/s:l", "WithDecryption": true}));
    assert_eq!(open["Parameter"]["Value"], "hidden");
}
