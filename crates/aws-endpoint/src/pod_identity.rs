//! EKS Pod Identity: the token of a pod for a session of the role that is associated with its `ServiceAccount`, through
//! the eks-auth API and through the agent's address on a node.
//!
//! Imitated: the EKS Auth API reference, version 2023-11-26, and "Learn how EKS Pod Identity grants pods access" of
//! the EKS user guide: audience `pods.eks.amazonaws.com`, six session tags, all transitive. The agent answers in the
//! form that the SDKs' container credential provider reads (`AWS_CONTAINER_CREDENTIALS_FULL_URI`).
//!
//! Left out: the agent's cache and its own permissions, and Kubernetes' view of the pod: what the token says of pod
//! and `ServiceAccount` is believed, as its issuer signed it. Unverified: the texts, and that sessions last six hours.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::{
    Extension, Json, Router,
    extract::State as Shared,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
    routing::get,
};
use jiff::Timestamp;
use jsonwebtoken::{TokenData, dangerous};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    accept::Connection,
    answer::Refusal,
    caller::{Circumstances, why},
    calls::{CallRecord, CallVerdict},
    credentials::Labels,
    defects::Defects,
    eks::{self, PodIdentity},
    eks_calls::of_token,
    iam::{
        Context, Decision, Obstacle, PolicySet, Principal, Request,
        context::Over,
        evaluate,
        store::{Role, Tag},
    },
    state::State,
    sts::{self, Issued, Trace},
    token::{self, Token},
};

/// Audience of the tokens, and the service that assumes the role.
const PODS: &str = "pods.eks.amazonaws.com";
/// Length of a session in seconds.
const SIX_HOURS: u32 = 6 * 3600;
/// Where the agent's credentials are.
const PATH: &str = "/v1/credentials";

/// A token of a cluster's issuer, for a `ServiceAccount`.
#[derive(Debug, Clone, Copy)]
pub struct ServiceAccountToken<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name of the `ServiceAccount`.
    pub service_account: &'a str,
    /// The name and the uid of the pod that it is bound to.
    pub pod: Option<(&'a str, &'a str)>,
    /// Whom it is for: `sts.amazonaws.com`, or `pods.eks.amazonaws.com`.
    pub audience: &'a str,
    /// How long it counts, in seconds.
    pub seconds: i64,
}

impl ServiceAccountToken<'_> {
    /// Claims as a Kubernetes API server makes them.
    pub(crate) fn claims(&self, issuer: &str, now: Timestamp) -> Value {
        let now = now.as_second();
        let mut claims = json!({
            "iss": issuer,
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.service_account),
            "aud": [self.audience],
            "iat": now,
            "nbf": now,
            "exp": now + self.seconds,
            "kubernetes.io": {
                "namespace": self.namespace,
                "serviceaccount": { "name": self.service_account, "uid": uuid::Uuid::new_v4() },
            },
        });
        if let Some((name, uid)) = self.pod {
            claims["kubernetes.io"]["pod"] = json!({ "name": name, "uid": uid });
        }
        claims
    }
}

/// What Kubernetes says in a token.
#[derive(Deserialize)]
struct Kubernetes {
    #[serde(rename = "kubernetes.io")]
    bound: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    serviceaccount: Object,
    pod: Object,
}

#[derive(Deserialize)]
struct Object {
    name: String,
    uid: String,
}

/// A session that a pod was given. Has no `Debug`: it holds a key.
pub(crate) struct Granted {
    bound: Bound,
    identity: PodIdentity,
    issued: Issued,
}

