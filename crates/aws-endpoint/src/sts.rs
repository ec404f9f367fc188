//! AWS Security Token Service: `AssumeRoleWithWebIdentity`, `AssumeRole`, `GetCallerIdentity`.
//!
//! Imitated: the STS API reference, version 2011-06-15, and texts seen in public reports.
//!
//! Left out: session tags, transitive tags, MFA, source identity, SAML, regional token versions.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    answer::{Outcome, Refusal},
    caller::{Caller, Circumstances, Wish, request_context, user_id, why},
    credentials::{self, Session},
    iam::{
        Context, Document, NamedPolicy, Params, Policy, PolicySet, Principal, Request, evaluate, store::Role,
    },
    state::State,
    token::{self, Claims},
    wire::xml::Element,
};

/// The namespace of STS's answers.
pub(crate) const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// Longest session of a role that a session of a role assumed, in seconds.
const CHAINED: u32 = 3600;
/// Managed policies that can be given as session policies.
const SESSION_POLICIES: usize = 10;

/// A call, and where it was sent.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) state: &'a State,
    pub(crate) params: &'a Params,
    pub(crate) circumstances: Circumstances<'a>,
}

impl Call<'_> {
    fn now(&self) -> Timestamp {
        self.circumstances.now
    }
}

/// What the call log is told of a call, as it becomes known.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) role: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) statement: Option<String>,
}

/// Gives temporary credentials for a web-identity token.
///
/// Refused in this order: the parameters, the issuer, the signature, the times, the audience, the trust
/// policy. Nothing but the role's account tells an unknown role from one that does not trust the caller.
pub(crate) async fn assume_role_with_web_identity(
    call: Call<'_>,
    trace: &mut Trace,
) -> Result<Outcome, Refusal> {
    const ACTION: &str = "sts:AssumeRoleWithWebIdentity";
    let Call {
        state,
        params,
        circumstances,
    } = call;
    let wanted = Wanted::read(params, trace)?;
    let token = required(params, "WebIdentityToken")?;
    let claims = Claims::read(token)?;
    trace.subject = Some(claims.sub.clone());

    let provider = state.world().iam.provider_of_issuer(&claims.iss).cloned();
    let provider = provider.ok_or_else(|| {
        let issuer = &claims.iss;
        token::invalid(format!(
            "No OpenIDConnect provider found in your account for {issuer}"
        ))
    })?;
    let defects = state.defects();
    if !defects.skip_token_signature {
        token::verify_signature(&state.issuers, &claims.iss, token).await?;
    }
    claims.check_times(call.now(), defects.accept_expired_token)?;
    let known = |audience: &String| provider.client_ids.contains(audience);
    if !defects.ignore_audience && !claims.audiences.iter().any(known) {
        return Err(token::invalid("Incorrect token audience"));
    }

    let refused = |reason: String| {
        let audiences = claims.audiences.join(", ");
        Refusal::new(403, "AccessDenied", format!("Not authorized to perform {ACTION}")).denial(format!(
            "subject {} for audience {audiences}: {reason}",
            claims.sub
        ))
    };
    let role = state.world().iam.role_by_arn(wanted.role_arn).cloned();
    let role = role.ok_or_else(|| refused(format!("there is no role {}", wanted.role_arn)))?;
    let principal = Principal::Federated {
        provider_arn: provider.arn.clone(),
    };
    let issuer = claims.iss.strip_prefix("https://").unwrap_or(&claims.iss);
    let mut context = request_context(circumstances);
    context.set(&format!("{issuer}:sub"), claims.sub.as_str());
    let audiences = if defects.ignore_audience {
        &provider.client_ids
    } else {
        &claims.audiences
    };
    context.set_all(&format!("{issuer}:aud"), audiences.iter().cloned());
    context.set("aws:FederatedProvider", provider.arn.as_str());
    context.set("aws:ResourceAccount", state.account.as_str());
    context.set("sts:RoleSessionName", wanted.session_name);
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
        return Err(refused(why(&decision, ACTION)));
    }
    let longest = role.max_session_duration;
    let mut answer = wanted.issue(call, &role, longest, Some(provider.arn.clone()))?;
    answer.push(Element::text("SubjectFromWebIdentityToken", claims.sub));
    let audience = claims.audiences.into_iter().next().unwrap_or_default();
    answer.push(Element::text("Audience", audience));
    answer.push(Element::text("Provider", provider.arn));
    Ok(Outcome::Xml(Some(answer)))
}

/// Gives temporary credentials for a role that trusts the caller.
pub(crate) fn assume_role(call: Call<'_>, caller: &Session, trace: &mut Trace) -> Result<Outcome, Refusal> {
    const ACTION: &str = "sts:AssumeRole";
    let Call {
        state,
        params,
        circumstances,
    } = call;
    let wanted = Wanted::read(params, trace)?;
    let refused = |reason: String| {
        let (caller, role) = (caller.principal.arn(), wanted.role_arn);
        let message = format!("User: {caller} is not authorized to perform: {ACTION} on resource: {role}");
        Refusal::new(403, "AccessDenied", message).denial(reason)
    };
    let (role, caller_now) = {
        let world = state.world();
        let role = world.iam.role_by_arn(wanted.role_arn).cloned();
        (
            role,
            Caller::new(caller, &world.iam, circumstances, state.rules()),
        )
    };
    let role = role.ok_or_else(|| refused(format!("there is no role {}", wanted.role_arn)))?;
    let mut keys = Context::new();
    keys.set("sts:RoleSessionName", wanted.session_name);
    if let Some(id) = params.optional("ExternalId") {
        keys.set("sts:ExternalId", id);
    }
    for tag in &role.tags {
        keys.set(&format!("aws:ResourceTag/{}", tag.key), tag.value.as_str());
        keys.set(&format!("iam:ResourceTag/{}", tag.key), tag.value.as_str());
    }
    let decision = caller_now.decide(&Wish {
        action: ACTION,
        resource: &role.arn,
        account: &state.account,
        keys,
        resource_policy: None,
        trust: Some(&role.trust.named),
    });
    trace.statement = decision.statement.as_ref().map(ToString::to_string);
    if !decision.allowed() {
        return Err(refused(why(&decision, ACTION)));
    }
    let longest = if caller.role.is_some() {
        CHAINED
    } else {
        role.max_session_duration
    };
    Ok(Outcome::Xml(Some(wanted.issue(call, &role, longest, None)?)))
}

