//! What a rule asks of a packet.

use ipnet::Ipv4Net;
use routerd_core::observed::{FirewallRule, Verdict};

/// Conditions that all have to hold; absent ones always do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Matches {
    pub(super) iifname: Option<String>,
    pub(super) oifname: Option<String>,
    pub(super) source: Option<Ipv4Net>,
    pub(super) destination: Option<Ipv4Net>,
    /// `tcp`, `udp` …
    pub(super) protocol: Option<String>,
    pub(super) destination_port: Option<u16>,
    pub(super) ct_states: Vec<String>,
    /// Something that is not expressed here.
    pub(super) other: bool,
}

impl Matches {
    /// A condition that is not expressed here.
    pub(super) fn other() -> Self {
        Self {
            other: true,
            ..Self::default()
        }
    }

    /// Whether every packet matches.
    pub(super) fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Both conditions; absent if no packet can meet both.
    pub(super) fn and(&self, more: &Self) -> Option<Self> {
        let ct_states = match (self.ct_states.as_slice(), more.ct_states.as_slice()) {
            ([], states) | (states, []) => states.to_vec(),
            (some, others) => {
                let both = some.iter().filter(|state| others.contains(state));
                both.cloned().collect()
            }
        };
        if ct_states.is_empty() && !(self.ct_states.is_empty() && more.ct_states.is_empty()) {
            return None;
        }
        Some(Self {
            iifname: same(&self.iifname, &more.iifname)?,
            oifname: same(&self.oifname, &more.oifname)?,
            source: narrower(self.source, more.source)?,
            destination: narrower(self.destination, more.destination)?,
            protocol: same(&self.protocol, &more.protocol)?,
            destination_port: same(&self.destination_port, &more.destination_port)?,
            ct_states,
            other: self.other || more.other,
        })
    }

    /// The rule in the terms of the observation.
    pub(super) fn rule(self, verdict: Verdict, text: String) -> FirewallRule {
        FirewallRule {
            iifname: self.iifname,
            oifname: self.oifname,
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            destination_port: self.destination_port,
            ct_states: self.ct_states,
            other_matches: self.other,
            verdict,
            text,
        }
    }
}

/// The one value that both allow; the outer absence means that there is none.
fn same<T: Clone + PartialEq>(a: &Option<T>, b: &Option<T>) -> Option<Option<T>> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => None,
        (Some(value), _) | (None, Some(value)) => Some(Some(value.clone())),
        (None, None) => Some(None),
    }
}

fn narrower(a: Option<Ipv4Net>, b: Option<Ipv4Net>) -> Option<Option<Ipv4Net>> {
    match (a, b) {
        (Some(a), Some(b)) if a.contains(&b) => Some(Some(b)),
        (Some(a), Some(b)) if b.contains(&a) => Some(Some(a)),
        (Some(_), Some(_)) => None,
        (one, other) => Some(one.or(other)),
    }
}
