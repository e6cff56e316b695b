//! The forwarding rules of design/providers.md, one test each.
//!
//! ```text
//! network 10.77.0.0/16
//!   subnet a 10.77.60.0/24:  router .4 (public 20.46.113.237, forwarding)   client .7
//!   subnet b 10.77.61.0/24:  far .7
//! ```

use super::super::header::{Flow, protocol};
use super::super::routes::{Route, RouteTarget};
use super::super::security::{Access, SecurityRule};
use super::super::state::{Cloud, NicAddress, RouteTableId, StateError, Subnet, SubnetId};
use super::*;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 4);
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 7);
const CAPTURED: Ipv4Addr = Ipv4Addr::new(10, 77, 60, 9);
const FAR: Ipv4Addr = Ipv4Addr::new(10, 77, 61, 7);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(20, 46, 113, 237);
const ONPREM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 99, 9, 10);

const CLOUDS: [Cloud; 4] = [Cloud::Aws, Cloud::Azure, Cloud::Oci, Cloud::Gcp];

fn net(text: &str) -> ipnet::Ipv4Net {
    text.parse().expect("prefix")
}

fn allow(remote: &str, protocol: Option<u8>, ports: Option<(u16, u16)>) -> SecurityRule {
    SecurityRule {
        name: format!("from-{remote}"),
        priority: 100,
        direction: Direction::Inbound,
        access: Access::Allow,
        protocol,
        remote: net(remote),
        ports,
    }
}

fn nic(subnet: &str, address: Ipv4Addr, forwarding: bool, public: Option<Ipv4Addr>) -> Nic {
    Nic {
        subnet: subnet.into(),
        mac: [2, 0, 0, 0, 0, address.octets()[3]],
        addresses: vec![NicAddress {
            name: "primary".into(),
            address,
            public,
        }],
        forwarding,
        rules: vec!["members".into()],
    }
}

fn network(cloud: Cloud) -> FabricState {
    let mut state = FabricState::new(cloud, vec![net("10.77.0.0/16")]);
    state.put_rule_set(
        "members".into(),
        vec![
            allow("10.0.0.0/8", None, None),
            allow("0.0.0.0/0", Some(protocol::UDP), Some((51820, 51820))),
        ],
    );
    state.add_route_table("table".into());
    for (id, prefix) in [("a", "10.77.60.0/24"), ("b", "10.77.61.0/24")] {
        let subnet = Subnet {
            prefix: net(prefix),
            route_table: Some("table".into()),
            rules: Vec::new(),
            hybrid: false,
        };
        state.add_subnet(id.into(), subnet).expect("subnet");
    }
    for (id, new) in [
        ("router", nic("a", ROUTER, true, Some(PUBLIC))),
        ("client", nic("a", CLIENT, false, None)),
        ("far", nic("b", FAR, false, None)),
    ] {
        state.add_nic(id.into(), new).expect("nic");
    }
    state
}

fn route(state: &mut FabricState, prefix: &str, target: RouteTarget) -> Result<(), StateError> {
    let route = Route {
        prefix: net(prefix),
        target,
        priority: 0,
    };
    state.put_route(&RouteTableId::from("table"), prefix, route)
}

fn capture(state: &mut FabricState) {
    let address = NicAddress {
        name: "capture".into(),
        address: CAPTURED,
        public: None,
    };
    let router = NicId::from("router");
    state.assign(&router, address, false).expect("assign");
}

fn packet(source: Ipv4Addr, destination: Ipv4Addr) -> Header {
    Header {
        flow: Flow {
            protocol: protocol::UDP,
            source,
            source_port: 40000,
            destination,
            destination_port: 51820,
        },
        quoted: None,
    }
}

fn sent(state: &FabricState, from: &str, source: Ipv4Addr, destination: Ipv4Addr) -> Verdict {
    let origin = Origin::Nic(from.into());
    let header = packet(source, destination);
    decide(
        state,
        &FlowTable::default(),
        &origin,
        &header,
        Duration::ZERO,
    )
}

fn deliver(nic: &str, destination: Ipv4Addr) -> Verdict {
    Verdict::Deliver {
        nic: nic.into(),
        destination,
    }
}

