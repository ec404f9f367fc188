//! Whether add-ons can be installed for a run in a cluster that is there: what it has stays as it is.

use mountproof_releases::Part;

use super::{EksOptions, PROVIDER_ADDON, creation::PART};
use crate::{
    aws::{Aws, AwsError},
    environment::{
        StartError,
        standing::{self, Wanted, judge},
    },
    kubernetes::{Kubernetes, KubernetesError},
};

/// Refuses what would be in the way of something that is there. Nothing is made.
pub(super) async fn fit(
    aws: &Aws,
    kubernetes: &Kubernetes,
    options: &EksOptions,
    cluster: &str,
) -> Result<(), StartError> {
    let refused = StartError::of::<String>(PART);
    for wanted in &options.addons {
        match aws.addon(cluster, &wanted.name).await {
            Ok(there) => {
                return Err(refused(format!(
                    "the cluster {cluster} has the add-on {} {} already; leave --addon {} out: what is there is used as it is",
                    there.name,
                    there.version.unwrap_or_default(),
                    wanted.name
                )));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(StartError::of::<AwsError>(PART)(error)),
        }
    }
    let seen = standing::look(kubernetes)
        .await
        .map_err(StartError::of::<KubernetesError>(PART))?;
    if options.has_provider()
        && let Some((part, there)) = Part::ALL
            .into_iter()
            .find_map(|part| seen.of_part(part).first().map(|there| (part, there)))
    {
        return Err(refused(format!(
            "the add-on {PROVIDER_ADDON} brings a {part}, and there is one already: {} ({part} {}, from {}); leave --addon \
             {PROVIDER_ADDON} out: what is there is used as it is",
            there.daemon_set, there.version, there.managed
        )));
    }
    let wanted = Wanted {
        // What the add-on brings is not missing.
        install: true,
        ..options.shared.wanted(false)
    };
    match judge(&seen, &wanted).fatal() {
        Some(fatal) => Err(refused(fatal)),
        None => Ok(()),
    }
}
