//! What a call wants a session to be, and the session that comes of it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Call, Trace, constraint, packed, required, validation};
use crate::{
    answer::Refusal,
    caller::user_id,
    credentials::{self, Labels, Session},
    iam::{
        Context, Document, NamedPolicy, Params, Policy, Principal,
        error::IamErrorKind,
        store::{OidcProvider, Role, Tag},
    },
    state::State,
    wire::xml::Element,
};

/// How long a session is when nothing is said, in seconds.
const HOUR: u32 = 3600;
/// Managed policies that can be given as session policies.
const SESSION_POLICIES: usize = 10;
/// Longest inline session policy.
const LONGEST_POLICY: usize = 2048;
const TAGS: usize = 50;

/// The role and the session that a call wants.
pub(super) struct Wanted<'a> {
    pub(super) role_arn: &'a str,
    pub(super) session_name: &'a str,
}

/// How long a session can be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Longest {
    /// As long as its role says.
    OfRole(u32),
    /// An hour, for a session that a session asks for.
    Chained,
}

impl<'a> Wanted<'a> {
    pub(super) fn read(params: &'a Params, trace: &mut Trace) -> Result<Self, Refusal> {
        let role_arn = required(params, "RoleArn")?;
        trace.resource = Some(role_arn.to_owned());
        trace.role = role_arn.rsplit('/').next().map(Arc::from);
        let at = |what: &str| constraint(Some(role_arn), "roleArn", what);
        match role_arn.chars().count() {
            ..20 => return Err(at("Member must have length greater than or equal to 20")),
            2049.. => {
                let what = "Member must have length less than or equal to 2048";
                return Err(constraint(None, "roleArn", what));
            }
            _ => {}
        }
        if !is_role(role_arn) {
            return Err(validation("Request ARN is invalid"));
        }
        let session_name = required(params, "RoleSessionName")?;
        check_name("roleSessionName", session_name)?;
        Ok(Self {
            role_arn,
            session_name,
        })
    }

    /// Makes a session of `role`, and the elements that tell the caller about it.
    pub(super) fn issue(
        &self,
        call: Call<'_>,
        role: &Role,
        longest: Longest,
        provider: Option<Arc<OidcProvider>>,
        labels: Labels,
    ) -> Result<Vec<Element>, Refusal> {
        let seconds = duration(call.params, longest)?;
        let inline = call.params.optional("Policy");
        let arns = policy_arns(call.params)?;
        let policies = session_policies(call, inline, &arns)?;
        let packed = packed::size(inline, &arns, &labels.tags)
            .map_err(|text| Refusal::new(400, "PackedPolicyTooLarge", text))?;
        let source_identity = labels.source_identity.clone();
        let grant = Grant {
            role,
            session_name: self.session_name,
            seconds,
            policies,
            provider,
            labels,
        };
        let Issued {
            session,
            expires,
            user_id,
        } = issue(call.state, grant, call.now());
        let mut elements = vec![
            Element::node(
                "AssumedRoleUser",
                vec![
                    Element::text("AssumedRoleId", user_id),
                    Element::text("Arn", &*session.arn),
                ],
            ),
            Element::node(
                "Credentials",
                vec![
                    Element::text("AccessKeyId", &*session.access_key_id),
                    Element::text("SecretAccessKey", session.secret_access_key.as_str()),
                    Element::text("SessionToken", session.token.as_deref().unwrap_or_default()),
                    Element::text("Expiration", expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
                ],
            ),
        ];
        if let Some(packed) = packed {
            elements.push(Element::text("PackedPolicySize", packed.to_string()));
        }
        if let Some(identity) = source_identity {
            elements.push(Element::text("SourceIdentity", identity));
        }
        Ok(elements)
    }
}

/// A session that has been decided to be given.
pub(crate) struct Grant<'a> {
    pub(crate) role: &'a Role,
    pub(crate) session_name: &'a str,
    pub(crate) seconds: u32,
    pub(crate) policies: Option<Arc<[NamedPolicy]>>,
    pub(crate) provider: Option<Arc<OidcProvider>>,
    pub(crate) labels: Labels,
}

/// A session that was given. Has no `Debug`: it holds a key.
pub(crate) struct Issued {
    pub(crate) session: Arc<Session>,
    pub(crate) expires: Timestamp,
    pub(crate) user_id: String,
}

/// Makes a session and its key.
pub(crate) fn issue(state: &State, grant: Grant<'_>, now: Timestamp) -> Issued {
    let Grant {
        role,
        session_name,
        seconds,
        policies,
        provider,
        labels,
    } = grant;
    let principal = Principal::assumed_role(&role.arn, &role.id, session_name);
    let (access_key_id, secret_access_key, token) = credentials::temporary();
    let expires = now + SignedDuration::from_secs(i64::from(seconds));
    let user_id = user_id(&principal);
    let session = Session {
        access_key_id: access_key_id.into(),
        secret_access_key,
        token: Some(token),
        arn: principal.arn().into(),
        principal,
        role: Some(role.name.as_str().into()),
        policies,
        provider,
        issued: Some(now),
        expires: Some(expires),
        labels,
    };
    Issued {
        session: state.keys.add(session, now),
        expires,
        user_id,
    }
}

