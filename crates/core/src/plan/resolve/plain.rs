//! Plain tunnels: both ends, driver and MTU. What they go through is resolved before.

use std::net::Ipv4Addr;

use api::IfName;
use ipnet::IpNet;

use super::tunnels::{LEAST_MTU_V4, wait_if_kept};
use crate::Effective;
use crate::effective::{LocalEnd, PlainTunnelIntent};
use crate::encapsulation::{Encapsulation, PlainTunnel};
use crate::host::Host;
use crate::observed::{Driver, FouPort, Link};
use crate::plan::desired::{Desired, PlainWish};

/// What an underlay carries while nothing is known about it.
const ETHERNET: u32 = 1500;

/// All plain tunnels.
pub(super) fn resolve_plain_tunnels<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) {
    for (ifname, intent) in &effective.plain_tunnels {
        match resolve_one(effective, ifname, intent, host, desired) {
            Ok(wish) => {
                if let Some(device) = host.observed.plain_tunnels.get(ifname) {
                    wait_if_kept(&device.build, &intent.owner, desired);
                }
                desired.plain.insert(ifname, wish);
            }
            Err(reason) => {
                desired.wait(&intent.owner, &*reason);
                desired.stalled.insert(ifname, reason);
            }
        }
    }
}

fn resolve_one<'a>(
    effective: &Effective,
    ifname: &IfName,
    intent: &'a PlainTunnelIntent,
    host: &Host<'a>,
    desired: &Desired<'_>,
) -> Result<PlainWish<'a>, String> {
    let link = host.link(ifname);
    if link.is_some_and(|link| !host.is_our_link(ifname, link)) {
        return Err(format!(
            "interface {ifname} was not made by routerd: rename it or remove it"
        ));
    }
    if let Some(underlay) = &intent.underlay {
        check_underlay(underlay, host, desired)?;
    }
    let tunnel = PlainTunnel {
        encapsulation: intent.encapsulation,
        local: local(effective, &intent.local, host)?,
        remote: intent.remote,
        underlay: intent.underlay.clone(),
        ttl: intent.ttl,
    };
    let driver = driver(effective, ifname, intent, host);
    if driver == Driver::Kernel {
        check_port(intent.encapsulation, host)?;
    }
    let carries = underlay_mtu(ifname, intent, host, desired);
    let fits = carries.map(|carries| {
        let fits = carries.saturating_sub(intent.encapsulation.overhead());
        fits.max(LEAST_MTU_V4)
    });
    let limit = host.observed.path_limits.get(ifname);
    let fits = fits.map(|fits| limit.map_or(fits, |limit| fits.min(*limit)));
    // As with WireGuard: an underlay that is away for a moment must not make the MTU flap.
    let present = link.filter(|link| link.up).map(|link| link.mtu);
    let usual = ETHERNET - intent.encapsulation.overhead();
    let mtu = intent.mtu.or(fits).or(present).unwrap_or(usual);
    Ok(PlainWish {
        intent,
        driver,
        tunnel,
        mtu,
        path_mtu: fits.map_or(mtu, |fits| fits.min(mtu)),
        carries,
    })
}

fn check_underlay(underlay: &IfName, host: &Host<'_>, desired: &Desired<'_>) -> Result<(), String> {
    if let Some(reason) = desired.stalled.get(underlay) {
        return Err(reason.clone());
    }
    let there = desired.tunnels.contains_key(underlay) || host.link(underlay).is_some();
    let missing = || format!("interface {underlay} does not exist");
    there.then_some(()).ok_or_else(missing)
}

/// The address of this end. The configuration's own addresses come first: they are what will be there.
fn local(effective: &Effective, end: &LocalEnd, host: &Host<'_>) -> Result<Ipv4Addr, String> {
    let ifname = match end {
        LocalEnd::Address(address) => return Ok(*address),
        LocalEnd::Of(ifname) => ifname,
    };
    let wanted = effective.addresses.keys();
    let wanted = wanted.filter(|(name, _)| name == ifname);
    let wanted = wanted.map(|(_, net)| *net);
    let found = host.addresses(ifname).iter();
    let found = found.filter(|address| !address.secondary);
    let found = found.map(|address| address.net);
    let mut all = wanted.chain(found).filter_map(|net| match net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    });
    let free = all.find(|address| !effective.captures.contains_key(&(*address).into()));
    free.ok_or_else(|| format!("interface {ifname} has no IPv4 address"))
}

/// The driver of a tunnel that runs is kept: changing it would cut the tunnel.
fn driver(
    effective: &Effective,
    ifname: &IfName,
    intent: &PlainTunnelIntent,
    host: &Host<'_>,
) -> Driver {
    if let Some(driver) = present_driver(ifname, host) {
        return driver;
    }
    let offered = &host.observed.features.kernel_tunnels;
    let kernel = offered.contains(&intent.encapsulation.needs())
        && !is_shared_with_process(effective, ifname, intent, host);
    if kernel {
        Driver::Kernel
    } else {
        Driver::UserSpace
    }
}

fn present_driver(ifname: &IfName, host: &Host<'_>) -> Option<Driver> {
    let running = host.observed.plain_tunnels.get(ifname);
    let by_link = |link: &Link| match link.kind.as_str() {
        "tun" => Driver::UserSpace,
        _ => Driver::Kernel,
    };
    let running = running.map(|device| device.driver);
    running.or_else(|| host.link(ifname).map(by_link))
}

/// Whether the UDP port is also that of a process that stays, which cannot share it with the kernel.
fn is_shared_with_process(
    effective: &Effective,
    ifname: &IfName,
    intent: &PlainTunnelIntent,
    host: &Host<'_>,
) -> bool {
    let Some(port) = intent.encapsulation.ports().map(|ports| ports.source) else {
        return false;
    };
    let others = effective
        .plain_tunnels
        .iter()
        .filter(|(name, _)| *name != ifname);
    let mut sharing = others.filter(|(_, other)| {
        let ports = other.encapsulation.ports();
        ports.is_some_and(|ports| ports.source == port)
    });
    sharing.any(|(name, _)| present_driver(name, host) == Some(Driver::UserSpace))
}

/// The kernel feeds a UDP port to tunnels in one way only. A port of ours can be opened anew.
fn check_port(encapsulation: Encapsulation, host: &Host<'_>) -> Result<(), String> {
    let Some((port, wanted)) = FouPort::of(encapsulation) else {
        return Ok(());
    };
    match host.observed.fou_ports.get(&port) {
        Some(taken) if *taken != wanted && !host.ledger.fou_ports.contains(&port) => Err(format!(
            "UDP port {port} feeds another kind of tunnel: ip fou show"
        )),
        _ => Ok(()),
    }
}

/// What the way to the other end carries, outer headers included.
fn underlay_mtu(
    ifname: &IfName,
    intent: &PlainTunnelIntent,
    host: &Host<'_>,
    desired: &Desired<'_>,
) -> Option<u32> {
    let lookup = host.observed.lookups.get(&intent.remote.into());
    let lookup = lookup.filter(|lookup| lookup.device != *ifname);
    let device = match &intent.underlay {
        Some(underlay) => underlay,
        None => &lookup?.device,
    };
    if let Some(tunnel) = desired.tunnels.get(device) {
        return Some(tunnel.path_mtu);
    }
    let routed = lookup.filter(|lookup| lookup.device == *device);
    let link = host.link(device).map(|link| link.mtu);
    routed.map(|lookup| lookup.mtu).or(link)
}
