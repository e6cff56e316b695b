//! What a device says on the wire and to `wg`, whichever driver runs it.

use std::process::Child;

use routerd_core::key::KeySource;
use routerd_core::observed::Driver;
use routerd_core::plan::{PeerChange, PresharedKeyChange, WireGuardChange};

use super::drivers;
use super::site::{
    Site, address, connected, eventually, introduction, peer_change, secret, transfers, underlay,
};
use crate::namespace::fresh;

#[test]
fn both_drivers_talk_to_each_other() {
    fresh(|| {
        for left in drivers() {
            for right in drivers() {
                let (a, b) = connected(left, right);
                a.reaches("fd09::2");
                for (from, to, address) in [
                    (&a, &b, "10.9.0.2"),
                    (&b, &a, "10.9.0.1"),
                    (&a, &b, "[fd09::2]"),
                ] {
                    assert!(
                        transfers(from, to, address, 5_000_000),
                        "{left:?} to {right:?}"
                    );
                }
            }
        }
    });
}

#[test]
fn what_is_observed_is_what_wg_shows() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            let device = a.observe().expect("device");
            assert_eq!(device.driver, driver);
            assert_eq!(device.public_key, Some(a.public_key()));
            assert_eq!(device.listen_port, 51_820);
            let peer = &device.peers[&b.public_key()];
            assert_eq!(peer.endpoint, "192.0.2.2:51820".parse().ok());
            assert!(peer.handshake_age.is_some_and(|age| age < 60));
            assert!(peer.rx_bytes > 0 && peer.tx_bytes > 0);

            let dump = a.run("wg show wg0 dump");
            let lines: Vec<Vec<&str>> = dump.lines().map(|l| l.split('\t').collect()).collect();
            assert_eq!(lines[0][1], a.public_key().to_string());
            assert_eq!(lines[0][2..], ["51820", "off"]);
            let shown: Vec<_> = peer.allowed_ips.iter().map(|net| net.to_string()).collect();
            assert_eq!(lines[1][0], b.public_key().to_string());
            assert_eq!(lines[1][1..3], ["(none)", "192.0.2.2:51820"]);
            let mut listed: Vec<_> = lines[1][3].split(',').collect();
            listed.sort_unstable();
            assert_eq!(listed, shown);
            assert_eq!(lines[1][7], "off");
        }
    });
}

#[test]
fn wg_configures_it() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            let peer = b.public_key();
            a.run(&format!(
                "wg set wg0 fwmark 0x52 peer {peer} persistent-keepalive 7 allowed-ips 10.9.0.0/24"
            ));
            let conf = a.run("wg showconf wg0");
            for line in [
                "FwMark = 0x52",
                "PersistentKeepalive = 7",
                "AllowedIPs = 10.9.0.0/24",
            ] {
                assert!(conf.contains(line), "{conf}");
            }
            let path = a.socket().with_extension("conf");
            std::fs::write(&path, &conf).expect("write");
            a.run(&format!(
                "wg set wg0 peer {peer} remove; wg show wg0 peers | grep -c . || true"
            ));
            assert!(a.observe().expect("device").peers.is_empty());
            a.run(&format!("wg setconf wg0 {}", path.display()));
            assert_eq!(a.run("wg showconf wg0"), conf);
            a.reaches("10.9.0.2");
            a.run(&format!("wg syncconf wg0 {}", path.display()));
            assert!(a.pings("10.9.0.2"), "what stays the same is not disturbed");
            assert!(
                a.try_run("wg set wg0 private-key /dev/null peer 0")
                    .is_err()
            );
        }
    });
}

/// Debian's user-space WireGuard, ended with this value.
struct Go(Child);

impl Go {
    fn start(site: &Site) -> Option<Self> {
        site.try_run("command -v wireguard-go").ok()?;
        let go = Self(site.spawn("exec wireguard-go -f wg0"));
        eventually("wireguard-go is up", || site.observe().map(drop));
        Some(go)
    }
}

