//! Where the speaker and the plan meet: which destinations belong to whom, and what of the host is announced.

mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

pub use view::{BfdView, DatedEvent, Happened, MonitoringView, SinkView, SpeakerView, report};

use crate::effective::{BgpIntent, DeliveryIntent};
use crate::kinds::OVERLAY_METRIC;
use crate::{Effective, OWNER_PROTOCOL, Observed};

/// The routing table and the metric of the speaker's routes.
pub const TABLE: u32 = MAIN_TABLE;
/// See [`TABLE`].
pub const METRIC: u32 = OVERLAY_METRIC;

const MAIN_TABLE: u32 = 254;

/// Destinations whose routes are the configuration's: the speaker installs none there.
#[must_use]
pub fn reserved(effective: &Effective) -> BTreeSet<Ipv4Net> {
    let routes = effective.routes.keys();
    let same = routes.filter(|key| key.table == TABLE && key.metric == METRIC);
    same.map(|key| key.destination).collect()
}

/// Addresses that are captured here as soon as the speaker has a path to them.
#[must_use]
pub fn awaited(effective: &Effective) -> BTreeSet<Ipv4Net> {
    let captures = effective.captures.iter();
    let by_bgp =
        captures.filter(|(_, capture)| matches!(capture.delivery, DeliveryIntent::Bgp { .. }));
    by_bgp.map(|(address, _)| address.host_route()).collect()
}

/// Destinations for which the plan has to know the speaker's routes.
pub(crate) fn concerned(effective: &Effective) -> BTreeSet<Ipv4Net> {
    if effective.bgp.is_none() {
        return BTreeSet::new();
    }
    &reserved(effective) | &awaited(effective)
}

/// The host's own routes that are announced, as they stand: what is not in force is not announced.
#[must_use]
pub fn announced(effective: &Effective, observed: &Observed) -> BTreeSet<Ipv4Net> {
    let Some(bgp) = &effective.bgp else {
        return BTreeSet::new();
    };
    let mut announced = connected(bgp, effective, observed);
    announced.extend(fixed(bgp, effective, observed));
    announced
}

/// Networks of interfaces that are up. A captured address is no network of ours, wherever an agent puts it.
fn connected(bgp: &BgpIntent, effective: &Effective, observed: &Observed) -> BTreeSet<Ipv4Net> {
    let addresses = observed.addresses.iter();
    let networks = addresses.filter_map(|address| match address.net {
        IpNet::V4(net) => {
            let up = observed.links.get(&address.ifname).is_some_and(|l| l.up);
            let captured = effective.captures.contains_key(&net.addr().into());
            (up && !captured && !net.addr().is_loopback()).then(|| net.trunc())
        }
        IpNet::V6(_) => None,
    });
    networks
        .filter(|net| allows(&bgp.redistribute.connected, *net))
        .collect()
}

/// IPv4Route resources whose routes stand.
fn fixed(bgp: &BgpIntent, effective: &Effective, observed: &Observed) -> BTreeSet<Ipv4Net> {
    let wanted = effective.routes.iter();
    let wanted: BTreeSet<_> = wanted
        .filter(|(key, route)| key.table == TABLE && route.owner.kind == "IPv4Route")
        .map(|(key, _)| key)
        .collect();
    let standing = observed.routes.iter();
    standing
        .filter(|route| route.protocol == OWNER_PROTOCOL && wanted.contains(&route.key))
        .map(|route| route.key.destination)
        .filter(|net| allows(&bgp.redistribute.fixed, *net))
        .collect()
}

fn allows(list: &bgp::PrefixList, net: Ipv4Net) -> bool {
    prefix(net).is_some_and(|prefix| list.matches(prefix))
}

/// A prefix in the speaker's words.
#[must_use]
pub fn prefix(net: Ipv4Net) -> Option<bgp::Prefix> {
    bgp::Prefix::new(IpAddr::V4(net.addr()), net.prefix_len())
}

/// A prefix of the speaker in ours; absent if it is not IPv4.
#[must_use]
pub fn net(prefix: bgp::Prefix) -> Option<Ipv4Net> {
    match prefix.address() {
        IpAddr::V4(address) => Ipv4Net::new(address, prefix.length()).ok(),
        IpAddr::V6(_) => None,
    }
}
