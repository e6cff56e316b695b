//! What a receiver does with a batch: refuse it whole with one status code and one counter, or take it event by
//! event.

use std::collections::BTreeMap;

use api::event::Event;
use api::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::signature::{Envelope, Verifier};

/// The largest body that is read, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// The most events in one batch.
pub const MAX_EVENTS: usize = 1024;
/// The longest text of an event field, in bytes.
const MAX_TEXT: usize = 1024;
/// The most payload entries of an event.
const MAX_PAYLOAD: usize = 64;

/// A batch as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// The events, oldest first.
    pub events: Vec<Event>,
}

/// Who we are and whom we believe.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Our `EventGroup`.
    pub group: String,
    /// Our node name.
    pub node: String,
    /// The senders that we know, by node name.
    pub senders: BTreeMap<String, Verifier>,
    /// How far a sender's clock may be off, in milliseconds.
    pub replay_window: u64,
    /// How long the transport may hold a message, in milliseconds: 0 where nodes talk to each other.
    pub held: u64,
}

/// What the receiver remembers.
pub trait Known {
    /// Whether this sender used this nonce within the replay window.
    fn nonce_seen(&self, sender: &str, nonce: &str) -> bool;

    /// The digest of the event that was stored under this id.
    fn event_digest(&self, id: &str) -> Option<[u8; 32]>;
}

/// Why a whole batch is refused. Nothing of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not a batch.
    #[error("the body is not a batch of events")]
    Malformed,
    /// Unknown sender, wrong key or altered message. One answer for all three: it tells an attacker nothing.
    #[error("the signature does not fit")]
    Signature,
    /// The sender's clock is too far from ours.
    #[error("the timestamp is outside the replay window; compare the clocks")]
    Skew,
    /// For another group.
    #[error("for another group")]
    Group,
    /// For another node.
    #[error("for another node")]
    Recipient,
    /// This message was here before.
    #[error("this message was received before")]
    Replay,
    /// An event of somebody else: a node speaks for itself alone.
    #[error("an event's sourceNode is not the sender")]
    Source,
    /// Too many bytes or events.
    #[error("the batch is too large")]
    TooLarge,
    /// More at a time than this node takes.
    #[error("too many messages at a time; try again")]
    Busy,
}

impl Refusal {
    /// Every reason, in the order of their status codes.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Signature,
        Self::Source,
        Self::Skew,
        Self::Group,
        Self::Recipient,
        Self::Replay,
        Self::TooLarge,
        Self::Busy,
    ];

    /// The HTTP status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Signature | Self::Source => 401,
            Self::Skew | Self::Group | Self::Recipient => 403,
            Self::Replay => 409,
            Self::TooLarge => 413,
            Self::Busy => 429,
        }
    }

    /// The name of its counter.
    pub fn counter(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Signature => "signature",
            Self::Skew => "skew",
            Self::Group => "group",
            Self::Recipient => "recipient",
            Self::Replay => "replay",
            Self::Source => "source",
            Self::TooLarge => "too-large",
            Self::Busy => "busy",
        }
    }
}

/// What became of one event of an accepted batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// New: store it.
    Accepted,
    /// Known with the same content: nothing to do.
    Duplicate,
    /// Known with other content: refused, counted, the first one stays.
    Conflict,
    /// Its time is over.
    Expired,
    /// Its fields are empty, too long or contradictory.
    Invalid,
}

impl Outcome {
    /// The name of its counter. Every outcome is final: sending the event again cannot change it.
    pub fn counter(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::Conflict => "conflict",
            Self::Expired => "expired",
            Self::Invalid => "invalid",
        }
    }
}

/// An accepted batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Every event with what becomes of it, in order.
    pub events: Vec<(Event, Outcome)>,
}

impl Receiver {
    /// Decides about one message. Cheap checks come first, the signature before anything is parsed, so that a
    /// stranger costs one verification at most.
    ///
    /// # Errors
    /// The reason to refuse the message as a whole.
    pub fn receive(
        &self,
        now: Timestamp,
        envelope: &Envelope<'_>,
        signature: &str,
        known: &impl Known,
    ) -> Result<Accepted, Refusal> {
        self.authenticate(now, envelope, signature)?;
        self.accept(now, envelope, known)
    }

