//! Resource policies: kept as written, evaluated with every call.

use serde_json::{Value, json};

use super::body::secret_id;
use super::error::SecretsError;
use super::store::SecretStore;
use super::{Call, Outcome};
use crate::iam::{Document, Policy};
use crate::resource_policy::ResourcePolicy;

/// Longest resource policy, in characters.
const LONGEST: usize = 20_480;

/// `PutResourcePolicy`.
pub(super) fn put(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let text = call.body.required("ResourcePolicy", LONGEST)?;
    let block = call.body.flag("BlockPublicPolicy")?.unwrap_or(false);
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    let policy = ResourcePolicy::parse(&format!("resource policy of {}", secret.name), text)
        .map_err(|error| SecretsError::malformed_policy(error.aws_text()))?;
    if block && is_public(text) {
        return Err(SecretsError::public_policy());
    }
    secret.policy = Some(policy);
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// `GetResourcePolicy`.
pub(super) fn read(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.secret(call.region, secret_id(call.body)?)?;
    let mut answer = json!({"ARN": secret.arn, "Name": secret.name});
    if let Some(policy) = &secret.policy {
        answer["ResourcePolicy"] = json!(policy.text);
    }
    Ok(answer)
}

/// `DeleteResourcePolicy`.
pub(super) fn delete(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let secret = store.live_mut(call.region, secret_id(call.body)?)?;
    secret.policy = None;
    Ok(json!({"ARN": secret.arn, "Name": secret.name}))
}

/// `ValidateResourcePolicy`.
pub(super) fn validate(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let text = call.body.required("ResourcePolicy", LONGEST)?;
    if call.body.text("SecretId")?.is_some() {
        store.secret(call.region, secret_id(call.body)?)?;
    }
    let finding = |check: &str, message: String| json!({"CheckName": check, "ErrorMessage": message});
    let findings: Vec<Value> = match Policy::parse(text, Document::Resource) {
        Err(error) => vec![finding("POLICY_SYNTAX", error.aws_text())],
        Ok(_) if is_public(text) => {
            vec![finding("PUBLIC_POLICY", SecretsError::public_policy().message)]
        }
        Ok(_) => Vec::new(),
    };
    Ok(json!({"PolicyValidationPassed": findings.is_empty(), "ValidationErrors": findings}))
}

/// Whether a statement allows everyone, under no condition. AWS reasons about conditions; here any
/// condition counts as narrow.
fn is_public(text: &str) -> bool {
    let everyone = |principal: &Value| match principal {
        Value::String(text) => text == "*",
        Value::Array(items) => items.contains(&json!("*")),
        _ => false,
    };
    let Ok(policy) = serde_json::from_str::<Value>(text) else {
        return false;
    };
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        one => std::slice::from_ref(one),
    };
    statements.iter().any(|statement| {
        let principal = &statement["Principal"];
        statement["Effect"] == "Allow"
            && statement.get("Condition").is_none()
            && (everyone(principal) || everyone(&principal["AWS"]))
    })
}
