//! The stream of a watch: what a client with a selector sees of the changes of a table.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{
    render,
    request::Shape,
    resource::Resource,
    selector::Selector,
    store::{Change, Happened, Subscription},
    stored::Stored,
};

/// Time between bookmarks, as in the real server.
pub(super) const BOOKMARKS: Duration = Duration::from_mins(1);

/// Changes put into one chunk of the answer, at most.
const CHUNK: usize = 256;

/// What a watch is to send.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) resource: Arc<Resource>,
    pub(super) shape: Shape,
    pub(super) selector: Selector,
    /// Time between bookmarks, where the client asked for any.
    pub(super) bookmarks: Option<Duration>,
    /// Whether the client asked for the initial state and a mark at its end.
    pub(super) marks_initial_end: bool,
    pub(super) timeout: Duration,
}

impl Watch {
    /// The lines of the watch, until its time is over or the server stops.
    pub(super) fn stream(
        self,
        subscription: Subscription,
        stopping: CancellationToken,
    ) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
        let mut first = BytesMut::new();
        for object in &subscription.initial {
            if self.selector.matches(object.as_ref()) {
                render::event(&mut first, "ADDED", &self.resource, self.shape, object);
            }
        }
        if self.marks_initial_end {
            render::bookmark(
                &mut first,
                &self.resource,
                self.shape,
                subscription.revision,
                true,
            );
        }
        for change in &subscription.backlog {
            self.write(&mut first, change);
        }
        let now = Instant::now();
        let state = Running {
            wake: Box::pin(sleep_until(now + self.pause().min(self.timeout))),
            ends_at: now + self.timeout,
            first: Some(first.freeze()),
            watch: self,
            subscription,
            stopping,
        };
        futures::stream::unfold(state, |mut state| async move {
            let chunk = state.next().await?;
            Some((Ok(chunk), state))
        })
    }

    /// Time until there may be something to do when nothing happens.
    fn pause(&self) -> Duration {
        self.bookmarks.unwrap_or(self.timeout)
    }

    fn write(&self, into: &mut BytesMut, change: &Change) {
        if let Some((kind, object)) = seen(&self.selector, change) {
            match object {
                Seen::Stored(object) => render::event(into, kind, &self.resource, self.shape, object),
                Seen::Left(object) => render::event(into, kind, &self.resource, self.shape, &object),
            }
        }
    }
}

struct Running {
    watch: Watch,
    subscription: Subscription,
    stopping: CancellationToken,
    first: Option<Bytes>,
    wake: Pin<Box<Sleep>>,
    ends_at: Instant,
}

impl Running {
    /// The next bytes, or nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take().filter(|first| !first.is_empty()) {
            return Some(first);
        }
        loop {
            let change = tokio::select! {
                () = self.stopping.cancelled() => return None,
                change = self.subscription.changes.recv() => change?,
                () = self.wake.as_mut() => {
                    let now = Instant::now();
                    if now >= self.ends_at {
                        return None;
                    }
                    self.wake.as_mut().reset((now + self.watch.pause()).min(self.ends_at));
                    let Some(revision) = self.subscription.caught_up() else {
                        continue;
                    };
                    let mut into = BytesMut::new();
                    render::bookmark(&mut into, &self.watch.resource, self.watch.shape, revision, false);
                    return Some(into.freeze());
                }
            };
            let mut into = BytesMut::new();
            self.watch.write(&mut into, &change);
            for _ in 1..CHUNK {
                match self.subscription.changes.try_recv() {
                    Ok(change) => self.watch.write(&mut into, &change),
                    Err(_) => break,
                }
            }
            // A busy watch with a selector that nothing matches has nothing to send.
            if !into.is_empty() {
                return Some(into.freeze());
            }
        }
    }
}

enum Seen<'a> {
    Stored(&'a Stored),
    /// An object that no longer matches, as it was when it did.
    Left(Box<Stored>),
}

