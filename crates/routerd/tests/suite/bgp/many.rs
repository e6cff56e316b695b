//! Many routes at once, from two peers of this test's own, into the kernel and out of it again:
//!
//! ```text
//! r0 10.99.0.1/24: routerd ◄── lo ──► 10.99.0.2, 10.99.0.3: the peers; their next hops are beyond r0
//! ```

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use super::{apply, routes};
use crate::daemon::{Daemon, until};
use crate::namespace::{isolated, run};

const ROUTES: u32 = 10_000;
const FIRST: u32 = u32::from_be_bytes([20, 0, 0, 0]);

const CONFIGURATION: &str = "\
apiVersion: net.routerd.net/v1alpha1
kind: BGPRouter
metadata: {name: main}
spec:
  asn: 65000
  routerID: 10.99.0.1
  listen: {address: 10.99.0.1}
---
apiVersion: net.routerd.net/v1alpha1
kind: BGPDynamicPeer
metadata: {name: peers}
spec:
  peerASN: 65000
  listen: {sourcePrefixes: [10.99.0.0/24]}
  routeReflectorClient: true
  importPolicy: {allowedPrefixes: [20.0.0.0/8], allowedPrefixLengthMin: 32}
";

/// A session that says and reads nothing by itself.
struct Peer(TcpStream);

impl Peer {
    fn establish(last: u8) -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("socket");
        setsockopt(&socket, sockopt::ReuseAddr, &true).expect("option");
        let own = SockaddrIn::new(10, 99, 0, last, 0);
        bind(socket.as_raw_fd(), &own).expect("bind");
        let speaker = SockaddrIn::new(10, 99, 0, 1, 179);
        connect(socket.as_raw_fd(), &speaker).expect("connect");
        let mut peer = Self(TcpStream::from(socket));
        let mut open = vec![4, 0xfd, 0xe8, 0, 180, 10, 99, 0, last];
        open.extend([14, 2, 12, 1, 4, 0, 1, 0, 1, 65, 4, 0, 0, 0xfd, 0xe8]);
        peer.say(1, &open);
        assert_eq!(peer.hear(), 1, "an OPEN");
        peer.say(4, &[]);
        assert_eq!(peer.hear(), 4, "a KEEPALIVE");
        // What it is told of the other's routes is read and forgotten.
        let mut told = peer.0.try_clone().expect("socket");
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        peer
    }

    fn say(&mut self, kind: u8, body: &[u8]) {
        let mut message = vec![0xff; 16];
        message.extend((19 + body.len() as u16).to_be_bytes());
        message.push(kind);
        message.extend(body);
        self.0.write_all(&message).expect("send");
    }

    /// The type of the next message.
    fn hear(&mut self) -> u8 {
        let mut header = [0; 19];
        self.0.read_exact(&mut header).expect("a header");
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        let mut body = vec![0; length - header.len()];
        self.0.read_exact(&mut body).expect("a body");
        header[18]
    }

    fn announce_all(&mut self, next_hop: &str, preference: u32) {
        let next_hop: Ipv4Addr = next_hop.parse().expect("address");
        let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4];
        attributes.extend(next_hop.octets());
        attributes.extend([0x40, 5, 4]);
        attributes.extend(preference.to_be_bytes());
        for routes in all().chunks(500) {
            let mut body = vec![0, 0];
            body.extend((attributes.len() as u16).to_be_bytes());
            body.extend(&attributes);
            body.extend(routes.as_flattened());
            self.say(2, &body);
        }
    }

    fn withdraw_all(&mut self) {
        for routes in all().chunks(500) {
            let mut body = ((routes.len() * 5) as u16).to_be_bytes().to_vec();
            body.extend(routes.as_flattened());
            body.extend([0, 0]);
            self.say(2, &body);
        }
    }
}

/// Every `/32` as it stands in an UPDATE.
fn all() -> Vec<[u8; 5]> {
    let net = |route: u32| {
        let [a, b, c, d] = (FIRST + route).to_be_bytes();
        [32, a, b, c, d]
    };
    (0..ROUTES).map(net).collect()
}

/// Waits until all routes, and no other, lead to a gateway.
fn until_all_via(gateway: &str) {
    let via = format!("via {gateway} ");
    until(&format!("all routes {via}"), || {
        let routes = routes();
        let lines = routes.lines().count();
        lines == ROUTES as usize && routes.lines().all(|line| line.contains(&via))
    });
}

/// The kernel follows, whoever changes what, and however many routes it is about.
#[test]
fn many_routes_follow_peers_next_hops_and_hands() {
    isolated(
        "bgp::many::many_routes_follow_peers_next_hops_and_hands",
        || {
            run("ip link add r0 type veth peer name p0");
            run("ip address add 10.99.0.1/24 dev r0");
            run("ip link set r0 up");
            run("ip link set p0 up");
            for last in [2, 3] {
                run(&format!("ip address add 10.99.0.{last}/32 dev lo"));
            }
            let folder = tempfile::tempdir().expect("folder");
            let mut daemon = Daemon::new(folder.path());
            daemon.start();
            apply(&daemon, folder.path(), CONFIGURATION);
            let (mut owner, mut better) = (Peer::establish(2), Peer::establish(3));
            owner.announce_all("10.99.0.11", 100);
            until_all_via("10.99.0.11");
            better.announce_all("10.99.0.12", 200);
            until_all_via("10.99.0.12");
            // The next hop moves behind a router.
            run("ip route add 10.99.0.12/32 via 10.99.0.13");
            until_all_via("10.99.0.13");
            // Somebody else's hand is noticed in the middle of it all.
            run("ip route del 20.0.0.7/32 proto 83");
            until_all_via("10.99.0.13");
            drop(better.0.shutdown(std::net::Shutdown::Both));
            run("ip route del 20.0.0.8/32 proto 83");
            until_all_via("10.99.0.11");
            owner.withdraw_all();
            until("no routes", || routes().is_empty());
            daemon.stop();
        },
    );
}
