//! What a run made in an account, finished by another process, or without the environment that never stood.

use std::sync::Arc;

use super::{
    Teardown, UnderWay, Went,
    ledger::{ClusterReach, Ledger, Object, Reach},
    teardown::Record,
};
use crate::{
    aws::{AccountOptions, Aws, AwsError},
    environment::eks,
    journal::LeftoverFound,
    kubernetes::{Kubeconfigs, Kubernetes, KubernetesAccess},
    tenant::{ClusterName, Marks},
};

/// Why nothing could be looked at, and so nothing was removed.
#[derive(Debug, thiserror::Error)]
pub enum AccountTrouble {
    /// The credentials are of somebody else's account.
    #[error(
        "what the run made is in account {wanted}, and the credentials are of account {found}; use those of the run's \
         account: AWS_PROFILE or --profile"
    )]
    Another {
        /// The run's account.
        wanted: String,
        /// The credentials'.
        found: String,
    },
    /// There are no credentials, or AWS did not take them.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// It was in no account.
    #[error("what the run made was in no account")]
    None,
}

/// Removes what `ledger` has on record in the account and the cluster that `reach` says, with the credentials of the chain,
/// and looks for more of the run's there, once what is `under_way` has arrived. `profile` counts in the place of the run's own.
///
/// # Errors
///
/// When the account cannot be asked, or is not the run's; nothing was removed then.
pub async fn finish_account(
    reach: &Reach,
    profile: Option<&str>,
    ledger: &Ledger,
    marks: &Marks,
    cluster: &ClusterName,
    under_way: UnderWay,
    went: &Went<'_>,
) -> Result<Teardown, AccountTrouble> {
    let Reach::Account {
        account,
        region,
        profile: of_run,
        cluster: in_cluster,
    } = reach
    else {
        return Err(AccountTrouble::None);
    };
    let options = AccountOptions {
        profile: profile.map(str::to_owned).or_else(|| of_run.clone()),
        region: Some(region.clone()),
        ..AccountOptions::default()
    };
    let aws = Arc::new(Aws::of_account(&options).await?);
    let found = &aws.access().account;
    if found != account {
        return Err(AccountTrouble::Another {
            wanted: account.clone(),
            found: found.clone(),
        });
    }
    under_way.lands(aws.access().endpoint.is_some()).await;
    Ok(finish_with(&aws, in_cluster, ledger, marks, cluster, went).await)
}

/// The same, with whoever `aws` is.
pub(super) async fn finish_with(
    aws: &Arc<Aws>,
    in_cluster: &ClusterReach,
    ledger: &Ledger,
    marks: &Marks,
    cluster: &ClusterName,
    went: &Went<'_>,
) -> Teardown {
    let standing = ledger.standing();
    let in_kubernetes = if needs_kubernetes(&standing) {
        reach_cluster(aws, in_cluster, marks).await
    } else {
        InCluster::Unasked
    };
    let kubernetes = match &in_kubernetes {
        InCluster::There(kubernetes) => Some(&**kubernetes),
        InCluster::Unasked | InCluster::Gone | InCluster::Unreachable(_) => None,
    };
    let record = Record::Ledger(ledger);
    let mut report = Teardown::of_account(aws, kubernetes, record, marks, cluster, went).await;
    match in_kubernetes {
        InCluster::There(_) | InCluster::Unasked => {}
        InCluster::Gone => report.went_with_cluster(ledger),
        InCluster::Unreachable(because) => report.left.push(LeftoverFound {
            object: format!("objects in {in_cluster}"),
            because,
        }),
    }
    report
}

/// Whether something is on record in Kubernetes that does not go with a cluster of the run's own.
fn needs_kubernetes(standing: &[Object]) -> bool {
    let is_in_it = Object::is_in_kubernetes;
    let goes_with_it = |object: &Object| matches!(object, Object::EksCluster(_));
    standing.iter().any(is_in_it) && !standing.iter().any(goes_with_it)
}

/// What a run's Kubernetes has come to.
enum InCluster {
    /// It answers.
    There(Box<Kubernetes>),
    /// There is no such cluster any more.
    Gone,
    /// It does not answer, or is not to be found.
    Unreachable(String),
    /// Nothing is to be asked of it.
    Unasked,
}

async fn reach_cluster(aws: &Arc<Aws>, reach: &ClusterReach, marks: &Marks) -> InCluster {
    let access = match reach {
        ClusterReach::Context { kubeconfig, context } => {
            let files = Kubeconfigs::at(kubeconfig.clone());
            KubernetesAccess::of_context(&files, Some(context)).map(|found| found.access)
        }
        ClusterReach::Eks(name) => match aws.cluster(name).await {
            Err(error) if error.is_not_found() => return InCluster::Gone,
            Err(error) => Err(error.to_string()),
            Ok(found) => eks::access(aws, &found).map_err(|error| error.to_string()),
        },
    };
    let access = match access {
        Ok(access) => access,
        Err(because) => return InCluster::Unreachable(because),
    };
    match Kubernetes::connect(&access, marks).await {
        Ok(kubernetes) => InCluster::There(Box::new(kubernetes)),
        Err(error) => InCluster::Unreachable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::ObjectRef;

    #[test]
    fn a_cluster_that_goes_is_not_asked() {
        let pod = || Object::Kubernetes(ObjectRef::new("v1", "Pod", Some("a"), "p"));
        let driver = || Object::Installed(ObjectRef::new("apps/v1", "DaemonSet", Some("a"), "d"));
        let role = || Object::Role("r".to_owned());
        let own = || Object::EksCluster("own".to_owned());
        for (standing, expected) in [
            (vec![role()], false),
            (vec![role(), pod()], true),
            (vec![driver()], true),
            (vec![own(), pod(), driver()], false),
            (vec![own()], false),
        ] {
            assert_eq!(needs_kubernetes(&standing), expected, "{standing:?}");
        }
    }
}
