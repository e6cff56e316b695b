//! User-space devices under what strangers and a busy administrator send.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use routerd_core::key::{KeySource, PublicKey};
use routerd_core::observed::Driver;

use super::site::{Site, Stop, connected, eventually, peer_change, secret, transfers};
use crate::namespace::fresh;

/// Strangers, each with an address and a key of its own.
const STRANGERS: u16 = 1_000;

/// What the process of a device may grow by, whatever is sent to it.
const GROWTH: u64 = 32 * 1024;

/// A handshake initiation that `to` has to look at: the stranger knows its public key.
fn initiation(number: u16, to: &Site) -> Vec<u8> {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let to = x25519::PublicKey::from(to.public_key().0);
    let mut tunn = Tunn::new(
        x25519::StaticSecret::from(key),
        to,
        None,
        None,
        number.into(),
        None,
    );
    let mut message = [0; 148];
    match tunn.format_handshake_initiation(&mut message, false) {
        TunnResult::WriteToNetwork(message) => message.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn strangers(from: &Site, to: &Site) -> Vec<(UdpSocket, Vec<u8>)> {
    from.run("ip route add local 198.18.0.0/22 dev lo");
    to.run("ip route add 198.18.0.0/22 via 192.0.2.2");
    let bind = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let socket = UdpSocket::bind(SocketAddr::from(([198, 18, high, low], 0))).expect("bind");
        socket.connect("192.0.2.1:51820").expect("connect");
        (socket, initiation(number, to))
    };
    from.inside(|| (0..STRANGERS).map(bind).collect())
}

/// Sends what strangers can send, as fast as possible: initiations that have to be looked at, and garbage of three
/// kinds: no handshake, data for nobody, a broken handshake.
fn flood(strangers: &[(UdpSocket, Vec<u8>)], stop: &AtomicBool) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let (socket, message) = &strangers[sent % strangers.len()];
        let mut message = message.clone();
        match (sent / strangers.len()) % 4 {
            0 => message.fill(sent as u8),
            1 => message[..4].copy_from_slice(&[4, 0, 0, 0]),
            2 => message[20] ^= 1,
            _ => {}
        }
        // Refused where the queue is full: then it is full.
        let _ = socket.send(&message);
        sent += 1;
    }
    sent
}

/// How many strangers were told to prove their address (a cookie reply, 64 bytes of type 3).
fn told_to_prove(strangers: &[(UdpSocket, Vec<u8>)]) -> usize {
    let told = |socket: &UdpSocket| {
        socket.set_nonblocking(true).expect("socket");
        let mut answer = [0; 256];
        let mut answers =
            std::iter::from_fn(|| socket.recv(&mut answer).ok().map(|n| (n, answer[0])));
        answers.any(|seen| seen == (64, 3))
    };
    strangers.iter().filter(|(socket, _)| told(socket)).count()
}

/// Resident memory of a process in KiB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.expect("VmRSS")
}

#[test]
fn a_flood_of_strangers_does_not_stop_traffic() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let strangers = strangers(&b, &a);
        let before = resident(a.pid());
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let stopped = Stop(&stop);
            let flood = scope.spawn(|| flood(&strangers, &stop));
            for _ in 0..6 {
                assert!(transfers(&b, &a, "10.9.0.1", 500_000));
            }
            // A newcomer that is one of ours gets in meanwhile: it is told to prove its address, and does.
            b.inside(|| b.drivers.delete(&b.ifname)).expect("delete");
            b.create(Driver::UserSpace).expect("create");
            b.set(&super::site::introduction(&b, &a, 1));
            super::site::address(&b, 2);
            b.reaches("10.9.0.1");
            drop(stopped);
            println!("{} messages of strangers", flood.join().expect("flood"));
        });
        let told = told_to_prove(&strangers);
        let grown = resident(a.pid()).saturating_sub(before);
        println!("{told} strangers had to prove their address; the process grew by {grown} KiB");
        assert!(told > 0);
        assert!(grown < GROWTH, "{grown} KiB");
        let device = a.observe().expect("device");
        assert_eq!(device.peers.len(), 1);
    });
}

/// A second device at the right site, which shares its addresses with the first: whichever peer of the left device
/// has a prefix, its packets arrive.
fn second_device(a: &Site, b: &Site) -> PublicKey {
    let ifname: api::IfName = "wg1".parse().expect("name");
    let key = secret(3);
    let mut change = peer_change(a.public_key(), &["10.9.0.1/32"], None);
    change.private_key = Some(KeySource::Inline(key.clone()));
    change.listen_port = Some(51_821);
    b.inside(|| {
        let created = b.drivers.create(&ifname, Driver::UserSpace);
        created.and_then(|()| b.drivers.set(&ifname, &change))
    })
    .expect("second device");
    b.run(
        "ip link set wg1 mtu 1420 up; ip route add local 10.50.0.0/16 dev lo; \
         for i in all wg0 wg1; do echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done",
    );
    let endpoint = SocketAddr::from(([192, 0, 2, 2], 51_821));
    a.set(&peer_change(
        key.public_key(),
        &["10.51.0.1/32"],
        Some(endpoint),
    ));
    a.run("ip route add 10.50.0.0/15 dev wg0");
    // Packets that wait for a first session are few.
    eventually("a session with it", || {
        let _ = a.try_run("ping -n -c1 -W0.1 10.51.0.1");
        a.observe()?.peers.get(&key.public_key())?.handshake_age
    });
    key.public_key()
}

