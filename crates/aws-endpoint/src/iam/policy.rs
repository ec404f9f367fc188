//! Policy documents, parsed strictly.
//!
//! An element, operator, version or value that is not known is an error that says where: a policy that
//! is understood by half must not be stored, let alone decide. Imitated: the IAM user guide's page
//! "Grammar of the IAM JSON policy language", and IAM's own `MalformedPolicyDocument` texts.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::condition::{Condition, Operator};
use super::document::Json;
use super::keys;
use super::pattern::{Glob, Template, VariableError};
pub use super::policy_error::{PolicyError, Problem};
use super::principal::Named;

/// Where a document may stand, which decides what its statements must and must not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Document {
    /// Attached to a principal: managed, inline and boundary policies. No `Principal`.
    Identity,
    /// Given when a role is assumed: as [`Self::Identity`], but every ARN has to be complete.
    Session,
    /// Attached to a resource, such as a secret: with `Principal`.
    Resource,
    /// The trust policy of a role: with `Principal`, without `Resource`.
    Trust,
}

impl Document {
    /// Whether the principal is known from where the document stands, and not from what it says.
    fn belongs_to_a_principal(self) -> bool {
        matches!(self, Self::Identity | Self::Session)
    }
}

/// A parsed policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    version: Version,
    id: Option<String>,
    pub(super) statements: Vec<Statement>,
}

/// Of the policy language; variables exist in the newer one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V2008,
    V2012,
}

/// What a statement does to what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Grants.
    Allow,
    /// Refuses, whatever else grants.
    Deny,
}

impl fmt::Display for Effect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Allow => "Allow",
            Self::Deny => "Deny",
        })
    }
}

/// One statement of a policy.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    pub(super) sid: Option<String>,
    pub(super) effect: Effect,
    pub(super) principals: Option<Scope<Named>>,
    pub(super) actions: Scope<Action>,
    pub(super) resources: Option<Scope<Template>>,
    pub(super) conditions: Vec<Condition>,
    /// A condition key that it asks for, itself or in a variable, and that nobody here knows.
    pub(super) unknown_key: Option<String>,
    /// Whether it cannot be told which resources it names: by a key that nobody here knows, or by a
    /// variable where none may stand.
    pub(super) unclear_resources: bool,
}

/// A list under its element's name, or under the `Not` form of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope<T> {
    Only(Vec<T>),
    AllBut(Vec<T>),
}

/// Such as `secretsmanager:Get*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) text: String,
    pub(super) glob: Glob,
}

impl Policy {
    /// Parses the JSON text of a policy for the place it is to stand in.
    ///
    /// # Errors
    /// Names the first thing that is not understood, and where it is.
    pub fn parse(text: &str, document: Document) -> Result<Self, PolicyError> {
        let json = Json::parse(text).map_err(|error| At::document().is(Problem::Json(error.to_string())))?;
        Reader { document }.policy(&json)
    }

    /// Whether it is of the older version.
    #[must_use]
    pub fn is_of_2008(&self) -> bool {
        self.version == Version::V2008
    }

    /// The policy as JSON, with every list written as a list.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let version = match self.version {
            Version::V2008 => "2008-10-17",
            Version::V2012 => "2012-10-17",
        };
        let mut policy = Map::new();
        policy.insert("Version".to_owned(), json!(version));
        if let Some(id) = &self.id {
            policy.insert("Id".to_owned(), json!(id));
        }
        let statements = self.statements.iter().map(Statement::to_json).collect();
        policy.insert("Statement".to_owned(), Value::Array(statements));
        Value::Object(policy)
    }
}

impl Statement {
    fn to_json(&self) -> Value {
        let mut statement = Map::new();
        let mut insert = |name: &str, value: Value| {
            statement.insert(name.to_owned(), value);
        };
        if let Some(sid) = &self.sid {
            insert("Sid", json!(sid));
        }
        insert("Effect", json!(self.effect.to_string()));
        if let Some(principals) = &self.principals {
            let mut kinds: Map<String, Value> = Map::new();
            for named in principals.entries() {
                let texts = kinds.entry(named.kind()).or_insert_with(|| json!([]));
                if let Value::Array(texts) = texts {
                    texts.push(json!(named.text()));
                }
            }
            insert(
                principals.element("Principal", "NotPrincipal"),
                Value::Object(kinds),
            );
        }
        let actions: Vec<&str> = self
            .actions
            .entries()
            .iter()
            .map(|action| action.text.as_str())
            .collect();
        insert(self.actions.element("Action", "NotAction"), json!(actions));
        if let Some(resources) = &self.resources {
            let texts: Vec<&str> = resources.entries().iter().map(Template::as_str).collect();
            insert(resources.element("Resource", "NotResource"), json!(texts));
        }
        if !self.conditions.is_empty() {
            let mut operators: Map<String, Value> = Map::new();
            for condition in &self.conditions {
                let keys = operators.entry(condition.operator()).or_insert_with(|| json!({}));
                keys[condition.key()] = condition.values().collect();
            }
            insert("Condition", Value::Object(operators));
        }
        Value::Object(statement)
    }
}