#[test]
fn a_secondary_address_brings_packets_to_the_router() {
    for cloud in CLOUDS {
        let mut state = network(cloud);
        let drop = Verdict::Drop(DropReason::AddressNotAssigned);
        assert_eq!(sent(&state, "client", CLIENT, CAPTURED), drop, "{cloud}");
        capture(&mut state);
        let taken = deliver("router", CAPTURED);
        assert_eq!(sent(&state, "client", CLIENT, CAPTURED), taken, "{cloud}");
    }
}

#[test]
fn without_the_forwarding_flag_a_router_neither_sends_nor_receives_for_others() {
    for cloud in CLOUDS {
        let mut state = network(cloud);
        let answer = deliver("client", CLIENT);
        assert_eq!(sent(&state, "router", CAPTURED, CLIENT), answer, "{cloud}");
        let was = state.set_forwarding(&"router".into(), false);
        assert_eq!(was, Ok(true));
        let drop = Verdict::Drop(DropReason::SourceNotOfNic);
        assert_eq!(sent(&state, "router", CAPTURED, CLIENT), drop, "{cloud}");
    }
    let mut state = network(Cloud::Azure);
    let to_router = RouteTarget::Address(ROUTER);
    route(&mut state, "10.99.9.10/32", to_router).expect("route");
    state.set_forwarding(&"router".into(), false).expect("flag");
    let drop = Verdict::Drop(DropReason::DestinationNotOfNic);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), drop);
}

#[test]
fn an_address_assigned_to_a_nic_without_the_flag_arrives_but_nothing_comes_back() {
    let mut state = network(Cloud::Aws);
    capture(&mut state);
    state.set_forwarding(&"router".into(), false).expect("flag");
    let arrives = deliver("router", CAPTURED);
    assert_eq!(sent(&state, "client", CLIENT, CAPTURED), arrives);
    // On-prem's other addresses are not the NIC's own.
    let drop = Verdict::Drop(DropReason::SourceNotOfNic);
    assert_eq!(sent(&state, "router", ELSEWHERE, CLIENT), drop);
}

#[test]
fn aws_refuses_a_host_route_inside_the_vpc_and_takes_one_outside() {
    let mut state = network(Cloud::Aws);
    let router = || RouteTarget::Nic("router".into());
    let refused = route(&mut state, "10.77.60.9/32", router());
    assert!(matches!(refused, Err(StateError::RouteRefused { .. })));
    route(&mut state, "10.99.9.10/32", router()).expect("outside");
    let taken = deliver("router", ELSEWHERE);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), taken);
    // A whole subnet may be steered through an appliance, but not from inside that subnet.
    route(&mut state, "10.77.61.0/24", router()).expect("whole subnet");
    assert_eq!(sent(&state, "client", CLIENT, FAR), deliver("router", FAR));
    assert_eq!(
        sent(&state, "router", ROUTER, CLIENT),
        deliver("client", CLIENT)
    );
}

#[test]
fn azure_prefers_a_users_host_route_even_inside_the_subnet() {
    let mut state = network(Cloud::Azure);
    let to_router = || RouteTarget::Address(ROUTER);
    route(&mut state, "10.77.60.9/32", to_router()).expect("same subnet");
    let taken = deliver("router", CAPTURED);
    assert_eq!(sent(&state, "client", CLIENT, CAPTURED), taken);
    // A tie between a user's route and the system's goes to the user.
    route(&mut state, "10.77.0.0/16", to_router()).expect("whole network");
    assert_eq!(sent(&state, "client", CLIENT, FAR), deliver("router", FAR));
    // Private space that is not the network's own goes nowhere.
    let drop = Verdict::Drop(DropReason::RouteToNothing);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), drop);
}

#[test]
fn oci_never_consults_the_table_inside_a_subnet() {
    let mut state = network(Cloud::Oci);
    let to_router = || RouteTarget::Address(ROUTER);
    route(&mut state, "10.77.60.9/32", to_router()).expect("rule");
    let drop = Verdict::Drop(DropReason::AddressNotAssigned);
    assert_eq!(sent(&state, "client", CLIENT, CAPTURED), drop);
    // From another subnet the rule counts.
    let taken = deliver("router", CAPTURED);
    assert_eq!(sent(&state, "far", FAR, CAPTURED), taken);
}

