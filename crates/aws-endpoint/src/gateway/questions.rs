//! PURE: what the backend is asked, and what its answers say.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{secrets::SecretElsewhere, ssm::VersionElsewhere};

/// A request to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// As in a credential scope.
    pub(super) service: &'static str,
    /// `X-Amz-Target`, of awsJson services.
    pub(super) target: Option<String>,
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
}

/// What is said of a secret and of a parameter that there is not.
const MISSING: [&str; 3] = [
    "ResourceNotFoundException",
    "ParameterNotFound",
    "InvalidResourceId",
];
const JSON: &str = "application/x-amz-json-1.1";
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// An operation of Secrets Manager.
pub(super) fn secrets(operation: &str, body: &Value) -> Question {
    Question {
        service: "secretsmanager",
        target: Some(format!("secretsmanager.{operation}")),
        content_type: JSON,
        body: body.to_string().into(),
    }
}

/// An operation of Parameter Store.
pub(super) fn ssm(operation: &str, body: &Value) -> Question {
    Question {
        service: "ssm",
        target: Some(format!("AmazonSSM.{operation}")),
        content_type: JSON,
        body: body.to_string().into(),
    }
}

/// What the tags of a parameter are asked for with.
pub(super) fn parameter_tags(name: &str) -> Question {
    let body = json!({"ResourceType": "Parameter", "ResourceId": name});
    ssm("ListTagsForResource", &body)
}

/// What the versions of a parameter are asked for with, from a page on.
pub(super) fn parameter_versions(name: &str, page: Option<&str>) -> Question {
    let mut body = json!({"Name": name, "WithDecryption": false});
    if let Some(page) = page {
        body["NextToken"] = json!(page);
    }
    ssm("GetParameterHistory", &body)
}

/// A call to IAM, as it came.
pub(super) fn iam(form: Bytes) -> Question {
    Question {
        service: "iam",
        target: None,
        content_type: FORM,
        body: form,
    }
}

/// A call that whatever speaks Secrets Manager answers, and that changes nothing.
pub(super) fn anything() -> Question {
    secrets("ListSecrets", &json!({"MaxResults": 1}))
}

/// Whether that is how [`anything`] is answered.
pub(super) fn is_secrets_manager(status: u16, body: &[u8]) -> Result<(), String> {
    let answer = serde_json::from_slice::<Value>(body).ok();
    match answer {
        Some(answer) if status == 200 && answer["SecretList"].is_array() => Ok(()),
        _ => Err(format!(
            "it answers ListSecrets with status {status} and not as Secrets Manager does"
        )),
    }
}

/// The parameter that names the secret of an operation.
pub(super) fn names_by(operation: &str) -> &'static str {
    if operation == "CreateSecret" {
        "Name"
    } else {
        "SecretId"
    }
}

/// What the two questions about the secret that a caller names came to: the secret, or `None` where there is
/// none. An answer that cannot be understood is an error, and nothing is decided on it.
pub(super) fn secret(description: Reply<'_>, policy: Reply<'_>) -> Result<Option<SecretElsewhere>, String> {
    let Some(description) = description.found("DescribeSecret")? else {
        return Ok(None);
    };
    let text = |member: &str| description[member].as_str().map(str::to_owned);
    let arn = text("ARN").ok_or("DescribeSecret names no ARN")?;
    let name = text("Name").ok_or("DescribeSecret names no name")?;
    let policy = match policy.found("GetResourcePolicy")? {
        None => None,
        Some(answer) if answer["ARN"].as_str().is_some_and(|other| other != arn) => {
            return Err(format!("GetResourcePolicy is about another secret than {arn}"));
        }
        Some(answer) => match &answer["ResourcePolicy"] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            _ => return Err("GetResourcePolicy has a policy that is no text".to_owned()),
        },
    };
    let tags = match &description["Tags"] {
        Value::Null => Vec::new(),
        Value::Array(tags) => tags.iter().map(tag).collect::<Result<_, _>>()?,
        _ => return Err("DescribeSecret has tags that are no list".to_owned()),
    };
    let versions = description["VersionIdsToStages"].as_object();
    let versions = versions.into_iter().flatten().map(|(id, stages)| {
        let stages = stages.as_array().into_iter().flatten();
        let stages = stages.filter_map(Value::as_str).map(str::to_owned).collect();
        (id.clone(), stages)
    });
    Ok(Some(SecretElsewhere {
        versions: versions.collect(),
        kms_key: text("KmsKeyId"),
        arn,
        name,
        tags,
        policy,
    }))
}

