//! AWS Security Token Service: `AssumeRoleWithWebIdentity`, `AssumeRole`, `GetCallerIdentity`.
//!
//! Imitated: the STS API reference, version 2011-06-15, and texts seen in public reports.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, TokenData, Validation, dangerous};
use serde::Deserialize;

use crate::{
    answer::{Outcome, Refusal},
    credentials::{self, Session},
    iam::{
        Context, Document, NamedPolicy, Obstacle, Params, Policy, PolicySet, Principal, Request, evaluate,
        store::Role,
    },
    state::State,
    wire::xml::Element,
};

/// The namespace of STS's answers.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What the call log is told of a call, as it becomes known.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) role: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) statement: Option<String>,
}

/// Claims of a service-account token, as far as STS reads them.
#[derive(Debug, Clone, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
}

/// One audience or several (RFC 7519, section 4.1.3).
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "serde_json::Value")]
struct Audience(Vec<String>);

impl From<serde_json::Value> for Audience {
    fn from(value: serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        Self(match &value {
            serde_json::Value::Array(list) => list.iter().filter_map(text).collect(),
            one => text(one).into_iter().collect(),
        })
    }
}

const ACTION: &str = "sts:AssumeRoleWithWebIdentity";

/// Gives temporary credentials for a web-identity token.
pub(crate) async fn assume_role_with_web_identity(
    state: &Arc<State>,
    params: &Params,
    now: Timestamp,
    trace: &mut Trace,
) -> Result<Outcome, Refusal> {
    let role_arn = required(params, "RoleArn")?;
    let session_name = session_name(params)?;
    let token = required(params, "WebIdentityToken")?;
    trace.resource = Some(role_arn.to_owned());
    trace.role = role_arn.rsplit('/').next().map(str::to_owned);
    // Read without trust first: who issued it, and who it claims to be.
    let claims = dangerous_claims(token)?;
    trace.subject = Some(claims.sub.clone());

    let provider = state
        .world()
        .iam
        .provider_of_issuer(&claims.iss)
        .cloned()
        .ok_or_else(|| {
            let message = format!(
                "No OpenIDConnect provider found in your account for {}",
                claims.iss
            );
            invalid_token(message)
        })?;
    let defects = state.defects();
    if !defects.skip_token_signature {
        verify(state, &claims.iss, token).await?;
    }
    if !defects.ignore_audience
        && !claims
            .aud
            .0
            .iter()
            .any(|audience| provider.client_ids.contains(audience))
    {
        return Err(invalid_token("Incorrect token audience"));
    }

    let refused = |reason: String| {
        Refusal::new(403, "AccessDenied", format!("Not authorized to perform {ACTION}")).denial(reason)
    };
    let role = state.world().iam.role_by_arn(role_arn).cloned();
    let role = role.ok_or_else(|| refused(format!("no role {role_arn}")))?;
    let principal = Principal::Federated {
        provider_arn: provider.arn.clone(),
    };
    let mut context = Context::new();
    let issuer = claims.iss.strip_prefix("https://").unwrap_or(&claims.iss);
    context.set(&format!("{issuer}:sub"), claims.sub.as_str());
    let audiences = if defects.ignore_audience {
        provider.client_ids.clone()
    } else {
        claims.aud.0.clone()
    };
    context.set_all(&format!("{issuer}:aud"), audiences);
    context.set("aws:FederatedProvider", provider.arn.as_str());
    context.set("aws:CurrentTime", now.to_string());
    context.set("sts:RoleSessionName", session_name);
    let decision = evaluate(
        &Request {
            principal: &principal,
            action: ACTION,
            resource: &role.arn,
            resource_account: &state.account,
            context: &context,
        },
        &PolicySet {
            trust: Some(&role.trust.named),
            ..PolicySet::default()
        },
        state.rules(),
    );
    trace.statement = decision.statement.as_ref().map(ToString::to_string);
    if !decision.allowed() && !defects.ignore_trust_policy {
        let why = match decision.near_miss.as_ref().map(|miss| &miss.obstacle) {
            Some(Obstacle::Condition {
                key, expected, given, ..
            }) => {
                format!(
                    "the trust policy wants {key} to be {}, and it is {}",
                    expected.join(" or "),
                    given.join(", ")
                )
            }
            Some(Obstacle::Principal { named }) => {
                format!(
                    "the trust policy names {}, and not {}",
                    named.join(", "),
                    provider.arn
                )
            }
            _ => "the trust policy does not allow it".to_owned(),
        };
        return Err(refused(format!("sub is {}: {why}", claims.sub)));
    }
    let given = issue(
        state,
        params,
        &role,
        session_name,
        Some(provider.arn.clone()),
        now,
    )?;
    let mut result = given.elements;
    result.push(Element::text("SubjectFromWebIdentityToken", claims.sub));
    result.push(Element::text(
        "Audience",
        claims.aud.0.first().cloned().unwrap_or_default(),
    ));
    result.push(Element::text("Provider", provider.arn));
    Ok(Outcome::Xml(Some(result)))
}

