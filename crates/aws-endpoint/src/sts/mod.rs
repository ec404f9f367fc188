//! AWS Security Token Service: `AssumeRoleWithWebIdentity`, `AssumeRole`, `GetCallerIdentity`, `GetAccessKeyInfo`.
//!
//! Imitated: the STS API reference, version 2011-06-15, the page on session tags of the IAM user guide, and texts
//! seen in public reports.
//!
//! Left out: MFA, SAML, `GetSessionToken` and federated users, `DecodeAuthorizationMessage` (no message here is
//! encoded), session tags in a web-identity token. Unverified: the texts of `IDPCommunicationError` and
//! `IDPRejectedClaim` (those of the reference), and how policies are packed (see [`packed`]).

mod assume;
mod packed;
mod session;
mod web_identity;

use std::sync::Arc;

use jiff::Timestamp;

pub(crate) use self::{
    assume::assume_role,
    session::{Grant, Issued, issue, tag_keys},
    web_identity::assume_role_with_web_identity,
};
use crate::{
    answer::{Outcome, Refusal},
    caller::{Circumstances, user_id},
    credentials::Session,
    iam::{DecidingStatement, Params},
    state::State,
    wire::xml::Element,
};

/// The namespace of STS's answers.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// The operations there are.
pub(crate) const OPERATIONS: [&str; 4] = [
    "AssumeRoleWithWebIdentity",
    "GetCallerIdentity",
    "AssumeRole",
    "GetAccessKeyInfo",
];

/// A call, and where it was sent.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) params: &'a Params,
    pub(crate) circumstances: Circumstances<'a>,
}

impl Call<'_> {
    /// Refuses calls to a region in which STS is not activated.
    pub(crate) fn activated(&self) -> Result<(), Refusal> {
        let off = self.state.sts_off.read();
        if !off.iter().any(|region| region == self.circumstances.region) {
            return Ok(());
        }
        let message = format!(
            "STS is not activated in this region for account:{}. Your account administrator can activate STS in \
             this region using the IAM Console.",
            self.state.account
        );
        Err(Refusal::new(403, "RegionDisabledException", message))
    }

    fn now(&self) -> Timestamp {
        self.circumstances.now
    }
}

/// What the call log is told of a call, as it becomes known.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) role: Option<Arc<str>>,
    pub(crate) subject: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) statement: Option<DecidingStatement>,
}

/// Says who the caller is. Nothing has to allow it.
pub(crate) fn caller_identity(state: &State, caller: &Session) -> Outcome {
    Outcome::Xml(Some(vec![
        Element::text("Arn", caller.principal.arn()),
        Element::text("UserId", user_id(&caller.principal)),
        Element::text("Account", state.account.as_str()),
    ]))
}

/// Says whose an access key is: all keys are this account's.
pub(crate) fn access_key_info(call: Call<'_>) -> Result<Outcome, Refusal> {
    let id = required(call.params, "AccessKeyId")?;
    if !(16..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(validation(format!("Invalid key, {id}")));
    }
    let account = Element::text("Account", call.state.account.as_str());
    Ok(Outcome::Xml(Some(vec![account])))
}

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn constraint(value: Option<&str>, at: &str, constraint: &str) -> Refusal {
    let value = value.map_or_else(String::new, |value| format!(" '{value}'"));
    validation(format!(
        "1 validation error detected: Value{value} at '{at}' failed to satisfy constraint: {constraint}"
    ))
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refusal> {
    params.required(name).map_err(|error| validation(error.message))
}
