//! A real account: credentials, region and endpoints as every AWS tool finds them.
//!
//! The chain is `aws-config`'s own: environment, profiles (role assumption, IAM Identity Center, `credential_process`), web
//! identity, container and instance metadata; `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL` and
//! `AWS_ENDPOINT_URL_<SERVICE>` count as the AWS SDKs and Tools Reference Guide says. `AWS_CA_BUNDLE`, which the Rust SDK does
//! not read, is read here.

use std::{ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_smithy_http_client::{
    Builder, Connector,
    proxy::ProxyConfig,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::SharedHttpClient, runtime_components::RuntimeComponents,
    stalled_stream_protection::StalledStreamProtectionConfig,
};

use super::{
    ATTEMPTS, Aws, AwsAccess, AwsError,
    budget::{Budget, Share},
    check_trust,
    error::{Credentials, chain, of_credentials},
};

/// Longest wait for a connection, TLS included. The other end can be far away.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, once connected. Waiting for the budget is not part of it.
const ANSWER: Duration = Duration::from_secs(30);

/// Whose account, and where in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccountOptions {
    /// The profile of the shared configuration files; `AWS_PROFILE` or `default` where absent.
    pub profile: Option<String>,
    /// The region; the chain's (`AWS_REGION`, the profile's, the instance's) where absent.
    pub region: Option<String>,
    /// Share of the account's published rates that calls may take.
    pub max_share: Share,
}

impl Aws {
    /// The account that the chain has credentials of. Asks who they are of.
    ///
    /// # Errors
    ///
    /// Without a region or credentials, and when STS does not take them; the text says what to do.
    pub async fn of_account(options: &AccountOptions) -> Result<Self, AwsError> {
        check_variables(std::env::vars_os())?;
        let budget = Arc::new(Budget::new(options.max_share));
        let http = budget.pace(http_client(ca_bundle()?)?);
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            // With jitter, as the standard mode has it.
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        Self::of_chain(loader.load().await, Some(budget)).await
    }

    /// What calls had to wait for the budget; nothing where there is none.
    #[must_use]
    pub fn held_back(&self) -> super::HeldBack {
        self.budget
            .as_ref()
            .map(|budget| budget.held_back())
            .unwrap_or_default()
    }

    /// ARN of who calls, as it was when this was made; absent where nobody asked.
    #[must_use]
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    /// The account of `config`, which has a provider of credentials.
    async fn of_chain(config: SdkConfig, budget: Option<Arc<Budget>>) -> Result<Self, AwsError> {
        let region = config.region().map(ToString::to_string).ok_or_else(|| {
            AwsError::because(
                "find the AWS region",
                "neither AWS_REGION nor the profile names one; name it by --region".to_owned(),
            )
        })?;
        let provider = config
            .credentials_provider()
            .ok_or_else(|| no_credentials("there is no provider"))?;
        check_credentials(&provider).await?;
        let access = AwsAccess {
            region,
            account: String::new(),
            partition: "aws".to_owned(),
            endpoint: config.endpoint_url().map(str::to_owned),
            trust_pem: None,
            proxy: None,
        };
        let mut unsigned = config.into_builder();
        unsigned
            .set_credentials_provider(None)
            .set_retry_config(Some(RetryConfig::disabled()));
        let mut aws = Self::over(access, unsigned.build(), provider);
        aws.budget = budget;
        let arn = aws.whoami().await?;
        let [partition, account] = partition_and_account(&arn).ok_or_else(|| {
            AwsError::because("sts:GetCallerIdentity", format!("`{arn}` is no ARN of a caller"))
        })?;
        partition.clone_into(&mut aws.access.partition);
        account.clone_into(&mut aws.access.account);
        aws.caller = Some(arn);
        Ok(aws)
    }
}

/// The SDK takes an empty address of an endpoint for one, and panics.
fn check_variables(variables: impl Iterator<Item = (OsString, OsString)>) -> Result<(), AwsError> {
    let mut empty = variables.filter_map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        (name.starts_with("AWS_ENDPOINT_URL") && value.is_empty()).then_some(name)
    });
    empty.next().map_or(Ok(()), |name| {
        Err(AwsError::because(
            &format!("read the variable {name}"),
            "it is there and empty; unset it, or give it an address".to_owned(),
        ))
    })
}

