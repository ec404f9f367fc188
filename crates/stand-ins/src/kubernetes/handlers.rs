//! From an HTTP request to an HTTP response.

mod answer;
mod asked;
mod collections;
mod forward;
mod logs;
mod objects;

use std::sync::Arc;

use axum::{body::to_bytes, extract::Request, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use mountproof_run_tls::FirstOfConnection;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::{answer::Answer, asked::Asked};
pub use self::{
    forward::{PodPorts, PodStream},
    logs::{ContainerLogs, WrittenLine},
};
use super::{
    RequestCounts, RequestKind,
    account::{StaticTokens, TokenWebhook, User},
    cluster::Cluster,
    discovery,
    failure::Failure,
    request::{self, Place, Query, Shape, Target},
    resource::Resource,
};

/// The largest body that is read, as in the real server.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// What every request shares.
pub(super) struct App {
    pub(super) cluster: Arc<Cluster>,
    pub(super) tokens: StaticTokens,
    /// Asked about the tokens that are none of the server's own.
    pub(super) webhook: Option<TokenWebhook>,
    /// What containers have written, where anybody knows.
    pub(super) logs: Option<Arc<dyn ContainerLogs>>,
    /// Who listens in pods, where anybody does.
    pub(super) ports: Option<Arc<dyn PodPorts>>,
    pub(super) requests: RequestCounts,
    /// Host and port, as discovery tells it.
    pub(super) address: String,
    pub(super) stopping: CancellationToken,
}

impl App {
    /// Answers a request.
    pub(super) async fn answer(self: Arc<Self>, mut request: Request) -> Response {
        if let Some(forwarded) = self.forwarded(&mut request) {
            return forwarded;
        }
        let answer = match self.dispatch(request).await {
            Ok(answer) => answer,
            Err(failure) => Answer::failure(&failure),
        };
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(answer.content_type),
        );
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, private"),
        );
        if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
            headers.insert("Audit-Id", id);
        }
        response
    }

    async fn dispatch(&self, request: Request) -> Result<Answer, Failure> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        if let Some(answer) = self.public(path) {
            return Ok(answer);
        }
        let user = self.authenticate(&head.headers)?;
        let target = request::target(path);
        let query = Query::parse(head.uri.query());
        let Some(user) = user else {
            return Err(match &target {
                Target::Objects(place) => Failure::anonymous(verb(&head.method, place, &query), place),
                _ => Failure::anonymous_at(&head.method.as_str().to_lowercase(), path),
            });
        };
        let user = user.name;
        let accept = head
            .headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        let shape = request::accepted(accept)?;
        let place = match target {
            Target::Objects(place) => place,
            target => {
                return Ok(self
                    .describe(&target, shape)
                    .unwrap_or_else(Answer::page_not_found));
            }
        };
        let resource = self
            .cluster
            .registry(|registry| registry.find(place.group, place.version, place.plural));
        let Some(resource) = resource.filter(|resource| fits(resource, &place)) else {
            return Ok(Answer::page_not_found());
        };
        let agent = agent(&head.headers);
        let handshake = head.extensions.get::<FirstOfConnection>().is_some();
        self.requests.count(
            kind(&head.method, &resource, &place, &query, user, &agent),
            handshake,
        );
        let body = to_bytes(body, BODY_LIMIT)
            .await
            .map_err(|error| Failure::bad_request(format!("read the request's body: {error}")))?;
        let asked = Asked {
            resource,
            place,
            query,
            shape,
            content_type: head
                .headers
                .get(header::CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            body,
            agent: agent.split('/').next().unwrap_or_default().to_owned(),
        };
        if asked.place.name.is_empty() {
            self.on_collection(&head.method, &asked)
        } else if asked.place.subresource.is_empty() {
            self.on_object(&head.method, &asked)
        } else {
            self.on_subresource(&head.method, &asked)
        }
    }

    /// What needs no token: health, version and the issuer's documents, which relying parties fetch
    /// anonymously.
    fn public(&self, path: &str) -> Option<Answer> {
        Some(match path {
            "/healthz" | "/livez" | "/readyz" => Answer::text(StatusCode::OK, "ok"),
            "/version" | "/version/" => Answer::json(StatusCode::OK, &discovery::version()),
            "/.well-known/openid-configuration" => Answer::json(
                StatusCode::OK,
                &json!({
                    "issuer": self.cluster.issuer,
                    "jwks_uri": format!("https://{}/openid/v1/jwks", self.address),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256"],
                }),
            ),
            "/openid/v1/jwks" => Answer {
                content_type: "application/jwk-set+json",
                ..Answer::json(StatusCode::OK, &self.cluster.signer.key_set())
            },
            _ => return None,
        })
    }

    /// Who a token is of; who sends none is `system:anonymous`.
    fn authenticate(&self, headers: &HeaderMap) -> Result<Option<User>, Failure> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .map(str::trim)
            .filter(|token| !token.is_empty());
        let Some(token) = token else {
            return Ok(None);
        };
        let own = self.cluster.authenticate(&self.tokens, token);
        own.or_else(|| self.webhook.as_ref()?(token))
            .map(Some)
            .ok_or_else(Failure::unauthorized)
    }

    fn describe(&self, target: &Target<'_>, shape: Shape) -> Option<Answer> {
        let aggregated = shape == Shape::AggregatedDiscovery;
        let found = self.cluster.registry(|registry| {
            Some(match target {
                Target::CoreVersions if aggregated => discovery::aggregated(registry, true),
                Target::Groups if aggregated => discovery::aggregated(registry, false),
                Target::CoreVersions => discovery::core_versions(&self.address),
                Target::Groups => discovery::groups(registry),
                Target::Group(name) => discovery::group(registry, name)?,
                Target::Resources { group, version } => discovery::resources(registry, group, version)?,
                Target::Objects(_) | Target::Other => return None,
            })
        })?;
        let mut answer = Answer::json(StatusCode::OK, &found);
        if aggregated && matches!(target, Target::CoreVersions | Target::Groups) {
            answer.content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        }
        Some(answer)
    }
}

/// What a request counts as.
fn kind(
    method: &Method,
    resource: &Resource,
    place: &Place<'_>,
    query: &Query,
    user: String,
    agent: &str,
) -> RequestKind {
    let mut name = resource.qualified_plural();
    if !place.subresource.is_empty() {
        name = format!("{name}/{}", place.subresource);
    }
    RequestKind {
        user,
        namespace: place.namespace.clone().into_owned(),
        verb: verb(method, place, query),
        resource: name,
        user_agent: agent.to_owned(),
    }
}

/// What is asked for, as RBAC calls it.
fn verb(method: &Method, place: &Place<'_>, query: &Query) -> &'static str {
    match (method.as_str(), place.name.is_empty()) {
        ("GET", true) if query.flag("watch") => "watch",
        ("GET", true) => "list",
        ("GET", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "other",
    }
}

/// Whether a resource can be at a place: whether it is namespaced, and has the subresource.
fn fits(resource: &Resource, place: &Place<'_>) -> bool {
    let named = !place.name.is_empty();
    let namespace = !place.namespace.is_empty();
    (resource.namespaced || !namespace)
        && (!named || resource.namespaced == namespace)
        && (place.subresource.is_empty() || resource.subresources().contains(&place.subresource))
}

fn agent(headers: &HeaderMap) -> String {
    headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("unknown")
        .to_owned()
}
