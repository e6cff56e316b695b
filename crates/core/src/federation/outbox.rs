//! When a sender tries which peer: one independent queue a peer, so that a dead one delays no other.
//!
//! The rows themselves are in the daemon's database; this decides what to send and when to try again.

use api::event::Event;
use api::time::Timestamp;

use super::receive::{MAX_BODY, MAX_EVENTS};

/// First wait after a failure, in milliseconds.
const FIRST_WAIT: u64 = 500;
/// Longest wait, in milliseconds.
const LONGEST_WAIT: u64 = 60_000;
/// Bytes of events that are put in one batch: half of what a receiver takes, for the JSON around them.
const BATCH_BYTES: usize = MAX_BODY / 2;

/// Which events go to a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Event types; empty: all.
    pub types: Vec<String>,
    /// Prefixes of the subject; empty: all.
    pub subject_prefixes: Vec<String>,
}

impl Filter {
    /// Whether the peer wants this event.
    pub fn admits(&self, event: &Event) -> bool {
        self.admits_fact(&event.kind, &event.subject)
    }

    /// Whether the peer wants events of this type about this subject.
    pub fn admits_fact(&self, kind: &str, subject: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|one| one == kind))
            && (self.subject_prefixes.is_empty()
                || self
                    .subject_prefixes
                    .iter()
                    .any(|prefix| subject.starts_with(prefix)))
    }
}

/// The state of one peer's queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Failures since the last success.
    pub failures: u32,
    /// Not before this time.
    pub not_before: Option<Timestamp>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The peer answered for every event.
    Answered,
    /// The peer did not answer, or said it could not right now (429, 5xx), with the wait that it asked for in
    /// milliseconds.
    Unavailable {
        /// `Retry-After`.
        retry_after: Option<u64>,
    },
    /// The peer refused the message as a whole (4xx). It is tried again all the same: a peer that learns our
    /// key, or gets its clock right, will take it.
    Refused,
}

impl Queue {
    /// The state after an attempt. `jitter` is random in 0..=1000 and spreads the wait over its second half.
    #[must_use]
    pub fn after(self, now: Timestamp, attempt: Attempt, jitter: u16) -> Self {
        let asked = match attempt {
            Attempt::Answered => return Self::default(),
            Attempt::Unavailable { retry_after } => retry_after.unwrap_or(0),
            Attempt::Refused => 0,
        };
        let doubled = FIRST_WAIT
            .saturating_mul(1 << self.failures.min(16))
            .min(LONGEST_WAIT);
        let spread = doubled / 2 + doubled / 2 * u64::from(jitter.min(1000)) / 1000;
        Self {
            failures: self.failures.saturating_add(1),
            not_before: Some(now.plus_millis(spread.max(asked))),
        }
    }

    /// Whether the peer may be tried.
    pub fn is_due(self, now: Timestamp) -> bool {
        self.not_before.is_none_or(|time| time <= now)
    }
}

/// What becomes of the oldest waiting events of a peer: how many are dead letters, and how many after them make
/// the next batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Indices of events whose time is over.
    pub dead: Vec<usize>,
    /// Indices of events to send, in order.
    pub send: Vec<usize>,
}

/// Chooses from the waiting events of a peer, oldest first. An event is sent until it expires, then it is a dead
/// letter.
pub fn select(now: Timestamp, waiting: &[Event]) -> Selection {
    let mut selection = Selection {
        dead: Vec::new(),
        send: Vec::new(),
    };
    let mut bytes = 0;
    for (index, event) in waiting.iter().enumerate() {
        if event.expires_at <= now {
            selection.dead.push(index);
            continue;
        }
        bytes += size(event);
        let full = selection.send.len() == MAX_EVENTS || bytes > BATCH_BYTES;
        if full && !selection.send.is_empty() {
            break;
        }
        selection.send.push(index);
    }
    selection
}

/// An upper bound of an event's size as JSON for what real events hold; escapes are counted by the factor.
fn size(event: &Event) -> usize {
    let texts = [
        &event.id,
        &event.group,
        &event.source_node,
        &event.kind,
        &event.subject,
    ];
    let fields: usize = texts.iter().map(|t| t.len()).sum();
    let payload: usize = event
        .payload
        .iter()
        .map(|(k, v)| k.len() + v.len() + 6)
        .sum();
    250 + 2 * (fields + payload + event.dedupe_key.as_ref().map_or(0, String::len))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn event(id: usize, expires: u64) -> Event {
        Event {
            id: format!("e{id}"),
            group: "g".into(),
            source_node: "n".into(),
            kind: "routerd.client.ipv4.observed".into(),
            subject: "10.88.60.9/32".into(),
            dedupe_key: None,
            payload: BTreeMap::new(),
            observed_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(expires),
        }
    }

    #[test]
    fn filters_are_all_of_both() {
        let filter = Filter {
            types: vec!["routerd.client.ipv4.observed".into()],
            subject_prefixes: vec!["10.88.".into()],
        };
        assert!(filter.admits(&event(1, 1)));
        assert!(!filter.admits(&Event {
            subject: "10.89.0.1/32".into(),
            ..event(1, 1)
        }));
        assert!(!filter.admits(&Event {
            kind: "other".into(),
            ..event(1, 1)
        }));
        assert!(Filter::default().admits(&event(1, 1)));
    }

    #[test]
    fn expired_events_are_dead_letters_and_batches_are_bounded() {
        let waiting: Vec<Event> = (0..3000)
            .map(|n| event(n, if n == 1 { 5 } else { 100 }))
            .collect();
        let selection = select(Timestamp::from_millis(5), &waiting);
        assert_eq!(selection.dead, [1]);
        assert_eq!(selection.send.len(), MAX_EVENTS);
        assert_eq!(&selection.send[..3], [0, 2, 3]);
    }

    #[test]
    fn one_event_always_fits() {
        let large = Event {
            payload: BTreeMap::from([("k".into(), "x".repeat(BATCH_BYTES))]),
            ..event(1, 100)
        };
        assert_eq!(select(Timestamp::from_millis(0), &[large]).send, [0]);
    }

    #[test]
    fn a_peer_is_asked_again_after_growing_waits_and_at_once_after_success() {
        let now = Timestamp::from_millis(1000);
        let mut queue = Queue::default();
        assert!(queue.is_due(now));
        let mut waits = Vec::new();
        for _ in 0..10 {
            queue = queue.after(now, Attempt::Refused, 1000);
            waits.push(queue.not_before.expect("a wait").millis_since(now));
        }
        assert_eq!(waits[..4], [500, 1000, 2000, 4000]);
        assert_eq!(waits[9], LONGEST_WAIT);
        assert_eq!(queue.after(now, Attempt::Answered, 0), Queue::default());
        let asked = Queue::default().after(
            now,
            Attempt::Unavailable {
                retry_after: Some(30_000),
            },
            0,
        );
        assert_eq!(asked.not_before, Some(now.plus_millis(30_000)));
    }

    proptest! {
        #[test]
        fn a_selected_batch_is_taken_by_a_receiver(sizes in prop::collection::vec(0usize..1024, 1..600)) {
            let waiting: Vec<Event> = sizes.iter().enumerate().map(|(n, size)| {
                Event { payload: BTreeMap::from([("k".into(), "\"".repeat(*size))]), ..event(n, 100) }
            }).collect();
            let chosen = select(Timestamp::from_millis(0), &waiting).send;
            let events = chosen.iter().map(|i| waiting[*i].clone()).collect();
            let json = serde_json::to_vec(&crate::federation::receive::Batch { events }).expect("json");
            prop_assert!(json.len() <= MAX_BODY);
        }
    }
}