impl Drop for Go {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn talks_to_debians_wireguard_go() {
    fresh(|| {
        let (a, b) = underlay();
        let Some(_go) = Go::start(&b) else {
            println!("skipped: wireguard-go is not installed");
            return;
        };
        a.create(Driver::UserSpace).expect("create");
        a.set(&introduction(&a, &b, 2));
        // It is configured through the same socket as ours.
        b.set(&introduction(&b, &a, 1));
        address(&a, 1);
        address(&b, 2);
        a.reaches("10.9.0.2");
        b.reaches("fd09::1");
        assert!(transfers(&a, &b, "10.9.0.2", 5_000_000));
        assert!(transfers(&b, &a, "[fd09::1]", 5_000_000));
    });
}

#[test]
fn follows_a_peer_that_moves() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            b.run("ip addr add 192.0.2.77/24 dev under; ip addr del 192.0.2.2/24 dev under");
            b.run("ip addr show dev under | grep -q 192.0.2.77 || ip addr add 192.0.2.77/24 dev under");
            b.reaches("10.9.0.1");
            let endpoint = |site: &Site| site.observe()?.peers.get(&b.public_key())?.endpoint;
            assert_eq!(endpoint(&a), "192.0.2.77:51820".parse().ok());
            a.reaches("10.9.0.2");

            b.set(&WireGuardChange {
                listen_port: Some(51_999),
                ..WireGuardChange::default()
            });
            b.reaches("10.9.0.1");
            assert_eq!(endpoint(&a), "192.0.2.77:51999".parse().ok());
        }
    });
}

#[test]
fn answers_come_from_the_address_that_was_asked() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = underlay();
            b.run(
                "ip addr add 192.0.2.102/24 dev under; ip addr add 2001:db8::2/64 dev under nodad; \
                   ip addr add 2001:db8::102/64 dev under nodad",
            );
            a.run("ip addr add 2001:db8::1/64 dev under nodad");
            for endpoint in ["192.0.2.102:51820", "[2001:db8::102]:51820"] {
                let endpoint = endpoint.parse().ok();
                a.create(driver).expect("create");
                b.create(driver).expect("create");
                let mut hello = introduction(&a, &b, 2);
                let nets = ["10.9.0.2/32", "fd09::2/128"];
                hello.peers = peer_change(b.public_key(), &nets, endpoint).peers;
                a.set(&hello);
                let mut hello = introduction(&b, &a, 1);
                let nets = ["10.9.0.1/32", "fd09::1/128"];
                hello.peers = peer_change(a.public_key(), &nets, None).peers;
                b.set(&hello);
                address(&a, 1);
                address(&b, 2);
                a.reaches("10.9.0.2");
                let device = a.observe().expect("device");
                assert_eq!(
                    device.peers[&b.public_key()].endpoint,
                    endpoint,
                    "{driver:?}"
                );
                for site in [&a, &b] {
                    site.inside(|| site.drivers.delete(&site.ifname))
                        .expect("delete");
                }
            }
        }
    });
}

#[test]
fn a_wrong_key_is_nobody() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            b.set(&WireGuardChange {
                private_key: Some(KeySource::Inline(secret(9))),
                ..WireGuardChange::default()
            });
            assert!(!b.pings("10.9.0.1") && !a.pings("10.9.0.2"));

            // Introduced anew, it is somebody again.
            let mut change = peer_change(
                secret(9).public_key(),
                &["10.9.0.2/32", "fd09::2/128"],
                "192.0.2.2:51820".parse().ok(),
            );
            change.peers.insert(b.public_key(), PeerChange::Remove);
            a.set(&change);
            b.reaches("10.9.0.1");
            let device = a.observe().expect("device");
            assert_eq!(
                device.peers.keys().collect::<Vec<_>>(),
                [&secret(9).public_key()]
            );
        }
    });
}

