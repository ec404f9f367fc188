//! Parameters through the gate.
//!
//! What a call has to be allowed is known before it is sent on, but for one thing: the keys of the `SecureString`s that
//! it decrypts, which only the versions in an answer tell. So the backend is first asked the same without decryption;
//! when the keys of what it names allow it, the call itself is sent on, and its answer may hold nothing else.
//!
//! `LocalStack` shows values to those who do not ask to decrypt them, in `kms:<key>:<value>` and in
//! `DescribeParameters`; and it takes `/<any>/<any>/secretsmanager/NAME` for the secret NAME. None of it gets through.

use std::collections::HashSet;

use bytes::Bytes;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::{
    Gateway,
    guard::{internal, reply, unanswered},
    questions,
};
use crate::{
    answer::{Outcome, Refusal},
    authorisation::Authorisation,
    call::{Call, Known},
    credentials::Session,
    dispatch::from_ssm,
    gateway::Relayed,
    ssm::{self, Named, ParameterElsewhere, ParameterStore, VersionElsewhere},
};

/// Pages of versions that are asked for: there are a hundred versions at most.
const PAGES: usize = 4;

/// The operations that answer with values.
const READING: [&str; 4] = [
    "GetParameter",
    "GetParameters",
    "GetParametersByPath",
    "GetParameterHistory",
];

