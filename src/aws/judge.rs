//! What an endpoint can prove, judged by what it does with a pair of tenants made for it and not by its name.
//!
//! The pair is two roles that trust the account itself, each with a policy for its own secret: no issuer has to be
//! known to the endpoint. Everything carries a run's tag, and is removed again.

use serde_json::{Value, json};

use super::{Aws, AwsError, Probe, Session, iam::Tags, probe_resource_enforcement, probe_token_verification};
use crate::{
    secret::{Credential, SecretValue},
    tenant::{AUDIENCE, Marks},
};

/// One answer about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it would prove.
    pub capability: &'static str,
    /// Whether it does.
    pub answer: Answer,
}

/// Whether an endpoint enforces something, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It let in who may come in, and refused who may not.
    Yes(String),
    /// It let in who may not come in.
    No(String),
    /// It was not seen to do both: one that refuses everything proves nothing.
    Unknown(String),
}

impl From<Result<Probe, AwsError>> for Answer {
    fn from(seen: Result<Probe, AwsError>) -> Self {
        match seen {
            Ok(probe) if probe.present => Self::Yes(probe.evidence),
            Ok(probe) => Self::No(probe.evidence),
            Err(error) => Self::Unknown(format!("could not be tried: {error}")),
        }
    }
}

/// Tokens of an issuer that the endpoint may reach.
pub struct Genuine {
    /// Its `https://` URL.
    pub issuer: String,
    /// Whose tokens they are: the claim `sub`.
    pub subject: String,
    /// For STS.
    pub token: Credential,
    /// For somebody else.
    pub for_another: Credential,
}

/// One of the pair.
struct Tenant {
    role: String,
    policy: String,
    secret: String,
}

/// Makes the pair, tries everything, and removes what was made. `run` marks it. Without genuine tokens, and the
/// reason why there are none, it stays unknown whether tokens are verified or all refused.
///
/// # Errors
/// When the pair cannot be made or removed: the credentials are no administrator's, or nothing answers.
pub async fn judge(aws: &Aws, run: &str, genuine: &Result<Genuine, String>) -> Result<Vec<Judged>, AwsError> {
    let pair = ["a", "b"].map(|tenant| Tenant {
        role: format!("mountproof-probe-{run}-{tenant}"),
        policy: format!("mountproof-probe-{run}-{tenant}"),
        secret: format!("mountproof-probe-{run}/{tenant}/secret"),
    });
    let federated = format!("mountproof-probe-{run}-federated");
    let judged = judge_by(aws, &pair, &federated, genuine, &Marks::of_run(run).tags()).await;
    let mut removed = aws.remove_role(&federated).await;
    if let Ok(genuine) = genuine {
        removed = removed.and(aws.remove_oidc(&aws.oidc_arn(&genuine.issuer)).await);
    }
    for tenant in &pair {
        for step in [
            aws.remove_role(&tenant.role).await,
            aws.remove_policy(&aws.policy_arn(&tenant.policy)).await,
            aws.remove_secret(&tenant.secret).await,
        ] {
            removed = removed.and(step);
        }
    }
    let judged = judged?;
    removed?;
    Ok(judged)
}

async fn judge_by(
    aws: &Aws,
    [own, other]: &[Tenant; 2],
    federated: &str,
    genuine: &Result<Genuine, String>,
    tags: &Tags,
) -> Result<Vec<Judged>, AwsError> {
    let role = provide(aws, own, tags).await?;
    provide(aws, other, tags).await?;
    let mut judged = vec![Judged {
        capability: "token-verification",
        answer: match probe_token_verification(aws, &role).await {
            Ok(probe) if probe.present => tokens(aws, federated, own, genuine, tags)
                .await
                .unwrap_or_else(|error| Err(error).into()),
            seen => seen.into(),
        },
    }];
    let mut session = aws.assume_as_administrator(&role).await;
    if let (Err(_), Ok(genuine)) = (&session, genuine) {
        // A root user assumes no role on AWS. The other role is of the same policy, where tokens are taken.
        let federated = role.replace(&own.role, federated);
        session = aws.assume(&federated, &genuine.token).await.or(session);
    }
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            for capability in ["request-signatures", "iam-enforcement", "resource-policies"] {
                let answer = Err(error.clone()).into();
                judged.push(Judged { capability, answer });
            }
            return Ok(judged);
        }
    };
    judged.push(Judged {
        capability: "request-signatures",
        answer: signatures(&session, &own.secret).await.into(),
    });
    judged.push(Judged {
        capability: "iam-enforcement",
        answer: probe_resource_enforcement(&session, &own.secret, &other.secret)
            .await
            .into(),
    });
    judged.push(Judged {
        capability: "resource-policies",
        answer: resource_policies(aws, &session, own).await.into(),
    });
    Ok(judged)
}

