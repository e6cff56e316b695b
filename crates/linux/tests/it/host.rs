//! What a step does is there in the next observation, in `ip`'s and `nft`'s own words, and nothing else moved.

use std::fs;

use api::{IfName, ResourceId};
use linux::Host;
use linux::wireguard::Drivers;
use routerd_core::effective::{RouteKey, RouteTarget};
use routerd_core::observed::{KeyFile, Query, Route};
use routerd_core::plan::Action;
use routerd_core::sysctl::{Sysctl, SysctlKey};
use routerd_core::{Kernel, Observed, Step};

use crate::namespace::{fresh, run};

pub(crate) fn host() -> Host {
    Host::open(Drivers::new("routerd")).expect("open the host")
}

fn step(action: Action) -> Step {
    Step {
        owner: ResourceId {
            kind: "Test".to_owned(),
            name: "test".to_owned(),
        },
        action,
    }
}

pub(crate) fn name(text: &str) -> IfName {
    text.parse().expect("interface name")
}

pub(crate) fn apply(host: &mut Host, actions: impl IntoIterator<Item = Action>) {
    let steps: Vec<Step> = actions.into_iter().map(step).collect();
    // Twice: a crash may have left any step done already.
    host.apply(&steps).expect("apply");
    host.apply(&steps).expect("apply once more");
}

pub(crate) fn observe(host: &mut Host) -> Observed {
    host.observe(&Query::default()).expect("observe")
}

fn route(destination: &str, metric: u32, target: RouteTarget) -> Route {
    Route {
        key: RouteKey {
            table: 254,
            destination: destination.parse().expect("prefix"),
            metric,
        },
        target,
        preferred_source: None,
        protocol: routerd_core::OWNER_PROTOCOL,
    }
}

fn via_device(device: &str) -> RouteTarget {
    RouteTarget::Unicast {
        device: Some(name(device)),
        gateway: None,
    }
}

/// `lan` with 10.0.0.1/24 and its peer; without link-local addresses, which appear when they please.
const LAN: &str = "ip link add lan type veth peer name far; ip link set lan addrgenmode none; \
     ip link set far addrgenmode none; ip link set lan up; ip link set far up; \
     ip addr add 10.0.0.1/24 dev lan";

