//! The store of events: once stored, delivered and run for, whatever dies in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use api::ResourceId;
use api::event::Event;
use api::federation::Selection;
use api::time::Timestamp;
use routerd_core::federation::intent::{PeerIntent, Retention, SubscriptionIntent};
use routerd_core::federation::outbox::{Filter, Queue};
use routerd_core::federation::receive::Outcome;
use routerd_core::federation::subscription::{Gather, Match};
use tempfile::TempDir;

use super::work::DueBatch;
use super::{EventStore, Reader, Settled};

const NOW: u64 = 1_780_191_055_000;
const OBSERVED: &str = "routerd.client.ipv4.observed";

fn at(after: u64) -> Timestamp {
    Timestamp::from_millis(NOW + after)
}

fn event(id: &str) -> Event {
    Event {
        id: id.into(),
        group: "cloudedge".into(),
        source_node: "onprem".into(),
        kind: OBSERVED.into(),
        subject: "10.88.60.9/32".into(),
        dedupe_key: None,
        payload: BTreeMap::new(),
        observed_at: at(0),
        expires_at: at(600_000),
    }
}

fn store() -> (TempDir, EventStore) {
    let folder = tempfile::tempdir().expect("folder");
    let store = open(&folder);
    (folder, store)
}

fn open(folder: &TempDir) -> EventStore {
    EventStore::open(&folder.path().join("routerd.db")).expect("store")
}

fn peer() -> PeerIntent {
    PeerIntent {
        owner: ResourceId::new("EventPeer", "cloud"),
        group: "cloudedge".into(),
        node: "cloud".into(),
        endpoint: None,
        filter: Filter {
            types: vec![OBSERVED.into()],
            subject_prefixes: Vec::new(),
        },
        keys: Vec::new(),
    }
}

fn subscription(gather: Gather) -> BTreeMap<String, SubscriptionIntent> {
    let intent = SubscriptionIntent {
        owner: ResourceId::new("EventSubscription", "claims"),
        group: "cloudedge".into(),
        events: Match {
            types: vec![OBSERVED.into()],
            ..Match::default()
        },
        plugin: "event-to-remote-claim".into(),
        gather,
    };
    BTreeMap::from([("claims".to_owned(), intent)])
}

fn append(store: &EventStore, after: u64, ids: &[&str]) -> Vec<Outcome> {
    let events = ids.iter().map(|id| event(id)).collect();
    store.append(at(after), events).expect("append")
}

fn ids(batches: &[DueBatch]) -> Vec<&str> {
    let events = batches.iter().flat_map(|batch| &batch.events);
    events.map(|event| event.id.as_str()).collect()
}

