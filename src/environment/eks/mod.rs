//! The environment `eks`: a cluster of Amazon EKS, one that is there or one that is made for the run, in an account of AWS's.
//!
//! ```text
//! credentials ─► account ─► cluster (found | made: roles, cluster, nodes, add-ons) ─► Kubernetes ─► driver and provider
//!  (the chain)   (agreed to)                                       (k8s-aws-v1 token)     (found | installed)
//! ```
//!
//! Everything that is made is on record before, and carries the run's tag; what was there is left as it is.

mod addons;
mod cost;
mod creation;
mod doctor;
mod kubeconfig;
mod options;
mod planned;
pub mod policy;
mod tokens;

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    creation::{Making, PART},
    kubeconfig::Written,
    tokens::EksTokens,
};
pub use self::{
    doctor::look,
    options::{AddonWanted, Creation, EksCluster, EksOptions, Nodes, POD_IDENTITY_ADDON, PROVIDER_ADDON},
};
use super::{
    Environment, Heard, StartError,
    local::{failover_region, prepare},
    standing::{self, Stands},
};
use crate::{
    aws::{Aws, AwsError, ClusterView},
    journal::Component,
    kubernetes::{Identity, Kubernetes, KubernetesAccess, KubernetesError},
    provision::{ClusterReach, KubernetesIn, Ledger, Reach},
    tenant::Marks,
};

/// Longest wait for the API server of a cluster that was just made: its name has to become known.
const ANSWERS: Duration = Duration::from_mins(5);
/// Between two tries.
const AGAIN: Duration = Duration::from_secs(2);

/// Finds or makes the cluster of the run with these marks, finds or installs driver and provider, and hands it over.
pub(super) async fn start(
    options: &EksOptions,
    scratch: &Path,
    marks: &Marks,
    ledger: &Ledger,
    heard: Heard,
) -> Result<Environment, StartError> {
    let began = Instant::now();
    prepare(scratch).map_err(StartError::of("environment"))?;
    // What cannot be written or installed needs no cluster, which takes ten minutes and costs something.
    if let Some(path) = &options.kubeconfig
        && path.exists()
    {
        return Err(unwritable(path, &io::ErrorKind::AlreadyExists.into()));
    }
    let at_hand = standing::prepare(&options.shared, scratch).await?;
    let aws = account(options).await?;
    let region = aws.access().region.clone();
    let name = options.cluster_name(marks.run());
    let making = Making {
        aws: &aws,
        name: &name,
        marks,
        ledger,
        told: &heard.told,
    };
    let cluster = match &options.cluster {
        EksCluster::Existing(name) => existing(&aws, name).await?,
        EksCluster::Created(creation) => making.create(creation).await?,
    };
    let kubernetes_in = match &options.cluster {
        EksCluster::Created(_) => KubernetesIn::OwnCluster,
        EksCluster::Existing(name) => {
            let reach = ClusterReach::Eks(name.clone());
            ledger.within_cluster(&reach).map_err(StartError::of(PART))?;
            KubernetesIn::Standing(reach)
        }
    };
    if let Some(path) = &options.kubeconfig {
        write_kubeconfig(path, options, &cluster, &region)?;
    }
    let access = access(&aws, &cluster)?;
    let kubernetes = connect(&access, marks, options.creates()).await?;
    if !options.creates() && !options.addons.is_empty() {
        addons::fit(&aws, &kubernetes, options, &name).await?;
    }
    making.install(&options.addons).await?;
    let issuer = match &cluster.issuer {
        Some(issuer) => issuer.clone(),
        None => kubernetes.issuer().await.map_err(StartError::of(PART))?,
    };
    let stands = Stands {
        began,
        components: components(&kubernetes, &aws, &cluster, options.creates())
            .await
            .map_err(StartError::of(PART))?,
        notes: notes(&aws, &cluster, options),
        issuer,
        failover_region: Some(failover_region(&region).to_owned()),
        reach: options.reach(marks.run(), &region),
        kubernetes_in,
        kubernetes,
        aws: Aws::clone(&aws),
        aws_side: None,
        way: None,
    };
    let run = standing::Run { marks, ledger, heard };
    let standing = standing::environment(stands, &options.shared, at_hand, run);
    let environment = Box::pin(standing).await?;
    Ok(Environment {
        eks_cluster: Some(name),
        ..environment
    })
}

impl EksOptions {
    /// How what the run with this id makes is reached without this process.
    pub(super) fn reach(&self, run_id: &str, region: &str) -> Reach {
        Reach::Account {
            account: self.account_id.clone(),
            region: region.to_owned(),
            profile: self.account.profile.clone(),
            cluster: ClusterReach::Eks(self.cluster_name(run_id)),
        }
    }
}

/// The account that was agreed to.
async fn account(options: &EksOptions) -> Result<Arc<Aws>, StartError> {
    let aws = Aws::of_account(&options.account)
        .await
        .map_err(StartError::of("AWS client"))?;
    let found = &aws.access().account;
    if *found == options.account_id {
        return Ok(Arc::new(aws));
    }
    Err(StartError::of("AWS client")(format!(
        "the credentials are of account {found} now, and {} was agreed to; nothing was made",
        options.account_id
    )))
}