#[test]
fn oci_leaves_a_black_hole_when_the_target_private_ip_goes() {
    let mut state = network(Cloud::Oci);
    capture(&mut state);
    let target = RouteTarget::Address(CAPTURED);
    route(&mut state, "10.99.9.10/32", target).expect("rule");
    let taken = deliver("router", ELSEWHERE);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), taken);
    state.unassign(&"router".into(), CAPTURED).expect("gone");
    let drop = Verdict::Drop(DropReason::RouteTargetGone);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), drop);
}

#[test]
fn gcp_takes_static_routes_into_a_subnets_range_only_where_it_is_hybrid() {
    let mut state = network(Cloud::Gcp);
    let router = || RouteTarget::Nic("router".into());
    let refused = route(&mut state, "10.77.60.9/32", router());
    assert!(matches!(refused, Err(StateError::RouteRefused { .. })));
    route(&mut state, "10.99.9.10/32", router()).expect("outside");
    let hybrid = Subnet {
        prefix: net("10.77.62.0/24"),
        route_table: Some("table".into()),
        rules: Vec::new(),
        hybrid: true,
    };
    state
        .add_subnet(SubnetId::from("h"), hybrid)
        .expect("subnet");
    route(&mut state, "10.77.62.9/32", router()).expect("hybrid");
    let elsewhere = Ipv4Addr::new(10, 77, 62, 9);
    let taken = deliver("router", elsewhere);
    assert_eq!(sent(&state, "client", CLIENT, elsewhere), taken);
}

#[test]
fn gcp_takes_the_lowest_priority_among_equal_routes() {
    let mut state = network(Cloud::Gcp);
    for (name, nic, priority) in [("slow", "client", 1000), ("fast", "router", 100)] {
        let route = Route {
            prefix: net("10.99.9.10/32"),
            target: RouteTarget::Nic(nic.into()),
            priority,
        };
        state
            .put_route(&"table".into(), name, route)
            .expect("route");
    }
    let taken = deliver("router", ELSEWHERE);
    assert_eq!(sent(&state, "client", CLIENT, ELSEWHERE), taken);
}

#[test]
fn inbound_is_denied_unless_a_rule_or_a_conversation_allows_it() {
    for cloud in CLOUDS {
        let mut state = network(cloud);
        let internet = RouteTarget::Internet;
        route(&mut state, "0.0.0.0/0", internet).expect("default route");
        let mut flows = FlowTable::default();
        let mut inbound = packet(ONPREM, PUBLIC);
        let arrive = |flows: &FlowTable, header: &Header, at: u64| {
            let now = Duration::from_secs(at);
            decide(&state, flows, &Origin::Internet, header, now)
        };
        let delivered = deliver("router", ROUTER);
        assert_eq!(arrive(&flows, &inbound, 0), delivered, "{cloud}: rule");
        inbound.flow.destination_port = 40001;
        let denied = Verdict::Drop(DropReason::SecurityInbound);
        assert_eq!(arrive(&flows, &inbound, 0), denied, "{cloud}: default");
        let mut outbound = packet(ROUTER, ONPREM).flow;
        outbound.source_port = 40001;
        outbound.destination_port = 40000;
        flows.note(&"router".into(), outbound, Duration::ZERO);
        assert_eq!(arrive(&flows, &inbound, 179), delivered, "{cloud}: answer");
        assert_eq!(arrive(&flows, &inbound, 181), denied, "{cloud}: expired");
    }
}

