//! The ARP responder against a real station:
//!
//! ```text
//! this namespace            station's namespace
//! lan 10.0.0.1/24 ───────── far 10.0.0.2/24
//! holds 10.0.0.9
//! ```

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use linux::arp::Responder;

use crate::namespace::{fresh, run};

const LIMIT: Duration = Duration::from_secs(10);
const ROUTER: &str = "02:00:00:00:00:01";
const STATION: &str = "02:00:00:00:00:02";

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
            "ip link add lan address {ROUTER} type veth peer name far address {STATION} netns {}; \
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

    /// Starts to listen; ARP as tcpdump prints it comes out.
    fn listen(&self) -> Sniffer {
        let command = self.enter("tcpdump -lnnei far arp");
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command} 2>&1")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tcpdump");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let started = lines.any(|line| line.expect("line").starts_with("listening on"));
        assert!(started, "tcpdump does not listen");
        let (line, received) = channel();
        std::thread::spawn(move || {
            for text in lines.map_while(Result::ok) {
                if line.send((Instant::now(), text)).is_err() {
                    return;
                }
            }
        });
        Sniffer { child, received }
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.0.kill().expect("kill the station");
        self.0.wait().expect("wait for the station");
    }
}

struct Sniffer {
    child: Child,
    received: Receiver<(Instant, String)>,
}

impl Sniffer {
    /// The next frame whose text holds all of these.
    #[track_caller]
    fn expect(&self, parts: &[&str]) -> Instant {
        let deadline = Instant::now() + LIMIT;
        let mut heard = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.received.recv_timeout(left) {
                Ok((when, line)) if parts.iter().all(|part| line.contains(part)) => return when,
                Ok((_, line)) => heard.push(line),
                Err(_) => panic!("nothing like {parts:?} in {heard:#?}"),
            }
        }
    }

    fn so_far(&self) -> Vec<String> {
        self.received.try_iter().map(|(_, line)| line).collect()
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.child.kill().expect("kill tcpdump");
        self.child.wait().expect("wait for tcpdump");
    }
}

const FROM_ROUTER: &str = "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff";
const PROBE: [&str; 2] = [FROM_ROUTER, "Request who-has 10.0.0.9 tell 0.0.0.0"];
const ANNOUNCEMENT: [&str; 2] = [FROM_ROUTER, "Request who-has 10.0.0.9 tell 10.0.0.9"];
const GRATUITOUS_REPLY: [&str; 2] = [FROM_ROUTER, "Reply 10.0.0.9 is-at 02:00:00:00:00:01"];
/// How the station asks whether the address is free: exit status 0 if it is not.
const IS_TAKEN: &str = "arping -q -0 -c 1 -w 2 -i far 10.0.0.9";
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
        let start = sniffer.expect(&PROBE);
        let first = sniffer.expect(&ANNOUNCEMENT);
        sniffer.expect(&GRATUITOUS_REPLY);
        let second = sniffer.expect(&ANNOUNCEMENT);
        sniffer.expect(&GRATUITOUS_REPLY);
        assert!(first - start >= Duration::from_millis(150));
        assert!(second - first > Duration::from_secs(1));

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
        while !station.run("ip neigh show 10.0.0.9").contains(ROUTER) {
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
        sniffer.expect(&PROBE);
        sniffer.expect(&PROBE);
        // Established once a probe is answered.
        station.run(IS_TAKEN);
        assert!(responder.conflicts().is_empty());
        hold(&mut responder, true);
        station.run(USURP);
        assert_eq!(rival(&responder), [2, 0, 0, 0, 0, 2]);
        sniffer.expect(&ANNOUNCEMENT);
        station.run(USURP);
        let more = sniffer.so_far();
        let defences = more
            .iter()
            .filter(|line| line.contains(ANNOUNCEMENT[0]) && line.contains(ANNOUNCEMENT[1]));
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
        sniffer.expect(&PROBE);
        sniffer.expect(&[STATION, "Reply 10.0.0.9 is-at"]);
        assert_eq!(rival(&responder), [2, 0, 0, 0, 0, 2]);
        // He falls silent: only then the address is taken.
        station.run("ip addr del 10.0.0.9/24 dev far");
        let silent = Instant::now();
        sniffer.expect(&PROBE);
        assert!(sniffer.expect(&ANNOUNCEMENT) > silent);
    });
}

#[test]
fn an_interface_that_comes_back_is_taken_again() {
    fresh(|| {
        let station = Station::new();
        let mut responder = Responder::default();
        hold(&mut responder, true);
        station.listen().expect(&ANNOUNCEMENT);
        run("ip link set lan down");
        let sniffer = station.listen();
        run("ip link set lan up");
        sniffer.expect(&ANNOUNCEMENT);
        run("ip link del lan");
        station.plug_in();
        station.listen().expect(&ANNOUNCEMENT);
        station.run(IS_TAKEN);
    });
}
