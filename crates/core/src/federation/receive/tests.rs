use std::collections::{BTreeMap, BTreeSet};

use api::event::Event;
use api::time::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::federation::signature::Signer;

const NOW: u64 = 1_780_191_055_000;

#[derive(Default)]
struct Memory {
    nonces: BTreeSet<(String, String)>,
    events: BTreeMap<String, [u8; 32]>,
}

impl Known for Memory {
    fn nonce_seen(&self, sender: &str, nonce: &str) -> bool {
        self.nonces.contains(&(sender.to_owned(), nonce.to_owned()))
    }

    fn event_digest(&self, id: &str) -> Option<[u8; 32]> {
        self.events.get(id).copied()
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(NOW)
}

fn event(id: &str) -> Event {
    Event {
        id: id.into(),
        group: "cloudedge".into(),
        source_node: "onprem-router".into(),
        kind: "routerd.client.ipv4.observed".into(),
        subject: "10.88.60.9/32".into(),
        dedupe_key: None,
        payload: BTreeMap::from([("address".into(), "10.88.60.9/32".into())]),
        observed_at: now(),
        expires_at: now().plus_millis(1_800_000),
    }
}

fn signer() -> Signer {
    Signer::node_key(&[3; 32])
}

fn receiver() -> Receiver {
    let key = signer().public_key().expect("node key");
    Receiver {
        group: "cloudedge".into(),
        node: "cloud-router".into(),
        senders: BTreeMap::from([("onprem-router".into(), Verifier::NodeKeys(vec![key]))]),
        replay_window: 300_000,
        held: 0,
    }
}

fn body(events: &[Event]) -> Vec<u8> {
    serde_json::to_vec(&Batch {
        events: events.to_vec(),
    })
    .expect("json")
}

fn envelope(body: &[u8]) -> Envelope<'_> {
    Envelope {
        method: "POST",
        path: "/v1/events",
        group: "cloudedge",
        sender: "onprem-router",
        recipient: "cloud-router",
        timestamp: now(),
        nonce: "n1",
        body,
    }
}

/// Signs as the true sender and receives.
fn receive(envelope: Envelope<'_>, memory: &Memory) -> Result<Accepted, Refusal> {
    receiver().receive(now(), &envelope, &signer().sign(&envelope), memory)
}

fn outcomes(events: &[Event], memory: &Memory) -> Vec<Outcome> {
    let accepted = receive(envelope(&body(events)), memory).expect("accepted");
    accepted
        .events
        .into_iter()
        .map(|(_, outcome)| outcome)
        .collect()
}

#[test]
fn each_refusal_has_its_own_reason() {
    let memory = Memory::default();
    let good = body(&[event("e1")]);
    let base = envelope(&good);
    let foreign = body(&[Event {
        source_node: "aws-router".into(),
        ..event("e1")
    }]);
    let many = body(&vec![event("e1"); MAX_EVENTS + 1]);
    let huge = vec![b' '; MAX_BODY + 1];
    let used = Memory {
        nonces: BTreeSet::from([("onprem-router".into(), "n1".into())]),
        ..Memory::default()
    };
    let window = receiver().replay_window;
    assert_eq!(
        receive(
            Envelope {
                group: "other",
                ..base
            },
            &memory
        ),
        Err(Refusal::Group)
    );
    assert_eq!(
        receive(
            Envelope {
                recipient: "aws-router",
                ..base
            },
            &memory
        ),
        Err(Refusal::Recipient)
    );
    assert_eq!(
        receive(
            Envelope {
                sender: "stranger",
                ..base
            },
            &memory
        ),
        Err(Refusal::Signature)
    );
    assert_eq!(
        receive(
            Envelope {
                timestamp: now().plus_millis(window + 1),
                ..base
            },
            &memory
        ),
        Err(Refusal::Skew)
    );
    let early = Timestamp::from_millis(NOW - window - 1);
    assert_eq!(
        receive(
            Envelope {
                timestamp: early,
                ..base
            },
            &memory
        ),
        Err(Refusal::Skew)
    );
    assert_eq!(receive(base, &used), Err(Refusal::Replay));
    assert_eq!(
        receive(envelope(b"not json"), &memory),
        Err(Refusal::Malformed)
    );
    assert_eq!(receive(envelope(&foreign), &memory), Err(Refusal::Source));
    assert_eq!(receive(envelope(&many), &memory), Err(Refusal::TooLarge));
    assert_eq!(receive(envelope(&huge), &memory), Err(Refusal::TooLarge));
    let forged = Signer::node_key(&[9; 32]).sign(&base);
    assert_eq!(
        receiver().receive(now(), &base, &forged, &memory),
        Err(Refusal::Signature)
    );
}

#[test]
fn counters_and_statuses_tell_refusals_apart() {
    let all = Refusal::ALL;
    let counters: BTreeSet<_> = all.iter().map(|r| r.counter()).collect();
    assert_eq!(counters.len(), all.len());
    assert!(all.iter().all(|r| (400..500).contains(&r.status())));
}

#[test]
fn events_are_sorted_out_one_by_one() {
    let mut memory = Memory::default();
    memory
        .events
        .insert("known".into(), digest(&event("known")));
    memory
        .events
        .insert("reused".into(), digest(&event("known")));
    let expired = Event {
        observed_at: Timestamp::from_millis(NOW - 2),
        expires_at: now(),
        ..event("old")
    };
    let nameless = Event {
        subject: String::new(),
        ..event("nameless")
    };
    let batch = [
        event("new"),
        event("known"),
        event("reused"),
        expired,
        nameless,
        event("new"),
    ];
    use Outcome::{Accepted, Conflict, Duplicate, Expired, Invalid};
    assert_eq!(
        outcomes(&batch, &memory),
        [Accepted, Duplicate, Conflict, Expired, Invalid, Duplicate]
    );
}

proptest! {
    #[test]
    fn whatever_is_sent_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..512), signature in ".{0,80}") {
        let memory = Memory::default();
        let base = envelope(&bytes);
        prop_assert_eq!(receiver().receive(now(), &base, &signature, &memory), Err(Refusal::Signature));
        let _ = receive(base, &memory);
    }

    #[test]
    fn at_least_once_applies_once(order in prop::collection::vec(0usize..6, 1..40)) {
        let mut memory = Memory::default();
        let mut applied: BTreeMap<String, usize> = BTreeMap::new();
        for (n, pick) in order.iter().enumerate() {
            let body = body(&[event(&format!("e{pick}"))]);
            let nonce = format!("n{n}");
            let accepted = receive(Envelope { nonce: &nonce, ..envelope(&body) }, &memory).expect("accepted");
            for (event, outcome) in accepted.events {
                if outcome == Outcome::Accepted {
                    memory.events.insert(event.id.clone(), digest(&event));
                    *applied.entry(event.id).or_default() += 1;
                }
            }
        }
        prop_assert!(applied.values().all(|count| *count == 1));
    }
}
