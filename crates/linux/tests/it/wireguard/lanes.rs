//! Devices of several queues: who may have them, and what order packets keep.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use routerd_core::observed::Driver;

use super::site::{Site, address, connected, introduction, program, underlay};
use crate::namespace::fresh;

const FLOWS: usize = 8;
const PACKETS: u32 = 2_000;
/// Under way at the same time, of each flow: the socket at the far end holds those of all.
const WINDOW: u32 = 5;

fn queues(site: &Site) -> usize {
    let shown = site.run("ip -d link show wg0");
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "numqueues");
    words.next().map_or(1, |n| n.parse().expect("number"))
}

#[test]
fn a_device_has_a_queue_for_each_core_and_one_process() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(queues(&a), cores.min(8));
        let second = a.inside(|| {
            Command::new(program())
                .args(["tunnel", "wireguard", "--interface", "wg0", "--foreground"])
                .args(["--uapi-dir", "/nonexistent/elsewhere"])
                .output()
                .expect("run")
        });
        assert!(!second.status.success(), "it would take packets away");
        let said = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(said.contains("busy"), "{said}");
        assert_eq!(queues(&a), cores.min(8));
        b.reaches("10.9.0.1");
    });
}

#[test]
fn a_device_that_was_made_for_one_queue_keeps_it() {
    fresh(|| {
        let (a, b) = underlay();
        a.run("ip tuntap add wg0 mode tun vnet_hdr; ip link set wg0 alias 'managed by routerd'");
        for (site, other, number) in [(&a, &b, 1_u8), (&b, &a, 2)] {
            site.create(Driver::UserSpace).expect("create");
            site.set(&introduction(site, other, 3 - number));
            address(site, number);
        }
        assert_eq!(queues(&a), 1);
        b.reaches("10.9.0.1");
    });
}

/// Sends numbered datagrams of many flows to where they are sent back, and looks at both ends that none of a flow
/// overtakes another.
#[test]
fn no_packet_of_a_flow_overtakes_another() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        for site in [&a, &b] {
            // The link itself would change the order whenever a sender changes cores.
            site.run(
                "mount -t sysfs none /sys; echo 1 > /sys/class/net/under/queues/rx-0/rps_cpus",
            );
        }
        let far: SocketAddr = "10.9.0.2:7000".parse().expect("address");
        let echo = b.inside(|| UdpSocket::bind(far)).expect("bind");
        let patience = Some(Duration::from_secs(5));
        echo.set_read_timeout(patience).expect("timeout");
        let flow = |_| {
            let socket = a.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("bind");
            socket.connect(far).expect("connect");
            socket.set_read_timeout(patience).expect("timeout");
            socket
        };
        let flows: Vec<UdpSocket> = (0..FLOWS).map(flow).collect();
        let answered = || {
            let mut last = std::collections::BTreeMap::new();
            for _ in 0..FLOWS as u32 * PACKETS {
                let mut bytes = [0; 1_400];
                let (length, from) = echo.recv_from(&mut bytes).expect("every packet arrives");
                let number = number(&bytes);
                let before = last.insert(from, number).map_or(0, |n| n + 1);
                assert_eq!(number, before, "{from}");
                echo.send_to(&bytes[..length], from).expect("answer");
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(answered);
            for (which, socket) in flows.iter().enumerate() {
                scope.spawn(move || exchange(socket, which));
            }
        });
    });
}

/// Sends all packets of a flow, some of them large, and takes their answers in the same order.
fn exchange(socket: &UdpSocket, which: usize) {
    let mut awaited = 0;
    for sent in 0..PACKETS {
        let length = if (sent as usize + which).is_multiple_of(3) {
            1_300
        } else {
            60
        };
        let mut bytes = vec![0; length];
        bytes[..4].copy_from_slice(&sent.to_be_bytes());
        socket.send(&bytes).expect("send");
        while sent - awaited >= WINDOW {
            expect(socket, &mut awaited);
        }
    }
    while awaited < PACKETS {
        expect(socket, &mut awaited);
    }
}

fn expect(socket: &UdpSocket, awaited: &mut u32) {
    let mut bytes = [0; 1_400];
    socket.recv(&mut bytes).expect("every answer arrives");
    assert_eq!(number(&bytes), *awaited);
    *awaited += 1;
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
