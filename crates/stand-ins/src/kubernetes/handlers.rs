//! From an HTTP request to an HTTP response.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    RequestKind,
    account::StaticTokens,
    cluster::{Cluster, Writer},
    deletion::Deleted,
    discovery,
    failure::{Failure, Violation},
    object::{child_mut, fields_mut},
    page::Continue,
    patch::Format,
    render,
    request::{self, Place, Query, Shape, Target},
    resource::{PODS, Resource, SERVICE_ACCOUNTS},
    selector::Selector,
    store::{Scope, Since},
    stored::{Key, Stored},
    watch::Watch,
};

/// The largest body that is read, as in the real server.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// How long a watch runs whose client sets no time. The real server draws 30 to 60 minutes.
const WATCH_TIME: Duration = Duration::from_mins(45);

const OBJECT_TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// What every request shares.
#[derive(Debug)]
pub(super) struct App {
    pub(super) cluster: Arc<Cluster>,
    pub(super) tokens: StaticTokens,
    pub(super) requests: Mutex<BTreeMap<RequestKind, u64>>,
    /// Host and port, as discovery tells it.
    pub(super) address: String,
    pub(super) stopping: CancellationToken,
}

/// An answer before its headers.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: Body,
}

/// A request that was read as far as its resource.
struct Asked<'a> {
    resource: Arc<Resource>,
    place: Place<'a>,
    query: Query,
    shape: Shape,
    content_type: Option<String>,
    body: Bytes,
    /// Field manager by user agent.
    agent: String,
}

