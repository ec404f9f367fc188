//! What an endpoint can prove, judged by what it does with a pair of tenants made for it and not by its name.
//!
//! The pair is two roles that trust the account itself, each with a policy for its own secret: no issuer has to be
//! known to the endpoint. Everything carries a run's tag, and is removed again.

use serde_json::{Value, json};

use super::{Aws, AwsError, Probe, Session, iam::Tags, probe_resource_enforcement, probe_token_verification};
use crate::{secret::SecretValue, tenant::Marks};

/// One answer about an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What it would prove.
    pub capability: &'static str,
    /// Whether it does, and what was seen; an error where that could not be seen.
    pub seen: Result<Probe, AwsError>,
}

/// One of the pair.
struct Tenant {
    role: String,
    policy: String,
    secret: String,
}

/// Makes the pair, tries everything, and removes what was made. `run` marks it.
///
/// # Errors
/// When the pair cannot be made or removed: the credentials are no administrator's, or nothing answers.
pub async fn judge(aws: &Aws, run: &str) -> Result<Vec<Judged>, AwsError> {
    let pair = ["a", "b"].map(|tenant| Tenant {
        role: format!("mountproof-probe-{run}-{tenant}"),
        policy: format!("mountproof-probe-{run}-{tenant}"),
        secret: format!("mountproof-probe-{run}/{tenant}/secret"),
    });
    let judged = judge_by(aws, &pair, &Marks::of_run(run).tags()).await;
    let mut removed = Ok(());
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

async fn judge_by(aws: &Aws, [own, other]: &[Tenant; 2], tags: &Tags) -> Result<Vec<Judged>, AwsError> {
    let role = provide(aws, own, tags).await?;
    provide(aws, other, tags).await?;
    let mut judged = vec![Judged {
        capability: "token-verification",
        seen: probe_token_verification(aws, &role).await,
    }];
    let session = match aws.assume_as_administrator(&role).await {
        Ok(session) => session,
        Err(error) => {
            for capability in ["request-signatures", "iam-enforcement", "resource-policies"] {
                let seen = Err(error.clone());
                judged.push(Judged { capability, seen });
            }
            return Ok(judged);
        }
    };
    judged.push(Judged {
        capability: "request-signatures",
        seen: signatures(&session, &own.secret).await,
    });
    judged.push(Judged {
        capability: "iam-enforcement",
        seen: probe_resource_enforcement(&session, &own.secret, &other.secret).await,
    });
    judged.push(Judged {
        capability: "resource-policies",
        seen: resource_policies(aws, &session, own).await,
    });
    Ok(judged)
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
    let (region, account) = (&aws.access().region, &aws.access().account);
    let allow = |statement: Value| json!({"Version": "2012-10-17", "Statement": [statement]});
    let secret = format!(
        "arn:aws:secretsmanager:{region}:{account}:secret:{}-??????",
        tenant.secret
    );
    let own = allow(json!({
        "Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": secret,
    }));
    let trust = allow(json!({
        "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": {"AWS": format!("arn:aws:iam::{account}:root")},
    }));
    aws.provide_secret(&tenant.secret, &SecretValue::text("of no worth"), tags)
        .await?;
    let policy = aws.provide_policy(&tenant.policy, &own, tags).await?;
    aws.provide_role(&tenant.role, &trust, &policy, tags).await
}
