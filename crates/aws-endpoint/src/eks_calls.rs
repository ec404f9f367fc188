//! Calls of EKS and of its pod identities: who may, then the service itself; and who somebody is for a cluster.

use serde_json::{Map, Value};

use crate::{
    answer::{Outcome, Refusal},
    authorisation::Authorisation,
    call::{Call, Known},
    caller::Circumstances,
    eks::{self, ClusterKey, EksError, EksIdentity, Request, Setting, Trust, token::TokenError},
    eks_follow,
    iam::{self, IamState, Obstacle, PolicySet, Principal, Rules, evaluate},
    pod_identity,
    service::{Head, Service},
    signature,
    state::{State, World},
};

/// Why the bearer of a token may not come into a cluster. Its API server answers 401 to all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EksTokenError {
    /// It is no token.
    #[error(transparent)]
    NotAToken(#[from] TokenError),
    /// STS refuses its URL.
    #[error("STS refuses the pre-signed URL: {code}: {message}")]
    Refused {
        /// Such as `SignatureDoesNotMatch`.
        code: String,
        /// STS's text.
        message: String,
    },
    /// It is genuine, and whoever made it may not come in.
    #[error("no access entry of cluster {cluster} names {arn}")]
    NoAccess {
        /// The name of the cluster.
        cluster: String,
        /// The caller.
        arn: String,
    },
}

/// Who the bearer of a token is for a cluster.
pub(crate) fn authenticate(
    state: &State,
    region: &str,
    cluster: &str,
    token: &str,
) -> Result<EksIdentity, EksTokenError> {
    let now = state.now();
    let url = eks::token::url(token, now)?;
    let headers = [(eks::token::CLUSTER_HEADER, cluster)];
    let session = signature::verify_presigned(state, &url, &headers, now).map_err(|refusal| {
        EksTokenError::Refused {
            code: refusal.code,
            message: refusal.message,
        }
    })?;
    let arn = session.principal.arn();
    let world = state.world();
    eks::identify(
        &world.eks,
        region,
        cluster,
        &arn,
        &principal_arn(&session.principal),
    )
    .ok_or_else(|| EksTokenError::NoAccess {
        cluster: cluster.to_owned(),
        arn,
    })
}

/// The name of the operation that a restJson call is for; empty when there is none.
pub(crate) fn operation(service: Service, head: Head<'_>) -> String {
    let parts = head.0;
    match service {
        Service::EksAuth => {
            pod_identity::cluster_in(parts.uri.path()).map(|_| "AssumeRoleForPodIdentity".to_owned())
        }
        _ => Request::read(parts.method.as_str(), parts.uri.path(), "", b"")
            .ok()
            .map(|request| request.operation().to_owned()),
    }
    .unwrap_or_default()
}

/// The discovery document or the keys of a cluster's token issuer, if that is what is asked for.
pub(crate) fn issuer_document(state: &State, head: Head<'_>) -> Option<Value> {
    let host = head.host();
    if !host.starts_with("oidc.eks.") {
        return None;
    }
    eks::issuer_document(&state.world_as_is().eks, host, head.path())
}

