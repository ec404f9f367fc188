//! AWS as the harness uses it: the only module that names the AWS SDK.
//!
//! [`Aws`] acts as the administrator who provisions; a [`Session`] acts with the credentials that a
//! tenant's own token is worth. [`Aws::connect`] goes where [`AwsAccess`] says and trusts what it says:
//! the proxy and CA variables of the process are left alone. [`Aws::of_account`] finds everything as any AWS tool does.

mod account;
mod budget;
mod eks;
mod error;
mod iam;
mod inventory;
mod judge;
mod leftovers;
mod probe;
mod secrets;
mod session;

use std::{sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::SharedHttpClient, stalled_stream_protection::StalledStreamProtectionConfig,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use self::budget::Budget;
pub use self::{
    account::AccountOptions,
    budget::{HeldBack, Share},
    eks::{
        AddonRequest, AddonView, AssociationRef, AssociationView, ClusterRequest, ClusterToken, ClusterView,
        Hears, Issue, NodegroupRequest, NodegroupView, service_trust,
    },
    error::AwsError,
    iam::Tags,
    inventory::{Inventory, Owned, OwnedKind},
    judge::{Answer, Genuine, Judged, judge},
    leftovers::AwsLeftovers,
    probe::{Probe, probe_resource_enforcement, probe_token_verification},
    session::Session,
};

/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest wait for one answer, retries not counted.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Longest time of a call, retries counted.
const CALL: Duration = Duration::from_secs(40);
/// Attempts at a call of the administrator's. A tenant's session has one.
const ATTEMPTS: u32 = 4;

/// How to reach AWS.
#[derive(Clone)]
pub struct AwsAccess {
    /// Region that secrets are kept in.
    pub region: String,
    /// Account id, 12 digits.
    pub account: String,
    /// What ARNs begin with behind `arn:`: `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// Base URL of every service; absent where each has the host that AWS gives it.
    pub endpoint: Option<String>,
    /// Authorities to trust, as PEM; the platform's own where absent.
    pub trust_pem: Option<String>,
    /// URL of the HTTP proxy behind which AWS's own host names are this endpoint; absent where they are not.
    pub proxy: Option<String>,
}

/// An administrator's key.
#[derive(Clone)]
pub struct AdminKey(Credentials);

impl AdminKey {
    /// A long-term key.
    #[must_use]
    pub fn new(access_key_id: &str, secret_access_key: &str) -> Self {
        Self(Credentials::new(
            access_key_id,
            secret_access_key,
            None,
            None,
            "mountproof",
        ))
    }
}

/// AWS, as the administrator of the account. Clones share connections and budget.
#[derive(Clone)]
pub struct Aws {
    access: AwsAccess,
    /// What every client shares: no credentials, no retries.
    unsigned: SdkConfig,
    credentials: SharedCredentialsProvider,
    /// Absent where no account's quotas are used up.
    budget: Option<Arc<Budget>>,
    /// ARN of the administrator, where it was asked for.
    caller: Option<String>,
    eks: aws_sdk_eks::Client,
    iam: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Aws {
    /// Makes the clients. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When `trust_pem` holds no certificate.
    pub fn connect(access: AwsAccess, key: AdminKey) -> Result<Self, AwsError> {
        let trust = access.trust_pem.as_deref().unwrap_or_default();
        check_trust(trust)?;
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls_context(&access)?)
            .pool_max_idle_per_host(256)
            .build_https();
        let unsigned = config(&access, &http);
        Ok(Self::over(
            access,
            unsigned,
            SharedCredentialsProvider::new(key.0),
        ))
    }

    fn over(access: AwsAccess, unsigned: SdkConfig, credentials: SharedCredentialsProvider) -> Self {
        let config = unsigned
            .to_builder()
            .credentials_provider(credentials.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .build();
        Self {
            eks: aws_sdk_eks::Client::new(&config),
            iam: aws_sdk_iam::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            budget: None,
            caller: None,
            access,
            unsigned,
            credentials,
        }
    }

    /// Where it goes.
    #[must_use]
    pub fn access(&self) -> &AwsAccess {
        &self.access
    }

    /// What ARNs begin with behind `arn:`.
    #[must_use]
    pub fn partition(&self) -> &str {
        &self.access.partition
    }

    /// ARN of a policy that AWS itself manages, by its name with its path, such as `AmazonEKSClusterPolicy`.
    #[must_use]
    pub fn managed_policy_arn(&self, name: &str) -> String {
        format!("arn:{}:iam::aws:policy/{name}", self.access.partition)
    }

    /// Whether AWS answers: STS, and what keeps the secrets, which can be another program.
    ///
    /// # Errors
    ///
    /// What did not. A refusal is an answer.
    pub async fn answers(&self) -> Result<(), AwsError> {
        self.whoami().await?;
        let listed = self.secrets.list_secrets().max_results(1).send().await;
        match listed.map_err(|error| AwsError::of("secretsmanager:ListSecrets", error)) {
            Err(error) if !error.is_denied() => Err(error),
            _ => Ok(()),
        }
    }

    /// ARN of the caller.
    pub async fn whoami(&self) -> Result<String, AwsError> {
        let answer = self
            .sts
            .get_caller_identity()
            .send()
            .await
            .map_err(|error| AwsError::of("sts:GetCallerIdentity", error))?;
        Ok(answer.arn().unwrap_or_default().to_owned())
    }
}

/// Trusts what the endpoint is to be trusted by, and nothing else.
fn tls_context(access: &AwsAccess) -> Result<TlsContext, AwsError> {
    let pem = access.trust_pem.as_deref().unwrap_or_default();
    let trust = TrustStore::empty().with_pem_certificate(pem.as_bytes());
    TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| AwsError::local("connect to AWS", &error))
}

/// What every client of an endpoint shares: no credentials, no retries.
fn config(access: &AwsAccess, http: &SharedHttpClient) -> SdkConfig {
    let mut config = SdkConfig::builder();
    config.set_endpoint_url(access.endpoint.clone());
    config
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(access.region.clone()))
        .http_client(http.clone())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(CALL)
                .build(),
        )
        // Answers are small: the attempt's deadline covers one that stalls.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::disabled())
        .build()
}

/// The SDK would only say so when it first connects, by a panic.
fn check_trust(pem: &str) -> Result<(), AwsError> {
    const OPERATION: &str = "read the authority to trust for AWS";
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        certificate.map_err(|error| AwsError::local(OPERATION, &error))?;
        found = true;
    }
    if found {
        Ok(())
    } else {
        Err(AwsError::because(
            OPERATION,
            "no certificate in the PEM text".to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_must_be_a_certificate() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ] {
            let access = AwsAccess {
                region: "eu-central-1".to_owned(),
                account: "000000000000".to_owned(),
                partition: "aws".to_owned(),
                endpoint: Some("https://127.0.0.1:1".to_owned()),
                trust_pem: Some(pem.to_owned()),
                proxy: None,
            };
            assert!(
                Aws::connect(access, AdminKey::new("AKIA", "key")).is_err(),
                "{pem:?}"
            );
        }
        let ca = mountproof_run_tls::RunCa::generate("test").expect("a CA can be made");
        assert_eq!(check_trust(ca.certificate_pem()), Ok(()));
    }
}
