//! Flows over several devices of one WireGuard interface: one core encrypts for one device.

use std::net::Ipv4Addr;

use api::IfName;
use ipnet::IpNet;

use super::links::After;
use crate::Effective;
use crate::effective::RouteTarget;
use crate::host::Host;
use crate::observed::PeerState;
use crate::plan::DEAD_AFTER;
use crate::plan::desired::Desired;
use crate::sysctl::{Sysctl, SysctlKey};

/// Bytes of a handshake initiation. Four without an answer are 15 seconds of trying.
const UNANSWERED: u64 = 4 * 148;

/// Spreads what leaves by an interface with stripes over all of them, but those whose other end is silent.
pub(super) fn spread(
    target: RouteTarget,
    effective: &Effective,
    host: &Host<'_>,
    after: &After<'_>,
) -> RouteTarget {
    let RouteTarget::Unicast {
        device: Some(first),
        gateway: None,
    } = &target
    else {
        return target;
    };
    let stripes = effective.stripes.get(first).into_iter().flatten();
    let usable = stripes.filter(|stripe| after.usable_link(stripe).is_ok());
    let usable = usable.filter(|stripe| !is_silent(stripe, host)).cloned();
    let devices: Vec<_> = std::iter::once(first.clone()).chain(usable).collect();
    match devices.len() {
        1 => target,
        _ => RouteTarget::Spread { devices },
    }
}

/// The further stripes have no address: what this host itself sends comes from that of the first.
pub(super) fn source(target: &RouteTarget, effective: &Effective) -> Option<Ipv4Addr> {
    let RouteTarget::Spread { devices } = target else {
        return None;
    };
    let own = effective.addresses.keys();
    let mut own = own.filter(|(ifname, _)| Some(ifname) == devices.first());
    own.find_map(|(_, net)| match net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    })
}

/// The kernel chooses by addresses and ports, or all that two hosts say to each other would go by one stripe.
pub(super) fn want_spreading<'a>(effective: &'a Effective, desired: &mut Desired<'a>) {
    for first in effective.stripes.keys() {
        if let Some(intent) = effective.wireguard.get(first) {
            let policy = Sysctl::all(SysctlKey::MultipathHashPolicy);
            desired.want_setting(policy, &intent.owner, 1);
        }
    }
}

/// Whether a peer was called again and again by this device, and never answers or does no more: the other end has fewer
/// stripes, or its port is closed. One that nobody has called yet gets its chance.
fn is_silent(stripe: &IfName, host: &Host<'_>) -> bool {
    let dead = |peer: &PeerState| {
        let alive = peer.handshake_age.is_some_and(|age| age < DEAD_AFTER);
        !alive && peer.tx_bytes >= UNANSWERED
    };
    let device = host.observed.wireguard.get(stripe);
    device.is_some_and(|device| device.peers.values().any(dead))
}
