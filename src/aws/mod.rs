//! AWS as the harness uses it: the only module that names the AWS SDK.
//!
//! [`Aws`] acts as the administrator who provisions; a [`Session`] acts with the credentials that a
//! tenant's own token is worth. Every call goes where [`AwsAccess`] says and trusts what it says:
//! the proxy and CA variables of the process are left alone.

mod error;
mod iam;
mod secrets;
mod session;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

pub use self::{error::AwsError, session::Session};

/// Longest wait for one answer of a provisioning call, retries not counted.
const ATTEMPT: Duration = Duration::from_secs(10);

/// How to reach an AWS endpoint.
#[derive(Clone)]
pub struct AwsAccess {
    /// Region that secrets are kept in.
    pub region: String,
    /// Account id, 12 digits.
    pub account: String,
    /// Base URL of every service.
    pub endpoint: String,
    /// Authorities to trust, as PEM.
    pub trust_pem: String,
}

/// An administrator's key.
#[derive(Clone)]
pub struct AdminKey(Credentials);

impl AdminKey {
    /// A long-term key.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self(Credentials::from_keys(access_key_id, secret_access_key, None))
    }
}

/// AWS, as the administrator of the account.
pub struct Aws {
    access: AwsAccess,
    http: SharedHttpClient,
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Aws {
    /// Makes the clients. Nothing is sent yet.
    pub fn connect(access: AwsAccess, key: AdminKey) -> Result<Self, AwsError> {
        let trust = TrustStore::empty().with_pem_certificate(access.trust_pem.as_bytes());
        let context = TlsContext::builder()
            .with_trust_store(trust)
            .build()
            .map_err(|error| AwsError::local("connect to AWS", &error))?;
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(context)
            .pool_max_idle_per_host(256)
            .build_https();
        let config = config(&access, &http)
            .credentials_provider(SharedCredentialsProvider::new(key.0))
            .retry_config(RetryConfig::standard())
            .build();
        Ok(Self {
            iam: aws_sdk_iam::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            access,
            http,
        })
    }

    /// Where it goes.
    #[must_use]
    pub fn access(&self) -> &AwsAccess {
        &self.access
    }

    /// ARN of the caller. Also serves to see whether the endpoint answers at all.
    pub async fn whoami(&self) -> Result<String, AwsError> {
        let answer = self.sts.get_caller_identity().send().await.map_err(|error| AwsError::of("sts:GetCallerIdentity", error))?;
        Ok(answer.arn().unwrap_or_default().to_owned())
    }
}

/// What every client shares; credentials and retries are the caller's.
fn config(access: &AwsAccess, http: &SharedHttpClient) -> aws_config::sdk_config::Builder {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(access.region.clone()))
        .endpoint_url(access.endpoint.clone())
        .http_client(http.clone())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).build())
}
