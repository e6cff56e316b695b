//! WireGuard: MTU, peers, ports and keys.

use std::collections::BTreeSet;

use super::{texts, waits};
use crate::key::KeySource;
use crate::observed::{Build, PeerState};
use crate::plan::{Action, PeerChange};
use crate::testing::*;

#[test]
fn the_mtu_follows_the_underlay() {
    let mut kernel = cloud_host();
    let far = "192.0.2.9".parse().expect("address");
    kernel.path_mtu.insert(far, 1300);
    let mut node = Node::new(kernel);
    node.apply(&cloud());
    let mtu = |node: &Node| node.kernel.host.links[&name("wg-hybrid")].mtu;
    assert_eq!(mtu(&node), 1240);
    let clamp = |node: &Node| {
        let clamps = node.kernel.host.mss.as_ref().expect("table");
        clamps[&name("wg-hybrid")].v4
    };
    assert_eq!(clamp(&node), 1200);

    // No way to the peer for a while: nothing changes.
    node.kernel.host.routes.retain(|r| r.protocol != 16);
    node.apply(&cloud());
    assert_eq!(mtu(&node), 1240);

    // An MTU by hand is kept, but the clamp knows better.
    let mut by_hand = cloud();
    let tunnel = by_hand.wireguard.get_mut(&name("wg-hybrid"));
    tunnel.expect("there").mtu = Some(1420);
    let mut node = Node::new(cloud_host());
    node.kernel.path_mtu.insert(far, 1300);
    node.apply(&by_hand);
    assert_eq!((mtu(&node), clamp(&node)), (1420, 1200));
}

#[test]
fn the_mtu_for_peers_that_call_follows_the_default_route() {
    let mut kernel = cloud_host();
    let link = kernel.host.links.get_mut(&name("eth0"));
    link.expect("there").mtu = 1460;
    let mut wanted = cloud();
    for tunnel in wanted.wireguard.values_mut() {
        tunnel.peers.values_mut().for_each(|p| p.endpoint = None);
    }
    let mut node = Node::new(kernel);
    node.apply(&wanted);
    let mtu = |node: &Node| node.kernel.host.links[&name("wg-hybrid")].mtu;
    assert_eq!(mtu(&node), 1400);

    // No default route for a while: nothing changes.
    node.kernel.host.routes.retain(|r| r.protocol != 16);
    node.apply(&wanted);
    assert_eq!(mtu(&node), 1400);
}

#[test]
fn a_roaming_peer_is_left_alone_until_it_is_lost() {
    let mut node = Node::new(cloud_host());
    let mut wanted = cloud();
    node.apply(&wanted);
    let roam = |node: &mut Node, age: u64| {
        let device = node.kernel.host.wireguard.get_mut(&name("wg-hybrid"));
        let peer: &mut PeerState = device
            .expect("device")
            .peers
            .get_mut(&peer_key(7))
            .expect("peer");
        peer.endpoint = Some("203.0.113.5:40000".parse().expect("endpoint"));
        peer.handshake_age = Some(age);
    };
    roam(&mut node, 10);
    assert_eq!(node.plan(&wanted).steps, []);
    roam(&mut node, 300);
    assert_eq!(node.apply(&wanted).steps.len(), 1);

    // A new endpoint in the configuration is told even to a living peer.
    roam(&mut node, 10);
    let tunnel = wanted
        .wireguard
        .get_mut(&name("wg-hybrid"))
        .expect("tunnel");
    let peer = tunnel.peers.get_mut(&peer_key(7)).expect("peer");
    peer.endpoint = Some("192.0.2.77:51820".parse().expect("endpoint"));
    let plan = node.apply(&wanted);
    assert!(texts(&plan)[0].ends_with("endpoint 192.0.2.77:51820"));
}

#[test]
fn a_prefix_changes_peers_in_one_move() {
    let mut node = Node::new(cloud_host());
    let mut wanted = cloud();
    node.apply(&wanted);
    let tunnel = wanted
        .wireguard
        .get_mut(&name("wg-hybrid"))
        .expect("tunnel");
    let mut old = tunnel.peers.remove(&peer_key(7)).expect("peer");
    let mut new = old.clone();
    old.allowed_ips = BTreeSet::from([net("10.99.0.0/30")]);
    new.allowed_ips = BTreeSet::from([net("10.77.60.9/32")]);
    tunnel
        .peers
        .extend([(peer_key(7), old), (peer_key(8), new)]);
    let plan = node.apply(&wanted);
    let Action::SetWireGuard { change, .. } = &plan.steps[0].action else {
        panic!("{:?}", texts(&plan));
    };
    assert_eq!(change.peers.len(), 1, "the old peer loses it by itself");
    assert!(matches!(
        &change.peers[&peer_key(8)],
        PeerChange::Set { allowed_ips: Some(change), .. } if change.remove.is_empty()
    ));
}

#[test]
fn a_port_is_taken_over_from_a_tunnel_that_goes() {
    let mut node = Node::new(cloud_host());
    let mut wanted = cloud();
    node.apply(&wanted);
    let tunnel = wanted.wireguard.remove(&name("wg-hybrid")).expect("tunnel");
    wanted.wireguard.insert(name("wg-new"), tunnel);
    wanted.addresses.clear();
    wanted.delivery = [(name("wg-new"), wanted.delivery[&name("wg-hybrid")].clone())].into();
    for route in wanted.routes.values_mut() {
        route.target = via("wg-new");
    }
    for capture in wanted.captures.values_mut() {
        capture.tunnel = name("wg-new");
    }
    let plan = node.apply(&wanted);
    let texts = texts(&plan);
    let at = |text: &str| texts.iter().position(|t| t.contains(text)).expect(text);
    assert!(at("ip route replace 10.77.60.9/32 dev wg-new") < at("ip link delete wg-hybrid"));
    assert!(at("ip link delete wg-hybrid") < at("wg set wg-new listen-port 51820"));
    assert!(!texts.iter().any(|t| t.starts_with("ip route delete")));
}

