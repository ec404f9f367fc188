#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::resource::{CONFIG_MAPS, EVENTS, NAMESPACES, PODS},
    state::EVENTS_KEPT,
    *,
};

fn store_with_namespaces() -> Store {
    let store = Store::new();
    for name in ["a", "b"] {
        store
            .insert(NAMESPACES, json!({ "metadata": { "name": name, "uid": name } }))
            .unwrap();
    }
    store
}

/// Sets, changes or removes one of six objects.
fn act(store: &Store, object: u8, value: Option<u8>) {
    let namespace = if object < 3 { "a" } else { "b" };
    let key = Key::new(namespace, format!("o{object}"));
    let body = |value: u8| json!({ "metadata": { "namespace": namespace, "name": key.name, "uid": format!("u{object}") }, "data": { "v": value } });
    match (store.get(CONFIG_MAPS, &key), value) {
        (None, Some(value)) => drop(store.insert(CONFIG_MAPS, body(value)).unwrap()),
        (Some(there), Some(value)) => drop(store.replace(CONFIG_MAPS, &there, body(value)).unwrap()),
        (Some(there), None) => drop(store.remove(CONFIG_MAPS, &there, None).unwrap()),
        (None, None) => {}
    }
}

fn state(objects: Vec<Arc<Stored>>) -> BTreeMap<Key, u64> {
    objects
        .into_iter()
        .map(|object| (object.key.clone(), object.revision))
        .collect()
}

proptest! {
    /// A list at any revision and the changes after it give the list at the end: the promise that
    /// every informer lives by.
    #[test]
    fn a_list_and_its_watch_give_the_final_list(
        actions in prop::collection::vec((0_u8..6, prop::option::of(0_u8..4)), 1..60),
        cut in 0_usize..60,
        scope in prop::sample::select(vec![
            Scope::All,
            Scope::Namespace("a".to_owned()),
            Scope::Object(Key::new("b", "o4")),
        ]),
    ) {
        let store = store_with_namespaces();
        let cut = cut.min(actions.len());
        for (object, value) in &actions[..cut] {
            act(&store, *object, *value);
        }
        let (revision, then) = store.list(CONFIG_MAPS, &scope, None).unwrap();
        for (object, value) in &actions[cut..] {
            act(&store, *object, *value);
        }
        // The past can still be listed.
        let (_, again) = store.list(CONFIG_MAPS, &scope, Some(revision)).unwrap();
        prop_assert_eq!(state(again), state(then.clone()));
        let watch = store.watch(CONFIG_MAPS, &scope, Since::Revision(revision)).unwrap();
        let mut seen = state(then);
        let mut last = revision;
        for change in &watch.backlog {
            prop_assert!(change.revision > last);
            last = change.revision;
            let known = match change.happened {
                Happened::Deleted => seen.remove(&change.object.key),
                _ => seen.insert(change.object.key.clone(), change.revision),
            };
            prop_assert_eq!(known.is_none(), change.happened == Happened::Added);
        }
        let (_, end) = store.list(CONFIG_MAPS, &scope, None).unwrap();
        prop_assert_eq!(seen, state(end));
    }
}

#[test]
fn changes_reach_the_watchers_of_their_scope_only() {
    let store = store_with_namespaces();
    let watch = |scope| store.watch(CONFIG_MAPS, &scope, Since::Now).unwrap();
    let mut all = watch(Scope::All);
    let mut namespace = watch(Scope::Namespace("b".to_owned()));
    let mut object = watch(Scope::Object(Key::new("a", "o1")));
    act(&store, 1, Some(1));
    act(&store, 4, Some(1));
    act(&store, 1, None);
    let drain = |subscription: &mut Subscription| {
        std::iter::from_fn(|| subscription.changes.try_recv().ok())
            .map(|change| (change.object.key.name.clone(), change.happened))
            .collect::<Vec<_>>()
    };
    let (o1, o4) = ("o1".to_owned(), "o4".to_owned());
    assert_eq!(
        drain(&mut all),
        [
            (o1.clone(), Happened::Added),
            (o4.clone(), Happened::Added),
            (o1.clone(), Happened::Deleted)
        ]
    );
    assert_eq!(drain(&mut namespace), [(o4, Happened::Added)]);
    assert_eq!(
        drain(&mut object),
        [(o1.clone(), Happened::Added), (o1, Happened::Deleted)]
    );
    drop((all, namespace, object));
    assert!(store.lock().watchers.is_empty());
}

