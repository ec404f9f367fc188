//! What each service does with a call: who may, then the service itself.

use serde_json::Value;

use crate::{
    answer::{Outcome, Refusal},
    authorisation::Authorisation,
    call::{Call, Known},
    credentials::Session,
    iam::{self, Params},
    kms, secrets,
    service::Service,
    ssm,
    state::World,
    sts,
    wire::body::{Fields, Texts},
};

impl Call<'_> {
    /// Carries the call out, if whoever makes it may.
    pub(crate) async fn carry_out(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        match (self.service, &self.params) {
            (Service::Iam, Some(params)) => self.iam(params, known),
            (Service::Sts, Some(params)) => self.sts(params, known).await,
            (Service::SecretsManager, _) => match &self.state.gateway {
                Some(gateway) => self.secrets_through(gateway, known).await,
                None => self.secrets(known),
            },
            (Service::Eks, _) => self.eks(known).await,
            (Service::EksAuth, _) => self.eks_auth(known).await,
            (Service::Ssm, _) => match &self.state.gateway {
                Some(gateway) => self.parameters_through(gateway, known).await,
                None => self.parameters(known),
            },
            (Service::Kms, _) => self.keys(known),
            (service, _) => Err(unknown_service(service.name())),
        }
    }

    fn iam(&self, params: &Params, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let mut world = self.state.world();
        let wanted = iam::service::authorisation(&world.iam, &self.operation, params).map_err(from_iam)?;
        let caller = self.caller(&session, &world);
        self.authorise(&caller, &session, wanted, known)?;
        let done =
            iam::service::execute(&mut world.iam, &self.operation, params, self.now).map_err(from_iam)?;
        if let Some(gateway) = &self.state.gateway {
            gateway.mirror(&self.operation, self.body);
        }
        Ok(Outcome::Xml(done))
    }

    async fn sts(&self, params: &Params, known: &mut Known) -> Result<Outcome, Refusal> {
        let call = sts::Call {
            state: self.state,
            params,
            circumstances: self.circumstances(),
        };
        call.activated()?;
        // The token is what this call is signed with.
        if self.operation == "AssumeRoleWithWebIdentity" {
            return sts::assume_role_with_web_identity(call, &mut known.trace).await;
        }
        let session = self.signed(known)?;
        match &*self.operation {
            "GetCallerIdentity" => Ok(sts::caller_identity(self.state, &session)),
            "AssumeRole" => sts::assume_role(call, &session, &mut known.trace),
            "GetAccessKeyInfo" => {
                let answer = sts::access_key_info(call)?;
                let wanted = Authorisation::new("sts:GetAccessKeyInfo".to_owned(), "*".to_owned());
                let caller = self.caller(&session, &self.state.world_as_is());
                self.authorise(&caller, &session, wanted, known)?;
                Ok(answer)
            }
            other => Err(invalid_action(other)),
        }
    }

    fn secrets(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        if secrets::may_change_nothing(&self.operation)
            && let Some(body) = Texts::read(self.body)
            && let Some(read) = self.secrets_as_they_are(&session, &body, known)?
        {
            return Ok(read);
        }
        let body = self.json()?;
        let mut world = self.state.world();
        world.secrets.expire(self.now);
        let (region, operation) = (&self.region, &self.operation);
        let caller = self.caller(&session, &world);
        let keys = caller.default_keys();
        let wanted = secrets::authorisation(&world.secrets, &world.kms, keys, region, operation, &body)
            .map_err(from_secrets)?;
        self.authorise(&caller, &session, wanted, known)?;
        let defects = self.defects;
        let World { secrets, kms, .. } = &mut *world;
        if self.operation == "BatchGetSecretValue" {
            let batch = secrets::batch::members(secrets, kms, keys, region, &body).map_err(from_secrets)?;
            let denied = |wanted: &Authorisation| {
                self.decide(&caller, &session, wanted, &mut Known::default())
                    .err()
                    .map(|refusal| refusal.message)
            };
            let answer = secrets::batch::answer(secrets, kms, region, &batch, denied, self.now, defects);
            return Ok(Outcome::Json(answer));
        }
        secrets::execute(secrets, kms, region, operation, &body, self.now, defects)
            .map(Outcome::Json)
            .map_err(from_secrets)
    }

    /// Reads beside others who read; `None` when there is something to change after all.
    fn secrets_as_they_are(
        &self,
        session: &Session,
        body: &dyn Fields,
        known: &mut Known,
    ) -> Result<Option<Outcome>, Refusal> {
        let world = self.state.world_as_is();
        let World { secrets, kms, .. } = &*world;
        let (region, operation) = (&self.region, &self.operation);
        let caller = self.caller(session, &world);
        let keys = caller.default_keys();
        let wanted =
            secrets::authorisation(secrets, kms, keys, region, operation, body).map_err(from_secrets)?;
        self.authorise(&caller, session, wanted, known)?;
        secrets::execute_as_is(secrets, kms, region, operation, body, self.now, self.defects)
            .transpose()
            .map(|read| read.map(Outcome::Written))
            .map_err(from_secrets)
    }

    fn parameters(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let body = self.json()?;
        if ssm::only_reads(&self.operation) {
            return self.parameters_as_they_are(&session, &body, known);
        }
        let mut world = self.state.world();
        let (region, operation) = (&self.region, &self.operation);
        let caller = self.caller(&session, &world);
        let keys = caller.default_keys();
        let wanted = ssm::authorisation(&world.parameters, &world.kms, keys, region, operation, &body)
            .map_err(from_ssm)?;
        self.authorise(&caller, &session, wanted, known)?;
        let user = session.principal.arn();
        let World { parameters, kms, .. } = &mut *world;
        ssm::execute(parameters, kms, region, operation, &body, self.now, &user)
            .map(Outcome::Json)
            .map_err(from_ssm)
    }

    /// Reads beside others who read.
    fn parameters_as_they_are(
        &self,
        session: &Session,
        body: &Value,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        let world = self.state.world_as_is();
        let (region, operation) = (&self.region, &self.operation);
        let caller = self.caller(session, &world);
        let keys = caller.default_keys();
        let wanted = ssm::authorisation(&world.parameters, &world.kms, keys, region, operation, body)
            .map_err(from_ssm)?;
        self.authorise(&caller, session, wanted, known)?;
        let user = session.principal.arn();
        ssm::read(
            &world.parameters,
            &world.kms,
            region,
            operation,
            body,
            self.now,
            &user,
        )
        .map(Outcome::Json)
        .map_err(from_ssm)
    }

    fn keys(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let body = self.json()?;
        if kms::only_reads(&self.operation)
            && let Some(read) = self.keys_as_they_are(&session, &body, known)?
        {
            return Ok(read);
        }
        let mut world = self.state.world();
        world.kms.expire(self.now);
        let (region, operation) = (&self.region, &self.operation);
        let wanted = kms::authorisation(&world.kms, region, operation, &body)
            .map_err(|error| from_json(error.code, error.message))?;
        let caller = self.caller(&session, &world);
        self.authorise(&caller, &session, wanted, known)?;
        kms::execute(&mut world.kms, region, operation, &body, self.now)
            .map(Outcome::Json)
            .map_err(|error| from_json(error.code, error.message))
    }

    /// Reads beside others who read; `None` when keys are to be removed first.
    fn keys_as_they_are(
        &self,
        session: &Session,
        body: &Value,
        known: &mut Known,
    ) -> Result<Option<Outcome>, Refusal> {
        let world = self.state.world_as_is();
        if world.kms.has_expired(self.now) {
            return Ok(None);
        }
        let (region, operation) = (&self.region, &self.operation);
        let wanted = kms::authorisation(&world.kms, region, operation, body)
            .map_err(|error| from_json(error.code, error.message))?;
        let caller = self.caller(session, &world);
        self.authorise(&caller, session, wanted, known)?;
        kms::read(&world.kms, region, operation, body, self.now)
            .map(|read| Some(Outcome::Json(read)))
            .map_err(|error| from_json(error.code, error.message))
    }
}

pub(crate) fn unknown_service(name: &str) -> Refusal {
    Refusal::new(
        400,
        "UnknownService",
        format!("this endpoint has no service {name}"),
    )
}

fn from_iam(error: iam::IamError) -> Refusal {
    Refusal::new(error.status(), error.code(), error.message)
}

pub(crate) fn from_secrets(error: secrets::SecretsError) -> Refusal {
    let message_key = error.message_key();
    Refusal {
        message_key,
        ..Refusal::new(400, error.code, error.message)
    }
}

pub(crate) fn from_ssm(error: ssm::SsmError) -> Refusal {
    from_json(error.code, error.message)
}

/// An error of a service whose messages all have one key.
fn from_json(code: &str, message: String) -> Refusal {
    Refusal {
        message_key: "message",
        ..Refusal::new(400, code, message)
    }
}

fn invalid_action(operation: &str) -> Refusal {
    Refusal::new(
        400,
        "InvalidAction",
        format!("Could not find operation {operation} for version 2011-06-15"),
    )
}