/// Gives temporary credentials for a role that trusts the caller.
pub(crate) fn assume_role(
    state: &Arc<State>,
    caller: &Session,
    params: &Params,
    now: Timestamp,
    trace: &mut Trace,
) -> Result<Outcome, Refusal> {
    const ACTION: &str = "sts:AssumeRole";
    let role_arn = required(params, "RoleArn")?;
    let session_name = session_name(params)?;
    trace.resource = Some(role_arn.to_owned());
    let refused = |reason: String| {
        let message = format!(
            "User: {} is not authorized to perform: {ACTION} on resource: {role_arn}",
            caller.principal.arn()
        );
        Refusal::new(403, "AccessDenied", message).denial(reason)
    };
    let (role, policies) = {
        let world = state.world();
        let role = world.iam.role_by_arn(role_arn).cloned();
        let policies = caller
            .role
            .as_deref()
            .and_then(|name| world.iam.role_policies(name))
            .unwrap_or_default();
        (role, policies)
    };
    let role = role.ok_or_else(|| refused(format!("no role {role_arn}")))?;
    let mut context = Context::new();
    context.set("aws:PrincipalArn", caller.principal.arn());
    context.set("aws:PrincipalAccount", state.account.as_str());
    context.set("aws:CurrentTime", now.to_string());
    context.set("sts:RoleSessionName", session_name);
    if let Some(id) = params.optional("ExternalId") {
        context.set("sts:ExternalId", id);
    }
    let decision = evaluate(
        &Request {
            principal: &caller.principal,
            action: ACTION,
            resource: &role.arn,
            resource_account: &state.account,
            context: &context,
        },
        &PolicySet {
            identity: &policies.identity,
            boundary: policies.boundary.as_ref(),
            session: caller.policies.as_deref(),
            trust: Some(&role.trust.named),
            ..PolicySet::default()
        },
        state.rules(),
    );
    trace.statement = decision.statement.as_ref().map(ToString::to_string);
    if !decision.allowed() {
        return Err(refused(decision.reason.because(ACTION).unwrap_or_default()));
    }
    Ok(Outcome::Xml(Some(
        issue(state, params, &role, session_name, None, now)?.elements,
    )))
}

/// Says who the caller is. Nothing has to allow it.
pub(crate) fn caller_identity(state: &State, caller: &Session) -> Outcome {
    let user = match &caller.principal {
        Principal::AssumedRole {
            role_id, session_arn, ..
        } => {
            format!("{role_id}:{}", session_arn.rsplit('/').next().unwrap_or_default())
        }
        _ => state.account.clone(),
    };
    Outcome::Xml(Some(vec![
        Element::text("Arn", caller.principal.arn()),
        Element::text("UserId", user),
        Element::text("Account", state.account.as_str()),
    ]))
}

struct Given {
    elements: Vec<Element>,
}