impl App {
    /// Answers a request.
    pub(super) async fn answer(self: Arc<Self>, request: Request) -> Response {
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
        self.authenticate(&head.headers)?;
        let accept = head
            .headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        let shape = request::accepted(accept)?;
        let place = match request::target(path) {
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
        let query = Query::parse(head.uri.query());
        let agent = agent(&head.headers);
        self.count(&head.method, &resource, &place, &query, &agent);
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
                    "jwks_uri": format!("{}/openid/v1/jwks", self.cluster.issuer),
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

    fn authenticate(&self, headers: &HeaderMap) -> Result<(), Failure> {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .and_then(|token| self.cluster.authenticate(&self.tokens, token.trim()))
            .map(drop)
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

    fn count(&self, method: &Method, resource: &Resource, place: &Place<'_>, query: &Query, agent: &str) {
        let collection = place.name.is_empty();
        let verb = match (method.as_str(), collection) {
            ("GET", true) if query.flag("watch") => "watch",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "other",
        };
        let mut name = resource.qualified_plural();
        if !place.subresource.is_empty() {
            name = format!("{name}/{}", place.subresource);
        }
        let kind = RequestKind {
            verb,
            resource: name,
            user_agent: agent.to_owned(),
        };
        *self
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(kind)
            .or_default() += 1;
    }

    // === Collections ===

    fn on_collection(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        match *method {
            Method::GET if asked.query.flag("watch") => self.watch(asked),
            Method::GET => self.list(asked),
            Method::POST if asked.resource.namespaced != asked.place.namespace.is_empty() => {
                let object = asked.object()?;
                let stored =
                    self.cluster
                        .create(&asked.resource, &asked.place.namespace, object, asked.writer())?;
                Ok(asked.answer(StatusCode::CREATED, &stored))
            }
            Method::DELETE if asked.resource.namespaced != asked.place.namespace.is_empty() => {
                let options = request::delete_options(&asked.query, &asked.delete_body()?)?;
                let selector = asked.selector()?;
                let deleted = self.cluster.delete_collection(
                    &asked.resource,
                    &asked.scope(&selector),
                    &selector,
                    &options,
                )?;
                let revision = self.cluster.store.revision();
                Ok(Answer::bytes(
                    StatusCode::OK,
                    render::list(&asked.resource, asked.shape, &deleted, revision, None),
                ))
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn list(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let selector = asked.selector()?;
        let query = &asked.query;
        let version = query.resource_version()?;
        let current = self.cluster.store.revision();
        if let Some(version) = version.filter(|version| *version > current) {
            return Err(Failure::too_large_version(version, current));
        }
        let namespace = asked.place.namespace.as_ref();
        let from = match query.text("continue") {
            "" => None,
            token => Some(Continue::decode(token, namespace)?),
        };
        let exact = version.filter(|_| query.text("resourceVersionMatch") == "Exact");
        let at = from.as_ref().map(|from| from.revision).or(exact);
        let (revision, mut objects) = self
            .cluster
            .store
            .list(asked.resource.table, &asked.scope(&selector), at)
            .map_err(|too_old| match (&from, exact) {
                (None, Some(exact)) => {
                    Failure::expired(format!("too old resource version: {exact} ({})", too_old.oldest))
                }
                _ => Failure::expired(
                    "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
                ),
            })?;
        if let Some(from) = &from {
            objects.retain(|object| object.key > from.after);
        }
        objects.retain(|object| selector.matches(object.as_ref()));
        let limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut more = None;
        if limit > 0 && objects.len() > limit {
            let remaining = u64::try_from(objects.len() - limit).unwrap_or(u64::MAX);
            objects.truncate(limit);
            let after = objects[limit - 1].key.clone();
            let token = Continue { revision, after }.encode(namespace);
            // Under a selector the real server does not know how many will match.
            more = Some((token, selector.is_empty().then_some(remaining)));
        }
        Ok(Answer::bytes(
            StatusCode::OK,
            render::list(&asked.resource, asked.shape, &objects, revision, more),
        ))
    }

    fn watch(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let query = &asked.query;
        let selector = asked.selector()?;
        let initial = !query.text("sendInitialEvents").is_empty() && query.flag("sendInitialEvents");
        if initial && query.text("resourceVersionMatch") != "NotOlderThan" {
            let violation = Violation::forbidden(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
            return Err(Failure::invalid("meta.k8s.io", "ListOptions", "", &[violation]));
        }
        let since = match query.resource_version()? {
            _ if initial => Since::State,
            None | Some(0) if query.text("sendInitialEvents").is_empty() => Since::State,
            None | Some(0) => Since::Now,
            Some(version) => Since::Revision(version),
        };
        let timeout = query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
        let bookmarks = query.flag("allowWatchBookmarks");
        let subscription =
            match self
                .cluster
                .store
                .watch(asked.resource.table, &asked.scope(&selector), since)
            {
                Ok(subscription) => subscription,
                Err(too_old) => {
                    // Told inside the stream, as the real server does.
                    let Since::Revision(version) = since else {
                        return Err(Failure::internal("a watch of the present cannot be too old"));
                    };
                    let failure = Failure::expired(format!(
                        "too old resource version: {version} ({})",
                        too_old.oldest
                    ));
                    let mut line = BytesMut::new();
                    render::watch_error(&mut line, &failure.status());
                    return Ok(Answer::bytes(StatusCode::OK, line.freeze()));
                }
            };
        let watch = Watch {
            resource: Arc::clone(&asked.resource),
            shape: asked.shape,
            selector,
            bookmarks,
            marks_initial_end: initial && bookmarks,
            timeout: timeout.map_or(WATCH_TIME, Duration::from_secs),
        };
        let stream = watch.stream(subscription, self.stopping.clone());
        Ok(Answer {
            status: StatusCode::OK,
            content_type: "application/json",
            body: Body::from_stream(stream),
        })
    }

    // === Objects ===

    fn on_object(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        match *method {
            Method::GET => Ok(asked.answer(StatusCode::OK, &*self.cluster.get(resource, &key)?)),
            Method::PUT => {
                let object = asked.object()?;
                let stored = self.cluster.update(resource, &key, "", object, asked.writer())?;
                Ok(asked.answer(StatusCode::OK, &stored))
            }
            Method::PATCH => self.patch(asked),
            Method::DELETE => {
                let options = request::delete_options(&asked.query, &asked.delete_body()?)?;
                Ok(match self.cluster.delete(resource, &key, &options)? {
                    Deleted::Gone(stored) if !matches!(resource.table, PODS | SERVICE_ACCOUNTS) => {
                        Answer::json(StatusCode::OK, &success(resource, &stored))
                    }
                    Deleted::Gone(stored) | Deleted::Waiting(stored) => asked.answer(StatusCode::OK, &stored),
                })
            }
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn patch(&self, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key, subresource) = (&asked.resource, asked.key(), asked.place.subresource);
        let custom = resource.custom;
        let media_type = request::media_type(asked.content_type.as_deref());
        let format = Format::of_media_type(media_type)
            .filter(|format| !(custom && *format == Format::Strategic))
            .ok_or_else(|| {
                let mut accepted = vec!["application/json-patch+json", "application/merge-patch+json"];
                if !custom {
                    accepted.push("application/strategic-merge-patch+json");
                }
                accepted.push("application/apply-patch+yaml");
                Failure::unsupported_media_type(&accepted)
            })?;
        if format == Format::Apply {
            let manager = asked.query.text("fieldManager");
            if manager.is_empty() {
                let violation = Violation::required("fieldManager", "is required for apply patch");
                return Err(Failure::invalid("meta.k8s.io", "PatchOptions", "", &[violation]));
            }
            let config = asked.checked(parse_yaml(&asked.body)?)?;
            let force = asked.query.flag("force");
            let (stored, created) =
                self.cluster
                    .apply(resource, &key, subresource, config, force, asked.writer())?;
            let status = if created {
                StatusCode::CREATED
            } else {
                StatusCode::OK
            };
            return Ok(asked.answer(status, &stored));
        }
        let mut patch = parse_json(&asked.body)?;
        if format != Format::Json {
            patch = render::stored_form_of_patch(resource, patch);
        }
        let stored = self
            .cluster
            .patch(resource, &key, subresource, format, &patch, asked.writer())?;
        Ok(asked.answer(StatusCode::OK, &stored))
    }

    // === Subresources ===

    fn on_subresource(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        match (asked.place.subresource, method.as_str()) {
            ("status", "GET") => Ok(asked.answer(StatusCode::OK, &*self.cluster.get(resource, &key)?)),
            ("status" | "finalize", "PUT") => {
                let object = asked.object()?;
                let stored =
                    self.cluster
                        .update(resource, &key, asked.place.subresource, object, asked.writer())?;
                Ok(asked.answer(StatusCode::OK, &stored))
            }
            ("status", "PATCH") => self.patch(asked),
            ("token", "POST") => {
                let request = asked.parsed()?;
                let token = self.cluster.issue_token(&key, &request, asked.writer().manager)?;
                Ok(Answer::json(StatusCode::CREATED, &token))
            }
            ("binding", "POST") => {
                self.cluster.bind(&key, &asked.parsed()?)?;
                Ok(Answer::created())
            }
            ("eviction", "POST") => {
                let eviction = asked.parsed()?;
                let options = request::delete_options(&asked.query, &eviction["deleteOptions"])?;
                self.cluster.delete(resource, &key, &options)?;
                Ok(Answer::created())
            }
            ("scale", _) => self.scale(method, asked),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    /// The `Scale` of a Deployment or `ReplicaSet`.
    fn scale(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
        let (resource, key) = (&asked.resource, asked.key());
        let wanted = match *method {
            Method::GET => None,
            Method::PUT | Method::PATCH => Some(parse_json(&asked.body)?["spec"]["replicas"].clone()),
            _ => return Err(Failure::method_not_allowed()),
        };
        let stored = match wanted {
            None => self.cluster.get(resource, &key)?,
            Some(replicas) => {
                let patch = json!({ "spec": { "replicas": replicas } });
                self.cluster
                    .patch(resource, &key, "scale", Format::Merge, &patch, asked.writer())?
            }
        };
        let object = stored.value();
        let metadata = &object["metadata"];
        let selector: Vec<String> = object["spec"]["selector"]["matchLabels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
            .collect();
        Ok(Answer::json(
            StatusCode::OK,
            &json!({
                "kind": "Scale",
                "apiVersion": "autoscaling/v1",
                "metadata": {
                    "name": metadata["name"],
                    "namespace": metadata["namespace"],
                    "uid": metadata["uid"],
                    "resourceVersion": metadata["resourceVersion"],
                    "creationTimestamp": metadata["creationTimestamp"],
                },
                "spec": { "replicas": object["spec"]["replicas"] },
                "status": {
                    "replicas": object["status"]["replicas"].as_i64().unwrap_or(0),
                    "selector": selector.join(","),
                },
            }),
        ))
    }
}

impl Asked<'_> {
    fn key(&self) -> Key {
        Key::new(self.place.namespace.as_ref(), self.place.name.as_ref())
    }

    fn writer(&self) -> Writer<'_> {
        let manager = self.query.text("fieldManager");
        Writer {
            manager: if manager.is_empty() { &self.agent } else { manager },
            dry_run: self.query.text("dryRun") == "All",
        }
    }

    fn selector(&self) -> Result<Selector, Failure> {
        Selector::parse(
            &self.resource,
            self.query.text("labelSelector"),
            self.query.text("fieldSelector"),
        )
        .map_err(Failure::bad_request)
    }

    /// The smallest scope that holds everything the selector can match.
    fn scope(&self, selector: &Selector) -> Scope {
        let namespace = match self.place.namespace.as_ref() {
            "" => selector.pinned("metadata.namespace").unwrap_or_default(),
            namespace => namespace,
        };
        match selector.pinned("metadata.name") {
            Some(name) if !namespace.is_empty() || !self.resource.namespaced => {
                Scope::Object(Key::new(namespace, name))
            }
            _ if namespace.is_empty() => Scope::All,
            _ => Scope::Namespace(namespace.to_owned()),
        }
    }

    /// The body, in one of the media types of objects.
    fn parsed(&self) -> Result<Value, Failure> {
        match request::media_type(self.content_type.as_deref()) {
            "" | "application/json" => parse_json(&self.body),
            "application/yaml" => parse_yaml(&self.body),
            _ => Err(Failure::unsupported_media_type(OBJECT_TYPES)),
        }
    }

    /// The body as an object of the resource, in the form it is stored.
    fn object(&self) -> Result<Value, Failure> {
        self.checked(self.parsed()?)
    }

    fn checked(&self, object: Value) -> Result<Value, Failure> {
        let (kind, api_version) = (
            object["kind"].as_str().unwrap_or_default(),
            object["apiVersion"].as_str().unwrap_or_default(),
        );
        if !object.is_object() {
            return Err(Failure::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): couldn't get version/kind",
                self.resource.kind
            )));
        }
        if !kind.is_empty() && kind != self.resource.kind {
            let version = if api_version.is_empty() {
                &self.resource.version
            } else {
                api_version
            };
            return Err(Failure::bad_request(format!(
                "{kind} in version {version:?} cannot be handled as a {0}: converting ({kind}) to ({0}): unknown conversion",
                self.resource.kind
            )));
        }
        let expected = self.resource.api_version();
        if !api_version.is_empty() && api_version != expected {
            return Err(Failure::bad_request(format!(
                "the API version in the data ({api_version}) does not match the expected API version ({expected})"
            )));
        }
        Ok(render::stored_form(&self.resource, object))
    }

    fn delete_body(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            Ok(Value::Null)
        } else {
            self.parsed()
        }
    }

    fn answer(&self, status: StatusCode, stored: &Stored) -> Answer {
        Answer::bytes(status, render::object(&self.resource, self.shape, stored))
    }
}

impl Answer {
    fn bytes(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: Body::from(body),
        }
    }

    fn json(status: StatusCode, value: &Value) -> Self {
        Self::bytes(status, Bytes::from(value.to_string()))
    }

    fn text(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: Body::from(text),
        }
    }

    fn page_not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    fn created() -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Self::json(StatusCode::CREATED, &status)
    }

    fn failure(failure: &Failure) -> Self {
        let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::json(status, &failure.status())
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

/// The answer to a deletion that is done.
fn success(resource: &Resource, stored: &Stored) -> Value {
    let mut status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": { "name": stored.key.name, "kind": resource.plural, "uid": stored.uid },
    });
    if !resource.group.is_empty() {
        child_mut(fields_mut(&mut status), "details")
            .insert("group".to_owned(), resource.group.clone().into());
    }
    status
}

fn parse_json(body: &Bytes) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("couldn't get version/kind; json parse error: {error}"))
    })
}

fn parse_yaml(body: &Bytes) -> Result<Value, Failure> {
    if let Ok(value) = serde_json::from_slice(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
    serde_saphyr::from_str(text)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))
}
