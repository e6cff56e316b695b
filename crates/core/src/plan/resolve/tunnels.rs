//! WireGuard interfaces: driver, keys, peers and MTU.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use api::{IfName, ResourceId};
use ipnet::IpNet;

use super::routes::MAIN_TABLE;
use crate::Effective;
use crate::effective::{RouteTarget, WireGuardIntent, WireGuardPeerIntent};
use crate::host::Host;
use crate::key::{KeySource, PublicKey};
use crate::observed::{Build, Driver, KeyFile, Link};
use crate::plan::desired::{Desired, PeerWish, Tunnel};

/// Outer IPv4 header (20), UDP (8), WireGuard's data header and tag (32).
const OVERHEAD_V4: u32 = 60;
/// The same behind an IPv6 header (40).
const OVERHEAD_V6: u32 = 80;
/// The MTU of a tunnel whose underlay is not known: Ethernet less the larger overhead.
const DEFAULT_MTU: u32 = 1500 - OVERHEAD_V6;
/// Every IPv4 host reassembles this much (RFC 791); nothing less is believed.
pub(super) const LEAST_MTU_V4: u32 = 576;
/// An interface with a smaller MTU has no IPv6 (RFC 8200).
const LEAST_MTU_V6: u32 = 1280;

/// All WireGuard interfaces.
pub(super) fn resolve_tunnels<'a>(
    effective: &'a Effective,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) {
    for (ifname, intent) in &effective.wireguard {
        let link = host.link(ifname);
        let foreign = link.is_some_and(|link| !host.is_our_link(ifname, link));
        let key = if foreign {
            Err(format!(
                "interface {ifname} was not made by routerd: rename it or remove it"
            ))
        } else {
            resolve_key(ifname, intent, host, desired)
        };
        let key = match key {
            Ok(key) => key,
            Err(reason) => {
                desired.wait(&intent.owner, &*reason);
                desired.stalled.insert(ifname, reason);
                continue;
            }
        };
        wait_for_build(ifname, intent, host, desired);
        let (mtu, path_mtu) = mtus(effective, ifname, intent, host);
        let tunnel = Tunnel {
            intent,
            driver: driver(ifname, link, host),
            load_key: key.load,
            // The first one makes it for all stripes.
            generate_key: key.generate && effective.striped(ifname).is_none(),
            mtu,
            path_mtu,
            peers: resolve_peers(intent, host, desired),
        };
        desired.tunnels.insert(ifname, tunnel);
    }
}

/// The driver of a tunnel that runs is kept: changing it would cut the tunnel.
fn driver(ifname: &IfName, link: Option<&Link>, host: &Host<'_>) -> Driver {
    let running = host.observed.wireguard.get(ifname);
    match (running, link) {
        (Some(device), _) => device.driver,
        (None, Some(link)) if link.kind == "tun" => Driver::UserSpace,
        (None, Some(_)) => Driver::Kernel,
        (None, None) if host.observed.features.kernel_wireguard => Driver::Kernel,
        (None, None) => Driver::UserSpace,
    }
}

/// A process of another build that cannot be taken over from works, but is not what was installed.
fn wait_for_build(
    ifname: &IfName,
    intent: &WireGuardIntent,
    host: &Host<'_>,
    desired: &mut Desired<'_>,
) {
    let running = host.observed.wireguard.get(ifname);
    if let Some(device) = running {
        wait_if_kept(&device.build, &intent.owner, desired);
    }
}

/// Says so where a process runs on that could not be taken over from.
pub(super) fn wait_if_kept(build: &Build, owner: &ResourceId, desired: &mut Desired<'_>) {
    if let Build::Kept(reason) = build {
        let reason = format!("its process runs on with another build of routerd: {reason}");
        desired.wait(owner, reason);
    }
}

#[derive(Default)]
struct Key<'a> {
    load: Option<&'a KeySource>,
    generate: bool,
}

/// What has to happen with the private key, or why the tunnel cannot be made. A device that runs with a key keeps it when its file is bad or
/// gone: a new key would cut off every peer that knows the old one.
fn resolve_key<'a>(
    ifname: &IfName,
    intent: &'a WireGuardIntent,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) -> Result<Key<'a>, String> {
    let running = host.observed.wireguard.get(ifname);
    let running = running.and_then(|device| device.public_key);
    let load = |wanted: PublicKey| Key {
        load: (running != Some(wanted)).then_some(&intent.private_key),
        generate: false,
    };
    let path = match &intent.private_key {
        KeySource::Inline(secret) => return Ok(load(secret.public_key())),
        KeySource::File(path) => path,
    };
    let problem = match (host.observed.key_files.get(path), running) {
        (Some(KeyFile::Present(public)), _) => return Ok(load(*public)),
        (Some(KeyFile::Absent), None) => {
            return Ok(Key {
                load: Some(&intent.private_key),
                generate: true,
            });
        }
        (Some(KeyFile::Absent), Some(_)) => format!(
            "private key file {0} is gone; the tunnel runs on with its key: wg show {ifname} private-key > {0}",
            path.display()
        ),
        (Some(KeyFile::Bad(reason)), _) => {
            format!("private key file {}: {reason}", path.display())
        }
        (None, _) => format!("private key file {} was not looked at", path.display()),
    };
    if running.is_none() {
        return Err(problem);
    }
    desired.wait(&intent.owner, problem);
    Ok(Key::default())
}