#[test]
fn an_error_about_a_known_conversation_gets_in() {
    let state = network(Cloud::Aws);
    let mut flows = FlowTable::default();
    let outbound = packet(ROUTER, ONPREM).flow;
    flows.note(&"router".into(), outbound, Duration::ZERO);
    let mut seen_outside = outbound;
    seen_outside.source = PUBLIC;
    let mut error = packet(Ipv4Addr::new(203, 0, 113, 1), PUBLIC);
    error.flow.protocol = protocol::ICMP;
    error.flow.destination_port = 0;
    let arrive =
        |header: &Header| decide(&state, &flows, &Origin::Internet, header, Duration::ZERO);
    let denied = Verdict::Drop(DropReason::SecurityInbound);
    assert_eq!(arrive(&error), denied);
    error.quoted = Some(seen_outside);
    assert_eq!(arrive(&error), deliver("router", ROUTER));
}

#[test]
fn azure_asks_the_subnets_group_and_the_nics() {
    let mut state = network(Cloud::Azure);
    state.put_rule_set("subnet".into(), vec![allow("192.0.2.0/24", None, None)]);
    let gated = Subnet {
        prefix: net("10.77.63.0/24"),
        route_table: None,
        rules: vec!["subnet".into()],
        hybrid: false,
    };
    state.add_subnet("g".into(), gated).expect("subnet");
    let address = Ipv4Addr::new(10, 77, 63, 7);
    let new = nic("g", address, false, None);
    state.add_nic("gated".into(), new).expect("nic");
    let denied = Verdict::Drop(DropReason::SecurityInbound);
    assert_eq!(sent(&state, "client", CLIENT, address), denied);
    let both = vec![allow("10.0.0.0/8", None, None)];
    state.put_rule_set("subnet".into(), both);
    let delivered = deliver("gated", address);
    assert_eq!(sent(&state, "client", CLIENT, address), delivered);
}

#[test]
fn only_an_address_with_a_public_one_leaves_for_the_internet() {
    for cloud in CLOUDS {
        let mut state = network(cloud);
        let internet = RouteTarget::Internet;
        route(&mut state, "0.0.0.0/0", internet).expect("default route");
        let out = Verdict::Internet { source: PUBLIC };
        assert_eq!(sent(&state, "router", ROUTER, ONPREM), out, "{cloud}");
        let drop = Verdict::Drop(DropReason::NoPublicAddress);
        assert_eq!(sent(&state, "client", CLIENT, ONPREM), drop, "{cloud}");
        assert_eq!(sent(&state, "router", CAPTURED, ONPREM), drop, "{cloud}");
    }
}

#[test]
fn metadata_and_broadcast() {
    let state = network(Cloud::Azure);
    assert_eq!(sent(&state, "client", CLIENT, METADATA), Verdict::Metadata);
    let drop = Verdict::Drop(DropReason::NoBroadcastDomain);
    assert_eq!(sent(&state, "client", CLIENT, Ipv4Addr::BROADCAST), drop);
}

#[test]
fn an_address_has_one_holder() {
    let mut state = network(Cloud::Aws);
    capture(&mut state);
    let again = NicAddress {
        name: String::new(),
        address: CAPTURED,
        public: None,
    };
    let client = NicId::from("client");
    let held = state.assign(&client, again.clone(), false);
    assert!(matches!(held, Err(StateError::Held { .. })));
    state.assign(&client, again, true).expect("reassignment");
    assert_eq!(state.holder(CAPTURED), Some(&client));
    assert!(!state.nics()[&NicId::from("router")].holds(CAPTURED));
    let primary = state.unassign(&client, CLIENT);
    assert!(matches!(primary, Err(StateError::Primary { .. })));
}

#[test]
fn reserved_and_foreign_addresses_are_refused() {
    for (cloud, refused) in [
        (Cloud::Aws, "10.77.60.3"),
        (Cloud::Azure, "10.77.60.255"),
        (Cloud::Oci, "10.77.60.1"),
        (Cloud::Gcp, "10.77.60.254"),
        (Cloud::Aws, "10.77.61.9"),
    ] {
        let mut state = network(cloud);
        let new = NicAddress {
            name: String::new(),
            address: refused.parse().expect("address"),
            public: None,
        };
        let outcome = state.assign(&"client".into(), new, false);
        assert!(
            matches!(outcome, Err(StateError::NotInSubnet { .. })),
            "{cloud} {refused}"
        );
    }
}