impl Call<'_> {
    /// A call to Parameter Store: carried out by the backend, if whoever makes it may.
    pub(crate) async fn parameters_through(
        &self,
        gateway: &Gateway,
        known: &mut Known,
    ) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let body = self.json()?;
        // What is refused before anything is looked up is refused before the backend is asked.
        let nothing = ParameterStore::new(self.state.account.clone());
        self.parameters_authorisation(&session, &nothing, &body)?;
        let named = ssm::named(&nothing, &self.region, &self.operation, &body).map_err(from_ssm)?;
        if let Some(secret) = named.iter().find(|named| named.is_secret()) {
            let text = format!("{} is a secret: ask Secrets Manager for it", secret.text);
            return Err(Refusal::new(400, "ValidationException", text));
        }
        let mut view = nothing;
        let there = named.iter().filter(|named| !named.elsewhere);
        let known_there = try_join_all(there.map(|named| self.parameter(gateway, named))).await?;
        for parameter in known_there.into_iter().flatten() {
            let name = parameter.name.clone();
            view.add_elsewhere(&self.state.world_as_is().kms, &self.region, parameter)
                .map_err(|because| internal(format!("{name}: {because}")))?;
        }
        let wanted = self.parameters_authorisation(&session, &view, &body)?;
        self.allowed(&session, wanted.clone(), known)?;
        if let ("PutParameter", Some(key)) = (&*self.operation, body["KeyId"].as_str()) {
            ssm::check_key(&self.state.world_as_is().kms, &self.region, key).map_err(from_ssm)?;
        }
        let Some(sent) = sent(&body, &named) else {
            // Parameters of other regions and accounts, which nobody keeps here.
            return self.parameters_nowhere(&session, &body);
        };
        let mut decrypted = HashSet::new();
        if READING.contains(&&*self.operation) && ssm::decrypts(&body).map_err(from_ssm)? {
            let mut veiled = sent.clone();
            veiled["WithDecryption"] = json!(false);
            let question = questions::ssm(&self.operation, &veiled);
            let shown = gateway.client.send(&question, &self.region).await;
            let shown = shown.map_err(unanswered)?;
            if shown.status != 200 {
                known.backend = Some(gateway.name().clone());
                return Ok(Outcome::Relayed(shown));
            }
            let mut shown = self.read(&shown)?;
            for parameter in parameters(&mut shown) {
                self.check(&body, &named, parameter)?;
            }
            let mut secure = parameters(&mut shown);
            secure.retain(|parameter| is_secure(parameter));
            decrypted.extend(secure.iter().map(|one| version_of(one)));
            self.decrypting(gateway, &session, &secure, wanted, known).await?;
        }
        let question = questions::ssm(&self.operation, &sent);
        let answer = self.forward(gateway, &question, known).await?;
        match answer {
            Outcome::Relayed(answer) if answer.status == 200 => {
                self.handed_back(&body, &named, &decrypted, &answer)
            }
            refused => Ok(refused),
        }
    }

    /// Decides whether these may be decrypted.
    async fn decrypting(
        &self,
        gateway: &Gateway,
        session: &Session,
        secure: &[&mut Value],
        mut wanted: Authorisation,
        known: &mut Known,
    ) -> Result<(), Refusal> {
        if secure.is_empty() {
            return Ok(());
        }
        let keys = secure.iter().map(|parameter| self.key(gateway, parameter));
        let keys = try_join_all(keys).await?;
        {
            let world = self.state.world_as_is();
            let default_keys = self.caller(session, &world).default_keys();
            let store = ParameterStore::new(self.state.account.clone());
            for (name, key) in &keys {
                let needed = ssm::decryption(&store, &world.kms, default_keys, &self.region, name, key);
                wanted.further.extend(needed.map_err(senseless)?);
            }
        }
        self.allowed(session, wanted, known)?;
        for (_, key) in &keys {
            ssm::check_key(&self.state.world_as_is().kms, &self.region, key).map_err(from_ssm)?;
        }
        Ok(())
    }

    /// What has to be allowed but for keys to decrypt with.
    fn parameters_authorisation(
        &self,
        session: &Session,
        view: &ParameterStore,
        body: &Value,
    ) -> Result<Authorisation, Refusal> {
        ssm::decrypts(body).map_err(from_ssm)?;
        let mut body = body.clone();
        if let Some(body) = body.as_object_mut() {
            body.remove("WithDecryption");
            // The backend's.
            body.remove("NextToken");
        }
        let world = self.state.world_as_is();
        let keys = self.caller(session, &world).default_keys();
        ssm::authorisation(view, &world.kms, keys, &self.region, &self.operation, &body).map_err(from_ssm)
    }

    /// What the backend knows of a parameter, as far as the call needs it.
    async fn parameter(
        &self,
        gateway: &Gateway,
        named: &Named,
    ) -> Result<Option<ParameterElsewhere>, Refusal> {
        let question = questions::parameter_tags(&named.name);
        let tags = gateway.client.send(&question, &self.region).await;
        let tags = questions::tags_of(reply(&tags.map_err(unanswered)?)).map_err(senseless)?;
        let Some(tags) = tags else { return Ok(None) };
        // A new version takes from it what is not said.
        let latest = if self.operation == "PutParameter" {
            let versions = gateway.versions(&self.region, &named.name).await?;
            versions.into_iter().max_by_key(|version| version.number)
        } else {
            None
        };
        Ok(Some(ParameterElsewhere {
            name: named.name.clone(),
            tags,
            latest,
        }))
    }

    /// The answer of a store in which there is nothing.
    fn parameters_nowhere(&self, session: &Session, body: &Value) -> Result<Outcome, Refusal> {
        let mut nothing = ParameterStore::new(self.state.account.clone());
        let (kms, user) = (&self.state.world_as_is().kms, session.principal.arn());
        ssm::execute(
            &mut nothing,
            kms,
            &self.region,
            &self.operation,
            body,
            self.now,
            &user,
        )
        .map(Outcome::Json)
        .map_err(from_ssm)
    }

    /// What the backend answered.
    fn read(&self, answer: &Relayed) -> Result<Value, Refusal> {
        serde_json::from_slice(&answer.body)
            .map_err(|_| senseless(format!("it answers {} with what is no JSON", self.operation)))
    }

    /// The answer as the caller may see it, who may see these versions decrypted.
    fn handed_back(
        &self,
        body: &Value,
        named: &[Named],
        decrypted: &HashSet<VersionSeen>,
        answer: &Relayed,
    ) -> Result<Outcome, Refusal> {
        let mut answer = self.read(answer)?;
        for parameter in parameters(&mut answer) {
            if self.operation == "DescribeParameters" {
                parameter
                    .as_object_mut()
                    .map(|parameter| parameter.remove("Value"));
                continue;
            }
            self.check(body, named, parameter)?;
            if is_secure(parameter) && ssm::decrypts(body).map_err(from_ssm)? {
                if !decrypted.contains(&version_of(parameter)) {
                    let name = &parameter["Name"];
                    return Err(internal(format!("{name} changed while it was decided on")));
                }
            } else if is_secure(parameter) {
                parameter["Value"] = json!(ssm::veiled());
            }
            let asked = named
                .iter()
                .find(|named| named.is(parameter["Name"].as_str().unwrap_or_default()));
            if let Some(name) = asked.and_then(Named::as_asked) {
                parameter["Name"] = json!(name);
            }
        }
        rename(&mut answer, named);
        Ok(Outcome::Relayed(Relayed {
            status: 200,
            body: Bytes::from(answer.to_string()),
        }))
    }

    /// Refuses a parameter that the call is not about.
    fn check(&self, body: &Value, named: &[Named], parameter: &Value) -> Result<(), Refusal> {
        let name = parameter["Name"].as_str().unwrap_or_default();
        let asked = match &*self.operation {
            "GetParametersByPath" => ssm::is_asked_by_path(body, name).map_err(from_ssm)?,
            _ => named.iter().any(|named| named.is(name)),
        };
        if asked && parameter["SourceResult"].is_null() {
            Ok(())
        } else {
            let operation = &self.operation;
            Err(senseless(format!(
                "it answers {operation} with {name}, which was not asked for"
            )))
        }
    }

    /// The name of one parameter of an answer, and its key as it was named.
    async fn key(&self, gateway: &Gateway, parameter: &Value) -> Result<(String, String), Refusal> {
        let mut version = questions::version(parameter).map_err(senseless)?;
        let name = parameter["Name"].as_str().unwrap_or_default();
        if version.key.is_none() {
            let versions = gateway.versions(&self.region, name).await?;
            let same = versions.into_iter().find(|other| other.number == version.number);
            version = same.unwrap_or(version);
        }
        let key = version
            .key
            .ok_or_else(|| senseless(format!("it does not say which key {name} has")))?;
        Ok((name.to_owned(), key))
    }
}