/// Prefixes that move, and how many of them in one request.
const PREFIXES: usize = 1_000;
const AT_ONCE: usize = 50;

fn moving(number: usize) -> std::net::Ipv4Addr {
    let [.., high, low] = (number as u32).to_be_bytes();
    [10, 50, high, low].into()
}

/// Moves every prefix from one peer to the other and back, for as long as told; returns moves, and who has them.
fn move_around(a: &Site, peers: &[PublicKey; 2], stop: &AtomicBool) -> (usize, usize) {
    let hex = |key: &PublicKey| -> String { key.0.iter().map(|b| format!("{b:02x}")).collect() };
    let keys = [hex(&peers[0]), hex(&peers[1])];
    let mut socket = UnixStream::connect(a.socket()).expect("connect");
    let mut rounds = 0;
    while rounds == 0 || !stop.load(Ordering::Relaxed) {
        for first in (0..PREFIXES).step_by(AT_ONCE) {
            let mut request = format!("set=1\npublic_key={}\n", keys[rounds % 2]);
            for number in first..first + AT_ONCE {
                request += &format!("allowed_ip={}/32\n", moving(number));
            }
            let sent = socket.write_all((request + "\n").as_bytes());
            sent.expect("request");
            let mut answer = [0; 9];
            socket.read_exact(&mut answer).expect("answer");
            assert_eq!(&answer, b"errno=0\n\n");
        }
        rounds += 1;
    }
    (rounds * PREFIXES, (rounds - 1) % 2)
}

#[test]
fn prefixes_move_by_the_ten_thousand_and_nothing_is_lost() {
    const PACKETS: u32 = 12_000;
    const UNDER_WAY: u32 = 200;
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let arrived = AtomicU32::new(0);
        let peers = [b.public_key(), second_device(&a, &b)];
        let stop = AtomicBool::new(false);
        move_around(&a, &peers, &AtomicBool::new(true));
        let counter = b.inside(|| UdpSocket::bind("0.0.0.0:9000")).expect("bind");
        let room = 8 * 1024 * 1024_usize;
        nix::sys::socket::setsockopt(&counter, nix::sys::socket::sockopt::RcvBuf, &room)
            .expect("room");
        counter
            .set_read_timeout(Some(Duration::from_secs(2)))
            .expect("timeout");
        let sender = a.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("bind");
        let mut ping = a.spawn("exec ping -n -q -i 0.002 -c 1000 -W 2 10.9.0.2 > /run/ping");
        std::thread::scope(|scope| {
            let stopped = Stop(&stop);
            let started = Instant::now();
            let moves = scope.spawn(|| move_around(&a, &peers, &stop));
            let sending = scope.spawn(|| {
                let mut due = Instant::now();
                for number in 0..PACKETS {
                    let to = moving(number as usize * 7 % PREFIXES);
                    sender
                        .send_to(&number.to_be_bytes(), (to, 9000))
                        .expect("send");
                    due += Duration::from_micros(200);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    // After a pause no more than the queues of the kernel have room for.
                    let patience = Instant::now() + Duration::from_secs(2);
                    while number.saturating_sub(arrived.load(Ordering::Relaxed)) > UNDER_WAY {
                        if Instant::now() > patience {
                            return;
                        }
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            });
            let mut seen = std::collections::BTreeSet::new();
            let mut packet = [0; 4];
            while seen.len() < PACKETS as usize && counter.recv(&mut packet).is_ok() {
                seen.insert(u32::from_be_bytes(packet));
                arrived.store(seen.len() as u32, Ordering::Relaxed);
            }
            sending.join().expect("sender");
            drop(stopped);
            let (moves, holder) = moves.join().expect("moves");
            let rate = moves as f64 / started.elapsed().as_secs_f64();
            println!(
                "{rate:.0} moves a second, {} of {PACKETS} packets arrived",
                seen.len()
            );
            assert_eq!(seen.len(), PACKETS as usize);
            assert!(rate >= 10_000.0, "{rate:.0} moves a second");
            ping.wait().expect("ping");
            let result = a.run("cat /run/ping");
            assert!(result.contains("1000 received"), "{result}");
            let device = a.observe().expect("device");
            let held = |at: usize| {
                let nets = &device.peers[&peers[at]].allowed_ips;
                nets.iter()
                    .filter(|net| net.to_string().starts_with("10.50."))
                    .count()
            };
            assert_eq!((held(holder), held(1 - holder)), (PREFIXES, 0));
            assert!(
                device.peers.values().all(|peer| peer.tx_bytes > 100_000),
                "both carried"
            );
        });
        let shown = a.run("wg show wg0 allowed-ips");
        let lines: Vec<_> = shown
            .lines()
            .map(|line| line.matches("10.50.").count())
            .collect();
        assert!(lines.contains(&PREFIXES) && lines.contains(&0), "{lines:?}");
    });
}