impl<T> Scope<T> {
    pub(super) fn entries(&self) -> &[T] {
        match self {
            Self::Only(entries) | Self::AllBut(entries) => entries,
        }
    }

    fn element(&self, only: &'static str, all_but: &'static str) -> &'static str {
        match self {
            Self::Only(_) => only,
            Self::AllBut(_) => all_but,
        }
    }
}

/// A place in a document.
#[derive(Clone)]
struct At(String);

impl At {
    fn document() -> Self {
        Self(String::new())
    }

    fn member(&self, name: &str) -> Self {
        Self(if self.0.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.0)
        })
    }

    fn item(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    fn is(&self, problem: impl Into<Problem>) -> PolicyError {
        let at = if self.0.is_empty() {
            "the document".to_owned()
        } else {
            self.0.clone()
        };
        PolicyError {
            at,
            problem: problem.into(),
        }
    }

    fn expected(&self, expected: &'static str, found: &Json) -> PolicyError {
        self.is(Problem::WrongType {
            expected,
            found: found.describe(),
        })
    }
}

type Read<T> = Result<T, PolicyError>;

struct Reader {
    document: Document,
}

impl Reader {
    fn policy(&self, json: &Json) -> Read<Policy> {
        let at = At::document();
        let members = object(json, &at)?;
        let (mut version, mut id, mut statements) = (None, None, None);
        for (name, value) in members {
            let at = at.member(name);
            match name.as_str() {
                "Version" => {
                    version = Some(match text(value, &at)? {
                        "2008-10-17" => Version::V2008,
                        "2012-10-17" => Version::V2012,
                        other => return Err(at.is(Problem::Version(other.to_owned()))),
                    });
                }
                "Id" => id = Some(text(value, &at)?.to_owned()),
                "Statement" => statements = Some(value),
                _ => return Err(at.is(Problem::UnknownElement(name.clone()))),
            }
        }
        // IAM insists on a version in identity-based policies; elsewhere the old one is meant.
        let version = match (version, self.document) {
            (Some(version), _) => version,
            (None, document) if document.belongs_to_a_principal() => {
                return Err(at.is(Problem::Missing("Version")));
            }
            (None, _) => Version::V2008,
        };
        let json = statements.ok_or_else(|| at.is(Problem::Missing("Statement")))?;
        let statements = self.statements(json, version)?;
        Ok(Policy {
            version,
            id,
            statements,
        })
    }

    fn statements(&self, json: &Json, version: Version) -> Read<Vec<Statement>> {
        let at = At::document().member("Statement");
        let mut statements: Vec<Statement> = Vec::new();
        for (index, json) in non_empty(json, &at)?.iter().enumerate() {
            let at = at.item(index);
            let statement = self.statement(json, version, &at)?;
            if let Some(sid) = &statement.sid
                && statements.iter().any(|earlier| earlier.sid.as_ref() == Some(sid))
            {
                return Err(at.member("Sid").is(Problem::DuplicateSid(sid.clone())));
            }
            statements.push(statement);
        }
        Ok(statements)
    }