impl Gateway {
    /// All versions of a parameter.
    async fn versions(&self, region: &str, name: &str) -> Result<Vec<VersionElsewhere>, Refusal> {
        let (mut versions, mut page) = (Vec::new(), None);
        for _ in 0..PAGES {
            let question = questions::parameter_versions(name, page.as_deref());
            let answer = self.client.send(&question, region).await.map_err(unanswered)?;
            let (more, next) = questions::versions_of(reply(&answer)).map_err(senseless)?;
            versions.extend(more);
            page = next;
            if page.is_none() {
                return Ok(versions);
            }
        }
        Err(senseless(format!("there is no end of versions of {name}")))
    }
}

/// The call as it is sent on: with the names that were decided on. `None` where nothing of it is kept there.
fn sent(body: &Value, named: &[Named]) -> Option<Value> {
    let mut body = body.clone();
    let there: Vec<&Named> = named.iter().filter(|named| !named.elsewhere).collect();
    if there.is_empty() && !named.is_empty() {
        return None;
    }
    if body["Names"].is_array() {
        body["Names"] = there.iter().map(|named| named.selected.as_str()).collect();
    } else if let [one] = there[..] {
        if body["ResourceId"].is_string() {
            body["ResourceId"] = json!(one.name);
        } else {
            body["Name"] = json!(one.selected);
        }
    }
    Some(body)
}

/// What tells a version from all others: its name, its number and when it was made.
type VersionSeen = [String; 3];

fn version_of(parameter: &Value) -> VersionSeen {
    ["Name", "Version", "LastModifiedDate"].map(|member| parameter[member].to_string())
}

/// Whether a parameter is one that only those see who may decrypt it.
fn is_secure(parameter: &Value) -> bool {
    !matches!(parameter["Type"].as_str(), Some("String" | "StringList"))
}

/// Calls parameters that are only named in an answer as the caller did, those of elsewhere included.
fn rename(answer: &mut Value, named: &[Named]) {
    for member in ["InvalidParameters", "DeletedParameters"] {
        let listed = answer.get_mut(member).and_then(Value::as_array_mut);
        for name in listed.into_iter().flatten() {
            let asked = named
                .iter()
                .find(|named| !named.elsewhere && name.as_str() == Some(&named.selected));
            if let Some(asked) = asked {
                *name = json!(asked.text);
            }
        }
    }
    let elsewhere: Vec<_> = named
        .iter()
        .filter(|named| named.elsewhere)
        .map(|named| json!(named.text))
        .collect();
    if elsewhere.is_empty() {
        return;
    }
    match &mut answer["InvalidParameters"] {
        Value::Array(invalid) => invalid.extend(elsewhere),
        invalid => *invalid = Value::Array(elsewhere),
    }
}

fn parameters(answer: &mut Value) -> Vec<&mut Value> {
    let Some(answer) = answer.as_object_mut() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (member, value) in answer {
        match (member.as_str(), value) {
            ("Parameter", one) => found.push(one),
            ("Parameters", Value::Array(several)) => found.extend(several),
            _ => {}
        }
    }
    found
}

fn senseless(because: impl std::fmt::Display) -> Refusal {
    internal(format!("the backend makes no sense: {because}"))
}
