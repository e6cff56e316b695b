//! Plain tunnels, and the UDP ports that feed those of the kernel.

use std::collections::BTreeSet;

use api::IfName;

use super::ports;
use crate::host::Host;
use crate::observed::Build;
use crate::plan::Action;
use crate::plan::desired::{Desired, PlainWish};
use crate::plan::steps::{Stage, Steps};

/// Links that are not wanted any more go with the others of ours.
pub(super) fn diff_plain(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    diff_ports(desired, host, steps);
    let taken = ports::exclusive_ports(desired);
    for (ifname, wish) in &desired.plain {
        diff_tunnel(ifname, wish, &taken, host, steps);
    }
}

fn diff_tunnel(
    ifname: &IfName,
    wish: &PlainWish<'_>,
    taken: &BTreeSet<u16>,
    host: &Host<'_>,
    steps: &mut Steps,
) {
    let stage = when_to_change(ifname, wish, taken, host);
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
            steps.push(Stage::MakePlainTunnel, owner, action);
        }
        Some(device) if device.tunnel != wish.tunnel => {
            let action = Action::ChangeTunnel {
                ifname: ifname.clone(),
                driver,
                tunnel,
            };
            steps.push(stage, owner, action);
        }
        Some(device) if device.build == Build::Other => {
            let action = Action::TakeOverTunnel {
                ifname: ifname.clone(),
                tunnel,
            };
            steps.push(Stage::TakeOverDevice, owner, action);
        }
        Some(_) => {}
    }
    let mtu = (link.map(|link| link.mtu) != Some(wish.mtu)).then_some(wish.mtu);
    let up = (!link.is_some_and(|link| link.up)).then_some(true);
    if mtu.is_some() || up.is_some() {
        steps.push(Stage::SetLink, owner, Action::SetLink { ifname, mtu, up });
    }
}

/// A process that has to let go of a port for somebody else goes to its new one before that.
fn when_to_change(
    ifname: &IfName,
    wish: &PlainWish<'_>,
    taken: &BTreeSet<u16>,
    host: &Host<'_>,
) -> Stage {
    let ports = wish.tunnel.encapsulation.ports();
    let port =
        ports::process_port(ifname, host).filter(|port| ports.map(|p| p.source) != Some(*port));
    match port {
        Some(port) if taken.contains(&port) => Stage::MovePort,
        _ => Stage::ConfigureTunnel,
    }
}

/// Ports have no mark: those that routerd opened are in the ledger, others are used and left.
fn diff_ports(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    let wanted = ports::wanted_ports(desired);
    let open = &host.observed.fou_ports;
    for (port, (feeds, owner)) in &wanted {
        if open.get(port) != Some(feeds) {
            let (port, feeds) = (*port, *feeds);
            steps.push(
                Stage::MakePlainTunnel,
                owner,
                Action::AddFouPort { port, feeds },
            );
        }
    }
    let mut others = ports::process_ports(desired);
    others.extend(
        desired
            .tunnels
            .values()
            .filter_map(|tunnel| tunnel.intent.listen_port),
    );
    for port in &host.ledger.fou_ports {
        let Some(feeds) = open.get(port) else {
            continue;
        };
        let stage = match wanted.get(port) {
            Some((wanted, _)) if wanted == feeds => continue,
            // A port feeds one kind of tunnel.
            Some(_) => Stage::FreePort,
            None if others.contains(port) => Stage::FreePort,
            None => Stage::RemoveLink,
        };
        steps.clean_up(stage, Action::RemoveFouPort { port: *port });
    }
}
