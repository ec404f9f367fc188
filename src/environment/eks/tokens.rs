//! Who the harness is for the API server of an EKS cluster: a bearer token that AWS signs, had anew before it ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::Mutex;

use crate::{
    aws::{Aws, ClusterToken},
    kubernetes::Tokens,
    secret::Credential,
};

/// How long before its end a token is no longer sent.
const SPARE: Duration = Duration::from_mins(1);

/// Tokens for one cluster.
pub(super) struct EksTokens {
    aws: Arc<Aws>,
    cluster: String,
    /// Held while a new one is had: who else wants one waits for it.
    kept: Mutex<Option<ClusterToken>>,
}

impl EksTokens {
    pub(super) fn new(aws: &Arc<Aws>, cluster: &str) -> Arc<Self> {
        Arc::new(Self {
            aws: Arc::clone(aws),
            cluster: cluster.to_owned(),
            kept: Mutex::default(),
        })
    }
}

impl Tokens for EksTokens {
    fn token(&self) -> BoxFuture<'_, Result<Credential, String>> {
        async {
            let mut kept = self.kept.lock().await;
            if let Some(kept) = kept.as_ref()
                && Instant::now() + SPARE < kept.good_until
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
