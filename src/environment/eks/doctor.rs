//! What an account and a cluster offer to `--env eks`, before anything is made.

use std::sync::Arc;

use super::{
    super::{
        Found,
        standing::{self, SharedOptions},
    },
    EksCluster, EksOptions, access, addons, connect, existing,
};
use crate::{aws::Aws, tenant::Marks};

/// Looks at what a run needs. By name, in reading order; what needs something that is missing is not looked at. Nothing is made.
pub async fn look(options: &EksOptions) -> Vec<(&'static str, Found)> {
    let mut found = Vec::new();
    let aws = match Aws::of_account(&options.account).await {
        Ok(aws) => Arc::new(aws),
        Err(error) => {
            found.push(("credentials", Found::Missing(error.to_string())));
            return found;
        }
    };
    found.push((
        "credentials",
        Found::Good(format!(
            "{}, {}",
            aws.caller().unwrap_or("somebody"),
            aws.access().region
        )),
    ));
    let EksCluster::Existing(name) = &options.cluster else {
        found.push((
            "cluster",
            Found::Good("one is made for the run, with driver and provider".to_owned()),
        ));
        return found;
    };
    let cluster = match existing(&aws, name).await {
        Ok(cluster) => cluster,
        Err(error) => {
            found.push(("cluster", Found::Missing(error.to_string())));
            return found;
        }
    };
    found.push((
        "cluster",
        Found::Good(format!("{name}: {}, version {}", cluster.status, cluster.version)),
    ));
    found.push(provider(&aws, cluster.issuer.as_deref()).await);
    // As a run does, which is none.
    let marks = Marks::of_run("doctor");
    let connected = match access(&aws, &cluster) {
        Ok(access) => connect(&access, &marks, false).await,
        Err(error) => Err(error),
    };
    let kubernetes = match connected {
        Ok(kubernetes) => kubernetes,
        Err(error) => {
            found.push(("kubernetes", Found::Missing(error.to_string())));
            return found;
        }
    };
    if !options.addons.is_empty() {
        let names: Vec<&str> = options.addons.iter().map(|addon| addon.name.as_str()).collect();
        let fit = addons::fit(&aws, &kubernetes, options, name).await;
        found.push((
            "add-ons",
            fit.map_or_else(
                |error| Found::Missing(error.to_string()),
                |()| {
                    Found::Good(format!(
                        "{}: installed for a run, and removed after it",
                        names.join(", ")
                    ))
                },
            ),
        ));
    }
    let shared = SharedOptions {
        install: options.shared.install || options.has_provider(),
        ..options.shared.clone()
    };
    found.extend(standing::doctor(&kubernetes, &shared).await);
    found
}

/// The identity provider of the cluster's tokens.
async fn provider(aws: &Aws, issuer: Option<&str>) -> (&'static str, Found) {
    let name = "OIDC provider";
    let Some(issuer) = issuer else {
        return (
            name,
            Found::Less("the cluster has no issuer that IAM can trust: --identity pod-identity".to_owned()),
        );
    };
    match aws.oidc_tags(&aws.oidc_arn(issuer)).await {
        Ok(_) => (name, Found::Good(format!("there for {issuer}"))),
        Err(error) if error.is_not_found() => (
            name,
            Found::Good(format!("none for {issuer}: made for a run, and removed after it")),
        ),
        Err(error) => (name, Found::Less(error.to_string())),
    }
}
