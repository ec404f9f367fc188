//! An issuer of genuine service-account tokens, for an endpoint that is asked whether it tells them from others: the
//! Kubernetes stand-in, with a key of its own.

use mountproof_run_tls::RunCa;
use mountproof_stand_ins::kubernetes::{ApiServer, ApiServerConfig};

use crate::{
    aws::Genuine,
    kubernetes::{Identity, Kubernetes, KubernetesAccess, KubernetesError},
    secret::Credential,
    tenant::{AUDIENCE, Marks},
};

/// A running issuer on loopback.
#[derive(Debug)]
pub struct TokenIssuer {
    api: ApiServer,
}

impl TokenIssuer {
    /// Starts one, with an authority of its own.
    ///
    /// # Errors
    /// In words for the user, when it cannot listen.
    pub async fn start() -> Result<Self, String> {
        let failed = |error: &dyn std::error::Error| format!("cannot issue tokens: {error}");
        let ca = RunCa::generate("probe").map_err(|error| failed(&error))?;
        let api = ApiServer::start(ApiServerConfig::on_loopback(ca)).await;
        Ok(Self {
            api: api.map_err(|error| failed(&error))?,
        })
    }

    /// The authority that who fetches its keys has to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        self.api.ca_pem()
    }

    /// A token for STS, and one of the same subject for another audience.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn tokens(&self, run: &str) -> Result<Genuine, String> {
        let identity = Identity::Token(Credential::new(self.api.admin_token().expose()));
        let access = KubernetesAccess::new(self.api.url(), self.api.ca_pem(), identity);
        let said = |error: KubernetesError| error.to_string();
        let cluster = Kubernetes::connect(&access, &Marks::of_run(run))
            .await
            .map_err(said)?;
        let token = async |audience: &str| cluster.token("default", "default", audience).await.map_err(said);
        Ok(Genuine {
            issuer: self.api.issuer().to_owned(),
            subject: "system:serviceaccount:default:default".to_owned(),
            token: token(AUDIENCE).await?,
            for_another: token("vault").await?,
        })
    }

    /// Ends it.
    pub async fn stop(self) {
        self.api.stop().await;
    }
}