#[test]
fn links_come_with_their_settings() {
    fresh(|| {
        run(
            "ip link add lan address 02:00:00:00:00:01 mtu 1400 type veth peer name far; \
             ip link set lan up; ip link set lan alias 'managed by routerd: x'; \
             sysctl -qw net.ipv4.conf.lan.rp_filter=2 net.ipv4.conf.lan.arp_ignore=1 \
             net.ipv4.conf.lan.forwarding=1 net.ipv4.neigh.lan.proxy_delay=30 \
             net.ipv4.conf.all.send_redirects=0",
        );
        let mut host = host();
        let seen = observe(&mut host);
        let lan = &seen.links[&name("lan")];
        assert_eq!((lan.mtu, lan.up, lan.carrier), (1400, true, false));
        assert_eq!(lan.kind, "veth");
        assert_eq!(lan.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(lan.alias.as_deref(), Some("managed by routerd: x"));
        assert_eq!(seen.links[&name("lo")].kind, "loopback");
        assert_eq!(seen.links[&name("lo")].mac, None);
        // A namespace has no file for the default proxy_delay of the machine.
        let delay = Sysctl::default_of(SysctlKey::ProxyDelay);
        for (sysctl, value) in seen.sysctls.iter().filter(|(key, _)| **key != delay) {
            let path = format!("/proc/sys/{}", sysctl.path());
            let text = fs::read_to_string(&path).expect("setting");
            assert_eq!(text.trim(), value.to_string(), "{path}");
        }
        let lan = |key| seen.sysctls[&Sysctl::on(&name("lan"), key)];
        assert_eq!(lan(SysctlKey::ProxyDelay), 30);
        assert_eq!(lan(SysctlKey::RpFilter), 2);
        assert_eq!(seen.sysctls.len(), 8 + 8 + 3 * 8);

        apply(
            &mut host,
            [Action::SetLink {
                ifname: name("far"),
                mtu: Some(1300),
                up: Some(true),
            }],
        );
        let far = observe(&mut host).links[&name("far")].clone();
        assert_eq!((far.mtu, far.up, far.carrier), (1300, true, true));
    });
}

#[test]
fn settings_are_written() {
    fresh(|| {
        run(LAN);
        let mut host = host();
        let sysctl = Sysctl::on(&name("lan"), SysctlKey::ProxyDelay);
        for value in [0, 80, 33] {
            apply(
                &mut host,
                [Action::SetSysctl {
                    sysctl: sysctl.clone(),
                    value,
                    from: 80,
                }],
            );
            assert_eq!(observe(&mut host).sysctls[&sysctl], value);
        }
        let gone = step(Action::SetSysctl {
            sysctl: Sysctl::on(&name("gone"), SysctlKey::RpFilter),
            value: 2,
            from: 1,
        });
        let error = host.apply(&[gone]).expect_err("no such interface");
        assert_eq!(error.index, 0);
    });
}

#[test]
fn addresses_round_trip() {
    fresh(|| {
        run(LAN);
        let mut host = host();
        let nets = ["10.0.0.9/32", "10.9.0.1/16", "fd00::1/64"];
        let nets = nets.map(|net| net.parse().expect("address"));
        let before = observe(&mut host).addresses;
        let add = nets.map(|net| Action::AddAddress {
            ifname: name("lan"),
            net,
        });
        apply(&mut host, add);
        let with = observe(&mut host).addresses;
        for net in nets {
            assert!(with.iter().any(|a| a.net == net && a.owned), "{net}");
        }
        assert!(
            with.iter()
                .any(|a| a.net.to_string() == "10.0.0.1/24" && !a.owned)
        );
        assert!(run("ip addr show dev lan").contains("10.9.0.1/16 brd 10.9.255.255"));
        let remove = nets.map(|net| Action::RemoveAddress {
            ifname: name("lan"),
            net,
        });
        apply(&mut host, remove);
        assert_eq!(observe(&mut host).addresses, before);
    });
}

#[test]
fn the_last_address_takes_nothing_along_but_what_needs_it() {
    fresh(|| {
        run("ip link add lan type veth peer name far; ip link set lan up; ip link set far up");
        let mut host = host();
        let ours = Action::AddAddress {
            ifname: name("lan"),
            net: "10.0.0.1/24".parse().expect("address"),
        };
        apply(&mut host, [ours]);
        run(
            "ip route add 10.5.0.0/16 dev lan; ip neigh add proxy 10.0.0.200 dev lan; \
             ip neigh add 10.0.0.201 lladdr 02:00:00:00:00:09 dev lan; \
             ip route add 10.6.0.0/16 dev lan src 10.0.0.1",
        );
        apply(
            &mut host,
            [Action::RemoveAddress {
                ifname: name("lan"),
                net: "10.0.0.1/24".parse().expect("address"),
            }],
        );
        assert!(run("ip route show 10.5.0.0/16").contains("dev lan"));
        assert!(run("ip neigh show proxy").contains("10.0.0.200 dev lan"));
        assert!(run("ip neigh show 10.0.0.201").contains("PERMANENT"));
        assert_eq!(run("ip route show 10.6.0.0/16"), "", "its source is gone");
    });
}

#[test]
fn routes_round_trip() {
    fresh(|| {
        run(LAN);
        run(
            "ip route add 10.1.0.0/16 via 10.0.0.2; ip route add table 100 default dev lan; \
             ip route add 10.2.0.0/16 nexthop via 10.0.0.3 nexthop via 10.0.0.4; \
             ip route add unreachable 10.3.0.0/16",
        );
        let mut host = host();
        let before = observe(&mut host).routes;
        assert_eq!(before.len(), 4, "{before:?}");
        let multipath = before
            .iter()
            .find(|r| r.key.destination.to_string() == "10.2.0.0/16");
        assert_eq!(
            multipath.map(|r| &r.target),
            Some(&RouteTarget::Unicast {
                device: Some(name("lan")),
                gateway: Some([10, 0, 0, 3].into())
            })
        );
        let mut routes = vec![
            route("10.0.0.9/32", 120, via_device("lan")),
            route("10.66.0.0/16", 0, RouteTarget::Blackhole),
            route(
                "10.4.0.0/16",
                50,
                RouteTarget::Unicast {
                    device: Some(name("lan")),
                    gateway: Some([10, 0, 0, 7].into()),
                },
            ),
            route("0.0.0.0/0", 4000, via_device("lan")),
        ];
        routes[0].preferred_source = Some([10, 0, 0, 1].into());
        routes[3].key.table = 1_000_000;
        apply(&mut host, routes.iter().cloned().map(Action::AddRoute));
        let with = observe(&mut host).routes;
        assert_eq!(with.len(), before.len() + routes.len());
        for route in &routes {
            assert!(with.contains(route), "{route:?}\n{with:?}");
        }
        apply(&mut host, routes.into_iter().map(Action::RemoveRoute));
        assert_eq!(observe(&mut host).routes, before);
    });
}

#[test]
fn a_route_of_others_is_not_taken() {
    fresh(|| {
        run(LAN);
        run("ip link add wg type veth peer name wgx; ip link set wg up; ip link set wgx up");
        let mut host = host();
        apply(
            &mut host,
            [Action::AddRoute(route(
                "10.0.0.9/32",
                120,
                via_device("lan"),
            ))],
        );
        let moved = route("10.0.0.9/32", 120, via_device("wg"));
        apply(&mut host, [Action::ReplaceRoute(moved.clone())]);
        assert!(observe(&mut host).routes.contains(&moved));
        assert_eq!(run("ip route show 10.0.0.9").lines().count(), 1);

        run("ip route add 10.0.0.8 dev lan metric 120");
        let theirs = observe(&mut host).routes;
        let steps = [
            step(Action::AddRoute(route(
                "10.0.0.7/32",
                120,
                via_device("wg"),
            ))),
            step(Action::AddRoute(route(
                "10.0.0.8/32",
                120,
                via_device("wg"),
            ))),
        ];
        let error = host.apply(&steps).expect_err("somebody else's");
        assert_eq!(error.index, 1);
        assert!(error.reason.contains("exists"), "{error}");
        apply(
            &mut host,
            [
                Action::RemoveRoute(route("10.0.0.7/32", 120, via_device("wg"))),
                Action::RemoveRoute(route("10.0.0.8/32", 120, via_device("lan"))),
            ],
        );
        assert_eq!(
            observe(&mut host).routes,
            theirs,
            "theirs is not removed either"
        );
    });
}

#[test]
fn the_first_refused_step_is_named() {
    fresh(|| {
        run(LAN);
        let mut host = host();
        let unreachable_gateway = RouteTarget::Unicast {
            device: Some(name("lan")),
            gateway: Some([192, 0, 2, 1].into()),
        };
        let mut steps: Vec<Step> = (0..3000u32)
            .map(|i| {
                let destination = std::net::Ipv4Addr::from(0x0a40_0000 + i);
                step(Action::AddRoute(route(
                    &format!("{destination}/32"),
                    120,
                    via_device("lan"),
                )))
            })
            .collect();
        for index in [2500, 1700] {
            steps[index] = step(Action::AddRoute(route(
                "10.77.0.1/32",
                120,
                unreachable_gateway.clone(),
            )));
        }
        let error = host.apply(&steps).expect_err("bad gateway");
        assert_eq!(error.index, 1700);
        assert!(
            error.reason.contains("Nexthop has invalid gateway"),
            "{error}"
        );
        assert!(error.step.contains("10.77.0.1/32"), "{error}");

        steps.truncate(10);
        steps[4] = step(Action::AddRoute(route(
            "10.78.0.1/32",
            1,
            via_device("gone"),
        )));
        steps[9] = step(Action::AddRoute(route(
            "10.78.0.2/32",
            1,
            via_device("lan"),
        )));
        let error = host.apply(&steps).expect_err("no device");
        assert_eq!(error.index, 4);
        assert!(error.reason.contains("no such interface"), "{error}");
        assert!(
            run("ip route show 10.78.0.2").is_empty(),
            "steps behind it wait"
        );
    });
}

#[test]
fn removing_what_went_with_its_interface_is_done() {
    fresh(|| {
        let mut host = host();
        apply(
            &mut host,
            [
                Action::RemoveRoute(route("10.0.0.9/32", 120, via_device("gone"))),
                Action::RemoveAddress {
                    ifname: name("gone"),
                    net: "10.0.0.9/32".parse().expect("address"),
                },
                Action::RemoveProxyNeighbour {
                    ifname: name("gone"),
                    address: [10, 0, 0, 9].into(),
                },
            ],
        );
    });
}

#[test]
fn proxy_neighbours_round_trip() {
    fresh(|| {
        run(LAN);
        run(
            "ip neigh add proxy 10.0.0.200 dev lan; ip neigh add 10.0.0.201 lladdr 02:00:00:00:00:09 dev lan; \
             ip neigh add proxy 10.0.0.202 dev lan proto 4",
        );
        let mut host = host();
        let before = observe(&mut host).proxy_neighbours;
        assert_eq!(before.len(), 2);
        assert!(before.iter().all(|n| !n.owned));
        let addresses: Vec<std::net::Ipv4Addr> = (1..100).map(|i| [10, 0, 0, i].into()).collect();
        let add = addresses.iter().map(|address| Action::AddProxyNeighbour {
            ifname: name("lan"),
            address: *address,
        });
        apply(&mut host, add);
        let with = observe(&mut host).proxy_neighbours;
        assert_eq!(with.iter().filter(|n| n.owned).count(), 99);
        assert!(run("ip neigh show proxy").contains("10.0.0.42 dev lan proxy proto 82"));
        let remove = addresses
            .iter()
            .map(|address| Action::RemoveProxyNeighbour {
                ifname: name("lan"),
                address: *address,
            });
        apply(&mut host, remove);
        assert_eq!(observe(&mut host).proxy_neighbours, before);
    });
}

#[test]
fn routes_are_looked_up() {
    fresh(|| {
        run(LAN);
        run(
            "ip route add 10.1.0.0/16 via 10.0.0.2 mtu 1300; ip route add blackhole 10.2.0.0/16; \
             ip addr add fd00::1/64 dev lan nodad; ip -6 route add fd01::/64 via fd00::2",
        );
        let destinations = [
            "10.1.2.3",
            "10.0.0.5",
            "10.0.0.1",
            "10.2.0.1",
            "192.0.2.1",
            "fd01::5",
            "fd02::1",
        ];
        let destinations = destinations.map(|text| text.parse().expect("address"));
        let seen = host()
            .observe(&Query {
                lookups: destinations.into(),
                ..Query::default()
            })
            .expect("observe");
        let [far, near, own, black, none, far6, none6] =
            destinations.map(|address| seen.lookups.get(&address));
        let far = far.expect("route");
        assert_eq!((far.mtu, far.local), (1300, false));
        assert_eq!(far.gateway, Some([10, 0, 0, 2].into()));
        assert_eq!(far.source, Some([10, 0, 0, 1].into()));
        assert_eq!(near.map(|l| (l.mtu, l.gateway)), Some((1500, None)));
        assert!(own.expect("own").local);
        assert_eq!((black, none, none6), (None, None, None));
        assert_eq!(far6.expect("route").gateway, "fd00::2".parse().ok());
    });
}

#[test]
fn a_key_is_made() {
    fresh(|| {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("private.key");
        let mut host = host();
        let query = Query {
            key_files: [path.clone()].into(),
            ..Query::default()
        };
        let look = |host: &mut Host| {
            let seen = host.observe(&query).expect("observe");
            seen.key_files[&path].clone()
        };
        assert_eq!(look(&mut host), KeyFile::Absent);
        let generate = step(Action::GenerateKey { path: path.clone() });
        host.apply(std::slice::from_ref(&generate))
            .expect("generate");
        let public = run(&format!("wg pubkey < {}", path.display()));
        let public = public.trim().parse().expect("public key");
        assert_eq!(look(&mut host), KeyFile::Present(public));
        host.apply(&[generate]).expect_err("never overwritten");
        assert_eq!(look(&mut host), KeyFile::Present(public));
    });
}