#[test]
fn a_preshared_key_comes_and_goes_without_a_lost_packet() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            let path = a.socket().with_extension("psk");
            linux::wireguard::generate(&path).expect("key");
            let mut ping = a.spawn("exec ping -n -i 0.005 -c 400 -W 2 10.9.0.2 > /run/ping");
            for step in [
                PresharedKeyChange::Load(path.clone()),
                PresharedKeyChange::Clear,
            ] {
                for (site, other) in [(&a, &b), (&b, &a)] {
                    let set = PeerChange::Set {
                        preshared_key: Some(step.clone()),
                        allowed_ips: None,
                        endpoint: None,
                        persistent_keepalive: None,
                    };
                    site.set(&WireGuardChange {
                        peers: [(other.public_key(), set)].into(),
                        ..WireGuardChange::default()
                    });
                    let wanted = match &step {
                        PresharedKeyChange::Load(path) => linux::wireguard::read(path).ok(),
                        PresharedKeyChange::Clear => None,
                    };
                    let device = site.observe().expect("device");
                    let seen = device.peers[&other.public_key()].preshared_key;
                    assert_eq!(seen, wanted.map(|key| key.public_key()));
                }
            }
            ping.wait().expect("ping");
            let result = a.run("cat /run/ping");
            assert!(result.contains("400 received"), "{driver:?}: {result}");
            a.reaches("10.9.0.2");
        }
    });
}

#[test]
fn a_path_that_is_too_small_gets_fragments() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            for site in [&a, &b] {
                site.run("ip link set under mtu 1300");
            }
            assert!(transfers(&a, &b, "10.9.0.2", 2_000_000), "{driver:?}");
            assert!(transfers(&b, &a, "10.9.0.1", 2_000_000), "{driver:?}");
        }
    });
}

#[test]
fn hardware_that_offloads_nothing_will_do() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            for site in [&a, &b] {
                site.run("ethtool -K under tx off rx off sg off tso off gso off gro off");
            }
            assert!(transfers(&a, &b, "10.9.0.2", 2_000_000), "{driver:?}");
            assert!(transfers(&b, &a, "10.9.0.1", 2_000_000), "{driver:?}");
        }
    });
}

#[test]
fn sources_belong_to_their_peer() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            b.run("ip addr add 10.8.0.2/32 dev wg0");
            a.run("ip route add 10.8.0.2/32 dev wg0");
            let ping = "ping -n -c1 -W1 -I 10.8.0.2 10.9.0.1";
            assert!(
                b.try_run(ping).is_err(),
                "a source that is not the peer's is dropped"
            );
            a.set(&peer_change(
                b.public_key(),
                &["10.9.0.2/32", "fd09::2/128", "10.8.0.0/16"],
                None,
            ));
            b.run(ping);
        }
    });
}

#[test]
fn a_prefix_that_moves_has_one_owner_and_the_others_notice_nothing() {
    fresh(|| {
        for driver in drivers() {
            let (a, b) = connected(driver, driver);
            let (first, second) = (secret(50).public_key(), secret(51).public_key());
            let mut ping = a.spawn("exec ping -n -i 0.002 -c 500 -W 2 10.9.0.2 > /run/ping");
            for round in 0..300 {
                let owner = [first, second][round % 2];
                a.set(&peer_change(owner, &["10.7.0.0/24"], None));
            }
            let device = a.observe().expect("device");
            assert!(device.peers[&first].allowed_ips.is_empty());
            assert_eq!(device.peers[&second].allowed_ips.len(), 1);
            let shown = a.run("wg show wg0 allowed-ips");
            assert_eq!(shown.matches("10.7.0.0/24").count(), 1, "{shown}");
            // The peer that answers pings gains and loses prefixes, too.
            for round in 0..100 {
                let extra = format!("10.6.{round}.0/24");
                let nets = ["10.9.0.2/32", "fd09::2/128", extra.as_str()];
                let mut change = peer_change(b.public_key(), &nets, None);
                let PeerChange::Set {
                    allowed_ips: Some(nets),
                    ..
                } = change.peers.get_mut(&b.public_key()).expect("peer")
                else {
                    unreachable!("a set");
                };
                if round > 0 {
                    let gone = format!("10.6.{}.0/24", round - 1).parse().expect("prefix");
                    nets.remove.insert(gone);
                }
                nets.add = [extra.parse().expect("prefix")].into();
                a.set(&change);
            }
            let device = a.observe().expect("device");
            assert_eq!(device.peers[&b.public_key()].allowed_ips.len(), 3);
            assert_eq!(
                device.peers.len(),
                3,
                "nothing is left of what moved prefixes away"
            );
            ping.wait().expect("ping");
            let result = a.run("cat /run/ping");
            assert!(result.contains("500 received"), "{driver:?}: {result}");
        }
    });
}
