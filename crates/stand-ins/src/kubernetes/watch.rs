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
const BOOKMARKS: Duration = Duration::from_mins(1);

/// Changes put into one chunk of the answer, at most.
const CHUNK: usize = 256;

/// What a watch is to send.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) resource: Arc<Resource>,
    pub(super) shape: Shape,
    pub(super) selector: Selector,
    pub(super) bookmarks: bool,
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
            bookmark_at: Box::pin(sleep_until(now + BOOKMARKS.min(self.timeout))),
            ends_at: now + self.timeout,
            sent: subscription.revision,
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
    /// The revision up to which everything was sent.
    sent: u64,
    bookmark_at: Pin<Box<Sleep>>,
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
                () = self.bookmark_at.as_mut() => {
                    let now = Instant::now();
                    if now >= self.ends_at {
                        return None;
                    }
                    self.bookmark_at.as_mut().reset((now + BOOKMARKS).min(self.ends_at));
                    if self.watch.bookmarks {
                        let mut into = BytesMut::new();
                        render::bookmark(&mut into, &self.watch.resource, self.watch.shape, self.sent, false);
                        return Some(into.freeze());
                    }
                    continue;
                }
            };
            let mut into = BytesMut::new();
            self.write(&mut into, &change);
            for _ in 1..CHUNK {
                match self.subscription.changes.try_recv() {
                    Ok(change) => self.write(&mut into, &change),
                    Err(_) => break,
                }
            }
            // A busy watch with a selector that nothing matches has nothing to send.
            if !into.is_empty() {
                return Some(into.freeze());
            }
        }
    }

    fn write(&mut self, into: &mut BytesMut, change: &Change) {
        self.sent = change.revision;
        self.watch.write(into, change);
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

    use serde_json::{Value, json};

    use super::{
        super::{
            resource::{CONFIG_MAPS, NAMESPACES, Registry},
            store::{Scope, Since, Store},
        },
        *,
    };

    #[test]
    fn a_selector_turns_changes_into_comings_and_goings() {
        let store = Store::new();
        store
            .insert(NAMESPACES, json!({ "metadata": { "name": "n", "uid": "n" } }))
            .unwrap();
        let maps = Registry::built_in().find("", "v1", "configmaps").unwrap();
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
