//! One fault each on the two healthy sites of the seeds: the first line names it.

use std::collections::BTreeSet;
use std::path::Path;

use api::doctor::{CheckStatus, Report};
use proptest::prelude::*;

use super::checks::CHECKS;
use super::{Runtime, doctor, query};
use crate::Effective;
use crate::effective::RouteTarget;
use crate::key::SecretKey;
use crate::observed::*;
use crate::plan::tests::random;
use crate::plan::{self, Action};
use crate::sysctl::{Sysctl, SysctlKey};
use crate::testing::*;

fn running() -> Runtime {
    Runtime {
        daemon: true,
        generation: Some(1),
        last_error: None,
    }
}

fn examine(node: &mut Node, effective: &Effective, area: Option<&str>) -> Report {
    let observed = node.look(&query(effective));
    let plan = plan::plan(effective, &observed, &node.ledger);
    doctor(area, effective, &observed, &plan, &running())
}

/// A host whose firewall was read and holds nothing.
fn open_firewall(mut node: Node) -> Node {
    node.kernel.host.firewall = Some(Firewall::default());
    node
}

fn site_onprem() -> (Node, Effective) {
    (open_firewall(healthy_onprem()), onprem())
}

fn site_cloud() -> (Node, Effective) {
    (open_firewall(healthy_cloud()), cloud())
}

fn lines(report: &Report) -> Vec<String> {
    report.checks.iter().map(ToString::to_string).collect()
}

/// Everything that is wrong, in order.
fn faults(report: &Report) -> Vec<String> {
    let bad = |status| matches!(status, CheckStatus::Fail | CheckStatus::Warn);
    let faults = report.checks.iter().filter(|check| bad(check.status));
    faults.map(ToString::to_string).collect()
}

#[test]
fn a_healthy_cloud_site_prints_what_the_seeds_show() {
    let (mut node, effective) = site_cloud();
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=0 fail=0 skip=1"
    );
    let own = SecretKey::from_bytes([101; 32]).public_key();
    let expected = [
        "skip provider provider: provider state not observable yet: no executor",
        "pass overlay-interface WireGuardInterface/wg-hybrid: wg-hybrid is up, mtu 1440, driver user-space",
        &*format!("pass overlay-key WireGuardInterface/wg-hybrid: public key {own}"),
        "pass overlay-endpoint WireGuardPeer/other-site: 192.0.2.9:51820 dev eth0, path mtu 1500",
        "pass stale-table tables: no table routerd_* of a dead instance",
        "pass firewall-overlay WireGuardInterface/wg-hybrid: UDP port 51820 is not closed",
        "pass peer-handshake WireGuardPeer/other-site: latest handshake 10s ago",
        &*format!(
            "pass allowed-ips RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 goes to peer {}",
            peer_key(7)
        ),
        "pass capture-interface RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 is captured on eth0",
        "pass captured-address RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/32 absent from local interfaces",
        "pass delivery-route RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9 dev wg-hybrid metric 120",
        "pass route-choice RemoteAddressClaim/claim-10-77-60-9: the kernel sends 10.77.60.9/32 to wg-hybrid",
        "pass return-route wg-hybrid -> eth0: 10.77.60.0/24 leaves by eth0",
        "pass forwarding eth0: what comes in by eth0 is forwarded",
        "pass forwarding wg-hybrid: what comes in by wg-hybrid is forwarded",
        "pass firewall-forward eth0 <-> wg-hybrid: no rule ends the way of forwarded packets",
        "pass nat eth0 <-> wg-hybrid: no rule rewrites source or destination",
        "pass rp-filter eth0: not strict: 0",
        "pass rp-filter wg-hybrid: not strict: 0",
        "pass mss-clamp eth0 -> wg-hybrid: routerd_mss covers eth0 -> wg-hybrid",
        "pass path-mtu WireGuardInterface/wg-hybrid: mtu 1440, underlay carries 1500",
        "pass redirects eth0: no redirects are sent",
        "pass default-route default route: not through a tunnel: via 10.77.60.1 dev eth0",
    ];
    assert_eq!(lines(&report), expected);
}

#[test]
fn a_healthy_on_prem_site_passes_everything() {
    let (mut node, effective) = site_onprem();
    for area in [Some("hybrid"), None] {
        let report = examine(&mut node, &effective, area);
        assert_eq!(faults(&report), Vec::<String>::new());
        assert_eq!(report.summary.skip, 1);
    }
    let report = examine(&mut node, &effective, None);
    let ran: BTreeSet<_> = report
        .checks
        .iter()
        .map(|check| check.code.as_str())
        .collect();
    let all: BTreeSet<_> = CHECKS.iter().map(|check| check.code).collect();
    assert_eq!(ran, all, "every check says something about a healthy site");
}

