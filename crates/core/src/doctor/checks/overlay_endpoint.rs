//! The kernel has a way to every peer's endpoint, and it does not lead into the tunnel.

use std::net::{IpAddr, SocketAddr};

use api::IfName;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::Scene;
use crate::effective::{RouteTarget, WireGuardPeerIntent};
use crate::host::target_words;

pub(super) const CHECK: Entry = hybrid("overlay-endpoint", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        if findings.is_link_broken(tunnel) {
            continue;
        }
        for (public_key, peer) in &intent.peers {
            let Some(endpoint) = peer.endpoint else {
                continue;
            };
            if !check_peer(tunnel, peer, endpoint, scene, findings) {
                findings.breaks(Thing::Session(tunnel.clone(), *public_key));
            }
        }
    }
}

fn check_peer(
    tunnel: &IfName,
    peer: &WireGuardPeerIntent,
    endpoint: SocketAddr,
    scene: &Scene<'_>,
    findings: &mut Findings,
) -> bool {
    let to = endpoint.ip();
    let Some(way) = scene.host.observed.lookups.get(&to) else {
        let detail = format!("there is no route to its endpoint {endpoint}");
        findings.fail(&peer.owner, detail, format!("ip route get {to}"));
        return false;
    };
    if way.local {
        let detail = format!("its endpoint {endpoint} is this host itself");
        findings.fail(&peer.owner, detail, format!("ip address show to {to}"));
        return false;
    }
    if way.device == *tunnel {
        let detail = format!("the route to its endpoint {endpoint} leads into {tunnel} itself");
        findings.fail(&peer.owner, detail, detour(to, scene));
        return false;
    }
    let detail = format!("{endpoint} dev {}, path mtu {}", way.device, way.mtu);
    findings.pass(&peer.owner, detail);
    true
}

/// A host route by the way that the default route takes.
fn detour(to: IpAddr, scene: &Scene<'_>) -> String {
    let tunnels = scene.tunnels();
    let outside = |target: &RouteTarget| match target {
        RouteTarget::Unicast {
            device: Some(device),
            ..
        } => !tunnels.contains(device),
        _ => false,
    };
    let all = scene.covering(ipnet::Ipv4Net::default());
    let default = all.into_iter().find(|route| outside(&route.target));
    match default {
        Some(route) => format!("ip route add {to} {}", target_words(&route.target)),
        None => format!("ip route get {to}"),
    }
}
