//! Faults of the way between capture interface and tunnel.

use api::doctor::CheckStatus;

use super::{examine, fault, faults, running, site_cloud, site_onprem};
use crate::doctor::{Runtime, doctor, query};
use crate::effective::RouteTarget;
use crate::observed::{ArpConflict, Route};
use crate::plan;
use crate::sysctl::{Sysctl, SysctlKey};
use crate::testing::*;

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

fn set(node: &mut Node, ifname: &str, key: SysctlKey, value: i32) {
    let sysctl = Sysctl::on(&name(ifname), key);
    node.kernel.host.sysctls.insert(sysctl, value);
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
fn nobody_has_listened_while_the_daemon_is_down() {
    let (mut node, effective) = site_onprem();
    let observed = node.look(&query(&effective));
    let plan = plan::plan(&effective, &observed, &node.ledger);
    let down = Runtime {
        daemon: false,
        ..running()
    };
    let report = doctor(Some("hybrid"), &effective, &observed, &plan, &down);
    let check = report.checks.iter().find(|c| c.code == "arp-conflict");
    assert_eq!(check.map(|c| c.status), Some(CheckStatus::Skip));
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