/// Harms a healthy site and compares everything that doctor finds wrong.
fn fault(site: (Node, Effective), harm: impl FnOnce(&mut Node, &mut Effective), expected: &[&str]) {
    let (mut node, mut effective) = site;
    harm(&mut node, &mut effective);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), expected);
}

fn set(node: &mut Node, ifname: &str, key: SysctlKey, value: i32) {
    let sysctl = Sysctl::on(&name(ifname), key);
    node.kernel.host.sysctls.insert(sysctl, value);
}

#[test]
fn delivery_route_deleted() {
    fault(
        site_cloud(),
        |node, _| node.kernel.host.routes.retain(|r| r.protocol != 82),
        &[
            "fail delivery-route RemoteAddressClaim/claim-10-77-60-9: no route 10.77.60.9 dev wg-hybrid \
           metric 120\n     fix: ip route replace 10.77.60.9 dev wg-hybrid metric 120 proto 82",
        ],
    );
}

#[test]
fn delivery_route_replaced() {
    let thief = Route {
        key: route_key("10.77.60.9/32", 120),
        target: via("eth0"),
        preferred_source: None,
        protocol: 3,
    };
    fault(
        site_cloud(),
        |node, _| node.kernel.replace_route(&thief).expect("replaced"),
        &[
            "fail delivery-route RemoteAddressClaim/claim-10-77-60-9: no route 10.77.60.9 dev wg-hybrid \
           metric 120: in its place is one dev eth0 of protocol 3\n     \
           fix: ip route delete 10.77.60.9/32 dev eth0 metric 120",
        ],
    );
}

#[test]
fn better_foreign_route() {
    let better = |target, metric| Route {
        key: route_key("10.77.60.9/32", metric),
        target,
        preferred_source: None,
        protocol: 4,
    };
    fault(
        site_cloud(),
        |node, _| {
            node.kernel
                .add_route(&better(via("eth0"), 50))
                .expect("added")
        },
        &[
            "fail route-choice RemoteAddressClaim/claim-10-77-60-9: the kernel sends 10.77.60.9/32 to eth0, \
           not to wg-hybrid: the route 10.77.60.9/32 dev eth0 metric 50 of protocol 4 is better\n     \
           fix: ip route delete 10.77.60.9/32 dev eth0 metric 50",
        ],
    );
    fault(
        site_cloud(),
        |node, _| {
            let blackhole = better(RouteTarget::Blackhole, 7);
            node.kernel.add_route(&blackhole).expect("added");
        },
        &[
            "fail route-choice RemoteAddressClaim/claim-10-77-60-9: the kernel drops 10.77.60.9/32 instead of \
           sending it to wg-hybrid: the route blackhole 10.77.60.9/32 metric 7 of protocol 4 is better\n     \
           fix: ip route delete blackhole 10.77.60.9/32 metric 7",
        ],
    );
}

#[test]
fn proxy_neighbour_gone() {
    fault(
        site_onprem(),
        |node, _| node.kernel.host.proxy_neighbours.clear(),
        &[
            "fail proxy-neighbour RemoteAddressClaim/claim-10-77-60-7: nobody answers ARP for 10.77.60.7 on \
           ens21: no proxy neighbour\n     fix: ip neighbour add proxy 10.77.60.7 dev ens21 protocol 82",
        ],
    );
}

#[test]
fn mss_table_gone_or_altered() {
    let expected = |level: &str, state: &str| {
        format!(
            "{level} mss-clamp wg-hybrid: table inet routerd_mss {state}: TCP may hang where ping works\n     \
             fix: systemctl restart routerd"
        )
    };
    fault(
        site_cloud(),
        |node, _| {
            node.kernel.host.mss = None;
            node.kernel.host.tables.clear();
        },
        &[&expected("warn", "is missing")],
    );
    fault(
        site_cloud(),
        |node, _| node.kernel.host.mss = None,
        &[&expected("warn", "was altered")],
    );
}

