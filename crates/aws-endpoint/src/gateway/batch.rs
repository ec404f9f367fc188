//! `BatchGetSecretValue` through the gate: each secret is decided and fetched on its own, so that one that a caller
//! may not read is an error among values, as on AWS.

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{
    Gateway,
    guard::{internal, reply, unanswered},
    questions,
};
use crate::{
    answer::{Outcome, Refusal},
    call::{Call, Known},
    credentials::Session,
    dispatch::from_secrets,
    kms::DefaultKeys,
    secrets::{self, SecretStore},
};

/// What became of one secret.
enum Fetched {
    Value(Value),
    Error(Value),
}

impl Call<'_> {
    /// The call as a whole was allowed.
    pub(super) async fn batch_through(
        &self,
        gateway: &Gateway,
        session: &Session,
        body: &Value,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        let nothing = SecretStore::new(self.state.account.clone());
        secrets::batch::members(
            &nothing,
            &self.state.world_as_is().kms,
            DefaultKeys::Granted,
            &self.region,
            body,
        )
        .map_err(from_secrets)?;
        known.backend = Some(gateway.name().clone());
        let (ids, next) = match &body["SecretIdList"] {
            Value::Array(ids) if !ids.is_empty() => (texts(ids), None),
            _ => match self.listed(gateway, body).await? {
                Ok(listed) => listed,
                Err(refused) => return Ok(refused),
            },
        };
        let mut fetching = Vec::with_capacity(ids.len());
        for id in &ids {
            fetching.push(self.member(gateway, session, id));
        }
        // Twenty at most.
        let fetched = try_join_all(fetching).await?;
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for fetched in fetched {
            match fetched {
                Fetched::Value(value) => values.push(value),
                Fetched::Error(error) => errors.push(error),
            }
        }
        let mut answer = json!({"SecretValues": values, "Errors": errors});
        if let Some(next) = next {
            answer["NextToken"] = next;
        }
        Ok(Outcome::Json(answer))
    }

    /// The secrets that the filters of a call lead to, and where to go on; the backend's own refusal as it came.
    async fn listed(
        &self,
        gateway: &Gateway,
        body: &Value,
    ) -> Result<Result<(Vec<String>, Option<Value>), Outcome>, Refusal> {
        /// Most values in one answer.
        const PAGE: u64 = 20;
        let size = body["MaxResults"].as_u64().unwrap_or(PAGE).min(PAGE);
        let mut question = json!({"Filters": body["Filters"], "MaxResults": size});
        if body["NextToken"].is_string() {
            question["NextToken"] = body["NextToken"].clone();
        }
        let question = questions::secrets("ListSecrets", &question);
        let answer = gateway
            .client
            .send(&question, &self.region)
            .await
            .map_err(unanswered)?;
        if answer.status != 200 {
            return Ok(Err(Outcome::Relayed(answer)));
        }
        let page: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| internal("the backend answers ListSecrets with what is no JSON"))?;
        let listed = page["SecretList"].as_array().into_iter().flatten();
        let arns = listed.filter_map(|secret| secret["ARN"].as_str().map(str::to_owned));
        let next = Some(page["NextToken"].clone()).filter(Value::is_string);
        Ok(Ok((arns.collect(), next)))
    }

    async fn member(&self, gateway: &Gateway, session: &Session, id: &str) -> Result<Fetched, Refusal> {
        let refused = |code: &str, message: &str| {
            Fetched::Error(json!({"SecretId": id, "ErrorCode": code, "Message": message}))
        };
        let mut view = SecretStore::new(self.state.account.clone());
        let found = self.look_up(gateway, id, &mut view).await?;
        let body = json!({"SecretId": found.as_ref().map_or(id, |found| &found.arn)});
        let mut wanted = {
            let world = self.state.world_as_is();
            let keys = self.caller(session, &world).default_keys();
            secrets::authorisation(&view, &world.kms, keys, &self.region, "GetSecretValue", &body)
                .map_err(from_secrets)?
        };
        if found.is_some_and(|found| found.arn != wanted.resource) {
            return Err(internal(format!(
                "the backend describes another secret than {id}"
            )));
        }
        wanted.asked = Some(id.to_owned());
        if let Err(denied) = self.allowed(session, wanted, &mut Known::default()) {
            return Ok(refused(&denied.code, &denied.message));
        }
        let question = questions::secrets("GetSecretValue", &body);
        let answer = gateway
            .client
            .send(&question, &self.region)
            .await
            .map_err(unanswered)?;
        let reply = reply(&answer);
        match (reply.error(), serde_json::from_slice(reply.body)) {
            (None, Ok(value)) => Ok(Fetched::Value(value)),
            (Some(code), _) => Ok(refused(&code, &reply.message().unwrap_or_default())),
            (None, Err(_)) => Err(internal(
                "the backend answers GetSecretValue with what is no JSON",
            )),
        }
    }
}

fn texts(ids: &[Value]) -> Vec<String> {
    ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
