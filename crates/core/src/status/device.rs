//! Interfaces and tunnels.

use api::IfName;
use serde_json::{Value, json};

use super::{About, Reports, Scene};
use crate::effective::{WireGuardIntent, WireGuardPeerIntent};
use crate::host::Host;
use crate::observed::{Link, PeerState, WireGuardDevice};
use crate::path_mtu::PathTarget;
use crate::plan::{DEAD_AFTER, Underlay, underlay_path_mtu};

pub(super) fn report_interfaces<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (ifname, intent) in &scene.effective.interfaces {
        let about = reports.about(&intent.owner);
        let Some(link) = scene.host.link(ifname) else {
            continue;
        };
        about.say(format!("{}, mtu {}", state(link), link.mtu));
        about.fact("ifname", ifname.as_str());
        about.fact("mtu", link.mtu);
        about.fact("up", link.up);
        about.fact("carrier", link.carrier);
        if let Some(mac) = link.mac {
            about.fact("macAddress", mac_words(mac));
        }
        let nets = scene.host.addresses(ifname).iter();
        about.fact(
            "addresses",
            nets.map(|a| a.net.to_string()).collect::<Vec<_>>(),
        );
    }
}

fn state(link: &Link) -> &'static str {
    match (link.up, link.carrier) {
        (true, true) => "up",
        (true, false) => "up, no carrier",
        (false, _) => "down",
    }
}

/// `02:00:00:00:00:01`.
pub(crate) fn mac_words(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

pub(super) fn report_tunnels<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (ifname, intent) in &scene.effective.wireguard {
        if scene.effective.striped(ifname).is_some() {
            continue;
        }
        let device = scene.host.observed.wireguard.get(ifname);
        let about = reports.about(&intent.owner);
        about.fact("ifname", ifname.as_str());
        if let Some(stripes) = scene.effective.stripes.get(ifname) {
            report_stripes(ifname, stripes, scene.host, about);
        }
        if let Some(link) = scene.host.link(ifname) {
            about.fact("mtu", link.mtu);
        }
        report_underlay(ifname, intent, scene.host, about);
        if let Some(device) = device {
            report_device(device, about);
        }
        if let (Some(link), Some(device)) = (scene.host.link(ifname), device) {
            let alive = device.peers.values().filter(|peer| is_alive(peer)).count();
            let all = device.peers.len();
            let state = state(link);
            about.say(format!(
                "{state}, mtu {}, {alive} of {all} peers alive",
                link.mtu
            ));
        }
        for (public_key, peer) in &intent.peers {
            let state = device.and_then(|device| device.peers.get(public_key));
            if let Some(state) = state {
                report_peer(peer, state, reports.about(&peer.owner));
            }
        }
    }
}

/// How many stripes there are, and those with a session to each peer.
fn report_stripes(first: &IfName, others: &[IfName], host: &Host<'_>, about: &mut About) {
    let all = std::iter::once(first).chain(others);
    let alive = all.filter(|ifname| {
        let device = host.observed.wireguard.get(*ifname);
        device.is_some_and(|device| device.peers.values().all(is_alive))
    });
    let alive: Vec<_> = alive.map(IfName::as_str).collect();
    about.fact("stripes", others.len() + 1);
    about.fact("stripesAlive", json!(alive));
}

pub(super) fn report_plain_tunnels<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (ifname, intent) in &scene.effective.plain_tunnels {
        let about = reports.about(&intent.owner);
        about.fact("ifname", ifname.as_str());
        about.fact("mode", intent.encapsulation.word());
        let link = scene.host.link(ifname);
        if let Some(link) = link {
            about.fact("mtu", link.mtu);
        }
        if let Some(carries) = scene.desired.plain.get(ifname).and_then(|w| w.carries) {
            about.fact("underlayPMTU", carries);
        }
        let Some(device) = scene.host.observed.plain_tunnels.get(ifname) else {
            continue;
        };
        about.fact("driver", json!(device.driver));
        about.fact("local", device.tunnel.local.to_string());
        about.fact("remote", device.tunnel.remote.to_string());
        if let Some(link) = link {
            let (state, mtu) = (state(link), link.mtu);
            about.say(format!("{state}, mtu {mtu}, to {}", device.tunnel.remote));
        }
    }
}

/// What the tunnel takes and what was measured to each peer.
pub(super) fn report_paths<'a>(scene: &Scene<'a>, reports: &mut Reports<'a>) {
    for (ifname, peers) in &scene.effective.inside {
        for (inside, owner) in peers {
            let target = PathTarget {
                ifname: ifname.clone(),
                inside: *inside,
            };
            let about = reports.about(owner);
            if let Some(link) = scene.host.link(ifname) {
                about.fact("tunnelMTU", link.mtu);
            }
            if let Some(measured) = scene.host.observed.path_mtus.get(&target) {
                about.fact("pathMTU", *measured);
            }
        }
    }
}

fn report_underlay(ifname: &IfName, intent: &WireGuardIntent, host: &Host<'_>, about: &mut About) {
    match underlay_path_mtu(ifname, intent, host) {
        Underlay::Known { path, .. } => about.fact("underlayPMTU", path),
        Underlay::NoRoute => about.problem("there is no route to any peer"),
        Underlay::Loop => about.problem("the route to its peer leads into the tunnel itself"),
        Underlay::NoEndpoint => {}
    }
}

fn report_device(device: &WireGuardDevice, about: &mut About) {
    let public_key = device.public_key.map(|key| key.to_string());
    about.fact("publicKey", public_key.map_or(Value::Null, Value::from));
    about.fact("driver", json!(device.driver));
    about.fact("listenPort", device.listen_port);
}

fn report_peer(intent: &WireGuardPeerIntent, peer: &PeerState, about: &mut About) {
    if let Some(endpoint) = peer.endpoint {
        about.fact("endpoint", endpoint.to_string());
    }
    let allowed = peer.allowed_ips.iter().map(ToString::to_string);
    about.fact("allowedIPs", allowed.collect::<Vec<_>>());
    about.fact("receivedBytes", peer.rx_bytes);
    about.fact("sentBytes", peer.tx_bytes);
    if let Some(age) = peer.handshake_age {
        about.fact("latestHandshake", format!("{age}s"));
        about.say(format!("latest handshake {age}s ago"));
    }
    match peer.handshake_age {
        None if intent.endpoint.is_some() => about.problem("no handshake yet"),
        None => about.say("has not called yet"),
        Some(age) if age >= DEAD_AFTER && peer.persistent_keepalive != 0 => {
            about.problem(format!("no handshake for {age}s"));
        }
        Some(_) => {}
    }
}

/// Whether a session with a peer stands.
pub(crate) fn is_alive(peer: &PeerState) -> bool {
    peer.handshake_age.is_some_and(|age| age < DEAD_AFTER)
}