#[test]
fn mss_table_gone_where_the_underlay_carries_less() {
    let (mut node, mut effective) = site_cloud();
    let tunnel = effective
        .wireguard
        .get_mut(&name("wg-hybrid"))
        .expect("tunnel");
    tunnel.mtu = Some(1420);
    let far = "192.0.2.9".parse().expect("address");
    node.kernel.path_mtu.insert(far, 1300);
    node.settle(&effective);
    node.kernel.host.mss = None;
    let faults = faults(&examine(&mut node, &effective, Some("hybrid")));
    assert!(
        faults[0].starts_with("fail mss-clamp wg-hybrid: "),
        "{faults:#?}"
    );
}

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
fn captured_address_on_the_os() {
    fault(
        site_cloud(),
        |node, _| {
            let added = node
                .kernel
                .add_address(&name("eth0"), net("10.77.60.9/24"), false);
            added.expect("added");
        },
        &[
            "fail captured-address RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/24 is on eth0 of this host, \
           which keeps its packets\n     fix: ip address delete 10.77.60.9/24 dev eth0",
        ],
    );
}

#[test]
fn captured_address_that_others_hang_on() {
    fault(
        site_cloud(),
        |node, _| {
            let eth0 = name("eth0");
            let removed = node.kernel.remove_address(&eth0, net("10.77.60.4/24"));
            removed.expect("there");
            for text in ["10.77.60.9/24", "10.77.60.4/24"] {
                node.kernel
                    .add_address(&eth0, net(text), false)
                    .expect("added");
            }
            let preferred = Some([10, 77, 60, 4].into());
            let routes = node.kernel.host.routes.iter_mut();
            routes.for_each(|route| {
                route.preferred_source = preferred.filter(|_| route.protocol == 16)
            });
        },
        &[
            "fail captured-address RemoteAddressClaim/claim-10-77-60-9: 10.77.60.9/24 is on eth0 of this host, \
           which keeps its packets\n     fix: sysctl -w net.ipv4.conf.eth0.promote_secondaries=1 && \
           ip address delete 10.77.60.9/24 dev eth0",
        ],
    );
}

#[test]
fn no_capture_interface() {
    fault(
        site_onprem(),
        |node, _| {
            let removed = node
                .kernel
                .remove_address(&name("ens21"), net("10.77.60.2/24"));
            removed.expect("there");
        },
        &[
            "fail capture-interface RemoteAddressClaim/claim-10-77-60-7: no capture interface: no interface \
           that is up has an address in 10.77.60.0/24: name one as capture.interface\n     \
           fix: ip -br address",
        ],
    );
}

#[test]
fn forwarding_off() {
    for ifname in ["ens21", "wg-hybrid"] {
        fault(
            site_onprem(),
            |node, _| set(node, ifname, SysctlKey::Forwarding, 0),
            &[&format!(
                "fail forwarding {ifname}: forwarding is off: net.ipv4.conf.{ifname}.forwarding=0\n     \
                 fix: sysctl -w net.ipv4.conf.{ifname}.forwarding=1"
            )],
        );
    }
}

#[test]
fn rp_filter_strict() {
    fault(
        site_cloud(),
        |node, _| set(node, "eth0", SysctlKey::RpFilter, 1),
        &[
            "fail rp-filter eth0: strict: net.ipv4.conf.eth0.rp_filter=1, all=0\n     \
           fix: sysctl -w net.ipv4.conf.eth0.rp_filter=2",
        ],
    );
}

#[test]
fn redirects_on_and_answers_late() {
    fault(
        site_onprem(),
        |node, _| {
            set(node, "ens21", SysctlKey::SendRedirects, 1);
            set(node, "ens21", SysctlKey::ProxyDelay, 80);
        },
        &[
            "warn proxy-delay ens21: proxied answers come up to 800 ms late\n     \
             fix: sysctl -w net.ipv4.neigh.ens21.proxy_delay=0",
            "warn redirects ens21: redirects teach clients a way around this router\n     \
             fix: sysctl -w net.ipv4.conf.ens21.send_redirects=0",
        ],
    );
}

