//! Answers `routerctl federation`, with a daemon or without one.

use std::path::Path;

use api::event::Event;
use api::federation::{Answer, NewEvent, Request};
use api::time::Timestamp;
use routerd_core::federation::intent::Federation;
use routerd_core::federation::receive::Outcome;

use super::key::{self, NodeKey};
use crate::engine;
use crate::store::{EventStore, Store, StoreError};

/// The most rows of a list.
const ROWS: u32 = 10_000;

/// Answers one request.
pub(crate) fn answer(
    store: &EventStore,
    node_key: &NodeKey,
    intent: &Federation,
    now: Timestamp,
    request: Request,
) -> Answer {
    let keys = |keys: Result<_, key::KeyError>| {
        keys.map_or_else(|error| Answer::Failed(error.to_string()), Answer::Keys)
    };
    let answered = match request {
        Request::Emit(new) => return emit(store, intent, now, new),
        Request::Events(mut selection) => {
            selection.limit = selection.limit.min(ROWS);
            store.list_events(now, &selection).map(Answer::Events)
        }
        Request::Deliveries(mut selection) => {
            selection.limit = selection.limit.min(ROWS);
            store.list_deliveries(&selection).map(Answer::Deliveries)
        }
        Request::Summary => store.outboxes().map(Answer::Summary),
        Request::Runs(mut selection) => {
            selection.limit = selection.limit.min(ROWS);
            store.list_runs(&selection).map(Answer::Runs)
        }
        Request::Key => return Answer::Keys(node_key.keys()),
        Request::PrepareKey => return keys(node_key.prepare()),
        Request::ActivateKey => return keys(node_key.activate()),
    };
    answered.unwrap_or_else(failed)
}

/// Answers one request from a state file, beside a daemon or without one.
pub(crate) fn answer_offline(
    state_file: &Path,
    now: Timestamp,
    request: Request,
) -> Result<Answer, StoreError> {
    let store = EventStore::open(state_file)?;
    let generation = Store::open_to_read(state_file)?.last_verified()?;
    let effective = generation.and_then(|generation| engine::compile(&generation.config));
    let intent = effective.unwrap_or_default().federation;
    let node_key = NodeKey::beside(state_file);
    Ok(answer(&store, &node_key, &intent, now, request))
}

fn emit(store: &EventStore, intent: &Federation, now: Timestamp, new: NewEvent) -> Answer {
    let group = intent.groups.get(&new.group);
    if group.is_none() && !intent.groups.is_empty() {
        let known: Vec<&str> = intent.groups.keys().map(String::as_str).collect();
        let known = known.join(", ");
        let message = format!("there is no EventGroup `{}` in force ({known})", new.group);
        return Answer::Failed(message);
    }
    let Some(source) = new
        .source_node
        .or_else(|| group.map(|group| group.node.clone()))
    else {
        let message = "no EventGroup is in force yet: say who observed it with --source-node";
        return Answer::Failed(message.to_owned());
    };
    let id = match event_id(now) {
        Ok(id) => id,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    let event = Event {
        id,
        group: new.group,
        source_node: source,
        kind: new.kind,
        subject: new.subject,
        dedupe_key: new.dedupe_key,
        payload: new.payload,
        observed_at: now,
        expires_at: now.plus_millis(new.ttl),
    };
    match store.append(now, vec![event.clone()]) {
        Ok(outcomes) if outcomes == [Outcome::Accepted] => Answer::Emitted(event),
        Ok(_) => Answer::Failed("a field is empty or too long, or the ttl is 0".to_owned()),
        Err(error) => failed(error),
    }
}

fn failed(error: StoreError) -> Answer {
    Answer::Failed(error.to_string())
}

/// A new id: the time first, so that ids that are stored together are neighbours in the index, then chance.
pub(crate) fn event_id(now: Timestamp) -> std::io::Result<String> {
    let chance = u64::from_be_bytes(key::random()?);
    Ok(format!("{:012x}-{chance:016x}", now.as_millis()))
}