/// Partition and account of an ARN: `arn:aws-cn:sts::111122223333:assumed-role/...`.
fn partition_and_account(arn: &str) -> Option<[&str; 2]> {
    let mut parts = arn.split(':');
    let found = (
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
        parts.next()?,
    );
    match found {
        ("arn", partition, _, _, account) if !partition.is_empty() && !account.is_empty() => {
            Some([partition, account])
        }
        _ => None,
    }
}

/// Asks the chain once, by itself: what it says in the middle of a call is hard to tell from trouble on the way.
async fn check_credentials(provider: &SharedCredentialsProvider) -> Result<(), AwsError> {
    match provider.provide_credentials().await {
        Ok(_) => Ok(()),
        Err(error) => Err(match of_credentials(&error) {
            Credentials::Expired => AwsError::credentials(Credentials::Expired, chain(&error)),
            _ => no_credentials(&chain(&error)),
        }),
    }
}

fn no_credentials(because: &str) -> AwsError {
    AwsError::credentials(
        Credentials::Absent,
        format!(
            "none in the environment, the profile, web identity, container or instance metadata ({because}); set \
             AWS_PROFILE or --profile, and sign in by `aws sso login` where the profile is of IAM Identity Center"
        ),
    )
}

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER)
        .build()
}

/// The certificates that `AWS_CA_BUNDLE` names a file of, which are trusted beside the platform's own.
fn ca_bundle() -> Result<Option<String>, AwsError> {
    const OPERATION: &str = "read AWS_CA_BUNDLE";
    let Some(path) = std::env::var_os("AWS_CA_BUNDLE").filter(|path| !path.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    let pem = std::fs::read_to_string(&path)
        .map_err(|error| AwsError::because(OPERATION, format!("{}: {error}", path.display())))?;
    check_trust(&pem)
        .map_err(|error| AwsError::because(OPERATION, format!("{}: {}", path.display(), error.message())))?;
    Ok(Some(pem))
}

/// A client that trusts the platform's authorities and `also`, and goes by the proxy that the environment names.
fn http_client(also: Option<String>) -> Result<SharedHttpClient, AwsError> {
    let mut trust = TrustStore::default();
    if let Some(pem) = also {
        trust.add_pem_certificate(pem);
    }
    let context = TlsContext::builder()
        .with_trust_store(trust)
        .build()
        .map_err(|error| AwsError::local("connect to AWS", &error))?;
    Ok(Builder::new()
        .pool_max_idle_per_host(256)
        .build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .proxy_config(ProxyConfig::from_env());
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
            connector.build()
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_empty_is_told() {
        let of = |name: &str, value: &str| {
            let set = [(OsString::from(name), OsString::from(value))];
            check_variables(set.into_iter()).map_err(|error| error.to_string())
        };
        assert_eq!(of("AWS_ENDPOINT_URL", "https://127.0.0.1:1"), Ok(()));
        assert_eq!(of("AWS_REGION", ""), Ok(()));
        for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EKS"] {
            assert!(of(name, "").is_err_and(|error| error.contains(name) && error.contains("unset it")));
        }
    }

    #[test]
    fn partition_and_account_stand_in_the_callers_arn() {
        for (arn, expected) in [
            (
                "arn:aws:iam::111122223333:user/alice",
                Some(["aws", "111122223333"]),
            ),
            (
                "arn:aws-cn:sts::111122223333:assumed-role/ci/session",
                Some(["aws-cn", "111122223333"]),
            ),
            (
                "arn:aws-us-gov:iam::111122223333:root",
                Some(["aws-us-gov", "111122223333"]),
            ),
            ("arn:aws:iam", None),
            ("arn:aws:iam::", None),
            ("", None),
        ] {
            assert_eq!(partition_and_account(arn), expected, "{arn}");
        }
    }
}
