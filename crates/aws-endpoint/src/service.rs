//! The services there are, how a request finds its own, and what their answers look like.

use std::borrow::Cow;

use http::{header::HOST, request::Parts};

use crate::{answer::Protocol, iam, kms, secrets, sigv4::Scope, ssm, sts};

/// A service of AWS that this endpoint serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    Iam,
    Sts,
    SecretsManager,
    Ssm,
    Kms,
    Eks,
    EksAuth,
}

impl Service {
    const ALL: [Self; 7] = [
        Self::Iam,
        Self::Sts,
        Self::SecretsManager,
        Self::Ssm,
        Self::Kms,
        Self::Eks,
        Self::EksAuth,
    ];

    /// The service that a request is for: by signing scope, else by what only one service has, else by
    /// host name, so that any of AWS's names and a bare address lead there. `Err` is the name of a
    /// service that is not served.
    pub(crate) fn of(scope: Option<&Scope<'_>>, request: Head<'_>) -> Result<Self, String> {
        if let Some(scope) = scope {
            return Self::named(scope.service).ok_or_else(|| scope.service.to_owned());
        }
        if let Some(service) = request.target().and_then(Self::targeted) {
            return Ok(service);
        }
        if request.path().starts_with("/clusters") {
            let pod = request.path().ends_with("/assume-role-for-pod-identity");
            return Ok(if pod { Self::EksAuth } else { Self::Eks });
        }
        // Of all others only STS answers what is not signed.
        let label = request.host().split('.').next().unwrap_or_default();
        Ok(Self::named(label).unwrap_or(Self::Sts))
    }

    /// The name in a credential scope, in a host name, and before the colon of an action.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Iam => "iam",
            Self::Sts => "sts",
            Self::SecretsManager => "secretsmanager",
            Self::Ssm => "ssm",
            Self::Kms => "kms",
            Self::Eks => "eks",
            Self::EksAuth => "eks-auth",
        }
    }

    /// How its answers are written.
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Iam => Protocol::Query(iam::service::NAMESPACE),
            Self::Sts => Protocol::Query(sts::NAMESPACE),
            Self::SecretsManager | Self::Ssm | Self::Kms => Protocol::Json,
            Self::Eks | Self::EksAuth => Protocol::Rest,
        }
    }

    /// The name of one of its operations, there or not, for as long as anybody wants it.
    pub(crate) fn operation(self, name: &str) -> Cow<'static, str> {
        let known = match self {
            Self::Sts => sts::OPERATIONS.into_iter().find(|known| *known == name),
            Self::SecretsManager => secrets::operations().find(|known| *known == name),
            Self::Ssm => ssm::operations().find(|known| *known == name),
            Self::Kms => kms::operations().find(|known| *known == name),
            Self::Iam | Self::Eks | Self::EksAuth => None,
        };
        known.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.name() == name)
    }

    /// By the prefix of `X-Amz-Target`, which awsJson services have.
    fn targeted(target: &str) -> Option<Self> {
        match target.rsplit_once('.')?.0 {
            "secretsmanager" => Some(Self::SecretsManager),
            "AmazonSSM" => Some(Self::Ssm),
            "TrentService" => Some(Self::Kms),
            _ => None,
        }
    }
}

/// What a request says of where it wants to go, before its body is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a>(pub(crate) &'a Parts);

impl<'a> Head<'a> {
    pub(crate) fn path(self) -> &'a str {
        self.0.uri.path()
    }

    /// The operation of an awsJson call: `secretsmanager.GetSecretValue`.
    pub(crate) fn target(self) -> Option<&'a str> {
        self.0.headers.get("x-amz-target")?.to_str().ok()
    }

    /// The host that was asked, with its port where it has one.
    pub(crate) fn host(self) -> &'a str {
        let header = self.0.headers.get(HOST).and_then(|value| value.to_str().ok());
        // HTTP/2 has it in the URI.
        header.or_else(|| self.0.uri.host()).unwrap_or_default()
    }

    /// The region in a host name: `sts.eu-west-1.amazonaws.com`.
    pub(crate) fn region(self) -> Option<&'a str> {
        let mut labels = self.host().split('.');
        match (labels.next(), labels.next(), labels.next()) {
            (Some(_), Some(region), Some("amazonaws" | "api")) if region.contains('-') => Some(region),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_operations_stay_what_they_are_and_those_that_are_known_are_not_copied() {
        for (service, name, known) in [
            (Service::SecretsManager, "GetSecretValue", true),
            (Service::Sts, "AssumeRoleWithWebIdentity", true),
            (Service::Ssm, "GetParameters", true),
            (Service::Kms, "DescribeKey", true),
            (Service::Kms, "GetSecretValue", false),
            (Service::SecretsManager, "", false),
        ] {
            let named = service.operation(name);
            assert_eq!(named, name);
            assert_eq!(matches!(named, Cow::Borrowed(_)), known, "{name}");
        }
    }
}