/// Makes a session of `role` and the elements that tell the caller.
fn issue(
    state: &State,
    params: &Params,
    role: &Role,
    session_name: &str,
    provider: Option<String>,
    now: Timestamp,
) -> Result<Given, Refusal> {
    let seconds = match params.optional("DurationSeconds") {
        None => 3600.min(role.max_session_duration),
        Some(text) => text.parse::<u32>().ok().filter(|seconds| (900..=43_200).contains(seconds)).ok_or_else(|| {
            validation(format!("Value '{text}' at 'durationSeconds' failed to satisfy constraint: Member must have value between 900 and 43200"))
        })?,
    };
    if seconds > role.max_session_duration {
        return Err(validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        ));
    }
    let policies = match params.optional("Policy") {
        None => None,
        Some(text) => {
            let policy = Policy::parse(text, Document::Identity)
                .map_err(|error| Refusal::new(400, "MalformedPolicyDocument", error.aws_text()))?;
            Some(Arc::from([NamedPolicy::new("session policy", policy)]))
        }
    };
    let principal = Principal::assumed_role(&role.arn, &role.id, session_name);
    let (access_key_id, secret_access_key, token) = credentials::temporary();
    let expires = now + SignedDuration::from_secs(i64::from(seconds));
    let elements = vec![
        Element::node(
            "AssumedRoleUser",
            vec![
                Element::text("AssumedRoleId", format!("{}:{session_name}", role.id)),
                Element::text("Arn", principal.arn()),
            ],
        ),
        Element::node(
            "Credentials",
            vec![
                Element::text("AccessKeyId", access_key_id.as_str()),
                Element::text("SecretAccessKey", secret_access_key.as_str()),
                Element::text("SessionToken", token.as_str()),
                Element::text("Expiration", expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
            ],
        ),
    ];
    let session = Session {
        access_key_id,
        secret_access_key,
        token: Some(token),
        principal,
        role: Some(role.name.clone()),
        policies,
        provider,
        expires: Some(expires),
    };
    state.world().keys.add(Arc::new(session), now);
    Ok(Given { elements })
}

/// Checks signature, expiry and times of a token against its issuer's published keys.
async fn verify(state: &Arc<State>, issuer: &str, token: &str) -> Result<(), Refusal> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| invalid_token(NOT_A_TOKEN))?;
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
        return Err(invalid_token(NOT_A_TOKEN));
    }
    let kid = header.kid.ok_or_else(|| invalid_token(NOT_A_TOKEN))?;
    let key = state.issuers.key(issuer, &kid).await.map_err(|because| {
        tracing::warn!(issuer, because, "keys of a token issuer");
        invalid_token(NO_KEY)
    })?;
    let key = key.ok_or_else(|| invalid_token(NO_KEY))?;
    let key = DecodingKey::from_jwk(&key).map_err(|_| invalid_token(NO_KEY))?;
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["exp", "iss", "sub", "aud"]);
    validation.set_issuer(&[issuer]);
    validation.validate_nbf = true;
    // Judged by the provider's client ids, with AWS's own text.
    validation.validate_aud = false;
    match jsonwebtoken::decode::<Claims>(token, &key, &validation) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            jsonwebtoken::errors::ErrorKind::ExpiredSignature => {
                let text = "Token expired: its expiration date/time is in the past";
                Refusal::new(400, "ExpiredTokenException", text).denial(text)
            }
            _ => invalid_token("The token's signature, issuer or times are not valid"),
        }),
    }
}

const NOT_A_TOKEN: &str =
    "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
/// AWS's text, with its two blanks.
const NO_KEY: &str = "Couldn't retrieve verification key from your identity provider,  please reference \
                      AssumeRoleWithWebIdentity documentation for requirements";

fn dangerous_claims(token: &str) -> Result<Claims, Refusal> {
    let data: TokenData<Claims> =
        dangerous::insecure_decode(token).map_err(|_| invalid_token(NOT_A_TOKEN))?;
    Ok(data.claims)
}

fn invalid_token(message: impl Into<String>) -> Refusal {
    let message = message.into();
    Refusal::new(400, "InvalidIdentityToken", message.clone()).denial(message)
}

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refusal> {
    params.required(name).map_err(|error| validation(error.message))
}

fn session_name(params: &Params) -> Result<&str, Refusal> {
    let name = required(params, "RoleSessionName")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (2..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(name);
    }
    Err(validation(format!(
        "1 validation error detected: Value '{name}' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"
    )))
}