    fn statement(&self, json: &Json, version: Version, at: &At) -> Read<Statement> {
        let (mut sid, mut effect, mut conditions) = (None, None, Vec::new());
        let (mut principals, mut actions, mut resources) = (None, None, None);
        let members = object(json, at)?;
        for (plain, not) in [
            ("Principal", "NotPrincipal"),
            ("Action", "NotAction"),
            ("Resource", "NotResource"),
        ] {
            let has = |element: &str| members.iter().any(|(name, _)| name == element);
            if has(plain) && has(not) {
                return Err(at.member(not).is(Problem::Both(plain)));
            }
        }
        for (name, value) in members {
            let at = at.member(name);
            match name.as_str() {
                "Sid" => sid = self.sid(value, &at)?,
                "Effect" => {
                    effect = Some(match text(value, &at)? {
                        "Allow" => Effect::Allow,
                        "Deny" => Effect::Deny,
                        other => return Err(at.is(Problem::Effect(other.to_owned()))),
                    });
                }
                "Principal" => principals = Some(Scope::Only(self.principals(value, &at)?)),
                "NotPrincipal" => principals = Some(Scope::AllBut(self.principals(value, &at)?)),
                "Action" => actions = Some(Scope::Only(self.actions(value, &at)?)),
                "NotAction" => actions = Some(Scope::AllBut(self.actions(value, &at)?)),
                "Resource" => resources = Some(Scope::Only(self.resources(value, version, &at)?)),
                "NotResource" => resources = Some(Scope::AllBut(self.resources(value, version, &at)?)),
                "Condition" => conditions = self::conditions(value, version, &at)?,
                _ => return Err(at.is(Problem::UnknownElement(name.clone()))),
            }
        }
        let effect = effect.ok_or_else(|| at.is(Problem::Missing("Effect")))?;
        let actions = actions.ok_or_else(|| at.is(Problem::Missing("Action")))?;
        if resources.is_none() && self.document != Document::Trust {
            return Err(at.is(Problem::Missing("Resource")));
        }
        if principals.is_none() && !self.document.belongs_to_a_principal() {
            return Err(at.is(Problem::Missing("Principal")));
        }
        if effect == Effect::Allow && matches!(principals, Some(Scope::AllBut(_))) {
            return Err(at.member("NotPrincipal").is(Problem::NotPrincipalAllows));
        }
        let unknown_key = {
            let named = resources.iter().flat_map(Scope::entries);
            let mut asked = conditions
                .iter()
                .flat_map(Condition::keys)
                .chain(named.flat_map(Template::variables));
            asked.find(|key| !keys::is_known(key)).map(str::to_owned)
        };
        let unclear_resources = {
            let mut named = resources.iter().flat_map(Scope::entries);
            named.any(|template| {
                template.is_misplaced() || template.variables().any(|key| !keys::is_known(key))
            })
        };
        Ok(Statement {
            sid,
            effect,
            principals,
            actions,
            resources,
            conditions,
            unknown_key,
            unclear_resources,
        })
    }

    /// Letters and digits; services whose policies stand at a resource are not that strict.
    fn sid(&self, json: &Json, at: &At) -> Read<Option<String>> {
        let sid = text(json, at)?;
        if self.document != Document::Resource && !sid.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(at.is(Problem::Sid(sid.to_owned())));
        }
        Ok((!sid.is_empty()).then(|| sid.to_owned()))
    }

    fn principals(&self, json: &Json, at: &At) -> Read<Vec<Named>> {
        if self.document.belongs_to_a_principal() {
            return Err(at.is(Problem::Prohibited("Principal")));
        }
        if let Json::Text(everyone) = json {
            let everyone = Named::aws(everyone).filter(|named| *named == Named::Everyone);
            return Ok(vec![
                everyone.ok_or_else(|| at.expected("`\"*\"` or an object", json))?,
            ]);
        }
        let members = object(json, at)?;
        if members.is_empty() {
            return Err(at.is(Problem::Empty));
        }
        let mut principals = Vec::new();
        for (kind, values) in members {
            let at = at.member(kind);
            let read = match kind.as_str() {
                "AWS" => Named::aws,
                "Federated" => Named::federated,
                "Service" => Named::service,
                _ => return Err(at.is(Problem::UnknownElement(kind.clone()))),
            };
            for value in non_empty(values, &at)? {
                let text = text(value, &at)?;
                principals.push(read(text).ok_or_else(|| at.is(Problem::Principal(text.to_owned())))?);
            }
        }
        Ok(principals)
    }

    fn actions(&self, json: &Json, at: &At) -> Read<Vec<Action>> {
        let mut actions = Vec::new();
        for value in non_empty(json, at)? {
            let text = text(value, at)?;
            if !is_action(text) {
                return Err(at.is(Problem::Action(text.to_owned())));
            }
            if self.document == Document::Trust && !may_assume(text) {
                return Err(at.is(Problem::TrustAction(text.to_owned())));
            }
            actions.push(Action {
                text: text.to_owned(),
                glob: Glob::new(text),
            });
        }
        Ok(actions)
    }

    fn resources(&self, json: &Json, version: Version, at: &At) -> Read<Vec<Template>> {
        if self.document == Document::Trust {
            return Err(at.is(Problem::Prohibited("Resource")));
        }
        let mut resources = Vec::new();
        for value in non_empty(json, at)? {
            let text = text(value, at)?;
            let template = template(text, version).map_err(|error| at.is(error))?;
            if text != "*" {
                let segments: Vec<&str> = text.splitn(6, ':').collect();
                let least = match self.document {
                    Document::Identity => 3,
                    Document::Session => 6,
                    Document::Resource | Document::Trust => 4,
                };
                if let Some(problem) = other_partition(text) {
                    return Err(at.is(problem));
                }
                match segments[..] {
                    ["arn", partition, ref rest @ ..] if !partition.is_empty() => {
                        let service = rest.first().copied().unwrap_or_default();
                        if service.is_empty() || service.contains(['*', '?', '$']) {
                            return Err(at.is(Problem::ResourceService(text.to_owned())));
                        }
                        if segments.len() < least {
                            return Err(at.is(Problem::Resource(text.to_owned())));
                        }
                    }
                    _ => return Err(at.is(Problem::Resource(text.to_owned()))),
                }
            }
            let template = template.of_resource(self.document == Document::Identity);
            resources.push(template);
        }
        Ok(resources)
    }
}

