//! Faults of tunnels and their peers.

use super::{fault, site_cloud, site_onprem};
use crate::key::SecretKey;
use crate::observed::Route;
use crate::plan::Action;
use crate::testing::*;

#[test]
fn peer_missing_on_the_device() {
    let key = peer_key(7);
    fault(
        site_cloud(),
        |node, _| {
            let device = node.kernel.host.wireguard.get_mut(&name("wg-hybrid"));
            device.expect("device").peers.clear();
        },
        &[&format!(
            "fail peer-handshake WireGuardPeer/other-site: peer {key} is missing on wg-hybrid\n     \
             fix: systemctl restart routerd"
        )],
    );
}

#[test]
fn wrong_peer_key() {
    fault(
        site_cloud(),
        |node, effective| {
            let tunnel = effective
                .wireguard
                .get_mut(&name("wg-hybrid"))
                .expect("tunnel");
            let peer = tunnel.peers.remove(&peer_key(7)).expect("peer");
            tunnel.peers.insert(peer_key(9), peer);
            node.settle(effective);
            let device = node.kernel.host.wireguard.get_mut(&name("wg-hybrid"));
            let peer = device
                .expect("device")
                .peers
                .get_mut(&peer_key(9))
                .expect("peer");
            peer.tx_bytes = 148;
        },
        &[&format!(
            "fail peer-handshake WireGuardPeer/other-site: no handshake yet with {}, nothing came back from \
             192.0.2.9:51820; the other side must have this key, and know {}\n     \
             fix: wg show wg-hybrid && tcpdump -c 6 -ni eth0 udp and host 192.0.2.9 and port 51820",
            peer_key(9),
            SecretKey::from_bytes([101; 32]).public_key(),
        )],
    );
}

#[test]
fn tunnel_gone_is_one_fault() {
    fault(
        site_onprem(),
        |node, _| node.kernel.delete_link(&name("wg-hybrid")).expect("there"),
        &[
            "fail overlay-interface WireGuardInterface/wg-hybrid: interface wg-hybrid does not exist\n     \
           fix: systemctl restart routerd",
        ],
    );
}

#[test]
fn tunnel_process_gone_is_one_fault() {
    fault(
        site_onprem(),
        |node, _| node.kernel.host.wireguard.clear(),
        &[
            "fail overlay-interface WireGuardInterface/wg-hybrid: nobody runs wg-hybrid: its tunnel process is \
           gone\n     fix: systemctl restart routerd",
        ],
    );
}

#[test]
fn tunnel_down_is_one_fault() {
    let down = Action::SetLink {
        ifname: name("wg-hybrid"),
        mtu: None,
        up: Some(false),
    };
    fault(
        site_onprem(),
        |node, _| node.kernel.apply_action(&down),
        &[
            "fail overlay-interface WireGuardInterface/wg-hybrid: interface wg-hybrid is down\n     \
           fix: ip link set wg-hybrid up",
        ],
    );
}

#[test]
fn tunnel_key_lost_or_swapped() {
    fault(
        site_cloud(),
        |node, _| {
            let other = SecretKey::from_bytes([44; 32]);
            node.kernel.keys.insert(KEY_FILE.into(), other);
        },
        &[&format!(
            "fail overlay-key WireGuardInterface/wg-hybrid: runs with public key {}, not with {} as it \
             should\n     fix: systemctl restart routerd",
            SecretKey::from_bytes([101; 32]).public_key(),
            SecretKey::from_bytes([44; 32]).public_key(),
        )],
    );
}

#[test]
fn no_way_to_the_peer() {
    fault(
        site_cloud(),
        |node, _| {
            node.kernel.host.routes.retain(|route| route.protocol != 16);
            peer_of(node).handshake_age = Some(500);
        },
        &[
            "fail overlay-endpoint WireGuardPeer/other-site: there is no route to its endpoint \
           192.0.2.9:51820\n     fix: ip route get 192.0.2.9",
        ],
    );
}

#[test]
fn endpoint_routed_into_the_tunnel() {
    let into = Route {
        key: route_key("192.0.2.0/24", 5),
        target: via("wg-hybrid"),
        preferred_source: None,
        protocol: 3,
    };
    fault(
        site_cloud(),
        |node, _| node.kernel.add_route(&into).expect("added"),
        &[
            "fail overlay-endpoint WireGuardPeer/other-site: the route to its endpoint 192.0.2.9:51820 leads \
           into wg-hybrid itself\n     fix: ip route add 192.0.2.9 via 10.77.60.1 dev eth0",
        ],
    );
}

#[test]
fn allowed_ip_taken_away() {
    fault(
        site_cloud(),
        |node, _| {
            peer_of(node).allowed_ips.remove(&net("10.77.60.9/32"));
        },
        &[&format!(
            "fail allowed-ips RemoteAddressClaim/claim-10-77-60-9: no peer of wg-hybrid may use \
             10.77.60.9/32\n     \
             fix: wg set wg-hybrid peer {} allowed-ips 10.77.60.9/32,10.99.0.0/30",
            peer_key(7)
        )],
    );
}

#[test]
fn mtu_larger_than_the_underlay() {
    fault(
        site_cloud(),
        |node, effective| {
            let tunnel = effective
                .wireguard
                .get_mut(&name("wg-hybrid"))
                .expect("tunnel");
            tunnel.mtu = Some(1420);
            let far = "192.0.2.9".parse().expect("address");
            node.kernel.path_mtu.insert(far, 1300);
            node.settle(effective);
        },
        &[
            "warn path-mtu WireGuardInterface/wg-hybrid: mtu 1420, but the underlay carries 1300: 1240 fit\n     \
           fix: ip link set wg-hybrid mtu 1240",
        ],
    );
}

#[test]
fn mtu_larger_than_what_a_peer_answers() {
    fault(
        site_cloud(),
        |node, effective| {
            let tunnel = effective.wireguard.get_mut(&name("wg-hybrid"));
            tunnel.expect("tunnel").mtu = Some(1420);
            let limits = &mut node.kernel.host.path_limits;
            limits.insert(name("wg-hybrid"), 1312);
            node.settle(effective);
        },
        &[
            "warn path-mtu WireGuardInterface/wg-hybrid: mtu 1420, but a peer answers nothing larger than 1312\n     \
           fix: ip link set wg-hybrid mtu 1312",
        ],
    );
}

#[test]
fn default_route_into_the_tunnel() {
    let half = Route {
        key: route_key("128.0.0.0/1", 0),
        target: via("wg-hybrid"),
        preferred_source: None,
        protocol: 3,
    };
    fault(
        site_onprem(),
        |node, _| node.kernel.add_route(&half).expect("added"),
        &[
            "fail overlay-endpoint WireGuardPeer/other-site: the route to its endpoint 192.0.2.4:51820 leads \
             into wg-hybrid itself\n     fix: ip route add 192.0.2.4 via 198.51.100.1 dev ens18",
            "fail default-route default route: everything leaves by the tunnel: 128.0.0.0/1 dev wg-hybrid\n     \
             fix: ip route delete 128.0.0.0/1 dev wg-hybrid metric 0",
        ],
    );
}
