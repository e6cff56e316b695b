//! The host firewall lets the overlay's own packets in.

use api::IfName;

use super::hybrid;
use crate::doctor::findings::{Entry, Findings, Thing};
use crate::doctor::firewall::{Block, Flow, judge};
use crate::doctor::scene::Scene;
use crate::effective::WireGuardIntent;
use crate::observed::{Firewall, FirewallChain, Hook, WireGuardDevice};
use crate::status::is_alive;

pub(super) const CHECK: Entry = hybrid("firewall-overlay", check);

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let Some(firewall) = &scene.host.observed.firewall else {
        return;
    };
    for (tunnel, intent) in &scene.effective.wireguard {
        let device = scene.host.observed.wireguard.get(tunnel);
        if let Some(device) = device.filter(|_| !findings.is_link_broken(tunnel)) {
            check_tunnel(tunnel, intent, device, firewall, scene, findings);
        }
    }
}

fn check_tunnel(
    tunnel: &IfName,
    intent: &WireGuardIntent,
    device: &WireGuardDevice,
    firewall: &Firewall,
    scene: &Scene<'_>,
    findings: &mut Findings,
) {
    let port = device.listen_port;
    let Some(block) = block(intent, port, false, firewall, scene) else {
        let detail = format!("UDP port {port} is not closed");
        return findings.pass(&intent.owner, detail);
    };
    let accept = block.accept(
        &format!("-p udp --dport {port}"),
        &format!("udp dport {port}"),
    );
    let detail = format!("UDP port {port} is closed by {}", block.words());
    // A session that this side opened may live behind a closed port, if answers come in. One that the peer has
    // to open cannot.
    let answers = self::block(intent, port, true, firewall, scene);
    let lost = device.peers.values().any(|peer| !is_alive(peer));
    if block.certain && (lost || answers.is_some_and(|block| block.certain)) {
        findings.fail(&intent.owner, detail, accept);
        findings.breaks(Thing::Sessions(tunnel.clone()));
    } else {
        let detail = format!("{detail}; peers cannot open a session from their side");
        findings.warn(&intent.owner, detail, accept);
    }
}

/// What keeps out packets of peers, their first ones or answers, on any interface that leads to one.
fn block<'a>(
    intent: &WireGuardIntent,
    port: u16,
    established: bool,
    firewall: &'a Firewall,
    scene: &Scene<'_>,
) -> Option<Block<'a>> {
    let endpoints = intent.peers.values().filter_map(|peer| peer.endpoint);
    let lookups = &scene.host.observed.lookups;
    let ways = endpoints.filter_map(|endpoint| lookups.get(&endpoint.ip()));
    let mut devices: Vec<_> = ways.map(|way| Some(way.device.as_str())).collect();
    if devices.is_empty() {
        devices.push(None);
    }
    let hook = |chain: &&FirewallChain| chain.hook == Hook::Input;
    let mut blocks = firewall.chains.iter().filter(hook).flat_map(|chain| {
        devices.iter().filter_map(move |iif| {
            let flow = Flow {
                iif: *iif,
                udp_dport: Some(port),
                established,
                ..Flow::default()
            };
            judge(chain, &flow)
        })
    });
    blocks.next()
}
