//! AWS with the credentials that a `ServiceAccount`'s token is worth.

use aws_config::{Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{self, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use super::{Aws, AwsAccess, AwsError, secrets::current_value, tls_context};
use crate::secret::{Credential, SecretValue};

/// Name of the harness's own sessions.
const SESSION: &str = "mountproof";

/// A tenant's own session. Nothing is retried, so that every refusal is seen and counted.
#[derive(Clone)]
pub struct Session {
    access: AwsAccess,
    /// What every client shares: no credentials, no retries.
    unsigned: SdkConfig,
    credentials: Credentials,
    secrets: aws_sdk_secretsmanager::Client,
}

impl Aws {
    /// Presents a token for a role, as a pod's provider does. Not retried.
    pub async fn assume(&self, role_arn: &str, token: &Credential) -> Result<Session, AwsError> {
        const OPERATION: &str = "sts:AssumeRoleWithWebIdentity";
        let answer = aws_sdk_sts::Client::new(&self.unsigned)
            .assume_role_with_web_identity()
            .role_arn(role_arn)
            .role_session_name(SESSION)
            .web_identity_token(token.expose())
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        self.session(OPERATION, answer.credentials())
    }

    /// A session of a role that trusts the administrator's account. Not retried.
    pub async fn assume_as_administrator(&self, role_arn: &str) -> Result<Session, AwsError> {
        const OPERATION: &str = "sts:AssumeRole";
        let answer = self
            .sts
            .assume_role()
            .role_arn(role_arn)
            .role_session_name(SESSION)
            .send()
            .await
            .map_err(|error| AwsError::of(OPERATION, error))?;
        self.session(OPERATION, answer.credentials())
    }

    /// A client with what `operation` gave.
    fn session(
        &self,
        operation: &'static str,
        given: Option<&aws_sdk_sts::types::Credentials>,
    ) -> Result<Session, AwsError> {
        let given =
            given.ok_or_else(|| AwsError::because(operation, "the answer has no credentials".to_owned()))?;
        let credentials = Credentials::new(
            given.access_key_id(),
            given.secret_access_key(),
            Some(given.session_token().to_owned()),
            None,
            "sts",
        );
        Ok(Session::new(
            self.access.clone(),
            self.unsigned.clone(),
            credentials,
        ))
    }
}

impl Session {
    fn new(access: AwsAccess, unsigned: SdkConfig, credentials: Credentials) -> Self {
        let config = unsigned
            .to_builder()
            .credentials_provider(SharedCredentialsProvider::new(credentials.clone()))
            .build();
        Self {
            secrets: aws_sdk_secretsmanager::Client::new(&config),
            access,
            unsigned,
            credentials,
        }
    }

    /// The current value of a secret.
    pub async fn read(&self, name: &str) -> Result<SecretValue, AwsError> {
        current_value(&self.secrets, name).await
    }

    /// The same session at the host that has its region in its name, as AWS's own have, with requests that are signed
    /// for `region`.
    ///
    /// # Errors
    ///
    /// When no host of this endpoint names a region.
    pub fn at_regional_host(&self, region: &str) -> Result<Self, AwsError> {
        const OPERATION: &str = "reach Secrets Manager at its regional host";
        let mut unsigned = self.unsigned.to_builder();
        unsigned
            .set_region(Region::new(region.to_owned()))
            .set_endpoint_url(Some(format!(
                "https://secretsmanager.{}.amazonaws.com{}",
                self.access.region,
                if self.access.partition == "aws-cn" {
                    ".cn"
                } else {
                    ""
                }
            )));
        let access = AwsAccess {
            region: region.to_owned(),
            ..self.access.clone()
        };
        // AWS's own hosts are where their names say.
        if self.access.endpoint.is_none() {
            return Ok(Self::new(access, unsigned.build(), self.credentials.clone()));
        }
        let proxy = self.access.proxy.as_ref().ok_or_else(|| {
            AwsError::because(
                OPERATION,
                "no host of this endpoint has a region in its name".to_owned(),
            )
        })?;
        let proxy = ProxyConfig::all(proxy).map_err(|error| AwsError::local(OPERATION, &error))?;
        let context = tls_context(&self.access)?;
        let http = Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .proxy_config(proxy.clone());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.build()
        });
        let unsigned = unsigned.http_client(http).build();
        Ok(Self::new(access, unsigned, self.credentials.clone()))
    }

    /// The same session with a secret key that is not its own: its requests carry wrong signatures.
    #[must_use]
    pub fn with_other_key(&self) -> Self {
        let other: String = self.credentials.secret_access_key().chars().rev().collect();
        let credentials = Credentials::new(
            self.credentials.access_key_id(),
            other,
            self.credentials.session_token().map(str::to_owned),
            None,
            "another-key",
        );
        Self::new(self.access.clone(), self.unsigned.clone(), credentials)
    }
}
