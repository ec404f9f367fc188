//! How steps end.

use crate::{
    journal::Failure,
    verdict::{Finding, failure},
};

/// What was seen, or why the step did not pass.
pub(super) type StepResult = Result<Finding, StepError>;

/// Why a step did not pass.
#[derive(Debug)]
pub(super) enum StepError {
    /// The claim does not hold: the case has failed.
    Broken(Failure),
    /// The harness or its infrastructure failed: the case is errored.
    Trouble(Failure),
    /// The run is ending.
    Cancelled,
}

impl StepError {
    pub(super) fn trouble(headline: impl Into<String>) -> Self {
        Self::Trouble(failure(headline))
    }

    /// The same, as trouble: where it is known to be no word about the product.
    pub(super) fn into_trouble(self) -> Self {
        match self {
            Self::Broken(failure) => Self::Trouble(failure),
            other => other,
        }
    }

    /// Nobody reaches the driver's socket.
    pub(super) fn no_socket() -> Self {
        Self::trouble("the driver's socket is on no node that is reached from here")
    }

    /// A reference that the scenario's own checks let through.
    pub(super) fn bad_reference() -> Self {
        Self::trouble(
            "the scenario refers to a tenant, secret or workload that it does not have; run `mountproof lint`",
        )
    }
}

impl From<crate::kubernetes::KubernetesError> for StepError {
    fn from(error: crate::kubernetes::KubernetesError) -> Self {
        Self::trouble(format!("cannot {error}"))
    }
}

impl From<crate::aws::AwsError> for StepError {
    fn from(error: crate::aws::AwsError) -> Self {
        Self::trouble(format!("cannot {error}"))
    }
}

impl From<crate::provision::ProvisionError> for StepError {
    fn from(error: crate::provision::ProvisionError) -> Self {
        Self::trouble(format!("cannot {error}"))
    }
}