/// The cluster of this name, which is to be there and to work.
async fn existing(aws: &Aws, name: &str) -> Result<ClusterView, StartError> {
    let region = &aws.access().region;
    let cluster = match aws.cluster(name).await {
        Err(error) if error.is_not_found() => {
            // A hint, where the credentials may ask for one.
            let there = match aws.clusters().await {
                Ok(there) if there.is_empty() => "; there is none".to_owned(),
                Ok(there) => format!("; there are: {}", there.join(", ")),
                Err(_) => String::new(),
            };
            return Err(StartError::of(PART)(format!(
                "there is no cluster {name} in {region}{there}; give another name with --cluster-name, another region with \
                 --region, or have one made with --create"
            )));
        }
        found => found.map_err(StartError::of::<AwsError>(PART))?,
    };
    match cluster.status.as_str() {
        "ACTIVE" | "UPDATING" => Ok(cluster),
        status => Err(StartError::of(PART)(format!(
            "the cluster {name} is {status}{}; it has to be ACTIVE",
            cluster
                .issues
                .first()
                .map_or_else(String::new, |issue| format!(" ({issue})"))
        ))),
    }
}

/// Kubernetes in this cluster, as whoever the account's credentials are of.
pub(crate) fn access(aws: &Arc<Aws>, cluster: &ClusterView) -> Result<KubernetesAccess, StartError> {
    let (Some(endpoint), Some(ca_pem)) = (&cluster.endpoint, &cluster.ca_pem) else {
        return Err(StartError::of(PART)(format!(
            "EKS tells no address of the cluster {}, which is {}, or no certificate authority that can be read",
            cluster.name, cluster.status
        )));
    };
    let tokens = EksTokens::new(aws, &cluster.name);
    Ok(KubernetesAccess::new(
        endpoint,
        ca_pem.clone(),
        Identity::Renewed(tokens),
    ))
}

/// Connects; a cluster that is new may not be known by its name for a while.
async fn connect(access: &KubernetesAccess, marks: &Marks, is_new: bool) -> Result<Kubernetes, StartError> {
    let until = Instant::now() + ANSWERS;
    loop {
        match Kubernetes::connect(access, marks).await {
            Err(error) if is_new && !error.is_answer() && Instant::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) if error.status == Some(401) => {
                return Err(StartError::of(PART)(format!(
                    "{error}: the cluster does not let these credentials in; give them an access entry with \
                     AmazonEKSClusterAdminPolicy (`aws eks create-access-entry`, `aws eks associate-access-policy`), or a line in \
                     aws-auth"
                )));
            }
            ended => return ended.map_err(StartError::of(PART)),
        }
    }
}

async fn components(
    kubernetes: &Kubernetes,
    aws: &Aws,
    cluster: &ClusterView,
    made: bool,
) -> Result<Vec<Component>, KubernetesError> {
    let whose = if made { "made for the run" } else { "found" };
    let mut components =
        standing::components(kubernetes, format!("EKS cluster {} ({whose})", cluster.name)).await?;
    for component in components
        .iter_mut()
        .filter(|component| component.seam == "kubernetes")
    {
        "EKS".clone_into(&mut component.name);
    }
    let access = aws.access();
    let mut notes = vec![format!("account {}, {}", access.account, access.region)];
    notes.extend(
        access
            .endpoint
            .as_ref()
            .map(|endpoint| format!("at {endpoint}, which is not AWS")),
    );
    components.push(Component {
        seam: "aws".to_owned(),
        name: "AWS".to_owned(),
        version: String::new(),
        stand_in: false,
        notes,
    });
    Ok(components)
}

fn notes(aws: &Aws, cluster: &ClusterView, options: &EksOptions) -> Vec<String> {
    let mut notes = vec![format!("cluster {}", cluster.arn)];
    notes.extend(aws.caller().map(|caller| format!("as {caller}")));
    if let Some(path) = &options.kubeconfig {
        notes.push(format!("kubectl --kubeconfig {}", path.display()));
    }
    notes
}

/// Writes the kubeconfig, never over anybody's file.
fn write_kubeconfig(
    path: &Path,
    options: &EksOptions,
    cluster: &ClusterView,
    region: &str,
) -> Result<(), StartError> {
    let text = kubeconfig::text(Written {
        arn: &cluster.arn,
        name: &cluster.name,
        endpoint: cluster.endpoint.as_deref().unwrap_or_default(),
        certificate_authority_pem: cluster.ca_pem.as_deref().unwrap_or_default(),
        region,
        profile: options.account.profile.as_deref(),
    });
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> StartError {
    StartError::of(PART)(format!(
        "the kubeconfig `{}` cannot be written: {error}; give another file with --write-kubeconfig",
        path.display()
    ))
}