/// The tags in the answer to [`parameter_tags`]; `None` where there is no such parameter.
pub(super) fn tags_of(reply: Reply<'_>) -> Result<Option<Vec<(String, String)>>, String> {
    let Some(answer) = reply.found("ListTagsForResource")? else {
        return Ok(None);
    };
    let tags = answer["TagList"].as_array();
    let tags = tags.ok_or("ListTagsForResource lists no tags")?;
    tags.iter().map(tag).collect::<Result<_, _>>().map(Some)
}

/// The versions in the answer to [`parameter_versions`], and the next page; none where there is no such parameter.
pub(super) fn versions_of(reply: Reply<'_>) -> Result<(Vec<VersionElsewhere>, Option<String>), String> {
    let Some(answer) = reply.found("GetParameterHistory")? else {
        return Ok((Vec::new(), None));
    };
    let versions = answer["Parameters"].as_array();
    let versions = versions.ok_or("GetParameterHistory lists no versions")?;
    let versions = versions.iter().map(version).collect::<Result<_, _>>()?;
    Ok((versions, answer["NextToken"].as_str().map(str::to_owned)))
}

/// A version as `GetParameterHistory` tells it.
pub(super) fn version(version: &Value) -> Result<VersionElsewhere, String> {
    let kind = version["Type"].as_str().ok_or("a version has no type")?;
    Ok(VersionElsewhere {
        number: version["Version"].as_u64().ok_or("a version has no number")?,
        kind: kind.to_owned(),
        key: version["KeyId"].as_str().map(str::to_owned),
    })
}

fn tag(tag: &Value) -> Result<(String, String), String> {
    let key = tag["Key"].as_str().ok_or("a tag has no key")?;
    Ok((
        key.to_owned(),
        tag["Value"].as_str().unwrap_or_default().to_owned(),
    ))
}

