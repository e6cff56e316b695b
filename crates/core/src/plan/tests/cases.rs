//! One situation each, on the two sites of the seeds.

use super::{texts, waits};
use crate::effective::{CaptureMethod, Effective, RouteIntent, RouteTarget};
use crate::ledger::{Changed, LinkRecord};
use crate::observed::{NftTable, Route};
use crate::plan::{Action, Plan};
use crate::sysctl::{Sysctl, SysctlKey};
use crate::testing::*;

fn lines(plan: &Plan) -> Vec<String> {
    plan.view().steps.iter().map(ToString::to_string).collect()
}

#[test]
fn the_cloud_site_from_scratch() {
    let mut node = Node::new(cloud_host());
    let plan = node.apply(&cloud());
    let peer = peer_key(7);
    let expected = [
        "+ wg genkey > /var/lib/routerd/keys/wg-hybrid.key  (WireGuardInterface/wg-hybrid)".to_owned(),
        "+ routerd tunnel wireguard --interface wg-hybrid  (WireGuardInterface/wg-hybrid)".to_owned(),
        format!(
            "~ wg set wg-hybrid private-key /var/lib/routerd/keys/wg-hybrid.key listen-port 51820 \
             peer {peer} endpoint 192.0.2.9:51820 persistent-keepalive 25 \
             allowed-ips +10.77.60.9/32,+10.99.0.0/30  (WireGuardInterface/wg-hybrid)"
        ),
        "~ ip link set wg-hybrid mtu 1440 up  (WireGuardInterface/wg-hybrid)".to_owned(),
        "+ ip address add 10.99.0.1/30 dev wg-hybrid  (WireGuardInterface/wg-hybrid)".to_owned(),
        "~ sysctl net.ipv4.conf.all.send_redirects=0 (was 1)  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
        "~ sysctl net.ipv4.conf.eth0.forwarding=1 (was 0)  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
        "~ sysctl net.ipv4.conf.eth0.send_redirects=0 (was 1)  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
        "~ sysctl net.ipv4.conf.wg-hybrid.forwarding=1 (was 0)  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
        "~ nft table inet routerd_mss: maxseg of wg-hybrid 1400 (IPv6 1380)  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
        "+ ip route add 10.77.60.9/32 dev wg-hybrid metric 120 proto 82  (RemoteAddressClaim/claim-10-77-60-9)".to_owned(),
    ];
    assert_eq!(lines(&plan), expected);
    assert_eq!(plan.waiting, []);
}

#[test]
fn the_on_prem_site_answers_arp_last_and_stops_first() {
    let mut node = Node::new(onprem_host());
    let before = node.kernel.host.clone();
    let plan = node.apply(&onprem());
    let last = texts(&plan).pop();
    assert_eq!(
        last.as_deref(),
        Some("ip neighbour add proxy 10.77.60.7 dev ens21 protocol 82")
    );

    let away = node.apply(&Effective::default());
    let expected = [
        "ip neighbour delete proxy 10.77.60.7 dev ens21",
        "ip route delete 10.77.60.7/32 dev wg-hybrid metric 120 proto 82",
        "nft delete table inet routerd_mss",
        "sysctl net.ipv4.conf.all.send_redirects=1 (was 0)",
        "sysctl net.ipv4.conf.ens21.forwarding=0 (was 1)",
        "sysctl net.ipv4.conf.ens21.send_redirects=1 (was 0)",
        "sysctl net.ipv4.neigh.ens21.proxy_delay=80 (was 0)",
        "ip link delete wg-hybrid",
    ];
    assert_eq!(texts(&away), expected);
    assert_eq!(node.kernel.host, before);
    assert_eq!(node.ledger, crate::Ledger::default());
}

