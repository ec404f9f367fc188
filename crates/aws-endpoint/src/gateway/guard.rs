//! A call on its way through the gate: what the backend knows, the decision, and only then the call itself.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Gateway,
    client::{Relayed, Unanswered},
    questions::{self, Question, Reply},
    replica::Replica,
};
use crate::{
    answer::{Outcome, Refusal},
    authorisation::Authorisation,
    call::{Call, Known},
    credentials::Session,
    dispatch::from_secrets,
    secrets::{self, SecretElsewhere, SecretStore},
};

impl Call<'_> {
    /// A call to Secrets Manager: carried out by the backend, if whoever makes it may.
    pub(crate) async fn secrets_through(
        &self,
        gateway: &Gateway,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let mut body = self.json()?;
        // What is refused before anything is looked up is refused before the backend is asked.
        let nothing = SecretStore::new(self.state.account.clone());
        let asked = self.secrets_authorisation(&session, &nothing, &body)?.asked;
        let mut view = nothing;
        let mut found = None;
        if let Some(id) = &asked {
            found = self.look_up(gateway, id, &mut view).await?;
        }
        if let (Some(found), "SecretId") = (&found, questions::names_by(&self.operation)) {
            body["SecretId"] = json!(found.arn);
        }
        let mut wanted = self.secrets_authorisation(&session, &view, &body)?;
        wanted.asked = asked;
        if found.as_ref().is_some_and(|found| found.arn != wanted.resource) {
            return Err(internal(
                "the secret that the backend describes is not the one that was asked for",
            ));
        }
        self.allowed(&session, wanted, known)?;
        match &*self.operation {
            "BatchGetSecretValue" => return self.batch_through(gateway, &session, &body, known).await,
            // A policy that could not be evaluated would make the secret unreachable.
            "PutResourcePolicy" => {
                let (now, defects) = (self.now, self.state.defects());
                let kms = &self.state.world_as_is().kms;
                secrets::execute(&mut view, kms, &self.region, &self.operation, &body, now, defects)
                    .map_err(from_secrets)?;
            }
            "GetSecretValue" => {
                if let Some(replica) = found.and_then(|found| found.replica) {
                    return self.value_of(gateway, &replica, body, known).await;
                }
            }
            _ => {}
        }
        self.forward(gateway, &questions::secrets(&self.operation, &body), known)
            .await
    }

    /// The value of a replica, which is its primary's.
    async fn value_of(
        &self,
        gateway: &Gateway,
        replica: &Replica,
        mut body: Value,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        known.backend = Some(Arc::clone(gateway.name()));
        body["SecretId"] = json!(replica.primary_arn());
        let question = questions::secrets(&self.operation, &body);
        let answer = gateway.client.send(&question, &replica.primary_region).await;
        Ok(Outcome::Relayed(replica.told(answer.map_err(unanswered)?)))
    }

    /// Sends a call on that was decided.
    pub(super) async fn forward(
        &self,
        gateway: &Gateway,
        question: &Question,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        known.backend = Some(Arc::clone(gateway.name()));
        let answer = gateway.client.send(question, &self.region).await;
        Ok(Outcome::Relayed(answer.map_err(unanswered)?))
    }

    pub(super) fn secrets_authorisation(
        &self,
        session: &Session,
        store: &SecretStore,
        body: &Value,
    ) -> Result<Authorisation, Refusal> {
        let world = self.state.world_as_is();
        let keys = self.caller(session, &world).default_keys();
        secrets::authorisation(store, &world.kms, keys, &self.region, &self.operation, body)
            .map_err(from_secrets)
    }

    /// Decides by the policies as they are now.
    pub(super) fn allowed(
        &self,
        session: &Session,
        wanted: Authorisation,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        let caller = self.caller(session, &self.state.world_as_is());
        self.authorise(&caller, session, wanted, known)
    }
}

impl Call<'_> {
    /// Puts into `view` what the backend knows of the secret that a caller calls `id`; which it is, if there is one.
    pub(super) async fn look_up(
        &self,
        gateway: &Gateway,
        id: &str,
        view: &mut SecretStore,
    ) -> Result<Option<Found>, Refusal> {
        let Some((secret, replica)) = gateway.secret(&self.region, id).await? else {
            return Ok(None);
        };
        let arn = secret.arn.clone();
        view.add_elsewhere(&self.state.world_as_is().kms, &self.region, secret)
            .map_err(|because| internal(format!("{arn}: {because}")))?;
        Ok(Some(Found { arn, replica }))
    }
}

/// A secret that the backend has.
pub(super) struct Found {
    pub(super) arn: String,
    /// Where it is a replica.
    pub(super) replica: Option<Replica>,
}

impl Gateway {
    async fn secret(
        &self,
        region: &str,
        id: &str,
    ) -> Result<Option<(SecretElsewhere, Option<Replica>)>, Refusal> {
        let named = json!({"SecretId": id});
        let (description, policy) = (
            questions::secrets("DescribeSecret", &named),
            questions::secrets("GetResourcePolicy", &named),
        );
        let (description, mut policy) = tokio::try_join!(
            self.client.send(&description, region),
            self.client.send(&policy, region)
        )
        .map_err(unanswered)?;
        let replica = Replica::described(&description, region);
        if let Some(replica) = &replica {
            let named = json!({"SecretId": replica.primary_arn()});
            let of_primary = questions::secrets("GetResourcePolicy", &named);
            let answer = self.client.send(&of_primary, &replica.primary_region).await;
            policy = replica.told(answer.map_err(unanswered)?);
        }
        let secret = questions::secret(reply(&description), reply(&policy));
        let secret = secret
            .map_err(|because| internal(format!("the backend {} makes no sense: {because}", self.name)))?;
        Ok(secret.map(|secret| (secret, replica)))
    }
}

pub(super) fn reply(answer: &Relayed) -> Reply<'_> {
    Reply {
        status: answer.status,
        body: &answer.body,
    }
}

impl Relayed {
    /// The code of an error.
    pub(crate) fn error(&self) -> Option<String> {
        (self.status >= 400).then(|| reply(self).error().unwrap_or_else(|| self.status.to_string()))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "callers map an error that they have no further use for"
)]
pub(super) fn unanswered(error: Unanswered) -> Refusal {
    internal(error.to_string())
}

/// As AWS says that something is wrong on its side; what it is stands in the log.
pub(super) fn internal(because: impl Into<String>) -> Refusal {
    let because = because.into();
    tracing::warn!(because, "a call could not be sent on");
    Refusal {
        reason: Some(because),
        ..Refusal::new(
            500,
            "InternalServiceError",
            "An error occurred on the server side.",
        )
    }
}
