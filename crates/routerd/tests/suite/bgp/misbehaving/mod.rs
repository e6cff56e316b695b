//! Peers that do everything wrong, against the running daemon: what each is told, and that nobody else notices.
//!
//! ```text
//! 127.0.0.2 announces 10.1.0.0/16 hosts ──► routerd ──► 127.0.0.3 hears them, all the time
//! 127.0.0.4 … 127.0.0.9 misbehave      ──►    ▲
//! ```
//!
//! The cases are those of Forescout's bgp_boofuzzer: every field of every message, one at a time, then mutations of valid
//! messages, from a seed that is printed.

mod cases;

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

use cases::{Stage, wrong_headers, wrong_opens, wrong_updates};

use super::raw::{
    ATTRIBUTES, Heard, KEEPALIVE, NOTIFICATION, OPEN, REFRESH, Raw, host, message, open, update,
};
use super::{apply, topology};
use crate::daemon::{Daemon, until};
use crate::namespace::{isolated, run};

const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OBSERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const BAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 5);
const DEAF: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);
/// Sessions with mutated messages; `BGP_MUTATIONS` makes it more.
const MUTATIONS: u64 = 400;
/// Octets that a daemon under attack may grow by.
const GROWTH: u64 = 64 << 20;
/// How long a route takes from one well-behaved peer to the other while others misbehave.
const PROMPT: Duration = Duration::from_secs(5);

fn configuration() -> String {
    let mut text = String::from(
        "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\nmetadata: {name: main}\nspec:\n  \
         asn: 65000\n  routerID: 10.99.0.1\n  \
         importPolicy: {allowedPrefixes: [10.0.0.0/8], allowedPrefixLengthMin: 32}\n",
    );
    for (name, address, more) in [
        ("source", SOURCE, ""),
        ("observer", OBSERVER, ""),
        ("bad", BAD, ""),
        ("greedy", GREEDY, "  maxPrefixes: 1000\n"),
        ("deaf", DEAF, ""),
    ] {
        let _ = write!(
            text,
            "---\napiVersion: net.routerd.net/v1alpha1\nkind: BGPPeer\nmetadata: {{name: {name}}}\nspec:\n  \
             peerASN: 65000\n  peers: [{address}]\n  passiveMode: true\n  routeReflectorClient: true\n{more}"
        );
    }
    text
}

/// The daemon, and two sessions that have to stay as they are.
struct Scene {
    daemon: Daemon,
    source: Raw,
    _observer: Raw,
    heard: Arc<Mutex<Heard>>,
    /// Routes that were announced so far.
    announced: u32,
    memory: u64,
}

impl Scene {
    fn new(folder: &std::path::Path) -> Self {
        topology();
        let mut daemon = Daemon::new(folder);
        daemon.start();
        apply(&daemon, folder, &configuration());
        let observer = Raw::established(OBSERVER, 0);
        let heard = observer.listen();
        let source = Raw::established(SOURCE, 0);
        source.listen();
        let mut scene = Self {
            memory: 0,
            daemon,
            source,
            _observer: observer,
            heard,
            announced: 0,
        };
        scene.is_undisturbed("nothing yet");
        scene.memory = scene.resident();
        scene
    }

    /// One more route goes from one well-behaved peer to the other; all earlier ones are still there.
    fn is_undisturbed(&mut self, by: &str) {
        let start = Instant::now();
        self.source
            .send(&update(&[], &ATTRIBUTES, &host(1, self.announced)));
        self.announced += 1;
        let expected = self.announced as usize;
        until(&format!("a route goes through, disturbed by {by}"), || {
            let heard = self.heard.lock().expect("lock");
            assert!(!heard.ended, "{by}: the observer lost its session");
            assert_eq!(
                heard.withdrawn.get(&1),
                None,
                "{by}: the observer lost routes"
            );
            heard.routes.iter().filter(|route| route[1] == 1).count() == expected
        });
        assert!(start.elapsed() < PROMPT, "{by}: {:?}", start.elapsed());
    }

