//! `AssumeRoleWithWebIdentity`: a session for a token of an issuer that a role trusts.

use std::{borrow::Cow, slice, sync::Arc};

use super::{
    Call, Trace, constraint, required,
    session::{Longest, Wanted},
};
use crate::{
    answer::{Outcome, Refusal},
    caller::why,
    credentials::Labels,
    iam::{
        Facts, PolicySet, Principal, Request,
        context::{Over, folded},
        evaluate,
        store::OidcProvider,
    },
    token::{self, Token},
    wire::xml::Element,
};

/// Longest token, as the API reference has it.
const LONGEST_TOKEN: usize = 20_000;

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
    let token = Token::read(web_identity_token(call)?)?;
    let claims = &token.claims;
    trace.subject = Some(claims.sub.clone());

    let provider = state.world_as_is().iam.provider_of_issuer(&claims.iss).cloned();
    let provider = provider.ok_or_else(|| {
        let issuer = &claims.iss;
        token::invalid(format!(
            "No OpenIDConnect provider found in your account for {issuer}"
        ))
    })?;
    let defects = state.defects();
    if !defects.skip_token_signature {
        token.verify_signature(&state.issuers, &claims.iss).await?;
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
    let role = state.world_as_is().iam.role_by_arn(wanted.role_arn).cloned();
    let role = role.ok_or_else(|| refused(format!("there is no role {}", wanted.role_arn)))?;
    let principal = Principal::Federated {
        provider_arn: provider.arn.clone(),
    };
    let issuer = claims.iss.strip_prefix("https://").unwrap_or(&claims.iss);
    let vouched = Vouched {
        issuer,
        subject: &claims.sub,
        audiences: if defects.ignore_audience {
            &provider.client_ids
        } else {
            &claims.audiences
        },
        provider: &provider,
        account: &state.account,
        session_name: wanted.session_name,
    };
    let decision = evaluate(
        &Request {
            principal: &principal,
            action: ACTION,
            resource: &role.arn,
            resource_account: &state.account,
            context: &Over(&vouched, &circumstances),
        },
        &PolicySet {
            trust: Some(&role.trust.named),
            ..PolicySet::default()
        },
        state.rules(),
    );
    trace.statement.clone_from(&decision.statement);
    if !decision.allowed() && !defects.ignore_trust_policy {
        return Err(refused(why(&decision, ACTION)));
    }
    let longest = Longest::OfRole(role.max_session_duration);
    let mut answer = wanted.issue(
        call,
        &role,
        longest,
        Some(Arc::clone(&provider)),
        Labels::default(),
    )?;
    let claims = token.claims;
    answer.push(Element::text("SubjectFromWebIdentityToken", claims.sub));
    let audience = claims.audiences.into_iter().next().unwrap_or_default();
    answer.push(Element::text("Audience", audience));
    answer.push(Element::text("Provider", provider.arn.as_str()));
    Ok(Outcome::Xml(Some(answer)))
}

/// What is known of a call that a token vouches for.
struct Vouched<'a> {
    /// Without `https://`, as condition keys begin.
    issuer: &'a str,
    subject: &'a String,
    audiences: &'a [String],
    provider: &'a OidcProvider,
    account: &'a str,
    session_name: &'a str,
}

impl Facts for Vouched<'_> {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        let one = |value: &str| Some(Cow::Owned(vec![value.to_owned()]));
        match key {
            "aws:federatedprovider" => return Some(Cow::Borrowed(slice::from_ref(&self.provider.arn))),
            "aws:resourceaccount" => return one(self.account),
            "sts:rolesessionname" => return one(self.session_name),
            _ => {}
        }
        // A port in the issuer has a colon too: the claim's name is behind the last.
        let (issuer, claim) = key.rsplit_once(':')?;
        if issuer != folded(self.issuer) {
            return None;
        }
        match claim {
            "sub" => Some(Cow::Borrowed(slice::from_ref(self.subject))),
            "aud" => Some(Cow::Borrowed(self.audiences)).filter(|given| !given.is_empty()),
            _ => None,
        }
    }
}

/// The token of a call, without a word of it in an error.
fn web_identity_token(call: Call<'_>) -> Result<&str, Refusal> {
    let token = required(call.params, "WebIdentityToken")?;
    let broken = |what: String| Err(constraint(None, "webIdentityToken", &what));
    match token.chars().count() {
        ..4 => return broken("Member must have length greater than or equal to 4".to_owned()),
        length if length > LONGEST_TOKEN => {
            return broken(format!(
                "Member must have length less than or equal to {LONGEST_TOKEN}"
            ));
        }
        _ => {}
    }
    // An access token of OAuth 2.0, which only the provider itself could vouch for: none here does.
    if call.params.optional("ProviderId").is_some() {
        let message = "The identity provider (IdP) reported that authentication failed.";
        return Err(Refusal::new(403, "IDPRejectedClaim", message).denial(message));
    }
    Ok(token)
}