/// The event that a watch with `selector` makes of a change: an object that begins to match is added
/// to that client's world, one that ceases to is deleted from it.
fn seen<'a>(selector: &Selector, change: &'a Change) -> Option<(&'static str, Seen<'a>)> {
    let matches =
        |object: &Option<Arc<Stored>>| object.as_ref().is_some_and(|o| selector.matches(o.as_ref()));
    let before = matches(&change.previous);
    if change.happened == Happened::Deleted {
        return before.then_some(("DELETED", Seen::Stored(&change.object)));
    }
    match (before, selector.matches(change.object.as_ref())) {
        (false, false) => None,
        (false, true) => Some(("ADDED", Seen::Stored(&change.object))),
        (true, true) => Some(("MODIFIED", Seen::Stored(&change.object))),
        (true, false) => {
            let previous = change.previous.as_ref()?;
            let left = Stored::new(change.table, change.revision, previous.value());
            Some(("DELETED", Seen::Left(Box::new(left))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use futures::StreamExt as _;
    use serde_json::{Value, json};

    use super::{
        super::{
            resource::{CONFIG_MAPS, NAMESPACES, Registry},
            store::{Scope, Since, Store},
        },
        *,
    };

    /// Longer than a test takes.
    const WATCH: Duration = Duration::from_mins(10);

    fn store_and_maps() -> (Store, Arc<Resource>) {
        let store = Store::new();
        store
            .insert(NAMESPACES, json!({ "metadata": { "name": "n", "uid": "n" } }))
            .unwrap();
        let maps = Registry::built_in().find("", "v1", "configmaps").unwrap();
        (store, maps)
    }

    /// The type and the version of the next event of a stream, which ends in 30 s at the latest.
    async fn next(
        stream: &mut (impl Stream<Item = Result<Bytes, Infallible>> + Unpin),
    ) -> Option<(String, u64)> {
        let chunk = tokio::time::timeout(Duration::from_secs(30), stream.next());
        let line = chunk.await.expect("an event in time")?.unwrap();
        let event: Value = serde_json::from_slice(&line).unwrap();
        let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
        Some((
            event["type"].as_str().unwrap().to_owned(),
            version.parse().unwrap(),
        ))
    }

    #[tokio::test]
    async fn bookmarks_tell_how_far_a_quiet_watch_has_come() {
        let (store, maps) = store_and_maps();
        let watch = |bookmarks, timeout| Watch {
            resource: Arc::clone(&maps),
            shape: Shape::Whole,
            selector: Selector::default(),
            bookmarks,
            marks_initial_end: false,
            timeout,
        };
        let subscribe = || store.watch(CONFIG_MAPS, &Scope::All, Since::Now).unwrap();
        let stopping = CancellationToken::new();
        let quick = Some(Duration::from_millis(1));
        let watched = watch(quick, WATCH).stream(subscribe(), stopping.clone());
        let mut watched = std::pin::pin!(watched);
        let map = json!({ "metadata": { "namespace": "n", "name": "c", "uid": "c" } });
        let added = store.insert(CONFIG_MAPS, map).unwrap().revision;
        assert_eq!(next(&mut watched).await, Some(("ADDED".to_owned(), added)));
        assert_eq!(next(&mut watched).await, Some(("BOOKMARK".to_owned(), added)));
        // What happens to other kinds is nothing that this watch could miss.
        let other = json!({ "metadata": { "name": "other", "uid": "other" } });
        let later = store.insert(NAMESPACES, other).unwrap().revision;
        while next(&mut watched).await != Some(("BOOKMARK".to_owned(), later)) {}

        let silent = watch(None, Duration::from_millis(20)).stream(subscribe(), stopping.clone());
        assert_eq!(
            next(&mut std::pin::pin!(silent)).await,
            None,
            "nobody asked for bookmarks"
        );
        let stopped = watch(None, WATCH).stream(subscribe(), stopping.clone());
        stopping.cancel();
        assert_eq!(next(&mut std::pin::pin!(stopped)).await, None);
    }

    #[test]
    fn a_selector_turns_changes_into_comings_and_goings() {
        let (store, maps) = store_and_maps();
        let selector = Selector::parse(&maps, "on=yes", "").unwrap();
        let mut watch = store.watch(CONFIG_MAPS, &Scope::All, Since::Now).unwrap();
        let body = |on: &str, turn: u8| json!({ "metadata": { "namespace": "n", "name": "c", "uid": "c", "labels": { "on": on } }, "turn": turn });
        let mut stored = store.insert(CONFIG_MAPS, body("no", 0)).unwrap();
        for (on, turn) in [("yes", 1), ("yes", 2), ("no", 3), ("no", 4), ("yes", 5)] {
            stored = store.replace(CONFIG_MAPS, &stored, body(on, turn)).unwrap();
        }
        store.remove(CONFIG_MAPS, &stored, None).unwrap();
        let mut events = Vec::new();
        while let Ok(change) = watch.changes.try_recv() {
            let revision = change.revision.to_string();
            let event = seen(&selector, &change).map(|(kind, object)| {
                let object: Value = match object {
                    Seen::Stored(object) => object.value(),
                    Seen::Left(object) => object.value(),
                };
                assert_eq!(object["metadata"]["resourceVersion"], revision);
                (kind, object["turn"].as_i64().unwrap())
            });
            events.push(event);
        }
        assert_eq!(
            events,
            [
                None,
                Some(("ADDED", 1)),
                Some(("MODIFIED", 2)),
                // As it was while it matched.
                Some(("DELETED", 2)),
                None,
                Some(("ADDED", 5)),
                Some(("DELETED", 5)),
            ]
        );
    }
}
