//! The kernel's driver; without one there is nothing to test here, and the same tests run in QEMU.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use routerd_core::observed::Driver;
use routerd_core::plan::{AllowedIpsChange, PeerChange, WireGuardChange};

use super::drivers;
use super::site::{connected, secret, underlay};
use crate::namespace::fresh;

fn have_driver() -> bool {
    let have = drivers().contains(&Driver::Kernel);
    if !have {
        println!("skipped: this kernel has no WireGuard");
    }
    have
}

#[test]
fn a_link_of_the_kernel_comes_marked_and_goes() {
    fresh(|| {
        if !have_driver() {
            return;
        }
        let (a, _b) = underlay();
        a.create(Driver::Kernel).expect("create");
        a.create(Driver::Kernel).expect("ours already");
        let link = a.run("ip -d link show wg0");
        assert!(
            link.contains("wireguard") && link.contains("managed by routerd"),
            "{link}"
        );
        assert!(
            a.drivers.death_watch(&a.ifname).is_none(),
            "no process to watch"
        );
        a.inside(|| a.drivers.delete(&a.ifname)).expect("delete");
        assert!(a.try_run("ip link show wg0").is_err());
        a.run("ip link add wg0 type wireguard");
        a.create(Driver::Kernel).expect_err("somebody else's");
    });
}

#[test]
fn thousands_of_prefixes_and_peers_go_in_and_come_out() {
    fresh(|| {
        if !have_driver() {
            return;
        }
        let (a, b) = connected(Driver::Kernel, Driver::Kernel);
        let many: BTreeSet<_> = (0..3_000_u32)
            .map(|i| {
                format!("10.100.{}.{}/32", i >> 8, i & 255)
                    .parse()
                    .expect("prefix")
            })
            .collect();
        let set = |all: &BTreeSet<_>, endpoint: Option<SocketAddr>| PeerChange::Set {
            preshared_key: None,
            allowed_ips: Some(AllowedIpsChange {
                all: all.clone(),
                add: all.clone(),
                remove: BTreeSet::new(),
            }),
            endpoint,
            persistent_keepalive: Some(25),
        };
        let mut peers: std::collections::BTreeMap<_, _> = (100..200_u8)
            .map(|i| {
                let net = format!("10.101.{i}.0/24").parse().expect("prefix");
                let endpoint = Some(SocketAddr::from(([192, 0, 2, 2], 60_000 + u16::from(i))));
                (secret(i).public_key(), set(&[net].into(), endpoint))
            })
            .collect();
        peers.insert(secret(3).public_key(), set(&many, None));
        a.set(&WireGuardChange {
            peers,
            ..WireGuardChange::default()
        });
        let device = a.observe().expect("device");
        assert_eq!(device.peers.len(), 102);
        assert_eq!(device.peers[&secret(3).public_key()].allowed_ips, many);
        assert_eq!(
            device.peers[&secret(3).public_key()].persistent_keepalive,
            25
        );
        assert!(device.peers[&b.public_key()].handshake_age.is_some());
    });
}
