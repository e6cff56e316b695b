//! What the configuration asks of event federation, with references resolved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use api::ResourceId;

use super::outbox::Filter;
use super::signature::NodePublicKey;
use super::subscription::{Gather, Match};

/// Everything that is asked of event federation, by name of the resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Federation {
    /// The groups that this node belongs to.
    pub groups: BTreeMap<String, GroupIntent>,
    /// The other nodes.
    pub peers: BTreeMap<String, PeerIntent>,
    /// What runs for which events.
    pub subscriptions: BTreeMap<String, SubscriptionIntent>,
    /// How late deliveries may be.
    pub objectives: BTreeMap<String, ObjectiveIntent>,
}

/// A group of nodes that tell each other what they observe. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The name of this node in the group.
    pub node: String,
    /// Where events of others are received; absent: nowhere.
    pub listen: Option<SocketAddr>,
    /// What is kept.
    pub retention: Retention,
    /// How far a sender's clock may be off.
    pub replay_window: u64,
    /// What messages are signed with.
    pub auth: Auth,
    /// What carries the messages.
    pub transport: Transport,
}

/// What a group keeps of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most events; the oldest go.
    pub max_events: u64,
    /// How long an event is kept, in milliseconds.
    pub max_age: u64,
}

/// What messages are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// Each node's own Ed25519 key.
    NodeKey,
    /// A secret that the group shares: the first line of the file signs, any line is believed.
    Hmac(PathBuf),
}

/// What carries messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/2 from node to node.
    Direct,
    /// NATS JetStream.
    Nats(NatsIntent),
}

/// Where NATS is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsIntent {
    /// Servers, any of which will do.
    pub servers: Vec<SocketAddr>,
    /// A file with `USER:PASSWORD`, or a token, on its first line.
    pub credentials: Option<PathBuf>,
}

/// Another node of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The group.
    pub group: String,
    /// Its name in the group.
    pub node: String,
    /// Where events are sent to; absent: it is only listened to, or NATS carries them.
    pub endpoint: Option<SocketAddr>,
    /// What it is sent.
    pub filter: Filter,
    /// The keys that its messages may be signed with; two while it changes its key.
    pub keys: Vec<NodePublicKey>,
}

/// What runs for which events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The group.
    pub group: String,
    /// Which events.
    pub events: Match,
    /// The plugin that runs for them.
    pub plugin: String,
    /// How they are gathered.
    pub gather: Gather,
}

/// How late deliveries may be. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectiveIntent {
    /// Who asks.
    pub owner: ResourceId,
    /// The group.
    pub group: String,
    /// A delivery that waits longer than this is worth a warning.
    pub lag_warn: u64,
    /// A delivery that waits longer than this is a failure.
    pub lag_fail: u64,
    /// A delivery that expires sooner than this and still waits is worth a warning.
    pub expires_soon: u64,
    /// How many runs of a subscription may wait.
    pub max_pending_runs: u64,
    /// How many runs of a subscription may have failed.
    pub max_failed_runs: u64,
}

impl ObjectiveIntent {
    /// What counts for a group that has no `FederationSLO`.
    pub fn standard(group: &str) -> Self {
        Self {
            owner: ResourceId::new("EventGroup", group),
            group: group.to_owned(),
            lag_warn: 60_000,
            lag_fail: 180_000,
            expires_soon: 120_000,
            max_pending_runs: 10,
            max_failed_runs: 0,
        }
    }
}

impl Federation {
    /// The peers of a group that are sent events.
    pub fn receivers<'a>(
        &'a self,
        group: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a PeerIntent)> {
        let nats = self
            .groups
            .get(group)
            .is_some_and(|group| group.transport != Transport::Direct);
        self.peers
            .iter()
            .filter(move |(_, peer)| peer.group == group && (nats || peer.endpoint.is_some()))
    }

    /// The objectives of a group.
    pub fn objective(&self, group: &str) -> ObjectiveIntent {
        let mut found = self.objectives.values().filter(|o| o.group == group);
        found
            .next()
            .cloned()
            .unwrap_or_else(|| ObjectiveIntent::standard(group))
    }
}
