//! Plain tunnels, and the UDP ports that feed those of the kernel.

use std::collections::{BTreeMap, BTreeSet};

use api::{IfName, ResourceId};

use crate::host::Host;
use crate::observed::{Driver, FouPort};
use crate::plan::Action;
use crate::plan::desired::{Desired, PlainWish};
use crate::plan::steps::{Stage, Steps};

/// Links that are not wanted any more go with the others of ours.
pub(super) fn diff_plain(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    diff_ports(desired, host, steps);
    for (ifname, wish) in &desired.plain {
        diff_tunnel(ifname, wish, host, steps);
    }
}

fn diff_tunnel(ifname: &IfName, wish: &PlainWish<'_>, host: &Host<'_>, steps: &mut Steps) {
    let owner = &wish.intent.owner;
    let link = host.link(ifname);
    let marked = link.is_some_and(|link| link.alias.is_some());
    let running = host.observed.plain_tunnels.get(ifname);
    let (ifname, driver) = (ifname.clone(), wish.driver);
    let tunnel = wish.tunnel.clone();
    match running.filter(|_| marked) {
        None => {
            let action = Action::CreateTunnel {
                ifname: ifname.clone(),
                driver,
                tunnel,
            };
            steps.push(Stage::MakeLink, owner, action);
        }
        Some(device) if device.tunnel != wish.tunnel => {
            let action = Action::ChangeTunnel {
                ifname: ifname.clone(),
                driver,
                tunnel,
            };
            steps.push(Stage::ConfigureTunnel, owner, action);
        }
        Some(_) => {}
    }
    let mtu = (link.map(|link| link.mtu) != Some(wish.mtu)).then_some(wish.mtu);
    let up = (!link.is_some_and(|link| link.up)).then_some(true);
    if mtu.is_some() || up.is_some() {
        steps.push(Stage::SetLink, owner, Action::SetLink { ifname, mtu, up });
    }
}

/// Ports have no mark: those that routerd opened are in the ledger, others are used and left.
fn diff_ports(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    let wanted = wanted_ports(desired);
    for (port, (feeds, owner)) in &wanted {
        if !host.observed.fou_ports.contains_key(port) {
            let (port, feeds) = (*port, *feeds);
            steps.push(Stage::MakeLink, owner, Action::AddFouPort { port, feeds });
        }
    }
    let present: BTreeSet<u16> = host.observed.fou_ports.keys().copied().collect();
    for port in host.ledger.fou_ports.intersection(&present) {
        if !wanted.contains_key(port) {
            let port = *port;
            steps.clean_up(Stage::RemoveLink, Action::RemoveFouPort { port });
        }
    }
}

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