impl Granted {
    /// As eks-auth says it.
    pub(crate) fn answer(&self) -> Value {
        let Self {
            bound,
            identity,
            issued,
        } = self;
        json!({
            "subject": { "namespace": bound.namespace, "serviceAccount": bound.serviceaccount.name },
            "audience": PODS,
            "podIdentityAssociation": {
                "associationArn": identity.association_arn,
                "associationId": identity.association_id,
            },
            "assumedRoleUser": { "arn": &*issued.session.arn, "assumeRoleId": issued.user_id },
            "credentials": {
                "accessKeyId": &*issued.session.access_key_id,
                "secretAccessKey": issued.session.secret_access_key,
                "sessionToken": issued.session.token,
                "expiration": issued.expires.as_second(),
            },
        })
    }

    /// As the agent says it.
    fn container_credentials(&self, account: &str) -> Value {
        let Issued { session, expires, .. } = &self.issued;
        json!({
            "AccessKeyId": &*session.access_key_id,
            "SecretAccessKey": session.secret_access_key,
            "Token": session.token,
            "AccountId": account,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        })
    }
}

/// The name of the cluster in the path of the one operation that eks-auth has.
pub(crate) fn cluster_in(path: &str) -> Option<&str> {
    let name = path
        .strip_prefix("/clusters/")?
        .strip_suffix("/assume-role-for-pod-identity")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Gives a pod a session of its role.
///
/// Refused in this order: the cluster, the token, its issuer, its signature, its times, its audience, the
/// association, the trust policy.
pub(crate) async fn assume(
    state: &State,
    at: Circumstances<'_>,
    cluster: &str,
    token: &str,
    trace: &mut Trace,
) -> Result<Granted, Refusal> {
    let refused = |code: &str, text: String| Refusal::new(400, code, text.clone()).denial(text);
    let invalid = |text: &str| refused("InvalidTokenException", text.to_owned());
    let issuer = {
        let world = state.world();
        let issuer = eks::issuer_of(&world.eks, at.region, cluster).map(str::to_owned);
        issuer.ok_or_else(|| {
            Refusal::new(
                404,
                "ResourceNotFoundException",
                format!("No cluster found for name: {cluster}."),
            )
        })?
    };
    let read = Token::read(token).map_err(of_token)?;
    let claims = &read.claims;
    trace.subject = Some(claims.sub.clone());
    if claims.iss != issuer {
        return Err(invalid("The token was not issued by the cluster"));
    }
    let defects = state.defects();
    if !defects.skip_token_signature {
        let verified = read.verify_signature(&state.issuers, &issuer).await;
        verified.map_err(of_token)?;
    }
    claims
        .check_times(at.now, defects.accept_expired_token)
        .map_err(of_token)?;
    if !defects.ignore_audience && !claims.audiences.iter().any(|audience| audience == PODS) {
        return Err(invalid("The token audience is invalid"));
    }
    let kubernetes: Result<TokenData<Kubernetes>, _> = dangerous::insecure_decode(token);
    let Ok(TokenData {
        claims: Kubernetes { bound },
        ..
    }) = kubernetes
    else {
        return Err(invalid("The token is not bound to a pod"));
    };
    let (namespace, account) = (bound.namespace.as_str(), bound.serviceaccount.name.as_str());
    let (identity, role) = {
        let world = state.world();
        let identity = eks::pod_identity(&world.eks, at.region, cluster, namespace, account).or_else(|| {
            let any = defects.any_association_counts;
            any.then(|| eks::pod_identity_of_any_namespace(&world.eks, at.region, cluster, account))?
        });
        let role = identity
            .as_ref()
            .and_then(|identity| world.iam.role_by_arn(&identity.role))
            .cloned();
        (identity, role)
    };
    let identity = identity.ok_or_else(|| {
        let text = format!("No association found for service account {account} in namespace {namespace}");
        Refusal::new(404, "ResourceNotFoundException", text.clone()).denial(text)
    })?;
    trace.resource = Some(identity.role.clone());
    trace.role = identity.role.rsplit('/').next().map(Arc::from);
    let denied = |reason: String| {
        let text = "Unauthorized Exception! EKS does not have permissions to assume the associated role.";
        Refusal::new(400, "AccessDeniedException", text).denial(reason)
    };
    let role = role.ok_or_else(|| denied(format!("there is no role {}", identity.role)))?;
    let labels = if identity.session_tags {
        labels(&bound, &identity, cluster)
    } else {
        Labels::default()
    };
    trusted(state, at, &role, &identity, &labels, trace).map_err(denied)?;
    let session_name = session_name(cluster, &bound.pod.name);
    let grant = sts::Grant {
        role: &role,
        session_name: &session_name,
        seconds: SIX_HOURS,
        policies: None,
        provider: None,
        labels,
    };
    let session = sts::issue(state, grant, at.now);
    Ok(Granted {
        bound,
        identity,
        issued: session,
    })
}

/// Whether the role lets EKS assume it for this pod, with its tags. The error is why not, for the log.
fn trusted(
    state: &State,
    at: Circumstances<'_>,
    role: &Role,
    identity: &PodIdentity,
    labels: &Labels,
    trace: &mut Trace,
) -> Result<(), String> {
    let mut context = Context::new();
    context.set("aws:PrincipalIsAWSService", "true");
    context.set("aws:PrincipalServiceName", PODS);
    context.set("aws:SourceArn", identity.cluster_arn.as_str());
    context.set("aws:SourceAccount", state.account.as_str());
    context.set("aws:ResourceAccount", state.account.as_str());
    sts::tag_keys(&mut context, &labels.tags, &labels.transitive);
    let tags = (!labels.tags.is_empty()).then_some("sts:TagSession");
    for action in ["sts:AssumeRole"].into_iter().chain(tags) {
        let decision = evaluate(
            &Request {
                principal: &Principal::Service {
                    name: PODS.to_owned(),
                },
                action,
                resource: &role.arn,
                resource_account: &state.account,
                context: &Over(&context, &at),
            },
            &PolicySet {
                trust: Some(&role.trust.named),
                ..PolicySet::default()
            },
            state.rules(),
        );
        trace.statement.clone_from(&decision.statement);
        if !decision.allowed() && !is_overlooked(&decision, state.defects()) {
            return Err(why(&decision, action));
        }
    }
    Ok(())
}

/// Whether a planted defect hands out the role though its trust policy does not.
fn is_overlooked(decision: &Decision, defects: Defects) -> bool {
    let unmet = match decision.near_miss.as_ref().map(|miss| &miss.obstacle) {
        Some(Obstacle::Condition { key, .. }) => key.as_str(),
        _ => "",
    };
    let is = |key: &str| {
        unmet
            .get(..key.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(key))
    };
    defects.ignore_trust_policy
        || (defects.ignore_source_cluster && is("aws:SourceArn"))
        || (defects.ignore_request_tags && is("aws:RequestTag/"))
}

/// The tags that EKS gives a pod's session, all transitive.
fn labels(bound: &Bound, identity: &PodIdentity, cluster: &str) -> Labels {
    let tags: Vec<Tag> = [
        ("eks-cluster-arn", identity.cluster_arn.as_str()),
        ("eks-cluster-name", cluster),
        ("kubernetes-namespace", &bound.namespace),
        ("kubernetes-service-account", &bound.serviceaccount.name),
        ("kubernetes-pod-name", &bound.pod.name),
        ("kubernetes-pod-uid", &bound.pod.uid),
    ]
    .into_iter()
    .map(|(key, value)| Tag {
        key: key.to_owned(),
        value: value.to_owned(),
    })
    .collect();
    let transitive = tags.iter().map(|tag| tag.key.clone()).collect();
    Labels {
        tags,
        transitive,
        source_identity: None,
    }
}

/// `eks-<cluster>-<pod>-<uuid>`, cut to what a session's name may have.
fn session_name(cluster: &str, pod: &str) -> String {
    let unique = uuid::Uuid::new_v4();
    let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    format!("eks-{}-{}-{unique}", short(cluster, 10), short(pod, 11))
}

/// The credentials of a pod, as the agent answers: the cluster is the one whose token it is.
pub(crate) async fn credentials(
    state: &State,
    token: &str,
    peer: SocketAddr,
) -> Result<Value, (u16, String)> {
    let began = Instant::now();
    let now = state.now();
    let mut trace = Trace::default();
    let number = state.next_connection();
    let (region, result) = match cluster_of(state, token) {
        Err(refusal) => (String::new(), Err(refusal)),
        Ok((region, cluster)) => {
            let connection = Connection {
                number,
                secure: false,
                peer,
            };
            let at = Circumstances {
                region: &region,
                now,
                connection,
            };
            let result = assume(state, at, &cluster, token, &mut trace).await;
            (region, result)
        }
    };
    let refusal = result.as_ref().err();
    state.calls.push(CallRecord {
        sequence: 0,
        at: now,
        took: began.elapsed(),
        service: "eks-auth",
        operation: "AssumeRoleForPodIdentity".into(),
        region: region.into(),
        principal: None,
        role: trace.role,
        subject: trace.subject,
        asked: trace.resource.clone(),
        resource: trace.resource,
        verdict: CallVerdict::of(refusal),
        statement: trace.statement,
        reason: refusal.and_then(|refusal| refusal.reason.clone()),
        status: refusal.map_or(200, |refusal| refusal.status),
        error: refusal.map(|refusal| refusal.code.clone()),
        backend: None,
        connection: number,
        handshake: false,
        fault: None,
    });
    match result {
        Ok(granted) => Ok(granted.container_credentials(&state.account)),
        Err(refusal) => {
            let Refusal {
                status,
                code,
                message,
                ..
            } = refusal;
            Err((status, format!("{code}: {message}")))
        }
    }
}

/// Region and name of the cluster whose issuer a token names.
fn cluster_of(state: &State, token: &str) -> Result<(String, String), Refusal> {
    let read = Token::read(token).map_err(of_token)?;
    eks::cluster_of_issuer(&state.world().eks, &read.claims.iss)
        .ok_or_else(|| of_token(token::invalid("The token was not issued by a cluster")))
}

/// Gives pods their credentials over plain HTTP until `shutdown`, as the agent does on a node.
pub(crate) async fn serve(listener: TcpListener, state: Arc<State>, shutdown: CancellationToken) {
    let app = Router::new().route(PATH, get(agent)).with_state(state);
    let stop = shutdown.clone();
    let serve = move |stream: tokio::net::TcpStream| {
        let (app, shutdown) = (app.clone(), stop.clone());
        async move {
            if let Ok(peer) = stream.peer_addr() {
                let app = app.layer(Extension(peer));
                mountproof_run_tls::serve_connection(stream, app, shutdown).await;
            }
        }
    };
    mountproof_run_tls::accept(listener, shutdown, serve).await;
}

async fn agent(
    Shared(state): Shared<Arc<State>>,
    Extension(peer): Extension<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let answer = match token {
        None => Err((400, "Service account token cannot be empty".to_owned())),
        Some(token) => credentials(&state, token, peer).await,
    };
    match answer {
        Ok(credentials) => Json(credentials).into_response(),
        Err((status, text)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, text).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_after_cluster_and_pod() {
        let name = session_name("a-cluster-of-long-name", &"p".repeat(253));
        assert_eq!(name.len(), 63, "{name}");
        assert!(name.starts_with("eks-a-cluster--ppppppppppp-"), "{name}");
        assert!(session_name("demo", "app").starts_with("eks-demo-app-"));
    }

    #[test]
    fn the_cluster_is_in_the_path() {
        for (path, expected) in [
            ("/clusters/demo/assume-role-for-pod-identity", Some("demo")),
            ("/clusters//assume-role-for-pod-identity", None),
            ("/clusters/a/b/assume-role-for-pod-identity", None),
            ("/clusters/demo", None),
        ] {
            assert_eq!(cluster_in(path), expected, "{path}");
        }
    }
}
