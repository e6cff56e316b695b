//! Any bytes as a message of another node: six lines for the head, the rest is the body. As it comes it is never
//! believed; well signed, it is refused for one reason or sorted out event by event, and never taken twice.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use api::time::Timestamp;
use routerd_core::federation::receive::{Known, Outcome, Receiver, Refusal, digest, well_formed};
use routerd_core::federation::signature::{Signer, Verifier};
use routerd_core::federation::wire::{Address, Head};

const NOW: u64 = 1_780_191_055_000;

#[derive(Default)]
struct Memory {
    nonces: RefCell<BTreeSet<String>>,
    events: RefCell<BTreeMap<String, [u8; 32]>>,
}

impl Known for Memory {
    fn nonce_seen(&self, _: &str, nonce: &str) -> bool {
        self.nonces.borrow().contains(nonce)
    }

    fn event_digest(&self, id: &str) -> Option<[u8; 32]> {
        self.events.borrow().get(id).copied()
    }
}

pub fn run(data: &[u8]) {
    let mut parts = data.splitn(Head::NAMES.len() + 1, |byte| *byte == b'\n');
    let fields: BTreeMap<&str, &str> = Head::NAMES
        .into_iter()
        .filter_map(|name| Some((name, std::str::from_utf8(parts.next()?).ok()?)))
        .collect();
    let body = parts.next().unwrap_or_default();
    let signer = Signer::node_key(&[3; 32]);
    let key = signer.public_key().expect("a node key");
    let now = Timestamp::from_millis(NOW);
    let receiver = Receiver {
        group: "cloudedge".into(),
        node: "cloud".into(),
        senders: BTreeMap::from([("onprem".into(), Verifier::NodeKeys(vec![key]))]),
        replay_window: 300_000,
        held: 0,
    };
    let memory = Memory::default();
    let Ok(head) = Head::read(|name| fields.get(name).copied()) else {
        return;
    };
    let as_it_came = receiver.receive(now, &head.envelope(body), &head.signature, &memory);
    assert!(as_it_came.is_err(), "nobody can sign this");

    let address = Address {
        group: &head.group,
        sender: &head.sender,
        recipient: &head.recipient,
    };
    for timestamp in [head.timestamp, now] {
        let signed = Head::sign(&signer, &address, timestamp, head.nonce.clone(), body);
        take(&receiver, now, &signed, body, &memory);
    }
    let ours = Address {
        group: "cloudedge",
        sender: "onprem",
        recipient: "cloud",
    };
    let signed = Head::sign(&signer, &ours, now, "n".into(), body);
    take(&receiver, now, &signed, body, &memory);
    let again = receiver.receive(now, &signed.envelope(body), &signed.signature, &memory);
    if memory.nonces.borrow().contains("n") {
        assert_eq!(again, Err(Refusal::Replay));
    }
}

fn take(receiver: &Receiver, now: Timestamp, head: &Head, body: &[u8], memory: &Memory) {
    match receiver.receive(now, &head.envelope(body), &head.signature, memory) {
        Err(refusal) => assert!((400..500).contains(&refusal.status())),
        Ok(accepted) => {
            memory.nonces.borrow_mut().insert(head.nonce.clone());
            for (event, outcome) in accepted.events {
                if outcome != Outcome::Accepted {
                    continue;
                }
                assert!(well_formed(&event) && event.source_node == head.sender);
                assert!(event.expires_at > now && event.group == receiver.group);
                let first = memory
                    .events
                    .borrow_mut()
                    .insert(event.id.clone(), digest(&event));
                assert_eq!(first, None, "taken twice");
            }
        }
    }
}
