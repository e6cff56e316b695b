//! Random hosts and random configurations on the real kernel: what the plan asks for is done, a second plan is empty,
//! and after the teardown the host is as it was.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use api::{IfName, MobileAddress, ResourceId};
use linux::Host;
use linux::wireguard::Drivers;
use nix::sched::{CloneFlags, unshare};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use routerd_core::effective::{
    AddressIntent, CaptureIntent, CaptureMethod, DeliveryIntent, Effective, RouteIntent, RouteKey,
    RouteTarget,
};
use routerd_core::plan::{plan, query, record, settle};
use routerd_core::{Kernel, Ledger, Observed};

use crate::namespace::{fresh, run};

const LINKS: [&str; 3] = ["lan", "dmz", "tunnel"];

/// What somebody else does to the host, in a universe small enough for things to collide with ours.
fn deed() -> impl Strategy<Value = String> {
    let link = || select(&LINKS[..]);
    let address = select(vec![
        "10.0.0.1/24",
        "10.0.0.2/24",
        "10.0.0.9/24",
        "10.0.0.9/32",
        "10.1.0.1/16",
        "fd00::1/64",
    ]);
    let destination = || select(vec!["default", "10.0.0.9", "10.2.0.0/16", "10.3.0.0/16"]);
    let setting = select(vec![
        "forwarding",
        "rp_filter",
        "send_redirects",
        "promote_secondaries",
    ]);
    let scope = select(vec!["all", "lan", "tunnel"]);
    prop_oneof![
        4 => (link(), address).prop_map(|(l, a)| format!("ip addr add {a} dev {l} nodad")),
        3 => (link(), destination(), select(vec![0, 50, 120]), select(vec![3, 4, 186]))
            .prop_map(|(l, d, m, p)| format!("ip route add {d} dev {l} metric {m} proto {p}")),
        1 => destination().prop_map(|d| format!("ip route add blackhole {d} table 100")),
        1 => destination().prop_map(|d| format!("ip route add {d} nexthop dev lan nexthop dev dmz")),
        2 => (link(), select(vec!["10.0.0.9", "10.0.0.8"]), select(vec!["", "proto 4"]))
            .prop_map(|(l, a, p)| format!("ip neigh add proxy {a} dev {l} {p}")),
        1 => Just("ip rule add from 10.0.0.9 table 100".to_owned()),
        1 => link().prop_map(|l| format!("ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev {l} proto 4")),
        3 => (scope, setting, 0..2).prop_map(|(l, s, v)| format!("sysctl -qw net.ipv4.conf.{l}.{s}={v}")),
        1 => select(vec!["inet filter", "ip routerd", "inet mangle"])
            .prop_map(|t| format!("nft 'add table {t}; add chain {t} c; add rule {t} c counter drop'")),
    ]
}

fn owner() -> ResourceId {
    ResourceId::new("RemoteAddressClaim", "test")
}

fn name(text: &str) -> IfName {
    text.parse().expect("interface name")
}

/// One thing that is asked for.
fn add_wish(wanted: &mut Effective, (kind, link, number): (u8, &str, u8)) {
    let own = (
        name(link),
        format!("10.0.0.{number}/24").parse().expect("address"),
    );
    let key = RouteKey {
        table: if number % 3 == 0 { 100 } else { 254 },
        destination: format!("10.{number}.0.0/16").parse().expect("prefix"),
        metric: 120,
    };
    let target = match kind {
        1 => RouteTarget::Blackhole,
        _ => RouteTarget::Unicast {
            device: Some(name(link)),
            gateway: None,
        },
    };
    match kind {
        0 => drop(
            wanted
                .addresses
                .insert(own, AddressIntent { owner: owner() }),
        ),
        1 | 2 => {
            let intent = RouteIntent {
                owner: owner(),
                target,
                preferred_source: None,
            };
            wanted.routes.insert(key, intent);
        }
        _ => add_capture(
            wanted,
            std::net::Ipv4Addr::new(10, 0, 0, number).into(),
            kind == 3,
        ),
    }
}

