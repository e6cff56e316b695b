//! UDP ports: whose they are, whose they will be, and whether one has to be let go of before it is taken.
//!
//! A WireGuard device and the kernel's receiver of fou and gue have a port alone. Processes of plain tunnels share theirs
//! among themselves: each hears its own peer.

use std::collections::{BTreeMap, BTreeSet};

use api::{IfName, ResourceId};

use crate::host::Host;
use crate::observed::{Driver, FouPort};
use crate::plan::desired::{Desired, PlainWish};

/// The ports that the kernel's tunnels need.
pub(crate) fn wanted_ports<'a>(desired: &Desired<'a>) -> BTreeMap<u16, (FouPort, &'a ResourceId)> {
    let kernel = desired.plain.values();
    let kernel = kernel.filter(|wish| wish.driver == Driver::Kernel);
    kernel
        .filter_map(|wish| {
            let (port, feeds) = FouPort::of(wish.tunnel.encapsulation)?;
            Some((port, (feeds, &wish.intent.owner)))
        })
        .collect()
}

/// The ports that somebody is to have alone.
pub(crate) fn exclusive_ports(desired: &Desired<'_>) -> BTreeSet<u16> {
    let wireguard = desired.tunnels.values();
    let wireguard = wireguard.filter_map(|tunnel| tunnel.intent.listen_port);
    wireguard.chain(wanted_ports(desired).into_keys()).collect()
}

/// The ports that plain tunnels are to have, whoever runs them.
pub(super) fn plain_ports(desired: &Desired<'_>) -> BTreeSet<u16> {
    desired.plain.values().filter_map(port).collect()
}

/// The ports that processes of plain tunnels are to have.
pub(super) fn process_ports(desired: &Desired<'_>) -> BTreeSet<u16> {
    let processes = desired.plain.values();
    let processes = processes.filter(|wish| wish.driver == Driver::UserSpace);
    processes.filter_map(port).collect()
}

fn port(wish: &PlainWish<'_>) -> Option<u16> {
    wish.tunnel.encapsulation.ports().map(|ports| ports.source)
}

/// Whether somebody has a port now.
pub(super) fn is_held(port: u16, host: &Host<'_>) -> bool {
    let observed = host.observed;
    let mut wireguard = observed.wireguard.values();
    wireguard.any(|device| device.listen_port == port)
        || observed.fou_ports.contains_key(&port)
        || observed
            .plain_tunnels
            .keys()
            .any(|ifname| process_port(ifname, host) == Some(port))
}

/// The port that the process of a plain tunnel has now.
pub(super) fn process_port(ifname: &IfName, host: &Host<'_>) -> Option<u16> {
    let device = host.observed.plain_tunnels.get(ifname);
    let process = device.filter(|device| device.driver == Driver::UserSpace)?;
    process.tunnel.encapsulation.ports().map(|p| p.source)
}