/// Tunnels `wg-0`, `wg-1` … that listen on these ports.
fn listening(ports: &[Option<u16>]) -> crate::Effective {
    let mut wanted = cloud();
    let tunnel = wanted.wireguard.remove(&name("wg-hybrid")).expect("tunnel");
    wanted.addresses.clear();
    wanted.delivery.clear();
    wanted.routes.clear();
    wanted.captures.clear();
    for (number, port) in ports.iter().enumerate() {
        let mut tunnel = tunnel.clone();
        tunnel.peers.clear();
        tunnel.listen_port = *port;
        tunnel.private_key = KeySource::File(format!("/var/lib/routerd/keys/{number}").into());
        let ifname = name(&format!("wg-{number}"));
        wanted.wireguard.insert(ifname, tunnel);
    }
    wanted
}

/// The plan's changes of ports, after both configurations were applied one after the other.
fn port_changes(before: &[Option<u16>], after: &[Option<u16>]) -> Vec<String> {
    let mut node = Node::new(cloud_host());
    node.apply(&listening(before));
    // `apply` fails where the kernel refuses a step, and when something is left to do afterwards.
    let plan = node.apply(&listening(after));
    let changes = texts(&plan)
        .into_iter()
        .filter(|t| t.contains("listen-port"));
    changes.collect()
}

#[test]
fn two_living_tunnels_swap_their_ports() {
    let changes = port_changes(&[Some(51820), Some(51821)], &[Some(51821), Some(51820)]);
    assert_eq!(
        changes,
        [
            "wg set wg-0 listen-port 0",
            "wg set wg-1 listen-port 0",
            "wg set wg-0 listen-port 51821",
            "wg set wg-1 listen-port 51820",
        ]
    );
}

#[test]
fn ports_move_along_a_row_of_tunnels() {
    let [a, b, c, d] = [51820, 51821, 51822, 51823].map(Some);
    let changes = port_changes(&[a, b, c], &[b, c, d]);
    assert_eq!(
        changes,
        [
            "wg set wg-1 listen-port 0",
            "wg set wg-2 listen-port 51823",
            "wg set wg-0 listen-port 51821",
            "wg set wg-1 listen-port 51822",
        ]
    );
    // A ring, and a new tunnel on a port that an old one leaves.
    assert_eq!(port_changes(&[a, b, c], &[b, c, a]).len(), 6);
    assert_eq!(
        port_changes(&[a], &[b, a]),
        [
            "wg set wg-0 listen-port 51821",
            "wg set wg-1 private-key /var/lib/routerd/keys/1 listen-port 51820",
        ]
    );
}

#[test]
fn a_tunnel_on_a_random_port_makes_way() {
    let changes = port_changes(&[Some(51820)], &[None, Some(51820)]);
    assert_eq!(
        changes,
        [
            "wg set wg-0 listen-port 0",
            "wg set wg-1 private-key /var/lib/routerd/keys/1 listen-port 51820",
        ]
    );
}

#[test]
fn a_lost_key_file_does_not_change_the_key() {
    let mut node = Node::new(cloud_host());
    node.apply(&cloud());
    node.kernel.keys.clear();
    let plan = node.apply(&cloud());
    assert_eq!(plan.steps, []);
    assert!(waits(&plan)[0].contains("wg show wg-hybrid private-key > /var/lib/routerd"));
}

#[test]
fn preshared_keys_are_told_apart_by_their_print() {
    let psk = |path: &str| {
        let mut wanted = cloud();
        let tunnel = wanted
            .wireguard
            .get_mut(&name("wg-hybrid"))
            .expect("tunnel");
        let peer = tunnel.peers.get_mut(&peer_key(7)).expect("peer");
        peer.preshared_key = Some(path.into());
        wanted
    };
    let mut node = Node::new(cloud_host());
    assert!(
        waits(&node.apply(&psk("/a")))
            .iter()
            .any(|w| w.contains("/a: does not exist"))
    );
    for (path, seed) in [("/a", 1), ("/b", 2)] {
        let key = crate::key::SecretKey::from_bytes([seed; 32]);
        node.kernel.keys.insert(path.into(), key);
    }
    node.apply(&psk("/a"));
    assert_eq!(node.apply(&psk("/b")).steps.len(), 1);
    let plan = node.apply(&cloud());
    assert!(texts(&plan)[0].ends_with("preshared-key /dev/null"));
}

#[test]
fn a_process_of_another_build_is_taken_over_from_last_of_all() {
    let mut node = Node::new(cloud_host());
    node.apply(&cloud());
    let running = |node: &mut Node, build| {
        let device = node.kernel.host.wireguard.get_mut(&name("wg-hybrid"));
        device.expect("device").build = build;
    };
    running(&mut node, Build::Other);
    let mut wanted = cloud();
    let tunnel = wanted.wireguard.get_mut(&name("wg-hybrid"));
    tunnel.expect("tunnel").listen_port = Some(51_999);
    let plan = node.apply(&wanted);
    let take_over = "routerd tunnel wireguard --interface wg-hybrid --take-over";
    assert_eq!(
        texts(&plan),
        ["wg set wg-hybrid listen-port 51999", take_over]
    );
    assert_eq!(node.apply(&wanted).steps, []);

    running(&mut node, Build::Kept("no answer".to_owned()));
    let plan = node.apply(&wanted);
    assert_eq!(plan.steps, [], "it is left alone for a while");
    assert!(waits(&plan)[0].contains("runs on with another build of routerd: no answer"));
}