/// Says who the caller is. Nothing has to allow it.
pub(crate) fn caller_identity(state: &State, caller: &Session) -> Outcome {
    Outcome::Xml(Some(vec![
        Element::text("Arn", caller.principal.arn()),
        Element::text("UserId", user_id(&caller.principal)),
        Element::text("Account", state.account.as_str()),
    ]))
}

/// The role and the session that a call wants.
struct Wanted<'a> {
    role_arn: &'a str,
    session_name: &'a str,
}

impl<'a> Wanted<'a> {
    fn read(params: &'a Params, trace: &mut Trace) -> Result<Self, Refusal> {
        let role_arn = required(params, "RoleArn")?;
        trace.resource = Some(role_arn.to_owned());
        trace.role = role_arn.rsplit('/').next().map(str::to_owned);
        let session_name = required(params, "RoleSessionName")?;
        let constraint = |constraint: &str| {
            validation(format!(
                "1 validation error detected: Value '{session_name}' at 'roleSessionName' failed to satisfy \
                 constraint: {constraint}"
            ))
        };
        let allowed = |char: char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char);
        match session_name.chars().count() {
            0..=1 => Err(constraint("Member must have length greater than or equal to 2")),
            65.. => Err(constraint("Member must have length less than or equal to 64")),
            _ if !session_name.chars().all(allowed) => Err(constraint(
                "Member must satisfy regular expression pattern: [\\w+=,.@-]*",
            )),
            _ => Ok(Self {
                role_arn,
                session_name,
            }),
        }
    }

    /// Makes a session of `role`, and the elements that tell the caller about it.
    fn issue(
        &self,
        call: Call<'_>,
        role: &Role,
        longest: u32,
        provider: Option<String>,
    ) -> Result<Vec<Element>, Refusal> {
        let seconds = duration(call.params, longest)?;
        let policies = session_policies(call)?;
        let principal = Principal::assumed_role(&role.arn, &role.id, self.session_name);
        let (access_key_id, secret_access_key, token) = credentials::temporary();
        let expires = call.now() + SignedDuration::from_secs(i64::from(seconds));
        let elements = vec![
            Element::node(
                "AssumedRoleUser",
                vec![
                    Element::text("AssumedRoleId", user_id(&principal)),
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
            issued: Some(call.now()),
            expires: Some(expires),
        };
        call.state.world().keys.add(Arc::new(session), call.now());
        Ok(elements)
    }
}

/// `DurationSeconds`, an hour when it is left out.
fn duration(params: &Params, longest: u32) -> Result<u32, Refusal> {
    let Some(text) = params.optional("DurationSeconds") else {
        return Ok(CHAINED.min(longest));
    };
    let constraint = |constraint: &str| {
        validation(format!(
            "1 validation error detected: Value '{text}' at 'durationSeconds' failed to satisfy constraint: \
             {constraint}"
        ))
    };
    match text.parse::<u32>() {
        Err(_) | Ok(..900) => Err(constraint("Member must have value greater than or equal to 900")),
        Ok(43_201..) => Err(constraint("Member must have value less than or equal to 43200")),
        Ok(seconds) if seconds > longest => Err(validation(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        )),
        Ok(seconds) => Ok(seconds),
    }
}

/// The policies given with the call, which limit the session; `None` when there are none.
fn session_policies(call: Call<'_>) -> Result<Option<Arc<[NamedPolicy]>>, Refusal> {
    let mut policies = Vec::new();
    if let Some(text) = call.params.optional("Policy") {
        let policy = Policy::parse(text, Document::Session)
            .map_err(|error| Refusal::new(400, "MalformedPolicyDocument", error.aws_text()))?;
        policies.push(NamedPolicy::new("session policy", policy));
    }
    for number in 1.. {
        let Some(arn) = call.params.optional(&format!("PolicyArns.member.{number}.arn")) else {
            break;
        };
        if number > SESSION_POLICIES {
            return Err(validation(format!(
                "1 validation error detected: Value at 'policyArns' failed to satisfy constraint: Member must \
                 have length less than or equal to {SESSION_POLICIES}"
            )));
        }
        let policy = call.state.world().iam.managed(arn);
        policies.push(policy.ok_or_else(|| validation(format!("The policy {arn} does not exist.")))?);
    }
    Ok((!policies.is_empty()).then(|| policies.into()))
}

fn validation(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "ValidationError", message)
}

fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, Refusal> {
    params.required(name).map_err(|error| validation(error.message))
}
