//! What holds for every host and every configuration.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::random::{deed, effective, host, perform};
use crate::effective::{CaptureMethod, Effective, RouteTarget};
use crate::fake::FakeKernel;
use crate::kernel::Kernel;
use crate::observed::{Address, Observed, Query, Route};
use crate::plan;
use crate::sysctl::{Sysctl, SysctlKey};
use crate::testing::Node;
use crate::{Ledger, OWNER_MARK, OWNER_PROTOCOL};

/// The same cases every time, unless the environment asks for others: `PROPTEST_CASES`, `PROPTEST_RNG_SEED`.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(82);
    }
    config
}

/// The host without anything of ours, as it should be after a teardown.
fn without_ours(kernel: &FakeKernel, removed: &BTreeSet<Address>) -> Observed {
    let mut kernel = kernel.clone();
    let promote = Sysctl::all(SysctlKey::PromoteSecondaries);
    let before = kernel
        .host
        .sysctls
        .insert(promote.clone(), 1)
        .expect("known");
    let gone = |a: &&Address| a.owned || removed.contains(a);
    let gone: Vec<_> = kernel.host.addresses.iter().filter(gone).cloned().collect();
    for address in gone {
        let _ = kernel.remove_address(&address.ifname, address.net);
    }
    kernel.host.sysctls.insert(promote, before);
    let links = kernel.host.links.clone();
    for (ifname, link) in links {
        if link.alias.as_deref() == Some(OWNER_MARK) {
            kernel.delete_link(&ifname).expect("there");
        }
    }
    kernel
        .host
        .routes
        .retain(|route| route.protocol != OWNER_PROTOCOL);
    kernel.host.proxy_neighbours.retain(|proxy| !proxy.owned);
    kernel.host.tables.retain(|table| table.comment.is_none());
    kernel.host.mss = None;
    kernel.host
}

/// Somebody else's addresses that are gone.
fn freed(before: &Observed, after: &Observed) -> BTreeSet<Address> {
    let left: BTreeSet<_> = after.addresses.iter().map(|a| (&a.ifname, a.net)).collect();
    let all = before.addresses.iter().filter(|a| !a.owned);
    let gone = all.filter(|a| !left.contains(&(&a.ifname, a.net)));
    gone.cloned().collect()
}

/// Whether the configuration captures this address on this interface by a secondary IP.
fn is_captured(address: &Address, wanted: &Effective) -> bool {
    let std::net::IpAddr::V4(addr) = address.net.addr() else {
        return false;
    };
    wanted.captures.get(&addr.into()).is_some_and(|intent| {
        let named = intent.interface.as_ref();
        matches!(intent.method, CaptureMethod::ProviderSecondaryIp { .. })
            && named.is_none_or(|name| *name == address.ifname)
    })
}

/// Everything on the host that is not ours and not a matter of this configuration.
fn foreign(host: &Observed) -> Observed {
    let mut host = host.clone();
    host.addresses.retain(|address| !address.owned);
    host.routes.retain(|route| route.protocol != OWNER_PROTOCOL);
    host.routes.sort();
    host.proxy_neighbours.retain(|proxy| !proxy.owned);
    host.tables.retain(|table| table.comment.is_none());
    host.links.retain(|_, link| link.alias.is_none());
    host.links.values_mut().for_each(|link| {
        link.mtu = 0;
        link.up = false;
    });
    host.wireguard
        .retain(|name, _| host.links.contains_key(name));
    host.sysctls.clear();
    host.mss = None;
    host
}

