#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod operations;
mod policies;
mod providers;
mod roles;

use super::*;
use crate::iam::error::IamErrorKind;
use crate::iam::{PolicySet, Principal, Request, Rules, evaluate};
use crate::wire::xml;
use proptest::prelude::*;

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
        Ok(xml::response(operation, NAMESPACE, answer.as_deref(), "request"))
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
