//! Sessions with peers stand.

use api::IfName;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::scene::{RESTART, Scene};
use crate::effective::WireGuardPeerIntent;
use crate::key::PublicKey;
use crate::observed::{PeerState, WireGuardDevice};
use crate::plan::DEAD_AFTER;

pub(super) const CHECK: Entry = hybrid("peer-handshake", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    for (tunnel, intent) in &scene.effective.wireguard {
        let blocked =
            findings.is_link_broken(tunnel) || findings.is_broken(&Thing::Sessions(tunnel.clone()));
        let device = scene.host.observed.wireguard.get(tunnel);
        let Some(device) = device.filter(|_| !blocked) else {
            continue;
        };
        for (public_key, peer) in &intent.peers {
            if !findings.is_broken(&Thing::Session(tunnel.clone(), *public_key)) {
                check_peer(tunnel, public_key, peer, device, scene, findings);
            }
        }
    }
}

fn check_peer(
    tunnel: &IfName,
    public_key: &PublicKey,
    intent: &WireGuardPeerIntent,
    device: &WireGuardDevice,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let Some(peer) = device.peers.get(public_key) else {
        let detail = format!("peer {public_key} is missing on {tunnel}");
        return findings.fail(&intent.owner, detail, RESTART);
    };
    let kept_alive = peer.persistent_keepalive != 0;
    match peer.handshake_age {
        Some(age) if age < DEAD_AFTER => {
            findings.pass(&intent.owner, format!("latest handshake {age}s ago"));
        }
        Some(age) if !kept_alive => {
            findings.pass(&intent.owner, format!("idle, latest handshake {age}s ago"));
        }
        age => {
            let since = age.map_or("no handshake yet".to_owned(), |age| {
                format!("no handshake for {age}s")
            });
            let ours = device
                .public_key
                .map_or(String::new(), |key| key.to_string());
            let traces = traces(peer);
            let detail = format!(
                "{since} with {public_key}, {traces}; the other side must have this key, and know {ours}"
            );
            if let Some(first) = scene.effective.striped(tunnel) {
                let detail = format!(
                    "stripe {tunnel}: {since} with {public_key}, {traces}; the others carry its flows; the other side \
                     needs as many stripes as {first} has here, and an open port for each"
                );
                return findings.warn(&intent.owner, detail, listen(tunnel, peer, device, scene));
            }
            findings.fail(&intent.owner, detail, listen(tunnel, peer, device, scene));
        }
    }
}

/// What was seen of the peer, and what that means.
fn traces(peer: &PeerState) -> String {
    match (peer.endpoint, peer.rx_bytes) {
        (None, _) => "which never called and has no endpoint".to_owned(),
        (Some(endpoint), 0) => format!("nothing came back from {endpoint}"),
        (Some(endpoint), _) => format!("last heard at {endpoint}"),
    }
}

/// The command that shows whether packets leave and come back.
fn listen(
    tunnel: &IfName,
    peer: &PeerState,
    device: &WireGuardDevice,
    scene: &Scene<'_>,
) -> String {
    let port = device.listen_port;
    let Some(endpoint) = peer.endpoint else {
        return format!("tcpdump -ni any udp port {port}");
    };
    let way = scene.host.observed.lookups.get(&endpoint.ip());
    let on = way.map_or("any", |way| way.device.as_str());
    let filter = format!(
        "udp and host {} and port {}",
        endpoint.ip(),
        endpoint.port()
    );
    format!("wg show {tunnel} && tcpdump -c 6 -ni {on} {filter}")
}
