//! Bearer tokens for the API server of an EKS cluster, had anew before they end.

use std::{sync::Arc, time::Instant};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Mutex;

use crate::{
    aws::{Aws, ClusterToken},
    kubernetes::Tokens,
    secret::Credential,
};

/// Tokens of whoever the account's credentials are of.
pub(crate) struct ClusterTokens {
    aws: Arc<Aws>,
    cluster: String,
    /// Held while a new one is had: who else wants one waits for it.
    kept: Mutex<Option<ClusterToken>>,
}

impl ClusterTokens {
    pub(crate) fn new(aws: &Arc<Aws>, cluster: &str) -> Arc<Self> {
        Arc::new(Self {
            aws: Arc::clone(aws),
            cluster: cluster.to_owned(),
            kept: Mutex::default(),
        })
    }
}

impl Tokens for ClusterTokens {
    fn token(&self) -> BoxFuture<'_, Result<Credential, String>> {
        async {
            let mut kept = self.kept.lock().await;
            if let Some(kept) = kept.as_ref()
                && Instant::now() < kept.good_until
            {
                return Ok(kept.token.clone());
            }
            let new = self.aws.cluster_token(&self.cluster).await;
            let new = new.map_err(|error| error.to_string())?;
            let token = new.token.clone();
            *kept = Some(new);
            Ok(token)
        }
        .boxed()
    }
}
