//! Links of ours that would have to become something that a link cannot become, or that keep another one from coming:
//! they go first, with all that hangs on them, and the plan goes on as if they had not been there.

use std::collections::BTreeSet;

use api::IfName;

use super::desired::Desired;
use super::diff::{exclusive_ports, wanted_ports};
use crate::encapsulation::PlainTunnel;
use crate::host::Host;
use crate::observed::{Driver, PlainTunnelDevice};
use crate::sysctl::Scope;
use crate::{Effective, Observed};

/// A WireGuard interface that was a plain tunnel, the other way round, or a plain tunnel of another type of link.
pub(super) fn misfits(effective: &Effective, host: &Host<'_>) -> BTreeSet<IfName> {
    let observed = host.observed;
    let links = observed.links.iter();
    let ours = links.filter(|(ifname, link)| host.is_our_link(ifname, link));
    let misfits = ours.filter(|(ifname, link)| {
        let plain = effective.plain_tunnels.get(*ifname);
        if let Some(intent) = plain {
            let kind = link.kind.as_str();
            observed.wireguard.contains_key(*ifname)
                || (kind != "tun" && kind != intent.encapsulation.link_kind())
        } else {
            effective.wireguard.contains_key(*ifname)
                && (observed.plain_tunnels.contains_key(*ifname)
                    || !matches!(link.kind.as_str(), "tun" | "wireguard"))
        }
    });
    misfits.map(|(ifname, _)| ifname.clone()).collect()
}

/// Plain tunnels that stand where another one is to stand, as far as the kernel lets only one stand there: links of its own
/// with the same ends, processes on their way out with a UDP port that somebody is to have alone, and processes whose port
/// the kernel is to have for other tunnels, which come back as tunnels of the kernel.
pub(super) fn in_the_way(desired: &Desired<'_>, host: &Host<'_>) -> BTreeSet<IfName> {
    let ports = exclusive_ports(desired);
    let kernels = wanted_ports(desired);
    let devices = host.observed.plain_tunnels.iter();
    let ours = devices.filter(|(ifname, _)| {
        let link = host.link(ifname);
        link.is_some_and(|link| host.is_our_link(ifname, link))
    });
    let in_the_way = ours.filter(|(ifname, device)| match device.driver {
        Driver::Kernel => stands_between(ifname, device, desired),
        Driver::UserSpace => match desired.plain.get(ifname) {
            Some(wish) => port(&wish.tunnel).is_some_and(|port| kernels.contains_key(&port)),
            None => {
                let port = port(&device.tunnel).filter(|_| !desired.is_tunnel(ifname));
                port.is_some_and(|port| ports.contains(&port))
            }
        },
    });
    in_the_way.map(|(ifname, _)| ifname.clone()).collect()
}

fn port(tunnel: &PlainTunnel) -> Option<u16> {
    tunnel.encapsulation.ports().map(|ports| ports.source)
}

/// Whether another tunnel of the kernel is to have the ends of this one, which will not have them any more.
fn stands_between(ifname: &IfName, device: &PlainTunnelDevice, desired: &Desired<'_>) -> bool {
    let ends = device.tunnel.ends();
    let keeps = || {
        let own = desired.plain.get(ifname);
        own.is_some_and(|wish| wish.tunnel.ends() == ends) || desired.stalled.contains_key(ifname)
    };
    let mut others = desired.plain.iter().filter(|(name, _)| **name != ifname);
    let wanted =
        others.any(|(_, wish)| wish.driver == Driver::Kernel && wish.tunnel.ends() == ends);
    wanted && !keeps()
}

/// The host as it is once these links are gone.
pub(super) fn without(observed: &Observed, gone: &BTreeSet<IfName>) -> Observed {
    let mut rest = observed.clone();
    rest.links.retain(|ifname, _| !gone.contains(ifname));
    rest.wireguard.retain(|ifname, _| !gone.contains(ifname));
    rest.plain_tunnels
        .retain(|ifname, _| !gone.contains(ifname));
    rest.addresses
        .retain(|address| !gone.contains(&address.ifname));
    rest.proxy_neighbours
        .retain(|proxy| !gone.contains(&proxy.ifname));
    rest.routes
        .retain(|route| !route.target.devices().any(|device| gone.contains(device)));
    rest.sysctls.retain(|sysctl, _| match &sysctl.scope {
        Scope::Interface(ifname) => !gone.contains(ifname),
        _ => true,
    });
    rest
}
