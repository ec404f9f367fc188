//! Faults: what breaks around the product while a run is under way.
//!
//! A plant makes a part wrong, and a scenario must turn red. A fault takes a part away, and no scenario
//! may turn red for it: what cannot be told any more is `errored`. `mountproof run --fault NAME` causes one.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::scenario::duration;

/// Hears of a fault as it strikes.
pub type Struck = Arc<dyn Fn(Fault) + Send + Sync>;

/// What faults befall.
pub(super) trait Stricken: Send + Sync + 'static {
    /// Has it happen now.
    fn suffer(&self, trouble: Trouble) -> BoxFuture<'_, ()>;
}

/// Causes the faults that have no time at once, and the others in time. Dropping the answer calls those off that have not
/// struck.
pub(super) async fn strike<S: Stricken>(stricken: &Arc<S>, faults: &[Fault], struck: Struck) -> JoinSet<()> {
    let mut striking = JoinSet::new();
    for &fault in faults {
        if fault.after.is_zero() {
            stricken.suffer(fault.trouble).await;
            struck(fault);
            continue;
        }
        let (stricken, struck) = (Arc::clone(stricken), Arc::clone(&struck));
        striking.spawn(async move {
            tokio::time::sleep(fault.after).await;
            stricken.suffer(fault.trouble).await;
            struck(fault);
        });
    }
    striking
}

/// One fault, and when it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What happens.
    pub trouble: Trouble,
    /// When, counted from the moment when the environment stands.
    pub after: Duration,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The AWS endpoint drops every connection.
    EndpointDies,
    /// The AWS endpoint takes a second for every answer.
    EndpointSlow,
    /// The AWS endpoint's clock is an hour ahead from then on.
    EndpointClockStep,
    /// The container of LocalStack, which keeps the secrets behind the endpoint, is killed.
    LocalStackDies,
    /// The Kubernetes API server ends.
    KubernetesDies,
    /// No image can be pulled on the node.
    KubeletNoImages,
    /// What the harness asks its environment for panics.
    HarnessPanics,
}

/// Every trouble with its name and what happens.
static ALL: &[(&str, Trouble, &str)] = &[
    (
        "endpoint:dies",
        Trouble::EndpointDies,
        "the AWS endpoint drops every connection",
    ),
    (
        "endpoint:slow",
        Trouble::EndpointSlow,
        "the AWS endpoint takes a second for every answer",
    ),
    (
        "endpoint:clock-step",
        Trouble::EndpointClockStep,
        "the AWS endpoint's clock jumps an hour ahead",
    ),
    (
        "localstack:dies",
        Trouble::LocalStackDies,
        "the container of LocalStack is killed",
    ),
    (
        "kubernetes:dies",
        Trouble::KubernetesDies,
        "the Kubernetes API server ends",
    ),
    (
        "kubelet:no-images",
        Trouble::KubeletNoImages,
        "no image can be pulled, from the start",
    ),
    (
        "harness:panics",
        Trouble::HarnessPanics,
        "reading the AWS call log panics",
    ),
];

impl Trouble {
    /// Whether it befalls AWS, or the harness's look at it.
    #[must_use]
    pub fn is_of_aws(self) -> bool {
        match self {
            Self::EndpointDies
            | Self::EndpointSlow
            | Self::EndpointClockStep
            | Self::LocalStackDies
            | Self::HarnessPanics => true,
            Self::KubernetesDies | Self::KubeletNoImages => false,
        }
    }

    /// `part:what`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    /// What happens, in words.
    #[must_use]
    pub fn what(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> &'static (&'static str, Self, &'static str) {
        ALL.iter()
            .find(|(_, trouble, _)| *trouble == self)
            .expect("every trouble has its line")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.trouble.name())?;
        if !self.after.is_zero() {
            write!(f, "@{}", duration::print(self.after))?;
        }
        Ok(())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, after) = match text.split_once('@') {
            Some((name, after)) => (name, duration::parse(after).map_err(|error| error.to_string())?),
            None => (text, Duration::ZERO),
        };
        let Some((_, trouble, _)) = ALL.iter().find(|(known, ..)| *known == name) else {
            let names: Vec<&str> = ALL.iter().map(|(name, ..)| *name).collect();
            return Err(format!("no such fault; there are: {}", names.join(", ")));
        };
        if *trouble == Trouble::KubeletNoImages && !after.is_zero() {
            return Err("kubelet:no-images is there from the start, and takes no time".to_owned());
        }
        Ok(Self {
            trouble: *trouble,
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_fault_is_a_name_and_a_time() {
        for (text, after) in [
            ("endpoint:dies", Duration::ZERO),
            ("endpoint:dies@2s", Duration::from_secs(2)),
            ("kubernetes:dies@1500ms", Duration::from_millis(1500)),
        ] {
            let fault: Fault = text.parse().unwrap();
            assert_eq!(fault.after, after, "{text}");
            assert_eq!(fault.to_string().parse::<Fault>().unwrap(), fault, "{text}");
        }
        for text in [
            "",
            "endpoint",
            "endpoint:dies@",
            "endpoint:dies@soon",
            "kubelet:no-images@1s",
        ] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