    /// Octets of the daemon in memory.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.pid());
        let status = std::fs::read_to_string(path).expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS"));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        number.and_then(|n| n.parse::<u64>().ok()).expect("VmRSS") << 10
    }

    fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.daemon.pid());
        std::fs::read_dir(path).expect("the daemon runs").count()
    }

    fn peer(&self, address: Ipv4Addr) -> Value {
        let (code, said) = self
            .daemon
            .routerctl_apart(&["get", "bgp", "peers", "-o", "json"]);
        assert_eq!(code, 0, "{said}");
        let view: Value = serde_json::from_str(&said).expect("JSON");
        let mut peers = view["peers"].as_array().cloned().unwrap_or_default();
        peers.retain(|peer| peer["address"] == address.to_string());
        peers.pop().expect("the peer")
    }

    fn count(&self, address: Ipv4Addr, counter: &str) -> u64 {
        self.peer(address)["counters"][counter]
            .as_u64()
            .expect("a counter")
    }
}

/// Sends something wrong from a peer of its own, and says what came back.
fn attack(stage: Stage, octets: &[u8]) -> Option<(u8, u8)> {
    let mut raw = match stage {
        Stage::Connected => Raw::connect(BAD),
        Stage::OpenSent => {
            let mut raw = Raw::connect(BAD);
            raw.send(&open(90, BAD.octets()));
            raw
        }
        Stage::Established => Raw::established(BAD, 90),
    };
    raw.send(octets);
    // Octets of a message that is not there in full are no answer's cause: one that is whole follows.
    raw.send(&message(KEEPALIVE, &[]));
    raw.end()
}

fn field_by_field(scene: &mut Scene) {
    let cases = [wrong_headers(), wrong_opens(), wrong_updates()].concat();
    for (name, stage, octets, expected) in &cases {
        let seen = attack(*stage, octets);
        assert_eq!(seen, *expected, "{name}, {stage:?}");
        if let Some((code, subcode)) = expected {
            let said = &scene.peer(BAD)["last_error"]["sent"];
            assert_eq!(
                (&said["code"], &said["subcode"]),
                (&(*code).into(), &(*subcode).into()),
                "{name}: {said}"
            );
        }
    }
    scene.is_undisturbed("wrong fields");
    let reset = cases.iter().filter(|case| case.3.is_some()).count() as u64;
    assert_eq!(scene.count(BAD, "notifications_out"), reset);
    assert!(
        scene.count(BAD, "treated_as_withdraw") >= 8,
        "{}",
        scene.peer(BAD)
    );
    let reasons = scene.peer(BAD)["families"].to_string();
    for reason in [
        "cluster-loop",
        "originator-loop",
        "next-hop-unusable",
        "prefix-not-allowed",
    ] {
        assert!(
            reasons.contains(reason) || reasons.contains("prefix-length"),
            "{reason}: {reasons}"
        );
    }
    println!("{} cases, {reset} of them ended the session", cases.len());
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).expect("small")
    }

    /// A few octets changed, cut out, doubled, or replaced by a value at a limit.
    fn mutate(&mut self, octets: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len().max(1));
            match self.below(6) {
                0 => octets.truncate(at),
                1 => octets.extend_from_within(at.min(octets.len())..),
                2 => octets.insert(at.min(octets.len()), 0xff),
                _ if octets.is_empty() => octets.push(0),
                3 => octets[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.below(6)],
                // Behind the header more often than not.
                4 if octets.len() > 19 => {
                    let at = 19 + self.below(octets.len() - 19);
                    octets[at] ^= 1 << self.below(8);
                }
                _ => octets[at] ^= 1 << self.below(8),
            }
        }
    }
}

