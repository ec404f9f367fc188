//! Waits until an account knows what it was told: IAM is eventually consistent ("Troubleshoot IAM": changes are not always
//! immediately visible).
//!
//! A pod that came before would be refused once and let in later, and a denial that came before would be no proof. Whoever
//! never gets in is told why before any pod is made.

use std::time::{Duration, Instant};

use crate::{
    aws::{Aws, AwsError},
    kubernetes::Kubernetes,
    tenant::AUDIENCE,
};

use super::tenants::ProvisionError;

/// Longest wait for IAM.
const PATIENCE: Duration = Duration::from_mins(2);
/// First and longest pause between two tries.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// A tenant whose role is to be had by its pods' tokens, and may read its own secret.
pub(super) struct Newcomer<'a> {
    pub(super) namespace: &'a str,
    pub(super) role_arn: &'a str,
    /// Its own, by its full name.
    pub(super) secret: Option<&'a str>,
}

/// Waits until the token of a tenant's `ServiceAccount` gets its role, and the role its secret, as a pod's provider does it.
///
/// # Errors
///
/// When that is not so within two minutes, with what AWS said last.
pub(super) async fn await_settled(
    aws: &Aws,
    kubernetes: &Kubernetes,
    newcomer: Newcomer<'_>,
) -> Result<(), ProvisionError> {
    let until = Instant::now() + PATIENCE;
    let (mut pause, longest) = PAUSES;
    loop {
        let token = kubernetes.token(newcomer.namespace, "default", AUDIENCE).await?;
        let tried = async {
            let session = aws.assume(newcomer.role_arn, &token).await?;
            match newcomer.secret {
                Some(secret) => session.read(secret).await.map(drop),
                None => Ok(()),
            }
        };
        match tried.await {
            Ok(()) => return Ok(()),
            Err(error) if may_settle(&error) && Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Whether it is what AWS says of something that it does not know yet.
fn may_settle(error: &AwsError) -> bool {
    error.is_denied() || error.is_bad_token() || error.is_retryable()
}
