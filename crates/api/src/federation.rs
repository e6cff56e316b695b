//! Event federation as `routerctl federation` sees it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::time::Timestamp;

/// Something asked of event federation: over the control socket, or of `routerd federation` without a daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Store an event as if it had been observed here.
    Emit(NewEvent),
    /// The newest events.
    Events(Selection),
    /// What became of deliveries, newest first.
    Deliveries(Selection),
    /// Each peer's outbox.
    Summary,
    /// Runs of subscriptions, newest first.
    Runs(Selection),
    /// The public keys of this node.
    Key,
    /// Make the key that this node will have next, if there is none.
    PrepareKey,
    /// Sign with the next key from now on.
    ActivateKey,
}

/// An event to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewEvent {
    /// The `EventGroup`.
    pub group: String,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: String,
    /// To what.
    pub subject: String,
    /// Who observed it; absent: this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_node: Option<String>,
    /// Facts with the same key refresh each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// Details.
    #[serde(default)]
    pub payload: BTreeMap<String, String>,
    /// How long it is true, in milliseconds.
    pub ttl: u64,
}

/// Which rows of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// Only of this group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Only in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", content = "value", rename_all = "kebab-case")]
pub enum Answer {
    /// The event as it was stored.
    Emitted(Event),
    /// Events.
    Events(Vec<StoredEvent>),
    /// Deliveries.
    Deliveries(Vec<Delivery>),
    /// Outboxes.
    Summary(Vec<Outbox>),
    /// Runs.
    Runs(Vec<Run>),
    /// Keys.
    Keys(Keys),
    /// It could not be done.
    Failed(String),
}

/// An event in the store of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredEvent {
    /// When it came here.
    pub stored_at: Timestamp,
    /// Whether it is still true.
    pub active: bool,
    /// The event.
    pub event: Event,
}

/// One event on its way to one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// The event's id.
    pub id: String,
    /// The event's group.
    pub group: String,
    /// The event's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The event's subject.
    pub subject: String,
    /// The `EventPeer`.
    pub peer: String,
    /// `pending`, `delivered`, `refused` or `dead`.
    pub state: String,
    /// When it was stored here.
    pub stored_at: Timestamp,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// Why it waits or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The outbox of one peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outbox {
    /// The `EventPeer`.
    pub peer: String,
    /// Deliveries that wait.
    pub pending: u64,
    /// Deliveries that were taken.
    pub delivered: u64,
    /// Deliveries that the peer will never take.
    pub refused: u64,
    /// Deliveries that expired before they were taken.
    pub dead: u64,
    /// When the oldest delivery that waits was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
    /// When the first delivery that waits expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_expiry: Option<Timestamp>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When it is tried next, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// When it was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempted_at: Option<Timestamp>,
    /// When it last answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded_at: Option<Timestamp>,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The public keys of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// What it signs with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// What it will sign with once that is activated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A run of a plugin for events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Number.
    pub id: u64,
    /// The `EventSubscription`.
    pub subscription: String,
    /// The `Plugin`.
    pub plugin: String,
    /// `running`, `succeeded`, `failed` or `interrupted`.
    pub state: String,
    /// How many events it was given.
    pub events: u64,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
