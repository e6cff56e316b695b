//! WireGuard interfaces and their peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use api::IfName;
use ipnet::IpNet;

use super::ports;
use crate::host::Host;
use crate::key::{KeySource, PublicKey};
use crate::ledger::PeerKey;
use crate::observed::{Build, PeerState, WireGuardDevice};
use crate::plan::desired::{Desired, PeerWish, Tunnel};
use crate::plan::steps::{Stage, Steps};
use crate::plan::{Action, AllowedIpsChange, PeerChange, PresharedKeyChange, WireGuardChange};

/// A session that saw no handshake for this long is dead (`REJECT_AFTER_TIME`, WireGuard paper, section 6.1).
pub(crate) const DEAD_AFTER: u64 = 180;

pub(super) fn diff_tunnels(desired: &Desired<'_>, host: &Host<'_>, steps: &mut Steps) {
    let links = host.observed.links.iter();
    let ours = links.filter(|(name, link)| host.is_our_link(name, link));
    let leaving = ours
        .map(|(name, _)| name)
        .filter(|name| !desired.is_tunnel(name));
    let leaving: Vec<_> = leaving.collect();
    let held_ports: BTreeSet<u16> = leaving
        .iter()
        .filter_map(|name| host.observed.wireguard.get(*name))
        .map(|device| device.listen_port)
        .collect();
    free_for_plain_tunnels(&leaving, desired, host, steps);
    let freed = ports_to_free(desired, host);
    for (ifname, port) in &freed {
        if let Some(tunnel) = desired.tunnels.get(ifname) {
            let change = WireGuardChange {
                listen_port: Some(*port),
                ..WireGuardChange::default()
            };
            push_change(Stage::FreePort, ifname, tunnel, change, steps);
        }
    }
    for (ifname, tunnel) in &desired.tunnels {
        let device = host.observed.wireguard.get(ifname);
        let port = device.map(|device| device.listen_port);
        let ports = Ports {
            current: freed.get(ifname).copied().or(port),
            held: &held_ports,
        };
        diff_tunnel(ifname, tunnel, &ports, host, steps);
    }
    for ifname in leaving {
        let ifname = ifname.clone();
        steps.clean_up(Stage::RemoveLink, Action::DeleteLink { ifname });
    }
}

/// What goes last may listen anywhere until then; its peers follow it. Other WireGuard tunnels wait for a port, but a plain
/// one has it from the beginning.
fn free_for_plain_tunnels(
    leaving: &[&IfName],
    desired: &Desired<'_>,
    host: &Host<'_>,
    steps: &mut Steps,
) {
    let wanted = ports::plain_ports(desired);
    for ifname in leaving {
        let device = host.observed.wireguard.get(*ifname);
        if device.is_some_and(|device| wanted.contains(&device.listen_port)) {
            let ifname = (*ifname).clone();
            let change = WireGuardChange {
                listen_port: Some(0),
                ..WireGuardChange::default()
            };
            steps.clean_up(Stage::FreePort, Action::SetWireGuard { ifname, change });
        }
    }
}

/// Tunnels that stay and listen on a port that another one is to have, with the port that they take first: the one
/// that they are to have where nobody is there yet, else any (0), as when two swap theirs.
fn ports_to_free<'a>(desired: &Desired<'a>, host: &Host<'_>) -> BTreeMap<&'a IfName, u16> {
    let plain = ports::plain_ports(desired);
    let wanted = |port: u16, but: &IfName| {
        let mut others = desired.tunnels.iter().filter(|(name, _)| **name != but);
        port != 0
            && (plain.contains(&port)
                || others.any(|(_, tunnel)| tunnel.intent.listen_port == Some(port)))
    };
    let tunnels = desired.tunnels.iter();
    tunnels
        .filter_map(|(ifname, tunnel)| {
            let current = host.observed.wireguard.get(*ifname)?.listen_port;
            let own = tunnel.intent.listen_port;
            let leaves = own != Some(current) && wanted(current, ifname);
            leaves.then(|| {
                (
                    *ifname,
                    own.filter(|port| !ports::is_held(*port, host)).unwrap_or(0),
                )
            })
        })
        .collect()
}

/// The ports that decide when a tunnel can take its own.
struct Ports<'a> {
    /// Its port when its turn comes.
    current: Option<u16>,
    /// Those of tunnels that go, until they are gone.
    held: &'a BTreeSet<u16>,
}