/// A genuine token must be taken, and refused when a letter of its signature is another or it is for somebody else.
/// That what nobody signed is refused is known already.
async fn tokens(
    aws: &Aws,
    role: &str,
    own: &Tenant,
    genuine: &Result<Genuine, String>,
    tags: &Tags,
) -> Result<Answer, AwsError> {
    let genuine = match genuine {
        Ok(genuine) => genuine,
        Err(because) => {
            return Ok(Answer::Unknown(format!(
                "refuses forged tokens; a genuine one was not tried: {because}"
            )));
        }
    };
    let provider = aws.provide_oidc(&genuine.issuer, AUDIENCE, tags).await?;
    let name = genuine.issuer.trim_start_matches("https://");
    let trust = allow(&json!({
        "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": {"Federated": provider},
        "Condition": {"StringEquals": {
            format!("{name}:aud"): AUDIENCE,
            format!("{name}:sub"): genuine.subject,
        }},
    }));
    let role = aws
        .provide_role(role, &trust, &aws.policy_arn(&own.policy), tags)
        .await?;
    match aws.assume(&role, &genuine.token).await {
        Ok(_) => {}
        Err(error) if error.is_answer() => {
            return Ok(Answer::Unknown(format!(
                "refuses forged tokens, and a genuine one of {} as well: {}",
                genuine.issuer,
                error.message()
            )));
        }
        Err(error) => return Err(error),
    }
    let tampered = genuine.token.with_other_signature();
    for (token, what) in [
        (&tampered, "a token with another signature"),
        (&genuine.for_another, "a token for somebody else"),
    ] {
        match aws.assume(&role, token).await {
            Ok(_) => return Ok(Answer::No(format!("STS took {what}"))),
            Err(error) if error.is_bad_token() || error.is_denied() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Answer::Yes(
        "STS took a genuine token, and refused forged ones and one for somebody else".to_owned(),
    ))
}

/// A request that is signed with another key must be refused, and one with the right key answered.
async fn signatures(session: &Session, own: &str) -> Result<Probe, AwsError> {
    session.read(own).await?;
    match session.with_other_key().read(own).await {
        Ok(_) => Ok(Probe {
            present: false,
            evidence: "a request with a wrong signature was answered with the secret".to_owned(),
        }),
        Err(error) if error.is_bad_signature() => Ok(Probe {
            present: true,
            evidence: format!("refused a wrong signature: {}", error.code().unwrap_or("no code")),
        }),
        Err(error) => Err(error),
    }
}

/// A secret whose own policy denies everyone must not be readable any more.
async fn resource_policies(aws: &Aws, session: &Session, own: &Tenant) -> Result<Probe, AwsError> {
    session.read(&own.secret).await?;
    let shut = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Deny", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*",
    }]});
    aws.put_resource_policy(&own.secret, &shut).await?;
    match session.read(&own.secret).await {
        Ok(_) => Ok(Probe {
            present: false,
            evidence: "a secret was read although its own policy denies it to everyone".to_owned(),
        }),
        Err(error) if error.is_denied() => Ok(Probe {
            present: true,
            evidence: format!("denied: {}", error.message()),
        }),
        Err(error) => Err(error),
    }
}

async fn provide(aws: &Aws, tenant: &Tenant, tags: &Tags) -> Result<String, AwsError> {
    let (region, account, partition) = (&aws.access().region, &aws.access().account, aws.partition());
    let secret = format!(
        "arn:{partition}:secretsmanager:{region}:{account}:secret:{}-??????",
        tenant.secret
    );
    let own = allow(&json!({
        "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret,
    }));
    let trust = allow(&json!({
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account}:root")},
    }));
    aws.provide_secret(&tenant.secret, &SecretValue::text("of no worth"), tags)
        .await?;
    let policy = aws.provide_policy(&tenant.policy, &own, tags).await?;
    aws.provide_role(&tenant.role, &trust, &policy, tags).await
}

fn allow(statement: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [statement]})
}
