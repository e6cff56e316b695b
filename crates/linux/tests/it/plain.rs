//! Plain tunnels of both drivers, against each other.
//!
//! ```text
//!  left                               right
//!  t0 10.9.0.1                        t0 10.9.0.2
//!   │ ipip, gre, fou or gue            │
//!  under 192.0.2.1 ────── veth ─────── under 192.0.2.2
//! ```

mod takeover;

use std::collections::BTreeSet;

use linux::Host;
use routerd_core::encapsulation::{Encapsulation, KernelTunnel, PlainTunnel, UdpPorts};
use routerd_core::observed::{Driver, FouPort, Query};
use routerd_core::plan::Action;
use routerd_core::{Kernel, Observed, Step};

use crate::namespace::fresh;
use crate::wireguard::site::{Site, eventually, transfers, underlay};

const PORTS: UdpPorts = UdpPorts {
    source: 5555,
    destination: 5555,
};
const MODES: [Encapsulation; 5] = [
    Encapsulation::Ipip,
    Encapsulation::Gre { key: None },
    Encapsulation::Gre { key: Some(7) },
    Encapsulation::Fou(PORTS),
    Encapsulation::Gue(PORTS),
];

fn tunnel(encapsulation: Encapsulation, local: u8, remote: u8) -> PlainTunnel {
    PlainTunnel {
        encapsulation,
        local: [192, 0, 2, local].into(),
        remote: [192, 0, 2, remote].into(),
        underlay: None,
        ttl: 64,
    }
}

fn host(site: &Site) -> Host {
    Host::open(site.drivers.clone()).expect("open the host")
}

fn apply(site: &Site, actions: &[Action]) {
    let owner = api::ResourceId::new("Test", "test");
    let steps = actions.iter().map(|action| Step {
        owner: owner.clone(),
        action: action.clone(),
    });
    let steps: Vec<_> = steps.collect();
    site.inside(|| {
        let mut host = host(site);
        // Twice: a crash may have left any step done already.
        host.apply(&steps).expect("apply");
        host.apply(&steps).expect("apply once more");
    });
}

fn observe(site: &Site) -> Observed {
    let query = Query {
        tunnels: BTreeSet::from([KernelTunnel::Ipip, KernelTunnel::Gre, KernelTunnel::Fou]),
        ..Query::default()
    };
    site.inside(|| host(site).observe(&query).expect("observe"))
}

fn name(text: &str) -> api::IfName {
    text.parse().expect("name")
}

fn create(site: &Site, number: u8, driver: Driver, tunnel: &PlainTunnel) {
    let mut actions = Vec::new();
    let feeds = match tunnel.encapsulation {
        Encapsulation::Fou(_) => Some(FouPort::Ipv4),
        Encapsulation::Gue(_) => Some(FouPort::Gue),
        _ => None,
    };
    if let (Driver::Kernel, Some(feeds)) = (driver, feeds) {
        let port = PORTS.source;
        actions.push(Action::AddFouPort { port, feeds });
    }
    actions.push(Action::CreateTunnel {
        ifname: name("t0"),
        driver,
        tunnel: tunnel.clone(),
    });
    actions.push(Action::SetLink {
        ifname: name("t0"),
        mtu: Some(1500 - tunnel.encapsulation.overhead()),
        up: Some(true),
    });
    actions.push(Action::AddAddress {
        ifname: name("t0"),
        net: format!("10.9.0.{number}/24").parse().expect("prefix"),
    });
    apply(site, &actions);
}

/// Drivers that this kernel has for a mode. Where the kernel's is expected, it is an error not to have it.
fn drivers(site: &Site, encapsulation: Encapsulation) -> Vec<Driver> {
    let offered = observe(site).features.kernel_tunnels;
    let mut drivers = vec![Driver::UserSpace];
    if offered.contains(&encapsulation.needs()) {
        drivers.push(Driver::Kernel);
    } else {
        let expected = std::env::var_os("ROUTERD_EXPECT_KERNEL_WIREGUARD");
        assert!(expected.is_none(), "this kernel has no {encapsulation:?}");
    }
    drivers
}

fn remove(site: &Site) {
    let mut actions = vec![Action::DeleteLink { ifname: name("t0") }];
    for port in observe(site).fou_ports.keys() {
        actions.push(Action::RemoveFouPort { port: *port });
    }
    apply(site, &actions);
}

/// Both ends of a tunnel, each of its driver, until it is removed again.
fn carries(left: &Site, right: &Site, mode: Encapsulation, drivers: [Driver; 2]) {
    println!("{mode:?}, {drivers:?}");
    let [ours, theirs] = drivers;
    let here = tunnel(mode, 1, 2);
    create(left, 1, ours, &here);
    create(right, 2, theirs, &tunnel(mode, 2, 1));
    left.reaches("10.9.0.2");
    let seen = &observe(left).plain_tunnels[&name("t0")];
    assert_eq!((seen.driver, &seen.tunnel), (ours, &here));
    let fits = 1500 - mode.overhead() - 28;
    let ping = |size| format!("ping -n -c1 -W2 -M do -s {size} 10.9.0.2");
    left.run(&ping(fits));
    assert!(left.try_run(&ping(fits + 1)).is_err(), "{mode:?}");
    // More than the tunnel carries whole, in fragments.
    left.run("ping -n -c1 -W2 -M dont -s 4000 10.9.0.2");
    assert!(transfers(left, right, "10.9.0.2", 1 << 20), "{mode:?}");
    assert!(transfers(right, left, "10.9.0.1", 1 << 20), "{mode:?}");
    remove(left);
    remove(right);
    assert!(observe(left).plain_tunnels.is_empty());
}