/// A reply of the backend, as far as it says what is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Reply<'_> {
    /// The answer; `None` where what was asked for does not exist.
    fn found(self, operation: &str) -> Result<Option<Value>, String> {
        match (self.status, serde_json::from_slice::<Value>(self.body)) {
            (200, Ok(answer)) if answer.is_object() => Ok(Some(answer)),
            (400..=499, _) if self.error().is_some_and(|code| MISSING.contains(&code.as_str())) => Ok(None),
            (status, _) => Err(format!(
                "it answers {operation} with status {status} {}",
                self.error().unwrap_or_default()
            )),
        }
    }

    /// The code of an error.
    pub(super) fn error(self) -> Option<String> {
        if self.status < 400 {
            return None;
        }
        let answer: Value = serde_json::from_slice(self.body).ok()?;
        let code = answer["__type"].as_str().or_else(|| answer["code"].as_str())?;
        // Some prefix it with a namespace.
        Some(code.rsplit('#').next().unwrap_or(code).to_owned())
    }

    /// The message of an error.
    pub(super) fn message(self) -> Option<String> {
        let answer: Value = serde_json::from_slice(self.body).ok()?;
        let message = answer["Message"]
            .as_str()
            .or_else(|| answer["message"].as_str())?;
        Some(message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const ARN: &str = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:c/a/db-AbCdEf";

    fn asked(description: (u16, &Value), policy: (u16, &Value)) -> Result<Option<SecretElsewhere>, String> {
        let (about, rules) = (description.1.to_string(), policy.1.to_string());
        let reply = |status, body: &'static str| Reply {
            status,
            body: body.as_bytes(),
        };
        secret(reply(description.0, about.leak()), reply(policy.0, rules.leak()))
    }

    #[test]
    fn a_secret_is_what_both_answers_say() {
        let description = json!({
            "ARN": ARN, "Name": "c/a/db", "KmsKeyId": "alias/k", "Tags": [{"Key": "team", "Value": "a"}],
            "VersionIdsToStages": {"v1": ["AWSCURRENT"]},
        });
        let policy = json!({"ARN": ARN, "Name": "c/a/db", "ResourcePolicy": "{}"});
        let found = asked((200, &description), (200, &policy)).unwrap().unwrap();
        assert_eq!(found.arn, ARN);
        assert_eq!(found.name, "c/a/db");
        assert_eq!(found.kms_key.as_deref(), Some("alias/k"));
        assert_eq!(found.tags, [("team".to_owned(), "a".to_owned())]);
        assert_eq!(found.policy.as_deref(), Some("{}"));
        assert_eq!(found.versions, [("v1".to_owned(), vec!["AWSCURRENT".to_owned()])]);
    }

    #[test]
    fn what_does_not_exist_is_no_error() {
        let missing = json!({"__type": "com.amazonaws#ResourceNotFoundException", "message": "no"});
        for status in [400, 404] {
            assert!(asked((status, &missing), (status, &missing)).unwrap().is_none());
        }
    }

    #[test]
    fn nothing_is_decided_on_an_answer_that_is_none() {
        let good = json!({"ARN": ARN, "Name": "c/a/db"});
        let other = json!({"ARN": format!("{ARN}2"), "Name": "other"});
        let broken = json!({"__type": "InternalError"});
        let denied = json!({"__type": "AccessDeniedException"});
        let cases = [
            ((500, &broken), (200, &good)),
            ((200, &good), (500, &broken)),
            ((400, &denied), (200, &good)),
            ((200, &good), (400, &denied)),
            ((200, &json!([])), (200, &good)),
            ((200, &json!({"Name": "c/a/db"})), (200, &good)),
            ((200, &json!({"ARN": ARN})), (200, &good)),
            ((200, &good), (200, &other)),
            ((200, &good), (200, &json!({"ResourcePolicy": {}}))),
            ((200, &json!({"ARN": ARN, "Name": "n", "Tags": {}})), (200, &good)),
            (
                (200, &json!({"ARN": ARN, "Name": "n", "Tags": [{}]})),
                (200, &good),
            ),
        ];
        for (description, policy) in cases {
            assert!(asked(description, policy).is_err(), "{description:?} {policy:?}");
        }
    }

    #[test]
    fn a_parameter_is_known_by_its_tags_and_versions() {
        let reply = |status, body: &'static str| Reply {
            status,
            body: body.as_bytes(),
        };
        let tags = tags_of(reply(200, r#"{"TagList": [{"Key": "team", "Value": "a"}]}"#));
        assert_eq!(tags, Ok(Some(vec![("team".to_owned(), "a".to_owned())])));
        assert_eq!(
            tags_of(reply(400, r#"{"__type": "InvalidResourceId"}"#)),
            Ok(None)
        );
        for (status, body) in [
            (200, "{}"),
            (200, "[]"),
            (500, "{}"),
            (200, r#"{"TagList": [{}]}"#),
        ] {
            assert!(tags_of(reply(status, body)).is_err(), "{body}");
        }
        let history = r#"{"Parameters": [{"Version": 2, "Type": "SecureString", "KeyId": "alias/k"}], "NextToken": "50"}"#;
        let version = VersionElsewhere {
            number: 2,
            kind: "SecureString".to_owned(),
            key: Some("alias/k".to_owned()),
        };
        let expected = (vec![version], Some("50".to_owned()));
        assert_eq!(versions_of(reply(200, history)), Ok(expected));
        let missing = reply(400, r#"{"__type": "ParameterNotFound"}"#);
        assert_eq!(versions_of(missing), Ok((Vec::new(), None)));
        for body in [
            "{}",
            r#"{"Parameters": [{"Type": "String"}]}"#,
            r#"{"Parameters": [{"Version": 1}]}"#,
        ] {
            assert!(versions_of(reply(200, body)).is_err(), "{body}");
        }
    }

    #[test]
    fn a_backend_is_known_by_what_it_says() {
        assert_eq!(is_secrets_manager(200, br#"{"SecretList": []}"#), Ok(()));
        for (status, body) in [(200, "<html>"), (200, "{}"), (404, r#"{"SecretList": []}"#)] {
            assert!(is_secrets_manager(status, body.as_bytes()).is_err(), "{body}");
        }
    }
}