/// Valid messages, changed; each session has to end within its time, and the daemon to go on.
fn mutations(scene: &mut Scene) {
    let wanted = std::env::var("BGP_MUTATIONS").ok();
    let count = wanted.and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let seeds = [
        open(90, BAD.octets()),
        update(&[], &ATTRIBUTES, &[host(3, 1), host(3, 2)].concat()),
        update(&host(3, 1), &[], &[]),
        update(
            &[],
            &[
                &ATTRIBUTES[..],
                &[
                    0xc0, 8, 4, 1, 2, 3, 4, 0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
                ],
            ]
            .concat(),
            &host(3, 3),
        ),
        message(REFRESH, &[0, 1, 0, 1]),
        message(REFRESH, &[0, 1, 1, 1]),
        message(NOTIFICATION, &[6, 2, 3, b'b', b'y', b'e']),
        message(KEEPALIVE, &[]),
    ];
    for seed in 0..count {
        let mut random = Random(seed);
        let stage = [
            Stage::Connected,
            Stage::OpenSent,
            Stage::Established,
            Stage::Established,
        ][random.below(4)];
        let mut octets = Vec::new();
        for _ in 0..=random.below(3) {
            let mut one = seeds[random.below(seeds.len())].clone();
            random.mutate(&mut one);
            octets.extend(one);
        }
        println!("seed {seed}: {stage:?}");
        attack(stage, &octets);
        if seed % 100 == 99 {
            scene.is_undisturbed("mutations");
        }
    }
}

/// 5,000 prefixes where 1,000 are allowed: the session ends with Cease/1, and is not taken up again.
fn too_many(scene: &mut Scene) {
    let mut raw = Raw::established(GREEDY, 90);
    for first in (0..5_000).step_by(500) {
        let hosts: Vec<[u8; 5]> = (first..first + 500).map(|n| host(4, n)).collect();
        raw.send(&update(&[], &ATTRIBUTES, &hosts.concat()));
    }
    assert_eq!(raw.outcome(), Some((6, 1)));
    let mut again = Raw::connect(GREEDY);
    assert_eq!(again.outcome(), Some((6, 5)), "let in again");
    let peer = scene.peer(GREEDY);
    assert_eq!(peer["shutdown"], true, "{peer}");
    assert_eq!(peer["families"]["ipv4-unicast"]["accepted"], 0, "{peer}");
    scene.is_undisturbed("too many prefixes");
}

