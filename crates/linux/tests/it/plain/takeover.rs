//! A new build takes plain tunnels over while traffic runs.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use linux::Host;
use linux::wireguard::Drivers;
use routerd_core::Kernel;
use routerd_core::encapsulation::{Encapsulation, PlainTunnel};
use routerd_core::observed::{Build, Driver};
use routerd_core::plan::Action;

use super::{PORTS, apply, name, tunnel};
use crate::namespace::fresh;
use crate::wireguard::site::{Site, Stop, eventually, underlay};
use crate::wireguard::takeover::{all_came_back, new_build, probe, running, sent_again, stream};

/// One that shares what it hears with the kernel, one that has a UDP port; with the network of each.
const TUNNELS: [(&str, Encapsulation, u8); 2] = [
    ("t0", Encapsulation::Ipip, 0),
    ("t1", Encapsulation::Gue(PORTS), 1),
];

fn start(site: &Site, number: u8) {
    for (ifname, mode, net) in TUNNELS {
        let ifname = name(ifname);
        let create = Action::CreateTunnel {
            ifname: ifname.clone(),
            driver: Driver::UserSpace,
            tunnel: tunnel(mode, number, 3 - number),
        };
        let up = Action::SetLink {
            ifname: ifname.clone(),
            mtu: Some(1500 - mode.overhead()),
            up: Some(true),
        };
        let net = format!("10.9.{net}.{number}/24").parse().expect("prefix");
        apply(site, &[create, up, Action::AddAddress { ifname, net }]);
    }
}

/// What a daemon of a build sees of a tunnel.
fn seen(site: &Site, drivers: &Drivers, ifname: &str) -> Build {
    let observed = site.inside(|| {
        let mut host = Host::open(drivers.clone()).expect("open the host");
        host.observe(&routerd_core::observed::Query::default())
            .expect("observe")
    });
    observed.plain_tunnels[&name(ifname)].build.clone()
}

/// Executes the step of a daemon of a build.
fn take_over(site: &Site, drivers: &Drivers, ifname: &str, tunnel: PlainTunnel) {
    let owner = api::ResourceId::new("Test", "test");
    let ifname = name(ifname);
    let action = Action::TakeOverTunnel { ifname, tunnel };
    site.inside(|| {
        let mut host = Host::open(drivers.clone()).expect("open the host");
        host.apply(&[routerd_core::Step { owner, action }])
            .expect("apply");
    });
}

#[test]
fn a_new_build_takes_over_under_traffic_and_nothing_is_lost() {
    fresh(|| {
        let (a, b) = underlay();
        let both = [(&a, 1), (&b, 2)];
        for (site, number) in both {
            start(site, number);
        }
        let old = TUNNELS.map(|(ifname, _, net)| {
            a.reaches(&format!("10.9.{net}.2"));
            a.plain_pid(ifname)
        });
        let before = both.map(|(site, _)| sent_again(site));
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Also if this fails halfway: the scope waits for its threads.
            let stopped = Stop(&stop);
            let (from, to) = (&b, &a);
            let bulk =
                scope.spawn(|| stream(from, to, "10.9.1.1", Duration::from_millis(8), &stop));
            let probes = TUNNELS.map(|(_, _, net)| {
                let out = probe(&a, &format!("10.9.{net}.2"));
                (out, probe(&b, &format!("10.9.{net}.1")))
            });
            for (site, number) in both {
                let build = new_build(site);
                for (ifname, mode, _) in TUNNELS {
                    assert_eq!(seen(site, &build.drivers, ifname), Build::Other);
                    take_over(
                        site,
                        &build.drivers,
                        ifname,
                        tunnel(mode, number, 3 - number),
                    );
                    assert_eq!(seen(site, &build.drivers, ifname), Build::Current);
                }
            }
            for (out, back) in probes {
                all_came_back(&a, out);
                all_came_back(&b, back);
            }
            drop(stopped);
            println!("{} bytes by TCP", bulk.join().expect("stream"));
        });
        for ((site, _), before) in both.into_iter().zip(before) {
            let after = sent_again(site);
            let (again, twice) = (after.0 - before.0, after.1 - before.1);
            println!("TCP segments sent again: {again}, received twice: {twice}");
            assert_eq!(again, twice);
        }
        for (pid, (ifname, _, _)) in old.into_iter().zip(TUNNELS) {
            assert_ne!(a.plain_pid(ifname), pid, "another process answers");
            eventually("the old process ends", || (!running(pid)).then_some(()));
        }
    });
}

#[test]
fn a_take_over_that_fails_leaves_the_old_process_at_work() {
    fresh(|| {
        let (a, b) = underlay();
        for (site, number) in [(&a, 1), (&b, 2)] {
            start(site, number);
        }
        a.reaches("10.9.0.2");
        let old = a.plain_pid("t0");
        let ping = probe(&a, "10.9.0.2");
        // A successor that ends at each point before it has said that the packets are its own.
        let path = a.socket().with_file_name("tunnels").join("t0.sock");
        for words in [&[][..], &["stop\n"], &["stop\n", "what\n"]] {
            let mut stream = UnixStream::connect(&path).expect("connect");
            stream.write_all(b"takeover=1\n\n").expect("ask");
            let mut reader = BufReader::new(stream.try_clone().expect("clone"));
            reader.read_line(&mut String::new()).expect("estate");
            for (number, word) in words.iter().enumerate() {
                stream.write_all(word.as_bytes()).expect("say");
                let heard = reader.read_line(&mut String::new());
                assert_eq!(heard.expect("answer") > 0, number == 0);
            }
        }
        // One that was told of another tunnel.
        let build = new_build(&a);
        take_over(&a, &build.drivers, "t0", tunnel(Encapsulation::Ipip, 1, 9));
        let Build::Kept(reason) = seen(&a, &build.drivers, "t0") else {
            panic!("taken over");
        };
        assert!(reason.contains("another tunnel"), "{reason}");
        assert_eq!(a.plain_pid("t0"), old);
        all_came_back(&a, ping);
    });
}