#[test]
fn an_id_is_stored_once_and_news_are_announced() {
    let (_folder, store) = store();
    let heard = Arc::new(AtomicUsize::new(0));
    let ear = Arc::clone(&heard);
    store.on_new(move || {
        ear.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(append(&store, 0, &["a"]), [Outcome::Accepted]);
    assert_eq!(append(&store, 1, &["a", "a"]), [Outcome::Duplicate; 2]);
    let other = Event {
        subject: "10.88.60.10/32".into(),
        ..event("a")
    };
    assert_eq!(
        store.append(at(2), vec![other]).expect("append"),
        [Outcome::Conflict]
    );
    assert_eq!(
        store.append(at(700_000), vec![event("b")]).expect("append"),
        [Outcome::Expired]
    );
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    assert_eq!(store.count("cloudedge").expect("count"), 1);
}

#[test]
fn an_outbox_holds_what_the_peer_wants_and_survives_a_restart() {
    let (folder, store) = store();
    append(&store, 0, &["a", "b"]);
    let others = [
        Event {
            source_node: "aws".into(),
            ..event("of-another-node")
        },
        Event {
            kind: "other".into(),
            ..event("of-another-type")
        },
        Event {
            group: "other".into(),
            ..event("of-another-group")
        },
    ];
    store.append(at(0), others.to_vec()).expect("append");
    store
        .fill_outbox(at(1), "cloud", &peer(), "onprem")
        .expect("fill");
    let waiting = store.waiting("cloud", 10).expect("waiting");
    let found: Vec<_> = waiting.iter().map(|(_, event)| event.id.as_str()).collect();
    assert_eq!(found, ["a", "b"]);

    let queue = Queue {
        failures: 3,
        not_before: Some(at(4_000)),
    };
    store
        .attempted(at(2), "cloud", queue, Some("refused"))
        .expect("note");
    store
        .settle(at(3), "cloud", &[(waiting[0].0, Settled::Delivered)])
        .expect("settle");
    drop(store);

    let store = open(&folder);
    store
        .fill_outbox(at(5), "cloud", &peer(), "onprem")
        .expect("fill");
    assert_eq!(store.queue("cloud").expect("queue"), queue);
    assert_eq!(
        store.waiting("cloud", 10).expect("waiting")[..],
        waiting[1..]
    );
    let summary = &store.outboxes().expect("summary")[0];
    assert_eq!(
        (summary.pending, summary.delivered, summary.failures),
        (1, 1, 3)
    );
    assert_eq!(
        (summary.oldest, summary.error.as_deref()),
        (Some(at(0)), Some("refused"))
    );
}

#[test]
fn a_changed_filter_starts_over_and_a_removed_peer_is_forgotten() {
    let (_folder, store) = store();
    append(&store, 0, &["a"]);
    let other = Event {
        kind: "other".into(),
        ..event("b")
    };
    store.append(at(0), vec![other]).expect("append");
    store
        .fill_outbox(at(1), "cloud", &peer(), "onprem")
        .expect("fill");
    let all = PeerIntent {
        filter: Filter::default(),
        ..peer()
    };
    store
        .fill_outbox(at(2), "cloud", &all, "onprem")
        .expect("fill");
    assert_eq!(store.waiting("cloud", 10).expect("waiting").len(), 2);
    store.keep_readers(Reader::Peer, &[]).expect("forget");
    assert!(store.waiting("cloud", 10).expect("waiting").is_empty());
    assert!(store.outboxes().expect("summary").is_empty());
}

#[test]
fn a_batch_waits_for_its_window_over_a_restart_and_runs_once() {
    let (folder, store) = store();
    let wanted = subscription(Gather {
        batch_window: 5_000,
        debounce: 1_000,
    });
    append(&store, 0, &["a"]);
    append(&store, 800, &["b"]);
    assert_eq!(
        store.take_due(at(900), &wanted).expect("due"),
        (vec![], Some(at(1_800)))
    );
    drop(store);

    let store = open(&folder);
    store.recover_runs(at(1_000)).expect("recover");
    let (batches, _) = store.take_due(at(1_800), &wanted).expect("due");
    assert_eq!(ids(&batches), ["a", "b"]);
    // While it runs nothing else of this subscription does.
    append(&store, 1_900, &["c"]);
    assert_eq!(
        store.take_due(at(9_000), &wanted).expect("due"),
        (vec![], None)
    );
    store
        .finish_run(at(9_000), batches[0].run, Ok(()))
        .expect("finish");
    let (batches, _) = store.take_due(at(9_000), &wanted).expect("due");
    assert_eq!(ids(&batches), ["c"]);
    store
        .finish_run(at(9_001), batches[0].run, Ok(()))
        .expect("finish");
    assert_eq!(
        store.take_due(at(9_002), &wanted).expect("due"),
        (vec![], None)
    );
}

#[test]
fn a_run_that_a_crash_interrupted_is_made_again() {
    let (folder, store) = store();
    let wanted = subscription(Gather::default());
    append(&store, 0, &["a"]);
    assert_eq!(ids(&store.take_due(at(1), &wanted).expect("due").0), ["a"]);
    drop(store);
    let store = open(&folder);
    store.recover_runs(at(2)).expect("recover");
    assert_eq!(ids(&store.take_due(at(3), &wanted).expect("due").0), ["a"]);
    let runs = store
        .list_runs(&Selection {
            limit: 10,
            ..Selection::default()
        })
        .expect("runs");
    let states: Vec<_> = runs.iter().map(|run| run.state.as_str()).collect();
    assert_eq!(states, ["running", "interrupted"]);
}

#[test]
fn a_failed_run_is_repeated_later_and_an_expired_event_is_not() {
    let (_folder, store) = store();
    let wanted = subscription(Gather::default());
    append(&store, 0, &["a"]);
    let (batches, _) = store.take_due(at(0), &wanted).expect("due");
    store
        .finish_run(at(10), batches[0].run, Err("no such program"))
        .expect("finish");
    assert_eq!(store.backlog("claims").expect("backlog"), (1, 1));
    assert_eq!(
        store.take_due(at(11), &wanted).expect("due"),
        (vec![], Some(at(1_010)))
    );
    assert_eq!(
        ids(&store.take_due(at(1_010), &wanted).expect("due").0),
        ["a"]
    );
    store.recover_runs(at(1_011)).expect("recover");
    assert_eq!(
        store.take_due(at(600_000), &wanted).expect("due"),
        (vec![], None)
    );
}

#[test]
fn what_succeeded_never_runs_again_though_its_event_was_pruned() {
    let (_folder, store) = store();
    let wanted = subscription(Gather::default());
    append(&store, 0, &["a"]);
    let (batches, _) = store.take_due(at(0), &wanted).expect("due");
    store
        .finish_run(at(1), batches[0].run, Ok(()))
        .expect("finish");
    let none = Retention {
        max_events: 0,
        max_age: 3_600_000,
    };
    assert_eq!(
        store
            .prune(at(2), "cloudedge", none)
            .expect("prune")
            .surplus,
        1
    );
    // It comes again, from a sender that did not hear the answer.
    assert_eq!(append(&store, 3, &["a"]), [Outcome::Accepted]);
    assert_eq!(store.take_due(at(4), &wanted).expect("due"), (vec![], None));
    let old = Retention {
        max_events: 100,
        max_age: 1,
    };
    assert_eq!(
        store
            .prune(at(600_001), "cloudedge", old)
            .expect("prune")
            .old,
        1
    );
}

#[test]
fn another_process_that_writes_is_noticed() {
    let (folder, store) = store();
    let before = store.version().expect("version");
    append(&store, 0, &["a"]);
    assert_eq!(store.version().expect("version"), before, "our own");
    append(&open(&folder), 1, &["b"]);
    assert_ne!(store.version().expect("version"), before);
    assert_eq!(store.count("cloudedge").expect("count"), 2);
}
