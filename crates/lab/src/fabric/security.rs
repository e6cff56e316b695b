//! Security groups, network security groups and security lists: default-deny inbound, explicit rules, and
//! how each cloud combines several of them.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::header::Flow;
use super::state::{Cloud, FabricState, Nic, RuleSetId};

/// Which packets a rule is about, seen from the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the NIC.
    Inbound,
    /// From the NIC.
    Outbound,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Lets the packet pass.
    Allow,
    /// Drops it; AWS and OCI have no such rules.
    Deny,
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// Its name.
    pub name: String,
    /// The lower one is looked at first (Azure, GCP).
    pub priority: u32,
    /// To or from the NIC.
    pub direction: Direction,
    /// Allow or deny.
    pub access: Access,
    /// IP protocol number; absent: any.
    pub protocol: Option<u8>,
    /// The other end.
    pub remote: Ipv4Net,
    /// Destination ports, first and last; absent: any.
    pub ports: Option<(u16, u16)>,
}

impl SecurityRule {
    fn matches(&self, direction: Direction, flow: Flow) -> bool {
        let remote = match direction {
            Direction::Inbound => flow.source,
            Direction::Outbound => flow.destination,
        };
        let port = flow.destination_port;
        self.direction == direction
            && self.protocol.is_none_or(|p| p == flow.protocol)
            && self.remote.contains(&remote)
            && self.ports.is_none_or(|(a, b)| (a..=b).contains(&port))
    }
}

/// Whether the rules let a packet that belongs to no known conversation pass. What no rule speaks of is
/// denied inbound and allowed outbound, as the four clouds' defaults have it.
pub(super) fn permits(state: &FabricState, nic: &Nic, direction: Direction, flow: Flow) -> bool {
    let subnet = state.subnet_of(nic).map_or(&[][..], |s| &s.rules[..]);
    let default = direction == Direction::Outbound;
    let verdict = |sets: &[&[RuleSetId]]| first_match(state, sets, direction, flow);
    match state.cloud() {
        // Subnet's group and NIC's group are gates in a row.
        Cloud::Azure => {
            let gates = [subnet, &nic.rules[..]];
            let mut used = gates.iter().filter(|g| !g.is_empty()).peekable();
            if used.peek().is_none() {
                return default;
            }
            used.all(|gate| verdict(&[gate]).unwrap_or(default))
        }
        Cloud::Aws | Cloud::Oci | Cloud::Gcp => verdict(&[subnet, &nic.rules]).unwrap_or(default),
    }
}

/// The verdict of the first rule that matches by priority; on a tie deny wins. With AWS's and OCI's rules,
/// which only allow, this is their union.
fn first_match(
    state: &FabricState,
    sets: &[&[RuleSetId]],
    direction: Direction,
    flow: Flow,
) -> Option<bool> {
    sets.iter()
        .copied()
        .flatten()
        .filter_map(|id| state.rule_sets().get(id))
        .flatten()
        .filter(|rule| rule.matches(direction, flow))
        .map(|rule| (rule.priority, rule.access == Access::Allow))
        .min()
        .map(|(_, allowed)| allowed)
}