#[test]
fn somebody_else_answers() {
    let conflict = ArpConflict {
        ifname: name("ens21"),
        mac: [2, 0, 0, 0, 0, 9],
        age: 3,
    };
    fault(
        site_onprem(),
        |node, _| {
            let conflicts = &mut node.kernel.host.arp_conflicts;
            conflicts.insert(mobile("10.77.60.7"), conflict);
        },
        &[
            "fail arp-conflict RemoteAddressClaim/claim-10-77-60-7: 02:00:00:00:00:09 answers for 10.77.60.7 on \
           ens21 too, heard 3s ago\n     fix: arping -D -c 3 -I ens21 10.77.60.7",
        ],
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

#[test]
fn return_by_another_interface() {
    fault(
        site_cloud(),
        |node, _| {
            node.kernel.add_link("eth9", "", true);
            let added = node
                .kernel
                .add_address(&name("eth9"), net("10.77.60.200/25"), false);
            added.expect("added");
            let removed = node
                .kernel
                .remove_address(&name("eth0"), net("10.77.60.4/24"));
            removed.expect("there");
            let added = node
                .kernel
                .add_address(&name("eth0"), net("10.77.60.4/32"), false);
            added.expect("added");
        },
        &[
            "fail capture-interface RemoteAddressClaim/claim-10-77-60-9: no capture interface: eth0 and eth9 \
           have an address in 10.77.60.0/24: name one as capture.interface\n     fix: ip -br address",
        ],
    );
    fault(
        site_onprem(),
        |node, effective| {
            for capture in effective.captures.values_mut() {
                capture.interface = Some(name("ens21"));
            }
            let removed = node
                .kernel
                .remove_address(&name("ens21"), net("10.77.60.2/24"));
            removed.expect("there");
            node.settle(effective);
        },
        &[
            "fail return-route wg-hybrid -> ens21: clients in 10.77.60.0/24 are looked for by 0.0.0.0/0 via \
           198.51.100.1 dev ens18\n     fix: ip route add 10.77.60.0/24 dev ens21",
        ],
    );
}

fn chain(family: &str, table: &str, chain: &str, hook: Hook) -> FirewallChain {
    FirewallChain {
        family: family.to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        hook,
        policy_drop: false,
        rules: Vec::new(),
    }
}

fn rule(verdict: Verdict, text: &str) -> FirewallRule {
    FirewallRule {
        iifname: None,
        oifname: None,
        source: None,
        destination: None,
        protocol: None,
        destination_port: None,
        ct_states: Vec::new(),
        other_matches: false,
        verdict,
        text: text.to_owned(),
    }
}

fn fence(node: &mut Node, chain: FirewallChain) {
    let firewall = node.kernel.host.firewall.get_or_insert_default();
    firewall.chains.push(chain);
}

const REJECT: &str = "counter reject with icmp type host-prohibited # handle 9";

#[test]
fn iptables_rejects_forwarding() {
    let mut forward = chain("ip", "filter", "FORWARD", Hook::Forward);
    forward.rules.push(rule(Verdict::Drop, REJECT));
    fault(
        site_cloud(),
        |node, _| fence(node, forward),
        &[
            "fail firewall-forward eth0 <-> wg-hybrid: packets both ways are dropped by ip filter FORWARD: \
           counter reject with icmp type host-prohibited # handle 9\n     \
           fix: iptables -I FORWARD 1 -i eth0 -o wg-hybrid -j ACCEPT && \
           iptables -I FORWARD 1 -i wg-hybrid -o eth0 -j ACCEPT",
        ],
    );
}

#[test]
fn nft_policy_drops_one_way() {
    let mut forward = chain("inet", "fw", "forward", Hook::Forward);
    forward.policy_drop = true;
    forward.rules.push(FirewallRule {
        ct_states: vec!["established".to_owned(), "related".to_owned()],
        ..rule(Verdict::Accept, "ct state established,related accept")
    });
    forward.rules.push(FirewallRule {
        iifname: Some("eth0".to_owned()),
        ..rule(Verdict::Accept, "iifname \"eth0\" accept")
    });
    fault(
        site_cloud(),
        |node, _| fence(node, forward),
        &[
            "fail firewall-forward eth0 <-> wg-hybrid: packets out of the tunnel are dropped by inet fw forward: \
           policy drop\n     \
           fix: nft insert rule inet fw forward iifname \"wg-hybrid\" oifname \"eth0\" accept",
        ],
    );
}

#[test]
fn a_rule_that_is_not_understood_makes_it_a_warning() {
    let mut forward = chain("inet", "fw", "forward", Hook::Forward);
    forward.policy_drop = true;
    forward.rules.push(FirewallRule {
        other_matches: true,
        ..rule(Verdict::Accept, "meta mark 0x1 accept")
    });
    let (mut node, effective) = site_cloud();
    fence(&mut node, forward);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=1 fail=0 skip=1"
    );
    assert!(faults(&report)[0].starts_with("warn firewall-forward"));
}

#[test]
fn firewalls_that_let_it_pass() {
    let mut forward = chain("ip", "filter", "FORWARD", Hook::Forward);
    forward.policy_drop = true;
    for (iif, oif) in [("eth0", "wg-hybrid"), ("wg-hybrid", "eth0")] {
        forward.rules.push(FirewallRule {
            iifname: Some(iif.to_owned()),
            oifname: Some(oif.to_owned()),
            ..rule(Verdict::Accept, "accept")
        });
    }
    forward.rules.push(rule(Verdict::Drop, "reject"));
    let mut other = chain("inet", "fw", "forward", Hook::Forward);
    other.rules.push(FirewallRule {
        source: Some("172.17.0.0/16".parse().expect("prefix")),
        ..rule(Verdict::Drop, "ip saddr 172.17.0.0/16 drop")
    });
    other.rules.push(FirewallRule {
        ct_states: vec!["invalid".to_owned()],
        ..rule(Verdict::Drop, "ct state invalid drop")
    });
    let v6 = FirewallChain {
        policy_drop: true,
        ..chain("ip6", "filter", "FORWARD", Hook::Forward)
    };
    fault(
        site_cloud(),
        |node, _| {
            [forward, other, v6]
                .into_iter()
                .for_each(|chain| fence(node, chain))
        },
        &[],
    );
}

#[test]
fn the_overlay_port_is_closed() {
    let closed = || {
        let mut input = chain("ip", "filter", "INPUT", Hook::Input);
        input.rules.push(rule(Verdict::Drop, REJECT));
        input
    };
    fault(
        site_cloud(),
        |node, _| fence(node, closed()),
        &[
            "fail firewall-overlay WireGuardInterface/wg-hybrid: UDP port 51820 is closed by ip filter INPUT: \
           counter reject with icmp type host-prohibited # handle 9\n     \
           fix: iptables -I INPUT 1 -p udp --dport 51820 -j ACCEPT",
        ],
    );
    let mut answers_pass = closed();
    let established = FirewallRule {
        ct_states: vec!["established".to_owned()],
        ..rule(Verdict::Accept, "ct state established accept")
    };
    answers_pass.rules.insert(0, established);
    let (mut node, effective) = site_cloud();
    fence(&mut node, answers_pass);
    let report = examine(&mut node, &effective, Some("hybrid"));
    let summary = report.summary.to_string();
    assert_eq!(summary, "overall=pass warn=1 fail=0 skip=1");
    peer_of(&mut node).handshake_age = None;
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert!(faults(&report)[0].starts_with("fail firewall-overlay"));
}

#[test]
fn a_port_that_other_rules_are_about_is_closed_all_the_same() {
    // The stock image of a cloud: established, icmp, lo and ssh come in, the rest is rejected.
    let mut input = chain("ip", "filter", "INPUT", Hook::Input);
    let only = |protocol: &str, port| FirewallRule {
        protocol: Some(protocol.to_owned()),
        destination_port: port,
        ..rule(Verdict::Accept, "accept")
    };
    input.rules = vec![
        FirewallRule {
            ct_states: vec!["related".to_owned(), "established".to_owned()],
            ..rule(Verdict::Accept, "accept")
        },
        only("icmp", None),
        only("tcp", Some(22)),
        only("udp", Some(53)),
        rule(Verdict::Drop, REJECT),
    ];
    let (mut node, effective) = site_cloud();
    fence(&mut node, input.clone());
    peer_of(&mut node).handshake_age = None;
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert!(faults(&report)[0].starts_with("fail firewall-overlay"));

    input.rules.insert(3, only("udp", Some(51820)));
    let (mut node, effective) = site_cloud();
    fence(&mut node, input);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), Vec::<String>::new());
}

