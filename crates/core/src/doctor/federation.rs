//! What the checks of event federation look at, as the daemon's store has it.

use std::collections::BTreeMap;

use api::federation::Outbox;
use api::time::Timestamp;

/// The state of event federation on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FederationState {
    /// When it was looked at.
    pub now: Timestamp,
    /// The outbox of each `EventPeer` that is sent events and was ever looked after.
    pub outboxes: BTreeMap<String, Outbox>,
    /// How many events that a peer's filters admit never came into its outbox, by `EventPeer`.
    pub missing: BTreeMap<String, u64>,
    /// What waits for each `EventSubscription`.
    pub backlogs: BTreeMap<String, Backlog>,
    /// What keeps a resource from working, by `Kind/name`.
    pub troubles: BTreeMap<String, String>,
    /// Whether this node has a key to sign with.
    pub has_key: bool,
}

/// What waits for a subscription.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events that wait for a run.
    pub pending: u64,
    /// Those among them whose last run failed.
    pub failed: u64,
    /// Why the last failed run failed.
    pub error: Option<String>,
}