#[test]
fn history_is_bounded_and_says_so() {
    let store = store_with_namespaces();
    let start = store.revision();
    for turn in 0..HISTORY + 2 {
        act(&store, 0, Some(u8::try_from(turn % 250).unwrap()));
    }
    assert!(
        store
            .watch(CONFIG_MAPS, &Scope::All, Since::Revision(start))
            .is_err()
    );
    let oldest = store
        .list(CONFIG_MAPS, &Scope::All, Some(start))
        .unwrap_err()
        .oldest;
    let watch = store
        .watch(CONFIG_MAPS, &Scope::All, Since::Revision(oldest))
        .unwrap();
    assert_eq!(watch.backlog.len(), HISTORY);
    assert_eq!(store.forgotten().changes, 2);
    // A table without any object has a beginning, too.
    assert!(store.watch(PODS, &Scope::All, Since::Revision(1)).is_err());
}

#[test]
fn only_the_latest_version_is_replaced_or_removed() {
    let store = store_with_namespaces();
    act(&store, 0, Some(1));
    let old = store.get(CONFIG_MAPS, &Key::new("a", "o0")).unwrap();
    act(&store, 0, Some(2));
    assert_eq!(
        store.replace(CONFIG_MAPS, &old, old.value()).unwrap_err(),
        Refused::Stale
    );
    assert_eq!(store.remove(CONFIG_MAPS, &old, None).unwrap_err(), Refused::Stale);
    assert_eq!(
        store.insert(CONFIG_MAPS, old.value()).unwrap_err(),
        Refused::Exists
    );
    let elsewhere = json!({ "metadata": { "namespace": "none", "name": "x", "uid": "x" } });
    assert_eq!(
        store.insert(CONFIG_MAPS, elsewhere).unwrap_err(),
        Refused::NoNamespace
    );
}

#[test]
fn a_watcher_that_does_not_keep_up_loses_its_watch() {
    let store = store_with_namespaces();
    let watch = || store.watch(CONFIG_MAPS, &Scope::All, Since::Now).unwrap();
    let (mut slow, mut brisk) = (watch(), watch());
    let mut seen = 0;
    for turn in 0..=HISTORY {
        act(&store, 0, Some(u8::try_from(turn % 250).unwrap()));
        seen += usize::from(brisk.changes.try_recv().is_ok());
    }
    assert_eq!(seen, HISTORY + 1);
    assert_eq!(store.forgotten().watches, 1);
    let mut last = 0;
    for _ in 0..HISTORY {
        last = slow.changes.try_recv().unwrap().revision;
    }
    assert!(
        slow.changes.is_closed() && slow.changes.try_recv().is_err(),
        "it ends"
    );
    // And is resumed from where it is, with what it missed.
    let resumed = store
        .watch(CONFIG_MAPS, &Scope::All, Since::Revision(last))
        .unwrap();
    assert_eq!(resumed.backlog.len(), 1);
}

#[test]
fn the_oldest_events_expire_and_are_counted() {
    let store = store_with_namespaces();
    let event = |number: usize| json!({ "metadata": { "namespace": "a", "name": format!("e{number:06}"), "uid": number.to_string() } });
    let first = store.insert(EVENTS, event(0)).unwrap();
    for number in 1..EVENTS_KEPT {
        store.insert(EVENTS, event(number)).unwrap();
    }
    // Seen again, so that it is no longer the oldest.
    store.replace(EVENTS, &first, first.value()).unwrap();
    let mut watch = store.watch(EVENTS, &Scope::All, Since::Now).unwrap();
    for number in 0..2 {
        store.insert(EVENTS, event(EVENTS_KEPT + number)).unwrap();
    }
    let (_, kept) = store.list(EVENTS, &Scope::All, None).unwrap();
    let names: Vec<&str> = kept.iter().map(|event| event.key.name.as_str()).collect();
    assert_eq!(names.len(), EVENTS_KEPT);
    assert_eq!(names[..2], ["e000000", "e000003"]);
    assert_eq!(store.forgotten().events, 2);
    let told: Vec<(String, Happened)> = std::iter::from_fn(|| watch.changes.try_recv().ok())
        .map(|change| (change.object.key.name.clone(), change.happened))
        .collect();
    let expected = [
        ("e020000", Happened::Added),
        ("e000001", Happened::Deleted),
        ("e020001", Happened::Added),
        ("e000002", Happened::Deleted),
    ];
    assert_eq!(told, expected.map(|(name, happened)| (name.to_owned(), happened)));
    assert_eq!(
        store.namespace("a").unwrap().0,
        EVENTS_KEPT,
        "and the namespace can become empty"
    );
}