#[test]
fn masquerading_towards_the_lan() {
    let masquerade = |oif: &str| {
        let mut chain = chain("ip", "nat", "POSTROUTING", Hook::Postrouting);
        chain.rules.push(FirewallRule {
            oifname: Some(oif.to_owned()),
            ..rule(Verdict::Translate, "oifname \"eth0\" masquerade # handle 4")
        });
        chain
    };
    fault(
        site_cloud(),
        |node, _| fence(node, masquerade("eth0")),
        &[
            "warn nat eth0 <-> wg-hybrid: addresses are rewritten by ip nat POSTROUTING: oifname \"eth0\" \
           masquerade # handle 4\n     \
           fix: iptables -t nat -I POSTROUTING 1 -s 10.77.60.0/24 -d 10.77.60.0/24 -j ACCEPT",
        ],
    );
    fault(
        site_cloud(),
        |node, _| fence(node, masquerade("docker0")),
        &[],
    );
}

#[test]
fn stale_tables() {
    let table = |node: &mut Node| {
        node.kernel.host.tables.push(NftTable {
            family: "inet".to_owned(),
            name: "routerd_filter".to_owned(),
            comment: None,
        });
    };
    fault(
        site_cloud(),
        |node, _| table(node),
        &[
            "warn stale-table table inet routerd_filter: belongs to no running routerd\n     \
           fix: nft delete table inet routerd_filter",
        ],
    );
    let mut forward = chain("inet", "routerd_filter", "forward", Hook::Forward);
    forward.policy_drop = true;
    fault(
        site_cloud(),
        |node, _| {
            table(node);
            fence(node, forward);
        },
        &[
            "fail stale-table table inet routerd_filter: belongs to no running routerd and drops what passes \
           here: inet routerd_filter forward: policy drop\n     fix: nft delete table inet routerd_filter",
        ],
    );
}

