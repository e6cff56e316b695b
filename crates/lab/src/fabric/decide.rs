//! What a fabric does with one packet. Pure: state, known conversations and the packet in, verdict out.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::flows::FlowTable;
use super::header::Header;
use super::routes::{NextHop, next_hop};
use super::security::{Direction, permits};
use super::state::{FabricState, Nic, NicId};

/// Where every cloud's metadata service answers.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where a packet comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A VM sent it out of this NIC.
    Nic(NicId),
    /// It came from outside, to a public address.
    Internet,
    /// The metadata service answers.
    Metadata,
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Into the VM through this NIC; the destination becomes `destination` first (it differs only where a
    /// public address was translated).
    Deliver {
        /// Where to.
        nic: NicId,
        /// The private address.
        destination: Ipv4Addr,
    },
    /// Out of the network; the source becomes this public address first.
    Internet {
        /// The public address.
        source: Ipv4Addr,
    },
    /// To the metadata service.
    Metadata,
    /// Dropped.
    Drop(DropReason),
}

/// Why a fabric drops a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropReason {
    /// The NIC may not send from an address that is not its own.
    SourceNotOfNic,
    /// The NIC may not receive for an address that is not its own.
    DestinationNotOfNic,
    /// No NIC holds the destination.
    AddressNotAssigned,
    /// No route.
    NoRoute,
    /// A route leads to a NIC or address that is no longer there.
    RouteTargetGone,
    /// A route says so.
    RouteToNothing,
    /// No security rule lets it in.
    SecurityInbound,
    /// A security rule keeps it from leaving.
    SecurityOutbound,
    /// It wants out, but its source has no public address.
    NoPublicAddress,
    /// Broadcast and multicast end at the first hop.
    NoBroadcastDomain,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SourceNotOfNic,
        Self::DestinationNotOfNic,
        Self::AddressNotAssigned,
        Self::NoRoute,
        Self::RouteTargetGone,
        Self::RouteToNothing,
        Self::SecurityInbound,
        Self::SecurityOutbound,
        Self::NoPublicAddress,
        Self::NoBroadcastDomain,
    ];

    /// The counter's name.
    pub fn code(self) -> &'static str {
        match self {
            Self::SourceNotOfNic => "source-not-of-nic",
            Self::DestinationNotOfNic => "destination-not-of-nic",
            Self::AddressNotAssigned => "address-not-assigned",
            Self::NoRoute => "no-route",
            Self::RouteTargetGone => "route-target-gone",
            Self::RouteToNothing => "route-to-nothing",
            Self::SecurityInbound => "security-inbound",
            Self::SecurityOutbound => "security-outbound",
            Self::NoPublicAddress => "no-public-address",
            Self::NoBroadcastDomain => "no-broadcast-domain",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

/// Decides about one packet.
pub fn decide(
    state: &FabricState,
    flows: &FlowTable,
    origin: &Origin,
    header: &Header,
    now: Duration,
) -> Verdict {
    let verdict = match origin {
        Origin::Nic(id) => from_nic(state, flows, id, header, now),
        Origin::Internet => from_internet(state, flows, header, now),
        Origin::Metadata => state
            .holder(header.flow.destination)
            .map(|nic| Verdict::Deliver {
                nic: nic.clone(),
                destination: header.flow.destination,
            })
            .ok_or(DropReason::AddressNotAssigned),
    };
    verdict.unwrap_or_else(Verdict::Drop)
}

/// Source check, outbound rules, route, then the target's own checks.
fn from_nic(
    state: &FabricState,
    flows: &FlowTable,
    id: &NicId,
    header: &Header,
    now: Duration,
) -> Result<Verdict, DropReason> {
    let flow = header.flow;
    let nic = state.nics().get(id).ok_or(DropReason::NoRoute)?;
    if !nic.forwarding && !nic.holds(flow.source) {
        return Err(DropReason::SourceNotOfNic);
    }
    if flow.destination == METADATA {
        return Ok(Verdict::Metadata);
    }
    if flow.destination.is_broadcast() || flow.destination.is_multicast() {
        return Err(DropReason::NoBroadcastDomain);
    }
    let answer = flows.answers(id, header, now);
    if !answer && !permits(state, nic, Direction::Outbound, flow) {
        return Err(DropReason::SecurityOutbound);
    }
    match next_hop(state, nic, flow.destination)? {
        NextHop::Nic(target) => to_nic(state, flows, target, header, now),
        NextHop::Internet => public_source(nic, flow.source)
            .map(|source| Verdict::Internet { source })
            .ok_or(DropReason::NoPublicAddress),
    }
}

/// A packet to a public address belongs to the private address behind it.
fn from_internet(
    state: &FabricState,
    flows: &FlowTable,
    header: &Header,
    now: Duration,
) -> Result<Verdict, DropReason> {
    let (nic, private) = state
        .behind_public(header.flow.destination)
        .ok_or(DropReason::AddressNotAssigned)?;
    let mut inside = *header;
    inside.flow.destination = private;
    // An error quotes the packet as it was seen outside; its sender knows it by the private address.
    inside.quoted = header.quoted.map(|mut quoted| {
        quoted.source = private;
        quoted
    });
    to_nic(state, flows, nic.clone(), &inside, now)
}

/// The target's destination check and its inbound rules.
fn to_nic(
    state: &FabricState,
    flows: &FlowTable,
    id: NicId,
    header: &Header,
    now: Duration,
) -> Result<Verdict, DropReason> {
    let destination = header.flow.destination;
    let nic = state.nics().get(&id).ok_or(DropReason::RouteTargetGone)?;
    if !nic.forwarding && !nic.holds(destination) {
        return Err(DropReason::DestinationNotOfNic);
    }
    let answer = flows.answers(&id, header, now);
    if !answer && !permits(state, nic, Direction::Inbound, header.flow) {
        return Err(DropReason::SecurityInbound);
    }
    Ok(Verdict::Deliver {
        nic: id,
        destination,
    })
}

/// The public address of exactly this private address: what a NIC forwards for others has none.
fn public_source(nic: &Nic, source: Ipv4Addr) -> Option<Ipv4Addr> {
    let mut own = nic.addresses.iter();
    own.find(|a| a.address == source)?.public
}

#[cfg(test)]
mod tests;
