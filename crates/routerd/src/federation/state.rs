//! What the doctor asks of the store.

use std::collections::BTreeMap;
use std::path::Path;

use api::time::Timestamp;
use routerd_core::doctor::{Backlog, FederationState};
use routerd_core::federation::intent::Federation;

use super::{NodeKey, Shared, now};
use crate::store::{EventStore, StoreError};

/// How long an event may be stored before it has to be in every outbox, in milliseconds.
const FILLED_WITHIN: u64 = 10_000;

impl Shared {
    /// Event federation as it stands.
    pub(crate) fn state(&self, intent: &Federation) -> Result<FederationState, StoreError> {
        let mut state = read(&self.store, intent, (self.clock)())?;
        state.troubles = self.troubles();
        state.has_key = self.node_key.public().is_some();
        Ok(state)
    }
}

/// The same from a state file, without a daemon: what a daemon alone knows is missing.
pub(crate) fn state_offline(
    state_file: &Path,
    intent: &Federation,
) -> Result<FederationState, StoreError> {
    let store = EventStore::open_to_read(state_file)?;
    let mut state = read(&store, intent, now())?;
    state.has_key = NodeKey::beside(state_file).public().is_some();
    Ok(state)
}

fn read(
    store: &EventStore,
    intent: &Federation,
    now: Timestamp,
) -> Result<FederationState, StoreError> {
    let outboxes = store.outboxes()?;
    let before = Timestamp::from_millis(now.as_millis().saturating_sub(FILLED_WITHIN));
    let mut missing = BTreeMap::new();
    for (name, group) in &intent.groups {
        for (peer_name, peer) in intent.receivers(name) {
            let count = store.missing(now, before, peer_name, peer, &group.node)?;
            missing.insert(peer_name.clone(), count);
        }
    }
    let mut backlogs = BTreeMap::new();
    for name in intent.subscriptions.keys() {
        let (pending, failed) = store.backlog(name)?;
        let error = store.last_failure(name)?;
        let backlog = Backlog {
            pending,
            failed,
            error,
        };
        backlogs.insert(name.clone(), backlog);
    }
    Ok(FederationState {
        now,
        outboxes: outboxes
            .into_iter()
            .map(|outbox| (outbox.peer.clone(), outbox))
            .collect(),
        missing,
        backlogs,
        ..FederationState::default()
    })
}
