//! What an AWS endpoint can be trusted with. A denial means something only where both hold.

use super::{Aws, AwsError, Session};
use crate::secret::Credential;

/// A token of the right form that nobody signed: RS256 says the header, zeroes are the signature.
/// Its issuer and its `ServiceAccount` do not exist.
const FORGED: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vYm9keSIsInR5cCI6IkpXVCJ9.\
    eyJhdWQiOlsic3RzLmFtYXpvbmF3cy5jb20iXSwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3MDAwMDAwMDAsImlzcyI6Imh0\
    dHBzOi8vbm9ib2R5LmludmFsaWQiLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6bm9ib2R5OmRlZmF1bHQifQ.\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Whether the endpoint enforces it.
    pub present: bool,
    /// What was seen, for the report.
    pub evidence: String,
}

/// Whether STS verifies tokens: a forged one and garbage must be refused. Errors are trouble on the
/// way.
pub async fn probe_token_verification(aws: &Aws, role_arn: &str) -> Result<Probe, AwsError> {
    for (token, what) in [(FORGED, "a forged token"), ("garbage", "garbage for a token")] {
        match aws.assume(role_arn, &Credential::new(token)).await {
            Ok(_) => {
                return Ok(Probe {
                    present: false,
                    evidence: format!("STS took {what} and handed out {role_arn}"),
                });
            }
            Err(error) if error.is_bad_token() || error.is_denied() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Probe {
        present: true,
        evidence: "STS refused a forged token and garbage".to_owned(),
    })
}

/// Whether IAM policies are evaluated on the resource: `own` must be readable and `other`, another
/// tenant's secret, must be denied. Errors are trouble on the way, an unreadable own secret included.
pub async fn probe_resource_enforcement(
    session: &Session,
    own: &str,
    other: &str,
) -> Result<Probe, AwsError> {
    session.read(own).await?;
    match session.read(other).await {
        Ok(_) => Ok(Probe {
            present: false,
            evidence: format!("a tenant read {other}, which its policy does not name"),
        }),
        Err(error) if error.is_denied() => Ok(Probe {
            present: true,
            evidence: format!("denied: {}", error.message()),
        }),
        Err(error) => Err(error),
    }
}