#[test]
fn everything_that_drifts_comes_back() {
    let mut node = Node::new(onprem_host());
    let wanted = onprem();
    node.apply(&wanted);
    let tunnel = name("wg-hybrid");
    let route_gone = |node: &mut Node| node.kernel.host.routes.retain(|r| r.protocol != 82);
    type Harm<'a> = &'a dyn Fn(&mut Node);
    let cases: [(&str, Harm<'_>, usize); 7] = [
        ("route deleted", &route_gone, 1),
        (
            "proxy neighbour deleted",
            &|n| n.kernel.host.proxy_neighbours.clear(),
            1,
        ),
        ("table altered", &|n| n.kernel.host.mss = None, 1),
        (
            "tunnel down",
            &|n| {
                let down = Action::SetLink {
                    ifname: name("wg-hybrid"),
                    mtu: None,
                    up: Some(false),
                };
                n.kernel.apply_action(&down);
            },
            2,
        ),
        (
            "process died",
            &|n| {
                n.kernel.host.wireguard.clear();
            },
            2,
        ),
        (
            "link deleted",
            &|n| {
                n.kernel.delete_link(&name("wg-hybrid")).expect("there");
            },
            6,
        ),
        (
            "forwarding off",
            &|n| {
                let sysctl = Sysctl::on(&name("ens21"), SysctlKey::Forwarding);
                n.kernel.host.sysctls.insert(sysctl, 0);
            },
            1,
        ),
    ];
    for (what, harm, steps) in cases {
        let whole = node.kernel.host.clone();
        harm(&mut node);
        let plan = node.apply(&wanted);
        assert_eq!(plan.steps.len(), steps, "{what}: {:?}", texts(&plan));
        assert_eq!(node.kernel.host.routes, whole.routes, "{what}");
        assert_eq!(node.kernel.host.wireguard, whole.wireguard, "{what}");
    }
    assert!(node.kernel.host.links.contains_key(&tunnel));
}

#[test]
fn a_route_of_ours_that_was_replaced_is_put_back() {
    let mut node = Node::new(cloud_host());
    node.apply(&cloud());
    let thief = Route {
        key: route_key("10.77.60.9/32", 120),
        target: via("eth0"),
        preferred_source: None,
        protocol: 3,
    };
    node.kernel.replace_route(&thief).expect("replaced");
    let plan = node.apply(&cloud());
    assert_eq!(
        texts(&plan),
        ["ip route replace 10.77.60.9/32 dev wg-hybrid metric 120 proto 82"]
    );
}

#[test]
fn a_foreign_route_that_was_there_first_stays() {
    let mut node = Node::new(cloud_host());
    let foreign = Route {
        key: route_key("10.77.60.9/32", 120),
        target: via("eth0"),
        preferred_source: None,
        protocol: 4,
    };
    node.kernel.add_route(&foreign).expect("added");
    let plan = node.apply(&cloud());
    assert_eq!(
        waits(&plan),
        [
            "… RemoteAddressClaim/claim-10-77-60-9 waits: a route of protocol 4 is in the way: \
          10.77.60.9/32 dev eth0 metric 120"
        ]
    );
    assert!(node.kernel.host.routes.contains(&foreign));
}

#[test]
fn a_claim_of_the_way_out_waits_and_others_do_not() {
    let mut node = Node::new(onprem_host());
    let mut effective = onprem();
    claim(&mut effective, "10.77.60.1", proxy_arp());
    let way_out = Route {
        key: route_key("0.0.0.0/0", 50),
        target: RouteTarget::Unicast {
            device: Some(name("ens21")),
            gateway: Some([10, 77, 60, 1].into()),
        },
        preferred_source: None,
        protocol: 4,
    };
    node.kernel.add_route(&way_out).expect("added");
    let plan = node.apply(&effective);
    let reason = "10.77.60.1 is this host's own gateway (0.0.0.0/0 via 10.77.60.1 dev ens21): claimed from \
                  another site, it would take this host's way out along; remove the claim, or the route";
    let owner = "RemoteAddressClaim/claim-10-77-60-1";
    assert_eq!(waits(&plan), [format!("… {owner} waits: {reason}")]);
    let by_ip = |text: &&String| text.starts_with("ip ");
    let texts_of_ip = texts(&plan);
    let mut texts_of_ip = texts_of_ip.iter().filter(by_ip);
    assert!(texts_of_ip.all(|text| !text.contains("10.77.60.1 ") && !text.contains("10.77.60.1/")));
    assert!(
        texts(&plan)
            .iter()
            .any(|text| text.contains("proxy 10.77.60.7"))
    );
    // Once it is a client like any other.
    node.kernel.host.routes.retain(|route| *route != way_out);
    let plan = node.apply(&effective);
    assert_eq!(plan.waiting, []);
    assert!(
        texts(&plan)
            .iter()
            .any(|text| text.contains("proxy 10.77.60.1"))
    );
}

#[test]
fn a_foreign_interface_of_that_name_is_never_touched() {
    let mut kernel = cloud_host();
    kernel.add_link("wg-hybrid", "wireguard", true);
    let mut node = Node::new(kernel);
    let before = node.kernel.host.clone();
    let plan = node.apply(&cloud());
    assert_eq!(plan.steps, []);
    assert_eq!(plan.waiting.len(), 2, "{:?}", waits(&plan));
    assert_eq!(node.kernel.host, before);
}

#[test]
fn the_guest_agent_loses_each_time() {
    let mut node = Node::new(cloud_host());
    node.apply(&cloud());
    for agents_form in ["10.77.60.9/24", "10.77.60.9/32"] {
        let eth0 = name("eth0");
        let added = node.kernel.add_address(&eth0, net(agents_form), false);
        added.expect("agent");
        let plan = node.apply(&cloud());
        assert_eq!(
            texts(&plan),
            [format!("ip address delete {agents_form} dev eth0")]
        );
    }
}

#[test]
fn an_address_that_the_router_lives_on_is_not_removed() {
    // The agent came first: the captured address is the primary one of the subnet, and removing it would
    // take the router's own address with it.
    let mut kernel = crate::fake::FakeKernel::new();
    kernel.add_link("eth0", "", true);
    for text in ["10.77.60.9/24", "10.77.60.4/24"] {
        let added = kernel.add_address(&name("eth0"), net(text), false);
        added.expect("added");
    }
    let mut node = Node::new(kernel);
    let plan = node.apply(&cloud());
    assert_eq!(
        waits(&plan),
        [
            "… RemoteAddressClaim/claim-10-77-60-9 waits: 10.77.60.9/24 stays on eth0: it is the primary \
          address of 10.77.60.0/24"
        ]
    );
    assert_eq!(node.kernel.host.addresses.len(), 3);
}

#[test]
fn the_capture_interface_is_found_or_asked_for() {
    let mut none = Node::new(crate::fake::FakeKernel::new());
    let plan = none.apply(&cloud());
    assert!(waits(&plan)[0].contains("no interface that is up has an address in 10.77.60.0/24"));

    let mut kernel = cloud_host();
    kernel.add_link("eth1", "", true);
    let added = kernel.add_address(&name("eth1"), net("10.77.60.5/24"), false);
    added.expect("added");
    let plan = Node::new(kernel).plan(&cloud());
    assert!(waits(&plan)[0].contains("eth0 and eth1 have an address in 10.77.60.0/24"));
}

#[test]
fn what_an_operator_set_after_us_is_his() {
    let mut kernel = onprem_host();
    let ens21 = name("ens21");
    let forwarding = Sysctl::on(&ens21, SysctlKey::Forwarding);
    let rp_filter = Sysctl::on(&ens21, SysctlKey::RpFilter);
    kernel.host.sysctls.insert(rp_filter.clone(), 1);
    let mut node = Node::new(kernel);
    node.apply(&onprem());
    assert_eq!(
        node.ledger.sysctls[&rp_filter],
        Changed { prior: 1, set: 2 }
    );
    // Docker switches forwarding on for the whole host; somebody turns reverse path filtering off.
    let global = Sysctl::all(SysctlKey::Forwarding);
    node.kernel.host.sysctls.insert(global, 1);
    node.kernel.host.sysctls.insert(rp_filter.clone(), 0);
    node.apply(&Effective::default());
    assert_eq!(node.kernel.host.sysctls[&forwarding], 1);
    assert_eq!(node.kernel.host.sysctls[&rp_filter], 0);
    assert_eq!(node.ledger, crate::Ledger::default());
}

#[test]
fn a_managed_link_gets_its_mtu_and_state_back() {
    let mut kernel = cloud_host();
    kernel.add_link("eth1", "", false);
    let before = kernel.host.clone();
    let mut node = Node::new(kernel);
    let mut wanted = Effective::default();
    let intent = crate::effective::InterfaceIntent {
        owner: id("Interface", "eth1"),
        managed: true,
        mtu: Some(9000),
    };
    wanted.interfaces.insert(name("eth1"), intent);
    assert_eq!(
        texts(&node.apply(&wanted)),
        ["ip link set eth1 mtu 9000 up"]
    );
    let adopted = |record: &LinkRecord| matches!(record, LinkRecord::Adopted { .. });
    assert!(node.ledger.links.values().all(adopted));
    assert_eq!(
        texts(&node.apply(&Effective::default())),
        ["ip link set eth1 mtu 1500 down"]
    );
    assert_eq!(node.kernel.host, before);

    // Somebody moved in: the link stays up.
    node.apply(&wanted);
    let added = node
        .kernel
        .add_address(&name("eth1"), net("192.168.5.1/24"), false);
    added.expect("added");
    assert_eq!(
        texts(&node.apply(&Effective::default())),
        ["ip link set eth1 mtu 1500"]
    );
}

#[test]
fn a_foreign_secondary_outlives_our_primary() {
    let mut node = Node::new(cloud_host());
    node.kernel.add_link("eth1", "", true);
    let eth1 = name("eth1");
    let mut wanted = Effective::default();
    let owner = id("IPv4StaticAddress", "lan");
    let place = (eth1.clone(), net("192.168.5.1/24"));
    wanted
        .addresses
        .insert(place, crate::effective::AddressIntent { owner });
    node.apply(&wanted);
    let added = node.kernel.add_address(&eth1, net("192.168.5.9/24"), false);
    added.expect("added");
    let plan = node.apply(&Effective::default());
    assert_eq!(plan.steps.len(), 3, "{:?}", texts(&plan));
    let left = node
        .kernel
        .host
        .addresses
        .iter()
        .filter(|a| a.ifname == eth1);
    assert_eq!(
        left.map(|a| a.net).collect::<Vec<_>>(),
        [net("192.168.5.9/24")]
    );
    let promote = Sysctl::on(&eth1, SysctlKey::PromoteSecondaries);
    assert_eq!(node.kernel.host.sysctls[&promote], 0);
}

#[test]
fn gateways_need_a_network() {
    let mut node = Node::new(cloud_host());
    let mut wanted = Effective::default();
    let route = |gateway: &str| RouteIntent {
        owner: id("IPv4Route", "lab"),
        target: RouteTarget::Unicast {
            device: None,
            gateway: Some(gateway.parse().expect("gateway")),
        },
        preferred_source: None,
    };
    wanted
        .routes
        .insert(route_key("172.16.0.0/12", 0), route("10.77.60.200"));
    wanted
        .routes
        .insert(route_key("172.31.0.0/16", 0), route("192.168.1.1"));
    let plan = node.apply(&wanted);
    assert_eq!(
        texts(&plan),
        ["ip route add 172.16.0.0/12 via 10.77.60.200 dev eth0 metric 0 proto 82"]
    );
    assert!(waits(&plan)[0].contains("gateway 192.168.1.1 of 172.31.0.0/16 is not on any"));
}

#[test]
fn a_foreign_mss_table_is_named_not_replaced() {
    let mut kernel = cloud_host();
    let foreign = NftTable {
        family: "inet".to_owned(),
        name: "routerd_mss".to_owned(),
        comment: None,
    };
    kernel.host.tables.push(foreign.clone());
    let mut node = Node::new(kernel);
    let plan = node.apply(&cloud());
    assert!(waits(&plan)[0].contains("nft delete table inet routerd_mss"));
    assert_eq!(node.kernel.host.tables, [foreign]);
}

#[test]
fn ten_thousand_captures_plan_in_linear_time() {
    let mut wanted = onprem();
    for i in 0..10_000u32 {
        let [_, _, c, d] = i.to_be_bytes();
        claim(
            &mut wanted,
            &format!("10.77.{c}.{d}"),
            CaptureMethod::ProxyArp { gratuitous: true },
        );
    }
    for capture in wanted.captures.values_mut() {
        capture.domain = "10.77.0.0/16".parse().expect("prefix");
    }
    let mut node = Node::new(onprem_host());
    let plan = node.plan(&wanted);
    assert!(plan.steps.len() > 20_000);
}
