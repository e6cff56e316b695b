//! Random hosts and configurations from a universe small enough for things to collide.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::effective::*;
use crate::fake::FakeKernel;
use crate::key::{KeySource, SecretKey};
use crate::observed::{Driver, NftTable, ProxyNeighbour, Route};
use crate::plan::Action;
use crate::sysctl::{Sysctl, SysctlKey};
use crate::testing::*;
use crate::{Effective, OWNER_MARK, OWNER_PROTOCOL};

const LANS: [&str; 3] = ["eth0", "eth1", "eth2"];
const TUNNELS: [&str; 2] = ["wg-a", "wg-b"];
const CAPTURED: [&str; 3] = ["10.77.60.7", "10.77.60.9", "10.77.60.11"];
const ADDRESSES: [&str; 8] = [
    "10.77.60.4/24",
    "10.77.60.5/24",
    "10.77.60.9/24",
    "10.77.60.9/32",
    "10.77.60.7/32",
    "192.168.1.1/24",
    "192.168.1.2/24",
    "198.51.100.2/24",
];

/// Something somebody else, or an earlier routerd, did to the host.
#[derive(Debug, Clone)]
pub(crate) enum Deed {
    Address(&'static str, &'static str, bool),
    Route(&'static str, u32, Option<&'static str>, &'static str, u8),
    Proxy(&'static str, &'static str, bool),
    Setting(Option<&'static str>, SysctlKey, i32),
    Table(&'static str, bool),
    Link(&'static str, bool),
    OldTunnel,
    KeyFile(&'static str, u8),
    PathMtu(u32),
}

pub(crate) fn deed(owned: bool) -> impl Strategy<Value = Deed> {
    let own = move || {
        if owned {
            any::<bool>().boxed()
        } else {
            Just(false).boxed()
        }
    };
    let protocol = select(if owned {
        vec![3, 4, 16, OWNER_PROTOCOL]
    } else {
        vec![3, 4, 16]
    });
    let destination = select(vec![
        "0.0.0.0/0",
        "10.77.60.9/32",
        "10.77.60.7/32",
        "172.16.0.0/12",
    ]);
    let gateway = option::of(select(vec!["10.77.60.1", "192.168.1.254", "198.51.100.1"]));
    let key = select(SysctlKey::EVERY.to_vec());
    let table = select(vec!["filter", "routerd_filter", "routerd_mss"]);
    prop_oneof![
        6 => (select(&LANS[..]), select(&ADDRESSES[..]), own()).prop_map(|(l, a, o)| Deed::Address(l, a, o)),
        3 => (destination, select(vec![0, 100, 120]), gateway, select(&LANS[..]), protocol)
            .prop_map(|(d, m, g, l, p)| Deed::Route(d, m, g, l, p)),
        2 => (select(&LANS[..]), select(&CAPTURED[..]), own()).prop_map(|(l, a, o)| Deed::Proxy(l, a, o)),
        6 => (option::of(select(&LANS[..])), key, 0..3i32).prop_map(|(l, k, v)| Deed::Setting(l, k, v)),
        1 => (table, own()).prop_map(|(t, o)| Deed::Table(t, o)),
        1 => (select(vec!["wg-a", "tap0"]), any::<bool>()).prop_map(|(l, up)| Deed::Link(l, up)),
        1 => own().prop_map(|o| if o { Deed::OldTunnel } else { Deed::PathMtu(1400) }),
        1 => (select(vec!["/psk", "/wg-a.key"]), 50..60u8).prop_map(|(p, s)| Deed::KeyFile(p, s)),
        1 => (1280..9000u32).prop_map(Deed::PathMtu),
    ]
}

/// A host that others made; with leftovers of an earlier routerd if `owned`.
pub(crate) fn host(owned: bool) -> impl Strategy<Value = FakeKernel> {
    (
        vec(any::<bool>(), 3),
        any::<bool>(),
        vec(deed(owned), 0..30),
    )
        .prop_map(|(up, module, deeds)| {
            let mut kernel = FakeKernel::new();
            kernel.host.features.kernel_wireguard = module;
            for (lan, up) in LANS.into_iter().zip(up) {
                kernel.add_link(lan, "", up);
            }
            deeds
                .into_iter()
                .for_each(|deed| perform(&mut kernel, deed));
            kernel
        })
}

/// Does it, if the kernel lets it.
pub(crate) fn perform(kernel: &mut FakeKernel, deed: Deed) {
    match deed {
        Deed::Address(link, address, owned) => {
            let _ = kernel.add_address(&name(link), net(address), owned);
        }
        Deed::Route(destination, metric, gateway, link, protocol) => {
            let _ = kernel.add_route(&Route {
                key: route_key(destination, metric),
                target: RouteTarget::Unicast {
                    device: Some(name(link)),
                    gateway: gateway.map(|text| text.parse().expect("gateway")),
                },
                preferred_source: None,
                protocol,
            });
        }
        Deed::Proxy(link, address, owned) => {
            let proxy = ProxyNeighbour {
                ifname: name(link),
                address: mobile(address).addr(),
                owned,
            };
            let taken = ProxyNeighbour {
                owned: !owned,
                ..proxy.clone()
            };
            if !kernel.host.proxy_neighbours.contains(&taken) {
                kernel.host.proxy_neighbours.insert(proxy);
            }
        }
        Deed::Setting(link, key, value) => {
            let sysctl = match link {
                Some(link) => Sysctl::on(&name(link), key),
                None => Sysctl::all(key),
            };
            let value = if key == SysctlKey::RpFilter {
                value
            } else {
                value.min(1)
            };
            kernel
                .host
                .sysctls
                .entry(sysctl)
                .and_modify(|slot| *slot = value);
        }
        Deed::Table(table, owned) => add_table(kernel, table, owned),
        Deed::Link(link, up) => {
            if !kernel.host.links.contains_key(&name(link)) {
                kernel.add_link(link, "tun", up);
            }
        }
        Deed::OldTunnel => kernel.apply_action(&Action::CreateWireGuard {
            ifname: name("wg-old"),
            driver: Driver::UserSpace,
        }),
        Deed::KeyFile(path, seed) => {
            kernel
                .keys
                .insert(path.into(), SecretKey::from_bytes([seed; 32]));
        }
        Deed::PathMtu(mtu) => {
            kernel.path_mtu.insert([198, 51, 100, 9].into(), mtu);
        }
    }
}

fn add_table(kernel: &mut FakeKernel, table: &str, owned: bool) {
    let table = NftTable {
        family: "inet".to_owned(),
        name: table.to_owned(),
        comment: owned.then(|| OWNER_MARK.to_owned()),
    };
    if !kernel.host.tables.iter().any(|t| t.name == table.name) {
        kernel.host.tables.push(table);
    }
}

fn method() -> impl Strategy<Value = CaptureMethod> {
    prop_oneof![
        any::<bool>().prop_map(|gratuitous| CaptureMethod::ProxyArp { gratuitous }),
        Just(secondary_ip()),
        Just(CaptureMethod::RouteTable { provider: None }),
    ]
}

fn capture() -> impl Strategy<Value = (MobileAddressText, CaptureIntent)> {
    let interface = option::of(select(vec!["eth0", "eth1", "eth9"]));
    (
        select(&CAPTURED[..]),
        method(),
        interface,
        select(&TUNNELS[..]),
    )
        .prop_map(|(address, method, interface, tunnel)| {
            let intent = CaptureIntent {
                owner: id("RemoteAddressClaim", address),
                domain: "10.77.60.0/24".parse().expect("prefix"),
                interface: interface.map(name),
                tunnel: name(tunnel),
                delivery: DeliveryIntent::Route,
                method,
            };
            (address, intent)
        })
}

type MobileAddressText = &'static str;

fn peer() -> impl Strategy<Value = WireGuardPeerIntent> {
    let prefix = select(vec![
        "10.77.60.7/32",
        "10.77.60.9/32",
        "10.77.60.11/32",
        "10.99.0.0/24",
    ]);
    let endpoint = select(vec![
        "198.51.100.9:51820",
        "192.168.1.9:51820",
        "203.0.113.1:51820",
    ]);
    (
        btree_set(prefix, 0..4),
        option::of(endpoint),
        option::of(Just(25)),
        option::of(Just("/psk")),
    )
        .prop_map(
            |(allowed, endpoint, persistent_keepalive, psk)| WireGuardPeerIntent {
                owner: id("WireGuardPeer", "p"),
                preshared_key: psk.map(Into::into),
                allowed_ips: allowed.into_iter().map(net).collect(),
                endpoint: endpoint.map(|text| text.parse().expect("endpoint")),
                persistent_keepalive,
            },
        )
}

fn tunnel(ifname: &'static str, port: u16) -> impl Strategy<Value = WireGuardIntent> {
    let port = option::of(select(vec![port, port + 2]));
    let mtu = option::of(select(vec![1300, 1420]));
    (vec(peer(), 0..3), port, mtu, any::<bool>()).prop_map(
        move |(peers, listen_port, mtu, inline)| WireGuardIntent {
            owner: id("WireGuardInterface", ifname),
            private_key: if inline {
                KeySource::Inline(SecretKey::from_bytes([90; 32]))
            } else {
                KeySource::File(format!("/{ifname}.key").into())
            },
            listen_port,
            mtu,
            peers: (1..).map(peer_key).zip(peers).collect(),
        },
    )
}

fn addresses() -> impl Strategy<Value = BTreeMap<(api::IfName, ipnet::IpNet), AddressIntent>> {
    let places = vec![
        ("wg-a", "10.99.0.1/30"),
        ("wg-b", "10.99.0.5/30"),
        ("eth1", "192.168.1.1/24"),
        ("eth2", "198.51.100.2/24"),
        ("eth2", "10.77.60.5/24"),
        ("eth2", "10.77.60.9/32"),
    ];
    btree_set(select(places), 0..4).prop_map(|places| {
        let owner = id("IPv4StaticAddress", "a");
        let intent = |(link, net_text)| {
            (
                (name(link), net(net_text)),
                AddressIntent {
                    owner: owner.clone(),
                },
            )
        };
        places.into_iter().map(intent).collect()
    })
}

fn user_routes() -> impl Strategy<Value = Vec<(RouteKey, RouteTarget)>> {
    let gateway = |device: Option<&str>, gateway: &str| RouteTarget::Unicast {
        device: device.map(name),
        gateway: Some(gateway.parse().expect("gateway")),
    };
    let targets = vec![
        gateway(None, "10.77.60.1"),
        gateway(Some("eth1"), "192.168.1.254"),
        gateway(None, "10.99.0.2"),
        via("eth2"),
        via("eth9"),
        via("wg-b"),
        RouteTarget::Blackhole,
    ];
    let destination = select(vec!["172.16.0.0/12", "172.31.0.0/16", "10.99.0.2/32"]);
    let key = (destination, select(vec![0, 120])).prop_map(|(d, m)| route_key(d, m));
    vec((key, select(targets)), 0..4)
}

fn interfaces() -> impl Strategy<Value = BTreeMap<api::IfName, InterfaceIntent>> {
    let one = (
        select(vec!["eth1", "eth2", "eth9"]),
        any::<bool>(),
        option::of(Just(1400u32)),
    );
    vec(one, 0..3).prop_map(|all| {
        let intents = all.into_iter().map(|(link, managed, mtu)| {
            let owner = id("Interface", link);
            (
                name(link),
                InterfaceIntent {
                    owner,
                    managed,
                    mtu,
                },
            )
        });
        intents.collect()
    })
}

/// A configuration as the compiler could have made it.
pub(crate) fn effective() -> impl Strategy<Value = Effective> {
    (
        vec(capture(), 0..4),
        option::of(tunnel("wg-a", 51820)),
        option::of(tunnel("wg-b", 51821)),
        addresses(),
        user_routes(),
        interfaces(),
    )
        .prop_map(|(captures, a, b, addresses, routes, interfaces)| {
            let tunnels = TUNNELS.into_iter().map(name).zip([a, b]);
            let mut effective = Effective {
                interfaces,
                addresses,
                wireguard: tunnels.filter_map(|(n, t)| Some((n, t?))).collect(),
                ..Effective::default()
            };
            for (key, target) in routes {
                let owner = id("IPv4Route", "r");
                let intent = RouteIntent {
                    owner,
                    target,
                    preferred_source: None,
                };
                effective.routes.insert(key, intent);
            }
            for (address, intent) in captures {
                add_capture(&mut effective, address, intent);
            }
            effective
        })
}

fn add_capture(effective: &mut Effective, address: &str, intent: CaptureIntent) {
    if effective.captures.contains_key(&mobile(address)) {
        return;
    }
    let owners: &mut BTreeSet<_> = effective.delivery.entry(intent.tunnel.clone()).or_default();
    owners.insert(intent.owner.clone());
    let route = RouteIntent {
        owner: intent.owner.clone(),
        target: RouteTarget::Unicast {
            device: Some(intent.tunnel.clone()),
            gateway: None,
        },
        preferred_source: None,
    };
    effective
        .routes
        .insert(route_key(&format!("{address}/32"), 120), route);
    effective.captures.insert(mobile(address), intent);
}