/// Halves of messages, and none: neither a new connection nor the hold timer waits for their rest.
fn slow_loris(scene: &mut Scene) {
    let mut first = Raw::connect(BAD);
    first.send(&open(90, BAD.octets())[..20]);
    let mut second = Raw::established(BAD, 3);
    assert_eq!(first.outcome(), Some((6, 7)), "the one before is given up");
    let whole = update(&[], &ATTRIBUTES, &host(5, 1));
    // An octet with every sign of life of the daemon's: one a second.
    let mut octets = whole[..whole.len() - 1].iter();
    let outcome = loop {
        match second.receive() {
            Some((KEEPALIVE, _)) => {
                second.send(&[*octets.next().expect("the hold time is three seconds")])
            }
            Some((NOTIFICATION, body)) => break (body[0], body[1]),
            Some(_) => {}
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!(outcome, (4, 0), "halves are no sign of life");
    scene.is_undisturbed("a slow loris");
}

/// Connections without end, from a peer and from strangers.
fn flood(scene: &mut Scene) {
    let before = scene.descriptors();
    let mut open: Vec<Raw> = Vec::new();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("the limit of this test itself");
    let count = most.saturating_sub(300).clamp(500, 2_000) as u32;
    println!("a flood of {count} connections");
    for number in 0..count {
        let [_, _, high, low] = number.to_be_bytes();
        let stranger = Ipv4Addr::new(127, 9, high, low);
        open.push(Raw::connect(if number % 2 == 0 { BAD } else { stranger }));
        if number % 500 == 499 {
            scene.is_undisturbed("a flood of connections");
        }
    }
    until("one connection of the peer is left", || {
        scene.descriptors() <= before + 1
    });
    drop(open);
    until("none is left", || scene.descriptors() <= before);
}

/// A connection comes while the daemon has no descriptor to take it with: it waits until there is one.
fn no_descriptors(scene: &mut Scene) {
    let pid = scene.daemon.pid();
    let limit = |count| run(&format!("prlimit --pid {pid} --nofile={count}:"));
    limit("3");
    let mut waiting = Raw::connect(BAD);
    waiting.send(&open(90, BAD.octets()));
    until("it is noticed", || {
        scene.daemon.log().contains("accept a BGP connection")
    });
    limit("1000");
    let (kind, body) = waiting.receive().expect("an answer");
    assert_eq!(kind, OPEN, "{body:?}");
    scene.is_undisturbed("a time without descriptors");
}

/// A peer that takes nothing while the table changes all the time: what waits for it is bounded, others get theirs.
fn deaf(scene: &mut Scene) {
    let mut deaf = Raw::established(DEAF, 0);
    deaf.take_little();
    until("it is told what there is", || {
        scene.peer(DEAF)["families"]["ipv4-unicast"]["in_sync"] == true
    });
    let hosts: Vec<[u8; 5]> = (0..2_000).map(|n| host(6, n)).collect();
    for round in 0..3_u8 {
        for (number, host) in (0_u16..).zip(&hosts) {
            // 900 communities of its own each: 7 MB, more than the kernel takes for a peer that reads nothing.
            let [high, low] = number.to_be_bytes();
            let communities = [high, low, round, 1].repeat(900);
            let attributes = [&ATTRIBUTES[..], &[0xd0, 8, 0x0e, 0x10], &communities].concat();
            scene.source.send(&update(&[], &attributes, host));
        }
    }
    until("much waits for it", || {
        scene.count(DEAF, "queued") > 1 << 20
    });
    // The speaker's limit is 4 MiB and a batch.
    let queued = scene.count(DEAF, "queued");
    assert!(
        queued <= 16 << 20,
        "{queued} octets wait for a peer that takes none"
    );
    println!("{queued} octets wait for the peer that takes none");
    for part in hosts.chunks(700) {
        scene.source.send(&update(&part.concat(), &[], &[]));
    }
    until("the last change is through", || {
        let heard = scene.heard.lock().expect("lock");
        heard.withdrawn.get(&6) >= Some(&hosts.len())
            && !heard.routes.iter().any(|route| route[1] == 6)
    });
    // Requests whose answers it does not read either: the queue does not grow for ever, whatever becomes of the session.
    let request = message(REFRESH, &[0, 1, 0, 1]).repeat(1_000);
    for _ in 0..300 {
        deaf.send(&request);
    }
    until("all requests are read, or the session is over", || {
        let peer = scene.peer(DEAF);
        let read = peer["counters"]["refreshes_in"].as_u64() >= Some(300_000);
        read || peer["last_error"]["sent"]["subcode"] == 8
    });
    let queued = scene.count(DEAF, "queued");
    assert!(
        queued <= 16 << 20,
        "{queued} octets wait for a peer that asks and asks"
    );
    println!(
        "after its requests: {queued} octets, {}",
        scene.peer(DEAF)["last_error"]
    );
    scene.is_undisturbed("a peer that does not read");
}

fn misbehaving() {
    let folder = tempfile::tempdir().expect("folder");
    let mut scene = Scene::new(folder.path());
    for (name, attack) in [
        ("wrong fields", field_by_field as fn(&mut Scene)),
        ("mutations", mutations),
        ("too many prefixes", too_many),
        ("slow loris", slow_loris),
        ("flood", flood),
        ("no descriptors", no_descriptors),
        ("deaf", deaf),
    ] {
        let start = Instant::now();
        attack(&mut scene);
        let grown = scene.resident().saturating_sub(scene.memory);
        assert!(grown < GROWTH, "{name}: grown by {grown} octets");
        println!(
            "{name}: {:.1} s, {} KiB grown",
            start.elapsed().as_secs_f64(),
            grown >> 10
        );
    }
    for address in [SOURCE, OBSERVER] {
        assert_eq!(
            scene.count(address, "established"),
            1,
            "{address} came back"
        );
    }
    let log = scene.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn peers_that_do_everything_wrong_disturb_nobody() {
    isolated(
        "bgp::misbehaving::peers_that_do_everything_wrong_disturb_nobody",
        misbehaving,
    );
}
