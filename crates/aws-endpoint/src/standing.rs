//! What is in an account before the first call: clusters that run already, and instances that have credentials.

use crate::{
    accept::Connection,
    caller::Circumstances,
    credentials::Labels,
    eks::{self, ClusterParts, Trust},
    eks_calls::trusts,
    endpoint::Endpoint,
    state::State,
    sts,
};

/// Who gets credentials by being an instance.
const INSTANCES: &str = "ec2.amazonaws.com";
/// How long they count, as those that EC2 gives: about six hours.
const SIX_HOURS: u32 = 6 * 3600;

/// The credentials of an instance's role, as its metadata service has them. Has no `Debug`: it holds a key.
#[derive(Clone)]
pub struct InstanceCredentials {
    /// `ASIA..`.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session's.
    pub session_token: String,
}

impl Endpoint {
    /// Takes a Kubernetes cluster that runs already for the EKS cluster `name` of `region`: its tokens are worth what those of
    /// EKS are, for STS and for Pod Identity.
    pub fn adopt_cluster(&self, region: &str, name: &str, parts: ClusterParts) {
        let state = self.state();
        state.issuers.host(&parts.issuer, &parts.jwks);
        eks::adopted(&mut state.world().eks, region, name, parts, state.now());
    }

    /// The credentials that an instance with this role has. `None` when there is no such role, or it does not trust EC2.
    #[must_use]
    pub fn instance_credentials(
        &self,
        region: &str,
        role_arn: &str,
        instance: &str,
    ) -> Option<InstanceCredentials> {
        instance_credentials(self.state(), region, role_arn, instance)
    }
}

/// The credentials that an instance with this role has.
pub(crate) fn instance_credentials(
    state: &State,
    region: &str,
    role_arn: &str,
    instance: &str,
) -> Option<InstanceCredentials> {
    let now = state.now();
    let at = Circumstances {
        region,
        now,
        connection: Connection {
            number: 0,
            secure: true,
            peer: ([127, 0, 0, 1], 0).into(),
        },
    };
    let role = {
        let world = state.world();
        if trusts(&world.iam, role_arn, INSTANCES, at, state.rules()) != Trust::Given {
            return None;
        }
        world.iam.role_by_arn(role_arn).cloned()?
    };
    let issued = sts::issue(
        state,
        sts::Grant {
            role: &role,
            session_name: instance,
            seconds: SIX_HOURS,
            policies: None,
            provider: None,
            labels: Labels::default(),
        },
        now,
    );
    Some(InstanceCredentials {
        access_key_id: (*issued.session.access_key_id).to_owned(),
        secret_access_key: issued.session.secret_access_key.clone(),
        session_token: issued.session.token.clone().unwrap_or_default(),
    })
}
