//! The ARP responder against a real station:
//!
//! ```text
//! this namespace            station's namespace
//! lan 10.0.0.1/24 ───────── far 10.0.0.2/24
//! holds 10.0.0.9
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use linux::arp::Responder;
use linux::namespace::Namespaces;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use routerd_core::arp::{BROADCAST, Mac, Operation, Packet};

use crate::namespace::{fresh, run};

const LIMIT: Duration = Duration::from_secs(10);
const ROUTER: Mac = [2, 0, 0, 0, 0, 1];
const STATION: Mac = [2, 0, 0, 0, 0, 2];
const MOBILE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// A station in a namespace of its own, which ends with it.
struct Station(Child);

impl Station {
    fn new() -> Self {
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec sleep 1000"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("ready");
        let station = Self(child);
        station.plug_in();
        station
    }

    /// Makes the link between the two.
    fn plug_in(&self) {
        run(&format!(
            "ip link add lan address 02:00:00:00:00:01 type veth \
             peer name far address 02:00:00:00:00:02 netns {}; \
             ip addr add 10.0.0.1/24 dev lan; ip link set lan up",
            self.0.id()
        ));
        self.run("ip addr add 10.0.0.2/24 dev far; ip link set far up");
    }

    fn enter(&self, command: &str) -> String {
        format!("nsenter --net=/proc/{}/ns/net {command}", self.0.id())
    }

    #[track_caller]
    fn run(&self, command: &str) -> String {
        run(&self.enter(&format!("sh -ec '{command}'")))
    }

    /// Starts to listen on all that the station hears and says.
    fn listen(&self) -> Sniffer {
        let namespaces = Namespaces::of_process(self.0.id()).expect("namespaces");
        let (frame, received) = channel();
        // tcpdump would want to become another user, which not every user namespace has.
        let flags = SockFlag::SOCK_CLOEXEC;
        let all = SockProtocol::EthAll;
        let open = || socket(AddressFamily::Packet, SockType::Raw, flags, all);
        let socket = namespaces.in_network(open).expect("enter").expect("socket");
        std::thread::spawn(move || {
            let timeout = TimeVal::milliseconds(100);
            setsockopt(&socket, sockopt::ReceiveTimeout, &timeout).expect("timeout");
            let mut bytes = [0; 2048];
            loop {
                let length = recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty()).unwrap_or(0);
                let Some(packet) = Packet::parse(&bytes[..length]) else {
                    continue;
                };
                let destination: Mac = bytes[..6].try_into().expect("six");
                if frame.send((Instant::now(), destination, packet)).is_err() {
                    return;
                }
            }
        });
        Sniffer(received)
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.0.kill().expect("kill the station");
        self.0.wait().expect("wait for the station");
    }
}

struct Sniffer(Receiver<(Instant, Mac, Packet)>);

impl Sniffer {
    /// Waits for a frame like this.
    #[track_caller]
    fn expect(&self, wanted: impl Fn(&Packet) -> bool) -> Instant {
        let deadline = Instant::now() + LIMIT;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok((when, destination, packet)) if wanted(&packet) => {
                    let to_all = packet.sender_mac == ROUTER;
                    assert!(!to_all || destination == BROADCAST, "{destination:?}");
                    return when;
                }
                Ok((_, _, packet)) => heard.push(packet),
                Err(_) => panic!("not heard in {heard:#?}"),
            }
        }
    }

    fn so_far(&self) -> Vec<Packet> {
        self.0.try_iter().map(|(_, _, packet)| packet).collect()
    }
}

fn from_router(packet: &Packet, operation: Operation, sender: Ipv4Addr, target_mac: Mac) -> bool {
    *packet
        == Packet {
            operation,
            sender_mac: ROUTER,
            sender,
            target_mac,
            target: MOBILE,
        }
}

fn probe(packet: &Packet) -> bool {
    from_router(packet, Operation::Request, Ipv4Addr::UNSPECIFIED, [0; 6])
}

fn announcement(packet: &Packet) -> bool {
    from_router(packet, Operation::Request, MOBILE, [0; 6])
}

fn gratuitous_reply(packet: &Packet) -> bool {
    from_router(packet, Operation::Reply, MOBILE, ROUTER)
}

fn reply_of_station(packet: &Packet) -> bool {
    packet.operation == Operation::Reply && packet.sender_mac == STATION && packet.sender == MOBILE
}

