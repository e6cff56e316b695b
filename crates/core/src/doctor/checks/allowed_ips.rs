//! WireGuard takes every delivered destination to some peer.

use std::collections::BTreeMap;

use api::IfName;
use ipnet::{IpNet, Ipv4Net};

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Tally};
use crate::doctor::scene::{RESTART, Scene};
use crate::effective::WireGuardIntent;
use crate::key::PublicKey;
use crate::observed::WireGuardDevice;

pub(super) const CHECK: Entry = hybrid("allowed-ips", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        let device = scene.host.observed.wireguard.get(tunnel);
        if let Some(device) = device.filter(|_| !findings.is_link_broken(tunnel)) {
            check_tunnel(tunnel, intent, device, scene, findings);
        }
    }
}

fn check_tunnel(
    tunnel: &IfName,
    intent: &WireGuardIntent,
    device: &WireGuardDevice,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let allowed = allowed(device);
    let mut tally = Tally::default();
    for (key, route) in &scene.effective.routes {
        let first = scene.effective.striped(tunnel).unwrap_or(tunnel);
        if !route.target.leaves_by(first) {
            continue;
        }
        let destination = key.destination;
        match covering(&allowed, destination) {
            Some(peer) => tally.pass(&route.owner, format!("{destination} goes to peer {peer}")),
            // A peer that is missing altogether is named above.
            None if intended(intent, destination)
                .is_some_and(|key| !device.peers.contains_key(&key)) => {}
            None => {
                let detail = format!("no peer of {tunnel} may use {destination}");
                let remedy = remedy(tunnel, intent, destination);
                tally.fail(findings, &route.owner, detail, remedy);
            }
        }
    }
    tally.finish(findings, &intent.owner);
}

fn allowed(device: &WireGuardDevice) -> BTreeMap<Ipv4Net, PublicKey> {
    let peers = device.peers.iter();
    let nets = peers.flat_map(|(key, peer)| peer.allowed_ips.iter().map(move |net| (net, key)));
    let nets = nets.filter_map(|(net, key)| match net {
        IpNet::V4(net) => Some((*net, *key)),
        IpNet::V6(_) => None,
    });
    nets.collect()
}

/// The peer whose prefix holds the whole destination.
fn covering(allowed: &BTreeMap<Ipv4Net, PublicKey>, destination: Ipv4Net) -> Option<PublicKey> {
    let lengths = (0..=destination.prefix_len()).rev();
    let mut prefixes = lengths.filter_map(|length| {
        let prefix = Ipv4Net::new(destination.addr(), length).ok()?;
        allowed.get(&prefix.trunc())
    });
    prefixes.next().copied()
}

/// The peer that a destination is meant to go to.
fn intended(intent: &WireGuardIntent, destination: Ipv4Net) -> Option<PublicKey> {
    let holds = |net: &IpNet| net.contains(&IpNet::V4(destination));
    let mut peers = intent.peers.iter();
    let peer = peers.find(|(_, peer)| peer.allowed_ips.iter().any(holds));
    peer.map(|(key, _)| *key)
}

/// The whole list of the peer that should have it: older versions of `wg` know no other form.
fn remedy(tunnel: &IfName, intent: &WireGuardIntent, destination: Ipv4Net) -> String {
    let key = intended(intent, destination);
    let peer = key.and_then(|key| Some((key, intent.peers.get(&key)?)));
    let Some((key, peer)) = peer.filter(|(_, peer)| peer.allowed_ips.len() <= 32) else {
        return RESTART.to_owned();
    };
    let nets = peer.allowed_ips.iter().map(ToString::to_string);
    let list = nets.collect::<Vec<_>>().join(",");
    format!("wg set {tunnel} peer {key} allowed-ips {list}")
}