/// The tags of a call, and which of them go on.
pub(super) fn tags(params: &Params) -> Result<(Vec<Tag>, Vec<String>), Refusal> {
    let tags = params.tags().map_err(|error| match error.kind {
        IamErrorKind::InvalidInput => Refusal::new(400, "InvalidParameterValue", error.message),
        _ => validation(error.message),
    })?;
    let transitive: Vec<String> = params
        .list("TransitiveTagKeys")
        .into_iter()
        .map(str::to_owned)
        .collect();
    for (count, at) in [(tags.len(), "tags"), (transitive.len(), "transitiveTagKeys")] {
        if count > TAGS {
            let what = format!("Member must have length less than or equal to {TAGS}");
            return Err(constraint(None, at, &what));
        }
    }
    if let Some(stray) = transitive
        .iter()
        .find(|key| !tags.iter().any(|tag| tag.has_key(key)))
    {
        return Err(Refusal::new(
            400,
            "InvalidParameterValue",
            format!("The transitive tag key {stray} is not among the session tags."),
        ));
    }
    Ok((tags, transitive))
}

/// The condition keys of tags that a session is to have.
pub(crate) fn tag_keys(keys: &mut Context, tags: &[Tag], transitive: &[String]) {
    keys.set_all("aws:TagKeys", tags.iter().map(|tag| tag.key.as_str()));
    for tag in tags {
        keys.set(&format!("aws:RequestTag/{}", tag.key), tag.value.as_str());
    }
    keys.set_all("sts:TransitiveTagKeys", transitive.iter().map(String::as_str));
}

/// A session's name or a source identity.
pub(super) fn check_name(at: &str, name: &str) -> Result<(), Refusal> {
    let broken = |what: &str| Err(constraint(Some(name), at, what));
    let allowed = |char: char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char);
    match name.chars().count() {
        0..=1 => broken("Member must have length greater than or equal to 2"),
        65.. => broken("Member must have length less than or equal to 64"),
        _ if !name.chars().all(allowed) => {
            broken("Member must satisfy regular expression pattern: [\\w+=,.@-]*")
        }
        _ => Ok(()),
    }
}

/// `arn:aws:iam::<account>:role/<path><name>`.
fn is_role(arn: &str) -> bool {
    let mut rest = arn.splitn(6, ':');
    let parts: [&str; 6] = std::array::from_fn(|_| rest.next().unwrap_or_default());
    matches!(parts, ["arn", _, "iam", "", account, rest]
        if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with("role/"))
}

/// `DurationSeconds`, an hour when it is left out.
fn duration(params: &Params, longest: Longest) -> Result<u32, Refusal> {
    let most = match longest {
        Longest::OfRole(seconds) => seconds,
        Longest::Chained => HOUR,
    };
    let Some(text) = params.optional("DurationSeconds") else {
        return Ok(HOUR.min(most));
    };
    let broken = |what: &str| Err(constraint(Some(text), "durationSeconds", what));
    match text.parse::<u32>() {
        Err(_) | Ok(..900) => broken("Member must have value greater than or equal to 900"),
        Ok(43_201..) => broken("Member must have value less than or equal to 43200"),
        Ok(seconds) if seconds > most => Err(validation(match longest {
            Longest::OfRole(_) => {
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            }
            Longest::Chained => {
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
            }
        })),
        Ok(seconds) => Ok(seconds),
    }
}

/// The ARNs of the managed policies given with the call.
fn policy_arns(params: &Params) -> Result<Vec<&str>, Refusal> {
    let arns: Vec<&str> = (1..)
        .map_while(|number| params.optional(&format!("PolicyArns.member.{number}.arn")))
        .take(SESSION_POLICIES + 1)
        .collect();
    if arns.len() > SESSION_POLICIES {
        let what = format!("Member must have length less than or equal to {SESSION_POLICIES}");
        return Err(constraint(None, "policyArns", &what));
    }
    Ok(arns)
}

/// The policies given with the call, which limit the session; `None` when there are none.
fn session_policies(
    call: Call<'_>,
    inline: Option<&str>,
    arns: &[&str],
) -> Result<Option<Arc<[NamedPolicy]>>, Refusal> {
    let mut policies = Vec::new();
    if let Some(text) = inline {
        if text.chars().count() > LONGEST_POLICY {
            let what = format!("Member must have length less than or equal to {LONGEST_POLICY}");
            return Err(constraint(None, "policy", &what));
        }
        let policy = Policy::parse(text, Document::Session)
            .map_err(|error| Refusal::new(400, "MalformedPolicyDocument", error.aws_text()))?;
        policies.push(NamedPolicy::new("session policy", policy));
    }
    for arn in arns {
        let policy = call.state.world_as_is().iam.managed(arn);
        policies.push(policy.ok_or_else(|| validation(format!("The policy {arn} does not exist.")))?);
    }
    Ok((!policies.is_empty()).then(|| policies.into()))
}