fn resolve_peers<'a>(
    intent: &'a WireGuardIntent,
    host: &Host<'a>,
    desired: &mut Desired<'a>,
) -> BTreeMap<PublicKey, PeerWish> {
    let mut peers = BTreeMap::new();
    let mut taken: BTreeSet<IpNet> = BTreeSet::new();
    for (public_key, peer) in &intent.peers {
        let preshared_key = match preshared_key(peer, host) {
            Ok(key) => key,
            Err(reason) => {
                desired.wait(&peer.owner, reason);
                continue;
            }
        };
        let mut allowed_ips = BTreeSet::new();
        for net in peer.allowed_ips.iter().map(IpNet::trunc) {
            // A prefix has one peer in WireGuard. Given to two it would change sides with every plan.
            if taken.insert(net) || allowed_ips.contains(&net) {
                allowed_ips.insert(net);
            } else {
                desired.wait(
                    &peer.owner,
                    format!("{net} is allowed to another peer already"),
                );
            }
        }
        let wish = PeerWish {
            preshared_key,
            allowed_ips,
            endpoint: peer.endpoint,
            persistent_keepalive: peer.persistent_keepalive.unwrap_or(0),
        };
        peers.insert(*public_key, wish);
    }
    peers
}

fn preshared_key(
    peer: &WireGuardPeerIntent,
    host: &Host<'_>,
) -> Result<Option<(std::path::PathBuf, PublicKey)>, String> {
    let Some(path) = &peer.preshared_key else {
        return Ok(None);
    };
    let problem = match host.observed.key_files.get(path) {
        Some(KeyFile::Present(print)) => return Ok(Some((path.clone(), *print))),
        Some(KeyFile::Absent) => "does not exist",
        Some(KeyFile::Bad(reason)) => reason,
        None => "was not looked at",
    };
    Err(format!("preshared key file {}: {problem}", path.display()))
}

/// The MTU of the interface, and what really fits through it.
fn mtus(
    effective: &Effective,
    ifname: &IfName,
    intent: &WireGuardIntent,
    host: &Host<'_>,
) -> (u32, u32) {
    let underlay = underlay_path_mtu(ifname, intent, host);
    let fits = match underlay {
        Underlay::Known { inside, .. } => Some(inside.max(LEAST_MTU_V4)),
        Underlay::NoEndpoint | Underlay::NoRoute | Underlay::Loop => None,
    };
    let probed = effective.striped(ifname).unwrap_or(ifname);
    let limit = host.observed.path_limits.get(probed).copied();
    let fits = fits.map(|fits| limit.map_or(fits, |limit| fits.min(limit)));
    let own = effective
        .addresses
        .keys()
        .filter(|(name, _)| name == ifname);
    let has_ipv6 = own.into_iter().any(|(_, net)| matches!(net, IpNet::V6(_)));
    let callers = matches!(underlay, Underlay::NoEndpoint);
    let expected = callers.then(|| mtu_for_callers(host)).flatten();
    // While there is no way to the peer the MTU stays as it is: an uplink that flaps must not make the
    // tunnel's MTU flap.
    let present = host.link(ifname).filter(|link| fits.is_none() && link.up);
    let present = present.map(|link| link.mtu);
    let mtu = intent.mtu.unwrap_or_else(|| {
        let mtu = fits.or(expected).or(present).unwrap_or(DEFAULT_MTU);
        let mtu = limit.map_or(mtu, |limit| mtu.min(limit));
        if has_ipv6 { mtu.max(LEAST_MTU_V6) } else { mtu }
    });
    let measured = fits.or(limit);
    (mtu, measured.map_or(mtu, |fits| fits.min(mtu)))
}

/// The MTU while nobody knows where the peers are: they will come by the default route, whose link may carry less
/// than is usual.
fn mtu_for_callers(host: &Host<'_>) -> Option<u32> {
    let routes = host.observed.routes.iter();
    let default = routes
        .filter(|route| route.key.table == MAIN_TABLE && route.key.destination.prefix_len() == 0)
        .min_by_key(|route| route.key.metric)?;
    let RouteTarget::Unicast { device, .. } = &default.target else {
        return None;
    };
    let carries = host.link(device.as_ref()?)?.mtu.saturating_sub(OVERHEAD_V4);
    Some(DEFAULT_MTU.min(carries).max(LEAST_MTU_V4))
}

/// What is known about the way to the peers of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Underlay {
    /// The way to the peer that the least fits through.
    Known {
        /// What of it is left for packets inside the tunnel.
        inside: u32,
        /// Path MTU of the underlay.
        path: u32,
    },
    /// All peers call us.
    NoEndpoint,
    /// The kernel has no route to any peer.
    NoRoute,
    /// The only route to a peer leads into the tunnel itself.
    Loop,
}

/// The path MTU of a tunnel's underlay.
pub(crate) fn underlay_path_mtu(
    ifname: &IfName,
    intent: &WireGuardIntent,
    host: &Host<'_>,
) -> Underlay {
    let endpoints: Vec<_> = intent.peers.values().filter_map(|p| p.endpoint).collect();
    let lookups = &host.observed.lookups;
    let routed = endpoints
        .iter()
        .filter_map(|e| Some((e, lookups.get(&e.ip())?)));
    let (looped, outside): (Vec<_>, Vec<_>) = routed.partition(|(_, way)| way.device == *ifname);
    let known = outside.iter().map(|(endpoint, way)| Underlay::Known {
        inside: way.mtu.saturating_sub(overhead(**endpoint)),
        path: way.mtu,
    });
    match known.min() {
        Some(least) => least,
        None if endpoints.is_empty() => Underlay::NoEndpoint,
        None if looped.is_empty() => Underlay::NoRoute,
        None => Underlay::Loop,
    }
}

fn overhead(endpoint: SocketAddr) -> u32 {
    match endpoint.ip() {
        IpAddr::V4(_) => OVERHEAD_V4,
        IpAddr::V6(_) => OVERHEAD_V6,
    }
}