/// How the station asks whether the address is free: exit status 0 if it is not.
const IS_TAKEN: &str = "arping -q -0 -c 1 -W 0.5 -w 1 -i far 10.0.0.9";
/// The station says that it has the address; nobody answers that.
const USURP: &str = "arping -q -U -c 1 -W 0.1 -S 10.0.0.9 -i far 10.0.0.9 || true";

fn hold(responder: &mut Responder, gratuitous: bool) {
    let addresses = BTreeMap::from([("10.0.0.9".parse().expect("address"), gratuitous)]);
    let lan = "lan".parse().expect("interface name");
    responder.update(&BTreeMap::from([(lan, addresses)]));
}

/// Waits until somebody else was heard using the address and returns his hardware address.
fn rival(responder: &Responder) -> [u8; 6] {
    let deadline = Instant::now() + LIMIT;
    loop {
        let conflicts = responder.conflicts();
        if let Some(conflict) = conflicts.values().next() {
            assert_eq!(conflict.ifname.as_str(), "lan");
            return conflict.mac;
        }
        assert!(Instant::now() < deadline, "nobody was heard");
        std::thread::yield_now();
    }
}

#[test]
fn an_address_is_announced_and_goes_quietly() {
    fresh(|| {
        let station = Station::new();
        let sniffer = station.listen();
        let mut responder = Responder::default();
        hold(&mut responder, true);
        sniffer.expect(probe);
        sniffer.expect(probe);
        let first = sniffer.expect(announcement);
        sniffer.expect(gratuitous_reply);
        let second = sniffer.expect(announcement);
        sniffer.expect(gratuitous_reply);
        assert!(second - first > Duration::from_millis(500), "spaced");

        station.run(IS_TAKEN);
        responder.update(&BTreeMap::new());
        drop(responder);
        sniffer.so_far();
        station.run(&format!("! {IS_TAKEN}"));
    });
}

#[test]
fn a_station_keeps_its_entry_up_to_date() {
    fresh(|| {
        let station = Station::new();
        station.run("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:77 dev far nud stale");
        let mut responder = Responder::default();
        hold(&mut responder, true);
        let deadline = Instant::now() + LIMIT;
        while !station
            .run("ip neigh show 10.0.0.9")
            .contains("02:00:00:00:00:01")
        {
            assert!(Instant::now() < deadline, "the old entry stays");
        }
    });
}

#[test]
fn a_usurper_is_heard_and_told_off() {
    fresh(|| {
        let station = Station::new();
        let sniffer = station.listen();
        let mut responder = Responder::default();
        hold(&mut responder, false);
        sniffer.expect(probe);
        sniffer.expect(probe);
        let deadline = Instant::now() + LIMIT;
        while station.run(&format!("{IS_TAKEN} && echo taken || true")) != "taken\n" {
            assert!(Instant::now() < deadline, "not established");
        }
        assert!(responder.conflicts().is_empty());
        hold(&mut responder, true);
        station.run(USURP);
        assert_eq!(rival(&responder), STATION);
        sniffer.expect(announcement);
        station.run(USURP);
        let more = sniffer.so_far();
        let defences = more.iter().filter(|packet| announcement(packet));
        assert_eq!(defences.count(), 0, "once in ten seconds: {more:#?}");
    });
}

#[test]
fn the_owner_on_the_same_lan_is_left_alone() {
    fresh(|| {
        let station = Station::new();
        station.run("ip addr add 10.0.0.9/24 dev far");
        let sniffer = station.listen();
        let mut responder = Responder::default();
        hold(&mut responder, true);
        sniffer.expect(probe);
        sniffer.expect(reply_of_station);
        assert_eq!(rival(&responder), STATION);
        // He falls silent: only then the address is taken.
        station.run("ip addr del 10.0.0.9/24 dev far");
        let silent = Instant::now();
        sniffer.expect(probe);
        assert!(sniffer.expect(announcement) > silent);
    });
}

#[test]
fn an_interface_that_comes_back_is_taken_again() {
    fresh(|| {
        let station = Station::new();
        let mut responder = Responder::default();
        hold(&mut responder, true);
        station.listen().expect(announcement);
        run("ip link set lan down");
        let sniffer = station.listen();
        run("ip link set lan up");
        sniffer.expect(announcement);
        run("ip link del lan");
        station.plug_in();
        station.listen().expect(announcement);
        station.run(IS_TAKEN);
    });
}
