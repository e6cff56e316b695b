//! What the observer says, as events.

use api::event::Event;
use api::time::Timestamp;

use super::{Output, Sighting};
use crate::effective::ObserverIntent;

/// A client is there.
pub const OBSERVED: &str = "routerd.client.ipv4.observed";
/// A client is there no more.
pub const EXPIRED: &str = "routerd.client.ipv4.expired";
/// For how long the end of a fact is worth telling, in milliseconds: longer than any part could be held.
const END_LASTS: u64 = 7_200_000;

impl ObserverIntent {
    /// The event for an output; none for a question.
    pub fn event(&self, output: &Output, now: Timestamp) -> Option<Event> {
        match output {
            Output::Observed {
                sighting,
                expires_at,
            } => Some(self.fact(OBSERVED, sighting, now, *expires_at)),
            Output::Expired { sighting } => {
                Some(self.fact(EXPIRED, sighting, now, now.plus_millis(END_LASTS)))
            }
            Output::Probe { .. } => None,
        }
    }

    fn fact(&self, kind: &str, seen: &Sighting, now: Timestamp, expires_at: Timestamp) -> Event {
        let subject = format!("{}/32", seen.address);
        let word = kind.rsplit('.').next().unwrap_or(kind);
        let payload = [
            ("address", subject.clone()),
            ("domain", self.domain.clone()),
            ("ownerSide", self.side.clone()),
            ("mac", mac(seen.mac)),
            ("source", seen.source.as_str().to_owned()),
        ];
        Event {
            // One node says one thing of an address in a millisecond.
            id: format!("{}/{}/{word}/{}", self.node, seen.address, now.as_millis()),
            group: self.group.clone(),
            source_node: self.node.clone(),
            kind: kind.to_owned(),
            dedupe_key: Some(format!("client/{subject}")),
            subject,
            payload: payload.map(|(key, value)| (key.to_owned(), value)).into(),
            observed_at: now,
            expires_at,
        }
    }

    /// What an event of this observer was about; none if it is of somebody else, or says that a client is gone.
    pub fn recall(&self, event: &Event) -> Option<Sighting> {
        let own = event.group == self.group && event.source_node == self.node;
        if !own || event.kind != OBSERVED || event.payload.get("domain") != Some(&self.domain) {
            return None;
        }
        let address = event.subject.strip_suffix("/32")?.parse().ok()?;
        Some(Sighting {
            address,
            mac: super::parse_mac(event.payload.get("mac")?)?,
            source: super::Source::Arp,
        })
    }
}

fn mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