#[test]
fn routerd_itself() {
    let (mut node, effective) = site_cloud();
    node.kernel.host.proxy_neighbours.clear();
    node.kernel.host.routes.retain(|route| route.protocol != 82);
    let observed = node.look(&query(&effective));
    let plan = plan::plan(&effective, &observed, &node.ledger);
    let dead = Runtime::default();
    let report = doctor(None, &effective, &observed, &plan, &dead);
    let codes = report.checks.iter().map(|check| check.code.as_str());
    let codes: Vec<_> = codes.take(4).collect();
    assert_eq!(codes, ["delivery-route", "daemon", "generation", "drift"]);
    let failing = Runtime {
        last_error: Some("add route: Operation not permitted".to_owned()),
        ..running()
    };
    let report = doctor(Some("runtime"), &effective, &observed, &plan, &failing);
    assert_eq!(report.checks[0].code, "reconcile");
}

#[test]
fn many_alike_are_one_line() {
    let mut effective = onprem();
    for i in 20..40 {
        claim(&mut effective, &format!("10.77.60.{i}"), proxy_arp());
    }
    let mut node = Node::new(onprem_host());
    node.settle(&effective);
    peer_of(&mut node).handshake_age = Some(1);
    let mut node = open_firewall(node);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(faults(&report), Vec::<String>::new());
    let routes = lines(&report)
        .into_iter()
        .filter(|line| line.contains("delivery-route"));
    assert_eq!(
        routes.collect::<Vec<_>>(),
        ["pass delivery-route wg-hybrid: 10.77.60.7 dev wg-hybrid metric 120 and 20 more"]
    );
    node.kernel.host.routes.retain(|route| route.protocol != 82);
    let faults = faults(&examine(&mut node, &effective, Some("hybrid")));
    assert_eq!(faults.len(), 6, "{faults:#?}");
    assert!(faults[5].starts_with("fail delivery-route wg-hybrid: and 16 more like these"));
}

#[test]
fn nothing_configured_is_healthy() {
    let (mut node, _) = site_cloud();
    let effective = Effective::default();
    node.settle(&effective);
    let report = examine(&mut node, &effective, Some("hybrid"));
    assert_eq!(
        report.summary.to_string(),
        "overall=pass warn=0 fail=0 skip=1"
    );
}

#[test]
fn every_code_has_its_page() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/doctor");
    let mut pages = BTreeSet::new();
    for check in CHECKS {
        let file = docs.join(format!("{}.md", check.code));
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        for part in [
            &*format!("# {}\n", check.code),
            "## What it means\n",
            "## How it happens\n",
            "## How to fix it\n",
        ] {
            assert!(text.contains(part), "{} lacks {part:?}", file.display());
        }
        pages.insert(file);
    }
    assert_eq!(pages.len(), CHECKS.len(), "codes are unique");
    for entry in std::fs::read_dir(docs).expect("docs/doctor") {
        let path = entry.expect("entry").path();
        let known = path.ends_with("README.md")
            || pages
                .iter()
                .any(|page| page.file_name() == path.file_name());
        assert!(known, "{} is the page of no check", path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn doctor_never_panics_and_every_fault_has_a_remedy(
        kernel in random::host(true),
        effective in random::effective(),
    ) {
        let mut node = Node::new(kernel);
        for _ in 0..2 {
            let report = examine(&mut node, &effective, None);
            for check in &report.checks {
                let wrong = matches!(check.status, CheckStatus::Fail | CheckStatus::Warn);
                prop_assert_eq!(wrong, check.remedy.is_some());
            }
            node.settle(&effective);
        }
    }
}
