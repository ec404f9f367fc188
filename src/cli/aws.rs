//! The flags of the seam `aws`.

use std::str::FromStr;

use clap::Args;

use super::environment::EnvironmentName;
use crate::{
    environment::{AwsOptions, BackendChoice, Defect, EndpointDefect, Fault, Plant, Trouble},
    localstack,
};

/// What keeps the secrets. Signatures, tokens and IAM are the endpoint's in any case.
#[derive(Debug, Clone, Args)]
pub struct AwsArgs {
    /// What keeps the secrets: `localstack`, started in Docker for the run, behind the endpoint, which lets nobody past
    /// whom IAM refuses; `embedded`, the endpoint itself; or one that runs already, such as a LocalStack, at
    /// http://HOST:PORT; with --env cluster also `account`: AWS itself [default: localstack with --env kind, account with --env
    /// cluster, else embedded].
    #[arg(long, value_name = "localstack|embedded|URL|account")]
    pub aws: Option<AwsName>,

    /// The image of `--aws localstack` [default: localstack/localstack:4.14.0].
    #[arg(long, value_name = "IMAGE")]
    pub localstack_image: Option<String>,
}

/// What was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AwsName {
    /// AWS itself, with the credentials that are there.
    Account,
    /// The endpoint, which keeps the secrets itself or is before what does.
    Ours(Option<BackendChoice>),
}

impl FromStr for AwsName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "embedded" => return Ok(Self::Ours(None)),
            "account" => return Ok(Self::Account),
            _ => {}
        }
        let backend = text.parse().map(|backend| Self::Ours(Some(backend)));
        backend.map_err(|_: String| {
            "expected `localstack`, `embedded`, `account`, or the address of one that runs: http://HOST:PORT".to_owned()
        })
    }
}

impl AwsArgs {
    /// As the environment takes them.
    pub(super) fn options(&self, environment: EnvironmentName) -> AwsOptions {
        let by_default = (environment == EnvironmentName::Kind).then_some(BackendChoice::LocalStack);
        let image = self.localstack_image.as_deref();
        AwsOptions {
            backend: match &self.aws {
                None => by_default,
                Some(AwsName::Ours(named)) => named.clone(),
                Some(AwsName::Account) => None,
            },
            localstack_image: image.unwrap_or(localstack::DEFAULT_IMAGE).to_owned(),
        }
    }

    /// Whether AWS is AWS itself.
    #[must_use]
    pub fn is_account(&self, environment: EnvironmentName) -> bool {
        match &self.aws {
            None => environment == EnvironmentName::Cluster,
            Some(named) => *named == AwsName::Account,
        }
    }

