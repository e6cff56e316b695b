//! User-space devices under what strangers and a busy administrator send.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519::{PublicKey, StaticSecret};
use routerd_core::observed::Driver;

use super::site::{Site, connected, secret, transfers};
use crate::namespace::fresh;

/// Strangers, each with an address and a key of its own.
const STRANGERS: u16 = 1_000;

/// Messages that they send in all.
const MESSAGES: usize = 200_000;

/// A handshake initiation that `to` has to look at: the stranger knows its public key.
fn initiation(number: u16, to: &Site) -> Vec<u8> {
    let mut key = [7; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let to = PublicKey::from(to.public_key().0);
    let mut tunn = Tunn::new(StaticSecret::from(key), to, None, None, number.into(), None);
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

#[test]
fn a_flood_of_strangers_does_not_stop_traffic() {
    fresh(|| {
        let (a, b) = connected(Driver::UserSpace, Driver::UserSpace);
        let strangers = strangers(&b, &a);
        let flood = || {
            for number in 0..MESSAGES {
                let (socket, message) = &strangers[number % strangers.len()];
                let mut message = message.clone();
                match number % 4 {
                    // Garbage of three kinds: no handshake, data for nobody, a broken handshake.
                    0 => message.fill(number as u8),
                    1 => message[..4].copy_from_slice(&[4, 0, 0, 0]),
                    2 => message[20] ^= 1,
                    _ => {}
                }
                // Refused where the queue is full: then it is full.
                let _ = socket.send(&message);
            }
        };
        std::thread::scope(|scope| {
            let flood = scope.spawn(flood);
            let mut transferred = 0;
            while !flood.is_finished() || transferred == 0 {
                assert!(transfers(&b, &a, "10.9.0.1", 500_000));
                transferred += 500_000;
            }
            println!("{transferred} bytes went through in the meantime");
        });
        // And a newcomer that is one of ours gets in.
        let device = a.observe().expect("device");
        assert_eq!(device.peers.len(), 1);
        b.inside(|| b.drivers.delete(&b.ifname)).expect("delete");
        b.create(Driver::UserSpace).expect("create");
        b.set(&super::site::introduction(&b, &a, 1));
        super::site::address(&b, 2);
        b.reaches("10.9.0.1");
    });
}

#[test]
fn prefixes_move_by_the_thousand_and_nothing_is_lost() {
    const REQUESTS: usize = 2_000;
    const MOVES: usize = 10;
    fresh(|| {
        let (a, _b) = connected(Driver::UserSpace, Driver::UserSpace);
        let hex = |byte: u8| -> String {
            let key = secret(byte).public_key();
            key.0.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        let peers = [hex(60), hex(61)];
        let mut ping = a.spawn("exec ping -n -i 0.002 -c 500 -W 2 10.9.0.2 > /run/ping");
        let mut socket = UnixStream::connect(a.socket()).expect("connect");
        let started = Instant::now();
        for number in 0..REQUESTS {
            let mut request = format!("set=1\npublic_key={}\n", peers[number % 2]);
            for net in 0..MOVES {
                request += &format!("allowed_ip=10.50.{net}.0/24\n");
            }
            socket
                .write_all((request + "\n").as_bytes())
                .expect("request");
            let mut answer = [0; 9];
            socket.read_exact(&mut answer).expect("answer");
            assert_eq!(&answer, b"errno=0\n\n");
        }
        let rate = (REQUESTS * MOVES) as f64 / started.elapsed().as_secs_f64();
        println!("{rate:.0} moves a second");
        ping.wait().expect("ping");
        let result = a.run("cat /run/ping");
        assert!(result.contains("500 received"), "{result}");
        let device = a.observe().expect("device");
        let held = |byte| device.peers[&secret(byte).public_key()].allowed_ips.len();
        assert_eq!((held(60), held(61)), (0, MOVES));
        assert_eq!(
            a.run("wg show wg0 allowed-ips").matches("10.50.").count(),
            MOVES
        );
    });
}