fn conditions(json: &Json, version: Version, at: &At) -> Read<Vec<Condition>> {
    let mut conditions = Vec::new();
    for (name, keys) in object(json, at)? {
        let at = at.member(name);
        let operator = Operator::parse(name).ok_or_else(|| at.is(Problem::Operator(name.clone())))?;
        let keys = object(keys, &at)?;
        if keys.is_empty() {
            return Err(at.is(Problem::Empty));
        }
        for (key, values) in keys {
            if !key.contains(':') || key.contains(['*', '?', '$']) {
                return Err(at.is(Problem::Key(key.clone())));
            }
            let at = at.member(key);
            let values = non_empty(values, &at)?.iter().map(|value| {
                value
                    .scalar()
                    .ok_or_else(|| at.expected("a string, a number or a boolean", value))
            });
            let values = values.collect::<Read<Vec<String>>>()?;
            let variables = version == Version::V2012;
            conditions
                .push(Condition::parse(&operator, key, values, variables).map_err(|error| at.is(error))?);
        }
    }
    Ok(conditions)
}

fn template(text: &str, version: Version) -> Result<Template, VariableError> {
    match version {
        Version::V2008 => Ok(Template::plain(text)),
        Version::V2012 => Template::with_variables(text),
    }
}

/// `*`, or a service's prefix without wildcards and a name with any.
fn is_action(text: &str) -> bool {
    let is_prefix = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_name = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"*?-_".contains(&byte))
    };
    match text.split_once(':') {
        None => text == "*",
        Some(("*", name)) => name == "*",
        Some((prefix, name)) => is_prefix(prefix) && is_name(name),
    }
}

/// Whether a trust policy may hold the action: STS's that take part in assuming a role, or a pattern over them.
fn may_assume(text: &str) -> bool {
    const ACTIONS: [&str; 6] = [
        "sts:AssumeRole",
        "sts:AssumeRoleWithSAML",
        "sts:AssumeRoleWithWebIdentity",
        "sts:SetContext",
        "sts:SetSourceIdentity",
        "sts:TagSession",
    ];
    text.get(..4)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("sts:"))
        && ACTIONS
            .iter()
            .any(|action| Glob::new(text).matches_ignoring_case(action))
}

fn object<'a>(json: &'a Json, at: &At) -> Read<&'a [(String, Json)]> {
    match json {
        Json::Map(members) => Ok(members),
        other => Err(at.expected("an object", other)),
    }
}

fn text<'a>(json: &'a Json, at: &At) -> Read<&'a str> {
    match json {
        Json::Text(text) => Ok(text),
        other => Err(at.expected("a string", other)),
    }
}

fn non_empty<'a>(json: &'a Json, at: &At) -> Read<&'a [Json]> {
    let items = json.one_or_many();
    if items.is_empty() {
        Err(at.is(Problem::Empty))
    } else {
        Ok(items)
    }
}

/// What AWS takes for the partition of an ARN, and the ARN as it then reads it, where there is no such partition.
fn other_partition(text: &str) -> Option<Problem> {
    let mut segments: Vec<&str> = text.splitn(6, ':').collect();
    let partition = *segments.get(1)?;
    let is_one = partition == "aws" || partition.starts_with("aws-") || partition.contains(['*', '?', '$']);
    if is_one || partition.is_empty() {
        return None;
    }
    segments[0] = "arn";
    segments.resize(6, "*");
    Some(Problem::Partition {
        partition: partition.to_owned(),
        resource: segments.join(":"),
    })
}

#[cfg(test)]
mod tests;