fn diff_tunnel(
    ifname: &IfName,
    tunnel: &Tunnel<'_>,
    ports: &Ports<'_>,
    host: &Host<'_>,
    steps: &mut Steps,
) {
    let owner = &tunnel.intent.owner;
    if let (true, KeySource::File(path)) = (tunnel.generate_key, &tunnel.intent.private_key) {
        let path = path.clone();
        steps.push(Stage::MakeKey, owner, Action::GenerateKey { path });
    }
    let link = host.link(ifname);
    let device = host.observed.wireguard.get(ifname);
    let marked = link.is_some_and(|link| link.alias.is_some());
    if !marked || device.is_none() {
        let action = Action::CreateWireGuard {
            ifname: ifname.clone(),
            driver: tunnel.driver,
        };
        steps.push(Stage::MakeLink, owner, action);
    }
    let mut change = WireGuardChange {
        private_key: tunnel.load_key.cloned(),
        listen_port: tunnel.intent.listen_port,
        peers: diff_peers(ifname, tunnel, device, host),
    };
    change.listen_port = change
        .listen_port
        .filter(|port| Some(*port) != ports.current);
    if let Some(port) = change.listen_port.filter(|port| ports.held.contains(port)) {
        change.listen_port = None;
        let late = WireGuardChange {
            listen_port: Some(port),
            ..WireGuardChange::default()
        };
        push_change(Stage::TakeOverPort, ifname, tunnel, late, steps);
    }
    push_change(Stage::ConfigureTunnel, ifname, tunnel, change, steps);
    if device.is_some_and(|device| device.build == Build::Other) {
        let ifname = ifname.clone();
        steps.push(
            Stage::TakeOverDevice,
            owner,
            Action::TakeOverWireGuard { ifname },
        );
    }
    let mtu = (link.map(|link| link.mtu) != Some(tunnel.mtu)).then_some(tunnel.mtu);
    let up = (!link.is_some_and(|link| link.up)).then_some(true);
    if mtu.is_some() || up.is_some() {
        let ifname = ifname.clone();
        steps.push(Stage::SetLink, owner, Action::SetLink { ifname, mtu, up });
    }
}

fn push_change(
    stage: Stage,
    ifname: &IfName,
    tunnel: &Tunnel<'_>,
    change: WireGuardChange,
    steps: &mut Steps,
) {
    if change != WireGuardChange::default() {
        let ifname = ifname.clone();
        let action = Action::SetWireGuard { ifname, change };
        steps.push(stage, &tunnel.intent.owner, action);
    }
}

fn diff_peers(
    ifname: &IfName,
    tunnel: &Tunnel<'_>,
    device: Option<&WireGuardDevice>,
    host: &Host<'_>,
) -> BTreeMap<PublicKey, PeerChange> {
    let nobody = BTreeMap::new();
    let running = device.map_or(&nobody, |device| &device.peers);
    let claimed: BTreeSet<&IpNet> = tunnel.peers.values().flat_map(|p| &p.allowed_ips).collect();
    let mut changes = BTreeMap::new();
    for (public_key, wish) in &tunnel.peers {
        let told = host.ledger.endpoints.get(&PeerKey {
            ifname: ifname.clone(),
            public_key: *public_key,
        });
        let change = match running.get(public_key) {
            None => Some(new_peer(wish)),
            Some(peer) => diff_peer(wish, peer, told, &claimed),
        };
        changes.extend(change.map(|change| (*public_key, change)));
    }
    // A peer whose preshared key cannot be read is left as it is.
    for public_key in running.keys() {
        if !tunnel.intent.peers.contains_key(public_key) {
            changes.insert(*public_key, PeerChange::Remove);
        }
    }
    changes
}

fn new_peer(wish: &PeerWish) -> PeerChange {
    let preshared_key = wish.preshared_key.as_ref();
    PeerChange::Set {
        preshared_key: preshared_key.map(|(path, _)| PresharedKeyChange::Load(path.clone())),
        allowed_ips: diff_allowed_ips(wish, &BTreeSet::new(), &BTreeSet::new()),
        endpoint: wish.endpoint,
        persistent_keepalive: Some(wish.persistent_keepalive).filter(|seconds| *seconds != 0),
    }
}

fn diff_peer(
    wish: &PeerWish,
    peer: &PeerState,
    told: Option<&SocketAddr>,
    claimed: &BTreeSet<&IpNet>,
) -> Option<PeerChange> {
    let preshared_key = match &wish.preshared_key {
        Some((path, print)) if peer.preshared_key != Some(*print) => {
            Some(PresharedKeyChange::Load(path.clone()))
        }
        None if peer.preshared_key.is_some() => Some(PresharedKeyChange::Clear),
        _ => None,
    };
    let allowed_ips = diff_allowed_ips(wish, &peer.allowed_ips, claimed);
    let endpoint = wish
        .endpoint
        .filter(|wanted| is_endpoint_due(*wanted, peer, told));
    let keepalive = Some(wish.persistent_keepalive);
    let persistent_keepalive = keepalive.filter(|wanted| *wanted != peer.persistent_keepalive);
    let changed = preshared_key.is_some()
        || allowed_ips.is_some()
        || endpoint.is_some()
        || persistent_keepalive.is_some();
    changed.then_some(PeerChange::Set {
        preshared_key,
        allowed_ips,
        endpoint,
        persistent_keepalive,
    })
}

/// A peer may roam: the endpoint that the kernel heard it at wins over the configured one as long as the
/// session lives. The configured one is told when it is new, and when the peer is lost.
fn is_endpoint_due(wanted: SocketAddr, peer: &PeerState, told: Option<&SocketAddr>) -> bool {
    let alive = peer.handshake_age.is_some_and(|age| age < DEAD_AFTER);
    peer.endpoint != Some(wanted) && (told != Some(&wanted) || !alive)
}

fn diff_allowed_ips(
    wish: &PeerWish,
    present: &BTreeSet<IpNet>,
    claimed: &BTreeSet<&IpNet>,
) -> Option<AllowedIpsChange> {
    let add: BTreeSet<_> = wish.allowed_ips.difference(present).copied().collect();
    let gone = present.difference(&wish.allowed_ips);
    // What another peer claims moves there by itself.
    let remove: BTreeSet<_> = gone.filter(|net| !claimed.contains(net)).copied().collect();
    let all = wish.allowed_ips.clone();
    (!add.is_empty() || !remove.is_empty()).then_some(AllowedIpsChange { all, add, remove })
}