#[test]
fn every_mode_carries_packets_up_to_the_last_byte() {
    fresh(|| {
        let (left, right) = underlay();
        for mode in MODES {
            for driver in drivers(&left, mode) {
                carries(&left, &right, mode, [driver, driver]);
            }
        }
    });
}

/// Where the kernel has the modes. Its module then sees the packets of the process, too.
#[test]
fn every_mode_carries_packets_between_a_process_and_the_kernel() {
    fresh(|| {
        let (left, right) = underlay();
        for mode in MODES {
            if let [user, kernel] = drivers(&left, mode)[..] {
                carries(&left, &right, mode, [user, kernel]);
            }
        }
    });
}

#[test]
fn a_tunnel_becomes_another_one_and_keeps_what_hangs_on_it() {
    fresh(|| {
        let (left, right) = underlay();
        right.run("ip addr add 192.0.2.3/24 dev under");
        for driver in drivers(&left, Encapsulation::Ipip) {
            create(&left, 1, driver, &tunnel(Encapsulation::Ipip, 1, 2));
            create(&right, 2, driver, &tunnel(Encapsulation::Ipip, 3, 1));
            assert!(
                !left.pings("10.9.0.2"),
                "the other end speaks from elsewhere"
            );
            let mut moved = tunnel(Encapsulation::Ipip, 1, 3);
            moved.underlay = Some(name("under"));
            let change = Action::ChangeTunnel {
                ifname: name("t0"),
                driver,
                tunnel: moved.clone(),
            };
            apply(&left, &[change]);
            left.reaches("10.9.0.2");
            assert_eq!(observe(&left).plain_tunnels[&name("t0")].tunnel, moved);
            remove(&left);
            remove(&right);
        }
    });
}

#[test]
fn the_sender_hears_what_a_path_carries_that_became_smaller() {
    fresh(|| {
        let (left, right) = underlay();
        for mode in MODES {
            for driver in drivers(&left, mode) {
                create(&left, 1, driver, &tunnel(mode, 1, 2));
                create(&right, 2, driver, &tunnel(mode, 2, 1));
                left.reaches("10.9.0.2");
                left.run("ip route add 192.0.2.2/32 dev under mtu 1300");
                let fits = 1300 - mode.overhead();
                let too_big = format!("ping -n -c1 -W1 -M do -s {} 10.9.0.2", fits - 28 + 1);
                eventually("the error names the MTU", || {
                    let said = left.try_run(&too_big).err()?;
                    said.contains(&format!("mtu = {fits}"))
                        .then_some(())
                        .or_else(|| said.contains(&format!("mtu={fits}")).then_some(()))
                });
                left.run(&format!("ping -n -c1 -W2 -M do -s {} 10.9.0.2", fits - 28));
                remove(&left);
                remove(&right);
                left.run("ip route del 192.0.2.2/32 dev under mtu 1300; ip route flush cache");
            }
        }
    });
}

/// What user space takes is nothing that the kernel may call undeliverable; see `plain::process::quiet`.
#[test]
fn the_kernel_keeps_quiet_about_packets_of_a_process_as_long_as_it_lives() {
    fresh(|| {
        let (left, right) = underlay();
        let rules = || left.run("nft list ruleset");
        for (mode, protocol) in [(MODES[0], "0x4"), (MODES[1], "0x2f")] {
            create(&left, 1, Driver::UserSpace, &tunnel(mode, 1, 2));
            let found = rules();
            let quotes = format!("@th,136,8 {protocol} @th,160,64 0xc0000202c0000201 drop");
            for part in ["icmp type dest", "port-unreachable", "carries t0", &quotes] {
                assert!(found.contains(part), "no {part}: {found}");
            }
            left.run("nft flush ruleset");
            assert_eq!(rules(), found, "the table is the process's");
            // Errors about anything else go out.
            let probe = || {
                let socket = std::net::UdpSocket::bind("192.0.2.2:0").expect("bind");
                socket.connect("192.0.2.1:9").expect("connect");
                let patience = std::time::Duration::from_secs(5);
                socket.set_read_timeout(Some(patience)).expect("timeout");
                socket.send(b"?").expect("send");
                socket.recv(&mut [0]).expect_err("nobody listens").kind()
            };
            assert_eq!(right.inside(probe), std::io::ErrorKind::ConnectionRefused);
            left.run(&format!("kill -9 {}", left.plain_pid("t0")));
            eventually("the table goes", || rules().is_empty().then_some(()));
            remove(&left);
        }
        create(&left, 1, Driver::UserSpace, &tunnel(MODES[3], 1, 2));
        assert_eq!(rules(), "", "UDP has one receiver");
    });
}

#[test]
fn a_user_space_tunnel_outlives_its_daemon_and_its_device_its_process() {
    fresh(|| {
        let (left, right) = underlay();
        let mode = Encapsulation::Ipip;
        create(&left, 1, Driver::UserSpace, &tunnel(mode, 1, 2));
        create(&right, 2, Driver::UserSpace, &tunnel(mode, 2, 1));
        left.reaches("10.9.0.2");
        let watched = left.inside(|| left.drivers.death_watch(&name("t0")));
        assert!(watched.is_some(), "its end wakes the daemon");
        left.run(&format!("kill -9 {}", left.plain_pid("t0")));
        eventually("nobody answers", || {
            observe(&left).plain_tunnels.is_empty().then_some(())
        });
        left.run("ip addr show dev t0 | grep -q 10.9.0.1");
        create(&left, 1, Driver::UserSpace, &tunnel(mode, 1, 2));
        left.reaches("10.9.0.2");
    });
}