fn add_capture(wanted: &mut Effective, address: MobileAddress, by_arp: bool) {
    let route = RouteIntent {
        owner: owner(),
        target: RouteTarget::Unicast {
            device: Some(name("tunnel")),
            gateway: None,
        },
        preferred_source: None,
    };
    let key = RouteKey {
        table: 254,
        destination: address.host_route(),
        metric: 120,
    };
    let capture = CaptureIntent {
        owner: owner(),
        domain: "10.0.0.0/24".parse().expect("prefix"),
        interface: Some(name("lan")),
        tunnel: name("tunnel"),
        delivery: DeliveryIntent::Route,
        method: if by_arp {
            CaptureMethod::ProxyArp { gratuitous: true }
        } else {
            CaptureMethod::RouteTable { provider: None }
        },
    };
    wanted.routes.insert(key, route);
    wanted.captures.insert(address, capture);
    let delivers = wanted.delivery.entry(name("tunnel")).or_default();
    delivers.insert(owner());
}

fn effective() -> impl Strategy<Value = Effective> {
    vec((0..5u8, select(&LINKS[..]), 1..12u8), 0..8).prop_map(|wishes| {
        let mut wanted = Effective::default();
        wishes
            .into_iter()
            .for_each(|wish| add_wish(&mut wanted, wish));
        wanted
    })
}

/// All that somebody could notice, in the words of others.
fn snapshot() -> BTreeSet<String> {
    let text = run(
        "ip -o link; ip -o addr; ip -4 route show table all; ip rule; \
         ip neigh show proxy; nft list ruleset; sysctl -a 2>/dev/null | grep -E '^net.ipv4.(conf|neigh)'",
    );
    text.lines().map(str::to_owned).collect()
}

/// A host and the memory of routerd on it.
struct Node {
    host: Host,
    ledger: Ledger,
}

impl Node {
    fn observe(&mut self, wanted: &Effective) -> Observed {
        self.host.observe(&query(wanted)).expect("observe")
    }

    /// Plans and does the first `limit` steps; a crash comes between them and the rest.
    fn begin(&mut self, wanted: &Effective, limit: usize) {
        let seen = self.observe(wanted);
        let mut plan = plan(wanted, &seen, &self.ledger);
        self.ledger = record(&self.ledger, &plan, &seen);
        plan.steps.truncate(limit);
        self.host.apply(&plan.steps).expect("apply");
    }

    fn apply(&mut self, wanted: &Effective) {
        self.begin(wanted, usize::MAX);
        let seen = self.observe(wanted);
        let next = plan(wanted, &seen, &self.ledger);
        assert!(next.steps.is_empty(), "second plan: {:#?}", next.view());
        self.ledger = settle(&self.ledger, wanted, &seen);
    }
}

fn check(deeds: &[String], wanted: &Effective, crash: usize) {
    unshare(CloneFlags::CLONE_NEWNET).expect("another namespace");
    run(
        "ip link set lo up; for l in lan dmz tunnel; do ip link add $l type veth peer name p-$l; \
         ip link set $l addrgenmode none; ip link set p-$l addrgenmode none; \
         ip link set $l up; ip link set p-$l up; done",
    );
    // Until the links have settled, listings change by themselves.
    let deadline = Instant::now() + Duration::from_secs(10);
    while run("ip -o link").contains("LOWERLAYERDOWN") {
        assert!(Instant::now() < deadline, "links do not come up");
    }
    for deed in deeds {
        // What contradicts an earlier deed is refused; a host is what the rest make.
        run(&format!("{deed} 2>/dev/null || true"));
    }
    let before = snapshot();
    let mut node = Node {
        host: Host::open(Drivers::new("routerd")).expect("open"),
        ledger: Ledger::default(),
    };
    node.begin(wanted, crash);
    node.apply(wanted);
    node.begin(&Effective::default(), crash);
    node.apply(&Effective::default());
    let after = snapshot();
    let lost: Vec<_> = before.difference(&after).collect();
    let left_behind: Vec<_> = after.difference(&before).collect();
    assert!(
        lost.is_empty() && left_behind.is_empty(),
        "lost: {lost:#?}\nleft behind: {left_behind:#?}\nof {deeds:#?}"
    );
}

#[test]
fn what_others_made_survives() {
    fresh(|| {
        let mut config = Config {
            failure_persistence: None,
            ..Config::default()
        };
        // Each case takes a third of a second.
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.cases = 16;
        }
        let cases = (vec(deed(), 0..16), effective(), 0..6usize);
        TestRunner::new(config)
            .run(&cases, |(deeds, wanted, crash)| {
                check(&deeds, &wanted, crash);
                Ok(())
            })
            .expect("every host");
    });
}