/// Which address of a subnet comes first changes when one of ours comes or goes.
fn forget_order(host: &mut Observed) {
    let plain = |address: Address| Address {
        secondary: false,
        ..address
    };
    host.addresses = std::mem::take(&mut host.addresses)
        .into_iter()
        .map(plain)
        .collect();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_plan_converges_and_leaves_the_rest_alone(kernel in host(true), wanted in effective()) {
        let mut node = Node::new(kernel.clone());
        node.settle(&wanted);
        let freed = freed(&kernel.host, &node.kernel.host);
        prop_assert!(freed.iter().all(|address| is_captured(address, &wanted)), "{freed:?}");
        let mut before = foreign(&kernel.host);
        before.addresses.retain(|address| !freed.contains(address));
        let mut after = foreign(&node.kernel.host);
        forget_order(&mut before);
        forget_order(&mut after);
        prop_assert_eq!(before, after);
    }

    #[test]
    fn teardown_gives_back_the_host(kernel in host(true), wanted in effective()) {
        let mut node = Node::new(kernel.clone());
        node.settle(&wanted);
        let freed = freed(&kernel.host, &node.kernel.host);
        node.settle(&Effective::default());
        let mut expected = without_ours(&kernel, &freed);
        expected.routes.sort();
        let mut left = node.kernel.host.clone();
        left.routes.sort();
        let index = |host: &mut Observed| host.links.values_mut().for_each(|link| link.index = 0);
        index(&mut expected);
        index(&mut left);
        prop_assert_eq!(left, expected);
        prop_assert_eq!(node.ledger, Ledger::default());
    }

    #[test]
    fn a_crash_anywhere_is_survived(
        kernel in host(false),
        before in effective(),
        after in effective(),
        at in 0..60usize,
    ) {
        let mut node = Node::new(kernel.clone());
        node.settle(&before);
        // The daemon dies with the step: what was recorded before is all that is known.
        node.kernel.fail_at = Some(node.kernel.executed + at);
        let crashed = node.try_apply(&after).is_err();
        node.kernel.fail_at = None;
        if crashed {
            // Either way: on with the new configuration, or back to the old one.
            let mut back = node.clone();
            back.settle(&before);
            prop_assert_eq!(back.plan(&before).steps, vec![]);
        }
        node.settle(&after);
        node.settle(&Effective::default());
        let freed = freed(&kernel.host, &node.kernel.host);
        let captured = |a: &Address| is_captured(a, &before) || is_captured(a, &after);
        prop_assert!(freed.iter().all(captured), "{freed:?}");
        let ours = node.kernel.host.addresses.difference(&kernel.host.addresses);
        prop_assert_eq!(ours.count(), 0);
        prop_assert_eq!(&node.kernel.host.sysctls, &kernel.host.sysctls);
        prop_assert_eq!(&node.kernel.host.links, &kernel.host.links);
        prop_assert_eq!(&node.kernel.host.tables, &kernel.host.tables);
        prop_assert_eq!(node.ledger, Ledger::default());
    }

    #[test]
    fn drift_is_repaired_around_what_others_do(
        kernel in host(false),
        wanted in effective(),
        deeds in vec(deed(false), 0..10),
    ) {
        let mut node = Node::new(kernel);
        node.settle(&wanted);
        deeds.into_iter().for_each(|deed| perform(&mut node.kernel, deed));
        let changed = node.kernel.host.clone();
        node.settle(&wanted);
        node.settle(&Effective::default());
        let freed = freed(&changed, &node.kernel.host);
        prop_assert!(freed.iter().all(|address| is_captured(address, &wanted)), "{freed:?}");
        let mut expected = foreign(&changed);
        expected.addresses.retain(|address| !freed.contains(address));
        let mut left = foreign(&node.kernel.host);
        for host in [&mut expected, &mut left] {
            forget_order(host);
        }
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn traffic_flows_at_every_step(kernel in host(false), before in effective(), after in effective()) {
        let mut node = Node::new(kernel);
        node.settle(&before);
        let observed = node.look(&plan::query(&after));
        let plan = plan::plan(&after, &observed, &node.ledger);
        let mut target = node.clone();
        target.settle(&after);
        let always = |of: fn(&Observed) -> BTreeSet<String>| {
            let both = [&node.kernel.host, &target.kernel.host].map(of);
            both[0].intersection(&both[1]).cloned().collect::<BTreeSet<_>>()
        };
        let (routed, allowed) = (always(routed), always(allowed));
        for step in &plan.steps {
            let done = node.kernel.apply(std::slice::from_ref(step));
            prop_assert!(done.is_ok(), "{:?}", done);
            let now = node.look(&Query::default());
            prop_assert!(routed.is_subset(&self::routed(&now)), "routes after {step} of {:#?}", plan.view());
            prop_assert!(allowed.is_subset(&self::allowed(&now)), "allowed IPs after {}", step);
            prop_assert!(unrouted_proxies(&now).is_empty(), "after {}: {:?}", step, unrouted_proxies(&now));
        }
    }

    #[test]
    fn only_captured_addresses_leave_and_never_the_last(
        kernel in host(false),
        wanted in effective(),
    ) {
        let mut node = Node::new(kernel.clone());
        node.settle(&wanted);
        for address in &freed(&kernel.host, &node.kernel.host) {
            prop_assert!(is_captured(address, &wanted), "{address:?}");
            prop_assert!(address.secondary || address.net.prefix_len() == 32, "{address:?}");
            let mut left = node.kernel.host.addresses.iter();
            prop_assert!(left.any(|a| a.ifname == address.ifname), "{address:?} was the last");
        }
    }
}

fn destinations<'a>(routes: impl Iterator<Item = &'a Route>) -> BTreeSet<String> {
    routes
        .map(|route| route.key.destination.to_string())
        .collect()
}

/// Destinations that a route of ours leads to.
fn routed(host: &Observed) -> BTreeSet<String> {
    destinations(host.routes.iter().filter(|r| r.protocol == OWNER_PROTOCOL))
}

/// Prefixes that some peer of some interface may use.
fn allowed(host: &Observed) -> BTreeSet<String> {
    let devices = host.wireguard.iter();
    let nets = devices.flat_map(|(name, device)| {
        let nets = device.peers.values().flat_map(|peer| &peer.allowed_ips);
        nets.map(move |net| format!("{name} {net}"))
    });
    nets.collect()
}

/// Addresses that we answer for without a way to deliver.
fn unrouted_proxies(host: &Observed) -> BTreeSet<String> {
    let leaving = host
        .routes
        .iter()
        .filter(|r| !matches!(&r.target, RouteTarget::Blackhole));
    let delivered = destinations(leaving.filter(|r| r.key.destination.prefix_len() == 32));
    let ours = host.proxy_neighbours.iter().filter(|p| p.owned);
    let attracted = ours.map(|p| format!("{}/32", p.address));
    attracted
        .filter(|address| !delivered.contains(address))
        .collect()
}
