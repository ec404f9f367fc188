//! Tokens for the API servers of EKS clusters, as `aws eks get-token` makes them.
//!
//! `k8s-aws-v1.` and, in base64url without padding, a presigned URL of STS's `GetCallerIdentity` with the cluster's name in a
//! signed header: what aws-iam-authenticator's documentation describes. The API server's authenticator takes one for 15
//! minutes from the date in it, whatever `X-Amz-Expires` says, so that 14 are of use. It takes none whose host is not
//! STS's own, so the URL names that host wherever calls to STS go.

use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::{
    aws::{
        Aws, AwsError,
        error::{Credentials, chain, of_credentials},
    },
    secret::Credential,
};

const OPERATION: &str = "make a token for the cluster";
/// What every token begins with.
const PREFIX: &str = "k8s-aws-v1.";
/// The header with the cluster's name.
const CLUSTER_HEADER: &str = "x-k8s-aws-id";
/// What the URL says of how long it is good for; the same as the official tools say.
const EXPIRES: Duration = Duration::from_mins(1);
/// How long a token is of use.
const OF_USE: Duration = Duration::from_mins(14);

/// A bearer token for a cluster's API server.
pub struct ClusterToken {
    /// The token.
    pub token: Credential,
    /// From when on it is of no use: another one is to be made before.
    pub expires: Timestamp,
    /// The same by the clock that does not step.
    pub good_until: Instant,
}

impl Aws {
    /// A token for the API server of `cluster`, of whoever the chain has credentials of at this moment. Nothing is sent,
    /// except to renew those.
    ///
    /// # Errors
    ///
    /// When there are no credentials, or none that are good.
    pub async fn cluster_token(&self, cluster: &str) -> Result<ClusterToken, AwsError> {
        let credentials = self.credentials.provide_credentials().await.map_err(|error| {
            let kind = match of_credentials(&error) {
                Credentials::There => Credentials::Absent,
                other => other,
            };
            AwsError::credentials(kind, chain(&error))
        })?;
        let now = SystemTime::now();
        let host = sts_host(&self.access.region, &self.access.partition);
        let url = format!("https://{host}/?Action=GetCallerIdentity&Version=2011-06-15");
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(EXPIRES);
        let expires = credentials
            .expiry()
            .map_or(now + OF_USE, |expiry| expiry.min(now + OF_USE));
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.access.region)
            .name("sts")
            .time(now)
            .settings(settings)
            .build()
            .map_err(|error| AwsError::local(OPERATION, &error))?
            .into();
        let headers = [(CLUSTER_HEADER, cluster)];
        let request = SignableRequest::new("GET", url.as_str(), headers.into_iter(), SignableBody::empty());
        let request = request.map_err(|error| AwsError::local(OPERATION, &error))?;
        let (signed, _) = sign(request, &params)
            .map_err(|error| AwsError::local(OPERATION, &error))?
            .into_parts();
        let mut presigned = http::Request::get(&url)
            .body(())
            .map_err(|error| AwsError::local(OPERATION, &error))?;
        signed.apply_to_request_http1x(&mut presigned);
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(presigned.uri().to_string());
        Ok(ClusterToken {
            token: Credential::new(&format!("{PREFIX}{encoded}")),
            good_until: Instant::now() + expires.duration_since(now).unwrap_or_default(),
            expires: Timestamp::try_from(expires).map_err(|error| AwsError::local(OPERATION, &error))?,
        })
    }
}

/// STS's host of a region.
fn sts_host(region: &str, partition: &str) -> String {
    let suffix = if partition == "aws-cn" { ".cn" } else { "" };
    format!("sts.{region}.amazonaws.com{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_hosts() {
        for (region, partition, expected) in [
            ("eu-west-1", "aws", "sts.eu-west-1.amazonaws.com"),
            ("us-gov-west-1", "aws-us-gov", "sts.us-gov-west-1.amazonaws.com"),
            ("cn-north-1", "aws-cn", "sts.cn-north-1.amazonaws.com.cn"),
        ] {
            assert_eq!(sts_host(region, partition), expected);
        }
    }
}