    /// The first half of [`Self::receive`]: is this message for us, now, from whom it says? Needs no memory.
    ///
    /// # Errors
    /// The reason to refuse the message.
    pub fn authenticate(
        &self,
        now: Timestamp,
        envelope: &Envelope<'_>,
        signature: &str,
    ) -> Result<(), Refusal> {
        if envelope.body.len() > MAX_BODY {
            return Err(Refusal::TooLarge);
        }
        let verifier = self
            .senders
            .get(envelope.sender)
            .ok_or(Refusal::Signature)?;
        if !verifier.verifies(envelope, signature) {
            return Err(Refusal::Signature);
        }
        self.check_addressing(now, envelope)
    }

    /// The second half of [`Self::receive`], for a message that is authentic. What it finds holds as long as
    /// nobody else changes what is `known`.
    ///
    /// # Errors
    /// The reason to refuse the message.
    pub fn accept(
        &self,
        now: Timestamp,
        envelope: &Envelope<'_>,
        known: &impl Known,
    ) -> Result<Accepted, Refusal> {
        if known.nonce_seen(envelope.sender, envelope.nonce) {
            return Err(Refusal::Replay);
        }
        let batch: Batch = serde_json::from_slice(envelope.body).map_err(|_| Refusal::Malformed)?;
        if batch.events.len() > MAX_EVENTS {
            return Err(Refusal::TooLarge);
        }
        if batch
            .events
            .iter()
            .any(|event| event.source_node != envelope.sender)
        {
            return Err(Refusal::Source);
        }
        Ok(sort_out(now, &self.group, batch.events, known))
    }

    /// Until when a message of this time has to be remembered: afterwards it is refused for its time.
    pub fn remember_until(&self, timestamp: Timestamp) -> Timestamp {
        timestamp.plus_millis(self.replay_window + self.held + 1)
    }

    fn check_addressing(&self, now: Timestamp, envelope: &Envelope<'_>) -> Result<(), Refusal> {
        if envelope.group != self.group {
            return Err(Refusal::Group);
        }
        if envelope.recipient != self.node {
            return Err(Refusal::Recipient);
        }
        let late = now.millis_since(envelope.timestamp) > self.replay_window + self.held;
        let early = envelope.timestamp.millis_since(now) > self.replay_window;
        if late || early {
            Err(Refusal::Skew)
        } else {
            Ok(())
        }
    }
}

/// What becomes of each of these events in a group.
pub fn sort_out(
    now: Timestamp,
    group: &str,
    candidates: Vec<Event>,
    known: &impl Known,
) -> Accepted {
    // An id may come twice within one batch, too.
    let mut fresh: BTreeMap<String, [u8; 32]> = BTreeMap::new();
    let mut events = Vec::with_capacity(candidates.len());
    for event in candidates {
        let digest = digest(&event);
        let stored = known
            .event_digest(&event.id)
            .or_else(|| fresh.get(&event.id).copied());
        let outcome = match stored {
            _ if event.group != group || !well_formed(&event) => Outcome::Invalid,
            Some(same) if same == digest => Outcome::Duplicate,
            Some(_) => Outcome::Conflict,
            None if event.expires_at <= now => Outcome::Expired,
            None => Outcome::Accepted,
        };
        if outcome == Outcome::Accepted {
            fresh.insert(event.id.clone(), digest);
        }
        events.push((event, outcome));
    }
    Accepted { events }
}

/// Whether an event says something that can be stored and matched.
pub fn well_formed(event: &Event) -> bool {
    let named = [&event.id, &event.kind, &event.subject, &event.source_node];
    let short = |text: &String| text.len() <= MAX_TEXT;
    named.iter().all(|text| !text.is_empty() && short(text))
        && event.dedupe_key.as_ref().is_none_or(short)
        && event.payload.len() <= MAX_PAYLOAD
        && event
            .payload
            .iter()
            .all(|(key, value)| short(key) && short(value))
        && event.observed_at < event.expires_at
}

/// What tells two events under one id apart: SHA-256 over the event's canonical JSON. Struct fields have a fixed
/// order and maps are sorted, so equal events give equal text.
pub fn digest(event: &Event) -> [u8; 32] {
    let json = serde_json::to_vec(event).expect("an event serializes");
    Sha256::digest(json).into()
}

#[cfg(test)]
mod tests;