impl Call<'_> {
    /// Carries out a call of EKS.
    pub(crate) async fn eks(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let uri = &self.parts.uri;
        let query = uri.query().unwrap_or_default();
        let request =
            Request::read(self.parts.method.as_str(), uri.path(), query, self.body).map_err(from_eks)?;
        {
            let mut world = self.state.world();
            world.eks.settle(self.now);
            let wanted = eks::authorisations(&world.eks, &self.region, &request).map_err(from_eks)?;
            let caller = self.caller(&session, &world);
            // What the call is about, and not the role that it hands over.
            let about = wanted.first().map(|wanted| wanted.resource.clone());
            for wanted in wanted {
                self.authorise(&caller, &session, wanted, known)?;
            }
            known.trace.resource = about;
        }
        // Takes too long to be done while others wait for the state.
        let key = if request.operation() == "CreateCluster" {
            tokio::task::spawn_blocking(ClusterKey::generate).await.ok()
        } else {
            None
        };
        let answer = {
            let mut world = self.state.world();
            let World { iam, eks, .. } = &mut *world;
            let (rules, at) = (self.state.rules(), self.circumstances());
            let trust = |role: &str, service: &str| trusts(iam, role, service, at, rules);
            let setting = Setting {
                region: &self.region,
                caller: &principal_arn(&session.principal),
                now: self.now,
                key,
                trust: &trust,
            };
            eks::execute(eks, &request, setting).map_err(from_eks)?
        };
        eks_follow::follow(self.state, &self.region, &request, &answer);
        Ok(Outcome::Json(answer))
    }

    /// Exchanges the token of a pod for a session of the role that is associated with its `ServiceAccount`.
    pub(crate) async fn eks_auth(&self, known: &mut Known) -> Result<Outcome, Refusal> {
        let session = self.signed(known)?;
        let cluster = pod_identity::cluster_in(self.parts.uri.path())
            .ok_or_else(|| Refusal::new(404, "UnknownOperationException", "there is no such operation"))?;
        {
            let arn = format!(
                "arn:aws:eks:{}:{}:cluster/{cluster}",
                self.region, self.state.account
            );
            let wanted = Authorisation::new("eks-auth:AssumeRoleForPodIdentity".to_owned(), arn);
            let world = self.state.world();
            let caller = self.caller(&session, &world);
            // This service alone has 400 for it, as its model says.
            let denied = |refusal: Refusal| Refusal {
                status: 400,
                ..refusal
            };
            self.authorise(&caller, &session, wanted, known).map_err(denied)?;
        }
        let body = self.json()?;
        let parameter = |text: &str| Refusal::new(400, "InvalidParameterException", text);
        let token = body.get("token").and_then(Value::as_str);
        let token = token.ok_or_else(|| parameter("token must not be null"))?;
        let granted =
            pod_identity::assume(self.state, self.circumstances(), cluster, token, &mut known.trace).await?;
        Ok(Outcome::Json(granted.answer()))
    }
}

/// Whether a role can be handed to a service. What a condition of its trust policy asks for is seen when the
/// service assumes it.
pub(crate) fn trusts(
    iam: &IamState,
    role: &str,
    service: &str,
    at: Circumstances<'_>,
    rules: Rules,
) -> Trust {
    let Some(role) = iam.role_by_arn(role) else {
        return Trust::NoRole;
    };
    let decision = evaluate(
        &iam::Request {
            principal: &Principal::Service {
                name: service.to_owned(),
            },
            action: "sts:AssumeRole",
            resource: &role.arn,
            resource_account: iam.account(),
            context: &at,
        },
        &PolicySet {
            trust: Some(&role.trust.named),
            ..PolicySet::default()
        },
        rules,
    );
    let obstacle = decision.near_miss.as_ref().map(|miss| &miss.obstacle);
    if decision.allowed()
        || matches!(
            obstacle,
            Some(Obstacle::Condition { .. } | Obstacle::UnknownKey { .. })
        )
    {
        Trust::Given
    } else {
        Trust::Refused
    }
}

/// A caller as IAM has it: the role of a session.
fn principal_arn(principal: &Principal) -> String {
    match principal {
        Principal::AssumedRole { role_arn, .. } => role_arn.clone(),
        other => other.arn(),
    }
}

fn from_eks(error: EksError) -> Refusal {
    let details: Map<String, Value> = error.details;
    Refusal {
        details,
        ..Refusal::new(error.status, error.code, error.message)
    }
}

/// Why a pod's token is none, in the words of this service.
pub(crate) fn of_token(refusal: Refusal) -> Refusal {
    let code = match refusal.code.as_str() {
        "ExpiredTokenException" => "ExpiredTokenException",
        _ => "InvalidTokenException",
    };
    Refusal {
        code: code.to_owned(),
        status: 400,
        ..refusal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_model_knows_is_said_of_a_token() {
        let of = |code: &str| of_token(Refusal::new(403, code, "x")).code;
        assert_eq!(of("ExpiredTokenException"), "ExpiredTokenException");
        assert_eq!(of("InvalidIdentityToken"), "InvalidTokenException");
        assert_eq!(of("IDPCommunicationError"), "InvalidTokenException");
    }
}