    /// What was given that cannot be had, and what to do. `confined` is whether nothing outside is reached.
    pub(super) fn misplaced(
        &self,
        environment: EnvironmentName,
        confined: bool,
        plants: &[Plant],
        faults: &[Fault],
    ) -> Option<String> {
        let options = self.options(environment);
        if self.is_account(environment) && environment != EnvironmentName::Cluster {
            return Some("--aws account is for a cluster that is there: add --env cluster".to_owned());
        }
        let localstack = options.backend == Some(BackendChoice::LocalStack);
        if confined && options.backend.is_some() {
            return Some(
                "--aws cannot be reached where programs are confined: leave it out with --env host and with a control plane"
                    .to_owned(),
            );
        }
        if self.localstack_image.is_some() && !localstack {
            return Some("--localstack-image is for --aws localstack: add it".to_owned());
        }
        if !localstack
            && faults
                .iter()
                .any(|fault| fault.trouble == Trouble::LocalStackDies)
        {
            return Some(format!(
                "--fault {} needs a LocalStack of the run's own: add --aws localstack",
                Trouble::LocalStackDies.name()
            ));
        }
        let of_own_store = |plant: &&Plant| {
            let defect = plant.defect();
            matches!(
                defect,
                Defect::Endpoint(EndpointDefect::StaleAfterPut | EndpointDefect::OtherTenantsSecret)
            )
        };
        if options.backend.is_some()
            && let Some(plant) = plants.iter().find(of_own_store)
        {
            return Some(format!(
                "--plant {plant} is for secrets that the endpoint itself keeps: add --aws embedded"
            ));
        }
        if !matches!(environment, EnvironmentName::Kind | EnvironmentName::Cluster) {
            return None;
        }
        let of_aws = |plant: &&Plant| matches!(plant.defect(), Defect::Endpoint(_));
        if self.is_account(environment)
            && let Some(trouble) = plants
                .iter()
                .find(of_aws)
                .map(|plant| format!("--plant {plant}"))
                .or_else(|| faults.first().map(|fault| format!("--fault {fault}")))
        {
            return Some(format!(
                "{trouble} is for an AWS that is ours: add --aws embedded, with --aws-listen"
            ));
        }
        let plant = plants
            .iter()
            .find(|plant| !matches!(plant.defect(), Defect::Endpoint(_)))
            .map(|plant| format!("--plant {plant}"));
        let fault = faults
            .iter()
            .find(|fault| !fault.trouble.is_of_aws())
            .map(|fault| format!("--fault {fault}"));
        let of_theirs = plant.or(fault)?;
        Some(format!(
            "{of_theirs} is for a part of ours, and in a cluster only AWS is: leave --env {} out",
            if environment == EnvironmentName::Kind {
                "kind"
            } else {
                "cluster"
            }
        ))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    fn args(aws: Option<&str>, image: Option<&str>) -> AwsArgs {
        AwsArgs {
            aws: aws.map(|aws| aws.parse().unwrap()),
            localstack_image: image.map(str::to_owned),
        }
    }

    #[test]
    fn a_cluster_has_localstack_unless_something_else_is_named() {
        use EnvironmentName::{Embedded, Host, Kind};
        for (environment, aws, localstack) in [
            (Kind, None, true),
            (Kind, Some("localstack"), true),
            (Kind, Some("embedded"), false),
            (Kind, Some("http://127.0.0.1:4566"), false),
            (Embedded, None, false),
            (Embedded, Some("localstack"), true),
            (Host, None, false),
        ] {
            let options = args(aws, None).options(environment);
            assert_eq!(
                options.backend == Some(BackendChoice::LocalStack),
                localstack,
                "{aws:?}"
            );
            assert_eq!(options.localstack_image, localstack::DEFAULT_IMAGE);
        }
        let at = args(Some("http://127.0.0.1:4566"), None).options(Kind);
        assert!(matches!(at.backend, Some(BackendChoice::At(_))));
        for text in ["", "moto", "https://127.0.0.1:4566"] {
            assert!(text.parse::<AwsName>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_said_with_what_to_do() {
        use EnvironmentName::{Embedded, Host, Kind};
        let plants =
            |text: &str| -> Vec<Plant> { text.split_whitespace().map(|p| p.parse().unwrap()).collect() };
        let faults =
            |text: &str| -> Vec<Fault> { text.split_whitespace().map(|f| f.parse().unwrap()).collect() };
        for (environment, confined, given, planted, fault, said) in [
            (
                Kind,
                false,
                args(None, None),
                "endpoint:ignore-resource",
                "",
                None,
            ),
            (
                Kind,
                false,
                args(None, None),
                "",
                "localstack:dies@3s endpoint:dies",
                None,
            ),
            (
                Kind,
                false,
                args(None, None),
                "driver:empty-mount",
                "",
                Some("--env kind out"),
            ),
            (
                Kind,
                false,
                args(None, None),
                "endpoint:stale-after-put",
                "",
                Some("add --aws embedded"),
            ),
            (
                Kind,
                false,
                args(Some("embedded"), None),
                "endpoint:stale-after-put",
                "",
                None,
            ),
            (
                Kind,
                false,
                args(None, None),
                "",
                "kubernetes:dies",
                Some("--env kind out"),
            ),
            (
                Kind,
                false,
                args(Some("embedded"), None),
                "",
                "localstack:dies",
                Some("add --aws localstack"),
            ),
            (
                Kind,
                false,
                args(Some("embedded"), Some("x")),
                "",
                "",
                Some("add it"),
            ),
            (
                Embedded,
                false,
                args(None, None),
                "driver:empty-mount",
                "kubernetes:dies",
                None,
            ),
            (
                Embedded,
                false,
                args(Some("localstack"), Some("x")),
                "",
                "localstack:dies",
                None,
            ),
            (
                Embedded,
                false,
                args(None, None),
                "",
                "localstack:dies",
                Some("add --aws localstack"),
            ),
            (
                Embedded,
                true,
                args(Some("localstack"), None),
                "",
                "",
                Some("leave it out"),
            ),
            (
                Host,
                true,
                args(Some("http://127.0.0.1:1"), None),
                "",
                "",
                Some("leave it out"),
            ),
            (Host, true, args(None, None), "", "", None),
        ] {
            let found = given.misplaced(environment, confined, &plants(planted), &faults(fault));
            match (found, said) {
                (None, None) => {}
                (Some(found), Some(said)) => assert!(found.contains(said), "{found}"),
                (found, said) => panic!("{given:?} {planted} {fault}: {found:?}, not {said:?}"),
            }
        }
    }
}
