#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod assumption;
mod conditions;
mod documented;
mod laws;
mod sides;
mod statements;

use super::*;
use crate::iam::{Context, policy::Document};
use serde_json::{Value, json};

const ACCOUNT: &str = "000000000000";
const OTHER_ACCOUNT: &str = "111111111111";
const OWN: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-red/secret-Ab3dEf";
const OTHER: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:demo/team-blue/secret-Xy9ZaB";
const GET: &str = "secretsmanager:GetSecretValue";
const ROLE: &str = "arn:aws:iam::000000000000:role/demo-team-red";

fn red() -> Principal {
    Principal::assumed_role(ROLE, "AROAREDREDREDREDRED12", "session")
}

fn parsed(name: &str, document: Document, version: &str, statements: &Value) -> NamedPolicy {
    let text = json!({"Version": version, "Statement": statements}).to_string();
    NamedPolicy::new(name, Policy::parse(&text, document).unwrap())
}

fn identity(statements: &Value) -> NamedPolicy {
    parsed("identity", Document::Identity, "2012-10-17", statements)
}

fn allow(resource: &str) -> NamedPolicy {
    identity(&json!({"Effect": "Allow", "Action": GET, "Resource": resource}))
}

fn seed_policy() -> NamedPolicy {
    identity(&json!({
        "Effect": "Allow",
        "Action": [GET, "secretsmanager:DescribeSecret"],
        "Resource": "arn:aws:secretsmanager:*:000000000000:secret:demo/team-red/*",
    }))
}

/// Decides a request of the red role by one identity-based policy.
fn decide(
    policy: &NamedPolicy,
    action: &str,
    resource: &str,
    context: &[(&str, &str)],
    rules: Rules,
) -> Decision {
    let context: Context = context.iter().copied().collect();
    let request = Request {
        principal: &red(),
        action,
        resource,
        resource_account: ACCOUNT,
        context: &context,
    };
    let identity = std::slice::from_ref(policy);
    evaluate(
        &request,
        &PolicySet {
            identity,
            ..PolicySet::default()
        },
        rules,
    )
}

fn allows(statements: &Value, context: &[(&str, &str)]) -> bool {
    decide(&identity(statements), GET, OWN, context, Rules::default()).allowed()
}
