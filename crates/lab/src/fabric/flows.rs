//! Which conversations a fabric has let through: its security rules are stateful.

use std::collections::HashMap;
use std::time::Duration;

use super::header::{Flow, Header, protocol};
use super::state::NicId;

/// Conversations by NIC, in the direction that was seen leaving or entering it.
#[derive(Debug, Default)]
pub struct FlowTable {
    by_nic: HashMap<NicId, HashMap<Flow, Duration>>,
}

/// A table that grows past this forgets what has been silent too long.
const SWEEP_AT: usize = 4096;

fn lifetime(protocol: u8) -> Duration {
    match protocol {
        protocol::TCP => Duration::from_secs(3600),
        _ => Duration::from_secs(180),
    }
}

impl FlowTable {
    /// Remembers that this packet passed at `now`, a time since any fixed moment.
    pub fn note(&mut self, nic: &NicId, flow: Flow, now: Duration) {
        if !self.by_nic.contains_key(nic) {
            self.by_nic.insert(nic.clone(), HashMap::new());
        }
        let Some(flows) = self.by_nic.get_mut(nic) else {
            return;
        };
        if flows.len() >= SWEEP_AT {
            flows.retain(|flow, seen| now.saturating_sub(*seen) < lifetime(flow.protocol));
        }
        flows.insert(flow, now);
    }

    /// Whether a packet answers, or is an error about, a conversation that passed this NIC before.
    pub fn answers(&self, nic: &NicId, header: &Header, now: Duration) -> bool {
        let known = |flow: Flow| {
            let seen = self.by_nic.get(nic).and_then(|flows| flows.get(&flow));
            seen.is_some_and(|seen| now.saturating_sub(*seen) < lifetime(flow.protocol))
        };
        // What is quoted in an error is the packet that passed, not its answer.
        known(header.flow.reversed()) || header.quoted.is_some_and(known)
    }

    /// Forgets everything that a NIC's rules have let through.
    pub fn forget(&mut self, nic: &NicId) {
        self.by_nic.remove(nic);
    }
}
