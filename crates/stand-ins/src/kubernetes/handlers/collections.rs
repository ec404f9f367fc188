//! What is asked of collections: list, watch, create, deletecollection.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::BytesMut;
use http::{Method, StatusCode};

use super::{App, answer::Answer, asked::Asked};
use crate::kubernetes::{
    failure::{Failure, Violation},
    page::Continue,
    render, request,
    resource::NAMESPACES,
    store::Since,
    watch::{BOOKMARKS, Watch},
};

/// How long a watch runs whose client sets no time. The real server draws 30 to 60 minutes.
const WATCH_TIME: Duration = Duration::from_mins(45);

/// Whether the collection can be deleted: all of a kind in a namespace, and all that are in none but the namespaces.
fn deleted_in_one_go(asked: &Asked<'_>) -> bool {
    asked.resource.namespaced != asked.place.namespace.is_empty() && asked.resource.table != NAMESPACES
}

impl App {
    pub(super) fn on_collection(&self, method: &Method, asked: &Asked<'_>) -> Result<Answer, Failure> {
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
            Method::DELETE if deleted_in_one_go(asked) => {
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
            bookmarks: bookmarks.then_some(BOOKMARKS),
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
}
